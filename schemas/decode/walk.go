package decode

import (
	"lupa/schemas"
)

// open is what is open at a place in a message: a node of the tree, or none,
// and in it so many objects and arrays that no path leads into. A bit of arrays
// tells which of these are arrays, the innermost in bit 0.
type open struct {
	node   int32
	dead   int32
	arrays uint64
}

// deadBits is how many of the dead fit in open.arrays.
const deadBits = 64

// gap is what stands between two scalars: it ends where the next one begins.
type gap struct {
	end    int
	target target
	slot   int32 // of the scalar, or none
	// nested is the last slot into which an object or array was put on the
	// way, opens where that begins, and nests how many there were.
	nested int32
	opens  int
	nests  int
}

// target says what a gap leads to.
type target uint8

const (
	toEnd    target = iota // the end of the message
	toString               // a string, behind its opening quote
	toScalar               // a number, true, false or null
)

// walker scans messages and fills the slots.
type walker struct {
	values
	nodes    []node
	maxDepth int
	at       open
	// spill holds open.arrays of every 64 dead that are covered by more.
	spill   []uint64
	keyText []byte
	// last is the gap that was read last.
	last    gap
	learned habits
	// plain turns what was learned off.
	plain bool
}

// walk scans the message a[p:end]. object reports whether it is one.
func (w *walker) walk(p, end int) (object bool, reason schemas.Reason) {
	a := w.arena
	p = skipSpace(a, p, end)
	object = p < end && a[p] == '{'
	w.at, w.spill = open{node: none}, w.spill[:0]
	state := start
	for {
		var slot int32
		var to target
		if e := w.learned.match(state, a, p, end); e != nil {
			if e.nested != none {
				w.put(e.nested, nested, p+int(e.opens), p+int(e.opens))
			}
			p += int(e.length)
			slot, to, state = e.slot, e.target, e.state
		} else {
			if reason := w.read(p, end, state); reason != schemas.NoReason {
				return object, reason
			}
			g := &w.last
			state = w.learn(state, a[p:g.end], g)
			p, slot, to = g.end, g.slot, g.target
		}
		q, k, ok := p, text, true
		switch to {
		case toEnd:
			return object, schemas.NoReason
		case toString:
			if q = special(a, p, end); q >= end || a[q] != '"' {
				q, k, ok = restOfString(a, q, end)
			}
		case toScalar:
			q, k, ok = scalarEnd(a, p, end)
		}
		if !ok {
			return object, schemas.Malformed
		}
		if slot != none {
			w.put(slot, k, p, q)
		}
		if p = q; to == toString {
			p++
		}
	}
}

// read reads a gap that was not learned.
func (w *walker) read(p, end int, s int32) schemas.Reason {
	if s > start {
		w.at = w.learned.states[s].at
	}
	return w.gap(p, end, s == start)
}

// learn learns a gap and gives the state behind it.
func (w *walker) learn(s int32, bytes []byte, g *gap) int32 {
	if w.plain {
		return none
	}
	return w.learned.learn(s, bytes, w.at, g)
}

// member is what a value is to the innermost object: the slot that it goes to
// and the node that it is when it is an object; either may be none.
type member struct{ slot, below int32 }

var (
	noMember  = member{none, none}
	topMember = member{none, root}
)

// gap reads what stands between the end of a value, or the start of the
// message, and the next scalar, into w.last.
func (w *walker) gap(p, end int, start bool) schemas.Reason {
	g := &w.last
	*g = gap{slot: none, nested: none}
	m := topMember
	if !start {
		if p, m = w.member(p, end); p < 0 {
			return schemas.Malformed
		}
	}
	for {
		p = skipSpace(w.arena, p, end)
		if p == end {
			g.end = p
			return malformedUnless(w.closed() && !start)
		}
		c := w.arena[p]
		switch {
		case c == '"':
			g.end, g.target, g.slot = p+1, toString, m.slot
			return schemas.NoReason
		case c != '{' && c != '[':
			g.end, g.target, g.slot = p, toScalar, m.slot
			return malformedUnless(beginsScalar(c))
		}
		if m.slot != none {
			w.put(m.slot, nested, p, p)
			g.nested, g.opens = m.slot, p
			g.nests++
		}
		if w.depth() == w.maxDepth {
			return schemas.TooDeep
		}
		w.push(c == '[', m.below)
		start = false
		if p, m = w.first(p+1, end, c); p < 0 {
			return schemas.Malformed
		}
	}
}

