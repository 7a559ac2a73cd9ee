package schemas

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// secret stands in every raw value of the tests that look for leaks.
const secret = "kaisa.secret@example.com"

var testTime = time.Date(2026, 11, 24, 9, 0, 0, 123456000, time.UTC).UnixMicro()

var testToken = Token{1, 2, 3, 4, 5, 6, 0x87, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}

// recordText makes a complete proven grant, with members changed: a member
// whose text is empty is left out.
func recordText(changes map[string]string) string {
	members := []struct{ name, value string }{
		{"schema_version", `"https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr"`},
		{"record_id", `"0b6f"`},
		{"pii_principal_id", `"email:` + secret + `"`},
		{"linked_principal_id", ""},
		{"purpose", `"direct_marketing_email"`},
		{"event_state", `"ConsentGiven"`},
		{"verb", ""},
		{"event_type", `"ExpressedConsent"`},
		{"event_time", `"2026-11-24T11:00:00.1234567+02:00"`},
		{"validity_duration", ""},
		{"sequence", "42"},
		{"privacy_notice", `"notice-2026-03"`},
		{"collection_method", `"web_form"`},
		{"source", `{"system":"preference_centre","signal":"newsletter"}`},
		{"evidence", ""},
	}
	var parts []string
	for _, m := range members {
		if changed, is := changes[m.name]; is {
			m.value = changed
		}
		if m.value != "" {
			parts = append(parts, fmt.Sprintf("%q: %s", m.name, m.value))
		}
	}
	if more := changes["+"]; more != "" {
		parts = append(parts, more)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// testTerms are what recordText says besides.
var testTerms = Terms{Method: "web_form", Notice: "notice-2026-03", System: "preference_centre", Type: "ExpressedConsent"}

func testGrant(change func(*Record)) Record {
	r := Record{
		Verb: Grant, Principal: NewSubject(Email, secret), Purpose: DirectMarketingEmail,
		Time: testTime, Version: 42, Proven: true, Terms: testTerms,
	}
	if change != nil {
		change(&r)
	}
	return r
}

func testDenial(v Verb) Record {
	return testGrant(func(r *Record) { r.Verb, r.Proven = v, false })
}

var compareSubjects = cmp.Comparer(func(a, b Subject) bool { return a == b })

type recordCase struct {
	name    string
	changes map[string]string
	want    Record
}

func runRecordCases(t *testing.T, cases []recordCase) {
	t.Helper()
	runCases(t, cases, func(*Record) {})
}

// runCases compares records after the change.
func runCases(t *testing.T, cases []recordCase, change func(*Record)) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseRecord([]byte(recordText(c.changes)))
			if err != nil {
				t.Fatal(err)
			}
			change(&got)
			change(&c.want)
			if diff := cmp.Diff(c.want, got, compareSubjects); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRecord(t *testing.T) {
	with := func(changes ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(changes); i += 2 {
			m[changes[i]] = changes[i+1]
		}
		return m
	}
	every := func(v Verb) Record {
		r := testDenial(v)
		r.Purpose, r.Every = NoPurpose, true
		return r
	}
	ofGroup := func(v Verb, name string) Record {
		r := testDenial(v)
		r.Purpose = groupNamed(name)
		return r
	}
	link := testDenial(Link)
	link.Purpose, link.Other, link.Terms = NoPurpose, NewSubject(UserID, "7"), Terms{}
	pending := testGrant(func(r *Record) { r.Proven, r.Pending = false, true })
	runRecordCases(t, []recordCase{
		{"a grant", nil, testGrant(nil)},
		{"members that are not known are ignored", with("+", `"x":[{"y":"]}"}],"purpose_type":7,"Purpose":"analytics"`), testGrant(nil)},
		{"null is absent", with("evidence", "null", "verb", "null", "record_id", "null"), testGrant(nil)},
		{"escapes in names and values", with("purpose", "", "+", `"p\u0075rpose":"\u0061nalytics"`), testGrant(func(r *Record) { r.Purpose = Analytics })},
		{"an identifier with colons, quotes and a surrogate pair", with("pii_principal_id", `"user_id:a:b\"\\\ud83d\ude00|"`),
			testGrant(func(r *Record) { r.Principal = NewSubject(UserID, "a:b\"\\\U0001F600|") })},
		{"a token", with("pii_principal_id", `"ledger:01020304-0506-8708-890A-0b0c0d0e0f10"`),
			testGrant(func(r *Record) { r.Principal, r.Token = Subject{}, testToken })},
		{"the general profile", with("schema_version", `"https://w3id.org/dpv/schema/dpv-27560#record"`), testGrant(nil)},
		{"the least sequence", with("sequence", "-9223372036854775808"), testGrant(func(r *Record) { r.Version = math.MinInt64 })},

		{"a renewed grant", with("event_state", `"RenewedConsentGiven"`), testGrant(nil)},
		{"a state with prefix", with("event_state", `"dpv:ConsentGiven"`), testGrant(nil)},
		{"a state as IRI", with("event_state", `"https://w3id.org/dpv#ConsentRefused"`), testDenial(Refuse)},
		{"refused", with("event_state", `"ConsentRefused"`), testDenial(Refuse)},
		{"withdrawn", with("event_state", `"ConsentWithdrawn"`), testDenial(Withdraw)},
		{"revoked", with("event_state", `"ConsentRevoked"`), testDenial(Withdraw)},
		{"invalidated", with("event_state", `"ConsentInvalidated"`), testDenial(Withdraw)},
		{"expired", with("event_state", `"ConsentExpired"`), testDenial(Expire)},
		{"unknown permits nothing", with("event_state", `"ConsentUnknown"`), testDenial(NoVerb)},
		{"requested waits", with("event_state", `"ConsentRequested"`), pending},
		{"deferred permits nothing", with("event_state", `"ConsentRequestDeferred"`), testDenial(NoVerb)},
		{"our verb", with("event_state", "", "verb", `"grant"`), testGrant(nil)},
		{"both that agree", with("event_state", `"ConsentRevoked"`, "verb", `"withdraw"`), testDenial(Withdraw)},
		{"an objection", with("event_state", "", "verb", `"object"`), testDenial(Object)},
		{"an erasure is for every purpose", with("event_state", "", "verb", `"erase"`), every(Erase)},
		{"an erasure needs no purpose", with("event_state", "", "verb", `"erase"`, "purpose", ""), every(Erase)},
		{"a link", with("event_state", "", "verb", `"link"`, "linked_principal_id", `"user_id:7"`), link},

		{"a withdrawal of everything", with("event_state", `"ConsentWithdrawn"`, "purpose", `"*"`), every(Withdraw)},
		{"an unknown purpose is none", with("purpose", `"fun"`), testGrant(func(r *Record) { r.Purpose = NoPurpose })},
		{"a purpose that is narrower than ours grants nothing", with("purpose", `"newsletter"`), testGrant(func(r *Record) { r.Purpose = NoPurpose })},
		{"a DPV purpose", with("purpose", `"dpv:ServiceUsageAnalytics"`), testGrant(func(r *Record) { r.Purpose = Analytics })},
		{"a DPV purpose as IRI", with("purpose", `"https://w3id.org/dpv#PersonalisedAdvertising"`), testGrant(func(r *Record) { r.Purpose = PersonalisedAdvertising })},
		{"a wide DPV purpose grants nothing", with("purpose", `"dpv:DirectMarketing"`), testGrant(func(r *Record) { r.Purpose = NoPurpose })},
		{"a wide DPV purpose denies a group", with("purpose", `"dpv:DirectMarketing"`, "event_state", `"ConsentWithdrawn"`), ofGroup(Withdraw, "direct_marketing")},
		{"a DPV purpose that is not known denies all", with("purpose", `"dpv:PublicRelations"`, "event_state", `"ConsentWithdrawn"`), every(Withdraw)},
		{"an objection to direct marketing reaches profiling", with("purpose", `"dpv:DirectMarketing"`, "event_state", "", "verb", `"object"`),
			ofGroup(Object, "direct_marketing_and_profiling")},
		{"an objection to one channel does not", with("event_state", "", "verb", `"object"`), testDenial(Object)},
		{"a narrow DPV purpose grants nothing", with("purpose", `"dpv:TargetedAdvertising"`), testGrant(func(r *Record) { r.Purpose = NoPurpose })},
		{"a narrow DPV purpose denies ours", with("purpose", `"dpv:TargetedAdvertising"`, "event_state", `"ConsentRefused"`),
			testGrant(func(r *Record) { r.Verb, r.Proven, r.Purpose = Refuse, false, PersonalisedAdvertising })},
	})
}

func TestParseRecordProof(t *testing.T) {
	unproven := testGrant(func(r *Record) { r.Proven = false })
	untimed := testGrant(func(r *Record) { r.Proven, r.Time = false, 0 })
	with := func(member, value string) map[string]string { return map[string]string{member: value} }
	doubleOptIn := func(evidence string) map[string]string {
		return map[string]string{"collection_method": `"double_opt_in"`, "evidence": evidence}
	}
	pending := testGrant(func(r *Record) { r.Proven, r.Pending = false, true })
	ends := func(text string) Record {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return testGrant(func(r *Record) { r.Until = at.UnixMicro() })
	}
	validity := func(duration, end string) map[string]string {
		return map[string]string{"validity_duration": duration, "+": `"validity_end":` + end}
	}
	runCases(t, []recordCase{
		{"without method", with("collection_method", ""), unproven},
		{"blank method", with("collection_method", `" "`), unproven},
		{"without notice", with("privacy_notice", ""), unproven},
		{"null notice", with("privacy_notice", "null"), unproven},
		{"without source", with("source", ""), unproven},
		{"without system", with("source", `{"signal":"x"}`), unproven},
		{"a system in a list", map[string]string{"source": "", "+": `"x":[{"system":"a"}],"y":{"system":"a"},"system":"a"`}, unproven},
		{"a system further in", with("source", `{"x":{"system":"a"},"y":[{"system":"a"}]}`), unproven},
		{"empty system", with("source", `{"system":""}`), unproven},
		{"without time", with("event_time", ""), untimed},
		{"implied", with("event_type", `"ImpliedConsent"`), unproven},
		{"implied as IRI", with("event_type", `"https://w3id.org/dpv#ImpliedConsent"`), unproven},
		{"uninformed", with("event_type", `"UninformedConsent"`), unproven},
		{"a type that is not known", with("event_type", `"Click"`), unproven},
		{"explicit", with("event_type", `"dpv:ExplicitlyExpressedConsent"`), testGrant(nil)},
		{"no type", with("event_type", ""), testGrant(nil)},
		{"double opt-in without evidence", doubleOptIn(""), pending},
		{"double opt-in without confirmation", doubleOptIn(`{"requested_at":"2026-11-24T09:00:00Z"}`), pending},
		{"double opt-in with a confirmation that is no time", doubleOptIn(`{"confirmed_at":"yes"}`), pending},
		{"double opt-in with a confirmation that is no text", doubleOptIn(`{"confirmed_at":1}`), pending},
		{"double opt-in confirmed", doubleOptIn(`{"confirmed_at":"2026-11-24T09:00:00Z"}`), testGrant(nil)},
		{"double opt-in confirmed later", doubleOptIn(`{"confirmed_at":"2026-11-25T09:00:00Z"}`),
			testGrant(func(r *Record) { r.Time = testTime/1_000_000*1_000_000 + 24*3600*1_000_000 })},
		{"double opt-in that is pending without a notice", map[string]string{"collection_method": `"double_opt_in"`, "privacy_notice": ""}, pending},
		{"double opt-in that is requested and confirmed", map[string]string{"event_state": `"ConsentRequested"`, "collection_method": `"double_opt_in"`,
			"evidence": `{"confirmed_at":"2026-11-24T09:00:00Z"}`}, pending},
		{"a validity of months", with("validity_duration", `"P13M"`), ends("2027-12-24T09:00:00.123456Z")},
		{"a validity of all there is", with("validity_duration", `"P1Y2M3W4DT5H6M7S"`), ends("2028-02-18T14:06:07.123456Z")},
		{"a validity of hours", with("validity_duration", `"PT36H"`), ends("2026-11-25T21:00:00.123456Z")},
		{"a validity of nothing", with("validity_duration", `"P0D"`), ends("2026-11-24T09:00:00.123456Z")},
		{"a validity to a day that the month does not have", map[string]string{"event_time": `"2027-01-31T00:00:00Z"`, "validity_duration": `"P1M"`},
			testGrant(func(r *Record) {
				r.Time, r.Until = time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC).UnixMicro(), time.Date(2027, 2, 28, 0, 0, 0, 0, time.UTC).UnixMicro()
			})},
		{"a validity to the 28th of a leap year's day", map[string]string{"event_time": `"2028-02-29T00:00:00Z"`, "validity_duration": `"P1Y"`},
			testGrant(func(r *Record) {
				r.Time, r.Until = time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC).UnixMicro(), time.Date(2029, 2, 28, 0, 0, 0, 0, time.UTC).UnixMicro()
			})},
		{"a validity from the confirmation on", map[string]string{"collection_method": `"double_opt_in"`, "validity_duration": `"P1D"`,
			"evidence": `{"confirmed_at":"2026-11-25T09:00:00Z"}`}, testGrant(func(r *Record) {
			r.Time, r.Until = time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC).UnixMicro(), time.Date(2026, 11, 26, 9, 0, 0, 0, time.UTC).UnixMicro()
		})},
		{"a validity to a time", validity("null", `"2027-01-01T00:00:00Z"`), ends("2027-01-01T00:00:00Z")},
		{"the earlier of two ends, the time", validity(`"P1Y"`, `"2027-01-01T00:00:00Z"`), ends("2027-01-01T00:00:00Z")},
		{"the earlier of two ends, the duration", validity(`"P1D"`, `"2027-01-01T00:00:00Z"`), ends("2026-11-25T09:00:00.123456Z")},
		{"no validity", with("validity_duration", "null"), testGrant(nil)},
		{"double opt-in under another spelling", with("collection_method", `"Double-Opt-In"`), pending},
	}, func(r *Record) { r.Terms = Terms{} })
}

