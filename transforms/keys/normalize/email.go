package normalize

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// maxRounds is how often a rule is applied until its result stays the same.
const maxRounds = 4

// Email trims Unicode space, composes (NFC), makes lower case, and turns the
// part behind the last @ into the ASCII form of IDNA. A domain that IDNA
// refuses stays as lower-case text, and so does a value without an @. Nothing
// is dropped from the local part: dots and +tags tell mailboxes apart at some
// providers. A value that is not UTF-8 is trimmed, and only its ASCII letters
// change.
func (n *Normalizer) Email(value []byte) []byte {
	var bits, upper byte
	for _, c := range value {
		bits |= c
		if c-'A' < 26 {
			upper = 1
		}
	}
	if bits >= utf8.RuneSelf {
		return emailText(value)
	}
	value = trimASCII(value)
	if upper == 0 {
		return value
	}
	n.buf = appendLower(n.buf[:0], value)
	return n.buf
}

func emailText(value []byte) []byte {
	value = bytes.TrimSpace(value)
	if !utf8.Valid(value) {
		return appendLower(nil, value)
	}
	for range maxRounds {
		next := emailOnce(value)
		if bytes.Equal(next, value) {
			break
		}
		value = next
	}
	return value
}

func emailOnce(value []byte) []byte {
	value = norm.NFC.Bytes(bytes.ToLower(norm.NFC.Bytes(bytes.TrimSpace(value))))
	at := bytes.LastIndexByte(value, '@')
	if at < 0 {
		return value
	}
	domain, ok := domainToASCII(string(value[at+1:]))
	if !ok {
		return value
	}
	return append(value[:at+1:at+1], domain...)
}

// browserProfile is UTS 46 as browsers apply it, but for the characters of a
// host name, which stay those of STD 3: no other one may come out of a mapping.
var browserProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(false))

func domainToASCII(domain string) (string, bool) {
	if isASCII(domain) {
		return domain, true
	}
	ascii, err := browserProfile.ToASCII(domain)
	return ascii, err == nil && ascii != "" && isASCII(ascii)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func trimASCII(v []byte) []byte {
	for len(v) > 0 && asciiSpace(v[0]) {
		v = v[1:]
	}
	for len(v) > 0 && asciiSpace(v[len(v)-1]) {
		v = v[:len(v)-1]
	}
	return v
}

func asciiSpace(c byte) bool { return c == ' ' || c-'\t' < 5 }

func appendLower(dst, v []byte) []byte {
	for _, c := range v {
		if c-'A' < 26 {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
