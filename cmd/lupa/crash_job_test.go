package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"lupa/cmd/lupa/sample"
	"lupa/transforms/keys"
)

// crashTables are the tables of the jobs that are crashed: fewer than usual,
// since what matters is that there is more than one.
var crashTables = []string{"tracks", "identifies"}

// crashWorld is what jobs over the same small input share: a folder with
// contracts, keys and, for backfills, events and a ledger; and what becomes of
// it in a job that nothing disturbs.
type crashWorld struct {
	dir    string
	broker *broker // nil for backfills
	jobs   atomic.Int64
	want   map[string]*storedTable
	views  string
}

// crashSample gives some events for the tables, some that are rejected, and
// the ledger about them.
func crashSample(t *testing.T) (events, ledger []sample.Message) {
	t.Helper()
	const people, broken = 2, 20 // of each story; one of so many messages that are about nobody
	_, ledger = few(t)
	told := map[string]map[int]bool{}
	for i, o := range theSample(t).Expect() {
		if told[o.Story] == nil {
			told[o.Story] = map[int]bool{}
		}
		switch who := told[o.Story]; {
		case o.Person == sample.Nobody:
			if i%broken != 0 {
				continue
			}
		case !slices.Contains(crashTables, o.Table), !who[o.Person] && len(who) == people:
			continue
		default:
			who[o.Person] = true
		}
		events = append(events, theSample(t).Events()[i])
	}
	return events, ledger
}

