package decode

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lupa/schemas"
)

func readLines(t testing.TB, path string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	for line := range strings.SplitSeq(strings.TrimSuffix(string(b), "\n"), "\n") {
		lines = append(lines, []byte(line))
	}
	return lines
}

func TestSharedEvents(t *testing.T) {
	hub := []*schemas.Contract{
		contract(when("type", "PushEvent"), coerced(keep("id", schemas.Integer, "id")), keep("actor_id", schemas.Integer, "actor.id"),
			identity("login", schemas.UserID, "actor.login"), keep("repo", schemas.Text, "repo.name"), keep("public", schemas.Boolean, "public"),
			keep("created_at", schemas.Timestamp, "created_at"), keep("size", schemas.Number, "payload.size"), keep("ref", schemas.Text, "payload.ref")),
		contract(nil, keep("type", schemas.Text, "type"), keep("id", schemas.Text, "id"), coerced(keep("actor", schemas.Text, "actor.id")),
			coerced(keep("number", schemas.Text, "payload.number", "payload.issue.number")), keep("body", schemas.Text, "payload.comment.body", "payload.pull_request.body")),
	}
	access := []*schemas.Contract{contract(nil, keep("addr", schemas.Text, "remote_addr"), keep("status", schemas.Integer, "status"),
		coerced(keep("bytes", schemas.Text, "bytes")), keep("request", schemas.Text, "request"), keep("agent", schemas.Text, "user_agent"),
		keep("referer", schemas.Text, "referer"), required(dropped(keep("user", schemas.Text, "user"))))}
	events := append(segmentContracts(), contract(nil,
		identity("user_id", schemas.UserID, "userId"), coerced(keep("timestamp", schemas.Timestamp, "timestamp", "originalTimestamp", "sentAt")),
		coerced(keep("revenue", schemas.Number, "properties.revenue", "properties.total")), coerced(keep("age", schemas.Integer, "traits.age", "context.traits.age")),
		coerced(keep("name", schemas.Text, "traits.name", "context.traits.name", "properties.name")), coerced(keep("product", schemas.Text, "properties.product_id"))))
	for _, c := range []struct {
		dir, file string
		contracts []*schemas.Contract
		rows      int // at least
	}{
		{"rudder-transformer", "events.jsonl", events, 1500},
		{"rudder-transformer", "source-webhooks.jsonl", events, 100},
		{"segment-docs", "examples.jsonl", events, 200},
		{"rudderstack-docs", "examples.jsonl", events, 90},
		{"gharchive", "2021-07-21-few-hours.json", hub, 1000},
		{"access-log", "apache_logs.jsonl", access, 9000},
	} {
		t.Run(c.dir+"/"+c.file, func(t *testing.T) {
			lines := readLines(t, shared(t, c.dir, c.file))
			times := make([]int64, len(lines))
			for i := range times {
				times[i] = int64(i)
			}
			rows := checkAgainstOracle(t, newJSON(t, c.contracts, Options{}), c.contracts, lines, times)
			if rows < c.rows {
				t.Errorf("%d rows of %d lines, want at least %d", rows, len(lines), c.rows)
			}
			checkTiers(t, c.contracts, Options{}, lines)
		})
	}
}

