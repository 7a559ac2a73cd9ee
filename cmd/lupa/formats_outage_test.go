package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// avroEvents is a topic of Avro events, and what must become of them.
type avroEvents struct {
	topic    formatTopic
	writer   *kgo.Client
	schema   *avroWriter
	id       int32
	events   []sample.Message
	expect   []sample.Outcome
	outcomes map[place]sample.Outcome
}

func newAvroEvents(t *testing.T, brokers formatBrokers, r schemaBook) *avroEvents {
	t.Helper()
	a := &avroEvents{topic: formatTopic{name: "avro", config: "{encoding: registry}"}, outcomes: map[place]sample.Outcome{}}
	if err := brokers.CreateTopic(a.topic.name, 2, nil); err != nil {
		t.Fatal(err)
	}
	var looks *eventShape
	a.events, a.expect, looks = formatEvents(t, 40)
	a.writer, a.schema = topicWriter(t, brokers.ListenAddrs()), newAvroWriter(t, looks, schemaNote)
	a.id = r.add("AVRO", a.schema.text)
	return a
}

// put writes the next events with the schema's id, so many.
func (a *avroEvents) put(t *testing.T, n int, id int32) {
	t.Helper()
	var list []formatted
	for _, e := range a.events[:n] {
		list = append(list, formatted{key: e.Key, value: inFront(id, a.schema.write(t, parseEvent(t, e.Value)))})
	}
	for i, at := range writeAll(t, a.writer, a.topic.name, list) {
		a.outcomes[at] = a.expect[i]
	}
	a.events, a.expect = a.events[n:], a.expect[n:]
}

// job makes a job that reads the events, and serves its metrics.
func (a *avroEvents) job(t *testing.T, b *broker, r *schemaRegistry) job {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(t, b, "", 200*time.Millisecond).watched(t)
	formatConfig(t, j, []formatTopic{a.topic}, identity.Recipient())
	r.configure(t, j)
	return j
}

// check compares the tables of the job with what must be in them.
func (a *avroEvents) check(t *testing.T, j job) {
	t.Helper()
	tables := readTables(t, j.warehouse())
	standAt(t, tables, behind(a.outcomes))
	checkCounts(t, tables, a.outcomes)
	checkRows(t, tables, a.outcomes)
}

// stalled fails unless the process takes nothing in while more comes: no commit,
// no reject, and a lag of so many messages.
func stalled(t *testing.T, p *process, s served, before families, lag int) {
	t.Helper()
	p.until(t, fmt.Sprintf("a lag of %d", lag), func() bool { return s.metrics(t).sum(t, "lag") == float64(lag) })
	now := s.metrics(t)
	for _, name := range []string{"messages_total", "messages_read_total"} {
		if was, is := before.sum(t, name), now.sum(t, name); was != is {
			t.Errorf("%s went from %v to %v while it waits", name, was, is)
		}
	}
	if status, _ := s.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz answers with %d: it would be restarted for waiting", status)
	}
}

// TestRegistryIsAway: while schemas cannot be asked for nothing is decided and
// nothing rejected, and what comes meanwhile is read when they can.
func TestRegistryIsAway(t *testing.T) {
	t.Parallel()
	b, r := startBroker(t), startRegistry(t)
	a := newAvroEvents(t, b, r)
	a.put(t, 150, a.id)
	r.stop()
	j := a.job(t, b, r)
	p := j.stream(t)
	s := p.serves(t)

	p.waitsFor(t, s, "registry: stalled since")
	stalled(t, p, s, s.metrics(t), 150)
	a.put(t, 50, a.id)
	stalled(t, p, s, s.metrics(t), 200)
	if n := len(tableProperties(t, j.warehouse())[schemas.RejectsTable]["lupa.counts.read"]); n > 0 {
		t.Error("messages were rejected for want of a schema")
	}
	r.start()
	p.isReady(t, s)
	j.awaits(t, p, behind(a.outcomes))

	// In the middle, with a schema that is new: what is known needs nobody.
	r.stop()
	a.put(t, 100, a.id)
	j.awaits(t, p, behind(a.outcomes))
	before := s.metrics(t)
	next := r.add("AVRO", a.schema.text)
	a.put(t, 100, next)
	p.waitsFor(t, s, "registry: stalled since")
	stalled(t, p, s, before, 100)
	r.start()
	p.isReady(t, s)
	j.awaits(t, p, behind(a.outcomes))
	if m := s.metrics(t); m.sum(t, "registry_stalls_total") < 2 || m.sum(t, "registry_failures_total") < 2 {
		t.Error("the metrics tell of no outage")
	}

	// An id that the registry, when it is there, does not have is another thing.
	list := []formatted{{key: []byte("k"), value: inFront(1<<20, []byte("x"))}}
	for _, at := range writeAll(t, a.writer, a.topic.name, list) {
		a.outcomes[at] = sample.Outcome{Reason: schemas.UnknownSchema, Person: sample.Nobody}
	}
	j.awaits(t, p, behind(a.outcomes))
	p.stop(t, exitOK)
	a.check(t, j)
	for _, line := range []string{"messages wait for the schema registry", "schema registry answers again"} {
		if n, _ := p.stderr.count(line); n != 2 {
			t.Errorf("it said %d times %q, want 2 for 2 outages:\n%s", n, line, p.stderr.text())
		}
	}
}

