package decode

// Between two scalars of messages of one producer stand nearly always the same
// few bytes, such as `","sentAt":"`. They are learned: from a state (what is
// open, and which gap came before) an edge says that these bytes, if they come
// next, lead to that slot and that state. Equal bytes that are read in an equal
// state mean the same, so this is exact; what was not learned is read by
// walker.gap. It takes the scan of a 670-byte event from 740 to 320 ns
// (BenchmarkWalk).

// How much is learned. A gap of more than longestGap bytes is not learned:
// matching may read that many behind a message.
const (
	longestGap = slack
	mostStates = 512
	mostEdges  = 8
	// forgetAfter is how many gaps may be met that find no room before the
	// learning starts anew, as when a producer has changed its messages.
	forgetAfter = 1 << 16
)

// start is the state before a message.
const start = int32(0)

// state is a place behind a scalar.
type state struct {
	at    open
	edges []edge
}

// edge is a gap that was seen in a state.
type edge struct {
	head     uint64 // the first word, and what of it belongs to the gap
	headMask uint64
	last     uint8 // index of the last word
	length   uint8
	target   target
	slot     int32
	nested   int32 // a slot that gets an object or array on the way, or none
	opens    uint8 // where in the gap that begins
	state    int32
	mask     uint64 // what of the last word belongs to the gap
	words    [longestGap / 8]uint64
}

// habits are the gaps that were learned.
type habits struct {
	states []state
	index  map[stateKey]int32
	lost   int
}

// stateKey tells states apart. The hash of the gap only makes more states of
// one place, each with fewer edges; were two gaps to have one hash, they would
// share a state, and nothing else.
type stateKey struct {
	at  open
	gap uint64
}

func newHabits() habits {
	return habits{
		states: append(make([]state, 0, mostStates), state{}),
		index:  make(map[stateKey]int32, mostStates),
	}
}

// match finds the edge from a state that the bytes at p follow, if any.
func (h *habits) match(s int32, a []byte, p, end int) *edge {
	if s == none {
		return nil
	}
	edges := h.states[s].edges
	head := load(a, p)
	for i := range edges {
		e := &edges[i]
		if (head^e.head)&e.headMask != 0 || e.last > 0 && !e.rest((*[longestGap]byte)(a[p:])) {
			continue
		}
		// A gap ends where a scalar begins, so what follows belongs to the match.
		q := p + int(e.length)
		if e.target == toScalar && q < end && !beginsScalar(a[q]) {
			continue
		}
		if q < end && e.target != toEnd || q == end && e.target == toEnd {
			return e
		}
	}
	return nil
}

// rest compares what is behind the first word.
func (e *edge) rest(b *[longestGap]byte) bool {
	last := int(e.last) & 7
	for i := 1; i < last; i++ {
		if load(b[:], 8*i) != e.words[i] {
			return false
		}
	}
	return (load(b[:], 8*last)^e.words[last])&e.mask == 0
}

// learn notes the gap that was read in state s and gives the state that it
// leads to, where at is open.
func (h *habits) learn(s int32, bytes []byte, at open, g *gap) int32 {
	if g.target == toEnd {
		at = open{node: none}
	}
	fits := len(bytes) > 0 && len(bytes) <= longestGap && g.nests <= 1
	hash := uint64(0)
	if fits {
		hash = hashGap(bytes)
	}
	to := h.find(stateKey{at, hash})
	switch {
	case to == none || s == none || !fits:
	case len(h.states[s].edges) < mostEdges:
		h.states[s].edges = append(h.states[s].edges, newEdge(bytes, g, to))
		return to
	}
	if h.lost++; h.lost > forgetAfter {
		*h = newHabits()
		return none
	}
	return to
}

// find gives the state of a key, a new one if there is rooh.
func (h *habits) find(k stateKey) int32 {
	if k.at.dead > deadBits {
		return none
	}
	if s, ok := h.index[k]; ok {
		return s
	}
	if len(h.states) == mostStates {
		k.gap = 0
		if s, ok := h.index[k]; ok {
			return s
		}
		return none
	}
	s := int32(len(h.states))
	h.states = append(h.states, state{at: k.at})
	h.index[k] = s
	return s
}

func newEdge(bytes []byte, g *gap, to int32) edge {
	e := edge{length: uint8(len(bytes)), target: g.target, slot: g.slot, nested: g.nested, state: to}
	if g.nests > 0 {
		e.opens = uint8(g.opens - (g.end - len(bytes)))
	}
	var padded [longestGap]byte
	copy(padded[:], bytes)
	for i := range e.words {
		e.words[i] = load(padded[:], 8*i)
	}
	e.last = uint8((len(bytes) - 1) / 8)
	e.mask = 1<<(8*(uint(len(bytes)-1)%8+1)) - 1
	e.head, e.headMask = e.words[0], 1<<64-1
	if e.last == 0 {
		e.headMask = e.mask
	}
	return e
}

func hashGap(bytes []byte) uint64 {
	h := uint64(len(bytes))
	for _, c := range bytes {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return h
}
