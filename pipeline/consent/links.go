package consent

// closure is the identifiers of one subject, as far as links tell.
type closure struct {
	parent  int32 // the closure that this one went into; its own number at the root
	size    int32
	members []int32 // nodes; nil when it is capped
	// capped stands for all members of a closure that outgrew the limit: it
	// denies every purpose and knows the last erasure.
	capped Timeline
}

// root gives the closure that c is part of now. It changes nothing, so readers
// may call it at once; chains stay short because the smaller closure goes into
// the larger.
func (s *store) root(c int32) int32 {
	for s.closures[c].parent != c {
		c = s.closures[c].parent
	}
	return c
}

// link makes one closure of those of a and b.
func (s *store) link(a, b int32) {
	if a == b {
		return
	}
	into, from := s.closureOf(a), s.closureOf(b)
	if into == from {
		return
	}
	// A capped closure is larger than any that is not.
	if s.closures[into].size < s.closures[from].size {
		into, from = from, into
	}
	s.joined++
	large, small := &s.closures[into], &s.closures[from]
	large.size += small.size
	if large.capped == nil && int(large.size) > s.maxLinked {
		s.seal(large)
	}
	for _, id := range small.members {
		s.nodes.at(id).closure = into
		if large.capped != nil {
			s.learn(large, s.timeline(s.nodes.at(id)))
			s.journal.note(id)
			s.forgot = s.journal.count
		}
	}
	switch {
	case small.capped != nil:
		s.learn(large, small.capped)
		s.learn(small, large.capped)
		s.journal.note(a)
		small.parent = into
		s.capped--
		return
	case large.capped == nil:
		large.members = append(large.members, small.members...)
		s.journal.note(a) // of whose subject b is now too
	}
	*small = closure{}
	s.spare = append(s.spare, from)
}

// closureOf gives the closure of a node, and makes one if it has none.
func (s *store) closureOf(id int32) int32 {
	if c := s.nodes.at(id).closure; c != none {
		return s.root(c)
	}
	var c int32
	if last := len(s.spare) - 1; last >= 0 {
		c, s.spare = s.spare[last], s.spare[:last]
	} else {
		c = int32(len(s.closures))
		s.closures = append(s.closures, closure{})
	}
	s.closures[c] = closure{parent: c, size: 1, members: []int32{id}}
	s.nodes.at(id).closure = c
	return c
}

// seal lets go of the members of a closure and denies all of them. It is the
// last time that anybody can say who they are.
func (s *store) seal(c *closure) {
	c.capped = Timeline(nil).deny(key{})
	for _, id := range c.members {
		s.learn(c, s.timeline(s.nodes.at(id)))
		s.journal.note(id)
	}
	c.members = nil
	s.capped++
	s.forgot = s.journal.count
}

// learn takes over an erasure: it holds for every member of a capped closure.
// Nobody can say who they are, so whoever calls it notes some change after it.
func (s *store) learn(c *closure, t Timeline) {
	erasure, _ := t.split()
	if erasure == nil {
		return
	}
	var result outcome
	if c.capped, result = c.capped.add(*erasure, nil); result != duplicate {
		s.learned = s.journal.count + 1
	}
}

// erased tells the node's closure of its erasure.
func (s *store) erased(n *node) {
	if n.closure != none {
		if root := &s.closures[s.root(n.closure)]; root.capped != nil {
			s.learn(root, s.timeline(n))
		}
	}
}

// lines appends the timelines of a node and of all that are linked with it. It
// reports whether its closure is capped.
func (s *store) lines(n *node, lines []Line) ([]Line, bool) {
	if n.closure == none {
		return append(lines, Line{Timeline: s.timeline(n)}), false
	}
	root := &s.closures[s.root(n.closure)]
	if root.capped != nil {
		return append(lines, Line{Timeline: root.capped}), true
	}
	for _, member := range root.members {
		lines = append(lines, Line{Timeline: s.timeline(s.nodes.at(member))})
	}
	return lines, false
}

// gather appends the lines of the first node and every step-th after it, but for
// those that are nil. A line that comes twice changes no decision.
func (s *store) gather(nodes []*node, step int, lines []Line) (_ []Line, capped bool) {
	for at := 0; at < len(nodes); at += step {
		if n := nodes[at]; n != nil {
			var c bool
			lines, c = s.lines(n, lines)
			capped = capped || c
		}
	}
	return lines, capped
}

// denyLink denies both ends of a link that could not be read until it can.
func (s *store) denyLink(a, b int32) {
	for _, end := range [...][2]int32{{a, b}, {b, a}} {
		n := s.nodes.at(end[0])
		s.close(n, s.open(n).denyLink(end[1]))
		s.journal.note(end[0])
	}
}

func (s *store) liftLink(a, b int32) {
	for _, end := range [...][2]int32{{a, b}, {b, a}} {
		n := s.nodes.at(end[0])
		before := n.count
		if s.close(n, s.timeline(n).liftLink(end[1])); n.count != before {
			s.journal.note(end[0])
		}
	}
}

// unlink says that two identifiers are not one subject. Both are denied, for what
// was decided of them as one cannot be told apart.
func (s *store) unlink(a, b int32) { s.denyLink(a, b) }
