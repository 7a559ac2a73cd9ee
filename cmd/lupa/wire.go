package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"lupa/connectors/kafka"
	"lupa/connectors/quarantine"
	"lupa/connectors/registry"
	"lupa/connectors/warehouse"
	"lupa/pipeline"
	"lupa/pipeline/consent"
	"lupa/schemas"
	"lupa/schemas/decode"
	"lupa/transforms"
	"lupa/transforms/keys"
)

// ledgerDomain is the token domain of the ledger's own tokens. No contract may
// name it, so that no table joins with the ledger.
const ledgerDomain = "ledger"

// drainTimeout bounds the last commit after a signal.
const drainTimeout = time.Minute

// rooms are the parts of one job, open. This file alone knows the concrete
// types together.
type rooms struct {
	config    *Config
	log       *slog.Logger
	contracts []*schemas.Contract // without the rejects table
	keys      *keys.Keyset
	view      *consent.View
	ledger    pipeline.Ledger
	following *kafka.Ledger    // ledger, when it is a topic
	registry  *registry.Client // nil without one
	budget    budget
	sink      *warehouse.Sink
	reviewed  atomic.Pointer[warehouse.Sink] // sink, for the view
	linker    consent.Linker                 // nil where links are not learned
	keeper    *keeper                        // nil without a snapshot of the ledger

	ledgerRead atomic.Bool
	resumed    bool                // the ledger from its snapshot
	aside      pipeline.Quarantine // nil without a quarantine
	closers    []func() error
}

