package schemas

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadStatements(t *testing.T) {
	principal := NewSubject(Email, secret)
	say := func(changes map[string]string) string { return recordText(changes) }
	key := func(slot string) string { return "email:" + secret + "|" + slot }
	const none = "\x00"
	for _, c := range []struct {
		name, key, value string
		want             Statement
		fault            string
	}{
		{name: "a record", key: key("analytics"), value: say(nil), want: Statement{Kind: Said, Record: testGrant(nil)}},
		{name: "a record without key", key: none, value: say(nil), want: Statement{Kind: Said, Record: testGrant(nil)}},
		{name: "a marker by its key", key: `{"marker":"a"}`, value: say(nil), want: Statement{Kind: Marked}},
		{name: "a marker's tombstone", key: `{"marker":"a"}`, value: none, want: Statement{Kind: Marked}},
		{name: "a marker by its value", key: none, value: `{"marker":"a"}`, want: Statement{Kind: Marked}},
		{name: "a marker's value under another key", key: key("analytics"), value: `{"marker":"a"}`,
			want: Statement{Record: Record{Principal: principal, Purpose: Analytics}}, fault: "pii_principal_id: is missing"},
		{name: "a tombstone", key: key("analytics"), value: none, want: Statement{Kind: Deleted, Record: Record{Principal: principal, Purpose: Analytics}}},
		{name: "a tombstone of an unknown purpose", key: key("fun"), value: none, want: Statement{Kind: Deleted, Record: Record{Principal: principal}}},
		{name: "a tombstone of nobody", key: "x", value: none, fault: "tombstone: the record key must have one |"},
		{name: "a tombstone without key", key: none, value: none, fault: "tombstone: the record key must have one |"},
		{name: "an empty value", key: key("erase"), value: "", want: Statement{Record: Record{Verb: Erase, Principal: principal, Every: true}},
			fault: "the record is not JSON"},
		{name: "the key's purpose", key: key("profiling"), value: say(map[string]string{"sequence": ""}),
			want: Statement{Record: Record{Principal: principal, Purpose: Profiling}}, fault: "sequence: is missing"},
		{name: "the value's purpose where the key's is unknown", key: key("fun"), value: say(map[string]string{"sequence": "", "event_time": ""}),
			want: Statement{Record: Record{Principal: principal, Purpose: DirectMarketingEmail}}, fault: "sequence: is missing"},
		{name: "every purpose where neither is known", key: key("fun"), value: say(map[string]string{"sequence": "", "event_time": "", "purpose": `"fun"`}),
			want: Statement{Record: Record{Principal: principal, Every: true}}, fault: "sequence: is missing"},
		{name: "every purpose where only an unknown key is", key: key("fun"), value: "{",
			want: Statement{Record: Record{Principal: principal, Every: true}}, fault: "the record is not JSON"},
		{name: "every purpose of a restriction under a purpose's key", key: key("analytics"), value: say(map[string]string{"event_state": "", "verb": `"restrict"`, "sequence": ""}),
			want: Statement{Record: Record{Principal: principal, Every: true}}, fault: "sequence: is missing"},
		{name: "a restriction's key", key: key("restriction"), value: "{", want: Statement{Record: Record{Verb: Restrict, Principal: principal}}, fault: "the record is not JSON"},
		{name: "a link's key", key: key("link:user_id:7"), value: "{",
			want: Statement{Record: Record{Verb: Link, Principal: principal, Other: NewSubject(UserID, "7")}}, fault: "the record is not JSON"},
		{name: "the value's principal where there is no key", key: none, value: say(map[string]string{"sequence": "", "event_time": ""}),
			want: Statement{Record: Record{Principal: principal, Purpose: DirectMarketingEmail}}, fault: "sequence: is missing"},
		{name: "nobody", key: "x", value: say(map[string]string{"pii_principal_id": ""}),
			fault: "pii_principal_id: is missing; key: the record key must have one |"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := LedgerMessages{Keys: [][]byte{nil, nil}, Values: [][]byte{[]byte("another"), nil}}
			if c.key != none {
				m.Keys[1] = []byte(c.key)
			}
			if c.value != none {
				m.Values[1] = []byte(c.value)
			}
			got := NewRecordReader(DefaultVocabulary()).Read(&m, 1, []Statement{{Kind: Marked}})
			if len(got) != 2 {
				t.Fatalf("got %d statements behind one", len(got)-1)
			}
			fault := ""
			if got[1].Fault != nil {
				fault, got[1].Fault = got[1].Fault.Error(), nil
			}
			if fault != c.fault {
				t.Errorf("got the fault %q, want %q", fault, c.fault)
			}
			if diff := cmp.Diff(c.want, got[1], compareSubjects); diff != "" {
				t.Errorf("statement (-want +got):\n%s", diff)
			}
			if strings.Contains(fmt.Sprintf("%+v %s", got[1], fault), secret) {
				t.Error("the statement shows an identifier")
			}
		})
	}
}

