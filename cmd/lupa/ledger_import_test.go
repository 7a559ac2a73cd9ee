package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/schemas"
	"lupa/transforms/keys"
)

// importBed is a folder with a configuration, a mapping and rows of a made-up CRM.
type importBed struct {
	dir, config string
}

const crmMapping = `
mapping: 1
principals:
  - {kind: user_id, path: id}
  - {kind: email, path: mail}
  - {kind: phone, path: tel}
time: {path: at, format: [rfc3339, datetime], zone: UTC}
records:
  - verb: {path: status, values: {yes: grant, no: refuse, left: withdraw, gone: erase}}
    purpose: {path: list, values: {stats: analytics, news: direct_marketing_email}}
    evidence: {method: {path: how}, notice: {path: notice}, system: crm}
`

const crmRows = `id,mail,at,status,list,how,notice,tel
canary-ann,ann.canary@example.com,2026-01-02T03:04:05Z,yes,stats,web form,n1,
canary-bob,,2026-01-02T03:04:05Z,yes,stats,web form,n1,
canary-bob,,2026-02-02 03:04:05,left,stats,,,
canary-cid,,2026-01-02T03:04:05Z,yes,stats,,,
canary-dee,,2026-01-02T03:04:05Z,maybe,stats,web form,n1,
canary-ann,ann.canary@example.com,2026-01-02T03:04:05Z,yes,stats,web form,n1,
canary-eve,"eve.canary@example.com",yesterday,yes,news,canary-how,n1,
,,2026-01-02T03:04:05Z,no,news,,,canary
`

// newImportBed makes the folder. ledger is what the configuration says of it.
func newImportBed(t *testing.T, ledger string) importBed {
	t.Helper()
	dir := t.TempDir()
	if err := keys.Init(filepath.Join(dir, "lupa.keys"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "lupa.yaml", "keys: {file: lupa.keys}\nledger: "+ledger+"\nevents: {files: {paths: [events.jsonl]}}\nwarehouse: {dir: warehouse}\n")
	write(t, dir, "crm.yaml", crmMapping)
	write(t, dir, "rows/crm.csv", crmRows)
	return importBed{dir, filepath.Join(dir, "lupa.yaml")}
}

// run imports, and looks for raw values in all that it says.
func (b importBed) run(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	code, out, errs := command(t, append([]string{"ledger", "import", "-c", b.config}, args...)...)
	if code != want {
		t.Fatalf("exit code %d, want %d; it printed:\n%s%s", code, want, out, errs)
	}
	b.noRaw(t, "the output", []byte(out+errs))
	return out, errs
}

// noRaw fails when a text has something of the rows.
func (b importBed) noRaw(t *testing.T, what string, text []byte) {
	t.Helper()
	if hasRaw(text) {
		t.Errorf("%s holds something of a row", what)
	}
}

func hasRaw(text []byte) bool {
	return bytes.Contains(bytes.ToLower(text), []byte("canary")) || bytes.Contains(text, []byte("example.com"))
}

func (b importBed) path(name string) string { return filepath.Join(b.dir, name) }

func (b importBed) token(t *testing.T, kind schemas.IdentifierKind, value string) schemas.Token {
	t.Helper()
	keyset, err := keys.Open(b.path("lupa.keys"))
	if err != nil {
		t.Fatal(err)
	}
	domain, err := keyset.Domain(ledgerDomain)
	if err != nil {
		t.Fatal(err)
	}
	return domain.Token(kind, []byte(value))
}

const crmSummary = `CRM: 8 rows of 1 files

verb      purpose    records
grant     analytics        4
link                       1
withdraw  analytics        1

grants: 3 proven, 0 pending, 1 UNPROVEN
  An unproven grant permits nothing: how it was collected, the notice, the time or
  the system is not stated. It must be given again, with its evidence.
duplicates: 3
rejected rows: 3
  1: an identifier is nothing of its kind, such as a telephone number without digits
     first at ROWS:9
  1: at: is a time of none of the formats
     first at ROWS:8
  1: status: has a value that the mapping does not list
     first at ROWS:6
`

func (b importBed) summary(text string) string {
	text = strings.ReplaceAll(text, b.path("rows/crm.csv"), "ROWS")
	return strings.ReplaceAll(text, b.path("crm.yaml"), "CRM")
}

func TestImportIsDryByDefault(t *testing.T) {
	t.Parallel()
	b := newImportBed(t, "{file: ledger/*.jsonl}")
	out, errs := b.run(t, exitOK, "-m", b.path("crm.yaml"), "--rejects", b.path("rejects.jsonl"), b.path("rows/*.csv"))
	if d := cmp.Diff(crmSummary+"nothing was written; --apply writes the records\n", b.summary(out)); d != "" {
		t.Error(d)
	}
	if !strings.Contains(errs, "rows or parts of them were rejected") || !strings.Contains(errs, "8 rows, ") {
		t.Errorf("it said:\n%s", errs)
	}
	if _, err := os.Stat(b.path("ledger")); !os.IsNotExist(err) {
		t.Error("something was written")
	}
	text := readAll(t, b.path("rejects.jsonl"))
	b.noRaw(t, "the rejects", text)
	if n := bytes.Count(text, []byte("\n")); n != 3 || !bytes.Contains(text, []byte(`"place":"`+b.path("rows/crm.csv")+`:6","reason":"status: has a value that the mapping does not list"`)) {
		t.Errorf("%d rejects:\n%s", n, text)
	}
	// A second run does not write over them.
	b.run(t, exitUsage, "-m", b.path("crm.yaml"), "--rejects", b.path("rejects.jsonl"), b.path("rows/*.csv"))
	out, errs = b.run(t, exitData, "-m", b.path("crm.yaml"), "--strict", "--json", b.path("rows/crm.csv"))
	var sum importSummary
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatalf("%v:\n%s%s", err, out, errs)
	}
	if sum.Grants != (grantCounts{Proven: 3, Unproven: 1}) || sum.Rejected != 3 || sum.Rows != 8 || sum.Applied || sum.Written != nil {
		t.Errorf("%+v", sum)
	}
	// The rows do hold what is looked for.
	if !hasRaw([]byte(crmRows)) {
		t.Error("nothing raw would be found")
	}
}

