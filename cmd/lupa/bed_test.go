package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
	"lupa/schemas"
	"lupa/transforms/keys"
)

// bed is a running cluster that suites run their jobs on. What a suite does to
// brokers and topics goes through it, so that one suite runs on an in-process
// cluster, on one in a process of its own and on a real Apache Kafka.
type bed struct {
	bedCluster
	admin  *kadm.Client
	writer *kgo.Client
	names  atomic.Int64
}

// bedCluster is what beds differ in. *kfake.Cluster and *kafkatest.Cluster are
// such clusters.
type bedCluster interface {
	ListenAddrs() []string
	CreateTopic(name string, partitions int32, configs map[string]string) error
	DeleteTopic(name string) error
}

// power switches brokers off, as SIGKILL does, and on again, on the same port
// and with what they had on disk.
type power interface {
	Kill(broker int) error
	Restart(ctx context.Context, broker int) error
}

// quickGroups is what brokers must be told for tests that wait for the end of a
// session.
func quickGroups() map[string]string {
	return map[string]string{"group.min.session.timeout.ms": "1000", "group.initial.rebalance.delay.ms": "0"}
}

// fakeBed is a cluster in this process. Its brokers cannot be switched off.
func fakeBed(t *testing.T, opts ...kfake.Opt) *bed {
	t.Helper()
	k, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.BrokerConfigs(quickGroups())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return newBed(t, k)
}

// diskBed is a broker in a process of its own that keeps what it acknowledges
// on disk.
func diskBed(t *testing.T) *bed {
	t.Helper()
	c := &childBroker{Dir: t.TempDir(), Port: freePort(t)}
	if err := c.Restart(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Kill(0); err != nil {
			t.Error(err)
		}
	})
	b := newBed(t, c)
	c.admin = b.admin
	return b
}

// newBed makes a bed of a cluster.
func newBed(t *testing.T, c bedCluster) *bed {
	t.Helper()
	b := &bed{bedCluster: c}
	b.rewrite(t)
	t.Cleanup(func() { b.writer.Close() })
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b.admin = kadm.NewClient(client)
	return b
}

// rewrite makes a new writer: brokers do not know it, nor it them.
func (b *bed) rewrite(t *testing.T) {
	t.Helper()
	writer, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...), kgo.ProducerLinger(0), kgo.UnknownTopicRetries(-1),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(32<<20))
	if err != nil {
		t.Fatal(err)
	}
	if b.writer != nil {
		b.writer.Close()
	}
	b.writer = writer
}

// brokers gives what switches the brokers off and on.
func (b *bed) brokers(t *testing.T) power {
	t.Helper()
	p, ok := b.bedCluster.(power)
	if !ok {
		t.Fatal("the brokers of this bed cannot be switched off")
	}
	return p
}

// remembers reports whether brokers keep a member that goes away in its first
// request to join until the rebalance timeout: kfake gives it no session.
func (b *bed) remembers() bool {
	_, real := b.bedCluster.(interface{ Version() string })
	return !real
}

// bounded is a context for one request to a cluster.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// put writes messages and tells where each is once all are acknowledged by all
// replicas. Keys choose the partitions. Several may put at once.
func (b *bed) put(ctx context.Context, topic string, messages ...sample.Message) ([]place, error) {
	return putBy(ctx, b.writer, topic, messages)
}

func putBy(ctx context.Context, w *kgo.Client, topic string, messages []sample.Message) ([]place, error) {
	var places []place
	for len(messages) > 0 {
		records := make([]*kgo.Record, min(len(messages), 500))
		for i, m := range messages[:len(records)] {
			records[i] = &kgo.Record{Topic: topic, Key: m.Key, Value: m.Value}
		}
		if err := w.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return nil, err
		}
		for _, r := range records {
			places = append(places, place{pipeline.Partition{Topic: topic, ID: r.Partition}, r.Offset})
		}
		messages = messages[len(records):]
	}
	return places, nil
}

// mustPut is put on the goroutine of the test.
func (b *bed) mustPut(t *testing.T, topic string, messages ...sample.Message) []place {
	t.Helper()
	places, err := b.put(t.Context(), topic, messages...)
	if err != nil {
		t.Fatal(err)
	}
	return places
}

