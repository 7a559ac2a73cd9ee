package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"
	"time"

	"lupa/connectors/files"
	"lupa/connectors/kafka"
	"lupa/pipeline/consent"
	"lupa/schemas"
	"lupa/schemas/mapping"
)

// This file is the ledger's part of wire.go.

// openView opens the ledger alone, for commands that ask it, with the tables if
// they are asked for and there are any.
func openView(ctx context.Context, c *Config, log *slog.Logger, tables bool) (_ *rooms, err error) {
	r := &rooms{config: c, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := r.prepare(); err != nil {
		return nil, withCode(exitUsage, err)
	}
	if tables {
		if _, err := os.Stat(c.Warehouse.Dir); err == nil {
			if err := r.openWarehouse(ctx); err != nil {
				return nil, err
			}
		}
	}
	return r, r.openLedger(ctx)
}

// tables are what a ledger is read and decided by, besides its records.
type ledgerTables struct {
	vocabulary *schemas.Vocabulary
	ages       *schemas.Ages
	regions    *schemas.Regions
}

// loadLedgerTables reads the embedded tables and what the configuration adds.
func loadLedgerTables(c *LedgerConfig) (t ledgerTables, err error) {
	t = ledgerTables{schemas.DefaultVocabulary(), schemas.DefaultAges(), schemas.DefaultRegions()}
	if c.Vocabulary != "" {
		if t.vocabulary, err = schemas.ReadVocabulary(c.Vocabulary); err != nil {
			return t, err
		}
	}
	if c.Ages != "" {
		if t.ages, err = schemas.ReadAges(c.Ages); err != nil {
			return t, err
		}
	}
	if c.Regions != "" {
		t.regions, err = schemas.ReadRegions(c.Regions)
	}
	return t, err
}

// reviewedTo is up to where the tables are reviewed. Where they have no rows,
// nothing that the ledger had at the start is late.
func (r *rooms) reviewedTo(topic string, partition int32) int64 {
	if sink := r.reviewed.Load(); sink != nil {
		if to := sink.ReviewedTo(topic, partition); to != math.MaxInt64 {
			return to
		}
	}
	if r.ledgerRead.Load() {
		return 0 // rows may be written from now on, by whichever process
	}
	return math.MaxInt64
}

// loadMapping gives the mapping of a file, or the preset of that name.
func loadMapping(name string, v *schemas.Vocabulary) (*mapping.Mapping, error) {
	if strings.ContainsAny(name, "./") {
		return mapping.Load(name, v)
	}
	m, _, err := mapping.Preset(name, v)
	return m, err
}

// ledgerReader gives what reads the ledger's messages.
func (r *rooms) ledgerReader(ctx context.Context, v *schemas.Vocabulary) (statements, error) {
	c := &r.config.Ledger
	var reader statements = schemas.NewRecordReader(v)
	if c.Mapping != "" {
		m, err := loadMapping(c.Mapping, v)
		if err != nil {
			return nil, err
		}
		reader = mapping.NewReader(m)
	}
	if c.Encoding == encodingRegistry {
		return newRegistryReader(ctx, registered{r.registry}, reader)
	}
	return reader, nil
}

func (r *rooms) openLedger(ctx context.Context) error {
	domain, err := r.domain(ledgerDomain)
	if err != nil {
		return err
	}
	tables, err := loadLedgerTables(&r.config.Ledger)
	if err != nil {
		return withCode(exitUsage, err)
	}
	narrow, err := narrower(tables.vocabulary, &r.config.Events)
	if err != nil {
		return withCode(exitUsage, err)
	}
	// Once the ledger is read, what waits for a schema of its records goes on
	// waiting after a signal, as the last commit does, until the ledger is closed.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	begun := context.AfterFunc(ctx, end)
	reader, err := r.ledgerReader(life, tables.vocabulary)
	if err != nil {
		end()
		return withCode(exitUsage, err)
	}
	region := r.config.Warehouse.Region
	o := consent.Options{
		Narrow: narrow, MaxLinked: r.config.Ledger.MaxLinked, SharedKinds: r.config.Ledger.Shared, Vocabulary: tables.vocabulary, Reader: reader, Ages: tables.ages,
		Allows:   func(regions string) bool { return tables.regions.Allows(regions, region) },
		Reviewed: r.reviewedTo,
		Now:      func() int64 { return time.Now().UnixMicro() },
	}
	began := time.Now()
	if err := r.readLedger(ctx, &tables, domain, o); err != nil {
		end()
		return err
	}
	begun()
	r.closers = append(r.closers, func() error { end(); return nil }) // before the ledger is closed
	r.ledgerRead.Store(true)
	s := r.view.Stats()
	r.log.Info("ledger read", "from", r.ledgerFrom(), "records", s.Records, "subjects", s.Subjects, "unreadable", s.Unreadable,
		"unknown_purposes", s.UnknownPurposes, "ties", s.Ties, "capped", s.Capped, "seconds", time.Since(began).Seconds())
	if s.Unreadable > 0 {
		r.log.Warn("ledger records could not be read, and deny whom they are about", "records", s.Unreadable, "first", r.view.Fault())
	}
	if s.Subjects == 0 {
		r.log.Warn("the ledger is about nobody, so no row about a person can be kept")
	}
	return nil
}

// ledgerFrom says from where the ledger was read.
func (r *rooms) ledgerFrom() string {
	if r.resumed {
		return "its snapshot"
	}
	return "its beginning"
}

func (r *rooms) readLedger(ctx context.Context, tables *ledgerTables, tokens consent.Tokens, o consent.Options) (err error) {
	if r.config.Ledger.Kafka == nil {
		if r.view, err = consent.NewView(tokens, o); err != nil {
			return err
		}
		fixed, err := files.ReadLedger(ctx, r.config.Ledger.File, r.view)
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		r.ledger = fixed
		return nil
	}
	if r.config.Ledger.Snapshot != nil {
		words, err := r.words(tables, tokens)
		if err != nil {
			return withCode(exitUsage, err)
		}
		r.keeper = &keeper{path: snapshotFile(&r.config.Ledger), words: words, log: r.log}
	}
	ledger, err := r.resumeLedger(ctx, tokens, o)
	if err == nil && ledger == nil {
		if r.view, err = consent.NewView(tokens, o); err != nil {
			return err
		}
		ledger, err = r.topicLedger(r.view)
	}
	if err != nil {
		return err
	}
	if err := ledger.Start(ctx); err != nil {
		return err
	}
	r.ledger, r.following = ledger, ledger
	r.closers = append(r.closers, ledger.Close)
	if r.keeper != nil {
		r.keeper.view, r.keeper.from = r.view, ledger
	}
	return nil
}

// topicLedger makes the reader of the ledger's topic into a view.
func (r *rooms) topicLedger(view *consent.View) (*kafka.Ledger, error) {
	k := r.config.Ledger.Kafka
	cluster, err := r.cluster(k.Brokers, k.Security)
	if err != nil {
		return nil, err
	}
	return cluster.Ledger(k.Topic, view, kafka.LedgerOptions{
		MaxStaleness: k.MaxStaleness, Strict: k.Strict, Stall: stallAfter(r.config.Commit.Interval)})
}

// resumeLedger goes on from the snapshot, and gives nothing when there is none that
// fits.
func (r *rooms) resumeLedger(ctx context.Context, tokens consent.Tokens, o consent.Options) (*kafka.Ledger, error) {
	if r.keeper == nil {
		return nil, nil
	}
	k := r.config.Ledger.Kafka
	cluster, err := r.cluster(k.Brokers, k.Security)
	if err != nil {
		return nil, err
	}
	if r.keeper.words.Cluster, err = cluster.Name(ctx, k.Topic); err != nil {
		return nil, err
	}
	view, state := r.keeper.load(ctx, tokens, o)
	if view == nil {
		return nil, ctx.Err()
	}
	ledger, err := r.topicLedger(view)
	if err == nil {
		err = ledger.Resume(ctx, *state)
	}
	if err == nil && !reaches(view, state, r.reviewedTo) {
		err = &kafka.StateError{Why: "tables have rows from before it knew what is late"}
	}
	if err == nil {
		r.view, r.resumed = view, true
		return ledger, nil
	}
	view.Close()
	if _, ok := errors.AsType[*kafka.StateError](err); ok {
		r.log.Warn("the snapshot of the ledger is not used; the topic is read from its beginning", "file", r.keeper.path, "why", err)
		return nil, nil
	}
	return nil, err
}
