package consent

import (
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lupa/pipeline"
	"lupa/schemas"
)

// applyTo gives rows to a stage as one batch of a table's partition, with the
// offsets from first on.
func applyTo(t testing.TB, s *Stage, c *schemas.Contract, table int, p pipeline.Partition, first int64, rows ...row) *pipeline.Batch {
	t.Helper()
	b := batch(memory.DefaultAllocator, c, rows...)
	defer b.Raw.Release()
	b.Table, b.Partition = table, p
	for i := range b.Offsets {
		b.Offsets[i] += first
	}
	if err := s.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return b
}

func recheck(t testing.TB, h pipeline.Held, table int) []pipeline.Amendment {
	t.Helper()
	amended, err := h.Recheck(table)
	if err != nil {
		t.Fatal(err)
	}
	return amended
}

// TestRecheck: what the ledger says between a decision and the commit takes out
// the row, whatever way it comes, and takes nothing else.
func TestRecheck(t *testing.T) {
	const at = 5 * second
	both := schemas.Purposes(email, stats)
	given := []say{of(user("u"), grant(email, 1)), of(user("u"), grant(stats, 1)), of(user("v"), grant(email, 1))}
	u := row{time: at, user: "u"}
	denied := func(reason schemas.Reason, left ...schemas.Purpose) []pipeline.Amendment {
		return []pipeline.Amendment{{Offset: 7, Reason: reason, Granted: schemas.Purposes(left...)}}
	}
	fewer := []pipeline.Amendment{{Offset: 7, Reason: schemas.ConsentGiven, Granted: schemas.Purposes(email)}}
	chain := func(n int) (said []say) {
		for i := range n {
			said = append(said, linked(anon(fmt.Sprint(i)), anon(fmt.Sprint(i+1))))
		}
		return said
	}
	for _, c := range []struct {
		name   string
		before []say
		row    row
		then   []say
		raw    map[string]string // keys and values, before then; "" is a tombstone
		want   []pipeline.Amendment
	}{
		{name: "nothing", row: u},
		{name: "another subject's withdrawal", row: u, then: []say{of(user("v"), withdraw(email, 9*second))}},
		{name: "a withdrawal", row: u, then: []say{of(user("u"), withdraw(email, 9*second))}, want: denied(schemas.Withdrawn, stats)},
		{name: "a withdrawal of everything", row: u, then: []say{of(user("u"), every(withdraw(email, 9*second)))}, want: denied(schemas.Withdrawn)},
		{name: "a withdrawal of a field's purpose", row: u, then: []say{of(user("u"), withdraw(stats, 9*second))}, want: fewer},
		{name: "a withdrawal and a new grant after it", row: u, want: denied(schemas.Withdrawn, stats),
			then: []say{of(user("u"), withdraw(email, 3*second)), of(user("u"), grant(email, 9*second))}},
		{name: "a withdrawal and a new grant after it, when the row came later than both", row: u,
			then: []say{of(user("u"), withdraw(email, 3*second)), of(user("u"), grant(email, 4*second))}},
		{name: "an objection", row: u, then: []say{of(user("u"), object(email, 9*second))}, want: denied(schemas.Objected, stats)},
		{name: "an erasure", row: u, then: []say{of(user("u"), erase(9*second))}, want: denied(schemas.Erased)},
		{name: "an erasure that the row is later than voids its grants", row: u, then: []say{of(user("u"), erase(3*second))},
			want: denied(schemas.NoRecord)},
		{name: "a later grant, of a higher version", row: u, then: []say{of(user("u"), grant(email, 9*second))}},
		{name: "an unproven grant of a higher version", row: u, then: []say{of(user("u"), claim(email, 9*second))}, want: denied(schemas.Unproven, stats)},
		{name: "a late refusal of a lower version, said before the event", row: u,
			then: []say{of(user("u"), refuse(email, 2*second).v(0))}},
		{name: "a late refusal that was in force at the event", row: u, before: []say{of(user("u"), grant(email, 9*second))},
			then: []say{of(user("u"), refuse(email, 3*second))}, want: denied(schemas.Refused, stats)},
		{name: "a tie", row: u, then: []say{of(user("u"), refuse(email, 1))}, want: denied(schemas.Refused, stats)},
		{name: "a tie of grants, the later of which is after the event", row: u, then: []say{of(user("u"), grant(email, 9*second).v(1))},
			want: denied(schemas.BeforeConsent, stats)},
		{name: "a duplicate", row: u, then: []say{of(user("u"), grant(email, 1))}},
		{name: "a grant of one more purpose", row: row{time: at, user: "v"}, then: []say{of(user("v"), grant(stats, 1))}},
		{name: "a value that cannot be read", row: u, raw: map[string]string{"user_id:u|direct_marketing_email": "{"}, want: denied(schemas.NoRecord, stats)},
		{name: "an erasure that cannot be read", row: u, raw: map[string]string{"user_id:u|erase": "{"}, want: denied(schemas.NoRecord)},
		{name: "a tombstone", row: u, raw: map[string]string{"user_id:u|direct_marketing_email": ""}, want: denied(schemas.NoRecord, stats)},
		{name: "a restriction that its tombstone was faster than", row: u, want: denied(schemas.NoRecord),
			before: []say{of(user("u"), every(refuse(email, 0)))},
			raw:    map[string]string{"user_id:u|*": ""},
			then:   []say{of(user("u"), every(refuse(email, 9*second)).v(0))}},
		{name: "a marker", row: u, raw: map[string]string{`{"marker":"m"}`: `{"marker":"m"}`}},
		{name: "a record of an identifier that was not known", row: row{time: at, user: "u", anon: "new"},
			then: []say{of(anon("new"), refuse(email, 1))}, want: denied(schemas.Refused, stats)},
		{name: "a record of one that is linked", row: u, before: []say{linked(user("u"), anon("a"))},
			then: []say{of(anon("a"), refuse(email, 1))}, want: denied(schemas.Refused, stats)},
		{name: "a link with somebody who refused", row: u, before: []say{of(anon("a"), refuse(email, 1))},
			then: []say{linked(anon("a"), user("u"))}, want: denied(schemas.Refused, stats)},
		{name: "a link of an identifier that was not known with somebody who refused", row: row{time: at, user: "u", contact: "new"},
			then: []say{of(anon("a"), refuse(email, 1)), linked(anon("a"), mail("new"))}, want: denied(schemas.Refused, stats)},
		{name: "a link far away in the same subject", row: u,
			before: append(chain(2), linked(user("u"), anon("0")), of(mail("m"), refuse(email, 1))),
			then:   []say{linked(anon("2"), mail("m"))}, want: denied(schemas.Refused, stats)},
		{name: "a link with somebody who is erased", row: u, before: []say{of(anon("a"), erase(9*second))},
			then: []say{linked(user("u"), anon("a"))}, want: denied(schemas.Erased)},
		{name: "a link with somebody who permits", row: u, before: []say{of(anon("a"), grant(email, 1))},
			then: []say{linked(user("u"), anon("a"))}},
		{name: "a link that cannot be read", row: u, raw: map[string]string{"anonymous_id:a|link:user_id:u": "{"}, want: denied(schemas.NoRecord)},
		{name: "a subject that outgrows the limit", row: u, before: append(chain(3), linked(user("u"), anon("3"))),
			then: []say{linked(anon("0"), anon("x"))}, want: denied(schemas.NoRecord)},
		{name: "a link with a subject beyond the limit", row: u, before: chain(9),
			then: []say{linked(anon("0"), user("u"))}, want: denied(schemas.NoRecord)},
		{name: "a link with an erased subject beyond the limit", row: u, before: append(chain(9), of(anon("8"), erase(9*second))),
			then: []say{linked(anon("0"), user("u"))}, want: denied(schemas.NoRecord)},
		{name: "an unlink from whom it has the grant", row: row{time: at, anon: "v"}, before: []say{linked(anon("v"), user("v"))},
			then: []say{unlinked(user("v"), anon("v"), 2)}, want: denied(schemas.NoRecord)},
		{name: "an unlink from somebody who refuses then", row: u, before: []say{linked(anon("a"), user("u"))},
			then: []say{unlinked(user("u"), anon("a"), 2), of(anon("a"), refuse(email, 1))}},
		{name: "an unlink in the middle of a subject", row: row{time: at, anon: "2"}, before: append(chain(2), linked(user("v"), anon("0"))),
			then: []say{unlinked(anon("1"), anon("0"), 2)}, want: denied(schemas.NoRecord)},
		{name: "a link and an unlink of one version", row: u, before: []say{linked(anon("a"), user("u"))},
			then: []say{unlinked(user("u"), anon("a"), 0)}, want: denied(schemas.NoRecord)},
		{name: "an identifier that turns out to be shared", row: row{time: at, anon: "a"}, before: []say{linked(anon("a"), user("v"))},
			then: []say{sharedBy(user("v"), anon("a"), 2)}, want: denied(schemas.NoRecord)},
		{name: "a refusal of one of those who share it", row: row{time: at, anon: "a"}, before: []say{of(anon("a"), grant(email, 1)), sharedBy(user("x"), anon("a"), 1)},
			then: []say{linked(user("x"), user("y")), of(user("y"), refuse(email, 1))}, want: denied(schemas.Refused)},
		{name: "a refusal of one who shares an identifier that the row names too", row: row{time: at, anon: "a", user: "u"},
			before: []say{sharedBy(user("u"), anon("a"), 1), sharedBy(user("x"), anon("a"), 1)}, then: []say{of(user("x"), refuse(email, 1))}},
		{name: "an event told of before a refusal that was taken back", row: row{time: at, user: "u", told: 3 * second},
			then: []say{of(user("u"), refuse(email, 2*second)), of(user("u"), grant(email, 4*second))}, want: denied(schemas.Refused, stats)},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newView(t, Options{MaxLinked: 5})
			apply(t, v, given...)
			apply(t, v, c.before...)
			stage := NewStage(v, hashed{})
			b := applyTo(t, stage, contract(), 0, pipeline.Partition{}, 7, c.row)
			if b.Reasons[0] != schemas.ConsentGiven || c.row.user == "u" && b.Granted[0] != both {
				t.Fatalf("the row is decided as %s %s", b.Reasons[0], b.Granted[0])
			}
			held := stage.Hold()
			if amended := recheck(t, held, 0); amended != nil {
				t.Errorf("before anything is said: %v", amended)
			}
			for key, value := range c.raw {
				text := []byte(value)
				if value == "" {
					text = nil
				}
				if _, err := v.Apply([][]byte{[]byte(key)}, [][]byte{text}); err != nil {
					t.Fatal(err)
				}
			}
			if c.raw != nil && c.then != nil {
				if amended := recheck(t, held, 0); amended != nil {
					t.Errorf("half way: %v", amended)
				}
			}
			apply(t, v, c.then...)
			if diff := cmp.Diff(c.want, recheck(t, held, 0)); diff != "" {
				t.Errorf("amendments (-want +got):\n%s", diff)
			}
			apply(t, v, of(user("u"), grant(email, 1)))
			if again := recheck(t, held, 0); again != nil {
				t.Errorf("once more: %v", again)
			}
		})
	}
}

