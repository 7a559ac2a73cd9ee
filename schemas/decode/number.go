package decode

import (
	"math"
	"math/bits"
	"strconv"
)

// decimal is a number of the JSON grammar: mant * 10^exp, negative if neg.
type decimal struct {
	neg  bool
	mant uint64
	exp  int
	// more says that nonzero digits behind the nineteenth were cut off.
	more bool
}

// farExponent is where exponents stop growing: no sum of it and the exponents
// that the digits of a message give comes near a value that matters.
const farExponent = 1 << 40

// parseDecimal reads a checked number.
func parseDecimal(b []byte) decimal {
	var d decimal
	i := 0
	if b[0] == '-' {
		d.neg = true
		i = 1
	}
	digits, point := 0, false
	for ; i < len(b); i++ {
		c := b[i]
		if c == '.' {
			point = true
			continue
		}
		if c|0x20 == 'e' {
			d.exp += parseExponent(b[i+1:])
			break
		}
		if point {
			d.exp--
		}
		if digits < 19 {
			d.mant = d.mant*10 + uint64(c-'0')
			if d.mant > 0 {
				digits++
			}
			continue
		}
		d.exp++
		d.more = d.more || c != '0'
	}
	return d
}

func parseExponent(b []byte) int {
	neg := b[0] == '-'
	if neg || b[0] == '+' {
		b = b[1:]
	}
	e := 0
	for _, c := range b {
		e = min(e*10+int(c-'0'), farExponent)
	}
	if neg {
		return -e
	}
	return e
}

// scaled gives mant * 10^(exp+by), cut to an integer; ok is false when it does
// not fit, exact when nothing was cut.
func (d decimal) scaled(by int) (n uint64, exact, ok bool) {
	n, exact = d.mant, !d.more
	exp := d.exp + by
	for ; exp < 0 && n > 0; exp++ {
		exact = exact && n%10 == 0
		n /= 10
	}
	for ; exp > 0 && n > 0; exp-- {
		high, low := bits.Mul64(n, 10)
		if high > 0 {
			return 0, false, false
		}
		n = low
	}
	return n, exact, true
}

// parseInteger reads a checked number that is integral and fits.
func parseInteger(b []byte) (int64, bool) {
	if n, ok := shortInteger(b); ok {
		return n, true
	}
	d := parseDecimal(b)
	n, exact, ok := d.scaled(0)
	switch {
	case !ok || !exact:
		return 0, false
	case d.neg && n <= 1<<63:
		return -int64(n), true
	case !d.neg && n < 1<<63:
		return int64(n), true
	}
	return 0, false
}

// shortInteger reads up to 18 digits without fraction and exponent.
func shortInteger(b []byte) (int64, bool) {
	neg := b[0] == '-'
	if neg {
		b = b[1:]
	}
	if len(b) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if neg {
		n = -n
	}
	return n, true
}

// pow10 are the powers of ten that a float64 holds exactly.
var pow10 = [23]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// parseNumber reads a checked number; ok is false when it overflows.
func parseNumber(b []byte) (f float64, ok bool) {
	// With both factors exact, one operation rounds once, as it must.
	if d := parseDecimal(b); !d.more && d.mant < 1<<53 && d.exp > -len(pow10) && d.exp < len(pow10) {
		f = float64(d.mant)
		if d.exp < 0 {
			f /= pow10[-d.exp]
		} else {
			f *= pow10[d.exp]
		}
		if d.neg {
			f = -f
		}
		return f, true
	}
	f, err := strconv.ParseFloat(string(b), 64)
	return f, err == nil && !math.IsInf(f, 0)
}
