package consent

import (
	"encoding/binary"
	"math/bits"

	"lupa/schemas"
)

// table finds the node of a token: open addressing with linear probing over
// slots of a tag and a node number. A tag only picks candidates; find always
// compares whole tokens.
//
// It is not a Go map because find works on many tokens at once, so that their
// cache misses overlap: BenchmarkFind takes two thirds of a map's time.
type table struct {
	slots []slot
	shift uint8 // 64 - log2(len(slots))
	count int
}

type slot struct {
	tag  uint32
	node int32 // number + 1; 0 is an empty slot
}

// block is how many tokens find keeps in flight.
const block = 128

// missing is the node of a token that the table does not have.
const missing = int32(-1)

// hash spreads tokens that are not made by a MAC too, such as those that a
// ledger source numbers itself.
func hash(t *schemas.Token) uint64 {
	lo, hi := binary.LittleEndian.Uint64(t[:8]), binary.LittleEndian.Uint64(t[8:])
	h, l := bits.Mul64(lo^0x9e3779b97f4a7c15, hi^0xd6e8feb86659fd93)
	x := h ^ l ^ lo
	return (x ^ x>>32) * 0xe7037ed1a0b428db
}

// find sets numbers[i] and out[i] to the node of tokens[i], or missing and nil. A
// zero token has none.
func (t *table) find(all *nodes, tokens []schemas.Token, numbers []int32, out []*node) {
	if t.count == 0 {
		for i := range tokens {
			numbers[i], out[i] = missing, nil
		}
		return
	}
	var hashes [block]uint64
	var first [block]slot
	var ids [block]int32
	for len(tokens) > 0 {
		n := min(len(tokens), block)
		for i := range n {
			hashes[i] = hash(&tokens[i])
		}
		// Loads that depend on nothing but the hashes: their misses overlap.
		for i, h := range hashes[:n] {
			first[i] = t.slots[h>>t.shift]
		}
		for i := range n {
			ids[i] = missing
			if h := hashes[i]; first[i].node != 0 {
				ids[i] = t.candidate(h>>t.shift, uint32(h))
			}
		}
		for i, id := range ids[:n] {
			out[i] = nil
			if id == missing {
				continue
			}
			out[i] = all.at(id)
			if out[i].token != tokens[i] {
				out[i] = nil
				if ids[i] = t.lookup(all, &tokens[i]); ids[i] != missing {
					out[i] = all.at(ids[i])
				}
			}
		}
		copy(numbers, ids[:n])
		tokens, numbers, out = tokens[n:], numbers[n:], out[n:]
	}
}

// candidate gives the first node at or after a slot whose tag fits.
func (t *table) candidate(at uint64, tag uint32) int32 {
	mask := uint64(len(t.slots) - 1)
	for {
		s := t.slots[at]
		if s.node == 0 {
			return missing
		}
		if s.tag == tag {
			return s.node - 1
		}
		at = (at + 1) & mask
	}
}

// lookup finds one token by comparing every candidate.
func (t *table) lookup(all *nodes, token *schemas.Token) int32 {
	if t.count == 0 {
		return missing
	}
	h, mask := hash(token), uint64(len(t.slots)-1)
	for at := h >> t.shift; t.slots[at].node != 0; at = (at + 1) & mask {
		s := t.slots[at]
		if s.tag == uint32(h) && all.at(s.node-1).token == *token {
			return s.node - 1
		}
	}
	return missing
}

// insert adds the last of all nodes, which must not be in the table yet.
func (t *table) insert(all *nodes) {
	*t = t.withRoom(all, 1)
	t.place(all, int32(all.count-1))
	t.count++
}

func (t *table) place(all *nodes, id int32) {
	h, mask := hash(&all.at(id).token), uint64(len(t.slots)-1)
	at := h >> t.shift
	for t.slots[at].node != 0 {
		at = (at + 1) & mask
	}
	t.slots[at] = slot{uint32(h), id + 1}
}

// withRoom gives a table that can take n more nodes: t, or a larger one that is
// made while others may look things up in t.
func (t *table) withRoom(all *nodes, n int) table {
	size := len(t.slots)
	for 4*(t.count+n) > 3*size {
		size = max(64, 2*size)
	}
	if size == len(t.slots) {
		return *t
	}
	larger := table{slots: make([]slot, size), shift: uint8(64 - bits.TrailingZeros(uint(size))), count: t.count}
	for id := range t.count {
		larger.place(all, int32(id))
	}
	return larger
}
