//go:build integration

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/cmd/lupa/sample"
	"lupa/connectors/kafka/kafkatest"
	"lupa/connectors/quarantine"
	"lupa/pipeline"
	"lupa/schemas"
	"lupa/transforms/keys"
)

// TestRealStream runs `lupa stream` on a real broker.
func TestRealStream(t *testing.T) {
	k := kafkatest.Run(t, 1)
	t.Run("stopped and resumed while the broker is killed", func(t *testing.T) { streamThroughOutages(t, k) })
}

// realTopics are the topics of one job, and who writes them.
type realTopics struct {
	events, ledger, rejects string
	writer                  *kgo.Client
}

func newRealTopics(t *testing.T, k *kafkatest.Cluster, name string) *realTopics {
	t.Helper()
	r := &realTopics{events: name + "-events", ledger: name + "-consent", rejects: name + "-rejects"}
	for _, topic := range []struct {
		name       string
		partitions int32
		policy     string
	}{{r.events, 4, "delete"}, {r.ledger, 2, "compact"}, {r.rejects, 1, "delete"}} {
		if err := k.CreateTopic(topic.name, topic.partitions, map[string]string{"cleanup.policy": topic.policy}); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if r.writer, err = kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.ProducerLinger(0), kgo.UnknownTopicRetries(-1),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(2*slowBytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.writer.Close)
	return r
}

// put writes messages and tells where each is once all are acknowledged.
func (r *realTopics) put(ctx context.Context, topic string, messages ...sample.Message) ([]place, error) {
	var places []place
	for len(messages) > 0 {
		records := make([]*kgo.Record, min(len(messages), 500))
		for i, m := range messages[:len(records)] {
			records[i] = &kgo.Record{Topic: topic, Key: m.Key, Value: m.Value}
		}
		if err := r.writer.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return nil, err
		}
		for _, w := range records {
			places = append(places, place{pipeline.Partition{Topic: topic, ID: w.Partition}, w.Offset})
		}
		messages = messages[len(records):]
	}
	return places, nil
}

// job makes the folder of a job that reads the topics. What it rejects goes to
// the third topic, for the recipient.
func (r *realTopics) job(t *testing.T, k *kafkatest.Cluster, recipient string) job {
	t.Helper()
	j := job{dir: t.TempDir()}
	j.config = filepath.Join(j.dir, "lupa.yaml")
	write(t, j.dir, "lupa.yaml", fmt.Sprintf(`keys: {file: lupa.keys}
ledger:
  kafka: {brokers: [%[1]s], topic: %[2]s}
events:
  kafka: {brokers: [%[1]s], topics: [%[3]s], session_timeout: 1s}
  max_message_bytes: %[4]d
warehouse: {dir: warehouse}
quarantine: {topic: %[5]s, recipient: %[6]s}
commit: {interval: 200ms}
phone: {default_region: %[7]s}
workers: 2
`, strings.Join(k.ListenAddrs(), ", "), r.ledger, r.events, sample.MaxMessageBytes, r.rejects, recipient, sample.DefaultRegion))
	if err := keys.Init(filepath.Join(j.dir, "lupa.keys"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	return j
}

// streamThroughOutages stops the job after a third of the sample, starts it
// again, and kills the broker while it reads the rest. Every event must have
// become what its story says.
func streamThroughOutages(t *testing.T, k *kafkatest.Cluster) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	topics := newRealTopics(t, k, "sample")
	j := topics.job(t, k, identity.Recipient().String())
	events := theSample(t).Events()
	third := len(events) / 3
	if _, err := topics.put(t.Context(), topics.ledger, theSample(t).Ledger()...); err != nil {
		t.Fatal(err)
	}
	places, err := topics.put(t.Context(), topics.events, events[:third]...)
	if err != nil {
		t.Fatal(err)
	}
	p := j.stream(t)
	j.awaits(t, p, endsOf(places...))
	p.stop(t, exitOK)

	p = j.stream(t)
	broken, fed := make(chan struct{}), make(chan error, 1)
	go func() {
		fed <- func() error {
			second, err := topics.put(t.Context(), topics.events, events[third:2*third]...)
			if err != nil {
				return err
			}
			<-broken
			last, err := topics.put(t.Context(), topics.events, events[2*third:]...)
			places = append(append(places, second...), last...)
			return err
		}()
	}()
	p.must(t, committedLine)
	close(broken)
	if err := k.Kill(0); err != nil {
		t.Fatal(err)
	}
	if err := k.Restart(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := <-fed; err != nil {
		t.Fatal(err)
	}
	j.awaits(t, p, endsOf(places...))
	p.stop(t, exitOK)
	if n, _ := p.stderr.count("class=broker_unreachable"); n == 0 {
		t.Error("the job has not noticed that the broker was gone: nothing is tested")
	}

	tables := readTables(t, j.warehouse())
	standAt(t, tables, endsOf(places...))
	outcomes := outcomesAt(places, theSample(t).Expect())
	checkCounts(t, tables, outcomes)
	checkRows(t, tables, outcomes)
	checkColumns(t, tables, outcomes)
	checkTokens(t, tables, outcomes)
	checkTopicAside(t, k, topics.rejects, tables["rejects"], identity, events, places)
}

// checkTopicAside fails unless the topic holds every listed reject, however
// often, and nothing else, and each message can be opened.
func checkTopicAside(t *testing.T, k *kafkatest.Cluster, topic string, rejects *storedTable, identity age.Identity, events []sample.Message, places []place) {
	t.Helper()
	values := map[place][]byte{}
	for i, at := range places {
		values[at] = events[i].Value
	}
	listed, aside := map[place]string{}, map[place]string{}
	for at, row := range rejects.places(t) {
		listed[at] = row[rejects.column(t, "reason")]
	}
	for _, r := range readTopic(t, k, topic) {
		var e quarantine.Entry
		if err := json.Unmarshal(r.Value, &e); err != nil {
			t.Fatalf("the entry at offset %d is no JSON", r.Offset)
		}
		at := place{pipeline.Partition{Topic: e.Topic, ID: e.Partition}, e.Offset}
		if want := fmt.Sprintf("%s/%d", at.Partition, at.Offset); string(r.Key) != want {
			t.Errorf("the key at offset %d is not %s", r.Offset, want)
		}
		aside[at] = e.Reason
		if e.Reason == schemas.TooLarge.String() || e.Reason == schemas.EmptyMessage.String() {
			continue // there is nothing to seal
		}
		if value, err := quarantine.Open(e, identity); err != nil || string(value) != string(values[at]) {
			t.Errorf("the payload of %s offset %d is not the message, %v", at.Partition, at.Offset, err)
		}
	}
	if d := cmp.Diff(listed, aside); d != "" {
		t.Errorf("%d rejects are listed and %d put aside (-listed +aside):\n%s", len(listed), len(aside), d)
	}
}

// readTopic reads partition 0 of a topic to its end.
func readTopic(t *testing.T, k *kafkatest.Cluster, topic string) (list []*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ends, err := k.Admin().ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	end, ok := ends.Lookup(topic, 0)
	if !ok || end.Err != nil {
		t.Fatal(end.Err)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for int64(len(list)) < end.Offset {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		list = append(list, fetches.Records()...)
	}
	return list
}
