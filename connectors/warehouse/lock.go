package warehouse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lock keeps two commits of one table, of this process or another on the same
// host, from building on the same table state. It only saves work: a commit
// that began on an older state is refused by the catalog with or without it.
type lock struct {
	path string
	held chan struct{} // has room for one: the holder within this process
}

func newLock(path string) *lock { return &lock{path: path, held: make(chan struct{}, 1)} }

// acquire waits for the lock until ctx is done. A process that dies lets go.
func (l *lock) acquire(ctx context.Context) (release func(), err error) {
	select {
	case l.held <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	f, err := l.flock(ctx)
	if err != nil {
		<-l.held
		return nil, fmt.Errorf("lock %s: %w", l.path, err)
	}
	return func() {
		// Closing the file gives up the lock, and it holds no data to lose.
		_ = f.Close()
		<-l.held
	}, nil
}

func (l *lock) flock(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		}
	}
}
