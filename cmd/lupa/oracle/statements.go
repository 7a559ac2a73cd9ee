package oracle

import (
	"math"

	"lupa/schemas"
)

// What was said of somebody is read from the top, every time anew. The rules are
// those of the ledger's format: versions order the records of one key, and what
// cannot be read denies it.

// The ends of time.
const (
	beginning = int64(math.MinInt64)
	ever      = int64(math.MaxInt64)
)

// said is a record of one key.
type said struct {
	reason        schemas.Reason // what a row gets by it
	time, version int64
	until         int64
	terms         terms
}

// grants reports whether it is a grant, whatever it is worth.
func (s said) grants() bool {
	return s.reason == schemas.ConsentGiven || s.reason == schemas.Unproven || s.reason == schemas.Pending
}

// statement is what is in the ledger under one key.
type statement struct {
	said []said
	// cleared is the version up to which a tombstone took everything away, and
	// since the latest time of what it took.
	cleared *int64
	since   int64
	// broken is the version as of which a value could not be read.
	broken *int64
}

// highest is the highest version that the key has had.
func (s *statement) highest() (version int64, known bool) {
	version = beginning
	for _, r := range s.said {
		version, known = max(version, r.version), true
	}
	for _, v := range [...]*int64{s.cleared, s.broken} {
		if v != nil {
			version, known = max(version, *v), true
		}
	}
	return version, known
}

// person is what the ledger says of one identifier.
type person struct {
	who         ident
	itself      map[schemas.Purpose]*statement // every and groups among them
	guardian    map[schemas.Purpose]*statement
	restriction statement
	birth       statement
	duties      map[string]*statement // by the fields that they keep
	erased      bool
	erasure     int64 // the latest
	erasureSeen int64 // highest version
	brokenErase *int64
	brokenLink  bool
}

// broken reports whether something could not be read that is about more than one
// of the person's own purposes: then nothing is permitted.
func (p *person) broken() bool {
	broken := p.brokenErase != nil || p.brokenLink ||
		p.restriction.isBroken(p.restriction.newest(ever)) || p.birth.isBroken(p.birth.newest(ever))
	for _, s := range p.duties {
		broken = broken || s.isBroken(s.newest(ever))
	}
	for _, s := range p.guardian {
		broken = broken || s.isBroken(s.newest(ever))
	}
	return broken
}

// of gives the statement of a key.
func (p *person) of(e *entry) *statement {
	switch e.about {
	case restriction:
		return &p.restriction
	case birth:
		return &p.birth
	case duties:
		return named(p.duties, e.terms.fields)
	case guardian:
		return named(p.guardian, e.purpose)
	}
	return named(p.itself, e.purpose)
}

func named[K comparable](all map[K]*statement, key K) *statement {
	if all[key] == nil {
		all[key] = &statement{since: beginning}
	}
	return all[key]
}

// person reads what was said of an identifier.
func (l *ledger) person(c *cut, who ident) *person {
	if p, ok := c.people[who]; ok {
		return p
	}
	p := &person{
		who: who, itself: map[schemas.Purpose]*statement{}, guardian: map[schemas.Purpose]*statement{},
		duties: map[string]*statement{}, erasure: beginning, erasureSeen: beginning,
	}
	for _, e := range l.entries[who] {
		if c.sees(e) {
			p.hear(e)
		}
	}
	p.brokenLink = l.hasBrokenLink(c, who)
	if c.people != nil {
		c.people[who] = p
	}
	return p
}

func (p *person) hear(e *entry) {
	switch e.kind {
	case brokenErase:
		version := p.erasureSeen
		if !p.erased && p.brokenErase != nil {
			version = *p.brokenErase
		}
		p.brokenErase = &version
	case unreadable:
		s := p.of(e)
		version, _ := s.highest()
		s.broken = &version
	case tombstone:
		p.of(e).clear(e.wide())
	case says:
		if e.verb == schemas.Erase {
			p.erase(e)
			return
		}
		p.of(e).add(said{reasonOf(e), e.time, e.version, e.until, e.terms}, e.wide())
	}
}

