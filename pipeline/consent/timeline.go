package consent

import (
	"cmp"
	"math"
	"slices"

	"lupa/schemas"
)

// Timeline is what the ledger holds of one identifier: its erasure first, then
// the links and erasures that could not be read, then the records for every
// purpose, then those of each purpose in order; within a key from the highest
// version to the lowest.
type Timeline []Entry

// Entry is one record of a timeline.
type Entry struct {
	Time    int64 // when it was said, microseconds since 1970
	Version int64
	Purpose schemas.Purpose // NoPurpose is every purpose
	// Says is the reason that a row gets by this record: ConsentGiven of a
	// proven grant, NoRecord of what could not be read, NoReason of a
	// tombstone, Erased of an erasure.
	Says schemas.Reason
}

// What stands for a purpose in entries that are not about a single one.
const (
	everyPurpose = schemas.NoPurpose
	// A link that could not be read; its version is the other node's number.
	brokenLink = schemas.Purpose(254)
	// An erasure that could not be read.
	brokenErasure = schemas.Purpose(255)
)

// beginning is before every event. It is the time of what has none: an
// unreadable value, and the tombstone of a purpose.
const beginning = int64(math.MinInt64)

// entry gives what a record about a principal says. Records that say nothing
// this package knows are undecodable, which denies.
func entry(r *schemas.Record) Entry {
	e := Entry{Time: r.Time, Version: r.Version, Purpose: r.Purpose, Says: schemas.NoRecord}
	if r.Every {
		e.Purpose = everyPurpose
	}
	switch r.Verb {
	case schemas.Grant:
		switch {
		case r.Every || r.Time == beginning:
		case r.Proven:
			e.Says = schemas.ConsentGiven
		default:
			e.Says = schemas.Unproven
		}
	case schemas.Refuse:
		e.Says = schemas.Refused
	case schemas.Withdraw:
		e.Says = schemas.Withdrawn
	case schemas.Object:
		e.Says = schemas.Objected
	case schemas.Erase:
		e.Says, e.Purpose = schemas.Erased, everyPurpose
	}
	return e
}

// grants reports whether e is a grant, proven or not.
func (e *Entry) grants() bool { return e.Says == schemas.ConsentGiven || e.Says == schemas.Unproven }

// unreadable reports whether e marks a value that could not be read.
func (e *Entry) unreadable() bool { return e.Says == schemas.NoRecord && e.Time == beginning }

// order sorts a timeline. Where versions are equal, an unreadable value stands
// first, because nothing is known of it, and then the more restrictive record.
func order(a, b Entry) int {
	return cmp.Or(
		-compareBool(a.Says == schemas.Erased, b.Says == schemas.Erased),
		cmp.Compare(rank(a.Purpose), rank(b.Purpose)),
		cmp.Compare(b.Version, a.Version),
		-compareBool(a.unreadable(), b.unreadable()),
		restriction(b, a),
	)
}

// rank numbers the keys of a timeline in their order: what stands for a purpose
// comes before every purpose, so that a decision finds it at the head.
func rank(p schemas.Purpose) uint8 { return uint8(p - brokenLink) }

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// restriction compares how much two records of one version take away.
func restriction(a, b Entry) int {
	byTime := cmp.Compare(b.Time, a.Time)
	if a.grants() {
		byTime = -byTime
	}
	return cmp.Or(cmp.Compare(a.Says, b.Says), byTime)
}

// split parts the erasure, if there is one, from the rest.
func (t Timeline) split() (erasure *Entry, rest Timeline) {
	if len(t) > 0 && t[0].Says == schemas.Erased {
		return &t[0], t[1:]
	}
	return nil, t
}

// key gives where the entries of one key lie; an erasure is not among them.
func (t Timeline) key(p schemas.Purpose) (from, to int) {
	if erasure, _ := t.split(); erasure != nil {
		from = 1
	}
	for from < len(t) && rank(t[from].Purpose) < rank(p) {
		from++
	}
	for to = from; to < len(t) && t[to].Purpose == p; to++ {
	}
	return from, to
}

// outcome is what became of a record that was added.
type outcome uint8

