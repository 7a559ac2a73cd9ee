// Command bench makes synthetic events and measures lupa with them.
//
//	bench run -case backfill-jsonl -events 2000000 -runs 3
//	bench gen -dir data -events 100000 -compression gz
//	bench list
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"

	"lupa/bench"
	"lupa/bench/gen"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "run":
			return runCases(ctx, args[1:], stdout, stderr)
		case "gen":
			return generate(ctx, args[1:], stdout)
		case "ledger-step": // of the case ledger, which starts it
			if len(args) == 4 {
				n, err := strconv.Atoi(args[2])
				if err != nil {
					return fmt.Errorf("%q is no number of identifiers", args[2])
				}
				return bench.RunLedgerStep(ctx, stdout, args[1], n, args[3])
			}
		case "list":
			for _, c := range bench.Cases() {
				fmt.Fprintln(stdout, c.Name)
			}
			return nil
		}
	}
	return fmt.Errorf("use: bench run, bench gen or bench list")
}

func runCases(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	o := bench.Options{Log: stderr}
	name := flags.String("case", "all", "case to run, or all")
	results := flags.String("results", "results", "folder for the recorded results")
	flags.StringVar(&o.Root, "root", "..", "folder of the module lupa")
	flags.StringVar(&o.Cache, "cache", ".cache", "folder for input and warehouses")
	flags.IntVar(&o.Runs, "runs", 1, "number of runs; the result is their median")
	flags.IntVar(&o.Workers, "workers", 2, "workers of lupa")
	sizeFlags(flags, &o.Events, &o.Subjects, &o.Compression)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.Runs < 1 {
		return fmt.Errorf("runs is %d, must be at least 1", o.Runs)
	}
	ran := false
	for _, c := range bench.Cases() {
		if *name != "all" && *name != c.Name {
			continue
		}
		ran = true
		measured, err := c.Run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		if err := bench.Print(stdout, c.Name, measured); err != nil {
			return err
		}
		if err := bench.Save(ctx, *results, c.Name, o, measured); err != nil {
			return err
		}
	}
	if !ran {
		return fmt.Errorf("no case %s; see bench list", *name)
	}
	return nil
}

func generate(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("gen", flag.ExitOnError)
	var o gen.Options
	dir := flags.String("dir", ".", "folder that the files are written to")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of all that is drawn")
	flags.IntVar(&o.Files, "files", 1, "number of event files")
	sizeFlags(flags, &o.Events, &o.Subjects, &o.Compression)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	ledger := filepath.Join(*dir, "ledger.jsonl")
	if err := gen.WriteLedger(ctx, ledger, o); err != nil {
		return err
	}
	paths, err := gen.WriteEvents(ctx, *dir, o)
	if err != nil {
		return err
	}
	for _, path := range append([]string{ledger}, paths...) {
		fmt.Fprintln(stdout, path)
	}
	return nil
}

// sizeFlags are what both commands take.
func sizeFlags(flags *flag.FlagSet, events, subjects *int, compression *gen.Compression) {
	flags.IntVar(events, "events", 2_000_000, "number of events")
	flags.IntVar(subjects, "subjects", 1_000_000, "number of subjects")
	flags.Func("compression", "gz, zst or empty", func(s string) error {
		*compression = gen.Compression(s)
		return nil
	})
}
