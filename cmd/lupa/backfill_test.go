package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
	"lupa/schemas"
)

// inFiles is the sample as files, and what must become of each line.
type inFiles struct {
	dir      string
	outcomes map[place]sample.Outcome
}

// sampleFiles makes a folder with the sample as files: the ledger in two, the
// events in several, plain, gzip and zstd, in folders.
func sampleFiles(t *testing.T) inFiles {
	t.Helper()
	s, f := theSample(t), ledgerFiles(t)
	events, outcomes := s.Events(), s.Expect()
	part := len(events)/4 + 1
	for i, name := range []string{"a.jsonl", "b.jsonl.gz", "later/c.jsonl.zst", "later/d.jsonl"} {
		lo, hi := i*part, min((i+1)*part, len(events))
		f.add(t, "events/"+name, events[lo:hi], outcomes[lo:hi])
	}
	return f
}

// ledgerFiles makes a folder with the sample's ledger in two files, whose names
// are in its order. A file has no keys, so records that are nothing but their
// key are not in it.
func ledgerFiles(t *testing.T) inFiles {
	t.Helper()
	f := inFiles{t.TempDir(), map[place]sample.Outcome{}}
	ledger := slices.DeleteFunc(slices.Clone(theSample(t).Ledger()), func(m sample.Message) bool { return !json.Valid(m.Value) })
	half := len(ledger) / 2
	write(t, f.dir, "ledger/2026-01.jsonl", string(lines(ledger[:half])))
	write(t, f.dir, "ledger/2026-02.jsonl.gz", string(gzipped(t, lines(ledger[half:]))))
	return f
}

// add writes a file, compressed as its name says, behind what it holds.
func (f inFiles) add(t *testing.T, name string, events []sample.Message, outcomes []sample.Outcome) {
	t.Helper()
	path := filepath.Join(f.dir, name)
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	text := lines(events)
	switch filepath.Ext(name) {
	case ".gz":
		text = gzipped(t, text)
	case ".zst":
		text = zstandard(t, text)
	}
	write(t, f.dir, name, string(old)+string(text))
	first := bytes.Count(old, []byte("\n"))
	for i, o := range outcomes {
		// An empty line is no message, and a grant stays that only a key took
		// back or made unreadable.
		switch {
		case o.Reason == schemas.EmptyMessage:
			continue
		case o.Story == "analytics grant deleted from the ledger", o.Story == "ledger record unreadable":
			o.Reason, o.Verdict, o.Granted = schemas.ConsentGiven, pipeline.KeepRow, o.Granted.With(schemas.Analytics)
		}
		f.outcomes[place{pipeline.Partition{Topic: path}, int64(first + i)}] = o
	}
}

// lines writes each message's value on a line.
func lines(messages []sample.Message) []byte {
	var b bytes.Buffer
	for _, m := range messages {
		b.Write(m.Value)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func gzipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t *testing.T, text []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(text, nil)
}

// TestBackfill reads the sample from files once, again, again when a file has
// grown, and again when one was replaced.
func TestBackfill(t *testing.T) {
	t.Parallel()
	f := sampleFiles(t)
	j := newJob(t, nil, f.dir, time.Second)
	run := func(want int) (stdout, stderr string) {
		t.Helper()
		code, out, errs := command(t, "backfill", "-c", j.config, "--log-level", "warn")
		if code != want {
			t.Fatalf("exit code %d, want %d; stderr:\n%s", code, want, errs)
		}
		return out, errs
	}

	out, errs := run(exitOK)
	if !strings.HasPrefix(out, "What this run read, and the tables as they stand now:\n") {
		t.Errorf("it printed:\n%s", out)
	}
	// Nothing is a terminal here.
	if !strings.Contains(errs, " events, 100 %, ") || strings.ContainsAny(errs, "\r\x1b") {
		t.Errorf("the progress is no plain line:\n%q", errs)
	}
	tables := readTables(t, j.warehouse())
	checkCounts(t, tables, f.outcomes)
	checkRows(t, tables, f.outcomes)
	checkColumns(t, tables, f.outcomes)
	checkTokens(t, tables, f.outcomes)
	checkPutAside(t, tables, filepath.Join(j.dir, "quarantine"))

	out, _ = run(exitOK)
	if !strings.HasPrefix(out, "This run found nothing to read that the tables do not have.") {
		t.Errorf("the second run printed:\n%s", out)
	}
	sameTables(t, tables, readTables(t, j.warehouse()))

	grown, more := "events/0/later/d.jsonl", theSample(t)
	f.add(t, grown, more.Events()[:1000], more.Expect()[:1000])
	run(exitOK)
	tables = readTables(t, j.warehouse())
	checkCounts(t, tables, f.outcomes)
	checkRows(t, tables, f.outcomes)

	write(t, f.dir, grown, string(lines(more.Events()[1000:2000])))
	_, errs = run(exitData)
	if want := filepath.Join(f.dir, grown) + ": has "; !strings.Contains(errs, want) || len(more.SecretsIn([]byte(errs))) > 0 {
		t.Errorf("it says %d secrets; %q, want %q", len(more.SecretsIn([]byte(errs))), errs, want)
	}
	sameTables(t, tables, readTables(t, j.warehouse()))
}

func TestBackfillShowsNoProgressWhenTold(t *testing.T) {
	t.Parallel()
	f := ledgerFiles(t)
	f.add(t, "events/a.jsonl", theSample(t).Events()[:100], nil)
	for _, flag := range []string{"--json", "--quiet"} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, nil, f.dir, time.Second)
			code, out, errs := command(t, "backfill", "-c", j.config, "--log-level", "warn", flag)
			if code != exitOK || errs != "" {
				t.Errorf("code %d, stderr %q", code, errs)
			}
			if isJSON := json.Valid([]byte(out)); isJSON != (flag == "--json") {
				t.Errorf("it printed:\n%s", out)
			}
		})
	}
}