// TestRecheckTables: every table is looked at for itself, and offsets far apart
// and partitions side by side come out as they went in.
func TestRecheckTables(t *testing.T) {
	v := newView(t, Options{})
	apply(t, v, of(user("u"), grant(email, 1)), of(user("v"), grant(email, 1)), of(user("x"), grant(stats, 1)))
	stage := NewStage(v, hashed{})
	one, two := pipeline.Partition{Topic: "a", ID: 1}, pipeline.Partition{Topic: "a", ID: 2}
	first, second, other := contract(), contract(), contract()
	other.Purposes = schemas.Purposes(stats)
	u, w := row{time: 5, user: "u"}, row{time: 5, user: "v"}
	applyTo(t, stage, first, 0, one, 3, u, w, row{time: 5, user: "unheard"}, u)
	applyTo(t, stage, first, 0, two, 1<<40, w, u)
	applyTo(t, stage, first, 0, two, 1<<50, u)
	applyTo(t, stage, other, 0, two, 1<<50+1, row{time: 5, user: "x"})
	applyTo(t, stage, second, 4, one, 3, u)
	held := stage.Hold()
	apply(t, v, of(user("u"), withdraw(email, 9)), of(user("x"), withdraw(email, 9)))
	out := func(p pipeline.Partition, offset int64) pipeline.Amendment {
		return pipeline.Amendment{Partition: p, Offset: offset, Reason: schemas.Withdrawn}
	}
	for table, want := range map[int][]pipeline.Amendment{
		-1: nil, 0: {out(one, 3), out(one, 6), out(two, 1<<40+1), out(two, 1<<50)}, 1: nil, 4: {out(one, 3)}, 5: nil,
	} {
		if diff := cmp.Diff(want, recheck(t, held, table)); diff != "" {
			t.Errorf("table %d (-want +got):\n%s", table, diff)
		}
		if again := recheck(t, held, table); again != nil {
			t.Errorf("table %d once more: %v", table, again)
		}
	}
	// What is held next was decided after all this.
	applyTo(t, stage, first, 0, one, 7, u, w)
	apply(t, v, of(user("v"), withdraw(email, 9)))
	if diff := cmp.Diff([]pipeline.Amendment{out(one, 8)}, recheck(t, stage.Hold(), 0)); diff != "" {
		t.Errorf("held next (-want +got):\n%s", diff)
	}
}

