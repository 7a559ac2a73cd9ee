package consent

import (
	"slices"
	"testing"

	"lupa/schemas"
)

func numbered(n uint64) schemas.Token { return cheap{}.Token(schemas.UserID, []byte(benchName(n))) }

// TestJournal compares journals of several sizes, round and round, with a list.
func TestJournal(t *testing.T) {
	for _, limit := range []int{1, 2, 7, pageSize - 1, pageSize, pageSize + 1, 2*pageSize + 5} {
		j := newJournal(limit)
		var all []schemas.Token
		check := func(from, most int) {
			n := len(all) - from
			var got []schemas.Token
			for {
				part, known := j.since(uint64(from+len(got)), most)
				if want := n == 0 || n-len(got) <= limit; known != want {
					t.Fatalf("limit %d: the last %d of %d changes: known %t, want %t", limit, n, len(all), known, want)
				}
				if len(part) > most {
					t.Fatalf("%d changes at once, want %d at most", len(part), most)
				}
				if got = append(got, part...); len(part) == 0 {
					break
				}
			}
			if n <= limit && !slices.Equal(got, all[from:]) {
				t.Fatalf("limit %d: the last %d of %d changes are others", limit, n, len(all))
			}
		}
		check(0, 1)
		for i := range 3*limit + 2 {
			token := numbered(uint64(i))
			j.note(&token)
			all = append(all, token)
			if i%(1+limit/5) != 0 {
				continue
			}
			for _, n := range []int{1, limit / 2, limit - 1, limit, limit + 1} {
				if n > 0 && n <= len(all) {
					check(len(all)-n, limit)
					check(len(all)-n, 1+n/3)
				}
			}
		}
	}
}
