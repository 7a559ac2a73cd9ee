//go:build integration

package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/connectors/kafka/kafkatest"
	"lupa/pipeline"
)

// TestRealGroup confirms on a cluster of three that partitions are shared out
// by whatever happens to members, topics and the coordinator.
func TestRealGroup(t *testing.T) {
	k := kafkatest.Run(t, 3)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *kafkatest.Cluster)
	}{
		{"members come and go", realMembers},
		{"a member that is stopped", realStoppedMember},
		{"added partitions", realGroupGrows},
		{"a topic that is deleted", realGroupLosesTopic},
		{"another kind of consumer", realStranger},
		{"headers", realHeaders},
		{"a topic made anew while it is read", realMadeAnewWhileRead},
		{"a coordinator that is killed", realKilledCoordinator},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, k) })
	}
}

// unhurried are the shortest times that brokers allow by default.
func unhurried(id string) GroupOptions {
	return GroupOptions{
		ID: id, SessionTimeout: 6 * time.Second, HeartbeatInterval: 200 * time.Millisecond,
		RebalanceTimeout: 15 * time.Second, RefreshEvery: 500 * time.Millisecond,
	}
}

func realMembers(t *testing.T, k *kafkatest.Cluster) {
	topic(t, k, "shared-a", 5, "delete")
	topic(t, k, "shared-b", 4, "delete")
	w := newCrew(t, connect(t, k), unhurried("shared"), "shared-a", "shared-b")
	for _, name := range []string{"one", "two", "three"} {
		w.join(name)
		w.expect(9)
	}
	w.leave("one")
	w.expect(9)
	w.leave("three")
	w.expect(9)
	offsets, err := k.Admin().FetchOffsets(bounded(t), "shared")
	if err != nil || len(offsets) != 0 {
		t.Errorf("the group has offsets of %d topics, %v", len(offsets), err)
	}
}

func realStoppedMember(t *testing.T, k *kafkatest.Cluster) {
	topic(t, k, "stopped", 4, "delete")
	loseStoppedMember(t, k, connect(t, k), "stopped", unhurried("stopped"))
}

func realGroupGrows(t *testing.T, k *kafkatest.Cluster) {
	topic(t, k, "growing", 2, "delete")
	w := newCrew(t, connect(t, k), unhurried("growing"), "growing")
	w.join("one")
	w.join("two")
	w.expect(2)
	res, err := k.Admin().UpdatePartitions(bounded(t), 6, "growing")
	if err := errors.Join(err, res.Error()); err != nil {
		t.Fatal(err)
	}
	w.expect(6)
}

// The brokers make topics that are asked for by a client that wants them to.
func realGroupLosesTopic(t *testing.T, k *kafkatest.Cluster) {
	topic(t, k, "lost", 2, "delete")
	c := connect(t, k, func(o *Options) { o.StartTimeout = 10 * time.Second })
	errs, got := make(chan error, 2), make(chan struct{}, 100)
	for range 2 {
		g, err := c.Group([]string{"lost"}, unhurried("lost"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				a, err := g.Next(t.Context())
				if err != nil {
					g.Close()
					errs <- err
					return
				}
				if len(a.Partitions) == 1 {
					got <- struct{}{}
				}
				<-a.Ended()
				a.Release()
			}
		}()
	}
	<-got
	<-got
	if err := k.DeleteTopic("lost"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case err := <-errs:
			if !errors.Is(err, ErrNoTopic) {
				t.Error(err)
			}
		case <-bounded(t).Done():
			t.Fatal("a member goes on without its topic")
		}
	}
	topics, err := k.Admin().ListTopics(bounded(t))
	if err != nil || topics.Has("lost") {
		t.Errorf("the topic was made again, %v", err)
	}
}