// What a reader gives stays as it is when what it read is overwritten.
func TestReaderKeepsNothing(t *testing.T) {
	p := NewRecordReader(DefaultVocabulary())
	text := []byte(recordText(map[string]string{"+": `"storage_locations":["FI","SE"],"language":"fi"`}))
	first, err := p.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := p.Parse(append([]byte(nil), text...))
	clear(text)
	if first != want {
		t.Error("a record changed with the text that it was read from")
	}
}

// However many texts there are, a reader keeps few of them, and none that may
// be about somebody.
func TestReaderRemembersLittle(t *testing.T) {
	p := NewRecordReader(DefaultVocabulary())
	for i := range 3 * maxTerms {
		text := recordText(map[string]string{"privacy_notice": fmt.Sprintf(`"notice-%d"`, i), "collection_method": `"` + secret + `"`,
			"+": fmt.Sprintf(`"storage_locations":["FI"%s,"SE"]`, strings.Repeat(" ", i%90))})
		if r, err := p.Parse([]byte(text)); err != nil || r.Terms.Notice != fmt.Sprintf("notice-%d", i) || r.Terms.Regions != "FI,SE" {
			t.Fatalf("record %d: read %+v, error %v", i, r, err)
		}
	}
	if len(p.terms) > maxTerms || len(p.regions) > maxTerms {
		t.Errorf("the reader keeps %d texts and %d lists", len(p.terms), len(p.regions))
	}
	for text := range p.terms {
		if strings.Contains(text, "@") {
			t.Error("the reader keeps an identifier")
		}
	}
}

func TestRecordTerms(t *testing.T) {
	with := func(more string, want func(*Terms)) recordCase {
		r := testGrant(nil)
		want(&r.Terms)
		return recordCase{more, map[string]string{"+": more}, r}
	}
	regions := func(more, want string) recordCase {
		return with(more, func(t *Terms) { t.Regions = want })
	}
	duty := func(more, fields string) recordCase {
		r := testDenial(Retain)
		r.Purpose, r.Until = NoPurpose, 2082758400_000_000
		r.Terms.Fields, r.Terms.Basis = fields, "eu-gdpr:A6-1-c"
		return recordCase{more, map[string]string{"event_state": "", "verb": `"retain"`, "purpose": "",
			"+": more + `,"lawful_basis":"eu-gdpr:A6-1-c","until":"2036-01-01T00:00:00Z"`}, r}
	}
	born := func(more string, until int64, country string) recordCase {
		r := testDenial(Born)
		r.Purpose, r.Until, r.Terms.Country = NoPurpose, until, country
		return recordCase{more, map[string]string{"event_state": "", "verb": `"born"`, "+": more}, r}
	}
	runRecordCases(t, []recordCase{
		with(`"language":"fi","lawful_basis":"eu-gdpr:A6-1-a","processing_id":"ropa-017#3"`, func(t *Terms) {
			t.Language, t.Basis, t.ProcessingID = "fi", "eu-gdpr:A6-1-a", "ropa-017#3"
		}),
		with(`"language":"kieli@suomi","processing_id":["x"],"lawful_basis":"`+strings.Repeat("x", 65)+`"`, func(t *Terms) {
			t.Language, t.Basis, t.ProcessingID = "other", "other", "other"
		}),
		with(`"language":"\u00e4"`, func(t *Terms) { t.Language = "other" }),
		with(`"language":"\t"`, func(t *Terms) { t.Language = " " }),

		regions(`"storage_locations":"FI"`, "FI"),
		regions(`"storage_locations":["se","FI","SE","el","UK"]`, "FI,GB,GR,SE"),
		regions(`"geographic_restrictions":["EEA","adequate","us-dpf"]`, "ADEQUATE,EEA,US-DPF"),
		regions(`"storage_locations":["loc:FI","https://w3id.org/dpv/loc#SE"]`, "FI,SE"),
		regions(`"storage_locations":["FI","Helsinki",7,{"a":["FI"]}]`, "?,FI"),
		regions(`"storage_locations":[]`, "?"),
		regions(`"storage_locations":""`, "?"),
		regions(`"storage_locations":{"country":"FI"}`, "?"),
		regions(`"storage_locations":null,"geographic_restrictions":null`, ""),
		regions(`"storage_locations":["FI","US"],"geographic_restrictions":["EU"]`, "FI"),
		regions(`"storage_locations":["EU","CH"],"geographic_restrictions":["NO","EEA"]`, "EU"),
		regions(`"storage_locations":["EEA"],"geographic_restrictions":["NO","FI","CH"]`, "FI,NO"),
		regions(`"storage_locations":["CH"],"geographic_restrictions":["ADEQUATE"]`, "?"),
		regions(`"storage_locations":["US"],"geographic_restrictions":["US-DPF"]`, "US-DPF"),
		regions(`"storage_locations":["x"],"geographic_restrictions":["x"]`, "?"),

		duty(`"retained_fields":["vat_id","order_id","vat_id"]`, "order_id,vat_id"),
		duty(`"retained_fields":"order_id"`, "order_id"),
		born(`"birth_date":"2012-02-29","country":"el"`, 1330473600_000_000, "GR"),
		born(`"birth_year":2012`, 1356912000_000_000, ""),
		born(`"birth_year":1970,"birth_date":"1970-01-01","country":"UK"`, 0, "GB"),
		born(`"birth_year":1969`, -86400_000_000, ""),
	})
}

