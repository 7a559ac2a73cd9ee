package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// changesMapping reads the changes of a table of consents, in the envelope that is
// put in.
const changesMapping = `
mapping: 1
envelope: %s
principals:
  - {kind: user_id, path: id}
  - {kind: email, path: mail}
time: {path: at, format: rfc3339}
version: %s
records:
  - verb: {path: status, values: {yes: grant, wait: pending, no: refuse, left: withdraw, opposed: object, gone: erase, frozen: restrict, thawed: lift}}
    purpose: {path: list, values: {stats: analytics, news: direct_marketing_email}}
    evidence: {method: {path: how}, notice: {path: notice}, system: crm}
`

// consentRow is a row of the table.
type consentRow struct {
	ID     string  `json:"id,omitempty"`
	Mail   string  `json:"mail,omitempty"`
	At     string  `json:"at"`
	Status string  `json:"status"`
	List   string  `json:"list"`
	How    string  `json:"how"`
	Notice *string `json:"notice"` // nothing is a grant that is not proven
	Seq    int64   `json:"seq"`
}

// aRow is a row about somebody's analytics. who is a user id, an address, or both
// with a space between them.
func aRow(who, status string) *consentRow {
	notice := "notice-1"
	r := &consentRow{At: time.Now().UTC().Add(-time.Hour).Format(time.RFC3339), Status: status, List: "stats", How: "web form", Notice: &notice}
	for _, id := range strings.Fields(who) {
		if strings.Contains(id, "@") {
			r.Mail = id
		} else {
			r.ID = id
		}
	}
	return r
}

