package oracle

import (
	"slices"
	"strings"
	"time"

	"lupa/schemas"
)

// The decision. The most restrictive of all that is said of all whom a row names
// is heard: erasures first, then restrictions, then purpose by purpose what is in
// force at two clocks, now and when the event happened.

// policy is what decides besides the ledger.
type policy struct {
	names   lexicon
	regions *schemas.Regions
	ages    *schemas.Ages
	region  string // where the tables are
	// most is how many identifiers a subject may have.
	most int
}

// question is what is asked for an event.
type question struct {
	contract *contract
	at       int64 // of the event
	now      int64 // of the decision
}

// duty is a law that keeps fields of somebody who is erased.
type duty struct {
	fields, basis string
	until         int64
}

// decision is the outcome of one row.
type decision struct {
	reason  schemas.Reason
	granted schemas.PurposeSet
	duties  []duty // if the reason is Retained
}

func (d decision) and(o decision) decision {
	return decision{max(d.reason, o.reason), d.granted & o.granted, append(slices.Clone(d.duties), o.duties...)}
}

func (d decision) is(o decision) bool { return d.reason == o.reason && d.granted == o.granted }

// hearing is what is heard for one question.
type hearing struct {
	*question
	*policy
	lines []line
	// void is up to when grants do not count, for an erasure.
	void int64
	born []said
}

// clock is one of the two: the records that count by then, and the time.
type clock struct{ records, time int64 }

// decide decides for an event at one moment.
func (l *ledger) decide(c *cut, q question, who []ident) decision {
	lines, capped := l.lines(c, who)
	h := &hearing{question: &q, policy: l.policy, void: beginning}
	erased, restricted := false, false
	var kept []duty
	for _, n := range lines {
		if n.full {
			erased = erased || n.erased && q.at <= n.erasure
			kept = append(kept, n.dutiesAt(q)...)
		}
		if n.capped {
			continue
		}
		h.lines = append(h.lines, n)
		if n.full && n.erased {
			h.void = max(h.void, n.erasure)
		}
		if b := n.birth.current(); b != nil && n.full {
			h.born = append(h.born, *b)
		}
		if r := n.restriction.current(); r != nil && r.reason == schemas.Restricted {
			restricted = true
		}
	}
	switch {
	case erased && len(kept) > 0:
		return decision{reason: schemas.Retained, duties: kept}
	case erased:
		return decision{reason: schemas.Erased}
	case restricted:
		return decision{reason: schemas.Restricted}
	}
	d := decision{reason: schemas.ConsentGiven}
	q.contract.FieldPurposes().Each(func(purpose schemas.Purpose) {
		reason := h.ask(purpose)
		if capped {
			reason = max(reason, schemas.NoRecord)
		}
		switch {
		case reason == schemas.ConsentGiven:
			d.granted = d.granted.With(purpose)
		case q.contract.Purposes.Has(purpose):
			d.reason = max(d.reason, reason)
		}
	})
	if q.contract.Purposes == 0 {
		d.reason = max(d.reason, schemas.NoRecord)
	}
	return d
}

// dutiesAt gives the duties that are in force and keep anything of the table.
func (p *person) dutiesAt(q question) (list []duty) {
	for fields, s := range p.duties {
		if r := s.current(); r != nil && r.until > q.now && q.contract.hasAny(splitFields(fields)) {
			list = append(list, duty{fields, r.terms.basis, r.until})
		}
	}
	slices.SortFunc(list, func(a, b duty) int { return strings.Compare(a.fields, b.fields) })
	return list
}

// hasAny reports whether the table has a column of one of these names.
func (c *contract) hasAny(names []string) bool {
	return slices.ContainsFunc(c.Fields, func(f schemas.Field) bool {
		return f.Column() != schemas.NoColumn && slices.Contains(names, f.Name)
	})
}

// majority gives when somebody who was born is of age by the law at a time, and
// whether a child has to agree besides its guardian.
func (p *policy) majority(born said, at int64) (from int64, joint bool) {
	years, joint := p.ages.Age(born.terms.country, at)
	day := time.UnixMicro(born.until).UTC()
	return day.AddDate(years, 0, 0).Add(12 * time.Hour).UnixMicro(), joint
}

