package consent

import (
	"slices"
	"testing"
)

// TestJournal compares journals of several sizes, round and round, with a list.
func TestJournal(t *testing.T) {
	for _, limit := range []int{1, 2, 7, pageSize - 1, pageSize, pageSize + 1, 2*pageSize + 5} {
		j := newJournal(limit)
		var all []int32
		check := func(from, most int) {
			got, known := j.since(uint64(from), most)
			n := len(all) - from
			if want := n <= limit && n <= most; known != want {
				t.Fatalf("limit %d: %d of %d changes, at most %d: known %t, want %t", limit, n, len(all), most, known, want)
			}
			if known && !slices.Equal(got, all[from:]) {
				t.Fatalf("limit %d: the last %d of %d changes are others", limit, n, len(all))
			}
		}
		check(0, 0)
		for i := range 3*limit + 2 {
			j.note(int32(i * 3))
			all = append(all, int32(i*3))
			if i%(1+limit/5) != 0 {
				continue
			}
			for _, n := range []int{1, limit / 2, limit - 1, limit, limit + 1} {
				if n > 0 && n <= len(all) {
					check(len(all)-n, len(all))
					check(len(all)-n, n)
					check(len(all)-n, n-1)
				}
			}
		}
	}
}
