package kafka

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/pipeline"
	"lupa/schemas"
)

// A partition that has been silent for too long holds barriers up until it
// gives a record, whatever it is about.
func TestSilentPartitionsHoldBarriers(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 3, "compact")
	p := producer(t, k)
	putKey(t, p, 0, "a", []byte("granted")) // long before the start
	c, log := connectAndListen(t, k)
	view := &marked{}
	l, err := c.Ledger("x", view, LedgerOptions{Stall: soon, MaxStaleness: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var passed atomic.Int64 // on the clock of the ledger
	begin := time.Now()
	l.now = func() time.Time { return begin.Add(time.Duration(passed.Load())) }
	wait := func(d time.Duration) { passed.Add(int64(d)) }
	ctx := bounded(t)
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer l.Close()

	wait(59 * time.Minute)
	if _, err := l.Barrier(ctx); err != nil || l.Age() != 59*time.Minute {
		t.Fatalf("%s after the start: %v", l.Age(), err)
	}
	marker := schemas.AppendMarker(nil, "writer")
	putKey(t, p, 2, string(marker), marker)
	if _, err := l.Barrier(ctx); err != nil {
		t.Fatal(err)
	}
	wait(2 * time.Minute)
	first := barrier(t, l)
	const silent = `behind=[] open_transaction=[] stale="[0 1]"`
	log.line(t, silent)
	awaitBehind(t, l, 0, 1)
	s := l.Stats()
	if d := cmp.Diff([]pipeline.Partition{{Topic: "x"}, {Topic: "x", ID: 1}}, s.Behind); d != "" || s.Age != 61*time.Minute || s.Stalls < 1 {
		t.Errorf("%s%+v", d, s)
	}
	putKey(t, p, 0, "a", []byte("withdrawn"))
	for view.get("a") != "withdrawn" {
		if err := pause(ctx, time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	before := l.Stalls()
	second := barrier(t, l)
	awaitStalls(t, l, before+1)
	awaitBehind(t, l, 1)
	first.stillWaits(t)
	second.stillWaits(t)
	putKey(t, p, 1, string(marker), marker)
	first.passes(t)
	second.passes(t)
	if l.Age() != 2*time.Minute {
		t.Errorf("the age is %s", l.Age())
	}
	if n := log.count(silent); n != 1 {
		t.Errorf("one stall is logged %d times", n)
	}

	// A partition that is new is as old as the ledger's knowledge of it.
	wait(58 * time.Minute)
	addPartitions(t, p, "x", 4)
	for id := range int32(3) {
		putKey(t, p, id, string(marker), marker)
	}
	if _, err := l.Barrier(ctx); err != nil || l.Age() != 0 {
		t.Errorf("at the age of %s: %v", l.Age(), err)
	}
}

// What an aborted transaction leaves is no sign of life: nobody has said it.
func TestAbortedRecordsAreNoSignOfLife(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "compact")
	c, log := connectAndListen(t, k)
	l, err := c.Ledger("x", &marked{}, LedgerOptions{Stall: soon, MaxStaleness: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var passed atomic.Int64
	begin := time.Now()
	l.now = func() time.Time { return begin.Add(time.Duration(passed.Load())) }
	if err := l.Start(bounded(t)); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	passed.Store(int64(2 * time.Hour))
	tx := producer(t, k, kgo.TransactionalID("writer"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	putKey(t, tx, 0, "a", []byte("granted"))
	endTransaction(t, tx, kgo.TryAbort)
	w := barrier(t, l)
	log.line(t, "stale=[0]")
	w.stillWaits(t)
	putKey(t, producer(t, k), 0, "a", []byte("withdrawn"))
	w.passes(t)
}

// Without MaxStaleness silence is no reason to wait.
func TestSilenceAlone(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "compact")
	l, err := connect(t, k).Ledger("x", &table{}, LedgerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var passed atomic.Int64
	begin := time.Now()
	l.now = func() time.Time { return begin.Add(time.Duration(passed.Load())) }
	if err := l.Start(bounded(t)); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	passed.Store(int64(1000 * time.Hour))
	if _, err := l.Barrier(bounded(t)); err != nil || l.Age() != 1000*time.Hour {
		t.Errorf("%s, %v", l.Age(), err)
	}
}
