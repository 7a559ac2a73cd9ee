package consent

import (
	"iter"
	"math/bits"

	"lupa/schemas"
)

// graph is who is linked with whom. It knows linked identifiers only, by dense
// numbers, and of each pair what its highest version says: a link, an unlink, or
// both, which counts as a link and is broken. In whatever order the same records
// come, it is the same graph.
//
// A closure is all identifiers between which there is a way of current links that
// does not pass by a shared one. Closures of more than maxLinked are capped:
// nobody asks who is in them, so the members of one know no more than that. That
// bounds every search to maxLinked steps, whatever is linked or unlinked.
//
// What was said has no effect before settle. It takes 40 bytes an identifier, and
// 40 and the 6 to 11 of the index a pair.
type graph struct {
	maxLinked int
	vertices  paged[vertex]
	edges     paged[edge]
	index     []int32 // of the pairs: number of the edge + 1, linear probing

	closures int // that are not capped
	outgrown int // identifiers whose closure is capped

	// What settle has to look at.
	said   []int32 // edges
	turned []int32 // identifiers that may have become shared, or are no longer
	noted  []int32 // identifiers whose rows may be decided otherwise anyway

	round    uint32 // of the last search
	affected []int32
	found    []int32

	frozen frozenPairs
}

// frozenPairs are those that a snapshot is being written of: the first ones, of
// which those that changed meanwhile are kept.
type frozenPairs struct {
	count int32
	kept  map[int32]pairing
	done  bool
}

// vertex is one identifier that was ever linked.
type vertex struct {
	name    schemas.Token
	next    int32  // of its closure, in a ring; beyond if that is capped
	links   int32  // its first half in a closure, or none
	shares  int32  // its first half with a shared end, or none
	sharers int32  // current links that say it is shared, and 1 if it is declared to be
	broken  uint32 // its pairs that are, and in the lowest bit whether it is shared
	stamp   uint32 // of the last search that came by
}

// edge is a pair of identifiers, the one with the lower number first. It has two
// halves, one an end, with the numbers 2n and 2n+1.
type edge struct {
	version    int64
	ends       [2]int32
	next, prev [2]int32 // halves in the list of each end, or none
	says       says
	in         list
}

// says is what the highest version of a pair says.
type says uint8

const (
	isLinked says = 1 << iota
	isUnlinked
	firstShared  // several people's is the first end,
	secondShared // or the second
	isTied       // records of one version differ
	isUnreadable // so was a value that came after that version
)

// list is which lists the halves of an edge are in.
type list uint8

const (
	inNone list = iota
	inLinks
	inShares
)

// beyond stands for the members of a closure that is capped.
const beyond = int32(-2)

const (
	isShared  = uint32(1) // in vertex.broken
	oneBroken = uint32(2)
)

// add gives the number of a new identifier.
func (g *graph) add(name schemas.Token) int32 {
	v := int32(g.vertices.count)
	g.vertices.add(vertex{name: name, next: v, links: none, shares: none})
	g.closures++
	return v
}

// name gives the token of an identifier.
func (g *graph) name(v int32) *schemas.Token { return &g.vertices.at(v).name }

// declare says of an identifier that it is shared, whatever links say. It is
// said once.
func (g *graph) declare(v int32) {
	g.vertices.at(v).sharers++
	g.turned = append(g.turned, v)
}

// link says that two identifiers are one subject's, or that the second is
// several people's and one of them is that subject.
func (g *graph) link(a, b int32, version int64, shared bool) outcome {
	what := isLinked
	if shared {
		if what |= secondShared; a > b {
			what = isLinked | firstShared
		}
	}
	return g.say(a, b, version, what)
}

// unlink says that they are not.
func (g *graph) unlink(a, b int32, version int64) outcome { return g.say(a, b, version, isUnlinked) }

