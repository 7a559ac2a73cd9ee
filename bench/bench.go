// Package bench measures whole runs of lupa as its users start them: each case
// makes its input, starts the program as a child process and takes the time,
// the processor time and the memory from the operating system.
//
// A case is a function of Options that gives results, so it can be run from a
// test or a command. A run whose counts do not add up to its input is an error
// and not a result.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"lupa/bench/gen"
)

// Options say how large a case is and where things are.
type Options struct {
	Root        string          `json:"-"` // of the module lupa
	Cache       string          `json:"-"` // input, programs and warehouses
	Events      int             `json:"events"`
	Subjects    int             `json:"subjects"`
	Workers     int             `json:"workers"`
	Runs        int             `json:"runs"` // the result is the median
	Compression gen.Compression `json:"compression"`
	Log         io.Writer       `json:"-"` // says what is going on
}

// Result is one measured number.
type Result struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Case is one thing to measure.
type Case struct {
	Name string
	Run  func(ctx context.Context, o Options) ([]Result, error)
}

// Cases lists all there are.
func Cases() []Case {
	return []Case{
		{Name: "backfill-jsonl", Run: BackfillJSONL},
		{Name: "ledger", Run: Ledger},
	}
}

// Print writes a line for each result:
//
//	RESULT <case> <name> <value> <unit>
func Print(w io.Writer, name string, results []Result) error {
	for _, r := range results {
		if _, err := fmt.Fprintf(w, "RESULT %s %s %s %s\n", name, r.Name, r.text(), r.Unit); err != nil {
			return err
		}
	}
	return nil
}

// text has no decimals that nobody reads: three for small numbers.
func (r Result) text() string {
	if r.Value == math.Trunc(r.Value) || r.Value >= 1000 {
		return strconv.FormatFloat(r.Value, 'f', 0, 64)
	}
	return strconv.FormatFloat(r.Value, 'f', 3, 64)
}

// Save writes the results of a case to dir/<case>.json, with what they were
// measured on.
func Save(ctx context.Context, dir, name string, o Options, results []Result) error {
	machine, err := thisMachine(ctx, o.Root)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(struct {
		Case    string   `json:"case"`
		Machine Machine  `json:"machine"`
		Args    Options  `json:"args"`
		Results []Result `json:"results"`
	}{name, machine, o, results}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".json"), append(text, '\n'), 0o644)
}

// medians takes, of each result that all runs gave, the median.
func medians(runs [][]Result) []Result {
	results := slices.Clone(runs[0])
	for i := range results {
		values := make([]float64, len(runs))
		for j, run := range runs {
			values[j] = run[i].Value
		}
		slices.Sort(values)
		half := len(values) / 2
		results[i].Value = (values[half] + values[(len(values)-1)/2]) / 2
	}
	return results
}
