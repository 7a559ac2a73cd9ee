package main

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// changes are the calls that change what is on a disk, and those that say who
// may.
var changes = []string{"write", "fsync", "rename", "open", "unlink", "mkdir", "truncate", "flock"}

// changing reports whether a call of a job's process is one of the changes to
// what the job leaves behind.
func (j job) changing(c call) bool {
	return strings.HasPrefix(c.path, j.dir+"/") && slices.Contains(changes, c.name) && (c.name != "open" || c.made)
}

// TestKilledAtChanges kills jobs right before something changes on their disk:
// at every rename, and spread over all changes. Which ones differs from run to
// run; TestRealCrashSweep goes through all.
func TestKilledAtChanges(t *testing.T) {
	t.Parallel()
	r := newRandom(t)
	files, topics := crashFiles(t), crashTopics(t)
	for _, c := range []struct {
		name  string
		world *crashWorld
		calls []string
		step  int
	}{
		{"backfill, each rename", files, []string{"rename"}, 1},
		{"backfill, some changes", files, changes, 25},
		{"stream, some changes", topics, changes, 60},
	} {
		first := 1 + r.IntN(c.step)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.world.killEach(t, c.calls, first, c.step)
		})
	}
}

// killEach kills a job at a call, starts it again, checks what is there then,
// and goes on with another job and a later call, until one ends before it gets
// that far.
func (w *crashWorld) killEach(t *testing.T, calls []string, first, step int) {
	t.Helper()
	kills := 0
	for n := first; ; n += step {
		j := w.job(t)
		p, at := w.killAt(t, j, calls, n)
		if at == "" {
			w.check(t, j, p)
			break
		}
		kills++
		w.finish(t, j, p)
		if t.Failed() {
			t.Fatalf("killed at call %d, %s", n, at)
		}
		j.done(t)
	}
	t.Logf("killed %d times", kills)
	if kills < 5 {
		t.Error("the calls are not seen")
	}
}

// killAt runs a job and kills it when it is about to make the n-th of its
// changes that are among the calls. It says which that was, or nothing if there
// are fewer.
func (w *crashWorld) killAt(t *testing.T, j job, calls []string, n int) (p *process, at string) {
	t.Helper()
	var seen atomic.Int64
	fatal := make(chan string, 1)
	p = w.prepare(t, j)
	p.startWatched(t, calls, func(c call) ruling {
		if !j.changing(c) || seen.Add(1) != int64(n) {
			return ruling{}
		}
		fatal <- c.name + " " + shape(j.dir, c.path)
		return ruling{kill: true}
	})
	code, by := w.end(t, j, p)
	select {
	case at = <-fatal:
		if by != syscall.SIGKILL {
			t.Fatalf("killed at call %d, %s, and ended with code %d", n, at, code)
		}
	default:
		if code != exitOK {
			t.Fatalf("code %d, signal %d; it said:\n%s", code, by, p.stderr.text())
		}
	}
	return p, at
}

// TestKilledAgain kills jobs before a rename, and the runs that go on with them
// too, twice.
func TestKilledAgain(t *testing.T) {
	t.Parallel()
	r := newRandom(t)
	w := crashFiles(t)
	for range 4 {
		j := w.job(t)
		var said []*process
		var at []string
		for range 3 {
			p, call := w.killAt(t, j, []string{"rename"}, 1+r.IntN(12))
			said, at = append(said, p), append(at, call)
		}
		w.finish(t, j, said...)
		if t.Failed() {
			t.Fatalf("killed at %s", fmt.Sprint(at))
		}
		j.done(t)
	}
}
