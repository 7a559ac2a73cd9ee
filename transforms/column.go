package transforms

import (
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/schemas"
)

var tokenType = &arrow.FixedSizeBinaryType{ByteWidth: len(schemas.Token{})}

// inputTypes are the types of raw columns.
var inputTypes = [...]arrow.Type{
	schemas.Text:      arrow.BINARY_VIEW,
	schemas.Integer:   arrow.INT64,
	schemas.Number:    arrow.FLOAT64,
	schemas.Boolean:   arrow.BOOL,
	schemas.Timestamp: arrow.TIMESTAMP,
	schemas.Date:      arrow.DATE32,
	schemas.JSON:      arrow.BINARY_VIEW,
}

// columnTypes are the types of treated columns.
var columnTypes = [...]arrow.DataType{
	schemas.StringColumn:    arrow.BinaryTypes.String,
	schemas.Int64Column:     arrow.PrimitiveTypes.Int64,
	schemas.Float64Column:   arrow.PrimitiveTypes.Float64,
	schemas.BooleanColumn:   arrow.FixedWidthTypes.Boolean,
	schemas.TimestampColumn: arrow.FixedWidthTypes.Timestamp_us,
	schemas.DateColumn:      arrow.FixedWidthTypes.Date32,
	schemas.TokenColumn:     tokenType,
}

// presence tells which values of a raw column are there.
type presence struct {
	bits   []byte // nil: all of them
	offset int
}

func presenceOf(in arrow.Array) presence {
	if in.NullN() == 0 {
		return presence{}
	}
	return presence{in.NullBitmapBytes(), in.Data().Offset()}
}

func (p presence) at(row int32) bool {
	return row >= 0 && (p.bits == nil || bitutil.BitIsSet(p.bits, p.offset+int(row)))
}

// validity collects which values of a treated column are there.
type validity struct {
	bits []byte
	rows int
	set  int
}

func (v *validity) reset(rows int) {
	v.bits = resized(v.bits, int(bitutil.BytesForBits(int64(rows))))
	clear(v.bits)
	v.rows, v.set = rows, 0
}

func (v *validity) add(i int) {
	v.bits[i>>3] |= 1 << (i & 7)
	v.set++
}

// array makes the column of the values in the buffers.
func (v *validity) array(dtype arrow.DataType, values ...[]byte) arrow.Array {
	buffers := make([]*memory.Buffer, 1, 1+len(values))
	if v.set < v.rows {
		buffers[0] = memory.NewBufferBytes(v.bits)
	}
	for _, b := range values {
		buffers = append(buffers, memory.NewBufferBytes(b))
	}
	data := array.NewData(dtype, v.rows, buffers, nil, v.rows-v.set, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// text collects a column of strings. A value is appended to data, then ended.
type text struct {
	validity
	ends []int32 // offsets: the first is 0
	data []byte
}

func (t *text) reset(rows int) {
	t.validity.reset(rows)
	t.ends = append(resized(t.ends, rows+1)[:0], 0)
	t.data = t.data[:0]
}

// end ends the value of the next row, which is there or not.
func (t *text) end(there bool) {
	if there {
		t.add(len(t.ends) - 1)
	}
	t.ends = append(t.ends, int32(len(t.data)))
}

func (t *text) column() (arrow.Array, error) {
	if len(t.data) > math.MaxInt32 {
		return nil, fmt.Errorf("a batch has %d bytes of text, more than a column can hold", len(t.data))
	}
	return t.array(arrow.BinaryTypes.String, arrow.Int32Traits.CastToBytes(t.ends), t.data), nil
}

// resized gives a slice of n elements, the same one if it is long enough.
func resized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }
