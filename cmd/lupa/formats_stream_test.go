package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/cmd/lupa/sample"
	"lupa/connectors/quarantine"
	"lupa/pipeline"
	"lupa/schemas"
)

// formatTopic is a topic whose messages have a format.
type formatTopic struct {
	name   string
	config string // as events.formats says it
	write  func(t *testing.T, event []byte) formatted
	bad    []badMessage
}

// badMessage is a message that only this format can refuse.
type badMessage struct {
	formatted
	reason schemas.Reason
}

// schemaNote is written into every schema, as a comment or as documentation.
const schemaNote = "canary-note-in-a-schema"

// formatEvents gives events of the sample that every format can say, what must
// become of them, and what they look like. With every=1 they are all.
func formatEvents(t *testing.T, every int) (events []sample.Message, outcomes []sample.Outcome, looks *eventShape) {
	t.Helper()
	looks = &eventShape{}
	for i, m := range theSample(t).Events() {
		o := theSample(t).Expect()[i]
		switch {
		case i%every != 0 && !o.Reason.Rejects():
			continue
		case o.Reason == schemas.TooDeep, o.Reason == schemas.IdentityConflict && o.Table == "pages",
			o.Reason == schemas.WrongType && o.Table == "identifies":
			continue // a type for each level, a key twice, an object where texts are
		}
		event := parseEvent(t, m.Value)
		if event == nil || !utf8.Valid(m.Value) {
			continue // what is no object has no schema
		}
		if err := looks.learn(event); err != nil {
			t.Fatal(err)
		}
		events, outcomes = append(events, m), append(outcomes, timed(o))
	}
	return events, outcomes, looks
}

// timed gives the outcome of an event whose transport gives it a time.
func timed(o sample.Outcome) sample.Outcome {
	if o.NeedsTime {
		o.Reason, o.Verdict = schemas.NoRecord, pipeline.MaskRow
	}
	return o
}

// A schemaBook registers schemas. name is what a header calls a schema by.
type schemaBook interface {
	add(kind, text string) int32
	name(id int32) string
}

// jsonSchemaText is the schema of every JSON event; it is not looked into.
const jsonSchemaText = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","description":"` + schemaNote + `"}`

