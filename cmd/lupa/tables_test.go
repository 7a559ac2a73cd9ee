package main

import (
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"lupa/pipeline"
)

// null is how a value that is not there reads. No text of the sample is it.
const null = "\x00"

// storedTable is a table as a reader finds it: by the catalog, its newest
// metadata and the files that are listed, without the package that wrote it.
type storedTable struct {
	Columns   []string
	Rows      [][]string // the text of each value, or null
	Positions map[string]int64
	Counts    map[string]string // by the name of the property
}

// readTables reads all tables of a warehouse.
func readTables(t *testing.T, dir string) map[string]*storedTable {
	t.Helper()
	tables := map[string]*storedTable{}
	for name, properties := range tableProperties(t, dir) {
		s := &storedTable{Positions: positionsIn(t, properties), Counts: map[string]string{}}
		for key, value := range properties {
			if strings.HasPrefix(key, "lupa.counts.") {
				s.Counts[key] = value
			}
		}
		var paths []string
		text, err := os.ReadFile(filepath.Join(dir, name, "current_files.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &paths); err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			s.readFile(t, path)
		}
		tables[name] = s
	}
	return tables
}

// tableProperties gives the properties of every table's current metadata. It
// may be called while somebody writes.
func tableProperties(t *testing.T, dir string) map[string]map[string]string {
	t.Helper()
	db := openCatalog(t, dir)
	if db == nil {
		return nil // nothing has been made yet
	}
	defer db.Close()
	found, err := db.Query("SELECT table_name, metadata_location FROM iceberg_tables")
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	all := map[string]map[string]string{}
	for found.Next() {
		var name, location string
		if err := found.Scan(&name, &location); err != nil {
			t.Fatal(err)
		}
		at, err := url.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(at.Path)
		if err != nil {
			t.Fatal(err)
		}
		var metadata struct{ Properties map[string]string }
		if err := json.Unmarshal(text, &metadata); err != nil {
			t.Fatal(err)
		}
		all[name] = metadata.Properties
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// openCatalog opens the catalog of a warehouse: in SQLite, or in the PostgreSQL
// that a file dsn beside the warehouse names. It gives nil where it has no
// tables yet.
func openCatalog(t *testing.T, dir string) *sql.DB {
	t.Helper()
	driver, source, ask := "sqlite", "", "SELECT count(*) FROM sqlite_master WHERE name = 'iceberg_tables'"
	if dsn, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "dsn")); err == nil {
		driver, source, ask = "pgx", string(dsn), "SELECT count(*) FROM pg_class WHERE relname = 'iceberg_tables'"
	} else {
		file := filepath.Join(dir, "catalog.db")
		if _, err := os.Stat(file); err != nil {
			return nil
		}
		source = "file:" + file + "?mode=ro&_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	var tables int
	if err := db.QueryRow(ask).Scan(&tables); err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	if tables == 0 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return nil
	}
	return db
}

// positionsIn gives the next offset of each partition.
func positionsIn(t *testing.T, properties map[string]string) map[string]int64 {
	t.Helper()
	positions := map[string]int64{}
	for key, value := range properties {
		if partition, ok := strings.CutPrefix(key, "lupa.position."); ok {
			var mark struct{ Next int64 }
			if err := json.Unmarshal([]byte(value), &mark); err != nil {
				t.Fatal(err)
			}
			positions[partition] = mark.Next
		}
	}
	return positions
}

func (s *storedTable) readFile(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader := parquet.NewReader(f)
	defer reader.Close()
	var columns []string
	for _, column := range reader.Schema().Columns() {
		columns = append(columns, column[0])
	}
	if s.Columns == nil {
		s.Columns = columns
	} else if diff := cmp.Diff(s.Columns, columns); diff != "" {
		t.Fatalf("columns of %s (-others +its):\n%s", path, diff)
	}
	rows := make([]parquet.Row, 256)
	for {
		n, err := reader.ReadRows(rows)
		for _, row := range rows[:n] {
			s.Rows = append(s.Rows, rowText(row, len(columns)))
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// rowText writes each value of a row, the elements of a list with commas.
func rowText(row parquet.Row, columns int) []string {
	cells := slices.Repeat([]string{null}, columns)
	for _, v := range row {
		if v.IsNull() {
			continue
		}
		text := v.String()
		if v.Kind() == parquet.FixedLenByteArray {
			text = hex.EncodeToString(v.ByteArray())
		}
		if cell := &cells[v.Column()]; v.RepetitionLevel() > 0 {
			*cell += "," + text
		} else {
			*cell = text
		}
	}
	return cells
}

// column gives the index of a column.
func (s *storedTable) column(t *testing.T, name string) int {
	t.Helper()
	i := slices.Index(s.Columns, name)
	if i < 0 {
		t.Fatalf("no column %s in %v", name, s.Columns)
	}
	return i
}

// place is where a row was read.
type place struct {
	Partition pipeline.Partition
	Offset    int64
}

// places gives the rows by where they were read, and fails if two are of one
// place.
func (s *storedTable) places(t *testing.T) map[place][]string {
	t.Helper()
	found := map[place][]string{}
	if len(s.Rows) == 0 {
		return found
	}
	topic, partition, offset := s.column(t, "_src_topic"), s.column(t, "_src_partition"), s.column(t, "_src_offset")
	for _, row := range s.Rows {
		id, err := strconv.ParseInt(row[partition], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(row[offset], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		at := place{pipeline.Partition{Topic: row[topic], ID: int32(id)}, n}
		if found[at] != nil {
			t.Errorf("the message at %s offset %d is twice in a table", at.Partition, at.Offset)
		}
		found[at] = row
	}
	return found
}

// withoutPlaces gives the rows, in order, without the columns that say where
// they were read.
func (s *storedTable) withoutPlaces() []string {
	var rows []string
	for _, row := range s.Rows {
		var b strings.Builder
		for i, cell := range row {
			if !strings.HasPrefix(s.Columns[i], "_src_") {
				b.WriteString(cell)
				b.WriteByte('|')
			}
		}
		rows = append(rows, b.String())
	}
	slices.Sort(rows)
	return rows
}

// sameTables fails unless two warehouses hold the same rows, each once and
// from the same places, the same positions and the same counts.
func sameTables(t *testing.T, want, got map[string]*storedTable) {
	t.Helper()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatalf("tables (-want +got):\n%s", diff)
	}
	for name, w := range want {
		g := got[name]
		if diff := cmp.Diff(w.Positions, g.Positions); diff != "" {
			t.Errorf("positions of %s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(w.Counts, g.Counts); diff != "" {
			t.Errorf("counts of %s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(w.Columns, g.Columns); diff != "" {
			t.Errorf("columns of %s (-want +got):\n%s", name, diff)
		}
		sameRows(t, name, w.places(t), g.places(t))
	}
}

func sameRows(t *testing.T, table string, want, got map[place][]string) {
	t.Helper()
	lost, other, more := 0, 0, 0
	for at, row := range want {
		switch found, ok := got[at]; {
		case !ok:
			lost++
		case !slices.Equal(row, found):
			other++
		}
	}
	for at := range got {
		if _, ok := want[at]; !ok {
			more++
		}
	}
	if lost+other+more > 0 {
		t.Errorf("table %s: of %d rows %d are lost and %d differ; %d are there that should not be",
			table, len(want), lost, other, more)
	}
}

// caughtUp reports whether every table of a warehouse stands at the ends.
func caughtUp(t *testing.T, dir string, ends pipeline.Vector) bool {
	t.Helper()
	tables := tableProperties(t, dir)
	for _, properties := range tables {
		at := positionsIn(t, properties)
		for p, end := range ends {
			if at[p.String()] < end {
				return false
			}
		}
	}
	return len(tables) > 0
}

// rowsIn counts the rows of all tables.
func rowsIn(tables map[string]*storedTable) (n int) {
	for _, s := range tables {
		n += len(s.Rows)
	}
	return n
}

// counted reads one of a table's counts.
func (s *storedTable) counted(t *testing.T, name string) int64 {
	t.Helper()
	text, ok := s.Counts["lupa.counts."+name]
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(fmt.Errorf("count %s: %w", name, err))
	}
	return n
}
