package warehouse

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lupa/pipeline"
	"lupa/schemas"
)

var grants = []schemas.PurposeSet{
	schemas.Purposes(schemas.Analytics),
	schemas.Purposes(schemas.Analytics, schemas.Profiling),
	schemas.Purposes(schemas.Analytics, schemas.DirectMarketingSMS),
	schemas.AllPurposes,
}

var denials = []schemas.Reason{schemas.Withdrawn, schemas.Objected, schemas.Erased}

// randomClicks gives rows at ascending offsets over a few days; some have no
// time, no page or nobody.
func randomClicks(random *rand.Rand, n int) []click {
	rows := make([]click, n)
	offset := int64(0)
	for i := range rows {
		offset += 1 + random.Int64N(3)
		rows[i] = click{offset: offset, person: random.IntN(40), at: day.Add(time.Duration(random.IntN(96)) * time.Hour),
			page: strings.Repeat("/page", random.IntN(4)), clicks: random.Int64N(1000)}
		if rows[i].person == 0 && random.IntN(2) == 0 {
			rows[i].at = time.Time{}
		}
	}
	return rows
}

func randomAmendments(random *rand.Rand, p pipeline.Partition, rows []click) (list []pipeline.Amendment) {
	share := random.IntN(4)
	for _, r := range rows {
		if random.IntN(4) >= share {
			continue
		}
		if r.person == 0 {
			list = append(list, pipeline.Amendment{Partition: p, Offset: r.offset, Reason: schemas.Erased, Masked: schemas.Withdrawn})
			continue
		}
		a := pipeline.Amendment{Partition: p, Offset: r.offset, Reason: denials[random.IntN(len(denials))]}
		if random.IntN(2) == 0 {
			a.Reason, a.Granted = schemas.ConsentGiven, grants[random.IntN(len(grants))]
		}
		list = append(list, a)
	}
	return list
}

// clickRow is wantRow also of clicks without a time or a page.
func clickRow(p pipeline.Partition, r click) storedRow {
	row := wantRow(p, r)
	if r.at.IsZero() {
		delete(row, "at")
		delete(row, "retention_until")
	}
	if r.page == "" {
		delete(row, "page")
	}
	return row
}

// TestAmendRandomRows compares what is stored of random rows after random
// amendments with a model of both.
func TestAmendRandomRows(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			dir := memoryDir(t)
			s := openSink(t, Options{Dir: dir, Contracts: contracts(), MaxFileBytes: 20_000 + random.Int64N(400_000)})
			w := s.Writer()
			defer w.Close()
			partitions := []pipeline.Partition{events, other, {Topic: events.Topic, ID: 9}}
			var want []storedRow
			var list []pipeline.Amendment
			c := &pipeline.Commit{Table: clicksTable, Moves: map[pipeline.Partition]pipeline.Move{}}
			for _, p := range partitions {
				rows := randomClicks(random, random.IntN(3000))
				for _, r := range rows {
					want = append(want, clickRow(p, r))
				}
				for part := range slices.Chunk(rows, 500) {
					if err := w.Append(clicksBatch(memory.DefaultAllocator, p, part)); err != nil {
						t.Fatal(err)
					}
				}
				list = append(list, randomAmendments(random, p, rows)...)
				part := clicksCommit(nil, p, 0, 1<<20, rows)
				c.Counts.Add(&part.Counts)
				c.Moves[p] = part.Moves[p]
			}
			files, err := w.Flush(ctx)
			if err != nil {
				t.Fatal(err)
			}
			random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			half := len(list) / 2 // as two rechecks in a row would
			amended := files
			for _, part := range [][]pipeline.Amendment{list[:half], list[half:]} {
				if amended, err = s.Amend(ctx, clicksTable, amended, part); err != nil {
					t.Fatal(err)
				}
			}
			checkStagedFiles(t, dir, amended)
			c.Files = amended
			amendCounts(c, list)
			if err := s.Commit(ctx, c); err != nil {
				t.Fatal(err)
			}
			want = amendRows(want, list)
			sortBySource(want)
			if diff := cmp.Diff(want, tableRows(t, dir, "clicks"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if got := s.Stats().Amended; got != int64(len(list)) {
				t.Errorf("%d rows amended, want %d", got, len(list))
			}
			checkPublished(t, s, dir)
		})
	}
}

