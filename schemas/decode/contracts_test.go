package decode

import (
	"testing"

	"lupa/schemas"
)

// TestDefaultContracts takes real events by the contracts that come with the
// program.
func TestDefaultContracts(t *testing.T) {
	contracts := schemas.DefaultContracts()
	for _, c := range []struct {
		dir, file string
		rows      int // at least
	}{
		{"rudder-transformer", "events.jsonl", 1000},
		{"segment-docs", "examples.jsonl", 90},
		{"rudderstack-docs", "examples.jsonl", 40},
	} {
		t.Run(c.dir, func(t *testing.T) {
			lines := readLines(t, shared(t, c.dir, c.file))
			times := make([]int64, len(lines))
			d := newJSON(t, contracts, Options{})
			rows := checkAgainstOracle(t, d, contracts, lines, times)
			if rows < c.rows {
				t.Errorf("%d rows of %d lines, want at least %d", rows, len(lines), c.rows)
			}
			checkTiers(t, contracts, Options{}, lines)
			reasons := map[schemas.Reason]int{}
			for _, r := range decodeAll(t, d, lines, times).Rejects {
				reasons[r.Reason]++
			}
			t.Logf("%d lines, %d rows, rejects %v", len(lines), rows, reasons)
		})
	}
	t.Run("generated", func(t *testing.T) {
		events := segmentEvents(1000, 11)
		d := newJSON(t, contracts, Options{})
		if rows := checkAgainstOracle(t, d, contracts, events, make([]int64, len(events))); rows != len(events) {
			t.Errorf("%d rows of %d events", rows, len(events))
		}
	})
}
