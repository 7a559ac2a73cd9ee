package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// backfillReasons reads events of the people by the ledger of b, and gives how
// many rows of tracks have each reason.
func (b importBed) backfillReasons(t *testing.T, people ...string) map[string]int64 {
	t.Helper()
	var events strings.Builder
	for _, id := range people {
		events.WriteString(`{"type":"track","messageId":"` + id + `","userId":"` + id + `","event":"Seen","timestamp":"2026-03-01T00:00:00Z"}` + "\n")
	}
	write(t, b.dir, "events.jsonl", events.String())
	if err := os.RemoveAll(b.path("warehouse")); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, "backfill", "-c", b.config, "--json")
	if code != exitOK {
		t.Fatalf("exit code %d:\n%s", code, stderr)
	}
	var res result
	if err := json.Unmarshal([]byte(stdout), &res); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, table := range res.Tables {
		for reason, n := range table.Total.Reasons {
			if table.Table == "tracks" && n > 0 {
				got[reason] = n
			}
		}
	}
	return got
}

// TestTableAsLedger decides by the changes of a table, as Debezium writes them to
// a topic.
func TestTableAsLedger(t *testing.T) {
	t.Parallel()
	k := fakeBed(t)
	k.create(t, "consent", 1, "delete")
	b := newImportBed(t, "{kafka: {brokers: ["+strings.Join(k.ListenAddrs(), ", ")+"], topic: consent}, mapping: changes.yaml}")
	write(t, b.dir, "changes.yaml", strings.Replace(strings.Replace(crmMapping, "mapping: 1", "mapping: 1\nenvelope: debezium", 1), "records:", "version: lsn\nrecords:", 1))
	lsn, topic := 0, "consent"
	row := func(id, status string) string {
		return `{"id":"` + id + `","at":"2026-01-02T03:04:05Z","status":"` + status + `","list":"stats","how":"form","notice":"n1"}`
	}
	put := func(op, before, after string) {
		t.Helper()
		lsn++
		value, err := json.Marshal(map[string]any{"op": op, "before": json.RawMessage(before), "after": json.RawMessage(after),
			"source": map[string]any{"lsn": lsn, "ts_ms": 1767323045000}})
		if err != nil {
			t.Fatal(err)
		}
		k.mustPut(t, topic, sample.Message{Key: []byte(`{"pk":1}`), Value: value})
	}
	for _, id := range []string{"ann", "bob", "cid", "dee", "eve", "fay"} {
		put("c", "null", row(id, "yes"))
	}
	put("u", row("bob", "yes"), row("bob", "left"))
	put("d", row("cid", "yes"), "null")
	k.mustPut(t, topic, sample.Message{Key: []byte(`{"pk":1}`)})
	put("u", row("dee", "yes"), row("dee", "maybe")) // nobody can say what that means
	put("u", row("eve", "yes"), row("gus", "yes"))   // it was about somebody else
	put("u", row("fay", "yes"), row("fay", "gone"))  // erased before the event
	want := map[string]int64{"consent_given": 2, "withdrawn": 1, "no_record": 4}
	if d := cmp.Diff(want, b.backfillReasons(t, "ann", "bob", "cid", "dee", "eve", "fay", "gus")); d != "" {
		t.Error(d)
	}
	// Records cannot be imported beside rows.
	b.run(t, exitUsage, "-m", b.path("crm.yaml"), "--apply", b.path("rows/crm.csv"))
	text := string(readAll(t, b.config))
	for i, c := range []struct{ name, op, before, after, want string }{
		{"an update without the row as it was", "u", "null", row("ann", "yes"), "REPLICA IDENTITY FULL"},
		{"a deletion without its person", "d", `{"pk":1}`, "null", "REPLICA IDENTITY FULL"},
		{"a truncation", "t", "null", "null", "truncate.mode=skip"},
	} {
		topic = "consent" + strconv.Itoa(i)
		k.create(t, topic, 1, "delete")
		put(c.op, c.before, c.after)
		write(t, b.dir, "lupa.yaml", strings.Replace(text, "topic: consent", "topic: "+topic, 1))
		code, _, stderr := command(t, "backfill", "-c", b.config, "--json")
		if code == exitOK || !strings.Contains(stderr, c.want) || !strings.Contains(stderr, topic+"/0: the record at offset 0 cannot be applied") {
			t.Errorf("%s: exit code %d, it says:\n%s", c.name, code, stderr)
		}
	}
}