// TestRecheckManyChanges: more changes than rows, and more than are remembered,
// take out what they should all the same.
func TestRecheckManyChanges(t *testing.T) {
	for _, opts := range []Options{{}, {Journal: 10}, {Journal: 3 * perLock}} {
		v := newView(t, opts)
		var rows []row
		for i := range blockRows + 50 {
			name := fmt.Sprint("u", i)
			apply(t, v, of(user(name), grant(email, 1)))
			rows = append(rows, row{time: 5, user: name, anon: "of " + name})
		}
		stage := NewStage(v, hashed{})
		for from := 0; from < len(rows); from += 50 {
			applyTo(t, stage, contract(), 0, pipeline.Partition{}, int64(from), rows[from:from+50]...)
		}
		held := stage.Hold()
		for changes := range 3 {
			for i := range changes * 3 * perLock {
				apply(t, v, of(user(fmt.Sprint("other", i)), withdraw(email, 9+int64(changes))))
			}
			var want []pipeline.Amendment
			for i := changes; i < len(rows); i += 700 {
				apply(t, v, of(anon("of "+rows[i].user), withdraw(email, 9)))
				want = append(want, pipeline.Amendment{Offset: int64(i), Reason: schemas.Withdrawn})
			}
			if diff := cmp.Diff(want, recheck(t, held, 0)); diff != "" {
				t.Errorf("journal of %d, round %d (-want +got):\n%s", opts.Journal, changes, diff)
			}
		}
	}
}

