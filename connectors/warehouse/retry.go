package warehouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	// callTimeout bounds one question to the catalog's server. A connection
	// that was cut without a word is noticed no later than then.
	callTimeout = 30 * time.Second
	firstWait   = 50 * time.Millisecond
	longestWait = 2 * time.Second
)

// retrier does again what failed because the catalog's server was not there.
// It says so once when the server goes and once when it is back.
type retrier struct {
	patience time.Duration
	log      *slog.Logger
	away     atomic.Bool
}

// do repeats f until the server answers, whatever the answer, until it was away
// for too long, or until ctx ends. Each call has a time limit.
func (r *retrier) do(ctx context.Context, f func(ctx context.Context) error) error {
	return r.wait(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return f(ctx)
	})
}

// wait is do for a call that may take as long as it likes.
func (r *retrier) wait(ctx context.Context, f func(ctx context.Context) error) error {
	var since time.Time
	for pause := firstWait; ; pause = min(2*pause, longestWait) {
		err := f(ctx)
		if err == nil || ctx.Err() == nil && !unreachable(err) && !errors.Is(err, context.DeadlineExceeded) {
			if r.away.CompareAndSwap(true, false) {
				r.log.Info("catalog answers again")
			}
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		if since.IsZero() {
			since = time.Now()
		}
		if r.away.CompareAndSwap(false, true) {
			r.log.Warn("catalog does not answer, it is asked again", "error", err)
		}
		if time.Since(since) > r.patience {
			return fmt.Errorf("no answer for %v: %w", r.patience, err)
		}
		select {
		// All the workers that lost the server at once do not come back at once.
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
