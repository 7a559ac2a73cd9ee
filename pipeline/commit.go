package pipeline

import (
	"context"
	"fmt"
)

// commitLoop commits what the workers hand over, one step at a time. What
// several workers hand over meanwhile becomes one commit a table.
func commitLoop(ctx context.Context, job *Job, staged <-chan []*Commit, totals []Counts) error {
	for first := range staged {
		merged := make([]*Commit, len(job.Contracts))
		err := merge(merged, first)
		for more := true; more && err == nil; {
			select {
			case next, ok := <-staged:
				if more = ok; ok {
					err = merge(merged, next)
				}
			default:
				more = false
			}
		}
		if err != nil {
			return err
		}
		// Rejected messages are safe before the position that passes them is.
		if job.Quarantine != nil {
			if err := job.Quarantine.Flush(ctx); err != nil {
				return fmt.Errorf("flush quarantine: %w", err)
			}
		}
		for table, c := range merged {
			if c == nil {
				continue
			}
			if err := job.Sink.Commit(ctx, c); err != nil {
				return fmt.Errorf("commit table %s: %w", job.Contracts[table].Table, err)
			}
			totals[table].Add(&c.Counts)
			if job.Committed != nil {
				job.Committed(c)
			}
		}
	}
	return nil
}

// merge adds commits to those of the same table. A partition belongs to one
// worker, whose intervals follow each other, so two moves of one partition
// join end to end. Two workers that found different partitions when they began
// may have dealt themselves the same one: that ends the run.
func merge(into []*Commit, add []*Commit) error {
	for _, c := range add {
		old := into[c.Table]
		if old == nil {
			into[c.Table] = c
			continue
		}
		old.Files = append(old.Files, c.Files...)
		old.Counts.Add(&c.Counts)
		old.Ledger.Lower(c.Ledger)
		for p, m := range c.Moves {
			if before, ok := old.Moves[p]; ok {
				if m.From != before.To.Next {
					return fmt.Errorf("%s: was read to offset %d, and by another worker from %d on", p, before.To.Next, m.From)
				}
				m.From = before.From
			}
			old.Moves[p] = m
		}
	}
	return nil
}
