package transforms

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// The classes of a byte in a URL.
const (
	noURL    = 1 << iota // white space, control characters, quotes, angle brackets; the backslash, which browsers read as a slash
	hidesAt              // may be part of an @ that is written otherwise
	isAt                 // @
	endsPart             // ends a query parameter
)

var urlBytes = func() (class [256]uint8) {
	for c := range class {
		if c <= ' ' || c == 0x7f {
			class[c] |= noURL
		}
		if c >= utf8.RuneSelf {
			class[c] |= hidesAt
		}
	}
	for _, c := range `"<>\` {
		class[c] |= noURL
	}
	class['%'] |= hidesAt
	class['@'] |= isAt
	class['&'] |= endsPart
	class[';'] |= endsPart
	return class
}()

// plainURL reports whether b has no byte that no URL has.
func plainURL(b []byte) bool {
	var all uint8
	for _, c := range b {
		all |= urlBytes[c]
	}
	return all&noURL == 0
}

// hostAndPort reports whether b is empty, or a host name of any script, an IPv4
// address, or an IPv6 address in brackets, with or without a port.
func hostAndPort(b []byte) bool {
	host, port := b, []byte(nil)
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || !ipv6Text(b[1:end]) {
			return false
		}
		host, port = nil, b[end+1:]
	} else if colon := bytes.IndexByte(b, ':'); colon >= 0 {
		host, port = b[:colon], b[colon:]
	}
	if len(b) > 0 && len(b) == len(port) {
		return false
	}
	for i, c := range port {
		if i == 0 && c != ':' || i > 0 && c-'0' > 9 {
			return false
		}
	}
	for len(host) > 0 {
		c, size := rune(host[0]), 1
		switch {
		case c >= utf8.RuneSelf:
			if c, size = utf8.DecodeRune(host); !unicode.In(c, unicode.L, unicode.M, unicode.Nd) {
				return false
			}
		case uint(c|0x20)-'a' < 26, uint(c)-'0' < 10, c == '-', c == '.', c == '_':
		default:
			return false
		}
		host = host[size:]
	}
	return true
}

func ipv6Text(b []byte) bool {
	for _, c := range b {
		if c-'0' > 9 && c|0x20-'a' > 5 && c != ':' && c != '.' {
			return false
		}
	}
	return len(b) > 0
}

// appendPath appends a path without the parameters of its segments, and with a
// hyphen in place of segments that hold an @ or nothing but parameters.
func (k *stripQuery) appendPath(dst, path []byte) []byte {
	for len(path) > 0 {
		if path[0] == '/' {
			dst, path = append(dst, '/'), path[1:]
			continue
		}
		segment := path
		if slash := bytes.IndexByte(path, '/'); slash >= 0 {
			segment = path[:slash]
		}
		path = path[len(segment):]
		segment, _, _ = bytes.Cut(segment, []byte{';'})
		if len(segment) == 0 || k.holdsAt(segment) {
			dst = append(dst, '-')
		} else {
			dst = append(dst, segment...)
		}
	}
	return dst
}

// appendQuery appends the allowed parameters of a query. They are separated by
// & or ;, so that no other parameter hides in the value of an allowed one.
func (k *stripQuery) appendQuery(dst, query []byte) []byte {
	separator := byte('?')
	for len(query) > 0 && len(k.allow) > 0 {
		end := 0
		for end < len(query) && urlBytes[query[end]]&endsPart == 0 {
			end++
		}
		parameter := query[:end]
		query = query[min(end+1, len(query)):]
		name, _, _ := bytes.Cut(parameter, []byte{'='})
		if len(name) > 0 && k.allows(name) && plainURL(parameter) && !k.holdsAt(parameter) {
			dst = append(append(dst, separator), parameter...)
			separator = '&'
		}
	}
	return dst
}

func (k *stripQuery) allows(name []byte) bool {
	for i := range k.allow {
		a := &k.allow[i]
		if string(name) == a.name || a.prefix && len(name) > len(a.name) && string(name[:len(a.name)]) == a.name {
			return true
		}
	}
	return false
}

// holdsAt reports whether there is an @ in b, as it is, in another width, or
// percent-encoded once or several times. What is still encoded after many
// rounds counts as one.
func (k *stripQuery) holdsAt(b []byte) bool {
	var all uint8
	for _, c := range b {
		all |= urlBytes[c]
	}
	if all&(isAt|hidesAt) == 0 {
		return false
	}
	const rounds = 8
	k.decoded = append(k.decoded[:0], b...)
	for range rounds {
		if anyAt(k.decoded) {
			return true
		}
		n := decodePercent(k.decoded)
		if n == len(k.decoded) {
			return false
		}
		k.decoded = k.decoded[:n]
	}
	return true
}

func anyAt(b []byte) bool {
	return bytes.IndexByte(b, '@') >= 0 || bytes.Contains(b, []byte("\uff20")) || bytes.Contains(b, []byte("\ufe6b"))
}

// decodePercent decodes b in place, %40 and the %u0040 of old scripts, and
// gives the length.
func decodePercent(b []byte) int {
	n := 0
	for i := 0; i < len(b); n++ {
		size := 1
		b[n] = b[i]
		if b[i] == '%' {
			if v, ok := hexNumber(b[i+1:], 2); ok {
				b[n], size = byte(v), len("%40")
			} else if i+1 < len(b) && b[i+1]|0x20 == 'u' {
				if v, ok := hexNumber(b[i+2:], 4); ok {
					b[n], size = narrow(v), len("%u0040")
				}
			}
		}
		i += size
	}
	return n
}

// narrow gives the ASCII character that r is or stands for; of the others only
// those for @ matter here.
func narrow(r rune) byte {
	switch {
	case r < utf8.RuneSelf:
		return byte(r)
	case r == '\uff20' || r == '\ufe6b':
		return '@'
	}
	return '?'
}

func hexNumber(b []byte, digits int) (v rune, ok bool) {
	if len(b) < digits {
		return 0, false
	}
	for _, c := range b[:digits] {
		switch {
		case c-'0' < 10:
			v = v<<4 | rune(c-'0')
		case c|0x20-'a' < 6:
			v = v<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}