// TestImportedFileIsRespected imports into a ledger of files, and reads events by
// it.
func TestImportedFileIsRespected(t *testing.T) {
	t.Parallel()
	b := newImportBed(t, "{file: ledger/*.jsonl}")
	write(t, b.dir, "ledger/2026.jsonl", "")
	to := b.path("ledger/crm.jsonl")
	out, _ := b.run(t, exitOK, "-m", b.path("crm.yaml"), "--apply", "--to", to, b.path("rows/crm.csv"))
	if d := cmp.Diff(crmSummary+"written to "+to+": 6 records, 0 tombstones\n", b.summary(out)); d != "" {
		t.Error(d)
	}
	text := readAll(t, to)
	b.noRaw(t, "the ledger", text)
	info, err := os.Stat(to)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	for line := range bytes.Lines(text) {
		r, err := schemas.ParseRecord(bytes.TrimSpace(line))
		if err != nil || r.Token.IsZero() || !r.Principal.IsZero() {
			t.Errorf("a record is at fault, or is not about a token: %v", err)
		}
	}
	if parts, err := filepath.Glob(b.path("ledger/*.part")); err != nil || len(parts) > 0 {
		t.Errorf("%d parts are left, error %v", len(parts), err)
	}
	want := map[string]int64{"consent_given": 1, "withdrawn": 1, "unproven": 1, "no_record": 2}
	if d := cmp.Diff(want, b.backfillReasons(t, "canary-ann", "canary-bob", "canary-cid", "canary-dee", "canary-eve")); d != "" {
		t.Error(d)
	}
	// A ledger is never written over, and a file that is none of it is refused.
	b.run(t, exitUsage, "-m", b.path("crm.yaml"), "--apply", "--to", to, b.path("rows/crm.csv"))
	b.run(t, exitUsage, "-m", b.path("crm.yaml"), "--apply", "--to", b.path("crm.jsonl"), b.path("rows/crm.csv"))
	b.run(t, exitUsage, "-m", b.path("crm.yaml"), "--apply", b.path("rows/crm.csv"))
	// With --strict nothing is written when a row is rejected.
	b.run(t, exitData, "-m", b.path("crm.yaml"), "--apply", "--strict", "--rejects", b.path("strict.jsonl"), "--to", b.path("ledger/strict.jsonl"), b.path("rows/crm.csv"))
	if n := bytes.Count(readAll(t, b.path("strict.jsonl")), []byte("\n")); n != 3 {
		t.Errorf("%d rejects are told", n)
	}
	if left, err := filepath.Glob(b.path("ledger/strict*")); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, error %v", len(left), err)
	}
}