// shadow is a row that was kept or masked, as a test remembers it.
type shadow struct {
	row     row
	place   pipeline.Amendment // with what it is kept for
	dropped bool
}

// shadows are the rows of one table that are held together.
type shadows struct {
	held  pipeline.Held
	table int
	rows  []*shadow
}

// amend decides all rows anew and gives what has to be amended.
func (s *shadows) amend(t testing.TB, v *View, c *schemas.Contract) (amended []pipeline.Amendment) {
	var rows []row
	for _, r := range s.rows {
		rows = append(rows, r.row)
	}
	for i, d := range decideRows(t, v, c, rows...) {
		r := s.rows[i]
		if r.place.Masked != schemas.NoReason {
			stays := d.Reason != schemas.Erased && d.Reason != schemas.Retained
			if r.place.Masked == schemas.Retained {
				stays = d.Reason == schemas.Retained
			}
			if !r.dropped && !stays {
				r.dropped, r.place.Reason = true, schemas.Erased
				amended = append(amended, r.place)
			}
			continue
		}
		if d.Reason == schemas.Retained {
			d.Reason = schemas.Erased
		}
		d.Granted &= r.place.Granted
		if r.dropped || d.Reason == schemas.ConsentGiven && d.Granted == r.place.Granted {
			continue
		}
		r.dropped = d.Reason != schemas.ConsentGiven
		r.place.Reason, r.place.Granted = d.Reason, d.Granted
		amended = append(amended, r.place)
	}
	return amended
}

