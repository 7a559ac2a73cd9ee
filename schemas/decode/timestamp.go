package decode

import "time"

// Microseconds.
const (
	second = 1_000_000
	day    = 86_400 * second
)

// The ranges in which a number is a time, in seconds and in milliseconds.
const (
	secondsFrom, secondsBelow = 100_000_000, 10_000_000_000
	millisFrom, millisBelow   = 100_000_000_000, 10_000_000_000_000
)

// timeForm says how completely a text gives a time.
type timeForm uint8

const (
	noTime   timeForm = iota
	zoned             // date, time and zone
	unzoned           // date and time
	dateOnly          // date
)

// noEventTime marks a message without a time of its own.
const noEventTime = int64(-1 << 63)

// The usual form, YYYY-MM-DDThh:mm:ss.mmmZ, is three words. XOR with a form's
// word leaves a digit's value where it has a 0, and 0 where it has a sign, which
// adding the limits then proves.
const (
	formDate, limitDate     = uint64(0x2d30302d30303030), uint64(0x7f76767f76767676) // 0000-00-
	formMinute, limitMinute = uint64(0x30303a3030543030), uint64(0x76767f76767f7676) // 00T00:00
	formMilli, limitMilli   = uint64(0x5a3030302e30303a), uint64(0x7f7676767f76767f) // :00.000Z
)

// usualTime reads the 24 bytes of the usual form at p.
func usualTime(a []byte, p int) (us int64, ok bool) {
	d := load(a, p) ^ formDate
	m := load(a, p+8) ^ formMinute
	s := load(a, p+16) ^ formMilli
	if (d|(d+limitDate)|m|(m+limitMinute)|s|(s+limitMilli))&each80 != 0 {
		return 0, false
	}
	// Each byte plus ten times the one before it.
	d2, m2, s2 := d*10+d>>8, m*10+m>>8, s*10+s>>8
	year, month := int(d2&0xff)*100+int(d2>>16&0xff), int(d2>>40&0xff)
	dom, hour, minute := int(m2&0xff), int(m2>>24&0xff), int(m2>>48&0xff)
	sec, milli := int(s2>>8&0xff), int(s2>>32&0xff)*10+int(s>>48&0xff)
	if hour > 23 || minute > 59 || sec > 59 || !validDate(year, month, dom) {
		return 0, false
	}
	return daysSince1970(year, month, dom)*day + (int64(hour)*3600+int64(minute)*60+int64(sec))*second + int64(milli)*1000, true
}

// parseTime reads a date or a date-time.
func parseTime(b []byte) (us int64, form timeForm) {
	days, ok := parseDate(b[:min(len(b), 10)])
	if !ok {
		return 0, noTime
	}
	us = days * day
	if len(b) == 10 {
		return us, dateOnly
	}
	if c := b[10]; c != 'T' && c != 't' && c != ' ' {
		return 0, noTime
	}
	clock, rest, ok := parseClock(b[11:])
	if !ok {
		return 0, noTime
	}
	us += clock
	if len(rest) == 0 {
		return us, unzoned
	}
	offset, ok := parseZone(rest)
	if !ok {
		return 0, noTime
	}
	return us - offset, zoned
}

// parseDate reads YYYY-MM-DD.
func parseDate(b []byte) (days int64, ok bool) {
	if len(b) != 10 || b[4] != '-' || b[7] != '-' {
		return 0, false
	}
	century, ok1 := pair(b, 0)
	year, ok2 := pair(b, 2)
	month, ok3 := pair(b, 5)
	dom, ok4 := pair(b, 8)
	year += century * 100
	if !ok1 || !ok2 || !ok3 || !ok4 || !validDate(year, month, dom) {
		return 0, false
	}
	return daysSince1970(year, month, dom), true
}

// parseClock reads hh:mm[:ss[.f]] and gives what follows.
func parseClock(b []byte) (us int64, rest []byte, ok bool) {
	hour, ok1 := pair(b, 0)
	minute, ok2 := pair(b, 3)
	if !ok1 || !ok2 || b[2] != ':' || hour > 23 || minute > 59 {
		return 0, nil, false
	}
	us = int64(hour*3600+minute*60) * second
	b = b[5:]
	if len(b) == 0 || b[0] != ':' {
		return us, b, true
	}
	sec, ok := pair(b, 1)
	if !ok || sec > 60 || sec == 60 && minute != 59 {
		return 0, nil, false
	}
	us += int64(sec) * second
	b = b[3:]
	if len(b) == 0 || b[0] != '.' && b[0] != ',' {
		return us, b, true
	}
	n := digitsEnd(b, 1, len(b))
	if n == 1 || n > 10 {
		return 0, nil, false
	}
	unit := int64(second / 10)
	for _, c := range b[1:n] {
		us += int64(c-'0') * unit
		unit /= 10
	}
	return us, b[n:], true
}

// parseZone reads Z, ±hh, ±hhmm or ±hh:mm as microseconds east of UTC.
func parseZone(b []byte) (us int64, ok bool) {
	if len(b) == 1 && b[0]|0x20 == 'z' {
		return 0, true
	}
	hour, ok := pair(b, 1)
	if !ok || hour > 23 || b[0] != '+' && b[0] != '-' {
		return 0, false
	}
	minute := 0
	switch {
	case len(b) == 3:
	case len(b) == 5:
		minute, ok = pair(b, 3)
	case len(b) == 6 && b[3] == ':':
		minute, ok = pair(b, 4)
	default:
		return 0, false
	}
	if !ok || minute > 59 {
		return 0, false
	}
	us = int64(hour*3600+minute*60) * second
	if b[0] == '-' {
		us = -us
	}
	return us, true
}

// pair reads the two digits at i.
func pair(b []byte, i int) (n int, ok bool) {
	if i+2 > len(b) || b[i]-'0' > 9 || b[i+1]-'0' > 9 {
		return 0, false
	}
	return int(b[i]-'0')*10 + int(b[i+1]-'0'), true
}

func validDate(year, month, dom int) bool {
	if month < 1 || month > 12 || dom < 1 {
		return false
	}
	if month == int(time.February) && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		return dom <= 29
	}
	return dom <= int(monthDays[month])
}

var monthDays = [13]uint8{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// daysSince1970 counts in years that begin in March, so that the leap day is a
// year's last and months before it have a fixed pattern.
func daysSince1970(year, month, dom int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	year += 400 // so that no year is negative
	return int64(365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + dom - 1 - 719468 - 146097)
}

// epochTime reads a checked number as seconds or milliseconds since 1970.
func epochTime(b []byte) (us int64, ok bool) {
	d := parseDecimal(b)
	n, _, ok := d.scaled(0)
	switch {
	case !ok || d.neg:
		return 0, false
	case n >= secondsFrom && n < secondsBelow:
		n, _, ok = d.scaled(6)
	case n >= millisFrom && n < millisBelow:
		n, _, ok = d.scaled(3)
	default:
		return 0, false
	}
	return int64(n), ok
}
