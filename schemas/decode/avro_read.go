package decode

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"lupa/schemas"
)

// avroReader reads a message in Avro's binary encoding and writes what is
// wanted of it as JSON. All is checked, wanted or not: no length reaches behind
// the message, text is UTF-8, and no more values are read than so many bytes
// can hold.
type avroReader struct {
	in       []byte // what is left
	out      []byte
	depth    int
	maxDepth int
	items    int // that arrays and maps may still have
	values   int // that may still be read
}

// Values that take no bytes (nulls, records of nulls) are bounded by these:
// nothing would end a record that holds itself many times over.
const (
	valuesPerByte  = 64
	valuesAtLeast  = 1 << 16
	longestVarint  = 10
	lastVarintByte = 1 // of the tenth byte only one bit is left
)

// appendJSON appends a message as a JSON text.
func (s *avroSchema) appendJSON(out, in []byte, w *want, maxDepth int, r *avroReader) ([]byte, schemas.Reason) {
	*r = avroReader{in: in, out: out, maxDepth: maxDepth, items: len(in), values: valuesPerByte*len(in) + valuesAtLeast}
	reason := r.value(s.program(w))
	if reason == schemas.NoReason && len(r.in) > 0 {
		reason = schemas.Malformed
	}
	out = r.out
	r.in, r.out = nil, nil
	return out, reason
}

func (r *avroReader) value(n *avroNode) schemas.Reason {
	if r.values--; r.values < 0 {
		return schemas.Malformed
	}
	switch n.form {
	case avroNull:
		return r.null(n)
	case avroBoolean:
		return r.boolean(n)
	case avroInt, avroLong:
		return r.integer(n)
	case avroFloat, avroDouble:
		return r.float(n)
	case avroText, avroBytes:
		return r.sized(n)
	case avroFixed:
		b, ok := r.take(n.size)
		if !ok {
			return schemas.Malformed
		}
		return r.bytes(n, b)
	case avroEnum:
		return r.enum(n)
	case avroUnion:
		i, ok := r.long()
		if !ok || i < 0 || i >= int64(len(n.below)) {
			return schemas.Malformed
		}
		return r.value(n.below[i])
	}
	if r.depth == r.maxDepth {
		return schemas.TooDeep
	}
	r.depth++
	var reason schemas.Reason
	switch n.form {
	case avroRecord:
		reason = r.record(n)
	case avroArray:
		reason = r.array(n)
	case avroMap:
		reason = r.mapping(n)
	}
	r.depth--
	return reason
}

func (r *avroReader) null(n *avroNode) schemas.Reason {
	if n.write {
		r.out = append(r.out, "null"...)
	}
	return schemas.NoReason
}

func (r *avroReader) boolean(n *avroNode) schemas.Reason {
	b, ok := r.take(1)
	if !ok || b[0] > 1 {
		return schemas.Malformed
	}
	if n.write {
		r.out = strconv.AppendBool(r.out, b[0] == 1)
	}
	return schemas.NoReason
}

func (r *avroReader) integer(n *avroNode) schemas.Reason {
	v, ok := r.long()
	if !ok || n.form == avroInt && v != int64(int32(v)) {
		return schemas.Malformed
	}
	if !n.write {
		return schemas.NoReason
	}
	inDay := v >= 0 && v < 86_400*n.per
	switch {
	case n.meaning == asDay:
		r.out = append(appendDay(append(r.out, '"'), v), '"')
	case n.meaning == asClock && inDay:
		r.out = append(appendClock(append(r.out, '"'), v/n.per, v%n.per, n.digits), '"')
	case n.meaning == asInstant, n.meaning == asLocal:
		r.out = appendInstant(r.out, v, n.per, n.digits, n.meaning == asInstant)
	default:
		r.out = strconv.AppendInt(r.out, v, 10)
	}
	return schemas.NoReason
}

func (r *avroReader) float(n *avroNode) schemas.Reason {
	size := int64(8)
	if n.form == avroFloat {
		size = 4
	}
	b, ok := r.take(size)
	switch {
	case !ok:
		return schemas.Malformed
	case !n.write:
	case n.form == avroFloat:
		r.out = appendFloat(r.out, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 32)
	default:
		r.out = appendFloat(r.out, math.Float64frombits(binary.LittleEndian.Uint64(b)), 64)
	}
	return schemas.NoReason
}

// sized reads a length and so many bytes.
func (r *avroReader) sized(n *avroNode) schemas.Reason {
	length, ok := r.long()
	if !ok {
		return schemas.Malformed
	}
	b, ok := r.take(length)
	switch {
	case !ok:
		return schemas.Malformed
	case n.form == avroBytes:
		return r.bytes(n, b)
	case !n.write:
		return malformedUnless(utf8.Valid(b))
	}
	r.out, ok = appendQuoted(r.out, b)
	return malformedUnless(ok)
}