func TestImportIntoTopic(t *testing.T) {
	t.Parallel()
	k := fakeBed(t)
	k.create(t, "consent", 3, "compact")
	b := newImportBed(t, "{kafka: {brokers: ["+strings.Join(k.ListenAddrs(), ", ")+"], topic: consent}}")
	out, _ := b.run(t, exitOK, "-m", b.path("crm.yaml"), "--apply", b.path("rows/crm.csv"))
	if d := cmp.Diff(crmSummary+"written to topic consent: 6 records, 0 tombstones\n", b.summary(out)); d != "" {
		t.Error(d)
	}
	ann, mail, bob := b.token(t, schemas.UserID, "canary-ann"), b.token(t, schemas.Email, "ann.canary@example.com"), b.token(t, schemas.UserID, "canary-bob")
	keyOf := func(r schemas.Record) string { return string(schemas.AppendRecordKey(nil, r)) }
	records := k.read(t, "consent", 6)
	got := map[string]int{}
	for _, r := range records {
		got[string(r.Key)]++
		b.noRaw(t, "a record", append(r.Key, r.Value...))
		read, err := schemas.ParseRecord(r.Value)
		if err != nil || keyOf(read) != string(r.Key) {
			t.Errorf("a record is at fault, or not under its key: %v", err)
		}
	}
	want := map[string]int{
		keyOf(schemas.Record{Verb: schemas.Grant, Token: ann, Purpose: schemas.Analytics}):                                      1,
		keyOf(schemas.Record{Verb: schemas.Grant, Token: mail, Purpose: schemas.Analytics}):                                     1,
		keyOf(schemas.Record{Verb: schemas.Link, Token: ann, OtherToken: mail}):                                                 1,
		keyOf(schemas.Record{Verb: schemas.Grant, Token: bob, Purpose: schemas.Analytics}):                                      2,
		keyOf(schemas.Record{Verb: schemas.Grant, Token: b.token(t, schemas.UserID, "canary-cid"), Purpose: schemas.Analytics}): 1,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// Again, nothing is written: all of it is there.
	out, _ = b.run(t, exitOK, "-m", b.path("crm.yaml"), "--apply", "--json", b.path("rows/crm.csv"))
	var sum importSummary
	if err := json.Unmarshal([]byte(out), &sum); err != nil || *sum.Written != (writtenTo{Target: "topic consent", Superseded: 6}) {
		t.Errorf("%+v, error %v", sum.Written, err)
	}
	// What is older than the topic has is not written behind it, where compaction
	// would keep it; a deletion is a tombstone.
	write(t, b.dir, "changes.yaml", strings.Replace(strings.Replace(crmMapping, "mapping: 1", "mapping: 1\nenvelope: debezium", 1), "records:", "version: lsn\nrecords:", 1))
	row := func(id, status string) string {
		return `{"id":"` + id + `","at":"2026-01-02T03:04:05Z","status":"` + status + `","list":"stats"}`
	}
	event := func(op, before, after, lsn string) string {
		return `{"op":"` + op + `","before":` + before + `,"after":` + after + `,"source":{"lsn":` + lsn + `,"ts_ms":1767323045000}}` + "\n"
	}
	const newer = "9000000000000000000"
	write(t, b.dir, "changes.jsonl",
		event("c", "null", row("canary-bob", "yes"), "5")+
			event("d", row("canary-ann", "yes"), "null", newer)+
			event("d", row("canary-cid", "gone"), "null", newer)+
			event("d", `{"id":null}`, "null", newer))
	out, _ = b.run(t, exitOK, "-m", b.path("changes.yaml"), "--apply", "--json", b.path("changes.jsonl"))
	sum = importSummary{}
	if err := json.Unmarshal([]byte(out), &sum); err != nil || *sum.Written != (writtenTo{Target: "topic consent", Tombstones: 1, Superseded: 1, Kept: 1}) || sum.Rejected != 1 {
		t.Errorf("%s", out)
	}
	last := k.read(t, "consent", 7)
	tombstones := 0
	for _, r := range last {
		if r.Value == nil {
			tombstones++
			if string(r.Key) != keyOf(schemas.Record{Verb: schemas.Grant, Token: ann, Purpose: schemas.Analytics}) {
				t.Error("a tombstone has another key")
			}
		}
	}
	if tombstones != 1 {
		t.Errorf("%d tombstones", tombstones)
	}
	b.run(t, exitUsage, "-m", b.path("crm.yaml"), "--apply", "--to", b.path("x.jsonl"), b.path("rows/crm.csv"))
}

// read gives the first n records of a topic.
func (b *bed) read(t *testing.T, topic string, n int) []*kgo.Record {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all []*kgo.Record
	for ctx := bounded(t); len(all) < n; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		all = append(all, fetches.Records()...)
	}
	return all
}

