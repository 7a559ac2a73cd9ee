package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"lupa/pipeline"
)

// GroupOptions say how a member of a group behaves. Zero values stand for the
// defaults.
type GroupOptions struct {
	// ID names the group. It must be the pipeline's own.
	ID string
	// SessionTimeout is how long a member may be silent before its partitions
	// go to others (30 s).
	SessionTimeout time.Duration
	// HeartbeatInterval is how often a member shows that it is there (2 s); less
	// than a third of SessionTimeout.
	HeartbeatInterval time.Duration
	// RebalanceTimeout is how long the others wait for a member to let go of its
	// partitions (60 s).
	RebalanceTimeout time.Duration
	// RefreshEvery is how often topics are asked for new partitions (2 s).
	RefreshEvery time.Duration
}

const (
	joinBackoff   = time.Second     // after an error
	groupTimeout  = 5 * time.Second // of a request to the coordinator
	oddTries      = 5               // of errors that nothing is known about
	closePatience = 2 * time.Second // until connections are cut
)

// Group is one member of a consumer group. The group only says who should work
// on which partitions; it keeps no offsets, and it fences nobody off: what a
// member commits must be refused by the sink once another has claimed the
// partition. One goroutine uses a Group, but Close may be called by any.
type Group struct {
	c      *Cluster
	topics []string
	o      GroupOptions
	log    *slog.Logger
	client *client
	sticky *sticky
	dials  *dials
	life   context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	known   map[string]int // partitions of each topic, as this member last told the others
	group   *kafkago.ConsumerGroup
	member  string // as the coordinator called this one last
	current *Assignment
	closed  bool

	trouble class
	odd     int
	wait    time.Duration
	joined  bool
	since   time.Time // of the first trouble before anything was assigned
}

// Group makes a member of the group that shares out the topics' partitions. It
// joins with the first call of Next.
func (c *Cluster) Group(topics []string, o GroupOptions) (*Group, error) {
	topics, err := checkTopics(topics)
	if err != nil {
		return nil, err
	}
	if o.ID == "" {
		return nil, errors.New("kafka: group: an id is needed")
	}
	for _, v := range []struct {
		key   string
		value *time.Duration
		def   time.Duration
	}{
		{"session_timeout", &o.SessionTimeout, 30 * time.Second},
		{"heartbeat_interval", &o.HeartbeatInterval, 2 * time.Second},
		{"rebalance_timeout", &o.RebalanceTimeout, time.Minute},
		{"refresh_every", &o.RefreshEvery, 2 * time.Second},
	} {
		if *v.value == 0 {
			*v.value = v.def
		}
		if *v.value < time.Millisecond || *v.value > time.Hour {
			return nil, fmt.Errorf("kafka: group: %s: %s is not in 1ms to 1h", v.key, *v.value)
		}
	}
	if 3*o.HeartbeatInterval >= o.SessionTimeout {
		return nil, fmt.Errorf("kafka: group: heartbeat_interval: %s is not less than a third of session_timeout, %s", o.HeartbeatInterval, o.SessionTimeout)
	}
	g := &Group{
		c: c, topics: topics, o: o, log: c.o.Logger.With("group", o.ID),
		client: &client{c, c.transport(topics...)}, dials: &dials{open: make(map[*dialed]bool)},
	}
	g.sticky = &sticky{counts: g.tell}
	g.life, g.cancel = context.WithCancel(context.Background())
	return g, nil
}

// Assignment is what one generation of the group gives this member.
type Assignment struct {
	// Partitions are this member's, ascending; there may be none.
	Partitions []pipeline.Partition
	// Generation counts the group's assignments, until the group is forgotten.
	// It is for logs alone.
	Generation int32

	ended    chan struct{}
	released chan struct{}
	once     sync.Once
}

// Ended is closed when the generation ends: the partitions may be another
// member's soon.
func (a *Assignment) Ended() <-chan struct{} { return a.ended }

// Release says that all work on the partitions has stopped. The member joins
// the next generation only after that, so it must come well before the
// rebalance timeout. Before the generation has ended it ends it.
func (a *Assignment) Release() { a.once.Do(func() { close(a.released) }) }

