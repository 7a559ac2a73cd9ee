package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"lupa/connectors/files"
	"lupa/connectors/kafka"
	"lupa/connectors/quarantine"
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
	sink      *warehouse.Sink
	aside     pipeline.Quarantine // nil without a quarantine
	closers   []func() error
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
	if r.contracts, err = loadContracts(c.Contracts); err != nil {
		return nil, withCode(exitUsage, err)
	}
	if r.keys, err = openKeys(c.Keys.File); err != nil {
		return nil, withCode(exitUsage, err)
	}
	if err := r.openWarehouse(ctx); err != nil {
		return nil, err
	}
	if err := r.openQuarantine(); err != nil {
		return nil, err
	}
	if err := r.openLedger(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// loadContracts gives the contracts that the configuration asks for.
func loadContracts(c ContractsConfig) ([]*schemas.Contract, error) {
	if c.Defaults {
		return schemas.LoadContracts(c.Dir)
	}
	return schemas.ReadContracts(c.Dir)
}

func (r *rooms) openWarehouse(ctx context.Context) error {
	sink, err := warehouse.Open(ctx, warehouse.Options{
		Dir:            r.config.Warehouse.Dir,
		Namespace:      r.config.Warehouse.Namespace,
		Contracts:      r.tables(),
		Policy:         schemas.PolicyHash(r.contracts),
		KeyEpoch:       int(r.keys.Epoch()),
		MaxBufferBytes: r.workerBytes(),
		StaleAfter:     max(time.Hour, 4*r.config.Commit.Interval),
		Log:            r.log,
	})
	if err != nil {
		return err
	}
	r.sink = sink
	r.closers = append(r.closers, sink.Close)
	return nil
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
		cluster, err := r.cluster(r.config.Events.Kafka.Brokers)
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

func (r *rooms) openLedger(ctx context.Context) error {
	domain, err := r.domain(ledgerDomain)
	if err != nil {
		return err
	}
	if r.view, err = consent.NewView(domain, consent.Options{}); err != nil {
		return err
	}
	began := time.Now()
	if err := r.readLedger(ctx); err != nil {
		return err
	}
	s := r.view.Stats()
	r.log.Info("ledger read", "records", s.Records, "subjects", s.Subjects, "unreadable", s.Unreadable,
		"unknown_purposes", s.UnknownPurposes, "ties", s.Ties, "capped", s.Capped, "seconds", time.Since(began).Seconds())
	if s.Unreadable > 0 {
		r.log.Warn("ledger records could not be read, and deny whom they are about", "records", s.Unreadable, "first", r.view.Fault())
	}
	if s.Subjects == 0 {
		r.log.Warn("the ledger is about nobody, so no row about a person can be kept")
	}
	return nil
}

func (r *rooms) readLedger(ctx context.Context) error {
	if r.config.Ledger.Kafka == nil {
		fixed, err := files.ReadLedger(ctx, r.config.Ledger.File, r.view)
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		r.ledger = fixed
		return nil
	}
	cluster, err := r.cluster(r.config.Ledger.Kafka.Brokers)
	if err != nil {
		return err
	}
	ledger, err := cluster.Ledger(r.config.Ledger.Kafka.Topic, r.view, kafka.LedgerOptions{})
	if err != nil {
		return err
	}
	if err := ledger.Start(ctx); err != nil {
		return err
	}
	r.ledger = ledger
	r.closers = append(r.closers, ledger.Close)
	return nil
}

func (r *rooms) cluster(brokers []string) (*kafka.Cluster, error) {
	return kafka.New(kafka.Options{
		Brokers: brokers, Logger: r.log, MaxMessageBytes: int(r.config.Events.MaxMessageBytes),
	})
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

// workerBytes is each worker's share of the memory for open rows.
func (r *rooms) workerBytes() int64 { return max(1, r.config.Commit.MaxBytes/int64(r.workers())) }

// worker joins a source with stages of its own.
func (r *rooms) worker(source pipeline.Source) (pipeline.Worker, error) {
	decoder, err := decode.NewJSON(r.contracts, decode.Options{
		MaxDepth: r.config.Events.MaxDepth, MaxMessageBytes: int(r.config.Events.MaxMessageBytes),
	})
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
	return pipeline.Worker{
		Source: source, Decoder: decoder,
		Stages: []pipeline.Stage{consent.NewStage(r.view, domain), treat},
	}, nil
}

// job makes the job that reads the sources, one worker each.
func (r *rooms) job(sources []pipeline.Source) (pipeline.Job, error) {
	job := pipeline.Job{
		Contracts: r.tables(), Ledger: r.ledger, Sink: r.sink, Quarantine: r.aside,
		CommitEvery: r.config.Commit.Interval, DrainTimeout: drainTimeout,
		Now: time.Now,
	}
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
