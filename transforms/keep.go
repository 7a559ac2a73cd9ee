package transforms

import (
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"

	"lupa/schemas"
)

// newKeep makes the kernel that leaves values of the type as they are.
func newKeep(t schemas.Type) kernel {
	switch t {
	case schemas.Text:
		return &keepText{}
	case schemas.Integer:
		return &keepInteger{}
	case schemas.Number:
		return &keepNumber{}
	case schemas.Boolean:
		return &keepBoolean{}
	case schemas.Timestamp:
		return &keepTimestamp{}
	case schemas.Date:
		return &keepDate{}
	}
	return nil
}

type keepText struct{ out text }

func (k *keepText) build(in arrow.Array, rows, _ []int32) (arrow.Array, error) {
	values, present := in.(*array.BinaryView), presenceOf(in)
	k.out.reset(len(rows))
	for _, row := range rows {
		there := present.at(row)
		if there {
			k.out.data = append(k.out.data, values.Value(int(row))...)
		}
		k.out.end(there)
	}
	return k.out.column()
}

// fixed collects a column of values of one size.
type fixed[T int64 | float64 | arrow.Timestamp | arrow.Date32] struct {
	validity
	values []T
}

// gather takes the values of in at rows. Where there is none it leaves zero,
// not what the buffer held before.
func (f *fixed[T]) gather(in []T, present presence, rows []int32) {
	f.reset(len(rows))
	f.values = resized(f.values, len(rows))
	for i, row := range rows {
		if present.at(row) {
			f.values[i] = in[row]
			f.add(i)
		} else {
			f.values[i] = 0
		}
	}
}

type keepInteger struct{ out fixed[int64] }

func (k *keepInteger) build(in arrow.Array, rows, _ []int32) (arrow.Array, error) {
	k.out.gather(in.(*array.Int64).Int64Values(), presenceOf(in), rows)
	return k.out.array(arrow.PrimitiveTypes.Int64, arrow.Int64Traits.CastToBytes(k.out.values)), nil
}

type keepNumber struct{ out fixed[float64] }

func (k *keepNumber) build(in arrow.Array, rows, _ []int32) (arrow.Array, error) {
	k.out.gather(in.(*array.Float64).Float64Values(), presenceOf(in), rows)
	return k.out.array(arrow.PrimitiveTypes.Float64, arrow.Float64Traits.CastToBytes(k.out.values)), nil
}

type keepDate struct{ out fixed[arrow.Date32] }

func (k *keepDate) build(in arrow.Array, rows, _ []int32) (arrow.Array, error) {
	k.out.gather(in.(*array.Date32).Date32Values(), presenceOf(in), rows)
	return k.out.array(arrow.FixedWidthTypes.Date32, arrow.Date32Traits.CastToBytes(k.out.values)), nil
}

// keepTimestamp cuts the times of masked rows to their UTC day: a time to the
// microsecond finds a person again in any other log.
type keepTimestamp struct{ out fixed[arrow.Timestamp] }

func (k *keepTimestamp) build(in arrow.Array, rows, kept []int32) (arrow.Array, error) {
	k.out.gather(in.(*array.Timestamp).TimestampValues(), presenceOf(in), rows)
	for i, row := range kept {
		if row < 0 {
			k.out.values[i] = day(k.out.values[i])
		}
	}
	return k.out.array(arrow.FixedWidthTypes.Timestamp_us, arrow.TimestampTraits.CastToBytes(k.out.values)), nil
}

// day is the beginning of the UTC day of t, also before 1970.
func day(t arrow.Timestamp) arrow.Timestamp {
	const length = 24 * 60 * 60 * 1_000_000
	since := t % length
	if since < 0 {
		since += length
	}
	if first := t - since; first <= t {
		return first
	}
	return math.MinInt64 // its day begins before the first time there is
}

type keepBoolean struct {
	validity
	values []byte
}

func (k *keepBoolean) build(in arrow.Array, rows, _ []int32) (arrow.Array, error) {
	values, present := in.(*array.Boolean), presenceOf(in)
	k.reset(len(rows))
	k.values = resized(k.values, int(bitutil.BytesForBits(int64(len(rows)))))
	clear(k.values)
	for i, row := range rows {
		if present.at(row) {
			k.add(i)
			if values.Value(int(row)) {
				bitutil.SetBit(k.values, i)
			}
		}
	}
	return k.array(arrow.FixedWidthTypes.Boolean, k.values), nil
}
