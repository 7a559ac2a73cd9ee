package oracle

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"lupa/schemas"
)

// ident is one identifier: its token in the ledger's domain, so that those of
// which the ledger holds only the token are found too.
type ident token

// ledger is the consent ledger as a list of what was said.
type ledger struct {
	entries map[ident][]*entry // of each identifier, in their order
	linked  map[ident][]*entry // links that name it
	ends    map[place]extent
	// holes says of which partitions messages are gone: earlier ones of a key
	// that has later ones.
	holes map[place]bool
	// stuck is the first message of each partition of which nobody can say
	// whom it is about. Nothing may be decided with it.
	stuck map[place]int64
	// common are the identifiers that the ledger names by a kind that people
	// share, named those of rows.
	common, named map[ident]bool
	// twins are the other readings of a text that stood in a row.
	twins  map[ident][]ident
	policy *policy
	raw    []rawValue
	count  int64
	now    *cut // all of it
}

// readLedger reads the whole ledger.
func (c *check) readLedger(ctx context.Context) error {
	if c.in.Ledger.empty() || c.keys == nil {
		return nil
	}
	if len(c.in.Ledger.Opaque) > 0 {
		for _, i := range [...]invariant{consented, erasedGone, failClosed} {
			c.limit(i, "the ledger is in another form than the JSON of its records, and was not read")
		}
		return nil
	}
	const limit = 1 << 30
	l := newLedger(c.policy())
	var err error
	if l.ends, err = c.in.Ledger.extents(ctx, limit); err != nil {
		return err
	}
	next := map[place]int64{}
	for p, e := range l.ends {
		next[p] = e.start
		l.holes[p] = e.start > 0
	}
	err = c.in.Ledger.read(ctx, l.ends, limit, func(p place, m *message) error {
		e := l.ends[p]
		l.holes[p] = l.holes[p] || e.compacted && m.offset > next[p]
		next[p] = m.offset + 1
		l.count++
		return l.add(c.keys, p, m)
	})
	if err != nil {
		return err
	}
	for p, e := range l.ends {
		l.holes[p] = l.holes[p] || e.compacted && e.end > next[p]
	}
	c.ledger = l
	return nil
}

func newLedger(p *policy) *ledger {
	return &ledger{
		entries: map[ident][]*entry{}, linked: map[ident][]*entry{},
		holes: map[place]bool{}, stuck: map[place]int64{},
		common: map[ident]bool{}, named: map[ident]bool{}, twins: map[ident][]ident{}, policy: p,
	}
}

// policy is what decides besides the ledger.
func (c *check) policy() *policy {
	return &policy{names: lexicon{c.in.Vocabulary}, regions: c.in.Regions, ages: c.in.Ages, region: c.in.Region, most: c.in.MaxLinked}
}

func (l *ledger) add(k *keyring, p place, m *message) error {
	if l.ends[p].leader == aFile {
		m.key = nil
	}
	e, err := k.readEntry(m.key, m.value)
	if err != nil {
		if _, ok := l.stuck[p]; !ok {
			l.stuck[p] = m.offset
		}
		return nil
	}
	l.collect(k, p, m)
	if e.kind == nothing {
		return nil
	}
	e.at, e.offset, e.told = p, m.offset, m.time
	kept := &e
	if e.whoShared {
		l.common[e.who] = true
	}
	l.entries[e.who] = append(l.entries[e.who], kept)
	if e.kind == links || e.kind == brokenLink {
		if e.otherShared {
			l.common[e.other] = true
		}
		l.entries[e.other] = append(l.entries[e.other], kept)
		l.linked[e.who] = append(l.linked[e.who], kept)
		l.linked[e.other] = append(l.linked[e.other], kept)
	}
	return nil
}

// collect notes the raw identifiers of a message, to be searched for.
func (l *ledger) collect(k *keyring, p place, m *message) {
	r, err := parseRecord(m.value, k.names)
	if err != nil {
		return
	}
	for _, who := range [...]principal{r.who, r.other} {
		if who.raw != "" {
			l.raw = append(l.raw, rawValue{who.raw, who.kind, origin{"", "a principal of the ledger", p, m.offset}})
		}
	}
}

// cut is a state of the ledger: what stands before the positions, and some
// messages more.
type cut struct {
	before map[place]int64
	more   map[*entry]bool
	// What was read already, as long as there is no more: closures and people.
	memo   map[ident][]ident
	people map[ident]*person
	bonds  map[[2]ident]bond
}

func newCut(before map[place]int64) *cut {
	return &cut{before: before, memo: map[ident][]ident{}, people: map[ident]*person{}, bonds: map[[2]ident]bond{}}
}

// whole is the ledger as it stands now.
func (l *ledger) whole() *cut {
	before := map[place]int64{}
	for p, e := range l.ends {
		before[p] = e.end
	}
	return newCut(before)
}

func (c *cut) sees(e *entry) bool { return e.offset < c.before[e.at] || c.more[e] }

// later gives what was said of the identifiers, and of all that were ever linked
// with them, behind the cut and not after the time, in the order of time.
func (l *ledger) later(c *cut, who []ident, until int64) []*entry {
	var list []*entry
	seen := map[*entry]bool{}
	for _, member := range l.everLinked(who) {
		for _, e := range l.entries[member] {
			if !c.sees(e) && e.told <= until && !seen[e] {
				seen[e] = true
				list = append(list, e)
			}
		}
	}
	slices.SortFunc(list, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.told, b.told), strings.Compare(a.at.String(), b.at.String()), cmp.Compare(a.offset, b.offset))
	})
	return list
}

// slotOf names the key of an entry.
func slotOf(e *entry, who ident) any {
	type slot struct {
		who, other ident
		kind       kind
		about      about
		purpose    schemas.Purpose
		fields     string
	}
	switch {
	case e.kind == links || e.kind == brokenLink:
		return slot{who: e.who, other: e.other, kind: links}
	case e.verb == schemas.Erase || e.kind == brokenErase:
		return slot{who: who, kind: brokenErase}
	}
	return slot{who: who, kind: says, about: e.about, purpose: e.purpose, fields: e.terms.fields}
}

// mayLack reports whether the cut may lack what it held once: a key of one of
// the identifiers has messages behind the cut, none before it, and its
// partition has holes.
func (l *ledger) mayLack(c *cut, who []ident) bool {
	for _, member := range l.everLinked(who) {
		before, behind := map[any]bool{}, map[any]bool{}
		for _, e := range l.entries[member] {
			switch {
			case c.sees(e):
				before[slotOf(e, member)] = true
			case l.holes[e.at]:
				behind[slotOf(e, member)] = true
			}
		}
		for slot := range behind {
			if !before[slot] {
				return true
			}
		}
	}
	return false
}

// hasHoles reports whether any message of the ledger may be gone.
func (l *ledger) hasHoles() bool {
	for _, holes := range l.holes {
		if holes {
			return true
		}
	}
	return false
}