// Next waits for the next generation, and first for the release of the one
// before. It keeps trying through whatever may pass; before the first
// generation only for as long as a start may take. Topics that are not there
// are an error.
func (g *Group) Next(ctx context.Context) (*Assignment, error) {
	a, err := g.next(ctx)
	if err != nil {
		return nil, fmt.Errorf("kafka: group %s: %w", g.o.ID, err)
	}
	return a, nil
}

func (g *Group) next(ctx context.Context) (*Assignment, error) {
	g.mu.Lock()
	before := g.current
	g.mu.Unlock()
	if before != nil {
		select {
		case <-before.released:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	group, err := g.start(ctx)
	if err != nil {
		return nil, err
	}
	for {
		gen, err := group.Next(ctx)
		switch {
		case err == nil:
			return g.assign(gen)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, kafkago.ErrGroupClosed):
			return nil, errClosed
		}
		if err := g.bear(ctx, err); err != nil {
			return nil, err
		}
	}
}

// start joins the group, once the topics are there.
func (g *Group) start(ctx context.Context) (*kafkago.ConsumerGroup, error) {
	g.mu.Lock()
	group, closed := g.group, g.closed
	g.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if group != nil {
		if _, err := g.look(ctx); errors.Is(err, ErrNoTopic) {
			// It may be a broker that has just started.
			err = g.client.begin(ctx, func(ctx context.Context) error {
				_, err := g.look(ctx)
				return err
			})
			if errors.Is(err, ErrNoTopic) {
				return nil, err
			}
		}
		return group, nil
	}
	err := g.client.begin(ctx, func(ctx context.Context) error {
		counts, err := g.look(ctx)
		if err == nil {
			g.learn(counts)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	dialer := g.c.dialer()
	dialer.DialFunc = g.dials.track(dialer.DialFunc)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, errClosed
	}
	g.group, err = kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID: g.o.ID, Brokers: g.c.o.Brokers, Dialer: dialer, Topics: g.topics,
		GroupBalancers:    []kafkago.GroupBalancer{g.sticky},
		HeartbeatInterval: g.o.HeartbeatInterval, SessionTimeout: g.o.SessionTimeout, RebalanceTimeout: g.o.RebalanceTimeout,
		JoinGroupBackoff: joinBackoff, Timeout: groupTimeout,
		// No loggers: what they would say is said here, once.
	})
	return g.group, err
}

// assign begins a generation.
func (g *Group) assign(gen *kafkago.Generation) (*Assignment, error) {
	a := &Assignment{Generation: gen.ID, ended: make(chan struct{}), released: make(chan struct{})}
	for t, list := range gen.Assignments {
		for _, p := range list {
			a.Partitions = append(a.Partitions, pipeline.Partition{Topic: t, ID: int32(p.ID)})
		}
	}
	slices.SortFunc(a.Partitions, byTopic)
	g.sticky.own(a.Partitions, gen.ID)
	if g.trouble != healthy {
		g.log.Info("the group can be joined again", "class", g.trouble.String())
	}
	g.trouble, g.odd, g.wait, g.joined = healthy, 0, 0, true
	g.log.Info("partitions are assigned", "generation", gen.ID, "partitions", len(a.Partitions))

	g.mu.Lock()
	g.current, g.member = a, gen.MemberID
	if g.closed {
		a.Release()
	}
	g.mu.Unlock()
	// The generation ends when one of these returns, and the member joins the
	// next one when all have.
	gen.Start(func(ctx context.Context) {
		defer close(a.ended)
		select {
		case <-ctx.Done():
		case <-a.released:
		}
	})
	gen.Start(func(context.Context) { <-a.released })
	gen.Start(g.watch)
	return a, nil
}

// watch returns when a topic has got more partitions, so that all members join
// again and share them out, or when it is gone, which the next call of Next
// finds.
func (g *Group) watch(ctx context.Context) {
	tick := time.NewTicker(g.o.RefreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.life.Done():
			return
		case <-tick.C:
		}
		counts, err := g.look(g.life)
		if errors.Is(err, ErrNoTopic) && g.lost() {
			return
		}
		if err != nil {
			continue // the heartbeat tells whether this member is still in touch
		}
		if more := g.learn(counts); more != "" {
			g.log.Info("a topic has more partitions", "topic", more, "partitions", counts[more])
			return
		}
	}
}

