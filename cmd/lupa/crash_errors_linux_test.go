package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// failure is one way in which calls fail.
type failure struct {
	call  string
	errno syscall.Errno
	file  string // how the path ends; empty is any file
}

func (f failure) String() string { return fmt.Sprintf("%s %s: %v", f.call, f.file, f.errno) }

// failures lists them. A disk that is full fails what needs room, one that is
// broken everything.
func failures() (list []failure) {
	for _, call := range []string{"write", "fsync", "rename", "open", "mkdir"} {
		list = append(list, failure{call: call, errno: syscall.ENOSPC})
	}
	for _, call := range []string{"write", "fsync", "rename", "open", "mkdir", "read", "close", "unlink", "truncate"} {
		list = append(list, failure{call: call, errno: syscall.EIO})
	}
	// What cannot be listed must not be taken for empty.
	return append(list, failure{"open", syscall.EMFILE, "/warehouse/identifies"})
}

// failing is a process one of whose calls fails.
type failing struct {
	*process
	mu    sync.Mutex
	at    string          // what failed
	doubt map[string]bool // files whose sync failed
	wrong []string        // what was done to those after that
}

// failAt runs a job whose n-th call of a kind fails, on any file of the world.
func (w *crashWorld) failAt(t *testing.T, j job, f failure, n int) *failing {
	t.Helper()
	p := &failing{process: w.prepare(t, j), doubt: map[string]bool{}}
	seen := 0
	p.startWatched(t, []string{f.call, "fsync", "rename"}, func(c call) ruling {
		// A lock is given up when its file is closed, whatever close returns;
		// here it would stay.
		if !strings.HasPrefix(c.path, w.dir+"/") || c.name == "close" && strings.HasSuffix(c.path, ".lock") {
			return ruling{}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		// Nobody knows what the disk holds of a file whose sync has failed, and
		// the next sync would say that all is well. SQLite may: before it syncs
		// again it writes again.
		if p.doubt[c.path] && c.name == "fsync" || p.doubt[c.from] && c.name == "rename" {
			p.wrong = append(p.wrong, c.name+" "+shape(j.dir, c.path))
		}
		if c.name != f.call || !strings.HasSuffix(c.path, f.file) {
			return ruling{}
		}
		if seen++; seen != n {
			return ruling{}
		}
		p.at = c.name + " " + shape(j.dir, c.path)
		info, err := os.Stat(c.path)
		p.doubt[c.path] = c.name == "fsync" && err == nil && info.Mode().IsRegular() && !strings.Contains(filepath.Base(c.path), "catalog.db")
		return ruling{errno: f.errno}
	})
	return p
}

// TestFailingDisk lets a call fail, in each job another one, and runs the job
// again when the disk is well.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	r := newRandom(t)
	w := crashFiles(t)
	for _, f := range failures() {
		step := 60
		if f.file != "" {
			step = 1
		}
		first := 1 + r.IntN(step)
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			for n := first; w.failOnce(t, f, n); n += step {
			}
		})
	}
}

// failOnce lets the n-th call of a kind fail, and tells whether there is one.
func (w *crashWorld) failOnce(t *testing.T, f failure, n int) bool {
	t.Helper()
	j := w.job(t)
	defer j.done(t)
	p := w.failAt(t, j, f, n)
	code, by := w.end(t, j, p.process)
	said := p.stderr.text()
	logged := strings.Contains(said, "level=ERROR")
	switch {
	case code == exitOK && !logged:
		w.check(t, j, p.process) // then it was nothing
	case code == exitOK && p.at != "":
		// The tables are right, and the log says what is not.
	case p.at == "" || code != exitError && code != exitUsage || by != 0 || !strings.Contains(p.complaint(), w.dir):
		t.Errorf("ended with code %d, signal %d, and says no place", code, by)
	}
	if strings.Contains(said, syscall.ENOENT.Error()) {
		t.Error("it complains of what only follows from the failure")
	}
	if len(p.wrong) > 0 {
		t.Errorf("used after its sync had failed: %v", slices.Compact(p.wrong))
	}
	if found := theSample(t).SecretsIn([]byte(said)); len(found) > 0 {
		t.Errorf("it says %d raw values", len(found))
	}
	if p.at != "" {
		w.finish(t, j, p.process)
	}
	if t.Failed() {
		t.Fatalf("call %d failed, %s; it said:\n%s", n, p.at, said)
	}
	return p.at != ""
}

// TestDyingCatalog lets a sync of the catalog's log fail, and kills the process
// before it has closed the catalog. What the log holds of the transaction that
// failed is found whole by the next process, which takes it for committed.
func TestDyingCatalog(t *testing.T) {
	t.Parallel()
	w := crashFiles(t)
	for n := 1; w.dieOnce(t, n, 1); n++ {
	}
}

// dieOnce lets the n-th sync of the log fail, and kills the process some calls
// later. It tells whether there is such a sync.
func (w *crashWorld) dieOnce(t *testing.T, n, later int) bool {
	t.Helper()
	j := w.job(t)
	defer j.done(t)
	p := w.prepare(t, j)
	seen, failed := 0, 0
	p.startWatched(t, changes, func(c call) ruling {
		switch {
		case failed == 0 && c.name == "fsync" && strings.HasSuffix(c.path, "/catalog.db-wal"):
			if seen++; seen == n {
				failed++
				return ruling{errno: syscall.EIO}
			}
		case failed > 0 && j.changing(c):
			failed++
			return ruling{kill: failed > later+1}
		}
		return ruling{}
	})
	_, by := w.end(t, j, p)
	if failed == 0 {
		return false
	}
	w.finish(t, j, p)
	if t.Failed() {
		t.Fatalf("sync %d of the log failed, %d calls before the end (signal %d); it said:\n%s", n, later, by, p.stderr.text())
	}
	return true
}