// debeziumChange is a change as Debezium writes it, with its schema or without.
func debeziumChange(t *testing.T, schema bool, op string, lsn int, before, after *consentRow) []byte {
	t.Helper()
	var change any = map[string]any{"op": op, "before": before, "after": after, "ts_ms": 1767323045999,
		"source": map[string]any{"connector": "postgresql", "table": "consents", "lsn": lsn, "ts_ms": 1767323045000}}
	if schema {
		change = map[string]any{"schema": map[string]any{"type": "struct", "name": "crm.Envelope"}, "payload": change}
	}
	text, err := json.Marshal(change)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// another is a job that reads the same from the beginning, into tables of its own.
func (s *sources) another(t *testing.T) job {
	t.Helper()
	j := job{dir: t.TempDir()}
	j.config = filepath.Join(j.dir, "lupa.yaml")
	write(t, j.dir, "lupa.yaml", strings.Replace(string(readAll(t, s.j.config)), "group: "+s.group, "group: "+s.name("another"), 1))
	write(t, j.dir, "ledger.yaml", string(readAll(t, filepath.Join(s.j.dir, "ledger.yaml"))))
	return j.sharing(t, s.j)
}

// tableTopic is a table whose changes come to the ledger topic.
type tableTopic struct {
	*sources
	schema bool
	lsn    int
}

func newTableTopic(t *testing.T, b *bed, schema bool, policy string) *tableTopic {
	t.Helper()
	s := newSources(t, b, "  mapping: ./ledger.yaml\n", fmt.Sprintf(changesMapping, "debezium", "lsn"))
	s.anew(t, policy)
	return &tableTopic{sources: s, schema: schema}
}

// anew gives the job an empty ledger topic.
func (s *sources) anew(t *testing.T, policy string) {
	t.Helper()
	old := s.ledger
	s.ledger = s.name("table")
	s.create(t, s.ledger, 2, policy)
	s.j.change(t, "topic: "+old+"}", "topic: "+s.ledger+"}")
}

// change writes the change of the row with a primary key.
func (s *tableTopic) change(t *testing.T, pk int, op string, before, after *consentRow) {
	t.Helper()
	s.lsn++
	s.changeAt(t, s.lsn, pk, op, before, after)
}

func (s *tableTopic) changeAt(t *testing.T, lsn, pk int, op string, before, after *consentRow) {
	t.Helper()
	s.mustPut(t, s.ledger, sample.Message{Key: s.key(pk), Value: debeziumChange(t, s.schema, op, lsn, before, after)})
}

func (s *tableTopic) key(pk int) []byte {
	if s.schema {
		return fmt.Appendf(nil, `{"schema":{"type":"struct"},"payload":{"pk":%d}}`, pk)
	}
	return fmt.Appendf(nil, `{"pk":%d}`, pk)
}

// TestTableAsLedgerOfAStream decides by a table that changes while events come,
// from a topic that keeps all of its changes and from one that is compacted.
func TestTableAsLedgerOfAStream(t *testing.T) {
	t.Parallel()
	b := fakeBed(t)
	someAtOnce(t, 2, []subtest{
		{"whole log", func(t *testing.T) { suiteTable(t, newTableTopic(t, b, false, "delete")) }},
		{"compacted, with schemas", func(t *testing.T) { suiteTable(t, newTableTopic(t, b, true, "compact")) }},
	})
}

func suiteTable(t *testing.T, s *tableTopic) {
	const ann, bob, cid, dee, eve, fay, old, new = "canary-ann", "canary-bob", "canary-cid", "canary-dee", "canary-eve", "canary-fay", "old.canary@example.com", "new.canary@example.com"
	const annMail, first, second = "ann.canary@example.com", "first.canary@example.com", "second.canary@example.com"
	const given, withdrawn, none = schemas.ConsentGiven, schemas.Withdrawn, schemas.NoRecord
	// What the snapshot of the table has, and what came after.
	s.change(t, 1, "r", nil, aRow(ann+" "+annMail, "yes"))
	s.change(t, 2, "r", nil, aRow(bob, "yes"))
	s.change(t, 3, "c", nil, aRow(cid, "yes"))
	s.change(t, 4, "c", nil, aRow(dee, "yes"))
	s.change(t, 5, "c", nil, aRow(old, "yes"))
	s.change(t, 6, "c", nil, aRow(eve, "no"))
	s.change(t, 7, "c", nil, aRow(fay+" "+first, "yes"))
	unproven := aRow("canary-gus", "yes")
	unproven.Notice = nil
	s.change(t, 8, "c", nil, unproven)
	p := s.j.stream(t)
	defer tell(t, &[]*process{p})
	m := p.serves(t)
	s.become(t, p, "at first", map[string]schemas.Reason{ann: given, annMail: given, bob: given, cid: given, dee: given, old: given, new: none,
		eve: schemas.Refused, fay: given, first: given, second: none, "canary-gus": schemas.Unproven})

	s.change(t, 2, "u", aRow(bob, "yes"), aRow(bob, "left"))
	s.change(t, 3, "d", aRow(cid, "yes"), nil)
	s.mustPut(t, s.ledger, sample.Message{Key: s.key(3)}) // which follows a deletion
	s.change(t, 5, "u", aRow(old, "yes"), aRow(new, "yes"))
	s.change(t, 7, "u", aRow(fay+" "+first, "yes"), aRow(fay+" "+second, "yes"))
	after := map[string]schemas.Reason{ann: given, bob: withdrawn, cid: none, old: none, new: given,
		// An address that somebody had stays that person's: changes unlink nobody.
		fay: given, first: given, second: given}
	s.become(t, p, "after changes", after)

	// What comes once more, or late, undoes nothing.
	s.changeAt(t, 2, 2, "r", nil, aRow(bob, "yes"))
	s.changeAt(t, 3, 3, "c", nil, aRow(cid, "yes"))
	s.changeAt(t, 5, 5, "c", nil, aRow(old, "yes"))
	s.become(t, p, "after late changes", after)
	// A source that says again what it has said ends with what was last.
	s.changeAt(t, 11, 5, "u", aRow(old, "yes"), aRow(new, "yes"))
	s.change(t, 2, "u", aRow(bob, "left"), aRow(bob, "yes"))
	s.change(t, 3, "c", nil, aRow(cid, "yes"))
	s.change(t, 7, "u", aRow(fay+" "+second, "yes"), aRow(fay+" "+second, "left"))
	s.change(t, 1, "u", aRow(ann+" "+annMail, "yes"), aRow(ann+" "+annMail, "gone"))
	s.change(t, 4, "u", aRow(dee, "yes"), aRow(dee, "perhaps")) // nobody can say what that means
	want := map[string]schemas.Reason{bob: given, cid: given, fay: withdrawn, first: withdrawn, second: withdrawn, ann: none, annMail: none, dee: none}
	s.become(t, p, "after more changes", want)
	if n := m.metrics(t).sum(t, "ledger_unreadable_total"); n != 1 {
		t.Errorf("%v records could not be read, want 1", n)
	}
	p.stop(t, exitOK)

	// From nothing it is the same, also when only the last change of each row is left.
	compacted := false
	if k, fake := s.bedCluster.(*kfake.Cluster); fake && s.schema {
		k.Compact()
		compacted = true
	}
	again := *s.sources
	again.j = s.another(t)
	anew := again.j.stream(t)
	want[old], want[new], want[eve], want["canary-gus"] = none, given, schemas.Refused, schemas.Unproven
	if compacted {
		want[first] = none // no change is left that says whose it was
	}
	again.become(t, anew, "from nothing", want)
	anew.stop(t, exitOK)
	again.sound(t, anew)

	// A table that nobody can say any more who was in stops the job, which tells
	// where and what to set, and nothing of the row.
	for _, c := range []struct {
		name, op, says string
		before         *consentRow
	}{
		{"truncated", "t", "truncate.mode=skip", nil},
		{"deleted without its person", "d", "REPLICA IDENTITY FULL", &consentRow{List: "canary"}},
		{"updated without the row as it was", "u", "REPLICA IDENTITY FULL", nil},
	} {
		s.anew(t, "delete")
		s.change(t, 1, "c", nil, aRow(ann, "yes"))
		other := s.another(t)
		p := other.stream(t)
		other.awaits(t, p, s.ends(t, s.events))
		stood := readTables(t, other.warehouse())
		var row *consentRow
		if c.op == "u" {
			row = aRow(ann, "left")
		}
		s.lsn++
		at := s.mustPut(t, s.ledger, sample.Message{Key: s.key(1), Value: debeziumChange(t, s.schema, c.op, s.lsn, c.before, row)})[0]
		s.now(t, ann)
		code, _ := p.wait(t)
		said := p.stderr.text() + p.stdout.String()
		where := fmt.Sprintf("%s: the record at offset %d cannot be applied", at.Partition, at.Offset)
		if code == exitOK || !strings.Contains(said, c.says) || !strings.Contains(said, where) {
			t.Errorf("%s: exit code %d, want %q and %q; it said:\n%s", c.name, code, c.says, where, said)
		}
		if hasRaw([]byte(said)) {
			t.Errorf("%s: something of a row is said", c.name)
		}
		sameTables(t, stood, readTables(t, other.warehouse()))
	}
}
