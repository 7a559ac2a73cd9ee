package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/cmd/lupa/oracle"
	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// sources are the topics of a job whose ledger is in a form of its own, and the
// job.
type sources struct {
	*bedTopics
	j     job
	count int // of the events so far
	all   []place
}

// newSources makes them. form is what the configuration says of the ledger, and
// mapping the text of ledger.yaml.
func newSources(t *testing.T, b *bed, form, mapping string) *sources {
	t.Helper()
	topics := b.topics(t, 1)
	s := &sources{bedTopics: topics, j: topics.job(t, 100*time.Millisecond)}
	s.j.change(t, "ledger:\n", "ledger:\n"+form)
	write(t, s.j.dir, "ledger.yaml", mapping)
	return s
}

// visits is an event of somebody, known by a user id or by an address.
func (s *sources) visits(who, at string) sample.Message {
	s.count++
	person := `"userId":"` + who + `"`
	if strings.Contains(who, "@") {
		person = `"context":{"traits":{"email":"` + who + `"}}`
	}
	return sample.Message{Key: []byte(who), Value: fmt.Appendf(nil,
		`{"type":"track","event":"Visit","messageId":"visit-%06d","timestamp":"%s",%s}`, s.count, at, person)}
}

// now has everybody do something at present.
func (s *sources) now(t *testing.T, who ...string) []place {
	t.Helper()
	var messages []sample.Message
	for _, w := range who {
		messages = append(messages, s.visits(w, time.Now().UTC().Format(time.RFC3339Nano)))
	}
	places := s.mustPut(t, s.events, messages...)
	s.all = append(s.all, places...)
	return places
}

// become has everybody do something, and fails unless that becomes what want
// says: a reason, or nothing where no row may be.
func (s *sources) become(t *testing.T, p *process, what string, want map[string]schemas.Reason) {
	t.Helper()
	who := slices.Sorted(maps.Keys(want))
	places := s.now(t, who...)
	s.j.arrives(t, endsOf(places...), p)
	s.have(t, what, who, places, want)
}

// have compares what became of events with what had to.
func (s *sources) have(t *testing.T, what string, who []string, places []place, want map[string]schemas.Reason) {
	t.Helper()
	outcome := s.j.outcomes(t)
	for i, w := range who {
		expect := want[w].String() + " without a token"
		switch want[w] {
		case schemas.ConsentGiven:
			expect = grantedKept
		case schemas.Erased:
			expect = noRow
		}
		if got := outcome(places[i]); got != expect {
			t.Errorf("%s: the event of %s is %s, want %s", what, w, got, expect)
		}
	}
}

// sound fails when the oracle finds a violation. It reads no ledger that is not
// the JSON of its records, so what is permitted the tests say themselves; the
// invariants that it looks at without one must be looked at.
func (s *sources) sound(t *testing.T, said ...*process) {
	t.Helper()
	o := verifyOptions{config: s.j.config}
	for i, p := range said {
		name := fmt.Sprintf("said-%d.log", i)
		write(t, s.j.dir, name, p.stderr.text()+p.stdout.String())
		o.logs = append(o.logs, s.j.dir+"/"+name)
	}
	in, err := verifyInput(o)
	if err != nil {
		t.Fatal(err)
	}
	report, err := oracle.Check(t.Context(), *in)
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, i := range report.Invariants {
		for _, v := range i.Violations {
			t.Errorf("%s, %s: %s: %s", i.ID, i.Name, v.Place, v.Problem)
		}
		if i.Status != oracle.NotChecked {
			looked++
		}
	}
	if looked < 8 {
		t.Errorf("only %d invariants were looked at", looked)
	}
}

// grantOf, withdrawalOf and erasureOf are records about a user's analytics, now.
func grantOf(who string, version int64) schemas.Record {
	return recordOf(who, schemas.Record{Verb: schemas.Grant, Purpose: schemas.Analytics, Proven: true, Version: version})
}

func withdrawalOf(who string, version int64) schemas.Record {
	return recordOf(who, schemas.Record{Verb: schemas.Withdraw, Purpose: schemas.Analytics, Version: version})
}

func recordOf(who string, r schemas.Record) schemas.Record {
	r.Principal = schemas.NewSubject(schemas.UserID, who)
	r.Time = time.Now().UnixMicro()
	return r
}

// registeredLedger writes ledger messages with schemas in a registry: values in Avro,
// keys as texts in Avro.
type registeredLedger struct {
	book     schemaBook
	values   *avroWriter
	id, keys int32
	key      *avroWriter
}

