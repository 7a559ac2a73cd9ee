package consent

import (
	"math"
	"math/bits"

	"lupa/schemas"
)

// clock is one of the two times at which a purpose must be permitted: records
// count that were said until said, validities and ages are those at.
type clock struct{ said, at int64 }

// now is after every record.
const now = int64(math.MaxInt64)

func (j *judge) now() clock   { return clock{now, j.Now} }
func (j *judge) event() clock { return clock{j.At, j.At} }

// parts are a timeline without its head, by what the records are about.
type parts struct {
	line      int
	every     Timeline
	purposes  Timeline // those for each of them
	guardians Timeline // their records, first those for every purpose
	groups    Timeline
}

func (j *judge) parts(line int) parts {
	_, t := j.lines[line].split()
	i := 0
	for i < len(t) && t[i].Purpose >= restriction {
		i++
	}
	t, i = t[i:], 0
	for i < len(t) && t[i].Purpose == everyPurpose {
		i++
	}
	p := parts{line: line, every: t[:i]}
	end := len(t)
	if end == i || t[end-1].Purpose < guardians {
		p.purposes = t[i:]
		return p
	}
	for end > i && t[end-1].Purpose >= schemas.FirstGroup {
		end--
	}
	p.groups, t = t[end:], t[:end]
	for end > i && t[end-1].Purpose >= guardians {
		end--
	}
	p.guardians, p.purposes = t[end:], t[i:end]
	return p
}

// of gives the entries of one scope.
func (t Timeline) of(scope schemas.Purpose) Timeline {
	from := 0
	for from < len(t) && t[from].Purpose < scope {
		from++
	}
	to := from
	for to < len(t) && t[to].Purpose == scope {
		to++
	}
	return t[from:to]
}

// weigh sets worst to what all lines say of the purposes wanted.
func (j *judge) weigh(worst *[schemas.NumPurposes]schemas.Reason, want schemas.PurposeSet) {
	child := j.born && (j.childAt(j.Now) || j.childAt(j.At))
	if j.born && j.trace != nil {
		j.noteBirths(child)
	}
	for i := range j.lines {
		l := &j.lines[i]
		if l.Capped {
			continue
		}
		p := j.parts(i)
		if len(p.guardians) > 0 {
			j.checkGuardians(&p)
		}
		denies := j.onlyDenies(l)
		if len(p.every)+len(p.purposes)+len(p.groups) == 0 || child && !denies {
			continue
		}
		rest := p.purposes
		for left := uint64(want); left != 0; left &= left - 1 {
			purpose := schemas.Purpose(bits.TrailingZeros64(left))
			for len(rest) > 0 && rest[0].Purpose < purpose {
				rest = rest[1:]
			}
			own := rest.of(purpose)
			if len(own)+len(p.every)+len(p.groups) == 0 {
				continue
			}
			if denies {
				worst[purpose] = max(worst[purpose], j.denial(&p, own, purpose))
			} else {
				worst[purpose] = max(worst[purpose], j.outcome(&p, own, purpose))
			}
		}
	}
	switch {
	case child:
		want.Each(func(p schemas.Purpose) { worst[p] = max(worst[p], j.upbringing(p)) })
	case j.born:
		want.Each(func(p schemas.Purpose) {
			if worst[p] == schemas.NoReason && j.grownUp(p) {
				worst[p] = schemas.Minor
			}
		})
	}
}

// outcome joins both clocks: what one identifier says of one purpose, or
// NoReason if it says nothing.
func (j *judge) outcome(p *parts, own Timeline, purpose schemas.Purpose) schemas.Reason {
	current := j.standing(p, own, purpose, j.now(), j.born)
	switch reason := j.reason(p.line, &current, purpose, j.now()); {
	case reason == schemas.ConsentGiven:
		before := j.standing(p, own, purpose, j.event(), j.born)
		if reason = j.reason(p.line, &before, purpose, j.event()); reason == schemas.NoReason {
			reason = schemas.BeforeConsent
			if before.young {
				reason = schemas.Minor
			}
			j.noteAt(p.line, current.grant, purpose, j.event(), "it was given after the event")
		}
		return reason
	case j.Prospective && (reason == schemas.Withdrawn || reason == schemas.Expired):
		before := j.standing(p, own, purpose, j.event(), j.born)
		if j.reason(p.line, &before, purpose, j.event()) == schemas.ConsentGiven {
			return schemas.ConsentGiven
		}
		return reason
	default:
		return reason
	}
}