// wide reports whether an entry is about several purposes: then it can only take
// away, and all of its key count.
func (e *entry) wide() bool {
	return (e.about == itself || e.about == guardian) && (e.purpose == every || e.purpose.IsGroup())
}

func (p *person) erase(e *entry) {
	if p.brokenErase != nil && e.version > *p.brokenErase {
		p.brokenErase = nil
	}
	p.erased = true
	p.erasure = max(p.erasure, e.time)
	p.erasureSeen = max(p.erasureSeen, e.version)
}

func reasonOf(e *entry) schemas.Reason {
	switch e.verb {
	case schemas.Grant, schemas.GuardianGrant:
		switch {
		case e.pending:
			return schemas.Pending
		case !e.proven:
			return schemas.Unproven
		}
		return schemas.ConsentGiven
	case schemas.Lift:
		return schemas.ConsentGiven
	case schemas.Refuse:
		return schemas.Refused
	case schemas.Withdraw, schemas.GuardianWithdraw:
		return schemas.Withdrawn
	case schemas.Object:
		return schemas.Objected
	case schemas.Expire:
		return schemas.Expired
	case schemas.Restrict:
		return schemas.Restricted
	case schemas.Born:
		return schemas.Minor
	case schemas.Retain:
		return schemas.Retained
	}
	return schemas.NoRecord
}

// clear is a tombstone. It empties the key; for all purposes it remembers what
// had been outweighed, and what could not be read stays.
func (s *statement) clear(forAll bool) {
	version, known := s.highest()
	if !known {
		return
	}
	if forAll {
		for _, r := range s.said {
			s.since = max(s.since, r.time)
		}
	} else {
		s.broken = nil
	}
	s.said, s.cleared = nil, &version
}

// add puts a record to the others of its key. Of two records of one version
// for one purpose the one that permits less stands alone.
func (s *statement) add(r said, forAll bool) {
	if s.cleared != nil && r.version <= *s.cleared {
		if forAll {
			s.since = max(s.since, r.time)
		}
		return
	}
	for i := range s.said {
		if old := &s.said[i]; old.version == r.version && !forAll {
			*old = stricter(*old, r)
			return
		}
	}
	s.said = append(s.said, r)
}

// stricter is what counts of two records of one version: the one with the greater
// reason, and of two with the same what is stricter in each.
func stricter(a, b said) said {
	if a.reason != b.reason {
		if b.reason > a.reason {
			return b
		}
		return a
	}
	switch {
	case a.grants():
		a.time, a.until = max(a.time, b.time), sooner(a.until, b.until)
		if a.terms.regions != b.terms.regions {
			a.terms.regions = "?"
		}
	case a.reason == schemas.Minor:
		a.time, a.until = min(a.time, b.time), max(a.until, b.until)
		if a.terms.country != b.terms.country {
			a.terms.country = ""
		}
	default:
		a.time, a.until = min(a.time, b.time), sooner(a.until, b.until)
	}
	return a
}

// sooner is the earlier end; 0 is none.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// current is the newest record of a key of which only that counts, or nil if
// there is none or it could not be read.
func (s *statement) current() *said {
	newest := s.newest(ever)
	if s.isBroken(newest) {
		return nil
	}
	return newest
}

// isBroken reports whether a value that could not be read came on top of a
// record, if there is one.
func (s *statement) isBroken(newest *said) bool {
	return s.broken != nil && (newest == nil || *s.broken >= newest.version)
}

// newest gives the record of the highest version that was said up to a time.
func (s *statement) newest(at int64) *said {
	var newest *said
	for i := range s.said {
		if r := &s.said[i]; r.time <= at && (newest == nil || r.version > newest.version) {
			newest = r
		}
	}
	return newest
}
