package consent

import "lupa/schemas"

// Known reports whether the ledger names an identifier, and how many identifiers
// are one subject with it, itself included.
func (v *View) Known(token schemas.Token) (known bool, linked int) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	id := v.store.index.lookup(&v.store.nodes, &token)
	if id == missing {
		return false, 0
	}
	n := v.store.nodes.at(id)
	if n.closure == none {
		return true, 1
	}
	return true, int(v.store.closures[v.store.root(n.closure)].size)
}