// Only grants end: whatever else names a validity is not read by it.
func TestOnlyGrantsEnd(t *testing.T) {
	runRecordCases(t, []recordCase{
		{"a withdrawal", map[string]string{"event_state": `"ConsentWithdrawn"`, "validity_duration": `"P1D"`}, testDenial(Withdraw)},
		{"a withdrawal with what is no validity", map[string]string{"event_state": `"ConsentWithdrawn"`, "validity_duration": "7"}, testDenial(Withdraw)},
	})
}

func TestParseRecordErrors(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
	}{
		{"nothing", "", "the record is not JSON"},
		{"not JSON", `{"email":"` + secret, "the record is not JSON"},
		{"two values", `{} {}`, "the record is not JSON"},
		{"an array", `["` + secret + `"]`, "the record is not a JSON object"},
		{"not UTF-8", "{\"a\":\"\xff\"}", "the record is not UTF-8"},
		{"a name twice", recordText(map[string]string{"+": `"purpose":"analytics"`}), "the record has a member twice"},
		{"a name twice by escape", recordText(map[string]string{"+": `"\u0070urpose":"analytics"`}), "the record has a member twice"},
		{"an unknown name twice", recordText(map[string]string{"+": `"x":1,"x":1`}), "the record has a member twice"},
		{"a name twice in source", recordText(map[string]string{"source": `{"system":"","system":"x"}`}), "the record has a member twice"},
		{"a name twice deep down", recordText(map[string]string{"+": `"x":[1,{"y":{"z":1,"z":2}}]`}), "the record has a member twice"},
		{"half a pair in a name", recordText(map[string]string{"+": `"\ud83d":1`}), "the record has a name that is not Unicode text"},
		{"too deep", `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}", "the record is nested too deep"},
		{"too many members", manyMembers(300), "the record has more than 256 members in one object"},
		{"no schema", recordText(map[string]string{"schema_version": ""}), "schema_version: must be " + schemaVersionGDPR + " or " + schemaVersion},
		{"another schema", recordText(map[string]string{"schema_version": `"1"`}), "schema_version: must be " + schemaVersionGDPR + " or " + schemaVersion},
		{"record_id", recordText(map[string]string{"record_id": "7"}), "record_id: must be text"},
		{"no principal", recordText(map[string]string{"pii_principal_id": ""}), "pii_principal_id: is missing"},
		{"no kind", recordText(map[string]string{"pii_principal_id": `"` + secret + `"`}), "pii_principal_id: must begin with one of user_id, anonymous_id, email, phone, device_id, ledger, and a colon"},
		{"another kind", recordText(map[string]string{"pii_principal_id": `"mail:` + secret + `"`}), "pii_principal_id: must begin with one of user_id, anonymous_id, email, phone, device_id, ledger, and a colon"},
		{"no identifier", recordText(map[string]string{"pii_principal_id": `"email:"`}), "pii_principal_id: has no identifier behind the colon"},
		{"half a pair", recordText(map[string]string{"pii_principal_id": `"email:` + secret + `\ud83d"`}), "pii_principal_id: is not Unicode text"},
		{"the other half", recordText(map[string]string{"pii_principal_id": `"email:` + secret + `\ude00\ud83d"`}), "pii_principal_id: is not Unicode text"},
		{"not a token", recordText(map[string]string{"pii_principal_id": `"ledger:` + secret + `"`}), "pii_principal_id: the token is not a UUID"},
		{"a token without hyphens", recordText(map[string]string{"pii_principal_id": `"ledger:0102030405068708890a0b0c0d0e0f10"`}), "pii_principal_id: the token is not a UUID"},
		{"a random UUID", recordText(map[string]string{"pii_principal_id": `"ledger:01020304-0506-4708-890a-0b0c0d0e0f10"`}), "pii_principal_id: the token is not a version 8 UUID with a key epoch"},
		{"a token of no epoch", recordText(map[string]string{"pii_principal_id": `"ledger:00020304-0506-8708-890a-0b0c0d0e0f10"`}), "pii_principal_id: the token is not a version 8 UUID with a key epoch"},
		{"no purpose", recordText(map[string]string{"purpose": ""}), "purpose: is missing"},
		{"purpose is a number", recordText(map[string]string{"purpose": "7"}), "purpose: must be text"},
		{"a grant for everything", recordText(map[string]string{"purpose": `"*"`}), "purpose: a grant is for one purpose, not for all"},
		{"no state", recordText(map[string]string{"event_state": ""}), "event_state: is missing, and so is verb"},
		{"another state", recordText(map[string]string{"event_state": `"` + secret + `"`}), "event_state: is not a DPV consent status"},
		{"a state in lower case", recordText(map[string]string{"event_state": `"consentgiven"`}), "event_state: is not a DPV consent status"},
		{"another verb", recordText(map[string]string{"verb": `"allow"`}), "verb: must be one of " + strings.Join(VerbNames(), ", ")},
		{"verb against state", recordText(map[string]string{"verb": `"withdraw"`}), "verb: does not agree with event_state"},
		{"a verb for a state without one", recordText(map[string]string{"event_state": `"ConsentUnknown"`, "verb": `"grant"`}), "verb: does not agree with event_state"},
		{"a time that is none", recordText(map[string]string{"event_time": `"` + secret + `"`}), "event_time: must be an RFC 3339 time"},
		{"a time before the year 0", recordText(map[string]string{"event_time": `"0000-01-01T00:00:00+01:00"`}), "event_time: must be in the years 0 to 9999 UTC"},
		{"a time after the year 9999", recordText(map[string]string{"event_time": `"9999-12-31T23:59:59-01:00"`}), "event_time: must be in the years 0 to 9999 UTC"},
		{"a time as number", recordText(map[string]string{"event_time": "1764000000"}), "event_time: must be text"},
		{"a withdrawal without time", recordText(map[string]string{"event_state": `"ConsentWithdrawn"`, "event_time": ""}), "event_time: is missing"},
		{"no sequence", recordText(map[string]string{"sequence": ""}), "sequence: is missing"},
		{"a sequence over 64 bits", recordText(map[string]string{"sequence": "9223372036854775808"}), "sequence: must be a whole number of at most 64 bits"},
		{"a sequence with a fraction", recordText(map[string]string{"sequence": "1.0"}), "sequence: must be a whole number of at most 64 bits"},
		{"a sequence as text", recordText(map[string]string{"sequence": `"1"`}), "sequence: must be a whole number of at most 64 bits"},
		{"a link without another", recordText(map[string]string{"event_state": "", "verb": `"link"`}), "linked_principal_id: is missing"},
		{"a link to itself", recordText(map[string]string{"event_state": "", "verb": `"link"`, "linked_principal_id": `"email:` + secret + `"`}), "linked_principal_id: must not be pii_principal_id"},
		{"source is text", recordText(map[string]string{"source": `"web"`}), "source: must be an object"},
		{"system is a number", recordText(map[string]string{"source": `{"system":1}`}), "source.system: must be text"},
		{"evidence is a list", recordText(map[string]string{"evidence": "[]"}), "evidence: must be an object"},
		{"method is a number", recordText(map[string]string{"collection_method": "1"}), "collection_method: must be text"},
		{"notice is an object", recordText(map[string]string{"privacy_notice": "{}"}), "privacy_notice: must be text"},
		{"a validity that is no duration", recordText(map[string]string{"validity_duration": `"13 months"`}), "validity_duration: must be an ISO 8601 duration in whole numbers"},
		{"a validity with a fraction", recordText(map[string]string{"validity_duration": `"P1.5Y"`}), "validity_duration: must be an ISO 8601 duration in whole numbers"},
		{"a validity without a number", recordText(map[string]string{"validity_duration": `"P"`}), "validity_duration: must be an ISO 8601 duration in whole numbers"},
		{"a validity that ends at once after its T", recordText(map[string]string{"validity_duration": `"P1DT"`}), "validity_duration: must be an ISO 8601 duration in whole numbers"},
		{"a validity in another order", recordText(map[string]string{"validity_duration": `"P1D1M"`}), "validity_duration: must be an ISO 8601 duration in whole numbers"},
		{"a validity that is an object", recordText(map[string]string{"validity_duration": `{"months":13}`}), "validity_duration: must be text"},
		{"a validity without end", recordText(map[string]string{"validity_duration": `"P9999Y"`}), "validity_duration: must end after 1970 and before the year 10000"},
		{"an end that is no time", recordText(map[string]string{"+": `"validity_end":"` + secret + `"`}), "validity_end: must be an RFC 3339 time"},
		{"an end before 1970", recordText(map[string]string{"+": `"validity_end":"1969-12-31T00:00:00Z"`}), "validity_end: must be after 1970"},
		{"an end at 0", recordText(map[string]string{"+": `"validity_end":"1970-01-01T00:00:00Z"`}), "validity_end: must be after 1970"},
		{"a withdrawal that says it expired", recordText(map[string]string{"event_state": `"ConsentExpired"`, "verb": `"withdraw"`}), "verb: does not agree with event_state"},
		{"a guardian's grant that is refused", recordText(map[string]string{"event_state": `"ConsentRefused"`, "verb": `"guardian_grant"`}), "verb: does not agree with event_state"},
		{"a guardian's grant for everything", recordText(map[string]string{"event_state": "", "verb": `"guardian_grant"`, "purpose": `"*"`}), "purpose: a grant is for one purpose, not for all"},
		{"shared is text", recordText(map[string]string{"event_state": "", "verb": `"link"`, "linked_principal_id": `"user_id:7"`, "+": `"shared":"true"`}), "shared: must be true or false"},
		{"a duty without fields", dutyText(`"lawful_basis":"x","until":"2036-01-01T00:00:00Z"`), "retained_fields: is missing"},
		{"a duty without a field", dutyText(`"retained_fields":[],"lawful_basis":"x","until":"2036-01-01T00:00:00Z"`), "retained_fields: must be the names of columns"},
		{"a duty with endless names", dutyText(`"retained_fields":["a","` + strings.Repeat("a", 4095) + `"],"lawful_basis":"x","until":"2036-01-01T00:00:00Z"`), "retained_fields: must be the names of columns"},
		{"a duty with another name", dutyText(`"retained_fields":["a","` + secret + `"],"lawful_basis":"x","until":"2036-01-01T00:00:00Z"`), "retained_fields: must be the names of columns"},
		{"a duty without basis", dutyText(`"retained_fields":"a","lawful_basis":" ","until":"2036-01-01T00:00:00Z"`), "lawful_basis: is missing"},
		{"a duty without end", dutyText(`"retained_fields":"a","lawful_basis":"x"`), "until: is missing"},
		{"a duty that ends before 1970", dutyText(`"retained_fields":"a","lawful_basis":"x","until":"1960-01-01T00:00:00Z"`), "until: must be after 1970"},
		{"a birth without a date", bornText(`"country":"FI"`), "birth_date: is missing, and so is birth_year"},
		{"a birth on no day", bornText(`"birth_date":"2011-02-29"`), "birth_date: must be a date as YYYY-MM-DD"},
		{"a birth at a time", bornText(`"birth_date":"2011-02-20T00:00:00Z"`), "birth_date: must be a date as YYYY-MM-DD"},
		{"a birth in a year as text", bornText(`"birth_year":"2011"`), "birth_year: must be a whole number of at most 64 bits"},
		{"a birth in no year", bornText(`"birth_year":12011`), "birth_year: must be 0 to 9999"},
		{"a birth in two years", bornText(`"birth_date":"2011-02-20","birth_year":2012`), "birth_year: does not agree with birth_date"},
		{"a birth in no country", bornText(`"birth_year":2012,"country":"Finland"`), "country: must be an ISO 3166-1 alpha-2 code"},
		{"type is false", recordText(map[string]string{"event_type": "false"}), "event_type: must be text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := ParseRecord([]byte(c.text))
			if err == nil || err.Error() != c.want {
				t.Fatalf("got error %v, want %s", err, c.want)
			}
			if r.Verb != NoVerb || r.Proven {
				t.Errorf("a record that is wrong has verb %s, proven %v", r.Verb, r.Proven)
			}
			if shown := fmt.Sprintf("%v %+v %#v", err, r, r); strings.Contains(shown, secret) {
				t.Error("the error or the record shows an identifier")
			}
		})
	}
}

// TestParseRecordDenies looks at what a record that is wrong still says.
func TestParseRecordDenies(t *testing.T) {
	principal := NewSubject(Email, secret)
	for _, c := range []struct {
		name    string
		changes map[string]string
		want    Record
	}{
		{"its purpose", map[string]string{"sequence": ""}, Record{Principal: principal, Purpose: DirectMarketingEmail}},
		{"every purpose when it has none", map[string]string{"purpose": "7"}, Record{Principal: principal, Every: true}},
		{"its group when it is wide", map[string]string{"purpose": `"dpv:Marketing"`, "schema_version": ""}, Record{Principal: principal, Purpose: groupNamed("marketing")}},
		{"the wider group of an objection", map[string]string{"event_state": "", "verb": `"object"`, "purpose": `"direct_marketing"`, "sequence": ""},
			Record{Principal: principal, Purpose: groupNamed("direct_marketing_and_profiling")}},
		{"every purpose when it is all", map[string]string{"purpose": `"*"`}, Record{Principal: principal, Every: true}},
		{"every purpose of an erasure", map[string]string{"event_state": "", "verb": `"erase"`, "sequence": ""}, Record{Principal: principal, Every: true}},
		{"every purpose of an erasure that is a withdrawal too", map[string]string{"event_state": `"ConsentWithdrawn"`, "verb": `"erase"`}, Record{Principal: principal, Every: true}},
		{"every purpose of a link to nobody", map[string]string{"event_state": "", "verb": `"link"`}, Record{Principal: principal, Every: true}},
		{"every purpose of a restriction", map[string]string{"event_state": "", "verb": `"restrict"`, "sequence": ""}, Record{Principal: principal, Every: true}},
		{"every purpose of a guardian's withdrawal", map[string]string{"event_state": "", "verb": `"guardian_withdraw"`, "sequence": ""}, Record{Principal: principal, Every: true}},
		{"every purpose of an unlink from nobody", map[string]string{"event_state": "", "verb": `"unlink"`}, Record{Principal: principal, Every: true}},
		{"every purpose of a birth", map[string]string{"event_state": "", "verb": `"born"`}, Record{Principal: principal, Every: true}},
		{"the purpose of a verb that is not known", map[string]string{"event_state": "", "verb": `"consider"`}, Record{Principal: principal, Purpose: DirectMarketingEmail}},
		{"nobody", map[string]string{"pii_principal_id": `"x"`}, Record{Purpose: DirectMarketingEmail}},
	} {
		got, err := ParseRecord([]byte(recordText(c.changes)))
		got.Time, got.Version = 0, 0
		if err == nil || !cmp.Equal(got, c.want, compareSubjects) {
			t.Errorf("%s: got %+v, error %v; want %+v and an error", c.name, got, err, c.want)
		}
	}
}

func dutyText(more string) string {
	return recordText(map[string]string{"event_state": "", "verb": `"retain"`, "+": more})
}

func bornText(more string) string {
	return recordText(map[string]string{"event_state": "", "verb": `"born"`, "+": more})
}

func manyMembers(n int) string {
	var b strings.Builder
	b.WriteString(`{"m":0`)
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":0`, i)
	}
	return b.String() + "}"
}