// TestRecheckIsDecidingAnew: under everything that can be in a ledger, in any
// order, and at any time between, a Recheck finds what deciding all rows anew
// finds, and a row that it leaves alone is one that would be kept.
func TestRecheckIsDecidingAnew(t *testing.T) {
	const tables = 3
	amended, kept := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		maxLinked := rapid.IntRange(2, 6).Draw(rt, "max linked")
		kinds, at := kindsDrawn.Draw(rt, "shared kinds"), int64(0)
		v := newView(t, Options{
			MaxLinked: maxLinked, SharedKinds: kinds, Journal: rapid.SampledFrom([]int{0, 1, 3, 10, 30}).Draw(rt, "journal"),
			Now: func() int64 { return at },
		})
		m := newModel(maxLinked, kinds...)
		contracts := make([]*schemas.Contract, tables)
		for i := range contracts {
			contracts[i] = contractDrawn(rt)
		}
		contracts[1].Fields[timeColumn].Type = schemas.Date
		stage := NewStage(v, hashed{})
		next := int64(0)
		var open [tables][]*shadow
		var all []*shadows
		look := func(s *shadows) {
			want := s.amend(t, v, contracts[s.table])
			if diff := cmp.Diff(want, recheck(t, s.held, s.table)); diff != "" {
				rt.Fatalf("table %d (-anew +recheck):\n%s", s.table, diff)
			}
			amended += len(want)
		}
		// Grants at first, so that there is something to lose; and some again, so
		// that what comes late is no more than history.
		for _, kind := range []schemas.IdentifierKind{schemas.UserID, schemas.AnonymousID, schemas.Email} {
			for _, name := range []string{"a", "b", "c"} {
				for _, p := range []schemas.Purpose{email, stats, prof} {
					for n := range rapid.IntRange(0, 2).Draw(rt, "grants") {
						s := of(schemas.NewSubject(kind, name), grant(p, 1+int64(n)*3*tick))
						apply(t, v, s)
						m.say(s)
					}
				}
			}
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 10).Draw(rt, "step") {
			default:
				message(rt, v, m)
			case 6:
				at += instants.Draw(rt, "later") / 4
			case 0, 1, 2:
				table := rapid.IntRange(0, tables-1).Draw(rt, "table")
				rows := rowsDrawn.Draw(rt, "rows")
				for i := range rows {
					if table == 1 && rows[i].time != noTime {
						rows[i].time = rapid.Int64Range(-1, 1).Draw(rt, "day")
					}
					rows[i].told = rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 4*tick)).Draw(rt, "told")
				}
				p := pipeline.Partition{Topic: "t", ID: int32(table)}
				b := applyTo(t, stage, contracts[table], table, p, next, rows...)
				for i := range rows {
					s := &shadow{row: rows[i], place: pipeline.Amendment{Partition: p, Offset: b.Offsets[i], Granted: b.Granted[i]}}
					switch b.Verdicts[i] {
					case pipeline.KeepRow:
						kept++
					case pipeline.MaskRow:
						s.place.Masked, s.place.Granted = b.Reasons[i], 0
					default:
						continue
					}
					open[table] = append(open[table], s)
				}
				next += int64(len(rows))
			case 3:
				held := stage.Hold()
				for table, rows := range open {
					all, open[table] = append(all, &shadows{held, table, rows}), nil
				}
			case 4, 5:
				if len(all) > 0 {
					look(rapid.SampledFrom(all).Draw(rt, "held"))
				}
			}
		}
		held := stage.Hold()
		for table, rows := range open {
			all = append(all, &shadows{held, table, rows})
		}
		for _, s := range all {
			look(s)
		}
	})
	if kept == 0 || amended == 0 {
		t.Errorf("%d rows were kept and %d amended: nothing was tested", kept, amended)
	}
}

