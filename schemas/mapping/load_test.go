package mapping

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

func TestProblems(t *testing.T) {
	const head = "mapping: 1\nprincipals: [{kind: email, path: e}]\n"
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "", "m.yaml: the file is empty"},
		{"two documents", "a: 1\n---\nb: 1\n", "m.yaml:2: the file has a second document; one mapping is one file"},
		{"no YAML", "a: [", "m.yaml:1: not YAML: did not find expected node content"},
		{"an anchor", "a: &x 1", "m.yaml:1: anchors and aliases are not allowed"},
		{"a list", "[]", "m.yaml:1: must be a mapping"},
		{"needed keys", "mapping: 1\n", `m.yaml:1: principals is missing
m.yaml:1: records is missing`},
		{"the version of the format", "mapping: 2\nprincipals: [{kind: email, path: e}]\nrecords: [{verb: grant, purpose: analytics}]", "m.yaml:1: mapping: the version of this format is 1"},
		{"unknown and repeated keys", head + "envelop: none\nlinks: true\nlinks: true\nrecords: [{verb: grant, purpose: analytics}]", `m.yaml:3: unknown key "envelop"; allowed: about, absent, envelope, links, mapping, principals, records, time, version
m.yaml:5: the key links stands twice, first in line 4`},
		{"an identifier kind", "mapping: 1\nprincipals: [{kind: mail, path: e}, {kind: {path: k}, path: v}]\nrecords: [{verb: grant, purpose: analytics}]",
			`m.yaml:2: principals[0].kind: allowed: user_id, anonymous_id, email, phone, device_id, ledger
m.yaml:2: principals[1].kind: needs values, which say the kind of each`},
		{"a path", "mapping: 1\nprincipals: [{kind: email, path: a..b}]\nrecords: [{verb: grant, purpose: analytics}]", "m.yaml:2: principals[0].path: the path has an empty step"},
		{"each", head + "records:\n- {each: a.b, verb: grant, purpose: analytics}", "m.yaml:4: records[0].each: must end with [] (the elements of an array) or {} (the members of an object)"},
		{"a verb", head + "records:\n- {verb: allow, purpose: analytics}", "m.yaml:4: records[0].verb: allowed: " + strings.Join(schemas.VerbNames(), ", ") + ", pending, skip\nm.yaml:4: records[0].verb: path is missing"},
		{"a grant of all purposes", head + "records:\n- {verb: grant, purpose: '*'}", `m.yaml:4: records[0].purpose: "*" is not one purpose, which a grant needs`},
		{"an unknown purpose", head + "time: {path: t, format: rfc3339}\nrecords:\n- {verb: withdraw, purpose: spam}", "m.yaml:5: records[0].purpose: \"spam\" is no purpose; ours are " + strings.Join(schemas.PurposeNames(), ", ")},
		{"a withdrawal without a time", head + "records:\n- {verb: withdraw, purpose: analytics}", "m.yaml:4: records[0]: time is missing, which only grants can do without, and are then not proven"},
		{"no purpose", head + "records:\n- {verb: grant}", "m.yaml:4: records[0]: purpose is missing"},
		{"a link", head + "time: {path: t, format: rfc3339}\nrecords:\n- {verb: link}", "m.yaml:5: records[0]: links are made of several principals, not by a verb"},
		{"what is absent as a grant", head + "records:\n- {verb: {path: v, values: {a: grant}, absent: grant}, purpose: analytics}", "m.yaml:4: records[0].verb.absent: what is absent is no grant"},
		{"values that are one without case and space", head + "records:\n- {verb: {path: v, values: {a b: grant, AB: skip}}, purpose: analytics}", `m.yaml:4: records[0].verb.values: the value "AB" stands twice, first in line 4; case and space do not matter`},
		{"a switch that is also listed", head + "records:\n- {verb: {path: v, if_true: grant, values: {1: skip}}, purpose: analytics}", `m.yaml:4: records[0].verb: the value "1" is also one of if_true, if_false or values`},
		{"a verb without values", head + "records:\n- {verb: {path: v}, purpose: analytics}", "m.yaml:4: records[0].verb: values are missing, which say what each means"},
		{"columns whose values mean anything", head + "records:\n- {verb: grant, columns: {a: analytics}}", "m.yaml:4: records[0]: verb needs values, which say what those of columns mean"},
		{"columns and a purpose", head + "records:\n- {verb: {if_true: grant}, purpose: analytics, columns: {a: analytics}}", "m.yaml:4: records[0]: has both purpose and columns; exactly one is allowed"},
		{"a change without an envelope", head + "time: change\nrecords:\n- {verb: grant, purpose: analytics}", "m.yaml:5: records[0]: there is no change without an envelope"},
		{"an lsn without Debezium", head + "version: lsn\nenvelope: canal\nrecords:\n- {verb: grant, purpose: analytics}", "m.yaml:6: records[0]: only a debezium envelope has an lsn"},
		{"an envelope", head + "envelope: {kind: ogg, before: never}\nrecords:\n- {verb: grant, purpose: analytics}", `m.yaml:3: envelope.kind: allowed: none, debezium, canal, maxwell
m.yaml:3: envelope.before: allowed: required, optional`},
		{"times", head + "time: {path: t, format: [datetime, epoch_s, epoch_ms, iso]}\nrecords:\n- {verb: grant, purpose: analytics}",
			`m.yaml:3: time.format: allowed: rfc3339, datetime, date, epoch_s, epoch_ms, epoch_us, epoch_days
m.yaml:3: time: zone is missing, which the format datetime needs
m.yaml:3: time: a number cannot be of two formats`},
		{"a zone", head + "time: {path: t, format: date, zone: Mars/Olympus}\nrecords:\n- {verb: grant, purpose: analytics}", "m.yaml:3: time.zone: is no IANA time zone that is known here, such as UTC or Europe/Helsinki"},
	} {
		_, err := Parse("m.yaml", []byte(test.text), schemas.DefaultVocabulary())
		var problems *Error
		if !errors.As(err, &problems) {
			t.Errorf("%s: error %v", test.name, err)
			continue
		}
		if d := cmp.Diff(test.want, err.Error()); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
	}
}