// TestRecordVerbs reads the verbs that are not about what a subject says of a
// purpose.
func TestRecordVerbs(t *testing.T) {
	verb := func(name string, more ...string) map[string]string {
		m := map[string]string{"event_state": "", "verb": `"` + name + `"`}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	is := func(v Verb, change func(*Record)) Record {
		r := testDenial(v)
		r.Purpose = NoPurpose
		if change != nil {
			change(&r)
		}
		return r
	}
	linked := func(v Verb, shared bool) Record {
		return is(v, func(r *Record) { r.Other, r.Shared, r.Terms = NewSubject(UserID, "7"), shared, Terms{} })
	}
	guardian := func(proven, pending bool) Record {
		return testGrant(func(r *Record) { r.Verb, r.Proven, r.Pending = GuardianGrant, proven, pending })
	}
	other := `"user_id:7"`
	runRecordCases(t, []recordCase{
		{"a restriction is about everything", verb("restrict"), is(Restrict, nil)},
		{"a restriction needs no purpose", verb("restrict", "purpose", ""), is(Restrict, nil)},
		{"a lift", verb("lift", "purpose", `"*"`), is(Lift, nil)},
		{"an unlink", verb("unlink", "linked_principal_id", other), linked(Unlink, false)},
		{"an unlink does not say whose", verb("unlink", "linked_principal_id", other, "+", `"shared":true`), linked(Unlink, false)},
		{"a link to what is shared", verb("link", "linked_principal_id", other, "+", `"shared":true`), linked(Link, true)},
		{"a link to what is not shared", verb("link", "linked_principal_id", other, "+", `"shared":false`), linked(Link, false)},
		{"an expiry by our verb", verb("expire"), testDenial(Expire)},
		{"an objection to everything without a purpose", verb("object", "purpose", ""), is(Object, func(r *Record) { r.Every = true })},
		{"an objection to profiling", verb("object", "purpose", `"profiling"`), is(Object, func(r *Record) { r.Purpose = Profiling })},
		{"a guardian's grant", verb("guardian_grant"), guardian(true, false)},
		{"a guardian's grant with the state of one", verb("guardian_grant", "event_state", `"ConsentGiven"`), guardian(true, false)},
		{"a guardian's grant without evidence", verb("guardian_grant", "event_time", ""), testGrant(func(r *Record) { r.Verb, r.Proven, r.Time = GuardianGrant, false, 0 })},
		{"a guardian's grant that is asked for", verb("guardian_grant", "event_state", `"ConsentRequested"`), guardian(false, true)},
		{"a guardian's withdrawal", verb("guardian_withdraw"), testDenial(GuardianWithdraw)},
		{"a guardian's withdrawal with the state of one", verb("guardian_withdraw", "event_state", `"ConsentRevoked"`), testDenial(GuardianWithdraw)},
		{"a guardian's withdrawal of everything", verb("guardian_withdraw", "purpose", `"*"`), is(GuardianWithdraw, func(r *Record) { r.Every = true })},
		{"a guardian's grant that ends", verb("guardian_grant", "validity_duration", `"PT1S"`),
			testGrant(func(r *Record) { r.Verb, r.Until = GuardianGrant, testTime+1_000_000 })},
	})
}
