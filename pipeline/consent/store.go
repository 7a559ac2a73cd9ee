package consent

import (
	"lupa/pipeline/consent/shelf"
	"lupa/schemas"
)

// store keeps the timelines of all identifiers by their tokens, as bytes on a
// shelf, and the links between them.
type store struct {
	shelf   *shelf.Shelf
	graph   graph
	journal journal
	moved   []int32 // what settle gave last

	// The writer's.
	line    Timeline // of the card at hand
	others  Timeline // of those that permitted looks at
	written []byte
}

// none marks an identifier that is not linked.
const none = int32(-1)

// card is what the store has of one identifier.
type card struct {
	identity
	line  Timeline
	known bool
}

// card gives what there is of a token, to be changed and filed again before the
// next is taken. It is the writer's.
func (s *store) card(token *schemas.Token) card {
	written, known := s.shelf.Get(token)
	id, rest := splitIdentity(written)
	s.line, _ = readTimeline(rest, s.line[:0])
	return card{id, s.line, known}
}

// file keeps a card. It is the writer's.
func (s *store) file(token *schemas.Token, c *card) {
	s.written = appendTimeline(appendIdentity(s.written[:0], c.identity), c.line)
	s.shelf.Put(token, s.written)
	if cap(c.line) > cap(s.line) {
		s.line = c.line
	}
}

// identity gives the identity of a token.
func (s *store) identity(token *schemas.Token) (id identity, known bool) {
	written, known := s.shelf.Get(token)
	id, _ = splitIdentity(written)
	return id, known
}

// vertex gives a token's number in the graph.
func (s *store) vertex(token *schemas.Token) int32 {
	id, known := s.identity(token)
	if id.vertex != none {
		return id.vertex
	}
	c := card{identity: id, known: known}
	if known {
		c = s.card(token)
	} else {
		s.journal.note(token) // who is known is no stranger beside a shared identifier
	}
	if c.vertex = s.graph.add(*token); c.shared {
		s.graph.declare(c.vertex)
	}
	s.file(token, &c)
	return c.vertex
}

// declare says of a token that it is shared by its kind. It reports whether
// what was said of it before counts for less by that.
func (s *store) declare(token *schemas.Token) (less bool) {
	if id, _ := s.identity(token); id.shared {
		return false
	}
	c := s.card(token)
	c.shared = true
	s.file(token, &c)
	if c.vertex != none {
		s.graph.declare(c.vertex)
	}
	s.journal.note(token)
	return len(c.line) > 0
}

// settle lets links that were said count. It gives the identifiers whose rows may
// be decided otherwise by it, until the next call; there may be more in what
// reach gives of them.
func (s *store) settle() []int32 {
	s.moved = s.graph.settle(emptied(s.moved))
	for _, v := range s.moved {
		token := s.graph.name(v)
		c := s.card(token)
		before := len(c.line)
		if s.graph.broken(v) {
			c.line = c.line.denyLink()
		} else {
			c.line = c.line.liftLink()
		}
		if len(c.line) != before {
			s.file(token, &c)
		}
		s.journal.note(token)
	}
	return s.moved
}

// reach calls yield with a token and all whose rows its records may decide: those
// that are linked with it, and the shared identifiers that any of them has.
func (s *store) reach(token *schemas.Token, yield func(*schemas.Token)) {
	yield(token)
	if s.graph.vertices.count == 0 {
		return
	}
	id, _ := s.identity(token)
	if id.vertex == none {
		return
	}
	for member := range s.graph.closure(id.vertex) {
		if member != id.vertex {
			yield(s.graph.name(member))
		}
		for shared := range s.graph.sharing(member) {
			if s.graph.shared(shared) {
				yield(s.graph.name(shared))
			}
		}
	}
}