// formatTopics are topics in all formats.
func formatTopics(t *testing.T, r schemaBook, looks *eventShape) []formatTopic {
	t.Helper()
	avro, proto := newAvroWriter(t, looks, schemaNote), newProtoWriter(t, looks, schemaNote)
	avroID, protoID := r.add("AVRO", avro.text), r.add("PROTOBUF", proto.text)
	jsonID := r.add("JSON", jsonSchemaText)
	const unknownID = 1 << 29
	byHeader := func(id int32, more string) []messageHeader {
		return []messageHeader{{"__key_schema_id", "\x00\x00\x00\x00\x00"}, {"__value_schema_id", r.name(id) + more}}
	}
	of := func(value []byte, headers ...messageHeader) formatted {
		return formatted{value: value, headers: headers}
	}
	some := parseEvent(t, theSample(t).Events()[0].Value)
	bad := func(reason schemas.Reason, value []byte, headers ...messageHeader) badMessage {
		return badMessage{of(value, headers...), reason}
	}
	cut := func(b []byte) []byte { return b[:len(b)*2/3] }
	// A field whose text is longer than what is left of the message.
	overlong := func(b []byte) []byte { return append(cut(b), "\x0a\x7flonger"...) }

	return []formatTopic{
		{"avro", "{encoding: registry}", func(t *testing.T, e []byte) formatted { return of(inFront(avroID, avro.write(t, parseEvent(t, e)))) }, []badMessage{
			bad(schemas.UnknownSchema, inFront(unknownID, avro.write(t, some))),
			bad(schemas.Malformed, inFront(avroID, cut(avro.write(t, some)))),
			bad(schemas.Malformed, inFront(avroID, append(avro.write(t, some), 0))),
			bad(schemas.Malformed, avro.write(t, some)),
			bad(schemas.Malformed, compactJSON(t, some)),
			bad(schemas.Malformed, []byte{0, 0, 0}),
			bad(schemas.EmptyMessage, nil),
		}},
		{"avro-by-header", "{encoding: registry}", func(t *testing.T, e []byte) formatted {
			return of(avro.write(t, parseEvent(t, e)), byHeader(avroID, "")...)
		}, []badMessage{
			bad(schemas.UnknownSchema, avro.write(t, some), messageHeader{"__value_schema_id", "\x00\x20\x00\x00\x00"}),
			bad(schemas.Malformed, avro.write(t, some), messageHeader{"__value_schema_id", "\x07"}),
			bad(schemas.Malformed, cut(avro.write(t, some)), byHeader(avroID, "")...),
		}},
		{"protobuf", "{encoding: registry}", func(t *testing.T, e []byte) formatted {
			return of(inFront(protoID, append([]byte(protoIndexes), proto.write(t, parseEvent(t, e))...)))
		}, []badMessage{
			bad(schemas.UnknownSchema, inFront(unknownID, append([]byte(protoIndexes), proto.write(t, some)...))),
			bad(schemas.Malformed, inFront(protoID, append([]byte(protoIndexes), overlong(proto.write(t, some))...))),
			bad(schemas.Malformed, inFront(protoID, append([]byte("\x02\x08"), proto.write(t, some)...))),
			bad(schemas.EmptyMessage, []byte{}),
		}},
		{"protobuf-by-header", "{encoding: registry}", func(t *testing.T, e []byte) formatted {
			return of(proto.write(t, parseEvent(t, e)), byHeader(protoID, protoIndexes)...)
		}, []badMessage{
			bad(schemas.Malformed, overlong(proto.write(t, some)), byHeader(protoID, protoIndexes)...),
			bad(schemas.Malformed, proto.write(t, some), byHeader(protoID, "\x02")...),
		}},
		{"json-schema", "{encoding: registry}", func(_ *testing.T, e []byte) formatted { return of(inFront(jsonID, e)) }, []badMessage{
			bad(schemas.UnknownSchema, inFront(unknownID, compactJSON(t, some))),
			bad(schemas.Malformed, inFront(jsonID, cut(compactJSON(t, some)))),
			bad(schemas.Unrouted, inFront(jsonID, []byte(`["track"]`))),
		}},
		{"structured", "{envelope: cloudevents}", func(_ *testing.T, e []byte) formatted {
			return of(fmt.Appendf(nil, `{"specversion":"1.0","id":"1","source":"/shop","type":"shop.event","data":%s}`, e),
				messageHeader{"content-type", "application/cloudevents+json; charset=UTF-8"})
		}, []badMessage{
			bad(schemas.Malformed, fmt.Appendf(nil, `{"specversion":"1.0","source":"/shop","type":"shop.event","data":%s}`, compactJSON(t, some))),
			bad(schemas.Malformed, fmt.Appendf(nil, `{"specversion":"0.3","id":"1","source":"/shop","type":"shop.event","data":%s}`, compactJSON(t, some))),
			bad(schemas.Malformed, fmt.Appendf(nil, `[%s]`, compactJSON(t, some)), messageHeader{"content-type", "application/cloudevents-batch+json"}),
			bad(schemas.Unrouted, fmt.Appendf(nil, `{"specversion":"1.0","id":"1","source":"/shop","type":"track"}`)),
		}},
		{"structured-base64", "{envelope: cloudevents}", func(_ *testing.T, e []byte) formatted {
			return of(fmt.Appendf(nil, `{"data_base64":"%s","type":"shop.event","source":"/shop","id":"1","specversion":"1.0"}`, base64.StdEncoding.EncodeToString(e)))
		}, []badMessage{
			bad(schemas.Malformed, fmt.Appendf(nil, `{"data_base64":"%s!","type":"shop.event","source":"/shop","id":"1","specversion":"1.0"}`, base64.StdEncoding.EncodeToString(compactJSON(t, some)))),
		}},
		{"binary", "{envelope: cloudevents}", func(_ *testing.T, e []byte) formatted {
			return of(e, cloudEvent(messageHeader{"content-type", "application/json"})...)
		}, []badMessage{
			bad(schemas.Malformed, compactJSON(t, some)),
			bad(schemas.Malformed, compactJSON(t, some), append(cloudEvent(), messageHeader{"ce_id", "2"})...),
			bad(schemas.Unrouted, compactJSON(t, some), cloudEvent(messageHeader{"content-type", "text/plain"})...),
		}},
		{"binary-avro", "{encoding: registry, envelope: cloudevents}", func(t *testing.T, e []byte) formatted {
			return of(inFront(avroID, avro.write(t, parseEvent(t, e))), cloudEvent(messageHeader{"content-type", "application/avro"})...)
		}, []badMessage{
			bad(schemas.UnknownSchema, inFront(unknownID, avro.write(t, some)), cloudEvent(messageHeader{"content-type", "application/avro"})...),
			bad(schemas.Malformed, inFront(avroID, cut(avro.write(t, some))), cloudEvent(messageHeader{"content-type", "application/avro"})...),
		}},
		changeTopic(t),
		avroChangeTopic(t, r, looks),
	}
}

