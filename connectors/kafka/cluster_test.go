package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/pipeline"
)

// fake starts an in-process cluster of three brokers.
func fake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	k, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(3)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// brokers is a cluster that tests read from: a fake one, or a real one.
type brokers interface {
	ListenAddrs() []string
	CreateTopic(name string, partitions int32, configs map[string]string) error
}

func topic(t testing.TB, k brokers, name string, partitions int32, policy string) {
	t.Helper()
	if err := k.CreateTopic(name, partitions, map[string]string{"cleanup.policy": policy}); err != nil {
		t.Fatal(err)
	}
}

func connect(t testing.TB, k brokers, change ...func(*Options)) *Cluster {
	t.Helper()
	o := Options{Brokers: k.ListenAddrs(), StartTimeout: 5 * time.Second, FetchWait: 100 * time.Millisecond}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// producer is franz-go's, so that what is read was not written by the library
// that reads it.
func producer(t testing.TB, k brokers, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	p, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(k.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func put(t testing.TB, p *kgo.Client, name string, partition int32, values ...string) {
	t.Helper()
	var list []*kgo.Record
	for _, v := range values {
		list = append(list, &kgo.Record{Topic: name, Partition: partition, Value: []byte(v), Timestamp: time.UnixMilli(1700000000123)})
	}
	if err := p.ProduceSync(bounded(t), list...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd waits until the log of partition 0 ends there.
func awaitEnd(t testing.TB, p *kgo.Client, name string, end int64) {
	t.Helper()
	ctx := bounded(t)
	for {
		ends, err := kadm.NewClient(p).ListEndOffsets(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		o, ok := ends.Lookup(name, 0)
		if ok && o.Offset == end {
			return
		}
		if ok && o.Offset > end {
			t.Fatalf("%s ends at %d, want %d", name, o.Offset, end)
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			t.Fatalf("%s does not reach %d: %v", name, end, err)
		}
	}
}

// message is what a test compares.
type message struct {
	Offset int64
	Value  string
}

// collect reads until every partition's position reaches its end.
func collect(t testing.TB, e *Events, ends map[int32]int64) map[int32][]message {
	t.Helper()
	got := make(map[int32][]message)
	next := make(map[int32]int64)
	ctx := bounded(t)
	for {
		done := true
		for id, end := range ends {
			done = done && next[id] >= end
		}
		if done {
			return got
		}
		c, err := e.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			continue
		}
		id := c.Partition.ID
		checkChunk(t, c)
		for i, v := range c.Values {
			got[id] = append(got[id], message{c.Offsets[i], string(c.Arena[v.Off : v.Off+v.Len])})
		}
		next[id] = c.Next.Next
	}
}

// checkChunk asserts what every chunk owes its reader.
func checkChunk(t testing.TB, c *pipeline.Chunk) {
	t.Helper()
	if len(c.Values) != len(c.Offsets) || len(c.Values) != len(c.Times) {
		t.Fatalf("%s: %d values, %d offsets, %d times", c.Partition, len(c.Values), len(c.Offsets), len(c.Times))
	}
	if len(c.Values) > maxMessages {
		t.Fatalf("%s: a chunk of %d messages", c.Partition, len(c.Values))
	}
	for i, v := range c.Values {
		if int(v.Off)+int(v.Len)+pipeline.ArenaSlack > len(c.Arena) {
			t.Fatalf("%s: value %d has no slack behind it", c.Partition, i)
		}
		if c.Offsets[i] >= c.Next.Next || i > 0 && c.Offsets[i] <= c.Offsets[i-1] {
			t.Fatalf("%s: offset %d at %d, next %d", c.Partition, c.Offsets[i], i, c.Next.Next)
		}
	}
}

func open(t testing.TB, c *Cluster, from pipeline.Positions, topics ...string) *Events {
	t.Helper()
	e, err := c.Events(topics, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Open(bounded(t), from); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// rec is a record of a batch that a test makes by hand.
type rec struct {
	delta      int64
	key, value []byte
}

// made describes such a batch.
type made struct {
	base       int64
	lastDelta  int32
	attributes int16
	producer   int64
	count      int32 // -1 is len(recs)
	recs       []rec
	payload    []byte // replaces the encoded records
}

func (m made) encode() []byte {
	body := m.payload
	if body == nil {
		for _, r := range m.recs {
			body = appendRecord(body, r)
		}
		if codec := compress.Compression(m.attributes & 7); codec != 0 {
			var b bytes.Buffer
			w := codec.Codec().NewWriter(&b)
			w.Write(body)
			w.Close()
			body = b.Bytes()
		}
	}
	count := m.count
	if count < 0 {
		count = int32(len(m.recs))
	}
	tail := binary.BigEndian.AppendUint16(nil, uint16(m.attributes))
	tail = binary.BigEndian.AppendUint32(tail, uint32(m.lastDelta))
	tail = binary.BigEndian.AppendUint64(tail, 1700000000000)
	tail = binary.BigEndian.AppendUint64(tail, 1700000000999)
	tail = binary.BigEndian.AppendUint64(tail, uint64(m.producer))
	tail = binary.BigEndian.AppendUint16(tail, 0)
	tail = binary.BigEndian.AppendUint32(tail, 0)
	tail = binary.BigEndian.AppendUint32(tail, uint32(count))
	tail = append(tail, body...)
	b := binary.BigEndian.AppendUint64(nil, uint64(m.base))
	b = binary.BigEndian.AppendUint32(b, uint32(len(tail)+9))
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, 2)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(tail, castagnoli))
	return append(b, tail...)
}

func appendRecord(b []byte, r rec) []byte {
	body := []byte{0}
	body = binary.AppendVarint(body, r.delta)
	body = binary.AppendVarint(body, r.delta)
	for _, p := range [][]byte{r.key, r.value} {
		if p == nil {
			body = binary.AppendVarint(body, -1)
			continue
		}
		body = binary.AppendVarint(body, int64(len(p)))
		body = append(body, p...)
	}
	body = binary.AppendVarint(body, 0)
	b = binary.AppendVarint(b, int64(len(body)))
	return append(b, body...)
}

// script answers fetches and end offsets of one topic's partition 0 by hand.
type script struct {
	mu      sync.Mutex
	batches [][]byte
	end     int64
	aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction
	fetches int
	before  func() // runs before a fetch is answered
}

func (s *script) install(k *kfake.Cluster) {
	k.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		s.mu.Lock()
		defer s.mu.Unlock()
		req := r.(*kmsg.ListOffsetsRequest)
		res := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, t := range req.Topics {
			rt := kmsg.ListOffsetsResponseTopic{Topic: t.Topic}
			for _, p := range t.Partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition, rp.Offset = p.Partition, s.end
				if p.Timestamp == logStart {
					rp.Offset = 0
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			res.Topics = append(res.Topics, rt)
		}
		return res, nil, true
	})
	k.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fetches++
		if s.before != nil {
			s.before()
		}
		req := r.(*kmsg.FetchRequest)
		res := req.ResponseKind().(*kmsg.FetchResponse)
		at := req.Topics[0].Partitions[0].FetchOffset
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = s.end, s.end, 0
		rp.AbortedTransactions = s.aborted
		for _, b := range s.batches {
			last := int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:]))
			if len(rp.RecordBatches) > 0 || last >= at {
				rp.RecordBatches = append(rp.RecordBatches, b...)
			}
		}
		res.Topics = []kmsg.FetchResponseTopic{{Topic: req.Topics[0].Topic, Partitions: []kmsg.FetchResponseTopicPartition{rp}}}
		return res, nil, true
	})
}

func scripted(t testing.TB, policy string, end int64, batches ...made) (*Cluster, *script) {
	t.Helper()
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, policy)
	s := &script{end: end}
	for _, b := range batches {
		s.batches = append(s.batches, b.encode())
	}
	s.install(k)
	return connect(t, k), s
}

func words(n int, prefix string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return list
}

func messagesFrom(offset int64, values ...string) []message {
	var list []message
	for i, v := range values {
		list = append(list, message{offset + int64(i), v})
	}
	return slices.Clip(list)
}
