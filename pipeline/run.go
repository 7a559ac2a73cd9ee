package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"lupa/schemas"
)

// Job is everything one run needs. The rejects table stands last in Contracts;
// decoders know the contracts before it.
type Job struct {
	Contracts []*schemas.Contract
	Workers   []Worker
	Ledger    Ledger
	Sink      Sink
	// Quarantine may be nil: rejects are then counted and listed, not put aside.
	Quarantine Quarantine
	// CommitEvery is the longest time that read messages wait for their commit.
	CommitEvery time.Duration
	// DrainTimeout bounds the last commit after the run was told to stop.
	DrainTimeout time.Duration
	// Now is the clock that measures commit intervals; it decides nothing else.
	Now func() time.Time
	// Read, if set, counts messages as they are processed.
	Read *atomic.Int64
	// Committed, if set, is told of every commit after it took effect, one at
	// a time.
	Committed func(*Commit)
}

// Worker owns a share of the input from end to end and shares no mutable state
// with the others.
type Worker struct {
	Source  Source
	Decoder Decoder
	Stages  []Stage
}

func (j *Job) check() error {
	n := len(j.Contracts)
	switch {
	case n < 2 || j.Contracts[n-1].Table != schemas.RejectsTable:
		return errors.New("job: at least one contract and then the rejects table are needed")
	case len(j.Workers) == 0:
		return errors.New("job: no worker")
	case j.Ledger == nil:
		return errors.New("job: no ledger")
	case j.Sink == nil:
		return errors.New("job: no sink")
	case j.CommitEvery <= 0 || j.DrainTimeout <= 0:
		return errors.New("job: commit interval and drain timeout must be above zero")
	case j.Now == nil:
		return errors.New("job: no clock")
	}
	for i, w := range j.Workers {
		if w.Source == nil || w.Decoder == nil || len(w.Stages) == 0 {
			return fmt.Errorf("job: worker %d lacks a source, a decoder or its stages", i)
		}
	}
	return nil
}

// Run reads until the sources end or ctx is done, and gives what was
// committed, by table. When ctx ends, what was read is committed first and the
// error is nil: being told to stop is no failure. Any other error leaves the
// sink at its last commit, from which the next run goes on.
func Run(ctx context.Context, job Job) ([]Counts, error) {
	if err := job.check(); err != nil {
		return nil, err
	}
	positions, err := job.Sink.Positions(ctx)
	if err != nil {
		return nil, fmt.Errorf("read positions: %w", err)
	}
	if len(positions) != len(job.Contracts) {
		return nil, fmt.Errorf("read positions: sink has %d tables, job has %d", len(positions), len(job.Contracts))
	}

	// work outlives ctx by the time that the last commit may take.
	work, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	stopDrain := context.AfterFunc(ctx, func() {
		time.AfterFunc(job.DrainTimeout, func() { abort(errDrain) })
	})
	defer stopDrain()

	group, work := errgroup.WithContext(work)
	staged := make(chan []*Commit)
	totals := make([]Counts, len(job.Contracts))
	group.Go(func() error { return commitLoop(work, &job, staged, totals) })

	var reading sync.WaitGroup
	for i := range job.Workers {
		w := newWorker(&job, i, positions, staged)
		reading.Add(1)
		group.Go(func() error {
			defer reading.Done()
			return w.run(ctx, work)
		})
	}
	group.Go(func() error {
		reading.Wait()
		close(staged)
		return nil
	})
	err = group.Wait()
	if cause := context.Cause(work); errors.Is(cause, errDrain) {
		err = errDrain
	}
	return totals, err
}

var errDrain = errors.New("the last commit did not end within the drain timeout")

// lowest is where reading starts: for each partition the lowest position of
// any table. A partition that some table has never seen starts at its
// beginning; the tables that have seen it skip what they hold already.
func lowest(positions []Positions) Positions {
	from := Positions{}
	for p, mark := range positions[0] {
		from[p] = mark
	}
	for _, table := range positions[1:] {
		for p, low := range from {
			mark, ok := table[p]
			if !ok {
				delete(from, p)
			} else if mark.Next < low.Next {
				from[p] = mark
			}
		}
	}
	return from
}
