package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// A stream that reads its ledger once keeps rows of everybody who withdraws
// after that.
func TestStreamRefusesALedgerThatDoesNotMove(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "ledger.jsonl", "")
	write(t, dir, "lupa.yaml", `keys: {file: lupa.keys}
ledger: {file: ledger.jsonl}
events:
  kafka: {brokers: ["localhost:1"], topics: [events]}
warehouse: {dir: warehouse}
`)
	code, out, errs := command(t, "stream", "-c", filepath.Join(dir, "lupa.yaml"))
	if code != exitUsage || out != "" || !strings.Contains(errs, "ledger.kafka") {
		t.Errorf("code %d, stdout %q, stderr %q; want %d and what is missing", code, out, errs, exitUsage)
	}
}
