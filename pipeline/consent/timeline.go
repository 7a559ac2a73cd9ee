package consent

import (
	"cmp"
	"math"
	"slices"

	"lupa/schemas"
)

// Timeline is what the ledger holds of one identifier: its erasure first, then
// what is about the subject as a whole, then the records for every purpose, those
// of each purpose in order, the guardian's, and those for groups; within a key
// from the highest version to the lowest.
type Timeline []Entry

// Entry is one record of a timeline.
type Entry struct {
	Time    int64 // when it was said, microseconds since 1970
	Version int64
	// Until is when a grant or a duty ends, 0 never; of a birth it is the
	// birthday.
	Until   int64
	Terms   uint32          // the number that the view keeps the record's Terms under; 0 is none
	Fields  uint16          // of a duty the number of its fields, a part of its key
	Purpose schemas.Purpose // the scope: a purpose, a group, or one of those below
	// Says is the reason that a row gets by this record: ConsentGiven of a
	// proven grant, NoRecord of what could not be read, NoReason of a
	// tombstone, Erased of an erasure. Of a restriction it is Restricted, or
	// ConsentGiven when it is lifted; of a birth Minor; of a duty Retained.
	Says schemas.Reason
}

// What stands for a purpose in entries that are not about a single one.
const (
	everyPurpose = schemas.NoPurpose
	// The guardian's records for every purpose, and behind it those for each.
	guardians = schemas.Purpose(64)
	// Restrictions and what lifts them.
	restriction = schemas.Purpose(250)
	birth       = schemas.Purpose(251)
	// Duties to retain; those about other fields are another key.
	retention = schemas.Purpose(252)
	// Of a link what was said cannot be read, or is at odds.
	brokenLink = schemas.Purpose(254)
	// An erasure that could not be read.
	brokenErasure = schemas.Purpose(255)
)

// key is what the versions of records are compared within.
type key struct {
	scope  schemas.Purpose
	fields uint16
}

func (e *Entry) key() key { return key{e.Purpose, e.Fields} }

// wide reports whether records of a scope only take away, so that each of them
// counts and time joins them with those for one purpose.
func wide(scope schemas.Purpose) bool {
	return scope == everyPurpose || scope == guardians || scope.IsGroup()
}

// beginning is before every event. It is the time of what has none: an
// unreadable value, and the tombstone of a purpose.
const beginning = int64(math.MinInt64)

// grants reports whether e is a grant, proven or not. What lifts a restriction
// is like one.
func (e *Entry) grants() bool {
	switch e.Says {
	case schemas.ConsentGiven, schemas.Unproven, schemas.Pending:
		return true
	}
	return false
}

// unreadable reports whether e marks a value that could not be read.
func (e *Entry) unreadable() bool { return e.Says == schemas.NoRecord && e.Time == beginning }

// order sorts a timeline. Where versions are equal, an unreadable value stands
// first, because nothing is known of it, and then the more restrictive record.
func order(a, b Entry) int {
	return cmp.Or(
		-compareBool(a.Says == schemas.Erased, b.Says == schemas.Erased),
		a.key().compare(b.key()),
		cmp.Compare(b.Version, a.Version),
		-compareBool(a.unreadable(), b.unreadable()),
		strictness(b, a),
	)
}