// transact writes messages in one transaction, ends it as end says and returns
// when its markers are there. No other transaction on the topic must be open.
func (b *bed) transact(t *testing.T, end kgo.TransactionEndTry, topic string, messages ...sample.Message) []place {
	t.Helper()
	ctx := bounded(t)
	w, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...), kgo.ProducerLinger(0), kgo.UnknownTopicRetries(-1),
		kgo.TransactionalID(b.name("transaction")))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	places, err := putBy(ctx, w, topic, messages)
	if err == nil {
		err = w.EndTransaction(ctx, end)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range places {
		await(t, ctx, "the markers of a transaction", func() bool {
			stable, err := b.admin.ListCommittedOffsets(ctx, topic)
			o, _ := stable.Lookup(topic, at.Partition.ID)
			return err == nil && o.Err == nil && o.Offset > at.Offset
		})
	}
	return places
}

// await asks until what a cluster was told has come about, before ctx ends.
func await(t *testing.T, ctx context.Context, what string, done func() bool) {
	t.Helper()
	for !done() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: %s", what, ctx.Err())
		}
	}
}

// deleteBefore deletes what a partition has before the place.
func (b *bed) deleteBefore(t *testing.T, at place) {
	t.Helper()
	offsets := kadm.Offsets{}
	offsets.AddOffset(at.Partition.Topic, at.Partition.ID, at.Offset, -1)
	res, err := b.admin.DeleteRecords(bounded(t), offsets)
	if err := errors.Join(err, res.Error()); err != nil {
		t.Fatal(err)
	}
}

// grow gives a topic more partitions, and returns when they can be written to.
func (b *bed) grow(t *testing.T, topic string, partitions int) {
	t.Helper()
	ctx := bounded(t)
	res, err := b.admin.UpdatePartitions(ctx, partitions, topic)
	if err := errors.Join(err, res.Error()); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, "more partitions", func() bool {
		listed, err := b.admin.ListEndOffsets(ctx, topic)
		return errors.Join(err, listed.Error()) == nil && len(listed[topic]) == partitions
	})
}

// ends are the ends of a topic.
func (b *bed) ends(t *testing.T, topic string) pipeline.Vector {
	t.Helper()
	listed, err := b.admin.ListEndOffsets(bounded(t), topic)
	if err := errors.Join(err, listed.Error()); err != nil {
		t.Fatal(err)
	}
	ends := pipeline.Vector{}
	listed.Each(func(o kadm.ListedOffset) { ends[pipeline.Partition{Topic: o.Topic, ID: o.Partition}] = o.Offset })
	return ends
}

// endsOf are the positions behind all places.
func endsOf(places ...place) pipeline.Vector {
	ends := pipeline.Vector{}
	for _, at := range places {
		ends[at.Partition] = max(ends[at.Partition], at.Offset+1)
	}
	return ends
}

// outcomesAt gives what must become of the message at each place. The broker
// gives every message a time.
func outcomesAt(places []place, expect []sample.Outcome) map[place]sample.Outcome {
	outcomes := map[place]sample.Outcome{}
	for i, o := range expect {
		if o.NeedsTime {
			o.Reason, o.Verdict = schemas.NoRecord, pipeline.MaskRow
		}
		outcomes[places[i]] = o
	}
	return outcomes
}

// leader is the broker that leads a partition.
func (b *bed) leader(t *testing.T, p pipeline.Partition) int {
	t.Helper()
	all, err := b.admin.Metadata(bounded(t), p.Topic)
	if err != nil {
		t.Fatal(err)
	}
	leader := all.Topics[p.Topic].Partitions[p.ID].Leader
	if leader < 0 {
		t.Fatalf("%s has no leader", p)
	}
	return int(leader)
}

// coordinator is the broker that coordinates a group.
func (b *bed) coordinator(t *testing.T, group string) int {
	t.Helper()
	found := b.admin.FindGroupCoordinators(bounded(t), group)
	if err := found.Error(); err != nil {
		t.Fatal(err)
	}
	return int(found[group].NodeID)
}