func newRegisteredLedger(t *testing.T, book schemaBook) *registeredLedger {
	t.Helper()
	looks := &eventShape{}
	for _, r := range []schemas.Record{
		grantOf("x", 1), withdrawalOf("x", 1), recordOf("x", schemas.Record{Verb: schemas.Erase, Every: true, Version: 1}),
		recordOf("x", schemas.Record{Verb: schemas.Link, Other: schemas.NewSubject(schemas.Email, "x@example.com"), Version: 1}),
	} {
		r.Time = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
		if err := looks.learn(parseEvent(t, schemas.AppendRecord(nil, r))); err != nil {
			t.Fatal(err)
		}
	}
	a := &registeredLedger{book: book, values: newAvroWriter(t, looks, schemaNote), key: avroWriterOf(t, nil, "string")}
	a.id, a.keys = book.add("AVRO", a.values.text), book.add("AVRO", a.key.text)
	return a
}

func (a *registeredLedger) value(t *testing.T, r schemas.Record) []byte {
	t.Helper()
	r.Time -= r.Time % 1000 // which Avro has no more of
	return inFront(a.id, a.values.write(t, parseEvent(t, schemas.AppendRecord(nil, r))))
}

func (a *registeredLedger) keyOf(t *testing.T, r schemas.Record) []byte {
	t.Helper()
	return inFront(a.keys, a.key.marshal(t, string(schemas.AppendRecordKey(nil, r))))
}

// another registers the schema of the values under another name, which no message
// has: nobody has asked for its id yet.
func (a *registeredLedger) another(name string) int32 {
	return a.book.add("AVRO", strings.Replace(a.values.text, `"name":"Event"`, `"name":"`+name+`"`, 1))
}

// plainKey and both are messages whose key is a text, or one with a schema.
func (a *registeredLedger) plainKey(t *testing.T, r schemas.Record) sample.Message {
	t.Helper()
	return sample.Message{Key: schemas.AppendRecordKey(nil, r), Value: a.value(t, r)}
}

func (a *registeredLedger) both(t *testing.T, r schemas.Record) sample.Message {
	t.Helper()
	return sample.Message{Key: a.keyOf(t, r), Value: a.value(t, r)}
}

// TestRegisteredLedger decides by a ledger of Avro records with a registry, with
// everything among them that may stand in such a topic.
func TestRegisteredLedger(t *testing.T) {
	t.Parallel()
	r := startRegistry(t)
	s := newRegisteredSources(t, fakeBed(t))
	r.configure(t, s.j)
	suiteRegistered(t, s, newRegisteredLedger(t, r), r.stop, r.start)
}

func newRegisteredSources(t *testing.T, b *bed) *sources {
	t.Helper()
	s := newSources(t, b, "  encoding: registry\n", "")
	s.anew(t, "delete") // a compacted topic takes no marker without a key
	s.j.change(t, "topic: "+s.ledger+"}", "topic: "+s.ledger+", strict: true, max_staleness: 1h}")
	return s
}

