package consent

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

func unlinked(a, b schemas.Subject, version int64) say {
	return say{schemas.Record{Verb: schemas.Unlink, Principal: a, Other: b, Version: version}}
}

// sharedBy says that b is several people's, and a one of them.
func sharedBy(a, b schemas.Subject, version int64) say {
	return say{schemas.Record{Verb: schemas.Link, Principal: a, Other: b, Version: version, Shared: true}}
}

// TestOverReach: what one of a family says is not said for the others, but for
// what it takes away from rows of which nobody can say whose they are.
func TestOverReach(t *testing.T) {
	ann, ben, device, address := user("ann"), user("ben"), anon("device"), mail("home")
	shared := []say{
		sharedBy(ann, device, 1), sharedBy(ben, device, 1), sharedBy(ann, address, 1), sharedBy(ben, address, 1),
		linked(ann, anon("ann's")),
	}
	plain := []say{linked(ann, device).v(1), linked(ben, device).v(1), linked(ann, address).v(1), linked(ben, address).v(1), linked(ann, anon("ann's"))}
	given := func(who ...schemas.Subject) (said []say) {
		for _, s := range who {
			said = append(said, of(s, grant(email, 1)))
		}
		return said
	}
	all := given(ann, ben, device, address)
	const erased, gone, none, refused, kept = schemas.Erased, schemas.Withdrawn, schemas.NoRecord, schemas.Refused, schemas.ConsentGiven
	rows := []row{
		{user: "ann"}, {user: "ben"}, {anon: "device"}, {contact: "home"}, {user: "ann", anon: "device"},
		{user: "ben", anon: "device", contact: "home"}, {anon: "device", contact: "home"}, {user: "new", anon: "device"}, {anon: "ann's"},
	}
	// The rows are of ann, ben, the device, the address, ann on the device, ben
	// on the device with the address, the device with the address, a stranger on the
	// device, and ann's own browser.
	for _, c := range []struct {
		name  string
		links []say
		kinds []schemas.IdentifierKind
		said  []say
		want  [9]schemas.Reason
	}{
		{"all permit", shared, nil, all, [9]schemas.Reason{kept, kept, kept, kept, kept, kept, kept, none, kept}},
		{"a grant of one does not permit another", shared, nil, given(ann), [9]schemas.Reason{kept, none, none, none, kept, none, none, none, kept}},
		{"a grant of the device permits nobody who is named", shared, nil, given(device), [9]schemas.Reason{none, none, kept, none, none, none, kept, none, none}},
		{"a withdrawal of one narrows what names only the shared", shared, nil, append(all, of(ann, withdraw(email, 2))),
			[9]schemas.Reason{gone, kept, gone, gone, gone, kept, gone, none, gone}},
		{"a withdrawal of everything does too", shared, nil, append(all, of(ann, every(withdraw(email, 2)))),
			[9]schemas.Reason{gone, kept, gone, gone, gone, kept, gone, none, gone}},
		{"so does one under what the person is linked with", shared, nil, append(all, of(anon("ann's"), withdraw(email, 2))),
			[9]schemas.Reason{gone, kept, gone, gone, gone, kept, gone, none, gone}},
		{"a refusal of the device narrows all on it", shared, nil, append(all, of(device, refuse(email, 2))),
			[9]schemas.Reason{kept, kept, refused, kept, refused, refused, refused, refused, kept}},
		{"an erasure of one erases nobody else", shared, nil, append(all, of(ann, erase(9))),
			[9]schemas.Reason{erased, kept, kept, kept, erased, kept, kept, none, erased}},
		{"an erasure of the device erases nobody on it", shared, nil, append(all, of(device, erase(9))),
			[9]schemas.Reason{kept, kept, erased, kept, kept, kept, erased, none, kept}},
		{"a shared end is one again when nobody shares it", []say{sharedBy(ann, device, 1), unlinked(ann, device, 2)}, nil, append(given(ann, device), of(ann, erase(9))),
			[9]schemas.Reason{erased, none, kept, none, erased, kept, kept, kept, none}},
		{"who is unlinked shares it no longer", append(shared, unlinked(ann, device, 2)), nil, append(all, of(ann, withdraw(email, 2))),
			[9]schemas.Reason{gone, kept, kept, gone, gone, kept, gone, none, gone}},
		{"shared by its kind", plain, []schemas.IdentifierKind{schemas.AnonymousID, schemas.Email}, append(given(ann, ben, device, address, anon("ann's")), of(ann, erase(9))),
			[9]schemas.Reason{erased, kept, kept, kept, erased, kept, kept, none, kept}},
		{"without being shared they are one person", plain, nil, append(all, of(ann, erase(9))),
			[9]schemas.Reason{erased, erased, erased, erased, erased, erased, erased, erased, erased}},
		{"and permit for each other", plain, nil, given(ann), [9]schemas.Reason{kept, kept, kept, kept, kept, kept, kept, kept, kept}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, said := range [][]say{append(slices.Clone(c.links), c.said...), append(slices.Clone(c.said), c.links...)} {
				v := newView(t, Options{SharedKinds: c.kinds})
				apply(t, v, said...)
				for i := range rows {
					rows[i].time = 5
				}
				var got [9]schemas.Reason
				for i, d := range decideRows(t, v, contract(), rows...) {
					got[i] = d.Reason
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestUnlink: what was one subject is two, at once and for all that is decided.
func TestUnlink(t *testing.T) {
	a, b, c := user("a"), anon("b"), mail("c")
	links := []say{linked(a, b).v(1), linked(b, c).v(1)}
	for _, test := range []struct {
		name string
		said []say
		want [3]schemas.Reason // of a, b and c
	}{
		{"before it", []say{of(a, grant(email, 1))}, [3]schemas.Reason{schemas.ConsentGiven, schemas.ConsentGiven, schemas.ConsentGiven}},
		{"a grant goes no further", []say{of(a, grant(email, 1)), unlinked(b, a, 2)}, [3]schemas.Reason{schemas.ConsentGiven, schemas.NoRecord, schemas.NoRecord}},
		{"nor does an erasure", []say{of(c, erase(9)), of(a, grant(email, 1)), unlinked(b, a, 2)}, [3]schemas.Reason{schemas.ConsentGiven, schemas.Erased, schemas.Erased}},
		{"of a lower version it comes late", []say{of(a, grant(email, 1)), unlinked(b, a, 0)}, [3]schemas.Reason{schemas.ConsentGiven, schemas.ConsentGiven, schemas.ConsentGiven}},
		{"of the same it denies all", []say{of(a, grant(email, 1)), unlinked(b, a, 1)}, [3]schemas.Reason{schemas.NoRecord, schemas.NoRecord, schemas.NoRecord}},
		{"until a higher one links", []say{of(a, grant(email, 1)), unlinked(b, a, 1), linked(a, b).v(3)}, [3]schemas.Reason{schemas.ConsentGiven, schemas.ConsentGiven, schemas.ConsentGiven}},
		{"or unlinks", []say{of(a, grant(email, 1)), unlinked(b, a, 1), unlinked(a, b, 3)}, [3]schemas.Reason{schemas.ConsentGiven, schemas.NoRecord, schemas.NoRecord}},
		{"linked again", []say{of(a, grant(email, 1)), unlinked(b, a, 2), linked(b, a).v(3)}, [3]schemas.Reason{schemas.ConsentGiven, schemas.ConsentGiven, schemas.ConsentGiven}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newView(t, Options{})
			apply(t, v, append(slices.Clone(links), test.said...)...)
			var got [3]schemas.Reason
			for i, d := range decideRows(t, v, contract(), row{time: 5, user: "a"}, row{time: 5, anon: "b"}, row{time: 5, contact: "c"}) {
				got[i] = d.Reason
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestCap: a subject is decided again when it is small enough, and a shared
// identifier that too many share is denied.
func TestCap(t *testing.T) {
	v := newView(t, Options{MaxLinked: 3})
	apply(t, v, of(user("0"), grant(email, 1)), of(anon("d"), grant(email, 1)))
	reason := func(r row) schemas.Reason {
		r.time = 5
		return decideRows(t, v, contract(), r)[0].Reason
	}
	for i := range 9 {
		apply(t, v, linked(user("0"), user(fmt.Sprint(i+1))), sharedBy(mail(fmt.Sprint(i)), anon("d"), 1))
		want, crowd := schemas.ConsentGiven, schemas.ConsentGiven
		if i+2 > 3 {
			want = schemas.NoRecord
		}
		if i+1 > 3 {
			crowd = schemas.NoRecord
		}
		if a, d := reason(row{user: "1"}), reason(row{anon: "d"}); a != want || d != crowd {
			t.Errorf("after %d: %s and %s, want %s and %s", i+1, a, d, want, crowd)
		}
	}
	if s := v.Stats(); s.Capped != 10 || s.CappedRows == 0 || s.Subjects != s.Identifiers {
		t.Errorf("%+v", s)
	}
	for i := 9; i > 2; i-- {
		apply(t, v, unlinked(user("0"), user(fmt.Sprint(i)), 2), unlinked(anon("d"), mail(fmt.Sprint(i)), 2))
	}
	apply(t, v, unlinked(anon("d"), mail("0"), 2))
	if a, d := reason(row{user: "1"}), reason(row{anon: "d"}); a != schemas.ConsentGiven || d != schemas.ConsentGiven {
		t.Errorf("%s and %s after all were unlinked", a, d)
	}
	if s := v.Stats(); s.Capped != 0 || s.Subjects != s.Identifiers-2 {
		t.Errorf("%+v", s)
	}
}

// TestConcerned: whose rows the records of somebody may decide.
func TestConcerned(t *testing.T) {
	v := newView(t, Options{})
	apply(t, v, linked(user("a"), anon("b")), sharedBy(anon("b"), mail("d"), 1), sharedBy(user("x"), mail("d"), 1), of(user("y"), grant(email, 1)))
	for _, c := range []struct {
		of   schemas.Subject
		want []schemas.Subject
	}{
		{user("a"), []schemas.Subject{user("a"), anon("b"), mail("d")}},
		{mail("d"), []schemas.Subject{mail("d")}},
		{user("x"), []schemas.Subject{user("x"), mail("d")}},
		{user("y"), []schemas.Subject{user("y")}},
		{user("unheard"), []schemas.Subject{user("unheard")}},
	} {
		want := map[schemas.Token]int{}
		for _, s := range c.want {
			want[hashed{}.Token(s.Kind, []byte(s.Reveal()))]++
		}
		got := map[schemas.Token]int{}
		for _, token := range v.Concerned(hashed{}.Token(c.of.Kind, []byte(c.of.Reveal()))) {
			got[token]++
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.of.Kind, diff)
		}
	}
}

// TestReviewsOfLinks: an unlink, and a link that makes an identifier a shared one,
// ask for a review of everybody of whom it parts a subject.
func TestReviewsOfLinks(t *testing.T) {
	a, b, c, d := user("a"), anon("b"), mail("c"), anon("d")
	before := []say{linked(a, b).v(1), linked(b, c).v(1), linked(b, d).v(1), of(a, grant(email, 1))}
	for _, test := range []struct {
		name string
		then say
		want []schemas.Subject
	}{
		{"an unlink", unlinked(a, b, 2), []schemas.Subject{a, b, c, d}},
		{"an unlink that comes late", unlinked(a, b, 0), nil},
		{"an end that is shared", sharedBy(a, b, 2), []schemas.Subject{a, b, c, d}},
		{"a link at odds", sharedBy(a, b, 1), []schemas.Subject{a, b, c, d}},
		{"a link with another", linked(user("x"), d), []schemas.Subject{a, b, c, d, user("x")}},
		{"an unlink of two that were none", unlinked(a, user("x"), 2), nil},
		{"a link of two who permit nothing", linked(user("x"), user("y")), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newView(t, Options{Reviewed: func(string, int32) int64 { return int64(len(before)) }})
			var m messages
			m.say(append(slices.Clone(before), test.then)...)
			offsets := []int64{0, 1, 2, 3, 4}
			n, err := v.ApplyMessages(&schemas.LedgerMessages{Topic: "consent", Offsets: offsets, Keys: m.keys, Values: m.values})
			if n != len(offsets) || err != nil {
				t.Fatalf("applied %d: %v", n, err)
			}
			want, got := map[schemas.Token]bool{}, map[schemas.Token]bool{}
			for _, s := range test.want {
				want[hashed{}.Token(s.Kind, []byte(s.Reveal()))] = true
			}
			for _, r := range v.Reviews(100) {
				if got[r.Token] = r.Linked; r.Offset != 4 {
					t.Errorf("a review of offset %d", r.Offset)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
