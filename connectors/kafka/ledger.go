package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"lupa/pipeline"
	"lupa/schemas"
)

// View takes the messages of the ledger. ApplyMessages is called by one
// goroutine, with those of one partition in offset order, and they are valid
// during the call only. It gives how many messages it took; an error stops the
// ledger for good.
type View interface {
	ApplyMessages(m *schemas.LedgerMessages) (n int, err error)
}

// ApplyError says which ledger record the view could not take. Its message
// holds the place alone; the view's own error can be unwrapped.
type ApplyError struct {
	Partition pipeline.Partition
	Offset    int64
	cause     error
}

// Error names topic, partition and offset.
func (e *ApplyError) Error() string {
	return fmt.Sprintf("%s: the record at offset %d cannot be applied", e.Partition, e.Offset)
}

// Unwrap gives the view's error.
func (e *ApplyError) Unwrap() error { return e.cause }

// LedgerOptions say how a ledger is read. Zero values stand for the defaults.
type LedgerOptions struct {
	// Partitions is how many the topic must have at the start; 0 is any number.
	Partitions int
	// Stall is how long a barrier, or a start in which nothing comes, may wait
	// before that is logged and counted (30 s). It goes on waiting.
	Stall time.Duration
	// MaxStaleness is how long a partition may give no record before barriers
	// wait for one; 0 is for ever. Whoever writes the ledger must then write
	// something, a marker at least, to each partition more often. Time counts
	// on this process's own clock from when a record was applied.
	MaxStaleness time.Duration
	// Strict has each question for the ends of the ledger asked by writing a
	// marker to every partition, acknowledged by all its in-sync replicas,
	// which takes the right to write and a topic with two of them at least
	// (min.insync.replicas). The view must pass over what schemas.IsMarker
	// tells.
	Strict bool
	// Progress hears, during Start, how many of the offsets that were there
	// are applied.
	Progress func(done, total int64)
}

// shrunkTries is how many answers in a row must leave out a partition to prove
// that it is gone, where topics have no identity.
const shrunkTries = 5

// Ledger follows a whole ledger topic into a view.
type Ledger struct {
	c     *Cluster
	topic string
	view  View
	o     LedgerOptions
	log   *slog.Logger
	now   func() time.Time

	client  *client
	cancel  context.CancelFunc
	running sync.WaitGroup

	// Start has these first, then what follows the topic.
	fetcher *fetcher
	gapless bool // not compacted
	// caughtUp says that the replay is over: what comes was not there at the start.
	caughtUp bool
	batch    schemas.LedgerMessages
	from     *LedgerState // that Resume has checked
	cluster  string
	marks    pipeline.Positions               // as applied, with anchors
	level    map[pipeline.Partition]time.Time // when all was applied that there was
	still    chan func()                      // to be called between two pieces

	// And these first, then what answers questions.
	inspector inspector
	id        [16]byte // of the topic, if known
	marker    []byte
	shrunk    int // answers that left out a partition

	mu       sync.Mutex
	parts    []pipeline.Partition // replaced when there are more; what answers reads it without mu
	added    []pipeline.Partition // that are not fetched yet
	applied  pipeline.Vector
	heard    map[pipeline.Partition]time.Time // when a record was applied last
	moved    chan struct{}                    // closed and replaced when applied moves
	failure  error                            // why the view is no longer followed
	stopped  chan struct{}                    // closed when failure is set
	question *question                        // that nothing has begun to answer
	wake     chan struct{}                    // asks for question to be answered

	unanswered []pipeline.Partition // of the question that is being answered
	asked      pipeline.Vector      // the last answer; never changed
	barriers   int64
	waited     time.Duration
	stalls     int64
	stalled    map[*wait]struct{} // waiting for longer than Stall
	said       uint8              // why, since the last that has passed
}

var _ pipeline.Ledger = (*Ledger)(nil)