func checkRoundTrip(t *testing.T, r Record) {
	t.Helper()
	got, err := ParseRecord(AppendRecord(nil, r))
	if err != nil || got != r {
		t.Errorf("wrote %+v, read %+v, error %v", r, got, err)
	}
	key, err := ParseRecordKey(AppendRecordKey(nil, r))
	if err != nil || key != keyRecord(r) {
		t.Errorf("wrote the key of %+v, read %+v, error %v", r, key, err)
	}
}

// keyRecord is what the key of r says of it.
func keyRecord(r Record) Record {
	key := Record{Principal: r.Principal, Token: r.Token, Purpose: r.Purpose, Every: r.Every, Other: r.Other, OtherToken: r.OtherToken}
	switch r.Verb {
	case Erase, Born:
		key.Verb = r.Verb
	case Retain:
		key.Verb, key.Terms.Fields = Retain, r.Terms.Fields
	case Link, Unlink:
		key.Verb = Link
	case Restrict, Lift:
		key.Verb = Restrict
	case GuardianGrant, GuardianWithdraw:
		key.Verb = GuardianWithdraw
	}
	return key
}

func TestAppendRecordKeeps(t *testing.T) {
	got := string(AppendRecordKey(AppendRecord([]byte("before "), testGrant(nil)), testGrant(nil)))
	if !strings.HasPrefix(got, `before {"schema_version"`) || !strings.HasSuffix(got, "}email:"+secret+"|direct_marketing_email") {
		t.Error("what stood in the buffer is gone, or the record and its key do not follow it")
	}
}

