package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lupa/connectors/kafka"
	"lupa/connectors/warehouse"
)

const forgiveHelp = `Let records be read again that processes died of, once the cause is gone: with
another version of this program, say, or more memory. Three deaths at one offset
hold a partition, and a job that comes there ends with exit code 3.

To leave the records out instead, use set.

Every table keeps a record of it with the reason: one line of at most 200
characters, which is never deleted by itself. Put no personal data in it; what
looks like an e-mail address is refused.`

func newPositionsForgiveCommand() *cobra.Command {
	var configFile, partition, reason string
	cmd := &cobra.Command{
		Use:   "forgive --partition TOPIC/NUMBER --reason TEXT",
		Short: "let records be read again that processes died of, and keep a record of it",
		Long:  forgiveHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, log, err := start(cmd, configFile)
			if err != nil {
				return err
			}
			return forgive(cmd.Context(), cmd.OutOrStdout(), config, log, partition, reason)
		},
	}
	configFlag(cmd, &configFile)
	cmd.Flags().StringVar(&partition, "partition", "", "the partition: topic/number")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record; no personal data")
	return cmd
}

func forgive(ctx context.Context, stdout io.Writer, config *Config, log *slog.Logger, partition, reason string) (err error) {
	p, err := decided(config, partition, reason)
	if err != nil {
		return err
	}
	r, err := openTables(ctx, config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	all, err := deathsOf(config)
	if err != nil {
		return err
	}
	deaths := all[p]
	if len(deaths) == 0 {
		_, err := fmt.Fprintf(stdout, "No process died of a record of %s. Nothing was changed.\n", p)
		return err
	}
	states, err := r.sink.States(ctx)
	if err != nil {
		return err
	}
	// The record comes first: nothing is forgiven without one.
	m := warehouse.PositionMove{Partition: p, Reason: reason, Version: versionLine(), Time: time.Now().Truncate(time.Millisecond)}
	for i := range states {
		m.Tables = append(m.Tables, warehouse.Stand{Table: i, At: states[i].Partitions[p].Mark, Found: foundPoisoned})
	}
	if _, err := r.sink.MovePosition(ctx, m); err != nil {
		return runError(err)
	}
	breaker, err := kafka.OpenBreaker(breakerDir(config))
	if err != nil {
		return err
	}
	if err := errors.Join(breaker.Forgive(p), breaker.Close()); err != nil {
		return err
	}
	var list []string
	for _, d := range deaths {
		list = append(list, fmt.Sprintf("%d at offset %d", d.Count, d.Offset))
	}
	_, err = fmt.Fprintf(stdout, "%s: forgiven are the deaths of %s, and recorded. Jobs that start read it again.\n", p, strings.Join(list, ", "))
	return err
}
