package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"lupa/pipeline"
	"lupa/pipeline/pipelinetest"
)

// slow is a ledger that takes its time.
type slow struct{ wait time.Duration }

func (l slow) Barrier(ctx context.Context) (pipeline.Vector, error) {
	select {
	case <-time.After(l.wait):
		return pipeline.Vector{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type slowSink struct {
	*pipelinetest.Sink
	wait time.Duration
}

func (s slowSink) Commit(ctx context.Context, c *pipeline.Commit) error {
	time.Sleep(s.wait)
	return s.Sink.Commit(ctx, c)
}

type slowSource struct {
	pipeline.Source
	wait time.Duration
}

func (s slowSource) Next(ctx context.Context) (*pipeline.Chunk, error) {
	time.Sleep(s.wait)
	return s.Source.Next(ctx)
}

// A step that hangs ends the run even though it never returns; waiting for the
// ledger, or for what the job says it waits for, does not.
func TestRunWatchdog(t *testing.T) {
	const limit = time.Minute
	hang := func(d time.Duration) pipeline.Stage {
		return stage(func(*pipeline.Batch) error { time.Sleep(d); return nil })
	}
	for name, c := range map[string]struct {
		change func(*pipeline.Job)
		wedged bool
	}{
		"no hurry":              {func(*pipeline.Job) {}, false},
		"a worker that is slow": {func(j *pipeline.Job) { prepend(j, hang(limit/2)) }, false},
		"a worker that hangs":   {func(j *pipeline.Job) { prepend(j, hang(100*limit)) }, true},
		"a source that hangs": {func(j *pipeline.Job) {
			j.Workers[0].Source = slowSource{j.Workers[0].Source, 100 * limit}
		}, true},
		"a ledger that is away": {func(j *pipeline.Job) { j.Ledger = slow{50 * limit} }, false},
		"a registry that is away": {func(j *pipeline.Job) {
			prepend(j, hang(50*limit))
			j.Stalled = func() bool { return true }
		}, false},
		"a commit that hangs": {func(j *pipeline.Job) {
			j.Sink = slowSink{j.Sink.(*pipelinetest.Sink), 100 * limit}
		}, true},
		"no watchdog": {func(j *pipeline.Job) {
			prepend(j, hang(100*limit))
			j.Watchdog = 0
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := pipeline.Partition{Topic: "events"}
				j := job(pipelinetest.NewSink(3), map[pipeline.Partition][]string{p: {"red:k0"}}, 10)
				j.Now, j.CommitEvery, j.Watchdog = time.Now, time.Second, limit
				c.change(&j)
				began := time.Now()
				_, err := pipeline.Run(context.Background(), j)
				if errors.Is(err, pipeline.ErrWedged) != c.wedged || err != nil && !c.wedged {
					t.Errorf("error %v, wedged wanted: %t", err, c.wedged)
				}
				if took := time.Since(began); c.wedged && took > 2*limit {
					t.Errorf("noticed after %s", took)
				}
				time.Sleep(300 * limit) // until what was left behind has ended
			})
		})
	}
}

func prepend(j *pipeline.Job, s pipeline.Stage) {
	for i := range j.Workers {
		j.Workers[i].Stages = append([]pipeline.Stage{s}, j.Workers[i].Stages...)
	}
}