// FuzzParseRecord: what parses is read back the same from what AppendRecord
// writes, grants permit only what is named, and no error shows its input.
func FuzzParseRecord(f *testing.F) {
	for _, changes := range []map[string]string{
		nil,
		{"event_state": `"ConsentWithdrawn"`, "purpose": `"*"`},
		{"event_state": "", "verb": `"link"`, "linked_principal_id": `"ledger:01020304-0506-8708-890a-0b0c0d0e0f10"`},
		{"event_state": "", "verb": `"erase"`},
		{"collection_method": `"double_opt_in"`, "evidence": `{"confirmed_at":"2026-11-24T09:00:00Z"}`},
		{"pii_principal_id": `"user_id:\ud83d\ude00\\"`, "+": `"x":[{},[],"",1e9,true,{"y":null}]`},
	} {
		f.Add([]byte(recordText(changes)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRecord(data)
		if err != nil {
			if r.Verb != NoVerb || r.Proven {
				t.Fatal("a record that is wrong has a verb or is proven")
			}
			return
		}
		if r.Every && r.Verb.grants() || r.Every && r.Purpose != NoPurpose || (r.Proven || r.Pending) && !r.Verb.grants() || r.Proven && r.Pending {
			t.Fatalf("impossible record %+v", r)
		}
		if r.Principal.IsZero() == r.Token.IsZero() {
			t.Fatal("a record must have a subject or a token")
		}
		checkRoundTrip(t, r)
	})
}

const benchmarkRecord = `{"schema_version":"https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr","record_id":"0b6f2a4e","pii_principal_id":"email:someone@example.com","purpose":"direct_marketing_email","purpose_type":"dpv:DirectMarketing","processing_id":"ropa-017@3","lawful_basis":"eu-gdpr:A6-1-a","event_state":"ConsentGiven","event_type":"ExpressedConsent","event_time":"2026-11-24T09:00:00Z","entity_id":"subject","sequence":42,"privacy_notice":"notice-2026-03","language":"fi","jurisdiction":"FI","collection_method":"double_opt_in","withdrawal_method":"unsubscribe_link","source":{"system":"preference_centre","signal":"newsletter"},"evidence":{"consent_text_sha256":"00","confirmed_at":"2026-11-24T09:00:00Z"}}`

func BenchmarkParseRecord(b *testing.B) {
	data := []byte(benchmarkRecord)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if r, err := ParseRecord(data); err != nil || !r.Proven {
			b.Fatal("the record is not a proven grant")
		}
	}
}

