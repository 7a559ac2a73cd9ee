package kafka

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"lupa/pipeline"
)

func addPartitions(t testing.TB, p *kgo.Client, name string, count int32) {
	t.Helper()
	req := kmsg.NewPtrCreatePartitionsRequest()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = name, count
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 1000
	res, err := req.RequestWith(bounded(t), p)
	if err == nil {
		err = kerr.ErrorForCode(res.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A record that is acknowledged in a partition that has just been added is in
// the view behind the next barrier, and so is all that stands there before it.
func TestLedgerFollowsAddedPartitions(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "compact")
	c, log := connectAndListen(t, k)
	view := &table{}
	l := follow(t, c, view, LedgerOptions{Partitions: 1})
	other := producer(t, k)
	want := make(map[string]string)
	for _, count := range []int32{2, 5} {
		addPartitions(t, other, "x", count)
		p := producer(t, k) // one that has not heard of less
		for id := range count {
			for _, value := range []string{"granted", "withdrawn"} {
				key := fmt.Sprint(value, id, " of ", count)
				want[key] = value
				putKey(t, p, id, key, []byte(value))
			}
		}
		v, err := l.Barrier(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, view.copy()); d != "" || len(v) != int(count) {
			t.Errorf("with %d partitions at %v: %s", count, v, d)
		}
	}
	log.line(t, "following them")
	if n := log.count("following them"); n != 2 {
		t.Errorf("logged %d times", n)
	}
	if err := l.Err(); err != nil {
		t.Error(err)
	}
}

// While a new partition cannot be asked, barriers wait for it as for another.
func TestAddedPartitionsHoldBarriers(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "compact")
	c, log := connectAndListen(t, k)
	view := &table{}
	l := follow(t, c, view, LedgerOptions{Stall: soon})
	h := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Partitions: []int32{1}, Err: kerr.OffsetNotAvailable, Count: -1})
	addPartitions(t, producer(t, k), "x", 2)
	putKey(t, producer(t, k), 1, "a", []byte("withdrawn"))
	w := barrier(t, l)
	log.line(t, "has stalled")
	awaitBehind(t, l, 1)
	w.stillWaits(t)
	h.Remove()
	if v := w.passes(t); v[pipeline.Partition{Topic: "x", ID: 1}] != 1 || view.get("a") != "withdrawn" {
		t.Errorf("passed early at %v", v)
	}
}

// A ledger topic that is made anew ends the ledger, also if it looks the same.
func TestRecreatedLedgerStops(t *testing.T) {
	for _, test := range []struct {
		name   string
		opts   []kfake.Opt
		again  int32
		want   error
		reason string
	}{
		{"as many partitions", nil, 2, errRecreated,
			"topic x: the topic was deleted and made again: start again to read the new one"},
		{"fewer, on a broker that gives topics no identity", []kfake.Opt{kfake.MaxVersions(kversion.V2_7_0())}, 1, errShrunk,
			"topic x: 1 of 2 partitions are gone: the topic was deleted and made again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k := fake(t, test.opts...)
			topic(t, k, "x", 2, "compact")
			l := follow(t, connect(t, k), &table{}, LedgerOptions{})
			if _, err := l.Barrier(bounded(t)); err != nil { // positive control
				t.Fatal(err)
			}
			if err := k.DeleteTopic("x"); err != nil {
				t.Fatal(err)
			}
			topic(t, k, "x", test.again, "compact")
			v, err := l.Barrier(bounded(t))
			if !errors.Is(err, test.want) || !strings.HasSuffix(err.Error(), test.reason) {
				t.Fatalf("passed at %v with error %v", v, err)
			}
			if _, err := l.Barrier(bounded(t)); !errors.Is(err, test.want) || !errors.Is(l.Err(), test.want) {
				t.Errorf("and then %v, %v", err, l.Err())
			}
		})
	}
}

// A broker that has just started may not have heard of all partitions. One
// answer without some is no reason to pass, and none to stop while the topic is
// the same.
func TestPartitionsThatABrokerHasNotHeardOf(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 3, "compact")
	l := follow(t, connect(t, k), &table{}, LedgerOptions{})
	id := k.TopicInfo("x").TopicID
	left := shrunkTries
	k.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req := r.(*kmsg.MetadataRequest)
		if req.Version != newestMetadata || left == 0 {
			return nil, nil, false
		}
		left--
		res := req.ResponseKind().(*kmsg.MetadataResponse)
		res.Topics = []kmsg.MetadataResponseTopic{{Topic: req.Topics[0].Topic, TopicID: id}}
		return res, nil, true
	})
	if v, err := l.Barrier(bounded(t)); err != nil || len(v) != 3 {
		t.Errorf("%v, %v", v, err)
	}
}
