package warehouse

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

// checkPublished compares current_files.json with what Iceberg says.
func checkPublished(t testing.TB, s *Sink, dir string) {
	t.Helper()
	for _, table := range s.tables {
		tasks, err := load(t, s, table.index).Scan().PlanFiles(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		want := []string{}
		for _, task := range tasks {
			want = append(want, strings.TrimPrefix(task.File.FilePath(), "file://"))
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, currentFiles(t, dir, table.name)); diff != "" {
			t.Errorf("published files of table %s (-want +got):\n%s", table.name, diff)
		}
	}
}

func readText(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPublishedFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a=b", "ware;house")
	s := openSink(t, Options{Dir: dir, Contracts: contracts()})
	checkPublished(t, s, dir)
	empty := "-- Table rejects as of its last commit. Read this file again for later commits.\n" +
		"CREATE OR REPLACE VIEW \"rejects\" AS SELECT\n" +
		"  CAST(NULL AS VARCHAR) AS \"table_name\",\n" +
		"  CAST(NULL AS VARCHAR) AS \"reason\",\n" +
		"  CAST(NULL AS VARCHAR) AS \"contract_version\",\n" +
		"  CAST(NULL AS VARCHAR) AS \"_src_topic\",\n" +
		"  CAST(NULL AS INTEGER) AS \"_src_partition\",\n" +
		"  CAST(NULL AS BIGINT) AS \"_src_offset\"\n" +
		"WHERE false;\n"
	if diff := cmp.Diff(empty, readText(t, filepath.Join(dir, "rejects", "views.sql"))); diff != "" {
		t.Errorf("view of an empty table (-want +got):\n%s", diff)
	}
	for i := range int64(3) {
		writeAndCommit(t, s, events, 10*i, 10)
		checkPublished(t, s, dir)
	}
	full := "-- Table clicks as of its last commit. Read this file again for later commits.\n" +
		"SET VARIABLE lupa_clicks_files = (SELECT list(json) FROM read_json('" + dir +
		"/clicks/current_files.json', format = 'array', columns = {json: 'VARCHAR'}));\n" +
		"CREATE OR REPLACE VIEW \"clicks\" AS SELECT * FROM read_parquet(getvariable('lupa_clicks_files'), hive_partitioning = false);\n"
	if diff := cmp.Diff(full, readText(t, filepath.Join(dir, "clicks", "views.sql"))); diff != "" {
		t.Errorf("view (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(full+empty, readText(t, filepath.Join(dir, "views.sql"))); diff != "" {
		t.Errorf("views of the warehouse (-want +got):\n%s", diff)
	}
	for _, path := range []string{"catalog.db", "views.sql", "clicks.lock", "clicks/current_files.json"} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: mode %v, error %v", path, info.Mode(), err)
		}
	}

	// A sink for fewer tables leaves the views of the others.
	openSink(t, Options{Dir: dir, Contracts: []*schemas.Contract{schemas.Rejects()}})
	if diff := cmp.Diff(full+empty, readText(t, filepath.Join(dir, "views.sql"))); diff != "" {
		t.Errorf("views of the warehouse (-want +got):\n%s", diff)
	}
}
