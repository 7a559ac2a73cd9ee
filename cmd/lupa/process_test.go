package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asLupa is set in the environment of children that are to be lupa.
const asLupa = "LUPA_TEST_AS_LUPA"

// TestMain makes this test binary lupa itself when it is run as a child, so
// that what the tests kill is the program and not a build of its own, or the
// broker of a bed.
func TestMain(m *testing.M) {
	if text := os.Getenv(asBroker); text != "" {
		if err := beBroker(text); err != nil {
			fmt.Fprintln(os.Stderr, "broker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(asLupa) != "" {
		main()
	}
	os.Exit(m.Run())
}

// patience bounds every wait for another process. It is reached only when
// something hangs.
const patience = time.Minute

// process is lupa in a process of its own.
type process struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer // to be read after wait
	stderr output
	exited chan struct{}
}

// startProcess starts lupa with the arguments. It is killed at the end of the
// test if it still runs.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	p := newProcess(t, args...)
	p.start(t)
	return p
}

// newProcess prepares lupa with the arguments.
func newProcess(t *testing.T, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(exe, args...), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), asLupa+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	return p
}

func (p *process) start(t *testing.T) {
	t.Helper()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.await(t)
}

// await looks after a process that was just started.
func (p *process) await(t *testing.T) {
	go func() {
		// The state of the process tells how it ended.
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.signal(t, syscall.SIGKILL)
		<-p.exited
	})
}

// signal sends a signal; one to a process that has ended is lost.
func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// kill ends the process at once, wherever it is.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	<-p.exited
}

// wait gives how the process ended: its exit code, or -1 and the signal.
func (p *process) wait(t *testing.T) (code int, by syscall.Signal) {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("the process does not end; it said:\n%s", p.stderr.text())
	}
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		t.Fatalf("no wait status: %s", p.cmd.ProcessState)
	}
	if status.Signaled() {
		return -1, status.Signal()
	}
	return status.ExitStatus(), 0
}

// end waits for the exit code want and fails with what the process said if it
// is another.
func (p *process) end(t *testing.T, want int) {
	t.Helper()
	if code, by := p.wait(t); code != want {
		t.Fatalf("exit code %d (signal %d), want %d; it said:\n%s", code, by, want, p.stderr.text())
	}
}

// stop sends SIGTERM and waits for the exit code want.
func (p *process) stop(t *testing.T, want int) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	p.end(t, want)
}

// says waits until the process has logged the message n times, and reports
// whether it did before it ended.
func (p *process) says(t *testing.T, message string, n int) bool {
	t.Helper()
	deadline := time.After(patience)
	for {
		count, changed := p.stderr.count(message)
		if count >= n {
			return true
		}
		select {
		case <-changed:
		case <-p.exited:
			count, _ = p.stderr.count(message)
			return count >= n
		case <-deadline:
			t.Fatalf("the process has not said %q %d times; it said:\n%s", message, n, p.stderr.text())
		}
	}
}

// must is says for a process that must not end before.
func (p *process) must(t *testing.T, message string) {
	t.Helper()
	if !p.says(t, message, 1) {
		code, by := p.wait(t)
		t.Fatalf("ended with code %d (signal %d) before it said %q; it said:\n%s", code, by, message, p.stderr.text())
	}
}

// output is what a process writes, readable while it does.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.buf.Write(p)
}

// count tells how often a message was logged so far, and gives a channel that
// is closed when there is more.
func (o *output) count(message string) (int, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return strings.Count(o.buf.String(), message), o.changed
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// missing skips a test that needs what this machine does not have. In CI it
// fails instead.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip("SKIPPED: " + what)
}
