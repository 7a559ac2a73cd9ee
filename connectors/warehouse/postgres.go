package warehouse

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	sqlcatalog "github.com/apache/iceberg-go/catalog/sql"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// PostgresOptions say which PostgreSQL database holds the catalog.
type PostgresOptions struct {
	// DSN gives the connection string, a URL or keywords and values as libpq
	// has them. It is asked for each new connection and its answer not kept, so
	// a password may come from a file, and may change.
	DSN func() (string, error)
	// Patience is for how long a server that does not answer is tried again;
	// two minutes by default.
	Patience time.Duration
}

// checked gives the options with their defaults, or nil for none.
func (o *PostgresOptions) checked() (*PostgresOptions, error) {
	if o == nil {
		return nil, nil
	}
	c := *o
	if c.DSN == nil {
		return nil, errors.New("postgres: dsn is missing")
	}
	if c.Patience == 0 {
		c.Patience = 2 * time.Minute
	}
	if c.Patience < 0 {
		return nil, fmt.Errorf("postgres: patience is %v, allowed is a positive duration", c.Patience)
	}
	return &c, nil
}

const (
	// idProperty of the namespace tells a catalog from every other, also after
	// it was dumped and restored.
	idProperty = "lupa.catalog-id"
	// maxIdle connections are kept for the next commit: one that asks and
	// writes, one that holds the lock.
	maxIdle     = 2
	maxIdleTime = 5 * time.Minute
)

// openPostgres opens the catalog and makes what is absent. Several processes
// may do so at once.
func (s *Sink) openPostgres(ctx context.Context) error {
	s.db = sql.OpenDB(connector{s.postgres.DSN})
	s.db.SetMaxIdleConns(maxIdle)
	s.db.SetConnMaxIdleTime(maxIdleTime)
	r := &retrier{patience: s.postgres.Patience, log: s.log}
	s.retrier = r
	var schema sql.NullString
	err := r.do(ctx, func(ctx context.Context) error {
		return s.db.QueryRowContext(ctx, "SELECT current_schema()").Scan(&schema)
	})
	if err != nil {
		return err
	}
	if !schema.Valid {
		return errNoSchema
	}
	for _, t := range s.tables {
		t.lock.shared = &advisory{db: s.db, retrier: r, key: lockKey(schema.String, s.namespace, t.name), name: t.name}
	}
	// To make a table that is absent is not for two at once in PostgreSQL
	// either, whatever IF NOT EXISTS sounds like.
	setup := &advisory{db: s.db, retrier: r, key: lockKey(schema.String), name: "catalog"}
	release, err := setup.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return r.do(ctx, func(ctx context.Context) error { return s.setUpPostgres(ctx, r) })
}

// AskPostgres connects to the database of a catalog and asks for nothing but
// the schema that its tables would be in. It tries once.
func AskPostgres(ctx context.Context, o PostgresOptions) (schema string, err error) {
	c, err := o.checked()
	if err != nil {
		return "", err
	}
	db := sql.OpenDB(connector{c.DSN})
	defer func() { err = errors.Join(err, db.Close()) }()
	var found sql.NullString
	if err := db.QueryRowContext(ctx, "SELECT current_schema()").Scan(&found); err != nil {
		return "", err
	}
	if !found.Valid {
		return "", errNoSchema
	}
	return found.String, nil
}

var errNoSchema = errors.New("the search_path of the DSN names no schema that is there")

