package mapping

import (
	"errors"
	"fmt"
	"strings"

	"lupa/schemas"
)

// person is an identifier of the row at hand.
type person struct {
	text    string // as records write it
	subject schemas.Subject
	token   schemas.Token
	shared  bool
}

// saying is what a row says for some purposes. With a fault it denies.
type saying struct {
	outcome  outcome
	purposes []string
	fault    error
	silent   bool // there is no value that says anything
}

// names gives the purposes: of what is about no purpose one without a name, and
// of what cannot be told all of them.
func (s *saying) names() []string {
	switch {
	case s.outcome.verb != schemas.NoVerb && !needsPurpose(s.outcome.verb):
		return []string{""}
	case len(s.purposes) == 0:
		return []string{everyPurpose}
	}
	return s.purposes
}

// everyPurpose is how records write all purposes.
const everyPurpose = "*"

// What is wrong with a value.
var (
	errNotPlain = errors.New("is not a text, number or boolean")
	errUnlisted = errors.New("has a value that the mapping does not list")
	errMissing  = errors.New("is missing")
	errSwitch   = errors.New("is true or false, and no text; say with values what they mean")
)

// fault says what is wrong with a column.
func (c *column) fault(err error) error { return fmt.Errorf("%s: %w", c.text, err) }

// The limits of one row. What it says are its persons times its purposes, which of a
// short text can be more than memory holds.
const (
	maxPeople     = 256
	maxStatements = 1 << 15
)

var (
	errManyPeople     = fmt.Errorf("the row names more than %d identifiers", maxPeople)
	errManyStatements = fmt.Errorf("the row says more than %d things", maxStatements)
)

// row appends what a row says and notes its keys.
func (r *Reader) row(row place, dst []schemas.Statement) []schemas.Statement {
	before, work := len(dst), 0
	dst = r.persons(row, dst)
	if len(r.people) == 0 {
		if len(dst) == 0 {
			dst = append(dst, schemas.Statement{Fault: r.m.errNobody()})
		}
		return dst
	}
	linked := false
	for i := range r.m.records {
		rule := &r.m.records[i]
		wrong := r.tree.places(rule.each, row, func(at place) {
			r.sayings(rule, at, func(s saying) {
				if s.fault == nil && s.outcome.verb == schemas.NoVerb {
					return
				}
				if work += len(r.people) * len(s.names()); work > maxStatements {
					return
				}
				when, known, err := r.moment(rule.time, at)
				var version int64
				if err == nil {
					version, err = r.version(&rule.version, at, when)
				}
				if s.fault == nil {
					s.fault = err
				}
				if !linked && s.fault == nil {
					linked = true
					dst = r.link(when.first, version, dst)
				}
				dst = r.say(rule, at, s, when, known, version, dst)
			})
		})
		if wrong {
			dst = r.deny(saying{fault: fmt.Errorf("%s: is not what [] or {} stands for", rule.each.text)}, dst)
		}
	}
	return bounded(dst, before, work)
}

// bounded puts a fault about nobody in the place of too many statements.
func bounded(dst []schemas.Statement, before, work int) []schemas.Statement {
	if work > maxStatements {
		return append(dst[:before], schemas.Statement{Fault: errManyStatements})
	}
	return dst
}

func (m *Mapping) errNobody() error {
	names := make([]string, len(m.principals))
	for i := range m.principals {
		names[i] = m.principals[i].column.text
	}
	return fmt.Errorf("the row names nobody; looked in %s", strings.Join(names, ", "))
}

