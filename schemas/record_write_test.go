package schemas

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestRecordRoundTrip writes records of every kind and reads them again, with a
// reader that is kept and without one.
func TestRecordRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := recordWriter{recordMaker{rand.New(rand.NewPCG(seed, 1))}}
	reader := NewRecordReader(DefaultVocabulary())
	seen := map[Verb]int{}
	for range 20_000 {
		r := w.draw()
		seen[r.Verb]++
		checkRoundTrip(t, r)
		got, err := reader.Parse(AppendRecord(nil, r))
		if err != nil || got != r {
			t.Fatalf("wrote %+v, a reader that is kept reads %+v, error %v", r, got, err)
		}
		if t.Failed() {
			return
		}
	}
	for v := NoVerb; v <= Expire; v++ {
		if seen[v] == 0 {
			t.Errorf("no record with the verb %q was drawn", v)
		}
	}
}

// recordWriter draws records that can be in a ledger.
type recordWriter struct{ recordMaker }

func (w recordWriter) draw() Record {
	r := Record{Verb: Verb(w.IntN(len(verbNames))), Time: w.at(), Version: int64(w.Uint64())}
	r.Principal, r.Token = w.principal()
	if r.Verb == Link || r.Verb == Unlink {
		for r.Other, r.OtherToken = w.principal(); r.Other == r.Principal && r.OtherToken == r.Token; {
			r.Other, r.OtherToken = w.principal()
		}
		r.Shared = r.Verb == Link && w.IntN(2) == 0
		return r
	}
	r.Terms = w.terms()
	switch r.Verb {
	case Erase:
		r.Every = true
	case Retain:
		r.Terms.Fields, r.Terms.Basis, r.Until = w.pick("a", "a,b", "order_id,vat_id"), w.pick("eu-gdpr:A6-1-c", otherTerm), w.later()
	case Born:
		r.Terms.Country, r.Until = w.pick("", "FI", "GB"), time.Date(w.IntN(10000), time.January, 1+w.IntN(365), 0, 0, 0, 0, time.UTC).UnixMicro()
	case Grant, GuardianGrant:
		r.Purpose = Purpose(w.IntN(NumPurposes))
		w.consent(&r)
	case Restrict, Lift:
	default:
		w.denial(&r)
	}
	return r
}

// consent decides whether a grant is proven, and how long it holds.
func (w recordWriter) consent(r *Record) {
	if w.IntN(2) == 0 {
		r.Until = w.later()
	}
	switch t := &r.Terms; w.IntN(3) {
	case 0:
		r.Proven = true
		t.Method, t.Notice, t.System = w.pick("web_form", "double_opt_in", otherTerm), w.pick("n 1", otherTerm), "crm"
		t.Type = w.pick("", "ExpressedConsent", "https://w3id.org/dpv#ExplicitlyExpressedConsent")
	case 1:
		r.Pending = true
	default:
		if isDoubleOptIn([]byte(t.Method)) {
			t.Method = ""
		}
		switch w.IntN(4) {
		case 0:
			r.Time = 0
		case 1:
			t.Notice = w.pick("", blankTerm, "   ")
		case 2:
			t.System = ""
		default:
			t.Type = w.pick("ImpliedConsent", otherTerm, blankTerm)
		}
	}
}

// denial decides what is taken away.
func (w recordWriter) denial(r *Record) {
	if w.IntN(4) == 0 {
		r.Every = true
		return
	}
	names := append(PurposeNames(), unknownPurpose)
	for p := FirstGroup; DefaultVocabulary().Name(p) != ""; p++ {
		names = append(names, DefaultVocabulary().Name(p))
	}
	if r.Verb == Object {
		r.Purpose, r.Every = DefaultVocabulary().Objected(w.pick(names...))
		return
	}
	r.Purpose, r.Every = DefaultVocabulary().Denied(w.pick(names...))
}

func (w recordWriter) principal() (Subject, Token) {
	if w.IntN(3) == 0 {
		return Subject{}, Token{byte(1 + w.IntN(3)), 6: 0x80, 8: 0x80}
	}
	return NewSubject(UserID+IdentifierKind(w.IntN(5)), w.pick("1", "2", "a\"\\\n\x00|%:ä\U0001F600@example.com")), Token{}
}

func (w recordWriter) terms() Terms {
	text := func() string {
		return w.pick("", "", otherTerm, blankTerm, "web_form", "double_opt_in", "Double Opt-In", "a+b/c#d:e._-", strings.Repeat("x", 64))
	}
	return Terms{
		Method: text(), Notice: text(), System: text(), Language: text(), Basis: text(), Type: text(), ProcessingID: text(),
		Regions: w.pick("", "", "?", "EEA", "FI,SE", "?,ADEQUATE,EU,US-DPF"),
	}
}

// at gives a time in the years 0 to 9999.
func (w recordWriter) at() int64 {
	first := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	return w.edge(first, lastSecond*1_000_000+999_999)
}

func (w recordWriter) later() int64 { return w.edge(1, lastSecond*1_000_000+999_999) }

func (w recordWriter) edge(from, to int64) int64 {
	switch w.IntN(20) {
	case 0:
		return from
	case 1:
		return to
	}
	return from + w.Int64N(to-from)
}

// A grant that is not proven is not written as one that is, and a proven one is
// read as one.
func TestAppendRecordProof(t *testing.T) {
	for _, verb := range []Verb{Grant, GuardianGrant} {
		r := testGrant(func(r *Record) { r.Verb, r.Proven = verb, false })
		if got, err := ParseRecord(AppendRecord(nil, r)); err != nil || got.Proven || got.Pending {
			t.Errorf("%s: what was not proven is read as %+v, error %v", verb, got, err)
		}
		r.Proven, r.Terms = true, Terms{Language: "fi"}
		if got, err := ParseRecord(AppendRecord(nil, r)); err != nil || !got.Proven || got.Terms.Language != "fi" {
			t.Errorf("%s: what was proven is read as %+v, error %v", verb, got, err)
		}
	}
}
