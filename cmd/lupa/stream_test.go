package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/pipeline"
)

// longInterval is a commit interval that no test lives to see the end of: what
// is committed was committed because the run was told to stop.
const longInterval = 30 * time.Minute

func TestStreamCommitsWhatItReadWhenStopped(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	events := theSample(t).Events()
	half := len(events) / 20
	b.produce(t, demoEvents, events[:half])
	read := b.readTo(t, b.ends(t))

	j := newJob(t, b, "", longInterval)
	p := j.stream(t)
	select {
	case <-read:
	case <-p.exited:
	}
	if n, _ := p.stderr.count(committedLine); n > 0 {
		t.Fatal("committed before it was stopped: nothing is tested")
	}
	p.stop(t, exitOK)
	first := readTables(t, j.warehouse())
	standAt(t, first, b.ends(t))
	var r result
	if err := json.Unmarshal(p.stdout.Bytes(), &r); err != nil {
		t.Fatalf("stdout is no result: %v", err)
	}
	if r.Run.Read != int64(half) {
		t.Errorf("it says that it read %d messages, there are %d", r.Run.Read, half)
	}

	b.produce(t, demoEvents, events[half:2*half])
	j.change(t, "interval: 30m0s", "interval: 200ms")
	j.streamTo(t, b.ends(t))
	undisturbed := newJob(t, b, "", time.Second).sharing(t, j)
	undisturbed.streamTo(t, b.ends(t))
	sameTables(t, readTables(t, undisturbed.warehouse()), readTables(t, j.warehouse()))
}

// readTo gives a channel that is closed once every partition of the events was
// asked for at its end three times: by then its fetcher has handed over what
// was before.
func (b *broker) readTo(t *testing.T, ends pipeline.Vector) <-chan struct{} {
	t.Helper()
	var mu sync.Mutex
	asked := map[pipeline.Partition]int{}
	done := make(chan struct{})
	b.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		if asked == nil {
			return nil, nil, false
		}
		fetch, ok := request.(*kmsg.FetchRequest)
		if !ok {
			return nil, nil, false
		}
		for _, topic := range fetch.Topics {
			for _, p := range topic.Partitions {
				at := pipeline.Partition{Topic: topic.Topic, ID: p.Partition}
				if end, ok := ends[at]; ok && p.FetchOffset >= end {
					asked[at]++
				}
			}
		}
		for p := range ends {
			if asked[p] < 3 {
				return nil, nil, false
			}
		}
		asked = nil
		close(done)
		return nil, nil, false
	})
	return done
}

// TestSecondSignalEndsAShutdownThatHangs holds the lock of a table, so that the
// last commit cannot end.
func TestSecondSignalEndsAShutdownThatHangs(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	b.produce(t, demoEvents, theSample(t).Events()[:2000])
	j := newJob(t, b, "", 100*time.Millisecond)
	p := j.stream(t)
	j.awaits(t, p, b.ends(t))
	release := j.hold(t, "pages")
	const before = committedLine + " table=tracks" // in the order of commits
	commits, _ := p.stderr.count(before)
	b.produce(t, demoEvents, theSample(t).Events()[2000:4000])
	p.says(t, before, commits+1)

	p.signal(t, syscall.SIGTERM)
	select {
	case <-p.exited:
		t.Fatalf("ended while the table was locked; it said:\n%s", p.stderr.text())
	case <-time.After(500 * time.Millisecond):
	}
	// One that comes while the first is still on its way is lost.
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for ended := false; !ended; {
		select {
		case <-again.C:
			p.signal(t, syscall.SIGTERM)
		case <-p.exited:
			ended = true
		}
	}
	if code, by := p.wait(t); by != syscall.SIGTERM {
		t.Errorf("exit code %d, signal %d; want the end by the second signal", code, by)
	}
	release()

	j.streamTo(t, b.ends(t))
	undisturbed := newJob(t, b, "", time.Second).sharing(t, j)
	undisturbed.streamTo(t, b.ends(t))
	sameTables(t, readTables(t, undisturbed.warehouse()), readTables(t, j.warehouse()))
}