// minor reports whether any of those who are meant is a child at a time.
func (h *hearing) minor(at int64) (minor, joint bool) {
	for _, b := range h.born {
		if from, both := h.majority(b, at); at < from {
			minor, joint = true, joint || both
		}
	}
	return minor, joint
}

// ask gives the reason of one purpose.
func (h *hearing) ask(purpose schemas.Purpose) schemas.Reason {
	now := h.hear(purpose, clock{ever, h.now})
	then := h.hear(purpose, clock{h.at, h.at})
	reason, denied := now.lacks, now.lacks
	for i := range h.lines {
		reason = max(reason, h.line(i, now.said[i], then.said[i]))
		denied = max(denied, h.line(i, now.said[i], now.said[i]))
	}
	if denied == schemas.ConsentGiven {
		reason = max(reason, then.lacks) // it would be permitted now
	}
	if reason == schemas.NoReason {
		return schemas.NoRecord
	}
	return reason
}

// line joins the two clocks for one identifier.
func (h *hearing) line(i int, now, then words) schemas.Reason {
	n := &h.lines[i]
	reason := now.reason()
	switch {
	case !n.full && now.denial != schemas.NoReason:
		reason = now.denial
	case !n.full:
		reason = then.denial
	case reason == schemas.ConsentGiven && then.reason() == schemas.NoReason:
		reason = schemas.BeforeConsent
	case reason == schemas.ConsentGiven:
		reason = then.reason()
	case (reason == schemas.Withdrawn || reason == schemas.Expired) && h.contract.Prospective && then.reason() == schemas.ConsentGiven:
		reason = schemas.ConsentGiven
	}
	if n.broken() {
		reason = max(reason, schemas.NoRecord)
	}
	return reason
}

// words are what one identifier says at a clock.
type words struct {
	grant  schemas.Reason // of a grant: given, or why it is not worth anything
	denial schemas.Reason
	// void says that there is a grant that a child gave.
	void bool
}

// reason joins the two. Where a grant is outweighed nobody asks for its end or
// its region.
func (w words) reason() schemas.Reason {
	if (w.grant == schemas.Residency || w.grant == schemas.Expired) && w.denial != schemas.NoReason {
		return w.denial
	}
	return max(w.grant, w.denial)
}

// heard is what all say at a clock.
type heard struct {
	said  []words
	given bool
	// lacks is why it is not permitted although nobody denies it.
	lacks schemas.Reason
}

// hear hears all lines at one clock.
func (h *hearing) hear(purpose schemas.Purpose, c clock) (all heard) {
	minor, joint := h.minor(c.time)
	own, some, guarded, void := false, false, false, false // some: a grant or a denial
	for _, n := range h.lines {
		w := h.inForce(n.itself, purpose, c, minor && joint)
		if n.full {
			own = own || valid(w.grant)
			some, void = some || w.reason() != schemas.NoReason, void || w.void
		}
		if minor {
			g := guardianWord(h.inForce(n.guardian, purpose, c, true))
			guarded = guarded || n.full && valid(g)
			if joint {
				w.grant = max(w.grant, g)
			} else {
				w.grant = g
			}
		}
		all.said = append(all.said, w)
	}
	all.given = own
	switch {
	case minor:
		if all.given = guarded && (own || !joint); !all.given {
			all.lacks = schemas.Minor
		}
	case void && !some:
		all.lacks = schemas.Minor
	}
	return all
}

// valid reports whether a grant counts, though it may not be for every place.
func valid(grant schemas.Reason) bool {
	return grant == schemas.ConsentGiven || grant == schemas.Residency
}

// guardianWord is what a guardian's records are worth: consent that is given, or
// none.
func guardianWord(w words) schemas.Reason {
	if w.denial == schemas.NoRecord {
		return w.grant // it could not be read, and denies the line as a whole
	}
	switch w.reason() {
	case schemas.NoReason, schemas.ConsentGiven, schemas.Residency:
		return w.reason()
	}
	return schemas.Minor
}

