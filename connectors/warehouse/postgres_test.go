package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"lupa/connectors/warehouse/pgtest"
	"lupa/pipeline"
	"lupa/pipeline/pipelinetest"
)

// on makes the options of a warehouse whose catalog is at dsn.
func on(dsn, dir string) Options {
	return Options{Dir: dir, Contracts: contracts(), Catalog: CatalogOptions{Postgres: &PostgresOptions{
		DSN: func() (string, error) { return dsn, nil }, Patience: 20 * time.Second}}}
}

// TestPostgres: everything on one server, each in a database of its own.
func TestPostgres(t *testing.T) {
	if dsn := os.Getenv(childDSN); dsn != "" {
		postgresChild(t, dsn)
		return
	}
	pg := pgtest.Start(t)
	for _, tc := range []struct {
		name string
		run  func(t *testing.T, pg *pgtest.Server)
	}{
		{"conformance", postgresConformance},
		{"several start at once", postgresStart},
		{"several commit at once", postgresConcurrent},
		{"the swap decides", postgresSwap},
		{"a lost lock is no danger", postgresLostLock},
		{"a lock waits as long as the caller", postgresLockWaits},
		{"the server goes away", postgresRestart},
		{"a reply is lost", postgresLostReply},
		{"a try that was given up lands after all", postgresLateLanding},
		{"a table is made and the reply is lost", postgresLostCreate},
		{"one directory, one catalog", postgresBinding},
		{"a schema and a user that may not make tables", postgresSchema},
		{"secrets", postgresSecrets},
		{"TLS", postgresTLS},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.run(t, pg) })
	}
}

func postgresConformance(t *testing.T, pg *pgtest.Server) {
	homes := map[string]string{} // home: dsn
	pipelinetest.RunSinkSuite(t, func(t *testing.T, home string) (pipeline.Sink, func(table int) []pipelinetest.Row) {
		if homes[home] == "" {
			homes[home] = pg.Database(t)
		}
		o := on(homes[home], home)
		o.Contracts = pipelinetest.Contracts()
		s := openSink(t, o)
		return s, func(table int) []pipelinetest.Row { return suiteRows(t, s, home, table) }
	})
}

const (
	childDSN = "LUPA_TEST_POSTGRES_DSN"
	childDir = "LUPA_TEST_POSTGRES_DIR"
	childID  = "LUPA_TEST_POSTGRES_ID"
)

const childCommits, childRows = 3, 10