// TestRecheckBesideApply: while the ledger is applied and batches are decided,
// what was decided before is rechecked. When the ledger is still, a last Recheck
// leaves exactly the rows that would be kept.
func TestRecheckBesideApply(t *testing.T) {
	const subjects, intervals, batches = 40, 30, 4
	v := newView(t, Options{MaxLinked: 4, Journal: 200})
	var rows []row
	for i := range subjects {
		rows = append(rows, row{time: 5, user: fmt.Sprint("u", i), anon: fmt.Sprint("u", i)})
		apply(t, v, of(user(rows[i].user), grant(email, 1)), of(user(rows[i].user), grant(stats, 1)))
	}
	stop := make(chan struct{})
	var ledger, committer sync.WaitGroup
	ledger.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			who, version := rows[i%subjects].user, int64(i+2)
			said := []say{of(user(who), grant(email, 1).v(version)), of(anon(who), grant(stats, 1).v(version))}
			switch i % 7 {
			case 1, 2:
				said[0] = of(anon(who), withdraw(email, 3).v(version))
			case 3:
				said[1] = of(user(who), withdraw(stats, 3).v(version))
			case 4:
				said[1] = linked(user(who), mail(fmt.Sprint(i%19)))
			}
			if n, err := v.ApplyRecords(records(said...)); n != len(said) || err != nil {
				t.Errorf("applied %d: %v", n, err)
				return
			}
		}
	})
	c := contract()
	handed := make(chan *shadows)
	var all []*shadows
	amend := func(s *shadows) {
		amended, err := s.held.Recheck(0)
		if err != nil {
			t.Error(err)
		}
		for _, a := range amended {
			r := s.rows[a.Offset]
			if r.dropped || a.Reason == schemas.ConsentGiven && a.Granted == r.place.Granted || a.Granted&^r.place.Granted != 0 {
				t.Errorf("offset %d: %s %s after %s", a.Offset, a.Reason, a.Granted, r.place.Granted)
			}
			r.place, r.dropped = a, a.Reason != schemas.ConsentGiven
		}
	}
	committer.Go(func() {
		for s := range handed {
			for range 3 {
				amend(s)
			}
			all = append(all, s)
		}
	})
	stage := NewStage(v, hashed{})
	for range intervals {
		s := &shadows{}
		for i := range batches {
			b := applyTo(t, stage, c, 0, pipeline.Partition{}, int64(i*subjects), rows...)
			for i := range rows {
				// A dropped one has its place too, so that offsets are indexes.
				s.rows = append(s.rows, &shadow{row: rows[i], dropped: b.Verdicts[i] != pipeline.KeepRow,
					place: pipeline.Amendment{Granted: b.Granted[i]}})
			}
		}
		s.held = stage.Hold()
		handed <- s
	}
	close(handed)
	committer.Wait()
	close(stop)
	ledger.Wait()
	for _, s := range all {
		amend(s)
		if left := s.amend(t, v, c); left != nil {
			t.Fatalf("%d rows would not be kept, %v among them", len(left), left[0])
		}
	}
}

