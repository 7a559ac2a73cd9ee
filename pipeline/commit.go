package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"lupa/schemas"
)

// committer commits what the workers hand over.
type committer struct {
	job    *Job
	claims []Claims // by table; nil when nothing is claimed
	totals []Counts
	step   *step
}

// run takes one step at a time. What several workers hand over meanwhile
// becomes one commit a table.
func (c *committer) run(ctx context.Context, staged <-chan []*Commit) error {
	for first := range staged {
		merged := make([]*Commit, len(c.job.Contracts))
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
		c.step.begin(c.job.Now())
		err = c.commitAll(ctx, merged)
		c.step.end()
		if err != nil {
			c.job.discard(merged)
			return err
		}
	}
	return nil
}

func (c *committer) commitAll(ctx context.Context, merged []*Commit) error {
	// Rejected messages are safe before the position that passes them is.
	if c.job.Quarantine != nil {
		if err := c.job.Quarantine.Flush(ctx); err != nil {
			return fmt.Errorf("flush quarantine: %w", err)
		}
	}
	var done []Held
	for table, m := range merged {
		if m == nil {
			continue
		}
		if err := c.commit(ctx, m); err != nil {
			return fmt.Errorf("commit table %s: %w", c.job.Contracts[table].Table, err)
		}
		c.totals[table].Add(&m.Counts)
		for _, h := range m.held {
			if !slices.Contains(done, h) {
				done = append(done, h)
			}
		}
		m.held = nil
		if c.job.Committed != nil {
			c.job.Committed(m)
		}
	}
	for _, h := range done {
		h.Release()
	}
	return nil
}

func (c *committer) commit(ctx context.Context, m *Commit) error {
	if c.claims != nil {
		m.Claims = Claims{}
		for p := range m.Moves {
			claim, ok := c.claims[m.Table][p]
			if !ok {
				return fmt.Errorf("%s was read and never claimed", p)
			}
			m.Claims[p] = claim
		}
	}
	if err := c.recheck(ctx, m); err != nil {
		return err
	}
	c.step.begin(c.job.Now())
	m.tried = true
	return c.job.Sink.Commit(ctx, m)
}

// discard removes the files of commits that were not tried. What became of the
// others only the sink knows.
func (j *Job) discard(commits []*Commit) {
	sink, ok := j.Sink.(Discarder)
	for _, c := range commits {
		if ok && c != nil && !c.tried {
			sink.Discard(c.Table, c.Files)
		}
	}
}

// maxRechecks bounds how often one commit is asked about again because rows
// had to be changed, which takes time in which more may be withdrawn. Its
// ledger position says up to where it was asked in any case.
const maxRechecks = 8

// recheck takes out what was denied since it was decided: it looks at every
// record that the ledger had acknowledged just before the commit.
func (c *committer) recheck(ctx context.Context, m *Commit) error {
	if len(m.held) == 0 {
		return nil
	}
	for range maxRechecks {
		vector, err := c.job.barrier(ctx, c.step)
		if err != nil {
			return fmt.Errorf("ledger barrier: %w", err)
		}
		var rows []Amendment
		for _, h := range m.held {
			found, err := h.Recheck(m.Table)
			if err != nil {
				return fmt.Errorf("recheck: %w", err)
			}
			rows = append(rows, found...)
		}
		m.Ledger = vector
		if len(rows) == 0 {
			return nil
		}
		if err := c.amend(ctx, m, rows); err != nil {
			return fmt.Errorf("amend %d rows: %w", len(rows), err)
		}
	}
	return nil
}

// amend applies the amendments to the files and to the counts.
func (c *committer) amend(ctx context.Context, m *Commit, rows []Amendment) error {
	sink, ok := c.job.Sink.(Amender)
	if !ok {
		return errors.New("the sink cannot change files")
	}
	for _, r := range rows {
		if !r.Reason.Denies() && (r.Reason != schemas.ConsentGiven || r.Masked != schemas.NoReason) {
			return fmt.Errorf("%s offset %d has no reason", r.Partition, r.Offset)
		}
	}
	m.tried = true // on an error some files may be new ones
	files, err := sink.Amend(ctx, m.Table, m.Files, rows)
	if err != nil {
		return err
	}
	m.Files, m.tried = files, false
	n := &m.Counts
	for _, r := range rows {
		if !r.Reason.Denies() {
			continue
		}
		if r.Masked == schemas.NoReason {
			n.Kept--
			n.Reasons[schemas.ConsentGiven]--
		} else {
			n.Masked--
			n.Reasons[r.Masked]--
		}
		n.Dropped++
		n.Reasons[r.Reason]++
	}
	c.job.Stats.Amended.Add(int64(len(rows)))
	return nil
}

// barrier waits for the ledger. The wait is no part of the step around it.
func (j *Job) barrier(ctx context.Context, s *step) (Vector, error) {
	s.end()
	vector, err := j.Ledger.Barrier(ctx)
	s.begin(j.Now())
	return vector, err
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
		for _, h := range c.held {
			if !slices.Contains(old.held, h) {
				old.held = append(slices.Clip(old.held), h)
			}
		}
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
