package mapping

import (
	"strconv"
	"strings"
	"time"

	"lupa/schemas"
)

// schemaVersion is what the records that are written here follow.
const schemaVersion = "https://w3id.org/dpv/schema/dpv-27560#record-eu-gdpr"

// say appends a record for each person and purpose.
func (r *Reader) say(rule *recordRule, at place, s saying, when span, known bool, version int64, dst []schemas.Statement) []schemas.Statement {
	if s.fault == nil && !known && s.outcome.verb != schemas.Grant {
		s.fault = r.errNoTime(rule)
	}
	if s.fault == nil {
		r.text = r.text[:0]
		s.fault = r.details(rule, s.outcome, at)
	}
	if s.fault != nil {
		return r.deny(s, dst)
	}
	details := string(r.text)
	for i := range r.people {
		p := &r.people[i]
		for _, purpose := range s.names() {
			key := r.keyOf(p, s.outcome.verb, purpose)
			r.keys[string(key)] = true
			r.open(p.text)
			if purpose != "" {
				r.member("purpose", purpose)
			}
			if s.outcome.pending {
				r.member("event_state", "ConsentRequested")
			} else {
				r.member("verb", s.outcome.verb.String())
			}
			if known {
				r.moments("event_time", pick(r.m.vocabulary, s.outcome.verb, purpose, when))
			}
			r.text = append(r.text, details...)
			dst = r.close(key, version, dst)
		}
	}
	return dst
}

func (r *Reader) errNoTime(rule *recordRule) error {
	if rule.time == nil || rule.time.column == nil {
		return errMissing
	}
	return rule.time.column.fault(errMissing)
}

// pick chooses the moment of a day on which something was said: the one with
// which it permits less. What is over takes effect with its first moment. A
// grant begins with the last; what is for ever or about several purposes counts
// against all that was said on that day.
func pick(v *schemas.Vocabulary, verb schemas.Verb, purpose string, when span) int64 {
	switch verb {
	case schemas.Grant, schemas.GuardianGrant, schemas.Erase, schemas.Lift:
		return when.last
	case schemas.Restrict, schemas.Retain, schemas.Born:
		return when.first
	}
	if p, every := v.Denied(purpose); every || p.IsGroup() {
		return when.last
	}
	return when.first
}

// deny appends, for each person, that something of the row cannot be read.
func (r *Reader) deny(s saying, dst []schemas.Statement) []schemas.Statement {
	for i := range r.people {
		for _, purpose := range s.names() {
			key := r.keyOf(&r.people[i], s.outcome.verb, purpose)
			r.keys[string(key)] = true
			record, err := r.records.ParseKey(key)
			if err != nil {
				record = schemas.Record{Principal: r.people[i].subject, Token: r.people[i].token}
			}
			if record.Verb == schemas.NoVerb && record.Purpose == schemas.NoPurpose {
				record.Every = true // nobody can say of what it may have been
			}
			dst = append(dst, schemas.Statement{Record: record, Fault: s.fault})
		}
	}
	return dst
}

// link appends that the identifiers of a row are one person's.
func (r *Reader) link(when, version int64, dst []schemas.Statement) []schemas.Statement {
	if !r.m.links {
		return dst
	}
	// Everybody is linked with one who is not several, if there is one.
	first := 0
	for i := range r.people {
		if !r.people[i].shared {
			first = i
			break
		}
	}
	for i := range r.people {
		if i == first {
			continue
		}
		dst = r.linked(&r.people[first], &r.people[i], when, version, dst)
		if r.people[first].shared {
			dst = r.linked(&r.people[i], &r.people[first], when, version, dst)
		}
	}
	return dst
}

// linked makes one link; its other end may be several people's.
func (r *Reader) linked(from, to *person, when, version int64, dst []schemas.Statement) []schemas.Statement {
	r.open(from.text)
	r.member("verb", schemas.Link.String())
	r.member("linked_principal_id", to.text)
	r.moments("event_time", when)
	if to.shared {
		r.text = append(r.text, `,"shared":true`...)
	}
	r.key = schemas.AppendRecordKey(r.key[:0], schemas.Record{
		Verb: schemas.Link, Principal: from.subject, Token: from.token, Other: to.subject, OtherToken: to.token})
	return r.close(r.key, version, dst)
}

// open begins a record.
func (r *Reader) open(principal string) {
	r.text = append(r.text[:0], `{"schema_version":"`+schemaVersion+`"`...)
	r.member("pii_principal_id", principal)
}

func (r *Reader) member(name, value string) {
	r.text = append(r.text, `,"`+name+`":`...)
	r.text = schemas.AppendQuoted(r.text, value)
}

