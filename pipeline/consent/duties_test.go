package consent

import (
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
)

// retaining is a contract whose plan and contact are columns.
func retaining() *schemas.Contract {
	c := contract()
	c.Fields[contactColumn].Treatment.Technique = schemas.Pseudonymize
	return c
}

// TestStageDuties: what a duty keeps is masked whatever the contract says, and
// the batch names the fields; what no duty keeps a field of is erased.
func TestStageDuties(t *testing.T) {
	const basis = "eu-gdpr:A6-1-c"
	plan, contact := []bool{plainColumn: true}, []bool{contactColumn: true, plainColumn: false}
	for _, c := range []struct {
		name   string
		duties []say
		want   []pipeline.Duty // none is erased
	}{
		{"one field", []say{retain("plan", 20)}, []pipeline.Duty{{Fields: plan, Until: 20, Basis: basis}}},
		{"a field of this table", []say{retain("tracks.plan", 20)}, []pipeline.Duty{{Fields: plan, Until: 20, Basis: basis}}},
		{"a field of another table", []say{retain("orders.plan", 20)}, nil},
		{"a field that is none", []say{retain("nothing", 20)}, nil},
		{"a field that is never stored", []say{retain("user_id", 20)}, nil},
		{"two fields", []say{retain("contact,plan", 20)}, []pipeline.Duty{{Fields: []bool{contactColumn: true, plainColumn: true}, Until: 20, Basis: basis}}},
		{"two duties end when the first of them does", []say{retain("contact", 30), retain("plan", 20)},
			[]pipeline.Duty{{Fields: []bool{contactColumn: true, plainColumn: true}, Until: 20, Basis: basis}}},
		{"a duty that has ended", []say{retain("contact", 30), retain("plan", 9)}, []pipeline.Duty{{Fields: contact, Until: 30, Basis: basis}}},
		{"all have ended", []say{retain("plan", 9)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newView(t, Options{Now: func() int64 { return 10 }})
			apply(t, v, of(user("v"), grant(email, 1)), of(user("u"), erase(7)))
			for _, s := range c.duties {
				apply(t, v, of(user("u"), s))
			}
			for _, denial := range []schemas.Denial{schemas.DropRow, schemas.MaskRow} {
				tracks := retaining()
				tracks.OnDeny = denial
				b := batch(memory.DefaultAllocator, tracks, row{time: 5, user: "v"}, row{time: 5, user: "u"}, row{time: 8, user: "u"})
				defer b.Raw.Release()
				b.Duties = make([]pipeline.Duty, 3) // of the batch before
				if err := NewStage(v, hashed{}).Apply(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				checkVerdicts(t, b, 3)
				want := schemas.Erased
				for i := range c.want {
					want, c.want[i].Row = schemas.Retained, 1
				}
				if b.Reasons[1] != want || b.Reasons[2] != schemas.NoRecord {
					t.Errorf("reasons %v, want %s", b.Reasons, want)
				}
				if len(b.Duties) != len(c.want) || len(c.want) > 0 && !cmp.Equal(c.want, b.Duties) {
					t.Errorf("duties %+v, want %+v", b.Duties, c.want)
				}
			}
		})
	}
}

// TestRecheckByItself: what changes without a word of the ledger is found too, in
// the moment it does and not before.
func TestRecheckByItself(t *testing.T) {
	for _, c := range []struct {
		name string
		said []say
		at   int64
		due  int64
		want pipeline.Amendment
	}{
		{"a validity ends", []say{grant(email, 1).until(20)}, 5, 20, pipeline.Amendment{Reason: schemas.Expired}},
		{"a duty ends", []say{erase(7), retain("plan", 20)}, 5, 20, pipeline.Amendment{Reason: schemas.Erased, Masked: schemas.Retained}},
		{"a child comes of age", []say{born(20-day(1970, 1, 2)/2-day(1970, 1, 1)+day(1954, 1, 1), ""), guardian(email, 1)}, 5, 20, pipeline.Amendment{Reason: schemas.Minor}},
		{"a grant that does not end", []say{grant(email, 1)}, 5, 0, pipeline.Amendment{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := int64(10)
			v := newView(t, Options{Now: func() int64 { return at }})
			for _, s := range c.said {
				apply(t, v, of(user("u"), s))
			}
			stage := NewStage(v, hashed{})
			b := applyTo(t, stage, retaining(), 0, pipeline.Partition{}, 7, row{time: c.at, user: "u"})
			if b.Verdicts[0] == pipeline.DropRow {
				t.Fatalf("the row is dropped: %s", b.Reasons[0])
			}
			held := stage.Hold()
			for at = 10; at < 20; at++ {
				if amended := recheck(t, held, 0); amended != nil {
					t.Fatalf("at %d: %v", at, amended)
				}
			}
			var want []pipeline.Amendment
			if c.want.Offset = 7; c.due != 0 {
				want = []pipeline.Amendment{c.want}
			}
			if diff := cmp.Diff(want, recheck(t, held, 0)); diff != "" {
				t.Errorf("at %d (-want +got):\n%s", at, diff)
			}
			at = 99
			if amended := recheck(t, held, 0); amended != nil {
				t.Errorf("and again: %v", amended)
			}
		})
	}
}

// TestRecheckRetained: what is erased while it is held has nothing that a duty
// could keep.
func TestRecheckRetained(t *testing.T) {
	v := newView(t, Options{Now: func() int64 { return 10 }})
	apply(t, v, of(user("u"), grant(email, 1)), of(user("u"), retain("plan", 20)), of(user("w"), refuse(email, 1)), of(user("w"), retain("plan", 20)))
	stage, tracks := NewStage(v, hashed{}), retaining()
	tracks.OnDeny = schemas.MaskRow
	applyTo(t, stage, tracks, 0, pipeline.Partition{}, 7, row{time: 5, user: "u"}, row{time: 5, user: "w"})
	held := stage.Hold()
	apply(t, v, of(user("u"), erase(9)), of(user("w"), erase(9)))
	want := []pipeline.Amendment{{Offset: 7, Reason: schemas.Erased}, {Offset: 8, Reason: schemas.Erased, Masked: schemas.Refused}}
	if diff := cmp.Diff(want, recheck(t, held, 0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// narrowing takes away a purpose of every second row.
type narrowing struct {
	without schemas.PurposeSet
	err     error
	calls   int
}

func (n *narrowing) Narrow(b *pipeline.Batch, permitted []schemas.PurposeSet) error {
	n.calls++
	for row := range permitted {
		if row%2 == 1 {
			permitted[row] &^= n.without
		}
	}
	return n.err
}

// TestStageNarrows: consent in events only takes away.
func TestStageNarrows(t *testing.T) {
	for _, c := range []struct {
		name    string
		without schemas.PurposeSet
		said    say
		want    Decision // of the second row
	}{
		{"a purpose that is needed", schemas.Purposes(email), grant(email, 1), Decision{Reason: schemas.RefusedInEvent, Granted: schemas.Purposes(stats)}},
		{"a purpose of a field", schemas.Purposes(stats), grant(email, 1), Decision{Reason: schemas.ConsentGiven, Granted: schemas.Purposes(email)}},
		{"another purpose", schemas.Purposes(prof), grant(email, 1), Decision{Reason: schemas.ConsentGiven, Granted: schemas.Purposes(email, stats)}},
		{"what the ledger denies keeps its reason", schemas.Purposes(email), refuse(email, 1), Decision{Reason: schemas.Refused, Granted: schemas.Purposes(stats)}},
		{"nothing but what is erased", schemas.AllPurposes, erase(9), Decision{Reason: schemas.Erased}},
	} {
		n := &narrowing{without: c.without}
		v := newView(t, Options{Narrow: n})
		apply(t, v, of(user("u"), grant(stats, 1)), of(user("u"), c.said))
		tracks := contract()
		rows := []row{{time: 5, user: "u"}, {time: 5, user: "u"}}
		plain := decideRows(t, v, tracks, rows...)
		if n.calls != 0 || !cmp.Equal(plain[0], plain[1]) {
			t.Fatalf("%s: narrowed without a signal", c.name)
		}
		tracks.Signals = make([]schemas.Signal, 1)
		got := decideRows(t, v, tracks, rows...)
		if diff := cmp.Diff([]Decision{plain[0], c.want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	v := newView(t, Options{Narrow: &narrowing{err: errors.New("broken")}})
	tracks := contract()
	tracks.Signals = make([]schemas.Signal, 1)
	b := batch(memory.DefaultAllocator, tracks, row{time: 5, user: "u"})
	defer b.Raw.Release()
	if err := NewStage(v, hashed{}).Apply(t.Context(), b); err == nil || !strings.Contains(err.Error(), "broken") || len(b.Verdicts) != 0 {
		t.Errorf("%v and %d verdicts", err, len(b.Verdicts))
	}
}
