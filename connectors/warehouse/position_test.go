package warehouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// moveTo is the move of a partition in every table, as they stand.
func moveTo(t testing.TB, s *Sink, p pipeline.Partition, to *pipeline.Mark) PositionMove {
	t.Helper()
	states, err := s.States(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m := PositionMove{Partition: p, To: to, Reason: "retention was too short", Version: "v1", Time: noon}
	for i := range states {
		m.Tables = append(m.Tables, Stand{Table: i, At: states[i].Partitions[p].Mark, Found: "deleted"})
	}
	return m
}

// mustMove moves a partition in every table.
func mustMove(t testing.TB, s *Sink, p pipeline.Partition, to *pipeline.Mark) {
	t.Helper()
	m := moveTo(t, s, p, to)
	if done, err := s.MovePosition(context.Background(), m); err != nil || done != len(m.Tables) {
		t.Fatalf("%d of %d tables moved: %v", done, len(m.Tables), err)
	}
}

// movedProps are what a move writes, as a table has it.
func movedProps(t testing.TB, s *Sink, table int) map[string]string {
	t.Helper()
	props := lupaProps(load(t, s, table).Properties())
	maps.DeleteFunc(props, func(key, _ string) bool {
		return !strings.HasPrefix(key, propMoved) && !strings.HasPrefix(key, positionPrefix) && !strings.HasPrefix(key, claimPrefix)
	})
	return props
}

// TestMoveProperties: what a move stores, in every table, and that it outlives
// the commits and the expiry that follow.
func TestMoveProperties(t *testing.T) {
	ctx := context.Background()
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	s.keepSnapshots, s.keepFor = 1, 0
	writeAndCommit(t, s, events, 0, 10) // of one table only
	snapshot := load(t, s, clicksTable).CurrentSnapshot().SnapshotID
	mustMove(t, s, events, &pipeline.Mark{Next: 40, Anchor: "batch"})

	claimed := `{"epoch":1,"owner":"` + s.owner + `"}`
	rest := `"to":{"next":40,"anchor":"batch"},"epoch":1,"found":"deleted","reason":"retention was too short","version":"v1","time":"2026-03-14T12:00:00Z"}`
	want := []map[string]string{{
		"lupa.position.events/0": `{"next":40,"anchor":"batch"}`, "lupa.claim.events/0": claimed, "lupa.moved": "1",
		"lupa.moved.1": `{"partition":"events/0","from":{"next":10,"anchor":"anchor of events/0"},` + rest,
	}, {
		"lupa.position.events/0": `{"next":40,"anchor":"batch"}`, "lupa.claim.events/0": claimed, "lupa.moved": "1",
		"lupa.moved.1": `{"partition":"events/0",` + rest,
	}}
	for table := range want {
		if diff := cmp.Diff(want[table], movedProps(t, s, table)); diff != "" {
			t.Errorf("table %d (-want +got):\n%s", table, diff)
		}
	}
	if now := load(t, s, clicksTable); now.CurrentSnapshot().SnapshotID != snapshot || now.Properties()[propCommits] != "1" {
		t.Error("the move made a snapshot, or counts as a commit")
	}

	claims, w := claim(t, s, events), s.Writer()
	defer w.Close()
	for i := range int64(expireEvery - 1) {
		rows := makeClicks(40+i, 1)
		c := clicksCommit(write(t, w, events, rows), events, 40+i, 41+i, rows)
		c.Claims = claims
		if err := s.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(load(t, s, clicksTable).Metadata().Snapshots()); n != 1 {
		t.Fatalf("%d snapshots are left, the old ones did not expire", n)
	}
	after := movedProps(t, s, clicksTable)
	want[0]["lupa.claim.events/0"] = `{"epoch":2,"owner":"` + s.owner + `"}`
	want[0]["lupa.position.events/0"] = fmt.Sprintf(`{"next":%d,"anchor":"anchor of events/0"}`, 40+expireEvery-1)
	if diff := cmp.Diff(want[0], after); diff != "" {
		t.Errorf("after commits and expiry (-want +got):\n%s", diff)
	}

	states, err := s.States(ctx)
	if err != nil {
		t.Fatal(err)
	}
	record := Moved{
		Partition: events, From: &pipeline.Mark{Next: 10, Anchor: "anchor of events/0"}, To: &pipeline.Mark{Next: 40, Anchor: "batch"},
		Epoch: 1, Found: "deleted", Reason: "retention was too short", Version: "v1", Time: noon,
	}
	state := TableState{Table: "clicks", Moves: 1, Moved: []Moved{record}, Partitions: map[pipeline.Partition]PartitionState{
		events: {Mark: &pipeline.Mark{Next: 40 + expireEvery - 1, Anchor: "anchor of events/0"}, Epoch: 2, Owner: s.owner},
	}}
	if diff := cmp.Diff(state, states[clicksTable]); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

// TestMoveFencesAJob: a job that runs commits nothing any more, whether what it
// read comes after the new position or before, until it claims again; then it
// goes on from where the tables were moved to.
func TestMoveFencesAJob(t *testing.T) {
	ctx := context.Background()
	for _, to := range []int64{0, 20, 35} {
		dir := t.TempDir()
		job, operator := openSink(t, Options{Dir: dir, Contracts: contracts()}), openSink(t, Options{Dir: dir, Contracts: contracts()})
		w := job.Writer()
		defer w.Close()
		commit := func(claims pipeline.Claims, from int64) error {
			rows := makeClicks(from, 10)
			c := clicksCommit(write(t, w, events, rows), events, from, from+10, rows)
			c.Claims = claims
			return job.Commit(ctx, c)
		}
		claims := claim(t, job, events, other)
		if err := commit(claims, 10); err != nil {
			t.Fatal(err)
		}
		mustMove(t, operator, events, &pipeline.Mark{Next: to})
		if err := commit(claims, 20); !errors.Is(err, pipeline.ErrRefused) || !errors.Is(err, ErrClaim) {
			t.Errorf("moved to %d: error %v, want ErrClaim", to, err)
		}
		again, positions, err := job.Claim(ctx, []pipeline.Partition{events})
		if err != nil || positions[clicksTable][events].Next != to || positions[rejectsTable][events].Next != to {
			t.Fatalf("moved to %d: positions %v, error %v", to, positions, err)
		}
		if err := commit(again[clicksTable], to); err != nil {
			t.Errorf("moved to %d: %v", to, err)
		}
		if got := claim(t, job, other)[other]; got != 2 {
			t.Errorf("another partition was claimed %d times, want 2", got)
		}
	}
}

// TestMoveIsRefused: nothing is moved that does not stand as the operator was
// shown, and no table twice.
func TestMoveIsRefused(t *testing.T) {
	ctx := context.Background()
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	writeAndCommit(t, s, events, 0, 10)
	to := &pipeline.Mark{Next: 40}
	good := moveTo(t, s, events, to)
	before := []map[string]string{movedProps(t, s, clicksTable), movedProps(t, s, rejectsTable)}
	for _, tc := range []struct {
		name    string
		change  func(m *PositionMove)
		refused bool
	}{
		{"it stands elsewhere", func(m *PositionMove) { m.Tables[0].At = &pipeline.Mark{Next: 9, Anchor: "anchor of events/0"} }, true},
		{"behind another batch", func(m *PositionMove) { m.Tables[0].At = &pipeline.Mark{Next: 10} }, true},
		{"it has a position", func(m *PositionMove) { m.Tables[0].At = nil }, true},
		{"it has none", func(m *PositionMove) { m.Tables = []Stand{{Table: rejectsTable, At: &pipeline.Mark{}}} }, true},
		{"a table twice", func(m *PositionMove) { m.Tables[1].Table = 0 }, false},
		{"no such table", func(m *PositionMove) { m.Tables[1].Table = 2 }, false},
		{"below zero", func(m *PositionMove) { m.To = &pipeline.Mark{Next: -1} }, false},
		{"an anchor that JSON would change", func(m *PositionMove) { m.To = &pipeline.Mark{Anchor: "\xff"} }, false},
		{"a partition that JSON would change", func(m *PositionMove) { m.Partition.Topic = "\xff" }, false},
		{"no reason", func(m *PositionMove) { m.Reason = "" }, false},
	} {
		m := good
		m.Tables = append([]Stand(nil), good.Tables...)
		tc.change(&m)
		done, err := s.MovePosition(ctx, m)
		if err == nil || done != 0 || errors.Is(err, pipeline.ErrRefused) != tc.refused || errors.Is(err, ErrPosition) != tc.refused {
			t.Errorf("%s: %d moved, error %v", tc.name, done, err)
		}
		after := []map[string]string{movedProps(t, s, clicksTable), movedProps(t, s, rejectsTable)}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Fatalf("%s: tables (-before +after):\n%s", tc.name, diff)
		}
	}
	mustMove(t, s, events, to)
	if done, err := s.MovePosition(ctx, good); !errors.Is(err, ErrPosition) || done != 0 {
		t.Errorf("the same move again: %d moved, error %v", done, err)
	}
	mustMove(t, s, events, to) // as they stand by now: there is nothing to do
	if n := movedProps(t, s, clicksTable)[propMoved]; n != "1" {
		t.Errorf("%s moves, want 1", n)
	}
}

// TestMoveOutcomes: whatever becomes of the step, the table was moved once or
// not at all, and the caller is told which.
func TestMoveOutcomes(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name   string
		fail   func(f *flaky, peer *Sink)
		landed bool
		want   error
	}{
		{"fails before it landed", func(f *flaky, _ *Sink) { f.before = func() error { return errLost } }, false, errLost},
		{"fails after it landed", func(f *flaky, _ *Sink) { f.after = func() error { return errLost } }, true, nil},
		{"a peer claims first", func(f *flaky, peer *Sink) {
			f.before = func() error { return peer.claimUnlocked(ctx, clicksTable, events) }
		}, true, nil},
		{"a peer claims before the outcome is known", func(f *flaky, peer *Sink) {
			f.after = func() error { return errors.Join(errLost, peer.claimUnlocked(ctx, clicksTable, events)) }
		}, true, nil},
		{"a peer commits another partition first", func(f *flaky, peer *Sink) {
			f.before = func() error { return peer.commitUnlocked(ctx, true) }
		}, true, nil},
		{"a peer commits the partition first", func(f *flaky, peer *Sink) {
			f.before = func() error {
				c := &commitChange{peer, clicksCommit(nil, events, 10, 12, nil), "peer's commit"}
				_, err := peer.attempt(withDisk(ctx, peer.disk), peer.tables[clicksTable], c)
				return err
			}
		}, false, ErrPosition},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			s, peer := openSink(t, Options{Dir: dir, Contracts: contracts()}), openSink(t, Options{Dir: dir, Contracts: contracts()})
			writeAndCommit(t, s, events, 0, 10)
			m := moveTo(t, s, events, &pipeline.Mark{Next: 40})
			m.Tables = m.Tables[:1]
			f := &flaky{CatalogIO: s.catalog}
			s.catalog = f
			tc.fail(f, peer)
			if _, err := s.MovePosition(ctx, m); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			states, err := peer.States(ctx)
			if err != nil {
				t.Fatal(err)
			}
			state := states[clicksTable]
			landed := state.Moves == 1 && len(state.Moved) == 1 && state.Partitions[events].Mark.Next == 40
			if landed != tc.landed || !landed && state.Moves+len(state.Moved) > 0 {
				t.Errorf("state %+v", state)
			}
		})
	}
}

