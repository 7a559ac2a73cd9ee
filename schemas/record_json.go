package schemas

import (
	"bytes"
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
	s := recordScanner{data: data}
	if err := s.scan(); err != nil {
		return Record{}, err
	}
	m := &s.members
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

// record makes the record. The principal comes first, so that it is set when
// anything else is wrong.
func (m *recordMembers) record() (r Record, err error) {
	if r.Principal, r.Token, err = m.principalOf(thePrincipal); err != nil {
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
	if r.Version, err = m.integer(theSequence); err != nil {
		return r, err
	}
	if m[theTime] != nil {
		r.Time, err = m.microseconds(theTime)
	} else if r.Verb != Grant {
		err = theTime.fault("is missing")
	}
	if err != nil {
		return r, err
	}
	if r.Verb == Link {
		err = m.setOther(&r)
		return r, err
	}
	given := r.Time
	proven, err := m.proven(&given)
	if proven && r.Verb == Grant {
		r.Proven, r.Time = true, given
	}
	return r, err
}

func (m *recordMembers) checkHeader() error {
	version, err := m.text(theSchemaVersion)
	if err != nil {
		return err
	}
	switch string(version) {
	case schemaVersionGDPR, schemaVersion:
	default:
		return theSchemaVersion.fault("must be " + schemaVersionGDPR + " or " + schemaVersion)
	}
	_, err = m.text(theRecordID)
	return err
}

func (m *recordMembers) setOther(r *Record) (err error) {
	if r.Other, r.OtherToken, err = m.principalOf(theLinked); err != nil {
		return err
	}
	if r.Other == r.Principal && r.OtherToken == r.Token {
		return theLinked.fault("must not be pii_principal_id")
	}
	return nil
}

// verbOf gives the verb that event_state and verb agree on.
func (m *recordMembers) verbOf() (Verb, error) {
	state, err := m.text(theState)
	if err != nil {
		return NoVerb, err
	}
	name, err := m.text(theVerb)
	if err != nil {
		return NoVerb, err
	}
	if len(state) == 0 && len(name) == 0 {
		return NoVerb, theState.fault("is missing, and so is verb")
	}
	stated, known := stateVerb(string(state))
	if len(state) > 0 && !known {
		return NoVerb, theState.fault("is not a DPV consent status")
	}
	if len(name) == 0 {
		return stated, nil
	}
	verb, known := ParseVerb(string(name))
	switch {
	case !known:
		return NoVerb, theVerb.fault("must be one of " + strings.Join(VerbNames(), ", "))
	case len(state) > 0 && stated != verb:
		return NoVerb, theVerb.fault("does not agree with event_state")
	}
	return verb, nil
}

func (m *recordMembers) purposeOf(verb Verb) (p Purpose, every bool, err error) {
	name, err := m.text(thePurpose)
	switch {
	case err != nil:
		return NoPurpose, false, err
	case verb == Erase:
		return NoPurpose, true, nil
	case verb == Link:
		return NoPurpose, false, nil
	case len(name) == 0:
		return NoPurpose, false, thePurpose.fault("is missing")
	case verb != Grant:
		p, every = deniedPurpose(string(name))
		return p, every, nil
	case string(name) == anyPurpose:
		return NoPurpose, false, thePurpose.fault("a grant is for one purpose, not for all")
	}
	return grantedPurpose(string(name)), false, nil
}

// denied gives the purpose of a record that could not be read whole. An erasure
// is for every purpose and a link has none, whatever else such a record names.
func (m *recordMembers) denied() (p Purpose, every bool) {
	verb, err := m.text(theVerb)
	if err != nil || string(verb) == Erase.String() || string(verb) == Link.String() {
		return NoPurpose, true
	}
	name, err := m.text(thePurpose)
	if err != nil || len(name) == 0 {
		return NoPurpose, true
	}
	return deniedPurpose(string(name))
}

// proven reports whether the evidence of a grant is complete. A double opt-in
// is given when it is confirmed, not when it was asked for.
func (m *recordMembers) proven(given *int64) (bool, error) {
	method, err := m.text(theMethod)
	if err != nil {
		return false, err
	}
	notice, err := m.text(theNotice)
	if err != nil {
		return false, err
	}
	consentType, err := m.text(theType)
	if err != nil {
		return false, err
	}
	if err := m.checkObject(theSource); err != nil {
		return false, err
	}
	system, err := m.text(theSystem)
	if err != nil {
		return false, err
	}
	if err := m.checkObject(theEvidence); err != nil {
		return false, err
	}
	for _, part := range [...][]byte{method, notice, system} {
		if len(bytes.TrimSpace(part)) == 0 {
			return false, nil
		}
	}
	if m[theTime] == nil || !validConsentType(string(consentType)) {
		return false, nil
	}
	if m[theValidity] != nil {
		// Nothing here ends a grant when its time is up, so one that says it
		// ends must not be taken for one that goes on.
		return false, nil
	}
	if bareName(string(method)) == "doubleoptin" {
		// A confirmation that cannot be read is none.
		confirmed, err := m.microseconds(theConfirmation)
		if err == nil {
			*given = max(*given, confirmed)
		}
		return err == nil, nil
	}
	return true, nil
}

// checkObject makes sure that a member is an object or absent.
func (m *recordMembers) checkObject(which recordMember) error {
	if value := m[which]; value != nil && value[0] != '{' {
		return which.fault("must be an object")
	}
	return nil
}

func (m *recordMembers) principalOf(which recordMember) (Subject, Token, error) {
	name, err := m.text(which)
	if err != nil {
		return Subject{}, Token{}, err
	}
	if name == nil {
		return Subject{}, Token{}, which.fault("is missing")
	}
	// The one copy that outlives the text.
	subject, token, err := parsePrincipal(string(name))
	if err != nil {
		return Subject{}, Token{}, fmt.Errorf("%s: %w", memberNames[which], err)
	}
	return subject, token, nil
}

// fault says what is wrong with a member.
func (m recordMember) fault(what string) error { return fmt.Errorf("%s: %s", memberNames[m], what) }

// text gives the text of a member, nil when it is absent. It may be a part of
// the record's text.
func (m *recordMembers) text(which recordMember) ([]byte, error) {
	value := m[which]
	if value == nil {
		return nil, nil
	}
	if value[0] != '"' {
		return nil, which.fault("must be text")
	}
	text, ok := unquote(value)
	if !ok {
		return nil, fmt.Errorf("%s: is %w", memberNames[which], errNotUnicode)
	}
	return text, nil
}

func (m *recordMembers) integer(which recordMember) (int64, error) {
	value := m[which]
	if value == nil {
		return 0, which.fault("is missing")
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		// The cause would show the value.
		return 0, which.fault("must be a whole number of at most 64 bits")
	}
	return n, nil
}

func (m *recordMembers) microseconds(which recordMember) (int64, error) {
	s, err := m.text(which)
	if err != nil {
		return 0, err
	}
	t, err := time.Parse(time.RFC3339, string(s))
	if err != nil {
		// The cause would show the value.
		return 0, which.fault("must be an RFC 3339 time")
	}
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return 0, which.fault("must be in the years 0 to 9999 UTC")
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