// A mapping is read, or all that is wrong is told with its line.
func FuzzParse(f *testing.F) {
	for _, name := range Presets() {
		_, text, err := Preset(name, schemas.DefaultVocabulary())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(table))
	f.Add([]byte(wide))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse("m.yaml", text, schemas.DefaultVocabulary())
		var problems *Error
		switch {
		case err == nil && (len(m.principals) == 0 || len(m.records) == 0):
			t.Fatal("a mapping of nobody or nothing is taken")
		case err != nil && (!errors.As(err, &problems) || len(problems.Problems) == 0):
			t.Fatal("an error without a problem")
		case err == nil:
			NewReader(m).Row([]byte(`{"email":"a","id":1,"at":"2026-01-02","status":"subscribed","list":"news"}`), nil)
		}
	})
}

// What cannot be read must never permit, whatever the row is.
func FuzzRow(f *testing.F) {
	f.Add(0, []byte(`{"email":"a@example.com","id":7,"at":"2026-01-02","status":"subscribed","list":"news"}`))
	f.Add(1, []byte(`{"id":7,"at":1,"rev":9007199254740993,"opt":{"mail":"\u0079es"}}`))
	f.Add(2, []byte(`{"op":"u","before":{"email":"b"},"after":{"email":"a","on":1,"for":"analytics"},"source":{"lsn":1,"ts_ms":2}}`))
	f.Add(3, []byte(`{"type":"UPDATE","es":1,"data":[{"email":"a","on":"1","for":"*"}],"old":[{"email":"c"}]}`))
	f.Add(4, []byte(`{"type":"delete","ts":1,"data":{"email":"a","on":true,"for":"x"}}`))
	f.Add(5, []byte(`{"subject_identities":[{"identity_type":"email","identity_value":"x","identity_format":"raw"}],"submitted_time":"2026-01-02T03:04:05Z","subject_request_type":"erasure"}`))
	byChange := strings.Replace(changes, "lsn", "change", 1)
	texts := []string{table, wide, changes + "debezium", byChange + "canal", byChange + "maxwell"}
	_, request, err := Preset("opendsr", schemas.DefaultVocabulary())
	if err != nil {
		f.Fatal(err)
	}
	var mappings []*Mapping
	for _, text := range append(texts, string(request)) {
		m, err := Parse("m.yaml", []byte(text), schemas.DefaultVocabulary())
		if err != nil {
			f.Fatal(err)
		}
		mappings = append(mappings, m)
	}
	f.Fuzz(func(t *testing.T, which int, row []byte) {
		m := mappings[uint(which)%uint(len(mappings))]
		r := NewReader(m)
		list := r.Row(row, nil)
		for i := range list {
			s := &list[i]
			switch s.Kind {
			case schemas.Said:
				if s.Fault != nil || s.Record.Principal.IsZero() && s.Record.Token.IsZero() {
					t.Fatal("something is said of nobody, or at fault")
				}
				// What is said is a record that can be in a ledger, and its key is read.
				key := schemas.AppendRecordKey(nil, s.Record)
				if _, err := schemas.ParseRecordKey(key); err != nil {
					t.Fatal(err)
				}
				again, err := schemas.ParseRecord(schemas.AppendRecord(nil, s.Record))
				if err != nil || again.Verb != s.Record.Verb || again.Principal != s.Record.Principal || again.Version != s.Record.Version ||
					again.Proven != s.Record.Proven || again.Pending != s.Record.Pending {
					t.Fatalf("written and read again it is another: %v", err)
				}
			case schemas.Unreadable:
				if s.Fault == nil {
					t.Fatal("a fault without a reason")
				}
			}
		}
		if told(list) != told(r.Row(row, nil)) {
			t.Fatal("a reader says something else the second time")
		}
	})
}

func BenchmarkRow(b *testing.B) {
	m, err := Parse("m.yaml", []byte(changes+"debezium"), schemas.DefaultVocabulary())
	if err != nil {
		b.Fatal(err)
	}
	r := NewReader(m)
	row := []byte(`{"op":"u","before":{"email":"a@example.com","on":false,"for":"analytics","how":"form"},"after":{"email":"a@example.com","on":true,"for":"analytics","how":"form"},"source":{"lsn":1,"ts_ms":1767323045000},"ts_ms":1}`)
	var list []schemas.Statement
	b.ReportAllocs()
	for b.Loop() {
		list = r.Row(row, list[:0])
	}
}