// checkStagedFiles checks that the files are those on the disk, ordered and of
// one day each.
func checkStagedFiles(t *testing.T, dir string, files []pipeline.File) {
	t.Helper()
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
		rows := readFile(t, f.Path)
		if int64(len(rows)) != f.Rows || f.Rows == 0 {
			t.Errorf("a file says %d rows and has %d", f.Rows, len(rows))
		}
		if !slices.IsSortedFunc(rows, func(a, b storedRow) int { return strings.Compare(a["subject_token"], b["subject_token"]) }) {
			t.Error("rows are not in the order of their subjects")
		}
		if days := eventDays(rows); len(days) != 1 {
			t.Errorf("the file has the event days %v", days)
		}
	}
	slices.Sort(paths)
	found := dataFiles(t, dir)
	slices.Sort(found)
	if diff := cmp.Diff(paths, found, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("files (-listed +on disk):\n%s", diff)
	}
}

// TestAmendedFileIsAsWritten: a file that is written anew without a change is
// the same, byte by byte.
func TestAmendedFileIsAsWritten(t *testing.T) {
	ctx := context.Background()
	for _, groupBytes := range []int64{rowGroupBytes, 50_000} {
		dir := memoryDir(t)
		s := openSink(t, Options{Dir: dir, Contracts: contracts()})
		rows := randomClicks(rand.New(rand.NewPCG(3, 4)), 5000)
		for i := range rows {
			rows[i].at = day
			rows[i].clicks *= 2 // granted for profiling, which the field needs
		}
		w := s.Writer().(*writer)
		defer w.Close()
		w.encoders[clicksTable].groupBytes = groupBytes
		files := write(t, w, events, rows)
		if len(files) != 1 {
			t.Fatalf("%d files of one day", len(files))
		}
		if groups := rowGroups(t, files[0].Path); (groups > 1) != (groupBytes < rowGroupBytes) {
			t.Fatalf("%d row groups of %d bytes", groups, groupBytes)
		}
		var list []pipeline.Amendment
		for _, r := range rows {
			if r.person != 0 {
				list = append(list, pipeline.Amendment{Partition: events, Offset: r.offset, Reason: schemas.ConsentGiven, Granted: schemas.AllPurposes})
			}
		}
		amended, err := s.Amend(ctx, clicksTable, files, list)
		if err != nil {
			t.Fatal(err)
		}
		if len(amended) != 1 || amended[0].Path == files[0].Path {
			t.Fatalf("files %v", amended)
		}
		if groupBytes == rowGroupBytes && amended[0].SHA256 != files[0].SHA256 {
			t.Error("the file is another one than before")
		}
		want := make([]storedRow, len(rows))
		for i, r := range rows {
			want[i] = clickRow(events, r)
		}
		got := readFile(t, amended[0].Path)
		sortBySource(got)
		sortBySource(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("row groups of %d bytes: rows (-want +got):\n%s", groupBytes, diff)
		}
		again, err := s.Amend(ctx, clicksTable, amended, nil)
		if err != nil || !cmp.Equal(amended, again) {
			t.Errorf("without amendments: files %v (%v)", again, err)
		}
	}
}

func rowGroups(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file, err := openParquet(f)
	if err != nil {
		t.Fatal(err)
	}
	return len(file.RowGroups())
}

// TestAmendDays: files keep the day of their rows, and tables without one
// their place.
func TestAmendDays(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	dated := clicks()
	dated.Table, dated.ID = "dated", "test:dated"
	dated.Fields[1].Type = schemas.Date
	s := openSink(t, Options{Dir: dir, Contracts: append(contracts(), dated)})
	w := s.Writer()
	defer w.Close()
	if err := w.Append(rejectsBatch(events, 4, 5, 6)); err != nil {
		t.Fatal(err)
	}
	files, err := w.Flush(ctx)
	if err != nil {
		t.Fatal(err)
	}
	amended, err := s.Amend(ctx, rejectsTable, files, []pipeline.Amendment{{Partition: events, Offset: 5, Reason: schemas.Erased}})
	if err != nil {
		t.Fatal(err)
	}
	var offsets []string
	for _, r := range readFile(t, amended[0].Path) {
		offsets = append(offsets, r["_src_offset"]+" "+r["reason"])
	}
	if diff := cmp.Diff([]string{"4 unrouted", "6 unrouted"}, offsets); diff != "" {
		t.Errorf("rejects (-want +got):\n%s", diff)
	}

	nobody := []click{{offset: 1, page: "/a"}, {offset: 2, page: "/b"}}
	files = write(t, w, events, nobody)
	amended, err = s.Amend(ctx, clicksTable, files, []pipeline.Amendment{{Partition: events, Offset: 1, Reason: schemas.Erased}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]storedRow{clickRow(events, nobody[1])}, readFile(t, amended[0].Path)); diff != "" {
		t.Errorf("rows without a time (-want +got):\n%s", diff)
	}

	b := clicksBatch(memory.DefaultAllocator, events, makeClicks(1, 3))
	b.Table, b.Contract, b.Out = 2, dated, datedRecord(b.Out)
	if err := w.Append(b); err != nil {
		t.Fatal(err)
	}
	if files, err = w.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if amended, err = s.Amend(ctx, 2, files, []pipeline.Amendment{{Partition: events, Offset: 2, Reason: schemas.Withdrawn}}); err != nil {
		t.Fatal(err)
	}
	rows := readFile(t, amended[0].Path)
	if len(rows) != 2 || rows[0]["at"] != "20000" || rows[0]["retention_until"] != "20030" || !strings.Contains(amended[0].Path, "/data/2024-10-04/") {
		t.Errorf("rows %v in %s", rows, amended[0].Path)
	}
}