// say takes what one record says. An identifier and itself are no pair: nothing
// new can be said of them.
func (g *graph) say(a, b int32, version int64, what says) outcome {
	if a == b {
		return duplicate
	}
	id := g.pair(a, b)
	e := g.edges.at(id)
	g.keep(id)
	known, before := e.says&^isUnreadable, e.says
	switch {
	case known == 0 || version > e.version:
		e.version, e.says = version, what
		g.sayAgain(id, before)
		return added
	case version < e.version:
		return late
	case known == what || known&isTied != 0 && known&what == what:
		return duplicate
	}
	e.says |= what | isTied
	g.sayAgain(id, before)
	return tie
}

// unreadable breaks a pair until a version comes that is higher than what it has.
func (g *graph) unreadable(a, b int32) {
	if a == b {
		return
	}
	id := g.pair(a, b)
	e := g.edges.at(id)
	g.keep(id)
	before := e.says
	e.says |= isUnreadable
	g.sayAgain(id, before)
}

// sayAgain leaves to settle what comes of an edge that now says something else.
func (g *graph) sayAgain(id int32, before says) {
	e := g.edges.at(id)
	if e.says.broken() != before.broken() {
		for _, v := range e.ends {
			if e.says.broken() {
				g.vertices.at(v).broken += oneBroken
			} else {
				g.vertices.at(v).broken -= oneBroken
			}
			g.noted = append(g.noted, v)
		}
	}
	for end, v := range e.ends {
		if is, was := e.says.shares(end), before.shares(end); is != was {
			if is {
				g.vertices.at(v).sharers++
			} else {
				g.vertices.at(v).sharers--
			}
			g.turned = append(g.turned, v)
		}
	}
	if (e.says^before)&isLinked != 0 {
		g.said = append(g.said, id)
	}
}

func (s says) broken() bool { return s&(isTied|isUnreadable) != 0 }

func (s says) shares(end int) bool { return s&isLinked != 0 && s&(firstShared<<end) != 0 }

// pair finds or makes the edge of two identifiers.
func (g *graph) pair(a, b int32) int32 {
	ends := [2]int32{min(a, b), max(a, b)}
	g.reserve(1)
	at, id := g.find(ends)
	if id != none {
		return id
	}
	id = int32(g.edges.count)
	g.edges.add(edge{ends: ends})
	g.index[at] = id + 1
	return id
}

// find gives the edge of a pair, or none and where it belongs in the index.
func (g *graph) find(ends [2]int32) (at uint64, id int32) {
	mask := uint64(len(g.index) - 1)
	h := (uint64(uint32(ends[0]))<<32 | uint64(uint32(ends[1]))) * 0x9e3779b97f4a7c15
	h = (h ^ h>>32) * 0xe7037ed1a0b428db
	for at = h >> (64 - bits.TrailingZeros(uint(len(g.index)))); ; at = (at + 1) & mask {
		id = g.index[at] - 1
		if id == none || g.edges.at(id).ends == ends {
			return at, id
		}
	}
}

// reserve makes room in the index for n more pairs. Nobody but who says
// something reads it, so it may be done while others read the graph.
func (g *graph) reserve(n int) {
	size := len(g.index)
	for 4*(g.edges.count+n) > 3*size {
		size = max(64, 2*size)
	}
	if size == len(g.index) {
		return
	}
	g.index = make([]int32, size)
	for id := range int32(g.edges.count) {
		at, _ := g.find(g.edges.at(id).ends)
		g.index[at] = id + 1
	}
}

// capped reports whether a closure has more than maxLinked identifiers.
func (g *graph) capped(v int32) bool { return g.vertices.at(v).next == beyond }

// shared reports whether an identifier is several people's.
func (g *graph) shared(v int32) bool { return g.vertices.at(v).broken&isShared != 0 }

// broken reports whether what is said of a pair with v is at odds, or cannot be
// read.
func (g *graph) broken(v int32) bool { return g.vertices.at(v).broken >= oneBroken }

