package mapping

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

// sharedLines gives the lines of a file of real data.
func sharedLines(t *testing.T, parts ...string) [][]byte {
	t.Helper()
	root := os.Getenv("LUPA_SHARED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	text, err := os.ReadFile(filepath.Join(append([]string{root}, parts...)...))
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED, real data is not tested: %v", err)
	}
	var lines [][]byte
	s := bufio.NewScanner(bytes.NewReader(text))
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		lines = append(lines, bytes.Clone(s.Bytes()))
	}
	if err := s.Err(); err != nil || len(lines) == 0 {
		t.Fatalf("%d lines, error %v", len(lines), err)
	}
	return lines
}

// counted is what became of the lines of a file.
type counted struct {
	Said, Links, Deleted int
	Silent               int // lines that say nothing
	Nobody               int // faults of which nobody can say whom they are about
	Denied               int // faults about somebody
}

func count(list []schemas.Statement, into *counted) {
	if len(list) == 0 {
		into.Silent++
	}
	for _, s := range list {
		switch {
		case s.Kind == schemas.Deleted:
			into.Deleted++
		case s.Kind == schemas.Said && s.Record.Verb == schemas.Link:
			into.Links++
		case s.Kind == schemas.Said:
			into.Said++
		case s.Record.Principal.IsZero() && s.Record.Token.IsZero():
			into.Nobody++
		default:
			into.Denied++
		}
	}
}

