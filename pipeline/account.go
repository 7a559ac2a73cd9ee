package pipeline

import (
	"errors"
	"fmt"
	"slices"

	"lupa/schemas"
)

// accounted checks that the decoder made a row or a reject of every message:
// one that it forgot would be gone, for the position passes it.
func (w *worker) accounted(c *Chunk, rows []schemas.Rows, rejects []schemas.Reject) error {
	w.seen = slices.Grow(w.seen[:0], len(c.Values))[:len(c.Values)]
	clear(w.seen)
	for i := range rows {
		for _, m := range rows[i].Message {
			w.seen[m] = true
		}
	}
	for i := range rejects {
		w.seen[rejects[i].Message] = true
	}
	if i := slices.Index(w.seen, false); i >= 0 {
		return fmt.Errorf("decoder gave nothing for %s offset %d", c.Partition, c.Offsets[i])
	}
	return nil
}

// tally counts the batch and checks that the stages accounted for every row.
func tally(n *Counts, b *Batch) error {
	rows := len(b.Offsets)
	if len(b.Verdicts) != rows || len(b.Reasons) != rows {
		return fmt.Errorf("stages decided %d of %d rows", len(b.Verdicts), rows)
	}
	var kept, masked int64
	for i, v := range b.Verdicts {
		switch v {
		case KeepRow:
			kept++
		case MaskRow:
			masked++
		}
		if !fits(v, b.Reasons[i]) {
			return fmt.Errorf("row at offset %d has no reason that fits its verdict", b.Offsets[i])
		}
		n.Reasons[b.Reasons[i]]++
	}
	if int64(len(b.Selected)) != kept+masked || (b.Out == nil && kept+masked > 0) ||
		(b.Out != nil && b.Out.NumRows() != kept+masked) {
		return fmt.Errorf("stages passed %d rows, %d were kept or masked", len(b.Selected), kept+masked)
	}
	for i, row := range b.Selected {
		if row < 0 || int(row) >= rows || i > 0 && row <= b.Selected[i-1] || b.Verdicts[row] == DropRow {
			return errors.New("stages passed other rows than those that were kept or masked")
		}
	}
	n.Read += int64(rows)
	n.Kept += kept
	n.Masked += masked
	n.Dropped += int64(rows) - kept - masked
	return nil
}

// fits reports whether a row may have the verdict for the reason: it is kept
// for consent and for nothing else, what is erased is not even masked, and what
// a law retains is never dropped.
func fits(v Verdict, r schemas.Reason) bool {
	switch v {
	case KeepRow:
		return r == schemas.ConsentGiven
	case MaskRow:
		return r.Denies() && r != schemas.Erased
	case DropRow:
		return r.Denies() && r != schemas.Retained
	}
	return false
}