// TestHeldBytes follows the rows that are held.
func TestHeldBytes(t *testing.T) {
	for size, want := range map[reflect.Type]uintptr{
		reflect.TypeFor[run](): runBytes, reflect.TypeFor[heldRow](): rowBytes,
		reflect.TypeFor[schemas.Token](): nameBytes, reflect.TypeFor[oddRow](): oddBytes,
	} {
		if got := size.Size(); got != want {
			t.Errorf("a %s takes %d bytes, and is counted as %d", size, got, want)
		}
	}
	v := newView(t, Options{})
	apply(t, v, of(user("u"), grant(email, 1)))
	stage := NewStage(v, hashed{})
	kept := []row{{time: 5, user: "u"}, {time: 5, user: "u", anon: "stranger"}, {time: 5 * second, user: "u", told: second}}
	const lookups = 4
	tracks := contract()
	for _, c := range []struct {
		rows []row
		more int64
	}{
		{[]row{{time: 5, user: "unheard"}, {time: 0, user: "u"}}, 0},
		{kept[:1], runBytes + rowBytes + lookups*nameBytes},
		{kept[:1], rowBytes + lookups*nameBytes},
		{kept[1:2], rowBytes + lookups*nameBytes},
		{kept[2:], rowBytes + lookups*nameBytes + oddBytes},
	} {
		before := stage.HeldBytes()
		applyTo(t, stage, tracks, 0, pipeline.Partition{}, 0, c.rows...)
		if got := stage.HeldBytes() - before; got != c.more {
			t.Errorf("%v: %d bytes more, want %d", c.rows, got, c.more)
		}
	}
	stage.Hold()
	if n := stage.HeldBytes(); n != 0 {
		t.Errorf("%d bytes are held after Hold", n)
	}
}

// TestRelease: what was given back is used again and forgotten, and what was not
// given back is left alone.
func TestRelease(t *testing.T) {
	v := newView(t, Options{})
	apply(t, v, of(user("u"), grant(email, 1)), of(user("v"), grant(email, 1)))
	stage := NewStage(v, hashed{})
	c := contract()
	var first *heldBlock
	for i := range 5 {
		applyTo(t, stage, c, 0, pipeline.Partition{}, int64(10*i), row{time: 5, user: "u"}, row{time: 5, user: "v", anon: "a"})
		held := stage.Hold().(*Held)
		if i == 0 {
			first = held.tables[0].blocks[0]
		} else if held.tables[0].blocks[0] != first {
			t.Error("a block was not used again")
		}
		apply(t, v, of(anon("a"), refuse(email, int64(i))))
		want := []pipeline.Amendment{{Offset: int64(10*i) + 1, Reason: schemas.Refused}}
		if i > 0 {
			want = nil // it was not kept
		}
		if diff := cmp.Diff(want, recheck(t, held, 0)); diff != "" {
			t.Errorf("interval %d (-want +got):\n%s", i, diff)
		}
		held.Release()
		if amended := recheck(t, held, 0); amended != nil || len(stage.held.spare.blocks) != 1 {
			t.Errorf("after Release: %v, %d spare blocks", amended, len(stage.held.spare.blocks))
		}
	}
}

