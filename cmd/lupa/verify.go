package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lupa/cmd/lupa/oracle"
	"lupa/connectors/warehouse"
)

// verifyOptions are the flags of `lupa verify`.
type verifyOptions struct {
	config string
	asJSON bool
	still  bool
	erased bool
	before string
	logs   []string
	within time.Duration
	behind bool
	caps   oracle.Caps
}

const verifyHelp = `Read the events, the ledger, the keys and the tables again, work out what should
have become of every message with code of its own, and compare. Nothing is
changed. A violation ends with exit code 5; places are named, never values.

  I1   No loss: what the commits of a table cover follows one on the other, from
       the first message to the table's position.
  I2   No duplicates: no message is a row twice, no two commits cover it.
  I3   Every message is accounted for: read = kept + masked + dropped + rejected,
       it is what the topics hold up to the position, and the files hold what was
       kept and masked.
  I4   Kept only with consent: no row is kept that the ledger denied as its commit
       saw it, at any moment from its message to its commit; masked rows point at
       nobody and hold what a legal duty keeps only where and while there is one.
       With --still also the reverse: all that is permitted is kept.
  I5   No raw personal value in any file, name, statistic, manifest, quarantine or
       given log: as it is, in lower and upper case, in base64, in hexadecimal or
       URL-escaped.
  I6   No row of a subject who had been erased when it was committed. With --erased
       no row of anybody who is erased by now.
  I7   Once a newer claim of a partition has committed, an older one never does.
  I8   What is readable was committed and is whole: every file is there with the
       hash and the rows of its commit, and the lists name exactly those.
  I9   Nothing is kept without the ledger: every commit names a ledger position
       that there is. With --before also that no row was kept since that report.
  I10  Nothing piles up: left files, unfinished files, snapshots, metadata.
  I11  The tables reach the ends that the topics had at the beginning, within
       --within.
  I12  One person has one token in all tables of a domain, the one that the keys
       make, and no token stands in two domains.

What it cannot see: messages that the topics no longer have; earlier ledger
records that compaction took (such rows are counted, not judged); what a commit
could see whose snapshot has expired; what consent in the events themselves takes
away (a row that was denied for it must have some, and no more is asked); a ledger
in another form than its own JSON; values of fields that are kept as they are,
and leaks of values under six letters or that also stand in such fields; events
that are not JSON. Two jobs that write the same mistake as this program does.
Give it a minute for each million messages, and memory for all rows.`

func newVerifyCommand() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "check that the tables hold what they may and should, and change nothing",
		Long:  verifyHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runVerify(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	f := cmd.Flags()
	configFlag(cmd, &o.config)
	f.BoolVar(&o.asJSON, "json", false, "print the report as JSON")
	f.BoolVar(&o.still, "still", false, "the ledger has not changed since before the first commit: compare every outcome")
	f.BoolVar(&o.erased, "erased", false, "every erasure is said to be done: no row of an erased subject may be left")
	f.StringVar(&o.before, "before", "", "report of an earlier `lupa verify --json`: no row may have been kept since")
	f.StringSliceVar(&o.logs, "logs", nil, "log files to search for raw values too")
	f.DurationVar(&o.within, "within", 15*time.Second, "how long the tables may take to reach the ends of the topics")
	f.BoolVar(&o.behind, "behind", false, "the tables need not have reached the ends")
	f.IntVar(&o.caps.Leftovers, "max-leftovers", 0, "data files that no commit names (default 1000, less than 0 is no cap)")
	f.DurationVar(&o.caps.LeftoverAge, "max-leftover-age", 0, "how old one of them may be (default no cap)")
	f.IntVar(&o.caps.Temps, "max-unfinished", 0, "unfinished files (default 100)")
	f.IntVar(&o.caps.Snapshots, "max-snapshots", 0, "snapshots of one table (default 10000)")
	f.Int64Var(&o.caps.MetadataBytes, "max-metadata-bytes", 0, "size of one table's metadata file (default 64 MiB)")
	return cmd
}

func runVerify(ctx context.Context, stdout io.Writer, o verifyOptions) error {
	in, err := verifyInput(o)
	if err != nil {
		return withCode(exitUsage, err)
	}
	began := time.Now()
	report, err := oracle.Check(ctx, *in)
	if err != nil {
		return err
	}
	if err := printReport(stdout, report, o.asJSON, time.Since(began)); err != nil {
		return err
	}
	if bad := report.Violated(); len(bad) > 0 {
		return withCode(exitViolated, fmt.Errorf("verify: %s violated", strings.Join(bad, ", ")))
	}
	return nil
}

