package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"lupa/cmd/lupa/sample"
)

// sampleFiles makes a folder with the sample as files: the ledger in two, the
// events in several, plain, gzip and zstd, some in a folder below. A file has no
// keys, so the records that are nothing but their key are not in the ledger.
func sampleFiles(t *testing.T) string {
	t.Helper()
	s := theSample(t)
	dir := t.TempDir()
	ledger := slices.DeleteFunc(slices.Clone(s.Ledger()), func(m sample.Message) bool { return !json.Valid(m.Value) })
	write(t, dir, "ledger/2026-01.jsonl", string(lines(ledger[:len(ledger)/2])))
	write(t, dir, "ledger/2026-02.jsonl.gz", string(gzipped(t, lines(ledger[len(ledger)/2:]))))
	events := s.Events()
	part := len(events) / 4
	write(t, dir, "events/a.jsonl", string(lines(events[:part])))
	write(t, dir, "events/b.jsonl.gz", string(gzipped(t, lines(events[part:2*part]))))
	write(t, dir, "events/later/c.jsonl.zst", string(zstandard(t, lines(events[2*part:3*part]))))
	write(t, dir, "events/later/d.jsonl", string(lines(events[3*part:])))
	return dir
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
