package warehouse

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lupa/pipeline"
	"lupa/schemas"
)

// load gives a table as the catalog has it.
func load(t testing.TB, s *Sink, table int) *icetable.Table {
	t.Helper()
	loaded, err := s.catalog.LoadTable(context.Background(), s.tables[table].ident)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// lupaProps are the properties of the given map that this package put there.
func lupaProps(all map[string]string) map[string]string {
	props := map[string]string{}
	for key, value := range all {
		if strings.HasPrefix(key, "lupa.") {
			props[key] = value
		}
	}
	return props
}

func TestCommitProperties(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts(), Policy: "2026-03", KeyEpoch: 3})
	writeAndCommit(t, s, other, 0, 20)
	files := writeAndCommit(t, s, events, 100, 10)

	loaded := load(t, s, clicksTable)
	props := lupaProps(loaded.Properties())
	id := props[propCommitID]
	if len(id) != 36 {
		t.Errorf("commit id %q", id)
	}
	want := map[string]string{
		"lupa.contract": "test:clicks", "lupa.commit-id": id, "lupa.commits": "2",
		"lupa.policy": "2026-03", "lupa.key-epoch": "3", "lupa.ledger.consent/0": "17", "lupa.ledger.consent/1": "4",
		"lupa.reviewed.consent/0": "17", "lupa.reviewed.consent/1": "4", // by the first commit
		"lupa.position.events/0":             `{"next":110,"anchor":"anchor of events/0"}`,
		"lupa.position.files/events.jsonl/3": `{"next":20,"anchor":"anchor of files/events.jsonl/3"}`,
		"lupa.counts.read":                   "60", "lupa.counts.kept": "26", "lupa.counts.masked": "4",
		"lupa.counts.dropped": "30", "lupa.counts.rejected": "0",
		"lupa.counts.reason.consent_given": "26", "lupa.counts.reason.withdrawn": "4", "lupa.counts.reason.no_record": "30",
	}
	if diff := cmp.Diff(want, props); diff != "" {
		t.Errorf("table properties (-want +got):\n%s", diff)
	}

	hashes := map[string]string{}
	for _, f := range files {
		hashes[filepath.Base(f.Path)] = hex.EncodeToString(f.SHA256[:])
	}
	text, err := encode(hashes)
	if err != nil {
		t.Fatal(err)
	}
	want = map[string]string{
		"lupa.commit-id": id, "lupa.policy": "2026-03", "lupa.key-epoch": "3",
		"lupa.ledger.consent/0": "17", "lupa.ledger.consent/1": "4", "lupa.files.sha256": text,
		"lupa.move.events/0": `{"from":100,"to":{"next":110,"anchor":"anchor of events/0"}}`,
		"lupa.counts.read":   "20", "lupa.counts.kept": "9", "lupa.counts.masked": "1",
		"lupa.counts.dropped": "10", "lupa.counts.rejected": "0",
		"lupa.counts.reason.consent_given": "9", "lupa.counts.reason.withdrawn": "1", "lupa.counts.reason.no_record": "10",
	}
	if diff := cmp.Diff(want, lupaProps(loaded.CurrentSnapshot().Summary.Properties)); diff != "" {
		t.Errorf("snapshot summary (-want +got):\n%s", diff)
	}
}

