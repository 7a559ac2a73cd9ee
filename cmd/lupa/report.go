package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"lupa/connectors/warehouse"
	"lupa/pipeline"
	"lupa/pipeline/consent"
	"lupa/schemas"
)

// result is what a job reports when it ends.
type result struct {
	Policy   string        `json:"policy"`
	KeyEpoch int           `json:"key_epoch"`
	Run      tableCounts   `json:"run"`
	Ledger   ledgerResult  `json:"ledger"`
	Tables   []tableResult `json:"tables"`
}

// tableResult is what a run did to a table, and the table as it stands.
type tableResult struct {
	Table    string      `json:"table"`
	Run      tableCounts `json:"run"`
	Total    tableCounts `json:"total"`
	Rows     int64       `json:"rows"`
	Files    int64       `json:"files"`
	Bytes    int64       `json:"bytes"`
	Location string      `json:"location"`
	Query    []string    `json:"query"`
}

type tableCounts struct {
	Read     int64            `json:"read"`
	Kept     int64            `json:"kept"`
	Masked   int64            `json:"masked"`
	Dropped  int64            `json:"dropped"`
	Rejected int64            `json:"rejected"`
	Reasons  map[string]int64 `json:"reasons"`
}

// ledgerResult counts what the ledger holds, without naming anybody.
type ledgerResult struct {
	Records     int64 `json:"records"`
	Identifiers int64 `json:"identifiers"`
	Subjects    int64 `json:"subjects"`
	Tombstones  int64 `json:"tombstones"`
	Unreadable  int64 `json:"unreadable"`
	Ties        int64 `json:"ties"`
	// UnknownPurposes are records under a purpose that is not known here.
	UnknownPurposes int64 `json:"unknown_purposes"`
	// Capped are subjects with too many identifiers to be one person, and
	// CappedRows the rows that were denied for that.
	Capped     int64 `json:"capped"`
	CappedRows int64 `json:"capped_rows"`
}

func newLedgerResult(s consent.Stats) ledgerResult {
	return ledgerResult{
		Records: s.Records, Identifiers: s.Identifiers, Subjects: s.Subjects,
		Tombstones: s.Tombstones, Unreadable: s.Unreadable, Ties: s.Ties,
		UnknownPurposes: s.UnknownPurposes, Capped: s.Capped, CappedRows: s.CappedRows,
	}
}

func newResult(ctx context.Context, r *rooms, run []pipeline.Counts) (*result, error) {
	tables, err := r.sink.Report(ctx)
	if err != nil {
		return nil, err
	}
	res := &result{
		Policy: schemas.PolicyHash(r.contracts), KeyEpoch: int(r.keys.Epoch()),
		Ledger: newLedgerResult(r.view.Stats()),
	}
	var sum pipeline.Counts
	for i := range tables {
		res.Tables = append(res.Tables, newTableResult(&tables[i], &run[i]))
		sum.Add(&run[i])
	}
	res.Run = newTableCounts(&sum)
	return res, nil
}

func newTableResult(t *warehouse.TableReport, run *pipeline.Counts) tableResult {
	return tableResult{
		Table: t.Table, Run: newTableCounts(run), Total: newTableCounts(&t.Counts),
		Rows: t.Rows, Files: t.Files, Bytes: t.Bytes, Location: t.Location, Query: t.Query,
	}
}

func newTableCounts(c *pipeline.Counts) tableCounts {
	t := tableCounts{
		Read: c.Read, Kept: c.Kept, Masked: c.Masked, Dropped: c.Dropped, Rejected: c.Rejected,
		Reasons: map[string]int64{},
	}
	for r, n := range c.Reasons {
		if n > 0 {
			t.Reasons[schemas.Reason(r).String()] = n
		}
	}
	return t
}

// print writes the result as tables for people or as JSON.
func (r *result) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	header := []string{"table", ">read", ">kept", ">masked", ">dropped", ">rejected", ">rows", ">files", ">bytes"}
	var rows, reasons [][]string
	for _, t := range r.Tables {
		c := t.Run
		rows = append(rows, append([]string{t.Table},
			numbers(c.Read, c.Kept, c.Masked, c.Dropped, c.Rejected, t.Rows, t.Files, t.Bytes)...))
		reasons = append(reasons, reasonRows(t.Table, c)...)
	}
	title := "What this run read, and the tables as they stand now:"
	if r.Run.Read == 0 {
		title = "This run found nothing to read that the tables do not have. They stand so:"
	}
	if _, err := fmt.Fprintln(w, title); err != nil {
		return err
	}
	if err := printTable(w, header, rows); err != nil {
		return err
	}
	if len(reasons) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w, "\nWhy, by table and reason:"); err != nil {
		return err
	}
	return printTable(w, []string{"table", "reason", ">messages"}, reasons)
}

// reasonRows lists a table's reasons in their own order: least restrictive first.
func reasonRows(table string, c tableCounts) (rows [][]string) {
	for r := range schemas.NumReasons {
		name := schemas.Reason(r).String()
		if n := c.Reasons[name]; n > 0 {
			rows = append(rows, []string{table, name, strconv.FormatInt(n, 10)})
		}
	}
	return rows
}

func numbers(list ...int64) []string {
	text := make([]string, len(list))
	for i, n := range list {
		text[i] = strconv.FormatInt(n, 10)
	}
	return text
}