// lost reports whether a topic that was not there a moment ago stays away. A
// broker that has just started does not know its topics for a while.
func (g *Group) lost() bool {
	for until := time.Now().Add(g.c.o.StartTimeout / 10); time.Now().Before(until); {
		if pause(g.life, minBackoff) != nil {
			return false
		}
		if _, err := g.look(g.life); !errors.Is(err, ErrNoTopic) {
			return false
		}
	}
	return true
}

// look asks how many partitions the topics have.
func (g *Group) look(ctx context.Context) (map[string]int, error) {
	leaders, err := g.client.leaders(ctx, g.topics)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int)
	for p := range leaders {
		counts[p.Topic]++
	}
	return counts, nil
}

// learn takes in the number of partitions and tells a topic that has more than
// this member knew of.
func (g *Group) learn(counts map[string]int) (more string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.topics {
		if counts[t] > g.known[t] {
			more = t
		}
	}
	g.known = counts
	return more
}

// tell gives the number of partitions for the request to join. What it tells
// is what later growth is measured by: the leader deals out no less.
func (g *Group) tell() map[string]int {
	if counts, err := g.look(g.life); err == nil {
		g.learn(counts)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.known)
}

// bear decides what an error of the group means: nil when trying again may
// help. The client library waits only until its error is taken, and after some
// not even that, so the pause is here.
func (g *Group) bear(ctx context.Context, err error) error {
	class := classOf(err)
	var code kafkago.Error
	switch {
	case errors.Is(err, kafkago.InconsistentGroupProtocol):
		return fmt.Errorf("another kind of consumer is in the group, whose id must be this pipeline's own: %w", kafkago.InconsistentGroupProtocol)
	case class == fatal && errors.As(err, &code):
		return code
	case class == fatal || class == corrupt:
		if g.odd++; g.odd >= oddTries {
			return fmt.Errorf("gave up after %d errors: %w", g.odd, err)
		}
		class = brokerBusy
	}
	now := time.Now()
	if g.trouble == healthy {
		g.since = now
	}
	if !g.joined && now.Sub(g.since) > g.c.o.StartTimeout {
		return fmt.Errorf("gave up after %s: %w", g.c.o.StartTimeout, err)
	}
	g.wait = min(max(2*g.wait, minBackoff), maxBackoff)
	if errors.Is(err, kafkago.RebalanceInProgress) && g.trouble == healthy && g.wait <= 4*minBackoff {
		return pause(ctx, g.wait) // others join at this moment
	}
	if class != g.trouble {
		g.log.Warn("the group cannot be joined, trying again", "class", class.String())
		g.trouble = class
	}
	return pause(ctx, g.wait)
}

// Close leaves the group. A generation that goes on ends and counts as
// released: the work on its partitions should have stopped.
func (g *Group) Close() error {
	g.mu.Lock()
	group, current := g.group, g.current
	g.closed = true
	g.mu.Unlock()
	if current != nil {
		current.Release()
	}
	var err error
	if group != nil {
		err = g.leave(group)
	}
	g.cancel()
	g.client.transport.CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("kafka: group %s: close: %w", g.o.ID, err)
	}
	return nil
}

// leave cuts the connections if the group does not let go by itself: a request
// to join may wait for others as long as the rebalance timeout. The client
// library then forgets who it is, so the group is told here.
func (g *Group) leave(group *kafkago.ConsumerGroup) error {
	done := make(chan error, 1)
	go func() { done <- group.Close() }()
	for cut := false; ; {
		t := time.NewTimer(closePatience)
		select {
		case err := <-done:
			t.Stop()
			g.mu.Lock()
			member := g.member
			g.mu.Unlock()
			if cut && member != "" {
				c := &kafkago.Client{Addr: g.c.address(), Transport: g.client.transport, Timeout: closePatience}
				_, err := c.LeaveGroup(g.life, &kafkago.LeaveGroupRequest{
					GroupID: g.o.ID, Members: []kafkago.LeaveGroupRequestMember{{ID: member}},
				})
				if err != nil {
					g.log.Warn("the group was not left: its others wait for the session timeout", "class", classOf(err).String())
				}
			}
			return err
		case <-t.C:
			cut = true
			g.dials.cut()
		}
	}
}