func TestImportOfPresets(t *testing.T) {
	t.Parallel()
	b := newImportBed(t, "{file: ledger/*.jsonl}")
	write(t, b.dir, "list.csv", "Email Address,Name\nann.canary@example.com,Ann Canary\nBob.Canary@example.com,\n,Nobody Canary\nBOB.canary@example.com,again\n")
	write(t, b.dir, "onetrust.jsonl", `{"Identifier":"ann.canary@example.com","Language":"en","Purposes":[`+
		`{"Name":"analytics","Status":"ACTIVE","LastTransactionDate":"2026-01-02T03:04:05Z","ExpiryDate":"2027-01-02T03:04:05Z"},`+
		`{"Name":"direct_marketing_email","Status":"Withdrawn","LastTransactionDate":"2026-01-02T03:04:05Z"},`+
		`{"Name":"functional","Status":"PENDING","LastTransactionDate":"2026-01-02T03:04:05Z"},`+
		`{"Name":"Canary Club","Status":"ACTIVE","LastTransactionDate":"2026-01-02T03:04:05Z"},`+
		`{"Name":"profiling","Status":"CANARY","LastTransactionDate":"2026-01-02T03:04:05Z"}]}`+"\n")
	write(t, b.dir, "segment.jsonl", `{"type":"track","event":"Segment Consent Preference Updated","userId":"canary-ann","anonymousId":"canary-1","timestamp":"2026-01-02T03:04:05Z",`+
		`"context":{"consent":{"categoryPreferences":{"Advertising":true,"Analytics":false,"Canary":true}}}}`+"\n")
	write(t, b.dir, "requests.jsonl", `{"subject_request_type":"erasure","submitted_time":"2026-01-02T03:04:05Z","subject_identities":[`+
		`{"identity_type":"email","identity_value":"ann.canary@example.com","identity_format":"raw"},{"identity_type":"controller_customer_id","identity_value":"canary-ann","identity_format":"raw"},`+
		`{"identity_type":"email","identity_value":"canary0123","identity_format":"sha256"}]}`+"\n"+
		`{"subject_request_type":"access","submitted_time":"2026-01-02T03:04:05Z","subject_identities":[{"identity_type":"email","identity_value":"ann.canary@example.com","identity_format":"raw"}]}`+"\n")
	write(t, b.dir, "channels.tsv", "email\tchannel_id\tupdated_at\nann.canary@example.com\t17\t2026-01-02 03:04:05.678\n")
	write(t, b.dir, "changes.csv", "id,recipient,portal_subscription_status,_fivetran_synced\n1,ann.canary@example.com,UNSUBSCRIBED,2026-01-02 03:04:05\n2,ann.canary@example.com,,2026-01-02 03:04:05\n")
	for _, test := range []struct {
		preset, file string
		want         importSummary
	}{
		{"iterable", "channels.tsv", importSummary{Rows: 1, Records: []saidCount{{"withdraw", "direct_marketing", 1}}}},
		{"hubspot", "changes.csv", importSummary{Rows: 2, Records: []saidCount{{"withdraw", "direct_marketing_email", 1}}}},
		{"mailing-list", "list.csv", importSummary{Rows: 4, Rejected: 1, Duplicates: 1, Grants: grantCounts{Unproven: 2},
			Records: []saidCount{{"grant", "direct_marketing_email", 2}}}},
		{"onetrust", "onetrust.jsonl", importSummary{Rows: 1, Rejected: 1, Grants: grantCounts{Unproven: 1, Pending: 1},
			Records: []saidCount{{"grant", "analytics", 1}, {"grant", "functional", 1}, {"withdraw", "direct_marketing_email", 1}}}},
		{"segment", "segment.jsonl", importSummary{Rows: 1, Rejected: 1, Grants: grantCounts{Unproven: 2},
			Records: []saidCount{{"grant", "personalised_advertising", 2}, {"link", "", 1}, {"withdraw", "analytics", 2}}}},
		{"opendsr", "requests.jsonl", importSummary{Rows: 2, Rejected: 2, Records: []saidCount{{"erase", "*", 2}}}},
	} {
		out, _ := b.run(t, exitOK, "-m", test.preset, "--json", b.path(test.file))
		var got importSummary
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		got.Rejects, got.Files, got.Mapping = nil, 0, ""
		if d := cmp.Diff(test.want, got, cmp.AllowUnexported(importSummary{})); d != "" {
			t.Errorf("%s: %s", test.preset, d)
		}
	}
	out, _ := b.run(t, exitOK, "-m", "mailing-list", b.path("list.csv"))
	if !strings.Contains(out, "grants: 0 proven, 0 pending, 2 UNPROVEN\n  An unproven grant permits nothing") {
		t.Errorf("it does not say in words that nothing is proven:\n%s", out)
	}
}

