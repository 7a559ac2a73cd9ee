package consent

import (
	"math/bits"

	"lupa/schemas"
)

// store keeps the timelines of all identifiers, without a pointer per
// identifier, and the links between them.
type store struct {
	index     table
	nodes     []node
	entries   []Entry                 // the slabs of all timelines
	free      [bits.UintSize][]uint32 // offsets of empty slabs by the log2 of their size
	closures  []closure
	spare     []int32 // closures that are not in use
	maxLinked int
	capped    int // closures beyond maxLinked
	joined    int // how many closures went into another
}

// node is one identifier and where its timeline lies.
type node struct {
	token   schemas.Token
	offset  uint32
	count   uint32
	closure int32 // or none
	class   uint8 // log2 of the slab's size + 1; 0 is no slab
}

// none marks a node that is not linked.
const none = int32(-1)

// node finds or makes the node of a token.
func (s *store) node(token *schemas.Token) int32 {
	if id := s.index.lookup(s.nodes, token); id != missing {
		return id
	}
	s.nodes = append(s.nodes, node{token: *token, closure: none})
	s.index.insert(s.nodes)
	return int32(len(s.nodes) - 1)
}

// timeline gives a node's timeline. It is valid until the next change.
func (s *store) timeline(id int32) Timeline {
	n := &s.nodes[id]
	return s.entries[n.offset : n.offset+n.count : n.offset+n.count]
}

// open gives a node's timeline with room for one more entry in its place; what
// becomes of it goes back through close.
func (s *store) open(id int32) Timeline {
	n := &s.nodes[id]
	if n.class == 0 || n.count == 1<<(n.class-1) {
		s.move(n)
	}
	return s.entries[n.offset : n.offset+n.count : n.offset+1<<(n.class-1)]
}

func (s *store) close(id int32, t Timeline) { s.nodes[id].count = uint32(len(t)) }

// move gives a node a slab of twice the size.
func (s *store) move(n *node) {
	size := uint32(1) << n.class
	to := uint32(len(s.entries))
	if free := s.free[n.class]; len(free) > 0 {
		to = free[len(free)-1]
		s.free[n.class] = free[:len(free)-1]
	} else {
		for range size {
			s.entries = append(s.entries, Entry{})
		}
	}
	copy(s.entries[to:to+size], s.entries[n.offset:n.offset+n.count])
	if n.class > 0 {
		s.free[n.class-1] = append(s.free[n.class-1], n.offset)
	}
	n.offset, n.class = to, n.class+1
}

// touch reads both ends of every node's timeline. They are needed one by one
// next; loads that depend on nothing let their cache misses overlap, which makes
// BenchmarkStage a quarter faster.
func (s *store) touch(nodes []int32) (seen schemas.Reason) {
	for _, id := range nodes {
		if id != missing {
			if n := &s.nodes[id]; n.count > 0 {
				seen |= s.entries[n.offset].Says | s.entries[n.offset+n.count-1].Says
			}
		}
	}
	return seen
}
