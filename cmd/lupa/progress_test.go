package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestProgressLines(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	p := newProgressLines(&out, 1000, func() time.Time { return now })
	step := func(d time.Duration, bytes, events int64) {
		now = now.Add(d)
		p.Set(bytes, events)
	}
	step(0, 0, 0)
	step(4*time.Second, 100, 400)     // too early for a line
	step(time.Second, 250, 1_000_000) // 5 s
	step(4*time.Second, 400, 1_500_000)
	step(time.Second, 500, 2_000_000)    // 10 s
	step(9*time.Second, 1200, 3_800_000) // more bytes than were promised
	now = now.Add(time.Second)
	p.Done()
	const want = `1000000 events, 25 %, 200000 events/s, 15 s left
2000000 events, 50 %, 200000 events/s, 10 s left
3800000 events, 100 %, 200000 events/s, 0 s left
3800000 events, 100 %, 190000 events/s, 0 s left
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestProgressOfUnknownTotal(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	p := newProgressLines(&out, 0, func() time.Time { return now })
	now = now.Add(10 * time.Second)
	p.Set(70, 30)
	if got, want := out.String(), "30 events, 3 events/s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestProgressNil(t *testing.T) {
	var p *progress
	p.Set(1, 1)
	p.Done()
}

func TestProgressBar(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	p := newProgressLines(&out, 1000, func() time.Time { return now })
	p.every, p.bar = barInterval, newBar(&out, 1000)
	for i := range int64(20) {
		now = now.Add(time.Second)
		p.Set(i*100, i*1000) // goes beyond the total
	}
	if !bytes.Contains(out.Bytes(), []byte("19000 events, 950 events/s")) {
		t.Errorf("the bar does not show events and rate: %q", out.String())
	}
	p.Done()
	if bytes.HasSuffix(out.Bytes(), []byte("\n")) {
		t.Error("the bar does not take itself away")
	}
}
