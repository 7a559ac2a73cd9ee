package bench

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// BackfillJSONL measures `lupa backfill` over JSON lines: a ledger file and
// event files in, a new warehouse on disk out.
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
		if runs[i], err = backfill(ctx, o, program, in); err != nil {
			return nil, err
		}
	}
	return medians(runs), nil
}

// backfill is one run in a folder of its own, which is removed afterwards.
func backfill(ctx context.Context, o Options, program, in string) ([]Result, error) {
	dir, err := os.MkdirTemp(o.Cache, "run-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "lupa.yaml")
	keys := filepath.Join(dir, "lupa.keys")
	text := fmt.Sprintf(`keys: {file: lupa.keys}
ledger: {file: %q}
events: {files: {paths: [%q]}}
warehouse: {dir: warehouse}
workers: %d
`, filepath.Join(in, "ledger.jsonl"), filepath.Join(in, "events-*"), o.Workers)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if _, _, err := runChild(ctx, o.Log, program, "keys", "init", "--file", keys); err != nil {
		return nil, err
	}
	out, use, err := runChild(ctx, o.Log, program, "backfill", "-c", config, "--json")
	if err != nil {
		return nil, err
	}
	s, err := parseSummary(out)
	if err != nil {
		return nil, err
	}
	if err := s.check(o.Events); err != nil {
		return nil, err
	}
	size, err := bytesUnder(filepath.Join(dir, "warehouse"))
	if err != nil {
		return nil, err
	}
	events := float64(o.Events)
	return []Result{
		{"events_per_s", events / use.wall.Seconds(), "events/s"},
		{"wall_s", use.wall.Seconds(), "s"},
		{"cpu_s_per_million", use.cpu.Seconds() / events * 1e6, "s"},
		{"cpu_us_per_event", use.cpu.Seconds() / events * 1e6, "us"},
		{"peak_mib", float64(use.peakBytes) / (1 << 20), "MiB"},
		{"output_mib", float64(size) / (1 << 20), "MiB"},
		{"kept", float64(s.Kept), "events"},
		{"masked", float64(s.Masked), "events"},
		{"dropped", float64(s.Dropped), "events"},
		{"rejected", float64(s.Rejected), "events"},
	}, nil
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
