package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	sqlcatalog "github.com/apache/iceberg-go/catalog/sql"
	icetable "github.com/apache/iceberg-go/table"
	"modernc.org/sqlite"
)

const (
	// catalogName is under which name the tables stand in the catalog; readers
	// that open it must use it too.
	catalogName = "lupa"
	// sqliteName is the catalog of one machine. boundName names the catalog of
	// many, which is elsewhere.
	sqliteName = "catalog.db"
	boundName  = "catalog.id"
)

// CatalogOptions say where it is kept which version of a table is the current
// one. The zero value is a SQLite file in the warehouse's directory, for
// workers on one machine.
type CatalogOptions struct {
	// Postgres is a database for workers on many machines. They still share the
	// warehouse's directory, and under the same path.
	Postgres *PostgresOptions
}

func (s *Sink) openCatalog(ctx context.Context) error {
	if s.postgres != nil {
		return s.openPostgres(ctx)
	}
	// Making the database and its tables is not for two at once: SQLite does
	// not wait for the other when it changes the journal mode.
	release, err := s.catalogLock().acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	switch _, err := os.Stat(filepath.Join(s.dir, boundName)); {
	case err == nil:
		return fmt.Errorf("the warehouse has its catalog in PostgreSQL, as %s says; a second one would take its files for nobody's", boundName)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	path := filepath.Join(s.dir, sqliteName)
	if err := s.openSQLite(ctx, path); err != nil {
		return inFile(path, err)
	}
	return nil
}

func (s *Sink) openSQLite(ctx context.Context, path string) error {
	// SQLite would make the file readable by everybody.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dsn := "file:" + path +
		"?_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)&_txlock=immediate"
	if s.db, err = sql.Open("sqlite", dsn); err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	c, err := sqlcatalog.NewCatalog(catalogName, s.db, sqlcatalog.SQLite, s.catalogProperties())
	if err != nil {
		return err
	}
	if err := s.makeNamespace(ctx, c); err != nil {
		return err
	}
	s.catalog = &local{Catalog: c, path: path, disk: s.disk}
	return nil
}

// local is the catalog of one machine. Its errors name the file: SQLite's say
// that the disk is full, and not which.
type local struct {
	*sqlcatalog.Catalog
	path string
	disk *disk
}

// LoadTable gives the table's current version.
func (l *local) LoadTable(ctx context.Context, ident icetable.Identifier) (*icetable.Table, error) {
	loaded, err := l.Catalog.LoadTable(ctx, ident)
	return loaded, inFile(l.path, err)
}

// CreateTable makes a table. When the insert could not be synced, the library
// takes it for undone and removes the metadata file. But if the process dies
// before it has closed the catalog, the next one finds the insert whole in
// SQLite's log. So the file stays, for Open's sweep to judge.
func (l *local) CreateTable(ctx context.Context, ident icetable.Identifier, schema *iceberg.Schema, opts ...catalog.CreateTableOpt) (*icetable.Table, error) {
	made, err := l.Catalog.CreateTable(withDisk(ctx, l.disk.keeping()), ident, schema, opts...)
	return made, inFile(l.path, err)
}

// CommitTable makes a new version the current one.
func (l *local) CommitTable(ctx context.Context, ident icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, string, error) {
	metadata, location, err := l.Catalog.CommitTable(ctx, ident, reqs, updates)
	return metadata, location, inFile(l.path, err)
}

// inFile says which file an error of SQLite is about. Others do so by themselves.
func inFile(path string, err error) error {
	if e := new(sqlite.Error); errors.As(err, &e) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return err
}

// catalogLock keeps two processes from deciding at once what the catalog of
// the directory is.
func (s *Sink) catalogLock() *lock { return newLock(filepath.Join(s.dir, ".catalog.lock")) }

func (s *Sink) catalogProperties() iceberg.Properties {
	return iceberg.Properties{"warehouse": fileURI(s.dir)}
}

func (s *Sink) makeNamespace(ctx context.Context, c catalog.Catalog) error {
	err := c.CreateNamespace(ctx, icetable.Identifier{s.namespace}, nil)
	if errors.Is(err, catalog.ErrNamespaceAlreadyExists) {
		return nil
	}
	return err
}

// bind ties the directory to a catalog that is elsewhere: two catalogs over one
// directory would each sweep away the files of the other.
func (s *Sink) bind(ctx context.Context) error {
	if s.catalogID == "" {
		return nil
	}
	release, err := s.catalogLock().acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	switch _, err := os.Stat(filepath.Join(s.dir, sqliteName)); {
	case err == nil:
		return fmt.Errorf("the warehouse has its catalog in %s; one in PostgreSQL would take its files for nobody's", sqliteName)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	path := filepath.Join(s.dir, boundName)
	bound, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.disk.replace(path, []byte(s.catalogID+"\n"))
	}
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(bound)) != s.catalogID {
		return fmt.Errorf("%s names another catalog than the one that was opened", path)
	}
	return nil
}

// Stalled reports whether the catalog's server did not answer when it was last
// asked.
func (s *Sink) Stalled() bool { return s.retrier != nil && s.retrier.away.Load() }
