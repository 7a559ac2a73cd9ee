package gen

import (
	"io"
	"testing"

	"lupa/schemas"
)

// TestLedger reads every record back and checks that each subject said what
// its choice is.
func TestLedger(t *testing.T) {
	const subjects = 2000
	o := Options{Seed: 1, Events: 1, Subjects: subjects, Files: 1}
	type said struct{ granted, unproven, refused, withdrawn, objected, erased bool }
	about := map[string]*said{}
	l := NewLedger(o)
	records, verbs, version := 0, map[schemas.Verb]int{}, int64(0)
	for {
		line, err := l.Append(nil)
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		r, err := schemas.ParseRecord(line)
		if err != nil {
			t.Fatalf("record %d: %v", records, err)
		}
		records++
		verbs[r.Verb]++
		if r.Version <= version {
			t.Fatalf("record %d has version %d after %d", records, r.Version, version)
		}
		version = r.Version
		s := about[r.Principal.Reveal()]
		if s == nil {
			s = &said{}
			about[r.Principal.Reveal()] = s
		}
		switch r.Verb {
		case schemas.Grant:
			s.granted, s.unproven = s.granted || r.Proven, s.unproven || !r.Proven
		case schemas.Refuse:
			s.refused = true
		case schemas.Withdraw:
			s.withdrawn = true
		case schemas.Object:
			s.objected = true
		case schemas.Erase:
			s.erased = true
		}
	}
	for _, v := range []schemas.Verb{schemas.Grant, schemas.Refuse, schemas.Withdraw, schemas.Object, schemas.Erase, schemas.Link} {
		if verbs[v] == 0 {
			t.Errorf("no record has verb %d", v)
		}
	}
	silent := 0
	for rank := range subjects {
		s := NewSubject(o.Seed, rank)
		got, ok := about[s.principal().Reveal()]
		if !ok {
			got = &said{}
			silent++
		}
		want := map[Choice]said{
			Granted: {granted: true}, GrantedNow: {granted: true}, Unproven: {unproven: true}, Refused: {refused: true},
			Withdrawn: {granted: true, withdrawn: true}, Objected: {granted: true, objected: true}, Erased: {granted: true, erased: true},
		}[s.Choice]
		if *got != want {
			t.Errorf("subject %d of choice %d said %+v", rank, s.Choice, *got)
		}
	}
	if silent == 0 {
		t.Error("the ledger knows every subject")
	}
	t.Logf("%d records of %d subjects", records, subjects)
}

func BenchmarkLedger(b *testing.B) {
	l := NewLedger(Options{Seed: 1, Events: 1, Subjects: maxSubjects, Files: 1})
	var line []byte
	b.ReportAllocs()
	for range b.N {
		line, _ = l.Append(line[:0])
	}
	b.SetBytes(int64(len(line)))
}
