package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lupa/pipeline/consent"
	"lupa/schemas"
)

func newLedgerLookupCommand() *cobra.Command {
	var o askOptions
	cmd := &cobra.Command{
		Use:   "lookup",
		Short: "say what the ledger permits of a subject, purpose by purpose",
		Long: `Lookup reads the ledger and says, for each purpose, what would become of an event
that happens now, and why. It tells how many identifiers are linked with those
that are named.

` + idsHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, func(r *rooms, who *whom) error { return r.lookup(cmd.OutOrStdout(), &o, who) })
		},
	}
	o.flags(cmd)
	return cmd
}

// lookedUp is what `lupa ledger lookup --json` prints.
type lookedUp struct {
	Identifiers []identified       `json:"identifiers"`
	Linked      int                `json:"linked"`
	Purposes    []permittedPurpose `json:"purposes"`
}

type identified struct {
	Kind  string `json:"kind"`
	Known bool   `json:"known"`
}

type permittedPurpose struct {
	Purpose string     `json:"purpose"`
	Reason  string     `json:"reason"`
	Until   *time.Time `json:"until,omitempty"`
}

func (r *rooms) lookup(stdout io.Writer, o *askOptions, who *whom) error {
	tokens, err := r.tokens(who)
	if err != nil {
		return err
	}
	result := lookedUp{Identifiers: []identified{}, Purposes: []permittedPurpose{}}
	var linked int
	for i := range tokens {
		r.view.Declare(who.subjects[i].Kind, tokens[i])
	}
	for i := range tokens {
		known, with := r.view.Known(tokens[i])
		linked = max(linked, with)
		result.Identifiers = append(result.Identifiers, identified{who.subjects[i].Kind.String(), known})
	}
	result.Linked = linked
	for p := range schemas.NumPurposes {
		if set := schemas.Purposes(schemas.Purpose(p)); set != 0 {
			d := r.view.Explain(tokens, consent.Question{At: who.at, Now: who.now, Need: set, Also: set}).Decision
			result.Purposes = append(result.Purposes, permittedPurpose{schemas.Purpose(p).String(), d.Reason.String(), moment(d.Until)})
		}
	}
	if o.asJSON {
		return printJSON(stdout, result)
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for i, id := range result.Identifiers {
		state := "not in the ledger"
		if id.Known {
			state = "in the ledger"
		}
		fmt.Fprintf(w, "identifier %d\t%s\t%s\n", i+1, id.Kind, state)
	}
	fmt.Fprintf(w, "identifiers that are linked\t%d\n\n", result.Linked)
	fmt.Fprintln(w, "PURPOSE\tREASON\tUNTIL")
	for _, p := range result.Purposes {
		fmt.Fprintf(w, "%s\t%s\t%s\n", p.Purpose, p.Reason, momentText(p.Until))
	}
	return w.Flush()
}
