// Package oracle judges what a job has written. It reads the topics or files,
// the ledger, the key file and the tables by itself, slowly and plainly, works
// out what should have become of every message, and says where the tables
// differ:
//
//	report, err := oracle.Check(ctx, oracle.Input{Warehouse: dir, Contracts: contracts, …})
//	if err == nil && !report.Holds() { … }
//
// It shares no code with what it judges: not the consent view, not the
// decoder, not the warehouse, not the token maker. What it takes from package
// schemas are the contracts and the names of reasons, purposes and identifier
// kinds. So an error in the product and the same error here would have to be
// made twice. It is for fault tests and for operators; it takes seconds for
// tens of thousands of messages and holds all rows in memory.
//
// The guarantee is one of form: a report names places (files, columns, topics,
// partitions, offsets) and never what stands there.
package oracle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lupa/schemas"
)

// Input says what there is to judge.
type Input struct {
	// Warehouse is the directory of the tables.
	Warehouse string
	// Catalog is the SQLite file of the catalog, by default catalog.db in the
	// warehouse. Postgres, if set, is where the catalog is instead.
	Catalog, Postgres string
	// Namespace is that of the tables in the catalog, "lupa" by default.
	Namespace string
	// Contracts are those of the job, without the rejects table.
	Contracts []*schemas.Contract
	// Keys is the key file. Without it consent and pseudonyms are not checked.
	Keys string
	// PhoneRegion is the country of phone numbers that name none.
	PhoneRegion string
	// Region is the country that the tables are in; empty is not known.
	Region string
	// MaxLinked is how many identifiers a subject may have, 64 by default. Shared
	// are the kinds of identifiers that several people may have.
	MaxLinked int
	Shared    []schemas.IdentifierKind
	// Vocabulary, Regions and Ages are the tables of names and numbers that
	// records are read by, those that are built in by default.
	Vocabulary *schemas.Vocabulary
	Regions    *schemas.Regions
	Ages       *schemas.Ages
	// Now is the time; by default that of the clock.
	Now time.Time

	// Events are what the tables were made of. Messages are JSON.
	Events Source
	// Ledger is the consent ledger, one topic or some files. It is not read if any of
	// it is opaque.
	Ledger Source
	// MaxMessageBytes and MaxDepth are the limits of events, 1 MiB and 64 by
	// default.
	MaxMessageBytes, MaxDepth int

	// Quarantine is a directory, QuarantineTopic a topic beside the events;
	// Logs are files that the job has written. They are searched for raw values.
	Quarantine, QuarantineTopic string
	Logs                        []string

	// Still says that the ledger has not changed since before the first commit.
	// Then every message has exactly one right outcome, and all are compared.
	Still bool
	// Erased says that every erasure of the ledger is done: no row of an erased
	// subject may be left, whenever it was written.
	Erased bool
	// Before is an earlier report. No row may have been kept since, because the
	// ledger or the keys could not be reached in between.
	Before *Report
	// Within is how long the tables may take to reach the ends that the topics
	// have when Check begins. Behind says that they need not reach them.
	Within time.Duration
	Behind bool
	Caps   Caps
	// ClockSkew is how much the clocks of whoever writes the ledger and whoever
	// commits may differ; a minute by default.
	ClockSkew time.Duration
}

// Caps are the most that may lie about. Zero stands for the default, less than
// zero for no cap.
type Caps struct {
	// Leftovers are data files that no commit names, 1000 by default, and
	// LeftoverAge how old one may be; there is no default.
	Leftovers   int
	LeftoverAge time.Duration
	// Temps are unfinished files, 100 by default.
	Temps int
	// Snapshots of one table, 10,000 by default.
	Snapshots int
	// MetadataBytes of one table's metadata file, 64 MiB by default.
	MetadataBytes int64
}

func (in *Input) fill() error {
	if in.Warehouse == "" {
		return errors.New("no warehouse to look at")
	}
	if len(in.Contracts) == 0 {
		return errors.New("no contracts to judge by")
	}
	for _, d := range []struct {
		value *int
		def   int
	}{
		{&in.MaxMessageBytes, 1 << 20}, {&in.MaxDepth, 64}, {&in.MaxLinked, 64},
		{&in.Caps.Leftovers, 1000}, {&in.Caps.Temps, 100}, {&in.Caps.Snapshots, 10_000},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if in.Caps.MetadataBytes == 0 {
		in.Caps.MetadataBytes = 64 << 20
	}
	if in.ClockSkew == 0 {
		in.ClockSkew = time.Minute
	}
	if in.Vocabulary == nil {
		in.Vocabulary = schemas.DefaultVocabulary()
	}
	if in.Regions == nil {
		in.Regions = schemas.DefaultRegions()
	}
	if in.Ages == nil {
		in.Ages = schemas.DefaultAges()
	}
	if in.Now.IsZero() {
		in.Now = time.Now()
	}
	if in.Namespace == "" {
		in.Namespace = "lupa"
	}
	return nil
}

// Check judges. An error means that something could not be looked at at all; a
// violated invariant is no error.
func Check(ctx context.Context, in Input) (*Report, error) {
	if err := in.fill(); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	c := &check{in: &in}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"ends of the events", c.readEnds},
		{"tables", c.awaitTables},
		{"keys", c.readKeys},
		{"rows", c.readRows},
		{"ledger", c.readLedger},
		{"events", c.judgeEvents},
		{"search for raw values", c.searchLeaks},
	} {
		if err := step.run(ctx); err != nil {
			return nil, fmt.Errorf("verify: %s: %w", step.name, err)
		}
	}
	c.checkIntervals()
	c.checkAccounts()
	c.checkClaims()
	c.checkFailClosed()
	c.checkBounds()
	c.checkProgress()
	c.notes()
	return c.report(), nil
}

// check is one run.
type check struct {
	book
	in     *Input
	ends   map[place]extent
	tables []*table // like the contracts, then the rejects table
	keys   *keyring // nil without a key file
	ledger *ledger
	judge  *judge
	// waited is how long the tables took to reach the ends.
	waited time.Duration
}
