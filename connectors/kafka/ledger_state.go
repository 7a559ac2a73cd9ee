package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"lupa/pipeline"
)

// LedgerState says up to where a view has the records of a ledger, and of which
// ledger, so that a copy of the view can go on from there.
type LedgerState struct {
	Cluster string // the cluster's own name for itself
	Topic   string
	TopicID [16]byte // zero from brokers older than Apache Kafka 2.8
	Marks   pipeline.Positions
	// Time is when it was true: of a compacted topic, when last each partition was
	// read to its end. What was written after that it may not have.
	Time time.Time
}

// StateError says why a state is not one of this ledger's any more.
type StateError struct {
	Why   string
	cause error
}

// Error gives the reason.
func (e *StateError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("kafka: ledger: %s: %v", e.Why, e.cause)
	}
	return "kafka: ledger: " + e.Why
}

// Unwrap gives the cause, if there is one.
func (e *StateError) Unwrap() error { return e.cause }

// Resume has Start go on from a state, with a view that has all that is before
// it. It is called before Start. What it gives is a *StateError when the state
// does not fit the topic as it is now: another cluster, another topic of that
// name, a log that was cut or forgot what comes next, or a compacted topic whose
// tombstones may be gone that the view has not seen. The view must then begin
// anew. Another error says nothing about the state.
func (l *Ledger) Resume(ctx context.Context, s LedgerState) error {
	if l.client != nil {
		return errors.New("kafka: ledger: started before")
	}
	if s.Topic != l.topic {
		return &StateError{Why: "the state is of another topic"}
	}
	k := &client{l.c, l.c.transport(l.topic)}
	defer k.transport.CloseIdleConnections()
	var at ledgerLog
	if err := k.begin(ctx, func(ctx context.Context) (err error) { at, err = k.ledgerLog(ctx, l.topic); return err }); err != nil {
		return fmt.Errorf("kafka: ledger: %w", err)
	}
	if err := at.fits(s, l.now()); err != nil {
		return err
	}
	for p, mark := range s.Marks {
		_, batch, ok := parseAnchor(mark.Anchor)
		if !ok {
			return &StateError{Why: "the state has an anchor that is none"}
		}
		if !batch.known || at.compacted || mark.Next == at.first[p] {
			continue
		}
		err := k.begin(ctx, func(ctx context.Context) error { return k.checkAnchor(ctx, p, mark.Next, batch) })
		if gone, ok := errors.AsType[*PositionError](err); ok {
			return &StateError{"the log is not the one that the state is of", gone}
		}
		if err != nil {
			return fmt.Errorf("kafka: ledger: %w", err)
		}
	}
	l.from = &s
	return nil
}

// ledgerLog is what a ledger topic is at the moment.
type ledgerLog struct {
	cluster     string
	id          [16]byte
	compacted   bool
	tombstones  time.Duration // how long compaction leaves them
	first, last map[pipeline.Partition]int64
}

func (c *client) ledgerLog(ctx context.Context, topic string) (at ledgerLog, err error) {
	i := inspector{client: c}
	found, err := i.inspect(ctx, topic)
	if err != nil {
		return at, err
	}
	at.id = found.id
	if at.cluster, err = c.clusterID(ctx, []string{topic}); err != nil {
		return at, err
	}
	compacted, err := c.compacted(ctx, []string{topic})
	if err != nil {
		return at, err
	}
	if at.compacted = compacted[topic]; at.compacted {
		if at.tombstones, err = c.tombstones(ctx, topic); err != nil {
			return at, err
		}
	}
	parts := share([]string{topic}, found.leaders, 0, 1)
	if at.first, err = c.listOffsets(ctx, parts, found.leaders, logStart, readUncommitted); err != nil {
		return at, err
	}
	at.last, err = c.listOffsets(ctx, parts, found.leaders, logEnd, readUncommitted)
	return at, err
}

// fits compares a state with the topic, but for its anchors.
func (at *ledgerLog) fits(s LedgerState, now time.Time) error {
	var none [16]byte
	switch {
	case s.Cluster != at.cluster:
		return &StateError{Why: "the state is of another cluster"}
	case s.TopicID != at.id:
		return &StateError{Why: "the topic was made anew since the state was kept"}
	case at.compacted && at.id == none:
		return &StateError{Why: "brokers without topic identities cannot tell whether the compacted topic is the same"}
	case at.compacted && (s.Time.After(now) || now.Sub(s.Time) > at.tombstones/2):
		return &StateError{Why: "the state is older than half of delete.retention.ms, so that tombstones may be gone"}
	}
	for p, mark := range s.Marks {
		first, known := at.first[p]
		switch {
		case !known:
			return &StateError{Why: fmt.Sprintf("the topic has no partition %d any more", p.ID)}
		case mark.Next < first:
			return &StateError{Why: fmt.Sprintf("%s: the state ends at %d, and the log begins at %d", p, mark.Next, first)}
		case mark.Next > at.last[p]:
			return &StateError{Why: fmt.Sprintf("%s: the state ends at %d, and the log at %d", p, mark.Next, at.last[p])}
		}
	}
	return nil
}

// resume moves the beginning of partitions to where the state ends, which Resume
// has checked. Offsets below it are those of records that the view has.
func (l *Ledger) resume() error {
	if l.from == nil {
		return nil
	}
	if l.id != l.from.TopicID {
		return errRecreated
	}
	for p, mark := range l.from.Marks {
		if l.applied[p] > mark.Next {
			return &PositionError{Partition: p, Next: mark.Next, Start: l.applied[p], End: -1}
		}
		l.applied[p] = mark.Next
		l.marks[p] = mark
	}
	return nil
}

// Still calls f while no record is applied, with the state that the view is in.
// It waits until the record at hand is applied, and ends without calling f when
// ctx does or the ledger is no longer followed. f must be short: barriers wait
// for what comes after it.
func (l *Ledger) Still(ctx context.Context, f func(LedgerState) error) error {
	done := make(chan error, 1)
	ask := func() {
		s := LedgerState{Cluster: l.cluster, Topic: l.topic, TopicID: l.id, Marks: maps.Clone(l.marks), Time: l.readToEnds(l.now())}
		done <- f(s)
	}
	select {
	case l.still <- ask:
	case <-l.stopped:
		return l.Err()
	case <-ctx.Done():
		return fmt.Errorf("kafka: ledger: %w", ctx.Err())
	}
	return <-done
}

// readToEnds gives when last the view had all of each partition. Until
// compaction removes tombstones, it counts from then.
func (l *Ledger) readToEnds(now time.Time) time.Time {
	if l.gapless {
		return now
	}
	for _, p := range l.fetcher.parts {
		if l.applied[p.id] >= p.stable {
			l.level[p.id] = p.level
		}
		if level := l.level[p.id]; level.Before(now) {
			now = level
		}
	}
	return now
}

// Name asks for the cluster's own name for itself, as positions and states hold it.
func (c *Cluster) Name(ctx context.Context, topic string) (name string, err error) {
	k := &client{c, c.transport(topic)}
	defer k.transport.CloseIdleConnections()
	err = k.begin(ctx, func(ctx context.Context) (err error) { name, err = k.clusterID(ctx, []string{topic}); return err })
	if err != nil {
		return "", fmt.Errorf("kafka: %w", err)
	}
	return name, nil
}
