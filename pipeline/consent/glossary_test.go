package consent

import (
	"fmt"
	"testing"

	"lupa/schemas"
)

// TestGlossary: each combination has one number, and those that do not fit any
// more keep what decides, or are none.
func TestGlossary(t *testing.T) {
	g := newGlossary(inFinland)
	number := func(terms schemas.Terms) uint32 {
		id, kept := g.number(&terms)
		if !kept {
			t.Fatalf("%d combinations leave no room", len(g.terms))
		}
		return id
	}
	form := number(schemas.Terms{Method: "form", Regions: "FI"})
	if number(schemas.Terms{}) != 0 || number(schemas.Terms{Method: "form", Regions: "FI"}) != form || g.barred[form] || !g.barred[nowhere] {
		t.Error("terms have no number of their own")
	}
	if id := number(schemas.Terms{Regions: "SE"}); !g.barred[id] {
		t.Error("a region that is not allowed is not barred")
	}
	for i := range 2 * maxTerms {
		id := number(schemas.Terms{Method: fmt.Sprint(i), Regions: "FI", Country: "FI"})
		if terms := g.terms[id]; terms.Regions != "FI" || terms.Country != "FI" {
			t.Fatalf("combination %d is %+v", i, terms)
		}
	}
	if len(g.terms) != wholeTerms+1 {
		t.Errorf("%d combinations are kept, want %d", len(g.terms), wholeTerms+1)
	}
	for i := 0; len(g.terms) < maxTerms; i++ {
		number(schemas.Terms{Basis: fmt.Sprint(i)})
	}
	if id, kept := g.number(&schemas.Terms{Basis: "one more", Method: "form"}); kept || id != 0 || len(g.terms) != maxTerms {
		t.Errorf("one more is kept as %d of %d", id, len(g.terms))
	}
	if number(schemas.Terms{Method: "form", Regions: "FI"}) != form {
		t.Error("what was known has another number")
	}

	// A record whose terms are lost never permits more.
	for _, s := range []say{grant(email, 1).in("DK"), guardian(email, 1).in("DK"), retain("lost", 9)} {
		k, known := scoped(&s.Record, testRules.vocabulary, g)
		if e := entry(&s.Record, k, g); known && e.Says != schemas.NoRecord {
			t.Errorf("%s without its terms says %s", s.Verb, e.Says)
		}
	}
	child := schemas.Record{Verb: schemas.Born, Terms: schemas.Terms{Country: "DK"}}
	if e := entry(&child, key{scope: birth}, g); e.Says != schemas.NoRecord {
		t.Errorf("a birth without its law says %s", e.Says)
	}
	s := withdraw(email, 1).in("DK")
	if e := entry(&s.Record, key{scope: email}, g); e.Says != schemas.Withdrawn {
		t.Errorf("a withdrawal without its terms says %s", e.Says)
	}
}