// TestRegistryAnswersWrong: an answer that is no schema is no word on the
// message. Each stalls, is told, and passes.
func TestRegistryAnswersWrong(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	b, r := startBroker(t), startRegistry(t)
	a := newAvroEvents(t, b, r)
	a.put(t, 200, a.id)
	password := r.password
	j := a.job(t, b, r)
	r.answers(answer(http.StatusInternalServerError, `{"error_code":50001,"message":"canary-of-the-registry"}`))
	p := j.stream(t)
	s := p.serves(t)
	p.waitsFor(t, s, "registry: stalled since")
	for _, c := range []struct {
		says   string
		answer http.HandlerFunc
	}{
		{"answers with what is no schema", answer(http.StatusOK, "canary-of-the-registry")},
		{"answers with an error", answer(http.StatusNotFound, "<html>canary-of-the-registry</html>")},
		{"refuses the credentials", answer(http.StatusForbidden, `{"error_code":403,"message":"canary-of-the-registry"}`)},
	} {
		n, _ := p.stderr.count(c.says)
		r.answers(c.answer)
		p.says(t, c.says, n+1)
	}
	// The password is changed on both sides, one after the other.
	r.mu.Lock()
	r.password = "canary-registry-password-2"
	r.mu.Unlock()
	r.answers(nil)
	before := s.metrics(t)
	p.until(t, "asked with the old password", func() bool {
		return s.metrics(t).sum(t, "registry_requests_total") > before.sum(t, "registry_requests_total")
	})
	stalled(t, p, s, before, 200)
	if err := os.WriteFile(filepath.Join(j.dir, "registry.password"), []byte(r.password), 0o600); err != nil {
		t.Fatal(err)
	}
	p.isReady(t, s)
	j.awaits(t, p, behind(a.outcomes))
	_, text := s.get(t, "/metrics")
	p.stop(t, exitOK)
	a.check(t, j)
	for _, secret := range append(r.secrets(), password, "canary-of-the-registry", schemaNote) {
		if told(secret, p.stderr.text(), p.stdout.String(), text) {
			t.Error("what the registry answered, or what it is asked with, was said")
		}
	}
}

// TestWaitingForTheRegistryCanBeStopped: a signal is no failure, also while no
// schema can be asked for; what was read before is committed.
func TestWaitingForTheRegistryCanBeStopped(t *testing.T) {
	t.Parallel()
	b, r := startBroker(t), startRegistry(t)
	a := newAvroEvents(t, b, r)
	a.put(t, 100, a.id)
	j := a.job(t, b, r)
	j.change(t, "interval: 200ms", "interval: 30m")
	p := j.stream(t)
	s := p.serves(t)
	p.isReady(t, s)
	p.until(t, "the first are read", func() bool { return s.metrics(t).sum(t, "messages_read_total") == 100 })
	r.stop()
	first := behind(a.outcomes)
	a.put(t, 100, r.add("AVRO", a.schema.text))
	p.waitsFor(t, s, "registry: stalled since")
	p.stop(t, exitOK)
	standAt(t, readTables(t, j.warehouse()), first)

	r.start()
	j.change(t, "interval: 30m", "interval: 200ms")
	j.streamTo(t, behind(a.outcomes))
	a.check(t, j)
}

// TestASchemaOfAnotherTopic: messages that are read by a schema that is not
// theirs are rejected or about nobody. What the other schema calls by a new
// name is not passed on.
func TestASchemaOfAnotherTopic(t *testing.T) {
	t.Parallel()
	b, r := startBroker(t), startRegistry(t)
	a := newAvroEvents(t, b, r)
	other := r.add("AVRO", `{"type":"record","name":"Event","fields":[
		{"name":"type","type":"string"},{"name":"userId","type":"string"},{"name":"timestamp","type":"string"},{"name":"email2","type":"string"}]}`)
	a.put(t, 50, other)
	w := avroWriterOf(t, &eventShape{}, map[string]any{"type": "record", "name": "Event", "fields": []any{
		map[string]any{"name": "type", "type": "string"}, map[string]any{"name": "userId", "type": "string"},
		map[string]any{"name": "timestamp", "type": "string"}, map[string]any{"name": "email2", "type": "string"}}})
	const canary = "canary.in.a.new.field@posti.example"
	writeAll(t, a.writer, a.topic.name, []formatted{{key: []byte("k"), value: inFront(other, w.marshal(t, map[string]any{
		"type": "track", "userId": "nobody", "timestamp": "2026-03-02T00:00:00Z", "email2": canary}))}})
	ends, err := b.kafka.EndOffsets(t.Context(), a.topic.name)
	if err != nil {
		t.Fatal(err)
	}
	j := a.job(t, b, r)
	j.streamTo(t, ends)
	tables := readTables(t, j.warehouse())
	rejects := tables[schemas.RejectsTable]
	if n := rejects.counted(t, "reason.malformed"); n+rejects.counted(t, "reason.too_large") != 50 {
		t.Errorf("%d of 50 messages are malformed by a schema that is not theirs", n)
	}
	if n := len(tables["tracks"].Rows); n != 1 {
		t.Errorf("%d rows of the one message of the schema", n)
	}
	for _, piece := range readTree(t, j.warehouse()) {
		if bytes.Contains(piece.data, []byte(canary)) || strings.Contains(piece.place, "email2") {
			t.Errorf("a field that no contract names is in %s", piece.place)
		}
	}
}