// TestMovesAreBounded keeps the last of them, and the count of all.
func TestMovesAreBounded(t *testing.T) {
	ctx := context.Background()
	s := openSink(t, Options{Dir: memoryDir(t), Contracts: contracts()})
	setProperty(t, s, "lupa.moved", "99")
	mustMove(t, s, events, &pipeline.Mark{Next: 1})
	for n := range 3 { // as the moves before it have done
		setProperty(t, s, fmt.Sprintf("lupa.moved.%d", n+1), movedProps(t, s, clicksTable)["lupa.moved.100"])
	}
	for next := int64(2); next < 4; next++ {
		mustMove(t, s, events, &pipeline.Mark{Next: next})
	}
	states, err := s.States(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for key := range movedProps(t, s, clicksTable) {
		if strings.HasPrefix(key, movedPrefix) {
			kept = append(kept, key)
		}
	}
	if state := states[clicksTable]; state.Moves != 102 || len(state.Moved) != 4 || state.Moved[3].To.Next != 3 {
		t.Errorf("%d moves, kept %v", state.Moves, kept)
	}
	if props := movedProps(t, s, clicksTable); props["lupa.moved.1"] != "" || props["lupa.moved.2"] != "" || props["lupa.moved.3"] == "" {
		t.Errorf("kept %v", kept)
	}
}

// TestRecordWithoutAMove: the position stays, also where there is none.
func TestRecordWithoutAMove(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	writeAndCommit(t, s, events, 0, 10)
	mustMove(t, s, events, nil)
	for table, want := range []string{`{"next":10,"anchor":"anchor of events/0"}`, ""} {
		props := movedProps(t, s, table)
		if props["lupa.position.events/0"] != want || props["lupa.moved"] != "1" || strings.Contains(props["lupa.moved.1"], `"to"`) {
			t.Errorf("table %d: %v", table, props)
		}
	}
}

// movingJob moves a partition of a warehouse, as the command does: it looks
// where the tables stand, and leaves out what stands there already.
func movingJob(dir string, d *disk) (err error) {
	ctx := context.Background()
	s, err := newSink(Options{Dir: dir, Contracts: contracts()}, d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.open(ctx); err != nil {
		return err
	}
	states, err := s.States(ctx)
	if err != nil {
		return err
	}
	m := PositionMove{Partition: events, To: &pipeline.Mark{Next: 40, Anchor: "batch"}, Reason: "r", Version: "v", Time: noon}
	for i := range states {
		m.Tables = append(m.Tables, Stand{Table: i, At: states[i].Partitions[events].Mark, Found: "deleted"})
	}
	_, err = s.MovePosition(ctx, m)
	return err
}

// TestMoveFailsAtEveryFileOperation: after a failure anywhere, between the
// tables too, every table is moved once or not at all, and the same command
// moves the rest.
func TestMoveFailsAtEveryFileOperation(t *testing.T) {
	for _, mode := range []struct {
		name string
		hook func(n, at int64, do func() error) error
	}{
		{"before it took effect", func(n, at int64, do func() error) error {
			if at >= n {
				return errInjected
			}
			return do()
		}},
		{"after it took effect", func(n, at int64, do func() error) error {
			if err := do(); err != nil || at < n {
				return err
			}
			return errInjected
		}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			failures, between := 0, 0
			for n := int64(1); ; n++ {
				dir := memoryDir(t)
				s := openSink(t, Options{Dir: dir, Contracts: contracts()})
				writeAndCommit(t, s, events, 0, 10)
				var ops atomic.Int64
				err := movingJob(dir, &disk{hook: func(_, _ string, do func() error) error { return mode.hook(n, ops.Add(1), do) }})
				if err != nil {
					failures++
				}
				first, second := moves(t, s, clicksTable), moves(t, s, rejectsTable)
				if first == 1 && second == 0 {
					between++
				}
				if second > first || err == nil && second != 1 {
					t.Errorf("operation %d: moved %d and %d times, error %v", n, first, second, err)
				}
				if err := movingJob(dir, &disk{}); err != nil {
					t.Fatalf("operation %d: the command after it: %v", n, err)
				}
				if a, b := moves(t, s, clicksTable), moves(t, s, rejectsTable); a != 1 || b != 1 {
					t.Errorf("operation %d: the tables were moved %d and %d times, want once", n, a, b)
				}
				if t.Failed() {
					return
				}
				if ops.Load() < n {
					if failures < 10 || between < 3 {
						t.Errorf("%d failures, %d between the tables: the hook does not see the file operations", failures, between)
					}
					return
				}
			}
		})
	}
}

// moves is how often a table was moved, if it stands where it was moved to.
func moves(t *testing.T, s *Sink, table int) int {
	t.Helper()
	state, err := tableState("", load(t, s, table).Properties())
	if err != nil {
		t.Fatal(err)
	}
	mark := state.Partitions[events].Mark
	if moved := mark != nil && *mark == (pipeline.Mark{Next: 40, Anchor: "batch"}); moved != (state.Moves > 0) || len(state.Moved) != state.Moves {
		t.Errorf("table %d: moved %d times, stands at %v", table, state.Moves, mark)
	}
	return state.Moves
}

// TestReasons: what may be kept for good of what an operator says.
func TestReasons(t *testing.T) {
	for _, good := range []string{"x", "topic was recreated, ticket OPS-12", "loss accepted @ noon", strings.Repeat("ä", 200)} {
		if err := CheckReason(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "  ", strings.Repeat("ä", 201), "two\nlines", "two\rlines", "two\u2028lines", "a\x00", "a\u202eb", "\xff",
		"asked by ada@example.org", "ada@localhost", "ada＠example.org", "ada%40example.org", "<ada@example.org>",
	} {
		err := CheckReason(bad)
		if err == nil {
			t.Errorf("%q passes", bad)
		} else if strings.Contains(err.Error(), "ada") || strings.Contains(err.Error(), "lines") && strings.Contains(err.Error(), "two") {
			t.Errorf("the error repeats the reason: %v", err)
		}
	}
}

// TestWhatIsNoRecord: a record that cannot be read stops who reads it.
func TestWhatIsNoRecord(t *testing.T) {
	good := `{"partition":"events/0","to":{"next":1},"epoch":1,"found":"fits","reason":"r","version":"v","time":"2026-03-14T12:00:00Z"}`
	if list, err := readMoved(iceberg.Properties{"lupa.moved.7": good, "lupa.moved": "7"}); err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	for _, tc := range []struct{ key, text string }{
		{"lupa.moved.1", "{"}, {"lupa.moved.1", "{}"}, {"lupa.moved.1", strings.Replace(good, "events/0", "events", 1)},
		{"lupa.moved.1", strings.Replace(good, `"epoch":1`, `"epoch":0`, 1)}, {"lupa.moved.x", good}, {"lupa.moved.0", good},
	} {
		if list, err := readMoved(iceberg.Properties{tc.key: tc.text}); err == nil || !strings.Contains(err.Error(), tc.key) {
			t.Errorf("%s %s reads as %v (%v)", tc.key, tc.text, list, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "x", "1.5"} {
		if n, err := countMoved(iceberg.Properties{"lupa.moved": text}); err == nil {
			t.Errorf("%q is a count of %d", text, n)
		}
	}
}