// name makes a name that nothing else on the bed has.
func (b *bed) name(what string) string { return fmt.Sprintf("%s-%d", what, b.names.Add(1)) }

// bedTopics are the topics of one job, and the name of its group.
type bedTopics struct {
	*bed
	events, ledger, group string
}

// topics makes the topics of a job: events in as many partitions as said, the
// ledger, compacted, in two.
func (b *bed) topics(t *testing.T, partitions int32) *bedTopics {
	t.Helper()
	name := b.name("job")
	r := &bedTopics{bed: b, events: name + "-events", ledger: name + "-consent", group: name}
	r.create(t, r.events, partitions, "delete")
	r.create(t, r.ledger, 2, "compact")
	return r
}

func (b *bed) create(t *testing.T, topic string, partitions int32, policy string) {
	t.Helper()
	if err := b.CreateTopic(topic, partitions, map[string]string{"cleanup.policy": policy}); err != nil {
		t.Fatal(err)
	}
}

// job makes the folder of a job that reads the topics with two workers, and
// serves its metrics. The session timeout is a second.
func (r *bedTopics) job(t *testing.T, interval time.Duration) job {
	t.Helper()
	j := job{dir: t.TempDir()}
	j.config = filepath.Join(j.dir, "lupa.yaml")
	write(t, j.dir, "lupa.yaml", fmt.Sprintf(`keys: {file: lupa.keys}
ledger:
  kafka: {brokers: [%[1]s], topic: %[2]s}
events:
  kafka: {brokers: [%[1]s], topics: [%[3]s], group: %[4]s, session_timeout: 1s}
  max_message_bytes: %[5]d
warehouse: {dir: warehouse}
quarantine: {dir: quarantine}
commit: {interval: %[6]s, max_bytes: 1MiB}
phone: {default_region: %[7]s}
metrics: {listen: "127.0.0.1:0"}
workers: 2
`, strings.Join(r.ListenAddrs(), ", "), r.ledger, r.events, r.group, sample.MaxMessageBytes, interval, sample.DefaultRegion))
	if err := keys.Init(filepath.Join(j.dir, "lupa.keys"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	return j
}

// childBroker is one broker of an in-process cluster in a process of its own.
type childBroker struct {
	Dir  string
	Port int

	admin *kadm.Client
	cmd   *exec.Cmd
	done  chan struct{} // closed when cmd has ended
}

// asBroker is set, to its childBroker as JSON, in the environment of children
// that are to be a broker.
const asBroker = "LUPA_TEST_AS_BROKER"

// beBroker is a broker until standard input ends.
func beBroker(text string) error {
	var c childBroker
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(c.Port), kfake.DataDir(c.Dir), kfake.SyncWrites(),
		kfake.BrokerConfigs(quickGroups()))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	k.Close()
	return err
}

// ListenAddrs is the broker's address.
func (c *childBroker) ListenAddrs() []string { return []string{fmt.Sprint("127.0.0.1:", c.Port)} }

// CreateTopic makes a topic.
func (c *childBroker) CreateTopic(name string, partitions int32, configs map[string]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	set := map[string]*string{}
	for key, value := range configs {
		set[key] = &value
	}
	_, err := c.admin.CreateTopic(ctx, partitions, 1, set, name)
	return err
}

// DeleteTopic deletes a topic.
func (c *childBroker) DeleteTopic(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := c.admin.DeleteTopic(ctx, name)
	return err
}

// Kill ends the process at once.
func (c *childBroker) Kill(int) error {
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-c.done
	return nil
}

// Restart starts the process, and returns when the broker listens.
func (c *childBroker) Restart(context.Context, int) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c.cmd = exec.Command(exe)
	c.cmd.Env = append(os.Environ(), asBroker+"="+string(text))
	c.cmd.Stderr = os.Stderr
	// The child ends when nobody holds the other end of its standard input any
	// more, also when this process is killed.
	if _, err := c.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	c.done = make(chan struct{})
	go func() {
		_ = c.cmd.Wait() // what it said tells how it ended
		close(c.done)
	}()
	if line != "ready\n" {
		return fmt.Errorf("the broker's process ended: %w", err)
	}
	return nil
}
