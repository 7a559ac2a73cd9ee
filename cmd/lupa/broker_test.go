package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"lupa/cmd/lupa/sample"
	"lupa/connectors/kafka"
	"lupa/pipeline"
	"lupa/transforms/keys"
)

// sampleSeed is the seed of the sample that the tests run on; it is the demo's.
const sampleSeed = demoSeed

// madeUp gives the sample, which no test changes.
var madeUp = sync.OnceValues(func() (*sample.Sample, error) { return sample.New(sampleSeed) })

func theSample(t *testing.T) *sample.Sample {
	t.Helper()
	s, err := madeUp()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// broker is an in-process cluster with the demo's topics.
type broker struct {
	*kfake.Cluster
	kafka  *kafka.Cluster
	ledger *broker // that has the ledger, if it is another
}

// startBroker starts a cluster with both topics, and the sample's ledger in
// one of them.
func startBroker(t *testing.T, opts ...kfake.Opt) *broker {
	t.Helper()
	b := reopen(t, append([]kfake.Opt{
		kfake.SeedTopics(demoPartitions, demoEvents), kfake.SeedTopics(2, demoLedger)}, opts...)...)
	b.produce(t, demoLedger, theSample(t).Ledger())
	return b
}

// reopen starts a cluster with what the options say is in it.
func reopen(t *testing.T, opts ...kfake.Opt) *broker {
	t.Helper()
	k, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{
		"group.min.session.timeout.ms": "1000", "group.initial.rebalance.delay.ms": "0",
	})}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	c, err := kafka.New(kafka.Options{Brokers: k.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	return &broker{Cluster: k, kafka: c}
}

func (b *broker) produce(t *testing.T, topic string, messages []sample.Message) {
	t.Helper()
	p := b.kafka.Producer()
	if err := produce(t.Context(), p, topic, messages); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// feed produces events in the background, a few at each tick, until they are
// all there. The channel gives its error.
func (b *broker) feed(ctx context.Context, events []sample.Message, parts int, every time.Duration) <-chan error {
	done := make(chan error, 1)
	go func() {
		p := b.kafka.Producer()
		tick := time.NewTicker(every)
		defer tick.Stop()
		size := (len(events) + parts - 1) / parts
		for err := error(nil); ; {
			if len(events) == 0 || err != nil {
				if closed := p.Close(); err == nil {
					err = closed
				}
				done <- err
				return
			}
			n := min(size, len(events))
			err = produce(ctx, p, demoEvents, events[:n])
			events = events[n:]
			<-tick.C
		}
	}()
	return done
}

// ends are the ends of the event topic.
func (b *broker) ends(t *testing.T) pipeline.Vector {
	t.Helper()
	ends, err := b.kafka.EndOffsets(t.Context(), demoEvents)
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

// job is a folder with a configuration and keys.
type job struct {
	dir, config string
}

// warehouse is where the job's tables are.
func (j job) warehouse() string { return filepath.Join(j.dir, "warehouse") }

// newJob makes a folder for a job. Its ledger and, for `lupa stream`, its events
// are the broker's; without one the ledger is the folder data's, like the
// events of `lupa backfill`.
func newJob(t *testing.T, b *broker, data string, interval time.Duration) job {
	t.Helper()
	j := job{dir: t.TempDir()}
	j.config = filepath.Join(j.dir, "lupa.yaml")
	ledger, events := fmt.Sprintf("file: %s/ledger/*", data), ""
	if b != nil {
		brokers := strings.Join(b.ListenAddrs(), ", ")
		ledger = fmt.Sprintf("kafka: {brokers: [%s], topic: %s}", brokers, demoLedger)
		if b.ledger != nil {
			ledger = fmt.Sprintf("kafka: {brokers: [%s], topic: %s}", strings.Join(b.ledger.ListenAddrs(), ", "), demoLedger)
		}
		events = fmt.Sprintf("  kafka: {brokers: [%s], topics: [%s], session_timeout: 1s}\n", brokers, demoEvents)
	}
	if data != "" {
		events += fmt.Sprintf("  files: {paths: [%q]}\n", data+"/events/**")
	}
	write(t, j.dir, "lupa.yaml", fmt.Sprintf(`keys: {file: lupa.keys}
ledger: {%s}
events:
%s  max_message_bytes: %d
warehouse: {dir: warehouse}
quarantine: {dir: quarantine}
commit: {interval: %s, max_bytes: 1MiB}
phone: {default_region: %s}
workers: 2
`, ledger, events, sample.MaxMessageBytes, interval, sample.DefaultRegion))
	if err := keys.Init(filepath.Join(j.dir, "lupa.keys"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	return j
}

// sharing gives the job the keys of another, so that both make the same tokens.
func (j job) sharing(t *testing.T, other job) job {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(other.dir, "lupa.keys"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(j.dir, "lupa.keys"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	return j
}

// stream starts `lupa stream` in a process of its own.
func (j job) stream(t *testing.T) *process {
	t.Helper()
	return startProcess(t, "stream", "-c", j.config, "--json", "--log-level", "debug")
}

// backfill starts `lupa backfill` in a process of its own.
func (j job) backfill(t *testing.T) *process {
	t.Helper()
	return startProcess(t, "backfill", "-c", j.config, "--json", "--log-level", "debug")
}

// streamTo runs the stream job until its tables stand at the ends.
func (j job) streamTo(t *testing.T, ends pipeline.Vector) {
	t.Helper()
	p := j.stream(t)
	j.awaits(t, p, ends)
	p.stop(t, exitOK)
}

// change replaces a piece of the configuration.
func (j job) change(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(j.config)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		t.Fatalf("the configuration has no %q", from)
	}
	write(t, j.dir, "lupa.yaml", strings.Replace(string(text), from, to, 1))
}

// awaits waits until p streams and every table of the job stands at the ends. A
// process before it may have brought them there, and a signal to one that has
// not begun is not a signal to a stream.
func (j job) awaits(t *testing.T, p *process, ends pipeline.Vector) {
	t.Helper()
	p.must(t, streamingLine)
	for commits := 1; !caughtUp(t, j.warehouse(), ends); commits++ {
		if !p.says(t, committedLine, commits) && !caughtUp(t, j.warehouse(), ends) {
			t.Fatalf("ended before it caught up; it said:\n%s", p.stderr.text())
		}
	}
}

// What lupa logs.
const (
	streamingLine = "msg=streaming"
	committedLine = "msg=committed"
)