// inForce is what was in force for a purpose at a clock. Grants do not count that
// came before an erasure, nor those of a child, unless they are asked for.
func (h *hearing) inForce(all map[schemas.Purpose]*statement, purpose schemas.Purpose, c clock, ofChildren bool) (w words) {
	since, granted := beginning, false
	if own := all[purpose]; own != nil {
		newest := own.newest(c.records)
		switch {
		case own.broken != nil && (newest == nil || *own.broken >= newest.version):
			w.denial = schemas.NoRecord
		case newest == nil, newest.grants() && newest.time <= h.void:
		case newest.grants() && !ofChildren && h.child(newest.time):
			w.void = true
		case newest.grants():
			since, granted, w.grant = newest.time, true, h.worth(newest, c.time)
		default:
			since, w.denial = newest.time, newest.reason
		}
	}
	for key, wide := range all {
		if key != every && !(key.IsGroup() && h.names.Set(key).Has(purpose)) {
			continue
		}
		w.denial = max(w.denial, wide.denies(c.records, since))
		if wide.cleared != nil && wide.since <= c.records && granted && wide.since >= since {
			w.grant = max(w.grant, schemas.NoRecord)
		}
	}
	return w
}

func (h *hearing) child(at int64) bool {
	minor, _ := h.minor(at)
	return minor
}

// worth is what a grant permits at a time.
func (h *hearing) worth(r *said, at int64) schemas.Reason {
	switch {
	case r.reason != schemas.ConsentGiven:
	case r.until != 0 && r.until <= at:
		return schemas.Expired
	case !h.regions.Allows(r.terms.regions, h.region):
		return schemas.Residency
	}
	return r.reason
}

// denies is what a key about several purposes takes away at a time from what was
// said since another.
func (s *statement) denies(at, since int64) (reason schemas.Reason) {
	version := beginning // the newest in force
	if s.broken != nil {
		version = *s.broken
	}
	if s.cleared != nil && s.since <= at {
		version = max(version, *s.cleared)
	}
	for _, r := range s.said {
		if r.time <= at {
			version = max(version, r.version)
		}
	}
	if s.broken != nil && *s.broken == version {
		reason = schemas.NoRecord
	}
	for _, r := range s.said {
		if r.time <= at && (r.time >= since || r.reason == schemas.NoRecord && r.version == version) {
			reason = max(reason, r.reason)
		}
	}
	return reason
}

// millisecond is what a message's time may be too early by, because it is cut.
const millisecond = 999

// decideRow decides for a row: at its event time, at both ends of it when it is
// a day, and when the message came before the event, at that time too.
func (l *ledger) decideRow(c *cut, e event, now int64) decision {
	first, ok := e.at.(int64)
	if !ok {
		first = beginning
	}
	last := first
	if e.contract.Fields[e.contract.EventTime].Type == schemas.Date && ok {
		const day = 24 * 60 * 60 * 1_000_000
		first, last = first*day, (first+1)*day-1
	}
	decide := func(at int64) decision { return l.decide(c, question{e.contract, at, now}, e.who) }
	d := decide(first)
	if last != first {
		d = d.and(decide(last))
	}
	if e.told > 0 && e.told+millisecond < last {
		d = d.and(decide(e.told + millisecond))
	}
	return d
}

// event is what is to be decided.
type event struct {
	contract *contract
	who      []ident
	at       any   // as it is in the row
	told     int64 // when it was sent, or noTime
}

// outcomes gives every decision that could have been made between two moments:
// it changes by itself when a grant or a duty ends and when a child is of age.
func (l *ledger) outcomes(c *cut, e event, from, to int64) (list []decision) {
	for _, now := range l.moments(e.who, from, to) {
		d := l.decideRow(c, e, now)
		if !slices.ContainsFunc(list, func(o decision) bool { return o.is(d) && slices.Equal(o.duties, d.duties) }) {
			list = append(list, d)
		}
	}
	return list
}

// moments are the beginning of a time and whenever something changes in it.
func (l *ledger) moments(who []ident, from, to int64) []int64 {
	list := []int64{from}
	change := func(at int64) {
		if at > from && at <= to {
			list = append(list, at)
		}
	}
	for _, member := range l.everLinked(who) {
		for _, e := range l.entries[member] {
			switch {
			case e.kind != says:
			case e.about == birth:
				born := said{until: e.until, terms: e.terms}
				for _, at := range [...]int64{from, to} {
					of, _ := l.policy.majority(born, at)
					change(of)
				}
			case e.until != 0:
				change(e.until)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
