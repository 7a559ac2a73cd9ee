package oracle

import (
	"slices"

	"lupa/schemas"
)

// Who is meant by a row. Links and unlinks of two identifiers have versions; the
// highest wins. Those that are linked are one subject, but for identifiers that
// several people share: nothing passes through these from one person to another.

// line is an identifier that is heard for a row.
type line struct {
	*person
	// full says that its grants count, and its erasures, duties and birth; of
	// others only what they deny.
	full bool
	// capped says that it is one of too many, so that nothing is believed of it
	// but its own erasure.
	capped bool
}

// lines gives those who are heard, and whether anybody is of a subject that has
// grown too large.
func (l *ledger) lines(c *cut, who []ident) (lines []line, capped bool) {
	at := map[ident]int{}
	add := func(n line) {
		if i, ok := at[n.who]; ok {
			lines[i].full, lines[i].capped = lines[i].full || n.full, lines[i].capped && n.capped
			return
		}
		at[n.who] = len(lines)
		lines = append(lines, n)
	}
	shared := func(w ident) bool { return l.named[w] || l.isShared(c, w) }
	var common, people []ident
	for _, w := range who {
		switch {
		case shared(w):
			common = append(common, w)
		case !l.isKnown(c, w) && slices.ContainsFunc(l.twins[w], func(t ident) bool { return slices.Contains(who, t) && shared(t) }):
			// Another reading of a text that is known as several people's.
		default:
			people = append(people, w)
		}
	}
	for _, w := range people {
		members := l.closure(c, w)
		if len(members) > l.policy.most {
			add(line{person: l.person(c, w), full: true, capped: true})
			capped = true
			continue
		}
		for _, member := range members {
			add(line{person: l.person(c, member), full: true})
		}
	}
	alone := len(people) == 0
	for _, w := range common {
		add(line{person: l.person(c, w), full: alone})
		for _, other := range l.neighbours(c, w) {
			if !alone || l.isShared(c, other) {
				continue
			}
			for _, member := range l.closure(c, other) {
				add(line{person: l.person(c, member)})
			}
		}
	}
	return lines, capped
}

// isKnown reports whether the ledger says anything of an identifier.
func (l *ledger) isKnown(c *cut, who ident) bool {
	return slices.ContainsFunc(l.entries[who], c.sees)
}

// closure gives an identifier that nobody shares and all that are linked with it.
func (l *ledger) closure(c *cut, who ident) []ident {
	if found, ok := c.memo[who]; ok {
		return found
	}
	found, seen := []ident{who}, map[ident]bool{who: true}
	for i := 0; i < len(found); i++ {
		for _, other := range l.neighbours(c, found[i]) {
			if !seen[other] && !l.isShared(c, other) {
				seen[other] = true
				found = append(found, other)
			}
		}
	}
	if c.memo != nil {
		for _, member := range found {
			c.memo[member] = found
		}
	}
	return found
}

// bond is what the ledger says of two identifiers.
type bond struct {
	linked, broken bool
	shared         [2]bool // which of the two, in the order of pairOf
}

// bond reads what was said of a pair.
func (l *ledger) bond(c *cut, pair [2]ident) bond {
	if b, ok := c.bonds[pair]; ok {
		return b
	}
	var b bond
	highest, unlinked := beginning, false
	var unreadable *int64
	for _, e := range l.linked[pair[0]] {
		if pairOf(e) != pair || !c.sees(e) {
			continue
		}
		if e.kind == brokenLink {
			version := highest
			unreadable = &version
			continue
		}
		if unreadable != nil && (e.version > *unreadable || *unreadable == beginning) {
			unreadable = nil
		}
		if e.version > highest {
			highest, unlinked, b = e.version, false, bond{}
		}
		if e.version < highest {
			continue
		}
		if e.verb == schemas.Unlink {
			unlinked = true
			continue
		}
		b.linked = true
		if e.shared {
			if e.other == pair[0] {
				b.shared[0] = true
			} else {
				b.shared[1] = true
			}
		}
	}
	b.broken = unreadable != nil || b.linked && unlinked
	if c.bonds != nil {
		c.bonds[pair] = b
	}
	return b
}

// partners are those who were ever linked with an identifier, or were not.
func (l *ledger) partners(who ident) (list []ident) {
	seen := map[ident]bool{who: true}
	for _, e := range l.linked[who] {
		for _, end := range [...]ident{e.who, e.other} {
			if !seen[end] {
				seen[end] = true
				list = append(list, end)
			}
		}
	}
	return list
}

// neighbours are those who are linked with an identifier.
func (l *ledger) neighbours(c *cut, who ident) (list []ident) {
	for _, other := range l.partners(who) {
		if l.bond(c, orderedPair(who, other)).linked {
			list = append(list, other)
		}
	}
	return list
}

// isShared reports whether an identifier is several people's.
func (l *ledger) isShared(c *cut, who ident) bool {
	if l.common[who] {
		return true
	}
	for _, other := range l.partners(who) {
		pair := orderedPair(who, other)
		b := l.bond(c, pair)
		if b.linked && (pair[0] == who && b.shared[0] || pair[1] == who && b.shared[1]) {
			return true
		}
	}
	return false
}

// hasBrokenLink reports whether it cannot be told with whom an identifier is linked.
func (l *ledger) hasBrokenLink(c *cut, who ident) bool {
	for _, other := range l.partners(who) {
		if l.bond(c, orderedPair(who, other)).broken {
			return true
		}
	}
	return false
}

// everLinked gives the identifiers and all that were ever linked with them, by
// whatever is in the ledger.
func (l *ledger) everLinked(who []ident) []ident {
	found, seen := []ident{}, map[ident]bool{}
	add := func(id ident) {
		if !seen[id] {
			seen[id] = true
			found = append(found, id)
		}
	}
	for _, w := range who {
		add(w)
	}
	for i := 0; i < len(found); i++ {
		for _, other := range l.partners(found[i]) {
			add(other)
		}
	}
	return found
}

func pairOf(e *entry) [2]ident { return orderedPair(e.who, e.other) }

func orderedPair(a, b ident) [2]ident {
	if string(a[:]) < string(b[:]) {
		return [2]ident{a, b}
	}
	return [2]ident{b, a}
}
