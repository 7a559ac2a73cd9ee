package main

import (
	"context"
	"time"

	"lupa/connectors/kafka"
	"lupa/pipeline"
)

// observe makes what the rooms count visible.
func (s *streamer) observe() {
	m := s.monitor
	m.tables(s.rooms.tables())
	count := func(name, help string, n func() int64) {
		m.counter(name, help, func() float64 { return float64(n()) })
	}
	count("messages_read_total", "Messages processed, committed or not yet.", s.stats.Read.Load)
	count("rows_amended_total", "Rows taken out or narrowed because of what the ledger said between their decision and their commit.", s.stats.Amended.Load)
	m.gauge("held_bytes", "Memory of the rows that are kept in mind until their commit, of one worker at its last flush.",
		func() float64 { return float64(s.stats.HeldBytes.Load()) })
	count("rebalances_total", "Shares of the partitions that the group has given.", s.shares.Load)

	sink := s.rooms.sink
	count("commits_refused_total", "Commits refused because another process was faster or has claimed the partitions.", func() int64 { return sink.Stats().Refused })
	count("commit_outcomes_unknown_total", "Commits whose answer was lost, so that the table had to be asked.", func() int64 { return sink.Stats().UnknownOutcomes })
	count("claims_total", "Partitions claimed.", func() int64 { return sink.Stats().Claims })

	m.check("catalog", func() string {
		if sink.Stalled() {
			return "does not answer"
		}
		return ""
	})

	m.perPartition("position", "Next offset to work on, by partition of this process.", s.partitions(func(p kafka.PartitionState) float64 { return float64(p.Next) }))
	m.perPartition("log_start", "First offset that the partition still has.", s.partitions(func(p kafka.PartitionState) float64 { return float64(p.Start) }))
	m.perPartition("lag", "Messages between the position and the read-committed end, as last heard.", s.partitions(func(p kafka.PartitionState) float64 {
		return float64(max(0, p.End-p.Next))
	}))
	s.observeLedger()
	if r := s.rooms.registry; r != nil {
		count("registry_requests_total", "Requests to the schema registry.", func() int64 { return r.Stats().Requests })
		count("registry_failures_total", "Requests to it that brought no answer to go by.", func() int64 { return r.Stats().Failures })
		count("registry_stalls_total", "Times that somebody had to wait for it.", func() int64 { return r.Stats().Stalls })
		m.check("registry", func() string {
			if since := r.Stats().StalledSince; !since.IsZero() {
				return "stalled since " + since.UTC().Format(time.RFC3339)
			}
			return ""
		})
	}
}

// refreshEvery is how old the ends in the metrics may be.
const refreshEvery = 2 * time.Second

// refresh keeps asking for the ends of what is read until ctx ends: while the
// sources wait, for the ledger or a schema, they do not hear what comes.
func refresh(ctx context.Context, reading []*kafka.Events) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, e := range reading {
			// Of brokers that do not answer the sources tell themselves.
			_ = e.Refresh(ctx)
		}
	}
}

// partitions gives a number of every partition that is read.
func (s *streamer) partitions(number func(kafka.PartitionState) float64) func() map[pipeline.Partition]float64 {
	return func() map[pipeline.Partition]float64 {
		values := map[pipeline.Partition]float64{}
		if reading := s.reading.Load(); reading != nil {
			for _, e := range *reading {
				for p, state := range e.State() {
					values[p] = number(state)
				}
			}
		}
		return values
	}
}

func (s *streamer) observeLedger() {
	m, view := s.monitor, s.rooms.view
	m.gauge("ledger_subjects", "Subjects that the ledger knows.", func() float64 { return float64(view.Stats().Subjects) })
	m.counter("ledger_records_total", "Ledger records applied.", func() float64 { return float64(view.Stats().Records) })
	m.gauge("ledger_reviews", "Identifiers of which the ledger said something that may take away rows which the tables have already.", func() float64 { return float64(view.ReviewCount()) })
	m.counter("ledger_ties_total", "Ledger records of one version that differ; the most restrictive stands.", func() float64 { return float64(view.Stats().Ties) })
	m.counter("ledger_unreadable_total", "Ledger records that could not be read, and deny whom they are about.", func() float64 { return float64(view.Stats().Unreadable) })
	l := s.rooms.following
	if l == nil {
		return
	}
	m.counter("ledger_barriers_total", "Waits for the ledger's end.", func() float64 { return float64(l.Stats().Barriers) })
	m.counter("ledger_barrier_seconds_total", "How long they took in all.", func() float64 { return l.Stats().Waited.Seconds() })
	m.counter("ledger_stalls_total", "Waits that took longer than they may without being told.", func() float64 { return float64(l.Stats().Stalls) })
	m.gauge("ledger_stalled_seconds", "For how long the wait that is on has been going on beyond that; 0 without one.", func() float64 {
		since := l.Stats().StalledSince
		if since.IsZero() {
			return 0
		}
		return time.Since(since).Seconds()
	})
	m.gauge("ledger_age_seconds", "For how long the quietest partition of the ledger has given no record.", func() float64 { return l.Stats().Age.Seconds() })
	m.perPartition("ledger_position", "Next ledger offset to apply.", func() map[pipeline.Partition]float64 {
		values := map[pipeline.Partition]float64{}
		for p, next := range l.Stats().Applied {
			values[p] = float64(next)
		}
		return values
	})
	m.perPartition("ledger_behind", "Partitions of the ledger that a stalled wait is for.", func() map[pipeline.Partition]float64 {
		values := map[pipeline.Partition]float64{}
		for _, p := range l.Stats().Behind {
			values[p] = 1
		}
		return values
	})
	m.check("ledger", func() string {
		if since := l.Stats().StalledSince; !since.IsZero() {
			return "stalled since " + since.UTC().Format(time.RFC3339)
		}
		return ""
	})
}
