package schemas

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseRecord reads a ledger record from JSON, as FORMAT.md describes it. An
// error names the member that is wrong and never shows its value. With an
// error the record has no verb; its principal is set if it could be read, and
// its purpose too, or else Every: so a reader can deny what it does not
// understand.
func ParseRecord(data []byte) (Record, error) {
	object, err := checkedObject(data)
	if err != nil {
		return Record{}, err
	}
	var m recordMembers
	m.read(object)
	r, err := m.record()
	if err != nil {
		r.Verb, r.Proven = NoVerb, false
		r.Purpose, r.Every = m.denied()
	}
	return r, err
}

// The spellings of schema_version.
const (
	schemaVersionGDPR = "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr"
	schemaVersion     = "https://w3id.org/dpv/schema/dpv-27560#record"
)

// recordMembers are the members of a record that are read, as JSON; nil when
// they are absent or null.
type recordMembers struct {
	schemaVersion, recordID, principal, linked, purpose []byte
	state, verb, eventTime, sequence                    []byte
	collectionMethod, privacyNotice, eventType          []byte
	source, system, evidence, confirmedAt               []byte
}

func (m *recordMembers) read(object jsonObject) {
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
		case "collection_method":
			m.collectionMethod = value
		case "privacy_notice":
			m.privacyNotice = value
		case "event_type":
			m.eventType = value
		case "source":
			m.source = value
			m.system = memberOf(value, "system")
		case "evidence":
			m.evidence = value
			m.confirmedAt = memberOf(value, "confirmed_at")
		}
	})
}

// memberOf gives a member of a value, nil if the value is no object or has no
// such member.
func memberOf(value []byte, member string) (found []byte) {
	if value[0] != '{' {
		return nil
	}
	jsonObject(value).each(func(name, value []byte) {
		if string(name) == member && value[0] != 'n' {
			found = value
		}
	})
	return found
}

// record makes the record. The principal comes first, so that it is set when
// anything else is wrong.
func (m *recordMembers) record() (r Record, err error) {
	if r.Principal, r.Token, err = principalOf("pii_principal_id", m.principal); err != nil {
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
	if r.Version, err = integer("sequence", m.sequence); err != nil {
		return r, err
	}
	if m.eventTime != nil {
		r.Time, err = microseconds("event_time", m.eventTime)
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
	proven, err := m.proven()
	r.Proven = proven && r.Verb == Grant
	return r, err
}

func (m *recordMembers) checkHeader() error {
	switch version, err := text("schema_version", m.schemaVersion); {
	case err != nil:
		return err
	case version != schemaVersionGDPR && version != schemaVersion:
		return fmt.Errorf("schema_version: must be %s or %s", schemaVersionGDPR, schemaVersion)
	}
	_, err := text("record_id", m.recordID)
	return err
}

func (m *recordMembers) setOther(r *Record) (err error) {
	if r.Other, r.OtherToken, err = principalOf("linked_principal_id", m.linked); err != nil {
		return err
	}
	if r.Other == r.Principal && r.OtherToken == r.Token {
		return errors.New("linked_principal_id: must not be pii_principal_id")
	}
	return nil
}

// verbOf gives the verb that event_state and verb agree on.
func (m *recordMembers) verbOf() (Verb, error) {
	state, err := text("event_state", m.state)
	if err != nil {
		return NoVerb, err
	}
	name, err := text("verb", m.verb)
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

func (m *recordMembers) purposeOf(verb Verb) (p Purpose, every bool, err error) {
	name, err := text("purpose", m.purpose)
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
func (m *recordMembers) denied() (p Purpose, every bool) {
	name, err := text("purpose", m.purpose)
	if err != nil || name == "" {
		return NoPurpose, true
	}
	return deniedPurpose(name)
}

// proven reports whether the evidence of a grant is complete.
func (m *recordMembers) proven() (bool, error) {
	method, err := text("collection_method", m.collectionMethod)
	if err != nil {
		return false, err
	}
	notice, err := text("privacy_notice", m.privacyNotice)
	if err != nil {
		return false, err
	}
	consentType, err := text("event_type", m.eventType)
	if err != nil {
		return false, err
	}
	if m.source != nil && m.source[0] != '{' {
		return false, errors.New("source: must be an object")
	}
	system, err := text("source.system", m.system)
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
	if m.eventTime == nil || !validConsentType(consentType) {
		return false, nil
	}
	if method == "double_opt_in" {
		// A confirmation that cannot be read is none.
		_, err := microseconds("evidence.confirmed_at", m.confirmedAt)
		return err == nil, nil
	}
	return true, nil
}

func principalOf(member string, value []byte) (Subject, Token, error) {
	if value == nil {
		return Subject{}, Token{}, fmt.Errorf("%s: is missing", member)
	}
	name, err := text(member, value)
	if err != nil {
		return Subject{}, Token{}, err
	}
	subject, token, err := parsePrincipal(name)
	if err != nil {
		return Subject{}, Token{}, fmt.Errorf("%s: %w", member, err)
	}
	return subject, token, nil
}

// text gives the text of a member, "" when it is absent.
func text(member string, value []byte) (string, error) {
	if value == nil {
		return "", nil
	}
	if value[0] != '"' {
		return "", fmt.Errorf("%s: must be text", member)
	}
	s, err := unquote(value)
	if err != nil {
		return "", fmt.Errorf("%s: is %w", member, err)
	}
	return string(s), nil
}

func integer(member string, value []byte) (int64, error) {
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

func microseconds(member string, value []byte) (int64, error) {
	s, err := text(member, value)
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

// AppendRecord appends r as JSON, such that ParseRecord gives r. What r does
// not hold is filled in: a proven grant gets stand-in evidence. It is for
// tests, demonstrations and generators of ledgers.
//
// r must be a record that can be in a ledger: with a principal, a time in the
// years 0 to 9999, an erasure for every purpose, a link with another principal
// and no purpose, a grant for one purpose, and proof on nothing but a grant.
func AppendRecord(dst []byte, r Record) []byte {
	dst = append(dst, `{"schema_version":"`+schemaVersionGDPR+`","pii_principal_id":`...)
	dst = appendQuoted(dst, principalText(r.Principal, r.Token))
	if r.Verb == Link {
		dst = append(dst, `,"linked_principal_id":`...)
		dst = appendQuoted(dst, principalText(r.Other, r.OtherToken))
	} else {
		dst = append(dst, `,"purpose":`...)
		dst = appendQuoted(dst, purposeText(r))
	}
	if state := verbState(r.Verb); state != "" {
		dst = append(dst, `,"event_state":`...)
		dst = appendQuoted(dst, state)
	} else {
		dst = append(dst, `,"verb":`...)
		dst = appendQuoted(dst, r.Verb.String())
	}
	dst = append(dst, `,"event_time":"`...)
	dst = time.UnixMicro(r.Time).UTC().AppendFormat(dst, "2006-01-02T15:04:05.999999Z07:00")
	dst = append(dst, `","sequence":`...)
	dst = strconv.AppendInt(dst, r.Version, 10)
	if r.Proven {
		dst = append(dst, `,"event_type":"ExpressedConsent","privacy_notice":"notice-1","collection_method":"web_form","source":{"system":"preference_centre"}`...)
	}
	return append(dst, '}')
}

func purposeText(r Record) string {
	switch {
	case r.Every:
		return anyPurpose
	case r.Purpose == NoPurpose:
		return unknownPurpose
	}
	return r.Purpose.String()
}
