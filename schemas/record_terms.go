package schemas

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The texts that stand for what is not kept.
const (
	otherTerm = "other"
	blankTerm = " "
)

// maxTerm is how many bytes a text of Terms may have.
const maxTerm = 64

// TermText gives what Terms keep of a text: itself, if it is at most 64 bytes of
// ASCII letters, digits, space and the signs . _ : / # + -, or else "other", for
// a ledger holds no text that may be about somebody; " " if it is blank.
func TermText(text string) string {
	p := RecordReader{}
	return p.term(unread, []byte(text))
}

// term is TermText of the text of a member. Mostly it is what the member was
// in the record before, which is found faster than in a map.
func (p *RecordReader) term(which recordMember, text []byte) string {
	if len(text) == 0 {
		return ""
	}
	if p.recent == nil {
		return p.newTerm(text)
	}
	if p.recent[which] != string(text) {
		term := p.newTerm(text)
		if term != string(text) {
			return term
		}
		p.recent[which] = term
	}
	return p.recent[which]
}

func (p *RecordReader) newTerm(text []byte) string {
	if known, ok := p.terms[string(text)]; ok {
		return known
	}
	switch {
	case isTerm(text):
		return keep(p.terms, string(text), string(text))
	case len(bytes.TrimSpace(text)) == 0:
		return blankTerm
	}
	return otherTerm
}

// keep remembers a text, if there is a map for it.
func keep(texts map[string]string, text, meaning string) string {
	if texts != nil {
		if len(texts) == maxTerms {
			clear(texts)
		}
		texts[text] = meaning
	}
	return meaning
}

func isTerm(text []byte) bool {
	if len(text) > maxTerm {
		return false
	}
	for _, c := range text {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte(" ._:/#+-", c) < 0 {
			return false
		}
	}
	return true
}

// termOf is the term of a member that is not needed for anything, so that it
// may be of any type.
func (p *RecordReader) termOf(m *recordMembers, which recordMember) string {
	text, err := m.text(which)
	if err != nil {
		return otherTerm
	}
	return p.term(which, text)
}

// evidence reads the terms of a record, and whether a grant is proven by them
// or waits for its confirmation. A double opt-in is given when it is confirmed,
// not when it was asked for; a confirmation that cannot be read is none.
func (p *RecordReader) evidence(m *recordMembers, r *Record) error {
	method, err := m.text(theMethod)
	if err != nil {
		return err
	}
	notice, err := m.text(theNotice)
	if err != nil {
		return err
	}
	consentType, err := m.text(theType)
	if err != nil {
		return err
	}
	if err := m.checkObject(theSource); err != nil {
		return err
	}
	system, err := m.text(theSystem)
	if err != nil {
		return err
	}
	if err := m.checkObject(theEvidence); err != nil {
		return err
	}
	r.Terms = Terms{
		Method: p.term(theMethod, method), Notice: p.term(theNotice, notice), System: p.term(theSystem, system), Type: p.term(theType, consentType),
		Language: p.termOf(m, theLanguage), Basis: p.termOf(m, theBasis), ProcessingID: p.termOf(m, theProcessing),
		Regions: p.regionsOf(m),
	}
	if !r.Verb.grants() {
		return nil
	}
	given := r.Time
	if !r.Pending && isDoubleOptIn(method) {
		confirmed, err := m.microseconds(theConfirmation)
		r.Pending = err != nil
		given = max(given, confirmed)
	}
	if !r.Pending && m[theTime] != nil && stated(method) && stated(notice) && stated(system) && validConsentType(string(consentType)) {
		r.Proven, r.Time = true, given
	}
	return nil
}

func stated(text []byte) bool { return len(bytes.TrimSpace(text)) > 0 }

// checkObject makes sure that a member is an object or absent.
func (m *recordMembers) checkObject(which recordMember) error {
	if value := m[which]; value != nil && value[0] != '{' {
		return which.fault("must be an object")
	}
	return nil
}

// isDoubleOptIn reports whether bareName of the method is doubleoptin.
func isDoubleOptIn(method []byte) bool {
	if string(method) == "double_opt_in" {
		return true
	}
	want := "doubleoptin"
	for len(method) > 0 {
		r, n := utf8.DecodeRune(method)
		method = method[n:]
		if !isSpelling(r) {
			if want == "" || unicode.ToLower(r) != rune(want[0]) {
				return false
			}
			want = want[1:]
		}
	}
	return want == ""
}

// regionsOf gives the regions of a record: those in which the data may be
// stored and to which it is restricted.
func (p *RecordReader) regionsOf(m *recordMembers) string {
	stored, within := m[theStorage], m[theRestrictions]
	if stored == nil && within == nil {
		return ""
	}
	var room [128]byte
	name := append(append(append(room[:0], stored...), 0), within...)
	if known, ok := p.regions[string(name)]; ok {
		return known
	}
	var codes []string
	switch {
	case stored == nil:
		codes = regionCodes(within)
	case within == nil:
		codes = regionCodes(stored)
	default:
		codes = commonRegions(regionCodes(stored), regionCodes(within))
	}
	list := strings.Join(codes, ",")
	if len(name) > len(room) || strings.Contains(list, noRegion) {
		// What is no code may be anything, and is not remembered.
		return list
	}
	return keep(p.regions, string(name), list)
}

// regionCodes gives the codes of one text or a list of texts, ascending and
// each once; no text at all is no code.
func regionCodes(value []byte) (codes []string) {
	eachText(value, func(text []byte) {
		codes = append(codes, regionCode(string(text)))
	})
	if codes == nil {
		return []string{noRegion}
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// eachText calls f for a text or those of a list, and with nil for anything
// else in place of one.
func eachText(value []byte, f func(text []byte)) {
	each := func(value []byte) {
		if value[0] != '"' {
			f(nil)
			return
		}
		text, _ := unquote(value)
		f(text)
	}
	if value[0] != '[' {
		each(value)
		return
	}
	s := recordScanner{data: value}
	for i := skipSpace(value, 1); byteAt(value, i) != ']'; i = skipSpace(value, i) {
		end, err := s.value(i, 0, unread)
		if err != nil {
			return
		}
		each(value[i:end])
		if i = skipSpace(value, end); byteAt(value, i) == ',' {
			i++
		}
	}
}

// duty reads what a legal duty to retain is about.
func (p *RecordReader) duty(m *recordMembers, r *Record) (err error) {
	if m[theFields] == nil {
		return theFields.fault("is missing")
	}
	var names []string
	eachText(m[theFields], func(text []byte) { names = append(names, string(text)) })
	list, ok := fieldList(names)
	if !ok {
		return theFields.fault("must be the names of columns")
	}
	r.Terms.Fields = list
	basis, err := m.text(theBasis)
	switch {
	case err != nil:
		return err
	case !stated(basis):
		return theBasis.fault("is missing")
	case m[theUntil] == nil:
		return theUntil.fault("is missing")
	}
	r.Until, err = m.end(theUntil)
	return err
}

// maxFields is how many bytes the list of a duty's columns may have. Lists are
// kept in memory, and each of them is a key.
const maxFields = 4096

// fieldList gives the names of columns ascending, with commas.
func fieldList(names []string) (list string, ok bool) {
	if len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return !lowerName.MatchString(name) }) {
		return "", false
	}
	slices.Sort(names)
	list = strings.Join(slices.Compact(names), ",")
	if len(list) > maxFields {
		return "", false
	}
	return list, true
}