// datedRecord has the same date in the place of every event time.
func datedRecord(in arrow.Record) arrow.Record {
	fields, columns := slices.Clone(in.Schema().Fields()), slices.Clone(in.Columns())
	dates := array.NewDate32Builder(memory.DefaultAllocator)
	for range in.NumRows() {
		dates.Append(20000)
	}
	fields[2].Type, columns[2] = arrow.FixedWidthTypes.Date32, dates.NewArray()
	return array.NewRecord(arrow.NewSchema(fields, nil), columns, in.NumRows())
}

// TestAmendRefusesWhatItCannotDo, and leaves the files as they were.
func TestAmendRefusesWhatItCannotDo(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	w := s.Writer()
	defer w.Close()
	rows := makeClicks(0, 40)
	files := write(t, w, events, rows)
	out := func(offsets ...int64) (list []pipeline.Amendment) {
		for _, offset := range offsets {
			list = append(list, pipeline.Amendment{Partition: events, Offset: offset, Reason: schemas.Withdrawn})
		}
		return list
	}
	flip := func(path string) func() {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rotten := slices.Clone(content)
		rotten[len(rotten)/3] ^= 4
		if err := os.WriteFile(path, rotten, fileMode); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.WriteFile(path, content, fileMode); err != nil {
				t.Fatal(err)
			}
		}
	}
	granted := func(offset int64, set schemas.PurposeSet) []pipeline.Amendment {
		return []pipeline.Amendment{{Partition: events, Offset: offset, Reason: schemas.ConsentGiven, Granted: set}}
	}
	for _, tc := range []struct {
		name, message string
		list          []pipeline.Amendment
		change        func(files []pipeline.File) (undo func())
	}{
		{"a row that is not there", "offset 99: no file has the row", out(1, 99), nil},
		{"a row of another partition", "no file has", []pipeline.Amendment{{Partition: other, Offset: 1, Reason: schemas.Withdrawn}}, nil},
		{"a row with two amendments", "two amendments", out(1, 1), nil},
		{"a row in two files", "stands twice", out(1), func(files []pipeline.File) func() { files[1] = files[0]; return nil }},
		{"no reason", "none of a decision", []pipeline.Amendment{{Partition: events, Offset: 1}}, nil},
		{"the reason of a reject", "none of a decision", []pipeline.Amendment{{Partition: events, Offset: 1, Reason: schemas.TooDeep}}, nil},
		{"a row without the table's purposes", "without a purpose", granted(1, schemas.Purposes(schemas.Profiling)), nil},
		{"a masked row", "about nobody", granted(7, schemas.AllPurposes), nil},
		{"a file of another table", "another table", out(1), func(files []pipeline.File) func() { files[0].Table = rejectsTable; return nil }},
		{"a file from elsewhere", "another table", nil, func(files []pipeline.File) func() { files[0].Path = dir + "/clicks/data/../x"; return nil }},
		{"a file that is gone", "no such file", out(1), func(files []pipeline.File) func() { files[0].Path += "x"; return nil }},
		{"a file that has rotted", "not as it was written", out(1), func(files []pipeline.File) func() { return flip(files[0].Path) }},
		{"a file that has rotted, without the row", "not as it was written", out(1), func(files []pipeline.File) func() { return flip(files[1].Path) }},
		{"another file", "not as it was written", out(1), func(files []pipeline.File) func() { files[0].Path = files[1].Path; return nil }},
		{"another row count", "were written", out(1), func(files []pipeline.File) func() { files[0].Rows++; return nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			given := slices.Clone(files)
			if tc.change != nil {
				if undo := tc.change(given); undo != nil {
					defer undo()
				}
			}
			amended, err := s.Amend(ctx, clicksTable, given, tc.list)
			if err == nil || amended != nil || !strings.Contains(err.Error(), tc.message) || !strings.Contains(err.Error(), "amend table clicks: ") {
				t.Errorf("error %v, want one with %q", err, tc.message)
			}
		})
	}
	if _, err := s.Amend(ctx, 9, nil, nil); err == nil {
		t.Error("there is no such table")
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Amend(stopped, clicksTable, files, out(1)); err == nil {
		t.Error("a call that was given up went on")
	}
	if got := len(dataFiles(t, dir)); got != len(files) {
		t.Errorf("%d files are there, want the %d of before", got, len(files))
	}
	if s.Stats().Amended != 0 {
		t.Errorf("%d rows amended", s.Stats().Amended)
	}
	if err := s.Commit(ctx, clicksCommit(files, events, 0, 40, rows)); err != nil {
		t.Errorf("the files as they were written: %v", err)
	}
}

