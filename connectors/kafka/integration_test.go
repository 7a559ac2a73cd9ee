//go:build integration

package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/connectors/kafka/kafkatest"
	"lupa/pipeline"
)

// TestRealBroker confirms on Apache Kafka what the guarantees of this package
// rest on. Each subtest has topics of its own.
func TestRealBroker(t *testing.T) {
	k := kafkatest.Run(t, 1)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *kafkatest.Cluster)
	}{
		{"speaks no protocol older than KIP-896 leaves", realFloor},
		{"every codec", func(t *testing.T, k *kafkatest.Cluster) { handOverEveryCodec(t, k) }},
		{"every codec of the broker", realCodecs},
		{"times that the broker gives", realAppendTimes},
		{"aborted records", func(t *testing.T, k *kafkatest.Cluster) { hideAbortedRecords(t, k, "aborted") }},
		{"many transactions at once", realTransactions},
		{"a barrier sees what was acknowledged", func(t *testing.T, k *kafkatest.Cluster) { seeWhatWasAcknowledged(t, k, "acknowledged") }},
		{"an open transaction holds barriers", realOpenTransaction},
		{"strict barriers", realStrictBarriers},
		{"a ledger that grows", realGrownLedger},
		{"a ledger made anew", realRecreatedLedger},
		{"a missing topic is not made", realMissingTopic},
		{"records deleted before they were read", realDeletedRecords},
		{"a topic made anew", realRecreatedTopic},
		{"added partitions", realAddedPartitions},
		{"compaction", realCompaction},
		{"a broker that is killed", realKilledBroker},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, k) })
	}
}

