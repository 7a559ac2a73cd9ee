package consent

import (
	"slices"

	"lupa/schemas"
)

// moment is a state of the view: how many changes it had seen, and how many
// identifiers it knew.
type moment struct {
	changes uint64
	known   int32
}

func (s *store) moment() moment { return moment{s.journal.count, int32(s.nodes.count)} }

// concerned are the identifiers whose rows may be decided otherwise than at a
// moment.
type concerned struct {
	since     moment
	nodes     []uint64                   // one bit a node
	strangers map[schemas.Token]struct{} // of nodes that were not known at the moment
	sieve     sieve                      // of the strangers' hashes
}

// sieve tells at a glance of most numbers that they were not put into it. It
// stays in the first cache: with it BenchmarkRecheck takes a third of the time.
type sieve [1 << 16 / 64]uint64

func (s *sieve) put(n uint16)      { s[n/64] |= 1 << (n % 64) }
func (s *sieve) has(n uint16) bool { return s[n/64]>>(n%64)&1 != 0 }

// add adds a node. It reports whether it is new.
func (c *concerned) add(id int32, n *node) bool {
	for int(id/64) >= len(c.nodes) {
		c.nodes = append(c.nodes, 0)
	}
	word, bit := &c.nodes[id/64], uint64(1)<<(id%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	if id >= c.since.known {
		c.strangers[n.token] = struct{}{}
		c.sieve.put(uint16(hash(&n.token)))
	}
	return true
}

// has reports whether a node is concerned that was known at the moment.
func (c *concerned) has(id int32) bool {
	return int(id/64) < len(c.nodes) && c.nodes[id/64]>>(id%64)&1 != 0
}

// hasStranger reports whether a token is concerned that was not known then. Its
// hash only rules it out.
func (c *concerned) hasStranger(token *schemas.Token) bool {
	if !c.sieve.has(uint16(hash(token))) {
		return false
	}
	_, ok := c.strangers[*token]
	return ok
}

// concernedSince gives the identifiers that changed since a moment, and all that
// are linked with them: nil if there are none. now is how many changes the view
// has seen. known is false when they are more than most, no longer remembered, or
// when it can no longer be said whom they concern; then it may be anybody.
func (v *View) concernedSince(since moment, most int) (c *concerned, now uint64, known bool) {
	v.mu.RLock()
	now = v.store.journal.count
	changes, known := v.store.journal.since(since.changes, most)
	known = known && v.store.learned <= since.changes
	v.mu.RUnlock()
	if !known {
		return nil, now, false
	}
	if len(changes) == 0 {
		return nil, now, true
	}
	c, known = v.concernedBy(changes, now, since)
	return c, now, known
}

// concernedBy gives the identifiers that changed, and all that are linked with
// them. now is how many changes there were then.
func (v *View) concernedBy(changes []int32, now uint64, since moment) (c *concerned, known bool) {
	c = &concerned{since: since, strangers: map[schemas.Token]struct{}{}}
	// The lock is let go now and then, for the sake of the ledger and of the
	// stages that wait behind it. A link that comes between is a change after
	// now, of which the next call tells. But where it makes a subject outgrow
	// the limit, those are forgotten whom the changes up to now concern.
	for part := range slices.Chunk(changes, perLock) {
		v.mu.RLock()
		if c.nodes == nil {
			c.nodes = make([]uint64, (v.store.nodes.count+63)/64)
		}
		forgot := v.store.forgot > now
		for _, id := range part {
			v.store.reach(id, c)
		}
		v.mu.RUnlock()
		if forgot {
			return nil, false
		}
	}
	return c, true
}

// reach adds a node and all that are linked with it. Who else is in a capped
// closure is not known, and need not be: when they came to be in it each of
// them was noted, no row that names one has been kept since, and when they are
// erased all rows are decided again.
func (s *store) reach(id int32, c *concerned) {
	n := s.nodes.at(id)
	if !c.add(id, n) || n.closure == none {
		return
	}
	for _, member := range s.closures[s.root(n.closure)].members {
		c.add(member, s.nodes.at(member))
	}
}
