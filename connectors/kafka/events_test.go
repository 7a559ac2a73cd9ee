package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/pipeline"
)

func TestEventsHandOverEveryCodec(t *testing.T) { handOverEveryCodec(t, fake(t)) }

func handOverEveryCodec(t *testing.T, k brokers) {
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		topic(t, k, name, 3, "delete")
		p := producer(t, k, kgo.ProducerBatchCompression(codec))
		want := make(map[int32][]message)
		for id := range int32(3) {
			a, b := words(700, strings.Repeat("first batch ", 20)), words(3, "second batch")
			put(t, p, name, id, a...)
			put(t, p, name, id, b...)
			want[id] = append(messagesFrom(0, a...), messagesFrom(700, b...)...)
		}
		e := open(t, connect(t, k), nil, name)
		got := collect(t, e, map[int32]int64{0: 703, 1: 703, 2: 703})
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestEventsGiveTimesNullsAndSizes(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	at := time.UnixMilli(1700000000123)
	err := p.ProduceSync(bounded(t),
		&kgo.Record{Topic: "x", Value: []byte("small"), Timestamp: at},
		&kgo.Record{Topic: "x", Value: nil, Timestamp: at},
		&kgo.Record{Topic: "x", Value: []byte(strings.Repeat("L", 101)), Timestamp: at},
		&kgo.Record{Topic: "x", Value: []byte(strings.Repeat("F", 100)), Timestamp: at},
	).FirstErr()
	if err != nil {
		t.Fatal(err)
	}
	e := open(t, connect(t, k, func(o *Options) { o.MaxMessageBytes = 100 }), nil, "x")
	var c *pipeline.Chunk
	for c == nil {
		if c, err = e.Next(bounded(t)); err != nil {
			t.Fatal(err)
		}
	}
	checkChunk(t, c)
	var lens []uint32
	for i, v := range c.Values {
		lens = append(lens, v.Len)
		if c.Times[i] != at.UnixMicro() {
			t.Errorf("time %d of message %d, want %d", c.Times[i], i, at.UnixMicro())
		}
	}
	if d := cmp.Diff([]uint32{5, 0, 0, 100}, lens); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]int32{2}, c.TooLarge); d != "" {
		t.Error(d)
	}
}

func TestEventsSplitLargeBatches(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k, kgo.ProducerBatchMaxBytes(1<<20), kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	values := words(10000, "v")
	put(t, p, "x", 0, values...)
	c := connect(t, k)
	e := open(t, c, nil, "x")
	var first pipeline.Mark
	var got []message
	for len(got) < len(values) {
		ch, err := e.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if ch == nil {
			continue
		}
		checkChunk(t, ch)
		for i, v := range ch.Values {
			got = append(got, message{ch.Offsets[i], string(ch.Arena[v.Off : v.Off+v.Len])})
		}
		if first.Next == 0 {
			first = ch.Next
		}
	}
	if d := cmp.Diff(messagesFrom(0, values...), got); d != "" {
		t.Fatal(d)
	}
	if first.Next >= 10000 || first.Anchor == "" {
		t.Fatalf("the first chunk ends at %d with anchor %q", first.Next, first.Anchor)
	}
	// A position inside a batch goes on inside it.
	again := open(t, c, pipeline.Positions{{Topic: "x"}: first}, "x")
	rest := collect(t, again, map[int32]int64{0: 10000})[0]
	if d := cmp.Diff(messagesFrom(first.Next, values[first.Next:]...), rest); d != "" {
		t.Error(d)
	}
}

