//go:build integration

package kafka

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/connectors/kafka/kafkatest"
	"lupa/pipeline"
)

// realCompaction lets the broker clean a log that holds tombstones, the end of
// a producer that nobody hears of any more, and transactions of both kinds.
func realCompaction(t *testing.T, k *kafkatest.Cluster) {
	const name = "compacted"
	if err := k.CreateTopic(name, 1, map[string]string{
		// The times of the records, which are made up, close a segment.
		"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "0",
	}); err != nil {
		t.Fatal(err)
	}
	c := connect(t, k)
	live := &table{}
	l := followTopic(t, c, name, live, LedgerOptions{Partitions: 1})

	at := time.Now() // which is the time of markers
	batch := func(p *kgo.Client, records ...*kgo.Record) {
		at = at.Add(2 * time.Second)
		for _, r := range records {
			r.Topic, r.Timestamp = name, at
		}
		if err := p.ProduceSync(bounded(t), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	want := make(map[string]string)
	first, second := producer(t, k), producer(t, k, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	tx := producer(t, k, kgo.TransactionalID(name))
	for round := range 8 {
		p := second
		if round < 3 {
			p = first
		}
		batch(p, round20(round, want)...)
		for _, how := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
			key, value := fmt.Sprint("t", round%3), fmt.Sprint("committed ", how, " ", round)
			if err := tx.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			r := &kgo.Record{Key: []byte(key), Value: []byte(value)}
			batch(tx, r)
			if err := tx.EndTransaction(bounded(t), how); err != nil {
				t.Fatal(err)
			}
			awaitEnd(t, tx, name, r.Offset+2) // its marker
			if how == kgo.TryCommit {
				want[key] = value
			}
		}
	}
	batch(second, &kgo.Record{Key: []byte("last"), Value: []byte("last")})
	want["last"] = "last"

	end := endOf(t, c, name)
	cleaned := awaitCompaction(t, k, name, end, len(want))
	if n := int64(len(cleaned)); n > end/2 {
		t.Fatalf("%d records left of %d offsets: nothing is confirmed here", n, end)
	}
	for {
		diff := readFromEverywhere(t, c, name, end, cleaned)
		again := oracle(t, k, name, end-1)
		if cmp.Equal(cleaned, again) {
			if diff != "" {
				t.Error(diff)
			}
			break
		}
		cleaned = again // the broker has gone on cleaning meanwhile
	}
	fresh := &table{}
	again := followTopic(t, c, name, fresh, LedgerOptions{Partitions: 1})
	batch(second, &kgo.Record{Key: []byte("later"), Value: []byte("later")})
	want["later"] = "later"
	for ledger, view := range map[*Ledger]*table{l: live, again: fresh} {
		v, err := ledger.Barrier(bounded(t))
		if err != nil || v[pipeline.Partition{Topic: name}] != end+1 {
			t.Errorf("position %v, want %d, %v", v, end+1, err)
		}
		if d := cmp.Diff(want, view.copy()); d != "" {
			t.Error(d)
		}
	}
}

// readFromEverywhere reads the rest of a topic from many positions, most of them
// in gaps, and tells where it is not what another client has read.
func readFromEverywhere(t *testing.T, c *Cluster, name string, end int64, want []message) string {
	t.Helper()
	for from := int64(0); from < end; from += 3 {
		var rest []message
		for _, m := range want {
			if m.Offset >= from {
				rest = append(rest, m)
			}
		}
		e := open(t, c, pipeline.Positions{{Topic: name}: {Next: from}}, name)
		got := collect(t, e, map[int32]int64{0: end})[0]
		e.Close()
		if d := cmp.Diff(rest, got); d != "" {
			return fmt.Sprintf("from %d another client reads (-), this one (+):\n%s", from, d)
		}
	}
	return ""
}

// round20 makes a record of each of twenty keys, some of them tombstones.
func round20(round int, want map[string]string) []*kgo.Record {
	var records []*kgo.Record
	for i := range 20 {
		r := &kgo.Record{Key: fmt.Append(nil, "k", i)}
		delete(want, string(r.Key))
		if (i+round)%7 != 0 {
			r.Value = fmt.Append(nil, "value ", i, " of round ", round)
			want[string(r.Key)] = string(r.Value)
		}
		records = append(records, r)
	}
	return records
}

func endOf(t *testing.T, c *Cluster, name string) int64 {
	t.Helper()
	ends, err := c.EndOffsets(bounded(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return ends[pipeline.Partition{Topic: name}]
}

// awaitCompaction waits until no key is left twice, and gives what another
// client reads then.
func awaitCompaction(t *testing.T, k brokers, name string, end int64, keys int) []message {
	t.Helper()
	ctx := bounded(t)
	for {
		list := oracle(t, k, name, end-1)
		values := 0
		for _, m := range list {
			if m.Value != "" {
				values++
			}
		}
		if values == keys {
			return list
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			t.Fatalf("%d values are left for %d keys", values, keys)
		}
	}
}