// suiteRegistered is TestRegisteredLedger with a registry that away and back
// switch off and on.
func suiteRegistered(t *testing.T, s *sources, a *registeredLedger, away, back func()) {
	const ann, bob, cid, dee, eve, fay, gus = "canary-ann", "canary-bob", "canary-cid", "canary-dee", "canary-eve", "canary-fay", "canary-gus"
	// One key is always written in one way, or else it would be in two partitions.
	for _, who := range []string{ann, bob, cid} {
		s.mustPut(t, s.ledger, a.plainKey(t, grantOf(who, 1)))
	}
	s.mustPut(t, s.ledger, a.both(t, grantOf(dee, 1)), a.both(t, grantOf(eve, 1)), a.both(t, grantOf(fay, 1)), a.both(t, recordOf(fay, schemas.Record{
		Verb: schemas.Link, Other: schemas.NewSubject(schemas.Email, "fay.canary@example.com"), Version: 1})))
	marker := schemas.AppendMarker(nil, "beat")
	s.mustPut(t, s.ledger, sample.Message{Key: marker, Value: marker}, sample.Message{Value: marker})

	p := s.j.stream(t)
	defer tell(t, &[]*process{p})
	m := p.serves(t)
	const given, withdrawn, none = schemas.ConsentGiven, schemas.Withdrawn, schemas.NoRecord
	s.become(t, p, "at first", map[string]schemas.Reason{
		ann: given, bob: given, cid: given, dee: given, eve: given, fay: given, gus: none, "fay.canary@example.com": given, "other.canary@example.com": none})

	// From the next batch on, whatever the key was written by.
	s.mustPut(t, s.ledger, a.plainKey(t, withdrawalOf(bob, 2)), a.both(t, withdrawalOf(fay, 2)))
	s.become(t, p, "after withdrawals", map[string]schemas.Reason{
		ann: given, bob: withdrawn, fay: withdrawn, "fay.canary@example.com": withdrawn, gus: none})

	// What has no text denies whom its key names, and is counted.
	cut := a.value(t, withdrawalOf(dee, 2))
	s.mustPut(t, s.ledger,
		sample.Message{Key: schemas.AppendRecordKey(nil, withdrawalOf(cid, 2)), Value: inFront(1<<29, a.value(t, withdrawalOf(cid, 2))[5:])},
		sample.Message{Key: a.keyOf(t, withdrawalOf(dee, 2)), Value: cut[:len(cut)-3]},
		sample.Message{Key: a.keyOf(t, withdrawalOf(eve, 2))},
		sample.Message{Key: marker}, sample.Message{Value: marker}, // a marker's tombstone too
	)
	s.become(t, p, "after what cannot be read", map[string]schemas.Reason{ann: given, bob: withdrawn, cid: none, dee: none, eve: none})
	if n := m.metrics(t).sum(t, "ledger_unreadable_total"); n != 2 {
		t.Errorf("%v records could not be read, want 2", n)
	}
	s.mustPut(t, s.ledger, a.plainKey(t, grantOf(cid, 3)), a.both(t, grantOf(eve, 3)))
	s.become(t, p, "after a record that can", map[string]schemas.Reason{cid: given, dee: none, eve: given})

	// Without the registry a schema that is not known yet stops everything.
	next := *a
	next.id = a.another("Second")
	away()
	before, shown := readTables(t, s.j.warehouse()), m.metrics(t)
	s.mustPut(t, s.ledger, next.plainKey(t, withdrawalOf(ann, 2)))
	waiting := s.now(t, ann, cid)
	p.waitsFor(t, m, "registry: stalled since")
	stalled(t, p, m, shown, 2)
	sameTables(t, before, readTables(t, s.j.warehouse()))
	back()
	s.j.arrives(t, endsOf(waiting...), p)
	s.have(t, "after the registry was away", []string{ann, cid}, waiting, map[string]schemas.Reason{ann: withdrawn, cid: given})
	p.isReady(t, m)

	// A signal is no failure while it is away, and what waited is decided later.
	next.id = a.another("Third")
	away()
	s.mustPut(t, s.ledger, next.plainKey(t, withdrawalOf(cid, 4)))
	waiting = s.now(t, cid, eve)
	before, shown = readTables(t, s.j.warehouse()), m.metrics(t)
	p.waitsFor(t, m, "registry: stalled since")
	stalled(t, p, m, shown, 2)
	p.stop(t, exitOK)
	sameTables(t, before, readTables(t, s.j.warehouse()))
	again := s.j.stream(t)
	am := again.serves(t)
	again.until(t, "waits for the registry at its start", func() bool {
		return strings.Contains(again.stderr.text(), "messages wait for the schema registry") && am.unready(t) != ""
	})
	again.stop(t, exitOK)
	sameTables(t, before, readTables(t, s.j.warehouse()))
	back()
	last := s.j.stream(t)
	s.j.arrives(t, endsOf(waiting...), last)
	want := map[string]schemas.Reason{ann: withdrawn, bob: withdrawn, cid: withdrawn, dee: none, eve: given, fay: withdrawn}
	s.have(t, "after a start that waited", []string{cid, eve}, waiting, want)
	s.become(t, last, "after a restart", want)
	last.stop(t, exitOK)
	for _, said := range []*process{p, again, last} {
		if said.counts("level=ERROR") > 0 || hasRaw([]byte(said.stderr.text()+said.stdout.String())) {
			t.Errorf("it tells of an error or of somebody:\n%s", said.stderr.text())
		}
	}
	s.sound(t, p, again, last)
}

