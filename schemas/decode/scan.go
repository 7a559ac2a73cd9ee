package decode

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// slack is how many readable bytes follow the last message of an arena, so
// that words may be loaded at any place in a message. The source guarantees it.
const slack = 64

// Masks over the eight bytes of a word.
const (
	each01 = 0x0101010101010101
	each02 = each01 * 0x02
	each20 = each01 * 0x20
	each21 = each01 * 0x21
	each5c = each01 * 0x5c
	each80 = each01 * 0x80
)

func load(a []byte, p int) uint64 { return binary.LittleEndian.Uint64(a[p:]) }

// special finds the first byte in a[p:end] that a string does not simply go on
// with: a quote, a backslash, a control character or one that is not ASCII. It
// gives a place at or behind end when there is none.
func special(a []byte, p, end int) int {
	// x^02 maps the quote to 20, beside the controls; a byte below 21 and a
	// backslash borrow from their top bit. A borrow that runs on only marks
	// bytes behind one that is rightly marked.
	for b := a[p : end+8]; len(b) > 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		m := (((x ^ each02) - each21) | ((x ^ each5c) - each01) | x) & each80
		if m != 0 {
			return end + 8 - len(b) + bits.TrailingZeros64(m)>>3
		}
	}
	return end
}

// specialASCII is special for a string that is known to need a check of its
// UTF-8: it passes over bytes that are not ASCII.
func specialASCII(a []byte, p, end int) int {
	for b := a[p : end+8]; len(b) > 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		m := (((x ^ each02) - each21) | ((x ^ each5c) - each01)) &^ x & each80
		if m != 0 {
			return end + 8 - len(b) + bits.TrailingZeros64(m)>>3
		}
	}
	return end
}

// stringEnd checks a string whose first byte inside the quotes is at p and
// gives the place of its closing quote; k is escaped or text.
func stringEnd(a []byte, p, end int) (q int, k kind, ok bool) {
	q = special(a, p, end)
	if q < end && a[q] == '"' {
		return q, text, true
	}
	return restOfString(a, q, end)
}

// restOfString goes on at the first special byte that is no quote. What stands
// before it is ASCII.
func restOfString(a []byte, p, end int) (q int, k kind, ok bool) {
	start, wide := p, false
	k = text
	for p < end {
		switch c := a[p]; {
		case c == '"':
			if wide && !utf8.Valid(a[start:p]) {
				return 0, k, false
			}
			return p, k, true
		case c == '\\':
			k = escaped
			if p = escapeEnd(a, p, end); p < 0 {
				return 0, k, false
			}
		case c < 0x20:
			return 0, k, false
		case c >= utf8.RuneSelf:
			wide = true
		}
		if wide {
			p = specialASCII(a, p, end)
		} else {
			p = special(a, p, end)
		}
	}
	return 0, k, false
}

// escapeEnd checks the escape at p and gives the place behind it, or -1. The
// two halves of a surrogate pair are one escape; one half alone is none.
func escapeEnd(a []byte, p, end int) int {
	if p+1 >= end {
		return -1
	}
	switch a[p+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return p + 2
	case 'u':
	default:
		return -1
	}
	r := hex4(a, p+2, end)
	switch {
	case r < 0:
		return -1
	case r < 0xd800 || r > 0xdfff:
		return p + 6
	case r > 0xdbff || p+7 >= end || a[p+6] != '\\' || a[p+7] != 'u':
		return -1
	}
	if low := hex4(a, p+8, end); low < 0xdc00 || low > 0xdfff {
		return -1
	}
	return p + 12
}

// hex4 reads four hexadecimal digits, or gives -1.
func hex4(a []byte, p, end int) rune {
	if p+4 > end {
		return -1
	}
	var r rune
	for _, c := range a[p : p+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return r
}

// unescape appends to dst what the escapes of a checked string stand for.
func unescape(dst, s []byte) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		c = s[i+1]
		i += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(s, i, len(s))
			i += 4
			if r >= 0xd800 && r <= 0xdfff {
				low := hex4(s, i+2, len(s))
				r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// numberEnd checks the number at p and gives the place behind it, or -1.
func numberEnd(a []byte, p, end int) int {
	if p < end && a[p] == '-' {
		p++
	}
	switch {
	case p >= end:
		return -1
	case a[p] == '0':
		p++
	case a[p] >= '1' && a[p] <= '9':
		p = digitsEnd(a, p, end)
	default:
		return -1
	}
	if p < end && a[p] == '.' {
		q := digitsEnd(a, p+1, end)
		if q == p+1 {
			return -1
		}
		p = q
	}
	if p < end && a[p]|0x20 == 'e' {
		p++
		if p < end && (a[p] == '+' || a[p] == '-') {
			p++
		}
		q := digitsEnd(a, p, end)
		if q == p {
			return -1
		}
		p = q
	}
	return p
}

func digitsEnd(a []byte, p, end int) int {
	for p < end && a[p]-'0' <= 9 {
		p++
	}
	return p
}

// beginsScalar tells a number, true, false or null by its first byte.
func beginsScalar(c byte) bool {
	return c-'0' <= 9 || c == '-' || c == 't' || c == 'f' || c == 'n'
}

// scalarEnd checks the number, true, false or null at p and gives the place
// behind it.
func scalarEnd(a []byte, p, end int) (q int, k kind, ok bool) {
	if p >= end {
		return 0, absent, false
	}
	switch a[p] {
	case 't':
		return p + 4, yes, end-p >= 4 && string(a[p:p+4]) == "true"
	case 'f':
		return p + 5, no, end-p >= 5 && string(a[p:p+5]) == "false"
	case 'n':
		return p + 4, null, end-p >= 4 && string(a[p:p+4]) == "null"
	}
	q = numberEnd(a, p, end)
	return q, number, q >= 0
}

// skipSpace gives the first place at or behind p that is no white space.
func skipSpace(a []byte, p, end int) int {
	for p < end && a[p] <= ' ' && (a[p] == ' ' || a[p] == '\n' || a[p] == '\t' || a[p] == '\r') {
		p++
	}
	return p
}