// changeTopic has change events in JSON.
func changeTopic(t *testing.T) formatTopic {
	some := compactJSON(t, parseEvent(t, theSample(t).Events()[0].Value))
	bad := func(reason schemas.Reason, form string, args ...any) badMessage {
		return badMessage{formatted{value: fmt.Appendf(nil, form, args...)}, reason}
	}
	return formatTopic{"changes", "{envelope: debezium}", func(_ *testing.T, e []byte) formatted {
		return formatted{value: fmt.Appendf(nil, `{"before":null,"after":%s,"source":{"table":"visits"},"op":"c","ts_ms":1}`, e)}
	}, []badMessage{
		bad(schemas.SourceDeleted, `{"before":%s,"after":null,"op":"d"}`, some),
		bad(schemas.SourceDeleted, `{"schema":null,"payload":null}`),
		{formatted{}, schemas.SourceDeleted},
		bad(schemas.Unrouted, `{"op":"t"}`),
		bad(schemas.Malformed, `{"before":%s,"op":"u"}`, some),
		bad(schemas.Malformed, `{"after":%s,"op":"x"}`, some),
		bad(schemas.Malformed, `{"op":"c","after":%s`, some),
	}}
}

// avroChangeTopic has change events in Avro.
func avroChangeTopic(t *testing.T, r schemaBook, looks *eventShape) formatTopic {
	w := newChangeWriter(t, looks, schemaNote)
	id := r.add("AVRO", w.text)
	some := parseEvent(t, theSample(t).Events()[0].Value)
	of := func(value []byte) formatted { return formatted{value: inFront(id, value)} }
	return formatTopic{"changes-avro", "{encoding: registry, envelope: debezium}", func(t *testing.T, e []byte) formatted {
		return of(w.change(t, "r", nil, parseEvent(t, e)))
	}, []badMessage{
		{of(w.change(t, "d", some, nil)), schemas.SourceDeleted},
		{formatted{}, schemas.SourceDeleted},
		{of(w.change(t, "u", some, nil)), schemas.Malformed},
		{of(w.change(t, "c", nil, some)[:40]), schemas.Malformed},
		{formatted{value: inFront(1<<28, w.change(t, "c", nil, some))}, schemas.UnknownSchema},
	}}
}

// formatConfig is a job's configuration with the topics and their formats.
func formatConfig(t *testing.T, j job, topics []formatTopic, recipient age.Recipient) {
	t.Helper()
	var names, formats []string
	for _, topic := range topics {
		names = append(names, topic.name)
		if topic.config != "" {
			formats = append(formats, topic.name+": "+topic.config)
		}
	}
	j.change(t, "topics: ["+demoEvents+"]", "topics: ["+strings.Join(names, ", ")+"]")
	j.change(t, "  max_message_bytes", "  formats: {"+strings.Join(formats, ", ")+"}\n  max_message_bytes")
	j.change(t, "{dir: quarantine}", fmt.Sprintf("{dir: quarantine, recipient: %s}", recipient))
}

