//go:build integration

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestRealCrashSweep goes through all that the fast tests take samples of: it
// kills a backfill before each change on its disk and a stream before each
// seventh, and lets each tenth call fail, of each kind and in every way. With
// LUPA_TEST_EVERY_CALL set it leaves out none, which takes half an hour.
func TestRealCrashSweep(t *testing.T) {
	t.Parallel()
	r := newRandom(t)
	files, topics := crashFiles(t), crashTopics(t)
	const shares = 4 // of one sweep, at once
	every := func(step int) int {
		if os.Getenv("LUPA_TEST_EVERY_CALL") != "" {
			return 1
		}
		return step
	}
	sweep := func(name string, step int, from func(t *testing.T, first, step int)) {
		offset := r.IntN(step)
		for share := range shares {
			t.Run(fmt.Sprintf("%s, share %d", name, share), func(t *testing.T) {
				t.Parallel()
				from(t, 1+offset+share*step, shares*step)
			})
		}
	}
	sweep("backfill killed", 1, func(t *testing.T, first, step int) { files.killEach(t, changes, first, step) })
	sweep("stream killed", every(7), func(t *testing.T, first, step int) { topics.killEach(t, changes, first, step) })
	for _, f := range failures() {
		step := every(10)
		first := 1 + r.IntN(step)
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			for n := first; files.failOnce(t, f, n); n += step {
			}
		})
	}
	for later := range 4 {
		t.Run(fmt.Sprintf("catalog, dead %d calls after a failure", later), func(t *testing.T) {
			t.Parallel()
			for n := 1; files.dieOnce(t, n, later); n++ {
			}
		})
	}
}

// TestRealStoppedWithLocks stops a process while it holds what others need to
// commit: the lock of a table, without which they go on after a while, and that
// of the catalog, without which they do not.
func TestRealStoppedWithLocks(t *testing.T) {
	t.Parallel()
	t.Run("table", func(t *testing.T) {
		t.Parallel()
		stoppedInSync(t, ".avro", 1)
	})
	t.Run("catalog", func(t *testing.T) {
		t.Parallel()
		w := crashTopics(t)
		j := w.job(t)
		const commit = 11 // the syncs before are of tables made and claims
		stopped, goOn := w.stopAtSync(t, j, "/catalog.db-wal", commit)
		heir := w.prepare(t, j)
		heir.start(t)
		heir.ended(t, filepath.Join(j.warehouse(), "catalog.db"), "database is locked")
		goOn()
		j.awaits(t, stopped, w.broker.ends(t))
		stopped.stop(t, exitOK)
		w.check(t, j, stopped, heir)
	})
}
