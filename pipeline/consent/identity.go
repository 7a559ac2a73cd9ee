package consent

import (
	"lupa/pipeline/consent/shelf"
	"lupa/schemas"
)

// gatherer gathers the lines of one row after the other, for one worker. It is used
// under the readers' lock, and what it gives is valid until that is let go.
type gatherer struct {
	refs   []shelf.Ref // of the tokens that find was given
	linked []schemas.Token
	warmed []shelf.Ref

	entries Timeline // of the row's lines
	lines   []Line
	// What is among the lines.
	capped bool
	shared bool // somebody's line who is several people
	person bool // somebody's who is one
}

// find looks up the tokens of a number of rows.
func (g *gatherer) find(s *store, tokens []schemas.Token) {
	g.refs = resize(g.refs, len(tokens))
	s.shelf.Find(tokens, g.refs)
	if s.graph.vertices.count == 0 {
		return
	}
	// Those that are linked with them are needed one by one next. All looked up
	// at once, their cache misses overlap.
	g.linked = g.linked[:0]
	for _, ref := range g.refs {
		if ref == 0 {
			continue
		}
		if id, _ := splitIdentity(s.shelf.Bytes(ref)); id.vertex != none {
			for v := range s.graph.closure(id.vertex) {
				if v != id.vertex {
					g.linked = append(g.linked, *s.graph.name(v))
				}
			}
		}
	}
	g.warmed = resize(g.warmed, len(g.linked))
	s.shelf.Find(g.linked, g.warmed)
}

// gather makes the lines of a row that names the first of the tokens that were
// found and every step-th after it. stranger tells of a row whether it names
// somebody whom the view does not know; it is asked only where that matters. A line
// that comes twice changes no decision.
func (g *gatherer) gather(s *store, refs []shelf.Ref, step int, stranger func() bool) []Line {
	g.lines, g.entries = g.lines[:0], g.entries[:0]
	g.capped, g.shared, g.person = false, false, false
	for at := 0; at < len(refs); at += step {
		if refs[at] != 0 {
			g.add(s, s.shelf.Bytes(refs[at]))
		}
	}
	if !g.shared || g.person {
		return g.lines
	}
	// The row names shared identifiers and, as far as the ledger knows, nobody
	// else: either a stranger too, who is one person and of whom nothing is known,
	// or else the people who share what it names decide with it.
	if stranger() {
		g.lines = append(g.lines, Line{})
		return g.lines
	}
	for at := 0; at < len(refs); at += step {
		if refs[at] == 0 {
			continue
		}
		if id, _ := splitIdentity(s.shelf.Bytes(refs[at])); id.vertex != none {
			g.people(s, id.vertex)
		}
	}
	return g.lines
}

// timeline reads entries.
func (g *gatherer) timeline(written []byte) Timeline {
	from := len(g.entries)
	g.entries, _ = readTimeline(written, g.entries)
	return g.entries[from:len(g.entries):len(g.entries)]
}

// add adds the lines of an identifier and of all that are linked with it.
func (g *gatherer) add(s *store, written []byte) {
	id, rest := splitIdentity(written)
	l := Line{Timeline: g.timeline(rest), Shared: id.shared}
	if id.vertex != none {
		l.Shared = s.graph.shared(id.vertex)
		l.Capped = !l.Shared && s.graph.capped(id.vertex)
	}
	g.shared, g.person, g.capped = g.shared || l.Shared, g.person || !l.Shared, g.capped || l.Capped
	g.lines = append(g.lines, l)
	if id.vertex == none || l.Shared || l.Capped {
		return
	}
	for v := range s.graph.closure(id.vertex) {
		if v == id.vertex {
			continue
		}
		written, _ := s.shelf.Get(s.graph.name(v))
		_, rest := splitIdentity(written)
		g.lines = append(g.lines, Line{Timeline: g.timeline(rest)})
	}
}

// people adds the lines of those who share an identifier, and of identifiers that
// are shared with it. When they are too many nothing can be permitted.
func (g *gatherer) people(s *store, shared int32) {
	from, most := len(g.lines), 0
	for v := range s.graph.sharing(shared) {
		if most++; most > s.graph.maxLinked {
			g.capped = true
			g.lines = append(g.lines[:from], Line{Capped: true, Neighbour: true})
			return
		}
		first := len(g.lines)
		written, _ := s.shelf.Get(s.graph.name(v))
		g.add(s, written)
		for i := range g.lines[first:] {
			g.lines[first+i].Neighbour = true
		}
	}
}

// link makes or unmakes a link, as a change says.
func (v *View) link(c *change) {
	s := &v.store
	wanted := v.reviews.wants(c)
	spoke := wanted && (v.spoke(&c.token) || v.spoke(&c.other))
	a, b := s.vertex(&c.token), s.vertex(&c.other)
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
		// Of whom nothing was ever said, links take nothing away unless they deny.
		if spoke || s.graph.broken(moved) || s.graph.capped(moved) {
			// Whoever it concerns besides is reached from one of them.
			v.reviews.add(s.graph.name(moved), c.offset, schemas.NoRecord, true)
		}
	}
}

// spoke reports whether the ledger says something of somebody whose rows the
// records of a token may decide.
func (v *View) spoke(token *schemas.Token) (spoke bool) {
	s := &v.store
	s.settle() // or it is not known yet who they are
	s.reach(token, func(token *schemas.Token) {
		written, _ := s.shelf.Get(token)
		_, rest := splitIdentity(written)
		spoke = spoke || len(rest) > 0
	})
	return spoke
}

// permitted reports whether a proven grant is or was known of somebody whose rows
// the records of a token may decide.
func (v *View) permitted(token *schemas.Token) (permitted bool) {
	s := &v.store
	s.settle() // or it is not known yet who they are
	s.reach(token, func(token *schemas.Token) {
		written, _ := s.shelf.Get(token)
		_, rest := splitIdentity(written)
		s.others, _ = readTimeline(rest, s.others[:0])
		permitted = permitted || s.others.permitted()
	})
	return permitted
}

// Concerned gives the identifiers whose rows the records of one may decide, by
// their tokens of the ledger's domain: itself, those that are linked with it, and
// the shared ones that any of them has.
func (v *View) Concerned(token schemas.Token) (all []schemas.Token) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	v.store.reach(&token, func(token *schemas.Token) { all = append(all, *token) })
	return all
}