// topicWriter gives a client that writes to brokers. The same key goes to the same
// partition of all topics that have equally many.
func topicWriter(t *testing.T, brokers []string) *kgo.Client {
	t.Helper()
	w, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ProducerLinger(0), kgo.UnknownTopicRetries(-1),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// writeAll writes messages and tells where they are. Each has the same time in
// every topic.
func writeAll(t *testing.T, w *kgo.Client, topic string, list []formatted) (places []place) {
	t.Helper()
	for begin := 0; begin < len(list); begin += 500 {
		var records []*kgo.Record
		for i, m := range list[begin:min(begin+500, len(list))] {
			r := &kgo.Record{Topic: topic, Key: m.key, Value: m.value, Timestamp: sample.Base().Add(sample.Window + time.Duration(begin+i)*time.Millisecond)}
			for _, h := range m.headers {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.name, Value: []byte(h.value)})
			}
			records = append(records, r)
		}
		if err := w.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			places = append(places, place{pipeline.Partition{Topic: topic, ID: r.Partition}, r.Offset})
		}
	}
	return places
}

// behind are the positions behind all places.
func behind[V any](places map[place]V) pipeline.Vector {
	ends := pipeline.Vector{}
	for at := range places {
		ends[at.Partition] = max(ends[at.Partition], at.Offset+1)
	}
	return ends
}

// formatWorld is events in many topics, one format each, and what must become
// of them.
type formatWorld struct {
	topics   []formatTopic
	outcomes map[place]sample.Outcome
	values   map[place][]byte // as they stand in the topics
	events   []sample.Message
}

// formatBrokers are brokers that topics are made on.
type formatBrokers interface {
	ListenAddrs() []string
	CreateTopic(name string, partitions int32, configs map[string]string) error
}

// newFormatWorld writes the events to every topic, and to "plain" as they are.
func newFormatWorld(t *testing.T, brokers formatBrokers, r schemaBook, every int) *formatWorld {
	t.Helper()
	w := topicWriter(t, brokers.ListenAddrs())
	events, outcomes, looks := formatEvents(t, every)
	f := &formatWorld{outcomes: map[place]sample.Outcome{}, values: map[place][]byte{}, events: events}
	plain := formatTopic{"plain", "", func(_ *testing.T, e []byte) formatted { return formatted{value: e} }, nil}
	f.topics = append([]formatTopic{plain}, formatTopics(t, r, looks)...)
	for _, topic := range f.topics {
		if err := brokers.CreateTopic(topic.name, 2, nil); err != nil {
			t.Fatal(err)
		}
		var list []formatted
		for _, e := range events {
			m := topic.write(t, e.Value)
			m.key = e.Key
			list = append(list, m)
		}
		all := outcomes
		for i, b := range topic.bad {
			b.key = fmt.Append(nil, "bad", i)
			list = append(list, b.formatted)
			all = append(all[:len(all):len(all)], sample.Outcome{Reason: b.reason, Person: sample.Nobody, Story: fmt.Sprint("bad message ", i)})
		}
		for i, at := range writeAll(t, w, topic.name, list) {
			f.outcomes[at], f.values[at] = all[i], list[i].value
		}
	}
	return f
}

// TestFormats streams the same events in every format at once. Each must become
// what its story says, and the same row, to the last token, as the plain JSON.
func TestFormats(t *testing.T) {
	t.Parallel()
	r := startRegistry(t)
	b := startBroker(t)
	f := newFormatWorld(t, b, r, 16)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(t, b, "", time.Second)
	formatConfig(t, j, f.topics, identity.Recipient())
	r.configure(t, j)
	p := j.stream(t)
	j.awaits(t, p, behind(f.outcomes))
	p.stop(t, exitOK)
	f.check(t, j, p, identity)
	f.checkSecrets(t, j, p, r.secrets())
}

// check compares the tables of the job with what must be in them.
func (f *formatWorld) check(t *testing.T, j job, p *process, identity age.Identity) {
	t.Helper()
	tables := readTables(t, j.warehouse())
	standAt(t, tables, behind(f.outcomes))
	checkCounts(t, tables, f.outcomes)
	checkRows(t, tables, f.outcomes)
	checkColumns(t, tables, f.outcomes)
	for name, s := range tables {
		if name != schemas.RejectsTable {
			f.checkEqual(t, name, s)
		}
	}
	f.checkAside(t, tables[schemas.RejectsTable], j, identity)
}

