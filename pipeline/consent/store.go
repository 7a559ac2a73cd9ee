package consent

import "lupa/schemas"

// store keeps the timelines of all identifiers, without a pointer per
// identifier, and the links between them.
type store struct {
	index   table
	nodes   nodes
	entries slabs // of all timelines
	graph   graph
	journal journal
	moved   []int32 // what settle gave last
}

// node is one identifier and where its timeline lies.
type node struct {
	token  schemas.Token
	offset uint32
	count  uint32
	vertex int32 // in the graph, or none
	class  uint8 // log2 of the slab's size + 1; 0 is no slab
	shared bool  // by its kind, several people's
}

// none marks a node that is not linked.
const none = int32(-1)

// node finds or makes the node of a token and gives its number.
func (s *store) node(token *schemas.Token) int32 {
	if id := s.index.lookup(&s.nodes, token); id != missing {
		return id
	}
	id := s.nodes.add(token)
	s.index.insert(&s.nodes)
	return id
}

// timeline gives a node's timeline. It is valid until the next change.
func (s *store) timeline(n *node) Timeline {
	if n.count == 0 {
		return nil
	}
	return s.entries.at(n.offset)[:n.count:n.count]
}

// open gives a node's timeline with room for one more entry in its place; what
// becomes of it goes back through close.
func (s *store) open(n *node) Timeline {
	if n.class == 0 || n.count == 1<<(n.class-1) {
		s.move(n)
	}
	return s.entries.at(n.offset)[: n.count : 1<<(n.class-1)]
}

func (s *store) close(n *node, t Timeline) { n.count = uint32(len(t)) }

// move gives a node a slab of twice the size.
func (s *store) move(n *node) {
	to := s.entries.take(n.class)
	if n.class > 0 {
		copy(s.entries.at(to), s.entries.at(n.offset)[:n.count])
		s.entries.give(n.offset, n.class-1)
	}
	n.offset, n.class = to, n.class+1
}

// touch reads both ends of every node's timeline. They are needed one by one
// next; loads that depend on nothing let their cache misses overlap, which makes
// BenchmarkStage a quarter faster.
func (s *store) touch(nodes []*node) (seen schemas.Reason) {
	for _, n := range nodes {
		if n != nil && n.count > 0 {
			line := s.entries.at(n.offset)
			seen |= line[0].Says | line[n.count-1].Says
		}
	}
	return seen
}
