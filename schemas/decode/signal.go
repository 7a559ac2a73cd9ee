package decode

import (
	"bytes"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/schemas"
)

// signal is a field of type JSON as it is filled from slots. Most messages have
// none, so its column is null where nothing is done.
type signal struct {
	index int32   // in Contract.Fields
	slots []int32 // of its paths, in their order
	given int     // rows that have a value
	valid []byte  // a bit for each row, set if it has one
	words []uint64
}

// contradiction is what a signal is whose values differ: no JSON text.
const contradiction = "!"

func (tb *table) planSignal(f *schemas.Field, index int32, event bool, t *tree) error {
	if f.Treatment.Technique != schemas.Drop || len(f.Identifiers) > 0 || event || f.Required {
		return fmt.Errorf("is of type JSON, must be dropped and optional, no identifier and no event time")
	}
	s := signal{index: index}
	for _, p := range f.Paths {
		if len(p) == 0 {
			return fmt.Errorf("has an empty path")
		}
		s.slots = append(s.slots, t.slot(p))
	}
	tb.signals = append(tb.signals, s)
	return nil
}

// grow makes room for n rows.
func (s *signal) grow(n int) {
	s.words = extend(s.words, 2*n)
	s.valid = extend(s.valid, (n+7)/8)
}

// reset forgets rows rows.
func (s *signal) reset(rows int) {
	if s.given > 0 {
		clear(s.valid[:(rows+7)/8])
		clear(s.words[:2*rows])
		s.given = 0
	}
}

// fill puts the signal's value into row r.
func (s *signal) fill(v *values, r int) {
	for _, slot := range s.slots {
		if v.kinds[slot] > null {
			s.value(v, r, slot)
			return
		}
	}
	// A null behind a value does not take it back.
	if len(v.repeats) > 0 && s.repeated(v) {
		s.contradict(v, r)
	}
}

// value puts the text of a slot's value into row r, in which no value stands
// that differs.
func (s *signal) value(v *values, r int, slot int32) {
	if len(v.repeats) > 0 && s.repeated(v) {
		s.contradict(v, r)
		return
	}
	for _, other := range s.slots {
		if other != slot && v.kinds[other] > null && !v.same(slot, other) {
			s.contradict(v, r)
			return
		}
	}
	span, inSide := v.json(slot)
	s.set(v, r, span, inSide)
}

// same compares two slots: strings after their escapes are undone, all else by
// its text.
func (v *values) same(a, b int32) bool {
	first, isText := v.text(a)
	second, other := v.text(b)
	if isText || other {
		return isText && other && bytes.Equal(first, second)
	}
	one, _ := v.json(a)
	two, _ := v.json(b)
	return bytes.Equal(v.raw(one), v.raw(two))
}

// repeated reports whether a slot of the signal had another value before.
func (s *signal) repeated(v *values) bool {
	for i := range v.repeats {
		for _, slot := range s.slots {
			if v.repeats[i].slot == slot {
				return true
			}
		}
	}
	return false
}

func (s *signal) contradict(v *values, r int) {
	from := len(v.side)
	v.side = append(v.side, contradiction...)
	s.set(v, r, schemas.Span{Off: uint32(from), Len: uint32(len(contradiction))}, true)
}

func (s *signal) set(v *values, r int, span schemas.Span, inSide bool) {
	c := column{words: s.words}
	if inSide {
		c.setSide(r, v.side, span.Off, span.Len)
	} else {
		c.setArena(r, v.arena, span.Off, span.Len)
	}
	s.valid[r>>3] |= 1 << (r & 7)
	s.given++
}

// array makes an Arrow array over the signal's own memory.
func (s *signal) array(rows int, arena, side *memory.Buffer) arrow.Array {
	c := column{dtype: arrowType(schemas.JSON), valid: s.valid, words: s.words, nulls: rows - s.given}
	return c.array(rows, schemas.Text, arena, side)
}

// json gives where the JSON text of a slot's value stands, which is in the side
// buffer when its escapes were undone.
func (v *values) json(slot int32) (span schemas.Span, inSide bool) {
	span = v.spans[slot]
	switch v.kinds[slot] {
	case text, escaped: // the quotes are around it
		return schemas.Span{Off: span.Off - 1, Len: span.Len + 2}, false
	case unfolded:
		from := len(v.side)
		v.side, _ = appendQuoted(v.side, v.side[span.Off:span.Off+span.Len])
		return schemas.Span{Off: uint32(from), Len: uint32(len(v.side) - from)}, true
	case nested:
		// It was checked with its message, so this only finds its end.
		end, _ := valueEnd(v.arena, int(span.Off), len(v.arena)-slack, 0, math.MaxInt)
		span.Len = uint32(end) - span.Off
	}
	return span, false
}
