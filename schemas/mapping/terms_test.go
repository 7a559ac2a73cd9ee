package mapping

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

// What else a record says is what the row's columns say.
func TestTermsOfRows(t *testing.T) {
	micros := func(text string) int64 {
		t.Helper()
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return at.UnixMicro()
	}
	const head = "mapping: 1\nprincipals: [{kind: user_id, path: id}]\ntime: {path: at, format: rfc3339}\nrecords:\n"
	const grant = head + `
  - verb: grant
    purpose: analytics
    evidence: {method: {path: how, values: {DOI: double_opt_in, Form: web_form}}, notice: {path: notice}, system: {path: from}, type: {path: kind}, confirmed_at: {path: confirmed, format: rfc3339}}
    until: {path: until, format: [date, rfc3339], zone: Europe/Helsinki}
    validity: {path: for}
    language: {path: language}
    basis: eu-gdpr:A6-1-a
    regions: {path: where}
    processing: ropa-17
`
	at := micros("2026-01-02T03:04:05Z")
	who := schemas.NewSubject(schemas.UserID, "7")
	base := schemas.Record{Verb: schemas.Grant, Principal: who, Purpose: schemas.Analytics, Time: at, Version: at, Proven: true,
		Terms: schemas.Terms{Method: "web_form", Notice: "n1", System: "crm", Basis: "eu-gdpr:A6-1-a", ProcessingID: "ropa-17"}}
	with := func(change func(*schemas.Record)) schemas.Record {
		r := base
		change(&r)
		return r
	}
	for _, test := range []struct {
		name, mapping, row string
		want               schemas.Record
	}{
		{"as it is", grant, `"how":"form","notice":"n1","from":"crm"`, base},
		{"all terms", grant, `"how":"form","notice":"n1","from":"crm","kind":"ExpressedConsent","language":"fi","where":"fi, SE;EL"`, with(func(r *schemas.Record) {
			r.Terms.Type, r.Terms.Language, r.Terms.Regions = "ExpressedConsent", "fi", "FI,GR,SE"
		})},
		{"regions in a list", grant, `"how":"form","notice":"n1","from":"crm","where":["EU","CH"]`, with(func(r *schemas.Record) { r.Terms.Regions = "CH,EU" })},
		{"confirmed", grant, `"how":"doi","notice":"n1","from":"crm","confirmed":"2026-01-03T00:00:00Z"`, with(func(r *schemas.Record) {
			r.Time, r.Terms.Method = micros("2026-01-03T00:00:00Z"), "double_opt_in"
		})},
		{"not confirmed", grant, `"how":"doi","notice":"n1","from":"crm"`, with(func(r *schemas.Record) {
			r.Proven, r.Pending, r.Terms.Method = false, true, "double_opt_in"
		})},
		{"confirmed at no time", grant, `"how":"doi","notice":"n1","from":"crm","confirmed":"soon"`, with(func(r *schemas.Record) {
			r.Proven, r.Pending, r.Terms.Method = false, true, "double_opt_in"
		})},
		{"without a system", grant, `"how":"form","notice":"n1"`, with(func(r *schemas.Record) { r.Proven, r.Terms.System = false, "" })},
		{"implied", grant, `"how":"form","notice":"n1","from":"crm","kind":"ImpliedConsent"`, with(func(r *schemas.Record) {
			r.Proven, r.Terms.Type = false, "ImpliedConsent"
		})},
		{"until the beginning of a day", grant, `"how":"form","notice":"n1","from":"crm","until":"2027-01-02"`, with(func(r *schemas.Record) { r.Until = micros("2027-01-01T22:00:00Z") })},
		{"for a year", grant, `"how":"form","notice":"n1","from":"crm","for":"P1Y"`, with(func(r *schemas.Record) { r.Until = micros("2027-01-02T03:04:05Z") })},
		{"a duty", head + "  - {verb: retain, fields: [invoice_id, total], basis: {path: law}, until: {path: until, format: date, zone: UTC}}", `"law":"eu-gdpr:A6-1-c","until":"2030-12-31"`, schemas.Record{
			Verb: schemas.Retain, Principal: who, Time: at, Version: at, Until: micros("2031-01-01T00:00:00Z") - 1, Terms: schemas.Terms{Fields: "invoice_id,total", Basis: "eu-gdpr:A6-1-c"}}},
		{"a duty of listed fields", head + "  - {verb: retain, fields: {path: f}, basis: x, until: {path: until, format: rfc3339}}", `"f":["b","a"],"until":"2030-12-31T00:00:00Z"`, schemas.Record{
			Verb: schemas.Retain, Principal: who, Time: at, Version: at, Until: micros("2030-12-31T00:00:00Z"), Terms: schemas.Terms{Fields: "a,b", Basis: "x"}}},
		{"born on a day", head + "  - {verb: born, born: {date: {path: birth, format: date, zone: Europe/Helsinki}, country: {path: land}}}", `"birth":"2012-02-03","land":"UK"`, schemas.Record{
			Verb: schemas.Born, Principal: who, Time: at, Version: at, Until: micros("2012-02-03T00:00:00Z"), Terms: schemas.Terms{Country: "GB"}}},
		{"born in a year", head + "  - {verb: born, born: {year: year, country: FI}}", `"year":"2012"`, schemas.Record{
			Verb: schemas.Born, Principal: who, Time: at, Version: at, Until: micros("2012-12-31T00:00:00Z"), Terms: schemas.Terms{Country: "FI"}}},
		{"restricted", head + "  - verb: {path: hold, if_true: restrict, if_false: lift}", `"hold":"Y"`, schemas.Record{Verb: schemas.Restrict, Principal: who, Time: at, Version: at}},
		{"by a guardian", head + "  - {verb: guardian_withdraw, purpose: analytics}", ``, schemas.Record{Verb: schemas.GuardianWithdraw, Principal: who, Purpose: schemas.Analytics, Time: at, Version: at}},
		{"expired", head + "  - {verb: expire, purpose: analytics}", ``, schemas.Record{Verb: schemas.Expire, Principal: who, Purpose: schemas.Analytics, Time: at, Version: at}},
	} {
		row := `{"id":"7","at":"2026-01-02T03:04:05Z"`
		if test.row != "" {
			row += "," + test.row
		}
		list := NewReader(parse(t, test.mapping)).Row([]byte(row+"}"), nil)
		if len(list) != 1 || list[0].Kind != schemas.Said {
			t.Errorf("%s: %s", test.name, told(list))
			continue
		}
		if d := cmp.Diff(test.want, list[0].Record, cmp.Comparer(func(a, b schemas.Subject) bool { return a == b })); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
	}
}