const (
	added     outcome = iota
	duplicate         // the timeline says it already
	late              // added below a higher version
	tie               // another record has its version
	buried            // a tombstone covers its version
)

// add puts a record into the timeline. It lengthens t by one at most.
func (t Timeline) add(e Entry) (Timeline, outcome) {
	if e.Says == schemas.Erased {
		return t.erase(e)
	}
	from, to := t.key(e.Purpose)
	result := added
	for i := from; i < to; i++ {
		switch old := &t[i]; {
		case old.Says == schemas.NoReason && e.Version <= old.Version:
			if e.Purpose == everyPurpose {
				// Not back in force, but what it outweighs stays void.
				old.Time = max(old.Time, e.Time)
			}
			return t, buried
		case *old == e:
			return t, duplicate
		case old.Version == e.Version && !old.unreadable():
			if e.Purpose != everyPurpose {
				if restriction(e, *old) > 0 {
					*old = e
				}
				return t, tie
			}
			result = tie
		case old.Version > e.Version && result == added:
			result = late
		}
	}
	return t.insert(e), result
}

func (t Timeline) insert(e Entry) Timeline {
	at, _ := slices.BinarySearchFunc(t, e, order)
	return slices.Insert(t, at, e)
}

// erase keeps one erasure, of the latest time and the highest version. A higher
// version than before makes up for one that could not be read.
func (t Timeline) erase(e Entry) (Timeline, outcome) {
	if from, to := t.key(brokenErasure); from < to && e.Version > t[from].Version {
		t = slices.Delete(t, from, to)
	}
	old, _ := t.split()
	if old == nil {
		return slices.Insert(t, 0, e), added
	}
	result := duplicate
	if e.Time > old.Time {
		old.Time, result = e.Time, added
	}
	old.Version = max(old.Version, e.Version)
	return t, result
}

// clear is a tombstone: it empties the key and leaves a mark at its highest
// version. For every purpose the mark also keeps the latest time of what it
// replaces, and what could not be read stays, for it may have been anything.
// It lengthens t by one at most.
func (t Timeline) clear(p schemas.Purpose) Timeline {
	from, to := t.key(p)
	version, known := t.highest(p)
	if !known {
		return t
	}
	mark := Entry{Purpose: p, Version: version, Says: schemas.NoReason, Time: beginning}
	kept := from
	for i := from; p == everyPurpose && i < to; i++ {
		if t[i].unreadable() {
			t[kept] = t[i]
			kept++
			continue
		}
		mark.Time = max(mark.Time, t[i].Time)
	}
	return slices.Delete(t, kept, to).insert(mark)
}

// deny marks the key as unreadable at its highest version. It lengthens t by
// one at most.
func (t Timeline) deny(p schemas.Purpose) Timeline {
	version, _ := t.highest(p)
	from, to := t.key(p)
	// Only the newest mark matters: it outranks every other at every time.
	for i := to - 1; i >= from; i-- {
		if t[i].unreadable() {
			t = slices.Delete(t, i, i+1)
		}
	}
	return t.insert(Entry{Purpose: p, Version: version, Says: schemas.NoRecord, Time: beginning})
}

// highest gives the highest version that the key has had.
func (t Timeline) highest(p schemas.Purpose) (version int64, known bool) {
	if p == brokenErasure {
		if erasure, _ := t.split(); erasure != nil {
			return erasure.Version, true
		}
	} else if from, to := t.key(p); from < to {
		return t[from].Version, true
	}
	return math.MinInt64, false
}

// denyLink marks that a link with a node could not be read. It lengthens t by
// one at most.
func (t Timeline) denyLink(other int32) Timeline {
	e := linkMark(other)
	if slices.Contains(t, e) {
		return t
	}
	return t.insert(e)
}

// liftLink takes the mark away.
func (t Timeline) liftLink(other int32) Timeline {
	if i := slices.Index(t, linkMark(other)); i >= 0 {
		return slices.Delete(t, i, i+1)
	}
	return t
}

func linkMark(other int32) Entry {
	return Entry{Purpose: brokenLink, Version: int64(other), Says: schemas.NoRecord, Time: beginning}
}
