package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/dustin/go-humanize"
)

// errMemory ends a job that would take more memory than it may.
var errMemory = errors.New("memory.limit is reached")

// budget is how the memory is shared that the ledger leaves. Its parts hold for
// all workers together.
type budget struct {
	fetched int64 // bytes of answers that wait to be processed
	rows    int64 // rows that wait for their file
	held    int64 // rows in mind until their commit
}

// The shares of the memory that is left: the rest is for what one chunk takes
// on its way, for files while they are written, and for the collector.
const (
	fetchedShare = 6
	rowsShare    = 5
	heldShare    = 10

	leastFetched = 8 << 20
	leastHeld    = 4 << 20
	defaultAhead = 32 << 20 // for each worker, without a limit
	defaultHeld  = 64 << 20 // for each worker, without a limit
)

// share makes the budget of a job whose ledger is in memory already, ledger of it
// outside of what Go manages. Without a limit nothing but the configuration bounds
// it.
func share(limit, ledger, rows int64, workers int) (budget, error) {
	n := int64(workers)
	if limit == 0 {
		return budget{fetched: n * defaultAhead, rows: rows, held: n * defaultHeld}, nil
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	taken := int64(m.HeapAlloc) + ledger
	left := limit - taken - int64(m.StackSys) - 32<<20
	b := budget{fetched: left / fetchedShare, rows: min(rows, left/rowsShare), held: left / heldShare}
	if b.fetched < n*leastFetched || b.held < n*leastHeld {
		return b, fmt.Errorf("%w: the ledger takes %s of %s, which leaves too little for %s; raise the limit or have fewer workers",
			errMemory, humanize.IBytes(uint64(taken)), humanize.IBytes(uint64(limit)), plural(workers, "worker"))
	}
	return b, nil
}

// limitMemory makes the collector keep the process under the limit as long as
// what it needs fits, and ends the job when it no longer does. The function it
// gives ends the watching.
func limitMemory(ctx context.Context, limit int64, log *slog.Logger) (context.Context, func()) {
	if limit == 0 {
		return ctx, func() {}
	}
	before := debug.SetMemoryLimit(limit * 9 / 10)
	// What Go does not manage is not the collector's to keep small.
	spare := func() { debug.SetMemoryLimit(max(limit*9/10-int64(memoryOutside()), limit/10)) }
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for over := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			spare()
			if used := memoryInUse() + memoryOutside(); used <= uint64(limit) {
				over = 0
				continue
			}
			// The collector and the operating system get a few seconds.
			debug.FreeOSMemory()
			if over++; over >= 6 {
				log.Error("memory.limit is reached, the job ends", "limit", limit)
				cancel(errMemory)
				return
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		debug.SetMemoryLimit(before)
	}
}

// memoryInUse is what the process has of the operating system, as far as Go
// knows: all but what it gave back.
func memoryInUse() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}

// memoryOutside is what the process has that Go knows nothing of: the pages that
// hold the ledger. It is 0 where the system does not tell.
func memoryOutside() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var total, resident, shared uint64
	if _, err := fmt.Sscan(string(text), &total, &resident, &shared); err != nil || shared > resident {
		return 0
	}
	// What is shared is the program itself.
	own := (resident - shared) * uint64(os.Getpagesize())
	if used := memoryInUse(); own > used {
		return own - used
	}
	return 0
}