func TestPositionsSurviveReopening(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	writeAndCommit(t, s, other, 5, 20)
	s = openSink(t, Options{Dir: dir, Contracts: contracts()})
	got, err := s.Positions(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := []pipeline.Positions{{other: {Next: 25, Anchor: "anchor of " + other.String()}}, {}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("positions (-want +got):\n%s", diff)
	}
	writeAndCommit(t, s, other, 25, 5)
	if diff := cmp.Diff(wantRows(other, makeClicks(5, 25)), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// TestOddNamesKeepTheirPositions: whatever a topic or a file is called, its
// position is found again under the same name.
func TestOddNamesKeepTheirPositions(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	want := pipeline.Positions{}
	c := &pipeline.Commit{Table: clicksTable, Moves: map[pipeline.Partition]pipeline.Move{}}
	for i, name := range []string{"a.b-c_d", "a", "a/1", "/data/with space/50%.jsonl", "/data/ä€𝄞.jsonl", "/data/it's \"so\".jsonl",
		"/data/line\nend\t.jsonl", "/data/<&>\u2028.jsonl", "/data/e\u0301.jsonl", "/data/\u00e9.jsonl", "/data/\ufffd.jsonl", "/data/=;#.jsonl", "/"} {
		p := pipeline.Partition{Topic: name, ID: int32(i)}
		want[p] = pipeline.Mark{Next: int64(i), Anchor: name}
		c.Moves[p] = pipeline.Move{To: want[p]}
	}
	if err := s.Commit(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	got, err := openSink(t, Options{Dir: dir, Contracts: contracts()}).Positions(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got[clicksTable]); diff != "" {
		t.Errorf("positions (-want +got):\n%s", diff)
	}
}

// TestZombieIsRefused: a writer that was thought dead comes back with rows
// that another one has committed meanwhile.
func TestZombieIsRefused(t *testing.T) {
	ctx := context.Background()
	for _, empty := range []bool{false, true} {
		t.Run(fmt.Sprintf("empty=%t", empty), func(t *testing.T) {
			dir := t.TempDir()
			zombie := openSink(t, Options{Dir: dir, Contracts: contracts()})
			rows := makeClicks(0, 50)
			w := zombie.Writer()
			defer w.Close()
			files := write(t, w, events, rows)

			heir := openSink(t, Options{Dir: dir, Contracts: contracts()})
			if empty {
				if err := heir.Commit(ctx, clicksCommit(nil, events, 0, 60, nil)); err != nil {
					t.Fatal(err)
				}
			} else {
				writeAndCommit(t, heir, events, 0, 60)
			}
			before := load(t, heir, clicksTable).MetadataLocation()
			err := zombie.Commit(ctx, clicksCommit(files, events, 0, 50, rows))
			if !errors.Is(err, ErrPosition) || !errors.Is(err, pipeline.ErrRefused) || !strings.Contains(err.Error(), "table clicks: ") || !strings.Contains(err.Error(), "partition events/0 ") {
				t.Errorf("error %v, want ErrPosition with table and partition", err)
			}
			if after := load(t, heir, clicksTable).MetadataLocation(); after != before {
				t.Error("the refused commit changed the table")
			}
			for _, f := range files {
				if _, err := os.Stat(f.Path); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a file of the refused commit is left (%v)", err)
				}
			}
		})
	}
}

// TestConcurrentSinks: two processes, as it were, and several workers in each
// commit to one table at once.
func TestConcurrentSinks(t *testing.T) {
	dir := t.TempDir()
	const workers, commits, rows = 4, 4, 30
	var want []storedRow
	var wg sync.WaitGroup
	sinks := []*Sink{openSink(t, Options{Dir: dir, Contracts: contracts()}), openSink(t, Options{Dir: dir, Contracts: contracts()})}
	for worker := range workers {
		p := pipeline.Partition{Topic: "events", ID: int32(worker)}
		want = append(want, wantRows(p, makeClicks(0, commits*rows))...)
		wg.Go(func() {
			for i := range int64(commits) {
				if i == 2 { // nothing but a position
					err := sinks[worker%2].Commit(context.Background(), clicksCommit(nil, p, i*rows, i*rows, nil))
					if err != nil {
						t.Error(err)
					}
				}
				writeAndCommit(t, sinks[worker%2], p, i*rows, rows)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(want, tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	checkPublished(t, sinks[0], dir)
	counts, err := readCounts(load(t, sinks[0], clicksTable).Properties())
	if err != nil || counts.Read != 2*workers*commits*rows || counts.Kept+counts.Masked != workers*commits*rows {
		t.Errorf("counts %+v, error %v", counts, err)
	}
}

// TestEmptyCommit: messages that became no row still move the position, and
// what the commit says is in the table.
func TestEmptyCommit(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts(), Policy: "p", KeyEpoch: 2})
	c := clicksCommit(nil, events, 0, 9, nil)
	c.Counts = pipeline.Counts{Read: 9, Dropped: 8, Rejected: 1}
	c.Counts.Reasons[schemas.Refused], c.Counts.Reasons[schemas.TooLarge] = 8, 1
	if err := s.Commit(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	loaded := load(t, s, clicksTable)
	if loaded.CurrentSnapshot() != nil {
		t.Error("a commit without files made a snapshot")
	}
	props := loaded.Properties()
	for key, want := range map[string]string{
		"lupa.position.events/0": `{"next":9,"anchor":"anchor of events/0"}`, "lupa.policy": "p", "lupa.key-epoch": "2",
		"lupa.ledger.consent/0": "17", "lupa.counts.dropped": "8", "lupa.counts.reason.too_large": "1",
	} {
		if props[key] != want {
			t.Errorf("property %s is %q, want %q", key, props[key], want)
		}
	}
	if props[propCommitID] == "" {
		t.Error("no commit id")
	}
}

func TestCommitsThatAreRefused(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	w := s.Writer()
	defer w.Close()
	rows := makeClicks(0, 20)
	files := write(t, w, events, rows)
	for _, tc := range []struct {
		name, message string
		change        func(c *pipeline.Commit)
	}{
		{"messages unaccounted for", "messages read, but", func(c *pipeline.Commit) { c.Counts.Read++ }},
		{"reasons unaccounted for", "have a reason", func(c *pipeline.Commit) { c.Counts.Reasons[schemas.Refused]++ }},
		{"undecided rows", "have a reason", func(c *pipeline.Commit) {
			c.Counts.Reasons[schemas.NoReason], c.Counts.Reasons[schemas.ConsentGiven] = c.Counts.Reasons[schemas.ConsentGiven], 0
		}},
		{"more rows than kept", "files hold 20 rows", func(c *pipeline.Commit) { c.Counts.Kept--; c.Counts.Dropped++ }},
		{"a file is missing", "files hold", func(c *pipeline.Commit) { c.Files = c.Files[1:] }},
		{"a file of another table", "another table", func(c *pipeline.Commit) { c.Files[0].Table = rejectsTable }},
		{"a file from elsewhere", "another table", func(c *pipeline.Commit) { c.Files[0].Path = "/data/x.parquet" }},
		{"a file that is gone", "no such file", func(c *pipeline.Commit) { c.Files[0].Path += "x" }},
		{"backwards", "moves from", func(c *pipeline.Commit) { c.Moves[events] = pipeline.Move{From: 9, To: pipeline.Mark{Next: 8}} }},
		{"a name that JSON would change", "not UTF-8", func(c *pipeline.Commit) {
			c.Moves[pipeline.Partition{Topic: "/data/a\xff.jsonl"}] = pipeline.Move{To: pipeline.Mark{Next: 1}}
		}},
		{"files of no interval", "no interval", func(c *pipeline.Commit) { c.Moves = nil }},
		{"no such table", "no table 7", func(c *pipeline.Commit) { c.Table = 7 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := clicksCommit(append([]pipeline.File(nil), files...), events, 0, 20, rows)
			tc.change(c)
			err := s.Commit(context.Background(), c)
			if err == nil || !strings.Contains(err.Error(), tc.message) {
				t.Errorf("error %v, want one with %q", err, tc.message)
			}
			if load(t, s, clicksTable).Properties()[propCommitID] != "" {
				t.Fatal("the refused commit landed")
			}
		})
	}
	if err := s.Commit(context.Background(), clicksCommit(files, events, 0, 20, rows)); err != nil {
		t.Errorf("the commit as it was made: %v", err)
	}
}

// TestRejectsTable: it lists every rejected message and counts only its own.
func TestRejectsTable(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	w := s.Writer()
	defer w.Close()
	if err := w.Append(rejectsBatch(events, 4, 5, 6)); err != nil {
		t.Fatal(err)
	}
	files, err := w.Flush(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	c := &pipeline.Commit{Table: rejectsTable, Files: files,
		Moves:  map[pipeline.Partition]pipeline.Move{events: {From: 0, To: pipeline.Mark{Next: 7}}},
		Counts: pipeline.Counts{Read: 2, Rejected: 2}}
	c.Counts.Reasons[schemas.Unrouted] = 2
	if err := s.Commit(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	row := func(table, reason, offset string) storedRow {
		r := storedRow{"reason": reason, "contract_version": "1.0.0", "_src_topic": "events", "_src_partition": "0", "_src_offset": offset}
		if table != "" {
			r["table_name"] = table
		}
		return r
	}
	want := []storedRow{row("", "unrouted", "4"), row("clicks", "wrong_type", "5"), row("", "unrouted", "6")}
	if diff := cmp.Diff(want, tableRows(t, dir, "rejects")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// flaky is a catalog that is wrong about what became of a commit.
type flaky struct {
	icetable.CatalogIO
	before, after func() error // instead of, or after, the next commit
	load          error        // of every look at a table
}

func (f *flaky) LoadTable(ctx context.Context, ident icetable.Identifier) (*icetable.Table, error) {
	if f.load != nil {
		return nil, f.load
	}
	return f.CatalogIO.LoadTable(ctx, ident)
}

func (f *flaky) CommitTable(ctx context.Context, ident icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, string, error) {
	if before := f.before; before != nil {
		f.before = nil
		if err := before(); err != nil {
			return nil, "", err
		}
	}
	meta, location, err := f.CatalogIO.CommitTable(ctx, ident, reqs, updates)
	if after := f.after; after != nil && err == nil {
		f.after = nil
		return nil, "", after()
	}
	return meta, location, err
}

var errLost = errors.New("connection lost")

func TestOutcomes(t *testing.T) {
	ctx := context.Background()
	for _, withFiles := range []bool{true, false} {
		for _, tc := range []struct {
			name           string
			fail           func(f *flaky, peer *Sink, cancel func())
			landed         bool
			peer, peerRows bool // what else landed
		}{
			{"fails before it landed", func(f *flaky, _ *Sink, _ func()) { f.before = func() error { return errLost } }, false, false, false},
			{"fails after it landed", func(f *flaky, _ *Sink, _ func()) { f.after = func() error { return errLost } }, true, false, false},
			{"the caller gives up while it lands", func(f *flaky, _ *Sink, cancel func()) {
				f.after = func() error { cancel(); return context.Canceled }
			}, true, false, false},
			{"a peer is quicker", func(f *flaky, peer *Sink, _ func()) {
				f.before = func() error { return peer.commitUnlocked(ctx, true) }
			}, true, true, true},
			{"a peer that moves positions only is quicker", func(f *flaky, peer *Sink, _ func()) {
				f.before = func() error { return peer.commitUnlocked(ctx, false) }
			}, true, true, false},
			{"a peer commits before the outcome is known", func(f *flaky, peer *Sink, _ func()) {
				f.after = func() error { return errors.Join(errLost, peer.commitUnlocked(ctx, true)) }
			}, true, true, true},
		} {
			if !withFiles && strings.HasPrefix(tc.name, "a peer commits before") {
				// Without the lock, which keeps peers out, an overwritten commit
				// without files leaves no trace.
				continue
			}
			t.Run(fmt.Sprintf("files=%t/%s", withFiles, tc.name), func(t *testing.T) {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
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
				tc.fail(f, peer, cancel)
				c := clicksCommit(files, events, 0, 10, rows)
				c.Claims = claims
				err := s.Commit(ctx, c)
				if tc.landed != (err == nil) {
					t.Errorf("error %v, landed should be %t", err, tc.landed)
				}
				if !tc.landed && !errors.Is(err, errLost) {
					t.Errorf("error %v hides its cause", err)
				}
				positions, err := s.Positions(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				want := pipeline.Positions{}
				if tc.landed {
					want[events] = pipeline.Mark{Next: 10, Anchor: "anchor of events/0"}
				}
				if tc.peer {
					want[other] = pipeline.Mark{Next: 5, Anchor: "anchor of " + other.String()}
				}
				if diff := cmp.Diff(want, positions[clicksTable]); diff != "" {
					t.Errorf("positions (-want +got):\n%s", diff)
				}
				wantRead := int64(0)
				if tc.landed {
					wantRead += int64(2 * len(rows))
				}
				if tc.peer {
					wantRead += 10
				}
				if counts, err := readCounts(load(t, s, clicksTable).Properties()); err != nil || counts.Read != wantRead {
					t.Errorf("%d messages counted, want %d (%v)", counts.Read, wantRead, err)
				}
				if err := s.openTable(withDisk(context.Background(), s.disk), s.tables[clicksTable]); err != nil {
					t.Fatal(err)
				}
				wantStored := []storedRow{}
				if tc.landed {
					wantStored = append(wantStored, wantRows(events, rows)...)
				}
				if tc.peerRows {
					wantStored = append(wantStored, wantRows(other, makeClicks(0, 5))...)
				}
				if diff := cmp.Diff(wantStored, tableRows(t, dir, "clicks"), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("rows (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// commitUnlocked commits five rows, or none, without taking the lock, as a
// writer on another host would.
func (s *Sink) commitUnlocked(ctx context.Context, withFiles bool) error {
	t := s.tables[clicksTable]
	var rows []click
	var files []pipeline.File
	if withFiles {
		rows = makeClicks(0, 5)
		w := s.Writer()
		if err := w.Append(clicksBatch(memory.DefaultAllocator, other, rows)); err != nil {
			return err
		}
		var err error
		if files, err = w.Flush(ctx); err != nil {
			return err
		}
	}
	c := clicksCommit(files, other, 0, 5, rows)
	if !withFiles {
		c.Counts.Read, c.Counts.Dropped, c.Counts.Reasons[schemas.NoRecord] = 10, 10, 10
	}
	_, err := s.attempt(withDisk(context.WithoutCancel(ctx), s.disk), t, &commitChange{s, c, "peer's commit"})
	return err
}

func TestExpiry(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	s.keepSnapshots, s.keepFor = 3, 0
	const commits = 2 * expireEvery
	for i := range int64(commits) {
		writeAndCommit(t, s, events, i*2, 2)
	}
	if n := len(load(t, s, clicksTable).Metadata().Snapshots()); n != 3 {
		t.Errorf("%d snapshots after expiry, want 3", n)
	}
	writeAndCommit(t, s, events, commits*2, 2)
	if diff := cmp.Diff(wantRows(events, makeClicks(0, commits*2+2)), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	checkPublished(t, s, dir)
	metadata, err := filepath.Glob(filepath.Join(dir, "clicks", "metadata", "*"))
	if err != nil || len(metadata) > 100 {
		t.Errorf("%d metadata files are left (%v)", len(metadata), err)
	}
}

// TestDiscard removes files that were never committed, and no others.
func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	writeAndCommit(t, s, events, 0, 10)
	w := s.Writer()
	defer w.Close()
	files := write(t, w, events, makeClicks(10, 10))
	s.Discard(clicksTable, files)
	for _, f := range files {
		if _, err := os.Stat(f.Path); err == nil {
			t.Errorf("%s is still there", fileName(f.Path))
		}
	}
	if got := tableRows(t, dir, "clicks"); len(got) != 10 {
		t.Errorf("%d rows, want 10", len(got))
	}
}
