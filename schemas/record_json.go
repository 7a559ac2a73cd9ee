package schemas

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseRecord is RecordReader.Parse with the default vocabulary, for whoever
// reads few records.
func ParseRecord(data []byte) (Record, error) {
	p := RecordReader{vocabulary: DefaultVocabulary()}
	return p.Parse(data)
}

// Parse reads a ledger record from JSON, as FORMAT.md describes it. An error
// names the member that is wrong and never shows its value. With an error the
// record has no verb; its principal is set if it could be read, and its purpose
// too, or else Every: so a reader can deny what it does not understand.
func (p *RecordReader) Parse(data []byte) (Record, error) {
	r, _, err := p.parse(data)
	return r, err
}

// parse also reports whether a record that is wrong has a verb that is about
// more than a purpose, whatever else it names.
func (p *RecordReader) parse(data []byte) (r Record, whole bool, err error) {
	s := recordScanner{data: data}
	if err := s.scan(); err != nil {
		return Record{}, false, err
	}
	m := &s.members
	if r, err = p.record(m); err == nil {
		return r, false, nil
	}
	r = Record{Principal: r.Principal, Token: r.Token, Time: r.Time, Version: r.Version}
	whole = m.whole()
	r.Purpose, r.Every = p.denied(m, whole)
	return r, whole, err
}

// The spellings of schema_version.
const (
	schemaVersionGDPR = "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr"
	schemaVersion     = "https://w3id.org/dpv/schema/dpv-27560#record"
)

// record makes the record. The principal comes first, so that it is set when
// anything else is wrong.
func (p *RecordReader) record(m *recordMembers) (r Record, err error) {
	if r.Principal, r.Token, err = m.principalOf(thePrincipal); err != nil {
		return r, err
	}
	if err := m.checkHeader(); err != nil {
		return r, err
	}
	if r.Verb, r.Pending, err = m.verbOf(); err != nil {
		return r, err
	}
	if r.Purpose, r.Every, err = p.purposeOf(m, r.Verb); err != nil {
		return r, err
	}
	if r.Version, err = m.integer(theSequence); err != nil {
		return r, err
	}
	if m[theTime] != nil {
		r.Time, err = m.microseconds(theTime)
	} else if !r.Verb.grants() {
		err = theTime.fault("is missing")
	}
	switch {
	case err != nil:
	case r.Verb == Link || r.Verb == Unlink:
		err = m.setOther(&r)
	default:
		err = p.evidence(m, &r)
	}
	if err != nil {
		return r, err
	}
	switch r.Verb {
	case Grant, GuardianGrant:
		err = m.validity(&r)
	case Retain:
		err = p.duty(m, &r)
	case Born:
		err = p.birth(m, &r)
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
	if r.Verb == Link {
		r.Shared, err = m.boolean(theShared)
	}
	return err
}

// verbOf gives the verb that event_state and verb agree on. pending is that it
// was asked for and not said yet.
func (m *recordMembers) verbOf() (verb Verb, pending bool, err error) {
	state, err := m.text(theState)
	if err != nil {
		return NoVerb, false, err
	}
	name, err := m.text(theVerb)
	if err != nil {
		return NoVerb, false, err
	}
	if len(state) == 0 && len(name) == 0 {
		return NoVerb, false, theState.fault("is missing, and so is verb")
	}
	stated, pending, known := stateVerb(string(state))
	if len(state) > 0 && !known {
		return NoVerb, false, theState.fault("is not a DPV consent status")
	}
	if len(name) == 0 {
		return stated, pending, nil
	}
	verb, known = ParseVerb(string(name))
	switch {
	case !known || verb == NoVerb:
		return NoVerb, false, theVerb.fault("must be one of " + strings.Join(VerbNames(), ", "))
	case len(state) > 0 && !agrees(stated, verb):
		return NoVerb, false, theVerb.fault("does not agree with event_state")
	}
	return verb, pending, nil
}

// agrees reports whether a verb may stand beside a status that means another: a
// guardian's consent has the status of consent.
func agrees(stated, verb Verb) bool {
	switch verb {
	case GuardianGrant:
		return stated == Grant
	case GuardianWithdraw:
		return stated == Withdraw || stated == Refuse
	}
	return stated == verb
}

func (p *RecordReader) purposeOf(m *recordMembers, verb Verb) (purpose Purpose, every bool, err error) {
	name, err := m.text(thePurpose)
	switch {
	case err != nil:
		return NoPurpose, false, err
	case verb == Erase:
		return NoPurpose, true, nil
	case !verb.hasPurpose():
		return NoPurpose, false, nil
	case len(name) == 0 && verb == Object:
		return NoPurpose, true, nil
	case len(name) == 0:
		return NoPurpose, false, thePurpose.fault("is missing")
	case verb == Object:
		purpose, every = p.vocabulary.Objected(string(name))
		return purpose, every, nil
	case !verb.grants():
		purpose, every = p.vocabulary.Denied(string(name))
		return purpose, every, nil
	case string(name) == anyPurpose:
		return NoPurpose, false, thePurpose.fault("a grant is for one purpose, not for all")
	}
	return p.vocabulary.Granted(string(name)), false, nil
}

// whole reports whether the verb, if it can be read, is about more than the
// purpose that a record names. A verb that is no text may be.
func (m *recordMembers) whole() bool {
	name, err := m.text(theVerb)
	if err != nil {
		return true
	}
	verb, known := ParseVerb(string(name))
	return known && (verb != NoVerb && !verb.hasPurpose() || verb == GuardianGrant || verb == GuardianWithdraw)
}

// denied gives the purpose of a record that could not be read: every one,
// unless it names another.
func (p *RecordReader) denied(m *recordMembers, whole bool) (purpose Purpose, every bool) {
	name, err := m.text(thePurpose)
	if whole || err != nil || len(name) == 0 {
		return NoPurpose, true
	}
	if verb, _ := m.text(theVerb); string(verb) == Object.String() {
		return p.vocabulary.Objected(string(name))
	}
	return p.vocabulary.Denied(string(name))
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

func (m *recordMembers) boolean(which recordMember) (bool, error) {
	value := m[which]
	if value != nil && value[0] != 't' && value[0] != 'f' {
		return false, which.fault("must be true or false")
	}
	return value != nil && value[0] == 't', nil
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
