package pipeline

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Commits of several workers become one a table, and intervals of one
// partition must follow each other: two that begin at the same offset are the
// same rows twice.
func TestMerge(t *testing.T) {
	p, q := Partition{Topic: "events"}, Partition{Topic: "events", ID: 1}
	commit := func(table int, p Partition, from, to int64) *Commit {
		return &Commit{
			Table: table, Files: []File{{Table: table, Rows: to - from}}, Moves: map[Partition]Move{p: {From: from, To: Mark{Next: to}}},
			Counts: Counts{Read: to - from, Dropped: to - from}, Ledger: Vector{p: to},
		}
	}
	for name, c := range map[string]struct {
		staged [][]*Commit
		want   map[Partition]Move
		fails  bool
	}{
		"two partitions": {
			staged: [][]*Commit{{commit(0, p, 0, 10)}, {commit(0, q, 3, 8)}},
			want:   map[Partition]Move{p: {0, Mark{Next: 10}}, q: {3, Mark{Next: 8}}},
		},
		"end to end": {
			staged: [][]*Commit{{commit(0, p, 0, 10)}, {commit(1, p, 7, 9)}, {commit(0, p, 10, 12)}, {commit(0, p, 12, 12)}},
			want:   map[Partition]Move{p: {0, Mark{Next: 12}}},
		},
		"the same twice": {staged: [][]*Commit{{commit(0, p, 0, 10)}, {commit(0, p, 0, 10)}}, fails: true},
		"overlapping":    {staged: [][]*Commit{{commit(0, p, 0, 10)}, {commit(0, p, 5, 20)}}, fails: true},
		"a gap":          {staged: [][]*Commit{{commit(0, p, 0, 10)}, {commit(0, p, 11, 20)}}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			merged := make([]*Commit, 2)
			var err error
			for _, s := range c.staged {
				if err == nil {
					err = merge(merged, s)
				}
			}
			if (err != nil) != c.fails {
				t.Fatalf("error %v, want one: %t", err, c.fails)
			}
			if c.fails {
				return
			}
			if diff := cmp.Diff(c.want, merged[0].Moves); diff != "" {
				t.Errorf("moves (-want +got):\n%s", diff)
			}
			var rows int64
			for _, f := range merged[0].Files {
				rows += f.Rows
			}
			if rows != merged[0].Counts.Read {
				t.Errorf("%d rows in files, %d read", rows, merged[0].Counts.Read)
			}
		})
	}
}
