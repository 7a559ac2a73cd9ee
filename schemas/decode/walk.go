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
	end  int
	next next
	slot int32 // of the scalar, or none
	// nested is the last slot into which an object or array was put on the
	// way, and nests how many there were.
	nested int32
	nests  int
}

// next says what a gap leads to.
type next uint8

const (
	toEnd    next = iota // the end of the message
	toString             // a string, behind its opening quote
	toScalar             // a number, true, false or null
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
		var next next
		if e := w.learned.match(state, a, p, end); e != nil {
			if e.nested != none {
				w.put(e.nested, nested, p, p)
			}
			p += int(e.length)
			slot, next, state = e.slot, e.next, e.state
		} else {
			if state > start {
				w.at = w.learned.states[state].at
			}
			g, reason := w.gap(p, end, state == start)
			if reason != schemas.NoReason {
				return object, reason
			}
			if !w.plain {
				state = w.learned.learn(state, a[p:g.end], w.at, &g)
			} else {
				state = none
			}
			p, slot, next = g.end, g.slot, g.next
		}
		var k kind
		var q int
		var ok bool
		switch next {
		case toEnd:
			return object, schemas.NoReason
		case toString:
			q = special(a, p, end)
			k = text
			if q >= end || a[q] != '"' {
				var esc bool
				if q, esc, ok = restOfString(a, q, end); !ok {
					return object, schemas.Malformed
				}
				if esc {
					k = escaped
				}
			}
			if slot != none {
				w.put(slot, k, p, q)
			}
			p = q + 1
		case toScalar:
			if q, k, ok = scalarEnd(a, p, end); !ok {
				return object, schemas.Malformed
			}
			if slot != none {
				w.put(slot, k, p, q)
			}
			p = q
		}
	}
}

// gap reads what stands between the end of a value, or the start of the
// message, and the next scalar.
func (w *walker) gap(p, end int, start bool) (gap, schemas.Reason) {
	a := w.arena
	g := gap{slot: none, nested: none}
	below := root
	inValue := start
	for {
		if !inValue {
			p = skipSpace(a, p, end)
			if w.at.node == none && w.at.dead == 0 {
				g.end = p
				return g, malformedUnless(p == end)
			}
			if p >= end {
				return g, schemas.Malformed
			}
			array := w.inArray()
			switch c := a[p]; {
			case c == ',':
				p = skipSpace(a, p+1, end)
			case c == '}' && !array, c == ']' && array:
				w.pop()
				p++
				continue
			default:
				return g, schemas.Malformed
			}
			g.slot, below = none, none
			if !array {
				if p, g.slot, below = w.key(p, end); p < 0 {
					return g, schemas.Malformed
				}
			}
		}
		p = skipSpace(a, p, end)
		if p >= end {
			return g, schemas.Malformed
		}
		switch c := a[p]; c {
		case '"':
			g.end, g.next = p+1, toString
			return g, schemas.NoReason
		case '{', '[':
			if g.slot != none {
				w.put(g.slot, nested, p, p)
				g.nested = g.slot
				g.nests++
			}
			if w.depth() == w.maxDepth {
				return g, schemas.TooDeep
			}
			w.push(c == '[', below)
			p = skipSpace(a, p+1, end)
			if p < end && a[p] == c+2 { // ] and } stand two behind [ and {
				w.pop()
				p++
				inValue = false
				continue
			}
			g.slot, below, inValue = none, none, true
			if c == '{' {
				if p, g.slot, below = w.key(p, end); p < 0 {
					return g, schemas.Malformed
				}
			}
		default:
			if !beginsScalar(c) {
				return g, schemas.Malformed
			}
			g.end, g.next = p, toScalar
			return g, schemas.NoReason
		}
	}
}

func malformedUnless(ok bool) schemas.Reason {
	if ok {
		return schemas.NoReason
	}
	return schemas.Malformed
}

// key reads a key and its colon, and looks it up in the innermost object. It
// gives -1 for p when there is none.
func (w *walker) key(p, end int) (after int, slot, below int32) {
	a := w.arena
	if p >= end || a[p] != '"' {
		return -1, none, none
	}
	q, esc, ok := stringEnd(a, p+1, end)
	if !ok {
		return -1, none, none
	}
	slot, below = none, none
	if w.at.dead == 0 {
		name, head := a[p+1:q], uint64(0)
		if esc {
			w.keyText = unescape(w.keyText[:0], name)
			n := len(w.keyText)
			w.keyText = append(w.keyText, make([]byte, 8)...)
			name, head = w.keyText[:n], headOf(w.keyText, 0, n)
		} else {
			head = headOf(a, p+1, len(name))
		}
		slot, below = w.nodes[w.at.node].find(head, name)
	}
	p = skipSpace(a, q+1, end)
	if p >= end || a[p] != ':' {
		return -1, none, none
	}
	return p + 1, slot, below
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
