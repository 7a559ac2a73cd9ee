// Package warehouse keeps the rows that may be kept: Apache Iceberg tables of
// Parquet files on a disk, with their catalog in SQLite for the workers of one
// machine or in PostgreSQL for those of many.
//
// A worker appends batches to a Writer, which buffers them by table and event
// day and turns them into finished files; a commit makes files, positions and
// counts visible in one step. FORMAT.md describes what is stored.
//
// The guarantees: a row is visible exactly once or not at all, whatever dies
// and whenever; a commit that does not begin where the table stands, or whose
// partitions somebody else has claimed since, is refused; what a reader sees is
// durable; no file, name, statistic or error holds a raw identifier.
package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"regexp"
	"time"

	"github.com/apache/iceberg-go/catalog"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"lupa/pipeline"
	"lupa/schemas"
)

// Options say where the warehouse is and what it holds.
type Options struct {
	// Dir is the warehouse's directory; it is made when it is absent.
	Dir string
	// Contracts are the tables; their order gives the table indexes.
	Contracts []*schemas.Contract
	// Catalog is where the tables' current versions are kept.
	Catalog CatalogOptions
	// Namespace is the tables' namespace in the catalog; "lupa" by default.
	Namespace string
	// Policy and KeyEpoch are noted with every commit.
	Policy   string
	KeyEpoch int
	// MaxFileBytes of buffered rows of one table and day become a file at once;
	// 64 MiB by default. The file is smaller, for it is compressed.
	MaxFileBytes int64
	// MaxBufferBytes is how much one writer buffers in all before it writes its
	// largest buffer; 128 MiB by default.
	MaxBufferBytes int64
	// StaleAfter is how old a file must be that no commit names before Open
	// removes it; one hour by default. It must be longer than the time between
	// two commits of any writer of the warehouse.
	StaleAfter time.Duration
	Log        *slog.Logger
}

// Sink is the warehouse. Its methods may be called at once.
type Sink struct {
	dir            string
	namespace      string
	policy         string
	keyEpoch       int
	maxFileBytes   int64
	maxBufferBytes int64
	staleAfter     time.Duration
	keepSnapshots  int
	keepFor        time.Duration
	log            *slog.Logger
	// owner names this sink in its claims; every opened one has its own.
	owner    string
	count    counters
	reviewed reviewed

	disk      *disk
	postgres  *PostgresOptions // nil: the catalog is in SQLite
	db        *sql.DB
	catalog   icetable.CatalogIO
	catalogID string   // of a catalog that is not in the directory
	retrier   *retrier // of its server
	tables    []*table
	// published guards views.sql of the whole warehouse against other
	// processes, publishing against other tables of this one.
	published *lock
}

// table is one table of the sink.
type table struct {
	index         int
	name          string
	ident         icetable.Identifier
	contract      *schemas.Contract
	cols          []column
	personal      bool
	purposes      schemas.PurposeSet
	eventTime     int // column of Batch.Out, or -1
	retentionDays int
	batchColumns  int
	reasons       [schemas.NumReasons][]byte
	dir, dataDir  string

	lock *lock     // held by whoever commits
	live liveFiles // guarded by lock
}

