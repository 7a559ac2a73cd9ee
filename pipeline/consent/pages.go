package consent

import (
	"math/bits"

	"lupa/schemas"
)

// Nodes and entries lie in pages, so that they never move and grow without being
// copied: a copy would hold up every stage, and take its memory twice for a
// while. It costs BenchmarkStage some 5 %.
const (
	pageBits = 14
	pageSize = 1 << pageBits
)

// nodes are all nodes by their number.
type nodes struct {
	pages []*[pageSize]node
	count int
}

func (n *nodes) at(id int32) *node {
	return &n.pages[uint32(id)>>pageBits][id&(pageSize-1)]
}

// add gives the number of the new node.
func (n *nodes) add(token *schemas.Token) int32 {
	id := int32(n.count)
	if n.count%pageSize == 0 {
		n.pages = append(n.pages, new([pageSize]node))
	}
	n.count++
	*n.at(id) = node{token: *token, vertex: none}
	return id
}

// slabs hold entries: one slab is a timeline's, and has room for a power of two
// of them.
type slabs struct {
	pages [][]Entry               // a slab that is larger has a page of its size
	used  uint32                  // of the last page
	free  [bits.UintSize][]uint32 // offsets of slabs that are not in use, by the log2 of their size
}

// at gives what begins at an offset, a slab and more.
func (s *slabs) at(offset uint32) []Entry {
	return s.pages[offset>>pageBits][offset&(pageSize-1):]
}

// take gives the offset of a slab of 1<<log entries.
func (s *slabs) take(log uint8) (offset uint32) {
	if free := s.free[log]; len(free) > 0 {
		s.free[log] = free[:len(free)-1]
		return free[len(free)-1]
	}
	size := uint32(1) << log
	if len(s.pages) == 0 || s.used+size > pageSize {
		s.pages = append(s.pages, make([]Entry, max(size, pageSize)))
		s.used = 0
	}
	offset = uint32(len(s.pages)-1)<<pageBits + s.used
	s.used += size
	return offset
}

func (s *slabs) give(offset uint32, log uint8) { s.free[log] = append(s.free[log], offset) }
