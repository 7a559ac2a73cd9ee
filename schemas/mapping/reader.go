package mapping

import (
	"errors"
	"slices"
	"strings"

	"lupa/schemas"
)

// Reader reads rows with one mapping. It keeps what it needs from row to row,
// so one goroutine uses it.
type Reader struct {
	m       *Mapping
	records *schemas.RecordReader
	tree    tree

	people []person
	text   []byte // of the record at hand
	key    []byte
	one    schemas.LedgerMessages // of it
	// Of the change at hand.
	change change
	before place // the row as it was, or absent
	said   []schemas.Statement
	keys   map[string]bool // of the records in said
}

// NewReader makes a reader.
func NewReader(m *Mapping) *Reader {
	return &Reader{
		m: m, records: schemas.NewRecordReader(m.vocabulary), keys: map[string]bool{},
		one: schemas.LedgerMessages{Keys: make([][]byte, 1), Values: make([][]byte, 1)},
	}
}

// Read appends what a ledger message says. Markers say that they are one; a
// message without a value is what follows a deletion where the envelope has
// told of it before, and else one of the record or row that its key names.
//
// A statement that is Unreadable and whose record has no principal must stop
// whoever reads: nobody can say whom it is about.
func (r *Reader) Read(m *schemas.LedgerMessages, i int, dst []schemas.Statement) []schemas.Statement {
	key, value := m.Keys[i], m.Values[i]
	switch {
	case schemas.IsMarker(key) || len(key) == 0 && schemas.IsMarker(value):
		return append(dst, schemas.Statement{Kind: schemas.Marked})
	case value != nil:
		return r.Row(value, dst)
	case r.m.envelope == debezium:
		return dst
	}
	return r.tombstone(key, dst)
}

var errTombstone = errors.New("a message without a value, whose key does not name whom it is about")

// tombstone is about a key that is that of a record, or has the members of the
// row that its record was made of.
func (r *Reader) tombstone(key []byte, dst []schemas.Statement) []schemas.Statement {
	if record, err := r.records.ParseKey(key); err == nil {
		return append(dst, schemas.Statement{Kind: schemas.Deleted, Record: record})
	}
	if r.m.envelope != bareRow || r.tree.parse(key) != nil || r.tree.nodes[0].kind != '{' {
		return append(dst, schemas.Statement{Fault: errTombstone})
	}
	r.begin()
	before := len(dst)
	if dst = r.deleted(rowAt(0), errTombstone, dst); len(dst) == before {
		dst = append(dst, schemas.Statement{Fault: errTombstone})
	}
	return dst
}

// Row appends what a row, in its envelope, says.
func (r *Reader) Row(data []byte, dst []schemas.Statement) []schemas.Statement {
	r.begin()
	if err := r.tree.parse(data); err != nil {
		return append(dst, schemas.Statement{Fault: err})
	}
	switch r.m.envelope {
	case debezium:
		return r.debezium(0, dst)
	case canal:
		return r.canal(0, dst)
	case maxwell:
		return r.maxwell(0, dst)
	}
	return r.inserted(rowAt(0), dst)
}

// begin forgets the change before.
func (r *Reader) begin() {
	r.change = change{}
	r.before = rowAt(absent)
}

var errNoObject = errors.New("the row is not an object")

// inserted appends what a row says.
func (r *Reader) inserted(row place, dst []schemas.Statement) []schemas.Statement {
	if r.tree.nodes[row.row].kind != '{' {
		return append(dst, schemas.Statement{Fault: errNoObject})
	}
	clear(r.keys)
	r.said = r.row(row, r.said[:0])
	return append(dst, r.said...)
}

// updated appends what a row says, behind the deletion of what it said as it
// was and does not say any more of the same person and purpose.
func (r *Reader) updated(old, row place, dst []schemas.Statement) []schemas.Statement {
	if r.tree.nodes[row.row].kind != '{' {
		return append(dst, schemas.Statement{Fault: errNoObject})
	}
	clear(r.keys)
	r.before = old
	r.said = r.row(row, r.said[:0])
	r.before = rowAt(absent)
	dst = r.deleted(old, nil, dst)
	return append(dst, r.said...)
}