// postgresChild is what each process of postgresStart does.
func postgresChild(t *testing.T, dsn string) {
	id, err := strconv.ParseInt(os.Getenv(childID), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	s := openSink(t, on(dsn, os.Getenv(childDir)))
	for i := range int64(childCommits) {
		writeAndCommit(t, s, pipeline.Partition{Topic: "events", ID: int32(id)}, i*childRows, childRows)
	}
}

// postgresStart: processes that start at once make the tables once, and what
// all of them commit is there.
func postgresStart(t *testing.T, pg *pgtest.Server) {
	for range 3 {
		dsn, dir := pg.Database(t), memoryDir(t)
		var opening sync.WaitGroup
		for range 6 {
			opening.Go(func() {
				s, err := Open(context.Background(), on(dsn, dir))
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		opening.Wait()
	}
	dsn, dir := pg.Database(t), memoryDir(t)
	const processes = 3
	var want []storedRow
	var wg sync.WaitGroup
	for id := range processes {
		want = append(want, wantRows(pipeline.Partition{Topic: "events", ID: int32(id)}, makeClicks(0, childCommits*childRows))...)
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestPostgres$")
			cmd.Env = append(os.Environ(), childDSN+"="+dsn, childDir+"="+dir, fmt.Sprintf("%s=%d", childID, id))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v\n%s", id, err, out)
			}
		})
	}
	wg.Wait()
	s := openSink(t, on(dsn, dir))
	if diff := cmp.Diff(want, tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	checkPublished(t, s, dir)
	if n := load(t, s, clicksTable).Properties().GetInt(propCommits, 0); n != processes*childCommits {
		t.Errorf("%d commits, want %d", n, processes*childCommits)
	}
}

// postgresConcurrent: workers of two sinks, all at once.
func postgresConcurrent(t *testing.T, pg *pgtest.Server) {
	dsn, dir := pg.Database(t), memoryDir(t)
	sinks := []*Sink{openSink(t, on(dsn, dir)), openSink(t, on(dsn, dir))}
	const workers, commits, rows = 4, 3, 20
	var want []storedRow
	var wg sync.WaitGroup
	for worker := range workers {
		p := pipeline.Partition{Topic: "events", ID: int32(worker)}
		want = append(want, wantRows(p, makeClicks(0, commits*rows))...)
		wg.Go(func() {
			for i := range int64(commits) {
				writeAndCommit(t, sinks[worker%2], p, i*rows, rows)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(want, tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	checkPublished(t, sinks[0], dir)
}

// watched notes how commits ended in the catalog itself.
type watched struct {
	icetable.CatalogIO
	lost *atomic.Int32
}

func (w watched) CommitTable(ctx context.Context, ident icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, string, error) {
	meta, location, err := w.CatalogIO.CommitTable(ctx, ident, reqs, updates)
	if errors.Is(err, icetable.ErrCommitFailed) {
		w.lost.Add(1)
	}
	return meta, location, err
}

// unlock lets the sinks commit without waiting for each other, as if the lock
// did not reach from one to the other.
func unlock(sinks ...*Sink) {
	for i, s := range sinks {
		for _, t := range s.tables {
			t.lock = newLock(fmt.Sprintf("%s.%d", t.lock.path, i))
		}
	}
}

// postgresSwap holds two commits back until both have read the table and are
// about to write, so that nothing but the catalog's compare-and-swap is between
// them.
func postgresSwap(t *testing.T, pg *pgtest.Server) {
	for _, tc := range []struct {
		name       string
		partitions [2]pipeline.Partition
	}{
		{"of two partitions: the loser is built again", [2]pipeline.Partition{events, other}},
		{"of the same rows: the loser is refused", [2]pipeline.Partition{events, events}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := context.Background()
			dsn, dir := pg.Database(t), memoryDir(t)
			sinks := []*Sink{openSink(t, on(dsn, dir)), openSink(t, on(dsn, dir))}
			unlock(sinks...)
			lost := &atomic.Int32{}
			for _, s := range sinks {
				s.catalog = watched{s.catalog, lost}
			}
			db := openDB(t, dsn)
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec("SELECT 1 FROM iceberg_tables WHERE table_name = 'clicks' FOR UPDATE"); err != nil {
				t.Fatal(err)
			}
			rows := makeClicks(0, 10)
			errs := make([]error, 2)
			var wg sync.WaitGroup
			for i, s := range sinks {
				w := s.Writer()
				defer w.Close()
				files := write(t, w, tc.partitions[i], rows)
				wg.Go(func() { errs[i] = s.Commit(ctx, clicksCommit(files, tc.partitions[i], 0, 10, rows)) })
			}
			await(t, db, 2, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE%' AND datname = current_database()`)
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if lost.Load() != 1 {
				t.Errorf("%d of two commits lost the swap, want 1", lost.Load())
			}
			won, refused := 0, 0
			for _, err := range errs {
				switch {
				case err == nil:
					won++
				case errors.Is(err, ErrPosition):
					refused++
				default:
					t.Error(err)
				}
			}
			want := wantRows(events, rows)
			wantWon := 1
			if tc.partitions[1] == other {
				want, wantWon = append(want, wantRows(other, rows)...), 2
			}
			if won != wantWon || refused != 2-wantWon {
				t.Errorf("%d commits landed and %d were refused, want %d and %d", won, refused, wantWon, 2-wantWon)
			}
			// The one that published last may not have been the one that won.
			fresh := openSink(t, on(dsn, dir))
			if diff := cmp.Diff(want, tableRows(t, dir, "clicks")); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			checkPublished(t, fresh, dir)
		})
	}
}

func openDB(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal("the connection string of the test server cannot be read")
	}
	db := stdlib.OpenDB(*config)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// await returns once the query counts n.
func await(t *testing.T, db *sql.DB, n int, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		var got int
		if err := db.QueryRowContext(ctx, query).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got == n {
			return
		}
	}
}
