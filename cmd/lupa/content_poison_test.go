package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
	"lupa/schemas"
)

// suitePoison: whatever stands between good events is rejected with its reason,
// and the good ones become rows; a ledger that holds such things denies whom
// they are about, and nobody else.
func suitePoison(t *testing.T, b *bed) {
	topics := b.topics(t, 1)
	events, ledger := pipeline.Partition{Topic: topics.events}, pipeline.Partition{Topic: topics.ledger}
	w := b.pen(t, "")
	headers := make([]kgo.RecordHeader, 10_000)
	for i := range headers {
		headers[i] = kgo.RecordHeader{Key: fmt.Sprint("header-", i), Value: []byte("value")}
	}
	odd := []kgo.RecordHeader{{Key: "", Value: nil}, {Key: "a", Value: []byte{}}, {Key: "a"}, {Key: strings.Repeat("k", 10_000), Value: bytes.Repeat([]byte{0xff}, 10_000)}}

	for i := range 20 {
		w.write(ledger, tells(i, schemas.Grant, 1))
	}
	cut := tells(15, schemas.Withdraw, 2)
	for _, r := range []*kgo.Record{
		{Key: cut.Key, Value: cut.Value[:len(cut.Value)/2]},
		{Key: tells(16, schemas.Grant, 1).Key, Value: []byte{}},
		{Key: []byte{}, Value: tells(17, schemas.Withdraw, 2).Value},
		{Key: tells(18, schemas.Withdraw, 2).Key, Value: tells(18, schemas.Withdraw, 2).Value, Headers: headers},
	} {
		r.Topic = ledger.Topic
		w.put(r)
	}

	outcomes := map[place]sample.Outcome{}
	good := func(i int, reason schemas.Reason) {
		outcomes[w.write(events, visit(i))[0]] = becomes(reason)
	}
	event := visit(1).Value
	for i, c := range []struct {
		record *kgo.Record
		reason schemas.Reason
	}{
		{&kgo.Record{Key: []byte("k"), Value: []byte("\xff\xfe\xfd\x00\x01")}, schemas.Malformed},
		{&kgo.Record{Key: []byte("k"), Value: append([]byte("\x00\x00\x00\x00\x07"), event...)}, schemas.Malformed},
		{&kgo.Record{Key: []byte("k"), Value: append([]byte("\xef\xbb\xbf"), event...)}, schemas.Malformed},
		{&kgo.Record{Key: []byte("k"), Value: event[:len(event)-1]}, schemas.Malformed},
		{&kgo.Record{Key: []byte("k"), Value: append(bytes.Clone(event), "\x00"...)}, schemas.Malformed},
		{&kgo.Record{Key: []byte("k")}, schemas.EmptyMessage},
		{&kgo.Record{Key: []byte("k"), Value: []byte{}}, schemas.EmptyMessage},
		{&kgo.Record{}, schemas.EmptyMessage},
		{&kgo.Record{Value: []byte("  ")}, schemas.Malformed},
		{&kgo.Record{Value: []byte(strings.Repeat("[", 30_000))}, schemas.TooDeep},
		{&kgo.Record{Value: []byte(strings.Repeat(`{"a":`, 5_000))}, schemas.TooDeep},
		{&kgo.Record{Value: []byte("17")}, schemas.Unrouted},
		{&kgo.Record{Value: []byte(`"track"`)}, schemas.Unrouted},
		{&kgo.Record{Value: bytes.Repeat([]byte(" "), sample.MaxMessageBytes+1)}, schemas.TooLarge},
		{&kgo.Record{Key: []byte{}, Value: event}, schemas.ConsentGiven},
		{&kgo.Record{Value: event}, schemas.ConsentGiven},
		{&kgo.Record{Key: bytes.Repeat([]byte{0}, 100_000), Value: event}, schemas.ConsentGiven},
		{&kgo.Record{Key: []byte("k"), Value: event, Headers: headers}, schemas.ConsentGiven},
		{&kgo.Record{Key: []byte("k"), Value: event, Headers: odd}, schemas.ConsentGiven},
		{&kgo.Record{Key: []byte("k"), Value: []byte("\xff"), Headers: headers}, schemas.Malformed},
		{&kgo.Record{Key: []byte("k"), Value: event, Timestamp: time.Unix(0, 0)}, schemas.ConsentGiven},
	} {
		good(i%10, schemas.ConsentGiven)
		c.record.Topic = events.Topic
		outcomes[w.put(c.record)] = becomes(c.reason)
	}
	for _, c := range []struct {
		visitor int
		reason  schemas.Reason
	}{{14, schemas.ConsentGiven}, {15, schemas.NoRecord}, {16, schemas.NoRecord}, {17, schemas.Withdrawn}, {18, schemas.Withdrawn}, {19, schemas.ConsentGiven}} {
		good(c.visitor, c.reason)
	}
	j := topics.job(t, 200*time.Millisecond)
	p := j.stream(t)
	j.awaits(t, p, b.ends(t, topics.events))

	// Where it cannot be said whom a record is about, nothing more is decided
	// about anybody.
	ends := b.ends(t, topics.events)
	nobody := w.write(ledger, sample.Message{Key: []byte("\x00\x01\x02"), Value: []byte("{}")})[0]
	w.write(events, visit(1))
	p.end(t, exitError)
	want := fmt.Sprintf("kafka: ledger: %s: the record at offset %d cannot be applied", ledger, nobody.Offset)
	if said := p.stderr.text(); !strings.Contains(said, want) {
		t.Errorf("it does not say %q; it said:\n%s", want, said)
	}
	tables := readTables(t, j.warehouse())
	standAt(t, tables, ends)
	checkCounts(t, tables, outcomes)
	checkRows(t, tables, outcomes)
	checkPutAside(t, tables, j.dir+"/quarantine")
}

