package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"lupa/pipeline"
)

// TestStreamRefusesALedgerThatWentBack: a ledger topic that is restored from an
// older copy while nobody runs has lost the last withdrawals, and nothing in it
// tells.
func TestStreamRefusesALedgerThatWentBack(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	events, ledger := theSample(t).Events(), theSample(t).Ledger()
	b.produce(t, demoEvents, events[:500])
	j := newJob(t, b, "", 200*time.Millisecond)
	j.streamTo(t, b.ends(t))

	if err := b.DeleteTopic(demoLedger); err != nil {
		t.Fatal(err)
	}
	if err := b.CreateTopic(demoLedger, 2, nil); err != nil {
		t.Fatal(err)
	}
	b.produce(t, demoLedger, ledger[:len(ledger)-100])
	b.produce(t, demoEvents, events[500:1000])
	code, out, errs := command(t, "stream", "-c", j.config, "--log-level", "error")
	if code != exitData || out != "" || !strings.Contains(errs, "restored from an older copy") || !strings.Contains(errs, "ledger: "+demoLedger+"/") {
		t.Errorf("code %d, stdout %q, stderr %q; want %d and why", code, out, errs, exitData)
	}
	if caughtUp(t, j.warehouse(), b.ends(t)) {
		t.Error("the events were read")
	}
	b.produce(t, demoLedger, ledger[len(ledger)-100:])
	j.streamTo(t, b.ends(t))
}

func TestLedgerReaches(t *testing.T) {
	x, y, other := pipeline.Partition{Topic: "x"}, pipeline.Partition{Topic: "x", ID: 1}, pipeline.Partition{Topic: "other"}
	for _, c := range []struct {
		name               string
		reached, committed pipeline.Vector
		behind             bool
	}{
		{"nothing is committed", pipeline.Vector{x: 0}, nil, false},
		{"as far", pipeline.Vector{x: 5}, pipeline.Vector{x: 5}, false},
		{"farther", pipeline.Vector{x: 6}, pipeline.Vector{x: 5}, false},
		{"more partitions", pipeline.Vector{x: 5, y: 0}, pipeline.Vector{x: 5}, false},
		{"one less", pipeline.Vector{x: 9, y: 4}, pipeline.Vector{x: 5, y: 5}, true},
		{"a partition is gone", pipeline.Vector{x: 9}, pipeline.Vector{x: 5, y: 5}, true},
		{"another topic", pipeline.Vector{x: 1}, pipeline.Vector{other: 5}, false},
	} {
		err := ledgerReaches(c.reached, c.committed, "x")
		if errors.Is(err, errLedgerBehind) != c.behind || (exitCode(err) == exitData) != c.behind {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