// TestStoppedBackfillGoesOn sends SIGTERM between the first commit of a run and
// the second, as a shell would, and starts the run again.
func TestStoppedBackfillGoesOn(t *testing.T) {
	t.Parallel()
	f := sampleFiles(t)
	j := newJob(t, nil, f.dir, 100*time.Millisecond)
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	errs := stopAfter{line: []byte(committedLine), ctx: ctx}
	var out bytes.Buffer
	code := run(ctx, []string{"backfill", "-c", j.config, "--log-level", "debug"}, strings.NewReader(""), &out, &errs)
	if code != exitStopped || out.Len() > 0 || !strings.HasSuffix(errs.text(), "lupa: stopped by a signal before the end; what was committed stays\n") {
		t.Errorf("code %d, stdout %q, stderr:\n%s", code, out.String(), errs.text())
	}
	part := rowsIn(readTables(t, j.warehouse()))

	j.backfill(t).end(t, exitOK)
	undisturbed := newJob(t, nil, f.dir, time.Second).sharing(t, j)
	undisturbed.backfill(t).end(t, exitOK)
	want := readTables(t, undisturbed.warehouse())
	sameTables(t, want, readTables(t, j.warehouse()))
	if all := rowsIn(want); part == 0 || part == all {
		t.Errorf("it had %d of %d rows when it was stopped: that is not in the middle", part, all)
	}
}

// stopAfter takes what lupa logs. At the first line that has a text it sends
// this process SIGTERM, and lets lupa go on once that has arrived.
type stopAfter struct {
	output
	line []byte
	ctx  context.Context
}

func (s *stopAfter) Write(p []byte) (int, error) {
	if bytes.Contains(p, s.line) && s.ctx.Err() == nil {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			return 0, err
		}
		<-s.ctx.Done()
	}
	return s.output.Write(p)
}

// TestStreamAndBackfillGiveTheSameRows runs both jobs over the same events and
// the ledger in Kafka. Left out are events without a value, which are no lines,
// and those without a time, which get one in a topic.
func TestStreamAndBackfillGiveTheSameRows(t *testing.T) {
	t.Parallel()
	s := theSample(t)
	var events []sample.Message
	for i, o := range s.Expect() {
		if !o.NeedsTime && o.Reason != schemas.EmptyMessage {
			events = append(events, s.Events()[i])
		}
	}
	b := startBroker(t)
	b.produce(t, demoEvents, events)
	f := ledgerFiles(t)
	f.add(t, "events/a.jsonl", events[:len(events)/2], nil)
	f.add(t, "events/b.jsonl.zst", events[len(events)/2:], nil)

	j := newJob(t, b, f.dir, 200*time.Millisecond)
	j.streamTo(t, b.ends(t))
	other := newJob(t, b, f.dir, time.Second).sharing(t, j)
	other.backfill(t).end(t, exitOK)

	streamed, filled := readTables(t, j.warehouse()), readTables(t, other.warehouse())
	for name, want := range streamed {
		got := filled[name]
		if diff := cmp.Diff(want.Counts, got.Counts); diff != "" {
			t.Errorf("counts of %s (-stream +backfill):\n%s", name, diff)
		}
		if w, g := want.withoutPlaces(), got.withoutPlaces(); !slices.Equal(w, g) {
			t.Errorf("%s has %d rows by stream and %d by backfill, or they differ", name, len(w), len(g))
		}
	}
	if n := rowsIn(streamed); n < len(events)/2 {
		t.Errorf("only %d rows were compared", n)
	}
}
