package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
	"lupa/schemas"
)

// suiteEventTransactions: what was aborted is never a row, positions pass the
// markers, and what stands behind a transaction that hangs waits until it ends.
func suiteEventTransactions(t *testing.T, b *bed) {
	topics := b.topics(t, 2)
	b.mustPut(t, topics.ledger, theSample(t).Ledger()...)
	events, expect := theSample(t).Events(), theSample(t).Expect()
	outcomes := map[place]sample.Outcome{}
	used := 0
	next := func(n int) []sample.Message { used += n; return events[used-n : used] }
	count := func(places []place) {
		for i, at := range places {
			outcomes[at] = timed(expect[used-len(places)+i])
		}
	}
	zero, one := pipeline.Partition{Topic: topics.events}, pipeline.Partition{Topic: topics.events, ID: 1}
	plain := b.pen(t, "")
	count(plain.write(zero, next(50)...))

	// One after the other, then two at once with more between them.
	for i, how := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		w := b.pen(t, b.name("transaction")).begin()
		places := w.write(zero, next(20)...)
		if w.end(b, how, places[len(places)-1]); i != 1 {
			count(places)
		}
	}
	stays, goes := b.pen(t, b.name("transaction")).begin(), b.pen(t, b.name("transaction")).begin()
	var last [2]place
	for range 15 {
		places := stays.write(zero, next(1)...)
		count(places)
		last[0], last[1] = places[0], goes.write(zero, next(2)...)[1]
		count(plain.write(zero, next(1)...))
	}
	goes.end(b, kgo.TryAbort, last[1])
	stays.end(b, kgo.TryCommit, last[0])
	// The last of both partitions are markers.
	w := b.pen(t, b.name("transaction")).begin()
	w.write(one, next(5)...)
	w.end(b, kgo.TryAbort, w.write(zero, next(5)...)[4])

	j := topics.job(t, 200*time.Millisecond)
	p := j.stream(t)
	j.awaits(t, p, b.ends(t, topics.events))
	stood := b.ends(t, topics.events)

	// One hangs. The other partition goes on, and this one does behind it.
	hung := b.pen(t, b.name("transaction")).begin()
	open := hung.write(zero, next(30)...)
	count(open)
	count(plain.write(zero, next(30)...))
	count(plain.write(one, next(30)...))
	j.awaits(t, p, pipeline.Vector{one: b.ends(t, topics.events)[one]})
	for name, table := range readTables(t, j.warehouse()) {
		if at := table.Positions[zero.String()]; at != stood[zero] {
			t.Errorf("%s stands at %d, behind a transaction that is open from %d on", name, at, stood[zero])
		}
	}
	hung.end(b, kgo.TryCommit, open[29])
	j.awaits(t, p, b.ends(t, topics.events))
	p.stop(t, exitOK)
	j.checkOutcomes(t, b.ends(t, topics.events), outcomes, p)
}

// suiteLedgerTransactions: a grant counts when its transaction is committed, and
// while one hangs nothing is decided, for what it may hold was acknowledged.
func suiteLedgerTransactions(t *testing.T, b *bed) {
	topics := b.topics(t, 1)
	zero, one := pipeline.Partition{Topic: topics.ledger}, pipeline.Partition{Topic: topics.ledger, ID: 1}
	events := pipeline.Partition{Topic: topics.events}
	plain := b.pen(t, "")
	outcomes := map[place]sample.Outcome{}
	visits := func(from, to int, reason schemas.Reason) {
		for i := from; i < to; i++ {
			outcomes[plain.write(events, visit(i))[0]] = becomes(reason)
		}
	}
	tell := func(p pen, at pipeline.Partition, from, to int, verb schemas.Verb, version int64) (last place) {
		for i := from; i < to; i++ {
			last = p.write(at, tells(i, verb, version))[0]
		}
		return last
	}
	transaction := func() pen { return b.pen(t, b.name("transaction")).begin() }
	tell(plain, zero, 0, 20, schemas.Grant, 1)
	tell(plain, one, 20, 40, schemas.Grant, 1)
	aborted, committed := transaction(), transaction()
	a, c := tell(aborted, zero, 60, 70, schemas.Grant, 1), tell(committed, one, 80, 90, schemas.Grant, 1)
	aborted.end(b, kgo.TryAbort, a)
	committed.end(b, kgo.TryCommit, c)

	j := topics.job(t, 200*time.Millisecond)
	visits(0, 40, schemas.ConsentGiven)
	visits(60, 70, schemas.NoRecord)
	visits(80, 90, schemas.ConsentGiven)
	p := j.stream(t)
	s := p.serves(t)
	j.awaits(t, p, b.ends(t, topics.events))
	p.isReady(t, s)

	// Both partitions hang: some withdraw in a transaction that will be
	// committed, some in one that will not.
	withdrawn, kept := transaction(), transaction()
	w, k := tell(withdrawn, zero, 0, 20, schemas.Withdraw, 2), tell(kept, one, 20, 40, schemas.Withdraw, 2)
	tell(plain, zero, 100, 110, schemas.Grant, 1)
	before := s.metrics(t)
	visits(0, 20, schemas.Withdrawn)
	visits(20, 40, schemas.ConsentGiven)
	visits(100, 110, schemas.ConsentGiven)
	p.waitsFor(t, s, "ledger: stalled since")
	stalled(t, p, s, before, 50)
	var behind []string
	for at := range s.metrics(t).partitions("ledger_behind") {
		behind = append(behind, at)
	}
	if slices.Sort(behind); !slices.Equal(behind, []string{zero.String(), one.String()}) {
		t.Errorf("it says that it waits for %v", behind)
	}
	if said := p.stderr.text(); !strings.Contains(said, `open_transaction="[0 1]"`) {
		t.Errorf("it does not say that transactions are open:\n%s", said)
	}
	withdrawn.end(b, kgo.TryCommit, w)
	stalled(t, p, s, before, 50) // the other one still hangs
	kept.end(b, kgo.TryAbort, k)
	p.isReady(t, s)
	j.awaits(t, p, b.ends(t, topics.events))
	p.stop(t, exitOK)
	tables := readTables(t, j.warehouse())
	standAt(t, tables, b.ends(t, topics.events))
	checkCounts(t, tables, outcomes)
	checkRows(t, tables, outcomes)
	verified(t, j, verifyOptions{}, p)
}