// TestSignalWhileTheLedgersSchemasAreMissing: what waits for its commit when a
// signal comes is committed once the ledger's registry answers, and not before:
// the commit is about what the ledger says then.
func TestSignalWhileTheLedgersSchemasAreMissing(t *testing.T) {
	t.Parallel()
	r := startRegistry(t)
	s := newSources(t, fakeBed(t), "  encoding: registry\n", "")
	s.j.change(t, "interval: 100ms", "interval: 30m")
	r.configure(t, s.j)
	a := newRegisteredLedger(t, r)
	s.mustPut(t, s.ledger, a.both(t, grantOf("ann", 1)), a.both(t, grantOf("bob", 1)))
	p := s.j.stream(t)
	defer tell(t, &[]*process{p})
	m := p.serves(t)
	p.isReady(t, m)
	places := s.now(t, "ann", "bob")
	p.until(t, "both are read", func() bool { return m.metrics(t).sum(t, "messages_read_total") == 2 })
	r.stop()
	next := *a
	next.id = a.another("Second")
	s.mustPut(t, s.ledger, next.both(t, withdrawalOf("bob", 2)))
	p.waitsFor(t, m, "registry: stalled since")
	p.signal(t, syscall.SIGTERM)
	r.start()
	p.end(t, exitOK)
	s.have(t, "after the signal", []string{"ann", "bob"}, places, map[string]schemas.Reason{"ann": schemas.ConsentGiven, "bob": schemas.Erased}) // which is no row
	if n := readTables(t, s.j.warehouse())["tracks"].counted(t, "reason.withdrawn"); n != 1 {
		t.Errorf("%d rows are withdrawn, want 1", n)
	}
	s.sound(t, p)
}

// TestImportWhileStreaming imports rows of a CRM into the ledger's topic while a
// stream reads it: what they say holds from the next batch on.
func TestImportWhileStreaming(t *testing.T) {
	t.Parallel()
	suiteImport(t, fakeBed(t))
}

func suiteImport(t *testing.T, b *bed) {
	const ann, bob, cid = "canary-ann", "canary-bob", "canary-cid"
	const annMail = "ann.canary@example.com"
	const given, withdrawn, none = schemas.ConsentGiven, schemas.Withdrawn, schemas.NoRecord
	topics := b.topics(t, 1)
	s := &sources{bedTopics: topics, j: topics.job(t, 100*time.Millisecond)}
	bed := importBed{s.j.dir, s.j.config}
	write(t, s.j.dir, "crm.yaml", crmMapping)
	r := grantOf(cid, 1)
	r.Time = sample.Base().UnixMicro()
	s.mustPut(t, s.ledger, sample.Message{Key: schemas.AppendRecordKey(nil, r), Value: schemas.AppendRecord(nil, r)})
	p := s.j.stream(t)
	defer tell(t, &[]*process{p})
	s.become(t, p, "at first", map[string]schemas.Reason{ann: none, annMail: none, bob: none, cid: given})
	imports := func(rows string) {
		t.Helper()
		write(t, s.j.dir, "rows.csv", "id,mail,at,status,list,how,notice,tel\n"+rows)
		before := s.ends(t, s.ledger)
		bed.run(t, exitOK, "-m", bed.path("crm.yaml"), "--quiet", bed.path("rows.csv"))
		if d := cmp.Diff(before, s.ends(t, s.ledger)); d != "" {
			t.Error("a dry import writes:", d)
		}
		bed.run(t, exitOK, "-m", bed.path("crm.yaml"), "--apply", "--quiet", bed.path("rows.csv"))
	}
	imports(ann + "," + annMail + ",2026-03-02T03:04:05Z,yes,stats,web form,n1,\n" +
		bob + ",,2026-03-02T03:04:05Z,yes,stats,,n1,\n")
	s.become(t, p, "after an import", map[string]schemas.Reason{ann: given, annMail: given, bob: schemas.Unproven, cid: given})
	imports(bob + ",,2026-03-04T03:04:05Z,yes,stats,web form,n1,\n" +
		ann + ",,2026-03-03T03:04:05Z,left,stats,,,\n" +
		cid + ",,2026-03-03T03:04:05Z,gone,stats,,,\n")
	last := map[string]schemas.Reason{ann: withdrawn, annMail: withdrawn, bob: given, cid: none}
	s.become(t, p, "after another", last)
	// The same once more, and what is older, change nothing.
	imports(ann + "," + annMail + ",2026-03-02T03:04:05Z,yes,stats,web form,n1,\n")
	s.become(t, p, "after the first again", last)
	p.stop(t, exitOK)
	if hasRaw([]byte(p.stderr.text())) {
		t.Error("something of a row is said")
	}
	verified(t, s.j, verifyOptions{}, p)
}
