package consent

import (
	"slices"

	"lupa/pipeline/consent/shelf"
	"lupa/schemas"
)

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

// Named sets named[i] to whether the ledger names tokens[i], which are looked up
// many at once, as those of a batch are.
func (v *View) Named(tokens []schemas.Token, named []bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var refs [1024]shelf.Ref
	for len(tokens) > 0 {
		n := min(len(tokens), len(refs))
		v.store.shelf.Find(tokens[:n], refs[:n])
		for i, ref := range refs[:n] {
			named[i] = ref != 0
		}
		tokens, named = tokens[n:], named[n:]
	}
}

// Declare says of what kind an identifier is that the ledger may have by its token
// alone. If it is several people's by that kind, it is from now on, as it is once a
// stage has met it in a column of that kind.
func (v *View) Declare(kind schemas.IdentifierKind, token schemas.Token) {
	if !slices.Contains(v.shared, kind) {
		return
	}
	v.mu.RLock()
	id, known := v.store.identity(&token)
	v.mu.RUnlock()
	if known && !id.shared {
		v.declareAll([]schemas.Token{token})
	}
}

// declareAll lets tokens be several people's.
func (v *View) declareAll(tokens []schemas.Token) {
	v.applying.Lock()
	defer v.applying.Unlock()
	v.changes = v.changes[:0]
	for _, token := range tokens {
		v.changes = append(v.changes, change{action: declared, token: token, tokenShared: true, offset: noOffset})
	}
	v.commit()
}
