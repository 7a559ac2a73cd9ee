package consent

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lupa/pipeline"
	"lupa/schemas"
)

// oneByOne reads the statement that is next.
type oneByOne struct{ next *schemas.Statement }

func (o oneByOne) Read(_ *schemas.LedgerMessages, _ int, dst []schemas.Statement) []schemas.Statement {
	return append(dst, *o.next)
}

// statementDrawn draws anything that a ledger may say.
func statementDrawn(rt *rapid.T) schemas.Statement {
	s := schemas.Statement{Kind: schemas.Said}
	switch rapid.IntRange(0, 9).Draw(rt, "message") {
	case 0:
		s.Kind = schemas.Deleted
	case 1:
		s.Kind = schemas.Unreadable
	default:
		s.Record = said(rt).Record
		return s
	}
	s.Record.Principal = subjects.Draw(rt, "key")
	switch rapid.IntRange(0, 5).Draw(rt, "about") {
	case 0:
		s.Record.Every = true
	case 1:
		s.Record.Verb = schemas.Erase
	case 2:
		s.Record.Verb = schemas.Link
		s.Record.Other = subjects.Filter(func(o schemas.Subject) bool { return o != s.Record.Principal }).Draw(rt, "other")
	default:
		drawSlot(rt, &s.Record)
	}
	return s
}

// TestNothingLateIsLeft: a row that was kept, and would no longer be after what the
// ledger says later, names somebody whom a review is about. It is not so of what
// is no more than a grant that was given too late or is worth less.
func TestNothingLateIsLeft(t *testing.T) {
	taken := map[schemas.Reason]int{}
	rapid.Check(t, func(rt *rapid.T) {
		var reviewed int64
		var statement schemas.Statement
		at := instants.Draw(rt, "now")
		v := newView(t, Options{
			MaxLinked: rapid.IntRange(2, 5).Draw(rt, "max linked"), SharedKinds: kindsDrawn.Draw(rt, "shared kinds"),
			Now: func() int64 { return at }, Reader: oneByOne{&statement}, Reviewed: func(string, int32) int64 { return reviewed },
		})
		offset := int64(0)
		tell := func(s schemas.Statement) {
			rt.Logf("%d: kind %d %s verb %s time %d version %d until %d proven %t pending %t shared %t %v", offset, s.Kind,
				schemas.AppendRecordKey(nil, s.Record), s.Record.Verb, s.Record.Time, s.Record.Version, s.Record.Until, s.Record.Proven, s.Record.Pending, s.Record.Shared, s.Record.Terms)
			statement = s
			m := &schemas.LedgerMessages{Topic: "consent", Offsets: []int64{offset}, Keys: [][]byte{nil}, Values: [][]byte{nil}}
			if n, err := v.ApplyMessages(m); n != 1 || err != nil {
				rt.Fatalf("applied %d: %v", n, err)
			}
			offset++
		}
		for _, who := range []schemas.Subject{user("a"), user("b"), anon("a"), mail("a"), anon("b")} {
			if rapid.IntRange(0, 2).Draw(rt, "granted") > 0 {
				tell(stated(of(who, grant(email, 1))))
			}
		}
		reviewed = 1 << 60
		for range rapid.IntRange(0, 8).Draw(rt, "before") {
			tell(statementDrawn(rt))
		}
		if v.ReviewCount() > 0 && offset > 5 {
			rt.Fatal("reviews of what was reviewed")
		}
		reviewed = offset
		c := contract()
		rows := rowsDrawn.Draw(rt, "rows")
		for i := range rows {
			rows[i].contact = "" // which would be another kind when somebody gets known
		}
		before := decideRows(t, v, c, rows...)
		for range rapid.IntRange(1, 6).Draw(rt, "after") {
			tell(statementDrawn(rt))
		}
		var found []schemas.Token
		for _, r := range v.Reviews(1 << 20) {
			found = append(append(found, r.Token), v.Concerned(r.Token)...)
		}
		for i, d := range decideRows(t, v, c, rows...) {
			was := before[i].Reason
			switch {
			case was != schemas.ConsentGiven && was != schemas.Retained, d.Reason == was:
				continue
			case was == schemas.ConsentGiven && slices.Contains([]schemas.Reason{schemas.BeforeConsent, schemas.Unproven,
				schemas.Pending, schemas.Expired, schemas.Residency, schemas.Minor}, d.Reason):
				continue
			}
			taken[d.Reason]++
			covered := false
			for _, column := range rows[i].names() {
				for _, who := range column {
					covered = covered || slices.Contains(found, tokenOf(who))
				}
			}
			if !covered {
				rt.Fatalf("row %+v was %s and is %s; reviews %+v", rows[i], was, d.Reason, v.Reviews(100))
			}
		}
	})
	if len(taken) == 0 {
		t.Error("no row was taken away: nothing was tested")
	}
}

