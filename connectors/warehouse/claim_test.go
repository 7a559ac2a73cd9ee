package warehouse

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
)

// claim claims partitions and gives the claims of the clicks table.
func claim(t testing.TB, s *Sink, partitions ...pipeline.Partition) pipeline.Claims {
	t.Helper()
	claims, _, err := s.Claim(context.Background(), partitions)
	if err != nil {
		t.Fatal(err)
	}
	return claims[clicksTable]
}

// setProperty changes a table behind the sink's back.
func setProperty(t testing.TB, s *Sink, key, value string) {
	t.Helper()
	ctx := withDisk(context.Background(), s.disk)
	loaded, err := s.catalog.LoadTable(ctx, s.tables[clicksTable].ident)
	if err != nil {
		t.Fatal(err)
	}
	txn := loaded.NewTransaction()
	if err := txn.SetProperties(iceberg.Properties{key: value}); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Commit(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestClaimProperties: what a claim and a commit under it store, and that it
// outlives whatever follows.
func TestClaimProperties(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	s.keepSnapshots, s.keepFor = 1, 0
	claims := claim(t, s, events, other)
	if snapshot := load(t, s, clicksTable).CurrentSnapshot(); snapshot != nil {
		t.Error("a claim made a snapshot")
	}
	stored := map[string]string{
		"lupa.claim.events/0":             `{"epoch":1,"owner":"` + s.owner + `"}`,
		"lupa.claim.files/events.jsonl/3": `{"epoch":1,"owner":"` + s.owner + `"}`,
	}
	want := func(what string) {
		t.Helper()
		props := map[string]string{}
		for key, value := range load(t, s, clicksTable).Properties() {
			if strings.HasPrefix(key, claimPrefix) {
				props[key] = value
			}
		}
		if diff := cmp.Diff(stored, props); diff != "" {
			t.Errorf("claims after %s (-want +got):\n%s", what, diff)
		}
	}
	want("the claim")
	if props := load(t, s, rejectsTable).Properties(); props["lupa.claim.events/0"] != stored["lupa.claim.events/0"] {
		t.Error("the other table is not claimed")
	}

	w := s.Writer()
	defer w.Close()
	commit := func(p pipeline.Partition, from int64, n int) {
		t.Helper()
		rows := makeClicks(from, n)
		c := clicksCommit(write(t, w, p, rows), p, from, from+int64(n), rows)
		c.Claims = claims
		if err := s.Commit(context.Background(), c); err != nil {
			t.Fatal(err)
		}
	}
	commit(events, 0, 10)
	want("a commit")
	summary := load(t, s, clicksTable).CurrentSnapshot().Summary.Properties
	if summary["lupa.claim-epoch.events/0"] != "1" || summary["lupa.claim-epoch.files/events.jsonl/3"] != "" {
		t.Errorf("the snapshot says %v", lupaProps(summary))
	}
	empty := clicksCommit(nil, events, 10, 12, nil)
	empty.Claims = claims
	if err := s.Commit(context.Background(), empty); err != nil {
		t.Fatal(err)
	}
	want("a commit without rows")
	for i := range int64(expireEvery - 2) {
		commit(other, i, 1)
	}
	if n := len(load(t, s, clicksTable).Metadata().Snapshots()); n != 1 {
		t.Fatalf("%d snapshots are left, the old ones did not expire", n)
	}
	want("an expiry")
	positions, err := s.Positions(context.Background())
	if err != nil || positions[clicksTable][events].Next != 12 || positions[clicksTable][other].Next != expireEvery-2 {
		t.Errorf("positions %v (%v)", positions, err)
	}

	again := openSink(t, Options{Dir: dir, Contracts: contracts()})
	if got := claim(t, again, events); got[events] != 2 || len(got) != 1 {
		t.Errorf("claims %v, want 2 of events/0", got)
	}
	stored["lupa.claim.events/0"] = `{"epoch":2,"owner":"` + again.owner + `"}`
	want("another sink's claim")
}

// TestZombieUnderAnOldClaim: its rows were decided before another sink took
// over, and are refused although the position has not moved.
func TestZombieUnderAnOldClaim(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	zombie, heir := openSink(t, Options{Dir: dir, Contracts: contracts()}), openSink(t, Options{Dir: dir, Contracts: contracts()})
	w := zombie.Writer()
	defer w.Close()
	old := claim(t, zombie, events)
	rows := makeClicks(0, 20)
	for _, tc := range []struct {
		name   string
		claims func(claims pipeline.Claims) pipeline.Claims
	}{
		{"its own number", func(pipeline.Claims) pipeline.Claims { return old }},
		{"no number", func(pipeline.Claims) pipeline.Claims { return nil }},
		{"the heir's number", func(claims pipeline.Claims) pipeline.Claims { return claims }},
	} {
		files := write(t, w, events, rows)
		claims := claim(t, heir, events)
		c := clicksCommit(files, events, 0, 20, rows)
		c.Claims = tc.claims(claims)
		before := load(t, heir, clicksTable).MetadataLocation()
		err := zombie.Commit(ctx, c)
		if !errors.Is(err, pipeline.ErrRefused) || !errors.Is(err, ErrClaim) || !strings.Contains(err.Error(), "partition events/0 ") {
			t.Errorf("%s: error %v, want one of the claim that names the partition", tc.name, err)
		}
		if load(t, heir, clicksTable).MetadataLocation() != before {
			t.Errorf("%s: the refused commit changed the table", tc.name)
		}
		if left := dataFiles(t, dir); len(left) != 0 {
			t.Errorf("%s: %d files of the refused commit are left", tc.name, len(left))
		}
	}
	claims := claim(t, heir, events)
	w2 := heir.Writer()
	defer w2.Close()
	c := clicksCommit(write(t, w2, events, rows), events, 0, 20, rows)
	c.Claims = claims
	if err := heir.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantRows(events, rows), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Stats{Refused: 3, Claims: 1}, zombie.Stats()); diff != "" {
		t.Errorf("the zombie's stats (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Stats{Commits: 1, Claims: 4}, heir.Stats()); diff != "" {
		t.Errorf("the heir's stats (-want +got):\n%s", diff)
	}
}

// TestClaimStorm: whatever the order of claims made at once, every one has a
// number of its own, and who has the last commits.
func TestClaimStorm(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	const sinks, rounds = 4, 6
	partitions := []pipeline.Partition{events, other}
	owners := make([]map[pipeline.Partition]map[int64]int, rejectsTable+1) // by table: which sink had a number
	for i := range owners {
		owners[i] = map[pipeline.Partition]map[int64]int{events: {}, other: {}}
	}
	opened := make([]*Sink, sinks)
	for i := range opened {
		opened[i] = openSink(t, Options{Dir: dir, Contracts: contracts()})
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, s := range opened {
		wg.Go(func() {
			last := make([]pipeline.Claims, rejectsTable+1)
			for range rounds {
				claims, _, err := s.Claim(ctx, partitions)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for table := range claims {
					for p, epoch := range claims[table] {
						if epoch <= last[table][p] {
							t.Errorf("%s: claim %d follows %d", p, epoch, last[table][p])
						}
						if first, taken := owners[table][p][epoch]; taken {
							t.Errorf("%s: sinks %d and %d both have claim %d", p, first, i, epoch)
						}
						owners[table][p][epoch] = i
					}
					last[table] = claims[table]
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for table := range owners {
		for p, numbers := range owners[table] {
			if len(numbers) != sinks*rounds {
				t.Errorf("table %d: %d numbers for %s, want %d", table, len(numbers), p, sinks*rounds)
			}
			took := 0
			for i, s := range opened {
				c := &pipeline.Commit{Table: table, Moves: map[pipeline.Partition]pipeline.Move{p: {To: pipeline.Mark{Next: 0}}},
					Claims: pipeline.Claims{p: sinks * rounds}}
				err := s.Commit(ctx, c)
				switch {
				case err == nil:
					took++
					if owners[table][p][sinks*rounds] != i {
						t.Errorf("table %d: sink %d committed %s, it is sink %d's", table, i, p, owners[table][p][sinks*rounds])
					}
				case !errors.Is(err, ErrClaim):
					t.Error(err)
				}
			}
			if took != 1 {
				t.Errorf("table %d: %d sinks committed %s, want 1", table, took, p)
			}
		}
	}
}

// claimUnlocked claims without the lock, as a sink on another host would.
func (s *Sink) claimUnlocked(ctx context.Context, table int, partitions ...pipeline.Partition) error {
	_, err := s.change(withDisk(context.WithoutCancel(ctx), s.disk), s.tables[table], &claimChange{sink: s, partitions: partitions})
	return err
}

// TestClaimOutcomes: a claim whose answer is lost, or that is not alone, is
// found out about or made again.
func TestClaimOutcomes(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name    string
		fail    func(f *flaky, peer *Sink, cancel func())
		err     error
		epoch   int64 // of the claim of the first table
		unknown int64
	}{
		{"fails before it landed", func(f *flaky, _ *Sink, _ func()) { f.before = func() error { return errLost } }, errLost, 0, 1},
		{"fails after it landed", func(f *flaky, _ *Sink, _ func()) { f.after = func() error { return errLost } }, nil, 2, 1},
		{"the answer and the table are out of reach", func(f *flaky, _ *Sink, _ func()) {
			f.after = func() error { f.load = errLost; return errLost }
		}, errLost, 2, 1},
		{"a peer claims first", func(f *flaky, peer *Sink, _ func()) {
			f.before = func() error { return peer.claimUnlocked(ctx, clicksTable, events) }
		}, nil, 3, 0},
		{"a peer commits first", func(f *flaky, peer *Sink, _ func()) {
			f.before = func() error { return peer.commitUnlocked(ctx, true) }
		}, nil, 2, 0},
		{"a peer claims before the outcome is known", func(f *flaky, peer *Sink, _ func()) {
			f.after = func() error { return errors.Join(errLost, peer.claimUnlocked(ctx, clicksTable, events)) }
		}, nil, 4, 1},
		{"the caller gives up while it lands", func(f *flaky, _ *Sink, cancel func()) {
			f.after = func() error { cancel(); return context.Canceled }
		}, context.Canceled, 2, 1}, // found in the first table, and no time for the second
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			dir := t.TempDir()
			s, peer := openSink(t, Options{Dir: dir, Contracts: contracts()}), openSink(t, Options{Dir: dir, Contracts: contracts()})
			claim(t, peer, events)
			f := &flaky{CatalogIO: s.catalog}
			s.catalog = f
			tc.fail(f, peer, cancel)
			claims, positions, err := s.Claim(ctx, []pipeline.Partition{events})
			if !errors.Is(err, tc.err) {
				t.Errorf("error %v, want %v", err, tc.err)
			}
			f.load = nil
			stored, err := readClaims(load(t, s, clicksTable).Properties())
			if err != nil {
				t.Fatal(err)
			}
			want := storedClaim{tc.epoch, s.owner}
			if tc.epoch == 0 {
				want = storedClaim{1, peer.owner}
			}
			if stored[events] != want {
				t.Errorf("claim %v, want %v", stored[events], want)
			}
			if tc.err == nil && (claims[clicksTable][events] != tc.epoch || claims[rejectsTable][events] != 2 || len(positions) != 2) {
				t.Errorf("claims %v, positions %v", claims, positions)
			}
			if got := s.Stats().UnknownOutcomes; got != tc.unknown {
				t.Errorf("%d unknown outcomes, want %d", got, tc.unknown)
			}
			// Claiming again settles everything.
			next := claim(t, s, events)
			c := clicksCommit(nil, events, 0, 3, nil)
			c.Claims = next
			if err := s.Commit(context.Background(), c); err != nil {
				t.Errorf("the commit under the next claim: %v", err)
			}
		})
	}
}

// TestClaimOvertakesCommit: the claim lands between the commit's look at the
// table and its compare-and-swap.
func TestClaimOvertakesCommit(t *testing.T) {
	ctx := context.Background()
	for _, withFiles := range []bool{true, false} {
		t.Run(fmt.Sprintf("files=%t", withFiles), func(t *testing.T) {
			dir := t.TempDir()
			s, peer := openSink(t, Options{Dir: dir, Contracts: contracts()}), openSink(t, Options{Dir: dir, Contracts: contracts()})
			f := &flaky{CatalogIO: s.catalog}
			s.catalog = f
			claims := claim(t, s, events)
			w := s.Writer()
			defer w.Close()
			var rows []click
			var files []pipeline.File
			if withFiles {
				rows = makeClicks(0, 10)
				files = write(t, w, events, rows)
			}
			f.before = func() error { return peer.claimUnlocked(ctx, clicksTable, events) }
			c := clicksCommit(files, events, 0, 10, rows)
			c.Claims = claims
			if err := s.Commit(ctx, c); !errors.Is(err, pipeline.ErrRefused) || !errors.Is(err, ErrClaim) {
				t.Errorf("error %v, want ErrClaim", err)
			}
			loaded := load(t, s, clicksTable)
			if loaded.CurrentSnapshot() != nil || loaded.Properties()[propCommitID] != "" {
				t.Error("the commit landed")
			}
			if left := dataFiles(t, dir); len(left) != 0 {
				t.Errorf("%d files of the refused commit are left", len(left))
			}
		})
	}
}

// TestWhatIsNoClaim: a claim that cannot be read stops everything and is not
// taken for nobody's.
func TestWhatIsNoClaim(t *testing.T) {
	for _, text := range []string{"", "{}", `{"epoch":0,"owner":"x"}`, `{"epoch":-1,"owner":"x"}`, `{"epoch":1}`, `{"epoch":1,"owner":""}`,
		`{"epoch":1.5,"owner":"x"}`, `{"epoch":"1","owner":"x"}`, `{"epoch":9223372036854775808,"owner":"x"}`, `{"epoch":1,"owner":"x"`} {
		if _, err := readClaims(iceberg.Properties{"lupa.claim.events/0": text}); err == nil || !strings.Contains(err.Error(), "lupa.claim.events/0") {
			t.Errorf("%q was read as a claim (%v)", text, err)
		}
	}
	if _, err := readClaims(iceberg.Properties{"lupa.claim.events": `{"epoch":1,"owner":"x"}`}); err == nil {
		t.Error("a claim without a partition was read")
	}
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	w := s.Writer()
	defer w.Close()
	rows := makeClicks(0, 5)
	files := write(t, w, events, rows)
	setProperty(t, s, "lupa.claim.events/1", "{")
	if _, _, err := s.Claim(context.Background(), []pipeline.Partition{events}); err == nil {
		t.Error("the table was claimed")
	}
	err := s.Commit(context.Background(), clicksCommit(files, events, 0, 5, rows))
	if err == nil || errors.Is(err, pipeline.ErrRefused) {
		t.Errorf("error %v, want one that is no refusal", err)
	}
	for _, f := range files {
		if _, err := os.Stat(f.Path); err != nil {
			t.Error(err)
		}
	}
	for _, p := range []pipeline.Partition{{Topic: "a\xff"}, {Topic: "a", ID: -1}} {
		if _, _, err := s.Claim(context.Background(), []pipeline.Partition{p}); err == nil {
			t.Errorf("partition %q was claimed", p)
		}
	}
}

// TestClaimOfNothing gives the positions and changes nothing.
func TestClaimOfNothing(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	writeAndCommit(t, s, events, 0, 5)
	before := load(t, s, clicksTable).MetadataLocation()
	claims, positions, err := s.Claim(context.Background(), nil)
	if err != nil || positions[clicksTable][events].Next != 5 || len(claims) != 2 || len(claims[clicksTable]) != 0 {
		t.Errorf("claims %v, positions %v, error %v", claims, positions, err)
	}
	if load(t, s, clicksTable).MetadataLocation() != before {
		t.Error("the table changed")
	}
}

// TestCommitTwice: the second time it is refused, and its files, which are the
// table's by then, stay. The answer to the first may have been lost for good.
func TestCommitTwice(t *testing.T) {
	ctx := context.Background()
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("lost=%t", lost), func(t *testing.T) {
			dir := t.TempDir()
			s := openSink(t, Options{Dir: dir, Contracts: contracts()})
			f := &flaky{CatalogIO: s.catalog}
			s.catalog = f
			w := s.Writer()
			defer w.Close()
			rows := makeClicks(0, 20)
			c := clicksCommit(write(t, w, events, rows), events, 0, 20, rows)
			c.Claims = claim(t, s, events)
			if lost {
				f.after = func() error { f.load = errLost; return errLost }
			}
			err := s.Commit(ctx, c)
			if lost != (err != nil) || lost && (!strings.Contains(err.Error(), "outcome unknown") || errors.Is(err, pipeline.ErrRefused)) {
				t.Fatalf("first commit: %v", err)
			}
			f.load = nil
			if err := s.Commit(ctx, c); !errors.Is(err, pipeline.ErrRefused) || !errors.Is(err, ErrPosition) {
				t.Errorf("second commit: %v, want it refused", err)
			}
			openSink(t, Options{Dir: dir, Contracts: contracts()}) // publishes
			if diff := cmp.Diff(wantRows(events, rows), tableRows(t, dir, "clicks")); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			want := Stats{Commits: 1, Refused: 1, Claims: 1}
			if lost {
				want = Stats{Refused: 1, UnknownOutcomes: 1, Claims: 1}
			}
			if diff := cmp.Diff(want, s.Stats()); diff != "" {
				t.Errorf("stats (-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnknownOutcomeKeepsFiles: as long as nobody knows, they may be the table's.
func TestUnknownOutcomeKeepsFiles(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	f := &flaky{CatalogIO: s.catalog}
	s.catalog = f
	w := s.Writer()
	defer w.Close()
	rows := makeClicks(0, 20)
	files := write(t, w, events, rows)
	c := clicksCommit(files, events, 0, 20, rows)
	c.Claims = claim(t, s, events)
	f.before = func() error { f.load = errLost; return errLost } // it did not land
	if err := s.Commit(context.Background(), c); err == nil || errors.Is(err, pipeline.ErrRefused) {
		t.Errorf("error %v, want an unknown outcome", err)
	}
	f.load = nil
	if got := dataFiles(t, dir); len(got) != len(files) {
		t.Errorf("%d files are left of %d", len(got), len(files))
	}
	if err := s.Commit(context.Background(), c); err != nil {
		t.Errorf("the same commit, once the table can be reached: %v", err)
	}
	if diff := cmp.Diff(wantRows(events, rows), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// TestCommitRecord: a snapshot tells all that its commit was made of.
func TestCommitRecord(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts(), Policy: "2026-03", KeyEpoch: 3})
	claim(t, s, events)
	claims := claim(t, s, events)
	w := s.Writer()
	defer w.Close()
	rows := makeClicks(0, 5)
	files := write(t, w, events, rows)
	c := clicksCommit(files, events, 0, 5, rows)
	c.Claims = claims
	if err := s.Commit(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	props := lupaProps(load(t, s, clicksTable).CurrentSnapshot().Summary.Properties)
	for key, want := range map[string]string{
		"lupa.move.events/0": `{"from":0,"to":{"next":5,"anchor":"anchor of events/0"}}`, "lupa.claim-epoch.events/0": "2",
		"lupa.policy": "2026-03", "lupa.key-epoch": "3", "lupa.ledger.consent/0": "17", "lupa.counts.read": "10",
	} {
		if props[key] != want {
			t.Errorf("%s is %q, want %q", key, props[key], want)
		}
	}
	for _, f := range files {
		if want := `"` + fileName(f.Path) + `":"` + hex.EncodeToString(f.SHA256[:]) + `"`; !strings.Contains(props["lupa.files.sha256"], want) {
			t.Errorf("the hash of a file is not in %s", props["lupa.files.sha256"])
		}
	}
}
