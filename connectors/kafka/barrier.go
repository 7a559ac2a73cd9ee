package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"lupa/pipeline"
)

// question asks for the ends of the ledger. It may be shared by all who ask
// before the requests that answer it are made, and by nobody after: a record
// that is acknowledged before one asks must be before the ends.
type question struct {
	done chan struct{}
	ends map[pipeline.Partition]int64
	err  error
}

// Barrier asks for the ends of all ledger partitions, those included that are
// new, and waits until the view has applied everything before them and none
// has been silent for longer than MaxStaleness. It gives the position reached.
//
// An end is the high watermark, behind everything that was acknowledged. An
// open transaction keeps all that stands behind it from the view, so it holds
// barriers up until it ends. Whatever cannot be asked, read or written keeps
// them waiting too, until ctx ends; when the ledger is no longer followed they
// give the reason. Barrier may be called by many at once, after Start.
func (l *Ledger) Barrier(ctx context.Context) (pipeline.Vector, error) {
	w := &wait{what: "ledger barrier", began: l.now()}
	v, err := l.await(ctx, w)
	l.over(w, err)
	return v, err
}

func (l *Ledger) await(ctx context.Context, w *wait) (pipeline.Vector, error) {
	late := time.NewTimer(l.o.Stall)
	defer late.Stop()
	q, err := l.ask()
	if err != nil {
		return nil, err
	}
	for answered := false; !answered; {
		select {
		case <-q.done:
			answered = true
		case <-late.C:
			l.stall(ctx, w)
			late.Reset(l.o.Stall)
		case <-l.stopped:
			return nil, fmt.Errorf("kafka: ledger: %w", l.Err())
		case <-ctx.Done():
			return nil, fmt.Errorf("kafka: ledger barrier: %w", ctx.Err())
		}
	}
	if q.err != nil {
		return nil, fmt.Errorf("kafka: ledger barrier: %w", q.err)
	}
	for {
		v, moved, err := l.reached(q.ends, w)
		if v != nil || err != nil {
			return v, err
		}
		select {
		case <-moved:
		case <-l.stopped:
		case <-late.C:
			l.stall(ctx, w)
			late.Reset(l.o.Stall)
		case <-ctx.Done():
			return nil, fmt.Errorf("kafka: ledger barrier: %w", ctx.Err())
		}
	}
}

// reached gives the position if everything before ends is applied and nothing
// is stale, or else what tells that it has moved.
func (l *Ledger) reached(ends map[pipeline.Partition]int64, w *wait) (pipeline.Vector, <-chan struct{}, error) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return nil, nil, fmt.Errorf("kafka: ledger: %w", l.failure)
	}
	if l.anyStale(now) {
		return nil, l.moved, nil
	}
	for p, end := range ends {
		if l.applied[p] < end {
			return nil, l.moved, nil
		}
	}
	l.barriers++
	l.waited += now.Sub(w.began)
	return maps.Clone(l.applied), nil, nil
}

// ask joins the question that is not being answered yet.
func (l *Ledger) ask() (*question, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return nil, fmt.Errorf("kafka: ledger: %w", l.failure)
	}
	if l.cancel == nil {
		return nil, errors.New("kafka: ledger: not started")
	}
	if l.question == nil {
		l.question = &question{done: make(chan struct{})}
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return l.question, nil
}

// answer answers one question after the other.
func (l *Ledger) answer(ctx context.Context) {
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		}
		l.mu.Lock()
		q := l.question
		l.question = nil
		l.mu.Unlock()
		if q == nil {
			continue
		}
		q.ends, q.err = l.ends(ctx)
		if errors.Is(q.err, errRecreated) || errors.Is(q.err, errShrunk) {
			l.stop(q.err)
			l.cancel() // what is there now is not for the view
		}
		close(q.done)
	}
}

