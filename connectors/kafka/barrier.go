package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"lupa/pipeline"
)

// question asks for the ends of the ledger. It may be shared by all who ask
// before the ListOffsets request that answers it is made, and by nobody after:
// a record that is acknowledged before one asks must be before the ends.
type question struct {
	done chan struct{}
	ends map[pipeline.Partition]int64
	err  error
}

// Barrier asks for the read-committed ends of all ledger partitions and waits
// until the view has applied everything before them. It gives the position
// reached. While the ends cannot be asked it keeps trying, until ctx ends; when
// the ledger is no longer followed it gives the reason. It may be called by
// many at once, after Start.
func (l *Ledger) Barrier(ctx context.Context) (pipeline.Vector, error) {
	stall := time.AfterFunc(l.o.Stall, func() {
		l.stalls.Add(1)
		l.log.Warn("ledger barrier has stalled", "topic", l.topic, "after", l.o.Stall)
	})
	defer stall.Stop()
	q, err := l.ask()
	if err != nil {
		return nil, err
	}
	select {
	case <-q.done:
	case <-l.stopped:
		return nil, fmt.Errorf("kafka: ledger: %w", l.Err())
	case <-ctx.Done():
		return nil, fmt.Errorf("kafka: ledger barrier: %w", ctx.Err())
	}
	if q.err != nil {
		return nil, fmt.Errorf("kafka: ledger barrier: %w", q.err)
	}
	return l.reach(ctx, q.ends)
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
		close(q.done)
	}
}

// ends asks until it has the end of every partition, or an error that will not
// pass.
func (l *Ledger) ends(ctx context.Context) (map[pipeline.Partition]int64, error) {
	trouble := healthy
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		ends, err := l.tryEnds(ctx)
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
		if c == fatal || errors.Is(err, errGrown) {
			return nil, err
		}
		if c != trouble {
			l.log.Warn("ledger ends cannot be asked, trying again", "topic", l.topic, "class", c.String())
			trouble = c
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// tryEnds asks once. Partitions that were added since Start hold records that
// the view does not follow, so they fail it. So does an end before what was
// applied already: a broker that leads no more, or a log that was cut, does not
// know what was acknowledged last.
func (l *Ledger) tryEnds(ctx context.Context) (map[pipeline.Partition]int64, error) {
	leaders, err := l.client.leaders(ctx, []string{l.topic})
	if err != nil {
		return nil, err
	}
	if len(leaders) != len(l.parts) {
		return nil, fmt.Errorf("topic %s: %w", l.topic, errGrown)
	}
	l.mu.Lock()
	applied := maps.Clone(l.applied)
	l.mu.Unlock()
	ends, err := l.client.offsets(ctx, l.parts, logEnd)
	for p, end := range ends {
		if end < applied[p] {
			return nil, fmt.Errorf("%s: ends at %d, %d was applied: %w", p, end, applied[p], kafkago.OffsetNotAvailable)
		}
	}
	return ends, err
}

// reach waits until everything before ends is applied.
func (l *Ledger) reach(ctx context.Context, ends map[pipeline.Partition]int64) (pipeline.Vector, error) {
	for {
		l.mu.Lock()
		failure, moved := l.failure, l.moved
		behind := false
		for p, end := range ends {
			behind = behind || l.applied[p] < end
		}
		var v pipeline.Vector
		if !behind && failure == nil {
			v = maps.Clone(l.applied)
		}
		l.mu.Unlock()
		if failure != nil {
			return nil, fmt.Errorf("kafka: ledger: %w", failure)
		}
		if v != nil {
			return v, nil
		}
		select {
		case <-moved:
		case <-l.stopped:
		case <-ctx.Done():
			return nil, fmt.Errorf("kafka: ledger barrier: %w", ctx.Err())
		}
	}
}
