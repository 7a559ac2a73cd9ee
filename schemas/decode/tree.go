package decode

import (
	"math/bits"
	"sort"

	"lupa/schemas"
)

// none stands for no slot, no node and no state.
const none = int32(-1)

// root is the node of the top-level object.
const root = int32(0)

// node is an object on the way to a path. Its keys are an open-addressing
// table that is at most half full.
type node struct {
	parent int32
	depth  int
	keys   []key
	shift  uint8
}

// key is a key of a node's object that leads to a path.
type key struct {
	head uint64 // its first eight bytes
	name string
	member
	used bool
}

// find looks a key up. head is the key's first eight bytes, zero behind its end.
func (n *node) find(head uint64, name []byte) member {
	mask := len(n.keys) - 1
	for i := place(head, len(name), n.shift); ; i++ {
		k := &n.keys[i&mask]
		if !k.used {
			return noMember
		}
		if k.head == head && len(k.name) == len(name) && (len(name) <= 8 || k.name == string(name)) {
			return k.member
		}
	}
}

func place(head uint64, length int, shift uint8) int {
	return int((head ^ uint64(length)<<56) * 0x9e3779b97f4a7c15 >> shift)
}

// headOf gives the first eight bytes of a key of n bytes at p, zero behind its
// end.
func headOf(a []byte, p, n int) uint64 {
	x := load(a, p)
	if n < 8 {
		x &= 1<<(8*n) - 1
	}
	return x
}

// branch is a node in the making.
type branch struct {
	slot  int32
	below map[string]*branch
}

func newBranch() *branch { return &branch{slot: none, below: map[string]*branch{}} }

// tree gives every distinct path a slot.
type tree struct {
	top   *branch
	slots int
}

func (t *tree) slot(p schemas.Path) int32 {
	b := t.top
	for _, step := range p {
		next := b.below[step]
		if next == nil {
			next = newBranch()
			b.below[step] = next
		}
		b = next
	}
	if b.slot == none {
		b.slot = int32(t.slots)
		t.slots++
	}
	return b.slot
}

// nodes lays the tree out flat, the root first.
func (t *tree) nodes() []node {
	return appendNode(nil, t.top, none, 1)
}

func appendNode(list []node, b *branch, parent int32, depth int) []node {
	self := int32(len(list))
	size := 1 << bits.Len(uint(2*len(b.below)))
	list = append(list, node{parent: parent, depth: depth, keys: make([]key, size), shift: uint8(64 - bits.TrailingZeros(uint(size)))})
	names := make([]string, 0, len(b.below))
	for name := range b.below {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		k := key{name: name, member: member{b.below[name].slot, none}, used: true}
		padded := append([]byte(name), make([]byte, 8)...)
		k.head = headOf(padded, 0, len(name))
		if len(b.below[name].below) > 0 {
			k.below = int32(len(list))
			list = appendNode(list, b.below[name], self, depth+1)
		}
		list[self].insert(k)
	}
	return list
}

func (n *node) insert(k key) {
	mask := len(n.keys) - 1
	i := place(k.head, len(k.name), n.shift) & mask
	for n.keys[i].used {
		i = (i + 1) & mask
	}
	n.keys[i] = k
}
