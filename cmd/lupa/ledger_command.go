package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"lupa/connectors/files"
	"lupa/connectors/kafka"
)

func newLedgerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "ask the consent ledger, and bring records into it",
	}
	needsSubcommand(cmd)
	cmd.AddCommand(
		newLedgerLookupCommand(),
		newLedgerExplainCommand(),
		newLedgerStatsCommand(),
		newLedgerSnapshotCommand(),
		newLedgerImportCommand(),
	)
	return cmd
}

// unapplied adds to an error that says which record of the ledger could not be
// taken why that was so. The reason is the view's, which names members and
// settings and no value.
func unapplied(err error) error {
	var message *kafka.ApplyError
	var line *files.ApplyError
	switch {
	case errors.As(err, &message):
		return fmt.Errorf("%w: %w", err, errors.Unwrap(message))
	case errors.As(err, &line):
		return fmt.Errorf("%w: %w", err, errors.Unwrap(line))
	}
	return err
}
