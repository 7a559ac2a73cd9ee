package main

import (
	"testing"
	"time"

	"lupa/schemas"
)

// TestAskAtTheEdgesOfTime asks at 1970, which is no missing time, and about who
// comes of age after the last year that JSON has.
func TestAskAtTheEdgesOfTime(t *testing.T) {
	born := spoke(schemas.Born, "late", 1, 1)
	born.Until = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC).UnixMicro()
	config := askBed(t, spoke(schemas.Grant, "late", 1, 1), born)
	for _, form := range [][]string{nil, {"--json"}} {
		for _, args := range [][]string{
			{"explain", "--contract", "tracks", "--at", "1970-01-01T00:00:00Z", "--now", "1970-01-01T00:00:00Z"},
			{"explain", "--contract", "tracks"},
			{"lookup"},
		} {
			args = append(append([]string{"ledger"}, args...), "--config", config, "--id", "user_id=late")
			if code, _, errs := command(t, append(args, form...)...); code != exitOK {
				t.Errorf("%v %v: %d %s", args[1], form, code, errs)
			}
		}
	}
}
