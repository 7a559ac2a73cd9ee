package bench

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// The steps of the ledger's case measure something, and agree about how many
// identifiers there are.
func TestLedgerSteps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "snapshot")
	var filled, loaded LedgerStep
	for _, s := range []struct {
		step string
		into *LedgerStep
	}{{"fill", &filled}, {"load", &loaded}} {
		var out strings.Builder
		if err := RunLedgerStep(t.Context(), &out, s.step, 20_000, file); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(out.String()), s.into); err != nil {
			t.Fatal(err)
		}
		if s.into.Identifiers != 20_000 {
			t.Errorf("%s: %d identifiers", s.step, s.into.Identifiers)
		}
	}
	if filled.ApplyNs <= 0 || filled.SnapshotS <= 0 || filled.UpdateP99Ns < filled.UpdateP50Ns || filled.SnapshotP99Ns <= 0 {
		t.Errorf("%+v", filled)
	}
	if loaded.LoadS <= 0 || loaded.LookupNs <= 0 {
		t.Errorf("%+v", loaded)
	}
	names := map[string]bool{}
	for _, size := range []string{"_10m", "_50m"} {
		for _, r := range ledgerResults(size, &filled, &loaded) {
			names[r.Name] = true
		}
	}
	for _, name := range []string{"bytes_per_subject_50m", "load_50m_s", "lookup_10m_ns", "lookup_50m_ns", "lookup_p99_under_update_ns"} {
		if !names[name] {
			t.Errorf("%s is not measured", name)
		}
	}
	if err := RunLedgerStep(t.Context(), &strings.Builder{}, "load", 1, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a snapshot that is not there is loaded")
	}
}
