package warehouse

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// lock keeps two commits of one table from building on the same table state:
// those of this process, of another on the same host, and, when the catalog is
// on a server, of other hosts. It only saves work: a commit that began on an
// older state is refused by the catalog with or without it.
type lock struct {
	path   string
	held   chan struct{} // has room for one: the holder within this process
	shared *advisory     // nil: nobody works on another host

	// patience is how long to wait for another process; 0 is for ever. One that
	// is stopped, and does not die, must not stop the others.
	patience time.Duration
	log      *slog.Logger
	// Whoever is the holder within this process may use these.
	without bool          // it went on without the lock
	wait    time.Duration // patience, or less since it was in vain
}

// lockPatience is far longer than anything takes that is done under a table's
// lock, and shorter than a watchdog waits.
const (
	lockPatience  = 15 * time.Second
	shortPatience = time.Second
)

func newLock(path string) *lock { return &lock{path: path, held: make(chan struct{}, 1)} }

// newTableLock makes a lock that is gone on without when its holder lets nobody
// else have it.
func newTableLock(path string, log *slog.Logger) *lock {
	l := newLock(path)
	l.patience, l.wait, l.log = lockPatience, lockPatience, log
	return l
}

// acquire waits for the lock until ctx is done. A process that dies lets go.
func (l *lock) acquire(ctx context.Context) (release func(), err error) {
	select {
	case l.held <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	others, err := l.acquireBoth(ctx)
	if err != nil {
		<-l.held
		return nil, err
	}
	return func() {
		others()
		<-l.held
	}, nil
}

// acquireBoth gets the lock from other hosts and other processes, or goes on
// without it.
func (l *lock) acquireBoth(ctx context.Context) (release func(), err error) {
	bounded := ctx
	if l.patience > 0 {
		var cancel context.CancelFunc
		bounded, cancel = context.WithTimeout(ctx, l.wait)
		defer cancel()
	}
	release, err = l.acquireFrom(bounded)
	switch {
	case err == nil:
		if l.without {
			l.log.Info("the lock is let go of again", "lock", l.path)
		}
		l.without, l.wait = false, l.patience
	case ctx.Err() == nil && bounded.Err() != nil:
		if !l.without {
			l.log.Warn("another process does not let go of a lock; going on without it, under the catalog's compare-and-swap alone",
				"lock", l.path, "after", l.wait)
		}
		l.without, l.wait = true, min(l.patience, shortPatience)
		return func() {}, nil
	}
	return release, err
}

func (l *lock) acquireFrom(ctx context.Context) (release func(), err error) {
	unshare := func() {}
	if l.shared != nil {
		if unshare, err = l.shared.acquire(ctx); err != nil {
			return nil, fmt.Errorf("lock %s: %w", l.shared.name, err)
		}
	}
	// Also beside a shared lock: what is published in the directory is as old
	// or new as the commit of whoever holds this one.
	f, err := l.flock(ctx)
	if err != nil {
		unshare()
		return nil, fmt.Errorf("lock %s: %w", l.path, err)
	}
	return func() {
		// Closing the file gives up the lock, and it holds no data to lose.
		_ = f.Close()
		unshare()
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

// advisory is a lock that a PostgreSQL server keeps for a connection. The
// server lets go of it when the connection ends, whoever ends it.
type advisory struct {
	*retrier
	db   *sql.DB
	key  int64
	name string
}

// lockKey numbers a lock. Two names with the same number would wait for each
// other now and then, which is harmless.
func lockKey(names ...string) int64 {
	h := sha256.New()
	h.Write([]byte("lupa lock"))
	for _, name := range names {
		h.Write([]byte{0})
		h.Write([]byte(name))
	}
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}

// acquire waits for the lock on a connection of its own until ctx is done.
func (a *advisory) acquire(ctx context.Context) (release func(), err error) {
	var conn *sql.Conn
	err = a.wait(ctx, func(ctx context.Context) error {
		c, err := a.db.Conn(ctx)
		if err != nil {
			return err
		}
		if _, err := c.ExecContext(ctx, "SELECT pg_advisory_lock($1)", a.key); err != nil {
			discard(c) // the server may have given the lock all the same
			return err
		}
		conn = c
		return nil
	})
	if err != nil {
		return nil, err
	}
	return func() { a.release(context.WithoutCancel(ctx), conn) }, nil
}

func (a *advisory) release(ctx context.Context, c *sql.Conn) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var held bool
	err := c.QueryRowContext(ctx, "SELECT pg_advisory_unlock($1)", a.key).Scan(&held)
	if err == nil && held {
		_ = c.Close() // back to the others; there is nothing left to lose
		return
	}
	discard(c)
	a.log.Warn("lock was lost while it was held; what was done under it stands or falls with the catalog's compare-and-swap",
		"lock", a.name, "error", err)
}

// discard ends a connection instead of keeping it for later.
func discard(c *sql.Conn) {
	_ = c.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.Close()
}