// verifyInput makes the oracle's input of the job's configuration.
func verifyInput(o verifyOptions) (*oracle.Input, error) {
	config, err := LoadConfig(o.config)
	if err != nil {
		return nil, err
	}
	contracts, err := loadContracts(config.Contracts)
	if err != nil {
		return nil, err
	}
	in := &oracle.Input{
		Warehouse: config.Warehouse.Dir, Namespace: config.Warehouse.Namespace, Contracts: contracts,
		Keys: config.Keys.File, PhoneRegion: config.Phone.DefaultRegion,
		Region: config.Warehouse.Region, MaxLinked: config.Ledger.MaxLinked, Shared: config.Ledger.Shared,
		MaxMessageBytes: int(config.Events.MaxMessageBytes), MaxDepth: config.Events.MaxDepth,
		Quarantine: config.Quarantine.Dir, QuarantineTopic: config.Quarantine.Topic, Logs: o.logs,
		Still: o.still, Erased: o.erased, Within: o.within, Behind: o.behind, Caps: o.caps,
	}
	tables, err := loadLedgerTables(&config.Ledger)
	if err != nil {
		return nil, err
	}
	in.Vocabulary, in.Ages, in.Regions = tables.vocabulary, tables.ages, tables.regions
	if err := verifySources(in, config); err != nil {
		return nil, err
	}
	if o.before == "" {
		return in, nil
	}
	text, err := os.ReadFile(o.before)
	if err != nil {
		return nil, err
	}
	in.Before = &oracle.Report{}
	if json.Unmarshal(text, in.Before) != nil || len(in.Before.Tables) == 0 {
		return nil, errors.New("--before: is no report of `lupa verify --json`")
	}
	return in, nil
}

// verifySources says where events, ledger and catalog are.
func verifySources(in *oracle.Input, config *Config) (err error) {
	if k := config.Events.Kafka; k != nil {
		in.Events.Brokers, in.Events.Topics = k.Brokers, k.Topics
		if in.Events.Dial, err = dialOptions(k.Security); err != nil {
			return fmt.Errorf("events.kafka.security: %w", err)
		}
		for _, topic := range k.Topics {
			format, ok := config.Events.Formats[topic]
			if !ok {
				format = config.Events.Format
			}
			if format != (FormatConfig{encodingJSON, envelopeNone}) {
				in.Events.Opaque = append(in.Events.Opaque, topic)
			}
		}
	}
	if f := config.Events.Files; f != nil {
		in.Events.Files = f.Paths
		if config.Events.Format.Envelope != envelopeNone {
			in.Events.Opaque = append(in.Events.Opaque, f.Paths...)
		}
	}
	if k := config.Ledger.Kafka; k != nil {
		in.Ledger.Brokers, in.Ledger.Topics = k.Brokers, []string{k.Topic}
		if in.Ledger.Dial, err = dialOptions(k.Security); err != nil {
			return fmt.Errorf("ledger.kafka.security: %w", err)
		}
	} else {
		in.Ledger.Files = []string{config.Ledger.File}
	}
	if config.Ledger.Encoding != encodingJSON || config.Ledger.Mapping != "" {
		in.Ledger.Opaque = slices.Concat(in.Ledger.Topics, in.Ledger.Files)
	}
	if dsn := config.Warehouse.Postgres; dsn != nil {
		if in.Postgres, err = dsn.Read(); err == nil {
			err = warehouse.CheckDSN(in.Postgres) // the job would not use every one
		}
		if err != nil {
			return fmt.Errorf("warehouse.catalog: %w", err)
		}
	}
	return nil
}

func printReport(w io.Writer, r *oracle.Report, asJSON bool, took time.Duration) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	var rows [][]string
	var more []string
	for i := range r.Invariants {
		v := &r.Invariants[i]
		rows = append(rows, []string{v.ID, v.Name, string(v.Status), strconv.FormatInt(v.Looked, 10), v.Things})
		for _, x := range v.Violations {
			more = append(more, fmt.Sprintf("%s  %s: %s", v.ID, x.Place, x.Problem))
		}
		if v.More > 0 {
			more = append(more, fmt.Sprintf("%s  and %d more", v.ID, v.More))
		}
	}
	if err := printTable(w, []string{"", "invariant", "status", ">looked at", ""}, rows); err != nil {
		return err
	}
	for i := range r.Invariants {
		for _, why := range r.Invariants[i].Why {
			more = append(more, fmt.Sprintf("%s  note: %s", r.Invariants[i].ID, why))
		}
	}
	for _, line := range slices.Concat([]string{""}, more, []string{fmt.Sprintf("%.1f s", took.Seconds())}) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}