// Ledger makes a reader of the ledger topic. It has connections of its own, so
// that no event fetch delays a barrier.
func (c *Cluster) Ledger(topic string, view View, o LedgerOptions) (*Ledger, error) {
	if topic == "" {
		return nil, errors.New("kafka: ledger: a topic is needed")
	}
	if o.Partitions < 0 || o.Stall < 0 || o.MaxStaleness < 0 {
		return nil, errors.New("kafka: ledger: partitions, stall and staleness must not be negative")
	}
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	return &Ledger{
		c: c, topic: topic, view: view, o: o, log: c.o.Logger, now: time.Now, marker: newMarker(c.o.ClientID),
		applied: pipeline.Vector{}, marks: pipeline.Positions{}, level: map[pipeline.Partition]time.Time{}, still: make(chan func()), heard: make(map[pipeline.Partition]time.Time), stalled: make(map[*wait]struct{}),
		moved: make(chan struct{}), stopped: make(chan struct{}), wake: make(chan struct{}, 1),
	}, nil
}

// Start replays the topic from its beginning until the view has all that was
// acknowledged when Start began, and then goes on following it in the background
// until Close. Like a barrier it waits for the high watermarks, so an open
// transaction holds it up, which is logged after Stall.
func (l *Ledger) Start(ctx context.Context) error {
	if l.client != nil {
		return errors.New("kafka: ledger: started before")
	}
	l.client = &client{l.c, l.c.transport(l.topic)}
	l.inspector.client = l.client
	if err := l.start(ctx); err != nil {
		l.stop(err)
		if l.fetcher != nil {
			l.fetcher.close()
		} else {
			l.client.transport.CloseIdleConnections()
		}
		return fmt.Errorf("kafka: ledger: %w", err)
	}
	now := l.now()
	life, cancel := context.WithCancel(context.Background())
	l.mu.Lock()
	for p := range l.heard {
		l.heard[p] = now
	}
	l.cancel = cancel
	l.mu.Unlock()
	l.running.Go(func() {
		defer l.fetcher.close()
		l.stop(l.follow(life))
	})
	l.running.Go(func() { l.answer(life) })
	return nil
}

func (l *Ledger) start(ctx context.Context) error {
	forgets, within := "", time.Duration(0)
	err := l.client.begin(ctx, func(ctx context.Context) error {
		if _, err := l.survey(ctx); err != nil {
			return err
		}
		compacted, err := l.client.compacted(ctx, []string{l.topic})
		if err != nil {
			return err
		}
		l.gapless = !compacted[l.topic]
		if l.cluster, err = l.client.clusterID(ctx, []string{l.topic}); err != nil {
			return err
		}
		if forgets, err = l.client.forgets(ctx, l.topic, l.applied); err != nil || l.gapless {
			return err
		}
		kept, err := l.client.tombstones(ctx, l.topic)
		within = kept / 2 // compaction and the brokers' clocks have their own time
		return err
	})
	if err != nil {
		return err
	}
	if forgets != "" {
		l.log.Warn("the ledger topic forgets records, and a withdrawal, link or erasure that is gone is not honoured; "+
			"cleanup.policy=compact keeps the last of each key", "topic", l.topic, "why", forgets)
	}
	if n := len(l.parts); n == 0 || l.o.Partitions > 0 && n != l.o.Partitions {
		return fmt.Errorf("topic %s has %d partitions, %d are expected", l.topic, n, max(l.o.Partitions, 1))
	}
	if err := l.resume(); err != nil {
		return err
	}
	if l.fetcher, err = newFetcher(l.client, []string{l.topic}, 0, reader{keys: true, headers: true}); err != nil {
		return err
	}
	l.fetcher.within, l.fetcher.now = within, l.now
	ends := make(map[pipeline.Partition]int64)
	if err := l.client.begin(ctx, func(ctx context.Context) error { return l.tryEnds(ctx, ends) }); err != nil {
		return err
	}
	return l.replay(ctx, &replay{maps.Clone(l.applied), ends, l.o.Progress})
}

// replay is what Start waits for.
type replay struct {
	first, ends map[pipeline.Partition]int64
	progress    func(done, total int64)
}

// done reports to the progress callback, and whether the ends are reached. What
// applies is the only one to move applied.
func (r *replay) done(applied pipeline.Vector) bool {
	var done, total int64
	all := true
	for p, end := range r.ends {
		total += end - r.first[p]
		done += min(applied[p], end) - r.first[p]
		all = all && applied[p] >= end
	}
	if r.progress != nil {
		r.progress(done, total)
	}
	return all
}

