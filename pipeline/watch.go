package pipeline

import (
	"fmt"
	"sync/atomic"
	"time"
)

// watch looks after steps that must not take for ever: those of the workers,
// and behind them the committer's.
type watch struct {
	limit   time.Duration
	stalled func() bool
	origin  time.Time
	steps   []step
}

// step is what one goroutine is at. It is set by that goroutine alone.
type step struct {
	origin time.Time
	since  atomic.Int64 // when it began, in nanoseconds after the origin; 0 between steps
}

func newWatch(job *Job, steps int) *watch {
	w := &watch{limit: job.Watchdog, stalled: job.Stalled, origin: job.Now(), steps: make([]step, steps)}
	for i := range w.steps {
		w.steps[i].origin = w.origin
	}
	return w
}

func (w *watch) step(i int) *step { return &w.steps[i] }

// begin and end stand around everything that must end by itself.
func (s *step) begin(now time.Time) { s.since.Store(max(1, int64(now.Sub(s.origin)))) }
func (s *step) end()                { s.since.Store(0) }

// wait waits for the run to end, or for a step that takes too long.
func (w *watch) wait(ended <-chan error) error {
	if w.limit == 0 {
		return <-ended
	}
	tick := time.NewTicker(max(w.limit/8, time.Millisecond))
	defer tick.Stop()
	// A step that began at the same moment as at the tick before has taken one
	// tick more. Ticks in which the job waits for something outside are not
	// counted, and a machine that slept counts one.
	last, ticks := make([]int64, len(w.steps)), make([]int, len(w.steps))
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
		}
		for i := range w.steps {
			since := w.steps[i].since.Load()
			if since == 0 || since != last[i] || w.stalled != nil && w.stalled() {
				last[i], ticks[i] = since, 0
				continue
			}
			if ticks[i]++; ticks[i] >= 8 {
				return fmt.Errorf("%s has not ended a step for %s: %w", w.name(i), w.limit, ErrWedged)
			}
		}
	}
}

func (w *watch) name(i int) string {
	if i == len(w.steps)-1 {
		return "the commit"
	}
	return fmt.Sprintf("worker %d", i)
}
