package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"lupa/cmd/lupa/oracle"
	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// TestVerifyFindsNothingInTheDemo judges all of the demo's events.
func TestVerifyFindsNothingInTheDemo(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	b.produce(t, demoEvents, theSample(t).Events())
	j := newJob(t, b, "", time.Second)
	j.streamTo(t, b.ends(t))
	code, out, errs := command(t, "verify", "-c", j.config, "--still", "--json")
	if code != exitOK || errs != "" {
		t.Fatalf("code %d, stderr %q; it says:\n%s", code, errs, out)
	}
	var r oracle.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	for _, i := range r.Invariants {
		if i.Status != oracle.Holds {
			t.Errorf("%s: %s", i.ID, i.Status)
		}
	}
	if got := r.Invariants[2].Looked; got < int64(len(theSample(t).Events())) {
		t.Errorf("%d messages accounted for, there are %d", got, len(theSample(t).Events()))
	}
}

// TestVerifyReadsFiles judges a backfill.
func TestVerifyReadsFiles(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	for _, dir := range []string{"events", "ledger"} {
		if err := os.Mkdir(filepath.Join(data, dir), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	events, ledger := few(t)
	writeLines(t, filepath.Join(data, "events", "a.jsonl"), events[:len(events)/2])
	writeLines(t, filepath.Join(data, "events", "b.jsonl"), events[len(events)/2:])
	// A file has no keys, so that a cut record and a tombstone would be about nobody.
	ledger = slices.DeleteFunc(ledger, func(m sample.Message) bool { return m.Value == nil || !json.Valid(m.Value) })
	writeLines(t, filepath.Join(data, "ledger", "l.jsonl"), ledger)
	j := newJob(t, nil, data, time.Second)
	j.backfill(t).end(t, exitOK)
	code, out, errs := command(t, "verify", "-c", j.config, "--still")
	if code != exitOK || errs != "" {
		t.Fatalf("code %d, stderr %q; it says:\n%s", code, errs, out)
	}
}

func writeLines(t *testing.T, path string, messages []sample.Message) {
	t.Helper()
	var text bytes.Buffer
	for _, m := range messages {
		text.Write(m.Value)
		text.WriteByte('\n')
	}
	if err := os.WriteFile(path, text.Bytes(), 0o640); err != nil {
		t.Fatal(err)
	}
}

// few gives half of the bad messages of the sample and all of a few people of
// each story, with what the ledger says of these.
func few(t *testing.T) (events, ledger []sample.Message) {
	t.Helper()
	s := theSample(t)
	const each = 2
	people := map[string]map[int]bool{}
	var text bytes.Buffer
	for i, m := range s.Events() {
		o := s.Expect()[i]
		if people[o.Story] == nil {
			people[o.Story] = map[int]bool{}
		}
		if who := people[o.Story]; o.Person != sample.Nobody && len(who) < each {
			who[o.Person] = true
		}
		if o.Person == sample.Nobody && i%2 == 0 || people[o.Story][o.Person] {
			events = append(events, m)
			text.Write(m.Value)
		}
	}
	known := map[string]bool{}
	for word := range strings.SplitSeq(text.String(), `"`) {
		known[word] = true
	}
	for _, m := range s.Ledger() {
		key, err := schemas.ParseRecordKey(m.Key)
		if err != nil {
			t.Fatal(err)
		}
		if known[key.Principal.Reveal()] || known[key.Other.Reveal()] {
			ledger = append(ledger, m)
		}
	}
	return events, ledger
}

// judgedJob is a job with tables in several commits, that a test breaks and
// mends.
type judgedJob struct {
	job
	broker *broker
	saved  map[string][]byte
}

// newJudgedJob runs a small job to its end, in two runs and as many commits.
func newJudgedJob(t *testing.T) *judgedJob {
	t.Helper()
	b := reopen(t, kfake.SeedTopics(2, demoEvents), kfake.SeedTopics(2, demoLedger))
	events, ledger := few(t)
	b.produce(t, demoLedger, ledger)
	j := &judgedJob{job: newJob(t, b, "", longInterval), broker: b, saved: map[string][]byte{}}
	j.change(t, "workers: 2", "workers: 1")
	for part := range slices.Chunk(events, (len(events)+1)/2) {
		b.produce(t, demoEvents, part)
		read := b.readTo(t, b.ends(t))
		p := j.stream(t)
		select {
		case <-read:
		case <-p.exited:
		}
		p.stop(t, exitOK)
	}
	for _, dir := range []string{j.warehouse(), filepath.Join(j.dir, "quarantine")} {
		for _, path := range filesIn(t, dir) {
			j.saved[path] = readAll(t, path)
		}
	}
	return j
}

func filesIn(t *testing.T, root string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// mend puts everything back.
func (j *judgedJob) mend(t *testing.T) {
	t.Helper()
	for _, dir := range []string{j.warehouse(), filepath.Join(j.dir, "quarantine")} {
		for _, path := range filesIn(t, dir) {
			if _, ok := j.saved[path]; !ok {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for path, body := range j.saved {
		if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, body) {
			continue
		}
		if err := os.WriteFile(path, body, 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// input is what `lupa verify` would judge by.
func (j *judgedJob) input(t *testing.T, o verifyOptions) *oracle.Input {
	t.Helper()
	o.config = j.config
	in, err := verifyInput(o)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// judge gives the invariants that are violated.
func (j *judgedJob) judge(t *testing.T, in *oracle.Input) *oracle.Report {
	t.Helper()
	r, err := oracle.Check(t.Context(), *in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