// TestSnapshotGoesOn: a view that was written and loaded again, at any moment of any
// history, cannot be told from one that never stopped.
func TestSnapshotGoesOn(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var reviewed int64
		var statement schemas.Statement
		at := instants.Draw(rt, "now")
		opts := Options{
			MaxLinked: rapid.IntRange(2, 5).Draw(rt, "max linked"), SharedKinds: kindsDrawn.Draw(rt, "shared kinds"), Ages: testAges{}, Allows: inFinland,
			Now: func() int64 { return at }, Reader: oneByOne{&statement}, Reviewed: func(string, int32) int64 { return reviewed },
		}
		stayed, again := newView(t, opts), newView(t, opts)
		var next [2]int64
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 8).Draw(rt, "step") {
			default:
				statement = statementDrawn(rt)
				partition := rapid.IntRange(0, 1).Draw(rt, "partition")
				next[partition] += rapid.SampledFrom([]int64{0, 0, 0, 2, 1 << 33}).Draw(rt, "gone")
				m := &schemas.LedgerMessages{Topic: "consent", Partition: int32(partition), Offsets: []int64{next[partition]}, Keys: [][]byte{nil}, Values: [][]byte{nil}}
				next[partition]++
				for _, v := range []*View{stayed, again} {
					if n, err := v.ApplyMessages(m); n != 1 || err != nil {
						rt.Fatalf("applied %d: %v", n, err)
					}
				}
			case 0:
				reviewed = rapid.Int64Range(0, 20).Draw(rt, "reviewed")
			case 1:
				to := pipeline.Vector{{Topic: "consent", ID: rapid.Int32Range(0, 1).Draw(rt, "of")}: rapid.OneOf(rapid.Int64Range(0, 30), rapid.Just(int64(1)<<33)).Draw(rt, "to")}
				stayed.Reviewed(to)
				again.Reviewed(to)
			case 2:
				again = load(t, written(t, again), opts)
				again.rules.vocabulary = testWords{}
			}
		}
		if diff := cmp.Diff(contentsOf(stayed), contentsOf(again)); diff != "" {
			rt.Fatalf("(-stayed +loaded):\n%s", diff)
		}
		c, rows := contractDrawn(rt), rowsDrawn.Draw(rt, "rows")
		if diff := cmp.Diff(decideRows(t, stayed, c, rows...), decideRows(t, again, c, rows...)); diff != "" {
			rt.Fatalf("decisions (-stayed +loaded):\n%s", diff)
		}
		for partition := range int32(2) {
			if a, b := stayed.LateSince("consent", partition), again.LateSince("consent", partition); a != b {
				rt.Fatalf("late since %d, loaded %d", a, b)
			}
		}
		for _, name := range []string{"a", "b", "c"} {
			for _, who := range []schemas.Subject{user(name), anon(name), mail(name)} {
				known, linked := stayed.Known(tokenOf(who))
				if k, l := again.Known(tokenOf(who)); k != known || l != linked {
					rt.Fatalf("known %t with %d, loaded %t with %d", known, linked, k, l)
				}
			}
		}
	})
}

// full is a disk with room for some bytes.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

var errFull = errors.New("no space left")

// TestSnapshotOnAFullDisk: wherever it ends, the view goes on and the next snapshot
// has all of it.
func TestSnapshotOnAFullDisk(t *testing.T) {
	v := someView(t)
	whole := len(written(t, v))
	for _, room := range []int{0, 1, whole / 2, whole - 1} {
		if err := v.WriteSnapshot(t.Context(), &full{room}, anchored()); !errors.Is(err, errFull) {
			t.Errorf("room for %d of %d bytes: %v", room, whole, err)
		}
		apply(t, v, of(user("a"), grant(stats, int64(room))), linked(user("a"), user("b")).v(int64(room)))
		want := contentsOf(v)
		loaded := load(t, written(t, v), Options{Reviewed: func(string, int32) int64 { return 0 }, Ages: testAges{}, Allows: inFinland})
		if diff := cmp.Diff(want, contentsOf(loaded)); diff != "" {
			t.Errorf("room for %d: (-view +loaded):\n%s", room, diff)
		}
	}
}
