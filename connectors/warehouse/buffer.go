package warehouse

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/pipeline"
	"lupa/schemas"
)

// noDay is the event day of rows without an event time, and of every row of a
// table that has none.
const noDay = int32(math.MinInt32)

// blockRows is how many rows a block holds. Rows are numbered through the
// blocks of a buffer, so that a row's block and place are its high and low bits.
const (
	blockShift = 10
	blockRows  = 1 << blockShift
	blockMask  = blockRows - 1
)

// buffer holds the rows of one file to be, in blocks that never move: growing
// copies nothing, and memory is what the rows take.
type buffer struct {
	table  *table
	day    int32
	rows   int
	bytes  int64
	blocks []*block
}

// block is up to blockRows rows, column by column.
type block struct {
	// cols are the columns of Batch.Out.
	cols []vector
	// The rest stands for the columns that the writer adds. Source is an index
	// into the writer's partitions.
	masked  []bool
	reasons []schemas.Reason
	granted []schemas.PurposeSet
	source  []int32
	offsets []int64
	duties  []duty // few rows have one
}

// duty is a legal duty that keeps fields of a masked row.
type duty struct {
	row   int32  // in the block
	until int32  // the day on which the row must be gone
	basis string // the law, empty if it is not known
}

// duty gives that of a row, or nil.
func (b *block) duty(row int32) *duty {
	i, ok := slices.BinarySearchFunc(b.duties, row, func(d duty, row int32) int { return cmp.Compare(d.row, row) })
	if !ok {
		return nil
	}
	return &b.duties[i]
}

func newBlock(t *table) *block {
	b := &block{}
	for i := range t.cols {
		if t.cols[i].origin == fromBatch {
			b.cols = append(b.cols, vector{kind: t.cols[i].kind})
		}
	}
	return b
}

// blockBytes is what a block takes before there is a row in it, or little more
// than that: with many days of few rows each it is most of the memory.
func (t *table) blockBytes() int64 {
	return int64(unsafe.Sizeof(buffer{})) + int64(unsafe.Sizeof(block{})) + int64(t.batchColumns)*int64(unsafe.Sizeof(vector{}))
}

func (b *block) reset() {
	for i := range b.cols {
		b.cols[i].reset()
	}
	b.masked, b.reasons, b.granted = b.masked[:0], b.reasons[:0], b.granted[:0]
	b.source, b.offsets, b.duties = b.source[:0], b.offsets[:0], b.duties[:0]
}

// append copies the rows of in.Out that rows lists, or all for nil. It takes
// the blocks that it needs from next.
func (b *buffer) append(in *pipeline.Batch, source int32, rows []int32, next func() *block) error {
	n := len(rows)
	if rows == nil {
		n = len(in.Selected)
	}
	for at := 0; at < n; {
		if b.rows == len(b.blocks)*blockRows {
			b.blocks = append(b.blocks, next())
			b.bytes += b.table.blockBytes()
		}
		last := b.blocks[len(b.blocks)-1]
		end := min(n, at+blockRows-len(last.offsets))
		before := last.size()
		if err := last.append(in, source, span{rows, at, end}); err != nil {
			return err
		}
		b.bytes += last.size() - before
		b.rows += end - at
		at = end
	}
	return nil
}

// span is a run of rows of an array: those from begin to end, or, with a list
// of rows, those that its entries from begin to end name.
type span struct {
	rows       []int32
	begin, end int
}

func (s span) len() int { return s.end - s.begin }

// list gives the named rows, or nil for a run of the array itself.
func (s span) list() []int32 {
	if s.rows == nil {
		return nil
	}
	return s.rows[s.begin:s.end]
}

