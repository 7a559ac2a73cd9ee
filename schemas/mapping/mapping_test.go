package mapping

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

// told writes statements down, one a line, with the identifiers in them: those
// of these tests are nobody's.
func told(list []schemas.Statement) string {
	var b strings.Builder
	name := func(s schemas.Subject, t schemas.Token) string {
		switch {
		case !t.IsZero():
			return "token"
		case s.IsZero():
			return "nobody"
		}
		return s.Kind.String() + ":" + s.Reveal() // to compare it
	}
	for _, s := range list {
		r := &s.Record
		purpose := r.Purpose.String()
		if r.Every {
			purpose = "*"
		}
		switch {
		case s.Kind == schemas.Marked:
			b.WriteString("marker\n")
		case s.Kind == schemas.Deleted:
			fmt.Fprintf(&b, "deleted %s %s v%d\n", name(r.Principal, r.Token), purpose, r.Version)
		case s.Kind == schemas.Unreadable:
			fmt.Fprintf(&b, "unreadable %s %s: %v\n", name(r.Principal, r.Token), purpose, s.Fault)
		case r.Verb == schemas.Link:
			fmt.Fprintf(&b, "link %s %s v%d\n", name(r.Principal, r.Token), name(r.Other, r.OtherToken), r.Version)
		default:
			fmt.Fprintf(&b, "%s %s %s at %d v%d", r.Verb, name(r.Principal, r.Token), purpose, r.Time, r.Version)
			if r.Proven {
				b.WriteString(" proven")
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

const evidence = `{method: {path: how}, notice: {path: notice}, system: crm}`

const table = `
mapping: 1
principals: [{kind: email, path: email}, {kind: user_id, path: id}]
time: {path: at, format: [rfc3339, datetime, date], zone: Europe/Helsinki}
records:
  - verb: {path: status, values: {subscribed: grant, Un Subscribed: withdraw, cleaned: skip}}
    purpose: {path: list, values: {news: direct_marketing_email, all: [analytics, functional]}, other: "*"}
    evidence: ` + evidence + "\n"

const wide = `
mapping: 1
absent: ["NULL"]
principals: [{kind: user_id, path: id}]
time: {path: at, format: epoch_s}
version: {path: rev}
records:
  - verb: {if_true: grant, if_false: refuse, values: {later: skip}}
    columns: {opt.mail: direct_marketing_email, '"opt sms"': [direct_marketing_sms, direct_marketing_phone]}
`

func TestRows(t *testing.T) {
	for _, test := range []struct{ name, mapping, row, want string }{
		{"a proven grant, of two identifiers that are linked", table,
			`{"email":"a@example.com","id":7,"at":"2026-01-02T03:04:05Z","status":" SUBSCRIBED","list":"News","how":"form","notice":"n1"}`, `
link email:a@example.com user_id:7 v1767323045000000
grant email:a@example.com direct_marketing_email at 1767323045000000 v1767323045000000 proven
grant user_id:7 direct_marketing_email at 1767323045000000 v1767323045000000 proven
`},
		{"a grant without a part of its evidence is not proven", table,
			`{"id":"7","at":"2026-01-02 05:04:05","status":"subscribed","list":"news","how":"form","notice":" "}`, `
grant user_id:7 direct_marketing_email at 1767323045000000 v1767323045000000
`},
		{"a value may stand for several purposes", table,
			`{"id":"7","at":"2026-01-02T03:04:05Z","status":"unsubscribed","list":"all"}`, `
withdraw user_id:7 analytics at 1767323045000000 v1767323045000000
withdraw user_id:7 functional at 1767323045000000 v1767323045000000
`},
		{"a denial under a list that is not named is one of all that other says", table,
			`{"id":"7","at":"2026-01-02T03:04:05Z","status":"unsubscribed","list":"new one"}`, `
withdraw user_id:7 * at 1767323045000000 v1767323045000000
`},
		{"a grant under it is a fault", table,
			`{"id":"7","at":"2026-01-02T03:04:05Z","status":"subscribed","list":"new one"}`, `
unreadable user_id:7 *: list: has a value that the mapping does not list
`},
		{"a status that is not listed is never a grant", table,
			`{"id":"7","at":"2026-01-02T03:04:05Z","status":"Subscribed!","list":"news"}`, `
unreadable user_id:7 direct_marketing_email: status: has a value that the mapping does not list
`},
		{"a status that says nothing", table, `{"id":"7","status":"cleaned","list":"news"}`, "\n"},
		{"a grant of a day begins with its end, and is ordered by its beginning", table,
			`{"id":"7","at":"2026-01-02","status":"subscribed","list":"news"}`, `
grant user_id:7 direct_marketing_email at 1767391199999999 v1767304800000000
`},
		{"a withdrawal of a day counts from its beginning", table,
			`{"id":"7","at":"2026-01-02","status":"unsubscribed","list":"news"}`, `
withdraw user_id:7 direct_marketing_email at 1767304800000000 v1767304800000000
`},
		{"one of all purposes outweighs what was given on that day", table,
			`{"id":"7","at":"2026-01-02","status":"unsubscribed","list":"x"}`, `
withdraw user_id:7 * at 1767391199999999 v1767304800000000
`},
		{"a grant at a time that the clock showed twice is the later one", table,
			`{"id":"7","at":"2026-10-25 03:30:00","status":"subscribed","list":"news"}`, `
grant user_id:7 direct_marketing_email at 1792891800000000 v1792888200000000
`},
		{"a withdrawal without a time is a fault", table,
			`{"id":"7","status":"unsubscribed","list":"news"}`, `
unreadable user_id:7 direct_marketing_email: at: is missing
`},
		{"a time that is none is a fault that does not show it", table,
			`{"id":"7","at":"yesterday","status":"subscribed","list":"news"}`, `
unreadable user_id:7 direct_marketing_email: at: is a time of none of the formats
`},
		{"nobody", table, `{"id":"","email":null,"status":"subscribed","list":"news"}`, `
unreadable nobody : the row names nobody; looked in email, id
`},
		{"an identifier that is no plain value", table, `{"id":["7"]}`, `
unreadable nobody : id: is not a text, number or boolean
`},
		{"a name twice", table, `{"id":"7","x":{"a":1,"\u0061":2}}`, `
unreadable nobody : the row has a name twice in one object
`},
		{"half of a surrogate pair", table, `{"id":"7\ud800"}`, `
unreadable nobody : the row has half of a surrogate pair
`},
		{"no object", table, `[]`, `
unreadable nobody : the row is not an object
`},
		{"columns, of which one says nothing", wide,
			`{"id":9007199254740993,"at":"1767323045","rev":9007199254740993,"opt":{"mail":true},"opt sms":"No"}`, `
grant user_id:9007199254740993 direct_marketing_email at 1767323045000000 v9007199254740993
refuse user_id:9007199254740993 direct_marketing_sms at 1767323045000000 v9007199254740993
refuse user_id:9007199254740993 direct_marketing_phone at 1767323045000000 v9007199254740993
`},
		{"columns without values, and with one that is not listed", wide,
			`{"id":"7","at":1767323045,"rev":"-1","opt":{"mail":"NULL"},"opt sms":"maybe"}`, `
unreadable user_id:7 direct_marketing_sms: "opt sms": has a value that the mapping does not list
unreadable user_id:7 direct_marketing_phone: "opt sms": has a value that the mapping does not list
`},
		{"a version that is no whole number", wide, `{"id":"7","at":1767323045,"rev":1.5,"opt":{"mail":1}}`, `
unreadable user_id:7 direct_marketing_email: rev: is not a whole number of at most 64 bits
`},
	} {
		r := NewReader(parse(t, test.mapping))
		if d := cmp.Diff(strings.TrimPrefix(test.want, "\n"), told(r.Row([]byte(test.row), nil))); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
	}
}

const changes = `
mapping: 1
principals: [{kind: email, path: email}]
time: change
version: lsn
records:
  - verb: {path: on, if_true: grant, if_false: withdraw}
    purpose: {path: for}
    evidence: {method: {path: how}, notice: n, system: s}
envelope: `

func TestChanges(t *testing.T) {
	head, _, _ := strings.Cut(changes, "records:")
	keyed := head + "records: [{verb: {if_true: grant, if_false: withdraw}, columns: {news: direct_marketing_email, sms: direct_marketing_sms}}]\nenvelope: "
	silent := strings.Replace(changes, "if_true", "absent: skip, if_true", 1)
	listed := head + "records: [{each: 'list[]', verb: grant, purpose: {path: '@'}}]\nenvelope: "
	const row = `{"email":"a@example.com","on":true,"for":"analytics","how":"form"}`
	debezium := func(op, before, after string) string {
		return `{"op":"` + op + `","before":` + before + `,"after":` + after + `,"source":{"lsn":9007199254740993,"ts_ms":1767323045000},"ts_ms":1}`
	}
	byChange := strings.Replace(changes, "lsn", "change", 1)
	old := func(member, value string) string {
		return strings.Replace(row, member, value, 1)
	}
	for _, test := range []struct{ name, mapping, row, want string }{
		{"created", changes + "debezium", debezium("c", "null", row), `
grant email:a@example.com analytics at 1767323045000000 v9007199254740993 proven
`},
		{"with its schema", changes + "debezium", `{"schema":{},"payload":` + debezium("r", "null", row) + `}`, `
grant email:a@example.com analytics at 1767323045000000 v9007199254740993 proven
`},
		{"as JSON in a text", changes + "debezium", debezium("c", "null", `"{\"email\":\"a@example.com\",\"on\":0,\"for\":\"analytics\"}"`), `
withdraw email:a@example.com analytics at 1767323045000000 v9007199254740993
`},
		{"updated to another address", changes + "debezium", debezium("u", old("a@", "b@"), row), `
deleted email:b@example.com analytics v9007199254740993
grant email:a@example.com analytics at 1767323045000000 v9007199254740993 proven
`},
		{"updated to another purpose", changes + "debezium", debezium("u", old("analytics", "functional"), row), `
deleted email:a@example.com functional v9007199254740993
grant email:a@example.com analytics at 1767323045000000 v9007199254740993 proven
`},
		{"updated otherwise", changes + "debezium", debezium("u", old("true", "false"), row), `
grant email:a@example.com analytics at 1767323045000000 v9007199254740993 proven
`},
		{"updated to what says nothing", strings.Replace(changes, "if_true: grant", "values: {no longer: skip}, if_true: grant", 1) + "debezium", debezium("u", row, old("true", `"no longer"`)), `
deleted email:a@example.com analytics v9007199254740993
`},
		{"updated from one of two that cannot be read", strings.Replace(changes, "path: email}", "path: email}, {kind: phone, path: phone}", 1) + "debezium", debezium("u", old(`"email":"a@example.com"`, `"email":"b@example.com","phone":{}`), row), `
unreadable nobody : phone: is not a text, number or boolean
deleted email:b@example.com analytics v9007199254740993
grant email:a@example.com analytics at 1767323045000000 v9007199254740993 proven
`},
		{"updated to what cannot be read", changes + "debezium", debezium("u", row, old("true", `"?"`)), `
unreadable email:a@example.com analytics: on: has a value that the mapping does not list
`},
		{"updated without the row as it was", changes + "debezium", debezium("u", "null", row), `
unreadable nobody : ` + errOldRow.Error() + `
`},
		{"updated with its key alone", changes + "debezium", debezium("u", `{"email":null,"on":null,"for":null}`, row), `
unreadable nobody : ` + errOldRow.Error() + `
`},
		{"updated without it, which is said to be right", changes + "{kind: debezium, before: optional}", debezium("u", "null", row), `
grant email:a@example.com analytics at 1767323045000000 v9007199254740993 proven
`},
		{"what was left out is as it was", changes + "debezium", debezium("u", row, old("form", "__debezium_unavailable_value")), `
grant email:a@example.com analytics at 1767323045000000 v9007199254740993 proven
`},
		{"what was left out of both is no value", changes + "{kind: debezium, unavailable: gone}", debezium("u", old("form", "gone"), old("form", "gone")), `
unreadable email:a@example.com analytics: how: ` + errUnavailable.Error() + `
`},
		{"a switch is no evidence", changes + "debezium", debezium("c", "null", old(`"form"`, "false")), `
unreadable email:a@example.com analytics: how: ` + errSwitch.Error() + `
`},
		{"a number may be", changes + "debezium", debezium("c", "null", old(`"form"`, "7")), `
grant email:a@example.com analytics at 1767323045000000 v9007199254740993 proven
`},
		{"an address that was left out", changes + "debezium", debezium("c", "null", old("a@example.com", "__debezium_unavailable_value")), `
unreadable nobody : email: ` + errUnavailable.Error() + `
`},
		{"deleted", changes + "debezium", debezium("d", row, "null"), `
deleted email:a@example.com analytics v9007199254740993
`},
		{"deleted, with its key alone", keyed + "debezium", debezium("d", `{"email":"a@example.com","news":null,"sms":null}`, "null"), `
deleted email:a@example.com direct_marketing_email v9007199254740993
deleted email:a@example.com direct_marketing_sms v9007199254740993
`},
		{"deleted, with the key and a purpose", silent + "debezium", debezium("d", `{"email":"a@example.com","for":"analytics","on":null}`, "null"), `
deleted email:a@example.com analytics v9007199254740993
`},
		{"deleted, with a key that tells no purpose", silent + "debezium", debezium("d", `{"email":"a@example.com","for":null,"on":null}`, "null"), `
unreadable email:a@example.com *: for: is missing
`},
		{"deleted, with its key alone and no list", listed + "debezium", debezium("d", `{"email":"a@example.com","list":null}`, "null"), `
unreadable nobody : ` + errDeletedRow.Error() + `
`},
		{"deleted, with all of it and no list", listed + "debezium", debezium("d", `{"email":"a@example.com","list":null,"since":"2026"}`, "null"), "\n"},
		{"deleted, which said nothing", strings.Replace(silent, "if_true", "values: {never: skip}, if_true", 1) + "debezium", debezium("d", old("true", `"never"`), "null"), "\n"},
		{"updated to nothing, without the row as it was", keyed + "{kind: debezium, before: optional}", debezium("u", "null", `{"email":"a@example.com","news":null,"sms":true}`), `
grant email:a@example.com direct_marketing_sms at 1767323045000000 v9007199254740993
deleted email:a@example.com direct_marketing_email v9007199254740993
`},
		{"updated to a status that says nothing, without the row as it was", strings.Replace(silent, "if_true", "values: {never: skip}, if_true", 1) + "{kind: debezium, before: optional}", debezium("u", "null", old("true", `"never"`)), `
deleted email:a@example.com analytics v9007199254740993
`},
		{"deleted without its person", changes + "debezium", debezium("d", `{"id":1}`, "null"), `
unreadable nobody : ` + errDeletedRow.Error() + `
`},
		{"deleted without a row", changes + "debezium", debezium("d", "null", "null"), `
unreadable nobody : ` + errDeletedRow.Error() + `
`},
		{"truncated", changes + "debezium", debezium("t", "null", "null"), `
unreadable nobody : ` + errTruncated.Error() + `
`},
		{"the tombstone of the JSON converter", changes + "debezium", `{"schema":null,"payload":null}`, "\n"},
		{"another operation", changes + "debezium", debezium("x", "null", row), `
unreadable nobody : ` + errNoChange.Error() + `
`},
		{"two rows of canal, of which one was about another", byChange + "canal",
			`{"type":"UPDATE","es":1767323045000,"data":[` + row + `,` + row + `],"old":[{"on":"0"},{"email":"b@example.com"}]}`, `
grant email:a@example.com analytics at 1767323045000000 v1767323045000000 proven
deleted email:b@example.com analytics v1767323045000000
grant email:a@example.com analytics at 1767323045000000 v1767323045000000 proven
`},
		{"canal's update without its old columns", byChange + "canal", `{"type":"UPDATE","es":1767323045000,"data":[` + row + `],"old":null}`, `
unreadable nobody : ` + errOldRow.Error() + `
`},
		{"canal's deletion", byChange + "canal", `{"type":"DELETE","es":1767323045000,"data":[` + row + `]}`, `
deleted email:a@example.com analytics v1767323045000000
`},
		{"canal's truncation", byChange + "canal", `{"type":"TRUNCATE","isDdl":true,"data":null}`, `
unreadable nobody : ` + errTruncated.Error() + `
`},
		{"canal's change of the table", byChange + "canal", `{"type":"ALTER","isDdl":true,"data":null}`, "\n"},
		{"maxwell's update", byChange + "maxwell", `{"type":"update","ts":1767323045,"data":` + row + `,"old":{"for":"functional"}}`, `
deleted email:a@example.com functional v1767323045000000
grant email:a@example.com analytics at 1767323045000000 v1767323045000000 proven
`},
		{"maxwell's deletion", byChange + "maxwell", `{"type":"delete","ts":1767323045,"data":` + row + `}`, `
deleted email:a@example.com analytics v1767323045000000
`},
		{"maxwell's bootstrap", byChange + "maxwell", `{"type":"bootstrap-insert","ts":1767323045,"data":` + row + `}`, `
grant email:a@example.com analytics at 1767323045000000 v1767323045000000 proven
`},
		{"maxwell's bootstrap has begun", byChange + "maxwell", `{"type":"bootstrap-start","data":{}}`, "\n"},
		{"maxwell's table is gone", byChange + "maxwell", `{"type":"table-drop"}`, `
unreadable nobody : ` + errTruncated.Error() + `
`},
	} {
		r := NewReader(parse(t, test.mapping))
		if d := cmp.Diff(strings.TrimPrefix(test.want, "\n"), told(r.Row([]byte(test.row), nil))); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
	}
}

func TestMessages(t *testing.T) {
	plain := strings.Replace(strings.Replace(changes, "time: change", "time: {path: at, format: rfc3339}", 1), "lsn", "time", 1) + "none"
	for _, test := range []struct {
		name, mapping string
		key, value    []byte
		want          string
	}{
		{"a marker", plain, []byte(`{"marker":"m"}`), []byte(`{"marker":"m"}`), "marker\n"},
		{"a marker without its key", plain, nil, []byte(`{"marker":"m"}`), "marker\n"},
		{"what follows a deletion", changes + "debezium", []byte(`{"id":1}`), nil, ""},
		{"the key of a record", plain, []byte("email:a@example.com|analytics"), nil, "deleted email:a@example.com analytics v0\n"},
		{"a key with what the row has", plain, []byte(`{"email":"a@example.com","for":"analytics"}`), nil, "deleted email:a@example.com analytics v0\n"},
		{"a key without a purpose", plain, []byte(`{"email":"a@example.com"}`), nil, "unreadable email:a@example.com *: on: is missing\n"},
		{"a key of something else", plain, []byte(`{"id":1}`), nil, "unreadable nobody : " + errTombstone.Error() + "\n"},
		{"a key that is no JSON", plain, []byte("17"), nil, "unreadable nobody : " + errTombstone.Error() + "\n"},
	} {
		r := NewReader(parse(t, test.mapping))
		m := &schemas.LedgerMessages{Keys: [][]byte{test.key}, Values: [][]byte{test.value}}
		if d := cmp.Diff(test.want, told(r.Read(m, 0, nil))); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
	}
}
