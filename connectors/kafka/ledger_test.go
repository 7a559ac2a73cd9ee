package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/pipeline"
	"lupa/schemas"
)

// table is a view that keeps the last value of each key.
type table struct {
	mu      sync.Mutex
	rows    map[string]string
	applied int
	refuse  string // the value that it does not take
}

var errRefused = errors.New("a reason that names secret-value")

func (v *table) ApplyMessages(m *schemas.LedgerMessages) (int, error) {
	return v.apply(m.Keys, m.Values)
}

func (v *table) apply(keys, values [][]byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.rows == nil {
		v.rows = make(map[string]string)
	}
	for i, value := range values {
		switch {
		case value == nil:
			delete(v.rows, string(keys[i]))
		case v.refuse != "" && string(value) == v.refuse:
			return i, errRefused
		default:
			v.rows[string(keys[i])] = string(value)
		}
		v.applied++
	}
	return len(values), nil
}

func (v *table) copy() map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	m := make(map[string]string)
	for k, s := range v.rows {
		m[k] = s
	}
	return m
}

func (v *table) get(key string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rows[key]
}

func follow(t testing.TB, c *Cluster, view View, o LedgerOptions) *Ledger {
	t.Helper()
	return followTopic(t, c, "x", view, o)
}

func followTopic(t testing.TB, c *Cluster, name string, view View, o LedgerOptions) *Ledger {
	t.Helper()
	l, err := c.Ledger(name, view, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(bounded(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func putKey(t testing.TB, p *kgo.Client, partition int32, key string, value []byte) {
	t.Helper()
	r := &kgo.Record{Topic: "x", Partition: partition, Key: []byte(key), Value: value}
	if err := p.ProduceSync(bounded(t), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestLedgerReplaysThenFollows(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 3, "compact")
	p := producer(t, k)
	want := make(map[string]string)
	for i := range 300 {
		key := fmt.Sprint("k", i%40)
		want[key] = fmt.Sprint(i)
		putKey(t, p, int32(i%40%3), key, []byte(want[key]))
	}
	putKey(t, p, 0, "k0", nil)
	delete(want, "k0")
	var steps [][2]int64
	view := &table{}
	l := follow(t, connect(t, k), view, LedgerOptions{Partitions: 3, Progress: func(done, total int64) {
		steps = append(steps, [2]int64{done, total})
	}})
	if d := cmp.Diff(want, view.copy()); d != "" {
		t.Fatal(d)
	}
	if n := len(steps); n < 2 || steps[0] != [2]int64{0, 301} || steps[n-1] != [2]int64{301, 301} {
		t.Errorf("progress %v", steps)
	}
	putKey(t, p, 1, "later", []byte("yes"))
	v, err := l.Barrier(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if view.copy()["later"] != "yes" {
		t.Error("the barrier did not wait")
	}
	var sum int64
	for _, next := range v {
		sum += next
	}
	if len(v) != 3 || sum != 302 {
		t.Errorf("position %v", v)
	}
}

// Every record that is acknowledged before Barrier is called has been applied
// when it returns, with many callers that share requests.
func TestBarrierSeesWhatWasAcknowledged(t *testing.T) { seeWhatWasAcknowledged(t, fake(t), "x") }

func seeWhatWasAcknowledged(t *testing.T, k brokers, name string) {
	topic(t, k, name, 4, "delete")
	view := &table{}
	l := followTopic(t, connect(t, k), name, view, LedgerOptions{})
	const callers, rounds = 8, 125
	var wg sync.WaitGroup
	for caller := range callers {
		p := producer(t, k)
		wg.Go(func() {
			for round := range rounds {
				key, value := fmt.Sprint("key", caller), fmt.Sprint(round)
				r := &kgo.Record{Topic: name, Partition: int32((caller + round) % 4), Key: []byte(key), Value: []byte(value)}
				if err := p.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Error(err)
					return
				}
				v, err := l.Barrier(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if view.copy()[key] != value || v[pipeline.Partition{Topic: name, ID: r.Partition}] <= r.Offset {
					t.Errorf("round %d of caller %d: the record at %d/%d is not applied", round, caller, r.Partition, r.Offset)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := view.applied; n != callers*rounds {
		t.Errorf("%d records applied, want %d", n, callers*rounds)
	}
}

func TestOneFailedPartitionFailsTheBarrier(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "delete")
	p := producer(t, k)
	putKey(t, p, 1, "a", []byte("granted"))
	view := &table{}
	l := follow(t, connect(t, k), view, LedgerOptions{Stall: 50 * time.Millisecond})
	if _, err := l.Barrier(bounded(t)); err != nil { // positive control
		t.Fatal(err)
	}
	before := l.Stalls()
	h := k.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: "x", Partitions: []int32{1}, Err: kerr.OffsetNotAvailable, Count: -1,
	})
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	if v, err := l.Barrier(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("passed at %v with error %v", v, err)
	}
	if h.Hits() == 0 || l.Stalls() != before+1 {
		t.Errorf("%d faults, %d stalls", h.Hits(), l.Stalls()-before)
	}
	h.Remove()
	putKey(t, p, 1, "a", []byte("withdrawn"))
	if _, err := l.Barrier(bounded(t)); err != nil || view.copy()["a"] != "withdrawn" {
		t.Fatal(err)
	}
}

// An end of -1 without an error is no end either.
func TestMissingOffsetsFail(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "delete")
	l := follow(t, connect(t, k), &table{}, LedgerOptions{})
	answer := func(offset int64, drop bool) {
		k.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
			req := r.(*kmsg.ListOffsetsRequest)
			if req.Topics[0].Partitions[0].Partition != 1 {
				k.KeepControl()
				return nil, nil, false
			}
			k.KeepControl()
			res := req.ResponseKind().(*kmsg.ListOffsetsResponse)
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition, rp.Offset = 1, offset
			rt := kmsg.ListOffsetsResponseTopic{Topic: "x"}
			if !drop {
				rt.Partitions = append(rt.Partitions, rp)
			}
			res.Topics = append(res.Topics, rt)
			return res, nil, true
		})
	}
	answer(-1, false)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if v, err := l.Barrier(ctx); err == nil {
		t.Fatalf("-1 passed for an end: %v", v)
	}
	k = fake(t)
	topic(t, k, "x", 2, "delete")
	l = follow(t, connect(t, k), &table{}, LedgerOptions{})
	answer(0, true)
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if v, err := l.Barrier(ctx); err == nil {
		t.Fatalf("a partition that is not in the answer passed: %v", v)
	}
}

// A broker that has lost the lead without knowing, or a topic that was made
// anew, answers with an end that was passed already. It says nothing about what
// was acknowledged since.
func TestStaleEndsFail(t *testing.T) {
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	putKey(t, p, 0, "a", []byte("granted"))
	putKey(t, p, 0, "a", []byte("granted again"))
	view := &table{}
	l := follow(t, connect(t, k), view, LedgerOptions{})
	end := int64(2)
	k.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		res := r.(*kmsg.ListOffsetsRequest).ResponseKind().(*kmsg.ListOffsetsResponse)
		rp := kmsg.NewListOffsetsResponseTopicPartition()
		rp.Offset = atomic.LoadInt64(&end)
		res.Topics = []kmsg.ListOffsetsResponseTopic{{Topic: "x", Partitions: []kmsg.ListOffsetsResponseTopicPartition{rp}}}
		return res, nil, true
	})
	if _, err := l.Barrier(bounded(t)); err != nil { // positive control
		t.Fatal(err)
	}
	atomic.StoreInt64(&end, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if v, err := l.Barrier(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("passed at %v with error %v", v, err)
	}
	putKey(t, p, 0, "a", []byte("withdrawn"))
	atomic.StoreInt64(&end, 3)
	if _, err := l.Barrier(bounded(t)); err != nil || view.copy()["a"] != "withdrawn" {
		t.Fatal(err)
	}
}

// The ends that answer a barrier were asked for after it was called.
func TestBarriersShareOnlyLaterRequests(t *testing.T) {
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, "delete")
	view := &table{}
	l := follow(t, connect(t, k), view, LedgerOptions{})
	arrived, release := make(chan struct{}), make(chan struct{})
	asked := 0
	k.ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		asked++
		if asked == 1 {
			close(arrived)
			k.SleepControl(func() { <-release })
		}
		return nil, nil, false
	})
	first := make(chan error, 1)
	go func() {
		_, err := l.Barrier(t.Context())
		first <- err
	}()
	<-arrived // a request is under way and may already have seen the end
	putKey(t, producer(t, k), 0, "a", []byte("withdrawn"))
	second := make(chan error, 5)
	for range 5 {
		go func() {
			_, err := l.Barrier(t.Context())
			if err == nil && view.copy()["a"] != "withdrawn" {
				err = errors.New("the record before the call is not applied")
			}
			second <- err
		}()
	}
	close(release)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := <-second; err != nil {
			t.Fatal(err)
		}
	}
}