// hold takes the lock that commits to a table need.
func (j job) hold(t *testing.T, table string) (release func()) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(j.warehouse(), table+".lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStreamRefusesTopicsThatAreNotThere(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	for _, c := range []struct{ name, from, to, want string }{
		{"events", "topics: [events]", "topics: [events, absent]", "kafka: group lupa-lupa: gave up after 3s: topic absent: no such topic"},
		{"ledger", "topic: consent", "topic: absent", "kafka: ledger: gave up after 3s: topic absent: no such topic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, b, "", time.Second)
			j.change(t, c.from, c.to)
			code, out, errs := command(t, "stream", "-c", j.config, "--log-level", "error")
			if code != exitError || out != "" || !strings.Contains(errs, c.want) {
				t.Errorf("code %d, stderr %q, stdout %q; want %q", code, errs, out, c.want)
			}
		})
	}
}

// TestStreamRefusesAnotherTopic gives a job whose tables stand at positions a
// topic of the same name that is not the one that was read.
func TestStreamRefusesAnotherTopic(t *testing.T) {
	t.Parallel()
	first, second := startBroker(t), startBroker(t)
	events := theSample(t).Events()
	first.produce(t, demoEvents, events[:1000])
	second.produce(t, demoEvents, events[:500])
	j := newJob(t, first, "", 200*time.Millisecond)
	j.streamTo(t, first.ends(t))
	before := readTables(t, j.warehouse())
	for range 2 { // of the ledger and of the events
		j.change(t, strings.Join(first.ListenAddrs(), ", "), strings.Join(second.ListenAddrs(), ", "))
	}
	code, out, errs := command(t, "stream", "-c", j.config, "--log-level", "error")
	if code != exitData || out != "" || !strings.Contains(errs, "is past the end") {
		t.Errorf("code %d, stderr %q, stdout %q", code, errs, out)
	}
	sameTables(t, before, readTables(t, j.warehouse()))
}

// TestStreamStopsWhileItWaitsForBrokers: a signal is no failure, also when
// there is nothing to read from yet.
func TestStreamStopsWhileItWaitsForBrokers(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	j := newJob(t, b, "", time.Second)
	b.Close()
	p := j.stream(t)
	p.must(t, "brokers cannot be asked, trying again")
	p.stop(t, exitOK)
	if said := p.stderr.text(); !strings.Contains(said, "stopped before anything was read") {
		t.Errorf("it said:\n%s", said)
	}
}

// TestStreamOutlivesItsBroker stops the broker in the middle of a run and
// starts it again on the same port.
func TestStreamOutlivesItsBroker(t *testing.T) {
	t.Parallel()
	disk := []kfake.Opt{kfake.DataDir(t.TempDir()), kfake.SyncWrites(), kfake.Ports(freePort(t))}
	b := startBroker(t, disk...)
	events := theSample(t).Events()
	b.produce(t, demoEvents, events[:2000])
	j := newJob(t, b, "", 100*time.Millisecond)
	p := j.stream(t)
	p.must(t, committedLine)

	b.Close()
	p.must(t, "class=broker_unreachable")
	again := reopen(t, disk...)
	again.produce(t, demoEvents, events[2000:6000])
	j.awaits(t, p, again.ends(t))
	p.stop(t, exitOK)

	undisturbed := newJob(t, again, "", time.Second).sharing(t, j)
	undisturbed.streamTo(t, again.ends(t))
	sameTables(t, readTables(t, undisturbed.warehouse()), readTables(t, j.warehouse()))
}

// freePort gives a port that nobody listens at. It is none of those that the
// system gives to connections, so that nobody takes it while it is free again.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no free port")
	return 0
}