// persons finds the identifiers of a row, each once. What cannot be read is
// appended as a fault about nobody.
func (r *Reader) persons(row place, dst []schemas.Statement) []schemas.Statement {
	r.people = r.people[:0]
	for i := range r.m.principals {
		rule := &r.m.principals[i]
		wrong := r.tree.places(rule.each, row, func(at place) {
			if len(r.people) > maxPeople || len(dst) > maxStatements {
				return
			}
			p, err := r.person(rule, at)
			if err != nil {
				dst = append(dst, schemas.Statement{Fault: err})
			} else if p.text != "" {
				r.add(p)
			}
		})
		if wrong {
			dst = append(dst, schemas.Statement{Fault: fmt.Errorf("%s: is not what [] or {} stands for", rule.each.text)})
		}
	}
	if len(r.people) > maxPeople || len(dst) > maxStatements {
		r.people = r.people[:0]
		dst = append(dst, schemas.Statement{Fault: errManyPeople})
	}
	return dst
}

func (r *Reader) add(p person) {
	for i := range r.people {
		if r.people[i].text == p.text {
			r.people[i].shared = r.people[i].shared || p.shared
			return
		}
	}
	r.people = append(r.people, p)
}

// person reads one identifier; without a text there is none.
func (r *Reader) person(rule *principalRule, at place) (p person, err error) {
	value, found, err := r.value(&rule.column, at)
	if err != nil || !found {
		return p, err
	}
	if only := rule.only; only != nil {
		text, found, err := r.value(&only.column, at)
		if err == nil && !(found && only.values[bare(text)]) {
			err = only.column.fault(errUnlisted)
		}
		if err != nil {
			return p, err
		}
	}
	kind, found, err := r.termText(&rule.kind, at)
	if err == nil && !found {
		err = rule.kind.column.fault(errMissing)
	}
	if err != nil {
		return p, err
	}
	p.text, p.shared = kind+":"+string(value), rule.shared
	r.key = append(schemas.AppendKeyPart(r.key[:0], p.text), "|"+everyPurpose...)
	record, err := r.records.ParseKey(r.key)
	if err != nil {
		return person{}, rule.column.fault(errors.New("is no identifier"))
	}
	p.subject, p.token = record.Principal, record.Token
	return p, nil
}

// sayings calls do for each thing that a rule finds at a place.
func (r *Reader) sayings(rule *recordRule, at place, do func(saying)) {
	if len(rule.columns) == 0 {
		s := saying{}
		s.outcome, s.fault = r.outcome(&rule.verb, rule.verb.column, at, rule.verb.unsaid == nil)
		s.silent = s.fault == nil && r.silent(rule.verb.column, at)
		if s.fault != nil && !rule.aboutPurposes {
			// It may have been about the whole person.
			do(s)
			return
		}
		if s.fault == nil && !needsPurpose(s.outcome.verb) {
			do(s)
			return
		}
		var err error
		if s.purposes, err = r.purposes(rule.purpose, at, s.outcome.verb); s.fault == nil {
			s.fault = err
		}
		do(s)
		return
	}
	for i := range rule.columns {
		c := &rule.columns[i]
		s := saying{purposes: c.purposes}
		s.outcome, s.fault = r.outcome(&rule.verb, &c.column, at, false)
		s.silent = s.fault == nil && r.silent(&c.column, at)
		do(s)
	}
}

// silent reports whether a column has no value.
func (r *Reader) silent(c *column, at place) bool {
	if c == nil {
		return false
	}
	_, found, err := r.value(c, at)
	return err == nil && !found
}

// outcome reads what is said. must is that a value has to be there.
func (r *Reader) outcome(v *verbRule, c *column, at place, must bool) (outcome, error) {
	if c == nil {
		return *v.constant, nil
	}
	text, found, err := r.value(c, at)
	switch {
	case err != nil:
		return outcome{}, err
	case !found && v.unsaid != nil:
		return *v.unsaid, nil
	case !found && must:
		return outcome{}, c.fault(errMissing)
	case !found:
		return outcome{}, nil
	case v.constant != nil:
		return *v.constant, nil
	}
	o, listed := v.values[bare(text)]
	if !listed {
		return outcome{}, c.fault(errUnlisted)
	}
	return o, nil
}

