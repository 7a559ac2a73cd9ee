package pipelinetest

import (
	"context"
	"errors"
	"sync"

	"lupa/pipeline"
)

// ErrInjected is the failure that Failing injects.
var ErrInjected = errors.New("injected failure")

var errNotThere = errors.New("the sink has no such method")

// Failing wraps a sink so that its n-th call fails, before or after it took
// effect. Calls of its writers count too. From the failure on every call
// fails, as it would in a process that died there.
type Failing struct {
	pipeline.Sink
	// At is the call that fails, counted from 1; After lets it take effect
	// first.
	At    int
	After bool

	mu    sync.Mutex
	calls int
}

// Reached reports whether the failing call happened.
func (f *Failing) Reached() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls >= f.At
}

func (f *Failing) call(effect func() error) error {
	f.mu.Lock()
	f.calls++
	n := f.calls
	f.mu.Unlock()
	if n > f.At || (n == f.At && !f.After) {
		return ErrInjected
	}
	if err := effect(); err != nil {
		return err
	}
	if n == f.At {
		return ErrInjected
	}
	return nil
}

// Commit may fail.
func (f *Failing) Commit(ctx context.Context, c *pipeline.Commit) error {
	return f.call(func() error { return f.Sink.Commit(ctx, c) })
}

// Claim may fail, and does over a sink that cannot be claimed.
func (f *Failing) Claim(ctx context.Context, partitions []pipeline.Partition) (claims []pipeline.Claims, at []pipeline.Positions, err error) {
	err = f.call(func() error {
		c, ok := f.Sink.(pipeline.Claimer)
		if !ok {
			return errNotThere
		}
		claims, at, err = c.Claim(ctx, partitions)
		return err
	})
	return claims, at, err
}

// Amend may fail, and does over a sink whose files cannot be amended.
func (f *Failing) Amend(ctx context.Context, table int, files []pipeline.File, rows []pipeline.Amendment) (amended []pipeline.File, err error) {
	err = f.call(func() error {
		a, ok := f.Sink.(pipeline.Amender)
		if !ok {
			return errNotThere
		}
		amended, err = a.Amend(ctx, table, files, rows)
		return err
	})
	return amended, err
}

// Writer makes a writer that may fail.
func (f *Failing) Writer() pipeline.Writer { return &failingWriter{f.Sink.Writer(), f} }

type failingWriter struct {
	pipeline.Writer
	f *Failing
}

func (w *failingWriter) Append(b *pipeline.Batch) error {
	return w.f.call(func() error { return w.Writer.Append(b) })
}

func (w *failingWriter) Flush(ctx context.Context) (files []pipeline.File, err error) {
	err = w.f.call(func() error {
		files, err = w.Writer.Flush(ctx)
		return err
	})
	return files, err
}
