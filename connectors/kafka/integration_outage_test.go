//go:build integration

package kafka

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/connectors/kafka/kafkatest"
)

// TestRealCluster moves the leader of a partition in a cluster of three: away
// from a broker that is killed, and back to it from one that lives.
func TestRealCluster(t *testing.T) {
	k := kafkatest.Run(t, 3)
	outlive(t, k, func(t *testing.T, _ *Ledger) {
		first, err := k.Leader("outage", 0)
		if err != nil {
			t.Error(err)
			return
		}
		if err := k.Kill(first); err != nil {
			t.Error(err)
		}
		awaitLeader(t, k, func(now int) bool { return now != first })
		if err := k.Restart(t.Context(), first); err != nil {
			t.Error(err)
		}
		awaitLeader(t, k, func(now int) bool {
			// The first replica, which led from the start, must catch up before
			// it is elected.
			var part kadm.TopicsSet
			part.Add("outage", 0)
			if _, err := k.Admin().ElectLeaders(t.Context(), kadm.ElectPreferredReplica, part); err != nil {
				t.Error(err)
			}
			return now == first
		})
	})
}

func awaitLeader(t *testing.T, k *kafkatest.Cluster, wanted func(now int) bool) {
	for ctx := bounded(t); ; {
		if now, err := k.Leader("outage", 0); err == nil && wanted(now) {
			return
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			t.Error("the leader does not change")
			return
		}
	}
}

// realKilledBroker takes the only broker away and brings it back. Meanwhile no
// barrier passes.
func realKilledBroker(t *testing.T, k *kafkatest.Cluster) {
	outlive(t, k, func(t *testing.T, l *Ledger) {
		if err := k.Kill(0); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if v, err := l.Barrier(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a barrier passed without a broker at %v, %v", v, err)
		}
		if err := k.Restart(t.Context(), 0); err != nil {
			t.Error(err)
		}
	})
}

// outlive reads events and a ledger while both are written, and an outage comes
// in the middle. Every event must be handed over once and in order, and barriers
// hold as soon as they pass again.
func outlive(t *testing.T, k brokers, outage func(*testing.T, *Ledger)) {
	const name, ledger = "outage", "outage-ledger"
	const partitions, records = 3, 3000 // in each
	topic(t, k, name, partitions, "delete")
	topic(t, k, ledger, partitions, "compact")
	c := connect(t, k)
	e := open(t, c, nil, name)
	view := &table{}
	l := followTopic(t, c, ledger, view, LedgerOptions{Partitions: partitions})
	p := producer(t, k, kgo.UnknownTopicRetries(-1))
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()

	begun, over, written := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() { written <- writeAround(ctx, p, name, partitions, records, begun, over) }()
	got, read := make(map[int32][]message), 0
	for read < partitions*records {
		chunk, err := e.Next(ctx)
		if err != nil {
			t.Fatalf("after %d messages: %v", read, err)
		}
		if chunk == nil {
			continue
		}
		checkChunk(t, chunk)
		for i, v := range chunk.Values {
			got[chunk.Partition.ID] = append(got[chunk.Partition.ID], message{chunk.Offsets[i], string(chunk.Arena[v.Off : v.Off+v.Len])})
		}
		if read == 0 {
			go func() {
				defer close(over)
				close(begun)
				outage(t, l)
			}()
		}
		read += len(chunk.Values)
	}
	<-over
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	want := make(map[int32][]message)
	for id := range int32(partitions) {
		for n := range int64(records) {
			want[id] = append(want[id], message{n, fmt.Sprint(n)})
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for id := range int32(partitions) {
		r := &kgo.Record{Topic: ledger, Partition: id, Key: fmt.Append(nil, "key", id), Value: []byte("after")}
		if err := p.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Barrier(ctx); err != nil || view.copy()[string(r.Key)] != "after" {
			t.Errorf("the barrier passed without what was acknowledged on partition %d, %v", id, err)
		}
	}
}

// writeAround numbers the records of each partition and writes a third before
// the outage has begun, a third in it and a third after it.
func writeAround(ctx context.Context, p *kgo.Client, name string, partitions, records int, begun, over <-chan struct{}) error {
	const batch = 50
	for n := 0; n < records; n += batch {
		switch n {
		case records / 3:
			<-begun
		case records / 3 * 2:
			<-over
		}
		var list []*kgo.Record
		for i := range partitions * batch {
			list = append(list, &kgo.Record{Topic: name, Partition: int32(i % partitions), Value: fmt.Append(nil, n+i/partitions)})
		}
		if err := p.ProduceSync(ctx, list...).FirstErr(); err != nil {
			return err
		}
	}
	return nil
}
