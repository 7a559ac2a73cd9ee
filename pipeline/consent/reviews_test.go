package consent

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
)

// at gives messages of a partition's offsets, one after the other from first on.
func at(partition int32, first int64, said ...say) *schemas.LedgerMessages {
	var m messages
	m.say(said...)
	l := &schemas.LedgerMessages{Topic: "consent", Partition: partition, Keys: m.keys, Values: m.values}
	for i := range m.keys {
		l.Offsets = append(l.Offsets, first+int64(i))
	}
	return l
}

func tokenOf(s schemas.Subject) schemas.Token { return hashed{}.Token(s.Kind, []byte(s.Reveal())) }

func applyMessages(t testing.TB, v *View, m *schemas.LedgerMessages) {
	t.Helper()
	if n, err := v.ApplyMessages(m); err != nil || n != len(m.Keys) {
		t.Fatalf("applied %d of %d: %v", n, len(m.Keys), err)
	}
}

// TestReviews: what may take away from rows that are written asks for a review
// of whom it is about, if anything was permitted of them and it comes after the
// last one.
func TestReviews(t *testing.T) {
	u, w := user("u"), user("w")
	for _, c := range []struct {
		name   string
		before []say // reviewed
		then   say
		want   map[schemas.Subject]schemas.Reason
	}{
		{"a withdrawal", []say{of(u, grant(email, 1))}, of(u, withdraw(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Withdrawn}},
		{"a withdrawal of another purpose than was granted", []say{of(u, grant(email, 1))}, of(u, withdraw(stats, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Withdrawn}},
		{"a withdrawal where nothing was granted", []say{of(w, grant(email, 1))}, of(u, withdraw(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Withdrawn}},
		{"a withdrawal where nothing was proven", []say{of(u, claim(email, 1))}, of(u, withdraw(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Withdrawn}},
		{"a withdrawal of somebody unknown", nil, of(u, withdraw(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Withdrawn}},
		{"a refusal of somebody unknown", nil, of(u, refuse(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Refused}},
		{"an objection of somebody unknown", nil, of(u, every(object(email, 2))), map[schemas.Subject]schemas.Reason{u: schemas.Objected}},
		{"a restriction of somebody unknown", nil, of(u, restrict(2)), map[schemas.Subject]schemas.Reason{u: schemas.Restricted}},
		{"an expiry of somebody unknown", nil, of(u, expire(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Expired}},
		{"a birth of somebody unknown", nil, of(u, born(0, "FI")), map[schemas.Subject]schemas.Reason{u: schemas.Minor}},
		{"a guardian's withdrawal for somebody unknown", nil, of(u, guardianWithdraw(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Withdrawn}},
		{"a grant of somebody unknown", nil, of(u, grant(email, 2)), nil},
		{"a grant of somebody unknown that ends", nil, of(u, grant(email, 2).until(9)), nil},
		{"a grant without evidence of somebody unknown", nil, of(u, claim(email, 2)), nil},
		{"a withdrawal by one who is linked", []say{of(u, grant(email, 1)), linked(u, w)}, of(w, withdraw(email, 2)), map[schemas.Subject]schemas.Reason{w: schemas.Withdrawn}},
		{"a refusal", []say{of(u, grant(email, 1))}, of(u, refuse(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Refused}},
		{"an objection", []say{of(u, grant(email, 1))}, of(u, every(object(email, 2))), map[schemas.Subject]schemas.Reason{u: schemas.Objected}},
		{"a restriction", []say{of(u, grant(email, 1))}, of(u, restrict(2)), map[schemas.Subject]schemas.Reason{u: schemas.Restricted}},
		{"what lifts it", []say{of(u, grant(email, 1)), of(u, restrict(2))}, of(u, lift(3)), nil},
		{"an expiry", []say{of(u, grant(email, 1))}, of(u, expire(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Expired}},
		{"an erasure", []say{of(u, grant(email, 1))}, of(u, erase(2)), map[schemas.Subject]schemas.Reason{u: schemas.Erased}},
		{"an erasure of somebody unknown", nil, of(u, erase(2)), map[schemas.Subject]schemas.Reason{u: schemas.Erased}},
		{"an erasure again", []say{of(u, erase(2))}, of(u, erase(2)), nil},
		{"a birth", []say{of(u, grant(email, 1))}, of(u, born(0, "FI")), map[schemas.Subject]schemas.Reason{u: schemas.Minor}},
		{"a guardian's withdrawal", []say{of(u, guardian(email, 1))}, of(u, guardianWithdraw(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Withdrawn}},
		{"a grant", []say{of(u, grant(email, 1))}, of(u, grant(email, 2)), nil},
		{"a grant again", []say{of(u, grant(email, 1))}, of(u, grant(email, 1)), nil},
		{"a grant that ends", []say{of(u, grant(email, 1))}, of(u, grant(email, 2).until(9)), map[schemas.Subject]schemas.Reason{u: schemas.ConsentGiven}},
		{"a grant that does not allow the destination", []say{of(u, grant(email, 1))}, of(u, grant(email, 2).in("SE")), map[schemas.Subject]schemas.Reason{u: schemas.ConsentGiven}},
		{"a grant that comes late", []say{of(u, grant(email, 2))}, of(u, grant(email, 1)), map[schemas.Subject]schemas.Reason{u: schemas.ConsentGiven}},
		{"a grant of the same version", []say{of(u, grant(email, 1))}, of(u, grant(email, 2).v(1)), map[schemas.Subject]schemas.Reason{u: schemas.ConsentGiven}},
		{"a grant of a child", []say{of(u, grant(email, 1)), of(u, born(0, "FI"))}, of(u, grant(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.ConsentGiven}},
		{"a grant without evidence", []say{of(u, grant(email, 1))}, of(u, claim(email, 2)), map[schemas.Subject]schemas.Reason{u: schemas.Unproven}},
		{"a link", []say{of(u, grant(email, 1))}, linked(w, u), map[schemas.Subject]schemas.Reason{u: schemas.NoRecord, w: schemas.NoRecord}},
		{"a link of two that permit nothing", nil, linked(w, u), nil},
		{"a link with one who denies", []say{of(u, withdraw(email, 1))}, linked(w, u), map[schemas.Subject]schemas.Reason{u: schemas.NoRecord, w: schemas.NoRecord}},
		{"a link that is at odds with another", []say{unlinked(w, u, 0)}, linked(w, u), map[schemas.Subject]schemas.Reason{u: schemas.NoRecord, w: schemas.NoRecord}},
		{"a link of what is one already", []say{of(u, grant(email, 1)), linked(w, u)}, linked(u, w), nil},
		{"a duty", []say{of(u, erase(1))}, of(u, retain("plan", 20)), map[schemas.Subject]schemas.Reason{u: schemas.Retained}},
		{"a duty again", []say{of(u, erase(1)), of(u, retain("plan", 20))}, of(u, retain("plan", 20)), nil},
		{"a duty that may end sooner", []say{of(u, erase(1)), of(u, retain("plan", 20))}, of(u, retain("plan", 10).v(2)), map[schemas.Subject]schemas.Reason{u: schemas.Retained}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, reviewed := range []bool{false, true} {
				to := int64(len(c.before))
				v := newView(t, Options{Reviewed: func(topic string, partition int32) int64 {
					if topic != "consent" || partition != 3 {
						t.Errorf("asked for %s/%d", topic, partition)
					}
					return to
				}})
				applyMessages(t, v, at(3, 0, c.before...))
				if n := v.ReviewCount(); n != 0 {
					t.Fatalf("%d reviews of what was reviewed", n)
				}
				want := map[schemas.Token]schemas.Reason{}
				if reviewed {
					to++
				} else {
					for who, why := range c.want {
						want[tokenOf(who)] = why
					}
				}
				applyMessages(t, v, at(3, int64(len(c.before)), c.then))
				got := map[schemas.Token]schemas.Reason{}
				for _, r := range v.Reviews(10) {
					got[r.Token] = r.Why
					if r.Offset != int64(len(c.before)) || r.Partition != (pipeline.Partition{Topic: "consent", ID: 3}) || r.Linked != (c.then.Verb == schemas.Link) {
						t.Errorf("%+v", r)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" || v.ReviewCount() != len(want) {
					t.Errorf("reviewed %t: reviews (-want +got):\n%s", reviewed, diff)
				}
			}
		})
	}
}

// TestReviewsOfWhatIsGone: where messages are gone, rows may have been written
// under them.
func TestReviewsOfWhatIsGone(t *testing.T) {
	u := user("u")
	v := newView(t, Options{Reviewed: func(string, int32) int64 { return 0 }})
	applyMessages(t, v, at(0, 0, of(u, grant(email, 1))))
	applyMessages(t, v, at(0, 1, of(u, grant(stats, 1))))
	if n := v.ReviewCount(); n != 0 {
		t.Fatalf("%d reviews of what is whole", n)
	}
	applyMessages(t, v, at(0, 7, of(u, grant(email, 2))))
	applyMessages(t, v, at(1, 4, of(user("w"), grant(email, 1))))
	want := []Review{
		{Token: tokenOf(u), Partition: pipeline.Partition{Topic: "consent"}, Offset: 7, Why: schemas.NoRecord},
		{Token: tokenOf(user("w")), Partition: pipeline.Partition{Topic: "consent", ID: 1}, Offset: 4, Why: schemas.NoRecord},
	}
	if diff := cmp.Diff(want, v.Reviews(10)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReviewed: one review an identifier waits, from the earliest position and
// for the strictest reason, until the tables were reviewed up to the latest.
func TestReviewed(t *testing.T) {
	u := user("u")
	p := pipeline.Partition{Topic: "consent"}
	v := newView(t, Options{Reviewed: func(string, int32) int64 { return 0 }})
	applyMessages(t, v, at(0, 0, of(u, grant(email, 1)), of(u, withdraw(email, 2)), of(user("w"), erase(3)), of(u, erase(3)), of(u, refuse(email, 4))))
	first := Review{Token: tokenOf(u), Partition: p, Offset: 1, Why: schemas.Erased}
	second := Review{Token: tokenOf(user("w")), Partition: p, Offset: 2, Why: schemas.Erased}
	for _, c := range []struct {
		to   int64
		want []Review
	}{
		{0, []Review{first, second}},
		{1, []Review{first, second}},
		{2, []Review{{first.Token, p, 2, first.Why, false}, second}},
		{3, []Review{{first.Token, p, 3, first.Why, false}}},
		{4, []Review{{first.Token, p, 4, first.Why, false}}},
		{5, nil},
	} {
		v.Reviewed(pipeline.Vector{p: c.to})
		got := v.Reviews(10)
		if len(got) == 2 && got[0].Token != first.Token {
			got[0], got[1] = got[1], got[0] // of one offset the tokens' order counts
		}
		if len(got) != len(c.want) || len(got) > 0 && !cmp.Equal(got, c.want) {
			t.Errorf("reviewed to %d: %+v, want %+v", c.to, got, c.want)
		}
		if n := len(v.Reviews(1)); n != min(1, len(c.want)) || v.Stats().Reviews != int64(len(c.want)) {
			t.Errorf("reviewed to %d: %d of one review, %d in the stats", c.to, n, v.Stats().Reviews)
		}
	}
}

// TestReviewsOfUnreadables: values that cannot be read and tombstones too.
func TestReviewsOfUnreadables(t *testing.T) {
	for key, value := range map[string][]byte{
		"user_id:u|direct_marketing_email": []byte("{"),
		"user_id:u|restriction":            []byte("{"),
		"user_id:u|erase":                  []byte("{"),
		"user_id:u|*":                      nil,
		"user_id:u|link:user_id:w":         []byte("{"),
	} {
		for _, known := range []bool{true, value == nil} { // a tombstone of nothing says nothing
			v := newView(t, Options{Reviewed: func(string, int32) int64 { return 0 }})
			who := user("u")
			if !known {
				who = user("somebody else")
			}
			applyMessages(t, v, at(0, 0, of(who, grant(email, 1))))
			applyMessages(t, v, &schemas.LedgerMessages{Topic: "consent", Offsets: []int64{1}, Keys: [][]byte{[]byte(key)}, Values: [][]byte{value}})
			if n := v.ReviewCount(); n == 0 {
				t.Errorf("%s, known %t: no review", key, known)
			}
		}
	}
}

// TestReviewsOfWhatWasCompacted: a grant that took the place of a withdrawal in a
// compacted topic is all that is left of the two, wherever the withdrawal was.
func TestReviewsOfWhatWasCompacted(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		v := newView(t, Options{Reviewed: func(string, int32) int64 { return 1 }})
		m := at(0, 0, of(user("before"), grant(email, 1)), of(user("u"), grant(email, 3)))
		m.Compacted = compacted
		applyMessages(t, v, m)
		got := v.Reviews(10)
		if want := map[bool]int{true: 1}[compacted]; len(got) != want || want == 1 && got[0].Token != tokenOf(user("u")) {
			t.Errorf("compacted %t: %+v", compacted, got)
		}
	}
}

// TestReviewIsSmall: a ledger that nobody reviewed for long has many.
func TestReviewIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(review{}); n != 16 {
		t.Errorf("a review has %d bytes beside its token", n)
	}
}

// TestReviewedPartitions: what was said in several partitions, or far apart, waits
// until all of it was reviewed.
func TestReviewedPartitions(t *testing.T) {
	const far = int64(1) << 40
	p := func(id int32) pipeline.Partition { return pipeline.Partition{Topic: "consent", ID: id} }
	token := tokenOf(user("u"))
	said := func(version int64) say { return of(user("u"), withdraw(email, version)) }
	opts := Options{Reviewed: func(string, int32) int64 { return 0 }}
	v := newView(t, opts)
	applyMessages(t, v, at(0, 5, said(1)))
	applyMessages(t, v, at(1, 7, said(2)))
	applyMessages(t, v, at(1, 9, said(3)))
	applyMessages(t, v, at(0, far, said(4)))
	applyMessages(t, v, at(0, far+3, said(5)))
	applyMessages(t, v, at(2, 1, said(6)))
	loaded := load(t, written(t, v), opts)
	for _, c := range []struct {
		to   pipeline.Vector
		want *Review
	}{
		{nil, &Review{token, p(0), 5, schemas.Withdrawn, false}},
		{pipeline.Vector{p(1): 9}, &Review{token, p(0), 5, schemas.Withdrawn, false}},
		{pipeline.Vector{p(0): 6}, &Review{token, p(1), 0, schemas.Withdrawn, false}}, // not before that
		{pipeline.Vector{p(0): far + 1}, &Review{token, p(1), 0, schemas.Withdrawn, false}},
		{pipeline.Vector{p(0): far + 4, p(1): 9}, &Review{token, p(1), 9, schemas.Withdrawn, false}},
		{pipeline.Vector{p(0): far + 4, p(1): 10}, &Review{token, p(2), 0, schemas.Withdrawn, false}},
		{pipeline.Vector{p(0): far + 4, p(1): 10, p(2): 2}, nil},
	} {
		for name, v := range map[string]*View{"view": v, "loaded": loaded} {
			v.Reviewed(c.to)
			got := v.Reviews(10)
			if c.want == nil && len(got) > 0 || c.want != nil && (len(got) != 1 || got[0] != *c.want) {
				t.Errorf("%s: reviewed to %v: %+v, want %+v", name, c.to, got, c.want)
			}
		}
	}
	if len(v.reviews.further) > 0 {
		t.Error("positions of nobody are left")
	}
	// In one partition, but too far apart for one review to say.
	applyMessages(t, v, at(0, far+10, said(7)))
	applyMessages(t, v, at(0, 3*far, said(8)))
	for _, c := range []struct{ to, want int64 }{{far, far + 10}, {far + 11, far + 11}, {3 * far, 3 * far}} {
		v.Reviewed(pipeline.Vector{p(0): c.to})
		if got := v.Reviews(10); len(got) != 1 || got[0].Offset != c.want {
			t.Errorf("reviewed to %d: %+v, want offset %d", c.to, got, c.want)
		}
	}
	if v.Reviewed(pipeline.Vector{p(0): 3*far + 1}); v.ReviewCount() > 0 || len(v.reviews.further) > 0 {
		t.Error("it waits on")
	}
}

// TestLateSince: what is read while it had been reviewed already is no part of the
// queue, and that is kept in a snapshot too.
func TestLateSince(t *testing.T) {
	reviewed := int64(3)
	opts := Options{Reviewed: func(string, int32) int64 { return reviewed }}
	v := newView(t, opts)
	check := func(what string, want int64) {
		t.Helper()
		loaded := load(t, written(t, v), opts)
		if got, kept := v.LateSince("consent", 0), loaded.LateSince("consent", 0); got != want || kept != want {
			t.Errorf("%s: since %d, and %d in a snapshot, want %d", what, got, kept, want)
		}
	}
	said := of(user("u"), withdraw(email, 1))
	check("nothing is read", 0)
	applyMessages(t, v, at(0, 0, said, said))
	check("all was reviewed", 2)
	applyMessages(t, v, at(0, 2, said, said))
	check("some was reviewed", 3)
	reviewed = 6
	applyMessages(t, v, at(0, 4, said))
	check("others have reviewed more", 5)
	reviewed = 0
	applyMessages(t, v, at(0, 5, said, said))
	check("less was reviewed than before", 5)
	v.Reviewed(pipeline.Vector{{Topic: "consent"}: 6})
	check("the queue was worked on", 6)
	v.Reviewed(pipeline.Vector{{Topic: "consent"}: 100})
	check("others have read more", 7)
	if got := v.LateSince("consent", 1); got != 0 {
		t.Errorf("a partition without messages: since %d", got)
	}
}
