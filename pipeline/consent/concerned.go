package consent

import (
	"math/bits"

	"lupa/pipeline/consent/shelf"
	"lupa/schemas"
)

// concerned are the identifiers whose rows may be decided otherwise than they were
// when the view had seen fewer changes.
type concerned struct {
	seed shelf.Seed
	seen uint64 // how many changes are looked at
	// slots hold the tokens, open addressing. sieve rules out most others at a
	// glance, in a cache that slots do not fit into; with it BenchmarkRecheck takes
	// a third of the time.
	slots []schemas.Token
	sieve []uint64
	shift int // 64 - log2(len(slots))
	count int
	refs  []shelf.Ref
}

// sieveBits is how many bits the sieve has for a slot.
const sieveBits = 8

// concernedSince gives the identifiers that changed since the view had seen so
// many changes, and all whose rows they may decide: nil if there are none. now is
// how many it has seen. known is false when they are more than most or no longer
// remembered; then it may be anybody.
func (v *View) concernedSince(since uint64, most int) (c *concerned, now uint64, known bool) {
	v.mu.RLock()
	now = v.store.journal.count
	v.mu.RUnlock()
	if now-since > uint64(most) {
		return nil, now, false
	}
	c = &concerned{seed: v.store.shelf.Seed(), seen: since}
	for {
		switch more, known := c.follow(v, perLock); {
		case !known || c.seen-since > uint64(most):
			return nil, c.seen, false
		case !more && c.count == 0:
			return nil, c.seen, true
		case !more:
			return c, c.seen, true
		}
	}
}

// follow adds whom the next changes concern, a number of them. It reports whether
// there are more; known is false when they are no longer remembered.
//
// The lock is let go between the calls, for the sake of the ledger and of the stages
// that wait behind it. A link or unlink that comes between may hide who was
// concerned by what came before; but it is a change of all of them, and follow
// comes to it before it has no more.
func (c *concerned) follow(v *View, most int) (more, known bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := &v.store
	changes, known := s.journal.since(c.seen, most)
	if !known {
		c.seen = s.journal.count
		return false, false
	}
	if s.graph.vertices.count > 0 {
		c.refs = resize(c.refs, len(changes))
		s.shelf.Find(changes, c.refs) // which brings them into the cache
	}
	for i := range changes {
		s.reach(&changes[i], c.add)
	}
	c.seen += uint64(len(changes))
	return c.seen != s.journal.count, true
}

// add adds a token.
func (c *concerned) add(token *schemas.Token) {
	if 2*c.count >= len(c.slots) {
		c.grow()
	}
	h := c.seed.Hash(token)
	at := c.find(h, token)
	if c.slots[at].IsZero() {
		c.slots[at] = *token
		c.count++
		bit := h % uint64(64*len(c.sieve))
		c.sieve[bit/64] |= 1 << (bit % 64)
	}
}

// has reports whether a token, which may be zero, is among them.
func (c *concerned) has(token *schemas.Token) bool {
	h := c.seed.Hash(token)
	bit := h & uint64(64*len(c.sieve)-1)
	if c.sieve[bit/64]>>(bit%64)&1 == 0 {
		return false
	}
	return !c.slots[c.find(h, token)].IsZero()
}

// find gives the slot of a token, or the empty one where it belongs.
func (c *concerned) find(h uint64, token *schemas.Token) uint64 {
	at, mask := h>>c.shift, uint64(len(c.slots)-1)
	for c.slots[at] != *token && !c.slots[at].IsZero() {
		at = (at + 1) & mask
	}
	return at
}

func (c *concerned) grow() {
	old := c.slots
	size := max(1024, 4*len(old))
	c.slots, c.sieve, c.count = make([]schemas.Token, size), make([]uint64, size*sieveBits/64), 0
	c.shift = 64 - bits.TrailingZeros(uint(size))
	for i := range old {
		if !old[i].IsZero() {
			c.add(&old[i])
		}
	}
}
