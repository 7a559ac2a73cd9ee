package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	barInterval  = 100 * time.Millisecond
	lineInterval = 5 * time.Second
)

// progress shows how far a bounded run has come: a bar on a terminal, a line
// every few seconds elsewhere. A nil progress shows nothing. Workers may call
// it at once.
type progress struct {
	w     io.Writer
	what  string // is counted
	total int64  // bytes; 0 when it is not known
	now   func() time.Time
	every time.Duration
	bar   *progressbar.ProgressBar // nil for lines

	mu    sync.Mutex
	began time.Time
	shown time.Time
	bytes int64
	count int64
}

// newProgress starts to measure a run over total bytes (0 is unknown).
func newProgress(w *os.File, total int64) *progress {
	p := newProgressLines(w, total, time.Now)
	if term.IsTerminal(int(w.Fd())) {
		p.every = barInterval
		p.bar = newBar(w, total)
	}
	return p
}

func newProgressLines(w io.Writer, total int64, now func() time.Time) *progress {
	p := &progress{w: w, what: "events", total: max(total, 0), now: now, every: lineInterval, began: now()}
	p.shown = p.began
	return p
}

func newBar(w io.Writer, total int64) *progressbar.ProgressBar {
	if total <= 0 {
		total = -1
	}
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionFullWidth(),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(),
	)
}

// Set says how much of the run is done: the bytes of total and what was counted
// in them. It shows them when the last showing is long enough ago.
func (p *progress) Set(bytesDone, events int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes, p.count = bytesDone, events
	if p.now().Sub(p.shown) >= p.every {
		p.show()
	}
}

// Done shows the last state, and takes a bar away.
func (p *progress) Done() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		// A terminal that has gone away is no reason to end a run.
		_ = p.bar.Finish()
		return
	}
	p.show()
}

func (p *progress) show() {
	p.shown = p.now()
	elapsed := p.shown.Sub(p.began).Seconds()
	rate := int64(0)
	if elapsed > 0 {
		rate = int64(float64(p.count) / elapsed)
	}
	if p.bar != nil {
		p.bar.Describe(fmt.Sprintf("%d %s, %d %s/s", p.count, p.what, rate, p.what))
		done := p.bytes
		if p.total > 0 {
			// A full bar takes itself away; that is for Done to do.
			done = min(done, p.total-1)
		}
		_ = p.bar.Set64(done)
		return
	}
	line := fmt.Sprintf("%d %s", p.count, p.what)
	if p.total > 0 {
		line += fmt.Sprintf(", %d %%", min(p.bytes*100/p.total, 100))
	}
	line += fmt.Sprintf(", %d %s/s", rate, p.what)
	if p.total > 0 && p.bytes > 0 {
		left := elapsed * float64(max(p.total-p.bytes, 0)) / float64(p.bytes)
		line += fmt.Sprintf(", %d s left", int64(left+0.5))
	}
	_, _ = fmt.Fprintln(p.w, line)
}
