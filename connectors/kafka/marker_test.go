package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/pipeline"
	"lupa/schemas"
)

// marked is a view that counts the markers it passes over.
type marked struct {
	table
	names map[string]int
}

func (v *marked) ApplyMessages(m *schemas.LedgerMessages) (int, error) {
	keys, values := m.Keys, m.Values
	var others, theirs [][]byte
	v.mu.Lock()
	for i, key := range keys {
		if !schemas.IsMarker(key) {
			others, theirs = append(others, key), append(theirs, values[i])
			continue
		}
		if string(values[i]) != string(key) {
			return i, errors.New("a marker's value is not its key")
		}
		if v.names == nil {
			v.names = make(map[string]int)
		}
		v.names[string(key)]++
	}
	v.mu.Unlock()
	n, err := v.table.apply(others, theirs)
	if err != nil {
		return n, err
	}
	return len(keys), nil
}

// counts gives how many names there are and how many markers.
func (v *marked) counts() (names, markers int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.names {
		markers += n
	}
	return len(v.names), markers
}

func TestStrictBarrierReadsItsOwnMarkers(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 5, "compact")
	view := &marked{}
	l := follow(t, connect(t, k, func(o *Options) { o.ClientID = `lupa "eu" 1` }), view, LedgerOptions{Strict: true})
	if names, markers := view.counts(); names != 1 || markers != 5 {
		t.Fatalf("after the start %d names, %d markers", names, markers)
	}
	p := producer(t, k)
	for n := range 3 {
		putKey(t, p, int32(n), "a", fmt.Append(nil, n))
		v, err := l.Barrier(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if names, markers := view.counts(); names != 1 || markers != 5*(n+2) || view.get("a") != fmt.Sprint(n) {
			t.Errorf("round %d: %d names, %d markers, %q", n, names, markers, view.get("a"))
		}
		if d := cmp.Diff(l.Stats().Ends, v); d != "" {
			t.Error(d)
		}
	}
	other := &marked{}
	again := follow(t, connect(t, k), other, LedgerOptions{Strict: true})
	if names, _ := other.counts(); names != 2 {
		t.Errorf("two processes share the name of their markers, or one has %d", names)
	}
	if string(again.marker) == string(l.marker) {
		t.Error("two processes have the same marker")
	}
}

// An end that a leader tells that was replaced without knowing is not asked.
func TestStrictBarrierAsksForNoEnds(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "compact")
	view := &marked{}
	l := follow(t, connect(t, k), view, LedgerOptions{Strict: true})
	k.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req := r.(*kmsg.ListOffsetsRequest)
		res := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, rt := range req.Topics {
			t := kmsg.ListOffsetsResponseTopic{Topic: rt.Topic}
			for _, rp := range rt.Partitions {
				p := kmsg.NewListOffsetsResponseTopicPartition()
				p.Partition, p.Offset = rp.Partition, 1 // what the start has written
				t.Partitions = append(t.Partitions, p)
			}
			res.Topics = append(res.Topics, t)
		}
		return res, nil, true
	})
	putKey(t, producer(t, k), 1, "a", []byte("withdrawn"))
	if _, err := l.Barrier(bounded(t)); err != nil || view.get("a") != "withdrawn" {
		t.Errorf("%q, %v", view.get("a"), err)
	}
}

// Errors of one partition hold a barrier up and do not write to the others
// again.
func TestMarkerErrorsHoldBarriers(t *testing.T) {
	for _, code := range []*kerr.Error{
		kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.NotLeaderForPartition, kerr.RequestTimedOut,
		kerr.KafkaStorageError, kerr.UnknownTopicOrPartition,
	} {
		t.Run(code.Message, func(t *testing.T) {
			t.Parallel()
			k := fake(t)
			topic(t, k, "x", 4, "compact")
			c, log := connectAndListen(t, k)
			view := &marked{}
			l := follow(t, c, view, LedgerOptions{Strict: true, Stall: soon})
			h := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "x", Partitions: []int32{3}, Err: code, Count: -1})
			w := barrier(t, l)
			log.line(t, "has stalled")
			awaitBehind(t, l, 3)
			ctx, cancel := context.WithTimeout(bounded(t), 20*time.Second)
			defer cancel()
			if err := h.Wait(ctx, 3); err != nil {
				t.Fatal(err)
			}
			w.stillWaits(t)
			h.Remove()
			v := w.passes(t)
			// The broker writes some of them before it says that it has not.
			failed := pipeline.Partition{Topic: "x", ID: 3}
			want := pipeline.Vector{failed: max(v[failed], 2)}
			for id := range int32(3) {
				want[pipeline.Partition{Topic: "x", ID: id}] = 2
			}
			if d := cmp.Diff(want, v); d != "" {
				t.Error(d)
			}
		})
	}
}

