package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kfake"

	"lupa/cmd/lupa/sample"
	"lupa/connectors/kafka"
	"lupa/pipeline"
	"lupa/transforms/keys"
)

const (
	demoEvents     = "events"
	demoLedger     = "consent"
	demoPartitions = 4
	demoSeed       = 1
)

func newDemoCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "run the stream job on made-up events, in one process",
		Long: `Start a Kafka broker in this process, fill it with made-up events and a consent
ledger, run the job that ` + "`lupa stream`" + ` runs until it has caught up, and show the
tables. Nothing leaves this machine. The configuration, the keys and the tables
stay in the directory.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(cmd)
			if err != nil {
				return err
			}
			if dir, err = demoDir(dir); err != nil {
				return err
			}
			d, err := runDemo(cmd.Context(), dir, log)
			if err != nil {
				return err
			}
			return d.print(cmd.OutOrStdout(), asJSON)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory for the tables, empty or absent (default a new temporary one)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// demoDir makes the directory. One with something in it is refused: its tables
// stand at positions of a broker that is gone.
func demoDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "lupa-demo-")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", usageError("--dir %s: is not empty", dir)
	}
	return dir, nil
}

// demoResult is what the demo shows.
type demoResult struct {
	*result
	Dir     string   `json:"dir"`
	Config  string   `json:"config"`
	Seconds float64  `json:"seconds"`
	Columns []string `json:"sample_columns"`
	// Sample holds a few sanitized rows of the tracks table.
	Sample [][]string `json:"sample_rows"`
	// Query is a command line that shows the tables.
	Query string `json:"query"`
}

func runDemo(ctx context.Context, dir string, log *slog.Logger) (*demoResult, error) {
	began := time.Now()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return nil, fmt.Errorf("start a broker: %w", err)
	}
	defer broker.Close()
	ends, err := fillBroker(ctx, broker.ListenAddrs())
	if err != nil {
		return nil, fmt.Errorf("fill the broker: %w", err)
	}
	config, err := writeDemoConfig(dir, broker.ListenAddrs())
	if err != nil {
		return nil, err
	}
	streaming, stop := context.WithCancel(ctx)
	defer stop()
	result, err := runStream(streaming, config, log, stopAt(ends, stop))
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, withCode(exitStopped, err)
	}
	d := &demoResult{result: result, Dir: dir, Config: config.File, Seconds: time.Since(began).Seconds()}
	return d, d.addSample(ctx, config, log)
}

// fillBroker makes both topics and their messages, and gives the ends of the
// event topic's partitions.
func fillBroker(ctx context.Context, brokers []string) (pipeline.Vector, error) {
	s, err := sample.New(demoSeed)
	if err != nil {
		return nil, err
	}
	cluster, err := kafka.New(kafka.Options{Brokers: brokers})
	if err != nil {
		return nil, err
	}
	if err := cluster.CreateTopic(ctx, demoEvents, demoPartitions, nil); err != nil {
		return nil, err
	}
	if err := cluster.CreateTopic(ctx, demoLedger, 2, map[string]string{"retention.ms": "-1"}); err != nil {
		return nil, err
	}
	producer := cluster.Producer()
	err = errors.Join(
		produce(ctx, producer, demoLedger, s.Ledger()),
		produce(ctx, producer, demoEvents, s.Events()),
		producer.Close())
	if err != nil {
		return nil, err
	}
	return cluster.EndOffsets(ctx, demoEvents)
}

func produce(ctx context.Context, p *kafka.Producer, topic string, messages []sample.Message) error {
	for part := range slices.Chunk(messages, 2000) {
		ks, vs := make([][]byte, len(part)), make([][]byte, len(part))
		for i, m := range part {
			ks[i], vs[i] = m.Key, m.Value
		}
		if err := p.Produce(ctx, topic, ks, vs); err != nil {
			return err
		}
	}
	return nil
}

// writeDemoConfig writes the configuration and new keys, and reads the former
// back as any other.
func writeDemoConfig(dir string, brokers []string) (*Config, error) {
	text := fmt.Sprintf(`keys: {file: lupa.keys}