// An answer that is empty although the log goes on is no proof that compaction
// took what stands there.
func TestEmptyAnswersSkipNothing(t *testing.T) {
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, "compact")
	p := producer(t, k)
	putKey(t, p, 0, "a", []byte("granted"))
	view := &table{}
	l := follow(t, connect(t, k), view, LedgerOptions{})
	var left atomic.Int64
	k.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req := r.(*kmsg.FetchRequest)
		if left.Add(-1) < 0 {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.FetchResponse)
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.HighWatermark, rp.LastStableOffset = 2, 2
		res.Topics = []kmsg.FetchResponseTopic{{Topic: "x", Partitions: []kmsg.FetchResponseTopicPartition{rp}}}
		return res, nil, true
	})
	left.Store(emptyTries - 1)
	putKey(t, p, 0, "a", []byte("withdrawn"))
	v, err := l.Barrier(bounded(t))
	if err != nil || v[pipeline.Partition{Topic: "x"}] != 2 || view.copy()["a"] != "withdrawn" {
		t.Fatalf("at %v with %q, error %v", v, view.copy()["a"], err)
	}
	if left.Load() >= 0 {
		t.Error("no answer was empty")
	}
}

func TestViewErrorStopsEveryBarrier(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	view := &table{refuse: "secret-value"}
	l := follow(t, connect(t, k), view, LedgerOptions{})
	putKey(t, p, 0, "a", []byte("fine"))
	putKey(t, p, 0, "b", []byte("secret-value"))
	var at *ApplyError
	_, err := l.Barrier(bounded(t))
	if !errors.As(err, &at) || at.Offset != 1 || !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	if err.Error() != "kafka: ledger: x/0: the record at offset 1 cannot be applied" {
		t.Error(err)
	}
	if _, again := l.Barrier(bounded(t)); again == nil || l.Err() == nil {
		t.Error("passed after the view had stopped")
	}
	// A view that stops in the replay stops the start.
	second, err := connect(t, k).Ledger("x", &table{refuse: "secret-value"}, LedgerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(bounded(t)); !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	if _, err := second.Barrier(bounded(t)); err == nil {
		t.Error("passed after a start that failed")
	}
}

func TestLedgerOverCompactedShapes(t *testing.T) {
	kv := func(delta int64, k, v string) rec { return rec{delta, []byte(k), []byte(v)} }
	for _, test := range []struct {
		name    string
		end     int64
		batches []made
		want    map[string]string
	}{
		{"tail removed", 6, []made{{lastDelta: 5, count: -1, recs: []rec{kv(0, "a", "1"), kv(2, "b", "2")}}}, map[string]string{"a": "1", "b": "2"}},
		{"tail removed, zstd", 6, []made{{lastDelta: 5, attributes: 4, count: -1, recs: []rec{kv(1, "a", "1")}}}, map[string]string{"a": "1"}},
		{"two tails removed, zstd", 9, []made{
			{lastDelta: 5, attributes: 4, count: -1, recs: []rec{kv(1, "a", "1")}},
			{base: 6, lastDelta: 2, attributes: 4, count: -1, recs: []rec{kv(0, "b", "2")}},
		}, map[string]string{"a": "1", "b": "2"}},
		{"one empty batch", 4, []made{{lastDelta: 3}}, map[string]string{}},
		{"two empty batches", 8, []made{{lastDelta: 3}, {base: 4, lastDelta: 3}}, map[string]string{}},
		{"empty batches around one", 10, []made{{lastDelta: 3}, {base: 4, lastDelta: 1, count: -1, recs: []rec{kv(1, "a", "1")}}, {base: 6, lastDelta: 3}}, map[string]string{"a": "1"}},
		{"a gap between batches", 20, []made{{count: -1, recs: []rec{kv(0, "a", "1")}}, {base: 19, count: -1, recs: []rec{kv(0, "a", "2")}}}, map[string]string{"a": "2"}},
		{"nothing left at the end", 4, []made{{count: -1, recs: []rec{kv(0, "a", "1")}}}, map[string]string{"a": "1"}},
		{"nothing left at all", 3, nil, map[string]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := scripted(t, "compact", test.end, test.batches...)
			view := &table{}
			l := follow(t, c, view, LedgerOptions{Partitions: 1})
			if d := cmp.Diff(test.want, view.copy()); d != "" {
				t.Error(d)
			}
			v, err := l.Barrier(bounded(t))
			if err != nil || v[pipeline.Partition{Topic: "x"}] != test.end {
				t.Errorf("%v, %v", v, err)
			}
		})
	}
}

