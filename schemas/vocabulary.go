package schemas

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
)

// FirstGroup is the lowest number of a group of purposes, under which records
// can only take away. A Vocabulary numbers its groups from here.
const FirstGroup = Purpose(128)

// MaxGroups is how many groups a vocabulary may have.
const MaxGroups = 64

// IsGroup reports whether p is a group of purposes.
func (p Purpose) IsGroup() bool { return p >= FirstGroup && p < FirstGroup+MaxGroups }

// Vocabulary is the one table of the names under which purposes and channels
// are known: ours, and those of DPV, the TCF, Google Consent Mode, OneTrust,
// Segment and RudderStack. It is never changed once it is made.
type Vocabulary struct {
	groups []group
	// granted are the names that mean a purpose exactly, as a grant writes them.
	granted map[string]Purpose
	// spelled are the names that take away as they are usually written; plain and
	// terms are all of them, and DPV terms without their namespace, as bareName
	// gives them.
	spelled, plain, terms map[string]Purpose

	categories, signals map[string]PurposeSet
	tcf                 map[int]PurposeSet
	gpc                 PurposeSet
	covered             PurposeSet // by categories
	hash                [32]byte
}

type group struct {
	name      string
	purposes  PurposeSet
	objection Purpose // the group that an objection is to, NoPurpose if it is this one
}

// Granted gives what a grant under a name permits: the purpose that the name
// means exactly, or NoPurpose.
func (v *Vocabulary) Granted(name string) Purpose { return v.granted[name] }

// Denied gives what anything but a grant under a name takes away: no less than
// the name means, which is every purpose of a DPV term that is not known here and
// may be wide. It may be a group. A denial is not held to the exact spelling:
// case, space, hyphens, underscores and the namespace of a DPV term do not matter.
// A plain name that is like none of these is neither a purpose nor every.
func (v *Vocabulary) Denied(name string) (p Purpose, every bool) {
	if p, known := v.spelled[name]; known {
		return p, false
	}
	term, isTerm := name, false
	if cut := strings.LastIndexAny(name, ":#/"); cut >= 0 && strings.Contains(strings.ToLower(name[:cut]), "dpv") {
		term, isTerm = name[cut+1:], true
	}
	term = bareName(term)
	if term == anyPurpose {
		return NoPurpose, true
	}
	if p, known := v.plain[term]; known && !isTerm {
		return p, false
	}
	if p, known := v.terms[term]; known {
		return p, false
	}
	return NoPurpose, isTerm
}

// Objected is Denied for an objection (Art 21), which may reach further: one to
// direct marketing is also one to the profiling for it.
func (v *Vocabulary) Objected(name string) (p Purpose, every bool) {
	p, every = v.Denied(name)
	if p.IsGroup() {
		if wider := v.groups[p-FirstGroup].objection; wider != NoPurpose {
			return wider, every
		}
	}
	return p, every
}

// Set gives the purposes that p stands for: itself, or those of a group.
func (v *Vocabulary) Set(p Purpose) PurposeSet {
	if p.IsGroup() {
		if i := int(p - FirstGroup); i < len(v.groups) {
			return v.groups[i].purposes
		}
		return 0
	}
	return Purposes(p) & AllPurposes
}

// Name gives the name of a purpose or group, as records write it.
func (v *Vocabulary) Name(p Purpose) string {
	if p.IsGroup() {
		if i := int(p - FirstGroup); i < len(v.groups) {
			return v.groups[i].name
		}
		return ""
	}
	return p.String()
}

// ParseScope finds a purpose or group by the name that Name gives it.
func (v *Vocabulary) ParseScope(name string) (Purpose, bool) {
	if p, known := ParsePurpose(name); known {
		return p, true
	}
	i := slices.IndexFunc(v.groups, func(g group) bool { return g.name == name })
	if i < 0 {
		return NoPurpose, false
	}
	return FirstGroup + Purpose(i), true
}

// Category gives the purposes that a category of OneTrust, Segment or RudderStack
// is about, whose id is written as there.
func (v *Vocabulary) Category(id string) (PurposeSet, bool) {
	s, known := v.categories[id]
	return s, known
}

// CategoryPurposes gives the purposes that any category is about: those for which
// an event without a category says no.
func (v *Vocabulary) CategoryPurposes() PurposeSet { return v.covered }

// TCFPurpose gives the purposes that need purpose n of the TCF.
func (v *Vocabulary) TCFPurpose(n int) PurposeSet { return v.tcf[n] }

// GoogleSignal gives the purposes that need a signal of Google Consent Mode.
func (v *Vocabulary) GoogleSignal(name string) (PurposeSet, bool) {
	s, known := v.signals[name]
	return s, known
}

// GPC gives the purposes that Global Privacy Control refuses.
func (v *Vocabulary) GPC() PurposeSet { return v.gpc }

// Hash changes exactly when a name means something else, or a new one something.
// How groups are ordered does not count.
func (v *Vocabulary) Hash() [32]byte { return v.hash }

func (v *Vocabulary) sum() [32]byte {
	h := policyHasher{sha256.New()}
	h.text("lupa vocabulary 1")
	for _, names := range [...]map[string]Purpose{v.granted, v.spelled, v.plain, v.terms} {
		h.number(len(names))
		for _, name := range slices.Sorted(maps.Keys(names)) {
			h.text(name)
			h.text(v.Name(names[name]))
		}
	}
	h.number(len(v.groups))
	for _, g := range slices.SortedFunc(slices.Values(v.groups), func(a, b group) int { return strings.Compare(a.name, b.name) }) {
		h.text(g.name)
		h.purposes(g.purposes)
		h.text(v.Name(g.objection))
	}
	for _, sets := range [...]map[string]PurposeSet{v.categories, v.signals} {
		h.number(len(sets))
		for _, name := range slices.Sorted(maps.Keys(sets)) {
			h.text(name)
			h.purposes(sets[name])
		}
	}
	h.number(len(v.tcf))
	for _, n := range slices.Sorted(maps.Keys(v.tcf)) {
		h.number(n)
		h.purposes(v.tcf[n])
	}
	h.purposes(v.gpc)
	return [32]byte(h.sum.Sum(nil))
}
