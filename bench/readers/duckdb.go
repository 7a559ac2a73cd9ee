//go:build integration

package readers

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/duckdb/duckdb-go/v2" // the engine
)

// reading is what an engine found in a table.
type reading struct {
	// Reasons has the number of rows by the column reason.
	Reasons map[string]int64 `json:"reasons"`
	// Rejects has them by table_name and reason, for the table of rejects.
	Rejects map[string]map[string]int64 `json:"rejects,omitempty"`
	// Tokens are the columns that the engine sees as UUIDs.
	Tokens []string `json:"tokens"`
	// Repeated is how many source coordinates have more than one row.
	Repeated int64 `json:"repeated"`
	// MixedFiles is how many files have rows of more than one day.
	MixedFiles int64 `json:"mixed_files"`
}

// readDuckDB reads each table's Parquet files, by the list that is published
// with each commit, and once more by the views that are published for DuckDB.
func readDuckDB(ctx context.Context, warehouse string, tables map[string]*table) (map[string]reading, error) {
	db, err := sql.Open("duckdb", "?autoinstall_known_extensions=false&autoload_known_extensions=false")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // the variables of the views belong to a connection
	views, err := os.ReadFile(filepath.Join(warehouse, "views.sql"))
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, string(views)); err != nil {
		return nil, fmt.Errorf("views.sql: %w", err)
	}
	readings := map[string]reading{}
	for name, t := range tables {
		r, err := readDuckDBTable(ctx, db, t)
		if err == nil {
			err = checkView(ctx, db, name, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		readings[name] = r
	}
	return readings, nil
}

// checkView compares the view of a table with its files, and takes the types
// of the columns from it: it has them even when there are no files.
func checkView(ctx context.Context, db *sql.DB, name string, r *reading) (err error) {
	var want, got int64
	for _, n := range r.Reasons {
		want += n
	}
	if err := db.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*) FROM %q", name)).Scan(&got); err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("its view has %d rows, the listed files have %d", got, want)
	}
	r.Tokens, err = duckDBTokens(ctx, db, name)
	return err
}

func readDuckDBTable(ctx context.Context, db *sql.DB, t *table) (reading, error) {
	r := reading{Reasons: map[string]int64{}}
	files, err := currentFiles(t.dir)
	if err != nil || len(files) == 0 {
		return r, err
	}
	quoted := make([]string, len(files))
	for i, f := range files {
		quoted[i] = "'" + strings.ReplaceAll(f, "'", "''") + "'"
	}
	from := fmt.Sprintf("read_parquet([%s], filename=true)", strings.Join(quoted, ", "))

	rows, err := db.QueryContext(ctx, "SELECT reason, count(*) FROM "+from+" GROUP BY reason")
	if err != nil {
		return r, err
	}
	defer rows.Close()
	for rows.Next() {
		var reason string
		var n int64
		if err := rows.Scan(&reason, &n); err != nil {
			return r, err
		}
		r.Reasons[reason] = n
	}
	if err := rows.Err(); err != nil {
		return r, err
	}
	if _, ok := t.columns["table_name"]; ok {
		if r.Rejects, err = duckDBRejects(ctx, db, from); err != nil {
			return r, err
		}
	}
	const repeated = `SELECT count(*) FROM (SELECT 1 FROM %s
		GROUP BY _src_topic, _src_partition, _src_offset HAVING count(*) > 1)`
	if err := db.QueryRowContext(ctx, fmt.Sprintf(repeated, from)).Scan(&r.Repeated); err != nil {
		return r, err
	}
	if t.eventTime == "" {
		return r, nil
	}
	const mixed = `SELECT count(*) FROM (SELECT 1 FROM %s
		GROUP BY filename HAVING count(DISTINCT date_trunc('day', %q AT TIME ZONE 'UTC')) > 1)`
	err = db.QueryRowContext(ctx, fmt.Sprintf(mixed, from, t.eventTime)).Scan(&r.MixedFiles)
	return r, err
}

func duckDBRejects(ctx context.Context, db *sql.DB, from string) (map[string]map[string]int64, error) {
	rows, err := db.QueryContext(ctx, "SELECT coalesce(table_name, ''), reason, count(*) FROM "+from+" GROUP BY ALL")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]map[string]int64{}
	for rows.Next() {
		var table, reason string
		var n int64
		if err := rows.Scan(&table, &reason, &n); err != nil {
			return nil, err
		}
		if found[table] == nil {
			found[table] = map[string]int64{}
		}
		found[table][reason] = n
	}
	return found, rows.Err()
}

func duckDBTokens(ctx context.Context, db *sql.DB, name string) ([]string, error) {
	rows, err := db.QueryContext(ctx, fmt.Sprintf("SELECT column_name FROM (DESCRIBE %q) WHERE column_type = 'UUID'", name))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// filesList is the file that lists a table's files.
const filesList = "current_files.json"

// currentFiles is the list of a table's files that is published for readers
// without an Iceberg library.
func currentFiles(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, filesList))
	if err != nil {
		return nil, err
	}
	var files []string
	err = json.Unmarshal(text, &files)
	return files, err
}
