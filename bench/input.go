package bench

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"lupa/bench/gen"
)

// The files of an input folder.
const (
	ledgerFile = "ledger.jsonl"
	someEvents = "events-*"   // a glob
	noEvents   = "none.jsonl" // an empty file
)

// inputFiles is over how many files the events are spread: more than workers,
// so that a slow file does not decide.
const inputFiles = 8

// input makes the events and the ledger, or finds those that an earlier run
// made with the same options and the same generator.
func input(ctx context.Context, o Options) (string, error) {
	g := gen.Options{Seed: 1, Events: o.Events, Subjects: o.Subjects, Files: inputFiles, Compression: o.Compression}
	if err := g.Check(); err != nil {
		return "", err
	}
	dir := filepath.Join(o.Cache, fmt.Sprintf("input-%d-%d-%s%s", o.Events, o.Subjects, o.Compression, fingerprint(g)))
	if _, err := os.Stat(dir); err == nil {
		return filepath.Abs(dir)
	}
	fmt.Fprintf(o.Log, "making %d events and the ledger of %d subjects\n", o.Events, o.Subjects)
	if err := os.MkdirAll(o.Cache, 0o755); err != nil {
		return "", err
	}
	unfinished, err := os.MkdirTemp(o.Cache, "unfinished-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(unfinished)
	if err := gen.WriteLedger(ctx, filepath.Join(unfinished, ledgerFile), g); err != nil {
		return "", err
	}
	if _, err := gen.WriteEvents(ctx, unfinished, g); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(unfinished, noEvents), nil, 0o644); err != nil {
		return "", err
	}
	if err := os.Rename(unfinished, dir); err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// fingerprint tells what two versions of the generator make apart.
func fingerprint(g gen.Options) string {
	const lines = 1000
	hash := sha256.New()
	var line []byte
	events, ledger := gen.NewStream(g, 0), gen.NewLedger(g)
	for range lines {
		line, _ = events.Append(line[:0])
		hash.Write(line)
		line, _ = ledger.Append(line[:0])
		hash.Write(line)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)[:6])
}
