package kafka

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/pipeline"
)

// crew is members of one group and who holds what. No partition may be held by
// two that are awake.
type crew struct {
	t *testing.T
	c *Cluster
	o GroupOptions

	topics []string

	mu      sync.Mutex
	changed chan struct{}
	held    map[pipeline.Partition]string
	members map[string]*Group
	twice   []string
	running sync.WaitGroup
}

func newCrew(t *testing.T, c *Cluster, o GroupOptions, topics ...string) *crew {
	w := &crew{
		t: t, c: c, o: o, topics: topics, changed: make(chan struct{}),
		held: make(map[pipeline.Partition]string), members: make(map[string]*Group),
	}
	t.Cleanup(func() {
		for name := range w.members {
			w.leave(name)
		}
		w.running.Wait()
		for _, s := range w.twice {
			t.Error(s)
		}
	})
	return w
}

// quick is a group that notices everything soon.
func quick(id string) GroupOptions {
	return GroupOptions{
		ID: id, SessionTimeout: 1500 * time.Millisecond, HeartbeatInterval: 100 * time.Millisecond,
		RebalanceTimeout: 5 * time.Second, RefreshEvery: 100 * time.Millisecond,
	}
}

// join starts a member, which works until it is told to leave.
func (w *crew) join(name string) {
	w.t.Helper()
	g, err := w.c.Group(w.topics, w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.members[name] = g
	w.mu.Unlock()
	w.running.Go(func() {
		for {
			a, err := g.Next(w.t.Context())
			if errors.Is(err, errClosed) || errors.Is(err, context.Canceled) {
				return
			}
			if err != nil {
				w.t.Errorf("%s: %v", name, err)
				return
			}
			w.take(name, a.Partitions)
			<-a.Ended()
			w.drop(name)
			a.Release()
		}
	})
}

func (w *crew) take(name string, parts []pipeline.Partition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range parts {
		if other, ok := w.held[p]; ok {
			w.twice = append(w.twice, fmt.Sprintf("%s was given to %s while %s had it", p, name, other))
		}
		w.held[p] = name
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *crew) drop(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, who := range w.held {
		if who == name {
			delete(w.held, p)
		}
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// leave closes a member and waits until it is gone.
func (w *crew) leave(name string) {
	w.mu.Lock()
	g := w.members[name]
	delete(w.members, name)
	w.mu.Unlock()
	if g == nil {
		return
	}
	w.drop(name)
	if err := g.Close(); err != nil {
		w.t.Errorf("%s: %v", name, err)
	}
}

// await waits until so many partitions are held, evenly by the members that
// are there.
func (w *crew) await(ctx context.Context, partitions int) error {
	for {
		w.mu.Lock()
		changed := w.changed
		loads := make(map[string]int)
		for name := range w.members {
			loads[name] = 0
		}
		for _, name := range w.held {
			loads[name]++
		}
		done := len(w.held) == partitions && len(loads) == len(w.members)
		if least, most := span(loads); most-least > 1 {
			done = false
		}
		text := fmt.Sprint(loads)
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("of %d partitions the members hold %s", partitions, text)
		}
	}
}

// expectOf waits until a member holds so many.
func (w *crew) expectOf(name string, partitions int) {
	w.t.Helper()
	for ctx := bounded(w.t); ; {
		w.mu.Lock()
		changed, n := w.changed, 0
		for _, who := range w.held {
			if who == name {
				n++
			}
		}
		w.mu.Unlock()
		if n == partitions {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			w.t.Fatalf("%s holds %d partitions, not %d", name, n, partitions)
		}
	}
}

func (w *crew) expect(partitions int) {
	w.t.Helper()
	if err := w.await(bounded(w.t), partitions); err != nil {
		w.t.Fatal(err)
	}
}

func groupFake(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	return fake(t, append([]kfake.Opt{kfake.GroupMinSessionTimeout(100 * time.Millisecond)}, opts...)...)
}

func TestGroupCoversEveryPartitionOnce(t *testing.T) {
	k := groupFake(t)
	topic(t, k, "a", 5, "delete")
	topic(t, k, "b", 4, "delete")
	w := newCrew(t, connect(t, k), quick("g"), "a", "b")
	w.join("one")
	w.expect(9)
	w.join("two")
	w.expect(9)
	w.join("three")
	w.expect(9)
	w.leave("one")
	w.expect(9)
	w.leave("three")
	w.expect(9)
	if g := k.GroupInfo("g"); len(g.Commits) != 0 {
		t.Errorf("the group has offsets of %d topics", len(g.Commits))
	}
}

// Members join and leave as they like, often before the others have noticed.
func TestGroupOutlivesAStorm(t *testing.T) {
	t.Parallel()
	k := groupFake(t)
	topic(t, k, "x", 7, "delete")
	w := newCrew(t, connect(t, k), quick("g"), "x")
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	w.join("0")
	there := map[int]bool{0: true}
	for range 25 {
		i := r.IntN(4)
		name := fmt.Sprint(i)
		if there[i] {
			w.leave(name)
		} else {
			w.join(name)
		}
		there[i] = !there[i]
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(200))*time.Millisecond)
		_ = w.await(ctx, 7) // or be faster than they are
		cancel()
	}
	for i := range 2 {
		if !there[i] {
			w.join(fmt.Sprint(i))
		}
	}
	w.expect(7)
}

// New partitions are shared out, whoever notices them.
func TestGroupPicksUpNewPartitions(t *testing.T) {
	k := groupFake(t)
	topic(t, k, "x", 2, "delete")
	w := newCrew(t, connect(t, k), quick("g"), "x")
	w.join("one")
	w.join("two")
	w.expect(2)
	grow(t, k, "x", 5)
	w.expect(5)
	// All have learnt of it with that one rebalance, or soon.
	g, err := k.WaitGroupStable(bounded(t), "g", 2)
	if err != nil {
		t.Fatal(err)
	}
	end := time.NewTimer(4 * w.o.RefreshEvery)
	defer end.Stop()
	<-end.C
	if again := k.GroupInfo("g"); again.Epoch > g.Epoch+1 {
		t.Errorf("the group went on from generation %d to %d", g.Epoch, again.Epoch)
	}
}

func grow(t *testing.T, k brokers, name string, partitions int32) {
	t.Helper()
	req := kmsg.NewCreatePartitionsRequest()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = name, partitions
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 1000
	if _, err := req.RequestWith(bounded(t), producer(t, k)); err != nil {
		t.Fatal(err)
	}
}

func TestGroupNeedsItsTopics(t *testing.T) {
	k := groupFake(t, kfake.AllowAutoTopicCreation())
	topic(t, k, "x", 1, "delete")
	c := connect(t, k, func(o *Options) { o.StartTimeout = time.Second })
	g, err := c.Group([]string{"x", "nowhere"}, quick("g"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Next(bounded(t)); !errors.Is(err, ErrNoTopic) || !strings.Contains(err.Error(), "topic nowhere") {
		t.Fatal(err)
	}
	if k.GroupInfo("g") != nil || k.TopicInfo("nowhere") != nil {
		t.Error("the group was joined, or the topic made")
	}
}

// A topic that is deleted ends every member, and none of them makes it again:
// the client library asks for metadata in a way that would.
func TestGroupEndsWithItsTopic(t *testing.T) {
	t.Parallel()
	k := groupFake(t, kfake.AllowAutoTopicCreation())
	topic(t, k, "x", 2, "delete")
	c := connect(t, k, func(o *Options) { o.StartTimeout = 2 * time.Second })
	errs := make(chan error, 2)
	got := make(chan struct{}, 20)
	for range 2 {
		g, err := c.Group([]string{"x"}, quick("g"))
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
				got <- struct{}{}
				<-a.Ended()
				a.Release()
			}
		}()
	}
	<-got
	if _, err := k.WaitGroupStable(bounded(t), "g", 2); err != nil {
		t.Fatal(err)
	}
	if err := k.DeleteTopic("x"); err != nil {
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
	if k.TopicInfo("x") != nil {
		t.Error("a member has made the topic again")
	}
}

func TestRequestsMakeNoTopics(t *testing.T) {
	frame := func(key, version int16, body ...byte) []byte {
		b := []byte{0, 0, 0, byte(4 + len(body)), byte(key >> 8), byte(key), 0, byte(version)}
		return append(b, body...)
	}
	in := bytes.Join([][]byte{frame(3, 6, 9, 9, 1), frame(11, 2, 1, 1, 1), frame(3, 8, 9, 1, 1, 1), frame(3, 1, 7, 1), frame(10, 0), frame(3, 4, 1)}, nil)
	want := bytes.Join([][]byte{frame(3, 6, 9, 9, 0), frame(11, 2, 1, 1, 1), frame(3, 8, 9, 1, 1, 1), frame(3, 1, 7, 1), frame(10, 0), frame(3, 4, 0)}, nil)
	for piece := 1; piece <= len(in); piece++ {
		var r requests
		var out []byte
		given := bytes.Clone(in)
		for at := 0; at < len(in); at += piece {
			out = append(out, r.harmless(given[at:min(at+piece, len(in))])...)
		}
		if !bytes.Equal(out, want) {
			t.Fatalf("in pieces of %d: %x", piece, out)
		}
		if !bytes.Equal(given, in) {
			t.Fatal("what was written was changed")
		}
	}
}

// Another kind of consumer in the group is an error that says so.
func TestGroupRefusesStrangers(t *testing.T) {
	k := groupFake(t)
	topic(t, k, "x", 1, "delete")
	other, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := k.WaitGroupStable(bounded(t), "g", 1); err != nil {
		t.Fatal(err)
	}
	joins := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Observe: true, Count: -1})
	g, err := connect(t, k).Group([]string{"x"}, quick("g"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, err = g.Next(bounded(t))
	if err == nil || !strings.Contains(err.Error(), "group g: another kind of consumer is in the group") {
		t.Error(err)
	}
	if n := joins.Hits(); n > 2 {
		t.Errorf("%d requests to join", n)
	}
}

// Release before the end ends the generation, and the member goes on with the
// next one, to which it says what it had.
func TestReleaseEndsTheGeneration(t *testing.T) {
	k := groupFake(t)
	topic(t, k, "x", 3, "delete")
	g, err := connect(t, k).Group([]string{"x"}, quick("g"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := g.Next(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the next generation came before the release: %v", err)
	}
	first.Release()
	<-first.Ended()
	second, err := g.Next(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(second.Partitions) != 3 || second.Generation <= first.Generation {
		t.Errorf("%v in generation %d after %d", second.Partitions, second.Generation, first.Generation)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	<-second.Ended()
	if _, err := g.Next(bounded(t)); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if i := k.GroupInfo("g"); i != nil && len(i.Members) > 0 {
		t.Errorf("%d members are left", len(i.Members))
	}
}

// A member that waits for the others to join leaves at once all the same.
func TestCloseCutsAWaitingJoin(t *testing.T) {
	t.Parallel()
	k := groupFake(t)
	topic(t, k, "x", 2, "delete")
	o := quick("g")
	o.RebalanceTimeout, o.SessionTimeout = time.Minute, time.Minute
	c := connect(t, k)
	slow, err := c.Group([]string{"x"}, o)
	if err != nil {
		t.Fatal(err)
	}
	a, err := slow.Next(bounded(t)) // and it is not released for now
	if err != nil {
		t.Fatal(err)
	}
	joins := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Observe: true, Count: -1})
	waiting, err := c.Group([]string{"x"}, o)
	if err != nil {
		t.Fatal(err)
	}
	next := make(chan error)
	go func() {
		_, err := waiting.Next(t.Context())
		next <- err
	}()
	if err := joins.Wait(bounded(t), 1); err != nil {
		t.Fatal(err)
	}
	<-a.Ended()
	begun := time.Now()
	if err := waiting.Close(); err != nil {
		t.Error(err)
	}
	if err := <-next; !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("closing took %s", took)
	}
	if err := slow.Close(); err != nil {
		t.Error(err)
	}
}

func TestGroupOptionsNameTheKey(t *testing.T) {
	c, err := New(Options{Brokers: []string{"b:1"}})
	if err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]GroupOptions{
		"an id is needed":                              {},
		"heartbeat_interval: 10s is not less":          {ID: "g", HeartbeatInterval: 10 * time.Second},
		"session_timeout: -1s is not in":               {ID: "g", SessionTimeout: -time.Second},
		"rebalance_timeout: 2h0m0s is not in":          {ID: "g", RebalanceTimeout: 2 * time.Hour},
		"refresh_every: 1µs is not in":                 {ID: "g", RefreshEvery: time.Microsecond},
		"heartbeat_interval: 2s is not less than a th": {ID: "g", SessionTimeout: 6 * time.Second},
	} {
		if _, err := c.Group([]string{"x"}, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := c.Group(nil, GroupOptions{ID: "g"}); err == nil {
		t.Error("a group of no topics")
	}
}

// The process of a member is stopped. Its partitions go to the other within
// the session timeout, and when it wakes it learns that its generation has
// ended.
func TestStoppedMemberLosesItsPartitions(t *testing.T) {
	t.Parallel()
	k := groupFake(t)
	topic(t, k, "x", 4, "delete")
	loseStoppedMember(t, k, connect(t, k), "x", quick("g"))
}

func loseStoppedMember(t *testing.T, k brokers, c *Cluster, name string, o GroupOptions) {
	child, says := startMember(t, k, name, o)
	says("4")
	w := newCrew(t, c, o, name)
	w.join("here")
	says("ended", "2")
	w.expectOf("here", 2)
	if err := syscall.Kill(child, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	w.expect(4)
	if took := time.Since(begun); took > o.SessionTimeout+10*time.Second {
		t.Errorf("the partitions were free after %s", took)
	}
	if err := syscall.Kill(child, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	says("ended", "2")
}

// startMember runs a member in another process, which says how many partitions
// it is given and when that has ended.
func startMember(t *testing.T, k brokers, name string, o GroupOptions) (pid int, says func(lines ...string)) {
	t.Helper()
	options, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemberProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), "LUPA_TEST_MEMBER="+string(options), "LUPA_TEST_TOPIC="+name,
		"LUPA_TEST_BROKERS="+strings.Join(k.ListenAddrs(), ","))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := make(chan string, 100)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			if line, ok := strings.CutPrefix(s.Text(), "member: "); ok {
				lines <- line
			}
		}
		close(lines)
	}()
	return cmd.Process.Pid, func(want ...string) {
		t.Helper()
		for _, w := range want {
			select {
			case got := <-lines:
				if got != w {
					t.Fatalf("the other process says %q, want %q", got, w)
				}
			case <-bounded(t).Done():
				t.Fatalf("the other process does not say %q", w)
			}
		}
	}
}

// TestMemberProcess is the other process.
func TestMemberProcess(t *testing.T) {
	options := os.Getenv("LUPA_TEST_MEMBER")
	if options == "" {
		return // not a child of another test
	}
	c, err := New(Options{Brokers: strings.Split(os.Getenv("LUPA_TEST_BROKERS"), ",")})
	if err != nil {
		t.Fatal(err)
	}
	var o GroupOptions
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		t.Fatal("the options are none")
	}
	g, err := c.Group([]string{os.Getenv("LUPA_TEST_TOPIC")}, o)
	if err != nil {
		t.Fatal(err)
	}
	for {
		a, err := g.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("member:", len(a.Partitions))
		<-a.Ended()
		fmt.Println("member: ended")
		a.Release()
	}
}

// A coordinator that is away and comes back is logged once each.
func TestGroupLogsChangesAlone(t *testing.T) {
	t.Parallel()
	k := groupFake(t)
	topic(t, k, "x", 1, "delete")
	var log syncBuffer
	c := connect(t, k, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	g, err := c.Group([]string{"x"}, quick("g"))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	a, err := g.Next(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	down := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.FindCoordinator}, Group: "g", Count: 4, Err: retriable[15]})
	a.Release()
	if a, err = g.Next(bounded(t)); err != nil {
		t.Fatal(err)
	}
	a.Release()
	if down.Hits() < 4 {
		t.Fatalf("%d failures", down.Hits())
	}
	text := log.String()
	if n := strings.Count(text, "cannot be joined"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, text)
	}
	if n := strings.Count(text, "can be joined again"); n != 1 {
		t.Errorf("%d recoveries:\n%s", n, text)
	}
}

// syncBuffer is a buffer for loggers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
