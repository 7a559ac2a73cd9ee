package schemas

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// The functions that are named after an end take the index at which something
// begins and give the index behind it, or -1 if it is not what RFC 8259 says.
// They take UTF-8 for granted.

// byteAt gives a byte, or behind the end 0, which no JSON has outside of text.
func byteAt(data []byte, i int) byte {
	if i < len(data) {
		return data[i]
	}
	return 0
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// endOfString is about the string whose opening quote is at i.
func endOfString(data []byte, i int) int {
	for i++; ; {
		switch i = skipPlain(data, i); {
		case byteAt(data, i) == '"':
			return i + 1
		case byteAt(data, i) != '\\':
			return -1
		}
		if i = endOfEscape(data, i); i < 0 {
			return -1
		}
	}
}

// skipPlain gives the index of the first byte that is a quote, a backslash or a
// control character, or the end of data. It looks at eight bytes at once:
// flipping bit 1 moves the quote beside the control characters, so that it and
// they are less than 21, and flipping 5c makes the backslash 0; what is less
// borrows from its top bit. Bytes that a borrow marks wrongly come later.
func skipPlain(data []byte, i int) int {
	const each = 0x0101010101010101
	for ; i+8 <= len(data); i += 8 {
		x := binary.LittleEndian.Uint64(data[i:])
		if m := ((x ^ each*0x02 - each*0x21) | (x ^ each*0x5c - each)) &^ x & (each * 0x80); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(data) && data[i] != '"' && data[i] != '\\' && data[i] >= ' ' {
		i++
	}
	return i
}

// endOfEscape is about the backslash at i and what it escapes.
func endOfEscape(data []byte, i int) int {
	switch byteAt(data, i+1) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if escapedUnit(data[i:]) >= 0 {
			return i + 6
		}
	}
	return -1
}

// escapedUnit reads \uXXXX at the start of text, or gives -1.
func escapedUnit(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range text[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

func endOfWord(data []byte, i int, word string) int {
	if len(data)-i < len(word) || string(data[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

func endOfNumber(data []byte, i int) int {
	if byteAt(data, i) == '-' {
		i++
	}
	if byteAt(data, i) == '0' {
		i++
	} else if i = endOfDigits(data, i); i < 0 {
		return -1
	}
	if byteAt(data, i) == '.' {
		if i = endOfDigits(data, i+1); i < 0 {
			return -1
		}
	}
	if byteAt(data, i)|0x20 == 'e' {
		if i++; byteAt(data, i) == '+' || byteAt(data, i) == '-' {
			i++
		}
		return endOfDigits(data, i)
	}
	return i
}

// endOfDigits is about one digit or more.
func endOfDigits(data []byte, i int) int {
	start := i
	for i < len(data) && '0' <= data[i] && data[i] <= '9' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

var errNotUnicode = errors.New("not Unicode text")

// unquote gives the text of a JSON string, which may be a part of it. An escape
// for half of a surrogate pair stands for no character: two identifiers that
// differ in it would become one, so it is not ok.
func unquote(quoted []byte) (text []byte, ok bool) {
	inside := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inside, '\\') < 0 {
		return inside, true
	}
	text = make([]byte, 0, len(inside))
	for len(inside) > 0 {
		n := bytes.IndexByte(inside, '\\')
		if n < 0 {
			n = len(inside)
		}
		text, inside = append(text, inside[:n]...), inside[n:]
		if len(inside) > 0 {
			r, n := escaped(inside)
			if n == 0 {
				return nil, false
			}
			text, inside = utf8.AppendRune(text, r), inside[n:]
		}
	}
	return text, true
}

// escaped gives the character of the escape at the start of text, and how long
// the escape is, 0 if it is half of a pair.
func escaped(text []byte) (r rune, n int) {
	switch c := text[1]; c {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
	default:
		return rune(c), 2
	}
	r = escapedUnit(text)
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if r = utf16.DecodeRune(r, escapedUnit(text[6:])); r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// AppendQuoted appends text as a JSON string. What is not UTF-8 stays as it is,
// for whoever reads it to refuse.
func AppendQuoted(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
