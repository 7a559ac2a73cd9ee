package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/pipeline"
)

// said is a log that a test waits for.
type said struct {
	mu    sync.Mutex
	text  string
	grown chan struct{}
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += string(p)
	close(s.grown)
	s.grown = make(chan struct{})
	return len(p), nil
}

// line waits for a line with the words and gives the first.
func (s *said) line(t testing.TB, words string) string {
	t.Helper()
	for ctx := bounded(t); ; {
		s.mu.Lock()
		text, grown := s.text, s.grown
		s.mu.Unlock()
		for line := range strings.Lines(text) {
			if strings.Contains(line, words) {
				return line
			}
		}
		select {
		case <-grown:
		case <-ctx.Done():
			t.Fatalf("nothing says %q:\n%s", words, text)
		}
	}
}

func (s *said) count(words string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text, words)
}

func connectAndListen(t testing.TB, k brokers) (*Cluster, *said) {
	s := &said{grown: make(chan struct{})}
	return connect(t, k, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(s, nil)) }), s
}

const soon = 30 * time.Millisecond // when a barrier counts as stalled

// waiting is a barrier in the background.
type waiting struct {
	done chan struct{}
	v    pipeline.Vector
	err  error
}

func barrier(t testing.TB, l *Ledger) *waiting {
	w := &waiting{done: make(chan struct{})}
	ctx := bounded(t)
	go func() {
		w.v, w.err = l.Barrier(ctx)
		close(w.done)
	}()
	return w
}

