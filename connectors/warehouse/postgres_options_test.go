package warehouse

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/connectors/warehouse/pgtest"
)

// postgresBinding: a directory belongs to the catalog that it was made with,
// and a catalog's namespace to its directory.
func postgresBinding(t *testing.T, pg *pgtest.Server) {
	ctx := context.Background()
	dsn, base := pg.Database(t), t.TempDir()
	dir := filepath.Join(base, "warehouse")
	writeAndCommit(t, openSink(t, on(dsn, dir)), events, 0, 10)
	local := filepath.Join(base, "local")
	openSink(t, Options{Dir: local, Contracts: contracts()})
	otherSpace := on(dsn, dir)
	otherSpace.Namespace = "other"
	for _, tc := range []struct {
		name, want string
		open       Options
	}{
		{"another directory", "table clicks: it lies at " + dir, on(dsn, filepath.Join(base, "elsewhere"))},
		{"another database", "names another catalog", on(pg.Database(t), dir)},
		{"another namespace", "names another catalog", otherSpace},
		{"SQLite beside it", "has its catalog in PostgreSQL", Options{Dir: dir, Contracts: contracts()}},
		{"beside SQLite", "has its catalog in catalog.db", on(dsn+"&application_name=x", local)},
	} {
		if tc.name == "beside SQLite" {
			tc.open.Namespace = "local"
		}
		s, err := Open(ctx, tc.open)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
		if err == nil {
			s.Close()
		}
	}
	if _, err := os.Stat(filepath.Join(base, "elsewhere", "clicks")); err == nil {
		t.Error("a directory that was opened by mistake has a table")
	}
	writeAndCommit(t, openSink(t, on(dsn, dir)), events, 10, 10)
	if diff := cmp.Diff(wantRows(events, makeClicks(0, 20)), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// postgresSchema: search_path says where the catalog's tables stand, and who
// works in them need not be allowed to make them.
func postgresSchema(t *testing.T, pg *pgtest.Server) {
	dsn := pg.Database(t)
	db := openDB(t, dsn)
	for _, sql := range []string{
		"CREATE SCHEMA a", "CREATE SCHEMA b", "DROP ROLE IF EXISTS worker", "CREATE ROLE worker LOGIN PASSWORD 'w'",
		"ALTER ROLE worker SET synchronous_commit = off", "ALTER ROLE worker SET lock_timeout = 1",
		"GRANT USAGE ON SCHEMA a TO worker",
		"ALTER DEFAULT PRIVILEGES IN SCHEMA a GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO worker",
	} {
		if _, err := db.Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
	dirs := map[string]string{"a": t.TempDir(), "b": t.TempDir()}
	for schema, dir := range dirs {
		s := openSink(t, on(dsn+"&search_path="+schema, dir))
		writeAndCommit(t, s, events, 0, 10)
		var n int
		if err := db.QueryRow("SELECT count(*) FROM " + schema + ".iceberg_tables").Scan(&n); err != nil || n != len(contracts()) {
			t.Errorf("schema %s holds %d tables, want %d (%v)", schema, n, len(contracts()), err)
		}
	}
	u, err := url.Parse(dsn + "&search_path=a")
	if err != nil {
		t.Fatal("the connection string is no URL")
	}
	u.User = url.UserPassword("worker", "w")
	s := openSink(t, on(u.String(), dirs["a"]))
	writeAndCommit(t, s, events, 10, 10)
	if diff := cmp.Diff(wantRows(events, makeClicks(0, 20)), tableRows(t, dirs["a"], "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for setting, want := range map[string]string{"synchronous_commit": "on", "lock_timeout": "0", "tcp_keepalives_idle": "15", "application_name": "lupa"} {
		var got string
		if err := s.db.QueryRow("SELECT current_setting($1)", setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", setting, got, want, err)
		}
	}
	if s, err := Open(context.Background(), on(dsn+"&search_path=absent", t.TempDir())); err == nil || !strings.Contains(err.Error(), "names no schema") {
		t.Errorf("error %v of a schema that is not there", err)
		if err == nil {
			s.Close()
		}
	}
}

// postgresSecrets: a password is in no error and no printed option, and it may
// change while the sink is open.
func postgresSecrets(t *testing.T, pg *pgtest.Server) {
	dsn, dir := pg.Database(t), t.TempDir()
	const secret = "correct-horse"
	o := on(dsn, dir)
	if printed := fmt.Sprintf("%+v %#v %+v", o, o, o.Catalog.Postgres); strings.Contains(printed, pg.Password()) {
		t.Error("printed options hold the password")
	}
	for _, tc := range []struct{ name, dsn, want string }{
		{"wrong password", strings.Replace(dsn, pg.Password(), secret, 1), "password authentication failed"},
		{"no URL", "postgres://lupa:" + secret + "@127.0.0.1:port/x", "it cannot be read"},
		{"no keywords", "host=127.0.0.1 password=" + secret + " dbname", "it cannot be read"},
		{"unknown mode", "postgres://lupa:" + secret + "@db/x?sslmode=maybe", "it cannot be read"},
		{"no such CA file", "postgres://lupa:" + secret + "@db/x?sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "open /nowhere/ca.pem"},
		{"TLS left to the server", "postgres://lupa:" + secret + "@db.example.test/x", "sslmode for host db.example.test"},
		{"the same for one of several hosts", "postgres://lupa:" + secret + "@127.0.0.1,db.example.test/x?sslmode=prefer", "sslmode for host db.example.test"},
	} {
		s, err := Open(context.Background(), on(tc.dsn, dir))
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", tc.name)
			continue
		}
		if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
		if printed := fmt.Sprintf("%v %+v", err, err); strings.Contains(printed, secret) {
			t.Errorf("%s: the error holds the password", tc.name)
		}
	}
	var asked atomic.Int32
	o.Catalog.Postgres.DSN = func() (string, error) {
		if asked.Add(1) == 3 {
			return "", errors.New("no such file")
		}
		return dsn, nil
	}
	s := openSink(t, o)
	if asked.Load() == 0 {
		t.Error("the DSN was not asked for")
	}
	s.db.SetMaxIdleConns(0)
	var failed int
	for range 3 {
		if _, err := s.Positions(t.Context()); err != nil {
			failed++
			if !strings.Contains(err.Error(), "dsn: no such file") {
				t.Errorf("error %v, want that of the DSN", err)
			}
		}
	}
	if failed > 1 {
		t.Errorf("%d of 3 reads failed, the DSN was away for one", failed)
	}
	for _, bad := range []*PostgresOptions{{}, {DSN: o.Catalog.Postgres.DSN, Patience: -1}} {
		if _, err := newSink(Options{Dir: dir, Contracts: contracts(), Catalog: CatalogOptions{Postgres: bad}}, &disk{}); err == nil {
			t.Errorf("options %v were taken", bad)
		}
	}
}