func TestLedgerOverRealCompaction(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "compact")
	p := producer(t, k, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	want := make(map[string]string)
	view := &table{}
	l := follow(t, connect(t, k), view, LedgerOptions{})
	for round := range 6 {
		for i := range 50 {
			key := fmt.Sprint("k", i%10)
			if i%7 == 3 {
				putKey(t, p, int32(i%10%2), key, nil)
				delete(want, key)
				continue
			}
			want[key] = fmt.Sprint(round, ".", i)
			putKey(t, p, int32(i%10%2), key, []byte(want[key]))
		}
		// The fake moves the log start as it compacts, so be past it.
		if _, err := l.Barrier(bounded(t)); err != nil {
			t.Fatal(err)
		}
		k.Compact()
		if _, err := l.Barrier(bounded(t)); err != nil {
			t.Fatal(err)
		}
		fresh := &table{}
		again := follow(t, connect(t, k), fresh, LedgerOptions{})
		for _, v := range []*table{view, fresh} {
			if d := cmp.Diff(want, v.copy()); d != "" {
				t.Fatal(d)
			}
		}
		again.Close()
	}
}

func TestLedgerSeesNoAbortedGrant(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "compact")
	p := producer(t, k, kgo.TransactionalID("writer"))
	for i, how := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := p.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		putKey(t, p, 0, "a", []byte(fmt.Sprint("grant", i)))
		if err := p.EndTransaction(bounded(t), how); err != nil {
			t.Fatal(err)
		}
	}
	view := &table{}
	l := follow(t, connect(t, k), view, LedgerOptions{})
	v, err := l.Barrier(bounded(t))
	if err != nil || v[pipeline.Partition{Topic: "x"}] != 4 {
		t.Errorf("%v, %v", v, err)
	}
	if d := cmp.Diff(map[string]string{"a": "grant0"}, view.copy()); d != "" {
		t.Error(d)
	}
}