var tableName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Open opens the warehouse and makes the tables that are absent. A table that
// differs from its contract is an error.
func Open(ctx context.Context, o Options) (*Sink, error) {
	s, err := newSink(o, &disk{})
	if err != nil {
		return nil, fmt.Errorf("open warehouse: %w", err)
	}
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("open warehouse: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// newSink checks the options and fills in the defaults.
func newSink(o Options, d *disk) (*Sink, error) {
	if o.Dir == "" {
		return nil, errors.New("dir is empty, allowed is a path")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("dir: %w", err)
	}
	// Metadata names files by URI. Where that is not the path itself, readers
	// disagree about which file is meant.
	if (&url.URL{Path: dir}).EscapedPath() != dir {
		return nil, fmt.Errorf("dir %q: a URI would escape its path, allowed are ASCII letters, digits and / - _ . ~ $ & + , : ; = @", dir)
	}
	if len(o.Contracts) == 0 {
		return nil, errors.New("there are no contracts")
	}
	s := &Sink{
		dir: dir, namespace: o.Namespace, policy: o.Policy, keyEpoch: o.KeyEpoch,
		maxFileBytes: o.MaxFileBytes, maxBufferBytes: o.MaxBufferBytes, staleAfter: o.StaleAfter,
		keepSnapshots: 50, keepFor: 10 * time.Minute,
		log: o.Log, owner: uuid.NewString(), disk: d, published: newLock(filepath.Join(dir, ".views.lock")),
	}
	if s.postgres, err = o.Catalog.Postgres.checked(); err != nil {
		return nil, fmt.Errorf("catalog: %w", err)
	}
	if s.namespace == "" {
		s.namespace = "lupa"
	}
	if !tableName.MatchString(s.namespace) {
		return nil, fmt.Errorf("namespace %q: allowed are lower-case letters, digits and _", s.namespace)
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, limit := range []struct {
		name  string
		value *int64
		def   int64
	}{
		{"max file bytes", &s.maxFileBytes, 64 << 20},
		{"max buffer bytes", &s.maxBufferBytes, 128 << 20},
		{"stale after", (*int64)(&s.staleAfter), int64(time.Hour)},
	} {
		if *limit.value == 0 {
			*limit.value = limit.def
		}
		if *limit.value < 0 {
			return nil, fmt.Errorf("%s is %d, allowed is a positive number", limit.name, *limit.value)
		}
	}
	if s.maxFileBytes > 1<<30 {
		return nil, fmt.Errorf("max file bytes is %d, allowed is at most %d", s.maxFileBytes, 1<<30)
	}
	return s, s.plan(o.Contracts)
}

// plan lays the tables out.
func (s *Sink) plan(contracts []*schemas.Contract) error {
	taken := map[string]bool{}
	for i, c := range contracts {
		if !tableName.MatchString(c.Table) {
			return fmt.Errorf("contract %s: %q is no table name, allowed are lower-case letters, digits and _", c.ID, c.Table)
		}
		if taken[c.Table] {
			return fmt.Errorf("contract %s: table %s has another contract too", c.ID, c.Table)
		}
		taken[c.Table] = true
		dir := filepath.Join(s.dir, c.Table)
		t := &table{
			index: i, name: c.Table, ident: icetable.Identifier{s.namespace, c.Table}, contract: c,
			personal: c.Personal(), purposes: c.FieldPurposes(), retentionDays: c.RetentionDays,
			dir: dir, dataDir: filepath.Join(dir, "data"), lock: newTableLock(dir+".lock", s.log),
		}
		t.cols, t.eventTime = layout(c)
		if (c.EventTime >= 0) != (t.eventTime >= 0) {
			return fmt.Errorf("contract %s: its event time is no column", c.ID)
		}
		names := map[string]bool{}
		for j := range t.cols {
			col := &t.cols[j]
			if names[col.name] {
				return fmt.Errorf("contract %s: column %s stands twice", c.ID, col.name)
			}
			names[col.name] = true
			if col.origin != fromBatch {
				continue
			}
			t.batchColumns++
			if col.out == t.eventTime && col.kind != timestampKind && col.kind != dateKind {
				return fmt.Errorf("contract %s: the event time %s is neither a timestamp nor a date", c.ID, col.name)
			}
		}
		for r := range t.reasons {
			t.reasons[r] = []byte(schemas.Reason(r).String())
		}
		s.tables = append(s.tables, t)
	}
	return nil
}

func (s *Sink) open(ctx context.Context) error {
	useTableIO()
	ctx = withDisk(ctx, s.disk)
	if err := s.disk.mkdir(s.dir); err != nil {
		return err
	}
	if err := s.openCatalog(ctx); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	// All of them before the first is touched, so that a directory that is
	// opened by a wrong name gets no table under it.
	for _, t := range s.tables {
		loaded, err := s.catalog.LoadTable(ctx, t.ident)
		if err == nil {
			err = t.checkPlace(loaded)
		}
		if err != nil && !errors.Is(err, catalog.ErrNoSuchTable) {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	if err := s.bind(ctx); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	for _, t := range s.tables {
		if err := s.openTable(ctx, t); err != nil {
			return err
		}
	}
	return s.publishAll(ctx)
}

// checkPlace refuses a table whose files have another path in its metadata:
// the directory was reached by a link, or it is a copy. Its own files would all
// pass for files that no commit names, and be swept.
func (t *table) checkPlace(loaded *icetable.Table) error {
	if at := localPath(loaded.Location()); at != t.dir {
		return fmt.Errorf("it lies at %s, not at %s: a warehouse is opened by the path that it was made under", at, t.dir)
	}
	return nil
}

// openTable loads or makes a table, clears away what dead writers left, and
// publishes its files again in case the last commit did not come to that.
func (s *Sink) openTable(ctx context.Context, t *table) error {
	release, err := t.lock.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := s.disk.mkdir(t.dataDir); err != nil {
		return err
	}
	loaded, err := s.loadOrCreate(ctx, t)
	if err != nil {
		return fmt.Errorf("table %s: %w", t.name, err)
	}
	if err := t.checkPlace(loaded); err != nil {
		return fmt.Errorf("table %s: %w", t.name, err)
	}
	if err := adopt(t.name, loaded, t.cols, t.eventTime); err != nil {
		return err
	}
	if err := s.reviewed.note(t, loaded); err != nil {
		return fmt.Errorf("table %s: %w", t.name, err)
	}
	// Without the lock a commit may be under way, however old its files are.
	if !t.lock.without {
		if err := s.sweep(ctx, t, loaded); err != nil {
			return fmt.Errorf("table %s: sweep: %w", t.name, err)
		}
	}
	if err := s.publish(ctx, t, loaded); err != nil {
		return fmt.Errorf("table %s: publish: %w", t.name, err)
	}
	return nil
}

func (s *Sink) loadOrCreate(ctx context.Context, t *table) (*icetable.Table, error) {
	loaded, err := s.catalog.LoadTable(ctx, t.ident)
	if err == nil || !errors.Is(err, catalog.ErrNoSuchTable) {
		return loaded, err
	}
	opts, err := createOptions(t.contract, t.cols, t.eventTime, fileURI(t.dir))
	if err != nil {
		return nil, err
	}
	c, ok := s.catalog.(catalog.Catalog)
	if !ok {
		return nil, errors.New("the catalog cannot make tables")
	}
	loaded, err = c.CreateTable(ctx, t.ident, icebergSchema(t.cols), opts...)
	if errors.Is(err, catalog.ErrTableAlreadyExists) {
		// The lock was lost, and another process was quicker.
		return s.catalog.LoadTable(ctx, t.ident)
	}
	if err != nil {
		return nil, err
	}
	s.log.Info("table made", "table", t.name)
	return loaded, nil
}

// Close lets go of the catalog. Writers must be closed before.
func (s *Sink) Close() error {
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}

// LimitBuffers says how much each writer that is made from now on buffers. It is
// called before the first of them.
func (s *Sink) LimitBuffers(bytes int64) { s.maxBufferBytes = bytes }

// Writer makes a worker's writer.
func (s *Sink) Writer() pipeline.Writer {
	w := &writer{sink: s, open: make([]map[int32]*buffer, len(s.tables)), spare: make([][]*block, len(s.tables))}
	codec := &zstd.Codec{Level: zstd.SpeedFastest}
	for i, t := range s.tables {
		w.open[i] = map[int32]*buffer{}
		w.encoders = append(w.encoders, newEncoder(t, codec))
	}
	return w
}

// Positions gives, for each table, how far its commits have come.
func (s *Sink) Positions(ctx context.Context) ([]pipeline.Positions, error) {
	ctx = withDisk(ctx, s.disk)
	all := make([]pipeline.Positions, len(s.tables))
	for i, t := range s.tables {
		loaded, err := s.catalog.LoadTable(ctx, t.ident)
		if err != nil {
			return nil, fmt.Errorf("positions of table %s: %w", t.name, err)
		}
		if all[i], err = readPositions(loaded.Properties()); err != nil {
			return nil, fmt.Errorf("positions of table %s: %w", t.name, err)
		}
	}
	return all, nil
}
