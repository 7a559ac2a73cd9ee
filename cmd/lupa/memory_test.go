package main

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// The large input: every sixth event is big, with much that no contract names;
// the others have a long text that is kept, and that nothing compresses. They
// are of many days, so that many files are written at once.
const (
	largeVisitors = 100
	largeDays     = 60
	largeBlob     = 30 << 10
	largeText     = 1 << 10
)

// largeCount is how many events there are; LUPA_TEST_LARGE multiplies it.
func largeCount(t *testing.T) int {
	t.Helper()
	n := 36_000
	if text := os.Getenv("LUPA_TEST_LARGE"); text != "" {
		by, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal("LUPA_TEST_LARGE is no number")
		}
		n *= by
	}
	return n
}

// largeEvents makes the events one after the other.
func largeEvents() func() sample.Message {
	r := rand.New(rand.NewPCG(3, 5))
	text := make([]byte, largeText/2)
	i := -1
	return func() sample.Message {
		i++
		for at := 0; at < len(text); at += 8 {
			n := r.Uint64()
			for k := range 8 {
				text[at+k] = byte(n >> (8 * k))
			}
		}
		at := sample.Base().Add(time.Duration(i*7919%(largeDays*24)) * time.Hour)
		who := i % largeVisitors
		if i%6 == 0 {
			return sample.Message{Key: strconv.AppendInt(nil, int64(i), 10), Value: fmt.Appendf(nil,
				`{"type":"track","event":"Big","messageId":"%d","timestamp":"%s","userId":"visitor-%04d","properties":{"blob":"%s"}}`,
				i, at.Format(time.RFC3339), who, strings.Repeat(hex.EncodeToString(text[:64]), largeBlob/128))}
		}
		return sample.Message{Key: strconv.AppendInt(nil, int64(i), 10), Value: fmt.Appendf(nil,
			`{"type":"track","event":"%x","messageId":"%d","timestamp":"%s","userId":"visitor-%04d"}`,
			text, i, at.Format(time.RFC3339), who)}
	}
}

// largeLedger permits everything to everybody in the large input.
func largeLedger() (list []sample.Message) {
	for i := range largeVisitors {
		r := schemas.Record{
			Principal: visitor(i), Verb: schemas.Grant, Purpose: schemas.Analytics, Proven: true, Version: 1,
			Time: sample.Base().Add(-time.Hour).UnixMicro(),
		}
		list = append(list, sample.Message{Key: schemas.AppendRecordKey(nil, r), Value: schemas.AppendRecord(nil, r)})
	}
	return list
}

// within fails unless the process took no more memory than its limit, and what
// is besides. It tells how much it took.
func within(t *testing.T, most, limit int64) {
	t.Helper()
	t.Logf("it took %d MiB of %d MiB", most>>20, limit>>20)
	if most > limit+besides {
		t.Errorf("it took %d MiB, and may take %d", most>>20, (limit+besides)>>20)
	}
}

const largeLimit = 384 << 20

// TestStreamStaysWithinItsMemory streams many large messages of many partitions
// and days, with an interval that never ends.
func TestStreamStaysWithinItsMemory(t *testing.T) {
	t.Parallel()
	const partitions = 40
	b := fakeBed(t)
	topics := b.topics(t, partitions)
	b.mustPut(t, topics.ledger, largeLedger()...)
	next, count := largeEvents(), largeCount(t)
	for begin := 0; begin < count; begin += 1000 {
		var list []sample.Message
		for range min(1000, count-begin) {
			list = append(list, next())
		}
		b.mustPut(t, topics.events, list...)
	}
	j := topics.job(t, 30*time.Minute)
	j.change(t, "commit: {interval: 30m0s, max_bytes: 1MiB}", "commit: {interval: 30m0s, max_bytes: 1GiB}")
	j.change(t, "workers: 2\n", fmt.Sprintf("workers: 2\nmemory: {limit: %d}\n", largeLimit))
	p := j.stream(t)
	s, peak := p.serves(t), p.peakOf(t)
	p.isReady(t, s)
	p.until(t, "everything is read", func() bool { return s.metrics(t).sum(t, "messages_read_total") == float64(count) })
	p.signalled(t, peak, largeLimit)
	tables := readTables(t, j.warehouse())
	standAt(t, tables, b.ends(t, topics.events))
	if n := tables["tracks"].counted(t, "kept"); n != int64(count) {
		t.Errorf("%d of %d are kept", n, count)
	}
}

