package consent

import (
	"slices"
	"sort"

	"lupa/pipeline"
	"lupa/pipeline/consent/shelf"
	"lupa/schemas"
)

// Recheck decides again the rows of a table that a change of the ledger may
// concern, at the times and with the policy of the first decision, and gives
// those that may no longer stand as they are. It never fails. What is permitted
// now and was not before makes no difference: a row never gets more than it was
// kept for.
func (h *Held) Recheck(table int) ([]pipeline.Amendment, error) {
	if table < 0 || table >= len(h.tables) || h.tables[table].rows == 0 {
		return nil, nil
	}
	t := &h.tables[table]
	// To decide all rows takes less than to find those of as many changes.
	c, seen, known := h.view.concernedSince(t.since, max(t.rows, perLock))
	t.since = seen
	at := h.view.now()
	if t.due != 0 && at >= t.due {
		// Some decision may have changed without a word of the ledger.
		known, t.due = false, 0
	}
	if known && c == nil {
		return nil, nil
	}
	var amended []pipeline.Amendment
	for _, k := range t.blocks {
		if known {
			h.matched = k.match(c, h.matched[:0])
		} else {
			h.matched = k.standing(h.matched[:0])
		}
		for rows := range slices.Chunk(h.matched, perLock) {
			amended = h.again(t, k, rows, at, amended)
		}
	}
	return amended, nil
}

// match appends the rows that stand and name somebody who is concerned.
func (k *heldBlock) match(c *concerned, rows []int) []int {
	at, last := 0, -1
	for i := range k.names {
		if !c.has(&k.names[i]) {
			continue
		}
		for at+1 < len(k.runs) && k.runs[at+1].name <= i {
			at++
		}
		r := &k.runs[at]
		row := r.row + (i-r.name)/len(r.plan.lookups)
		if row != last && k.rows[row].granted != 0 {
			rows = append(rows, row)
		}
		last = row
	}
	return rows
}

// standing appends the rows that are still kept or masked.
func (k *heldBlock) standing(rows []int) []int {
	for row := range k.rows {
		if k.rows[row].granted != 0 {
			rows = append(rows, row)
		}
	}
	return rows
}

// again decides rows of a block of a table, ascending, on the view as it is now,
// and appends what has to be amended. What a duty would keep of a row is not
// there to be kept: it is erased.
func (h *Held) again(t *heldTable, k *heldBlock, rows []int, now int64, amended []pipeline.Amendment) []pipeline.Amendment {
	h.view.mu.RLock()
	defer h.view.mu.RUnlock()
	store := &h.view.store
	h.tokens = k.named(rows, h.tokens[:0])
	h.lines.find(store, h.tokens)
	refs, at := h.lines.refs, 0
	for _, row := range rows {
		at = k.runOf(row, at)
		r := &k.runs[at]
		names := len(r.plan.lookups)
		lines := h.lines.gather(store, refs[:names], 1, func() bool { return k.stranger(r, row, refs) })
		refs = refs[names:]
		q := r.plan.question(now, &h.view.rules)
		d := q.during(lines, k.moments(row))
		old := &k.rows[row]
		was := schemas.ConsentGiven
		if old.granted&maskedRow != 0 {
			was = schemas.Reason(old.granted &^ maskedRow)
		}
		if d.Reason == schemas.Retained && (was != schemas.Retained || r.plan.duty(d.Duties).Fields == nil) {
			d.Reason = schemas.Erased
		}
		if was != schemas.ConsentGiven {
			switch {
			case d.Reason == schemas.Retained:
				t.due = sooner(t.due, d.Until)
			case d.Reason == schemas.Erased, was == schemas.Retained:
				d.Reason = schemas.Erased
				amended = append(amended, pipeline.Amendment{Partition: r.partition, Offset: r.offset + int64(old.offset),
					Reason: d.Reason, Masked: was})
				old.granted = 0
			}
			continue
		}
		t.due = sooner(t.due, d.Until)
		d.Granted &= schemas.PurposeSet(old.granted)
		if d.Reason == schemas.ConsentGiven && uint32(d.Granted) == old.granted {
			continue
		}
		amended = append(amended, pipeline.Amendment{Partition: r.partition, Offset: r.offset + int64(old.offset),
			Reason: d.Reason, Granted: d.Granted})
		old.granted = uint32(d.Granted)
		if d.Reason != schemas.ConsentGiven {
			old.granted = 0
			if h.lines.capped {
				h.view.cappedRows.Add(1)
			}
		}
	}
	return amended
}

// runOf gives the run of a row; it is not before at.
func (k *heldBlock) runOf(row, at int) int {
	for at+1 < len(k.runs) && k.runs[at+1].row <= row {
		at++
	}
	return at
}

// named appends whom the rows name, of each as many as its plan has lookups.
func (k *heldBlock) named(rows []int, tokens []schemas.Token) []schemas.Token {
	at := 0
	for _, row := range rows {
		at = k.runOf(row, at)
		r := &k.runs[at]
		n := len(r.plan.lookups)
		tokens = append(tokens, k.names[r.name+(row-r.row)*n:][:n]...)
	}
	return tokens
}

// stranger reports whether a row names somebody whom the view does not know.
// refs begin with those that the row names.
func (k *heldBlock) stranger(r *run, row int, refs []shelf.Ref) bool {
	names := k.names[r.name+(row-r.row)*len(r.plan.lookups):]
	return r.plan.stranger(func(lookup int) (named, known bool) {
		return !names[lookup].IsZero(), refs[lookup] != 0
	})
}

// moments gives the times at which a row was decided.
func (k *heldBlock) moments(row int) *moments {
	i := sort.Search(len(k.odd), func(i int) bool { return k.odd[i].row >= row })
	if i < len(k.odd) && k.odd[i].row == row {
		return &k.odd[i].moments
	}
	first := k.rows[row].first
	return &moments{first, first, first}
}
