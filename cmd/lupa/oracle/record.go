package oracle

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"lupa/schemas"
)

// kind is what a ledger message does.
type kind uint8

const (
	nothing    kind = iota
	says            // a record
	links           // two identifiers are one subject, or are not after all
	tombstone       // a key is emptied
	unreadable      // a value that denies its key
	brokenLink      // a link that could not be read
	brokenErase
)

// about is which of a person's keys a record is in.
type about uint8

const (
	itself      about = iota // what the person says of a purpose
	guardian                 // what those say who are responsible for it
	restriction              // of the person as a whole
	birth
	duties // laws that keep fields
)

// entry is a ledger message as it is applied.
type entry struct {
	at     place
	offset int64
	told   int64 // when the broker got it, for the order of partitions
	kind   kind

	who, other ident
	about      about
	purpose    schemas.Purpose // one, a group of them, or every
	verb       schemas.Verb
	proven     bool
	pending    bool
	shared     bool  // other is several people's
	time       int64 // when it was said
	version    int64
	// until is when a grant or a duty ends, 0 for never; of a birth its first moment.
	until int64
	terms terms
	// sharedKinds say which of its ends are of a kind that people share.
	whoShared, otherShared bool
}

// principal is whom a record is about: a raw identifier or a ledger token.
type principal struct {
	kind  schemas.IdentifierKind
	raw   string
	token token
}

func (p principal) nobody() bool { return p.raw == "" && p.token == token{} }

var errNobody = errors.New("it cannot be said whom the message is about")

// readEntry reads a ledger message.
func (k *keyring) readEntry(key, value []byte) (entry, error) {
	if schemas.IsMarker(key) || len(key) == 0 && schemas.IsMarker(value) {
		return entry{}, nil
	}
	if value == nil {
		e, err := k.readKey(key)
		if err != nil {
			return entry{}, err
		}
		lasting := e.kind != unreadable || e.about == restriction || e.about == birth
		if lasting || e.purpose == unnamed {
			// What would permit more when it is gone outlives its message, and
			// under a name that nobody knows there was nothing.
			return entry{}, nil
		}
		e.kind = tombstone
		return e, nil
	}
	r, err := parseRecord(value, k.names)
	if err == nil {
		e := r.entry
		var missing bool
		e.whoShared, e.otherShared = k.isShared(r.who), k.isShared(r.other)
		if e.who, missing = k.ident(r.who); !missing && e.kind == links {
			e.other, missing = k.ident(r.other)
		}
		if !missing {
			return e, nil
		}
	}
	e, keyErr := k.readKey(key)
	if !r.who.nobody() && (keyErr != nil || e.purpose == unnamed) {
		// The key says less than what could be read of the value.
		who, missing := k.ident(r.who)
		if missing {
			return entry{}, errNobody
		}
		return entry{kind: unreadable, who: who, purpose: r.denied(k.names), whoShared: k.isShared(r.who)}, nil
	}
	if keyErr != nil {
		return entry{}, keyErr
	}
	if e.about == guardian && e.purpose == unnamed {
		e.purpose = every
	}
	if e.kind == unreadable && (e.purpose == unnamed || e.about == itself && r.whole()) {
		// What is not about a purpose could be about any.
		e.about, e.purpose, e.terms = itself, every, terms{}
	}
	return e, nil
}

// unnamed is the purpose of a key under a name that nobody knows.
const unnamed = schemas.Purpose(math.MaxUint8)

// readKey makes the entry of a message whose value cannot be read.
func (k *keyring) readKey(key []byte) (entry, error) {
	head, slot, ok := strings.Cut(string(key), "|")
	if !ok || strings.Contains(slot, "|") || !utf8.Valid(key) {
		return entry{}, errNobody
	}
	var e entry
	who, ok := keyPrincipal(head)
	if !ok {
		return entry{}, errNobody
	}
	var missing bool
	if e.who, missing = k.ident(who); missing {
		return entry{}, errNobody
	}
	e.whoShared = k.isShared(who)
	if name, ok := strings.CutPrefix(slot, "link:"); ok {
		other, ok := keyPrincipal(name)
		if !ok || other == who {
			return entry{}, errNobody
		}
		e.kind, e.otherShared = brokenLink, k.isShared(other)
		if e.other, missing = k.ident(other); missing {
			return entry{}, errNobody
		}
		return e, nil
	}
	if slot == "erase" {
		e.kind = brokenErase
		return e, nil
	}
	e.kind = unreadable
	switch {
	case slot == "restriction":
		e.about = restriction
		return e, nil
	case slot == "born":
		e.about = birth
		return e, nil
	case strings.HasPrefix(slot, "retain:"):
		e.about = duties
		e.terms.fields, _ = unescaped(strings.TrimPrefix(slot, "retain:"))
		return e, nil
	}
	name, isGuardian := strings.CutPrefix(slot, "guardian:")
	if isGuardian {
		e.about = guardian
	}
	if text, ok := unescaped(name); ok {
		name = text
	}
	p, known := k.names.denial(name)
	switch {
	case !known:
		p = unnamed
	case isGuardian && p.IsGroup():
		p = every
	}
	e.purpose = p
	return e, nil
}

func keyPrincipal(text string) (principal, bool) {
	plain, ok := unescaped(text)
	if !ok {
		return principal{}, false
	}
	return parsePrincipal(plain)
}

// unescaped undoes the escapes of a piece of a key.
func unescaped(text string) (string, bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "%")
		b.WriteString(before)
		if !found {
			return b.String(), utf8.ValidString(b.String())
		}
		if len(after) < 2 {
			return "", false
		}
		c, err := hex.DecodeString(after[:2])
		if err != nil {
			return "", false
		}
		b.Write(c)
		text = after[2:]
	}
}

// parsePrincipal reads kind:identifier or ledger:token.
func parsePrincipal(text string) (principal, bool) {
	name, value, ok := strings.Cut(text, ":")
	if !ok || value == "" {
		return principal{}, false
	}
	if name == "ledger" {
		t, ok := parseToken(value)
		return principal{token: t}, ok
	}
	kind, ok := schemas.ParseIdentifierKind(name)
	return principal{kind: kind, raw: value}, ok
}

func recordTime(v any) (micros int64, ok bool) {
	text, ok := v.(string)
	if !ok {
		return 0, false
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.UTC().Year() < 0 || t.UTC().Year() > 9999 {
		return 0, false
	}
	return t.UnixMicro(), true
}

// object reads a JSON object in which no name stands twice, without its members
// that are null.
func object(value []byte) (map[string]any, error) {
	if !utf8.Valid(value) || !json.Valid(value) || halfSurrogate(value) {
		return nil, errRecord
	}
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	v, err := uniqueValue(d)
	if err != nil {
		return nil, err
	}
	members, ok := v.(map[string]any)
	if _, err := d.Token(); !ok || err != io.EOF {
		return nil, errRecord
	}
	return members, nil
}

func uniqueValue(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	members, seen := map[string]any{}, map[string]bool{}
	var list []any
	for d.More() {
		name := ""
		if delim == '{' {
			t, err := d.Token()
			if err != nil {
				return nil, err
			}
			if name, ok = t.(string); !ok || seen[name] {
				return nil, errRecord
			}
			seen[name] = true
		}
		v, err := uniqueValue(d)
		if err != nil {
			return nil, err
		}
		if v != nil {
			members[name] = v
		}
		list = append(list, v)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if delim == '[' {
		return list, nil
	}
	return members, nil
}