func TestWorkersShareAllPartitions(t *testing.T) {
	k := fake(t)
	topic(t, k, "a", 5, "delete")
	topic(t, k, "b", 2, "delete")
	p := producer(t, k)
	for id := range int32(5) {
		put(t, p, "a", id, fmt.Sprint("a", id))
	}
	for id := range int32(2) {
		put(t, p, "b", id, fmt.Sprint("b", id))
	}
	seen := make(map[string]int)
	for worker := range 3 {
		e, err := connect(t, k).Events([]string{"a", "b"}, worker, 3)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Open(bounded(t), nil); err != nil {
			t.Fatal(err)
		}
		for range len(e.fetcher.parts) {
			for {
				c, err := e.Next(bounded(t))
				if err != nil {
					t.Fatal(err)
				}
				if c != nil {
					for _, v := range c.Values {
						seen[string(c.Arena[v.Off:v.Off+v.Len])]++
					}
					break
				}
			}
		}
		if err := e.Finished(); err != nil {
			t.Fatal(err)
		}
		if err := e.Refresh(bounded(t)); err != nil {
			t.Fatal(err)
		}
		for p, s := range e.State() {
			if s.Next != s.End {
				t.Errorf("worker %d stands at %d of %d in %s", worker, s.Next, s.End, p)
			}
		}
		e.Close()
	}
	want := map[string]int{"a0": 1, "a1": 1, "a2": 1, "a3": 1, "a4": 1, "b0": 1, "b1": 1}
	if d := cmp.Diff(want, seen); d != "" {
		t.Error(d)
	}
}

