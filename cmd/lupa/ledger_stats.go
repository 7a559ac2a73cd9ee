package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"lupa/pipeline/consent"
)

func newLedgerStatsCommand() *cobra.Command {
	var configFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "count what the ledger holds, and what in it is wrong or waits",
		Long: `Stats reads the ledger to its present end and prints how many identifiers and
subjects it names, how many records of which sort, what could not be read, and how
many identifiers wait for a review: something was said about them that may take away
rows which the tables have already.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			config, log, err := start(cmd, configFile)
			if err != nil {
				return err
			}
			r, err := openView(cmd.Context(), config, log, true)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, r.close()) }()
			return r.printStats(cmd.OutOrStdout(), asJSON)
		},
	}
	configFlag(cmd, &configFile)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the counts as JSON")
	return cmd
}

// ledgerCount is one line of the counts.
type ledgerCount struct {
	Name    string `json:"name"`
	Count   int64  `json:"count"`
	Meaning string `json:"meaning"`
}

// ledgerCounts names the counts of a view.
func ledgerCounts(s *consent.Stats) []ledgerCount {
	return []ledgerCount{
		{"identifiers", s.Identifiers, "that the ledger names"},
		{"subjects", s.Subjects, "with linked identifiers counted once"},
		{"records", s.Records, "read and understood"},
		{"links", s.Links, "links and unlinks"},
		{"erasures", s.Erasures, ""},
		{"restrictions", s.Restrictions, "and what lifts them"},
		{"births", s.Births, ""},
		{"guardians", s.Guardians, "grants of guardians and what takes them back"},
		{"duties", s.Duties, "to retain"},
		{"unproven", s.Unproven, "grants without evidence, which permit nothing"},
		{"pending", s.Pending, "grants that nobody has confirmed, which permit nothing"},
		{"expiries", s.Expiries, ""},
		{"tombstones", s.Tombstones, "rows that were deleted"},
		{"markers", s.Markers, "about nobody"},
		{"unreadable", s.Unreadable, "values that deny whom they are about"},
		{"unknown_purposes", s.UnknownPurposes, "records for a purpose that no contract can name"},
		{"ties", s.Ties, "records of one version that differ: the most restrictive stands"},
		{"late", s.Late, "records that came after a higher version"},
		{"buried", s.Buried, "records that came after their tombstone"},
		{"duplicates", s.Duplicates, "records that said nothing new"},
		{"capped", s.Capped, "subjects with too many identifiers, denied"},
		{"reviews", s.Reviews, "identifiers whose rows have to be looked at again"},
	}
}

func (r *rooms) printStats(stdout io.Writer, asJSON bool) error {
	s := r.view.Stats()
	counts := ledgerCounts(&s)
	if asJSON {
		return printJSON(stdout, struct {
			Counts []ledgerCount `json:"counts"`
			Fault  string        `json:"first_fault,omitempty"`
		}{counts, r.view.Fault()})
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, c := range counts {
		fmt.Fprintf(w, "%s\t%s\t\t", c.Name, humanize.Comma(c.Count))
		fmt.Fprintf(w, "%s\n", c.Meaning)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if fault := r.view.Fault(); fault != "" {
		_, err := fmt.Fprintf(stdout, "\nThe first that could not be read: %s\n", fault)
		return err
	}
	return nil
}