func malformedUnless(ok bool) schemas.Reason {
	if ok {
		return schemas.NoReason
	}
	return schemas.Malformed
}

// closed reports whether nothing is open.
func (w *walker) closed() bool { return w.at.node == none && w.at.dead == 0 }

// first goes to the first value in what was opened by c, or behind it when it is
// empty.
func (w *walker) first(p, end int, c byte) (int, member) {
	p = skipSpace(w.arena, p, end)
	switch {
	case p < end && w.arena[p] == c+2: // ] and } stand two behind [ and {
		w.pop()
		return w.member(p+1, end)
	case c == '{':
		return w.key(p, end)
	}
	return p, noMember
}

// member goes from the end of a value to the next one, over all that is closed
// there. It gives the end of the message when everything is closed, and -1 when
// something else stands there.
func (w *walker) member(p, end int) (int, member) {
	for {
		p = skipSpace(w.arena, p, end)
		switch {
		case w.closed():
			if p != end {
				return -1, noMember
			}
			return p, noMember
		case p >= end:
			return -1, noMember
		}
		array := w.inArray()
		switch c := w.arena[p]; {
		case c == ',' && array:
			return p + 1, noMember
		case c == ',':
			return w.key(skipSpace(w.arena, p+1, end), end)
		case c == '}' && !array, c == ']' && array:
			w.pop()
			p++
		default:
			return -1, noMember
		}
	}
}

// key reads a key and its colon, and looks it up in the innermost object. It
// gives -1 when there is none.
func (w *walker) key(p, end int) (int, member) {
	a := w.arena
	if p >= end || a[p] != '"' {
		return -1, noMember
	}
	q, k, ok := stringEnd(a, p+1, end)
	if !ok {
		return -1, noMember
	}
	m := noMember
	if w.at.dead == 0 {
		m = w.find(p+1, q, k)
	}
	p = skipSpace(a, q+1, end)
	if p >= end || a[p] != ':' {
		return -1, noMember
	}
	return p + 1, m
}

// find looks the key a[p:q] up.
func (w *walker) find(p, q int, k kind) member {
	n := &w.nodes[w.at.node]
	name := w.arena[p:q]
	if k == text {
		return n.find(headOf(w.arena, p, len(name)), name)
	}
	w.keyText = unescape(w.keyText[:0], name)
	length := len(w.keyText)
	w.keyText = append(w.keyText, 0, 0, 0, 0, 0, 0, 0, 0) // for headOf
	return n.find(headOf(w.keyText, 0, length), w.keyText[:length])
}

func (w *walker) depth() int {
	if w.at.node == none {
		return int(w.at.dead)
	}
	return w.nodes[w.at.node].depth + int(w.at.dead)
}

func (w *walker) inArray() bool { return w.at.dead > 0 && w.at.arrays&1 == 1 }

// push opens an array or object; below is the node that the object is, if any.
func (w *walker) push(array bool, below int32) {
	if !array && below != none {
		w.at.node = below
		return
	}
	if w.at.dead > 0 && w.at.dead%deadBits == 0 {
		w.spill = append(w.spill, w.at.arrays)
		w.at.arrays = 0
	}
	w.at.dead++
	w.at.arrays <<= 1
	if array {
		w.at.arrays |= 1
	}
}

// pop closes the innermost.
func (w *walker) pop() {
	if w.at.dead == 0 {
		w.at.node = w.nodes[w.at.node].parent
		return
	}
	w.at.dead--
	w.at.arrays >>= 1
	if w.at.dead > 0 && w.at.dead%deadBits == 0 {
		last := len(w.spill) - 1
		w.at.arrays, w.spill = w.spill[last], w.spill[:last]
	}
}