// A chunk counts as work to do until it is finished, and what comes meanwhile
// is told without fetching it.
func TestStateTellsWhatWaits(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	put(t, p, "x", 0, "a", "b")
	e, err := connect(t, k).Events([]string{"x"}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Refresh(bounded(t)); err != nil || len(e.State()) > 0 {
		t.Errorf("before it is open: %v, %v", e.State(), err)
	}
	if err := e.Open(bounded(t), nil); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	want := func(what string, next, end int64) {
		t.Helper()
		if d := cmp.Diff(map[pipeline.Partition]PartitionState{{Topic: "x"}: {Next: next, End: end}}, e.State()); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
	chunk := func() {
		t.Helper()
		for {
			c, err := e.Next(bounded(t))
			if err != nil {
				t.Fatal(err)
			}
			if c != nil {
				return
			}
		}
	}
	want("open", 0, 2)
	chunk()
	want("handed over", 0, 2)
	put(t, p, "x", 0, "c")
	if err := e.Refresh(bounded(t)); err != nil {
		t.Fatal(err)
	}
	want("more has come", 0, 3)
	if err := e.Finished(); err != nil {
		t.Fatal(err)
	}
	want("finished", 2, 3)
	chunk()
	want("the next", 2, 3)
	if _, err := e.Next(bounded(t)); err != nil {
		t.Fatal(err)
	}
	want("nothing more", 3, 3)
}

// What is fetched ahead is bounded by bytes, not by the number of partitions.
func TestFetchingAheadIsBounded(t *testing.T) {
	const partitions, batches, size = 32, 6, 32 << 10
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", partitions, "delete")
	p := producer(t, k, kgo.ProducerBatchCompression(kgo.NoCompression()))
	value := strings.Repeat("v", size)
	for range batches {
		for id := range int32(partitions) {
			put(t, p, "x", id, value)
		}
	}
	e := open(t, connect(t, k, func(o *Options) { o.FetchBytes, o.FetchWait = size*3/2, 5*time.Millisecond }), nil, "x")
	e.fetcher.ahead = 4 * size
	answer := partitions * (size + 1000)
	for got := 0; got < partitions*batches; {
		c, err := e.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			t.Fatal("nothing is fetched, although there is something and room for it")
		}
		got += len(c.Values)
		for len(e.fetcher.flights) > 0 {
			e.fetcher.land(<-e.fetcher.landed)
		}
		waiting := make(map[*frame]int)
		for _, w := range e.fetcher.ready {
			waiting[w.frame] = len(w.frame.buf)
		}
		sum := 0
		for _, n := range waiting {
			sum += n
		}
		if sum != e.fetcher.bytes || sum > e.fetcher.ahead+answer {
			t.Fatalf("%d bytes wait, %d are counted, the bound is %d and one answer of %d", sum, e.fetcher.bytes, e.fetcher.ahead, answer)
		}
	}
	if e.fetcher.bytes > answer {
		t.Errorf("%d bytes wait at the end", e.fetcher.bytes)
	}
}

func TestAbortedRecordsAreNeverHandedOver(t *testing.T) { hideAbortedRecords(t, fake(t), "x") }

func hideAbortedRecords(t *testing.T, k brokers, name string) {
	topic(t, k, name, 1, "delete")
	plain := producer(t, k)
	one := producer(t, k, kgo.TransactionalID("one"))
	two := producer(t, k, kgo.TransactionalID("two"))
	begin := func(p *kgo.Client) {
		if err := p.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	// A broker acknowledges the end of a transaction before it writes the marker.
	end := func(p *kgo.Client, how kgo.TransactionEndTry, marker int64) {
		if err := p.EndTransaction(bounded(t), how); err != nil {
			t.Fatal(err)
		}
		awaitEnd(t, plain, name, marker+1)
	}
	var want []message
	keep := func(offset int64, values ...string) { want = append(want, messagesFrom(offset, values...)...) }

	begin(one)
	put(t, one, name, 0, "c0", "c1") // 0 1
	keep(0, "c0", "c1")
	end(one, kgo.TryCommit, 2)
	begin(one)
	put(t, one, name, 0, "gone0", "gone1") // 3 4
	put(t, plain, name, 0, "p5")           // 5
	keep(5, "p5")
	begin(two)
	put(t, two, name, 0, "c6")    // 6
	put(t, one, name, 0, "gone7") // 7
	put(t, two, name, 0, "c8")    // 8
	keep(6, "c6")
	keep(8, "c8")
	end(one, kgo.TryAbort, 9)
	end(two, kgo.TryCommit, 10)
	begin(one)
	put(t, one, name, 0, "c11") // 11
	keep(11, "c11")
	end(one, kgo.TryCommit, 12)
	begin(two)
	put(t, two, name, 0, "gone13") // 13
	end(two, kgo.TryAbort, 14)

	c := connect(t, k)
	for from := range int64(15) {
		var positions pipeline.Positions
		if from > 0 {
			positions = pipeline.Positions{{Topic: name}: {Next: from}}
		}
		e := open(t, c, positions, name)
		got := collect(t, e, map[int32]int64{0: 15})[0]
		var rest []message
		for _, m := range want {
			if m.Offset >= from {
				rest = append(rest, m)
			}
		}
		if d := cmp.Diff(rest, got); d != "" {
			t.Errorf("from %d: %s", from, d)
		}
		e.Close()
	}

	// What an open transaction holds back is not there yet.
	begin(one)
	put(t, one, name, 0, "open15")
	put(t, plain, name, 0, "p16")
	e := open(t, c, pipeline.Positions{{Topic: name}: {Next: 15}}, name)
	if ch, err := e.Next(bounded(t)); err != nil || ch != nil {
		t.Errorf("read into an open transaction: %v, %v", ch, err)
	}
	ends, err := c.EndOffsets(bounded(t), name)
	if err != nil || ends[pipeline.Partition{Topic: name}] != 15 {
		t.Errorf("end offsets %v, %v", ends, err)
	}
	end(one, kgo.TryAbort, 17)
	if d := cmp.Diff([]message{{16, "p16"}}, collect(t, e, map[int32]int64{0: 18})[0]); d != "" {
		t.Error(d)
	}
}

func TestOpenRefuses(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	topic(t, k, "other", 1, "delete")
	p := producer(t, k)
	for range 5 {
		put(t, p, "x", 0, words(10, "v")...)
		put(t, p, "other", 0, words(10, "w")...)
	}
	if err := k.DeleteRecords("x", 0, 40); err != nil {
		t.Fatal(err)
	}
	c := connect(t, k, func(o *Options) { o.StartTimeout = time.Second })
	anchored := pipeline.Mark{}
	e := open(t, c, nil, "other")
	for anchored.Next < 50 {
		if ch, err := e.Next(bounded(t)); err != nil {
			t.Fatal(err)
		} else if ch != nil {
			anchored = ch.Next
		}
	}
	for _, test := range []struct {
		name  string
		topic string
		mark  pipeline.Mark
		want  string
	}{
		{"below the log start", "x", pipeline.Mark{Next: 5}, "x/0: offset 5 was deleted before it was read: the log starts at 40" + decide("x/0")},
		{"past the end", "x", pipeline.Mark{Next: 51}, "x/0: offset 51 is past the end 50: the topic was recreated or truncated" + decide("x/0")},
		{"another anchor", "x", anchored, "x/0: what stands before offset 50 is not what was read: the topic was recreated or truncated" + decide("x/0")},
		{"no topic", "nowhere", pipeline.Mark{}, "gave up after 100ms: topic nowhere: no such topic"},
	} {
		e, err := c.Events([]string{test.topic}, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		err = e.Open(bounded(t), pipeline.Positions{{Topic: test.topic}: test.mark})
		if err == nil || err.Error() != "kafka: events: "+test.want {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	open(t, c, pipeline.Positions{{Topic: "other"}: anchored}, "other") // positive control

	// Positions that reading does not begin at are held to the same.
	for _, test := range []struct {
		topic string
		held  []pipeline.Positions
		from  pipeline.Positions
		want  string
	}{
		{"x", []pipeline.Positions{{}, {{Topic: "x"}: {Next: 5}}}, nil, "offset 5 was deleted before it was read"},
		{"x", []pipeline.Positions{{{Topic: "x"}: {Next: 45}}, {{Topic: "x"}: {Next: 51}}}, pipeline.Positions{{Topic: "x"}: {Next: 45}}, "offset 51 is past the end 50"},
		{"x", []pipeline.Positions{{{Topic: "x"}: anchored}, {}}, nil, "what stands before offset 50 is not what was read"},
		{"other", []pipeline.Positions{{{Topic: "other"}: anchored}, {}}, nil, ""},
	} {
		e, err := c.Events([]string{test.topic}, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		e.Prove(test.held)
		err = e.Open(bounded(t), test.from)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("error %v, want one with %q", err, test.want)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDataDeletedWhileReadingStops(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	put(t, p, "x", 0, words(10, "v")...)
	e := open(t, connect(t, k), nil, "x")
	collect(t, e, map[int32]int64{0: 10})
	put(t, p, "x", 0, words(30, "v")...)
	if err := k.DeleteRecords("x", 0, 33); err != nil {
		t.Fatal(err)
	}
	// A broker of Apache Kafka does not say where the log starts, as the fake
	// one does, when it refuses an offset.
	k.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req := r.(*kmsg.FetchRequest)
		res := req.ResponseKind().(*kmsg.FetchResponse)
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.ErrorCode, rp.LogStartOffset, rp.LastStableOffset = kerr.OffsetOutOfRange.Code, -1, -1
		res.Topics = []kmsg.FetchResponseTopic{{Topic: "x", Partitions: []kmsg.FetchResponseTopicPartition{rp}}}
		return res, nil, true
	})
	// A fetch that was under way may have brought what was then deleted.
	n, err := readUntilError(t, e)
	var position *PositionError
	if !errors.As(err, &position) || position.Next != 10+int64(n) || position.Start != 33 || position.End != 40 {
		t.Fatal(n, err)
	}
}

func readUntilError(t testing.TB, e *Events) (n int, err error) {
	t.Helper()
	ctx := bounded(t)
	for {
		c, err := e.Next(ctx)
		if err != nil {
			return n, err
		}
		if c != nil {
			n += len(c.Values)
		}
	}
}

func TestRetriableErrorsAreRetried(t *testing.T) {
	for _, code := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.RequestTimedOut, kerr.FencedLeaderEpoch,
		kerr.UnknownLeaderEpoch, kerr.OffsetNotAvailable, kerr.UnknownServerError, kerr.KafkaStorageError,
		kerr.CorruptMessage, kerr.UnknownTopicOrPartition, kerr.CoordinatorNotAvailable,
	} {
		t.Run(code.Message, func(t *testing.T) {
			k := fake(t)
			topic(t, k, "x", 2, "delete")
			p := producer(t, k)
			put(t, p, "x", 0, words(3, "v")...)
			put(t, p, "x", 1, words(3, "v")...)
			k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: "x", Err: code, Count: 1})
			k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "x", Partitions: []int32{1}, Err: code, Count: 2})
			c := connect(t, k)
			e, err := c.Events([]string{"x"}, 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			err = e.Open(bounded(t), nil)
			if code == kerr.CorruptMessage {
				// Offsets have no bytes to be damaged: only a fetch is tried again.
				if err == nil {
					t.Fatal("opened")
				}
				if e, err = c.Events([]string{"x"}, 0, 1); err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				err = e.Open(bounded(t), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			collect(t, e, map[int32]int64{0: 3, 1: 3})
		})
	}
}

func TestFatalErrorsEndTheRun(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	put(t, producer(t, k), "x", 0, "v")
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	e := open(t, connect(t, k), nil, "x")
	if n, err := readUntilError(t, e); n != 0 || err == nil || !strings.Contains(err.Error(), "x/0: fetch at offset 0") {
		t.Fatal(n, err)
	}
}

func TestEventsFollowALeaderThatMoves(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	e := open(t, connect(t, k), nil, "x")
	for round := range 4 {
		put(t, p, "x", 0, words(5, fmt.Sprint(round))...)
		got := collect(t, e, map[int32]int64{0: int64(5 * (round + 1))})[0]
		if d := cmp.Diff(messagesFrom(int64(5*round), words(5, fmt.Sprint(round))...), got); d != "" {
			t.Fatal(d)
		}
		if err := k.MoveTopicPartition("x", 0, (k.LeaderFor("x", 0)+1)%3); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEventsOutliveClosedConnections(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	put(t, p, "x", 0, "a")
	broken := 0
	k.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		if broken++; broken > 3 {
			k.DropControl()
			return nil, nil, false
		}
		k.KeepControl()
		return nil, errors.New("the connection breaks"), true
	})
	e := open(t, connect(t, k), nil, "x")
	collect(t, e, map[int32]int64{0: 1})
}

func TestAddedPartitionsEndTheRun(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	e := open(t, connect(t, k), nil, "x")
	req := kmsg.NewCreatePartitionsRequest()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = "x", 2
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 1000
	if _, err := req.RequestWith(bounded(t), p); err != nil {
		t.Fatal(err)
	}
	if _, err := readUntilError(t, e); !errors.Is(err, errGrown) {
		t.Fatal(err)
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	e := open(t, connect(t, k), nil, "x")
	if c, err := e.Next(bounded(t)); c != nil || err != nil {
		t.Fatal(c, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Next(bounded(t)); !errors.Is(err, errClosed) {
		t.Fatal(err)
	}
}

// A message of the greatest length that is allowed comes in a batch that is a
// little larger.
func TestMessagesOfTheLimitFitInABatch(t *testing.T) {
	for _, limit := range []int{0, 1, 64 << 20, 1 << 30} {
		c, err := New(Options{Brokers: []string{"b:1"}, MaxMessageBytes: limit})
		if err != nil {
			t.Fatal(err)
		}
		if want := min(max(64<<20, limit+1<<20), 1<<30); c.o.MaxBatchBytes < want {
			t.Errorf("messages of %d bytes in batches of %d", limit, c.o.MaxBatchBytes)
		}
	}
}

func TestOptionsNameTheKey(t *testing.T) {
	for want, o := range map[string]Options{
		"brokers: at least one":          {},
		`brokers: "broker" is not`:       {Brokers: []string{"broker"}},
		"max_message_bytes: -1 is not":   {Brokers: []string{"b:1"}, MaxMessageBytes: -1},
		"max_batch_bytes: 5 is not":      {Brokers: []string{"b:1"}, MaxBatchBytes: 5},
		"fetch_wait: 2h0m0s is not":      {Brokers: []string{"b:1"}, FetchWait: 2 * time.Hour},
		"start_timeout: -1s is negative": {Brokers: []string{"b:1"}, StartTimeout: -time.Second},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