// What a process may take beside memory.limit: its program and what the
// operating system holds for it, which the limit does not know.
const besides = 64 << 20

// suiteGiant: a record that is longer than may be is rejected unread, however
// much longer, and takes no more memory than the job may have.
func suiteGiant(t *testing.T, b *bed) {
	const size, limit = 32 << 20, 384 << 20
	topics := b.topics(t, 1)
	topics.events = b.name("giants")
	if err := b.CreateTopic(topics.events, 1, map[string]string{"max.message.bytes": fmt.Sprint(40 << 20)}); err != nil {
		t.Fatal(err)
	}
	events := pipeline.Partition{Topic: topics.events}
	w := b.pen(t, "")
	for i := range 10 {
		w.write(pipeline.Partition{Topic: topics.ledger}, tells(i, schemas.Grant, 1))
	}
	outcomes := map[place]sample.Outcome{}
	giant := make([]byte, size/4*3)
	if _, err := rand.Read(giant); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		outcomes[w.write(events, visit(i))[0]] = becomes(schemas.ConsentGiven)
		if i%4 == 1 { // nothing can compress it
			value := fmt.Appendf(nil, `{"type":"track","userId":"visitor-0001","blob":"%s"}`, base64.StdEncoding.EncodeToString(giant))
			outcomes[w.write(events, sample.Message{Key: []byte("giant"), Value: value})[0]] = becomes(schemas.TooLarge)
		}
	}
	j := topics.job(t, 200*time.Millisecond)
	j.change(t, "workers: 2\n", fmt.Sprintf("workers: 2\nmemory: {limit: %d}\n", limit))
	p := j.stream(t)
	peak := p.peakOf(t)
	j.awaits(t, p, b.ends(t, topics.events))
	most := peak()
	p.stop(t, exitOK)
	within(t, most, limit)
	j.checkOutcomes(t, b.ends(t, topics.events), outcomes, p)
}

// suiteBomb: a batch that decompresses to more than may be ends the stream. It
// says where, what stands before is committed, and an operator may go on behind.
func suiteBomb(t *testing.T, b *bed) {
	const size, limit = 80 << 20, 384 << 20
	topics := b.topics(t, 2)
	zero, one := pipeline.Partition{Topic: topics.events}, pipeline.Partition{Topic: topics.events, ID: 1}
	w := b.pen(t, "")
	for i := range 40 {
		w.write(pipeline.Partition{Topic: topics.ledger}, tells(i, schemas.Grant, 1))
	}
	outcomes := map[place]sample.Outcome{}
	visits := func(at pipeline.Partition, from, to int) {
		for i := from; i < to; i++ {
			outcomes[w.write(at, visit(i))[0]] = becomes(schemas.ConsentGiven)
		}
	}
	visits(zero, 0, 10)
	visits(one, 10, 20)
	j := topics.job(t, 30*time.Minute) // commits when it ends, and not before
	j.change(t, "workers: 2\n", fmt.Sprintf("workers: 2\nmemory: {limit: %d}\n", limit))
	p := j.stream(t)
	s, peak := p.serves(t), p.peakOf(t)
	p.isReady(t, s)
	p.until(t, "what stands before is read", func() bool { return s.metrics(t).sum(t, "messages_read_total") == 20 })
	stood := b.ends(t, topics.events)
	bomb := w.write(zero, sample.Message{Key: []byte("k"), Value: make([]byte, size)})[0]
	visits(zero, 20, 30)
	p.end(t, exitData)
	want := fmt.Sprintf("%s: batch at offset %d: record batch larger than max_batch_bytes; an operator decides where to go on: "+
		"lupa positions set --partition %[1]s --next %[3]d", zero, bomb.Offset, bomb.Offset+1)
	if said := p.stderr.text(); !strings.Contains(said, want) {
		t.Errorf("it does not say %q; it said:\n%s", want, said)
	}
	within(t, peak(), limit)
	standAt(t, readTables(t, j.warehouse()), stood)

	// Starting again helps nobody.
	again := j.stream(t)
	again.end(t, exitData)
	standAt(t, readTables(t, j.warehouse()), stood)
	code, out, errs := command(t, "positions", "set", "-c", j.config, "--partition", zero.String(), "--next", fmt.Sprint(bomb.Offset+1),
		"--reason", "a batch that nobody can read", "--yes")
	if code != exitOK {
		t.Fatalf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	j.change(t, "interval: 30m0s", "interval: 200ms")
	j.streamTo(t, b.ends(t, topics.events))
	tables := readTables(t, j.warehouse())
	standAt(t, tables, b.ends(t, topics.events))
	checkRows(t, tables, outcomes)
}
