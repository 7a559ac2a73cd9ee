package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
	"lupa/schemas"
)

// contentSuites are about what stands in topics: what transactions, compaction
// and people who write anything leave there.
func contentSuites() []suite {
	return []suite{
		{name: "transactions of events", run: suiteEventTransactions},
		{name: "transactions of the ledger", run: suiteLedgerTransactions},
		{name: "a ledger that is compacted while it is read", run: suiteCompactedLedger},
		{name: "poison", run: suitePoison},
		{name: "a giant record", run: suiteGiant},
		{name: "a bomb", run: suiteBomb},
	}
}

// TestContent runs the suites on in-process clusters.
func TestContent(t *testing.T) {
	t.Parallel()
	for _, s := range contentSuites() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(t, fakeBed(t))
		})
	}
}

// pen writes to partitions that are chosen by number.
type pen struct {
	t      *testing.T
	client *kgo.Client
}

// pen gives one; with an id it writes in transactions.
func (b *bed) pen(t *testing.T, id string, opts ...kgo.Opt) pen {
	t.Helper()
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(b.ListenAddrs()...), kgo.ProducerLinger(0), kgo.UnknownTopicRetries(-1),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(96 << 20),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()),
	}, opts...)
	if id != "" {
		opts = append(opts, kgo.TransactionalID(id), kgo.TransactionTimeout(time.Minute))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return pen{t, client}
}

// begin begins a transaction.
func (p pen) begin() pen {
	p.t.Helper()
	if err := p.client.BeginTransaction(); err != nil {
		p.t.Fatal(err)
	}
	return p
}

// end ends the transaction, and waits until readers may see that.
func (p pen) end(b *bed, how kgo.TransactionEndTry, last place) {
	p.t.Helper()
	ctx := bounded(p.t)
	if err := p.client.EndTransaction(ctx, how); err != nil {
		p.t.Fatal(err)
	}
	topic := last.Partition.Topic
	await(p.t, ctx, "the markers of a transaction", func() bool {
		ends, err := b.admin.ListEndOffsets(ctx, topic)
		o, _ := ends.Lookup(topic, last.Partition.ID)
		return err == nil && o.Err == nil && o.Offset > last.Offset+1
	})
}

// write writes messages to a partition and tells where they are.
func (p pen) write(at pipeline.Partition, messages ...sample.Message) (places []place) {
	p.t.Helper()
	for _, m := range messages {
		places = append(places, p.put(&kgo.Record{Topic: at.Topic, Partition: at.ID, Key: m.Key, Value: m.Value}))
	}
	return places
}

// put writes one record.
func (p pen) put(r *kgo.Record) place {
	p.t.Helper()
	if err := p.client.ProduceSync(bounded(p.t), r).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
	return place{pipeline.Partition{Topic: r.Topic, ID: r.Partition}, r.Offset}
}

// visitor is somebody of whom the ledger and events tell.
func visitor(i int) schemas.Subject {
	return schemas.NewSubject(schemas.UserID, fmt.Sprintf("visitor-%04d", i))
}

// tells is what the ledger hears of a visitor about analytics.
func tells(i int, verb schemas.Verb, version int64) sample.Message {
	r := schemas.Record{
		Principal: visitor(i), Verb: verb, Purpose: schemas.Analytics, Proven: verb == schemas.Grant, Version: version,
		Time: sample.Base().Add(time.Duration(version) * time.Second).UnixMicro(),
	}
	return sample.Message{Key: schemas.AppendRecordKey(nil, r), Value: schemas.AppendRecord(nil, r)}
}

// visit is an event of a visitor, later than all that the ledger hears.
func visit(i int) sample.Message {
	return sample.Message{Key: fmt.Append(nil, i), Value: fmt.Appendf(nil,
		`{"type":"track","event":"Visit","messageId":"visit-%d","timestamp":"2026-03-04T00:00:00Z","userId":"visitor-%04[1]d"}`, i)}
}

// becomes is the outcome of an event for a reason.
func becomes(r schemas.Reason) sample.Outcome {
	switch {
	case r.Rejects():
		return sample.Outcome{Reason: r, Person: sample.Nobody}
	case r == schemas.ConsentGiven:
		return sample.Outcome{Table: "tracks", Reason: r, Verdict: pipeline.KeepRow}
	}
	return sample.Outcome{Table: "tracks", Reason: r, Verdict: pipeline.MaskRow}
}

// checkOutcomes compares the tables with what must become of every message, and
// has the oracle judge them.
func (j job) checkOutcomes(t *testing.T, ends pipeline.Vector, outcomes map[place]sample.Outcome, said ...*process) {
	t.Helper()
	tables := readTables(t, j.warehouse())
	standAt(t, tables, ends)
	checkCounts(t, tables, outcomes)
	checkRows(t, tables, outcomes)
	verified(t, j, verifyOptions{still: true}, said...)
}

// peakOf follows how much memory the process has taken at most, until it ends.
// Linux tells only while it runs.
func (p *process) peakOf(t *testing.T) (peak func() int64) {
	t.Helper()
	var mu sync.Mutex
	var most int64
	look := func() {
		if n, ok := highWater(p.cmd.Process.Pid); ok {
			mu.Lock()
			most = max(most, n)
			mu.Unlock()
		}
	}
	look()
	go func() {
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.exited:
				return
			case <-tick.C:
				look()
			}
		}
	}()
	return func() int64 {
		t.Helper()
		look()
		mu.Lock()
		defer mu.Unlock()
		if most == 0 {
			missing(t, "the memory of a process is not told here")
		}
		return most
	}
}

// highWater is VmHWM of a process.
func highWater(pid int) (int64, bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err == nil
		}
	}
	return 0, false
}