// checkEqual fails unless every topic's rows are those of the plain one.
func (f *formatWorld) checkEqual(t *testing.T, table string, s *storedTable) {
	t.Helper()
	if len(s.Rows) == 0 {
		t.Errorf("%s has no rows: nothing is compared", table)
		return
	}
	topic := s.column(t, "_src_topic")
	rows := map[string]map[place][]string{}
	for at, row := range s.places(t) {
		name := at.Partition.Topic
		if rows[name] == nil {
			rows[name] = map[place][]string{}
		}
		at.Partition.Topic = ""
		rows[name][at] = slices.Concat(row[:topic], row[topic+1:])
	}
	for _, other := range f.topics[1:] {
		// Which columns differ, and never their values.
		wrong := map[string]int{}
		for at, want := range rows["plain"] {
			got := rows[other.name][at]
			if got == nil {
				wrong["the row"]++
				continue
			}
			for i := range want {
				if want[i] != got[i] {
					wrong[slices.Concat(s.Columns[:topic], s.Columns[topic+1:])[i]]++
				}
			}
		}
		if len(wrong) > 0 || len(rows[other.name]) != len(rows["plain"]) {
			t.Errorf("%s of topic %s: %d rows, plain has %d; what differs: %v", table, other.name, len(rows[other.name]), len(rows["plain"]), wrong)
		}
	}
}

// checkAside opens what was put aside: the messages as they stand in the
// topics, and no others.
func (f *formatWorld) checkAside(t *testing.T, rejects *storedTable, j job, identity age.Identity) {
	t.Helper()
	listed, aside := map[place]string{}, map[place]string{}
	for at, row := range rejects.places(t) {
		listed[at] = row[rejects.column(t, "reason")]
	}
	for _, e := range putAside(t, j) {
		at := place{pipeline.Partition{Topic: e.Topic, ID: e.Partition}, e.Offset}
		aside[at] = e.Reason
		if e.Reason == schemas.TooLarge.String() || len(f.values[at]) == 0 {
			if len(e.Payload) > 0 {
				t.Errorf("the entry of %s offset %d holds a message", at.Partition, at.Offset)
			}
			continue
		}
		value, err := quarantine.Open(e, identity)
		if err != nil || !bytes.Equal(value, f.values[at]) {
			t.Errorf("the entry of %s offset %d does not hold its message", at.Partition, at.Offset)
		}
	}
	if d := cmp.Diff(listed, aside); d != "" {
		t.Errorf("rejects (-listed +put aside):\n%s", d)
	}
}

// putAside reads the quarantine of a job.
func putAside(t *testing.T, j job) (entries []quarantine.Entry) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(j.dir, "quarantine", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var e quarantine.Entry
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal("an entry is not JSON")
			}
			entries = append(entries, e)
		}
	}
	return entries
}

// checkSecrets looks for what the events know of people, and for more, in all
// that the job wrote and said.
func (f *formatWorld) checkSecrets(t *testing.T, j job, p *process, more []string) {
	t.Helper()
	left := append(readTree(t, j.warehouse()), readTree(t, filepath.Join(j.dir, "quarantine"))...)
	left = append(left, section{place: "stdout", data: p.stdout.Bytes()}, section{place: "stderr", data: []byte(p.stderr.text())})
	var input haystack
	for at, value := range f.values {
		if at.Partition.Topic != "structured-base64" { // where nothing stands in clear
			input = append(input, section{place: "input", data: value})
		}
	}
	list := f.secrets(t)
	s := newScanner(list)
	if n := len(s.found(input)); n != len(list) || n < 1000 {
		t.Errorf("%d of %d secrets are found in the input", n, len(list))
	}
	if hits := s.scan(left); len(hits) > 0 {
		t.Errorf("%d secrets were found:\n%s", len(hits), describe(list, hits))
	}
	for i, secret := range append(more, schemaNote) {
		for _, piece := range left {
			if bytes.Contains(piece.data, []byte(secret)) {
				t.Errorf("secret %d of the registry is in %s", i, piece.place)
			}
		}
	}
	t.Logf("%d bytes in %d pieces searched for %d secrets", left.size(), len(left), len(list))
}

