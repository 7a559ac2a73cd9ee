package warehouse

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/connectors/warehouse/pgtest"
)

// postgresBinding: a directory belongs to the catalog that it was made with,
// and a catalog's namespace to its directory.
func postgresBinding(t *testing.T, pg *pgtest.Server) {
	ctx := context.Background()
	dsn, base := pg.Database(t), memoryDir(t)
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
	dirs := map[string]string{"a": memoryDir(t), "b": memoryDir(t)}
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
	if s, err := Open(context.Background(), on(dsn+"&search_path=absent", memoryDir(t))); err == nil || !strings.Contains(err.Error(), "names no schema") {
		t.Errorf("error %v of a schema that is not there", err)
		if err == nil {
			s.Close()
		}
	}
}

// postgresSecrets: a password is in no error and no printed option, and it may
// change while the sink is open.
func postgresSecrets(t *testing.T, pg *pgtest.Server) {
	dsn, dir := pg.Database(t), memoryDir(t)
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

// postgresTLS: a server is talked to if the certificate that is named vouches
// for it, and given up at once if not.
func postgresTLS(t *testing.T, pg *pgtest.Server) {
	dir := memoryDir(t)
	files := map[string]string{}
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
		cert, key := certificate(t, net.ParseIP(host))
		files[host] = filepath.Join(dir, host+".pem")
		if err := os.WriteFile(files[host], cert, 0o600); err != nil {
			t.Fatal(err)
		}
		if host == "127.0.0.1" {
			if err := pg.UseTLS(cert, key); err != nil {
				t.Fatal(err)
			}
		}
	}
	plain := pg.Database(t)
	with := func(more string) Options {
		return on(strings.Replace(plain, "sslmode=disable", more, 1), filepath.Join(dir, "warehouse"))
	}
	for _, mode := range []string{"sslmode=require", "sslmode=verify-full&sslrootcert=" + files["127.0.0.1"]} {
		s := openSink(t, with(mode))
		var encrypted bool
		if err := s.db.QueryRow("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&encrypted); err != nil || !encrypted {
			t.Errorf("%s: encrypted is %t (%v)", mode, encrypted, err)
		}
	}
	began := time.Now()
	s, err := Open(context.Background(), with("sslmode=verify-full&sslrootcert="+files["127.0.0.2"]))
	if err == nil {
		s.Close()
	}
	if unknown := new(x509.UnknownAuthorityError); !errors.As(err, unknown) {
		t.Errorf("error %v, want one of the certificate", err)
	}
	if took := time.Since(began); took > with("").Catalog.Postgres.Patience {
		t.Errorf("it was tried again for %v", took)
	}
}

// certificate makes a certificate that vouches for itself, in PEM.
func certificate(t *testing.T, ip net.IP) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{ip},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}
