package warehouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	icetable "github.com/apache/iceberg-go/table"

	"lupa/pipeline"
)

const (
	filesName = "current_files.json"
	viewsName = "views.sql"
)

// liveFiles are the data files of a snapshot, so that a commit that follows it
// need not read them all again. Whoever holds the table's lock may use them.
type liveFiles struct {
	known    bool
	snapshot int64
	paths    []string
}

// follow takes a commit into account if it comes right after the known snapshot.
func (l *liveFiles) follow(now *icetable.Snapshot, c *pipeline.Commit, id string) {
	if !l.known || now == nil || now.SnapshotID == l.snapshot {
		return
	}
	first := now.ParentSnapshotID == nil && l.snapshot == 0
	if !first && (now.ParentSnapshotID == nil || *now.ParentSnapshotID != l.snapshot) {
		return
	}
	if now.Summary == nil || now.Summary.Properties[propCommitID] != id {
		return
	}
	for i := range c.Files {
		l.paths = append(l.paths, c.Files[i].Path)
	}
	slices.Sort(l.paths)
	l.snapshot = now.SnapshotID
}

// list gives the data files of the table's current snapshot in order.
func (l *liveFiles) list(ctx context.Context, t *icetable.Table) ([]string, error) {
	snapshot := int64(0)
	if now := t.CurrentSnapshot(); now != nil {
		snapshot = now.SnapshotID
	}
	if l.known && l.snapshot == snapshot {
		return l.paths, nil
	}
	l.known, l.paths = false, []string{}
	if snapshot != 0 {
		tasks, err := t.Scan().PlanFiles(ctx)
		if err != nil {
			return nil, err
		}
		for _, task := range tasks {
			l.paths = append(l.paths, localPath(task.File.FilePath()))
		}
		slices.Sort(l.paths)
	}
	l.known, l.snapshot = true, snapshot
	return l.paths, nil
}

// publish writes what readers without an Iceberg library need, and looks after
// that whether somebody else has committed meanwhile, without the lock or because
// this process was stopped while it held it: who writes last looks last, so that
// what stands there in the end is of the last commit.
func (s *Sink) publish(ctx context.Context, t *table, loaded *icetable.Table) error {
	for range maxAttempts {
		if err := s.publishOnce(ctx, t, loaded); err != nil {
			return err
		}
		now, err := s.catalog.LoadTable(ctx, t.ident)
		if err != nil {
			return err
		}
		if sameSnapshot(loaded.Metadata(), now.Metadata()) {
			return nil
		}
		loaded = now
	}
	return fmt.Errorf("gave up after %d attempts: %w", maxAttempts, errMoved)
}

// publishOnce writes the list of the table's files, and views over it. The
// caller holds the table's lock.
func (s *Sink) publishOnce(ctx context.Context, t *table, loaded *icetable.Table) error {
	paths, err := t.live.list(ctx, loaded)
	if err != nil {
		return err
	}
	list, err := json.MarshalIndent(paths, "", " ")
	if err != nil {
		return err
	}
	if err := s.replaceIfChanged(filepath.Join(t.dir, filesName), append(list, '\n')); err != nil {
		return err
	}
	view := []byte(t.viewSQL(len(paths) > 0))
	path := filepath.Join(t.dir, viewsName)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, view) {
		return nil
	}
	if err := s.disk.replace(path, view); err != nil {
		return err
	}
	return s.publishAll(ctx)
}

func (s *Sink) replaceIfChanged(path string, content []byte) error {
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.disk.replace(path, content)
}

// publishAll writes the warehouse's views.sql: those of its tables, one after
// the other. Tables that other contracts made are in it too.
func (s *Sink) publishAll(ctx context.Context) error {
	release, err := s.published.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var all bytes.Buffer
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(s.dir, e.Name(), viewsName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		all.Write(text)
	}
	return s.replaceIfChanged(filepath.Join(s.dir, viewsName), all.Bytes())
}

// viewSQL is DuckDB's way to the table. Paths are absolute, so it can be read
// from any directory; the files are those of one commit, whatever is committed
// while a query runs. Reading it again moves the view to the newest commit.
func (t *table) viewSQL(hasFiles bool) string {
	var sql strings.Builder
	fmt.Fprintf(&sql, "-- Table %s as of its last commit. Read this file again for later commits.\n", t.name)
	if !hasFiles {
		fmt.Fprintf(&sql, "CREATE OR REPLACE VIEW %s AS SELECT\n", quoteName(t.name))
		for i := range t.cols {
			comma := ","
			if i == len(t.cols)-1 {
				comma = ""
			}
			fmt.Fprintf(&sql, "  CAST(NULL AS %s) AS %s%s\n", duckType(t.cols[i].kind), quoteName(t.cols[i].name), comma)
		}
		sql.WriteString("WHERE false;\n")
		return sql.String()
	}
	variable := "lupa_" + t.name + "_files"
	fmt.Fprintf(&sql, "SET VARIABLE %s = (SELECT list(json) FROM read_json(%s, format = 'array', columns = {json: 'VARCHAR'}));\n",
		variable, quoteText(filepath.Join(t.dir, filesName)))
	fmt.Fprintf(&sql, "CREATE OR REPLACE VIEW %s AS SELECT * FROM read_parquet(getvariable(%s), hive_partitioning = false);\n",
		quoteName(t.name), quoteText(variable))
	return sql.String()
}

func duckType(k kind) string {
	switch k {
	case intKind:
		return "INTEGER"
	case longKind:
		return "BIGINT"
	case doubleKind:
		return "DOUBLE"
	case booleanKind:
		return "BOOLEAN"
	case timestampKind:
		return "TIMESTAMP WITH TIME ZONE"
	case dateKind:
		return "DATE"
	case uuidKind:
		return "UUID"
	case listKind:
		return "VARCHAR[]"
	}
	return "VARCHAR"
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteText(text string) string { return `'` + strings.ReplaceAll(text, `'`, `''`) + `'` }
