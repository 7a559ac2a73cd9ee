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
	links           // two identifiers are one subject
	tombstone       // a key is emptied
	unreadable      // a value that denies its key
	brokenLink      // a link that could not be read
	brokenErase
)

// entry is a ledger message as it is applied.
type entry struct {
	at     place
	offset int64
	told   int64 // when the broker got it, for the order of partitions
	kind   kind

	who, other ident
	purpose    schemas.Purpose // or every
	verb       schemas.Verb
	proven     bool
	time       int64 // when it was said
	version    int64
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
		if e.kind != unreadable || e.purpose == unnamed {
			// An erasure and a link outlive their message, and under a name
			// that nobody knows there was nothing.
			return entry{}, nil
		}
		e.kind = tombstone
		return e, nil
	}
	r, err := parseRecord(value)
	if err == nil {
		e := r.entry
		var missing bool
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
		return entry{kind: unreadable, who: who, purpose: r.denied()}, nil
	}
	if keyErr != nil {
		return entry{}, keyErr
	}
	if e.purpose == unnamed {
		e.purpose = every
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
	if name, ok := strings.CutPrefix(slot, "link:"); ok {
		other, ok := keyPrincipal(name)
		if !ok || other == who {
			return entry{}, errNobody
		}
		e.kind = brokenLink
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
	p, known := denialPurpose(slot)
	if e.purpose = p; !known {
		e.purpose = unnamed
	}
	return e, nil
}

func keyPrincipal(text string) (principal, bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "%")
		b.WriteString(before)
		if !found {
			break
		}
		if len(after) < 2 {
			return principal{}, false
		}
		c, err := hex.DecodeString(after[:2])
		if err != nil {
			return principal{}, false
		}
		b.Write(c)
		text = after[2:]
	}
	if !utf8.ValidString(b.String()) {
		return principal{}, false
	}
	return parsePrincipal(b.String())
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

// record is what stands in a value.
type record struct {
	entry
	members    map[string]any
	who, other principal
}

// parseRecord reads a value. With an error the record has at least whom it is
// about, if that can be read.
func parseRecord(value []byte) (*record, error) {
	r := &record{}
	members, err := object(value)
	if err != nil {
		return r, err
	}
	r.members = members
	text, ok := members["pii_principal_id"].(string)
	if ok {
		r.who, ok = parsePrincipal(text)
	}
	if !ok {
		r.who = principal{}
		return r, errors.New("no principal")
	}
	return r, r.read()
}

var errRecord = errors.New("not a record as the format has it")

func (r *record) read() error {
	m := r.members
	if !r.texts("record_id", "event_state", "verb", "purpose", "event_time") {
		return errRecord
	}
	version := m["schema_version"]
	if version != "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr" && version != "https://w3id.org/dpv/schema/dpv-27560#record" {
		return errRecord
	}
	if err := r.readVerb(); err != nil {
		return err
	}
	number, ok := m["sequence"].(json.Number)
	if !ok {
		return errRecord
	}
	sequence, err := number.Int64()
	if err != nil {
		return errRecord
	}
	r.version, r.kind = sequence, says
	if r.time, ok = recordTime(m["event_time"]); !ok && (m["event_time"] != nil || r.verb != schemas.Grant) {
		return errRecord
	}
	if r.verb == schemas.Link {
		r.kind = links
		text, ok := m["linked_principal_id"].(string)
		if ok {
			r.other, ok = parsePrincipal(text)
		}
		if !ok || r.other == r.who {
			return errRecord
		}
		return nil
	}
	if err := r.readPurpose(); err != nil {
		return err
	}
	return r.readProof()
}

// texts reports whether the members that are there are texts.
func (r *record) texts(names ...string) bool {
	for _, name := range names {
		if _, ok := r.members[name].(string); r.members[name] != nil && !ok {
			return false
		}
	}
	return true
}

func (r *record) readVerb() error {
	state, _ := r.members["event_state"].(string)
	name, _ := r.members["verb"].(string)
	term, _ := dpv(state)
	stated, knownState := stateVerbs[term]
	verb, knownVerb := verbs[name]
	switch {
	case state == "" && name == "", state != "" && !knownState, name != "" && !knownVerb,
		state != "" && name != "" && stated != verb:
		return errRecord
	case name != "":
		r.verb = verb
	default:
		r.verb = stated
	}
	return nil
}

func (r *record) readPurpose() error {
	name, _ := r.members["purpose"].(string)
	switch {
	case r.verb == schemas.Erase:
		r.purpose = every
		return nil
	case name == "", r.verb == schemas.Grant && name == "*":
		return errRecord
	}
	var known bool
	if r.verb == schemas.Grant {
		r.purpose, known = grantPurpose(name)
	} else {
		r.purpose, known = denialPurpose(name)
	}
	switch {
	case known:
	case r.verb == schemas.Withdraw, r.verb == schemas.Object:
		// Something was taken back, and nobody can say what.
		r.purpose = every
	default:
		r.kind = nothing
	}
	return nil
}

// readProof finds out whether a grant has its evidence.
func (r *record) readProof() error {
	m := r.members
	if !r.texts("collection_method", "privacy_notice", "event_type") {
		return errRecord
	}
	for _, name := range [...]string{"source", "evidence"} {
		if _, ok := m[name].(map[string]any); m[name] != nil && !ok {
			return errRecord
		}
	}
	source, _ := m["source"].(map[string]any)
	evidence, _ := m["evidence"].(map[string]any)
	if _, ok := source["system"].(string); source["system"] != nil && !ok {
		return errRecord
	}
	if r.verb != schemas.Grant {
		return nil
	}
	r.proven = m["event_time"] != nil && m["validity_duration"] == nil
	for _, part := range [...]any{m["collection_method"], m["privacy_notice"], source["system"]} {
		text, _ := part.(string)
		r.proven = r.proven && strings.TrimSpace(text) != ""
	}
	kind, _ := m["event_type"].(string)
	switch term, _ := dpv(kind); term {
	case "", "InformedConsent", "ExpressedConsent", "ExplicitlyExpressedConsent":
	default:
		r.proven = false
	}
	if method, _ := m["collection_method"].(string); r.proven && plainName(method) == "doubleoptin" {
		confirmed, ok := recordTime(evidence["confirmed_at"])
		r.proven = ok
		r.time = max(r.time, confirmed)
	}
	return nil
}

// denied is what a record that cannot be read whole takes away.
func (r *record) denied() schemas.Purpose {
	name, ok := r.members["purpose"].(string)
	verb, isText := r.members["verb"].(string)
	if !ok || r.members["verb"] != nil && !isText || verb == "erase" || verb == "link" {
		return every
	}
	p, _ := denialPurpose(name)
	return p
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
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if delim == '[' {
		return nested{}, nil
	}
	return members, nil
}
