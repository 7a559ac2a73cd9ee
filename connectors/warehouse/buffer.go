package warehouse

import (
	"fmt"
	"math"

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

// buffer holds the rows of one file to be, column by column.
type buffer struct {
	table *table
	day   int32
	rows  int
	// cols are the columns of Batch.Out.
	cols []vector
	// The rest stands for the columns that the writer adds. Source is an index
	// into the writer's partitions.
	masked  []bool
	reasons []schemas.Reason
	granted []schemas.PurposeSet
	source  []int32
	offsets []int64
	bytes   int64
}

func newBuffer(t *table) *buffer {
	b := &buffer{table: t}
	for i := range t.cols {
		if t.cols[i].origin == fromBatch {
			b.cols = append(b.cols, vector{kind: t.cols[i].kind})
		}
	}
	return b
}

func (b *buffer) reset() {
	for i := range b.cols {
		b.cols[i].reset()
	}
	b.masked, b.reasons, b.granted = b.masked[:0], b.reasons[:0], b.granted[:0]
	b.source, b.offsets = b.source[:0], b.offsets[:0]
	b.rows, b.bytes = 0, 0
}

// append copies the rows of b.Out that rows lists, or all for nil.
func (b *buffer) append(in *pipeline.Batch, source int32, rows []int32) error {
	for i := range b.cols {
		if err := b.cols[i].append(in.Out.Column(i), rows); err != nil {
			return fmt.Errorf("column %s: %w", in.Out.ColumnName(i), err)
		}
	}
	if rows == nil {
		for _, raw := range in.Selected {
			b.decided(in, raw, source)
		}
	} else {
		for _, row := range rows {
			b.decided(in, in.Selected[row], source)
		}
	}
	b.rows = len(b.offsets)
	b.bytes = b.size()
	return nil
}

func (b *buffer) decided(in *pipeline.Batch, raw, source int32) {
	b.masked = append(b.masked, in.Verdicts[raw] == pipeline.MaskRow)
	b.reasons = append(b.reasons, in.Reasons[raw])
	b.granted = append(b.granted, in.Granted[raw])
	b.source = append(b.source, source)
	b.offsets = append(b.offsets, in.Offsets[raw])
}

// rowBytes is what a row takes besides its columns.
const rowBytes = 1 + 1 + 8 + 4 + 8

func (b *buffer) size() int64 {
	n := int64(b.rows) * rowBytes
	for i := range b.cols {
		n += b.cols[i].size()
	}
	return n
}

// vector is one column of a buffer. Null rows have a zero in the value slice
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
func (v *vector) text(row int32) []byte {
	begin := uint32(0)
	if row > 0 {
		begin = v.ends[row-1]
	}
	return v.data[begin:v.ends[row]:v.ends[row]]
}

// token gives the value of a row of a token column.
func (v *vector) token(row int32) []byte {
	at := 16 * int(row)
	return v.data[at : at+16 : at+16]
}

// append copies rows of an array, or all of it for nil.
func (v *vector) append(in arrow.Array, rows []int32) error {
	if in.Len() == 0 {
		return nil
	}
	switch a := in.(type) {
	case *array.FixedSizeBinary:
		if v.kind == uuidKind && a.DataType().(*arrow.FixedSizeBinaryType).ByteWidth == 16 {
			v.appendNulls(in, rows)
			v.appendTokens(a, rows)
			return nil
		}
	case *array.String:
		if v.kind == stringKind {
			v.appendNulls(in, rows)
			return v.appendTexts(a.ValueOffsets(), a.Data().Buffers()[2], rows)
		}
	case *array.Binary:
		if v.kind == stringKind {
			v.appendNulls(in, rows)
			return v.appendTexts(a.ValueOffsets(), a.Data().Buffers()[2], rows)
		}
	case *array.BinaryView:
		if v.kind == stringKind {
			v.appendNulls(in, rows)
			return v.appendViews(a, rows)
		}
	case *array.Int64:
		if v.kind == longKind {
			v.appendNulls(in, rows)
			v.longs = appendFixed(v.longs, a.Int64Values(), rows)
			return nil
		}
	case *array.Float64:
		if v.kind == doubleKind {
			v.appendNulls(in, rows)
			v.appendDoubles(a.Float64Values(), rows)
			return nil
		}
	case *array.Timestamp:
		if v.kind == timestampKind && a.DataType().(*arrow.TimestampType).Unit == arrow.Microsecond {
			v.appendNulls(in, rows)
			v.longs = appendFixed(v.longs, arrow.Int64Traits.CastFromBytes(
				arrow.TimestampTraits.CastToBytes(a.TimestampValues())), rows)
			return nil
		}
	case *array.Date32:
		if v.kind == dateKind {
			v.appendNulls(in, rows)
			v.dates = appendFixed(v.dates, arrow.Int32Traits.CastFromBytes(
				arrow.Date32Traits.CastToBytes(a.Date32Values())), rows)
			return nil
		}
	case *array.Boolean:
		if v.kind == booleanKind {
			v.appendNulls(in, rows)
			v.appendFlags(a, rows)
			return nil
		}
	}
	return fmt.Errorf("a batch has it as %s", in.DataType())
}

func appendFixed[T int32 | int64](to, from []T, rows []int32) []T {
	if rows == nil {
		return append(to, from...)
	}
	for _, r := range rows {
		to = append(to, from[r])
	}
	return to
}

func (v *vector) appendNulls(in arrow.Array, rows []int32) {
	n := in.Len()
	if rows != nil {
		n = len(rows)
	}
	start := len(v.nulls)
	v.nulls = append(v.nulls, make([]bool, n)...)
	if in.NullN() == 0 {
		return
	}
	valid, offset, nulls := in.NullBitmapBytes(), in.Data().Offset(), v.nulls[start:]
	for i := range nulls {
		row := i
		if rows != nil {
			row = int(rows[i])
		}
		nulls[i] = !bitutil.BitIsSet(valid, offset+row)
	}
}

func (v *vector) appendTokens(a *array.FixedSizeBinary, rows []int32) {
	start := 16 * a.Data().Offset()
	values := a.Data().Buffers()[1].Bytes()[start : start+16*a.Len()]
	if rows == nil {
		v.data = append(v.data, values...)
		return
	}
	for _, r := range rows {
		v.data = append(v.data, values[16*int(r):16*int(r)+16]...)
	}
}

// appendTexts copies texts that lie one after the other in data; offsets has
// one entry more than there are rows.
func (v *vector) appendTexts(offsets []int32, data *memory.Buffer, rows []int32) error {
	var values []byte
	if data != nil { // there is none when every text is empty
		values = data.Bytes()
	}
	if rows == nil {
		first, last := offsets[0], offsets[len(offsets)-1]
		shift := len(v.data) - int(first)
		v.data = append(v.data, values[first:last]...)
		for _, end := range offsets[1:] {
			v.ends = append(v.ends, uint32(shift+int(end)))
		}
	} else {
		for _, r := range rows {
			v.data = append(v.data, values[offsets[r]:offsets[r+1]]...)
			v.ends = append(v.ends, uint32(len(v.data)))
		}
	}
	return v.checkTexts()
}

func (v *vector) appendViews(a *array.BinaryView, rows []int32) error {
	n := a.Len()
	if rows != nil {
		n = len(rows)
	}
	for i := range n {
		row := i
		if rows != nil {
			row = int(rows[i])
		}
		if a.IsValid(row) {
			v.data = append(v.data, a.Value(row)...)
		}
		v.ends = append(v.ends, uint32(len(v.data)))
	}
	return v.checkTexts()
}

// checkTexts keeps the ends within their type. A buffer is written long before
// it comes to this unless one batch is out of all proportion.
func (v *vector) checkTexts() error {
	if len(v.data) > math.MaxUint32 {
		return fmt.Errorf("its values take more than %d bytes", uint32(math.MaxUint32))
	}
	return nil
}

func (v *vector) appendDoubles(values []float64, rows []int32) {
	if rows == nil {
		for _, f := range values {
			v.longs = append(v.longs, int64(math.Float64bits(f)))
		}
		return
	}
	for _, r := range rows {
		v.longs = append(v.longs, int64(math.Float64bits(values[r])))
	}
}

func (v *vector) appendFlags(a *array.Boolean, rows []int32) {
	if rows == nil {
		for i := range a.Len() {
			v.flags = append(v.flags, a.Value(i))
		}
		return
	}
	for _, r := range rows {
		v.flags = append(v.flags, a.Value(int(r)))
	}
}
