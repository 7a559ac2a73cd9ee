package main

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/connectors/quarantine"
	"lupa/pipeline"
)

// killTimes is how often a run is killed; LUPA_TEST_KILLS may ask for more.
func killTimes(t *testing.T, n int) int {
	t.Helper()
	text := os.Getenv("LUPA_TEST_KILLS")
	if text == "" {
		return n
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// newRandom makes a random source whose seed is printed.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestKilledStreamLosesNothing kills `lupa stream` with SIGKILL at random
// moments of a run that is fed meanwhile, starts it again each time, and
// compares what is there at the end with what an undisturbed run over the same
// topics and keys writes.
func TestKilledStreamLosesNothing(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	killed := newJob(t, b, "", 100*time.Millisecond)
	r := newRandom(t)
	kills, committing := killTimes(t, 20), 0
	shares := slices.Collect(slices.Chunk(theSample(t).Events(), len(theSample(t).Events())/kills+1))
	for i, share := range shares {
		p := killed.stream(t)
		fed := b.feed(t.Context(), share, 5, 20*time.Millisecond)
		// Some are killed while they start, some before and most after they
		// have committed.
		switch i % 4 {
		case 0:
		case 1:
			p.must(t, streamingLine)
		default:
			p.must(t, committedLine)
		}
		select {
		case <-time.After(time.Duration(r.ExpFloat64() * float64(120*time.Millisecond))):
		case <-p.exited:
			t.Fatalf("ended by itself; it said:\n%s", p.stderr.text())
		}
		p.kill(t)
		if n, _ := p.stderr.count(committedLine); n > 0 {
			committing++
		}
		if err := <-fed; err != nil {
			t.Fatal(err)
		}
	}
	ends := b.ends(t)
	p := killed.stream(t)
	killed.awaits(t, p, ends)
	p.stop(t, exitOK)
	t.Logf("%d of %d killed runs had committed before", committing, len(shares))

	undisturbed := newJob(t, b, "", time.Second).sharing(t, killed)
	undisturbed.streamTo(t, ends)
	want, got := readTables(t, undisturbed.warehouse()), readTables(t, killed.warehouse())
	sameTables(t, want, got)
	standAt(t, got, ends)
	checkPutAside(t, got, filepath.Join(killed.dir, "quarantine"))
	if n := rowsIn(got); n < len(theSample(t).Events())/2 {
		t.Errorf("only %d rows were compared", n)
	}
}

// TestKilledBackfillLosesNothing does the same to `lupa backfill`.
func TestKilledBackfillLosesNothing(t *testing.T) {
	t.Parallel()
	data := sampleFiles(t).dir
	undisturbed := newJob(t, nil, data, time.Second)
	killed := newJob(t, nil, data, 100*time.Millisecond).sharing(t, undisturbed)
	r := newRandom(t)
	for range killTimes(t, 5) {
		p := killed.backfill(t)
		if !p.says(t, committedLine, 1) {
			break // the rest was less than one interval
		}
		select {
		case <-time.After(time.Duration(r.ExpFloat64() * float64(50*time.Millisecond))):
		case <-p.exited:
		}
		p.kill(t)
	}
	killed.backfill(t).end(t, exitOK)
	undisturbed.backfill(t).end(t, exitOK)
	sameTables(t, readTables(t, undisturbed.warehouse()), readTables(t, killed.warehouse()))
}

// standAt fails unless every table stands at the ends.
func standAt(t *testing.T, tables map[string]*storedTable, ends pipeline.Vector) {
	t.Helper()
	want := map[string]int64{}
	for p, end := range ends {
		want[p.String()] = end
	}
	for name, s := range tables {
		if diff := cmp.Diff(want, s.Positions); diff != "" {
			t.Errorf("positions of %s and the topic's ends (-want +got):\n%s", name, diff)
		}
	}
}

// checkPutAside fails unless the quarantine names every listed reject, however
// often, and nothing else.
func checkPutAside(t *testing.T, tables map[string]*storedTable, dir string) {
	t.Helper()
	aside := map[place]string{}
	files, err := filepath.Glob(filepath.Join(dir, "rejects-*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d quarantine files, error %v", len(files), err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var e quarantine.Entry
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue // the process was killed in the middle of the line
			}
			aside[place{pipeline.Partition{Topic: e.Topic, ID: e.Partition}, e.Offset}] = e.Reason
		}
	}
	rejects := tables["rejects"]
	reason := rejects.column(t, "reason")
	listed := map[place]string{}
	for at, row := range rejects.places(t) {
		listed[at] = row[reason]
	}
	if diff := cmp.Diff(listed, aside); diff != "" {
		t.Errorf("%d rejects are listed and %d put aside (-listed +aside):\n%s",
			len(listed), len(aside), diff)
	}
}