// setUpPostgres does nothing that could not be repeated.
func (s *Sink) setUpPostgres(ctx context.Context, r *retrier) error {
	var tables int
	err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()
		AND table_name IN ('iceberg_tables', 'iceberg_namespace_properties')`).Scan(&tables)
	if err != nil {
		return err
	}
	props := s.catalogProperties()
	props["init_catalog_tables"] = "false" // it would do so without ctx
	c, err := sqlcatalog.NewCatalog(catalogName, s.db, sqlcatalog.Postgres, props)
	if err != nil {
		return err
	}
	// Asked only if need be: a user that may not make tables may use them.
	if tables < 2 {
		if err := c.CreateSQLTables(ctx); err != nil {
			return err
		}
	}
	if err := s.makeNamespace(ctx, c); err != nil {
		return err
	}
	namespace := icetable.Identifier{s.namespace}
	stored, err := c.LoadNamespaceProperties(ctx, namespace)
	if err != nil {
		return err
	}
	id := stored[idProperty]
	if id == "" {
		id = uuid.NewString()
		if _, err := c.UpdateNamespaceProperties(ctx, namespace, nil, iceberg.Properties{idProperty: id}); err != nil {
			return err
		}
	}
	s.catalogID = id
	s.catalog = &remote{Catalog: c, retrier: r, disk: s.disk}
	return nil
}

// connector opens connections as the DSN says at that time.
type connector struct{ dsn func() (string, error) }

func (connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	dsn, err := c.dsn()
	if err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	config, err := connConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	return stdlib.GetConnector(*config).Connect(ctx)
}

// CheckDSN says why a DSN would not be used, in words that repeat nothing of it.
func CheckDSN(dsn string) error {
	_, err := connConfig(dsn)
	return err
}

// connConfig reads a DSN. Its errors repeat nothing of it: a part that cannot
// be read may be a password.
func connConfig(dsn string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		if file := new(fs.PathError); errors.As(err, &file) {
			return nil, fmt.Errorf("a file that it names: %w", file)
		}
		return nil, errors.New("it cannot be read, allowed are postgres://user:password@host:port/database?sslmode=verify-full and what libpq takes besides")
	}
	hosts := []*pgconn.FallbackConfig{{Host: config.Host, TLSConfig: config.TLSConfig}}
	for _, host := range undecidedTLS(append(hosts, config.Fallbacks...)) {
		return nil, fmt.Errorf("sslmode for host %s would let the server choose not to encrypt, "+
			"allowed are verify-full, verify-ca, require, and disable if that is meant", host)
	}
	// Texts differ from commit to commit, so there is nothing to prepare.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.ValidateConnect = validate
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}}
	config.DialFunc = dialer.DialContext
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "lupa"
	}
	return config, nil
}

// undecidedTLS lists the hosts, but for this machine, that are tried both with
// and without TLS.
func undecidedTLS(ways []*pgconn.FallbackConfig) (hosts []string) {
	modes := map[string]map[bool]bool{}
	for _, w := range ways {
		if strings.HasPrefix(w.Host, "/") || w.Host == "localhost" || net.ParseIP(w.Host).IsLoopback() {
			continue
		}
		if modes[w.Host] == nil {
			modes[w.Host] = map[bool]bool{}
		}
		modes[w.Host][w.TLSConfig != nil] = true
		if len(modes[w.Host]) == 2 {
			hosts = append(hosts, w.Host)
		}
	}
	return hosts
}

// sessionSettings of every connection. The server notices within half a minute
// when the machine at the other end is gone, and lets go of its locks; a wait
// for a lock is ended by the caller alone; a commit that was confirmed stays.
const sessionSettings = `SELECT set_config('tcp_keepalives_idle', '15', false), set_config('tcp_keepalives_interval', '5', false),
	set_config('tcp_keepalives_count', '3', false), set_config('idle_in_transaction_session_timeout', '60000', false),
	set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false),
	set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)`

// validate refuses a standby: what it says may be out of date, and a commit
// that is looked for on it may be missing though it landed.
func validate(ctx context.Context, c *pgconn.PgConn) error {
	if err := pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, c); err != nil {
		return err
	}
	return c.Exec(ctx, sessionSettings).Close()
}

// remote is a catalog on a server that may be away for a while.
type remote struct {
	catalog.Catalog
	*retrier
	disk *disk
}

// LoadTable loads a table, once the server answers.
func (c *remote) LoadTable(ctx context.Context, ident icetable.Identifier) (t *icetable.Table, err error) {
	err = c.do(ctx, func(ctx context.Context) error {
		t, err = c.Catalog.LoadTable(ctx, ident)
		return err
	})
	return t, err
}

// CommitTable commits. A try that the connection broke under is repeated only
// if the commit requires that the table has not moved: when the first one did
// land, or still does, the second cannot, and the caller finds out which.
func (c *remote) CommitTable(ctx context.Context, ident icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (meta icetable.Metadata, location string, err error) {
	fenced := false
	for _, r := range reqs {
		_, ok := r.(unmoved)
		fenced = fenced || ok
	}
	if !fenced {
		return c.Catalog.CommitTable(ctx, ident, reqs, updates)
	}
	tries := 0
	err = c.do(ctx, func(ctx context.Context) error {
		tries++
		meta, location, err = c.Catalog.CommitTable(ctx, ident, reqs, updates)
		return err
	})
	if err != nil && tries > 1 && errors.Is(err, icetable.ErrCommitFailed) {
		// It would mean that nothing landed, and the library would tidy up.
		err = errors.New("an earlier try of the commit may have landed: " + err.Error())
	}
	return meta, location, err
}

// CreateTable makes a table. When the connection breaks, the library takes the
// insert for undone and removes the metadata file that the catalog may name by
// now; here the file stays, for Open's sweep to judge.
func (c *remote) CreateTable(ctx context.Context, ident icetable.Identifier, schema *iceberg.Schema, opts ...catalog.CreateTableOpt) (*icetable.Table, error) {
	created, err := c.Catalog.CreateTable(withDisk(ctx, c.disk.keeping()), ident, schema, opts...)
	if err == nil || !unreachable(err) {
		return created, err
	}
	loaded, loadErr := c.LoadTable(ctx, ident)
	if errors.Is(loadErr, catalog.ErrNoSuchTable) {
		return nil, err
	}
	return loaded, loadErr
}

// unreachable reports whether an error says that the server was not reached,
// went away, or is on its way up: that it may go well another time.
func unreachable(err error) bool {
	if answer := new(pgconn.PgError); errors.As(err, &answer) {
		switch answer.Code {
		case "57P01", "57P02", "57P03", // shutting down, crashed, starting up
			"53300",          // too many connections
			"25006",          // no longer the primary
			"40001", "40P01": // gave way to another transaction
			return true
		}
		return strings.HasPrefix(answer.Code, "08")
	}
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return false
	}
	return errors.As(err, new(*pgconn.ConnectError)) || errors.As(err, new(*net.OpError)) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, pgconn.ErrConnClosed) || pgconn.Timeout(err) ||
		pgconn.SafeToRetry(err) || errors.Is(err, io.ErrUnexpectedEOF)
}
