package kafka

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"lupa/pipeline"
)

// LedgerStats are what a ledger tells of itself.
type LedgerStats struct {
	// Applied is how far the view is.
	Applied pipeline.Vector
	// Ends is what the last question for the ends of the ledger has found.
	Ends pipeline.Vector
	// Barriers is how many have passed, and Waited how long they took in all.
	Barriers int64
	Waited   time.Duration
	// Stalls is how many barriers, or starts, have waited longer than the
	// Stall option. StalledSince is when the first of those that still wait
	// began to, zero without any, and Behind is which partitions they wait for.
	Stalls       int64
	StalledSince time.Time
	Behind       []pipeline.Partition
	// Age is what Ledger.Age gives.
	Age time.Duration
}

// Stats tells how the ledger is doing. It waits for nothing and may be called
// at any time, by many at once.
func (l *Ledger) Stats() LedgerStats {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := LedgerStats{
		Applied: maps.Clone(l.applied), Ends: maps.Clone(l.asked), Barriers: l.barriers, Waited: l.waited,
		Stalls: l.stalls, Age: l.age(now),
	}
	for w := range l.stalled {
		if s.StalledSince.IsZero() || w.began.Before(s.StalledSince) {
			s.StalledSince = w.began
		}
	}
	if len(l.stalled) > 0 {
		s.Behind = l.lag(now).all()
	}
	return s
}

// Stalls is how many barriers, or starts, have waited longer than the Stall
// option.
func (l *Ledger) Stalls() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stalls
}

// Age is the longest time since a partition's last record was applied. A leader
// that was replaced without knowing can keep from the view only what was
// acknowledged within it. It counts from the end of the replay, or from when a
// partition was added, and is 0 before.
func (l *Ledger) Age() time.Duration {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.age(now)
}

func (l *Ledger) age(now time.Time) time.Duration {
	if l.cancel == nil {
		return 0
	}
	var oldest time.Duration
	for _, at := range l.heard {
		oldest = max(oldest, now.Sub(at))
	}
	return oldest
}

// isStale reports whether a partition has been silent for too long.
func (l *Ledger) isStale(p pipeline.Partition, now time.Time) bool {
	return l.cancel != nil && l.o.MaxStaleness > 0 && now.Sub(l.heard[p]) > l.o.MaxStaleness
}

// anyStale reports whether any has.
func (l *Ledger) anyStale(now time.Time) bool {
	return l.o.MaxStaleness > 0 && l.age(now) > l.o.MaxStaleness
}

// lag is why a barrier has to wait.
type lag struct {
	unknown []pipeline.Partition // whose ends are not known
	behind  []pipeline.Partition // that the view has not read to their ends
	stale   []pipeline.Partition // that have been silent for too long
}

func (l *Ledger) lag(now time.Time) lag {
	g := lag{unknown: slices.Clone(l.unanswered)}
	for p, next := range l.applied {
		if next < l.asked[p] {
			g.behind = append(g.behind, p)
		}
		if l.isStale(p, now) {
			g.stale = append(g.stale, p)
		}
	}
	return g
}

// all lists each partition once, in order.
func (g lag) all() []pipeline.Partition {
	list := slices.Concat(g.unknown, g.behind, g.stale)
	slices.SortFunc(list, func(a, b pipeline.Partition) int { return cmp.Compare(a.ID, b.ID) })
	return slices.Compact(list)
}

// wait is a barrier, or a start, that waits.
type wait struct {
	what  string // for the log
	began time.Time
}

// stall notes that w has waited too long. Each kind of reason is logged once
// until a barrier passes again.
func (l *Ledger) stall(ctx context.Context, w *wait) {
	now := l.now()
	l.mu.Lock()
	if _, known := l.stalled[w]; !known {
		l.stalls++
		l.stalled[w] = struct{}{}
	}
	g := l.lag(now)
	kinds := g.kinds()
	said := kinds&^l.said == 0
	l.said |= kinds
	l.mu.Unlock()
	if said {
		return
	}
	l.log.Warn(w.what+" has stalled", "topic", l.topic, "after", l.o.Stall, "unknown_end", numbers(g.unknown),
		"behind", numbers(g.behind), "open_transaction", numbers(l.heldBack(ctx, g.behind)), "stale", numbers(g.stale))
}

// kinds is a bit for each kind of reason to wait.
func (g lag) kinds() (kinds uint8) {
	for i, parts := range [][]pipeline.Partition{g.unknown, g.behind, g.stale} {
		if len(parts) > 0 {
			kinds |= 1 << i
		}
	}
	return kinds
}

// heldBack gives the partitions in which an open transaction stands before
// what is waited for.
func (l *Ledger) heldBack(ctx context.Context, behind []pipeline.Partition) []pipeline.Partition {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stable, err := l.client.offsets(ctx, behind, logEnd)
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var held []pipeline.Partition
	for _, p := range behind {
		if stable[p] < l.asked[p] {
			held = append(held, p)
		}
	}
	return held
}

// over notes that w waits no more, and whether it has passed.
func (l *Ledger) over(w *wait, err error) {
	took := l.now().Sub(w.began)
	l.mu.Lock()
	delete(l.stalled, w)
	again := err == nil && l.said != 0 && len(l.stalled) == 0
	if again {
		l.said = 0
	}
	l.mu.Unlock()
	if again {
		l.log.Info(w.what+" goes on", "topic", l.topic, "seconds", took.Seconds())
	}
}

func numbers(parts []pipeline.Partition) []int32 {
	list := make([]int32, len(parts))
	for i, p := range parts {
		list[i] = p.ID
	}
	slices.Sort(list)
	return list
}