// TestFailedAmendLeavesTheOldFiles: whatever step fails, what is on disk holds
// every row, and a later call finds the files it knows.
func TestFailedAmendLeavesTheOldFiles(t *testing.T) {
	ctx := context.Background()
	rows := makeClicks(0, 60)
	list := recheck(events, rows)
	for n := 1; ; n++ {
		dir := memoryDir(t)
		d := &disk{}
		s, err := newSink(Options{Dir: dir, Contracts: contracts()}, d)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.open(ctx); err != nil {
			t.Fatal(err)
		}
		w := s.Writer()
		files := write(t, w, events, rows)
		ops, removed, failed := 0, 0, ""
		d.hook = func(op, path string, do func() error) error {
			if ops++; ops == n {
				failed = op
				return errInjected
			}
			if op == "remove" && slices.ContainsFunc(files, func(f pipeline.File) bool { return f.Path == path }) {
				removed++
			}
			return do()
		}
		amended, err := s.Amend(ctx, clicksTable, files, list)
		d.hook = nil
		if ops < n {
			if err != nil || n < 10 {
				t.Errorf("operation %d: %v", n, err)
			}
			checkStagedFiles(t, dir, amended)
			break
		}
		if err == nil {
			t.Fatalf("operation %d failed and Amend did not", n)
		}
		if removed == 0 {
			amended, err = s.Amend(ctx, clicksTable, files, list)
			if err != nil {
				t.Fatalf("operation %d: once more: %v", n, err)
			}
			if failed != "syncdir" { // the file has its name then, and is swept
				checkStagedFiles(t, dir, amended)
			}
			var got []storedRow
			for _, f := range amended {
				got = append(got, readFile(t, f.Path)...)
			}
			sortBySource(got)
			if diff := cmp.Diff(amendRows(wantRows(events, rows), list), got); diff != "" {
				t.Fatalf("operation %d: rows (-want +got):\n%s", n, diff)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAmendHidesValues: errors name the row's place and nothing of it.
func TestAmendHidesValues(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	w := s.Writer()
	defer w.Close()
	const canary = "canary-7f3a"
	rows := makeClicks(0, 10)
	for i := range rows {
		rows[i].page = canary
	}
	files := write(t, w, events, rows)
	t7 := pipeline.Amendment{Partition: events, Offset: 7, Reason: schemas.ConsentGiven, Granted: schemas.AllPurposes}
	_, err := s.Amend(context.Background(), clicksTable, files, []pipeline.Amendment{t7})
	if err == nil || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), "events/0 offset 7") {
		t.Errorf("error %v", err)
	}
}

// BenchmarkAmend takes one row in a thousand out of a file of 20 columns.
func BenchmarkAmend(b *testing.B) {
	const n = 100_000
	dir, err := os.MkdirTemp("/dev/shm", "warehouse")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := openSink(b, Options{Dir: dir, Contracts: []*schemas.Contract{wide()}})
	w := s.Writer()
	defer w.Close()
	if err := w.Append(wideBatch(n, 0)); err != nil {
		b.Fatal(err)
	}
	files, err := w.Flush(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	var list []pipeline.Amendment
	for offset := int64(0); offset < n; offset += 1000 {
		list = append(list, pipeline.Amendment{Partition: events, Offset: offset, Reason: schemas.ConsentGiven, Granted: schemas.AllPurposes})
	}
	for b.Loop() {
		if files, err = s.Amend(context.Background(), 0, files, list); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/row")
}
