package schemas

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The slots of keys that are not about a purpose.
const (
	eraseSlot = "erase"
	linkSlot  = "link:"
)

// AppendRecordKey appends the Kafka key of r, as FORMAT.md describes it.
// Records of which only the last must be kept have the same key.
func AppendRecordKey(dst []byte, r Record) []byte {
	dst = appendKeyPart(dst, principalText(r.Principal, r.Token))
	dst = append(dst, '|')
	switch r.Verb {
	case Erase:
		return append(dst, eraseSlot...)
	case Link:
		dst = append(dst, linkSlot...)
		return appendKeyPart(dst, principalText(r.Other, r.OtherToken))
	}
	return append(dst, purposeText(r)...)
}

// ParseRecordKey reads what the key of a ledger record says of it: the
// principal, the purpose or every purpose, and for the keys that only erasures
// and links have, the verb and the other principal. Time, version and proof
// are not in a key. It lets a reader say whom a tombstone or a value that
// cannot be read is about; neither permits anything, and neither undoes an
// erasure or a link. An error never shows the key.
func ParseRecordKey(key []byte) (Record, error) {
	if !utf8.Valid(key) {
		return Record{}, errors.New("the record key is not UTF-8")
	}
	head, slot, found := bytes.Cut(key, []byte{'|'})
	if !found || bytes.IndexByte(slot, '|') >= 0 {
		return Record{}, errors.New("the record key must have one |")
	}
	var r Record
	var err error
	if r.Principal, r.Token, err = parseKeyPart(string(head)); err != nil {
		return Record{}, fmt.Errorf("the record key's principal: %w", err)
	}
	if other, found := strings.CutPrefix(string(slot), linkSlot); found {
		r.Verb = Link
		if r.Other, r.OtherToken, err = parseKeyPart(other); err != nil {
			return Record{}, fmt.Errorf("the record key's other principal: %w", err)
		}
		if r.Other == r.Principal && r.OtherToken == r.Token {
			return Record{}, errors.New("the record key links a principal to itself")
		}
		return r, nil
	}
	if string(slot) == eraseSlot {
		r.Verb, r.Every = Erase, true
		return r, nil
	}
	r.Purpose, r.Every = deniedPurpose(string(slot))
	return r, nil
}

// appendKeyPart escapes what would end a part of a key.
func appendKeyPart(dst []byte, part string) []byte {
	for i := range len(part) {
		switch part[i] {
		case '%':
			dst = append(dst, "%25"...)
		case '|':
			dst = append(dst, "%7C"...)
		default:
			dst = append(dst, part[i])
		}
	}
	return dst
}

func parseKeyPart(part string) (Subject, Token, error) {
	var b strings.Builder
	for rest := part; ; {
		before, after, found := strings.Cut(rest, "%")
		b.WriteString(before)
		if !found {
			break
		}
		if len(after) < 2 {
			return Subject{}, Token{}, errors.New("has a % without two hexadecimal digits")
		}
		c, err := hex.DecodeString(after[:2])
		if err != nil {
			return Subject{}, Token{}, errors.New("has a % without two hexadecimal digits")
		}
		b.Write(c)
		rest = after[2:]
	}
	if !utf8.ValidString(b.String()) {
		return Subject{}, Token{}, errNotUnicode
	}
	return parsePrincipal(b.String())
}

// ledgerPrefix marks a principal that is a token already.
const ledgerPrefix = LedgerDomain + ":"

// principalText writes a principal: the kind and the raw identifier, or the
// token. It reveals the identifier because the ledger's records are about it.
func principalText(s Subject, t Token) string {
	if t.IsZero() {
		return s.Kind.String() + ":" + s.Reveal()
	}
	return ledgerPrefix + t.uuid()
}

// parsePrincipal is the inverse of principalText. Its errors never show the
// value.
func parsePrincipal(text string) (Subject, Token, error) {
	name, value, found := strings.Cut(text, ":")
	switch {
	case !found:
	case name == LedgerDomain:
		t, err := parseToken(value)
		return Subject{}, t, err
	case value == "":
		return Subject{}, Token{}, errors.New("has no identifier behind the colon")
	}
	kind, known := ParseIdentifierKind(name)
	if !found || !known {
		return Subject{}, Token{}, fmt.Errorf("must begin with one of %s, ledger, and a colon", strings.Join(IdentifierKinds(), ", "))
	}
	return NewSubject(kind, value), Token{}, nil
}

// uuid writes the token as UUID text.
func (t Token) uuid() string {
	digits := hex.EncodeToString(t[:])
	return strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
}

// parseToken is the inverse of uuid. What is not an RFC 9562 version 8 UUID
// with an epoch is no token of ours and would match nobody.
func parseToken(text string) (t Token, err error) {
	var digits [2 * len(t)]byte
	if len(text) != len(digits)+4 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return Token{}, errNoUUID
	}
	copy(digits[:], text[:8])
	copy(digits[8:], text[9:13])
	copy(digits[12:], text[14:18])
	copy(digits[16:], text[19:23])
	copy(digits[20:], text[24:])
	if _, err := hex.Decode(t[:], digits[:]); err != nil {
		// The cause would show a part of the text.
		return Token{}, errNoUUID
	}
	if t.Epoch() == 0 || t[6]>>4 != 8 || t[8]>>6 != 2 {
		return Token{}, errors.New("the token is not a version 8 UUID with a key epoch")
	}
	return t, nil
}

var errNoUUID = errors.New("the token is not a UUID")