// purposes reads what it is said for.
func (r *Reader) purposes(p *purposeRule, at place, verb schemas.Verb) ([]string, error) {
	if p == nil {
		return nil, nil
	}
	if p.column == nil {
		return p.constant, nil
	}
	text, found, err := r.value(p.column, at)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, p.column.fault(errMissing)
	case p.values == nil:
		return []string{p.prefix + string(text)}, nil
	}
	list, listed := p.values[bare(text)]
	switch {
	case listed:
		return list, nil
	case len(p.other) > 0 && verb != schemas.Grant && verb != schemas.GuardianGrant:
		return p.other, nil
	}
	return nil, p.column.fault(errUnlisted)
}

// value gives the text of a plain value that is there.
func (r *Reader) value(c *column, at place) (text []byte, found bool, err error) {
	if c.namesKey() {
		if at.key == absent {
			return nil, false, nil
		}
		return r.tree.nodes[at.key].name, true, nil
	}
	n := r.tree.find(c, at)
	if n != absent && r.unavailable(n) {
		// What has not changed is as it was.
		if n = absent; at.element == absent && r.before.row != absent {
			n = r.tree.find(c, r.before)
		}
		if n == absent || r.unavailable(n) {
			return nil, false, c.fault(errUnavailable)
		}
	}
	if n == absent {
		return nil, false, nil
	}
	v := &r.tree.nodes[n]
	if v.kind == '{' || v.kind == '[' {
		return nil, false, c.fault(errNotPlain)
	}
	if v.kind == '"' && r.m.absent[strings.TrimSpace(string(v.text))] {
		return nil, false, nil
	}
	return v.text, true, nil
}

// unavailable reports whether a value is what Debezium writes for one that it
// has not got.
func (r *Reader) unavailable(n int32) bool {
	v := &r.tree.nodes[n]
	return r.m.envelope == debezium && v.kind == '"' && string(v.text) == r.m.unavail
}

// termText reads a term.
func (r *Reader) termText(t *term, at place) (text string, found bool, err error) {
	if t.column == nil {
		return t.constant, true, nil
	}
	value, found, err := r.value(t.column, at)
	if err != nil || !found {
		return "", false, err
	}
	if t.values == nil {
		if n := r.tree.find(t.column, at); !t.column.namesKey() && n != absent && (r.tree.nodes[n].kind == 't' || r.tree.nodes[n].kind == 'f') {
			return "", false, t.column.fault(errSwitch)
		}
		return string(value), true, nil
	}
	text, listed := t.values[bare(value)]
	if !listed {
		return "", false, t.column.fault(errUnlisted)
	}
	return text, true, nil
}

// moment reads a time. Not known is that the row has none.
func (r *Reader) moment(m *moment, at place) (when span, known bool, err error) {
	switch {
	case m == nil:
		return span{}, false, nil
	case m.change && !r.change.hasTime:
		return span{}, false, errors.New("the change has no time")
	case m.change:
		return span{r.change.time, r.change.time}, true, nil
	}
	text, found, err := r.value(m.column, at)
	if err != nil || !found {
		return span{}, false, err
	}
	if when, err = parseTime(text, m.formats, m.zone); err != nil {
		return span{}, false, m.column.fault(err)
	}
	return when, true, nil
}

func (r *Reader) version(v *versionRule, at place, when span) (int64, error) {
	switch v.kind {
	case byChange:
		if !r.change.hasTime {
			return 0, errors.New("the change has no time")
		}
		return r.change.time, nil
	case byLSN:
		if !r.change.hasLSN {
			return 0, errors.New("the change has no lsn")
		}
		return r.change.lsn, nil
	case byTime:
		return when.first, nil
	}
	n := r.tree.find(&v.column, at)
	if n != absent && r.unavailable(n) {
		return 0, v.column.fault(errUnavailable)
	}
	version, ok := r.integer(n)
	if !ok {
		return 0, v.column.fault(errors.New("is not a whole number of at most 64 bits"))
	}
	return version, nil
}
