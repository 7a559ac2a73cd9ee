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
	out := make([]int32, len(tokens))
	for have := range n {
		s.index.find(s.nodes, tokens, out)
		for i, id := range out {
			want := missing
			if i > 0 && i <= have {
				want = int32(i - 1)
			}
			if id != want || s.index.lookup(s.nodes, &tokens[i]) != want {
				t.Fatalf("with %d tokens, token %d has node %d, want %d", have, i, id, want)
			}
		}
		token := numbered(uint64(have))
		s.node(&token)
		if again := s.node(&token); int(again) != have || len(s.nodes) != have+1 {
			t.Fatalf("token %d has node %d of %d", have, again, len(s.nodes))
		}
	}
}

// TestTableComparesTokens: what only hashes alike is somebody else. The nodes
// are given other tokens under the slots of the first ones.
func TestTableComparesTokens(t *testing.T) {
	var s store
	first, second := numbered(1), numbered(2)
	s.node(&first)
	s.nodes[0].token = second
	out := []int32{7}
	s.index.find(s.nodes, []schemas.Token{first}, out)
	if out[0] != missing || s.index.lookup(s.nodes, &first) != missing {
		t.Error("a token was found by its hash alone")
	}
	// A second node in the same chain, with the token looked for.
	s.nodes = append(s.nodes, node{token: first, closure: none})
	s.index.insert(s.nodes)
	s.index.find(s.nodes, []schemas.Token{first}, out)
	if out[0] != 1 || s.index.lookup(s.nodes, &first) != 1 {
		t.Errorf("node %d behind one that hashes alike, want 1", out[0])
	}
}