ledger:
  kafka: {brokers: [%[1]s], topic: %[2]s}
events:
  kafka: {brokers: [%[1]s], topics: [%[3]s]}
  max_message_bytes: %[5]d
warehouse: {dir: warehouse}
quarantine: {dir: quarantine}
commit: {interval: 1s}
phone: {default_region: %[4]s}
`, strings.Join(brokers, ", "), demoLedger, demoEvents, sample.DefaultRegion, sample.MaxMessageBytes)
	file := filepath.Join(dir, "lupa.yaml")
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		return nil, err
	}
	if err := keys.Init(filepath.Join(dir, "lupa.keys"), time.Now()); err != nil {
		return nil, err
	}
	return LoadConfig(file)
}

// stopAt gives a function that calls stop once the first table has committed up
// to the ends. What its commit covers was read for all tables, and a run that
// is stopped commits the others too.
func stopAt(ends pipeline.Vector, stop func()) func(*pipeline.Commit) {
	reached := pipeline.Vector{}
	return func(c *pipeline.Commit) {
		if c.Table != 0 {
			return
		}
		for p, m := range c.Moves {
			reached[p] = m.To.Next
		}
		for p, end := range ends {
			if reached[p] < end {
				return
			}
		}
		stop()
	}
}

// sampleColumns are the columns of tracks that the demo shows.
var sampleColumns = [...]string{
	"subject_token", "event_text", "timestamp", "context_ip", "context_page_url", "revenue", "purposes", "reason"}

func (d *demoResult) addSample(ctx context.Context, config *Config, log *slog.Logger) error {
	rooms := &rooms{config: config, log: log}
	var err error
	if rooms.contracts, err = loadContracts(config.Contracts); err != nil {
		return err
	}
	if rooms.keys, err = keys.Open(config.Keys.File); err != nil {
		return err
	}
	if err := rooms.openWarehouse(ctx); err != nil {
		return err
	}
	table := slices.IndexFunc(d.Tables, func(t tableResult) bool { return t.Table == "tracks" })
	columns, rows, err := rooms.sink.Sample(ctx, table, 1<<20)
	if err = errors.Join(err, rooms.close()); err != nil {
		return err
	}
	d.Query = fmt.Sprintf(`duckdb -init '%s' -c "SELECT reason, count(*) FROM tracks GROUP BY ALL ORDER BY 2 DESC"`,
		filepath.Join(config.Warehouse.Dir, "views.sql"))
	for _, name := range sampleColumns {
		if slices.Contains(columns, name) {
			d.Columns = append(d.Columns, name)
		}
	}
	for _, want := range []string{"consent_given", "consent_given", "consent_given", "withdrawn", "refused"} {
		d.pick(columns, rows, want)
	}
	return nil
}

// pick adds the first row with the reason that is not shown yet.
func (d *demoResult) pick(columns []string, rows [][]string, reason string) {
	at := slices.Index(columns, "reason")
	for i, row := range rows {
		if row == nil || row[at] != reason {
			continue
		}
		var shown []string
		for _, name := range d.Columns {
			shown = append(shown, row[slices.Index(columns, name)])
		}
		d.Sample = append(d.Sample, shown)
		rows[i] = nil
		return
	}
}

func (d *demoResult) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(d)
	}
	if err := d.result.print(w, false); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "\nA few sanitized rows of tracks (a masked row has no token):"); err != nil {
		return err
	}
	if err := printTable(w, d.Columns, d.Sample); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, `
%d messages in %.1f s. Everything is in %s
  %s/     the tables; lupa.yaml is the job, quarantine/ what was rejected

Query them with DuckDB:
  %s
`, d.Run.Read, d.Seconds, d.Dir, filepath.Join(d.Dir, "warehouse"), d.Query)
	return err
}
