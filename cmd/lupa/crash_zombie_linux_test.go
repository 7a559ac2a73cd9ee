package main

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// atSync runs a stream and calls do when it is about to sync, for the n-th time,
// a file of its tables whose path ends like that. It returns once do has.
func (w *crashWorld) atSync(t *testing.T, j job, ending string, n int, do func(p *process) ruling) *process {
	t.Helper()
	p := w.prepare(t, j)
	reached := make(chan struct{})
	p.startWatched(t, []string{"fsync"}, func(c call) ruling {
		if !strings.HasPrefix(c.path, j.warehouse()+"/") || !strings.HasSuffix(c.path, ending) {
			return ruling{}
		}
		if n--; n != 0 {
			return ruling{}
		}
		defer close(reached)
		return do(p)
	})
	select {
	case <-reached:
	case <-p.exited:
		t.Fatalf("ended before it came so far; it said:\n%s", p.stderr.text())
	case <-time.After(patience):
		t.Fatalf("did not come so far; it said:\n%s", p.stderr.text())
	}
	return p
}

// TestStoppedInSync stops a whole process, as a machine that stands still would,
// in the middle of what it writes, until its session is over and another one has
// its partitions. What it goes on with then is refused.
func TestStoppedInSync(t *testing.T) {
	t.Parallel()
	stoppedInSync(t, ".parquet", 3)
}

func stoppedInSync(t *testing.T, ending string, n int) {
	w := crashTopics(t)
	j := w.job(t)
	stopped, goOn := w.stopAtSync(t, j, ending, n)
	heir := w.prepare(t, j)
	heir.start(t)
	j.awaits(t, heir, w.broker.ends(t))
	goOn()
	stopped.must(t, refusedLine)
	stopped.stop(t, exitOK)
	heir.stop(t, exitOK)
	w.check(t, j, stopped, heir)
}

// stopAtSync runs a stream and stops it like atSync; the call is made only when
// the process goes on. Another of its threads may take a while to stop.
func (w *crashWorld) stopAtSync(t *testing.T, j job, ending string, n int) (p *process, goOn func()) {
	t.Helper()
	until := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(until) })
	t.Cleanup(letGo)
	p = w.atSync(t, j, ending, n, func(p *process) ruling {
		p.signal(t, syscall.SIGSTOP)
		return ruling{until: until}
	})
	return p, func() {
		letGo()
		p.signal(t, syscall.SIGCONT)
	}
}

// TestSlowSync lets one sync take longer than the session, while another process
// joins the group. The first is alive and told to let go of its partitions: its
// last commit still counts.
func TestSlowSync(t *testing.T) {
	t.Parallel()
	w := crashTopics(t)
	j := w.job(t)
	done := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(done) })
	t.Cleanup(letGo)
	slow := w.atSync(t, j, ".parquet", 1, func(*process) ruling { return ruling{until: done} })
	joins := w.broker.joins()
	heir := w.prepare(t, j)
	heir.start(t)
	select {
	case <-joins:
	case <-time.After(patience):
		t.Fatal("nobody joins")
	}
	session := time.NewTimer(1500 * time.Millisecond)
	select {
	case <-session.C:
	case <-slow.exited:
		t.Fatalf("ended; it said:\n%s", slow.stderr.text())
	}
	letGo()
	j.awaits(t, heir, w.broker.ends(t))
	slow.stop(t, exitOK)
	heir.stop(t, exitOK)
	if n, _ := slow.stderr.count(committedLine); n == 0 {
		t.Errorf("the slow one has not committed what it read; it said:\n%s", slow.stderr.text())
	}
	w.check(t, j, slow, heir)
}

// joins gives a channel that is closed when somebody joins a group.
func (b *broker) joins() <-chan struct{} {
	joined := make(chan struct{})
	once := sync.OnceFunc(func() { close(joined) })
	b.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		once()
		return nil, nil, false
	})
	return joined
}
