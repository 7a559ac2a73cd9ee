package oracle

import (
	"math"

	"lupa/schemas"
)

// The decision is made by reading what was said of somebody from the top, every
// time anew. The rules are those of the decision table and of the ledger's
// format: versions order the records of one key, times join a purpose with all
// purposes, two clocks must agree, and of several identifiers the one that
// permits least is heard.

const (
	beginning = int64(math.MinInt64)
	ever      = int64(math.MaxInt64)
)

// said is a record of one key.
type said struct {
	reason        schemas.Reason // what a row gets by it
	time, version int64
}

func (s said) grants() bool {
	return s.reason == schemas.ConsentGiven || s.reason == schemas.Unproven
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
	purposes    map[schemas.Purpose]*statement // every among them
	erased      bool
	erasure     int64 // the latest
	erasureSeen int64 // highest version
	brokenErase *int64
	brokenLinks map[[2]ident]bool
}

func (p *person) of(purpose schemas.Purpose) *statement {
	if p.purposes[purpose] == nil {
		p.purposes[purpose] = &statement{since: beginning}
	}
	return p.purposes[purpose]
}

// person reads what was said of an identifier.
func (l *ledger) person(c *cut, who ident) *person {
	if p, ok := c.people[who]; ok {
		return p
	}
	p := &person{
		purposes: map[schemas.Purpose]*statement{}, erasure: beginning, erasureSeen: beginning,
		brokenLinks: map[[2]ident]bool{},
	}
	for _, e := range l.entries[who] {
		if c.sees(e) {
			p.hear(e)
		}
	}
	if c.people != nil {
		c.people[who] = p
	}
	return p
}

func (p *person) hear(e *entry) {
	switch e.kind {
	case links:
		delete(p.brokenLinks, pairOf(e))
	case brokenLink:
		p.brokenLinks[pairOf(e)] = true
	case brokenErase:
		version := p.erasureSeen
		if !p.erased && p.brokenErase != nil {
			version = *p.brokenErase
		}
		p.brokenErase = &version
	case unreadable:
		s := p.of(e.purpose)
		version, _ := s.highest()
		s.broken = &version
	case tombstone:
		p.of(e.purpose).clear(e.purpose == every)
	case says:
		if e.verb == schemas.Erase {
			p.erase(e)
			return
		}
		p.of(e.purpose).add(said{reasonOf(e), e.time, e.version}, e.purpose == every)
	}
}

func pairOf(e *entry) [2]ident {
	if string(e.who[:]) < string(e.other[:]) {
		return [2]ident{e.who, e.other}
	}
	return [2]ident{e.other, e.who}
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
	switch {
	case e.verb == schemas.Grant && e.proven:
		return schemas.ConsentGiven
	case e.verb == schemas.Grant:
		return schemas.Unproven
	case e.verb == schemas.Refuse:
		return schemas.Refused
	case e.verb == schemas.Withdraw:
		return schemas.Withdrawn
	case e.verb == schemas.Object:
		return schemas.Objected
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
			if r.permitsLess(*old) {
				*old = r
			}
			return
		}
	}
	s.said = append(s.said, r)
}

func (s said) permitsLess(o said) bool {
	switch {
	case s.reason != o.reason:
		return s.reason > o.reason
	case s.grants():
		return s.time > o.time
	}
	return s.time < o.time
}

