package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"lupa/connectors/kafka"
	"lupa/schemas"
)

// checkOptions are the flags of `lupa check`.
type checkOptions struct {
	config    string
	asJSON    bool
	offline   bool
	contracts bool
	example   bool
}

func newCheckCommand() *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "check a configuration and everything it names, and change nothing",
		Long: `Check reads the configuration, the contracts and the key file, looks whether the
files and topics are there, the folders can be written, the secrets can be read,
and the schema registry and the catalog answer, and prints one line for each. It
changes nothing. With a problem the exit code is 2.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCheck(cmd.Context(), cmd.OutOrStdout(), o, inEarnest())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.config, "config", "c", "lupa.yaml", "configuration file")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	f.BoolVar(&o.offline, "offline", false, "connect to nothing: not to Kafka, the schema registry or the catalog")
	f.BoolVar(&o.contracts, "contracts", false, "also print the tables with their fields, treatments and purposes")
	f.BoolVar(&o.example, "example", false, "print an annotated example configuration and check nothing")
	return cmd
}

// status is how a check went.
type status string

const (
	statusOK      status = "ok"
	statusWarning status = "warning" // it runs, and promises less
	statusProblem status = "problem"
	statusSkipped status = "skipped"
)

// finding is one line of a check's result.
type finding struct {
	Check  string `json:"check"`
	Status status `json:"status"`
	Detail string `json:"detail"`
}

// checker collects findings.
type checker struct {
	findings []finding
	ask      askers
	offline  bool
}

func (c *checker) ok(check, format string, args ...any) {
	c.findings = append(c.findings, finding{check, statusOK, fmt.Sprintf(format, args...)})
}

func (c *checker) warn(check, format string, args ...any) {
	c.findings = append(c.findings, finding{check, statusWarning, fmt.Sprintf(format, args...)})
}

// problem makes one finding for each line of the error.
func (c *checker) problem(check string, err error) {
	for line := range strings.Lines(err.Error()) {
		c.findings = append(c.findings, finding{check, statusProblem, strings.TrimSuffix(line, "\n")})
	}
}

func (c *checker) problems() int {
	n := 0
	for _, f := range c.findings {
		if f.Status == statusProblem {
			n++
		}
	}
	return n
}

func runCheck(ctx context.Context, stdout io.Writer, o checkOptions, ask askers) error {
	if o.example {
		_, err := stdout.Write(exampleConfig)
		return err
	}
	c := &checker{ask: ask, offline: o.offline}
	var contracts []*schemas.Contract
	config, err := LoadConfig(o.config)
	if err != nil {
		c.problem("config", err)
	} else {
		c.ok("config", "%s", o.config)
		contracts = c.contracts(config)
		c.keys(config)
		c.secrets(config)
		c.ledger(ctx, config)
		c.events(ctx, config)
		c.registry(ctx, config)
		c.warehouse(ctx, config)
		c.quarantine(ctx, config)
		c.metrics(config)
	}
	if !o.contracts {
		contracts = nil
	}
	if o.asJSON {
		err = c.printJSON(stdout, contracts)
	} else {
		err = c.print(stdout, contracts)
	}
	if n := c.problems(); err == nil && n > 0 {
		return usageError("check found %s", plural(n, "problem"))
	}
	return err
}

func (c *checker) contracts(config *Config) []*schemas.Contract {
	list, err := loadContracts(config.Contracts)
	if err != nil {
		c.problem("contracts", err)
		return nil
	}
	names := make([]string, len(list))
	for i, contract := range list {
		names[i] = contract.Table
	}
	c.ok("contracts", "%s: %s; policy %.12s", plural(len(list), "table"), strings.Join(names, ", "), schemas.PolicyHash(list))
	return list
}

func (c *checker) keys(config *Config) {
	keyset, err := openKeys(config.Keys.File)
	if err != nil {
		c.problem("keys", err)
		return
	}
	c.ok("keys", "%s: epoch %d", config.Keys.File, keyset.Epoch())
}

func (c *checker) ledger(ctx context.Context, config *Config) {
	c.ledgerTables(config)
	if k := config.Ledger.Kafka; k != nil {
		if t := c.topic(ctx, "ledger.kafka", k.Brokers, k.Security, k.Topic); t.Forgets != "" {
			c.warn("ledger.kafka", "topic %s: %s; a withdrawal, link or erasure that is gone is not honoured, cleanup.policy=compact keeps the last of each key", k.Topic, t.Forgets)
		}
		return
	}
	c.files("ledger.file", config.Ledger.File)
}

// ledgerTables checks what the ledger is read and decided by.
func (c *checker) ledgerTables(config *Config) {
	tables, err := loadLedgerTables(&config.Ledger)
	if err != nil {
		c.problem("ledger", err)
		return
	}
	c.ok("ledger", "names of purposes %.6x, ages of consent as of %s, regions as of %s", tables.vocabulary.Hash(), tables.ages.Date(), tables.regions.Date())
	if config.Ledger.Mapping != "" {
		if m, err := loadMapping(config.Ledger.Mapping, tables.vocabulary); err != nil {
			c.problem("ledger.mapping", err)
		} else {
			c.ok("ledger.mapping", "%s", m.Name())
		}
	}
	switch region := config.Warehouse.Region; {
	case region == "":
		c.warn("warehouse.region", "is not known; a grant that says where the data may be kept permits nothing")
	case !tables.regions.EEA(region) && !tables.regions.Adequate(region):
		c.warn("warehouse.region", "%s is neither in the EEA nor adequate as of %s", region, tables.regions.Date())
	default:
		c.ok("warehouse.region", "%s", region)
	}
	if s := config.Ledger.Snapshot; s != nil {
		c.folder("ledger.snapshot", s.Dir)
	}
}

func (c *checker) events(ctx context.Context, config *Config) {
	if k := config.Events.Kafka; k != nil {
		for _, topic := range k.Topics {
			c.topic(ctx, "events.kafka", k.Brokers, k.Security, topic)
		}
		c.ok("events.kafka", "group %s, sessions of %s", k.Group, k.SessionTimeout)
	}
	if f := config.Events.Files; f != nil {
		for _, path := range f.Paths {
			c.files("events.files", path)
		}
	}
}

// files checks that a path or glob names files that can be read.
func (c *checker) files(check, pattern string) {
	names := []string{pattern} // a name that is there is no pattern
	if _, err := os.Stat(pattern); err != nil {
		names, err = doublestar.FilepathGlob(pattern, doublestar.WithFilesOnly(), doublestar.WithFailOnIOErrors())
		if err != nil {
			c.problem(check, fmt.Errorf("%s: %w", pattern, err))
			return
		}
	}
	if len(names) == 0 {
		c.problem(check, fmt.Errorf("%s: no file", pattern))
		return
	}
	var bytes uint64
	for _, name := range names {
		size, err := readable(name)
		if err != nil {
			c.problem(check, err)
			return
		}
		bytes += size
	}
	c.ok(check, "%s: %s, %s", pattern, plural(len(names), "file"), humanize.IBytes(bytes))
}

func readable(name string) (size uint64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", name)
	}
	return uint64(info.Size()), nil
}

// topic checks that a topic can be asked for, and gives what it is.
func (c *checker) topic(ctx context.Context, check string, brokers []string, s SecurityConfig, topic string) kafka.Topic {
	if c.skip(check, "topic "+topic) {
		return kafka.Topic{}
	}
	t, err := c.ask.topic(ctx, brokers, s, topic)
	if err != nil {
		c.problem(check, fmt.Errorf("topic %s: %w", topic, err))
		return kafka.Topic{}
	}
	c.ok(check, "topic %s: %s", topic, plural(t.Partitions, "partition"))
	return t
}

func (c *checker) warehouse(ctx context.Context, config *Config) {
	c.folder("warehouse", config.Warehouse.Dir)
	c.catalog(ctx, config)
}

func (c *checker) quarantine(ctx context.Context, config *Config) {
	q := &config.Quarantine
	switch {
	case q.Topic != "":
		c.topic(ctx, "quarantine", config.Events.Kafka.Brokers, config.Events.Kafka.Security, q.Topic)
	case q.Dir != "":
		c.folder("quarantine", q.Dir)
	default:
		c.ok("quarantine", "none: rejected messages are counted and listed, not put aside")
		return
	}
	if q.Recipient == "" {
		c.ok("quarantine", "no recipient: coordinates and reasons are put aside, no message")
	}
}

// folder checks that files can be made in a folder, or in the one above that
// exists when it has to be made first.
func (c *checker) folder(check, dir string) {
	parent := dir
	info, err := os.Stat(parent)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(parent) != parent {
		parent = filepath.Dir(parent)
		info, err = os.Stat(parent)
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", parent)
	}
	if err == nil {
		err = writable(parent)
	}
	switch {
	case err != nil:
		c.problem(check, err)
	case parent != dir:
		c.ok(check, "%s: will be made", dir)
	default:
		c.ok(check, "%s: can be written", dir)
	}
}

func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".lupa-check-*")
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s cannot be written: %w", dir, path.Err)
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (c *checker) print(stdout io.Writer, contracts []*schemas.Contract) error {
	rows := make([][]string, len(c.findings))
	for i, f := range c.findings {
		rows[i] = []string{string(f.Status), f.Check, f.Detail}
	}
	if err := printTable(stdout, []string{"status", "check", "detail"}, rows); err != nil || contracts == nil {
		return err
	}
	return printDataMap(stdout, contracts)
}

func (c *checker) printJSON(stdout io.Writer, contracts []*schemas.Contract) error {
	e := json.NewEncoder(stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		OK     bool          `json:"ok"`
		Checks []finding     `json:"checks"`
		Tables []mappedTable `json:"tables,omitempty"`
	}{c.problems() == 0, c.findings, dataMap(contracts)})
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
