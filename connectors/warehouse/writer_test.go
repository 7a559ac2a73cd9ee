package warehouse

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go/format"

	"lupa/pipeline"
)

func readJSON[T any](t testing.TB, path string) (v T) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRowsReadBack(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	w := s.Writer()
	first, second := makeClicks(0, 3000), makeClicks(100, 500)
	for _, part := range []struct {
		partition pipeline.Partition
		rows      []click
	}{{events, first[:1]}, {other, second}, {events, first[1:2000]}, {events, first[2000:]}} {
		b := clicksBatch(mem, part.partition, part.rows)
		if err := w.Append(b); err != nil {
			t.Fatal(err)
		}
		b.Out.Release()
	}
	files, err := w.Flush(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 {
		t.Fatalf("%d files for two days", len(files))
	}
	var rows []storedRow
	for _, f := range files {
		inFile := readFile(t, f.Path)
		if f.Rows != int64(len(inFile)) || f.Table != clicksTable {
			t.Errorf("file says %d rows of table %d, it has %d", f.Rows, f.Table, len(inFile))
		}
		if info, err := os.Stat(f.Path); err != nil || info.Size() != f.Bytes || info.Mode().Perm() != 0o640 {
			t.Errorf("file of %d bytes, mode %v (%v); want %d bytes, -rw-r-----", info.Size(), info.Mode(), err, f.Bytes)
		}
		if !slices.IsSortedFunc(inFile, func(a, b storedRow) int { return strings.Compare(a["subject_token"], b["subject_token"]) }) {
			t.Error("rows are not in the order of their subjects, those of nobody first")
		}
		if days := eventDays(inFile); len(days) != 1 {
			t.Errorf("the file has the event days %v", days)
		}
		rows = append(rows, inFile...)
	}
	sortBySource(rows)
	want := append(wantRows(events, first), wantRows(other, second)...)
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func eventDays(rows []storedRow) map[string]bool {
	days := map[string]bool{}
	for _, r := range rows {
		days[r["retention_until"]] = true
	}
	return days
}

func TestRowsOfOneSubjectKeepTheirOrder(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	w := s.Writer()
	defer w.Close()
	rows := makeClicks(0, 2000)
	for i := range rows {
		rows[i].at = day
	}
	files := write(t, w, events, rows)
	last := map[string]string{}
	for _, r := range readFile(t, files[0].Path) {
		offset := fmt.Sprintf("%9s", r["_src_offset"])
		if offset < last[r["subject_token"]] {
			t.Fatalf("offset %s of a subject stands after %s", offset, last[r["subject_token"]])
		}
		last[r["subject_token"]] = offset
	}
}

// TestFileSchema checks what other readers see in a file's footer.
func TestFileSchema(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	files := writeAndCommit(t, s, events, 1, 100)
	f, err := os.Open(files[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file, err := openParquet(f)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range file.Metadata().Schema[1:] {
		line := fmt.Sprintf("%s id=%d", e.Name, e.FieldID)
		if e.Type.Valid {
			line += " " + e.Type.V.String()
		}
		if e.TypeLength.Valid {
			line += fmt.Sprintf("(%d)", e.TypeLength.V)
		}
		if e.LogicalType.Value != nil {
			line += " " + fmt.Sprint(e.LogicalType)
		}
		if e.RepetitionType.Valid {
			line += " " + e.RepetitionType.V.String()
		}
		got = append(got, line)
	}
	want := []string{
		"subject_token id=1 FIXED_LEN_BYTE_ARRAY(16) {UUID} OPTIONAL",
		"user_id id=2 FIXED_LEN_BYTE_ARRAY(16) {UUID} OPTIONAL",
		"at id=3 INT64(64) {TIMESTAMP(isAdjustedToUTC=true,unit=MICROS)} OPTIONAL",
		"page id=4 BYTE_ARRAY {STRING} OPTIONAL",
		"clicks id=5 INT64(64) {INT(64,true)} OPTIONAL",
		"score id=6 DOUBLE(64) OPTIONAL",
		"returning id=7 BOOLEAN(1) OPTIONAL",
		"signup id=8 INT32(32) {DATE} OPTIONAL",
		"legal_basis id=9 BYTE_ARRAY {STRING} OPTIONAL",
		"purposes id=10 {LIST} OPTIONAL",
		"list id=0 REPEATED",
		"element id=11 BYTE_ARRAY {STRING} REQUIRED",
		"retention_until id=12 INT32(32) {DATE} OPTIONAL",
		"reason id=13 BYTE_ARRAY {STRING} REQUIRED",
		"contract_version id=14 BYTE_ARRAY {STRING} REQUIRED",
		"_src_topic id=15 BYTE_ARRAY {STRING} REQUIRED",
		"_src_partition id=16 INT32(32) {INT(32,true)} REQUIRED",
		"_src_offset id=17 INT64(64) {INT(64,true)} REQUIRED",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("schema (-want +got):\n%s", diff)
	}
	codecs := map[string]format.CompressionCodec{}
	for _, c := range file.Metadata().RowGroups[0].Columns {
		codecs[c.MetaData.PathInSchema[0]] = c.MetaData.Codec
	}
	if codecs["subject_token"] != format.Uncompressed || codecs["user_id"] != format.Uncompressed || codecs["page"] != format.Zstd {
		t.Errorf("codecs %v; want tokens uncompressed, the rest zstd", codecs)
	}
	sorting := file.Metadata().RowGroups[0].SortingColumns
	if len(sorting) != 1 || sorting[0].ColumnIdx != 0 || sorting[0].Descending || !sorting[0].NullsFirst {
		t.Errorf("sorting columns %+v, want subject_token ascending, nulls first", sorting)
	}
}

// TestValuesInFooters: besides its page a value stands in a file only as a
// bound of its column chunk, never in page headers.
func TestValuesInFooters(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	w := s.Writer()
	defer w.Close()
	const value = "/a/treated/value/of/more/than/sixteen/bytes"
	rows := makeClicks(1, 1)
	rows[0].page = value
	content := readText(t, write(t, w, events, rows)[0].Path)
	if n := strings.Count(content, value); n > 3 {
		t.Errorf("the value stands %d times in the file, want once in a page and twice as a bound", n)
	}
	if !strings.Contains(content, value) {
		t.Error("the value is not found at all; the search proves nothing")
	}
}

// TestBatchesThatAreRefused: a batch that does not hold together must not
// become rows, and after a refusal nothing more is written.
func TestBatchesThatAreRefused(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	for _, tc := range []struct {
		name, message string
		change        func(b *pipeline.Batch)
	}{
		{"a dropped row is selected", "was not permitted", func(b *pipeline.Batch) { b.Selected[1]-- }},
		{"a row has no reason", "was not permitted", func(b *pipeline.Batch) { b.Reasons[3] = 0 }},
		{"a masked row has a token", "a masked row none", func(b *pipeline.Batch) { b.Verdicts[3] = pipeline.MaskRow }},
		{"a kept row has no token", "a kept row has a token", func(b *pipeline.Batch) { b.Verdicts[1] = pipeline.KeepRow }},
		{"fewer rows than selected", "rows are selected", func(b *pipeline.Batch) { b.Out = b.Out.NewSlice(0, 2) }},
		{"a row that is not there", "does not have", func(b *pipeline.Batch) { b.Selected[2] = 6 }},
		{"verdicts are missing", "one verdict", func(b *pipeline.Batch) { b.Verdicts = b.Verdicts[:4] }},
		{"a column is missing", "columns", func(b *pipeline.Batch) { b.Table = rejectsTable }},
		{"no such table", "no table 2", func(b *pipeline.Batch) { b.Table = 2 }},
		{"a column of another type", "column page: a batch has it as int64", func(b *pipeline.Batch) {
			cols := slices.Clone(b.Out.Columns())
			cols[3] = cols[4]
			b.Out = array.NewRecord(arrow.NewSchema([]arrow.Field{
				clicksSchema.Field(0), clicksSchema.Field(1), clicksSchema.Field(2),
				{Name: "page", Type: arrow.PrimitiveTypes.Int64}, clicksSchema.Field(4),
				clicksSchema.Field(5), clicksSchema.Field(6), clicksSchema.Field(7)}, nil), cols, b.Out.NumRows())
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := s.Writer()
			defer w.Close()
			b := clicksBatch(memory.DefaultAllocator, events, makeClicks(7, 3)) // offset 7 is masked
			tc.change(b)
			err := w.Append(b)
			if err == nil || !strings.Contains(err.Error(), tc.message) {
				t.Fatalf("error %v, want one with %q", err, tc.message)
			}
			if files, err := w.Flush(context.Background()); b.Table < 2 && (err == nil || files != nil) {
				t.Errorf("flush after the refusal gave %d files, error %v", len(files), err)
			}
		})
	}
}

func TestRowsWithoutEventTime(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	w := s.Writer()
	rows := makeClicks(7, 2)
	rows[0].at, rows[1].at = time.Time{}, day
	files := write(t, w, events, rows)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || !strings.HasPrefix(files[0].Path, filepath.Join(dir, "clicks", "data", "none")) {
		t.Fatalf("files %v, want one of no day and one of a day", files)
	}
	if r := readFile(t, files[0].Path)[0]; r["at"] != "" || r["retention_until"] != "" {
		t.Errorf("row %v, want no event time and no retention", r)
	}
	if err := s.Commit(context.Background(), clicksCommit(files, events, 7, 9, rows)); err != nil {
		t.Fatal(err)
	}

	w = s.Writer()
	defer w.Close()
	rows = makeClicks(8, 1)
	rows[0].at = time.Time{}
	err := w.Append(clicksBatch(memory.DefaultAllocator, events, rows))
	if err == nil || !strings.Contains(err.Error(), "no event time") {
		t.Errorf("error %v for a kept row whose retention cannot be counted", err)
	}
}

func TestBuffersAreBounded(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts(), MaxFileBytes: 20_000, MaxBufferBytes: 30_000})
	w := s.Writer().(*writer)
	rows := makeClicks(0, 4000)
	for at := 0; at < len(rows); at += 50 {
		if err := w.Append(clicksBatch(memory.DefaultAllocator, events, rows[at:at+50])); err != nil {
			t.Fatal(err)
		}
		if w.bytes > 30_000 {
			t.Fatalf("the writer holds %d bytes, its bound is 30000", w.bytes)
		}
	}
	if n := len(dataFiles(t, dir)); n < 10 {
		t.Errorf("%d files before the flush, want the full buffers' ones", n)
	}
	files, err := w.Flush(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if w.bytes != 0 {
		t.Errorf("%d bytes after the flush", w.bytes)
	}
	var got []storedRow
	for _, f := range files {
		got = append(got, readFile(t, f.Path)...)
	}
	sortBySource(got)
	if diff := cmp.Diff(wantRows(events, rows), got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestMemoryIsCounted: rows of many days take a block each, which is most of
// their memory.
func TestMemoryIsCounted(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	w := s.Writer().(*writer)
	rows := makeClicks(1, 200)
	for i := range rows {
		rows[i].at = day.AddDate(0, 0, -i)
	}
	batch := clicksBatch(memory.DefaultAllocator, events, rows)
	before := heap()
	if err := w.Append(batch); err != nil {
		t.Fatal(err)
	}
	if held := heap() - before; held > 3*w.bytes/2 {
		t.Errorf("the writer says that it holds %d bytes, and holds %d", w.bytes, held)
	}
	runtime.KeepAlive(batch)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCloseRemovesFiles: what was not handed over is nobody's.
func TestCloseRemovesFiles(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts(), MaxFileBytes: 1000})
	w := s.Writer()
	if err := w.Append(clicksBatch(memory.DefaultAllocator, events, makeClicks(0, 100))); err != nil {
		t.Fatal(err)
	}
	if len(dataFiles(t, dir)) == 0 {
		t.Fatal("no file was written at once")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if left := dataFiles(t, dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
	if err := w.Append(clicksBatch(memory.DefaultAllocator, events, makeClicks(0, 1))); err == nil {
		t.Error("a closed writer takes rows")
	}
}

// dataFiles lists every file below the data directories, temporary ones too.
func dataFiles(t testing.TB, dir string) (paths []string) {
	t.Helper()
	roots, err := filepath.Glob(filepath.Join(dir, "*", "data"))
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

func TestTextArrays(t *testing.T) {
	texts, valid := []string{"a", "", "longer than what a view has room for", "d"}, []bool{true, false, true, true}
	str := array.NewStringBuilder(memory.DefaultAllocator)
	for i, text := range texts {
		if !valid[i] {
			str.AppendNull()
			continue
		}
		str.Append(text)
	}
	builder := array.NewStringBuilder(memory.DefaultAllocator)
	builder.AppendNull()
	empty := builder.NewArray()
	whole := str.NewArray()
	v := vector{kind: stringKind}
	for _, step := range []struct {
		in arrow.Array
		s  span
	}{
		{array.NewSlice(whole, 1, 4), span{begin: 0, end: 3}},
		{whole, span{rows: []int32{3, 0, 2, 1}, begin: 1, end: 3}},
		{array.NewSlice(whole, 2, 4), span{rows: []int32{1}, end: 1}},
		{whole, span{begin: 3, end: 4}},
		{empty, span{end: 1}},
	} {
		if err := v.append(step.in, step.s); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for i := range v.nulls {
		got = append(got, fmt.Sprintf("%s null=%t", v.text(i), v.nulls[i]))
	}
	want := []string{" null=true", texts[2] + " null=false", "d null=false", "a null=false", texts[2] + " null=false",
		"d null=false", "d null=false", " null=true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDayOf(t *testing.T) {
	for _, tc := range []struct {
		micros int64
		day    int32
		name   string
	}{
		{0, 0, "1970-01-01"}, {microsPerDay - 1, 0, "1970-01-01"}, {microsPerDay, 1, "1970-01-02"},
		{-1, -1, "1969-12-31"}, {-microsPerDay, -1, "1969-12-31"}, {-microsPerDay - 1, -2, "1969-12-30"},
	} {
		if got := dayOf(tc.micros); got != tc.day || dayName(got) != tc.name {
			t.Errorf("dayOf(%d) = %d (%s), want %d (%s)", tc.micros, got, dayName(got), tc.day, tc.name)
		}
	}
}
