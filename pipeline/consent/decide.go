package consent

import (
	"cmp"
	"math/bits"
	"slices"

	"lupa/schemas"
)

// Line is the timeline of one identifier and how it is concerned. A row's lines
// are those of the identifiers that it names and of those that are linked with
// them; who is named and not known to the ledger beside a shared one has an
// empty line.
type Line struct {
	Timeline
	// Shared says that the identifier is several people's. Where another line is
	// one person's, it only takes away, and erases nobody.
	Shared bool
	// Capped says that it is one of too many that are linked: only its own
	// erasure is known, and nothing is permitted.
	Capped bool
	// Neighbour says that it is one of the people whose shared identifier the row
	// names, and names nobody else: it only takes away, and erases nobody.
	Neighbour bool
}

// Question is what is asked of a subject's records.
type Question struct {
	At int64 // when the event happened
	// Now is the moment of the decision, by which validities, duties and ages
	// are measured. What was said is in force now whatever its time.
	Now int64
	// Need are the purposes that must all be permitted; Also those that are
	// looked at for fields only.
	Need, Also schemas.PurposeSet
	// Prospective keeps what was collected under a proven grant that was
	// withdrawn or ran out later (GDPR Art 7(3)).
	Prospective bool

	rules *rules // those of a view; without any no terms are known
}

// Decision is the outcome for one row.
type Decision struct {
	// Reason is ConsentGiven or why the row is denied.
	Reason schemas.Reason
	// Granted are the purposes that are permitted, of those asked for.
	Granted schemas.PurposeSet
	// Until is when the decision may change by itself, because a validity or a
	// duty ends or a child comes of age; 0 is never. Before it, it does not.
	Until int64
	// Duties are those for which a row is Retained.
	Duties []Duty
}

// Duty is a legal duty to keep some fields of what is erased.
type Duty struct {
	Fields string // the columns, ascending with commas
	Basis  string
	Until  int64
}

// and gives the more restrictive of two decisions about one row at one moment.
func (d Decision) and(o Decision) Decision {
	d.Reason, d.Granted, d.Until = max(d.Reason, o.Reason), d.Granted&o.Granted, sooner(d.Until, o.Until)
	if d.Duties == nil {
		d.Duties = o.Duties
	}
	return d
}

// Decide says what the subject known by the identifiers of lines permits.
//
// The rules, from the top:
//
//   - An event up to an erasure of any identifier is erased, but for what a duty
//     to retain keeps that has not ended. For later events, grants that are not
//     later than the erasure are void.
//   - Nothing is permitted of who has restricted the processing and not lifted it
//     yet, whenever the event was, nor of whom something could not be read that
//     is not about a single purpose.
//   - A purpose is permitted if a proven grant is in force now and one was in
//     force at the event: valid at that time, and for the region of the
//     destination. Otherwise the reason is what is in force now, or else what was
//     at the event.
//   - While the subject is a child by the law of that time, it is its guardian's
//     grant that must be in force, and its own too where the law wants both; what
//     the child itself denies is denied. When it is one no longer, grants that it
//     gave as a child are void, and its guardian's count no more.
//   - Prospective permits what is withdrawn or has run out now if it was permitted
//     at the event.
//   - Identifiers without a record for a purpose say nothing of it; of the
//     others the most restrictive wins; if all are silent there is no record.
//   - The row's reason is the greatest of those of the purposes needed. Nothing
//     is permitted for a row that needs no purpose.
func Decide(lines []Line, q Question) Decision {
	if q.rules == nil {
		q.rules = &rules{ages: wholeYears(schemas.StrictestAge), vocabulary: schemas.DefaultVocabulary()}
	}
	return decide(lines, &q, nil)
}

func decide(lines []Line, q *Question, tr *trace) (d Decision) {
	j := judge{Question: q, lines: lines, void: beginning, trace: tr}
	plain := true
	for i := range lines {
		plain = plain && lines[i].plain()
		j.person = j.person || !lines[i].Shared && !lines[i].Neighbour
	}
	switch {
	case plain:
	case j.erased():
		return j.retained()
	case j.restricted():
		return Decision{Reason: schemas.Restricted}
	}
	var worst [schemas.NumPurposes]schemas.Reason
	want := (q.Need | q.Also) & schemas.AllPurposes
	j.weigh(&worst, want)
	d.Reason = schemas.ConsentGiven
	for rest := uint64(want); rest != 0; rest &= rest - 1 {
		p := schemas.Purpose(bits.TrailingZeros64(rest))
		if reason := max(worst[p], j.floor); reason == schemas.ConsentGiven {
			d.Granted = d.Granted.With(p)
		} else if q.Need.Has(p) {
			d.Reason = max(d.Reason, reason, schemas.NoRecord)
		}
	}
	if q.Need == 0 || !schemas.AllPurposes.Covers(q.Need) {
		d.Reason = max(d.Reason, schemas.NoRecord)
	}
	d.Until = j.until
	return d
}

