package schemas

import (
	"strconv"
	"strings"
	"time"
)

// What stands for the evidence of a proven grant that names none.
var standIn = Terms{Method: "web_form", Notice: "notice-1", System: "preference_centre", Type: "ExpressedConsent"}

// AppendRecord appends r as JSON, such that ParseRecord gives r. It is for
// tests, demonstrations and generators of ledgers. Where a proven grant lacks a
// method, a notice or a system, stand-ins are written, and come back; a grant
// that is not proven is never written as one that is.
//
// r must be a record that can be in a ledger: with a principal, a time in the
// years 0 to 9999, terms as Terms describes them, and what its verb asks for: an
// erasure is for every purpose, a grant for one, an objection for what
// Vocabulary.Objected gives; a link has another principal; a duty to retain has
// fields, a basis and an end; only grants are proven or pending, never both, and
// only they and duties end.
func AppendRecord(dst []byte, r Record) []byte {
	dst = append(dst, `{"schema_version":"`+schemaVersionGDPR+`"`...)
	dst = appendMember(dst, thePrincipal, principalText(r.Principal, r.Token))
	switch {
	case r.Verb == Link || r.Verb == Unlink:
		dst = appendMember(dst, theLinked, principalText(r.Other, r.OtherToken))
	case r.Verb == Erase || r.Verb.hasPurpose():
		dst = appendMember(dst, thePurpose, purposeText(r))
	}
	state := recordState(&r)
	if state != "" {
		dst = appendMember(dst, theState, state)
	}
	if state == "" || r.Verb == GuardianGrant {
		dst = appendMember(dst, theVerb, r.Verb.String())
	}
	if r.Time != 0 || r.Proven || !r.Verb.grants() {
		// A grant without its time is one that is not proven.
		dst = appendTime(dst, theTime, r.Time)
	}
	dst = append(dst, `,"sequence":`...)
	dst = strconv.AppendInt(dst, r.Version, 10)
	if r.Shared {
		dst = append(dst, `,"shared":true`...)
	}
	if r.Verb != Link && r.Verb != Unlink {
		dst = appendTerms(dst, &r)
		dst = appendEnd(dst, &r)
	}
	return append(dst, '}')
}

func appendTerms(dst []byte, r *Record) []byte {
	t := r.Terms
	complete := stated([]byte(t.Method)) && stated([]byte(t.Notice)) && stated([]byte(t.System))
	switch {
	case r.Proven && !complete:
		fill(&t.Method, standIn.Method)
		fill(&t.Notice, standIn.Notice)
		fill(&t.System, standIn.System)
		fill(&t.Type, standIn.Type)
	case r.Verb.grants() && !r.Proven && !r.Pending && r.Time != 0 && complete && validConsentType(t.Type):
		t.Notice = ""
	}
	dst = appendMember(dst, theType, t.Type)
	dst = appendMember(dst, theNotice, t.Notice)
	dst = appendMember(dst, theMethod, t.Method)
	if t.System != "" {
		dst = append(dst, `,"source":{"system":`...)
		dst = append(AppendQuoted(dst, t.System), '}')
	}
	if r.Proven && isDoubleOptIn([]byte(t.Method)) {
		dst = append(dst, `,"evidence":{"confirmed_at":"`...)
		dst = append(appendMicroseconds(dst, r.Time), `"}`...)
	}
	dst = appendMember(dst, theLanguage, t.Language)
	dst = appendMember(dst, theBasis, t.Basis)
	dst = appendMember(dst, theProcessing, t.ProcessingID)
	dst = appendList(dst, theStorage, t.Regions)
	dst = appendList(dst, theFields, t.Fields)
	return appendMember(dst, theCountry, t.Country)
}

func fill(text *string, with string) {
	if !stated([]byte(*text)) {
		*text = with
	}
}

// appendEnd writes what Until says.
func appendEnd(dst []byte, r *Record) []byte {
	switch {
	case r.Verb == Born:
		return appendMember(dst, theBirthDate, time.UnixMicro(r.Until).UTC().Format(time.DateOnly))
	case r.Verb == Retain:
		return appendTime(dst, theUntil, r.Until)
	case r.Until != 0:
		return appendTime(dst, theValidityEnd, r.Until)
	}
	return dst
}

// appendMember writes a text that is not empty.
func appendMember(dst []byte, m recordMember, text string) []byte {
	if text == "" {
		return dst
	}
	return AppendQuoted(appendName(dst, m), text)
}

func appendName(dst []byte, m recordMember) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, memberNames[m]...)
	return append(dst, `":`...)
}

// appendList writes the texts of a list with commas, if there are any.
func appendList(dst []byte, m recordMember, list string) []byte {
	if list == "" {
		return dst
	}
	dst = appendName(dst, m)
	sign := byte('[')
	for text := range strings.SplitSeq(list, ",") {
		dst = AppendQuoted(append(dst, sign), text)
		sign = ','
	}
	return append(dst, ']')
}

func appendTime(dst []byte, m recordMember, at int64) []byte {
	dst = append(appendName(dst, m), '"')
	return append(appendMicroseconds(dst, at), '"')
}

func appendMicroseconds(dst []byte, at int64) []byte {
	return time.UnixMicro(at).UTC().AppendFormat(dst, "2006-01-02T15:04:05.999999Z07:00")
}

func purposeText(r Record) string {
	switch {
	case r.Every:
		return anyPurpose
	case r.Purpose == NoPurpose:
		return unknownPurpose
	}
	return DefaultVocabulary().Name(r.Purpose)
}
