package bench

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// BackfillJSONL measures `lupa backfill` over JSON lines: a ledger file and
// event files in, a new warehouse on disk out. What the ledger alone takes is
// measured by a run without events.
func BackfillJSONL(ctx context.Context, o Options) ([]Result, error) {
	program, err := buildLupa(ctx, o)
	if err != nil {
		return nil, err
	}
	in, err := input(ctx, o)
	if err != nil {
		return nil, err
	}
	runs := make([][]Result, o.Runs)
	for i := range runs {
		fmt.Fprintf(o.Log, "run %d of %d\n", i+1, o.Runs)
		none, err := backfill(ctx, o, program, in, noEvents, 0)
		if err != nil {
			return nil, err
		}
		all, err := backfill(ctx, o, program, in, someEvents, o.Events)
		if err != nil {
			return nil, err
		}
		runs[i] = backfillResults(float64(o.Events), none, all)
	}
	return medians(runs), nil
}

// backfilled is one finished backfill.
type backfilled struct {
	usage
	summary
	written int64 // bytes of the warehouse
}

func backfillResults(events float64, none, all backfilled) []Result {
	const million = 1e6
	return []Result{
		{"events_per_s", events / all.wall.Seconds(), "events/s"},
		{"wall_s", all.wall.Seconds(), "s"},
		{"cpu_s_per_million", all.cpu.Seconds() / events * million, "s"},
		{"cpu_us_per_event", all.cpu.Seconds() / events * million, "us"},
		{"peak_mib", mebibytes(all.peakBytes), "MiB"},
		{"output_mib", mebibytes(all.written), "MiB"},
		{"kept", float64(all.Run.Kept), "events"},
		{"masked", float64(all.Run.Masked), "events"},
		{"dropped", float64(all.Run.Dropped), "events"},
		{"rejected", float64(all.Run.Rejected), "events"},
		{"ledger_records", float64(all.Ledger.Records), "records"},
		{"ledger_s", none.wall.Seconds(), "s"},
		{"ledger_cpu_s", none.cpu.Seconds(), "s"},
		{"ledger_peak_mib", mebibytes(none.peakBytes), "MiB"},
		{"events_per_s_after_ledger", events / (all.wall - none.wall).Seconds(), "events/s"},
		{"cpu_us_per_event_after_ledger", (all.cpu - none.cpu).Seconds() / events * million, "us"},
	}
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// backfill is one run over the named event files, in a folder of its own that
// is removed afterwards.
func backfill(ctx context.Context, o Options, program, in, files string, events int) (b backfilled, err error) {
	dir, err := os.MkdirTemp(o.Cache, "run-")
	if err != nil {
		return b, err
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "lupa.yaml")
	text := fmt.Sprintf(`keys: {file: lupa.keys}
ledger: {file: %q}
events: {files: {paths: [%q]}}
warehouse: {dir: warehouse}
workers: %d
`, filepath.Join(in, ledgerFile), filepath.Join(in, files), o.Workers)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return b, err
	}
	if _, _, err := runChild(ctx, o.Log, program, "keys", "init", "--file", filepath.Join(dir, "lupa.keys")); err != nil {
		return b, err
	}
	var out []byte
	if out, b.usage, err = runChild(ctx, o.Log, program, "backfill", "-c", config, "--json"); err != nil {
		return b, err
	}
	if b.summary, err = parseSummary(out); err != nil {
		return b, err
	}
	if err := b.check(events); err != nil {
		return b, err
	}
	b.written, err = bytesUnder(filepath.Join(dir, "warehouse"))
	return b, err
}

// bytesUnder is the size of all files below dir.
func bytesUnder(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sum += info.Size()
		return nil
	})
	return sum, err
}