// openRooms opens everything but the events. The ledger is read to its present
// end before it returns.
func openRooms(ctx context.Context, c *Config, log *slog.Logger) (_ *rooms, err error) {
	r := &rooms{config: c, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := r.prepare(); err != nil {
		return nil, withCode(exitUsage, err)
	}
	// What is late depends on what the tables have, if there are any. Where there
	// are none, none are made for a job that cannot begin.
	if _, err := os.Stat(c.Warehouse.Dir); err == nil {
		if err := r.openWarehouse(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.openLedger(ctx); err != nil {
		return nil, err
	}
	// What the ledger leaves of the memory is known only now.
	if r.budget, err = share(c.Memory.Limit, r.view.MemoryBytes(), c.Commit.MaxBytes, r.workers()); err != nil {
		return nil, err
	}
	if r.sink == nil {
		if err := r.openWarehouse(ctx); err != nil {
			return nil, err
		}
	}
	r.sink.LimitBuffers(max(1, r.budget.rows/int64(r.workers())))
	if err := r.checkLedger(ctx); err != nil {
		return nil, err
	}
	if r.linker, err = r.openLinker(); err != nil {
		return nil, err
	}
	if err := r.openQuarantine(); err != nil {
		return nil, err
	}
	return r, nil
}

// prepare reads what every job needs that asks the ledger.
func (r *rooms) prepare() (err error) {
	if r.contracts, err = loadContracts(r.config.Contracts); err != nil {
		return err
	}
	if r.keys, err = openKeys(r.config.Keys.File); err != nil {
		return err
	}
	return r.openRegistry()
}

// openTables opens the warehouse alone, for commands that read no events. They
// make none: what was never there says nothing.
func openTables(ctx context.Context, c *Config, log *slog.Logger) (*rooms, error) {
	r := &rooms{config: c, log: log}
	var err error
	if r.contracts, err = loadContracts(c.Contracts); err != nil {
		return nil, withCode(exitUsage, err)
	}
	if _, err := os.Stat(c.Warehouse.Dir); err != nil {
		return nil, withCode(exitUsage, fmt.Errorf("warehouse.dir: %w", err))
	}
	return r, r.openWarehouse(ctx)
}

// loadContracts gives the contracts that the configuration asks for.
func loadContracts(c ContractsConfig) ([]*schemas.Contract, error) {
	if c.Defaults {
		return schemas.LoadContracts(c.Dir)
	}
	return schemas.ReadContracts(c.Dir)
}

func (r *rooms) openWarehouse(ctx context.Context) error {
	epoch := 0 // of what makes no tokens
	if r.keys != nil {
		epoch = int(r.keys.Epoch())
	}
	sink, err := warehouse.Open(ctx, warehouse.Options{
		Dir:        r.config.Warehouse.Dir,
		Namespace:  r.config.Warehouse.Namespace,
		Contracts:  r.tables(),
		Policy:     schemas.PolicyHash(r.contracts),
		KeyEpoch:   epoch,
		Catalog:    r.catalog(),
		StaleAfter: max(time.Hour, 4*r.config.Commit.Interval),
		Log:        r.log,
	})
	if err != nil {
		return err
	}
	r.sink = sink
	r.reviewed.Store(sink)
	r.closers = append(r.closers, sink.Close)
	return nil
}

// catalog is where the tables' catalog is.
func (r *rooms) catalog() warehouse.CatalogOptions {
	dsn := r.config.Warehouse.Postgres
	if dsn == nil {
		return warehouse.CatalogOptions{}
	}
	return warehouse.CatalogOptions{Postgres: &warehouse.PostgresOptions{DSN: dsn.Read}}
}

// tables are the contracts with the rejects table at their end.
func (r *rooms) tables() []*schemas.Contract {
	return append(append([]*schemas.Contract(nil), r.contracts...), schemas.Rejects())
}

func (r *rooms) openQuarantine() error {
	q := r.config.Quarantine
	switch {
	case q.Dir != "":
		aside, err := quarantine.NewDir(q.Dir, q.Recipient)
		if err != nil {
			return err
		}
		r.aside = aside
		r.closers = append(r.closers, aside.Close)
	case q.Topic != "":
		cluster, err := r.events()
		if err != nil {
			return err
		}
		producer := cluster.Producer()
		r.closers = append(r.closers, producer.Close)
		aside, err := quarantine.NewTopic(producer, q.Topic, q.Recipient)
		if err != nil {
			return err
		}
		r.aside = aside
	}
	return nil
}

// tellFaults logs, at most once in a while, that there are more ledger records
// that cannot be read or contradict each other than there were, until the function
// it gives is called.
func (r *rooms) tellFaults(every time.Duration) (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for known := r.view.Stats(); ; {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			now := r.view.Stats()
			if n := now.Unreadable - known.Unreadable; n > 0 {
				r.log.Warn("more ledger records could not be read, and deny whom they are about", "records", n, "first_of_all", r.view.Fault())
			}
			if n := now.Ties - known.Ties; n > 0 {
				r.log.Warn("more ledger records of one version differ; the most restrictive stands", "records", n)
			}
			known = now
		}
	}()
	return func() { close(done) }
}

// stallAfter is how long the ledger may keep events waiting without being told:
// as long as three commits are apart.
func stallAfter(interval time.Duration) time.Duration {
	return min(max(3*interval, 5*time.Second), 30*time.Second)
}

// events is the cluster that events come from and rejects may go to.
func (r *rooms) events() (*kafka.Cluster, error) {
	return r.cluster(r.config.Events.Kafka.Brokers, r.config.Events.Kafka.Security)
}

func (r *rooms) cluster(brokers []string, s SecurityConfig) (*kafka.Cluster, error) {
	security, err := security(s)
	if err != nil {
		return nil, withCode(exitUsage, err)
	}
	cluster, err := kafka.New(kafka.Options{
		Brokers: brokers, Security: security, Logger: r.log, MaxMessageBytes: int(r.config.Events.MaxMessageBytes),
		AheadBytes: int(r.budget.fetched) / r.workers(), // 0, the default, while the ledger is read
	})
	return cluster, withCode(exitUsage, err)
}

// security gives what a cluster is reached with. Secrets are read when they are
// needed, each time.
func security(c SecurityConfig) (kafka.Security, error) {
	s := kafka.Security{
		TLS: c.TLS, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile, ServerName: c.ServerName,
		Mechanism: c.Mechanism, Username: c.Username, PlaintextOnLoopback: true,
	}
	if c.Password != nil {
		s.Password = c.Password.Read
	}
	if c.TokenFile != "" {
		s.Token = kafka.TokenFile(c.TokenFile)
	}
	if t := c.Token; t != nil {
		source, err := kafka.NewClientCredentials(kafka.ClientCredentials{
			TokenURL: t.URL, ClientID: t.ClientID, ClientSecret: t.ClientSecret.Read, Scope: t.Scope, CAFile: t.CAFile,
		})
		if err != nil {
			return s, err
		}
		s.Token = source
	}
	return s, nil
}

func (r *rooms) domain(name string) (*keys.Domain, error) {
	return r.keys.DomainWith(name, keys.Options{PhoneRegion: r.config.Phone.DefaultRegion})
}

// workers is how many workers the configuration asks for.
func (r *rooms) workers() int {
	if r.config.Workers > 0 {
		return r.config.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// worker joins a source with stages of its own.
func (r *rooms) worker(source pipeline.Source) (pipeline.Worker, error) {
	decoder, err := r.decoder()
	if err != nil {
		return pipeline.Worker{}, err
	}
	domain, err := r.domain(ledgerDomain)
	if err != nil {
		return pipeline.Worker{}, err
	}
	treat, err := transforms.NewStage(r.contracts, func(name string) (transforms.Tokens, error) { return r.domain(name) })
	if err != nil {
		return pipeline.Worker{}, err
	}
	decide := consent.NewStage(r.view, domain)
	if r.linker != nil {
		decide.Learn(r.linker)
	}
	return pipeline.Worker{Source: source, Decoder: decoder, Stages: []pipeline.Stage{decide, treat}}, nil
}

// decoder makes the decoder of one worker. Files are JSON lines, whatever the
// messages in topics are.
func (r *rooms) decoder() (pipeline.Decoder, error) {
	e := &r.config.Events
	formats := map[string]decode.Format{}
	if e.Kafka != nil {
		for _, topic := range e.Kafka.Topics {
			formats[topic] = formatOf(e.Format)
		}
	}
	for topic, f := range e.Formats {
		formats[topic] = formatOf(f)
	}
	files := formatOf(e.Format)
	files.Encoding = decode.BareJSON
	var known decode.Registry
	if r.registry != nil {
		known = registered{r.registry}
	}
	return decode.New(r.contracts, formats, files, known, decode.Options{
		MaxDepth: e.MaxDepth, MaxMessageBytes: int(e.MaxMessageBytes),
	})
}

// registered gives a decoder the schemas that the registry's client gets.
type registered struct{ client *registry.Client }

// ByID gives the schema of an id.
func (r registered) ByID(ctx context.Context, id int32) (decode.Schema, error) {
	return schemaOf(r.client.ByID(ctx, id))
}

// ByGUID gives the schema of a GUID.
func (r registered) ByGUID(ctx context.Context, guid [16]byte) (decode.Schema, error) {
	return schemaOf(r.client.ByGUID(ctx, guid))
}

func schemaOf(s registry.Schema, err error) (decode.Schema, error) {
	if errors.Is(err, registry.ErrUnknownSchema) {
		err = fmt.Errorf("%w: %w", decode.ErrUnknownSchema, err)
	}
	types := map[registry.SchemaType]decode.SchemaType{
		registry.Avro: decode.Avro, registry.JSONSchema: decode.JSONSchema, registry.Protobuf: decode.Protobuf}
	out := decode.Schema{Type: types[s.Type], Text: s.Text}
	for _, ref := range s.References {
		out.References = append(out.References, decode.Reference(ref))
	}
	return out, err
}

// openRegistry makes the client of the schema registry, if there is one.
func (r *rooms) openRegistry() (err error) {
	c := r.config.Registry
	if c == nil {
		return nil
	}
	if r.registry, err = newRegistry(c, r.log); err != nil {
		return err
	}
	r.closers = append(r.closers, r.registry.Close)
	return nil
}

// newRegistry makes a client. Its secrets are read when they are needed.
func newRegistry(c *RegistryConfig, log *slog.Logger) (*registry.Client, error) {
	o := registry.Options{
		URLs: c.URLs, User: c.Username, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile, Log: log}
	if c.Password != nil {
		o.Password = c.Password.Read
	}
	if c.TokenFile != "" {
		o.Token = (&Secret{File: c.TokenFile}).Read
	}
	return registry.New(o)
}

func formatOf(c FormatConfig) decode.Format {
	encodings := map[string]decode.Encoding{encodingJSON: decode.BareJSON, encodingRegistry: decode.FromRegistry}
	envelopes := map[string]decode.Envelope{
		envelopeNone: decode.NoEnvelope, envelopeCloudEvents: decode.CloudEvents, envelopeDebezium: decode.Debezium}
	return decode.Format{Encoding: encodings[c.Encoding], Envelope: envelopes[c.Envelope]}
}

// job makes the job that reads the sources, one worker each.
func (r *rooms) job(sources []pipeline.Source) (pipeline.Job, error) {
	job := pipeline.Job{
		Contracts: r.tables(), Ledger: r.ledger, Sink: r.sink, Quarantine: r.aside,
		CommitEvery: r.config.Commit.Interval, DrainTimeout: drainTimeout,
		MaxHeldBytes: r.budget.held / int64(r.workers()),
		Watchdog:     r.config.Watchdog,
		Now:          time.Now,
	}
	job.Stalled = func() bool { return r.sink.Stalled() || r.registry != nil && r.registry.Stalled() }
	for _, s := range sources {
		w, err := r.worker(s)
		if err != nil {
			return job, err
		}
		job.Workers = append(job.Workers, w)
	}
	return job, nil
}

// close lets go of everything, last opened first.
func (r *rooms) close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	r.closers = nil
	return errors.Join(errs...)
}

// runError gives an error of a run the exit code that it stands for.
func runError(err error) error {
	if errors.Is(err, warehouse.ErrPosition) {
		return withCode(exitData, err)
	}
	return err
}
