package bench

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMedians(t *testing.T) {
	run := func(a, b float64) []Result { return []Result{{"a", a, "s"}, {"b", b, "s"}} }
	for _, c := range []struct {
		name string
		runs [][]Result
		want []Result
	}{
		{"one run is its own median", [][]Result{run(3, 1)}, run(3, 1)},
		{"the middle of three, for each result", [][]Result{run(3, 1), run(1, 9), run(2, 5)}, run(2, 5)},
		{"between the middle two of four", [][]Result{run(4, 0), run(1, 0), run(2, 0), run(8, 0)}, run(3, 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, medians(c.runs)); diff != "" {
				t.Errorf("medians (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	var out strings.Builder
	results := []Result{{"events_per_s", 812345.678, "events/s"}, {"kept", 1600000, "events"}, {"cpu_us_per_event", 1.234567, "us"}}
	if err := Print(&out, "backfill-jsonl", results); err != nil {
		t.Fatal(err)
	}
	want := "RESULT backfill-jsonl events_per_s 812346 events/s\n" +
		"RESULT backfill-jsonl kept 1600000 events\n" +
		"RESULT backfill-jsonl cpu_us_per_event 1.235 us\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	o := Options{Root: "..", Events: 10, Subjects: 5, Workers: 2, Runs: 1}
	if err := Save(t.Context(), dir, "some-case", o, []Result{{"kept", 8, "events"}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "some-case.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Case    string
		Machine Machine
		Args    struct{ Events, Workers int }
		Results []Result
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Case != "some-case" || got.Args.Events != 10 || got.Args.Workers != 2 || len(got.Results) != 1 {
		t.Errorf("saved %+v", got)
	}
	if m := got.Machine; m.CPU == "" || m.Cores < 1 || m.Go == "" || len(m.Commit) < 40 {
		t.Errorf("the machine is not described: %+v", m)
	}
}

func TestAfterColon(t *testing.T) {
	text := []byte("model\t\t: 17\nmodel name\t: Some CPU: fast\nmodel name\t: Other\n")
	if got := strings.TrimSpace(afterColon(text, "model name")); got != "Some CPU: fast" {
		t.Errorf("got %q", got)
	}
	if got := afterColon(text, "absent"); got != "" {
		t.Errorf("got %q of a key that is absent", got)
	}
}

func TestRunChild(t *testing.T) {
	out, use, err := runChild(t.Context(), io.Discard, "go", "version")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out, []byte("go version ")) || use.wall <= 0 || use.cpu <= 0 || use.peakBytes < 1<<20 {
		t.Errorf("output %q, usage %+v", out, use)
	}
	var log strings.Builder
	if _, _, err := runChild(t.Context(), &log, "go", "no-such-command"); err == nil || log.Len() == 0 {
		t.Errorf("a program that fails gives error %v and leaves %d bytes of log", err, log.Len())
	}
}

func TestInputIsMadeOnce(t *testing.T) {
	var log strings.Builder
	o := Options{Cache: t.TempDir(), Events: 100, Subjects: 50, Log: &log}
	first, err := input(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	made := log.String()
	again, err := input(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if made == "" || log.String() != made || again != first {
		t.Errorf("made %q, then %q", first, again)
	}
	events, err := filepath.Glob(filepath.Join(first, "events-*.jsonl"))
	if err != nil || len(events) != inputFiles {
		t.Errorf("%d event files, %v", len(events), err)
	}
	o.Subjects = 60
	if other, err := input(t.Context(), o); err != nil || other == first {
		t.Errorf("other options gave %q, %v", other, err)
	}
	left, err := filepath.Glob(filepath.Join(o.Cache, "unfinished-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSummary(t *testing.T) {
	const text = `{"run": {"read": 10, "kept": 5, "masked": 2, "dropped": 2, "rejected": 1}, "ledger": {"records": 7, "unreadable": 0}}`
	for _, c := range []struct {
		name   string
		events int
		change func(*summary)
		good   bool
	}{
		{"all adds up", 10, func(*summary) {}, true},
		{"an event was not read", 11, func(*summary) {}, false},
		{"a row too many", 10, func(s *summary) { s.Run.Kept++ }, false},
		{"a record was not understood", 10, func(s *summary) { s.Ledger.Unreadable++ }, false},
		{"an empty ledger", 10, func(s *summary) { s.Ledger.Records = 0 }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := parseSummary([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			c.change(&s)
			if err := s.check(c.events); (err == nil) != c.good {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := parseSummary([]byte("read 10")); err == nil {
		t.Error("text that is no JSON passed")
	}
}