// secrets are those of the sample that stand in the events.
func (f *formatWorld) secrets(t *testing.T) (list []canary) {
	t.Helper()
	var all []byte
	for _, e := range f.events {
		all = append(append(all, e.Value...), '\n')
	}
	for i, secret := range theSample(t).SecretsIn(all) {
		if i%4 == 0 {
			list = append(list, canary{value: secret, class: idCanary, place: fmt.Sprintf("secret %d of the events", i)})
		}
	}
	return list
}

// TestDamagedMessagesShowNobody flips bits in messages that hold much about
// people. Whatever becomes of them, every one is accounted for, and neither the
// log nor what is said of the rejects shows anybody. What a damaged message
// says of itself may be anything, so its rows are not looked at.
func TestDamagedMessagesShowNobody(t *testing.T) {
	t.Parallel()
	r := startRegistry(t)
	events, _, looks := formatEvents(t, 40)
	topics := formatTopics(t, r, looks)
	var names []string
	for _, topic := range topics {
		names = append(names, topic.name)
	}
	b := startBroker(t, kfake.SeedTopics(1, names...))
	w := topicWriter(t, b.ListenAddrs())
	f := &formatWorld{values: map[place][]byte{}, events: events}
	random := rand.New(rand.NewPCG(7, 7))
	for _, topic := range topics {
		var list []formatted
		for _, e := range events {
			m := topic.write(t, e.Value)
			if len(m.value) > sample.MaxMessageBytes {
				continue
			}
			m.value = slices.Clone(m.value)
			for range 1 + random.IntN(3) {
				m.value[random.IntN(len(m.value))] ^= 1 << random.IntN(8)
			}
			if random.IntN(4) == 0 {
				m.value = m.value[:1+random.IntN(len(m.value))]
			}
			list = append(list, m)
		}
		for i, at := range writeAll(t, w, topic.name, list) {
			f.values[at] = list[i].value
		}
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(t, b, "", time.Second)
	formatConfig(t, j, topics, identity.Recipient())
	r.configure(t, j)
	p := j.stream(t)
	j.awaits(t, p, behind(f.values))
	p.stop(t, exitOK)

	tables := readTables(t, j.warehouse())
	standAt(t, tables, behind(f.values))
	var read int64
	reasons := map[string]int64{}
	for name, s := range tables {
		read += s.counted(t, "read")
		for _, reason := range []schemas.Reason{schemas.Malformed, schemas.UnknownSchema} {
			if name == schemas.RejectsTable {
				reasons[reason.String()] += s.counted(t, "reason."+reason.String())
			}
		}
		if n := s.counted(t, "kept") + s.counted(t, "masked") + s.counted(t, "dropped") + s.counted(t, "rejected"); n != s.counted(t, "read") {
			t.Errorf("%s read %d messages and accounts for %d", name, s.counted(t, "read"), n)
		}
	}
	if read != int64(len(f.values)) {
		t.Errorf("%d messages are accounted for, there are %d", read, len(f.values))
	}
	if reasons["malformed"] < 500 || reasons["unknown_schema"] == 0 {
		t.Errorf("too few are damaged so that it is seen: %v", reasons)
	}
	f.checkAside(t, tables[schemas.RejectsTable], j, identity)

	list := f.secrets(t)
	left := haystack{{place: "stdout", data: p.stdout.Bytes()}, {place: "stderr", data: []byte(p.stderr.text())}}
	left = append(left, readTree(t, filepath.Join(j.dir, "quarantine"))...)
	left = append(left, readTree(t, filepath.Join(j.warehouse(), schemas.RejectsTable))...)
	if hits := newScanner(list).scan(left); len(hits) > 0 {
		t.Errorf("%d secrets were found:\n%s", len(hits), describe(list, hits))
	}
	for _, secret := range append(r.secrets(), schemaNote) {
		if told(secret, p.stderr.text(), p.stdout.String()) {
			t.Error("a secret of the registry was said")
		}
	}
	if len(list) < 500 || len(slices.Collect(maps.Keys(f.values))) < 5000 {
		t.Errorf("%d secrets in %d messages: too few to tell anything", len(list), len(f.values))
	}
}