// judge is one decision on its way.
type judge struct {
	*Question
	lines  []Line
	person bool           // some line is one person's
	void   int64          // grants up to here are void
	floor  schemas.Reason // of every purpose
	born   bool           // some birth is known
	until  int64
	trace  *trace // nil where nobody wants to know why
}

// plain reports whether a line has nothing that is about the subject as a whole.
func (l *Line) plain() bool {
	return !l.Capped && (len(l.Timeline) == 0 || l.Timeline[0].Says != schemas.Erased && l.Timeline[0].Purpose < restriction)
}

// onlyDenies reports whether a line permits and erases nothing.
func (j *judge) onlyDenies(l *Line) bool { return l.Neighbour || l.Shared && j.person }

// erased looks for erasures. It reports whether the event is not later than one.
func (j *judge) erased() (erased bool) {
	for i := range j.lines {
		l := &j.lines[i]
		erasure, _ := l.split()
		if erasure == nil || j.onlyDenies(l) {
			continue
		}
		j.void = max(j.void, erasure.Time)
		erased = erased || j.At <= erasure.Time
		if j.trace != nil {
			j.trace.erasure(i, erasure, j.At)
		}
	}
	return erased
}

// retained decides what is erased: duties may keep a part of it.
func (j *judge) retained() Decision {
	d := Decision{Reason: schemas.Erased}
	for i := range j.lines {
		l := &j.lines[i]
		if j.onlyDenies(l) {
			continue
		}
		last := key{}
		for at := range l.Timeline {
			e := &l.Timeline[at]
			if e.Purpose != retention || e.key() == last {
				continue
			}
			last = e.key() // whose first entry has the highest version
			if j.trace != nil && e.Says == schemas.Retained {
				j.trace.duty(i, e, j.Now)
			}
			if e.Says == schemas.Retained && e.Until > j.Now && int(e.Terms) < len(j.rules.terms) {
				terms := &j.rules.terms[e.Terms]
				d.Duties = append(d.Duties, Duty{terms.Fields, terms.Basis, e.Until})
				d.Reason, d.Until = schemas.Retained, sooner(d.Until, e.Until)
			}
		}
	}
	slices.SortFunc(d.Duties, func(a, b Duty) int {
		return cmp.Or(cmp.Compare(a.Fields, b.Fields), cmp.Compare(a.Basis, b.Basis), cmp.Compare(a.Until, b.Until))
	})
	d.Duties = slices.Compact(d.Duties)
	return d
}

// restricted looks at what lines say of the subject as a whole. It reports
// whether the processing is restricted now.
func (j *judge) restricted() (restricted bool) {
	for i := range j.lines {
		l := &j.lines[i]
		if l.Capped {
			j.deny(i, nil, "too many identifiers are linked")
			continue
		}
		_, t := l.split()
		last := key{}
		for at := 0; at < len(t) && t[at].Purpose >= restriction; at++ {
			e := &t[at]
			first := e.key() != last
			last = e.key()
			switch {
			case !first && e.Purpose < brokenLink:
			case e.Says == schemas.NoRecord:
				j.deny(i, e, "this could not be read, so it may deny everything")
			case e.Says == schemas.Restricted:
				restricted = true
				j.note(i, e, "the data may only be stored until this is lifted")
			case e.Purpose == restriction:
				j.note(i, e, "a restriction is lifted")
			case e.Says == schemas.Minor && !j.onlyDenies(l):
				j.born = true
			}
		}
	}
	return restricted
}

// deny denies every purpose because of an entry.
func (j *judge) deny(line int, e *Entry, why string) {
	j.floor = schemas.NoRecord
	j.note(line, e, why)
}

// note says why an entry matters.
func (j *judge) note(line int, e *Entry, why string) {
	if j.trace != nil {
		j.trace.note(line, e, why)
	}
}

// before notes a moment at which the decision may change.
func (j *judge) before(at int64) {
	if at > j.Now {
		j.until = sooner(j.until, at)
	}
}
