package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/pipeline"
)

func TestAnchorsReadBack(t *testing.T) {
	for _, cluster := range []string{"", "abc-DEF_123", "a%20b"} {
		for _, a := range []anchor{{}, {true, 0, 0}, {true, 1 << 40, 0xdeadbeef}} {
			text := a.mark(cluster)
			gotCluster, got, ok := parseAnchor(text)
			if !ok || gotCluster != cluster || got != a {
				t.Errorf("%q reads as %q, %v, %v", text, gotCluster, got, ok)
			}
		}
	}
	for _, bad := range []string{
		"cluster:", "cluster: batch:1:00000001", "batch:", "batch:1", "batch:x:00000001", "batch:1:1", "batch:01:00000001",
		"batch:1:00000001 cluster:a", "cluster:a batch:1:0000000G", "cluster:a  batch:1:00000001", "file:1", "cluster:a ", "Batch:1:00000001",
	} {
		if _, _, ok := parseAnchor(bad); ok {
			t.Errorf("%q passes", bad)
		}
	}
}

func FuzzAnchor(f *testing.F) {
	f.Add("cluster:abc batch:17:0000beef")
	f.Add("batch:17:0000beef")
	f.Add("cluster:abc")
	f.Fuzz(func(t *testing.T, s string) {
		if cluster, a, ok := parseAnchor(s); ok && a.mark(cluster) != s {
			t.Fatal("an anchor does not write back as it was read")
		}
	})
}

// A position of another cluster is refused, whatever its offset; one that
// names none is taken.
func TestPositionsNameTheirCluster(t *testing.T) {
	first := fake(t, kfake.ClusterID("first"))
	other := fake(t, kfake.ClusterID("other"))
	for _, policy := range []string{"delete", "compact"} {
		for _, k := range []*kfake.Cluster{first, other} {
			topic(t, k, policy, 1, policy)
			if err := producer(t, k).ProduceSync(bounded(t), &kgo.Record{Topic: policy, Key: []byte("k"), Value: []byte("v")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		var mark pipeline.Mark
		e := open(t, connect(t, first), nil, policy)
		for mark.Next < 1 {
			c, err := e.Next(bounded(t))
			if err != nil {
				t.Fatal(err)
			}
			if c != nil {
				mark = c.Next
			}
		}
		if !strings.HasPrefix(mark.Anchor, "cluster:first") || strings.Contains(mark.Anchor, "batch:") != (policy == "delete") {
			t.Fatalf("on a topic of policy %s the anchor is %q", policy, mark.Anchor)
		}
		p := pipeline.Partition{Topic: policy}
		open(t, connect(t, first), pipeline.Positions{p: mark}, policy)
		again, err := connect(t, other).EventsOf([]string{policy}, []pipeline.Partition{p})
		if err != nil {
			t.Fatal(err)
		}
		err = again.Open(bounded(t), pipeline.Positions{p: mark})
		var position *PositionError
		want := policy + "/0: offset 1 is a position in the cluster first, this one is other"
		if !errors.As(err, &position) || position.Was != "first" || position.Cluster != "other" || !strings.Contains(err.Error(), want) {
			t.Errorf("policy %s: %v", policy, err)
		}
		// As positions were before they named a cluster.
		_, batch, _ := strings.Cut(mark.Anchor, " ")
		open(t, connect(t, first), pipeline.Positions{p: {Next: 1, Anchor: batch}}, policy)
		for _, bad := range []string{"cluster:first nonsense", "batch:0:00000000"} {
			if policy == "compact" && strings.HasPrefix(bad, "batch") {
				continue // nothing to compare it with
			}
			again, err := connect(t, first).EventsOf([]string{policy}, []pipeline.Partition{p})
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Open(bounded(t), pipeline.Positions{p: {Next: 1, Anchor: bad}}); !errors.As(err, &position) || !position.Anchor {
				t.Errorf("anchor %q: %v", bad, err)
			}
		}
	}
}

// A topic is deleted and made again under a source that reads it. Nothing of
// the new one is handed over, even when it has the offset to go on from.
func TestTopicMadeAgainWhileReading(t *testing.T) {
	for _, test := range []struct {
		name    string
		policy  string
		records int // in the new topic; the old one had 10
		batch   int // records in each of its batches
		quiet   bool
		want    string
	}{
		{"compacted", "compact", 25, 5, false, "x/0: what stands before offset 10 is not what was read: the topic was recreated or truncated"},
		{"compacted, and no request in between saw it", "compact", 25, 5, true, "x/0: what stands before offset 10 is not what was read: the topic was recreated or truncated"},
		{"shorter", "delete", 5, 5, false, "x/0: offset 10 is past the end 5: the topic was recreated or truncated"},
		{"longer", "delete", 25, 5, false, "x/0: what stands before offset 10 is not what was read: the topic was recreated or truncated"},
		{"longer, with a batch that begins elsewhere", "delete", 25, 25, false, "x/0: what stands before offset 10 is not what was read: the topic was recreated or truncated"},
		{"longer, and no request in between saw it", "delete", 25, 5, true, "x/0: what stands before offset 10 is not what was read: the topic was recreated or truncated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k := fake(t, kfake.NumBrokers(1))
			topic(t, k, "x", 1, test.policy)
			keyed(t, k, words(10, "old"), 5)
			e := open(t, connect(t, k), nil, "x")
			collect(t, e, map[int32]int64{0: 10})
			if test.quiet {
				e.fetcher.prove = 0 // the time for another proof has come
				for len(e.fetcher.flights) > 0 {
					e.fetcher.land(<-e.fetcher.landed)
				}
			}
			if err := k.DeleteTopic("x"); err != nil {
				t.Fatal(err)
			}
			// Else the source hears of it, as it does when brokers delete a log.
			for !test.quiet && e.fetcher.parts[0].trouble == healthy {
				if c, err := e.Next(bounded(t)); c != nil || err != nil {
					t.Fatal(c, err)
				}
			}
			topic(t, k, "x", 1, test.policy)
			keyed(t, k, words(test.records, "new"), test.batch)
			n, err := readUntilError(t, e)
			if n != 0 || err == nil || err.Error() != "kafka: events: "+test.want+decide("x/0") {
				t.Errorf("%d messages before %v", n, err)
			}
		})
	}
}

// While all is well a proof costs one small fetch now and then, and none while
// nothing comes.
func TestProofsAreRare(t *testing.T) {
	t.Parallel()
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	var proofs atomic.Int64
	k.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		if r.(*kmsg.FetchRequest).MaxBytes == 1 {
			proofs.Add(1)
		}
		return nil, nil, false
	})
	e := open(t, connect(t, k), nil, "x")
	next := int64(0)
	round := func() {
		put(t, p, "x", 0, words(3, fmt.Sprint(next))...)
		got := collect(t, e, map[int32]int64{0: next + 3})[0]
		if d := cmp.Diff(messagesFrom(next, words(3, fmt.Sprint(next))...), got); d != "" {
			t.Fatal(d)
		}
		next += 3
	}
	for range 5 {
		round()
	}
	if n := proofs.Load(); n != 0 {
		t.Errorf("%d proofs at once", n)
	}
	e.fetcher.prove = 0
	for range 3 { // what has come is proved; nothing more is asked
		if c, err := e.Next(bounded(t)); c != nil || err != nil {
			t.Fatal(c, err)
		}
	}
	if n := proofs.Load(); n != 0 {
		t.Errorf("%d proofs while nothing came", n)
	}
	for range 5 {
		round()
	}
	if n := proofs.Load(); n < 4 || n > 6 {
		t.Errorf("%d proofs of 5 answers", n)
	}
}

