package consent

import (
	"math"
	"math/bits"

	"lupa/schemas"
)

// Policy is what a contract may choose in a decision.
type Policy struct {
	// Prospective keeps what was collected under a proven grant that was
	// withdrawn later (GDPR Art 7(3)).
	Prospective bool
}

// Decision is the outcome for one row.
type Decision struct {
	// Reason is ConsentGiven or why the row is denied.
	Reason schemas.Reason
	// Granted are the purposes that are permitted, of those asked for.
	Granted schemas.PurposeSet
}

// and gives the more restrictive of two decisions about one row.
func (d Decision) and(o Decision) Decision {
	return Decision{max(d.Reason, o.Reason), d.Granted & o.Granted}
}

// Decide says what the subject known by the identifiers of lines permits for
// an event that happened at the given time. Every purpose of need must be
// permitted; those of also are looked at for their fields only.
//
// The rules, from the top:
//
//   - An event up to an erasure of any identifier is erased. For later events,
//     grants that are not later than the erasure are void.
//   - A purpose is permitted if a proven grant is in force now and one was in
//     force at the event. Otherwise the reason is what is in force now, or
//     else what was at the event.
//   - Prospective permits what is withdrawn now if a proven grant was in force
//     at the event.
//   - Identifiers without a record for a purpose say nothing of it; of the
//     others the most restrictive wins; if all are silent there is no record.
//   - The row's reason is the greatest of those of the purposes needed. Nothing
//     is permitted for a row that needs no purpose.
func Decide(lines []Timeline, at int64, need, also schemas.PurposeSet, policy Policy) Decision {
	void := beginning
	for _, line := range lines {
		if erasure, _ := line.split(); erasure != nil {
			if at <= erasure.Time {
				return Decision{Reason: schemas.Erased}
			}
			void = max(void, erasure.Time)
		}
	}
	var worst [schemas.NumPurposes]schemas.Reason
	want := (need | also) & schemas.AllPurposes
	for _, line := range lines {
		line.weigh(&worst, want, clocks{at, void}, policy)
	}
	d := Decision{Reason: schemas.ConsentGiven}
	for rest := uint64(want); rest != 0; rest &= rest - 1 {
		p := schemas.Purpose(bits.TrailingZeros64(rest))
		if worst[p] == schemas.ConsentGiven {
			d.Granted = d.Granted.With(p)
		} else if need.Has(p) {
			d.Reason = max(d.Reason, worst[p], schemas.NoRecord)
		}
	}
	if need == 0 || !schemas.AllPurposes.Covers(need) {
		d.Reason = max(d.Reason, schemas.NoRecord)
	}
	return d
}

// clocks are the times that a decision depends on, besides now.
type clocks struct {
	event int64
	void  int64 // grants up to here are void
}

// now is after every record.
const now = int64(math.MaxInt64)

// weigh raises worst by what one identifier says of the purposes wanted.
func (t Timeline) weigh(worst *[schemas.NumPurposes]schemas.Reason, want schemas.PurposeSet, c clocks, policy Policy) {
	_, t = t.split()
	if len(t) > 0 && t[0].Purpose >= brokenLink {
		for p := range worst {
			worst[p] = max(worst[p], schemas.NoRecord)
		}
	}
	i := 0
	for i < len(t) && t[i].Purpose >= brokenLink {
		i++
	}
	first := i
	for i < len(t) && t[i].Purpose == everyPurpose {
		i++
	}
	every := t[first:i]
	for rest := uint64(want); rest != 0; rest &= rest - 1 {
		p := schemas.Purpose(bits.TrailingZeros64(rest))
		for i < len(t) && t[i].Purpose < p {
			i++
		}
		from := i
		for i < len(t) && t[i].Purpose == p {
			i++
		}
		if own := t[from:i]; len(own) > 0 || len(every) > 0 {
			worst[p] = max(worst[p], outcomeOf(own, every, c, policy))
		}
	}
}

// outcomeOf joins both clocks: what one identifier says of one purpose, or
// NoReason if it says nothing.
func outcomeOf(own, every Timeline, c clocks, policy Policy) schemas.Reason {
	current := inForce(own, every, now, c.void)
	switch {
	case current == schemas.ConsentGiven:
		before := inForce(own, every, c.event, c.void)
		if before == schemas.NoReason {
			return schemas.BeforeConsent
		}
		return before
	case current == schemas.Withdrawn && policy.Prospective:
		if inForce(own, every, c.event, c.void) == schemas.ConsentGiven {
			return schemas.ConsentGiven
		}
	}
	return current
}

// inForce gives what one identifier's records for one purpose and for every
// purpose said at a time: NoReason if nothing.
func inForce(own, every Timeline, at, void int64) schemas.Reason {
	said, since := schemas.NoReason, beginning
	for i := range own {
		if e := &own[i]; e.Time <= at {
			if !e.grants() || e.Time > void {
				said, since = e.Says, e.Time
			}
			break
		}
	}
	granted := said == schemas.ConsentGiven || said == schemas.Unproven
	highest := int64(math.MinInt64) // version of those that count
	for i := range every {
		e := &every[i]
		if e.Time > at {
			continue
		}
		highest = max(highest, e.Version) // the first one's
		switch {
		case e.Says == schemas.NoReason:
			// A deleted restriction still outweighs the grants it did.
			if granted && e.Time >= since {
				said = max(said, schemas.NoRecord)
			}
		case e.Time >= since && !e.unreadable(), e.Says == schemas.NoRecord && e.Version == highest:
			said = max(said, e.Says)
		}
	}
	return said
}
