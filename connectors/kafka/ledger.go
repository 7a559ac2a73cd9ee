package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"lupa/pipeline"
)

// View takes the records of the ledger. Apply is called by one goroutine, with
// the records of one partition in offset order; a nil value is a tombstone and
// a nil key an absent one. The slices are valid during the call only. It gives
// how many records it took; an error stops the ledger for good.
type View interface {
	Apply(keys, values [][]byte) (n int, err error)
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
	// Partitions is how many the topic must have; 0 is any number.
	Partitions int
	// Stall is how long a barrier may wait before that is logged and counted
	// (30 s). It goes on waiting.
	Stall time.Duration
	// Progress hears, during Start, how many of the offsets that were there
	// are applied.
	Progress func(done, total int64)
}

// Ledger follows a whole ledger topic into a view.
type Ledger struct {
	c     *Cluster
	topic string
	view  View
	o     LedgerOptions
	log   *slog.Logger

	client  *client
	fetcher *fetcher
	parts   []pipeline.Partition
	cancel  context.CancelFunc
	running sync.WaitGroup
	keys    [][]byte
	values  [][]byte

	mu       sync.Mutex
	applied  pipeline.Vector
	moved    chan struct{} // closed and replaced when applied moves
	failure  error         // why the view is no longer followed
	stopped  chan struct{} // closed when failure is set
	question *question     // that no ListOffsets has begun to answer
	wake     chan struct{} // asks for question to be answered

	stalls atomic.Int64
}

var _ pipeline.Ledger = (*Ledger)(nil)

// Ledger makes a reader of the ledger topic. It has connections of its own, so
// that no event fetch delays a barrier.
func (c *Cluster) Ledger(topic string, view View, o LedgerOptions) (*Ledger, error) {
	if topic == "" {
		return nil, errors.New("kafka: ledger: a topic is needed")
	}
	if o.Partitions < 0 || o.Stall < 0 {
		return nil, errors.New("kafka: ledger: partitions and stall must not be negative")
	}
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	return &Ledger{
		c: c, topic: topic, view: view, o: o, log: c.o.Logger,
		applied: pipeline.Vector{}, moved: make(chan struct{}), stopped: make(chan struct{}), wake: make(chan struct{}, 1),
	}, nil
}

// Start replays the topic from its beginning until the view has all that was
// in it when Start began, and then goes on following it in the background
// until Close.
func (l *Ledger) Start(ctx context.Context) error {
	if l.client != nil {
		return errors.New("kafka: ledger: started before")
	}
	l.client = &client{l.c, l.c.transport(l.topic)}
	if err := l.start(ctx); err != nil {
		l.stop(err)
		if l.fetcher != nil {
			l.fetcher.close()
		} else {
			l.client.transport.CloseIdleConnections()
		}
		return fmt.Errorf("kafka: ledger: %w", err)
	}
	life, cancel := context.WithCancel(context.Background())
	l.mu.Lock()
	l.cancel = cancel
	l.mu.Unlock()
	l.running.Go(func() {
		defer l.fetcher.close()
		l.stop(l.follow(life, nil))
	})
	l.running.Go(func() { l.answer(life) })
	return nil
}

func (l *Ledger) start(ctx context.Context) error {
	var first, ends map[pipeline.Partition]int64
	var compacted map[string]bool
	err := l.client.begin(ctx, func(ctx context.Context) error {
		leaders, err := l.client.leaders(ctx, []string{l.topic})
		if err != nil {
			return err
		}
		l.parts = share([]string{l.topic}, leaders, 0, 1)
		if first, err = l.client.offsets(ctx, l.parts, logStart); err != nil {
			return err
		}
		if ends, err = l.client.offsets(ctx, l.parts, logEnd); err != nil {
			return err
		}
		compacted, err = l.client.compacted(ctx, []string{l.topic})
		return err
	})
	if err != nil {
		return err
	}
	if n := len(l.parts); n == 0 || l.o.Partitions > 0 && n != l.o.Partitions {
		return fmt.Errorf("topic %s has %d partitions, %d are expected", l.topic, n, max(l.o.Partitions, 1))
	}
	if l.fetcher, err = newFetcher(l.client, []string{l.topic}, len(l.parts), reader{keys: true}); err != nil {
		return err
	}
	for _, p := range l.parts {
		l.applied[p] = first[p]
		l.fetcher.add(p, first[p], !compacted[l.topic])
	}
	return l.follow(ctx, &replay{first, ends, l.o.Progress})
}

// replay is what Start waits for.
type replay struct {
	first, ends map[pipeline.Partition]int64
	progress    func(done, total int64)
}

// done reports to the progress callback, and whether the ends are reached.
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

// follow applies what comes, until the replay is done or, without one, until
// ctx ends. It always gives the reason.
func (l *Ledger) follow(ctx context.Context, r *replay) error {
	for r == nil || !r.done(l.applied) {
		p, err := l.fetcher.next(ctx, pollWait)
		if err != nil {
			return err
		}
		if p == nil {
			continue
		}
		if err := l.apply(p); err != nil {
			return err
		}
	}
	return nil
}

// apply gives a piece to the view, and only then moves the position.
func (l *Ledger) apply(p *piece) error {
	out := &l.fetcher.out
	l.keys, l.values = l.keys[:0], l.values[:0]
	for i := p.lo; i < p.hi; i++ {
		l.keys = append(l.keys, out.bytes(out.keys[i]))
		l.values = append(l.values, out.bytes(out.values[i]))
	}
	if len(l.values) > 0 {
		n, err := l.view.Apply(l.keys, l.values)
		if err == nil && n != len(l.values) {
			err = errors.New("the view took fewer records than it was given")
		}
		if err != nil {
			n = min(max(n, 0), len(l.values)-1)
			return &ApplyError{Partition: p.part.id, Offset: out.offsets[p.lo+n], cause: err}
		}
	}
	l.mu.Lock()
	l.applied[p.part.id] = p.next
	close(l.moved)
	l.moved = make(chan struct{})
	l.mu.Unlock()
	return nil
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

// Stalls is how many barriers have waited longer than the Stall option.
func (l *Ledger) Stalls() int64 { return l.stalls.Load() }

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