// What retention has deleted cannot be looked at any more, and need not be.
func TestProofOfWhatRetentionDeleted(t *testing.T) {
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	put(t, p, "x", 0, words(10, "v")...)
	e := open(t, connect(t, k), nil, "x")
	collect(t, e, map[int32]int64{0: 10})
	if err := k.DeleteRecords("x", 0, 10); err != nil {
		t.Fatal(err)
	}
	e.fetcher.prove = 0
	put(t, p, "x", 0, words(2, "w")...)
	if d := cmp.Diff(messagesFrom(10, words(2, "w")...), collect(t, e, map[int32]int64{0: 12})[0]); d != "" {
		t.Error(d)
	}
}

// A leader that was elected just now may have what a position stands behind, and
// not show it yet. That proves nothing, and passes.
func TestProofOfWhatIsNotShownYet(t *testing.T) {
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, "delete")
	put(t, producer(t, k), "x", 0, words(3, "v")...)
	c := connect(t, k)
	e := open(t, c, nil, "x")
	var mark pipeline.Mark
	for mark.Next < 3 {
		chunk, err := e.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if chunk != nil {
			mark = chunk.Next
		}
	}
	_, batch, _ := parseAnchor(mark.Anchor)
	p := pipeline.Partition{Topic: "x"}
	asked := &client{c, c.transport("x")}
	defer asked.transport.CloseIdleConnections()
	if err := asked.checkAnchor(bounded(t), p, 3, batch); err != nil {
		t.Error(err)
	}
	// The end itself is where nothing may be seen yet.
	err := asked.checkAnchor(bounded(t), p, 4, batch)
	if gone := (*PositionError)(nil); err == nil || errors.As(err, &gone) || classOfAnswer(err) != brokerBusy {
		t.Errorf("error %v, want one that passes", err)
	}
}

// keyed writes one record of each value, under a key of its own.
func keyed(t *testing.T, k brokers, values []string, batch int) {
	t.Helper()
	p := producer(t, k)
	for some := range slices.Chunk(values, batch) {
		var list []*kgo.Record
		for _, v := range some {
			list = append(list, &kgo.Record{Topic: "x", Key: []byte(v), Value: []byte(v)})
		}
		if err := p.ProduceSync(bounded(t), list...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// decide is what an error about a position says at its end.
func decide(partition string) string {
	return "; an operator decides where to go on: lupa positions set --partition " + partition
}
