package consent

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// moments are the times in which an event may have happened: the first and the
// last of them, and the one at which it was told of if that is before the last.
type moments struct{ first, last, told int64 }

// several reports whether they are not all one.
func (m *moments) several() bool { return m.last != m.first || m.told != m.last }

// momentsOf sets dst to the moments of a batch's rows. told are the messages'
// own times, or nil.
func momentsOf(times arrow.Array, told []int64, dst []moments) {
	switch times := times.(type) {
	case *array.Timestamp:
		values, whole := times.TimestampValues(), times.NullN() == 0
		for row := range dst {
			at := beginning
			if whole || times.IsValid(row) {
				at = int64(values[row])
			}
			dst[row] = moments{at, at, at}
		}
	case *array.Date32:
		for row := range dst {
			first, last := beginning, beginning
			if times.IsValid(row) {
				first, last = bounds(times.Value(row))
			}
			dst[row] = moments{first, last, last}
		}
	}
	for row, told := range told {
		// A time of 0 or less is that of a producer without a clock.
		if told > 0 && told+tick < dst[row].last {
			dst[row].told = told + tick
		}
	}
}

// tick is how much too early a message time may be: Kafka cuts it to the
// millisecond.
const tick = 999

// bounds gives the first and the last moment of a day.
func bounds(date arrow.Date32) (first, last int64) {
	const length = 24 * 60 * 60 * 1_000_000
	if day := int64(date); day > beginning/length && day < now/length {
		return day * length, (day+1)*length - 1
	}
	return beginning, now
}
