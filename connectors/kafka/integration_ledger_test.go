//go:build integration

package kafka

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/connectors/kafka/kafkatest"
	"lupa/pipeline"
)

// putIn writes a record that is acknowledged when it returns.
func putIn(t *testing.T, p *kgo.Client, name string, partition int32, key, value string) {
	t.Helper()
	r := &kgo.Record{Topic: name, Partition: partition, Key: []byte(key), Value: []byte(value)}
	if err := p.ProduceSync(bounded(t), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// realOpenTransaction has a withdrawal stand behind a transaction, which holds
// barriers of both kinds up until it ends.
func realOpenTransaction(t *testing.T, k *kafkatest.Cluster) {
	const name = "held-back"
	topic(t, k, name, 2, "compact")
	c, log := connectAndListen(t, k)
	plain, strict := &marked{}, &marked{}
	ledgers := []*Ledger{
		followTopic(t, c, name, plain, LedgerOptions{Stall: soon}),
		followTopic(t, c, name, strict, LedgerOptions{Stall: soon, Strict: true}),
	}
	tx := producer(t, k, kgo.TransactionalID(name))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	putIn(t, tx, name, 1, "b", "granted")
	putIn(t, producer(t, k), name, 1, "a", "withdrawn")
	var waits []*waiting
	for _, l := range ledgers {
		w := barrier(t, l)
		awaitStalls(t, l, l.Stalls()+1)
		w.stillWaits(t)
		waits = append(waits, w)
	}
	log.line(t, "unknown_end=[] behind=[1] open_transaction=[1]")
	endTransaction(t, tx, kgo.TryAbort)
	for _, w := range waits {
		w.passes(t)
	}
	for _, rows := range []map[string]string{plain.copy(), strict.copy()} {
		if rows["a"] != "withdrawn" || len(rows) != 1 {
			t.Errorf("passed with %v", rows)
		}
	}
}

// realStrictBarriers write their markers as a producer that is neither
// idempotent nor transactional.
func realStrictBarriers(t *testing.T, k *kafkatest.Cluster) {
	const name = "strict"
	topic(t, k, name, 3, "compact")
	view := &marked{}
	l := followTopic(t, connect(t, k), name, view, LedgerOptions{Strict: true})
	var wg sync.WaitGroup
	for caller := range 4 {
		p := producer(t, k)
		wg.Go(func() {
			for n := range 100 {
				if err := withdrawAndCheck(t.Context(), p, l, &view.table, fmt.Sprint("key", caller), caller+n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if names, markers := view.counts(); names != 1 || markers < 6 {
		t.Errorf("%d names, %d markers", names, markers)
	}
}

// realGrownLedger adds partitions while barriers are asked for.
func realGrownLedger(t *testing.T, k *kafkatest.Cluster) {
	const name = "grown-ledger"
	topic(t, k, name, 1, "compact")
	view := &table{}
	l := followTopic(t, connect(t, k), name, view, LedgerOptions{Partitions: 1})
	res, err := k.Admin().UpdatePartitions(bounded(t), 3, name)
	if err := errors.Join(err, res.Error()); err != nil {
		t.Fatal(err)
	}
	p := producer(t, k, kgo.UnknownTopicRetries(-1))
	for id := range int32(3) {
		key := fmt.Sprint("key", id)
		putIn(t, p, name, id, key, "withdrawn")
		v, err := l.Barrier(bounded(t))
		if err != nil || view.get(key) != "withdrawn" || v[pipeline.Partition{Topic: name, ID: id}] != 1 {
			t.Errorf("partition %d: at %v, %v", id, v, err)
		}
	}
	if err := l.Err(); err != nil {
		t.Error(err)
	}
}

// realRecreatedLedger tells a topic from its namesake.
func realRecreatedLedger(t *testing.T, k *kafkatest.Cluster) {
	const name = "recreated-ledger"
	topic(t, k, name, 1, "compact")
	l := followTopic(t, connect(t, k), name, &table{}, LedgerOptions{})
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if err := k.DeleteTopic(name); err != nil {
		t.Fatal(err)
	}
	topic(t, k, name, 1, "compact")
	v, err := l.Barrier(bounded(t))
	if !errors.Is(err, errRecreated) || !strings.Contains(fmt.Sprint(err), name) {
		t.Errorf("passed at %v, %v", v, err)
	}
}
