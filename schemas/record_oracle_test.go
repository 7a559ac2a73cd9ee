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
		r = Record{Principal: r.Principal, Token: r.Token, Time: r.Time, Version: r.Version}
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
	validityEnd, language, basis, processing            []byte
	storage, restrictions, fields, until                []byte
	birthDate, birthYear, country, shared               []byte
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
		case "validity_end":
			m.validityEnd = value
		case "language":
			m.language = value
		case "lawful_basis":
			m.basis = value
		case "processing_id":
			m.processing = value
		case "storage_locations":
			m.storage = value
		case "geographic_restrictions":
			m.restrictions = value
		case "retained_fields":
			m.fields = value
		case "until":
			m.until = value
		case "birth_date":
			m.birthDate = value
		case "birth_year":
			m.birthYear = value
		case "country":
			m.country = value
		case "shared":
			m.shared = value
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
	if r.Verb, r.Pending, err = m.verbOf(); err != nil {
		return r, err
	}
	if r.Purpose, r.Every, err = m.purposeOf(r.Verb); err != nil {
		return r, err
	}
	if r.Version, err = oracleInteger("sequence", m.sequence); err != nil {
		return r, err
	}
	grant := r.Verb == Grant || r.Verb == GuardianGrant
	if m.eventTime != nil {
		r.Time, err = oracleMicroseconds("event_time", m.eventTime)
	} else if !grant {
		err = errors.New("event_time: is missing")
	}
	if err != nil {
		return r, err
	}
	if r.Verb == Link || r.Verb == Unlink {
		err = m.setOther(&r)
		return r, err
	}
	if err := m.terms(&r); err != nil {
		return r, err
	}
	switch {
	case grant:
		if err := m.proven(&r); err != nil {
			return r, err
		}
		err = m.ends(&r)
	case r.Verb == Retain:
		err = m.retained(&r)
	case r.Verb == Born:
		err = m.born(&r)
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
	if r.Verb == Link && m.shared != nil {
		if r.Shared = string(m.shared) == "true"; !r.Shared && string(m.shared) != "false" {
			return errors.New("shared: must be true or false")
		}
	}
	return nil
}

// verbOf gives the verb that event_state and verb agree on.
func (m *oracleMembers) verbOf() (verb Verb, pending bool, err error) {
	state, err := oracleText("event_state", m.state)
	if err != nil {
		return NoVerb, false, err
	}
	name, err := oracleText("verb", m.verb)
	if err != nil {
		return NoVerb, false, err
	}
	if state == "" && name == "" {
		return NoVerb, false, errors.New("event_state: is missing, and so is verb")
	}
	stated, pending, known := stateVerb(state)
	if state != "" && !known {
		return NoVerb, false, errors.New("event_state: is not a DPV consent status")
	}
	if name == "" {
		return stated, pending, nil
	}
	verb, known = ParseVerb(name)
	if !known {
		return NoVerb, false, fmt.Errorf("verb: must be one of %s", strings.Join(VerbNames(), ", "))
	}
	guardian := verb == GuardianGrant && stated == Grant || verb == GuardianWithdraw && (stated == Withdraw || stated == Refuse)
	if state != "" && stated != verb && !guardian {
		return NoVerb, false, errors.New("verb: does not agree with event_state")
	}
	return verb, pending, nil
}

func (m *oracleMembers) purposeOf(verb Verb) (p Purpose, every bool, err error) {
	name, err := oracleText("purpose", m.purpose)
	if err != nil {
		return NoPurpose, false, err
	}
	switch verb {
	case Erase:
		return NoPurpose, true, nil
	case Link, Unlink, Restrict, Lift, Retain, Born:
		return NoPurpose, false, nil
	case Object:
		if name == "" {
			return NoPurpose, true, nil
		}
		p, every = DefaultVocabulary().Objected(name)
		return p, every, nil
	}
	if name == "" {
		return NoPurpose, false, errors.New("purpose: is missing")
	}
	if verb != Grant && verb != GuardianGrant {
		p, every = DefaultVocabulary().Denied(name)
		return p, every, nil
	}
	if name == "*" {
		return NoPurpose, false, errors.New("purpose: a grant is for one purpose, not for all")
	}
	return DefaultVocabulary().Granted(name), false, nil
}

// denied gives the purpose of a record that could not be read whole.
func (m *oracleMembers) denied() (p Purpose, every bool) {
	verb, err := oracleText("verb", m.verb)
	if err != nil {
		return NoPurpose, true
	}
	switch verb {
	case "erase", "link", "unlink", "restrict", "lift", "retain", "born", "guardian_grant", "guardian_withdraw":
		return NoPurpose, true
	}
	name, err := oracleText("purpose", m.purpose)
	if err != nil || name == "" {
		return NoPurpose, true
	}
	if verb == "object" {
		return DefaultVocabulary().Objected(name)
	}
	return DefaultVocabulary().Denied(name)
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