func realStranger(t *testing.T, k *kafkatest.Cluster) {
	topic(t, k, "strange", 1, "delete")
	put(t, producer(t, k), "strange", 0, "v")
	other, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.ConsumerGroup("strange"), kgo.ConsumeTopics("strange"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.PollFetches(bounded(t)).Err(); err != nil {
		t.Fatal(err)
	}
	g, err := connect(t, k).Group([]string{"strange"}, unhurried("strange"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Next(bounded(t)); err == nil || !strings.Contains(err.Error(), "another kind of consumer is in the group") {
		t.Error(err)
	}
}

func realHeaders(t *testing.T, k *kafkatest.Cluster) {
	topic(t, k, "headers", 1, "delete")
	want := []kgo.RecordHeader{{Key: "", Value: nil}, {Key: "a", Value: []byte{}}, {Key: "b", Value: []byte(strings.Repeat("v", 300))}}
	for i := range 10_000 {
		want = append(want, kgo.RecordHeader{Key: fmt.Sprint(i), Value: fmt.Append(nil, i)})
	}
	if err := producer(t, k).ProduceSync(bounded(t), &kgo.Record{Topic: "headers", Value: []byte("v"), Headers: want}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	c := nextChunk(t, open(t, connect(t, k), nil, "headers"))
	if len(c.Headers) != 1 {
		t.Fatalf("%d spans", len(c.Headers))
	}
	if d := cmp.Diff(want, walkHeaders(span2bytes(c.Arena, c.Headers[0]))); d != "" {
		t.Error(d)
	}
	if !strings.HasPrefix(c.Next.Anchor, "cluster:") || !strings.Contains(c.Next.Anchor, " batch:0:") {
		t.Errorf("the anchor is %q", c.Next.Anchor)
	}
}

// The new topic has the offset to go on from before the source asks again.
func realMadeAnewWhileRead(t *testing.T, k *kafkatest.Cluster) {
	const name = "anew"
	p := pipeline.Partition{Topic: name}
	topic(t, k, name, 1, "delete")
	put(t, producer(t, k), name, 0, words(10, "old")...)
	e, err := connect(t, k).EventsOf([]string{name}, []pipeline.Partition{p})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Open(bounded(t), nil); err != nil {
		t.Fatal(err)
	}
	collect(t, e, map[int32]int64{0: 10})
	if err := k.DeleteTopic(name); err != nil {
		t.Fatal(err)
	}
	topic(t, k, name, 1, "delete")
	put(t, producer(t, k), name, 0, words(25, "new")...)
	n, err := readUntilError(t, e)
	var position *PositionError
	if n != 0 || !errors.As(err, &position) || !position.Anchor || position.Next != 10 {
		t.Errorf("%d messages before %v", n, err)
	}
}

// The coordinator dies and comes back while two members work. They go on with
// another one.
func realKilledCoordinator(t *testing.T, k *kafkatest.Cluster) {
	topic(t, k, "headless", 6, "delete")
	w := newCrew(t, connect(t, k), unhurried("headless"), "headless")
	w.join("one")
	w.join("two")
	w.expect(6)
	found := k.Admin().FindGroupCoordinators(bounded(t), "headless")["headless"]
	if found.Err != nil {
		t.Fatal(found.Err)
	}
	coordinator := int(found.NodeID)
	if err := k.Kill(coordinator); err != nil {
		t.Fatal(err)
	}
	// It is noticed by a heartbeat that fails.
	if err := w.awaitLess(bounded(t), 6); err != nil {
		t.Fatal(err)
	}
	w.expect(6)
	if err := k.Restart(t.Context(), coordinator); err != nil {
		t.Fatal(err)
	}
	w.join("three")
	w.expect(6)
}

// awaitLess waits until fewer partitions are held.
func (w *crew) awaitLess(ctx context.Context, partitions int) error {
	for {
		w.mu.Lock()
		changed, held := w.changed, len(w.held)
		w.mu.Unlock()
		if held < partitions {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.New("nobody has let go of a partition")
		}
	}
}
