package consent

import (
	"fmt"

	"lupa/schemas"
)

// perLock is how many messages are applied before stages get their turn.
const perLock = 256

// ApplyMessages takes ledger messages in the order of their offsets. A message
// may say several things; markers are counted, and nothing else. It gives how
// many were applied: all of them, or those before the message that err is about.
// Stages see each message whole or not at all, and every one of them once it has
// returned.
func (v *View) ApplyMessages(m *schemas.LedgerMessages) (n int, err error) {
	n = len(m.Values)
	if len(m.Keys) != n || m.Offsets != nil && len(m.Offsets) != n {
		return 0, fmt.Errorf("consent: %d keys and %d offsets for %d values", len(m.Keys), len(m.Offsets), n)
	}
	v.applying.Lock()
	defer v.applying.Unlock()
	if err := v.openReviews(m); err != nil {
		return 0, err
	}
	return v.applyAll(n, func(i int) error { return v.read(m, i) })
}

// Apply takes messages of which nobody says where they stand.
func (v *View) Apply(keys, values [][]byte) (n int, err error) {
	return v.ApplyMessages(&schemas.LedgerMessages{Keys: keys, Values: values})
}

// ApplyRecords takes records as Apply takes messages.
func (v *View) ApplyRecords(records []schemas.Record) (n int, err error) {
	v.applying.Lock()
	defer v.applying.Unlock()
	return v.applyAll(len(records), func(i int) error {
		c, err := v.resolve(&records[i])
		if err == nil {
			v.kinds(&c, &records[i])
			c.offset = noOffset
			v.changes = append(v.changes, c)
		}
		return err
	})
}

// applyAll reads n messages outside of the lock and makes the changes under it.
func (v *View) applyAll(n int, read func(int) error) (int, error) {
	for done := 0; done < n; {
		v.changes = v.changes[:0]
		var err error
		for last := min(n, done+perLock); done < last; done++ {
			whole := len(v.changes)
			if err = read(done); err != nil {
				v.changes = v.changes[:whole]
				break
			}
		}
		v.commit()
		if err != nil {
			return done, fmt.Errorf("consent: ledger message %d of the batch: %w", done, err)
		}
	}
	return n, nil
}

// commit makes the changes that were read. Stages are kept waiting for as
// little as possible: what can be looked up, loaded or made before is.
func (v *View) commit() {
	v.changed = v.changed[:0]
	for i := range v.changes {
		if c := &v.changes[i]; !c.other.IsZero() {
			v.changed = append(v.changed, c.token, c.other)
		} else if !c.token.IsZero() {
			v.changed = append(v.changed, c.token)
		}
	}
	v.found = resize(v.found, len(v.changed))
	v.store.shelf.Find(v.changed, v.found) // which brings them into the cache
	v.store.shelf.Reserve(v.changed)
	v.store.graph.reserve(len(v.changes))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.store.shelf.Settle()
	for i := range v.changes {
		v.change(&v.changes[i])
	}
	v.store.settle()
	v.rules.learn(v.glossary)
}

// change makes one change.
func (v *View) change(c *change) {
	s, stats := &v.store, &v.stats
	k := c.entry.key()
	v.declare(c)
	switch c.action {
	case declared:
		return
	case ignore:
		stats.Records++
		stats.UnknownPurposes++
	case mark:
		stats.Markers++
		return
	case link, linkShared, unlink:
		stats.Records++
		stats.Links++
		v.link(c)
	case buryNone:
		stats.Tombstones++
	case bury:
		stats.Tombstones++
		if _, known := s.identity(&c.token); known {
			v.revise(c, func(t Timeline) Timeline { return t.clear(k) })
		}
	case deny:
		stats.Unreadable++
		v.revise(c, func(t Timeline) Timeline { return t.deny(k) })
	case denyLink:
		stats.Unreadable++
		v.link(c)
	case add, addEvery:
		stats.Records++
		if c.action == addEvery {
			stats.UnknownPurposes++
		}
		v.add(c)
	}
	// Rows may have been written under what stood before a message, and is gone.
	v.reviewIf(c, c.gap, schemas.NoRecord)
}

// revise takes away from what there is of a token.
func (v *View) revise(c *change, how func(Timeline) Timeline) {
	v.reviewIf(c, true, schemas.NoRecord)
	card := v.store.card(&c.token)
	card.line = how(card.line)
	v.store.file(&c.token, &card)
	v.store.journal.note(&c.token)
}

// add adds an entry to what there is of a token.
func (v *View) add(c *change) {
	e, s := &c.entry, &v.store
	granted := e.grants() && v.reviews.wants(c) && v.permitted(&c.token)
	card := s.card(&c.token)
	t, result := card.line.add(*e, v.glossary)
	card.line = t
	s.file(&c.token, &card)
	v.stats.tell(result)
	v.stats.count(e)
	if result == duplicate {
		return
	}
	s.journal.note(&c.token)
	v.reviewIf(c, e.takes(result, granted, t.birth() != nil, v.glossary.barred[e.Terms]), e.Says)
}

// tell counts what became of a record.
func (s *Stats) tell(result outcome) {
	switch result {
	case duplicate:
		s.Duplicates++
	case late:
		s.Late++
	case tie:
		s.Ties++
	case buried:
		s.Buried++
	}
}

// count counts a record by what it says.
func (s *Stats) count(e *Entry) {
	switch {
	case e.Purpose == restriction:
		s.Restrictions++
	case e.Purpose == birth:
		s.Births++
	case e.Purpose == retention:
		s.Duties++
	case e.Purpose >= guardians && e.Purpose < schemas.FirstGroup:
		s.Guardians++
	}
	switch e.Says {
	case schemas.Erased:
		s.Erasures++
	case schemas.Unproven:
		s.Unproven++
	case schemas.Pending:
		s.Pending++
	case schemas.Expired:
		s.Expiries++
	}
}
