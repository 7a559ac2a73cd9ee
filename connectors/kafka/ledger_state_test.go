package kafka

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"

	"lupa/pipeline"
	"lupa/schemas"
)

// counted is a view that remembers which offsets it was given.
type counted struct {
	table
	offsets map[int32][]int64
}

func (v *counted) ApplyMessages(m *schemas.LedgerMessages) (int, error) {
	v.mu.Lock()
	if v.offsets == nil {
		v.offsets = map[int32][]int64{}
	}
	v.offsets[m.Partition] = append(v.offsets[m.Partition], m.Offsets...)
	v.mu.Unlock()
	return v.table.ApplyMessages(m)
}

// stateOf gives the state of a ledger that follows, with all that is there.
func stateOf(t *testing.T, l *Ledger) (s LedgerState) {
	t.Helper()
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if err := l.Still(bounded(t), func(now LedgerState) error { s = now; return nil }); err != nil {
		t.Fatal(err)
	}
	return s
}

// A ledger goes on from a state: what was before it is not read again, and
// nothing after it is left out.
func TestLedgerResumes(t *testing.T) {
	for _, policy := range []string{"delete", "compact"} {
		t.Run(policy, func(t *testing.T) {
			k := fake(t)
			topic(t, k, "x", 2, policy)
			p := producer(t, k)
			for i := range 10 {
				putKey(t, p, int32(i%2), fmt.Sprint("k", i), []byte("before"))
			}
			first := follow(t, connect(t, k), &table{}, LedgerOptions{})
			state := stateOf(t, first)
			first.Close()
			for i := range 6 {
				putKey(t, p, int32(i%2), fmt.Sprint("later", i), []byte("after"))
			}
			view := &counted{}
			l, err := connect(t, k).Ledger("x", view, LedgerOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Resume(bounded(t), state); err != nil {
				t.Fatal(err)
			}
			if err := l.Start(bounded(t)); err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			want := map[int32][]int64{0: {5, 6, 7}, 1: {5, 6, 7}}
			if d := cmp.Diff(want, view.offsets); d != "" {
				t.Error(d)
			}
			if v, err := l.Barrier(bounded(t)); err != nil || v[pipeline.Partition{Topic: "x"}] != 8 {
				t.Error(v, err)
			}
			if err := l.Resume(bounded(t), state); err == nil {
				t.Error("resumed after the start")
			}
		})
	}
}

// A state that is not of this log is refused, and says so as such.
func TestLedgerRefusesForeignState(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 2, "delete")
	p := producer(t, k)
	for i := range 10 {
		putKey(t, p, int32(i%2), fmt.Sprint("k", i), []byte("v"))
	}
	l := follow(t, connect(t, k), &table{}, LedgerOptions{})
	good := stateOf(t, l)
	at := pipeline.Partition{Topic: "x", ID: 1}
	moved := func(m pipeline.Mark) LedgerState {
		s := good
		s.Marks = maps.Clone(good.Marks)
		s.Marks[at] = m
		return s
	}
	other := good
	other.Cluster = "other"
	renamed := good
	renamed.Topic = "y"
	again := good
	again.TopicID[3]++
	fewer := good
	fewer.Marks = pipeline.Positions{{Topic: "x", ID: 7}: {}}
	for name, s := range map[string]LedgerState{
		"another cluster": other, "another topic": renamed, "a namesake": again, "a partition that is not there": fewer,
		"behind the end":         moved(pipeline.Mark{Next: 6, Anchor: good.Marks[at].Anchor}),
		"another batch":          moved(pipeline.Mark{Next: 5, Anchor: anchor{true, 4, 7}.mark(good.Cluster)}),
		"an anchor that is none": moved(pipeline.Mark{Next: 5, Anchor: "x"}),
	} {
		fresh, err := connect(t, k).Ledger("x", &table{}, LedgerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = fresh.Resume(bounded(t), s)
		if _, ok := errors.AsType[*StateError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	fresh, err := connect(t, k).Ledger("x", &table{}, LedgerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Resume(bounded(t), good); err != nil {
		t.Error("the good one:", err)
	}
}

// What the log has deleted meanwhile the view has not seen.
func TestLedgerRefusesStateBehindTheLog(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	putKey(t, p, 0, "a", []byte("1"))
	l := follow(t, connect(t, k), &table{}, LedgerOptions{})
	state := stateOf(t, l)
	for range 5 {
		putKey(t, p, 0, "a", []byte("2"))
	}
	admin := kadm.NewClient(p)
	if _, err := admin.DeleteRecords(bounded(t), kadm.Offsets{"x": {0: {Topic: "x", Partition: 0, At: 4}}}); err != nil {
		t.Fatal(err)
	}
	fresh, err := connect(t, k).Ledger("x", &table{}, LedgerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = fresh.Resume(bounded(t), state)
	if _, ok := errors.AsType[*StateError](err); !ok {
		t.Error(err)
	}
}

// Tombstones that compaction removed since the state was kept say nothing any
// more, so an old state is none.
func TestLedgerRefusesOldStateOfCompactedTopic(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "compact")
	putKey(t, producer(t, k), 0, "a", []byte("1"))
	state := stateOf(t, follow(t, connect(t, k), &table{}, LedgerOptions{}))
	for age, fits := range map[time.Duration]bool{11 * time.Hour: true, 13 * time.Hour: false, -time.Hour: false} {
		fresh, err := connect(t, k).Ledger("x", &table{}, LedgerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		fresh.now = func() time.Time { return state.Time.Add(age) }
		if err := fresh.Resume(bounded(t), state); (err == nil) != fits {
			t.Error(age, err)
		}
	}
}

// Of a compacted topic, what a state has not read may be older than the moment in
// which it was taken: its tombstones may be gone so much sooner.
func TestStateOfWhatWasReadToItsEnd(t *testing.T) {
	at := func(hour int) time.Time { return time.Unix(int64(hour)*3600, 0) }
	a, b := pipeline.Partition{Topic: "x"}, pipeline.Partition{Topic: "x", ID: 1}
	l := &Ledger{
		applied: pipeline.Vector{a: 5, b: 7}, level: map[pipeline.Partition]time.Time{a: at(1), b: at(2)},
		fetcher: &fetcher{parts: []*partition{{id: a, stable: 9, level: at(8)}, {id: b, stable: 7, level: at(6)}}},
	}
	if got := l.readToEnds(at(9)); !got.Equal(at(1)) {
		t.Errorf("a partition waits: %s", got)
	}
	l.applied[a] = 9
	if got := l.readToEnds(at(9)); !got.Equal(at(6)) {
		t.Errorf("all is applied: %s", got)
	}
	l.fetcher.parts[1].stable = 8
	if got := l.readToEnds(at(9)); !got.Equal(at(6)) {
		t.Errorf("there is more: %s", got)
	}
	l.gapless = true
	if got := l.readToEnds(at(9)); !got.Equal(at(9)) {
		t.Errorf("nothing is compacted: %s", got)
	}
}

// Nothing is applied while a state is taken, and a ledger that is closed gives
// none.
func TestStillHoldsTheView(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	view := &counted{}
	l := follow(t, connect(t, k), view, LedgerOptions{})
	err := l.Still(bounded(t), func(s LedgerState) error {
		putKey(t, p, 0, "a", []byte("1"))
		if len(view.copy()) > 0 || len(s.Marks) > 0 {
			t.Error("the view moved")
		}
		return errRefused
	})
	if !errors.Is(err, errRefused) {
		t.Error(err)
	}
	if s := stateOf(t, l); s.Marks[pipeline.Partition{Topic: "x"}].Next != 1 {
		t.Error(s)
	}
	l.Close()
	if err := l.Still(bounded(t), func(LedgerState) error { return nil }); err == nil {
		t.Error("a closed ledger has a state")
	}
}

// compactions is a view that remembers of which offsets others may be gone.
type compactions struct {
	table
	at map[bool][]int64
}

func (v *compactions) ApplyMessages(m *schemas.LedgerMessages) (int, error) {
	v.mu.Lock()
	if v.at == nil {
		v.at = map[bool][]int64{}
	}
	v.at[m.Compacted] = append(v.at[m.Compacted], m.Offsets...)
	v.mu.Unlock()
	return v.table.ApplyMessages(m)
}

// What a compacted topic has at the start may stand for more than is there; what
// comes after, and any other topic, is whole.
func TestLedgerTellsWhatMayBeCompacted(t *testing.T) {
	for policy, want := range map[string]map[bool][]int64{"compact": {true: {0, 1}, false: {2}}, "delete": {false: {0, 1, 2}}} {
		k := fake(t)
		topic(t, k, "x", 1, policy)
		p := producer(t, k)
		putKey(t, p, 0, "a", []byte("1"))
		putKey(t, p, 0, "b", []byte("1"))
		view := &compactions{}
		l := follow(t, connect(t, k), view, LedgerOptions{})
		putKey(t, p, 0, "a", []byte("2"))
		if _, err := l.Barrier(bounded(t)); err != nil {
			t.Fatal(err)
		}
		view.mu.Lock()
		if d := cmp.Diff(want, view.at); d != "" {
			t.Errorf("%s: %s", policy, d)
		}
		view.mu.Unlock()
	}
}
