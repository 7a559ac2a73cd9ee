package schemas

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// oracleRecord is ParseRecord as it would be without a thought about its speed:
// over encoding/json, one step after another. It shares the tables of names with
// ParseRecord, and no code that looks at JSON, times or tokens.
func oracleRecord(data []byte) (Record, error) {
	object, err := oracleChecked(data)
	if err != nil {
		return Record{}, err
	}
	var m oracleMembers
	m.read(object)
	r, err := m.record()
	if err != nil {
		r.Verb, r.Proven = NoVerb, false
		r.Purpose, r.Every = m.denied()
	}
	return r, err
}

// oracleMembers are the members of a record that are read, as JSON; nil when
// they are absent or null.
type oracleMembers struct {
	schemaVersion, recordID, principal, linked, purpose []byte
	state, verb, eventTime, sequence                    []byte
	collectionMethod, privacyNotice, eventType          []byte
	source, system, evidence, confirmedAt, validity     []byte
}

func (m *oracleMembers) read(object oracleObject) {
	object.each(func(name, value []byte) {
		if value[0] == 'n' {
			return
		}
		switch string(name) {
		case "schema_version":
			m.schemaVersion = value
		case "record_id":
			m.recordID = value
		case "pii_principal_id":
			m.principal = value
		case "linked_principal_id":
			m.linked = value
		case "purpose":
			m.purpose = value
		case "event_state":
			m.state = value
		case "verb":
			m.verb = value
		case "event_time":
			m.eventTime = value
		case "sequence":
			m.sequence = value
		case "validity_duration":
			m.validity = value
		case "collection_method":
			m.collectionMethod = value
		case "privacy_notice":
			m.privacyNotice = value
		case "event_type":
			m.eventType = value
		case "source":
			m.source = value
			m.system = oracleMember(value, "system")
		case "evidence":
			m.evidence = value
			m.confirmedAt = oracleMember(value, "confirmed_at")
		}
	})
}

// oracleMember gives a member of a value, nil if the value is no object or has no
// such member.
func oracleMember(value []byte, member string) (found []byte) {
	if value[0] != '{' {
		return nil
	}
	oracleObject(value).each(func(name, value []byte) {
		if string(name) == member && value[0] != 'n' {
			found = value
		}
	})
	return found
}

// record makes the record. The principal comes first, so that it is set when
// anything else is wrong.
func (m *oracleMembers) record() (r Record, err error) {
	if r.Principal, r.Token, err = oraclePrincipal("pii_principal_id", m.principal); err != nil {
		return r, err
	}
	if err := m.checkHeader(); err != nil {
		return r, err
	}
	if r.Verb, err = m.verbOf(); err != nil {
		return r, err
	}
	if r.Purpose, r.Every, err = m.purposeOf(r.Verb); err != nil {
		return r, err
	}
	if r.Version, err = oracleInteger("sequence", m.sequence); err != nil {
		return r, err
	}
	if m.eventTime != nil {
		r.Time, err = oracleMicroseconds("event_time", m.eventTime)
	} else if r.Verb != Grant {
		err = errors.New("event_time: is missing")
	}
	if err != nil {
		return r, err
	}
	if r.Verb == Link {
		err = m.setOther(&r)
		return r, err
	}
	confirmed := r
	proven, err := m.proven(&confirmed)
	if proven && r.Verb == Grant {
		r.Proven, r.Time = true, confirmed.Time
	}
	return r, err
}

func (m *oracleMembers) checkHeader() error {
	switch version, err := oracleText("schema_version", m.schemaVersion); {
	case err != nil:
		return err
	case version != schemaVersionGDPR && version != schemaVersion:
		return fmt.Errorf("schema_version: must be %s or %s", schemaVersionGDPR, schemaVersion)
	}
	_, err := oracleText("record_id", m.recordID)
	return err
}

func (m *oracleMembers) setOther(r *Record) (err error) {
	if r.Other, r.OtherToken, err = oraclePrincipal("linked_principal_id", m.linked); err != nil {
		return err
	}
	if r.Other == r.Principal && r.OtherToken == r.Token {
		return errors.New("linked_principal_id: must not be pii_principal_id")
	}
	return nil
}

// verbOf gives the verb that event_state and verb agree on.
func (m *oracleMembers) verbOf() (Verb, error) {
	state, err := oracleText("event_state", m.state)
	if err != nil {
		return NoVerb, err
	}
	name, err := oracleText("verb", m.verb)
	if err != nil {
		return NoVerb, err
	}
	if state == "" && name == "" {
		return NoVerb, errors.New("event_state: is missing, and so is verb")
	}
	stated, known := stateVerb(state)
	if state != "" && !known {
		return NoVerb, errors.New("event_state: is not a DPV consent status")
	}
	if name == "" {
		return stated, nil
	}
	verb, known := ParseVerb(name)
	switch {
	case !known:
		return NoVerb, fmt.Errorf("verb: must be one of %s", strings.Join(VerbNames(), ", "))
	case state != "" && stated != verb:
		return NoVerb, errors.New("verb: does not agree with event_state")
	}
	return verb, nil
}

