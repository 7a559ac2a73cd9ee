package decode

import (
	"bytes"
	"math"
	"strconv"

	"lupa/schemas"
)

// field is a field of a contract as it is filled from slots.
type field struct {
	index    int32 // in Contract.Fields
	typ      schemas.Type
	slots    []int32 // of its paths, in their order
	coerce   bool
	required bool
	identity bool
	event    bool // the event time
	// ignored says that only the presence of a value matters.
	ignored bool
	column  column
}

// outcome says what a slot gave.
type outcome uint8

const (
	wrong outcome = iota // a value of another type
	empty                // nothing
	given                // a value
)

// pick gives the slot that the field is taken from, or none.
func (f *field) pick(v *values) int32 {
	for _, s := range f.slots {
		if v.kinds[s] > null && !f.blank(v, s) {
			return s
		}
	}
	return none
}

// blank reports whether a slot's text is empty where that is null.
func (f *field) blank(v *values, s int32) bool {
	return v.kinds[s] == text && v.spans[s].Len == 0 && f.coerce && f.typ != schemas.Text && !f.ignored
}

// pickIdentity is pick for an identity field: every value of every path is
// compared, and empty ones are passed over.
func (f *field) pickIdentity(v *values) (int32, schemas.Reason) {
	picked := none
	for _, s := range f.slots {
		if v.kinds[s] <= null || v.kinds[s] == text && v.spans[s].Len == 0 {
			continue
		}
		if picked == none && len(v.repeats) == 0 {
			picked = s
			continue
		}
		if r := f.agree(v, &picked, s); r != schemas.NoReason {
			return none, r
		}
	}
	for i := range v.repeats {
		if !f.has(v.repeats[i].slot) {
			continue
		}
		spare, side := v.borrow(v.repeats[i], picked), len(v.side)
		if reason := f.agree(v, &picked, spare); reason != schemas.NoReason {
			return none, reason
		}
		if picked != spare {
			v.side = v.side[:side] // what was picked was written before
		}
	}
	return picked, schemas.NoReason
}

func (f *field) has(slot int32) bool {
	for _, s := range f.slots {
		if s == slot {
			return true
		}
	}
	return false
}

// agree makes s the picked slot if there is none yet, and else compares the
// two.
func (f *field) agree(v *values, picked *int32, s int32) schemas.Reason {
	state, word, b := f.meaning(v, s)
	switch {
	case state == wrong:
		return schemas.WrongType
	case state == empty:
		return schemas.NoReason
	case *picked == none:
		*picked = s
		return schemas.NoReason
	}
	state, first, a := f.meaning(v, *picked)
	switch {
	case state == wrong:
		return schemas.WrongType
	case first != word || !bytes.Equal(a, b):
		return schemas.IdentityConflict
	}
	return schemas.NoReason
}

// meaning gives a slot's value in a form that can be compared.
func (f *field) meaning(v *values, s int32) (o outcome, word uint64, b []byte) {
	if f.typ != schemas.Text {
		o, word = f.convert(v, s)
		return o, word, nil
	}
	b, ok := v.text(s)
	if !ok {
		if v.kinds[s] == nested || !f.coerce {
			return wrong, 0, nil
		}
		b, _ = f.spelling(v, s)
	}
	if len(b) == 0 {
		return empty, 0, nil
	}
	return given, 0, b
}

// spelling gives the text of a bare value. 12, 12.0 and 1.2e1 are one number,
// so they are one identity: all are 12, and written says that it was none of
// them but a spelling made here.
func (f *field) spelling(v *values, s int32) (b []byte, written bool) {
	b = v.raw(v.spans[s])
	if f.identity && v.kinds[s] == number && (bytes.ContainsAny(b, ".eE") || string(b) == "-0") {
		if n, ok := parseInteger(b); ok {
			return strconv.AppendInt(nil, n, 10), true
		}
	}
	return b, false
}

// convert gives a slot's value as the word that stands for it in a column of
// the field's type, which is not Text.
func (f *field) convert(v *values, s int32) (outcome, uint64) {
	k := v.kinds[s]
	switch {
	case k >= number:
		return f.convertBare(k, v.raw(v.spans[s]))
	case f.typ == schemas.Timestamp || f.typ == schemas.Date || f.coerce:
		b, _ := v.text(s)
		if len(b) == 0 && f.coerce {
			return empty, 0
		}
		return f.convertText(b)
	}
	return wrong, 0
}

// convertBare converts a value that is not a string.
func (f *field) convertBare(k kind, b []byte) (outcome, uint64) {
	switch {
	case k == number && f.typ == schemas.Integer:
		n, ok := parseInteger(b)
		return is(ok), uint64(n)
	case k == number && f.typ == schemas.Number:
		n, ok := parseNumber(b)
		return is(ok), math.Float64bits(n)
	case k == number && f.typ == schemas.Timestamp && f.coerce:
		us, ok := epochTime(b)
		return is(ok), uint64(us)
	case k == yes && f.typ == schemas.Boolean:
		return given, 1
	case k == no && f.typ == schemas.Boolean:
		return given, 0
	}
	return wrong, 0
}

// convertText converts what a string spells.
func (f *field) convertText(b []byte) (outcome, uint64) {
	switch f.typ {
	case schemas.Timestamp:
		us, form := parseTime(b)
		if form == zoned || form != noTime && f.coerce {
			return given, uint64(us)
		}
	case schemas.Date:
		days, ok := parseDate(b)
		return is(ok), uint64(days)
	case schemas.Boolean:
		switch string(b) {
		case "true":
			return given, 1
		case "false":
			return given, 0
		}
		return wrong, 0
	}
	if f.coerce && numberEnd(b, 0, len(b)) == len(b) {
		return f.convertBare(number, b)
	}
	return wrong, 0
}

func is(ok bool) outcome {
	if ok {
		return given
	}
	return wrong
}
