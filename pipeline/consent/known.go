package consent

import "lupa/schemas"

// Known reports whether the ledger names an identifier, and how many identifiers
// are one subject with it, itself included: of one
// with more than MaxLinked, one more than that.
func (v *View) Known(token schemas.Token) (known bool, linked int) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	id, known := v.store.identity(&token)
	switch {
	case !known:
		return false, 0
	case id.vertex == none:
		return true, 1
	case v.store.graph.capped(id.vertex):
		return true, v.store.graph.maxLinked + 1
	}
	for range v.store.graph.closure(id.vertex) {
		linked++
	}
	return true, linked
}