func TestLedgerStartRefuses(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "compact")
	c := connect(t, k, func(o *Options) { o.StartTimeout = time.Second })
	for _, test := range []struct {
		topic      string
		partitions int
		want       string
	}{
		{"nowhere", 0, "kafka: ledger: gave up after 100ms: topic nowhere: no such topic"},
		{"x", 3, "kafka: ledger: topic x has 2 partitions, 3 are expected"},
	} {
		l, err := c.Ledger(test.topic, &table{}, LedgerOptions{Partitions: test.partitions})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Start(bounded(t)); err == nil || err.Error() != test.want {
			t.Error(err)
		}
		if _, err := l.Barrier(bounded(t)); err == nil {
			t.Error("passed")
		}
	}
	l, err := c.Ledger("x", &table{}, LedgerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Barrier(bounded(t)); err == nil {
		t.Error("passed before the start")
	}
	h := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Partitions: []int32{1}, Err: kerr.OffsetNotAvailable, Count: -1})
	if err := l.Start(bounded(t)); err == nil || !strings.Contains(err.Error(), "x/1: list offsets") {
		t.Errorf("started without the end of one partition: %v", err)
	}
	h.Remove()
}

func TestLedgerOutlivesAMovedLeader(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "compact")
	p := producer(t, k)
	var log strings.Builder
	var mu sync.Mutex
	view := &table{}
	l := follow(t, connect(t, k, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))
	}), view, LedgerOptions{})
	for i := range 3 {
		if err := k.MoveTopicPartition("x", 0, (k.LeaderFor("x", 0)+1)%3); err != nil {
			t.Fatal(err)
		}
		putKey(t, p, 0, "secret-key", []byte(fmt.Sprint(i)))
		if _, err := l.Barrier(bounded(t)); err != nil {
			t.Fatal(err)
		}
		if got := view.copy()["secret-key"]; got != fmt.Sprint(i) {
			t.Fatalf("round %d sees %s", i, got)
		}
	}
	l.Close()
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(log.String(), "trying again"); n > 12 {
		t.Errorf("%d lines about trouble: not only changes are logged", n)
	}
	if strings.Contains(log.String(), "secret-key") {
		t.Error("the log names a key")
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *strings.Builder
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func TestCloseEndsWaitingBarriers(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	l := follow(t, connect(t, k), &table{}, LedgerOptions{})
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.OffsetNotAvailable, Count: -1})
	got := make(chan error, 1)
	go func() {
		_, err := l.Barrier(t.Context())
		got <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, errClosed) {
		t.Error(err)
	}
}