// deleted appends the deletion of all that a row said, but for r.keys. nobody is
// the fault of a row that names no principal; nil is that it is none.
func (r *Reader) deleted(row place, nobody error, dst []schemas.Statement) []schemas.Statement {
	if r.tree.nodes[row.row].kind != '{' {
		return append(dst, schemas.Statement{Fault: errNoObject})
	}
	if nobody != nil {
		clear(r.keys)
	}
	faults := r.persons(row, nil)
	before, work := len(dst), 0
	switch {
	case nobody != nil && (len(r.people) == 0 || len(faults) > 0):
		return append(dst, schemas.Statement{Fault: nobody})
	case len(faults) > 0:
		dst = append(dst, faults...) // somebody else it may have been about
	}
	for i := range r.m.records {
		rule := &r.m.records[i]
		some := false
		r.tree.places(rule.each, row, func(at place) {
			some = true
			r.sayings(rule, at, func(s saying) {
				if work += len(r.people) * len(s.names()); work > maxStatements {
					return
				}
				if nobody != nil && s.silent && s.outcome.verb == schemas.NoVerb {
					// A row that is gone may be told of by its key alone.
					dst = r.deleteUnsaid(rule, at, s, dst)
				} else {
					dst = r.deleteSaying(rule, at, s, dst)
				}
			})
		})
		if nobody != nil && !some && r.bare(row) {
			return append(dst, schemas.Statement{Fault: nobody}) // nobody can say what else it said
		}
	}
	return bounded(dst, before, work)
}

// bare reports whether all that a row has are its principals.
func (r *Reader) bare(row place) bool {
	has := func(n int32) bool {
		return !r.tree.isNull(n) && !(r.tree.nodes[n].kind == '"' && r.m.absent[strings.TrimSpace(string(r.tree.nodes[n].text))])
	}
	for n := row.row + 1; n < r.tree.nodes[row.row].next; n = r.tree.nodes[n].next {
		if has(n) && !slices.ContainsFunc(r.m.principals, func(p principalRule) bool { return r.tree.find(&p.column, row) == n }) {
			return false
		}
	}
	return true
}

// unsaid appends the deletion of what a row may have said before and does not
// say now, where nobody tells how it was.
func (r *Reader) unsaid(row place, dst []schemas.Statement) []schemas.Statement {
	before, work := len(dst), 0
	for i := range r.m.records {
		rule := &r.m.records[i]
		r.tree.places(rule.each, row, func(at place) {
			r.sayings(rule, at, func(s saying) {
				if work += len(r.people) * len(s.names()); s.fault == nil && s.outcome.verb == schemas.NoVerb && work <= maxStatements {
					dst = r.deleteUnsaid(rule, at, s, dst)
				}
			})
		})
	}
	return bounded(dst, before, work)
}

// deleteUnsaid appends the deletion of the grants that a rule can make where it
// makes none.
func (r *Reader) deleteUnsaid(rule *recordRule, at place, s saying, dst []schemas.Statement) []schemas.Statement {
	for _, verb := range [...]schemas.Verb{schemas.Grant, schemas.GuardianGrant} {
		if !slices.Contains(rule.verb.all(), verb) {
			continue
		}
		if len(s.purposes) == 0 {
			if s.purposes, s.fault = r.purposes(rule.purpose, at, schemas.NoVerb); s.fault != nil {
				return r.deny(s, dst)
			}
		}
		s.outcome.verb = verb
		dst = r.deleteSaying(rule, at, s, dst)
	}
	return dst
}

// deleteSaying appends a deletion for each person and purpose.
func (r *Reader) deleteSaying(rule *recordRule, at place, s saying, dst []schemas.Statement) []schemas.Statement {
	switch {
	case s.outcome.verb == schemas.NoVerb && s.fault == nil, s.outcome.verb == schemas.Retain:
		return dst // it said nothing; a duty ends when it says so
	case s.fault != nil && len(s.purposes) == 0:
		// What it said cannot be told, so nothing of it is taken back.
		return r.deny(s, dst)
	}
	for i := range r.people {
		for _, purpose := range s.names() {
			key := r.keyOf(&r.people[i], s.outcome.verb, purpose)
			if r.keys[string(key)] {
				continue
			}
			r.keys[string(key)] = true
			record, err := r.records.ParseKey(key)
			if err != nil {
				dst = append(dst, schemas.Statement{Fault: err})
				continue
			}
			// What is not known of these two is known of no deletion.
			when, _, _ := r.moment(rule.time, at)
			record.Time = when.last
			if r.change.hasTime {
				record.Time = r.change.time
			}
			record.Version, _ = r.version(&rule.version, at, when)
			dst = append(dst, schemas.Statement{Kind: schemas.Deleted, Record: record})
		}
	}
	return dst
}

// keyOf is the key of the record that says something of a person and purpose.
func (r *Reader) keyOf(p *person, verb schemas.Verb, purpose string) []byte {
	record := schemas.Record{Verb: verb, Principal: p.subject, Token: p.token}
	vocabulary := r.m.vocabulary
	switch verb {
	case schemas.Grant, schemas.GuardianGrant:
		record.Purpose = vocabulary.Granted(purpose)
	case schemas.Object:
		record.Purpose, record.Every = vocabulary.Objected(purpose)
	case schemas.Erase:
		record.Every = true
	default:
		if purpose != "" {
			record.Purpose, record.Every = vocabulary.Denied(purpose)
		}
	}
	r.key = schemas.AppendRecordKey(r.key[:0], record)
	return r.key
}
