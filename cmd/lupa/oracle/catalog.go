package oracle

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"lupa/schemas"
)

// table is a table as its catalog, its metadata and its files tell it.
type table struct {
	name     string
	contract *contract
	dir      string

	metadataFile string
	metadataSize int64
	properties   map[string]string
	snapshots    []snapshot // oldest first
	current      int64
	files        []dataFile
	positions    map[place]int64
	moves        []operatorMove
	counts       counts

	rows []row
	// unread says that not all committed files could be read.
	unread bool
}

// snapshot is a state of a table and what its commit said of itself.
type snapshot struct {
	ID       int64             `json:"snapshot-id"`
	Sequence int64             `json:"sequence-number"`
	Millis   int64             `json:"timestamp-ms"`
	List     string            `json:"manifest-list"`
	Summary  map[string]string `json:"summary"`
}

// counts are the numbers of a table or a commit.
type counts struct {
	read, kept, masked, dropped, rejected int64
	reasons                               map[string]int64
}

// readCatalog gives the metadata file of each table.
func (c *check) readCatalog(ctx context.Context) (map[string]string, error) {
	const query = "SELECT table_name, metadata_location FROM iceberg_tables WHERE catalog_name = 'lupa' AND table_namespace = "
	if c.in.Postgres != "" {
		db, err := pgx.Connect(ctx, c.in.Postgres)
		if err != nil {
			// The cause may show the password.
			return nil, errors.New("the catalog's database cannot be connected to")
		}
		rows, err := db.Query(ctx, query+"$1", c.in.Namespace)
		if err != nil {
			return nil, errors.Join(err, db.Close(ctx))
		}
		found := map[string]string{}
		var name, location string
		_, err = pgx.ForEachRow(rows, []any{&name, &location}, func() error { found[name] = location; return nil })
		return found, errors.Join(err, db.Close(ctx))
	}
	file := c.in.Catalog
	if file == "" {
		file = filepath.Join(c.in.Warehouse, "catalog.db")
	}
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, query+"?", c.in.Namespace)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]string{}
	for rows.Next() {
		var name, location string
		if err := rows.Scan(&name, &location); err != nil {
			return nil, err
		}
		found[name] = location
	}
	return found, rows.Err()
}

// attempts bounds how often tables are read that somebody commits to meanwhile.
const attempts = 50

// readTables reads all tables as of one moment.
func (c *check) readTables(ctx context.Context) error {
	for range attempts {
		before, err := c.readCatalog(ctx)
		if err != nil {
			return fmt.Errorf("catalog: %w", err)
		}
		tables, err := c.loadTables(before)
		after, err1 := c.readCatalog(ctx)
		if err1 != nil {
			return fmt.Errorf("catalog: %w", err1)
		}
		if !maps.Equal(before, after) {
			continue
		}
		c.tables = tables
		return err
	}
	return errors.New("the tables never stood still")
}

func (c *check) loadTables(locations map[string]string) ([]*table, error) {
	var tables []*table
	for _, k := range append(slices.Clone(c.in.Contracts), schemas.Rejects()) {
		location, ok := locations[k.Table]
		if !ok {
			return nil, fmt.Errorf("table %s is not in the catalog", k.Table)
		}
		t := &table{name: k.Table, contract: newContract(k), dir: filepath.Join(c.in.Warehouse, k.Table)}
		if err := t.load(location); err != nil {
			return nil, fmt.Errorf("table %s: %w", k.Table, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// load reads the metadata file.
func (t *table) load(location string) error {
	path, err := localPath(location)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var m struct {
		Properties map[string]string `json:"properties"`
		Current    *int64            `json:"current-snapshot-id"`
		Snapshots  []snapshot        `json:"snapshots"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s is no table metadata", path)
	}
	t.metadataFile, t.metadataSize = path, int64(len(text))
	t.properties, t.snapshots = m.Properties, m.Snapshots
	slices.SortFunc(t.snapshots, func(a, b snapshot) int { return int(a.Sequence - b.Sequence) })
	if m.Current != nil && *m.Current != -1 {
		t.current = *m.Current
	}
	if t.counts, err = countsIn(t.properties); err != nil {
		return err
	}
	t.positions = map[place]int64{}
	for key, text := range t.properties {
		name, ok := strings.CutPrefix(key, "lupa.position.")
		if !ok {
			continue
		}
		p, err := parsePlace(name)
		var mark struct{ Next *int64 }
		if err != nil || json.Unmarshal([]byte(text), &mark) != nil || mark.Next == nil {
			return fmt.Errorf("property %s is no position", key)
		}
		t.positions[p] = *mark.Next
	}
	return t.readMoves()
}

// snapshot finds a snapshot that is still there.
func (t *table) snapshot(id int64) *snapshot {
	for i := range t.snapshots {
		if t.snapshots[i].ID == id {
			return &t.snapshots[i]
		}
	}
	return nil
}

func (s *snapshot) at() time.Time { return time.UnixMilli(s.Millis) }

// vectorIn is the ledger position that a commit names; nil when it names none.
func vectorIn(properties map[string]string) (map[place]int64, error) {
	var v map[place]int64
	for key, text := range properties {
		name, ok := strings.CutPrefix(key, "lupa.ledger.")
		if !ok {
			continue
		}
		p, err := parsePlace(name)
		next, err1 := strconv.ParseInt(text, 10, 64)
		if err != nil || err1 != nil {
			return nil, fmt.Errorf("property %s is no ledger position", key)
		}
		if v == nil {
			v = map[place]int64{}
		}
		v[p] = next
	}
	return v, nil
}

func countsIn(properties map[string]string) (counts, error) {
	n := counts{reasons: map[string]int64{}}
	for key, text := range properties {
		name, ok := strings.CutPrefix(key, "lupa.counts.")
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v < 0 {
			return n, fmt.Errorf("property %s is no count", key)
		}
		reason, isReason := strings.CutPrefix(name, "reason.")
		switch name {
		case "read":
			n.read = v
		case "kept":
			n.kept = v
		case "masked":
			n.masked = v
		case "dropped":
			n.dropped = v
		case "rejected":
			n.rejected = v
		default:
			if isReason && v != 0 {
				n.reasons[reason] = v
			}
		}
	}
	return n, nil
}

// parsePlace reads topic/partition.
func parsePlace(name string) (place, error) {
	slash := strings.LastIndexByte(name, '/')
	if slash < 0 {
		return place{}, errors.New("is no partition")
	}
	id, err := strconv.ParseInt(name[slash+1:], 10, 32)
	if err != nil {
		return place{}, errors.New("is no partition")
	}
	return place{name[:slash], int32(id)}, nil
}

func localPath(location string) (string, error) {
	if strings.HasPrefix(location, "/") {
		return location, nil
	}
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "file" {
		return "", errors.New("its metadata is not in a local file")
	}
	return u.Path, nil
}
