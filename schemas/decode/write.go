package decode

import (
	"encoding/base64"
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"
)

// appendQuoted appends text as a JSON string; ok is false when it is not UTF-8.
func appendQuoted(dst, text []byte) (_ []byte, ok bool) {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from, wide := 0, false
	for i := plainPrefix(text); i < len(text); i++ {
		c := text[i]
		if c >= utf8.RuneSelf {
			wide = true
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		if c >= ' ' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		from = i + 1
	}
	dst = append(dst, text[from:]...)
	return append(dst, '"'), !wide || utf8.Valid(text)
}

// plainPrefix gives how many bytes at the beginning of a text, in eights, are
// ASCII that a JSON string has as they are.
func plainPrefix(text []byte) int {
	i := 0
	for ; i+8 <= len(text); i += 8 {
		x := load(text, i)
		if (((x^each02)-each21)|((x^each5c)-each01)|x)&each80 != 0 {
			break
		}
	}
	return i
}

// quoted gives a name of a schema as a JSON string.
func quoted(name string) []byte {
	q, _ := appendQuoted(nil, []byte(name))
	return q
}

// appendBase64 appends bytes as text.
func appendBase64(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// appendFloat appends a number. What is none in JSON is its name as text, so
// that a field that wants a number refuses it.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

// longestDecimal is how many bytes a decimal may have, longestScale how many
// digits behind the point: all of them are written.
const (
	longestDecimal = 256
	longestScale   = 1000
)

// appendDecimal appends the number b * 10^-scale, b being big-endian and two's
// complement, in all its digits.
func appendDecimal(dst, b []byte, scale int) []byte {
	n := new(big.Int).SetBytes(b)
	if len(b) > 0 && b[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	if n.Sign() < 0 {
		dst = append(dst, '-')
		n.Neg(n)
	}
	var room [128]byte
	digits := n.Append(room[:0], 10)
	if scale == 0 {
		return append(dst, digits...)
	}
	for i := scale - len(digits); i >= 0; i-- { // at least one digit before the point
		dst = append(dst, '0')
		if i == scale-len(digits) {
			dst = append(dst, '.')
		}
	}
	if whole := len(digits) - scale; whole > 0 {
		dst = append(dst, digits[:whole]...)
		dst = append(dst, '.')
		digits = digits[whole:]
	} else if whole == 0 {
		return append(dst, digits...)
	}
	return append(dst, digits...)
}

// appendUUID appends sixteen bytes as the text of a UUID.
func appendUUID(dst, b []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hex[c>>4], hex[c&15])
	}
	return append(dst, '"')
}

// appendDay appends a day since 1970 as a date. Years beyond four digits get a
// sign and six digits or more, which is no date that a field takes.
func appendDay(dst []byte, days int64) []byte {
	year, month, dom := dateOf(days)
	switch {
	case year > 9999:
		dst = appendPadded(append(dst, '+'), year, 6)
	case year < 0:
		dst = appendPadded(append(dst, '-'), -year, 6)
	default:
		dst = appendPadded(dst, year, 4)
	}
	dst = appendPadded(append(dst, '-'), month, 2)
	return appendPadded(append(dst, '-'), dom, 2)
}

// appendInstant appends a date and time; digits are those of the fraction, per
// how many of its units are a second.
func appendInstant(dst []byte, n, per int64, digits int, zone bool) []byte {
	sec, fraction := floorDiv(n, per)
	days, clock := floorDiv(sec, 86_400)
	dst = appendDay(append(dst, '"'), days)
	dst = appendClock(append(dst, 'T'), clock, fraction, digits)
	if zone {
		dst = append(dst, 'Z')
	}
	return append(dst, '"')
}

// appendClock appends seconds of a day as hours, minutes and seconds.
func appendClock(dst []byte, sec, fraction int64, digits int) []byte {
	dst = appendPadded(dst, sec/3600, 2)
	dst = appendPadded(append(dst, ':'), sec/60%60, 2)
	dst = appendPadded(append(dst, ':'), sec%60, 2)
	return appendPadded(append(dst, '.'), fraction, digits)
}

// appendPadded appends a number that is not negative with so many digits, or
// more if it has them.
func appendPadded(dst []byte, n int64, width int) []byte {
	for rest := n; rest > 0 || width > 0; rest /= 10 {
		dst = append(dst, '0')
		width--
	}
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// floorDiv gives quotient and remainder, which is never negative.
func floorDiv(n, by int64) (q, r int64) {
	q, r = n/by, n%by
	if r < 0 {
		return q - 1, r + by
	}
	return q, r
}

// dateOf is the inverse of daysSince1970: an era is the 400 years after which
// the calendar repeats itself, and years begin in March so that the odd day is
// their last.
func dateOf(days int64) (year, month, dom int64) {
	era, d := floorDiv(days+719_468, 146_097)
	y := (d - d/1460 + d/36_524 - d/146_096) / 365
	d -= 365*y + y/4 - y/100
	m := (5*d + 2) / 153
	year, month, dom = era*400+y, m+3, d-(153*m+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, dom
}
