package consent

import "lupa/schemas"

// gathered is what there is among the lines of a row.
type gathered struct {
	capped bool
	shared bool // somebody's line who is several people
	person bool // somebody's who is one
}

// crowd reports whether a row names shared identifiers and, as far as the ledger
// knows, nobody else.
func (g *gathered) crowd() bool { return g.shared && !g.person }

// lines appends the lines of a node and of all that are linked with it.
func (s *store) lines(n *node, lines []Line, of *gathered) []Line {
	if n.vertex == none {
		of.shared, of.person = of.shared || n.shared, of.person || !n.shared
		return append(lines, Line{Timeline: s.timeline(n), Shared: n.shared})
	}
	switch {
	case s.graph.shared(n.vertex):
		of.shared = true
		return append(lines, Line{Timeline: s.timeline(n), Shared: true})
	case s.graph.capped(n.vertex):
		of.capped, of.person = true, true
		return append(lines, Line{Timeline: s.timeline(n), Capped: true})
	}
	of.person = true
	for v := range s.graph.closure(n.vertex) {
		lines = append(lines, Line{Timeline: s.timeline(s.member(v))})
	}
	return lines
}

// member gives the node of an identifier of the graph.
func (s *store) member(v int32) *node { return s.nodes.at(int32(*s.graph.ref(v))) }

// gather appends the lines of the first node and every step-th after it, but for
// those that are nil. A line that comes twice changes no decision.
func (s *store) gather(nodes []*node, step int, lines []Line) (_ []Line, of gathered) {
	for at := 0; at < len(nodes); at += step {
		if n := nodes[at]; n != nil {
			lines = s.lines(n, lines, &of)
		}
	}
	return lines, of
}

// join adds to the lines of a row that is a crowd's what else decides of it: that
// it names a stranger too, who is one person and of whom nothing is known, or else
// the people who share what it names.
func (s *store) join(nodes []*node, step int, stranger bool, lines []Line, of *gathered) []Line {
	if stranger {
		return append(lines, Line{})
	}
	for at := 0; at < len(nodes); at += step {
		if n := nodes[at]; n != nil && n.vertex != none {
			lines = s.people(n.vertex, lines, of)
		}
	}
	return lines
}

// people appends the lines of those who share an identifier, and of identifiers
// that are shared with it. When they are too many nothing can be permitted.
func (s *store) people(shared int32, lines []Line, of *gathered) []Line {
	from, most := len(lines), 0
	for v := range s.graph.sharing(shared) {
		if most++; most > s.graph.maxLinked {
			of.capped = true
			return append(lines[:from], Line{Capped: true, Neighbour: true})
		}
		first := len(lines)
		lines = s.lines(s.member(v), lines, of)
		for i := range lines[first:] {
			lines[first+i].Neighbour = true
		}
	}
	return lines
}

// shared reports whether a node is several people's.
func (s *store) shared(id int32) bool {
	n := s.nodes.at(id)
	return n.shared || n.vertex != none && s.graph.shared(n.vertex)
}

// vertex gives a node's number in the graph.
func (s *store) vertex(id int32) int32 {
	n := s.nodes.at(id)
	if n.vertex == none {
		if n.vertex = s.graph.add(uint64(id)); n.shared {
			s.graph.declare(n.vertex)
		}
	}
	return n.vertex
}

// declare says of a node that it is shared by its kind.
func (s *store) declare(id int32) {
	n := s.nodes.at(id)
	if n.shared {
		return
	}
	n.shared = true
	if n.vertex != none {
		s.graph.declare(n.vertex)
	}
	s.journal.note(id)
}

// settle lets links that were said count. It gives the identifiers whose rows may
// be decided otherwise by it, until the next call; there may be more in what
// reach gives of them.
func (s *store) settle() []int32 {
	s.moved = s.graph.settle(emptied(s.moved))
	for _, v := range s.moved {
		id := int32(*s.graph.ref(v))
		n := s.nodes.at(id)
		if s.graph.broken(v) {
			s.close(n, s.open(n).denyLink())
		} else {
			s.close(n, s.timeline(n).liftLink())
		}
		s.journal.note(id)
	}
	return s.moved
}

// reach calls yield with a node and all whose rows its records may decide: those
// that are linked with it, and the shared identifiers that any of them has.
func (s *store) reach(id int32, yield func(int32)) {
	yield(id)
	v := s.nodes.at(id).vertex
	if v == none {
		return
	}
	for member := range s.graph.closure(v) {
		if member != v {
			yield(int32(*s.graph.ref(member)))
		}
		for shared := range s.graph.sharing(member) {
			if s.graph.shared(shared) {
				yield(int32(*s.graph.ref(shared)))
			}
		}
	}
}

// link makes or unmakes a link, as a change says.
func (v *View) link(c *change) {
	s := &v.store
	known := int32(s.nodes.count)
	one, other := s.node(&c.token), s.node(&c.other)
	for id := known; id < int32(s.nodes.count); id++ {
		s.journal.note(id) // who is known is no stranger beside a shared identifier
	}
	wanted := v.reviews.wants(c)
	permitted := wanted && (v.permitted(one) || v.permitted(other))
	a, b := s.vertex(one), s.vertex(other)
	result := added
	switch c.action {
	case link, linkShared:
		result = s.graph.link(a, b, c.entry.Version, c.action == linkShared)
	case unlink:
		result = s.graph.unlink(a, b, c.entry.Version)
	case denyLink:
		s.graph.unreadable(a, b)
	}
	v.stats.tell(result)
	if !wanted {
		return
	}
	for _, moved := range s.settle() {
		if permitted {
			// Whoever it concerns besides is reached from one of them.
			v.reviews.add(s.member(moved).token, c.offset, schemas.NoRecord, true)
		}
	}
}

// permitted reports whether a proven grant is or was known of somebody whose rows
// a node's records may decide.
func (v *View) permitted(id int32) (permitted bool) {
	s := &v.store
	s.settle() // or it is not known yet who they are
	s.reach(id, func(id int32) { permitted = permitted || s.timeline(s.nodes.at(id)).permitted() })
	return permitted
}

// Concerned gives the identifiers whose rows the records of one may decide, by
// their tokens of the ledger's domain: itself, those that are linked with it, and
// the shared ones that any of them has.
func (v *View) Concerned(token schemas.Token) []schemas.Token {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := &v.store
	id := s.index.lookup(&s.nodes, &token)
	if id == missing {
		return []schemas.Token{token}
	}
	var all []schemas.Token
	s.reach(id, func(id int32) { all = append(all, s.nodes.at(id).token) })
	return all
}
