package consent

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"lupa/schemas"
)

// Linker makes links that events tell of a part of the ledger.
type Linker interface {
	// Link takes records of links, by tokens of the ledger's domain. It returns
	// when they are durable and the view has them, and waits for that as long as
	// ctx does; after an error nothing is decided. It may keep records, and is
	// called by one at a time.
	Link(ctx context.Context, records []schemas.Record) error
}

// Learn lets the stage remember, before it decides a batch, which identifiers its
// events link: those of the contract's links, one pair for each of the kinds that
// a column may be of. It is called before the first batch.
//
// What is learned has version 0, so that whatever the ledger says of a pair
// stands, an unlink too. An anonymous id or a device that a second user id comes
// with is several people's: it is linked as shared with both of them. Of a shared
// identifier it is learned who shares it.
func (s *Stage) Learn(linker Linker) { s.linker = linker }

// lookupPair is two lookups that name one person. The one that may turn out to be
// several people's is the other.
type lookupPair struct {
	one, other int
	guarded    bool // the other is a device's, and one a user's
}

// linksOf gives the pairs of a contract.
func linksOf(c *schemas.Contract, lookups []lookup) (pairs []lookupPair) {
	for _, link := range c.Links {
		for i, a := range lookups {
			for j, b := range lookups {
				if a.column != link[0] || b.column != link[1] {
					continue
				}
				p := lookupPair{one: i, other: j}
				if ofDevice(a.kind) && !ofDevice(b.kind) {
					p.one, p.other = j, i
				}
				p.guarded = ofDevice(lookups[p.other].kind) && lookups[p.one].kind == schemas.UserID
				pairs = append(pairs, p)
			}
		}
	}
	return pairs
}

// ofDevice reports whether a kind is of what people use, not of people.
func ofDevice(kind schemas.IdentifierKind) bool {
	return kind == schemas.AnonymousID || kind == schemas.DeviceID
}

// learn has what a batch tells of links made a part of the ledger.
func (s *Stage) learn(ctx context.Context, p *plan, rows int) error {
	if s.linker == nil || len(p.pairs) == 0 || !s.tellsMore(p, rows) {
		return nil
	}
	// Two stages at once would not see that each links the same device.
	s.view.learning.Lock()
	defer s.view.learning.Unlock()
	records := s.told(p, rows)
	if len(records) == 0 {
		return nil
	}
	if err := s.linker.Link(ctx, records); err != nil {
		return fmt.Errorf("links of events: %w", err)
	}
	if len(s.told(p, rows)) > 0 {
		return errors.New("links of events: the view does not have what was made a part of the ledger")
	}
	return nil
}

// tellsMore reports whether rows may tell of something that the view does not
// have. Most do not.
func (s *Stage) tellsMore(p *plan, rows int) bool {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	g := &s.view.store.graph
	for row := range rows {
		for i := range p.pairs {
			a, b, pair := s.ends(p, i, row, rows)
			if pair && !(a.vertex != none && b.vertex != none && (g.together(a.vertex, b.vertex) || g.share(a.vertex, b.vertex))) {
				return true
			}
		}
	}
	return false
}

// end is one identifier of a pair.
type end struct {
	token  schemas.Token
	vertex int32 // or none
	shared bool
}

// ends gives the two of a pair that a row names. It reports whether they are two.
func (s *Stage) ends(p *plan, pair, row, rows int) (a, b end, are bool) {
	l := &p.pairs[pair]
	a.token, b.token = s.tokenBuf[row+l.one*rows], s.tokenBuf[row+l.other*rows]
	if a.token.IsZero() || b.token.IsZero() || a.token == b.token {
		return a, b, false
	}
	s.end(&a, p.lookups[l.one].kind)
	s.end(&b, p.lookups[l.other].kind)
	return a, b, true
}

func (s *Stage) end(e *end, kind schemas.IdentifierKind) {
	store := &s.view.store
	id, _ := store.identity(&e.token)
	e.vertex = id.vertex
	e.shared = id.shared || slices.Contains(s.view.shared, kind) || e.vertex != none && store.graph.shared(e.vertex)
}