func awaitStalls(t testing.TB, l *Ledger, n int64) {
	t.Helper()
	for ctx := bounded(t); l.Stalls() < n; {
		if err := pause(ctx, time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitBehind waits until stalled barriers wait for these partitions alone.
func awaitBehind(t testing.TB, l *Ledger, ids ...int32) {
	t.Helper()
	for ctx := bounded(t); !slices.Equal(numbers(l.Stats().Behind), ids); {
		if err := pause(ctx, time.Millisecond); err != nil {
			t.Fatalf("waiting for %v, want %v", l.Stats().Behind, ids)
		}
	}
}

func (w *waiting) stillWaits(t testing.TB) {
	t.Helper()
	select {
	case <-w.done:
		t.Fatalf("the barrier did not wait: %v, %v", w.v, w.err)
	default:
	}
}

func (w *waiting) passes(t testing.TB) pipeline.Vector {
	t.Helper()
	<-w.done
	if w.err != nil {
		t.Fatal(w.err)
	}
	return w.v
}

// A withdrawal that is acknowledged while a transaction is open stands behind
// it, where the view must not read yet. No barrier may pass without it.
func TestOpenTransactionHoldsBarriers(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(*testing.T, *kgo.Client)
		want map[string]string
	}{
		{"committed", func(t *testing.T, p *kgo.Client) { endTransaction(t, p, kgo.TryCommit) },
			map[string]string{"grant": "of the transaction", "a": "withdrawn"}},
		{"aborted", func(t *testing.T, p *kgo.Client) { endTransaction(t, p, kgo.TryAbort) },
			map[string]string{"a": "withdrawn"}},
		{"hung, until the broker aborts it", func(*testing.T, *kgo.Client) {}, map[string]string{"a": "withdrawn"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			k := fake(t)
			topic(t, k, "x", 3, "compact")
			p := producer(t, k)
			putKey(t, p, 1, "a", []byte("granted"))
			c, log := connectAndListen(t, k)
			view := &table{}
			l := follow(t, c, view, LedgerOptions{Stall: soon})
			tx := producer(t, k, kgo.TransactionalID("writer"), kgo.TransactionTimeout(time.Second))
			if err := tx.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			putKey(t, tx, 1, "grant", []byte("of the transaction"))
			putKey(t, p, 1, "a", []byte("withdrawn"))

			part := pipeline.Partition{Topic: "x", ID: 1}
			stable, err := l.client.offsets(bounded(t), l.parts, logEnd)
			if err != nil || stable[part] != 1 {
				t.Fatalf("the stable end is %d, %v: nothing is confirmed here", stable[part], err)
			}
			first, second := barrier(t, l), barrier(t, l)
			const held = `msg="ledger barrier has stalled" topic=x after=30ms unknown_end=[] behind=[1] open_transaction=[1] stale=[]`
			log.line(t, held)
			awaitStalls(t, l, 2)
			first.stillWaits(t)
			second.stillWaits(t)
			s := l.Stats()
			if d := cmp.Diff([]pipeline.Partition{part}, s.Behind); d != "" || s.StalledSince.IsZero() || s.Ends[part] != 3 {
				t.Errorf("%s%+v", d, s)
			}
			if view.copy()["a"] != "granted" {
				t.Fatal("the view has read past an open transaction")
			}
			test.end(t, tx)
			if v := first.passes(t); v[part] != 4 {
				t.Errorf("at %v", v)
			}
			second.passes(t)
			if d := cmp.Diff(test.want, view.copy()); d != "" {
				t.Error(d)
			}
			log.line(t, "ledger barrier goes on")
			if n := log.count(held); n != 1 {
				t.Errorf("one stall is logged %d times", n)
			}
			if s := l.Stats(); !s.StalledSince.IsZero() || s.Behind != nil || s.Barriers != 2 || s.Waited < soon {
				t.Errorf("after the stall %+v", s)
			}
		})
	}
}

func endTransaction(t *testing.T, p *kgo.Client, how kgo.TransactionEndTry) {
	t.Helper()
	if err := p.EndTransaction(bounded(t), how); err != nil {
		t.Fatal(err)
	}
}

func TestStartWaitsForAnOpenTransaction(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "compact")
	tx := producer(t, k, kgo.TransactionalID("writer"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	putKey(t, tx, 0, "a", []byte("granted"))
	putKey(t, producer(t, k), 0, "a", []byte("withdrawn"))
	c, log := connectAndListen(t, k)
	view := &table{}
	l, err := c.Ledger("x", view, LedgerOptions{Stall: soon})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	started := make(chan error, 1)
	ctx := bounded(t)
	go func() { started <- l.Start(ctx) }()
	if line := log.line(t, "ledger replay has stalled"); !strings.Contains(line, "behind=[0] open_transaction=[0]") {
		t.Error(line)
	}
	if s := l.Stats(); len(s.Behind) != 1 || s.Stalls != 1 || s.Age != 0 {
		t.Errorf("%+v", s)
	}
	select {
	case err := <-started:
		t.Fatalf("started: %v", err)
	default:
	}
	endTransaction(t, tx, kgo.TryAbort)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"a": "withdrawn"}, view.copy()); d != "" {
		t.Error(d)
	}
	log.line(t, "ledger replay goes on")
}

// What the fetches of a slow ledger bring late, barriers wait for.
func TestSlowFetchesHoldBarriers(t *testing.T) {
	k := fake(t, kfake.NumBrokers(1))
	topic(t, k, "x", 1, "compact")
	c, log := connectAndListen(t, k)
	view := &table{}
	l := follow(t, c, view, LedgerOptions{Stall: soon})
	var slow atomic.Bool
	held, gate := make(chan struct{}, 1), make(chan struct{})
	k.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		if slow.Load() {
			select {
			case held <- struct{}{}:
			default:
			}
			k.SleepControl(func() { <-gate })
		}
		return nil, nil, false
	})
	slow.Store(true)
	putKey(t, producer(t, k), 0, "a", []byte("granted")) // ends the fetch that waits for data
	<-held
	putKey(t, producer(t, k), 0, "a", []byte("withdrawn"))
	w := barrier(t, l)
	log.line(t, `msg="ledger barrier has stalled" topic=x after=30ms unknown_end=[] behind=[0] open_transaction=[] stale=[]`)
	w.stillWaits(t)
	slow.Store(false)
	close(gate)
	w.passes(t)
	if view.get("a") != "withdrawn" {
		t.Error("passed early")
	}
}

