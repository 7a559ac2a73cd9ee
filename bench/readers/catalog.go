//go:build integration

package readers

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	_ "modernc.org/sqlite" // the catalog is a SQLite database

	"lupa/schemas"
)

// table is what a table's Iceberg metadata says of it, read without any
// Iceberg library.
type table struct {
	name      string
	dir       string
	columns   map[string]string // type by name
	eventTime string            // column by whose day the table is partitioned; empty if by none
	counts    map[string]int64  // of lupa.counts.*, by what follows
}

// readCatalog reads the current metadata of every table of the catalog.
func readCatalog(warehouse string) (map[string]*table, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(warehouse, "catalog.db")+"?mode=ro")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Query("SELECT table_name, metadata_location FROM iceberg_tables")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	tables := map[string]*table{}
	for rows.Next() {
		var name, location string
		if err := rows.Scan(&name, &location); err != nil {
			return nil, err
		}
		if tables[name], err = readMetadata(name, strings.TrimPrefix(location, "file://")); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
	}
	return tables, rows.Err()
}

func readMetadata(name, path string) (*table, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m struct {
		Location string
		Schemas  []struct {
			ID     int `json:"schema-id"`
			Fields []struct {
				ID   int
				Name string
				Type json.RawMessage
			}
		}
		CurrentSchema int `json:"current-schema-id"`
		Specs         []struct {
			ID     int `json:"spec-id"`
			Fields []struct {
				Source    int `json:"source-id"`
				Transform string
			}
		} `json:"partition-specs"`
		DefaultSpec int `json:"default-spec-id"`
		Properties  map[string]string
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	t := &table{name: name, dir: strings.TrimPrefix(m.Location, "file://"), columns: map[string]string{}, counts: map[string]int64{}}
	for _, spec := range m.Specs {
		if spec.ID != m.DefaultSpec || len(spec.Fields) == 0 {
			continue
		}
		if len(spec.Fields) != 1 || spec.Fields[0].Transform != "day" {
			return nil, fmt.Errorf("not partitioned by one day")
		}
		for _, schema := range m.Schemas {
			for _, f := range schema.Fields {
				if schema.ID == m.CurrentSchema && f.ID == spec.Fields[0].Source {
					t.eventTime = f.Name
				}
			}
		}
	}
	for _, schema := range m.Schemas {
		for _, f := range schema.Fields {
			if schema.ID == m.CurrentSchema {
				t.columns[f.Name] = strings.Trim(string(f.Type), `"`)
			}
		}
	}
	for key, value := range m.Properties {
		if name, ok := strings.CutPrefix(key, "lupa.counts."); ok {
			if t.counts[name], err = strconv.ParseInt(value, 10, 64); err != nil {
				return nil, fmt.Errorf("property %s is no number", key)
			}
		}
	}
	return t, nil
}

func (t *table) reason(r schemas.Reason) int64 { return t.counts["reason."+r.String()] }

// check says where the counts contradict each other.
func (t *table) check() error {
	var all, rejected int64
	for r := schemas.ConsentGiven; int(r) < schemas.NumReasons; r++ {
		all += t.reason(r)
		if r.Rejects() {
			rejected += t.reason(r)
		}
	}
	c := t.counts
	switch {
	case c["read"] != c["kept"]+c["masked"]+c["dropped"]+c["rejected"]:
		return fmt.Errorf("table %s: read is not the sum of kept, masked, dropped and rejected: %v", t.name, c)
	case c["read"] != all:
		return fmt.Errorf("table %s: read is not the sum of the reasons: %v", t.name, c)
	case c["kept"] != t.reason(schemas.ConsentGiven), c["rejected"] != rejected:
		return fmt.Errorf("table %s: kept or rejected differs from its reasons: %v", t.name, c)
	}
	return nil
}

// rows are how many rows of each reason the table must hold.
func (t *table) rows() map[string]int64 {
	rows := map[string]int64{}
	for r := schemas.ConsentGiven; int(r) < schemas.NumReasons; r++ {
		// What a duty retains is masked also where a table drops what is denied.
		masks := r == schemas.Retained || t.counts["masked"] > t.reason(schemas.Retained)
		denied := r.Denies() && r != schemas.Erased && masks
		if n := t.reason(r); n > 0 && (r == schemas.ConsentGiven || denied) {
			rows[r.String()] = n
		}
	}
	return rows
}

// rejects are how many rows of each reason the table of rejects must hold for
// each table; those that no contract takes stand under its own counts, and
// under no name.
func rejects(tables map[string]*table) map[string]map[string]int64 {
	all := map[string]map[string]int64{}
	for name, t := range tables {
		if name == schemas.RejectsTable {
			name = ""
		}
		for r := schemas.ConsentGiven; int(r) < schemas.NumReasons; r++ {
			if n := t.reason(r); n > 0 && r.Rejects() {
				if all[name] == nil {
					all[name] = map[string]int64{}
				}
				all[name][r.String()] = n
			}
		}
	}
	return all
}