// closure gives the identifiers of a closure, v first: of one that is capped, v
// alone.
func (g *graph) closure(v int32) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for at := v; yield(at); {
			if at = g.vertices.at(at).next; at == v || at == beyond {
				return
			}
		}
	}
}

// sharing gives whom a shared identifier is currently linked with, and of any
// other the shared identifiers.
func (g *graph) sharing(v int32) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for half := g.vertices.at(v).shares; half != none; half = g.after(half) {
			if !yield(g.other(half)) {
				return
			}
		}
	}
}

// pairing is what is to be known of a pair to make a graph again.
type pairing struct {
	a, b    int32
	version int64
	says    says
}

// pairings gives all pairs.
func (g *graph) pairings() iter.Seq[pairing] {
	return func(yield func(pairing) bool) {
		for id := range int32(g.edges.count) {
			e := g.edges.at(id)
			if !yield(pairing{e.ends[0], e.ends[1], e.version, e.says}) {
				return
			}
		}
	}
}

// freeze keeps the pairs as they are now, until frozen.done.
func (g *graph) freeze() {
	g.frozen = frozenPairs{count: int32(g.edges.count), kept: map[int32]pairing{}}
}

// keep remembers a pair that is about to change.
func (g *graph) keep(id int32) {
	if g.frozen.done {
		g.frozen = frozenPairs{}
	}
	if _, kept := g.frozen.kept[id]; id < g.frozen.count && !kept {
		g.frozen.kept[id] = g.frozenPair(id)
	}
}

// frozenPair gives a pair as it was at freeze.
func (g *graph) frozenPair(id int32) pairing {
	if p, kept := g.frozen.kept[id]; kept {
		return p
	}
	e := g.edges.at(id)
	return pairing{e.ends[0], e.ends[1], e.version, e.says}
}

// restore puts a pair into a graph that does not have it yet.
func (g *graph) restore(p pairing) {
	id := g.pair(p.a, p.b)
	e := g.edges.at(id)
	e.version, e.says = p.version, p.says
	g.sayAgain(id, 0)
}

// after gives the half that follows in its list.
func (g *graph) after(half int32) int32 { return g.edges.at(half >> 1).next[half&1] }

// other gives the end that a half leads to.
func (g *graph) other(half int32) int32 { return g.edges.at(half >> 1).ends[1-half&1] }

// move puts the halves of an edge into other lists.
func (g *graph) move(id int32, to list) {
	e := g.edges.at(id)
	for end, v := range e.ends {
		half := id<<1 | int32(end)
		if first := g.vertices.at(v).list(e.in); first != nil {
			if e.prev[end] == none {
				*first = e.next[end]
			} else {
				g.edges.at(e.prev[end] >> 1).next[e.prev[end]&1] = e.next[end]
			}
			if after := e.next[end]; after != none {
				g.edges.at(after >> 1).prev[after&1] = e.prev[end]
			}
		}
		if first := g.vertices.at(v).list(to); first != nil {
			if *first != none {
				g.edges.at(*first >> 1).prev[*first&1] = half
			}
			e.next[end], e.prev[end] = *first, none
			*first = half
		}
	}
	e.in = to
}

func (v *vertex) list(l list) *int32 {
	switch l {
	case inLinks:
		return &v.links
	case inShares:
		return &v.shares
	}
	return nil
}

const (
	pageBits = 14
	pageSize = 1 << pageBits
)

// paged is a list of things that lie in pages, so that they never move and it
// grows without being copied: a copy would hold up every stage.
type paged[T any] struct {
	pages []*[pageSize]T
	count int
}

func (p *paged[T]) at(i int32) *T { return &p.pages[uint32(i)>>pageBits][i&(pageSize-1)] }

func (p *paged[T]) add(x T) {
	if p.count%pageSize == 0 {
		p.pages = append(p.pages, new([pageSize]T))
	}
	p.count++
	*p.at(int32(p.count - 1)) = x
}