// ends asks until it has the end of every partition, or an error that will not
// pass.
func (l *Ledger) ends(ctx context.Context) (map[pipeline.Partition]int64, error) {
	l.mu.Lock()
	l.unanswered = l.parts
	l.mu.Unlock()
	ends := make(map[pipeline.Partition]int64)
	trouble := healthy
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		err := l.tryEnds(ctx, ends)
		if err == nil {
			if trouble != healthy {
				l.log.Info("ledger ends are known again", "topic", l.topic, "class", trouble.String())
			}
			return ends, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c := classOf(err)
		if c == fatal {
			return nil, err
		}
		if c != trouble {
			l.mu.Lock()
			unanswered := l.unanswered
			l.mu.Unlock()
			l.log.Warn("ledger ends cannot be asked, trying again", "topic", l.topic, "class", c.String(), "partitions", numbers(unanswered))
			trouble = c
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// tryEnds asks once: what partitions there are, and then for their ends, or in
// a strict ledger for those that no marker has told yet. Of ends it keeps those
// that hold and adds to them. It notes what could not be had.
func (l *Ledger) tryEnds(ctx context.Context, ends map[pipeline.Partition]int64) error {
	err := l.askAll(ctx, ends)
	l.mu.Lock()
	defer l.mu.Unlock()
	if some, ok := errors.AsType[*partsError](err); ok {
		l.unanswered = some.parts
	}
	if err == nil {
		l.unanswered, l.asked = nil, ends
	}
	return err
}

func (l *Ledger) askAll(ctx context.Context, ends map[pipeline.Partition]int64) error {
	leaders, err := l.survey(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	applied := maps.Clone(l.applied)
	l.mu.Unlock()
	found, err := l.askLeaders(ctx, leaders, ends)
	var trouble partsError
	for p, end := range found {
		// A broker that leads no more, or a log that was cut, does not know
		// what was acknowledged last.
		if end < applied[p] {
			trouble.add(p, fmt.Errorf("%s: ends at %d, %d was applied: %w", p, end, applied[p], kafkago.OffsetNotAvailable))
			continue
		}
		ends[p] = end
	}
	if err != nil {
		return err
	}
	return trouble.orNil()
}

// askLeaders asks the leaders of the partitions for their ends.
func (l *Ledger) askLeaders(ctx context.Context, leaders map[pipeline.Partition]leader, ends map[pipeline.Partition]int64) (map[pipeline.Partition]int64, error) {
	if !l.o.Strict {
		return l.client.listOffsets(ctx, l.parts, leaders, logEnd, readUncommitted)
	}
	var missing []pipeline.Partition
	for _, p := range l.parts {
		if _, ok := ends[p]; !ok {
			missing = append(missing, p)
		}
	}
	return l.client.mark(ctx, missing, l.marker)
}

// survey asks what the topic is now, so that no partition is left out because
// it is new, and has new ones followed from their beginning. It gives the
// leaders.
func (l *Ledger) survey(ctx context.Context) (map[pipeline.Partition]leader, error) {
	now, err := l.inspector.inspect(ctx, l.topic)
	if err != nil {
		return nil, err
	}
	var none [16]byte
	if l.id == none {
		l.id = now.id
	}
	if now.id != none && now.id != l.id {
		return nil, fmt.Errorf("topic %s: %w", l.topic, errRecreated)
	}
	known := 0
	for _, p := range l.parts {
		if _, ok := now.leaders[p]; ok {
			known++
		}
	}
	if gone := len(l.parts) - known; gone > 0 {
		// A broker that has just started may not have heard of all. The same
		// topic cannot have lost any, but whether it is cannot always be told.
		if l.shrunk++; l.shrunk >= shrunkTries && now.id == none {
			return nil, fmt.Errorf("topic %s: %d of %d %w", l.topic, gone, len(l.parts), errShrunk)
		}
		return nil, fmt.Errorf("topic %s: %d of %d partitions are not known: %w", l.topic, gone, len(l.parts), kafkago.LeaderNotAvailable)
	}
	l.shrunk = 0
	if len(now.leaders) == known {
		return now.leaders, nil
	}
	return now.leaders, l.grow(ctx, now.leaders)
}

// grow has the partitions followed that are not yet.
func (l *Ledger) grow(ctx context.Context, leaders map[pipeline.Partition]leader) error {
	var added []pipeline.Partition
	for _, p := range share([]string{l.topic}, leaders, 0, 1) {
		if !slices.Contains(l.parts, p) {
			added = append(added, p)
		}
	}
	first, err := l.client.listOffsets(ctx, added, leaders, logStart, readUncommitted)
	if err != nil {
		return err
	}
	if len(l.parts) > 0 {
		l.log.Info("ledger has more partitions, following them", "topic", l.topic, "partitions", numbers(added))
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parts = slices.Concat(l.parts, added)
	l.added = append(l.added, added...)
	for _, p := range added {
		l.applied[p] = first[p]
		l.heard[p] = now
	}
	return nil
}