// memoryDir is a directory in memory where there is one: what is tested is
// what a process leaves behind, not what a disk does.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "lupa")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func newCrashWorld(t *testing.T) *crashWorld {
	t.Helper()
	w := &crashWorld{dir: memoryDir(t)}
	for _, table := range crashTables {
		text, err := os.ReadFile(filepath.Join("..", "..", "schemas", "contracts", table+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, w.dir, "contracts/"+table+".yaml", string(text))
	}
	if err := keys.Init(filepath.Join(w.dir, "lupa.keys"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	return w
}

// crashFiles is a world of files, for backfills.
func crashFiles(t *testing.T) *crashWorld {
	t.Helper()
	w := newCrashWorld(t)
	events, ledger := crashSample(t)
	ledger = slices.DeleteFunc(ledger, func(m sample.Message) bool { return !json.Valid(m.Value) })
	half := len(events) / 2
	write(t, w.dir, "events/a.jsonl", string(lines(events[:half])))
	write(t, w.dir, "events/b.jsonl", string(lines(events[half:])))
	write(t, w.dir, "ledger/l.jsonl", string(lines(ledger)))
	j := w.job(t)
	j.backfill(t).end(t, exitOK)
	w.settled(t, j)
	return w
}

// crashTopics is a world of topics, for streams.
func crashTopics(t *testing.T) *crashWorld {
	t.Helper()
	w := newCrashWorld(t)
	w.broker = reopen(t, kfake.SeedTopics(2, demoEvents), kfake.SeedTopics(1, demoLedger))
	events, ledger := crashSample(t)
	w.broker.produce(t, demoLedger, ledger)
	w.broker.produce(t, demoEvents, events)
	j := w.job(t)
	j.streamTo(t, w.broker.ends(t))
	w.settled(t, j)
	return w
}

// settled remembers what a job that nothing disturbed has written.
func (w *crashWorld) settled(t *testing.T, j job) {
	t.Helper()
	w.want, w.views = readTables(t, j.warehouse()), j.views(t)
	for _, table := range crashTables {
		if n := len(w.want[table].Rows); n < 20 {
			t.Fatalf("table %s has %d rows, that is too few to lose one", table, n)
		}
	}
	if n := len(w.want["rejects"].Rows); n == 0 {
		t.Fatal("no message is rejected")
	}
}

// views is what all views.sql of the warehouse say, whatever its directory.
func (j job) views(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(j.warehouse(), "*", "views.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d views, error %v", len(files), err)
	}
	var all bytes.Buffer
	for _, file := range append(files, filepath.Join(j.warehouse(), "views.sql")) {
		all.Write(readAll(t, file))
	}
	return strings.ReplaceAll(all.String(), j.dir, "")
}

// job makes the folder of a job in the world. Each has a group of its own: a
// member that was killed holds its partitions until its session ends, and what
// the tables need is not the group's to guarantee.
func (w *crashWorld) job(t *testing.T) job {
	t.Helper()
	name := fmt.Sprint("job", w.jobs.Add(1))
	j := job{dir: filepath.Join(w.dir, name)}
	j.config = filepath.Join(j.dir, "lupa.yaml")
	w.configure(t, j, name)
	return j
}

func (w *crashWorld) configure(t *testing.T, j job, group string) {
	t.Helper()
	ledger, events := "file: ../ledger/*", "files: {paths: [../events/*]}"
	if w.broker != nil {
		brokers := strings.Join(w.broker.ListenAddrs(), ", ")
		ledger = fmt.Sprintf("kafka: {brokers: [%s], topic: %s}", brokers, demoLedger)
		events = fmt.Sprintf("kafka: {brokers: [%s], topics: [%s], group: %s, session_timeout: 1s}", brokers, demoEvents, group)
	}
	write(t, j.dir, "lupa.yaml", fmt.Sprintf(`keys: {file: ../lupa.keys}
contracts: {dir: ../contracts, defaults: false}
ledger: {%s}
events:
  %s
  max_message_bytes: %d
warehouse: {dir: warehouse}
quarantine: {dir: quarantine}
commit: {interval: 100ms, max_bytes: 1MiB}
phone: {default_region: %s}
workers: 2
`, ledger, events, sample.MaxMessageBytes, sample.DefaultRegion))
}

// prepare makes a process that runs the job.
func (w *crashWorld) prepare(t *testing.T, j job) *process {
	t.Helper()
	what := "backfill"
	if w.broker != nil {
		what = "stream"
	}
	return newProcess(t, what, "-c", j.config, "--json", "--log-level", "debug")
}

// end waits until the process that runs the job has ended by itself, which a
// stream does once it has caught up and is told to.
func (w *crashWorld) end(t *testing.T, j job, p *process) (code int, by syscall.Signal) {
	t.Helper()
	if w.broker != nil {
		ends := w.broker.ends(t)
		for commits := 1; p.says(t, committedLine, commits); commits++ {
			if caughtUp(t, j.warehouse(), ends) {
				p.signal(t, syscall.SIGTERM)
				break
			}
		}
	}
	return p.wait(t)
}

// finish runs the job to its end, as after a restart, and fails unless
// everything is there then as if nothing had happened. A backfill has this
// process to itself, which is quicker than to start another.
func (w *crashWorld) finish(t *testing.T, j job, before ...*process) {
	t.Helper()
	if w.broker == nil {
		if code, _, errs := command(t, "backfill", "-c", j.config, "--quiet"); code != exitOK {
			t.Fatalf("exit code %d; it said:\n%s", code, errs)
		}
	} else {
		w.configure(t, j, filepath.Base(j.dir)+"-again")
		j.streamTo(t, w.broker.ends(t))
	}
	w.check(t, j, before...)
}

// check fails unless the tables are those of an undisturbed job.
func (w *crashWorld) check(t *testing.T, j job, said ...*process) {
	t.Helper()
	sameTables(t, w.want, readTables(t, j.warehouse()))
	if j.views(t) != w.views {
		t.Error("the views are not those of an undisturbed job")
	}
	args := []string{"verify", "-c", j.config, "--still"}
	for i, p := range said {
		name := fmt.Sprintf("said%d.log", i)
		write(t, j.dir, name, p.stderr.text())
		args = append(args, "--logs", filepath.Join(j.dir, name))
	}
	if code, out, errs := command(t, args...); code != exitOK {
		t.Errorf("verify: code %d, %s\n%s", code, errs, out)
	}
}

// complaint is the error that a process has ended with, as it told it.
func (p *process) complaint() string {
	var text strings.Builder
	for line := range strings.Lines(p.stderr.text()) {
		if after, ok := strings.CutPrefix(line, "lupa: "); ok {
			text.WriteString(after)
		}
	}
	return text.String()
}

// done removes what a job has written.
func (j job) done(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(j.dir); err != nil {
		t.Error(err)
	}
}