// TestNaughtyStrings takes each string as a value and as a key.
func TestNaughtyStrings(t *testing.T) {
	b, err := os.ReadFile(shared(t, "blns", "blns.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil || len(list) < 400 {
		t.Fatalf("%d strings: %v", len(list), err)
	}
	var messages [][]byte
	fields := []schemas.Field{keep("x", schemas.Text, "x")}
	seen := map[string]bool{"x": true}
	for i, s := range list {
		m, err := json.Marshal(map[string]string{"x": s, "k" + s: s})
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
		if !seen["k"+s] {
			seen["k"+s] = true
			fields = append(fields, schemas.Field{Name: fmt.Sprint("k", i), Type: schemas.Text, Paths: []schemas.Path{{"k" + s}}, Treatment: schemas.Treatment{Technique: schemas.Keep}})
		}
	}
	contracts := []*schemas.Contract{contract(nil, fields...)}
	res := decodeAll(t, newJSON(t, contracts, Options{}), messages, nil)
	if len(res.Rows[0]) != len(list) {
		t.Fatalf("%d rows of %d strings", len(res.Rows[0]), len(list))
	}
	for i, cells := range res.Rows[0] {
		filled := 0
		for f, c := range cells {
			if c == nil {
				continue
			}
			filled++
			if c != list[i] {
				t.Errorf("string %d, field %d: differs", i, f)
			}
		}
		if filled != 2 {
			t.Errorf("string %d: %d cells filled, want one by value and one by key", i, filled)
		}
	}
	checkTiers(t, contracts, Options{}, messages)
}

// implementationDefined pins what becomes of the files of the JSON test suite
// that a parser may take or refuse.
var implementationDefined = map[string]schemas.Reason{
	"i_number_double_huge_neg_exp.json":                   schemas.NoReason,
	"i_number_huge_exp.json":                              schemas.NoReason,
	"i_number_neg_int_huge_exp.json":                      schemas.NoReason,
	"i_number_pos_double_huge_exp.json":                   schemas.NoReason,
	"i_number_real_neg_overflow.json":                     schemas.NoReason,
	"i_number_real_pos_overflow.json":                     schemas.NoReason,
	"i_number_real_underflow.json":                        schemas.NoReason,
	"i_number_too_big_neg_int.json":                       schemas.NoReason,
	"i_number_too_big_pos_int.json":                       schemas.NoReason,
	"i_number_very_big_negative_int.json":                 schemas.NoReason,
	"i_object_key_lone_2nd_surrogate.json":                schemas.Malformed,
	"i_string_1st_surrogate_but_2nd_missing.json":         schemas.Malformed,
	"i_string_1st_valid_surrogate_2nd_invalid.json":       schemas.Malformed,
	"i_string_UTF-16LE_with_BOM.json":                     schemas.Malformed,
	"i_string_UTF-8_invalid_sequence.json":                schemas.Malformed,
	"i_string_UTF8_surrogate_U+D800.json":                 schemas.Malformed,
	"i_string_incomplete_surrogate_and_escape_valid.json": schemas.Malformed,
	"i_string_incomplete_surrogate_pair.json":             schemas.Malformed,
	"i_string_incomplete_surrogates_escape_valid.json":    schemas.Malformed,
	"i_string_invalid_lonely_surrogate.json":              schemas.Malformed,
	"i_string_invalid_surrogate.json":                     schemas.Malformed,
	"i_string_invalid_utf-8.json":                         schemas.Malformed,
	"i_string_inverted_surrogates_U+1D11E.json":           schemas.Malformed,
	"i_string_iso_latin_1.json":                           schemas.Malformed,
	"i_string_lone_second_surrogate.json":                 schemas.Malformed,
	"i_string_lone_utf8_continuation_byte.json":           schemas.Malformed,
	"i_string_not_in_unicode_range.json":                  schemas.Malformed,
	"i_string_overlong_sequence_2_bytes.json":             schemas.Malformed,
	"i_string_overlong_sequence_6_bytes.json":             schemas.Malformed,
	"i_string_overlong_sequence_6_bytes_null.json":        schemas.Malformed,
	"i_string_truncated-utf-8.json":                       schemas.Malformed,
	"i_string_utf16BE_no_BOM.json":                        schemas.Malformed,
	"i_string_utf16LE_no_BOM.json":                        schemas.Malformed,
	"i_structure_500_nested_arrays.json":                  schemas.TooDeep,
	"i_structure_UTF-8_BOM_empty_object.json":             schemas.Malformed,
}

// suiteOutcome is what a file of the suite must come to as part of a message:
// NoReason, or the reason of a message that is not well-formed.
func suiteOutcome(t *testing.T, name string, got schemas.Reason) {
	t.Helper()
	broken := got == schemas.Malformed || got == schemas.TooDeep || got == schemas.EmptyMessage
	switch {
	case strings.HasPrefix(name, "y_") && broken:
		t.Errorf("%s: rejected as %s", name, got)
	case strings.HasPrefix(name, "n_") && !broken:
		t.Errorf("%s: taken", name)
	case strings.HasPrefix(name, "i_"):
		want, ok := implementationDefined[name]
		if !ok {
			t.Errorf("%s: is not in the table", name)
		}
		if broken != (want != schemas.NoReason) || broken && got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestSuite(t *testing.T) {
	dir := shared(t, "json-test-suite", "test_parsing")
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 300 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	listed := contract(when("type", "track"), keep("timestamp", schemas.Timestamp, "timestamp"), coerced(keep("x", schemas.Text, "properties.x")))
	unlisted := contract(when("type", "track"), keep("timestamp", schemas.Timestamp, "timestamp"))
	contracts := []*schemas.Contract{listed, unlisted}
	d := newJSON(t, contracts, Options{})
	var messages [][]byte
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		inside := fmt.Appendf(nil, `{"type":"track","timestamp":"2026-03-14T15:09:26.535Z","properties":{"x":%s}}`, b)
		messages = append(messages, b, inside)
		whole, nested := decodeAll(t, d, [][]byte{b}, nil), decodeAll(t, d, [][]byte{inside}, nil)
		suiteOutcome(t, f.Name(), blame(whole))
		suiteOutcome(t, f.Name(), blame(nested))
		if blame(nested) == schemas.NoReason && len(nested.Rows[1]) != 1 {
			t.Errorf("%s: the contract that does not list the value has no row", f.Name())
		}
	}
	times := make([]int64, len(messages))
	checkAgainstOracle(t, d, contracts, messages, times)
	checkTiers(t, contracts, Options{}, messages)
}

// blame gives the reason of a message of which no contract could have a row.
func blame(r result) schemas.Reason {
	for _, x := range r.Rejects {
		if x.Contract == schemas.NoContract {
			return x.Reason
		}
	}
	return schemas.NoReason
}

func TestSuiteTransform(t *testing.T) {
	dir := shared(t, "json-test-suite", "test_transform")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	var messages [][]byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, b, fmt.Appendf(nil, `{"x":%s}`, b), fmt.Appendf(nil, `{"x":"v","p":%s,"ts":"%s"}`, b, b))
		if inner := strings.TrimSpace(string(b)); strings.HasPrefix(inner, "[") && strings.HasSuffix(inner, "]") {
			value := strings.TrimSpace(inner[1 : len(inner)-1])
			for _, field := range []string{"t", "x", "i", "n", "u", "ts"} {
				messages = append(messages, fmt.Appendf(nil, `{"p":1,%q:%s}`, field, value))
			}
		}
	}
	contracts := everyType()
	times := make([]int64, len(messages))
	checkAgainstOracle(t, newJSON(t, contracts, Options{}), contracts, messages, times)
	checkTiers(t, contracts, Options{}, messages)
}
