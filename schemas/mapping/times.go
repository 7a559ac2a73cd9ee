package mapping

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// timeFormat is how a time is written.
type timeFormat uint8

const (
	rfc3339 timeFormat = iota
	dateTime
	dateOnly
	epochSeconds
	epochMillis
	epochMicros
	epochDays
)

var formatNames = [...]string{
	rfc3339:      "rfc3339",
	dateTime:     "datetime",
	dateOnly:     "date",
	epochSeconds: "epoch_s",
	epochMillis:  "epoch_ms",
	epochMicros:  "epoch_us",
	epochDays:    "epoch_days",
}

// local reports whether a format needs a zone.
func (f timeFormat) local() bool { return f == dateTime || f == dateOnly || f == epochDays }

// counts reports whether a format is a number.
func (f timeFormat) counts() bool { return f >= epochSeconds }

// span is when something was: from its first to its last microsecond, which
// differ when only the day is known, or what a clock showed twice.
type span struct{ first, last int64 }

var errNoTime = errors.New("is a time of none of the formats")

// The times that a record can have.
const (
	minMicros = -62167219200000000 // 0000-01-01
	maxMicros = 253402300799999999 // the end of 9999
)

// parseTime reads a time. The error does not show it.
func parseTime(text []byte, formats []timeFormat, zone *time.Location) (span, error) {
	for _, f := range formats {
		if s, ok := f.parse(strings.TrimSpace(string(text)), zone); ok && s.first >= minMicros && s.last <= maxMicros {
			return s, nil
		}
	}
	return span{}, errNoTime
}

func (f timeFormat) parse(text string, zone *time.Location) (span, bool) {
	if f.counts() {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return span{}, false
		}
		return f.since(n, zone)
	}
	switch f {
	case rfc3339:
		t, err := time.Parse(time.RFC3339, text)
		return instant(t), err == nil
	case dateTime:
		for _, layout := range [...]string{"2006-01-02 15:04:05", "2006-01-02T15:04:05"} {
			if t, err := time.ParseInLocation(layout, text, zone); err == nil {
				return onClock(t), true
			}
		}
		return span{}, false
	}
	t, err := time.ParseInLocation(time.DateOnly, text, zone)
	return day(t), err == nil
}

// since gives the time that is n units after 1970.
func (f timeFormat) since(n int64, zone *time.Location) (span, bool) {
	unit := map[timeFormat]int64{epochSeconds: 1e6, epochMillis: 1e3, epochMicros: 1, epochDays: 24 * 3600 * 1e6}[f]
	if n > maxMicros/unit || n < minMicros/unit {
		return span{}, false
	}
	if f != epochDays {
		return span{n * unit, n * unit}, true
	}
	y, m, d := time.UnixMicro(n * unit).UTC().Date()
	return day(time.Date(y, m, d, 0, 0, 0, 0, zone)), true
}

// onClock is when a clock showed t: twice, if it was put back between.
func onClock(t time.Time) span {
	s := instant(t)
	for _, by := range [...]time.Duration{-time.Hour, -time.Hour / 2, time.Hour / 2, time.Hour} {
		if u := t.Add(by); u.Format(time.DateTime) == t.Format(time.DateTime) {
			s.first, s.last = min(s.first, u.UnixMicro()), max(s.last, u.UnixMicro())
		}
	}
	return s
}

func instant(t time.Time) span { return span{t.UnixMicro(), t.UnixMicro()} }

// day is the whole day that begins at t.
func day(t time.Time) span {
	y, m, d := t.Date()
	next := time.Date(y, m, d+1, 0, 0, 0, 0, t.Location())
	return span{t.UnixMicro(), next.UnixMicro() - 1}
}

// appendTime appends a time as records have it.
func appendTime(dst []byte, micros int64) []byte {
	return time.UnixMicro(micros).UTC().AppendFormat(dst, "2006-01-02T15:04:05.999999Z07:00")
}