// BenchmarkReadRecords is the same with a reader that is kept.
func BenchmarkReadRecords(b *testing.B) {
	m := LedgerMessages{Keys: [][]byte{nil}, Values: [][]byte{[]byte(benchmarkRecord)}}
	p := NewRecordReader(DefaultVocabulary())
	var dst []Statement
	b.SetBytes(int64(len(benchmarkRecord)))
	b.ReportAllocs()
	for b.Loop() {
		if dst = p.Read(&m, 0, dst[:0]); dst[0].Kind != Said || !dst[0].Record.Proven {
			b.Fatal("the record is not a proven grant")
		}
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	r := testGrant(nil)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendRecordKey(AppendRecord(dst[:0], r), r)
	}
}

// Only a grant waits for its confirmation: whatever else names one happened
// when it says.
func TestOnlyGrantsAreConfirmed(t *testing.T) {
	for _, state := range []string{"ConsentWithdrawn", "ConsentRefused"} {
		r, err := ParseRecord([]byte(recordText(map[string]string{
			"event_state": `"` + state + `"`, "event_type": "",
			"collection_method": `"double_opt_in"`, "evidence": `{"confirmed_at":"2027-01-01T00:00:00Z"}`,
		})))
		if err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		if want := testGrant(nil).Time; r.Time != want || r.Proven {
			t.Errorf("%s: time %d, want %d, proven %t", state, r.Time, want, r.Proven)
		}
	}
}
