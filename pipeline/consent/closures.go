package consent

import "slices"

// settle makes the closures anew that are concerned by what was said since the
// last time, and appends the identifiers whose rows may be decided otherwise by
// it: ascending, each once.
func (g *graph) settle(changed []int32) []int32 {
	if len(g.said)+len(g.turned)+len(g.noted) == 0 {
		return changed
	}
	g.begin()
	base := g.round
	from := len(changed)
	for _, v := range g.turned {
		g.turn(v)
	}
	for _, id := range g.said {
		g.place(id, base)
	}
	changed = append(changed, g.noted...)
	for _, v := range g.affected {
		if g.vertices.at(v).stamp <= base {
			changed = g.search(v, base, changed)
		}
	}
	g.said, g.turned, g.noted, g.affected = emptied(g.said), emptied(g.turned), emptied(g.noted), emptied(g.affected)
	slices.Sort(changed[from:])
	return append(changed[:from], slices.Compact(changed[from:])...)
}

// begin starts a number of searches, which are never as many as are left then.
func (g *graph) begin() {
	if g.round >= 1<<31 {
		for v := range int32(g.vertices.count) {
			g.vertices.at(v).stamp = 0
		}
		g.round = 0
	}
	g.round++
}

// emptied gives back the memory of what is rarely as long.
func emptied(s []int32) []int32 {
	if cap(s) > pageSize {
		return nil
	}
	return s[:0]
}

// turn makes an identifier shared, or no longer, if links say so now.
func (g *graph) turn(v int32) {
	n := g.vertices.at(v)
	if (n.sharers > 0) == g.shared(v) {
		return
	}
	n.broken ^= isShared
	g.noted = append(g.noted, v)
	for _, first := range [...]int32{n.links, n.shares} {
		for half := first; half != none; half = g.after(half) {
			g.said = append(g.said, half>>1)
		}
	}
}

// place puts an edge where it belongs now.
func (g *graph) place(id int32, base uint32) {
	e := g.edges.at(id)
	to := inNone
	if e.says&isLinked != 0 {
		if to = inLinks; g.shared(e.ends[0]) || g.shared(e.ends[1]) {
			to = inShares
		}
	}
	was := e.in
	if was == to {
		return
	}
	g.move(id, to)
	for _, v := range e.ends {
		if was == inLinks || to == inLinks {
			g.affect(v, base)
		}
		if g.shared(v) {
			g.noted = append(g.noted, v)
		}
	}
}

// affect takes note of an identifier and the closure that it was in. Of a capped
// one it is enough to search from where something changed.
func (g *graph) affect(v int32, base uint32) {
	if g.vertices.at(v).stamp == base {
		return
	}
	if !g.capped(v) {
		g.closures--
	}
	for at := range g.closure(v) {
		g.vertices.at(at).stamp = base
		g.affected = append(g.affected, at)
	}
}

// search makes the closure of v anew. It ends as soon as there are too many, or
// when it meets an earlier search since base: that one ended so, or v would have
// been found by it.
func (g *graph) search(v int32, base uint32, changed []int32) []int32 {
	g.round++
	g.vertices.at(v).stamp = g.round
	g.found = append(g.found[:0], v)
	for i := 0; i < len(g.found); i++ {
		for half := g.vertices.at(g.found[i]).links; half != none; half = g.after(half) {
			other := g.vertices.at(g.other(half))
			if other.stamp == g.round {
				continue
			}
			met := other.stamp > base
			if !met {
				other.stamp = g.round
				g.found = append(g.found, g.other(half))
			}
			if met || len(g.found) > g.maxLinked {
				return g.outgrow(changed)
			}
		}
	}
	g.closures++
	if g.stands() {
		return changed
	}
	last := g.vertices.at(g.found[len(g.found)-1])
	for _, at := range g.found {
		if last.next == beyond {
			g.outgrown--
		}
		last.next = at
		last = g.vertices.at(at)
	}
	return append(changed, g.found...)
}

// outgrow caps what was found.
func (g *graph) outgrow(changed []int32) []int32 {
	for _, at := range g.found {
		if n := g.vertices.at(at); n.next != beyond {
			n.next = beyond
			g.outgrown++
			changed = append(changed, at)
		}
	}
	return changed
}

// stands reports whether what was found is a closure already.
func (g *graph) stands() bool {
	at := g.found[0]
	for n := 1; ; n++ {
		at = g.vertices.at(at).next
		if at == g.found[0] {
			return n == len(g.found)
		}
		// The ring may lead to where a search before this one has been.
		if at == beyond || g.vertices.at(at).stamp != g.round {
			return false
		}
	}
}