// The versions that this broker has left are at or above what KIP-896 says, so
// that every request the other tests make proves to be above them. It still
// lists those of Produce that it refuses, for the sake of old clients.
func realFloor(t *testing.T, k *kafkatest.Cluster) {
	brokers, err := k.Admin().ApiVersions(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(brokers) != 1 {
		t.Fatalf("%d brokers", len(brokers))
	}
	for _, versions := range brokers {
		for key, floor := range map[kmsg.Key]int16{
			kmsg.Fetch: 4, kmsg.ListOffsets: 1, kmsg.CreateTopics: 2, kmsg.DescribeConfigs: 1,
		} {
			if least, ok := versions.KeyMinVersion(key.Int16()); !ok || least < floor {
				t.Errorf("%s begins at version %d (%v), not at %d: nothing is confirmed here", key.Name(), least, ok, floor)
			}
		}
		if least, _ := versions.KeyMinVersion(kmsg.Fetch.Int16()); least > 11 {
			t.Errorf("fetch begins at version %d", least)
		}
	}
}

// A broker that is told to compress does so with libraries of its own, which
// frame blocks in other ways than those of Go.
func realCodecs(t *testing.T, k *kafkatest.Cluster) {
	c := connect(t, k)
	for codec, number := range map[string]uint8{"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4} {
		name := "compressed-by-" + codec
		if err := k.CreateTopic(name, 1, map[string]string{"compression.type": codec}); err != nil {
			t.Fatal(err)
		}
		// Enough for several blocks of each format.
		values := words(2000, strings.Repeat("a value of some length ", 20))
		put(t, producer(t, k, kgo.ProducerBatchCompression(kgo.NoCompression())), name, 0, values...)
		got := collect(t, open(t, c, nil, name), map[int32]int64{0: int64(len(values))})[0]
		if d := cmp.Diff(messagesFrom(0, values...), got); d != "" {
			t.Errorf("%s: %s", codec, d)
		}
		for _, r := range consume(t, k, name, int64(len(values)-1)) {
			if r.Attrs.CompressionType() != number {
				t.Fatalf("%s: offset %d has codec %d: nothing is confirmed here", codec, r.Offset, r.Attrs.CompressionType())
			}
		}
	}
}

// The broker writes its own time into a batch and leaves those of the records.
func realAppendTimes(t *testing.T, k *kafkatest.Cluster) {
	const name = "times"
	if err := k.CreateTopic(name, 1, map[string]string{"message.timestamp.type": "LogAppendTime"}); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Truncate(time.Millisecond)
	put(t, producer(t, k), name, 0, "a", "b") // with times of long ago
	after := time.Now()
	chunk := nextChunk(t, open(t, connect(t, k), nil, name))
	if len(chunk.Times) != 2 {
		t.Fatalf("%d messages", len(chunk.Times))
	}
	for i, at := range chunk.Times {
		if at < before.UnixMicro() || at > after.UnixMicro() {
			t.Errorf("message %d has the time %d, not one in %d to %d", i, at, before.UnixMicro(), after.UnixMicro())
		}
	}
}

// nextChunk waits for a chunk.
func nextChunk(t *testing.T, e *Events) *pipeline.Chunk {
	t.Helper()
	for ctx := bounded(t); ; {
		chunk, err := e.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if chunk != nil {
			return chunk
		}
	}
}

// consume reads a partition from its beginning with another client, until it
// has the record at the offset last, which must be there.
func consume(t *testing.T, k brokers, name string, last int64) []*kgo.Record {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := bounded(t)
	var list []*kgo.Record
	for len(list) == 0 || list[len(list)-1].Offset < last {
		fetches := c.PollFetches(ctx)
		if err := errors.Join(fetches.Err(), ctx.Err()); err != nil {
			t.Fatal(err)
		}
		list = append(list, fetches.Records()...)
	}
	return list
}

// oracle is what tests compare of what another client reads.
func oracle(t *testing.T, k brokers, name string, last int64) []message {
	t.Helper()
	var list []message
	for _, r := range consume(t, k, name, last) {
		list = append(list, message{r.Offset, string(r.Value)})
	}
	return list
}

// Transactions of several producers interleave over fetches that begin and end
// within them; another client reads the same.
func realTransactions(t *testing.T, k *kafkatest.Cluster) {
	const name, producers, rounds = "transactions", 3, 25
	topic(t, k, name, 1, "delete")
	done := make(chan error, producers)
	for id := range producers {
		p := producer(t, k, kgo.TransactionalID(fmt.Sprint(name, id)))
		go func() {
			done <- func() error {
				for round := range rounds {
					if err := p.BeginTransaction(); err != nil {
						return err
					}
					for i := range 1 + (round+id)%4 {
						r := &kgo.Record{Topic: name, Value: fmt.Append(nil, strings.Repeat("value ", 40), id, round, i)}
						if err := p.ProduceSync(t.Context(), r).FirstErr(); err != nil {
							return err
						}
					}
					if err := p.EndTransaction(t.Context(), kgo.TransactionEndTry((round+id)%3 != 0)); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range producers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	put(t, producer(t, k), name, 0, "last")
	c := connect(t, k, func(o *Options) { o.FetchBytes = 1 << 10 })
	ends, err := c.EndOffsets(bounded(t), name)
	if err != nil {
		t.Fatal(err)
	}
	end := ends[pipeline.Partition{Topic: name}]
	want := oracle(t, k, name, end-1)
	if n := int64(len(want)); n < 50 || n > end-producers*rounds {
		t.Fatalf("%d records committed of %d offsets", n, end)
	}
	if d := cmp.Diff(want, collect(t, open(t, c, nil, name), map[int32]int64{0: end})[0]); d != "" {
		t.Errorf("another client reads (-), this one (+):\n%s", d)
	}
}

// The broker makes topics that are asked for by a client that wants it to.
func realMissingTopic(t *testing.T, k *kafkatest.Cluster) {
	const name = "nowhere"
	c := connect(t, k, func(o *Options) { o.StartTimeout = 2 * time.Second })
	e, err := c.Events([]string{name}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Open(bounded(t), nil); !errors.Is(err, ErrNoTopic) {
		t.Errorf("events: %v", err)
	}
	l, err := c.Ledger(name, &table{}, LedgerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(bounded(t)); !errors.Is(err, ErrNoTopic) {
		t.Errorf("ledger: %v", err)
	}
	if _, err := c.EndOffsets(bounded(t), name); !errors.Is(err, ErrNoTopic) {
		t.Errorf("end offsets: %v", err)
	}
	p := c.Producer()
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := p.Produce(ctx, name, nil, [][]byte{[]byte("v")}); err == nil {
		t.Error("produced")
	}
	topics, err := k.Admin().ListTopics(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if topics.Has(name) || !topics.Has("aborted") {
		t.Errorf("topics: %v", topics.Names())
	}
}

func realDeletedRecords(t *testing.T, k *kafkatest.Cluster) {
	const name = "deleted"
	topic(t, k, name, 1, "delete")
	p := producer(t, k)
	for range 50 {
		put(t, p, name, 0, words(10, strings.Repeat("value ", 40))...)
	}
	c := connect(t, k, func(o *Options) { o.FetchBytes = 1 << 10 })
	reading := open(t, c, nil, name)
	next := nextChunk(t, reading).Next.Next
	gone := kadm.Offsets{}
	gone.AddOffset(name, 0, 400, -1)
	if err := func() error {
		res, err := k.Admin().DeleteRecords(bounded(t), gone)
		return errors.Join(err, res.Error())
	}(); err != nil {
		t.Fatal(err)
	}
	// What was fetched before is still handed over; then there is a gap.
	n, err := readUntilError(t, reading)
	var position *PositionError
	if !errors.As(err, &position) || position.Start != 400 || position.Next != next+int64(n) || position.Next >= 400 {
		t.Errorf("%d messages after offset %d, then %v", n, next, err)
	}
	late, err := c.Events([]string{name}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = late.Open(bounded(t), pipeline.Positions{{Topic: name}: {Next: 399}})
	if err == nil || err.Error() != "kafka: events: deleted/0: offset 399 was deleted before it was read: the log starts at 400"+decide("deleted/0") {
		t.Error(err)
	}
	// What was never read begins at what is left.
	rest := collect(t, open(t, c, nil, name), map[int32]int64{0: 500})[0]
	if len(rest) != 100 || rest[0].Offset != 400 {
		t.Errorf("%d messages left", len(rest))
	}
}

// A topic of the same name with other records has the position, not the batch
// before it.
func realRecreatedTopic(t *testing.T, k *kafkatest.Cluster) {
	const name = "recreated"
	c := connect(t, k)
	fill := func(prefix string, n int) {
		topic(t, k, name, 1, "delete")
		put(t, producer(t, k), name, 0, words(n, prefix)...)
	}
	fill("first", 10)
	e := open(t, c, nil, name)
	mark := nextChunk(t, e).Next
	if mark.Next != 10 {
		t.Fatalf("the first chunk ends at %d", mark.Next)
	}
	from := pipeline.Positions{{Topic: name}: mark}
	e.Close()
	open(t, c, from, name).Close() // positive control
	for _, again := range []struct {
		records int
		want    string
	}{
		{20, "recreated/0: what stands before offset 10 is not what was read: the topic was recreated or truncated"},
		{5, "recreated/0: offset 10 is past the end 5: the topic was recreated or truncated"},
	} {
		if err := k.DeleteTopic(name); err != nil {
			t.Fatal(err)
		}
		fill("again", again.records)
		e, err := c.Events([]string{name}, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Open(bounded(t), from); err == nil || err.Error() != "kafka: events: "+again.want+decide("recreated/0") {
			t.Errorf("%d records: %v", again.records, err)
		}
	}
}

func realAddedPartitions(t *testing.T, k *kafkatest.Cluster) {
	const name = "grown"
	topic(t, k, name, 1, "delete")
	c := connect(t, k)
	e := open(t, c, nil, name)
	res, err := k.Admin().UpdatePartitions(bounded(t), 2, name)
	if err := errors.Join(err, res.Error()); err != nil {
		t.Fatal(err)
	}
	if _, err := readUntilError(t, e); !errors.Is(err, errGrown) {
		t.Errorf("events: %v", err)
	}
}
