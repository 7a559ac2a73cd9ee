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
	// Partitions are what the workers' sources read, where that is known from
	// the start: they are claimed before anything is read, so that no other
	// run, however late it wakes, can commit for them any more. The sink must
	// be a Claimer then. Without them the positions alone keep two runs apart.
	Partitions []Partition
	// Quarantine may be nil: rejects are then counted and listed, not put aside.
	Quarantine Quarantine
	// CommitEvery is the longest time that read messages wait for their commit.
	CommitEvery time.Duration
	// DrainTimeout bounds the last commit after the run was told to stop.
	DrainTimeout time.Duration
	// MaxHeldBytes is how much memory the rows that each worker keeps in mind
	// until their commit may take before it commits early; 0 is no bound.
	MaxHeldBytes int64
	// Watchdog is how long one step of a worker or of the commit may take, 0 is
	// for ever. Waiting for the ledger is no step, nor is anything while
	// Stalled says that the job waits for something outside. When a step takes
	// longer the run ends with ErrWedged at once, and leaves that step behind:
	// the process must exit.
	Watchdog time.Duration
	Stalled  func() bool
	// Now is the clock that measures commit intervals; it decides nothing else.
	Now func() time.Time
	// Stats, if set, counts what the run does.
	Stats *Stats
	// Committed, if set, is told of every commit after it took effect, one at
	// a time.
	Committed func(*Commit)
}

// Stats are the counts of one run or several, for others to read meanwhile.
type Stats struct {
	Read      atomic.Int64 // messages processed
	Amended   atomic.Int64 // rows taken out or narrowed between decision and commit
	HeldBytes atomic.Int64 // memory of the rows that wait for their commit, as last measured
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
	case j.MaxHeldBytes < 0 || j.Watchdog < 0:
		return errors.New("job: bounds must not be negative")
	}
	if _, ok := j.Sink.(Claimer); j.Partitions != nil && !ok {
		return errors.New("job: partitions to claim, and a sink without claims")
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
// error is nil: being told to stop is no failure. When a source ends with
// ErrHeld, what all of them read is committed first as well. Any other error
// leaves the sink at its last commit, from which the next run goes on.
func Run(ctx context.Context, job Job) ([]Counts, error) {
	if err := job.check(); err != nil {
		return nil, err
	}
	if job.Stats == nil {
		job.Stats = new(Stats)
	}
	claims, positions, err := job.claim(ctx)
	if err != nil && ctx.Err() != nil {
		return make([]Counts, len(job.Contracts)), nil // nothing was read
	}
	if err != nil {
		return nil, err
	}
	if len(positions) != len(job.Contracts) {
		return nil, fmt.Errorf("read positions: sink has %d tables, job has %d", len(positions), len(job.Contracts))
	}

	// A source may end the reading as well as who called.
	ctx, halt := context.WithCancelCause(ctx)
	defer halt(nil)
	// work outlives ctx by the time that the last commit may take.
	work, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	stopDrain := context.AfterFunc(ctx, func() {
		time.AfterFunc(job.DrainTimeout, func() { abort(ErrDrain) })
	})
	defer stopDrain()

	group, work := errgroup.WithContext(work)
	watch := newWatch(&job, len(job.Workers)+1)
	staged := make(chan []*Commit)
	c := &committer{job: &job, claims: claims, totals: make([]Counts, len(job.Contracts)), step: watch.step(len(job.Workers))}
	group.Go(func() error { return c.run(work, staged) })

	var reading sync.WaitGroup
	for i := range job.Workers {
		w := newWorker(&job, i, positions, staged)
		w.step, w.halt = watch.step(i), halt
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
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }()
	if err = watch.wait(ended); errors.Is(err, ErrWedged) {
		abort(err)
		return nil, err // the totals are the committer's, which may still be at it
	}
	if cause := context.Cause(work); errors.Is(cause, ErrDrain) {
		err = ErrDrain
	}
	if why := context.Cause(ctx); errors.Is(why, ErrHeld) && (err == nil || errors.Is(err, ErrDrain)) {
		err = why
	}
	return c.totals, err
}

// claim gives where the tables stand, after the job's partitions were claimed.
func (j *Job) claim(ctx context.Context) ([]Claims, []Positions, error) {
	if j.Partitions == nil {
		positions, err := j.Sink.Positions(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("read positions: %w", err)
		}
		return nil, positions, nil
	}
	claims, positions, err := j.Sink.(Claimer).Claim(ctx, j.Partitions)
	if err != nil {
		return nil, nil, fmt.Errorf("claim %d partitions: %w", len(j.Partitions), err)
	}
	if len(claims) != len(j.Contracts) {
		return nil, nil, fmt.Errorf("claim: sink has %d tables, job has %d", len(claims), len(j.Contracts))
	}
	return claims, positions, nil
}

// The errors of a run that has to be given up.
var (
	// ErrDrain means that the last commit did not end in time. What was read
	// since the one before it will be read again.
	ErrDrain = errors.New("the last commit did not end within the drain timeout")
	// ErrWedged means that a step hangs. Only the end of the process ends it.
	ErrWedged = errors.New("no progress")
)

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
