package decode

import (
	"encoding/binary"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/schemas"
)

// column collects the values of one field in the layout of its Arrow array.
type column struct {
	dtype arrow.DataType
	// valid has a bit for each row, set unless it is null. All bits behind the
	// rows that are there are set.
	valid []byte
	nulls int
	words []uint64 // two a row for text (a view header), else one
	days  []int32
	bits  []byte
}

// inSide is the index of the side buffer in a view header; the arena's is 0.
const inSide = 1

// inline is the longest text that a view header holds itself.
const inline = 12

func arrowType(t schemas.Type) arrow.DataType {
	switch t {
	case schemas.Text, schemas.JSON:
		return arrow.BinaryTypes.BinaryView
	case schemas.Integer:
		return arrow.PrimitiveTypes.Int64
	case schemas.Number:
		return arrow.PrimitiveTypes.Float64
	case schemas.Boolean:
		return arrow.FixedWidthTypes.Boolean
	case schemas.Timestamp:
		return arrow.FixedWidthTypes.Timestamp_us
	case schemas.Date:
		return arrow.FixedWidthTypes.Date32
	}
	return nil
}

// wordsPerRow is how many words a row takes in column.words.
func wordsPerRow(t schemas.Type) int {
	switch t {
	case schemas.Text:
		return 2
	case schemas.Integer, schemas.Number, schemas.Timestamp:
		return 1
	}
	return 0
}

// grow makes room for n rows.
func (c *column) grow(n int, t schemas.Type) {
	c.words = extend(c.words, n*wordsPerRow(t))
	switch t {
	case schemas.Boolean:
		c.bits = extend(c.bits, (n+7)/8)
	case schemas.Date:
		c.days = extend(c.days, n)
	}
	old := len(c.valid)
	c.valid = extend(c.valid, (n+7)/8)
	fill(c.valid[old:])
}

func extend[T any](s []T, n int) []T {
	return slices.Grow(s, n-len(s))[:n]
}

func fill(bitmap []byte) {
	for i := range bitmap {
		bitmap[i] = 0xff
	}
}

// reset forgets rows rows.
func (c *column) reset(rows int) {
	fill(c.valid[:(rows+7)/8])
	c.nulls = 0
}

// setNull makes row r null; its value is zero, so that nothing old shows.
func (c *column) setNull(r int, t schemas.Type) {
	c.valid[r>>3] &^= 1 << (r & 7)
	c.nulls++
	switch t {
	case schemas.Text:
		c.words[2*r], c.words[2*r+1] = 0, 0
	case schemas.Date:
		c.days[r] = 0
	case schemas.Boolean:
		c.setBit(r, 0)
	default:
		c.words[r] = 0
	}
}

// undo takes back what row r may have set.
func (c *column) undo(r int) {
	if bit := byte(1) << (r & 7); c.valid[r>>3]&bit == 0 {
		c.valid[r>>3] |= bit
		c.nulls--
	}
}

func (c *column) setBit(r int, bit uint64) {
	c.bits[r>>3] = c.bits[r>>3]&^(1<<(r&7)) | byte(bit)<<(r&7)
}

// set puts a value that is no text into row r.
func (c *column) set(r int, t schemas.Type, word uint64) {
	switch t {
	case schemas.Date:
		c.days[r] = int32(word)
	case schemas.Boolean:
		c.setBit(r, word)
	default:
		c.words[r] = word
	}
}

// setArena puts the text at p in the arena into row r. Whether a text is inline
// is as good as random, so both headers are made and masks choose.
func (c *column) setArena(r int, a []byte, p, n uint32) {
	m := &headerMasks[min(n, inline+1)]
	low := load(a, int(p)) & m.low
	tail := uint64(binary.LittleEndian.Uint32(a[p+8:]))
	h := c.words[2*r : 2*r+2]
	h[0] = uint64(n) | low<<32
	h[1] = (low>>32|tail<<32)&m.high | uint64(p)<<32&m.view
}

// headerMasks keep what belongs to the header of a text of so many bytes: of
// its first eight bytes, of the last eight of the header if the text is inline,
// and of the place of the text if it is not.
var headerMasks = makeHeaderMasks()

type headerMask struct{ low, high, view uint64 }

func makeHeaderMasks() (m [inline + 2]headerMask) {
	for n := range m {
		m[n] = headerMask{low: 1<<(8*n) - 1, high: 1<<(8*max(0, n-4)) - 1}
	}
	m[inline+1] = headerMask{low: 1<<32 - 1, view: 1<<64 - 1}
	return m
}

// setSide puts the text at from in the side buffer into row r.
func (c *column) setSide(r int, side []byte, from, n uint32) {
	var head [16]byte
	copy(head[:inline], side[from:from+n])
	low, high := load(head[:], 0), uint64(from)<<32|inSide
	if n <= inline {
		high = load(head[:], 4)
	}
	c.words[2*r], c.words[2*r+1] = uint64(n)|low<<32, high
}

// array makes an Arrow array over the column's own memory.
func (c *column) array(rows int, t schemas.Type, arena, side *memory.Buffer) arrow.Array {
	buffers := []*memory.Buffer{memory.NewBufferBytes(c.valid[:(rows+7)/8])}
	switch t {
	case schemas.Text:
		buffers = append(buffers, memory.NewBufferBytes(arrow.Uint64Traits.CastToBytes(c.words[:2*rows])), arena, side)
	case schemas.Boolean:
		buffers = append(buffers, memory.NewBufferBytes(c.bits[:(rows+7)/8]))
	case schemas.Date:
		buffers = append(buffers, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(c.days[:rows])))
	default:
		buffers = append(buffers, memory.NewBufferBytes(arrow.Uint64Traits.CastToBytes(c.words[:rows])))
	}
	return makeArray(c.dtype, rows, buffers, c.nulls)
}

func makeArray(dtype arrow.DataType, rows int, buffers []*memory.Buffer, nulls int) arrow.Array {
	data := array.NewData(dtype, rows, buffers, nil, nulls, 0)
	defer data.Release()
	return array.MakeFromData(data)
}
