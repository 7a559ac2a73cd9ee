package consent

import (
	"fmt"

	"lupa/schemas"
)

// perLock is how many messages are applied before stages get their turn.
const perLock = 1024

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
	v.reviews.open(m)
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
			v.changes, v.changed = append(v.changes, c), append(v.changed, c.token)
		}
		return err
	})
}

// applyAll reads n messages outside of the lock and makes the changes under it.
func (v *View) applyAll(n int, read func(int) error) (int, error) {
	for done := 0; done < n; {
		v.changes, v.changed = v.changes[:0], v.changed[:0]
		var err error
		for last := min(n, done+perLock); done < last; done++ {
			whole := len(v.changes)
			if err = read(done); err != nil {
				v.changes, v.changed = v.changes[:whole], v.changed[:whole]
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
	v.found, v.nodes = resize(v.found, len(v.changed)), resize(v.nodes, len(v.changed))
	v.store.index.find(&v.store.nodes, v.changed, v.found, v.nodes)
	v.seen |= v.store.touch(v.nodes)
	index := v.store.index.withRoom(&v.store.nodes, 2*len(v.changes))
	v.store.graph.reserve(len(v.changes))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.store.index = index
	for i := range v.changes {
		v.change(&v.changes[i], v.found[i])
	}
	v.store.settle()
	v.rules.learn(v.glossary)
}

// change makes one change. id is the node of its token, missing if there was
// none before the changes that are made with it.
func (v *View) change(c *change, id int32) {
	s, stats := &v.store, &v.stats
	k := c.entry.key()
	v.declare(c)
	switch c.action {
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
		if id = s.index.lookup(&s.nodes, &c.token); id != missing {
			n := s.nodes.at(id)
			v.reviewIf(c, v.reviews.wants(c) && v.permitted(id), schemas.NoRecord)
			s.close(n, s.open(n).clear(k))
			s.journal.note(id)
		}
	case deny:
		stats.Unreadable++
		id = s.node(&c.token)
		n := s.nodes.at(id)
		v.reviewIf(c, v.reviews.wants(c) && v.permitted(id), schemas.NoRecord)
		s.close(n, s.open(n).deny(k))
		s.journal.note(id)
	case denyLink:
		stats.Unreadable++
		v.link(c)
	case add, addEvery:
		stats.Records++
		if c.action == addEvery {
			stats.UnknownPurposes++
		}
		if id == missing {
			id = s.node(&c.token)
		}
		v.add(id, c)
	}
	// Rows may have been written under what stood before a message, and is gone.
	v.reviewIf(c, c.gap, schemas.NoRecord)
}

func (v *View) add(id int32, c *change) {
	n, e := v.store.nodes.at(id), &c.entry
	permitted := v.reviews.wants(c) && v.permitted(id)
	duties := e.Purpose == retention && v.reviews.wants(c) && v.store.timeline(n).bound(e.key())
	t, result := v.store.open(n).add(*e, v.glossary)
	v.store.close(n, t)
	v.stats.tell(result)
	v.stats.count(e)
	if result == duplicate {
		return
	}
	v.store.journal.note(id)
	switch {
	case e.Says == schemas.Erased, duties:
		v.reviewIf(c, true, e.Says)
	case e.takes(result, t.birth() != nil, v.glossary.barred[e.Terms]):
		v.reviewIf(c, permitted, e.Says)
	}
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