// told gives the links that the rows at hand tell of and the view does not have.
func (s *Stage) told(p *plan, rows int) []schemas.Record {
	now := s.view.now()
	// Of a pair the writer alone may look up what is said.
	s.view.applying.Lock()
	defer s.view.applying.Unlock()
	l := learned{graph: &s.view.store.graph, pairs: map[[2]schemas.Token]int{}, users: map[schemas.Token][]partner{}}
	for row := range rows {
		if l.at = s.when[row].first; l.at == beginning {
			l.at = now
		}
		named := func(token *schemas.Token) bool {
			for at := row; at < len(s.tokenBuf); at += rows {
				if s.tokenBuf[at] == *token {
					return true
				}
			}
			return false
		}
		for i := range p.pairs {
			if a, b, pair := s.ends(p, i, row, rows); pair && !l.known(&a, &b) {
				l.add(&a, &b, p.pairs[i].guarded, named)
			}
		}
	}
	return l.records
}

// learned are the links that a batch tells of.
type learned struct {
	graph   *graph
	at      int64 // when the row at hand happened
	records []schemas.Record
	pairs   map[[2]schemas.Token]int    // the number of the record
	users   map[schemas.Token][]partner // of a device, in this batch
}

// partner is one who came with a device.
type partner struct {
	end
	record int
}

// known reports whether nothing is to be learned of a pair: something is said of
// it, be it that it is none, or both are one subject already, or shared.
func (l *learned) known(a, b *end) bool {
	if a.shared && b.shared {
		return true
	}
	if a.vertex == none || b.vertex == none {
		return false
	}
	return l.graph.together(a.vertex, b.vertex) || l.graph.statement(a.vertex, b.vertex) != nil
}

// add takes a pair of a row. guarded says that b is a device and a a user; named
// tells which identifiers the row names, all of one person.
func (l *learned) add(a, b *end, guarded bool, named func(*schemas.Token) bool) {
	if a.shared {
		a, b, guarded = b, a, false
	}
	if _, known := l.pairs[[2]schemas.Token{a.token, b.token}]; known {
		return
	}
	record := l.link(&a.token, &b.token, 0, b.shared)
	if !guarded || b.shared {
		return
	}
	// Whom the device came with before is another person, unless the ledger or the
	// row says that they are one.
	several := false
	if b.vertex != none {
		for v, version := range l.graph.linkedWith(b.vertex) {
			token := l.graph.name(v)
			if a.vertex != none && l.graph.together(a.vertex, v) || named(token) {
				continue
			}
			several = true
			if _, known := l.pairs[[2]schemas.Token{*token, b.token}]; !known && version == 0 {
				l.link(token, &b.token, 1, true)
			}
		}
	}
	for _, u := range l.users[b.token] {
		if a.vertex == none || u.vertex == none || !l.graph.together(a.vertex, u.vertex) {
			several = true
			l.records[u.record].Shared = true
		}
	}
	l.records[record].Shared = several
	l.users[b.token] = append(l.users[b.token], partner{*a, record})
}

func (l *learned) link(a, b *schemas.Token, version int64, shared bool) (record int) {
	record = len(l.records)
	l.pairs[[2]schemas.Token{*a, *b}] = record
	l.records = append(l.records, schemas.Record{
		Verb: schemas.Link, Token: *a, OtherToken: *b, Version: version, Time: l.at, Shared: shared,
	})
	return record
}

// together reports whether two identifiers are one subject. Of two that are capped
// nobody knows; more links would make them no less so.
func (g *graph) together(a, b int32) bool {
	if g.capped(a) && g.capped(b) {
		return true
	}
	for v := range g.closure(a) {
		if v == b {
			return true
		}
	}
	return false
}

// share reports whether two identifiers are linked of which one is shared.
func (g *graph) share(a, b int32) bool {
	for v := range g.sharing(a) {
		if v == b {
			return true
		}
	}
	return false
}

// statement gives what is said of a pair, nil if nothing is. It is for whoever may
// say something.
func (g *graph) statement(a, b int32) *edge {
	if len(g.index) == 0 {
		return nil
	}
	if _, id := g.find([2]int32{min(a, b), max(a, b)}); id != none {
		return g.edges.at(id)
	}
	return nil
}

// linkedWith gives whom an identifier is currently linked with, neither of them
// shared, and the version that says so.
func (g *graph) linkedWith(v int32) iter.Seq2[int32, int64] {
	return func(yield func(int32, int64) bool) {
		for half := g.vertices.at(v).links; half != none; half = g.after(half) {
			if !yield(g.other(half), g.edges.at(half>>1).version) {
				return
			}
		}
	}
}