// TestStreamOfLongMessagesStaysWithinItsMemory streams messages that may be as
// long as 24 MiB, half of which is kept.
func TestStreamOfLongMessagesStaysWithinItsMemory(t *testing.T) {
	t.Parallel()
	const size, count = 16 << 20, 14
	b := fakeBed(t)
	topics := b.topics(t, 4)
	b.mustPut(t, topics.ledger, largeLedger()...)
	half := strings.Repeat("It was a dark and stormy night; ", size/2/32)
	for i := range count {
		b.mustPut(t, topics.events, sample.Message{Key: fmt.Append(nil, i), Value: fmt.Appendf(nil,
			`{"type":"track","event":"%s","timestamp":"2026-03-02T00:00:00Z","userId":"visitor-0001","blob":"%s"}`, half, half)})
	}
	j := topics.job(t, time.Second)
	j.change(t, fmt.Sprintf("max_message_bytes: %d", sample.MaxMessageBytes), "max_message_bytes: 24MiB")
	j.change(t, "workers: 2\n", fmt.Sprintf("workers: 2\nmemory: {limit: %d}\n", 2*largeLimit))
	p := j.stream(t)
	peak := p.peakOf(t)
	j.awaits(t, p, b.ends(t, topics.events))
	p.signalled(t, peak, 2*largeLimit)
	if n := readTables(t, j.warehouse())["tracks"].counted(t, "kept"); n != count {
		t.Errorf("%d of %d are kept", n, count)
	}
}

// signalled stops the process, and looks at its memory until it ends.
func (p *process) signalled(t *testing.T, peak func() int64, limit int64) {
	t.Helper()
	p.stop(t, exitOK)
	within(t, peak(), limit)
}

// TestBackfillStaysWithinItsMemory reads the same from files.
func TestBackfillStaysWithinItsMemory(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	next, count := largeEvents(), largeCount(t)
	const files = 8
	for i := range files {
		writePacked(t, filepath.Join(data, "events", fmt.Sprintf("%d.jsonl.zst", i)), count/files, next)
	}
	ledger := largeLedger()
	writePacked(t, filepath.Join(data, "ledger", "ledger.jsonl.zst"), len(ledger), func() sample.Message {
		m := ledger[0]
		ledger = ledger[1:]
		return m
	})
	j := newJob(t, nil, data, 30*time.Minute)
	j.change(t, "max_bytes: 1MiB", "max_bytes: 1GiB")
	j.change(t, "workers: 2\n", fmt.Sprintf("workers: 2\nmemory: {limit: %d}\n", largeLimit))
	p := j.backfill(t)
	peak := p.peakOf(t)
	p.end(t, exitOK)
	within(t, peak(), largeLimit)
	if n := readTables(t, j.warehouse())["tracks"].counted(t, "kept"); n != int64(count/files*files) {
		t.Errorf("%d of %d are kept", n, count)
	}
}

// TestLedgerThatDoesNotFit: who cannot hold the ledger and a little more does
// not begin, and says what would help.
func TestLedgerThatDoesNotFit(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	const people = 400_000
	i := 0
	writePacked(t, filepath.Join(data, "ledger", "ledger.jsonl.zst"), people, func() sample.Message {
		i++
		return tells(i, schemas.Grant, 1)
	})
	next := largeEvents()
	writePacked(t, filepath.Join(data, "events", "events.jsonl.zst"), 100, next)
	j := newJob(t, nil, data, time.Second)
	j.change(t, "workers: 2\n", "workers: 4\nmemory: {limit: 256MiB}\n")
	p := j.backfill(t)
	peak := p.peakOf(t)
	p.end(t, exitError)
	within(t, peak(), 256<<20)
	said := p.stderr.text()
	if !regexp.MustCompile(`(?m)^lupa: memory.limit is reached: the ledger takes \d+ MiB of 256 MiB, which leaves too little for 4 workers; raise the limit or have fewer workers$`).MatchString(said) {
		t.Errorf("it said:\n%s", said)
	}
	if _, err := os.Stat(j.warehouse()); err == nil {
		t.Error("it has made tables")
	}
}

// writePacked writes the values of messages, one a line, compressed.
func writePacked(t *testing.T, name string, count int, next func() sample.Message) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	for range count {
		if _, err := w.Write(append(next().Value, '\n')); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