func (r *avroReader) bytes(n *avroNode, b []byte) schemas.Reason {
	switch {
	case n.meaning == asDecimal && (len(b) > longestDecimal || n.scale > longestScale):
		return schemas.Malformed
	case !n.write:
	case n.meaning == asDecimal:
		r.out = appendDecimal(r.out, b, n.scale)
	case n.meaning == asUUID:
		r.out = appendUUID(r.out, b)
	default:
		r.out = appendBase64(r.out, b)
	}
	return schemas.NoReason
}

func (r *avroReader) enum(n *avroNode) schemas.Reason {
	i, ok := r.long()
	if !ok || i < 0 || i >= int64(len(n.names)) {
		return schemas.Malformed
	}
	if n.write {
		r.out = append(r.out, n.names[i]...)
	}
	return schemas.NoReason
}

func (r *avroReader) record(n *avroNode) schemas.Reason {
	if n.write {
		r.out = append(r.out, '{')
	}
	from := len(r.out)
	for i, below := range n.below {
		if len(n.names[i]) > 0 {
			if len(r.out) > from {
				r.out = append(r.out, ',')
			}
			r.out = append(r.out, n.names[i]...)
		}
		if reason := r.value(below); reason != schemas.NoReason {
			return reason
		}
	}
	if n.write {
		r.out = append(r.out, '}')
	}
	return schemas.NoReason
}

// array reads all items. No path leads to one, so outside of signals it is
// written empty.
func (r *avroReader) array(n *avroNode) schemas.Reason {
	if n.write {
		r.out = append(r.out, '[')
	}
	from := len(r.out)
	for {
		count, end, ok := r.block()
		if !ok {
			return schemas.Malformed
		}
		if count == 0 {
			break
		}
		for range count {
			if n.items && len(r.out) > from {
				r.out = append(r.out, ',')
			}
			if reason := r.value(n.below[0]); reason != schemas.NoReason {
				return reason
			}
		}
		if end >= 0 && len(r.in) != end {
			return schemas.Malformed
		}
	}
	if n.write {
		r.out = append(r.out, ']')
	}
	return schemas.NoReason
}

func (r *avroReader) mapping(n *avroNode) schemas.Reason {
	if n.write {
		r.out = append(r.out, '{')
	}
	from := len(r.out)
	for {
		count, end, ok := r.block()
		if !ok {
			return schemas.Malformed
		}
		if count == 0 {
			break
		}
		for range count {
			if reason := r.entry(n, from); reason != schemas.NoReason {
				return reason
			}
		}
		if end >= 0 && len(r.in) != end {
			return schemas.Malformed
		}
	}
	if n.write {
		r.out = append(r.out, '}')
	}
	return schemas.NoReason
}

// entry reads a key of a map and its value; the first stands at from.
func (r *avroReader) entry(n *avroNode, from int) schemas.Reason {
	length, ok := r.long()
	if !ok {
		return schemas.Malformed
	}
	key, ok := r.take(length)
	if !ok || !utf8.Valid(key) {
		return schemas.Malformed
	}
	below := n.keys[string(key)]
	if below == nil {
		below = n.rest
	}
	if below == nil {
		return r.value(n.below[0])
	}
	if len(r.out) > from {
		r.out = append(r.out, ',')
	}
	r.out, _ = appendQuoted(r.out, key)
	r.out = append(r.out, ':')
	return r.value(below)
}

// block reads how many items follow; end is how much is left of the message
// behind them, or -1 when that is not said.
func (r *avroReader) block() (count int64, end int, ok bool) {
	end = -1
	if count, ok = r.long(); !ok || count == math.MinInt64 {
		return 0, end, false
	}
	if count < 0 {
		count = -count
		size, ok := r.long()
		if !ok || size < 0 || size > int64(len(r.in)) {
			return 0, end, false
		}
		end = len(r.in) - int(size)
	}
	if count > int64(r.items) {
		return 0, end, false
	}
	r.items -= int(count)
	return count, end, true
}

// take takes the next n bytes.
func (r *avroReader) take(n int64) ([]byte, bool) {
	if n < 0 || n > int64(len(r.in)) {
		return nil, false
	}
	b := r.in[:n]
	r.in = r.in[n:]
	return b, true
}

// long reads a zigzag varint.
func (r *avroReader) long() (int64, bool) {
	var u uint64
	for i, c := range r.in {
		if i == longestVarint-1 && c > lastVarintByte {
			return 0, false
		}
		u |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.in = r.in[i+1:]
			return int64(u>>1) ^ -int64(u&1), true
		}
	}
	return 0, false
}
