package kafka

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/pipeline"
)

// retriable are the errors that pass by themselves.
var retriable = map[int]*kerr.Error{
	6: kerr.NotLeaderForPartition, 7: kerr.RequestTimedOut, 14: kerr.CoordinatorLoadInProgress,
	15: kerr.CoordinatorNotAvailable, 16: kerr.NotCoordinator, 22: kerr.IllegalGeneration,
	25: kerr.UnknownMemberID, 27: kerr.RebalanceInProgress, 74: kerr.FencedLeaderEpoch,
	75: kerr.UnknownLeaderEpoch, 78: kerr.OffsetNotAvailable,
}

// Whatever may pass is waited out, whether it comes once or stays for a while,
// and nothing is skipped.
func TestReadingOutlivesEveryRetriableError(t *testing.T) {
	t.Parallel()
	k := fake(t)
	p := producer(t, k)
	c := connect(t, k, func(o *Options) { o.FetchWait, o.StartTimeout = 20*time.Millisecond, 20*time.Second })
	var all sync.WaitGroup
	for code, e := range retriable {
		for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets, kmsg.Metadata} {
			for _, stays := range []bool{false, true} {
				name := fmt.Sprintf("%s-%d-%v", key.Name(), code, stays)
				topic(t, k, name, 1, "delete")
				all.Go(func() {
					if err := readThrough(t.Context(), c, k, p, name, key, e, stays); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
		}
	}
	all.Wait()
}

// readThrough injects errors before reading begins and again in its middle.
func readThrough(ctx context.Context, c *Cluster, k *kfake.Cluster, p *kgo.Client, name string, key kmsg.Key, e *kerr.Error, stays bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	values := words(5, name)
	write := func(values []string) error {
		var list []*kgo.Record
		for _, v := range values {
			list = append(list, &kgo.Record{Topic: name, Value: []byte(v)})
		}
		return p.ProduceSync(ctx, list...).FirstErr()
	}
	if err := write(values[:2]); err != nil {
		return err
	}
	inject := func() func() error {
		f := kfake.Fault{Keys: []kmsg.Key{key}, Topic: name, Err: e, When: func(r kmsg.Request) bool {
			return key != kmsg.Metadata || r.GetVersion() <= 8 // the producer speaks later ones
		}}
		if stays {
			f.Count = -1
		}
		h := k.Fault(f)
		cleared := make(chan error, 1)
		go func() {
			defer h.Remove()
			n := 1
			if stays {
				n = 2
			}
			cleared <- h.Wait(ctx, n)
		}()
		return func() error { return <-cleared }
	}
	first := inject()
	if key == kmsg.Fetch {
		first = func() error { return nil } // Open does not fetch: the reading below does
	}
	events, err := c.EventsOf([]string{name}, []pipeline.Partition{{Topic: name}})
	if err != nil {
		return err
	}
	defer events.Close()
	if err := events.Open(ctx, nil); err != nil {
		return err
	}
	if err := first(); err != nil {
		return fmt.Errorf("the error was not injected: %w", err)
	}
	var got []message
	read := func(n int) error {
		for len(got) < n {
			chunk, err := events.Next(ctx)
			if err != nil {
				return err
			}
			if chunk == nil {
				continue
			}
			for i, v := range chunk.Values {
				got = append(got, message{chunk.Offsets[i], string(chunk.Arena[v.Off : v.Off+v.Len])})
			}
		}
		return nil
	}
	if err := read(2); err != nil {
		return err
	}
	if key != kmsg.ListOffsets { // reading does not ask for them
		second := inject()
		if err := write(values[2:]); err != nil {
			return err
		}
		if err := read(5); err != nil {
			return err
		}
		if err := second(); err != nil {
			return fmt.Errorf("the second error was not injected: %w", err)
		}
	} else {
		if err := write(values[2:]); err != nil {
			return err
		}
		if err := read(5); err != nil {
			return err
		}
	}
	if d := cmp.Diff(messagesFrom(0, values...), got); d != "" {
		return fmt.Errorf("read %s", d)
	}
	return nil
}

// The same for the group: it is joined in the end, with all partitions.
func TestGroupOutlivesEveryRetriableError(t *testing.T) {
	t.Parallel()
	k := groupFake(t)
	topic(t, k, "x", 3, "delete")
	c := connect(t, k, func(o *Options) { o.StartTimeout = 20 * time.Second })
	var all sync.WaitGroup
	for code, e := range retriable {
		for _, key := range []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.FindCoordinator} {
			for _, stays := range []bool{false, true} {
				id := fmt.Sprintf("%s-%d-%v", key.Name(), code, stays)
				all.Go(func() {
					if err := joinThrough(t.Context(), c, k, id, key, e, stays); err != nil {
						t.Errorf("%s: %v", id, err)
					}
				})
			}
		}
	}
	all.Wait()
}

func joinThrough(ctx context.Context, c *Cluster, k *kfake.Cluster, id string, key kmsg.Key, e *kerr.Error, stays bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	f := kfake.Fault{Keys: []kmsg.Key{key}, Group: id, Err: e}
	n := 1
	if stays {
		f.Count, n = -1, 2
	}
	h := k.Fault(f)
	go func() {
		defer h.Remove()
		_ = h.Wait(ctx, n) // its hits are looked at below
	}()
	o := quick(id)
	o.SessionTimeout = 10 * time.Second // the machine may be slow
	g, err := c.Group([]string{"x"}, o)
	if err != nil {
		return err
	}
	defer g.Close()
	a, err := g.Next(ctx)
	for key == kmsg.Heartbeat && err == nil && h.Hits() < n {
		select { // a heartbeat that fails ends the generation
		case <-a.Ended():
		case <-ctx.Done():
			return fmt.Errorf("the generation does not end")
		}
		a.Release()
		a, err = g.Next(ctx)
	}
	if err != nil {
		return err
	}
	if h.Hits() < n {
		return fmt.Errorf("%d errors were injected, not %d", h.Hits(), n)
	}
	if len(a.Partitions) != 3 {
		return fmt.Errorf("%d partitions", len(a.Partitions))
	}
	return nil
}
