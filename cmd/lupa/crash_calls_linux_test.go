package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is a system call that a watched process is about to make.
type call struct {
	name string // of the call, the same for its variants
	path string // of the file, or what /proc shows for a socket or pipe
	from string // the name that the file of a rename had
	made bool   // an open that may make the file
}

// ruling is what becomes of a call. The zero value lets it through.
type ruling struct {
	kill  bool            // the process is killed instead
	errno syscall.Errno   // the call does nothing and gives this error
	until <-chan struct{} // it is made once this is closed
}

// callNumbers are the calls that can be watched, by the names that call gives
// them.
var callNumbers = map[string][]uint32{
	"write":    {unix.SYS_WRITE, unix.SYS_PWRITE64},
	"read":     {unix.SYS_READ, unix.SYS_PREAD64},
	"fsync":    {unix.SYS_FSYNC, unix.SYS_FDATASYNC},
	"rename":   {unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2},
	"open":     {unix.SYS_OPENAT},
	"close":    {unix.SYS_CLOSE},
	"unlink":   {unix.SYS_UNLINKAT},
	"mkdir":    {unix.SYS_MKDIRAT},
	"truncate": {unix.SYS_FTRUNCATE},
	"flock":    {unix.SYS_FLOCK},
}

// watched is the watch over one process. The kernel holds every call of it that
// is watched until serve has answered, whichever thread makes it, so that the
// n-th of all calls is well defined.
type watched struct {
	listener int
	stop     int // readable once nothing is watched any more
	names    map[int32]string
	rule     func(call) ruling
	child    atomic.Int64 // its process id, once there is one
	exited   <-chan struct{}
	late     sync.WaitGroup
}

// startWatched starts a process whose calls of the given names come before rule
// one after the other. rule may block; then the others wait too.
//
// A filter holds for the thread that asks for it and for all that comes from
// it. So a thread of this process asks, starts the child and ends.
func (p *process) startWatched(t *testing.T, names []string, rule func(call) ruling) {
	t.Helper()
	w := &watched{names: map[int32]string{}, rule: rule, exited: p.exited}
	for _, name := range names {
		for _, n := range callNumbers[name] {
			w.names[int32(n)] = name
		}
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	w.stop = stop
	unwatchable := false
	started := make(chan error, 1)
	var serving sync.WaitGroup
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
		if w.listener, err = filterThread(w.names); err != nil {
			unwatchable = true
			started <- err
			return
		}
		serving.Go(w.serve)
		err := p.cmd.Start()
		if err == nil {
			w.child.Store(int64(p.cmd.Process.Pid))
		}
		started <- err
	}()
	if err := <-started; unwatchable {
		missing(t, fmt.Sprintf("the kernel does not let system calls be watched: %v", err))
	} else if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-p.exited
		// It wakes serve; if it cannot, the test hangs, which says enough.
		_, _ = unix.Write(w.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		serving.Wait()
		w.late.Wait()
		_, _ = unix.Close(w.listener), unix.Close(w.stop)
	}()
	t.Cleanup(func() { <-ended })
	p.await(t)
}

// filterThread makes the kernel hold the calls of this thread.
func filterThread(names map[int32]string) (listener int, err error) {
	const number, notify = 0, unix.SECCOMP_RET_USER_NOTIF
	program := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number}}
	for n := range names {
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(n), Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: notify})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	// A call that has come before rule must not come again because a signal,
	// such as the runtime's own, interrupts it.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// notice and answer are the kernel's struct seccomp_notif and seccomp_notif_resp.
type notice struct {
	id      uint64
	pid     uint32
	flags   uint32
	number  int32
	arch    uint32
	pointer uint64
	args    [6]uint64
}

type answer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

func (w *watched) serve() {
	for {
		ready := []unix.PollFd{{Fd: int32(w.listener), Events: unix.POLLIN}, {Fd: int32(w.stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if ready[1].Revents != 0 || ready[0].Revents&unix.POLLHUP != 0 {
			return
		}
		if ready[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var n notice
		if !w.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)) {
			continue // whoever made the call is gone
		}
		w.decide(&n)
	}
}

func (w *watched) ioctl(request uintptr, arg unsafe.Pointer) bool {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(w.listener), request, uintptr(arg))
		if errno != unix.EINTR {
			return errno == 0
		}
	}
}

func (w *watched) decide(n *notice) {
	a := answer{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	child := int(w.child.Load())
	if child == 0 {
		w.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a))
		return // it is the thread that starts the child, or the child before it is known
	}
	r := w.rule(w.describe(n))
	switch {
	case r.kill:
		// It dies in the call, which is never made.
		_ = syscall.Kill(child, syscall.SIGKILL)
		return
	case r.until != nil:
		w.late.Go(func() {
			select {
			case <-r.until:
			case <-w.exited:
			}
			w.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a))
		})
		return
	case r.errno != 0:
		a.flags, a.errno = 0, -int32(r.errno)
	}
	w.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a))
}

// describe finds out what file a call is about.
func (w *watched) describe(n *notice) call {
	c := call{name: w.names[n.number]}
	switch n.number {
	case unix.SYS_OPENAT:
		c.path = textOf(n.pid, n.args[1])
		c.made = n.args[2]&unix.O_CREAT != 0
	case unix.SYS_UNLINKAT, unix.SYS_MKDIRAT:
		c.path = textOf(n.pid, n.args[1])
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		c.from, c.path = textOf(n.pid, n.args[1]), textOf(n.pid, n.args[3])
	default:
		c.path, _ = os.Readlink("/proc/" + strconv.Itoa(int(n.pid)) + "/fd/" + strconv.Itoa(int(n.args[0])))
	}
	return c
}

// textOf reads a C string of another process, which is stopped.
func textOf(pid uint32, at uint64) string {
	var text [unix.PathMax]byte
	local := []unix.Iovec{{Base: &text[0], Len: uint64(len(text))}}
	// Not over the end of a page: the next one may not be there.
	n := min(len(text), os.Getpagesize()-int(at)%os.Getpagesize())
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: n}}
	got, err := unix.ProcessVMReadv(int(pid), local, remote, 0)
	if err != nil {
		return ""
	}
	if end := bytes.IndexByte(text[:got], 0); end >= 0 {
		return string(text[:end])
	}
	return string(text[:got]) + textOf(pid, at+uint64(got))
}

// shape is a path below dir in which names that are made up at random, or
// count, look alike.
func shape(dir, path string) string {
	path, _ = strings.CutPrefix(path, dir+"/")
	parts := strings.Split(path, "/")
	for i, part := range parts {
		temp, ext := "", filepath.Ext(part)
		if strings.HasPrefix(part, ".tmp-") {
			temp = ".tmp-"
		}
		if len(part) > 20 {
			parts[i] = temp + "*" + ext
		}
	}
	return strings.Join(parts, "/")
}