// TestRecheckWhileSubjectsChange: a change concerns whoever was linked with it
// then, also when a link or an unlink comes before they are found.
func TestRecheckWhileSubjectsChange(t *testing.T) {
	for _, then := range []say{
		linked(user("b"), user("c")),      // the subject outgrows the limit by itself
		linked(user("b"), user("shared")), // or goes into one that has
		unlinked(user("b"), user("a"), 1),
	} {
		v := newView(t, Options{MaxLinked: 2})
		for i := range 3 {
			apply(t, v, linked(user("shared"), user(fmt.Sprint("other", i))))
		}
		apply(t, v, of(user("a"), grant(email, 1)), linked(user("a"), user("b")))
		stage := NewStage(v, hashed{})
		applyTo(t, stage, contract(), 0, pipeline.Partition{}, 0, row{time: 5, user: "b"})
		held := stage.Hold().(*Held)
		apply(t, v, of(user("a"), withdraw(email, 9)))

		c := &concerned{seed: v.store.shelf.Seed(), seen: held.tables[0].since}
		apply(t, v, then)
		for more := true; more; {
			var known bool
			if more, known = c.follow(v, 1); !known {
				t.Fatal("the changes are not known")
			}
		}
		if found := held.tables[0].blocks[0].match(c, nil); len(found) == 0 {
			t.Error("the change passes by a row of somebody who was linked with it")
		}
	}
}

// TestRecheckMasked: a masked row is taken out when somebody whom it names is
// erased, whoever it is that is linked with them, and for nothing else.
func TestRecheckMasked(t *testing.T) {
	chain := func(side string, n int) (said []say) {
		for i := range n {
			said = append(said, linked(user(fmt.Sprint(side, i)), user(fmt.Sprint(side, i+1))))
		}
		return said
	}
	const at = 5 * second
	for _, c := range []struct {
		name   string
		before []say
		then   []say
		erased bool
	}{
		{name: "a withdrawal", then: []say{of(user("a0"), withdraw(email, 9*second))}},
		{name: "a grant", then: []say{of(user("a0"), grant(email, 1))}},
		{name: "an erasure", then: []say{of(user("a0"), erase(9*second))}, erased: true},
		{name: "an erasure before the event", then: []say{of(user("a0"), erase(3*second))}},
		{name: "an erasure of another", then: []say{of(user("b0"), erase(9*second))}},
		{name: "an erasure of a linked one", before: chain("a", 2), then: []say{of(user("a2"), erase(9*second))}, erased: true},
		{name: "an erasure in a subject beyond the limit", before: chain("a", 9), then: []say{of(user("a9"), erase(9*second))}},
		{name: "an erasure of itself in a subject beyond the limit", before: chain("a", 9), then: []say{of(user("a0"), erase(9*second))}, erased: true},
		{name: "an unlink that makes a subject small enough for an erasure", before: append(chain("a", 9), of(user("a2"), erase(9*second))),
			then: []say{unlinked(user("a2"), user("a3"), 1)}, erased: true},
		{name: "a link of a subject beyond the limit with an erased one", before: append(chain("a", 9), of(user("b0"), erase(9*second))),
			then: []say{linked(user("a9"), user("b0"))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newView(t, Options{MaxLinked: 5})
			apply(t, v, c.before...)
			stage := NewStage(v, hashed{})
			k := contract()
			k.OnDeny = schemas.MaskRow
			b := applyTo(t, stage, k, 0, pipeline.Partition{}, 7, row{time: at, user: "a0"})
			if b.Verdicts[0] != pipeline.MaskRow {
				t.Fatalf("the row is decided as %s", b.Reasons[0])
			}
			held := stage.Hold()
			if amended := recheck(t, held, 0); amended != nil {
				t.Errorf("before anything is said: %v", amended)
			}
			apply(t, v, c.then...)
			var want []pipeline.Amendment
			if c.erased {
				want = []pipeline.Amendment{{Offset: 7, Reason: schemas.Erased, Masked: b.Reasons[0]}}
			}
			if diff := cmp.Diff(want, recheck(t, held, 0)); diff != "" {
				t.Errorf("amendments (-want +got):\n%s", diff)
			}
			if again := recheck(t, held, 0); again != nil {
				t.Errorf("once more: %v", again)
			}
		})
	}
}