// suiteCompactedLedger has the brokers compact the ledger again and again while
// a stream follows it. What it decides then is what one decides that reads only
// what is left.
func suiteCompactedLedger(t *testing.T, b *bed) {
	const people, rounds = 120, 6
	topics := b.topics(t, 2)
	topics.ledger = b.name("compacted")
	if err := b.CreateTopic(topics.ledger, 2, map[string]string{
		"cleanup.policy": "compact", "segment.ms": "1000", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "60000",
	}); err != nil {
		t.Fatal(err)
	}
	plain := b.pen(t, "")
	at := time.Now() // segments are closed by the times of records
	write := func(w pen, ledger pipeline.Partition, m sample.Message) place {
		return w.put(&kgo.Record{Topic: ledger.Topic, Partition: ledger.ID, Key: m.Key, Value: m.Value, Timestamp: at})
	}
	home := func(i int) pipeline.Partition { return pipeline.Partition{Topic: topics.ledger, ID: int32(i % 2)} }
	verbs := []schemas.Verb{schemas.Grant, schemas.Withdraw, schemas.Refuse}
	reasons := []schemas.Reason{schemas.ConsentGiven, schemas.Withdrawn, schemas.Refused, schemas.NoRecord}

	j := topics.job(t, 200*time.Millisecond)
	p := j.stream(t)
	p.must(t, streamingLine)
	s := p.serves(t)
	for round := range rounds {
		at = at.Add(5 * time.Second)
		for i := range people {
			// Everybody changes their mind each time; a quarter ends with a
			// tombstone.
			state := (i + rounds - 1 - round) % 4
			m := tells(i, schemas.Grant, int64(round+1))
			if state < 3 {
				m = tells(i, verbs[state], int64(round+1))
			} else {
				m.Value = nil
			}
			write(plain, home(i), m)
		}
		w := b.pen(t, b.name("transaction")).begin()
		last := write(w, home(round), tells(round, schemas.Grant, int64(rounds+5)))
		w.end(b, kgo.TryAbort, last)
		b.compact(t, plain)
		var end float64
		for _, n := range b.ends(t, topics.ledger) {
			end += float64(n)
		}
		p.until(t, fmt.Sprintf("round %d is read", round), func() bool { return s.metrics(t).sum(t, "ledger_position") >= end })
	}
	// What closes the last segments says nothing of anybody here.
	at = at.Add(5 * time.Second)
	for i := range 2 {
		write(plain, home(i), tells(9000+i, schemas.Refuse, 1))
	}
	b.compacted(t, topics.ledger, plain, 2*people)

	outcomes := map[place]sample.Outcome{}
	for i := range people {
		o := becomes(reasons[i%4])
		o.Story = fmt.Sprint("visitor ", i)
		outcomes[b.mustPut(t, topics.events, visit(i))[0]] = o
	}
	j.awaits(t, p, b.ends(t, topics.events))
	p.stop(t, exitOK)
	j.checkOutcomes(t, b.ends(t, topics.events), outcomes, p)

	fresh := topics.job(t, 200*time.Millisecond).sharing(t, j)
	fresh.change(t, "group: "+topics.group, "group: "+b.name("fresh"))
	fresh.streamTo(t, b.ends(t, topics.events))
	sameTables(t, readTables(t, j.warehouse()), readTables(t, fresh.warehouse()))
}

// compact has a cluster compact now that does so when it is told to. Others do
// it by themselves.
func (b *bed) compact(t *testing.T, _ pen) {
	t.Helper()
	if k, ok := b.bedCluster.(interface{ Compact() }); ok {
		k.Compact()
	}
}

// compacted waits until no more records than so many are left of a topic.
func (b *bed) compacted(t *testing.T, topic string, w pen, most int) {
	t.Helper()
	b.compact(t, w)
	ctx := bounded(t)
	var total int64
	for _, end := range b.ends(t, topic) {
		total += end
	}
	if total < 2*int64(most) {
		t.Fatalf("%d offsets: too few to compact", total)
	}
	await(t, ctx, "the ledger is compacted", func() bool {
		return b.countRecords(t, topic) <= most
	})
}

// countRecords counts what is left of a topic.
func (b *bed) countRecords(t *testing.T, topic string) (n int) {
	t.Helper()
	ends := b.ends(t, topic)
	from := map[string]map[int32]kgo.Offset{topic: {}}
	for p := range ends {
		from[topic][p.ID] = kgo.NewOffset().AtStart()
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...), kgo.ConsumePartitions(from), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	at := pipeline.Vector{}
	for reached := false; !reached; {
		fetches := reader.PollFetches(bounded(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			at[pipeline.Partition{Topic: r.Topic, ID: r.Partition}] = r.Offset + 1
		})
		reached = true
		for p, end := range ends {
			reached = reached && at[p] >= end
		}
	}
	return n
}