func TestImportThatCannotRun(t *testing.T) {
	t.Parallel()
	b := newImportBed(t, "{file: ledger/*}")
	for _, test := range []struct {
		name, want string
		args       []string
	}{
		{"no mapping", "--mapping is missing", []string{b.path("rows/crm.csv")}},
		{"no files", "no files are named", []string{"-m", "mailing-list"}},
		{"no preset", "there is no preset of that name; there are hubspot, iterable, mailing-list, onetrust, opendsr, segment", []string{"-m", "crm", b.path("rows/crm.csv")}},
		{"no such file", "no such file", []string{"-m", "mailing-list", b.path("rows/none.csv")}},
		{"an encoding", "allowed are utf-8 and latin1", []string{"-m", "mailing-list", "--encoding", "ebcdic", b.path("rows/crm.csv")}},
		{"a delimiter", "must be one character", []string{"-m", "mailing-list", "--delimiter", ";;", b.path("rows/crm.csv")}},
		{"a place without apply", "--to is for --apply", []string{"-m", "mailing-list", "--to", "x", b.path("rows/crm.csv")}},
		{"a ledger of all files", "it must end like the files of the ledger", []string{"-m", "mailing-list", "--apply", "--to", b.path("ledger/x.jsonl"), b.path("rows/crm.csv")}},
	} {
		_, errs := b.run(t, exitUsage, test.args...)
		if !strings.Contains(errs, test.want) {
			t.Errorf("%s: it says\n%s", test.name, errs)
		}
	}
}