// Whatever a broker answers with an error, once or for long, a barrier waits
// for and gets over.
func TestErrorsHoldBarriers(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.Metadata, kmsg.ListOffsets, kmsg.Fetch} {
		for _, code := range []*kerr.Error{
			kerr.UnknownTopicOrPartition, kerr.LeaderNotAvailable, kerr.NotLeaderForPartition, kerr.RequestTimedOut,
			kerr.NetworkException, kerr.KafkaStorageError, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.OffsetNotAvailable,
		} {
			t.Run(fmt.Sprintf("%s/%s", key.Name(), code.Message), func(t *testing.T) {
				t.Parallel()
				k := fake(t)
				topic(t, k, "x", 4, "compact")
				p := producer(t, k)
				putKey(t, p, 2, "a", []byte("granted"))
				c, log := connectAndListen(t, k)
				view := &table{}
				l := follow(t, c, view, LedgerOptions{})
				// The producer asks for metadata too, and is not what is tested.
				ours := func(r kmsg.Request) bool {
					m, ok := r.(*kmsg.MetadataRequest)
					return !ok || m.Version == newestMetadata
				}
				fault := func(count int) *kfake.FaultHandle {
					return k.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: "x", Partitions: []int32{2}, Err: code, Count: count, When: ours})
				}
				once := fault(1)
				putKey(t, p, 2, "a", []byte("withdrawn"))
				if _, err := l.Barrier(bounded(t)); err != nil || view.copy()["a"] != "withdrawn" {
					t.Fatalf("once: %v with %v", err, view.copy())
				}
				once.Remove()
				l.Close()
				if key == kmsg.Metadata {
					return // the answer still tells what partitions there are
				}
				l = follow(t, c, view, LedgerOptions{Stall: soon})
				h := fault(-1)
				if key == kmsg.Fetch {
					for h.Hits() == 0 { // until then a fetch may bring what is put
						putKey(t, p, 2, "a", []byte("granted"))
					}
				}
				putKey(t, p, 2, "a", []byte("withdrawn again"))
				w := barrier(t, l)
				if key == kmsg.ListOffsets {
					log.line(t, "ledger ends cannot be asked")
				} else {
					log.line(t, "unknown_end=[] behind=[2] ")
				}
				awaitBehind(t, l, 2)
				w.stillWaits(t)
				if n := log.count(`msg="ledger ends cannot be asked, trying again"`); key == kmsg.ListOffsets && n != log.count("partitions=[2]") || n > 2 {
					t.Errorf("the log does not name the partition, or it does not once for each trouble: %d times", n)
				}
				h.Remove()
				w.passes(t)
				if view.copy()["a"] != "withdrawn again" {
					t.Errorf("passed early, with %v", view.copy())
				}
			})
		}
	}
}

// A leader whose end is asked for is told the epoch that another broker knows,
// so that one that was replaced without knowing refuses to answer.
func TestEndsAreAskedInTheEpochOfTheMoment(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "compact")
	var mu sync.Mutex
	var epochs []int32
	k.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		epochs = append(epochs, r.(*kmsg.ListOffsetsRequest).Topics[0].Partitions[0].CurrentLeaderEpoch)
		return nil, nil, false
	})
	l := follow(t, connect(t, k), &table{}, LedgerOptions{})
	mu.Lock()
	epochs = nil
	mu.Unlock()
	if err := k.MoveTopicPartition("x", 0, (k.LeaderFor("x", 0)+1)%3); err != nil {
		t.Fatal(err)
	}
	now := k.PartitionInfo("x", 0).Epoch
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(epochs) == 0 || now == 0 || slices.ContainsFunc(epochs, func(e int32) bool { return e != now }) {
		t.Errorf("asked in the epochs %v, the moment's is %d", epochs, now)
	}
}

// A broker that goes in the middle of a barrier and comes back keeps it, and
// what was acknowledged before.
func TestBarrierOutlivesItsBroker(t *testing.T) {
	disk := []kfake.Opt{kfake.NumBrokers(1), kfake.DataDir(t.TempDir()), kfake.SyncWrites(), kfake.Ports(freePort(t))}
	k := fake(t, disk...)
	topic(t, k, "x", 2, "compact")
	c, log := connectAndListen(t, k)
	view := &table{}
	l := follow(t, c, view, LedgerOptions{Stall: soon})
	h := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.KafkaStorageError, Count: -1})
	p := producer(t, k)
	for h.Hits() == 0 {
		putKey(t, p, 1, "a", []byte("granted"))
	}
	putKey(t, p, 1, "a", []byte("withdrawn"))
	w := barrier(t, l)
	log.line(t, "unknown_end=[] behind=[1] ") // it is asked, and not reached
	k.Close()
	later := barrier(t, l)
	log.line(t, "ledger ends cannot be asked")
	w.stillWaits(t)
	later.stillWaits(t)
	fake(t, disk...)
	w.passes(t)
	later.passes(t)
	if view.copy()["a"] != "withdrawn" {
		t.Error("passed early")
	}
}

