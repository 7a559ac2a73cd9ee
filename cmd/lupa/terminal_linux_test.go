package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBackfillDrawsABarOnATerminal gives lupa a pseudo terminal for its
// messages.
func TestBackfillDrawsABarOnATerminal(t *testing.T) {
	t.Parallel()
	screen, terminal := openTerminal(t)
	f := sampleFiles(t)
	j := newJob(t, nil, f.dir, 100*time.Millisecond)
	p := newProcess(t, "backfill", "-c", j.config, "--log-level", "warn")
	p.cmd.Stderr = terminal
	p.start(t)
	if err := terminal.Close(); err != nil {
		t.Fatal(err)
	}
	// When the process has closed its end, reading is an error.
	var drawn bytes.Buffer
	if _, err := io.Copy(&drawn, screen); drawn.Len() == 0 {
		t.Fatalf("nothing was drawn: %v", err)
	}
	p.end(t, exitOK)
	for _, want := range []string{"\r", " events/s", "%"} {
		if !strings.Contains(drawn.String(), want) {
			t.Errorf("no %q in what was drawn:\n%q", want, drawn.String())
		}
	}
	if strings.Contains(drawn.String(), "\n") {
		t.Errorf("the bar is more than one line:\n%q", drawn.String())
	}
	if !strings.HasPrefix(p.stdout.String(), "What this run read") {
		t.Errorf("stdout has:\n%s", p.stdout.String())
	}
}

// openTerminal makes a pseudo terminal: what is written to terminal can be read
// from screen.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		missing(t, "there are no pseudo terminals here: "+err.Error())
	}
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Fatal(err)
	}
	return screen, terminal
}
