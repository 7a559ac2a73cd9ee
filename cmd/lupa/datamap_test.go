package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

// Whoever signs a contract must see everything that a masked row holds, also
// the columns that stay because they are about nobody.
func TestDataMapSaysWhatStaysInMaskedRows(t *testing.T) {
	got := map[string][]string{}
	for _, table := range dataMap(schemas.DefaultContracts()) {
		for _, f := range table.Fields {
			if f.Masked {
				got[table.Table] = append(got[table.Table], f.Field)
			}
		}
	}
	common := []string{
		"context_campaign_medium", "context_campaign_name", "context_campaign_source", "context_device_type",
		"context_library_name", "context_library_version", "context_os_name", "timestamp",
	}
	want := map[string][]string{
		"tracks":  append([]string{"currency", "event_text"}, common...),
		"pages":   append([]string{"category", "name"}, common...),
		"screens": append([]string{"category", "name", "context_app_name", "context_app_version"}, common...),
		// The others drop whole rows.
	}
	for table := range want {
		slices.Sort(want[table])
		slices.Sort(got[table])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
