package warehouse

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lupa/pipeline"
)

// holdLock holds a table's lock as a process does that was stopped.
func holdLock(t *testing.T, dir, table string) (release func()) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, table+".lock"), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { _ = f.Close() }
}

// TestStoppedHolder: a process that was stopped while it held a table's lock
// holds the others up once, and not for ever.
func TestStoppedHolder(t *testing.T) {
	dir, log := t.TempDir(), &strings.Builder{}
	s := openSink(t, Options{Dir: dir, Contracts: contracts(), Log: slog.New(slog.NewTextHandler(log, nil))})
	for _, table := range s.tables {
		table.lock.patience, table.lock.wait = 10*time.Millisecond, 10*time.Millisecond
	}
	release := holdLock(t, dir, "clicks")
	defer release()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	claims, _, err := s.Claim(ctx, []pipeline.Partition{events})
	if err != nil {
		t.Fatal(err)
	}
	w := s.Writer()
	defer w.Close()
	commit := func(from int64) {
		t.Helper()
		rows := makeClicks(from, 10)
		c := clicksCommit(write(t, w, events, rows), events, from, from+10, rows)
		c.Claims = claims[clicksTable]
		if err := s.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	commit(0)
	commit(10)
	if n := strings.Count(log.String(), "does not let go of a lock"); n != 1 {
		t.Errorf("that the lock is not had was said %d times:\n%s", n, log)
	}
	release()
	commit(20)
	if !strings.Contains(log.String(), "let go of again") || s.tables[clicksTable].lock.without {
		t.Errorf("the lock is not had again:\n%s", log)
	}
	if got := tableRows(t, dir, "clicks"); len(got) != 30 {
		t.Errorf("%d rows are published, want 30", len(got))
	}
}

// TestSweepNeedsTheLock: without it a file that no commit names may be one of a
// commit that is under way, however old it is.
func TestSweepNeedsTheLock(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Contracts: contracts()}
	s := openSink(t, o)
	w := s.Writer()
	defer w.Close()
	files := write(t, w, events, makeClicks(0, 10))
	old := time.Now().Add(-2 * time.Hour)
	for i := range files {
		if err := os.Chtimes(files[i].Path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	release := holdLock(t, dir, "clicks")
	defer release()
	reopen := func() {
		t.Helper()
		late, err := newSink(o, &disk{})
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range late.tables {
			table.lock.patience, table.lock.wait = 10*time.Millisecond, 10*time.Millisecond
		}
		if err := late.open(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := late.Close(); err != nil {
			t.Error(err)
		}
	}
	reopen()
	if _, err := os.Stat(files[0].Path); err != nil {
		t.Errorf("a file was swept without the lock: %v", err)
	}
	release()
	reopen()
	if _, err := os.Stat(files[0].Path); err == nil {
		t.Error("an old file that no commit names stays for ever")
	}
}

// TestPublishedLast: who publishes an older commit than the last one finds that
// out, and publishes the last one.
func TestPublishedLast(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	writeAndCommit(t, s, events, 0, 10)
	stopped := load(t, s, clicksTable)
	writeAndCommit(t, s, events, 10, 10)
	if err := s.publish(withDisk(context.Background(), s.disk), s.tables[clicksTable], stopped); err != nil {
		t.Fatal(err)
	}
	if got := tableRows(t, dir, "clicks"); len(got) != 20 {
		t.Errorf("%d rows are published, want 20", len(got))
	}
}
