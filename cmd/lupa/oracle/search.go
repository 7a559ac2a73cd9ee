package oracle

// matcher looks for many texts at once: the first bytes of a place in the text
// say whether any pattern can begin there, and then there is one look-up for
// each length that such a pattern has. So its time does not grow with the number
// of patterns that begin alike.
type matcher struct {
	filter  []uint64
	heads   map[uint64]*head
	whole   map[string]int32
	pattern []string
}

// head is the patterns that begin with the same bytes.
type head struct{ lengths []int }

const (
	headBytes  = 6
	filterBits = 24
)

func newMatcher() *matcher {
	return &matcher{filter: make([]uint64, 1<<(filterBits-6)), heads: map[uint64]*head{}, whole: map[string]int32{}}
}

// add adds a pattern and gives its number, or that of the same one before it. It
// must be as long as a head.
func (m *matcher) add(pattern string) (number int32, isNew bool) {
	if n, ok := m.whole[pattern]; ok {
		return n, false
	}
	n := int32(len(m.pattern))
	m.pattern = append(m.pattern, pattern)
	m.whole[pattern] = n
	key := headOf(pattern)
	h := m.heads[key]
	if h == nil {
		h = &head{}
		m.heads[key] = h
	}
	seen := false
	for _, l := range h.lengths {
		seen = seen || l == len(pattern)
	}
	if !seen {
		h.lengths = append(h.lengths, len(pattern))
	}
	at := slotOfHead(key)
	m.filter[at>>6] |= 1 << (at & 63)
	return n, true
}

func headOf[T string | []byte](text T) (key uint64) {
	for i := range headBytes {
		key = key<<8 | uint64(text[i])
	}
	return key
}

func slotOfHead(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> (64 - filterBits) }

// find calls hit for every pattern at every place of the text.
func (m *matcher) find(text []byte, hit func(pattern int32, at int)) {
	if len(text) < headBytes || len(m.pattern) == 0 {
		return
	}
	const mask = 1<<(8*headBytes) - 1
	key := headOf(text) >> 8
	for i := 0; i+headBytes <= len(text); i++ {
		key = (key<<8 | uint64(text[i+headBytes-1])) & mask
		at := slotOfHead(key)
		if m.filter[at>>6]>>(at&63)&1 == 0 {
			continue
		}
		h := m.heads[key]
		if h == nil {
			continue
		}
		for _, l := range h.lengths {
			if i+l > len(text) {
				continue
			}
			if n, ok := m.whole[string(text[i:i+l])]; ok {
				hit(n, i)
			}
		}
	}
}
