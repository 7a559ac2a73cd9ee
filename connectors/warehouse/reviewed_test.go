package warehouse

import (
	"context"
	"math"
	"testing"

	"lupa/pipeline"
)

// What the ledger said before the first rows were decided is not late for them;
// all that comes after is, whatever later commits were decided by.
func TestReviewedTo(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	p := pipeline.Partition{Topic: "clicks"}
	at := func(s *Sink, partition int32) int64 { return s.ReviewedTo("consent", partition) }
	if at(s, 0) != math.MaxInt64 {
		t.Error("a table without rows has something to review")
	}
	// A commit without rows is no beginning.
	empty := clicksCommit(nil, p, 0, 10, nil)
	if err := s.Commit(context.Background(), empty); err != nil {
		t.Fatal(err)
	}
	if at(s, 0) != math.MaxInt64 {
		t.Error("a commit without rows has something to review")
	}
	writeAndCommit(t, s, p, 10, 5)
	w := s.Writer()
	defer w.Close()
	rows := makeClicks(15, 5)
	later := clicksCommit(write(t, w, p, rows), p, 15, 20, rows)
	later.Ledger = pipeline.Vector{{Topic: "consent", ID: 0}: 99, {Topic: "consent", ID: 1}: 98, {Topic: "consent", ID: 2}: 1}
	if err := s.Commit(context.Background(), later); err != nil {
		t.Fatal(err)
	}
	again := openSink(t, Options{Dir: dir, Contracts: contracts()})
	for _, s := range []*Sink{s, again} {
		if at(s, 0) != 17 || at(s, 1) != 4 || at(s, 2) != 0 {
			t.Error(at(s, 0), at(s, 1), at(s, 2))
		}
	}
}