func (b *block) append(in *pipeline.Batch, source int32, s span) error {
	for i := range b.cols {
		if err := b.cols[i].append(in.Out.Column(i), s); err != nil {
			return fmt.Errorf("column %s: %w", in.Out.ColumnName(i), err)
		}
	}
	if s.rows == nil {
		for _, raw := range in.Selected[s.begin:s.end] {
			b.decided(in, raw, source)
		}
		return nil
	}
	for _, row := range s.list() {
		b.decided(in, in.Selected[row], source)
	}
	return nil
}

func (b *block) decided(in *pipeline.Batch, raw, source int32) {
	if in.Reasons[raw] == schemas.Retained {
		b.bind(in, raw)
	}
	b.masked = append(b.masked, in.Verdicts[raw] == pipeline.MaskRow)
	b.reasons = append(b.reasons, in.Reasons[raw])
	b.granted = append(b.granted, in.Granted[raw])
	b.source = append(b.source, source)
	b.offsets = append(b.offsets, in.Offsets[raw])
}

// bind notes the duty of the row that comes next.
func (b *block) bind(in *pipeline.Batch, raw int32) {
	i, ok := slices.BinarySearchFunc(in.Duties, raw, func(d pipeline.Duty, raw int32) int { return cmp.Compare(d.Row, raw) })
	if !ok {
		return // the writer has refused it
	}
	// The day after the one in which it ends, or that day if it ends as it begins.
	d := &in.Duties[i]
	b.duties = append(b.duties, duty{int32(len(b.offsets)), dayOf(d.Until-1) + 1, d.Basis})
}

// rowBytes is what a row takes besides its columns.
const rowBytes = 1 + 1 + 8 + 4 + 8

// dutyBytes is what a duty takes.
const dutyBytes = int64(unsafe.Sizeof(duty{}))

func (b *block) size() int64 {
	n := int64(len(b.offsets))*rowBytes + int64(len(b.duties))*dutyBytes
	for i := range b.cols {
		n += b.cols[i].size()
	}
	return n
}

// vector is one column of a block. Null rows have a zero in the value slice
// of the column's kind.
type vector struct {
	kind  kind
	nulls []bool
	longs []int64 // long, timestamp; double as its bits
	dates []int32
	flags []bool
	// data holds texts one after the other, ends where each ends; tokens need
	// no ends.
	data []byte
	ends []uint32
}

func (v *vector) reset() {
	v.nulls, v.longs, v.dates, v.flags = v.nulls[:0], v.longs[:0], v.dates[:0], v.flags[:0]
	v.data, v.ends = v.data[:0], v.ends[:0]
}

func (v *vector) size() int64 {
	return int64(len(v.nulls)+8*len(v.longs)+4*len(v.dates)+len(v.flags)) + int64(len(v.data)+4*len(v.ends))
}

// text gives the value of a row of a text column.
func (v *vector) text(row int) []byte {
	begin := uint32(0)
	if row > 0 {
		begin = v.ends[row-1]
	}
	return v.data[begin:v.ends[row]:v.ends[row]]
}

// token gives the value of a row of a token column.
func (v *vector) token(row int) []byte {
	at := 16 * row
	return v.data[at : at+16 : at+16]
}

// append copies rows of an array.
func (v *vector) append(in arrow.Array, s span) error {
	if s.len() == 0 {
		return nil
	}
	switch a := in.(type) {
	case *array.FixedSizeBinary:
		if v.kind == uuidKind && a.DataType().(*arrow.FixedSizeBinaryType).ByteWidth == 16 {
			v.appendNulls(in, s)
			v.appendTokens(a, s)
			return nil
		}
	case *array.String:
		if v.kind == stringKind {
			v.appendNulls(in, s)
			return v.appendTexts(a.ValueOffsets(), a.Data().Buffers()[2], s)
		}
	case *array.Int64:
		if v.kind == longKind {
			v.appendNulls(in, s)
			v.longs = appendFixed(v.longs, a.Int64Values(), s)
			return nil
		}
	case *array.Float64:
		if v.kind == doubleKind {
			v.appendNulls(in, s)
			v.appendDoubles(a.Float64Values(), s)
			return nil
		}
	case *array.Timestamp:
		if v.kind == timestampKind && a.DataType().(*arrow.TimestampType).Unit == arrow.Microsecond {
			v.appendNulls(in, s)
			v.longs = appendFixed(v.longs, arrow.Int64Traits.CastFromBytes(
				arrow.TimestampTraits.CastToBytes(a.TimestampValues())), s)
			return nil
		}
	case *array.Date32:
		if v.kind == dateKind {
			v.appendNulls(in, s)
			v.dates = appendFixed(v.dates, arrow.Int32Traits.CastFromBytes(
				arrow.Date32Traits.CastToBytes(a.Date32Values())), s)
			return nil
		}
	case *array.Boolean:
		if v.kind == booleanKind {
			v.appendNulls(in, s)
			v.appendFlags(a, s)
			return nil
		}
	}
	return fmt.Errorf("a batch has it as %s", in.DataType())
}