// What of a rule about a whole person cannot be read denies all of it.
func TestFaultsAboutWholePeople(t *testing.T) {
	const head = "mapping: 1\nprincipals: [{kind: user_id, path: id}]\ntime: {path: at, format: rfc3339}\nrecords:\n"
	for _, test := range []struct {
		name, mapping, row string
		verb               schemas.Verb
		every              bool
	}{
		{"a restriction that may be one", head + "  - verb: {path: hold, if_true: restrict, if_false: lift}", `{"id":"7","at":"2026-01-02T03:04:05Z","hold":"?"}`, schemas.NoVerb, true},
		{"a verb that may be an erasure", head + "  - {verb: {path: v, values: {a: grant, b: erase}}, purpose: analytics}", `{"id":"7","at":"2026-01-02T03:04:05Z","v":"c"}`, schemas.NoVerb, true},
		{"an erasure without its time", head + "  - verb: erase", `{"id":"7"}`, schemas.Erase, true},
		{"a birth that is no day", head + "  - {verb: born, born: {date: {path: b, format: date, zone: UTC}}}", `{"id":"7","at":"2026-01-02T03:04:05Z","b":"x"}`, schemas.Born, false},
		{"a birth without a day", head + "  - {verb: born, born: {year: y}}", `{"id":"7","at":"2026-01-02T03:04:05Z"}`, schemas.Born, false},
		{"a duty without an end", head + "  - {verb: retain, fields: [a], basis: x}", `{"id":"7","at":"2026-01-02T03:04:05Z"}`, schemas.Retain, false},
		{"a validity that is none", head + "  - {verb: grant, purpose: analytics, validity: {path: v}}", `{"id":"7","at":"2026-01-02T03:04:05Z","v":"long"}`, schemas.NoVerb, false},
	} {
		list := NewReader(parse(t, test.mapping)).Row([]byte(test.row), nil)
		if len(list) != 1 || list[0].Kind != schemas.Unreadable || list[0].Record.Principal.Reveal() != "7" ||
			list[0].Record.Verb != test.verb || list[0].Record.Every != test.every {
			t.Errorf("%s: %s, %v %t", test.name, told(list), list[0].Record.Verb, list[0].Record.Every)
		}
	}
}

// A row links those whom it names, and none of them with somebody through an
// identifier of several people.
func TestLinksOfSharedIdentifiers(t *testing.T) {
	const text = `
mapping: 1
principals:
  - {kind: phone, path: family, shared: true}
  - {kind: device_id, path: tablet, shared: true}
  - {kind: user_id, path: id}
time: {path: at, format: rfc3339}
records: [{verb: refuse, purpose: analytics}]
`
	for row, want := range map[string][]string{
		`"family":"1","tablet":"2","id":"3"`: {"user_id>phone shared", "user_id>device_id shared"},
		`"family":"1","tablet":"2"`:          {"phone>device_id shared", "device_id>phone shared"},
		`"family":"1"`:                       nil,
	} {
		var got []string
		for _, s := range NewReader(parse(t, text)).Row([]byte(`{"at":"2026-01-02T03:04:05Z",`+row+`}`), nil) {
			if s.Record.Verb == schemas.Link {
				link := s.Record.Principal.Kind.String() + ">" + s.Record.Other.Kind.String()
				if s.Record.Shared {
					link += " shared"
				}
				got = append(got, link)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", row, d)
		}
	}
}
