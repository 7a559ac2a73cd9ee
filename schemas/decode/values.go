package decode

import "lupa/schemas"

// kind says what stands in a slot.
type kind uint8

// The kinds. Those up to null are no value.
const (
	absent   kind = iota
	null          // null
	text          // a string without escapes, in the arena
	escaped       // a string with escapes, in the arena
	unfolded      // a string whose escapes were undone, in the side buffer
	number        // a number, in the arena
	yes           // true, in the arena
	no            // false, in the arena
	nested        // an object or an array, which begins at the span in the arena
)

// value is what stands in a slot, and where.
type value struct {
	kind kind
	span schemas.Span
}

// repeat is a value of a compared slot that came before another one.
type repeat struct {
	slot int32
	value
}

// values are the slots of one message, and the two buffers that hold text. They
// are all that a scanner leaves behind.
type values struct {
	kinds []kind
	spans []schemas.Span
	// compared marks the slots of identity fields and signals, whose repeats are
	// kept.
	compared []bool
	repeats  []repeat
	arena    []byte
	side     []byte
}

func newValues(slots int, compared []bool) values {
	// Two slots more than there are paths, for repeats: one is compared with
	// what was picked before, which may be another.
	return values{
		kinds:    make([]kind, slots+2),
		spans:    make([]schemas.Span, slots+2),
		compared: append(compared, false, false),
	}
}

// reset empties the slots for the next message.
func (v *values) reset() {
	clear(v.kinds)
	v.repeats = v.repeats[:0]
}

// put fills a slot; the last value wins.
func (v *values) put(slot int32, k kind, from, to int) {
	span := schemas.Span{Off: uint32(from), Len: uint32(to - from)}
	if v.kinds[slot] != absent {
		v.repeated(slot, k, span)
	}
	v.kinds[slot], v.spans[slot] = k, span
}

// repeated keeps the value that is about to be overwritten, if it matters.
func (v *values) repeated(slot int32, k kind, span schemas.Span) {
	old := v.at(slot)
	if !v.compared[slot] || old.kind == null {
		return
	}
	if old.kind == k && k != nested && string(v.raw(old.span)) == string(v.raw(span)) {
		return
	}
	v.repeats = append(v.repeats, repeat{slot, old})
}

func (v *values) at(slot int32) value { return value{v.kinds[slot], v.spans[slot]} }

func (v *values) raw(s schemas.Span) []byte { return v.arena[s.Off : s.Off+s.Len] }

// unfold undoes the escapes of a slot, once a message.
func (v *values) unfold(slot int32) {
	from := len(v.side)
	v.side = unescape(v.side, v.raw(v.spans[slot]))
	v.kinds[slot] = unfolded
	v.spans[slot] = schemas.Span{Off: uint32(from), Len: uint32(len(v.side) - from)}
}

// text gives a slot's string, with its escapes undone; ok is false when the
// slot holds something else.
func (v *values) text(slot int32) (b []byte, ok bool) {
	switch v.kinds[slot] {
	case text:
		return v.raw(v.spans[slot]), true
	case escaped:
		v.unfold(slot)
		fallthrough
	case unfolded:
		s := v.spans[slot]
		return v.side[s.Off : s.Off+s.Len], true
	}
	return nil, false
}

// borrow puts a repeat into a spare slot that is not the one in use.
func (v *values) borrow(r repeat, inUse int32) int32 {
	spare := int32(len(v.kinds) - 1)
	if spare == inUse {
		spare--
	}
	v.kinds[spare], v.spans[spare] = r.kind, r.span
	return spare
}
