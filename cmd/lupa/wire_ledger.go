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
	if r.contracts, err = loadContracts(c.Contracts); err != nil {
		return nil, withCode(exitUsage, err)
	}
	if r.keys, err = openKeys(c.Keys.File); err != nil {
		return nil, withCode(exitUsage, err)
	}
	if err := r.openRegistry(); err != nil {
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

// reviewedTo is up to where the tables are reviewed. While there are none nothing
// can be late.
func (r *rooms) reviewedTo(topic string, partition int32) int64 {
	if sink := r.reviewed.Load(); sink != nil {
		return sink.ReviewedTo(topic, partition)
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
	reader, err := r.ledgerReader(ctx, tables.vocabulary)
	if err != nil {
		return withCode(exitUsage, err)
	}
	narrow, err := narrower(tables.vocabulary, &r.config.Events)
	if err != nil {
		return withCode(exitUsage, err)
	}
	region := r.config.Warehouse.Region
	o := consent.Options{
		Narrow: narrow, MaxLinked: r.config.Ledger.MaxLinked, Vocabulary: tables.vocabulary, Reader: reader, Ages: tables.ages,
		Allows:   func(regions string) bool { return tables.regions.Allows(regions, region) },
		Reviewed: r.reviewedTo,
	}
	if r.view, err = consent.NewView(domain, o); err != nil {
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
	k := r.config.Ledger.Kafka
	cluster, err := r.cluster(k.Brokers, k.Security)
	if err != nil {
		return err
	}
	ledger, err := cluster.Ledger(k.Topic, r.view, kafka.LedgerOptions{
		MaxStaleness: k.MaxStaleness, Strict: k.Strict, Stall: stallAfter(r.config.Commit.Interval)})
	if err != nil {
		return err
	}
	if err := ledger.Start(ctx); err != nil {
		return err
	}
	r.ledger, r.following = ledger, ledger
	r.closers = append(r.closers, ledger.Close)
	return nil
}