// TestImportGoesOn lets the second batch of an import fail, and runs it again.
func TestImportGoesOn(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	k := newBed(t, c)
	k.create(t, "consent", 1, "compact")
	b := newImportBed(t, "{kafka: {brokers: ["+strings.Join(c.ListenAddrs(), ", ")+"], topic: consent}}")
	const people = 2500
	var rows strings.Builder
	rows.WriteString("email\n")
	for i := range people {
		rows.WriteString("canary" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + "." + strconv.Itoa(i) + "@example.com\n")
	}
	write(t, b.dir, "list.csv", rows.String())
	var first kmsg.Request
	second := func(r kmsg.Request) bool {
		if first == nil {
			first = r
		}
		return r != first
	}
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: 1, When: second})
	_, errs := b.run(t, exitError, "-m", "mailing-list", "--apply", "--quiet", b.path("list.csv"))
	if !strings.Contains(errs, "the rows before "+b.path("list.csv")+":1002 are written; running the import again writes the rest") {
		t.Errorf("it says:\n%s", errs)
	}
	out, _ := b.run(t, exitOK, "-m", "mailing-list", "--apply", "--json", b.path("list.csv"))
	var sum importSummary
	if err := json.Unmarshal([]byte(out), &sum); err != nil || *sum.Written != (writtenTo{Target: "topic consent", Records: people - 1000, Superseded: 1000}) {
		t.Errorf("%+v, error %v", sum.Written, err)
	}
	keys := map[string]int{}
	for _, r := range k.read(t, "consent", people) {
		keys[string(r.Key)]++
	}
	if len(keys) != people {
		t.Errorf("%d keys, want %d", len(keys), people)
	}
}

// TestImportLeavesNoPart reads files that end badly.
func TestImportLeavesNoPart(t *testing.T) {
	t.Parallel()
	b := newImportBed(t, "{file: ledger/*.jsonl}")
	write(t, b.dir, "ledger/2026.jsonl", "")
	write(t, b.dir, "cut.csv.gz", string(gzipped(t, []byte(crmRows)))[:60])
	_, errs := b.run(t, exitError, "-m", b.path("crm.yaml"), "--apply", "--to", b.path("ledger/crm.jsonl"), b.path("cut.csv.gz"))
	if !strings.Contains(errs, "gzip data ends early") {
		t.Errorf("it says:\n%s", errs)
	}
	left, err := filepath.Glob(b.path("ledger/*"))
	if d := cmp.Diff([]string{b.path("ledger/2026.jsonl")}, left); d != "" || err != nil {
		t.Error(d, err)
	}
}

// Of two records of one version the one that permits less is written last, and
// no version of an erasure makes an earlier one of it.
func TestKeyStanding(t *testing.T) {
	at := func(r schemas.Record) keyStanding { return standingOf(&r, false) }
	proven := schemas.Record{Verb: schemas.Grant, Version: 5, Time: 10, Proven: true}
	gone := at(schemas.Record{Version: 5, Time: 10})
	for _, c := range []struct {
		name       string
		before, by keyStanding
		want       bool
	}{
		{"the same", at(proven), at(proven), false},
		{"a higher version", at(proven), at(schemas.Record{Verb: schemas.Grant, Version: 6, Proven: true}), true},
		{"a lower version that denies", at(proven), at(schemas.Record{Verb: schemas.Withdraw, Version: 4, Time: 20}), false},
		{"a grant without evidence", at(proven), at(schemas.Record{Verb: schemas.Grant, Version: 5, Time: 10}), true},
		{"a later grant", at(proven), at(schemas.Record{Verb: schemas.Grant, Version: 5, Time: 11, Proven: true}), true},
		{"a withdrawal", at(proven), at(schemas.Record{Verb: schemas.Withdraw, Version: 5, Time: 9}), true},
		{"a later withdrawal", at(schemas.Record{Verb: schemas.Withdraw, Version: 5, Time: 9}), at(schemas.Record{Verb: schemas.Withdraw, Version: 5, Time: 10}), false},
		{"a grant for a withdrawal", at(schemas.Record{Verb: schemas.Withdraw, Version: 5, Time: 9}), at(proven), false},
		{"a deletion", gone, standingOf(&schemas.Record{Version: 5, Time: 10}, true), true},
		{"a later erasure of a lower version", at(schemas.Record{Verb: schemas.Erase, Version: 9, Time: 1}), at(schemas.Record{Verb: schemas.Erase, Version: 1, Time: 2}), true},
		{"an earlier erasure of a higher version", at(schemas.Record{Verb: schemas.Erase, Version: 1, Time: 2}), at(schemas.Record{Verb: schemas.Erase, Version: 9, Time: 1}), false},
	} {
		if got := c.by.stands(c.before); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