// replay applies what comes until r is done.
func (l *Ledger) replay(ctx context.Context, r *replay) error {
	w := &wait{what: "ledger replay", began: l.now()}
	moved := w.began
	for !r.done(l.applied) {
		switch some, err := l.step(ctx); {
		case err != nil:
			l.over(w, err)
			return err
		case some:
			moved = l.now()
		case l.now().Sub(moved) >= l.o.Stall:
			moved = l.now()
			l.stall(ctx, w)
		}
	}
	l.over(w, nil)
	l.caughtUp = true
	return nil
}

// follow applies what comes until ctx ends. It always gives the reason.
func (l *Ledger) follow(ctx context.Context) error {
	for {
		select {
		case f := <-l.still:
			f()
		default:
		}
		if _, err := l.step(ctx); err != nil {
			return err
		}
	}
}

// step applies the next piece, if one comes soon, and reports whether.
func (l *Ledger) step(ctx context.Context) (bool, error) {
	l.mu.Lock()
	added := l.added
	l.added = nil
	for _, p := range added {
		l.fetcher.add(p, l.applied[p], l.gapless)
		l.level[p] = l.now()
		if l.from != nil {
			l.level[p] = l.from.Time
		}
		if mark, ok := l.marks[p]; ok && l.gapless {
			_, l.fetcher.parts[len(l.fetcher.parts)-1].last, _ = parseAnchor(mark.Anchor)
		}
	}
	l.mu.Unlock()
	p, err := l.fetcher.next(ctx, pollWait)
	if err != nil || p == nil {
		return false, err
	}
	return true, l.apply(p)
}

// apply gives a piece to the view, and only then moves the position.
func (l *Ledger) apply(p *piece) error {
	if m := l.fill(p); len(m.Values) > 0 {
		n, err := l.view.ApplyMessages(m)
		if err == nil && n != len(m.Values) {
			err = errors.New("the view took fewer records than it was given")
		}
		if err != nil {
			n = min(max(n, 0), len(m.Values)-1)
			return &ApplyError{Partition: p.part.id, Offset: m.Offsets[n], cause: err}
		}
	}
	if !l.gapless {
		p.anchor = anchor{} // compaction will write the batch anew
	}
	if p.next >= p.part.stable {
		l.level[p.part.id] = p.part.level
	}
	l.marks[p.part.id] = pipeline.Mark{Next: p.next, Anchor: p.anchor.mark(l.cluster)}
	now := l.now()
	l.mu.Lock()
	l.applied[p.part.id] = p.next
	if len(l.batch.Values) > 0 {
		l.heard[p.part.id] = now
	}
	close(l.moved)
	l.moved = make(chan struct{})
	l.mu.Unlock()
	return nil
}

// fill makes messages of a piece.
func (l *Ledger) fill(p *piece) *schemas.LedgerMessages {
	out, m := &l.fetcher.out, &l.batch
	m.Topic, m.Partition, m.Offsets = p.part.id.Topic, p.part.id.ID, out.offsets[p.lo:p.hi]
	m.Compacted = !l.gapless && !l.caughtUp
	m.Keys, m.Values, m.Headers = m.Keys[:0], m.Values[:0], m.Headers[:0]
	headers := out.headed(p.lo, p.hi)
	for i := p.lo; i < p.hi; i++ {
		m.Keys = append(m.Keys, out.bytes(out.keys[i]))
		m.Values = append(m.Values, out.bytes(out.values[i]))
		if headers != nil {
			m.Headers = append(m.Headers, out.bytes(headers[i-p.lo]))
		}
	}
	if headers == nil {
		m.Headers = nil
	}
	return m
}

// stop notes why the view is not followed any more.
func (l *Ledger) stop(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil {
		l.failure = err
		close(l.stopped)
	}
}

// Err is why the ledger is no longer followed, or nil.
func (l *Ledger) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// Close stops following. Barriers that wait get an error.
func (l *Ledger) Close() error {
	l.stop(errClosed)
	l.mu.Lock()
	cancel := l.cancel
	l.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	l.running.Wait()
	return nil
}
