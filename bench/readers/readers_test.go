//go:build integration

package readers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lupa/schemas"
)

// TestReaders makes the tables of the demo and lets every engine read them:
// each must find the rows that the tables' counts say, each source coordinate
// once, the tokens as UUIDs and the rows of one day in a file.
func TestReaders(t *testing.T) {
	warehouse := demo(t)
	tables, err := readCatalog(warehouse)
	if err != nil {
		t.Fatal(err)
	}
	want := expected(t, tables)
	engines := []struct {
		name string
		read func(context.Context, string, map[string]*table) (map[string]reading, error)
	}{
		{"DuckDB", readDuckDB},
		{"PyIceberg", readPyIceberg},
	}
	equal := 0
	for _, e := range engines {
		passed := t.Run(e.name, func(t *testing.T) {
			got, err := e.read(t.Context(), warehouse, tables)
			if err != nil {
				t.Fatal(err)
			}
			sorted := cmpopts.SortSlices(func(a, b string) bool { return a < b })
			if diff := cmp.Diff(want, got, sorted, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("what the tables' counts say (-) and what was read (+):\n%s", diff)
			}
		})
		if passed {
			equal++
		}
	}
	fmt.Printf("RESULT readers equal %d engines\n", equal)
	if equal < len(engines) {
		t.Errorf("%d of %d engines read what was written", equal, len(engines))
	}
}

// TestReadersSeeRepeatedRows shows that the comparison can fail: a file that
// is listed twice is seen as rows with the same source coordinates.
func TestReadersSeeRepeatedRows(t *testing.T) {
	warehouse := demo(t)
	tables, err := readCatalog(warehouse)
	if err != nil {
		t.Fatal(err)
	}
	want := expected(t, tables)
	tracks := tables["tracks"]
	files, err := currentFiles(tracks.dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	list, err := json.Marshal(append(files, files[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tracks.dir, filesList), list, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readDuckDB(t.Context(), warehouse, tables)
	if err != nil {
		t.Fatal(err)
	}
	if r := got["tracks"]; r.Repeated == 0 || cmp.Equal(want["tracks"].Reasons, r.Reasons) {
		t.Errorf("a file was listed twice, and DuckDB found %d repeated rows and the reasons %v", r.Repeated, r.Reasons)
	}
}

// expected is what every engine must find. It fails the test where there is
// too little to find.
func expected(t *testing.T, tables map[string]*table) map[string]reading {
	t.Helper()
	want := map[string]reading{}
	var kept, dropped, rejected int64
	for name, table := range tables {
		if err := table.check(); err != nil {
			t.Error(err)
		}
		r := reading{Reasons: table.rows()}
		for column, kind := range table.columns {
			if kind == "uuid" {
				r.Tokens = append(r.Tokens, column)
			}
		}
		if name != schemas.RejectsTable && !slices.Contains(r.Tokens, "subject_token") {
			t.Errorf("table %s has no subject_token of type uuid", name)
		}
		want[name] = r
		kept += table.counts["kept"]
		dropped += table.counts["dropped"] + table.counts["masked"]
		rejected += table.counts["rejected"]
	}
	if kept == 0 || dropped == 0 || rejected == 0 {
		t.Fatalf("kept %d, dropped or masked %d, rejected %d rows in %d tables: nothing would be compared", kept, dropped, rejected, len(tables))
	}
	r := want[schemas.RejectsTable]
	r.Rejects = rejects(tables)
	r.Reasons = map[string]int64{}
	for _, byReason := range r.Rejects {
		for reason, n := range byReason {
			r.Reasons[reason] += n
		}
	}
	want[schemas.RejectsTable] = r
	t.Logf("tables %v: kept %d, dropped or masked %d, rejected %d", slices.Sorted(maps.Keys(tables)), kept, dropped, rejected)
	return want
}

// demo runs `lupa demo` and gives the warehouse that it wrote. The environment
// variable LUPA names the program; without it, it is built.
func demo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	lupa := os.Getenv("LUPA")
	if lupa == "" {
		lupa = filepath.Join(dir, "lupa")
		build := exec.CommandContext(t.Context(), "go", "build", "-o", lupa, "./cmd/lupa")
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build lupa: %v\n%s", err, out)
		}
	}
	home := filepath.Join(dir, "demo")
	if out, err := exec.CommandContext(t.Context(), lupa, "demo", "--dir", home).CombinedOutput(); err != nil {
		t.Fatalf("lupa demo: %v\n%s", err, out)
	}
	return filepath.Join(home, "warehouse")
}