// compare orders keys: what is about the subject as a whole comes before every
// purpose, so that a decision finds it at the head.
func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.scope-restriction, o.scope-restriction), cmp.Compare(k.fields, o.fields))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// strictness compares how much two records of one version take away.
func strictness(a, b Entry) int {
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

// find gives where the entries of one key lie; an erasure is not among them.
func (t Timeline) find(k key) (from, to int) {
	if erasure, _ := t.split(); erasure != nil {
		from = 1
	}
	for from < len(t) && t[from].key().compare(k) < 0 {
		from++
	}
	for to = from; to < len(t) && t[to].key() == k; to++ {
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
func (t Timeline) add(e Entry, g *glossary) (Timeline, outcome) {
	if e.Says == schemas.Erased {
		return t.erase(e)
	}
	from, to := t.find(e.key())
	result := added
	for i := from; i < to; i++ {
		switch old := &t[i]; {
		case old.Says == schemas.NoReason && e.Version <= old.Version:
			if wide(e.Purpose) {
				// Not back in force, but what it outweighs stays void.
				old.Time = max(old.Time, e.Time)
			}
			return t, buried
		case *old == e:
			return t, duplicate
		case old.Version == e.Version && !old.unreadable():
			if !wide(e.Purpose) {
				*old = stricter(*old, e, g)
				return t, tie
			}
			result = tie
		case old.Version > e.Version && result == added:
			result = late
		}
	}
	return t.insert(e), result
}

// stricter gives what stands of two records of one key and version: the one with
// the greater reason, and of two that say the same what is stricter in each. So
// it does not matter which of several came first.
func stricter(a, b Entry, g *glossary) Entry {
	if a.Says != b.Says {
		if a.Says < b.Says {
			a = b
		}
		return a
	}
	switch {
	case a.Purpose == birth:
		a.Time, a.Until = min(a.Time, b.Time), max(a.Until, b.Until)
	case a.grants():
		a.Time, a.Until = max(a.Time, b.Time), sooner(a.Until, b.Until)
	default:
		a.Time, a.Until = min(a.Time, b.Time), sooner(a.Until, b.Until)
	}
	a.Terms = g.stricter(a.Terms, b.Terms)
	return a
}

// sooner gives the earlier of two ends, of which 0 is never.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (t Timeline) insert(e Entry) Timeline {
	at, _ := slices.BinarySearchFunc(t, e, order)
	return slices.Insert(t, at, e)
}

// erase keeps one erasure, of the latest time and the highest version. A higher
// version than before makes up for one that could not be read.
func (t Timeline) erase(e Entry) (Timeline, outcome) {
	if from, to := t.find(key{scope: brokenErasure}); from < to && e.Version > t[from].Version {
		t = slices.Delete(t, from, to)
	}
	old, _ := t.split()
	if old == nil {
		return slices.Insert(t, 0, e), added
	}
	result := duplicate
	if e.Time > old.Time {
		old.Time, old.Terms, result = e.Time, e.Terms, added
	}
	old.Version = max(old.Version, e.Version)
	return t, result
}

// clear is a tombstone: it empties the key and leaves a mark at its highest
// version. In a wide scope the mark also keeps the latest time of what it
// replaces, and what could not be read stays, for it may have been anything.
// It lengthens t by one at most.
func (t Timeline) clear(k key) Timeline {
	from, to := t.find(k)
	version, known := t.highest(k)
	if !known {
		return t
	}
	mark := Entry{Purpose: k.scope, Fields: k.fields, Version: version, Says: schemas.NoReason, Time: beginning}
	kept := from
	for i := from; wide(k.scope) && i < to; i++ {
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
func (t Timeline) deny(k key) Timeline {
	version, _ := t.highest(k)
	from, to := t.find(k)
	// Only the newest mark matters: it outranks every other at every time.
	for i := to - 1; i >= from; i-- {
		if t[i].unreadable() {
			t = slices.Delete(t, i, i+1)
		}
	}
	return t.insert(Entry{Purpose: k.scope, Fields: k.fields, Version: version, Says: schemas.NoRecord, Time: beginning})
}

// highest gives the highest version that the key has had.
func (t Timeline) highest(k key) (version int64, known bool) {
	if k.scope == brokenErasure {
		if erasure, _ := t.split(); erasure != nil {
			return erasure.Version, true
		}
	} else if from, to := t.find(k); from < to {
		return t[from].Version, true
	}
	return math.MinInt64, false
}

// denyLink marks that a link of the identifier is broken. It lengthens t by one
// at most.
func (t Timeline) denyLink() Timeline {
	if slices.Contains(t, linkMark) {
		return t
	}
	return t.insert(linkMark)
}

// liftLink takes the mark away.
func (t Timeline) liftLink() Timeline {
	if i := slices.Index(t, linkMark); i >= 0 {
		return slices.Delete(t, i, i+1)
	}
	return t
}

var linkMark = Entry{Purpose: brokenLink, Says: schemas.NoRecord, Time: beginning}
