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

// add adds a node.
func (c *concerned) add(id int32, n *node) {
	for int(id/64) >= len(c.nodes) {
		c.nodes = append(c.nodes, 0)
	}
	word, bit := &c.nodes[id/64], uint64(1)<<(id%64)
	if *word&bit != 0 {
		return
	}
	*word |= bit
	if id >= c.since.known {
		c.strangers[n.token] = struct{}{}
		c.sieve.put(uint16(hash(&n.token)))
	}
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

// concernedSince gives the identifiers that changed since a moment, and all whose
// rows they may decide: nil if there are none. now is how many changes the view
// has seen. known is false when they are more than most or no longer remembered;
// then it may be anybody.
func (v *View) concernedSince(since moment, most int) (c *concerned, now uint64, known bool) {
	v.mu.RLock()
	now = v.store.journal.count
	changes, known := v.store.journal.since(since.changes, most)
	v.mu.RUnlock()
	if !known || len(changes) == 0 {
		return nil, now, known
	}
	return v.concernedBy(changes, since), now, true
}

// concernedBy gives the identifiers that changed, and all whose rows they may
// decide.
func (v *View) concernedBy(changes []int32, since moment) *concerned {
	c := &concerned{since: since, strangers: map[schemas.Token]struct{}{}}
	// The lock is let go now and then, for the sake of the ledger and of the
	// stages that wait behind it. A link or unlink that comes between is a change
	// of everybody whom it concerns, of which the next call tells.
	for part := range slices.Chunk(changes, perLock) {
		v.mu.RLock()
		if c.nodes == nil {
			c.nodes = make([]uint64, (v.store.nodes.count+63)/64)
		}
		for _, id := range part {
			if !c.has(id) || v.store.shared(id) {
				v.store.reach(id, func(id int32) { c.add(id, v.store.nodes.at(id)) })
			}
		}
		v.mu.RUnlock()
	}
	return c
}