func appendFixed[T int32 | int64](to, from []T, s span) []T {
	if s.rows == nil {
		return append(to, from[s.begin:s.end]...)
	}
	for _, r := range s.list() {
		to = append(to, from[r])
	}
	return to
}

func (v *vector) appendNulls(in arrow.Array, s span) {
	start, n := len(v.nulls), s.len()
	v.nulls = slices.Grow(v.nulls, n)[:start+n]
	nulls := v.nulls[start:]
	if in.NullN() == 0 {
		clear(nulls)
		return
	}
	valid, offset, list := in.NullBitmapBytes(), in.Data().Offset(), s.list()
	for i := range nulls {
		row := s.begin + i
		if list != nil {
			row = int(list[i])
		}
		nulls[i] = !bitutil.BitIsSet(valid, offset+row)
	}
}

func (v *vector) appendTokens(a *array.FixedSizeBinary, s span) {
	start := 16 * a.Data().Offset()
	values := a.Data().Buffers()[1].Bytes()[start : start+16*a.Len()]
	if s.rows == nil {
		v.data = append(v.data, values[16*s.begin:16*s.end]...)
		return
	}
	for _, r := range s.list() {
		v.data = append(v.data, values[16*int(r):16*int(r)+16]...)
	}
}

// appendTexts copies texts that lie one after the other in data; offsets has
// one entry more than there are rows.
func (v *vector) appendTexts(offsets []int32, data *memory.Buffer, s span) error {
	var values []byte
	if data != nil { // there is none when every text is empty
		values = data.Bytes()
	}
	if s.rows == nil {
		first, last := offsets[s.begin], offsets[s.end]
		shift := len(v.data) - int(first)
		v.data = append(v.data, values[first:last]...)
		for _, end := range offsets[s.begin+1 : s.end+1] {
			v.ends = append(v.ends, uint32(shift+int(end)))
		}
	} else {
		for _, r := range s.list() {
			v.data = append(v.data, values[offsets[r]:offsets[r+1]]...)
			v.ends = append(v.ends, uint32(len(v.data)))
		}
	}
	// Only one batch out of all proportion could come to this.
	if len(v.data) > math.MaxUint32 {
		return fmt.Errorf("its values take more than %d bytes", uint32(math.MaxUint32))
	}
	return nil
}

func (v *vector) appendDoubles(values []float64, s span) {
	if s.rows == nil {
		for _, f := range values[s.begin:s.end] {
			v.longs = append(v.longs, int64(math.Float64bits(f)))
		}
		return
	}
	for _, r := range s.list() {
		v.longs = append(v.longs, int64(math.Float64bits(values[r])))
	}
}

func (v *vector) appendFlags(a *array.Boolean, s span) {
	if s.rows == nil {
		for i := s.begin; i < s.end; i++ {
			v.flags = append(v.flags, a.Value(i))
		}
		return
	}
	for _, r := range s.list() {
		v.flags = append(v.flags, a.Value(int(r)))
	}
}
