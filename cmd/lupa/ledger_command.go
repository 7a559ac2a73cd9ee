package main

import "github.com/spf13/cobra"

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
		newLedgerImportCommand(),
	)
	return cmd
}