// inForce is what was in force for a purpose at a time: nothing is NoReason.
// Grants up to void do not count.
func (p *person) inForce(purpose schemas.Purpose, at, void int64) schemas.Reason {
	reason, since, granted := schemas.NoReason, beginning, false
	own := p.of(purpose)
	var newest *said
	for i := range own.said {
		if r := &own.said[i]; r.time <= at && (newest == nil || r.version > newest.version) {
			newest = r
		}
	}
	switch {
	case own.broken != nil && (newest == nil || *own.broken >= newest.version):
		reason = schemas.NoRecord
	case newest == nil, newest.grants() && newest.time <= void:
	default:
		reason, since, granted = newest.reason, newest.time, newest.grants()
	}

	all := p.of(every)
	version := beginning // the newest in force for all purposes
	if all.broken != nil {
		version = *all.broken
	}
	if all.cleared != nil && all.since <= at {
		version = max(version, *all.cleared)
	}
	for _, r := range all.said {
		if r.time <= at {
			version = max(version, r.version)
		}
	}
	if all.broken != nil && *all.broken == version {
		reason = max(reason, schemas.NoRecord)
	}
	for _, r := range all.said {
		if r.time <= at && (r.time >= since || r.reason == schemas.NoRecord && r.version == version) {
			reason = max(reason, r.reason)
		}
	}
	if all.cleared != nil && all.since <= at && granted && all.since >= since {
		reason = max(reason, schemas.NoRecord)
	}
	return reason
}

// says is what an identifier says of a purpose for an event at a time.
func (p *person) says(purpose schemas.Purpose, at, void int64, prospective bool) schemas.Reason {
	now, then := p.inForce(purpose, ever, void), p.inForce(purpose, at, void)
	reason := now
	switch {
	case now == schemas.ConsentGiven && then == schemas.NoReason:
		reason = schemas.BeforeConsent
	case now == schemas.ConsentGiven:
		reason = then
	case now == schemas.Withdrawn && prospective && then == schemas.ConsentGiven:
		reason = schemas.ConsentGiven
	}
	if p.brokenErase != nil || len(p.brokenLinks) > 0 {
		reason = max(reason, schemas.NoRecord)
	}
	return reason
}

// decision is the outcome of one row.
type decision struct {
	reason  schemas.Reason
	granted schemas.PurposeSet
}

func (d decision) and(o decision) decision {
	return decision{max(d.reason, o.reason), d.granted & o.granted}
}

// decide decides for an event at one moment.
func (l *ledger) decide(c *cut, k *contract, who []ident, at int64) decision {
	var people []*person
	void, capped := beginning, false
	for _, w := range who {
		members := l.closure(c, w)
		capped = capped || len(members) > maxLinked
		for _, member := range members {
			p := l.person(c, member)
			if p.erased {
				if at <= p.erasure {
					return decision{reason: schemas.Erased}
				}
				void = max(void, p.erasure)
			}
			if len(members) <= maxLinked {
				people = append(people, p)
			}
		}
	}
	d := decision{reason: schemas.ConsentGiven}
	k.FieldPurposes().Each(func(purpose schemas.Purpose) {
		reason := schemas.NoReason
		if capped {
			reason = schemas.NoRecord
		}
		for _, p := range people {
			reason = max(reason, p.says(purpose, at, void, k.Prospective))
		}
		switch {
		case reason == schemas.ConsentGiven:
			d.granted = d.granted.With(purpose)
		case k.Purposes.Has(purpose):
			d.reason = max(d.reason, reason, schemas.NoRecord)
		}
	})
	if k.Purposes == 0 {
		d.reason = max(d.reason, schemas.NoRecord)
	}
	return d
}

// millisecond is what a message's time may be too early by, because it is cut.
const millisecond = 999

// decideRow decides for a row: at its event time, at both ends of it when it is
// a day, and when the message came before the event, at that time too.
func (l *ledger) decideRow(c *cut, k *contract, who []ident, eventTime any, told int64) decision {
	first, ok := eventTime.(int64)
	if !ok {
		first = beginning
	}
	last := first
	if k.Fields[k.EventTime].Type == schemas.Date && ok {
		const day = 24 * 60 * 60 * 1_000_000
		first, last = first*day, (first+1)*day-1
	}
	d := l.decide(c, k, who, first)
	if last != first {
		d = d.and(l.decide(c, k, who, last))
	}
	if told > 0 && told+millisecond < last {
		d = d.and(l.decide(c, k, who, told+millisecond))
	}
	return d
}