// denial gives what one identifier denies of one purpose at either clock.
func (j *judge) denial(p *parts, own Timeline, purpose schemas.Purpose) schemas.Reason {
	for _, c := range [...]clock{j.now(), j.event()} {
		if s := j.standing(p, own, purpose, c, false); s.denial != schemas.NoReason {
			return s.denial
		}
	}
	return schemas.NoReason
}

// inForce is what counts of one identifier's records of one purpose.
type inForce struct {
	grant  *Entry         // or nil
	denial schemas.Reason // what outweighs the grant, or stands alone
	young  bool           // there was a grant, given by a child
}

// standing finds what is in force at a clock. weaned says that grants which a
// child gave are void.
func (j *judge) standing(p *parts, own Timeline, purpose schemas.Purpose, c clock, weaned bool) (s inForce) {
	since := beginning
	for i := range own {
		e := &own[i]
		if e.Time > c.said {
			continue
		}
		switch {
		case !e.grants():
			s.denial, since = e.Says, e.Time
			if j.trace != nil && s.denial != schemas.NoReason {
				j.noteAt(p.line, e, purpose, c, "it denies what is in force")
			}
		case e.Time <= j.void:
			if j.trace != nil {
				j.noteAt(p.line, e, purpose, c, "a grant that is not later than an erasure is void")
			}
		case weaned && j.childAt(e.Time):
			s.young = true
			j.noteAt(p.line, e, purpose, c, "a grant that a child gave is void")
		default:
			s.grant, since = e, e.Time
		}
		break
	}
	if len(p.every) > 0 {
		j.join(&s, p.line, p.every, purpose, since, c)
	}
	if len(p.groups) > 0 {
		j.joinGroups(&s, p, purpose, since, c)
	}
	return s
}

// joinGroups joins the records for those groups that hold a purpose.
func (j *judge) joinGroups(s *inForce, p *parts, purpose schemas.Purpose, since int64, c clock) {
	for groups := p.groups; len(groups) > 0; {
		group := groups.of(groups[0].Purpose)
		if j.rules.vocabulary.Set(group[0].Purpose).Has(purpose) {
			j.join(s, p.line, group, purpose, since, c)
		}
		groups = groups[len(group):]
	}
}

// join adds the records of a wide scope to what stands since some time.
func (j *judge) join(s *inForce, line int, wide Timeline, purpose schemas.Purpose, since int64, c clock) {
	highest := int64(math.MinInt64) // version of those that count
	for i := range wide {
		e := &wide[i]
		if e.Time > c.said {
			continue
		}
		highest = max(highest, e.Version) // the first one's
		switch {
		case e.Says == schemas.NoReason:
			// A deleted restriction still outweighs the grants it did.
			if s.grant != nil && e.Time >= since {
				s.denial = max(s.denial, schemas.NoRecord)
				j.noteAt(line, e, purpose, c, "what it said is deleted, and the grants that it outweighed stay void")
			}
		case e.Time >= since && !e.unreadable(), e.Says == schemas.NoRecord && e.Version == highest:
			s.denial = max(s.denial, e.Says)
			j.noteAt(line, e, purpose, c, "it denies several purposes")
		}
	}
}

// reason gives what is in force comes to at a clock.
func (j *judge) reason(line int, s *inForce, purpose schemas.Purpose, c clock) schemas.Reason {
	g := s.grant
	switch {
	case g == nil:
		return s.denial
	case s.denial != schemas.NoReason || g.Says != schemas.ConsentGiven:
		j.noteAt(line, g, purpose, c, "it does not permit")
		return max(g.Says, s.denial)
	case g.Until != 0 && g.Until <= c.at:
		j.noteAt(line, g, purpose, c, "its validity has run out")
		return schemas.Expired
	}
	if g.Until > j.Now {
		j.before(g.Until)
	}
	if j.rules.forbids(g.Terms) {
		j.noteAt(line, g, purpose, c, "it does not allow the region of the destination")
		return schemas.Residency
	}
	if j.trace != nil {
		j.noteAt(line, g, purpose, c, "it permits")
	}
	return schemas.ConsentGiven
}
