package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/cmd/lupa/oracle"
	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
)

// A suite is a test that runs on every bed.
type suite struct {
	name string
	run  func(*testing.T, *bed)
}

// suites lists those that share a bed.
func suites() []suite {
	return []suite{
		{"withdrawn just before the event", suiteWithdrawn},
		{"zombies", suiteZombies},
		{"rebalance storm", suiteStorm},
		{"shared by two", suiteShared},
		{"lost at the source", suiteLost},
		{"withdrawn before the commit", suiteRecheck},
		{"what beds do", suiteBed},
	}
}

// outages lists those that switch the brokers of their bed off.
func outages() []suite {
	return []suite{{"brokers killed", suiteOutage}}
}

// TestSuite runs the suites on in-process clusters, and where brokers are
// switched off on one in a process of its own.
func TestSuite(t *testing.T) {
	t.Parallel()
	var tests []subtest
	for _, s := range outages() {
		tests = append(tests, subtest{s.name, func(t *testing.T) { s.run(t, diskBed(t)) }})
	}
	for _, s := range suites() {
		tests = append(tests, subtest{s.name, func(t *testing.T) { s.run(t, fakeBed(t)) }})
	}
	someAtOnce(t, 3, tests)
}

// A subtest is a test within another.
type subtest struct {
	name string
	run  func(*testing.T)
}

// someAtOnce runs subtests, so many at once. They count as one for the number of
// parallel tests, which is that of the processors: for most of their time they
// wait for sessions to end.
func someAtOnce(t *testing.T, n int, tests []subtest) {
	t.Helper()
	next := make(chan subtest)
	var running sync.WaitGroup
	for range n {
		running.Go(func() {
			for s := range next {
				t.Run(s.name, s.run)
			}
		})
	}
	for _, s := range tests {
		next <- s
	}
	close(next)
	running.Wait()
}

// verified fails unless the oracle finds that every invariant holds in what the
// job has written, and in what its processes, which have ended, have said. Every
// invariant but I6 must have had something to look at.
func verified(t *testing.T, j job, o verifyOptions, said ...*process) {
	t.Helper()
	o.config = j.config
	for i, p := range said {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("%d.log", i))
		if err := os.WriteFile(path, []byte(p.stderr.text()+p.stdout.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		o.logs = append(o.logs, path)
	}
	in, err := verifyInput(o)
	if err != nil {
		t.Fatal(err)
	}
	report, err := oracle.Check(t.Context(), *in)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range report.Invariants {
		for _, v := range i.Violations {
			t.Errorf("%s, %s: %s: %s", i.ID, i.Name, v.Place, v.Problem)
		}
		if i.More > 0 {
			t.Errorf("%s: and %d more", i.ID, i.More)
		}
		if i.Status == oracle.NotChecked && i.ID != "I6" {
			t.Errorf("%s, %s: not checked: %s", i.ID, i.Name, i.Why)
		}
	}
}

// suiteBed is a test of the bed itself.
func suiteBed(t *testing.T, b *bed) {
	topic := b.name("bed")
	b.create(t, topic, 1, "delete")
	var messages []sample.Message
	for i := range 10 {
		messages = append(messages, sample.Message{Key: []byte("key"), Value: fmt.Appendf(nil, "value %d", i)})
	}
	at := func(offset int64) place { return place{pipeline.Partition{Topic: topic}, offset} }
	var places []place
	places = append(places, b.mustPut(t, topic, messages[:5]...)...)
	places = append(places, b.transact(t, kgo.TryAbort, topic, messages[5:7]...)...)
	places = append(places, b.transact(t, kgo.TryCommit, topic, messages[7:]...)...)
	var want []place
	for _, offset := range []int64{0, 1, 2, 3, 4, 5, 6, 8, 9, 10} { // markers stand between
		want = append(want, at(offset))
	}
	if diff := cmp.Diff(want, places); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	b.deleteBefore(t, at(3))
	if diff := cmp.Diff(pipeline.Vector{at(0).Partition: 12}, b.ends(t, topic)); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
	started, err := b.admin.ListStartOffsets(bounded(t), topic)
	if o, _ := started.Lookup(topic, 0); err != nil || o.Offset != 3 {
		t.Errorf("it begins at %d, error %v; want 3", o.Offset, err)
	}
	b.grow(t, topic, 3)
	if ends := b.ends(t, topic); len(ends) != 3 {
		t.Errorf("%d partitions, want 3", len(ends))
	}
	if err := b.DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
	// Everything that a job needs.
	r := b.topics(t, 2)
	b.mustPut(t, r.ledger, theSample(t).Ledger()...)
	b.mustPut(t, r.events, theSample(t).Events()[:2000]...)
	j := r.job(t, 200*time.Millisecond)
	p := j.stream(t)
	j.awaits(t, p, b.ends(t, r.events))
	p.stop(t, exitOK)
	verified(t, j, verifyOptions{still: true}, p)
}

// metric gives the sum of a metric's series as the process tells it now.
func (p *process) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	for _, m := range p.serves(t).metrics(t)[name].GetMetric() {
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sum
}

// reaches waits until a metric is at least as high.
func (p *process) reaches(t *testing.T, name string, least float64) {
	t.Helper()
	await(t, bounded(t), name, func() bool { return p.metric(t, name) >= least })
}

// counts is how often the process has said something so far.
func (p *process) counts(message string) int {
	n, _ := p.stderr.count(message)
	return n
}
