package consent

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

// listed gives statements by message.
type listed [][]schemas.Statement

func (l listed) Read(_ *schemas.LedgerMessages, i int, dst []schemas.Statement) []schemas.Statement {
	return append(dst, l[i]...)
}

func stated(s say) schemas.Statement { return schemas.Statement{Kind: schemas.Said, Record: s.Record} }

// TestStatements: a message may say several things. One that is about nobody
// stops the view, and nothing of its message counts.
func TestStatements(t *testing.T) {
	u := user("u")
	read := listed{
		{stated(of(u, grant(email, 1))), stated(of(u, grant(stats, 1))), {Kind: schemas.Marked}},
		{},
		{{Kind: schemas.Deleted, Record: schemas.Record{Principal: u, Purpose: stats}}, {Fault: errors.New("sequence: is wrong"), Record: schemas.Record{Principal: u, Purpose: prof}}},
		{stated(of(u, withdraw(email, 2))), {Fault: errors.New("purpose: is wrong")}},
		{stated(of(u, erase(9)))},
	}
	v := newView(t, Options{Reader: read})
	n, err := v.Apply(make([][]byte, len(read)), make([][]byte, len(read)))
	if n != 3 || err == nil || !strings.Contains(err.Error(), "message 3 ") || !strings.Contains(err.Error(), "purpose: is wrong") || !errors.Is(err, errNobody) {
		t.Errorf("applied %d: %v", n, err)
	}
	want := Stats{Identifiers: 1, Subjects: 1, Records: 2, Markers: 1, Tombstones: 1, Unreadable: 1}
	if diff := cmp.Diff(want, v.Stats()); diff != "" || v.Fault() != "sequence: is wrong" {
		t.Errorf("fault %q, stats (-want +got):\n%s", v.Fault(), diff)
	}
	got := decideRows(t, v, contract(), row{time: 5, user: "u"})
	if diff := cmp.Diff([]Decision{{Reason: schemas.ConsentGiven, Granted: schemas.Purposes(email)}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n, err := v.ApplyMessages(&schemas.LedgerMessages{Keys: make([][]byte, 1), Values: make([][]byte, 1), Offsets: make([]int64, 2)}); n != 0 || err == nil {
		t.Errorf("applied %d of uneven slices: %v", n, err)
	}
}

// TestUnreadableVerbs: a value that cannot be read denies whatever its key is.
func TestUnreadableVerbs(t *testing.T) {
	for key, c := range map[string]struct {
		want schemas.Reason
		then say // makes up for it
	}{
		"user_id:u|restriction":                     {schemas.NoRecord, lift(2)},
		"user_id:u|born":                            {schemas.NoRecord, born(0, "FI")},
		"user_id:u|retain:plan":                     {schemas.NoRecord, retain("plan", 20)},
		"user_id:u|guardian:*":                      {schemas.NoRecord, every(guardianWithdraw(schemas.NoPurpose, 2))},
		"user_id:u|guardian:direct_marketing_email": {schemas.NoRecord, guardian(email, 2)},
		"user_id:u|guardian:whatever":               {schemas.NoRecord, every(guardianWithdraw(schemas.NoPurpose, 2))},
		"user_id:u|whatever":                        {schemas.NoRecord, every(withdraw(schemas.NoPurpose, 1))},
	} {
		v := newView(t, Options{Now: func() int64 { return day(2000, 1, 1) }})
		apply(t, v, of(user("u"), grant(email, 3)))
		var m messages
		m.add(key, []byte("{"))
		if _, err := v.Apply(m.keys, m.values); err != nil {
			t.Fatal(err)
		}
		later := row{time: day(1999, 1, 1), user: "u"}
		if d := decideRows(t, v, contract(), later)[0]; d.Reason != c.want {
			t.Errorf("%s: %s, want %s", key, d.Reason, c.want)
		}
		apply(t, v, of(user("u"), c.then))
		if d := decideRows(t, v, contract(), later)[0]; d.Reason != schemas.ConsentGiven && c.then.Verb != schemas.Born {
			t.Errorf("%s, and a record that can be read: %s", key, d.Reason)
		}
	}
}

// TestTombstonesOfTheWhole: deleting a restriction does not lift it, and deleting
// a birth makes nobody older.
func TestTombstonesOfTheWhole(t *testing.T) {
	v := newView(t, Options{Now: func() int64 { return 9 }})
	apply(t, v, of(user("u"), grant(email, 1)), of(user("u"), restrict(2)), of(user("w"), grant(email, 1)), of(user("w"), born(0, "FI")))
	var m messages
	m.add("user_id:u|restriction", nil)
	m.add("user_id:w|born", nil)
	if _, err := v.Apply(m.keys, m.values); err != nil {
		t.Fatal(err)
	}
	got := decideRows(t, v, contract(), row{time: 5, user: "u"}, row{time: 5, user: "w"})
	if got[0].Reason != schemas.Restricted || got[1].Reason != schemas.Minor {
		t.Errorf("%s and %s", got[0].Reason, got[1].Reason)
	}
}

// TestLinksThatAreNone: a shared link and an unlink permit nothing.
func TestLinksThatAreNone(t *testing.T) {
	shared := linked(user("u"), user("w"))
	shared.Shared = true
	undone := linked(user("u"), user("w"))
	undone.Verb = schemas.Unlink
	for name, s := range map[string]say{"shared": shared, "unlink": undone} {
		v := newView(t, Options{})
		apply(t, v, of(user("u"), grant(email, 1)), s)
		if d := decideRows(t, v, contract(), row{time: 5, user: "w"})[0]; d.Reason == schemas.ConsentGiven {
			t.Errorf("%s: %s", name, d.Reason)
		}
	}
}

// TestNowNeverGoesBack: a clock that does is not believed.
func TestNowNeverGoesBack(t *testing.T) {
	at := int64(10)
	v := newView(t, Options{Now: func() int64 { return at }})
	for _, c := range []struct{ clock, want int64 }{{10, 10}, {12, 12}, {5, 12}, {12, 12}, {13, 13}} {
		if at = c.clock; v.now() != c.want {
			t.Errorf("a clock at %d gives %d, want %d", c.clock, v.now(), c.want)
		}
	}
}

// TestTermsBesideStages: records with terms that nobody had before come in while
// batches are decided by those that were there.
func TestTermsBesideStages(t *testing.T) {
	v := newView(t, Options{})
	apply(t, v, of(user("u"), grant(email, 1).in("FI")), of(user("w"), grant(email, 1).in("SE")))
	var deciding sync.WaitGroup
	stop := make(chan struct{})
	deciding.Go(func() {
		for {
			got := decideRows(t, v, contract(), row{time: 5, user: "u"}, row{time: 5, user: "w"})
			if got[0].Reason != schemas.ConsentGiven || got[1].Reason != schemas.Residency {
				t.Errorf("%s and %s", got[0].Reason, got[1].Reason)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for i := range 500 {
		s := grant(email, 1).v(int64(i + 2)).in("FI")
		s.Terms.Method = fmt.Sprint("method ", i)
		apply(t, v, of(user("u"), s))
	}
	close(stop)
	deciding.Wait()
	explained := v.Explain([]schemas.Token{tokenOf(user("nobody else")), tokenOf(user("u"))}, Question{At: 5, Now: 9, Need: schemas.Purposes(email)})
	if explained.Reason != schemas.ConsentGiven || len(explained.Chain) != 2 || explained.Chain[0].Terms.Method != "method 499" || explained.Chain[0].Clock != "now" {
		t.Errorf("%+v", explained)
	}
}
