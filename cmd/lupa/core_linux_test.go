package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLeavesNoCore kills a lupa that may leave a dump, and would with every
// goroutine's stack, the way that leaves one.
func TestLeavesNoCore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := world(t)
	config, err := os.ReadFile(filepath.Join(dir, "lupa.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "lupa.yaml", string(bytes.ReplaceAll(config, []byte("localhost:9092"), []byte(l.Addr().String()))))
	p := newProcess(t, "stream", "-c", filepath.Join(dir, "lupa.yaml"))
	p.cmd.Dir = dir
	p.cmd.Env = append(p.cmd.Env, "GOTRACEBACK=crash")
	p.start(t)
	pid := p.cmd.Process.Pid
	if c, err := l.Accept(); err != nil { // so it has begun
		t.Fatal(err)
	} else {
		defer c.Close()
	}
	var now unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &now); err != nil || now.Cur != 0 || now.Max != 0 {
		t.Errorf("it may leave a dump of %d bytes, and raise that to %d: %v", now.Cur, now.Max, err)
	}
	// Even if somebody raises the limit.
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(pid, unix.RLIMIT_CORE, &unlimited, nil); err != nil && os.Geteuid() == 0 {
		t.Log("the limit cannot be raised here:", err)
	}
	p.signal(t, syscall.SIGABRT)
	<-p.exited
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGABRT {
		t.Fatalf("it ended with %v", p.cmd.ProcessState)
	}
	if status.CoreDump() {
		t.Error("it left a dump")
	}
	if cores, err := filepath.Glob(filepath.Join(dir, "core*")); err != nil || len(cores) > 0 {
		t.Errorf("left: %v, %v", cores, err)
	}
}
