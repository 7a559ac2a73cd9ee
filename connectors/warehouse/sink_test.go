package warehouse

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/pipeline/pipelinetest"
	"lupa/schemas"
)

func TestSinkConformance(t *testing.T) {
	pipelinetest.RunSinkSuite(t, func(t *testing.T, home string) (pipeline.Sink, func(table int) []pipelinetest.Row) {
		s := openSink(t, Options{Dir: home, Contracts: pipelinetest.Contracts()})
		return s, func(table int) []pipelinetest.Row { return suiteRows(t, s, home, table) }
	})
}

// suiteRows reads the rows of a table of the suite.
func suiteRows(t *testing.T, s *Sink, home string, table int) (rows []pipelinetest.Row) {
	t.Helper()
	for _, r := range tableRows(t, home, s.tables[table].name) {
		reason, _ := schemas.ParseReason(r["reason"])
		offset, err := strconv.ParseInt(r["_src_offset"], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parsePartition(r["_src_topic"] + "/" + r["_src_partition"])
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, pipelinetest.Row{Partition: p, Offset: offset, Reason: reason, Value: r["value"]})
	}
	return rows
}

// TestSweep: Open removes what no commit names, once it is old.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	kept := writeAndCommit(t, s, events, 0, 40)
	w := s.Writer()
	orphans := write(t, w, events, makeClicks(40, 10)) // never committed
	temp := filepath.Join(dir, "clicks", "data", tempPrefix+"dead.parquet")
	if err := os.WriteFile(temp, []byte("half"), fileMode); err != nil {
		t.Fatal(err)
	}
	exist := func() (kept, orphans int) {
		for _, path := range dataFiles(t, dir) {
			if _, err := os.Stat(path); err != nil {
				t.Fatal(err)
			}
			if path != temp && listed(currentFiles(t, dir, "clicks"), path) {
				kept++
			} else {
				orphans++
			}
		}
		return kept, orphans
	}
	openSink(t, Options{Dir: dir, Contracts: contracts()})
	if k, o := exist(); k != len(kept) || o != len(orphans)+1 {
		t.Errorf("young files: %d kept and %d others, want %d and %d", k, o, len(kept), len(orphans)+1)
	}
	old := time.Now().Add(-2 * time.Hour)
	for _, path := range append(dataFiles(t, dir), temp) {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	openSink(t, Options{Dir: dir, Contracts: contracts()})
	if k, o := exist(); k != len(kept) || o != 0 {
		t.Errorf("old files: %d kept and %d others, want %d and none", k, o, len(kept))
	}
	if diff := cmp.Diff(wantRows(events, makeClicks(0, 40)), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// TestOtherPathIsRefused: reached by a link, or copied, a warehouse has other
// paths than its tables' metadata, and a sweep would take every file away.
func TestOtherPathIsRefused(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "warehouse")
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	writeAndCommit(t, s, events, 0, 40)
	old := time.Now().Add(-2 * time.Hour)
	for _, path := range dataFiles(t, dir) {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	files := len(dataFiles(t, dir))
	link, backup := filepath.Join(base, "link"), filepath.Join(base, "backup")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, path := range dataFiles(t, backup) {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	newTable := clicks()
	newTable.Table, newTable.ID = "later", "test:later"
	for _, other := range []string{link, backup} {
		wrong, err := Open(context.Background(), Options{Dir: other, Contracts: append([]*schemas.Contract{newTable}, contracts()...)})
		if err == nil || !strings.Contains(err.Error(), "table clicks: it lies at "+dir) {
			t.Errorf("error %v of %s, want one that names the table's path", err, other)
		}
		if err == nil {
			wrong.Close()
		}
		if n := len(dataFiles(t, other)); n != files {
			t.Errorf("%s has %d files, want %d", other, n, files)
		}
	}
	openSink(t, Options{Dir: dir, Contracts: append([]*schemas.Contract{newTable}, contracts()...)})
	if diff := cmp.Diff(wantRows(events, makeClicks(0, 40)), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func listed(paths []string, path string) bool {
	for _, p := range paths {
		if p == path {
			return true
		}
	}
	return false
}

func TestReportAndSample(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	files := writeAndCommit(t, s, events, 1, 30)
	files = append(files, writeAndCommit(t, s, events, 31, 10)...)
	reports, err := s.Report(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := TableReport{
		Table: "clicks", Rows: 40, Files: int64(len(files)), Location: filepath.Join(dir, "clicks"),
		Positions: pipeline.Positions{events: {Next: 41, Anchor: "anchor of events/0"}},
		Query:     []string{".read " + dir + "/clicks/views.sql", `SELECT * FROM "clicks" LIMIT 10;`},
		Metadata:  reports[0].Metadata,
	}
	if _, err := os.Stat(want.Metadata); err != nil {
		t.Error(err)
	}
	for _, f := range files {
		want.Bytes += f.Bytes
	}
	want.Counts = pipeline.Counts{Read: 80, Kept: 35, Masked: 5, Dropped: 40}
	want.Counts.Reasons[schemas.ConsentGiven] = 35
	want.Counts.Reasons[schemas.Withdrawn] = 5
	want.Counts.Reasons[schemas.NoRecord] = 40
	if diff := cmp.Diff(want, reports[0]); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if r := reports[1]; r.Table != "rejects" || r.Rows != 0 || r.Files != 0 || r.Counts.Read != 0 {
		t.Errorf("report of an empty table: %+v", r)
	}

	columns, rows, err := s.Sample(ctx, clicksTable, 25)
	if err != nil {
		t.Fatal(err)
	}
	wantColumns := []string{"subject_token", "user_id", "at", "page", "clicks", "score", "returning", "signup",
		"legal_basis", "purposes", "retention_until", "reason", "contract_version", "_src_topic", "_src_partition", "_src_offset"}
	if diff := cmp.Diff(wantColumns, columns); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if len(rows) != 25 {
		t.Errorf("%d rows, want 25", len(rows))
	}
	seen := 0
	for _, row := range rows {
		if row[15] != "12" {
			continue
		}
		seen++
		token := uuidText(tokenOf(12*7919%50 + 1))
		want := []string{token, token, "2026-03-14T12:00:00.000012Z", "/page/3", "36", "9", "true", "1970-02-06",
			"eu-gdpr:A6-1-a", "analytics,profiling", "2026-04-13", "consent_given", "1.2.0", "events", "0", "12"}
		if diff := cmp.Diff(want, row); diff != "" {
			t.Errorf("row (-want +got):\n%s", diff)
		}
	}
	if _, rows, err = s.Sample(ctx, clicksTable, 1000); err != nil || len(rows) != 40 {
		t.Errorf("%d rows of 40, error %v", len(rows), err)
	}
	if _, rows, err = s.Sample(ctx, rejectsTable, 5); err != nil || len(rows) != 0 {
		t.Errorf("%d rows of an empty table, error %v", len(rows), err)
	}
}

func TestReadPositions(t *testing.T) {
	for _, tc := range []struct {
		name  string
		props map[string]string
		want  pipeline.Positions
	}{
		{"none", map[string]string{"owner": "x"}, pipeline.Positions{}},
		{"a topic with slashes", map[string]string{"lupa.position.a/b/7": `{"next":3,"anchor":"x"}`},
			pipeline.Positions{{Topic: "a/b", ID: 7}: {Next: 3, Anchor: "x"}}},
		{"no partition", map[string]string{"lupa.position.a": `{"next":3}`}, nil},
		{"no number", map[string]string{"lupa.position.a/b": `{"next":3}`}, nil},
		{"two spellings of a number", map[string]string{"lupa.position.a/01": `{"next":3}`}, nil},
		{"no JSON", map[string]string{"lupa.position.a/1": `3,`}, nil},
		{"negative", map[string]string{"lupa.position.a/1": `{"next":-3}`}, nil},
	} {
		got, err := readPositions(tc.props)
		if (err != nil) != (tc.want == nil) {
			t.Errorf("%s: error %v", tc.name, err)
		}
		if tc.want != nil {
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.name, diff)
			}
		}
	}
}

// FuzzPartition: what parses prints back to the same name.
func FuzzPartition(f *testing.F) {
	for _, seed := range []string{"events/0", "a/b/c/12", "/3", "x", "x/", "x/-1", "x/007", "x/2147483648"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p, err := parsePartition(name)
		if err == nil && p.String() != name {
			t.Errorf("%q became %q", name, p.String())
		}
	})
}
