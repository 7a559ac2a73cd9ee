package consent

import "testing"

// TestStorePages grows timelines past the size of a page, among others, and
// nodes too: no timeline has an entry of another, and all have their own.
func TestStorePages(t *testing.T) {
	var s store
	const long, few = 2*pageSize + 1, 3
	ids := make([]int32, 64)
	for i := range ids {
		token := numbered(uint64(i))
		ids[i] = s.node(&token)
	}
	say := func(id int32, version int) {
		n := s.nodes.at(id)
		s.close(n, append(s.open(n), Entry{Version: int64(version), Time: int64(id)}))
	}
	for version := range long {
		say(ids[0], version)
		for i, id := range ids {
			// Each has twice as many entries as the one before it, up to 1<<12.
			if i > 0 && version < 1<<min(i, 12) {
				say(id, version)
			}
		}
	}
	others := make([]int32, pageSize)
	for i := range others {
		token := numbered(uint64(len(ids) + i))
		others[i] = s.node(&token)
		for version := range few {
			say(others[i], version)
		}
	}
	check := func(id int32, want int) {
		line := s.timeline(s.nodes.at(id))
		if len(line) != want {
			t.Fatalf("node %d has %d entries, want %d", id, len(line), want)
		}
		for version, e := range line {
			if e.Version != int64(version) || e.Time != int64(id) {
				t.Fatalf("node %d has entry %d of node %d in place %d", id, e.Version, e.Time, version)
			}
		}
	}
	for i, id := range ids {
		want := 1 << min(i, 12)
		if i == 0 {
			want = long
		}
		check(id, want)
	}
	for _, id := range others {
		check(id, few)
	}
}
