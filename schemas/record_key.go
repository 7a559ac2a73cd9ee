package schemas

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The slots of keys that are not about what a subject says of a purpose.
const (
	eraseSlot    = "erase"
	restrictSlot = "restriction"
	bornSlot     = "born"
	linkSlot     = "link:"
	retainSlot   = "retain:"
	guardianSlot = "guardian:"
)

// AppendRecordKey appends the Kafka key of r, as FORMAT.md describes it.
// Records of which only the last must be kept have the same key.
func AppendRecordKey(dst []byte, r Record) []byte {
	dst = AppendKeyPart(dst, principalText(r.Principal, r.Token))
	dst = append(dst, '|')
	switch r.Verb {
	case Erase:
		return append(dst, eraseSlot...)
	case Restrict, Lift:
		return append(dst, restrictSlot...)
	case Born:
		return append(dst, bornSlot...)
	case Link, Unlink:
		dst = append(dst, linkSlot...)
		return AppendKeyPart(dst, principalText(r.Other, r.OtherToken))
	case Retain:
		dst = append(dst, retainSlot...)
		return AppendKeyPart(dst, r.Terms.Fields)
	case GuardianGrant, GuardianWithdraw:
		dst = append(dst, guardianSlot...)
	}
	return AppendKeyPart(dst, purposeText(r))
}

// ParseRecordKey is RecordReader.ParseKey with the default vocabulary.
func ParseRecordKey(key []byte) (Record, error) {
	p := RecordReader{vocabulary: DefaultVocabulary()}
	return p.ParseKey(key)
}

// ParseKey reads what the key of a ledger record says of it: the principal, the
// purpose or every purpose, and for the keys that other records do not have,
// the verb: Restrict for a restriction that may be lifted, Link for a link that
// may be undone, GuardianWithdraw for what a guardian says. Time, version and
// proof are not in a key. It lets a reader say whom a tombstone or a value that
// cannot be read is about. An error never shows the key.
func (p *RecordReader) ParseKey(key []byte) (Record, error) {
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
	if err := p.setSlot(&r, string(slot)); err != nil {
		return Record{}, err
	}
	return r, nil
}

// setSlot reads what stands behind the principal. What is none of ours is a
// purpose that is not known.
func (p *RecordReader) setSlot(r *Record, slot string) (err error) {
	switch slot {
	case eraseSlot:
		r.Verb, r.Every = Erase, true
		return nil
	case restrictSlot:
		r.Verb = Restrict
		return nil
	case bornSlot:
		r.Verb = Born
		return nil
	}
	if other, found := strings.CutPrefix(slot, linkSlot); found {
		r.Verb = Link
		if r.Other, r.OtherToken, err = parseKeyPart(other); err != nil {
			return fmt.Errorf("the record key's other principal: %w", err)
		}
		if r.Other == r.Principal && r.OtherToken == r.Token {
			return errors.New("the record key links a principal to itself")
		}
		return nil
	}
	if fields, found := strings.CutPrefix(slot, retainSlot); found {
		r.Verb = Retain
		if text, err := unescapeKeyPart(fields); err == nil {
			r.Terms.Fields, _ = fieldList(strings.Split(text, ","))
		}
		return nil
	}
	purpose, guardian := strings.CutPrefix(slot, guardianSlot)
	if guardian {
		r.Verb = GuardianWithdraw
	}
	if text, err := unescapeKeyPart(purpose); err == nil {
		purpose = text
	}
	r.Purpose, r.Every = p.vocabulary.Denied(purpose)
	return nil
}

// AppendKeyPart appends a principal or a slot to a record key, with what would end
// that part of the key escaped as FORMAT.md says.
func AppendKeyPart(dst []byte, part string) []byte {
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

// unescapeKeyPart is the inverse of AppendKeyPart.
func unescapeKeyPart(part string) (string, error) {
	if strings.IndexByte(part, '%') < 0 {
		return part, nil
	}
	var b strings.Builder
	for rest := part; ; {
		before, after, found := strings.Cut(rest, "%")
		b.WriteString(before)
		if !found {
			break
		}
		if len(after) < 2 {
			return "", errBadEscape
		}
		c, err := hex.DecodeString(after[:2])
		if err != nil {
			return "", errBadEscape
		}
		b.Write(c)
		rest = after[2:]
	}
	if !utf8.ValidString(b.String()) {
		return "", errNotUnicode
	}
	return b.String(), nil
}

var errBadEscape = errors.New("has a % without two hexadecimal digits")

func parseKeyPart(part string) (Subject, Token, error) {
	text, err := unescapeKeyPart(part)
	if err != nil {
		return Subject{}, Token{}, err
	}
	return parsePrincipal(text)
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
