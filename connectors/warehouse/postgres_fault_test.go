package warehouse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"lupa/connectors/warehouse/pgtest"
)

// postgresLostLock ends the connection that holds the lock in the middle of a
// commit, lets a peer take the lock and commit, and then goes on.
func postgresLostLock(t *testing.T, pg *pgtest.Server) {
	for _, peerMoves := range []bool{false, true} {
		t.Run(fmt.Sprintf("a peer commits meanwhile=%t", peerMoves), func(t *testing.T) {
			dsn, dir := pg.Database(t), memoryDir(t)
			var log bytes.Buffer
			o := on(dsn, dir)
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			s, peer := openSink(t, o), openSink(t, on(dsn, dir))
			// As on another host, where the lock file of this one is not seen.
			peer.tables[clicksTable].lock.path += ".elsewhere"
			db := openDB(t, dsn)
			kill := func() error {
				var ended int
				err := db.QueryRow(`SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_locks
					WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&ended)
				if err == nil && ended != 1 {
					err = fmt.Errorf("%d holders of the lock, want 1", ended)
				}
				if err == nil && peerMoves {
					writeAndCommit(t, peer, other, 0, 5)
				}
				return err
			}
			s.catalog = &flaky{CatalogIO: s.catalog, before: kill}
			writeAndCommit(t, s, events, 0, 10)
			writeAndCommit(t, s, events, 10, 10)
			want := wantRows(events, makeClicks(0, 20))
			if peerMoves {
				want = append(want, wantRows(other, makeClicks(0, 5))...)
			}
			if diff := cmp.Diff(want, tableRows(t, dir, "clicks")); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			checkPublished(t, s, dir)
			if !strings.Contains(log.String(), "lock was lost while it was held") {
				t.Errorf("the log does not tell of the lost lock:\n%s", log.String())
			}
		})
	}
}

// postgresLockWaits: a commit waits for the lock of another, and no longer than
// its caller wants; who gives up leaves nothing behind.
func postgresLockWaits(t *testing.T, pg *pgtest.Server) {
	dsn, dir := pg.Database(t), memoryDir(t)
	s, peer := openSink(t, on(dsn, dir)), openSink(t, on(dsn, dir))
	peer.tables[clicksTable].lock.path += ".elsewhere"
	release, err := s.tables[clicksTable].lock.acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	db := openDB(t, dsn)
	waiting := `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	errGivenUp := errors.New("given up")
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error)
	go func() { done <- peer.Commit(ctx, clicksCommit(nil, events, 0, 0, nil)) }()
	await(t, db, 1, waiting)
	cancel(errGivenUp)
	if err := <-done; !errors.Is(err, errGivenUp) {
		t.Errorf("error %v, want the caller's reason", err)
	}
	await(t, db, 0, waiting)
	go func() { done <- peer.Commit(context.Background(), clicksCommit(nil, events, 0, 0, nil)) }()
	await(t, db, 1, waiting)
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// postgresRestart: reads and commits go on once the server is back, also when
// it crashed, and also when it goes in the middle of a commit.
func postgresRestart(t *testing.T, pg *pgtest.Server) {
	ctx := context.Background()
	dsn, dir := pg.Database(t), memoryDir(t)
	s := openSink(t, on(dsn, dir))
	writeAndCommit(t, s, events, 0, 10)
	real := s.catalog
	next := int64(10)
	for name, end := range map[string]func() error{"stopped": pg.Stop, "crashed": pg.Kill} {
		// Idle connections are broken, and the server is there again.
		if err := errors.Join(end(), pg.Restart()); err != nil {
			t.Fatal(err)
		}
		writeAndCommit(t, s, events, next, 10)
		next += 10
		// It is away when it is asked, and comes back.
		if err := end(); err != nil {
			t.Fatal(err)
		}
		read := make(chan error)
		go func() {
			_, err := s.Positions(ctx)
			read <- err
		}()
		for !s.Stalled() {
			select {
			case err := <-read:
				t.Fatalf("%s: the read did not wait: %v", name, err)
			case <-time.After(time.Millisecond):
			}
		}
		if err := pg.Restart(); err != nil {
			t.Fatal(err)
		}
		if err := <-read; err != nil {
			t.Errorf("%s: read positions: %v", name, err)
		}
		// It goes after the commit has read the table, with the lock held.
		restarted := make(chan error, 1)
		s.catalog = &flaky{CatalogIO: real, before: func() error {
			if err := end(); err != nil {
				return err
			}
			go func() { restarted <- pg.Restart() }()
			return nil
		}}
		writeAndCommit(t, s, events, next, 10)
		next += 10
		if err := <-restarted; err != nil {
			t.Fatal(err)
		}
		s.catalog = real
	}
	if diff := cmp.Diff(wantRows(events, makeClicks(0, int(next))), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if s.Stalled() {
		t.Error("the sink says that it still waits")
	}
	// Patience ends, and nothing is lost by it.
	if err := pg.Stop(); err != nil {
		t.Fatal(err)
	}
	s.catalog.(*remote).patience = 100 * time.Millisecond
	if _, err := s.Positions(ctx); err == nil || !strings.Contains(err.Error(), "no answer for 100ms") {
		t.Errorf("error %v of a server that is away, want one that says for how long", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	s.catalog.(*remote).patience = time.Hour
	if _, err := s.Positions(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the caller's deadline", err)
	}
	if err := pg.Restart(); err != nil {
		t.Fatal(err)
	}
}

// breaking fails calls of the catalog in front of the retries, as a broken
// connection would, before or after they took effect.
type breaking struct {
	catalog.Catalog
	before, after int // how many more calls
}

var errBroken = fmt.Errorf("read: %w", &pgconn.PgError{Code: "57P01", Message: "terminating connection"})

func (b *breaking) CommitTable(ctx context.Context, ident icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, string, error) {
	if b.before > 0 {
		b.before--
		return nil, "", errBroken
	}
	meta, location, err := b.Catalog.CommitTable(ctx, ident, reqs, updates)
	if err == nil && b.after > 0 {
		b.after--
		return nil, "", errBroken
	}
	return meta, location, err
}

// postgresLostReply: the connection breaks before the commit took effect, or
// after it; with the rows once in the table either way.
func postgresLostReply(t *testing.T, pg *pgtest.Server) {
	dsn, dir := pg.Database(t), memoryDir(t)
	s := openSink(t, on(dsn, dir))
	r := s.catalog.(*remote)
	real := r.Catalog
	next := int64(0)
	for _, b := range []*breaking{{real, 1, 0}, {real, 0, 1}, {real, 2, 1}} {
		r.Catalog = b
		writeAndCommit(t, s, events, next, 10)
		next += 10
		b.before = 1
		if err := s.Commit(context.Background(), clicksCommit(nil, events, next, next, nil)); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(wantRows(events, makeClicks(0, int(next))), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if n := load(t, s, clicksTable).Properties().GetInt(propCommits, 0); n != 6 {
		t.Errorf("%d commits, want 6", n)
	}
	checkPublished(t, s, dir)
}

// answers is a catalog whose commits end as listed.
type answers struct {
	catalog.Catalog
	errs []error
}

func (a *answers) CommitTable(context.Context, icetable.Identifier, []icetable.Requirement, []icetable.Update) (icetable.Metadata, string, error) {
	err := a.errs[0]
	a.errs = a.errs[1:]
	return nil, "", err
}

// TestRemoteCommit: a commit without the fence is tried once, and one that was
// tried twice never says that nothing landed, or the library would remove the
// files of the first.
func TestRemoteCommit(t *testing.T) {
	for _, tc := range []struct {
		name             string
		errs             []error
		reqs             []icetable.Requirement
		left             int
		broken, conflict bool
	}{
		{"lost the swap", []error{icetable.ErrCommitFailed, nil}, []icetable.Requirement{unmoved{}}, 1, false, true},
		{"broke, then lost the swap", []error{errBroken, icetable.ErrCommitFailed, nil}, []icetable.Requirement{unmoved{}}, 1, false, false},
		{"broke, then moved", []error{errBroken, errMoved, nil}, []icetable.Requirement{unmoved{}}, 1, false, false},
		{"broke without a fence", []error{errBroken, nil}, nil, 1, true, false},
	} {
		inner := &answers{errs: tc.errs}
		c := &remote{Catalog: inner, retrier: &retrier{patience: time.Minute, log: slog.New(slog.DiscardHandler)}, disk: &disk{}}
		_, _, err := c.CommitTable(t.Context(), nil, tc.reqs, nil)
		if err == nil || len(inner.errs) != tc.left || errors.Is(err, errBroken) != tc.broken || errors.Is(err, icetable.ErrCommitFailed) != tc.conflict {
			t.Errorf("%s: error %v, %d answers left", tc.name, err, len(inner.errs))
		}
	}
}

// given is a catalog whose first commit goes on after it was given up.
type given struct {
	catalog.Catalog
	up   bool
	late chan error
	wait func()
}

func (g *given) CommitTable(ctx context.Context, ident icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, string, error) {
	if g.up {
		return g.Catalog.CommitTable(ctx, ident, reqs, updates)
	}
	g.up = true
	go func() {
		_, _, err := g.Catalog.CommitTable(context.WithoutCancel(ctx), ident, reqs, updates)
		g.late <- err
	}()
	g.wait()
	return nil, "", errBroken
}

// postgresLateLanding: the server works on a commit whose connection is gone,
// and takes it while the second try is under way.
func postgresLateLanding(t *testing.T, pg *pgtest.Server) {
	dsn, dir := pg.Database(t), memoryDir(t)
	s := openSink(t, on(dsn, dir))
	db := openDB(t, dsn)
	waiters := func(n int) {
		await(t, db, n, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE%' AND datname = current_database()`)
	}
	r := s.catalog.(*remote)
	g := &given{Catalog: r.Catalog, late: make(chan error, 1), wait: func() { waiters(1) }}
	r.Catalog = g
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("SELECT 1 FROM iceberg_tables WHERE table_name = 'clicks' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		writeAndCommit(t, s, events, 0, 10)
	}()
	waiters(2)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	<-done
	if err := <-g.late; err != nil {
		t.Fatalf("the first try did not land: %v", err)
	}
	if n := load(t, s, clicksTable).Properties().GetInt(propCommits, 0); n != 1 {
		t.Errorf("%d commits, want 1", n)
	}
	if diff := cmp.Diff(wantRows(events, makeClicks(0, 10)), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if loaded := openSink(t, on(dsn, dir)); load(t, loaded, clicksTable).CurrentSnapshot() == nil {
		t.Error("the table has no snapshot")
	}
}

// postgresLostCreate cuts the connection that has just committed the insert of
// a new table: the table must be usable, which it is not once its metadata file
// is removed.
func postgresLostCreate(t *testing.T, pg *pgtest.Server) {
	dsn, dir := pg.Database(t), memoryDir(t)
	db := openDB(t, dsn)
	openSink(t, on(dsn, filepath.Join(dir, "first"))) // makes the catalog's own tables
	// A trigger that fires at the commit and ends the backend after what it
	// wrote elsewhere is durable cannot be had; one that ends it before can.
	for _, sql := range []string{
		`CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF nextval('cuts') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW; END $$`,
		`CREATE SEQUENCE cuts`,
		`CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON iceberg_tables DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cut()`,
	} {
		if _, err := db.Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
	o := on(dsn, filepath.Join(dir, "second"))
	o.Namespace = "second"
	if s, err := Open(context.Background(), o); err == nil {
		s.Close()
	}
	s := openSink(t, o)
	writeAndCommit(t, s, events, 0, 10)
	if diff := cmp.Diff(wantRows(events, makeClicks(0, 10)), tableRows(t, o.Dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	// And one whose insert landed.
	o = on(dsn, filepath.Join(dir, "third"))
	o.Namespace = "third"
	third, err := newSink(o, &disk{})
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if err := third.disk.mkdir(o.Dir); err != nil {
		t.Fatal(err)
	}
	useTableIO()
	if err := third.openCatalog(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := third.catalog.(*remote)
	r.Catalog = landsBroken{r.Catalog}
	if err := third.openTable(withDisk(t.Context(), third.disk), third.tables[clicksTable]); err != nil {
		t.Fatal(err)
	}
	writeAndCommit(t, third, events, 0, 10)
}

// landsBroken makes tables and says that the connection broke, after the
// library's own clean-up of a failure.
type landsBroken struct{ catalog.Catalog }

func (c landsBroken) CreateTable(ctx context.Context, ident icetable.Identifier, schema *iceberg.Schema, opts ...catalog.CreateTableOpt) (*icetable.Table, error) {
	made, err := c.Catalog.CreateTable(ctx, ident, schema, opts...)
	if err != nil {
		return nil, err
	}
	fsys, err := made.FS(ctx)
	if err != nil {
		return nil, err
	}
	if err := fsys.Remove(made.MetadataLocation()); err != nil {
		return nil, err
	}
	return nil, errBroken
}
