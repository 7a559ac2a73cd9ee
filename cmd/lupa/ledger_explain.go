package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lupa/pipeline/consent"
	"lupa/schemas"
)

func newLedgerExplainCommand() *cobra.Command {
	var o askOptions
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "say what becomes of an event, and the records and rules that led to it",
		Long: `Explain decides an event of a table as the job would, on the ledger as it is now,
and prints the verdict, the reason and the chain of records that led to it, in the
order of the rules. What is in the tables was decided on the ledger as it was then.

` + idsHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, func(r *rooms, who *whom) error { return r.explain(cmd.OutOrStdout(), &o, who) })
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.contract, "contract", "", "table whose purposes are asked for")
	cmd.Flags().StringVar(&o.at, "at", "", "when the event happened, RFC 3339 (default: now)")
	return cmd
}

// explained is what `lupa ledger explain --json` prints.
type explained struct {
	Table    string       `json:"table"`
	At       time.Time    `json:"at"`
	Now      time.Time    `json:"now"`
	Verdict  string       `json:"verdict"`
	Reason   string       `json:"reason"`
	Rule     string       `json:"rule"`
	Purposes []string     `json:"purposes"`
	Until    *time.Time   `json:"until,omitempty"`
	Duties   []dutyLine   `json:"duties,omitempty"`
	Chain    []chainLink  `json:"chain"`
	Note     string       `json:"note,omitempty"`
	IDs      []identified `json:"identifiers"`
}

type dutyLine struct {
	Fields string    `json:"fields"`
	Basis  string    `json:"basis"`
	Until  time.Time `json:"until"`
}

// chainLink is one use of a record.
type chainLink struct {
	Identifier int               `json:"identifier"`
	Scope      string            `json:"scope,omitempty"`
	Says       string            `json:"says,omitempty"`
	Time       *time.Time        `json:"time,omitempty"`
	Version    int64             `json:"version"`
	Until      *time.Time        `json:"until,omitempty"`
	Evidence   map[string]string `json:"evidence,omitempty"`
	Purpose    string            `json:"purpose,omitempty"`
	Clock      string            `json:"clock,omitempty"`
	Rule       string            `json:"rule"`
}

func (r *rooms) explain(stdout io.Writer, o *askOptions, who *whom) error {
	i := slices.IndexFunc(r.contracts, func(c *schemas.Contract) bool { return c.Table == o.contract || c.ID == o.contract })
	if i < 0 {
		var tables []string
		for _, c := range r.contracts {
			tables = append(tables, c.Table)
		}
		return usageError("--contract %q is no table; allowed are %s", o.contract, strings.Join(tables, ", "))
	}
	c := r.contracts[i]
	if !c.Personal() {
		return usageError("table %s is about nobody: nothing is decided for its rows", c.Table)
	}
	tokens, err := r.tokens(who)
	if err != nil {
		return err
	}
	for i := range tokens {
		r.view.Declare(who.subjects[i].Kind, tokens[i])
	}
	e := r.view.Explain(tokens, consent.Question{At: who.at, Now: who.now, Need: c.Purposes, Also: c.FieldPurposes(), Prospective: c.Prospective})
	result := explained{
		Table: c.Table, At: time.UnixMicro(who.at).UTC(), Now: time.UnixMicro(who.now).UTC(), Verdict: verdictOf(e.Reason, c), Reason: e.Reason.String(), Rule: e.Rule,
		Purposes: names(e.Granted), Until: moment(e.Until), Chain: []chainLink{}, IDs: []identified{},
	}
	for i := range tokens {
		known, _ := r.view.Known(tokens[i])
		result.IDs = append(result.IDs, identified{who.subjects[i].Kind.String(), known})
	}
	for _, d := range e.Duties {
		result.Duties = append(result.Duties, dutyLine{d.Fields, d.Basis, time.UnixMicro(d.Until).UTC()})
	}
	for _, s := range e.Chain {
		l := chainLink{Identifier: s.Line + 1, Scope: s.Scope, Says: s.Word, Version: s.Version, Until: moment(s.Until), Purpose: s.Purpose, Clock: s.Clock, Rule: s.Rule}
		if s.Known {
			l.Time = moment(s.Time)
		}
		l.Evidence = evidenceOf(&s.Terms)
		result.Chain = append(result.Chain, l)
	}
	if len(c.Signals) > 0 && e.Reason == schemas.ConsentGiven {
		result.Note = "consent that the event itself carries may take purposes away"
	}
	if o.asJSON {
		return printJSON(stdout, result)
	}
	return result.print(stdout)
}

// verdictOf says what becomes of a row.
func verdictOf(reason schemas.Reason, c *schemas.Contract) string {
	switch {
	case reason == schemas.ConsentGiven:
		return "keep"
	case reason == schemas.Erased, reason != schemas.Retained && c.OnDeny == schemas.DropRow:
		return "drop"
	}
	return "mask"
}

func (e *explained) print(stdout io.Writer) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "verdict\t%s\n", e.Verdict)
	fmt.Fprintf(w, "reason\t%s: %s\n", e.Reason, e.Rule)
	fmt.Fprintf(w, "purposes\t%s\n", strings.Join(e.Purposes, ", "))
	fmt.Fprintf(w, "event\t%s in %s\n", e.At.Format(time.RFC3339), e.Table)
	fmt.Fprintf(w, "decided\t%s\n", e.Now.Format(time.RFC3339))
	if e.Until != nil {
		fmt.Fprintf(w, "changes by itself\t%s\n", momentText(e.Until))
	}
	for _, d := range e.Duties {
		fmt.Fprintf(w, "kept by law\t%s until %s under %s\n", d.Fields, d.Until.Format(time.RFC3339), d.Basis)
	}
	if e.Note != "" {
		fmt.Fprintf(w, "note\t%s\n", e.Note)
	}
	for i, id := range e.IDs {
		if !id.Known {
			fmt.Fprintf(w, "identifier %d\t%s, not in the ledger\n", i+1, id.Kind)
		}
	}
	fmt.Fprintln(w)
	if len(e.Chain) == 0 {
		fmt.Fprintln(w, "No record led to this.")
		return w.Flush()
	}
	fmt.Fprintln(w, "#\tSCOPE\tSAYS\tTIME\tVERSION\tUNTIL\tFOR\tCLOCK\tRULE\tEVIDENCE")
	for _, l := range e.Chain {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", l.Identifier, l.Scope, l.Says, momentText(l.Time), l.Version,
			momentText(l.Until), l.Purpose, l.Clock, l.Rule, evidenceText(l.Evidence))
	}
	return w.Flush()
}

// evidenceOf names what a record says besides who, what and when.
func evidenceOf(t *schemas.Terms) map[string]string {
	m := map[string]string{
		"method": t.Method, "notice": t.Notice, "system": t.System, "language": t.Language, "basis": t.Basis, "type": t.Type,
		"processing": t.ProcessingID, "regions": t.Regions, "fields": t.Fields, "country": t.Country,
	}
	maps.DeleteFunc(m, func(_, text string) bool { return text == "" })
	return m
}

func evidenceText(m map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, name+"="+m[name])
	}
	return strings.Join(parts, " ")
}
