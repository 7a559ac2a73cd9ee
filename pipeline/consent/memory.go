package consent

import (
	"unsafe"

	"lupa/schemas"
)

// MemoryBytes gives how much memory the view has for what it knows.
func (v *View) MemoryBytes() int64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	const bucket = 48 // about what a map takes beside a key and a value of 16 bytes
	s := &v.store
	bytes := s.shelf.MemoryBytes() + s.graph.memory()
	for _, page := range s.journal.pages {
		bytes += int64(len(page)) * int64(unsafe.Sizeof(schemas.Token{}))
	}
	bytes += int64(len(v.rules.terms)) * (2*int64(unsafe.Sizeof(schemas.Terms{})) + bucket)
	// A map is half full on average.
	return bytes + int64(len(v.reviews.pending))*int64(unsafe.Sizeof(schemas.Token{})+unsafe.Sizeof(review{})+1)*2
}

func (g *graph) memory() int64 {
	return int64(len(g.vertices.pages))*pageSize*int64(unsafe.Sizeof(vertex{})) +
		int64(len(g.edges.pages))*pageSize*int64(unsafe.Sizeof(edge{})) + 4*int64(len(g.index))
}

// Close lets go of the memory that Go does not manage. Nothing of the view may be
// used after it.
func (v *View) Close() {
	v.applying.Lock()
	defer v.applying.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.store.shelf.Close()
}