func (r *Reader) moments(name string, micros int64) {
	r.text = append(r.text, `,"`+name+`":"`...)
	r.text = append(appendTime(r.text, micros), '"')
}

// close ends a record and reads it, as a message of a ledger with that key.
func (r *Reader) close(key []byte, version int64, dst []schemas.Statement) []schemas.Statement {
	r.text = append(r.text, `,"sequence":`...)
	r.text = strconv.AppendInt(r.text, version, 10)
	r.text = append(r.text, '}')
	r.one.Keys[0], r.one.Values[0] = key, r.text
	return r.records.Read(&r.one, 0, dst)
}

// details writes what else a rule says, which is the same for everybody.
func (r *Reader) details(rule *recordRule, o outcome, at place) error {
	if err := r.terms(rule, at); err != nil {
		return err
	}
	if rule.confirmed != nil {
		// One that cannot be read is none.
		if when, known, err := r.moment(rule.confirmed, at); err == nil && known {
			r.text = append(r.text, `,"evidence":{"confirmed_at":"`...)
			r.text = append(appendTime(r.text, when.last), `"}`...)
		}
	}
	if rule.until != nil {
		when, known, err := r.moment(rule.until, at)
		switch {
		case err != nil:
			return err
		case !known:
		case o.verb == schemas.Retain:
			r.moments("until", when.last)
		default:
			r.moments("validity_end", when.first)
		}
	}
	if o.verb == schemas.Born {
		if err := r.birth(rule, at); err != nil {
			return err
		}
	}
	return r.fields(rule, at)
}

func (r *Reader) terms(rule *recordRule, at place) error {
	for i := range rule.terms {
		t := &rule.terms[i]
		if t.member == "storage_locations" {
			if err := r.regions(&t.term, at); err != nil {
				return err
			}
			continue
		}
		text, found, err := r.termText(&t.term, at)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if object, name, nested := strings.Cut(t.member, "."); nested {
			r.text = append(r.text, `,"`+object+`":{"`+name+`":`...)
			r.text = append(schemas.AppendQuoted(r.text, text), '}')
			continue
		}
		r.member(t.member, text)
	}
	return nil
}

// regions writes a list of codes, which may be a text with separators.
func (r *Reader) regions(t *term, at place) error {
	if t.column != nil {
		if n := r.tree.find(t.column, at); n != absent && r.tree.nodes[n].kind == '[' {
			return r.list("storage_locations", t.column, n)
		}
	}
	text, found, err := r.termText(t, at)
	if err != nil || !found {
		return err
	}
	codes := strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ';' || c == ' ' })
	r.texts("storage_locations", codes)
	return nil
}

func (r *Reader) fields(rule *recordRule, at place) error {
	if len(rule.fields) > 0 {
		r.texts("retained_fields", rule.fields)
	}
	if rule.fieldsIn == nil {
		return nil
	}
	n := r.tree.find(rule.fieldsIn, at)
	if n != absent && r.tree.nodes[n].kind == '[' {
		return r.list("retained_fields", rule.fieldsIn, n)
	}
	text, found, err := r.value(rule.fieldsIn, at)
	if err == nil && found {
		r.texts("retained_fields", []string{string(text)})
	}
	return err
}

// list writes the texts of an array.
func (r *Reader) list(member string, c *column, array int32) error {
	var texts []string
	for n := array + 1; n < r.tree.nodes[array].next; n = r.tree.nodes[n].next {
		if r.tree.nodes[n].kind != '"' {
			return c.fault(errNotPlain)
		}
		texts = append(texts, string(r.tree.nodes[n].text))
	}
	r.texts(member, texts)
	return nil
}

func (r *Reader) texts(member string, list []string) {
	r.text = append(r.text, `,"`+member+`":[`...)
	for i, text := range list {
		if i > 0 {
			r.text = append(r.text, ',')
		}
		r.text = schemas.AppendQuoted(r.text, text)
	}
	r.text = append(r.text, ']')
}

// birth writes the day or the year.
func (r *Reader) birth(rule *recordRule, at place) error {
	if rule.birth != nil {
		when, known, err := r.moment(rule.birth, at)
		if err != nil {
			return err
		}
		if known {
			zone := rule.birth.zone
			if zone == nil {
				zone = time.UTC
			}
			r.member("birth_date", time.UnixMicro(when.first).In(zone).Format(time.DateOnly))
			return nil
		}
	}
	if rule.year != nil {
		text, found, err := r.value(rule.year, at)
		if err != nil {
			return err
		}
		if found {
			year, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 16)
			if err != nil {
				return rule.year.fault(errNoTime)
			}
			r.text = append(r.text, `,"birth_year":`...)
			r.text = strconv.AppendInt(r.text, year, 10)
		}
	}
	return nil // without either the record is at fault
}