func (m *oracleMembers) purposeOf(verb Verb) (p Purpose, every bool, err error) {
	name, err := oracleText("purpose", m.purpose)
	switch {
	case err != nil:
		return NoPurpose, false, err
	case verb == Erase:
		return NoPurpose, true, nil
	case verb == Link:
		return NoPurpose, false, nil
	case name == "":
		return NoPurpose, false, errors.New("purpose: is missing")
	case verb != Grant:
		p, every = deniedPurpose(name)
		return p, every, nil
	case name == anyPurpose:
		return NoPurpose, false, errors.New("purpose: a grant is for one purpose, not for all")
	}
	return grantedPurpose(name), false, nil
}

// denied gives the purpose of a record that could not be read whole.
func (m *oracleMembers) denied() (p Purpose, every bool) {
	if verb, err := oracleText("verb", m.verb); err != nil || verb == "erase" || verb == "link" {
		return NoPurpose, true
	}
	name, err := oracleText("purpose", m.purpose)
	if err != nil || name == "" {
		return NoPurpose, true
	}
	return deniedPurpose(name)
}

// proven reports whether the evidence of a grant is complete.
func (m *oracleMembers) proven(r *Record) (bool, error) {
	method, err := oracleText("collection_method", m.collectionMethod)
	if err != nil {
		return false, err
	}
	notice, err := oracleText("privacy_notice", m.privacyNotice)
	if err != nil {
		return false, err
	}
	consentType, err := oracleText("event_type", m.eventType)
	if err != nil {
		return false, err
	}
	if m.source != nil && m.source[0] != '{' {
		return false, errors.New("source: must be an object")
	}
	system, err := oracleText("source.system", m.system)
	if err != nil {
		return false, err
	}
	if m.evidence != nil && m.evidence[0] != '{' {
		return false, errors.New("evidence: must be an object")
	}
	for _, part := range [...]string{method, notice, system} {
		if strings.TrimSpace(part) == "" {
			return false, nil
		}
	}
	if m.eventTime == nil || m.validity != nil || !validConsentType(consentType) {
		return false, nil
	}
	if bareName(method) == "doubleoptin" {
		// A confirmation that cannot be read is none.
		at, err := oracleMicroseconds("evidence.confirmed_at", m.confirmedAt)
		if err == nil && at > r.Time {
			r.Time = at
		}
		return err == nil, nil
	}
	return true, nil
}

func oraclePrincipal(member string, value []byte) (Subject, Token, error) {
	if value == nil {
		return Subject{}, Token{}, fmt.Errorf("%s: is missing", member)
	}
	name, err := oracleText(member, value)
	if err != nil {
		return Subject{}, Token{}, err
	}
	subject, token, err := oracleParsePrincipal(name)
	if err != nil {
		return Subject{}, Token{}, fmt.Errorf("%s: %w", member, err)
	}
	return subject, token, nil
}

// oracleText gives the text of a member, "" when it is absent.
func oracleText(member string, value []byte) (string, error) {
	if value == nil {
		return "", nil
	}
	if value[0] != '"' {
		return "", fmt.Errorf("%s: must be text", member)
	}
	s, err := oracleUnquote(value)
	if err != nil {
		return "", fmt.Errorf("%s: is %w", member, err)
	}
	return string(s), nil
}

func oracleInteger(member string, value []byte) (int64, error) {
	if value == nil {
		return 0, fmt.Errorf("%s: is missing", member)
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		// The cause would show the value.
		return 0, fmt.Errorf("%s: must be a whole number of at most 64 bits", member)
	}
	return n, nil
}

func oracleMicroseconds(member string, value []byte) (int64, error) {
	s, err := oracleText(member, value)
	if err != nil {
		return 0, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		// The cause would show the value.
		return 0, fmt.Errorf("%s: must be an RFC 3339 time", member)
	}
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return 0, fmt.Errorf("%s: must be in the years 0 to 9999 UTC", member)
	}
	return t.UnixMicro(), nil
}

// oracleParsePrincipal is the inverse of principalText. Its errors never show the
// value.
func oracleParsePrincipal(text string) (Subject, Token, error) {
	name, value, found := strings.Cut(text, ":")
	switch {
	case !found:
	case name == LedgerDomain:
		t, err := oracleToken(value)
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

// oracleToken is the inverse of uuid. What is not an RFC 9562 version 8 UUID
// with an epoch is no token of ours and would match nobody.
func oracleToken(text string) (Token, error) {
	digits := strings.ReplaceAll(text, "-", "")
	var t Token
	if n, err := hex.Decode(t[:], []byte(digits[:min(len(digits), 2*len(t))])); err != nil || n != len(t) || t.uuid() != strings.ToLower(text) {
		return Token{}, errors.New("the token is not a UUID")
	}
	if t.Epoch() == 0 || t[6]>>4 != 8 || t[8]>>6 != 2 {
		return Token{}, errors.New("the token is not a version 8 UUID with a key epoch")
	}
	return t, nil
}
