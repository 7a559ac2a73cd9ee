package consent

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
)

func TestStageColumns(t *testing.T) {
	v := newView(t, Options{})
	apply(t, v,
		of(user("u"), grant(email, 1)), of(user("u"), grant(stats, 1)),
		of(anon("u"), grant(email, 1)), of(anon("u"), withdraw(email, 2)),
		of(mail("m@example.org"), grant(email, 1)),
		of(user("gone"), erase(9)),
		of(user("late"), grant(email, 3*second)), of(user("late"), grant(stats, 1)),
		of(user("twice"), grant(email, 1)), of(user("twice"), withdraw(email, 2*second)), of(user("twice"), grant(email, 4*second)),
		of(user("again"), erase(2*second)), of(user("again"), grant(email, 3*second)),
	)
	for _, c := range []struct {
		name    string
		row     row
		want    schemas.Reason
		granted schemas.PurposeSet
	}{
		{"an identifier is looked up as its kind", row{time: 5, user: "u"}, schemas.ConsentGiven, schemas.Purposes(email, stats)},
		{"the same text as another kind is another identifier", row{time: 5, anon: "u"}, schemas.Withdrawn, 0},
		{"a field of two kinds is looked up as the first", row{time: 5, contact: "m@example.org"}, schemas.ConsentGiven, schemas.Purposes(email)},
		{"a field of two kinds is looked up as the second", row{time: 5, contact: "u"}, schemas.ConsentGiven, schemas.Purposes(email, stats)},
		{"all identifiers of a row are one subject", row{time: 5, user: "u", anon: "u"}, schemas.Withdrawn, schemas.Purposes(stats)},
		{"an unknown identifier beside a known one says nothing", row{time: 5, user: "u", anon: "new"}, schemas.ConsentGiven, schemas.Purposes(email, stats)},
		{"what is nobody says nothing", row{time: 5, user: "u", anon: "nobody"}, schemas.ConsentGiven, schemas.Purposes(email, stats)},
		{"a row without an identifier has no record", row{time: 5}, schemas.NoRecord, 0},
		{"a row of an unknown identifier has no record", row{time: 5, user: "new"}, schemas.NoRecord, 0},
		{"a row without a time is before consent", row{time: noTime, user: "u"}, schemas.BeforeConsent, 0},
		{"a row without a time of an erased subject is erased", row{time: noTime, user: "gone"}, schemas.Erased, 0},
		{"a row of an erased subject is erased", row{time: 5, contact: "gone", user: "u"}, schemas.Erased, 0},
		{"an event told of later", row{time: 5, user: "u", told: 99}, schemas.ConsentGiven, schemas.Purposes(email, stats)},
		{"an event told of before it was, before consent", row{time: 5 * second, user: "late", told: second}, schemas.BeforeConsent, schemas.Purposes(stats)},
		{"an event told of before it was, permitted then", row{time: 5 * second, user: "late", told: 4 * second}, schemas.ConsentGiven, schemas.Purposes(email, stats)},
		{"an event told of before it was, and denied at its own time", row{time: 3 * second, user: "twice", told: second}, schemas.Withdrawn, 0},
		{"an event told of before an erasure", row{time: 5 * second, user: "again", told: second}, schemas.Erased, 0},
		{"an event told of after an erasure", row{time: 5 * second, user: "again", told: 4 * second}, schemas.ConsentGiven, schemas.Purposes(email)},
		{"a producer without a clock tells nothing", row{time: 5 * second, user: "late", told: -1}, schemas.ConsentGiven, schemas.Purposes(email, stats)},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, denial := range []schemas.Denial{schemas.DropRow, schemas.MaskRow} {
				tracks := contract()
				tracks.OnDeny = denial
				want := []Decision{{Reason: c.want, Granted: c.granted}}
				if diff := cmp.Diff(want, decideRows(t, v, tracks, c.row)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

const second = int64(1_000_000)

// TestStageDays: an event whose time is a day must be permitted all of it.
func TestStageDays(t *testing.T) {
	const noon = 12 * 3600 * second
	v := newView(t, Options{})
	apply(t, v,
		of(user("u"), grant(email, noon)),
		of(user("w"), grant(email, -1)), of(user("w"), withdraw(email, noon)),
		of(user("gone"), erase(noon)), of(user("gone"), grant(email, noon+1)),
	)
	days := contract()
	days.Fields[timeColumn].Type = schemas.Date
	days.Prospective = true
	users := []string{"u", "w", "gone", ""}
	for _, c := range []struct {
		day  arrow.Date32
		want []schemas.Reason
	}{
		{-1, []schemas.Reason{schemas.BeforeConsent, schemas.Withdrawn, schemas.Erased, schemas.NoRecord}},
		{0, []schemas.Reason{schemas.BeforeConsent, schemas.Withdrawn, schemas.Erased, schemas.NoRecord}},
		{1, []schemas.Reason{schemas.ConsentGiven, schemas.Withdrawn, schemas.ConsentGiven, schemas.NoRecord}},
		{math.MaxInt32, []schemas.Reason{schemas.BeforeConsent, schemas.Withdrawn, schemas.Erased, schemas.NoRecord}},
		{math.MinInt32, []schemas.Reason{schemas.BeforeConsent, schemas.Withdrawn, schemas.Erased, schemas.NoRecord}},
	} {
		var rows []row
		for _, name := range users {
			rows = append(rows, row{time: int64(c.day), user: name})
		}
		var got []schemas.Reason
		for _, d := range decideRows(t, v, days, rows...) {
			got = append(got, d.Reason)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("day %d: (-want +got):\n%s", c.day, diff)
		}
	}
}

// TestStageBatches decides batches of every length around the lookup's block,
// whole and as slices, and gives each row what it gets alone.
func TestStageBatches(t *testing.T) {
	const block = 128
	v := newView(t, Options{})
	reasons := []schemas.Reason{schemas.ConsentGiven, schemas.Withdrawn, schemas.Refused, schemas.Erased, schemas.NoRecord}
	var rows []row
	for i := range 2*block + 3 {
		name := fmt.Sprint("u", i)
		switch reasons[i%len(reasons)] {
		case schemas.ConsentGiven:
			apply(t, v, of(user(name), grant(email, 1)))
		case schemas.Withdrawn:
			apply(t, v, of(user(name), withdraw(email, 1)))
		case schemas.Refused:
			apply(t, v, of(user(name), refuse(email, 1)))
		case schemas.Erased:
			apply(t, v, of(user(name), erase(9)))
		}
		rows = append(rows, row{time: 5, user: name})
	}
	c := contract()
	c.OnDeny = schemas.MaskRow
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	stage := NewStage(v, hashed{})
	var reused pipeline.Batch
	for _, n := range []int{0, 1, block - 1, block, block + 1, len(rows)} {
		for skip := range min(n, 2) {
			b := batch(mem, c, rows[:n]...)
			whole := b.Raw
			b.Raw, b.Offsets, b.Times = whole.NewSlice(int64(skip), int64(n)), b.Offsets[skip:], b.Times[skip:]
			b.Verdicts, b.Reasons, b.Granted = reused.Verdicts[:0], reused.Reasons[:0], reused.Granted[:0]
			if err := stage.Apply(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			checkVerdicts(t, b, n-skip)
			for i, got := range b.Reasons {
				if want := reasons[(i+skip)%len(reasons)]; got != want {
					t.Fatalf("row %d of %d after %d: reason %s, want %s", i, n, skip, got, want)
				}
			}
			b.Raw.Release()
			whole.Release()
			reused = *b
		}
	}
}

// TestStageForgetsTheBatchBefore: a null identifier is not who stood in its row
// last time, even where Tokens leaves nulls alone.
func TestStageForgetsTheBatchBefore(t *testing.T) {
	v, err := NewView(cheap{}, clocked(Options{}))
	if err != nil {
		t.Fatal(err)
	}
	apply(t, v, of(user("u"), grant(email, 1)))
	stage := NewStage(v, cheap{})
	for _, c := range []struct {
		row  row
		want schemas.Reason
	}{{row{time: 5, user: "u"}, schemas.ConsentGiven}, {row{time: 5}, schemas.NoRecord}} {
		b := batch(memory.DefaultAllocator, contract(), c.row)
		defer b.Raw.Release()
		if err := stage.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if b.Reasons[0] != c.want {
			t.Errorf("reason %s, want %s", b.Reasons[0], c.want)
		}
	}
}

func TestStageRefuses(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	seconds := arrow.NewSchema([]arrow.Field{{Name: "timestamp", Type: &arrow.TimestampType{Unit: arrow.Second}}}, nil)
	text := arrow.NewSchema([]arrow.Field{{Name: "timestamp", Type: arrow.FixedWidthTypes.Timestamp_us}, {Name: "user_id", Type: arrow.BinaryTypes.String}}, nil)
	record := func(s *arrow.Schema) arrow.Record {
		b := array.NewRecordBuilder(mem, s)
		defer b.Release()
		return b.NewRecord()
	}
	for _, c := range []struct {
		name   string
		change func(*pipeline.Batch)
		want   string
	}{
		{"no contract", func(b *pipeline.Batch) { b.Contract = nil }, "contract"},
		{"a contract without an identity", func(b *pipeline.Batch) { b.Contract = schemas.Rejects() }, "identity"},
		{"a contract without an event time", func(b *pipeline.Batch) { b.Contract.EventTime = -1 }, "event time"},
		{"an event time that is no field", func(b *pipeline.Batch) { b.Contract.EventTime = 99 }, "event time"},
		{"an identifier of no kind", func(b *pipeline.Batch) { b.Contract.Fields[userColumn].Identifiers[0] = schemas.NoIdentifier }, "user_id"},
		{"no columns", func(b *pipeline.Batch) { b.Raw = nil }, "columns"},
		{"too few columns", func(b *pipeline.Batch) { b.Raw = record(seconds) }, "columns"},
		{"an event time in seconds", func(b *pipeline.Batch) {
			b.Raw = record(seconds)
			b.Contract.Fields = []schemas.Field{{Name: "timestamp", Identifiers: []schemas.IdentifierKind{schemas.UserID}}}
		}, "timestamp"},
		{"an identifier that is not bytes", func(b *pipeline.Batch) {
			b.Raw, b.Offsets, b.Times = record(text), nil, nil
			b.Contract.Fields = b.Contract.Fields[:2]
		}, "user_id"},
		{"an event time that is text", func(b *pipeline.Batch) { b.Contract.EventTime = userColumn }, "user_id"},
		{"fewer offsets than rows", func(b *pipeline.Batch) { b.Offsets = nil }, "offsets"},
		{"fewer times than rows", func(b *pipeline.Batch) { b.Times = b.Times[:0] }, "times"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := batch(mem, contract(), row{time: 5, user: "secret"})
			whole := b.Raw
			defer whole.Release()
			b.Verdicts = []pipeline.Verdict{pipeline.KeepRow}
			c.change(b)
			if b.Raw != nil && b.Raw != whole {
				defer b.Raw.Release()
			}
			err := NewStage(newView(t, Options{}), hashed{}).Apply(t.Context(), b)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v, want one that names %q", err, c.want)
			}
			if len(b.Verdicts) != 0 {
				t.Error("the batch has verdicts")
			}
		})
	}
}

// TestStageAllocates nothing in a steady state but for what Hold gives.
func TestStageAllocates(t *testing.T) {
	v, err := NewView(cheap{}, clocked(Options{}))
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for i := range 500 {
		name := fmt.Sprint("u", i)
		apply(t, v, of(user(name), grant(email, 1)))
		if i%2 == 0 {
			apply(t, v, of(user(name), every(withdraw(email, 9))))
		}
		if i%5 == 0 {
			apply(t, v, linked(user(name), anon(name)))
		}
		rows = append(rows, row{time: 2000 * second, user: name, anon: name, told: int64(i%3) * second})
	}
	b := batch(memory.DefaultAllocator, contract(), rows...)
	defer b.Raw.Release()
	stage := NewStage(v, cheap{})
	if n := testing.AllocsPerRun(10, func() {
		for range 100 {
			if err := stage.Apply(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		stage.Hold().(*Held).Release()
	}); n > 10 {
		t.Errorf("%v allocations in 100 batches", n)
	}
	if b.Verdicts[1] != pipeline.KeepRow {
		t.Error("nothing was kept")
	}
}

// TestStagesBesideApply: while the ledger is applied, each batch sees a moment
// of it. Two records that are one change of the ledger are seen together, and
// what Apply has returned from is seen by every batch after it.
func TestStagesBesideApply(t *testing.T) {
	const changes = 300
	v := newView(t, Options{})
	c := contract()
	var rows []row
	for i := range 50 {
		rows = append(rows, row{time: 5, user: fmt.Sprint("u", i)})
		apply(t, v, of(user(rows[i].user), grant(email, 1)))
	}
	var workers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		workers.Go(func() {
			stage := NewStage(v, hashed{})
			b := batch(memory.DefaultAllocator, c, rows...)
			defer b.Raw.Release()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := stage.Apply(t.Context(), b); err != nil {
					t.Error(err)
					return
				}
				for _, reason := range b.Reasons {
					if reason != b.Reasons[0] {
						t.Errorf("one batch saw %s and %s", b.Reasons[0], reason)
						return
					}
				}
				v.Stats()
			}
		})
	}
	for i := range changes {
		version := int64(i + 2)
		said, want := withdraw(email, 6), schemas.Withdrawn
		if i%2 == 1 {
			said, want = grant(email, 1), schemas.ConsentGiven
		}
		var all []say
		for _, r := range rows {
			all = append(all, of(user(r.user), said.v(version)))
		}
		for j := range 20 {
			// Others, who make the table grow meanwhile.
			all = append(all, of(user(fmt.Sprint("other", i, " ", j)), grant(email, 1)))
		}
		apply(t, v, all...)
		for j, d := range decideRows(t, v, c, rows...) {
			if d.Reason != want {
				t.Fatalf("change %d, row %d: %s, want %s", i, j, d.Reason, want)
			}
		}
	}
	close(stop)
	workers.Wait()
}
