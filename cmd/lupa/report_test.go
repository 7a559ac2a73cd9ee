package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/pipeline/consent"
)

// What a ledger says that does not count as it was meant must be seen.
func TestLedgerResult(t *testing.T) {
	text, err := json.Marshal(newLedgerResult(consent.Stats{
		Records: 1, Identifiers: 2, Subjects: 3, Tombstones: 4, Unreadable: 5, Ties: 6, UnknownPurposes: 7, Capped: 8, CappedRows: 9,
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"records":1,"identifiers":2,"subjects":3,"tombstones":4,"unreadable":5,"ties":6,"unknown_purposes":7,"capped":8,"capped_rows":9}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
