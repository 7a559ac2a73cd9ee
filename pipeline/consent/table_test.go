package consent

import (
	"testing"

	"lupa/schemas"
)

func numbered(n uint64) schemas.Token { return cheap{}.Token(schemas.UserID, []byte(benchName(n))) }

// TestTable grows through several sizes; every token has its own node, and one
// that was not inserted has none.
func TestTable(t *testing.T) {
	var s store
	const n = 3*block + 5
	tokens := []schemas.Token{{}}
	for i := range uint64(2 * n) {
		tokens = append(tokens, numbered(i))
	}
	ids, out := make([]int32, len(tokens)), make([]*node, len(tokens))
	for have := range n {
		s.index.find(&s.nodes, tokens, ids, out)
		for i, found := range out {
			id, want := missing, (*node)(nil)
			if i > 0 && i <= have {
				id = int32(i - 1)
				want = s.nodes.at(id)
			}
			if got := s.index.lookup(&s.nodes, &tokens[i]); found != want || ids[i] != id || got != id {
				t.Fatalf("with %d tokens, token %d has nodes %d and %d, want %d", have, i, ids[i], got, id)
			}
		}
		token := numbered(uint64(have))
		s.node(&token)
		if again := s.node(&token); int(again) != have || s.nodes.count != have+1 {
			t.Fatalf("token %d has node %d of %d", have, again, s.nodes.count)
		}
	}
}

// TestTableComparesTokens: what only hashes alike is somebody else. The nodes
// are given other tokens under the slots of the first ones.
func TestTableComparesTokens(t *testing.T) {
	var s store
	first, second := numbered(1), numbered(2)
	s.node(&first)
	s.nodes.at(0).token = second
	ids, out := []int32{0}, []*node{s.nodes.at(0)}
	s.index.find(&s.nodes, []schemas.Token{first}, ids, out)
	if out[0] != nil || ids[0] != missing || s.index.lookup(&s.nodes, &first) != missing {
		t.Error("a token was found by its hash alone")
	}
	// A second node in the same chain, with the token looked for.
	s.nodes.add(&first)
	s.index.insert(&s.nodes)
	s.index.find(&s.nodes, []schemas.Token{first}, ids, out)
	if got := s.index.lookup(&s.nodes, &first); out[0] != s.nodes.at(1) || ids[0] != 1 || got != 1 {
		t.Errorf("node %d behind one that hashes alike, want 1", got)
	}
}