// Whoever may not write markers is told at the start.
func TestStrictStartNeedsToWrite(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "compact")
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{1}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	l, err := connect(t, k).Ledger("x", &marked{}, LedgerOptions{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Start(bounded(t)); !errors.Is(err, kafkago.TopicAuthorizationFailed) || !strings.Contains(err.Error(), "x/1: write marker") {
		t.Error(err)
	}
}

func TestOpenTransactionHoldsStrictBarriers(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "compact")
	c, log := connectAndListen(t, k)
	view := &marked{}
	l := follow(t, c, view, LedgerOptions{Strict: true, Stall: soon})
	tx := producer(t, k, kgo.TransactionalID("writer"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	putKey(t, tx, 1, "a", []byte("granted"))
	putKey(t, producer(t, k), 1, "a", []byte("withdrawn"))
	w := barrier(t, l)
	log.line(t, "unknown_end=[] behind=[1] open_transaction=[1]")
	w.stillWaits(t)
	endTransaction(t, tx, kgo.TryCommit)
	w.passes(t)
	if view.get("a") != "withdrawn" {
		t.Error("passed early")
	}
}

// Barriers share markers that are written after all of them have asked.
func TestStrictBarriersShareMarkers(t *testing.T) {
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, "compact")
	view := &marked{}
	l := follow(t, connect(t, k), view, LedgerOptions{Strict: true})
	arrived, release := make(chan struct{}), make(chan struct{})
	var asked atomic.Int64
	k.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		if r.(*kmsg.ProduceRequest).Version > 8 {
			return nil, nil, false // the other producer's
		}
		if asked.Add(1) == 1 {
			close(arrived)
			k.SleepControl(func() { <-release })
		}
		return nil, nil, false
	})
	first := barrier(t, l)
	<-arrived
	putKey(t, producer(t, k), 0, "a", []byte("withdrawn"))
	var wg sync.WaitGroup
	var ready sync.WaitGroup
	for range 6 {
		ready.Add(1)
		wg.Go(func() {
			ready.Done()
			if _, err := l.Barrier(t.Context()); err != nil || view.get("a") != "withdrawn" {
				t.Errorf("%q, %v", view.get("a"), err)
			}
		})
	}
	ready.Wait()
	close(release)
	first.passes(t)
	wg.Wait()
	if n := asked.Load(); n < 2 || n > 7 {
		t.Errorf("%d markers for 7 barriers", n)
	}
}

func TestNoStrictBarrierMissesAWithdrawal(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 3, "compact")
	view := &marked{}
	l := follow(t, connect(t, k), view, LedgerOptions{Strict: true, MaxStaleness: time.Hour})
	var wg sync.WaitGroup
	for caller := range 4 {
		p := producer(t, k)
		wg.Go(func() {
			for n := range 250 {
				if err := withdrawAndCheck(t.Context(), p, l, &view.table, fmt.Sprint("key", caller), caller+n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Nothing but an offset of every partition passes for acknowledged markers.
func TestMarkersPassWholeOrNotAtAll(t *testing.T) {
	p0, p1 := pipeline.Partition{Topic: "x"}, pipeline.Partition{Topic: "x", ID: 1}
	for _, test := range []struct {
		name string
		list []produce.ResponsePartition
		want map[pipeline.Partition]int64
		lack []pipeline.Partition
	}{
		{"both", []produce.ResponsePartition{{Partition: 0, BaseOffset: 3}, {Partition: 1}}, map[pipeline.Partition]int64{p0: 4, p1: 1}, nil},
		{"an error beside an offset", []produce.ResponsePartition{{Partition: 0, BaseOffset: 3}, {Partition: 1, ErrorCode: 19, BaseOffset: 5}},
			map[pipeline.Partition]int64{p0: 4}, []pipeline.Partition{p1}},
		{"no offset", []produce.ResponsePartition{{Partition: 0, BaseOffset: 3}, {Partition: 1, BaseOffset: -1}},
			map[pipeline.Partition]int64{p0: 4}, []pipeline.Partition{p1}},
		{"one left out", []produce.ResponsePartition{{Partition: 1, BaseOffset: 3}}, map[pipeline.Partition]int64{p1: 4}, []pipeline.Partition{p0}},
		{"nothing", nil, map[pipeline.Partition]int64{}, []pipeline.Partition{p0, p1}},
	} {
		got, err := checkMarked(&produce.Response{Topics: []produce.ResponseTopic{{Topic: "x", Partitions: test.list}}}, []pipeline.Partition{p0, p1})
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
		var lack []pipeline.Partition
		if some, ok := errors.AsType[*partsError](err); ok {
			lack = some.parts
		}
		if d := cmp.Diff(test.lack, lack); d != "" || (err == nil) != (lack == nil) {
			t.Errorf("%s: %s%v", test.name, d, err)
		}
	}
}

func TestMarkersAreMarkers(t *testing.T) {
	for _, id := range []string{"lupa", "", `a"}b`, "żółw", "a.b_c-1"} {
		one, two := newMarker(id), newMarker(id)
		if !schemas.IsMarker(one) || string(one) == string(two) {
			t.Errorf("%q", one)
		}
	}
}