// freePort gives a port that nobody listens at, and that is none of those that
// the system gives to connections.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no free port")
	return 0
}

// Ten thousand times, what was acknowledged before a barrier is in the view
// behind it, for one to four callers at once, each with leaders that move.
func TestNoBarrierMissesAWithdrawal(t *testing.T) {
	const pairs = 2500 // for each number of callers
	for callers := 1; callers <= 4; callers++ {
		t.Run(fmt.Sprint(callers), func(t *testing.T) {
			t.Parallel()
			k := fake(t)
			topic(t, k, "x", 3, "compact")
			view := &table{}
			l := follow(t, connect(t, k), view, LedgerOptions{})
			var wg sync.WaitGroup
			for caller := range callers {
				p := producer(t, k)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				wg.Go(func() {
					for n := range (pairs + callers - 1) / callers {
						if err := withdrawAndCheck(ctx, p, l, view, fmt.Sprint("key", caller), caller+n); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			if s := l.Stats(); s.Barriers < pairs || s.Waited <= 0 {
				t.Errorf("%d barriers, %s", s.Barriers, s.Waited)
			}
		})
	}
}

// withdrawAndCheck writes one record, and then looks for it behind a barrier.
func withdrawAndCheck(ctx context.Context, p *kgo.Client, l *Ledger, view *table, key string, n int) error {
	value := fmt.Sprint(n)
	r := &kgo.Record{Topic: l.topic, Partition: int32(n % 3), Key: []byte(key), Value: []byte(value)}
	if err := p.ProduceSync(ctx, r).FirstErr(); err != nil {
		return err
	}
	v, err := l.Barrier(ctx)
	if err != nil {
		return err
	}
	if got := view.get(key); got != value || v[pipeline.Partition{Topic: r.Topic, ID: r.Partition}] <= r.Offset {
		return fmt.Errorf("%s/%d: offset %d is not applied at %v: %q", r.Topic, r.Partition, r.Offset, v, got)
	}
	return nil
}

// Stats and Age may be asked for while everything else happens.
func TestStatsAtAnyTime(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "compact")
	l, err := connect(t, k).Ledger("x", &table{}, LedgerOptions{MaxStaleness: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); len(s.Applied) != 0 || s.Age != 0 {
		t.Errorf("before the start %+v", s)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				l.Stats()
				l.Age()
				l.Stalls()
			}
		}
	}()
	p := producer(t, k)
	if err := l.Start(bounded(t)); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		putKey(t, p, int32(i%2), "a", []byte("b"))
		if _, err := l.Barrier(bounded(t)); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	close(stop)
	<-stopped
	want := pipeline.Vector{{Topic: "x"}: 10, {Topic: "x", ID: 1}: 10}
	s := l.Stats()
	if d := cmp.Diff([]pipeline.Vector{want, want}, []pipeline.Vector{s.Applied, s.Ends}); d != "" || s.Barriers != 20 {
		t.Errorf("%s%+v", d, s)
	}
}

// A barrier that is given up is no stall any more.
func TestBarrierThatIsGivenUp(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "compact")
	c, log := connectAndListen(t, k)
	l := follow(t, c, &table{}, LedgerOptions{Stall: soon})
	h := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.OffsetNotAvailable, Count: -1})
	for i := range int64(2) {
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() {
			_, err := l.Barrier(ctx)
			got <- err
		}()
		awaitStalls(t, l, i+1)
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if s := l.Stats(); !s.StalledSince.IsZero() || s.Barriers != 0 {
			t.Errorf("%+v", s)
		}
	}
	h.Remove()
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Fatal(err)
	}
	log.line(t, "ledger barrier goes on")
	if n := log.count("has stalled"); n > 1 {
		t.Errorf("logged %d times although none had passed between", n)
	}
}
