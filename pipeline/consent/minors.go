package consent

import (
	"time"

	"lupa/schemas"
)

// comesOfAge gives when somebody is of an age in years: half a day into the
// birthday, which is over midnight then wherever that is.
func comesOfAge(birthday int64, years int) int64 {
	return time.UnixMicro(birthday).UTC().AddDate(years, 0, 0).UnixMicro() + 12*time.Hour.Microseconds()
}

// childhood gives whether the subject is a child at a time, by the law then, and
// whether that law wants the child's own grant beside its guardian's. Of several
// births each counts, so that the youngest does.
func (j *judge) childhood(at int64) (child, joint bool) {
	for i := range j.lines {
		l := &j.lines[i]
		if l.Capped || j.onlyDenies(l) {
			continue
		}
		b := l.birth()
		if b == nil {
			continue
		}
		years, both := j.rules.ages.Age(j.rules.country(b.Terms), at)
		grown := comesOfAge(b.Until, years)
		if at < grown {
			child, joint = true, joint || both
			if at == j.Now {
				j.before(grown)
			}
		}
	}
	return child, joint
}

// noteBirths says why guardians count, or what was said in childhood does not.
func (j *judge) noteBirths(child bool) {
	rule := "the subject has come of age: what it granted as a child is void, and so are its guardian's grants"
	if child {
		rule = "the subject is a child now or was one at the event, so its guardian's grant is needed then"
	}
	for i := range j.lines {
		l := &j.lines[i]
		if b := l.birth(); b != nil && !l.Capped && !j.onlyDenies(l) {
			j.note(i, b, rule)
		}
	}
}

func (j *judge) childAt(at int64) bool {
	child, _ := j.childhood(at)
	return child
}

// birth gives the birth that counts.
func (t Timeline) birth() *Entry {
	from, to := t.find(key{scope: birth})
	if from == to || t[from].Says != schemas.Minor {
		return nil
	}
	return &t[from]
}

// checkGuardians denies every purpose where a guardian's record could not be
// read that no higher version has made up for.
func (j *judge) checkGuardians(p *parts) {
	for rest := p.guardians; len(rest) > 0; rest = rest[len(rest.of(rest[0].Purpose)):] {
		if rest[0].unreadable() {
			j.deny(p.line, &rest[0], "this could not be read, so it may deny everything")
		}
	}
}

// upbringing joins both clocks for one purpose of somebody who is a child at one
// of them. What each identifier says by itself does not count there: the
// guardian's grant may stand under one, and the child's own under another.
func (j *judge) upbringing(p schemas.Purpose) schemas.Reason {
	reason := j.state(p, j.now())
	switch {
	case reason == schemas.ConsentGiven:
		if reason = j.state(p, j.event()); reason == schemas.NoReason {
			return schemas.BeforeConsent
		}
	case j.Prospective && (reason == schemas.Withdrawn || reason == schemas.Expired):
		if j.state(p, j.event()) == schemas.ConsentGiven {
			return schemas.ConsentGiven
		}
	}
	return reason
}

// state gives what was in force of one purpose at a clock, over all lines.
func (j *judge) state(purpose schemas.Purpose, c clock) schemas.Reason {
	child, joint := j.childhood(c.at)
	own, guardian := schemas.NoReason, schemas.NoReason
	young, guarded := false, false
	for i := range j.lines {
		l := &j.lines[i]
		if l.Capped || j.onlyDenies(l) {
			continue
		}
		p := j.parts(i)
		s := j.standing(&p, p.purposes.of(purpose), purpose, c, !child)
		if young = young || s.young; child && !joint {
			own = max(own, s.denial)
		} else {
			own = max(own, j.reason(i, &s, purpose, c))
		}
		if len(p.guardians) > 0 {
			guarded = guarded || p.guarded(purpose)
			guardian = max(guardian, j.guardian(&p, purpose, c, child))
		}
	}
	switch {
	case !child && own == schemas.NoReason && (young || guarded):
		return schemas.Minor
	case !child:
		return own
	case guardian != schemas.ConsentGiven && guardian != schemas.Residency, joint && own == schemas.NoReason:
		guardian = schemas.Minor
	}
	return max(own, guardian)
}

// guardian gives what one line's guardian says of one purpose.
func (j *judge) guardian(p *parts, purpose schemas.Purpose, c clock, counts bool) schemas.Reason {
	if !counts {
		return schemas.NoReason
	}
	g := parts{line: p.line, every: p.guardians.of(guardians)}
	s := j.standing(&g, p.guardians.of(guardians+purpose), purpose, c, false)
	return j.reason(p.line, &s, purpose, c)
}

// guarded reports whether a guardian has ever granted a purpose.
func (p *parts) guarded(purpose schemas.Purpose) bool {
	own := p.guardians.of(guardians + purpose)
	for i := range own {
		if own[i].grants() {
			return true
		}
	}
	return false
}

// grownUp reports of somebody who is no child and has no grant whether there is
// one that does not count for that reason: one that it gave as a child, or its
// guardian's.
func (j *judge) grownUp(purpose schemas.Purpose) bool {
	for i := range j.lines {
		l := &j.lines[i]
		if l.Capped || j.onlyDenies(l) {
			continue
		}
		p := j.parts(i)
		s := j.standing(&p, p.purposes.of(purpose), purpose, j.now(), true)
		if s.young || p.guarded(purpose) {
			return true
		}
	}
	return false
}