func parse(t *testing.T, text string) *Mapping {
	t.Helper()
	m, err := Parse("test.yaml", []byte(text), schemas.DefaultVocabulary())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Every line of the change events that others have published goes through a
// reader, and every one of them is accounted for.
func TestPublishedChangeEvents(t *testing.T) {
	const people = `
mapping: 1
absent: ["null"]
principals:
  - {kind: user_id, path: '_id."$oid"|id.value|id|_id|_ID|k|k1|K1|k2|v1'}
time: change
version: change
records:
  - {verb: refuse, purpose: analytics}
envelope: `
	const rows = `
mapping: 1
principals:
  - {kind: user_id, path: 'after.id|after.ID|data.id|payload.after.dataColumn.id|payload.before.dataColumn.id|a'}
time: {path: op_ts|metadata.timestamp|event_tm|payload.timestamp.eventTime, format: [rfc3339, datetime, epoch_ms], zone: UTC}
records:
  - {verb: refuse, purpose: analytics}
`
	for _, test := range []struct {
		file, mapping string
		want          counted
	}{
		{"paimon-debezium.jsonl", people + "debezium", counted{Said: 36, Deleted: 2, Nobody: 1}},
		{"paimon-debezium-avro.jsonl", people + "debezium", counted{Said: 2, Nobody: 2}},
		{"paimon-debezium-bson.jsonl", people + "debezium", counted{Said: 2, Deleted: 1, Nobody: 7}},
		{"debezium-docs.jsonl", people + "debezium", counted{Said: 9, Nobody: 30}},
		{"paimon-canal.jsonl", people + "canal", counted{Said: 72, Deleted: 2, Silent: 26, Denied: 3}},
		{"paimon-maxwell.jsonl", people + "maxwell", counted{Said: 29, Deleted: 1}},
		{"paimon-ogg.jsonl", rows, counted{Said: 37, Nobody: 3}},
		{"paimon-aws-dms.jsonl", rows, counted{Said: 27, Nobody: 1}},
		{"paimon-aliyun.jsonl", rows, counted{Said: 3}},
		{"paimon-json.jsonl", rows, counted{Said: 6}},
		// The envelope of another tool is never taken for a row.
		{"paimon-ogg.jsonl", people + "debezium", counted{Nobody: 40}},
		{"paimon-aws-dms.jsonl", people + "canal", counted{Nobody: 28}},
		{"paimon-aliyun.jsonl", people + "maxwell", counted{Nobody: 3}},
	} {
		r := NewReader(parse(t, test.mapping))
		var got counted
		faults := map[string]int{}
		for _, line := range sharedLines(t, "cdc", test.file) {
			list := r.Row(line, nil)
			count(list, &got)
			for _, s := range list {
				if s.Fault != nil {
					faults[s.Fault.Error()]++
				}
			}
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s, %s: %s\n%v", test.file, r.m.Envelope(), d, faults)
		}
	}
}

func TestPublishedErasureRequests(t *testing.T) {
	m, _, err := Preset("opendsr", schemas.DefaultVocabulary())
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(m)
	var got counted
	for _, line := range sharedLines(t, "opendsr", "bodies.jsonl") {
		var body struct{ Body string }
		if err := json.Unmarshal(line, &body); err != nil {
			t.Fatal(err)
		}
		list := r.Row([]byte(body.Body), nil)
		count(list, &got)
		if strings.Contains(body.Body, "subject_identities") && list[0].Fault != errNotJSON {
			t.Errorf("the request, which is published with a comma too many: %v", list[0].Fault)
		}
		// Without that comma it is an erasure.
		if mended := strings.Replace(body.Body, "\"123456\",\n", "\"123456\"\n", 1); mended != body.Body {
			list = r.Row([]byte(mended), nil)
			if len(list) != 1 || list[0].Kind != schemas.Said || list[0].Record.Verb != schemas.Erase ||
				list[0].Record.Principal.Kind != schemas.Email || !list[0].Record.Every {
				t.Errorf("mended: %+v", list)
			}
		}
	}
	if d := cmp.Diff(counted{Nobody: 7}, got); d != "" {
		t.Error(d)
	}
}

func TestPublishedOptOuts(t *testing.T) {
	for _, test := range []struct {
		preset string
		path   []string
		join   string // a member that the table has to be joined with
		want   counted
	}{
		{"hubspot", []string{"hubspot-seeds", "email_event_status_change_data.jsonl"}, "", counted{Nobody: 100}},
		{"hubspot", []string{"hubspot-seeds", "email_event_status_change_data.jsonl"}, "recipient", counted{Said: 100}},
		{"iterable", []string{"iterable-seeds", "user_unsubscribed_channel_history_data.jsonl"}, "", counted{Said: 5}},
		{"iterable", []string{"iterable-seeds", "user_unsubscribed_message_type_history_data.jsonl"}, "", counted{Said: 7}},
	} {
		m, _, err := Preset(test.preset, schemas.DefaultVocabulary())
		if err != nil {
			t.Fatal(err)
		}
		r := NewReader(m)
		var got counted
		for _, line := range sharedLines(t, test.path...) {
			if test.join != "" {
				var row map[string]string
				if err := json.Unmarshal(line, &row); err != nil {
					t.Fatal(err)
				}
				row[test.join] = row["id"] + "@example.com"
				if line, err = json.Marshal(row); err != nil {
					t.Fatal(err)
				}
			}
			list := r.Row(line, nil)
			count(list, &got)
			for _, s := range list {
				if s.Kind == schemas.Said && (s.Record.Verb != schemas.Withdraw || s.Record.Time == 0 || s.Record.Version != s.Record.Time) {
					t.Errorf("%s: %v at %d, version %d", test.preset, s.Record.Verb, s.Record.Time, s.Record.Version)
				}
			}
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s of %v: %s", test.preset, test.path, d)
		}
	}
}

func TestPublishedSegmentConsent(t *testing.T) {
	m, _, err := Preset("segment", schemas.DefaultVocabulary())
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(m)
	var got counted
	for _, line := range sharedLines(t, "segment-docs", "examples.jsonl") {
		if bytes.Contains(line, []byte("categoryPreferences")) {
			count(r.Row(line, nil), &got)
		}
	}
	// One of the two names nobody; the other two identifiers and four categories.
	if d := cmp.Diff(counted{Said: 8, Links: 1, Nobody: 1}, got); d != "" {
		t.Error(d)
	}
}
