package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
)

const (
	jobCommits = 2
	jobRows    = 20 // a commit
)

// recheck is what the ledger said of rows between their decision and their
// commit: some go, some stay for analytics alone.
func recheck(p pipeline.Partition, rows []click) (list []pipeline.Amendment) {
	for _, r := range rows {
		a := pipeline.Amendment{Partition: p, Offset: r.offset, Reason: schemas.Withdrawn}
		switch {
		case r.person == 0 || r.offset%5 > 1:
			continue
		case r.offset%5 == 1:
			a.Reason, a.Granted = schemas.ConsentGiven, schemas.Purposes(schemas.Analytics)
		}
		list = append(list, a)
	}
	return list
}

// opened opens the warehouse of the job, which sweeps what no snapshot names.
func opened(dir string, d *disk) (*Sink, error) {
	s, err := newSink(Options{Dir: dir, Contracts: []*schemas.Contract{clicks()}, MaxFileBytes: 1500, StaleAfter: time.Nanosecond}, d)
	if err != nil {
		return nil, err
	}
	s.keepSnapshots, s.keepFor = 1, 0
	if err := s.open(context.Background()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// job is a run that claims its partition and goes on from the table's position
// to the end of its input: two commits of rows over two days, amended before
// the commit, then one of a position only. Then it expires all snapshots but
// one, leaves files about, and opens the warehouse again, which clears them away.
func job(dir string, d *disk) error {
	s, err := opened(dir, d)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(s), s.Close()); err != nil {
		return err
	}
	for _, name := range []string{"data/left.parquet", "metadata/left.avro", tempPrefix + "left.sql"} {
		path := filepath.Join(dir, "clicks", name)
		if err := d.do("leave", path, func() error { return os.WriteFile(path, nil, fileMode) }); err != nil {
			return err
		}
	}
	if s, err = opened(dir, d); err != nil {
		return err
	}
	return s.Close()
}

func fill(s *Sink) (err error) {
	ctx := context.Background()
	claims, positions, err := s.Claim(ctx, []pipeline.Partition{events})
	if err != nil {
		return err
	}
	w := s.Writer()
	defer func() { err = errors.Join(err, w.Close()) }()
	const end = jobCommits*jobRows + 5
	for at := positions[clicksTable][events].Next; at < end; {
		n := min(jobRows, jobCommits*jobRows-at)
		rows := makeClicks(at, int(max(n, 0)))
		if n <= 0 {
			n = end - at
		}
		if len(rows) > 0 {
			if err := w.Append(clicksBatch(memory.DefaultAllocator, events, rows)); err != nil {
				return err
			}
		}
		files, err := w.Flush(ctx)
		if err != nil {
			return err
		}
		amendments := recheck(events, rows)
		if files, err = s.Amend(ctx, clicksTable, files, amendments); err != nil {
			return err
		}
		c := clicksCommit(files, events, at, at+n, rows)
		c.Claims = claims[clicksTable]
		amendCounts(c, amendments)
		if err := s.Commit(ctx, c); err != nil {
			return err
		}
		at += n
	}
	t := s.tables[clicksTable]
	release, err := t.lock.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	ctx = withDisk(ctx, s.disk)
	loaded, err := s.catalog.LoadTable(ctx, t.ident)
	if err != nil {
		return err
	}
	return s.expire(ctx, loaded)
}

// checkJob checks that the job's rows are there, every one once, that what is
// published is what is committed, and that a sweep leaves those files only.
func checkJob(t *testing.T, dir string) {
	t.Helper()
	s := openSink(t, Options{Dir: dir, Contracts: []*schemas.Contract{clicks()}, StaleAfter: time.Nanosecond})
	clicked := makeClicks(0, jobCommits*jobRows)
	rows := amendRows(wantRows(events, clicked), recheck(events, clicked))
	if diff := cmp.Diff(rows, tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	positions, err := s.Positions(context.Background())
	want := []pipeline.Positions{{events: {Next: jobCommits*jobRows + 5, Anchor: "anchor of events/0"}}}
	if diff := cmp.Diff(want, positions); diff != "" || err != nil {
		t.Errorf("positions (-want +got):\n%s%v", diff, err)
	}
	counts, err := readCounts(load(t, s, clicksTable).Properties())
	if err != nil || counts.Read != 2*jobCommits*jobRows || counts.Kept+counts.Masked != int64(len(rows)) {
		t.Errorf("counts %+v, error %v", counts, err)
	}
	if n := len(load(t, s, clicksTable).Metadata().Snapshots()); n != 1 {
		t.Errorf("%d snapshots, all but one should have expired", n)
	}
	checkPublished(t, s, dir)
	files := dataFiles(t, dir)
	slices.Sort(files)
	if diff := cmp.Diff(currentFiles(t, dir, "clicks"), files); diff != "" {
		t.Errorf("files on disk (-live +found):\n%s", diff)
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if name := filepath.Base(path); strings.HasPrefix(name, tempPrefix) || strings.HasPrefix(name, "left.") {
			t.Errorf("a file is left that nobody names: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// memoryDir is a directory in memory where there is one: these tests open the
// warehouse some hundred times, and waiting for the disk proves nothing here.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "warehouse")
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

var errInjected = errors.New("injected")

// TestFailEveryFileOperation lets the n-th file operation of a run fail and
// then runs the job again as if it had been restarted. The three ways to fail
// share the operations among them; with CI set each goes through all.
func TestFailEveryFileOperation(t *testing.T) {
	step := int64(3)
	if os.Getenv("CI") != "" {
		step = 1
	}
	for i, mode := range []struct {
		name string
		hook func(n, at int64, do func() error) error
	}{
		{"once, before it took effect", func(n, at int64, do func() error) error {
			if at == n {
				return errInjected
			}
			return do()
		}},
		{"once, after it took effect", func(n, at int64, do func() error) error {
			if err := do(); err != nil || at != n {
				return err
			}
			return errInjected
		}},
		{"and everything after it", func(n, at int64, do func() error) error {
			if at >= n {
				return errInjected
			}
			return do()
		}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			failures := 0
			for n := int64(i%int(step)) + 1; ; n += step {
				dir := memoryDir(t)
				var ops atomic.Int64
				err := job(dir, &disk{hook: func(op, path string, do func() error) error {
					return mode.hook(n, ops.Add(1), do)
				}})
				if ops.Load() < n {
					if err != nil {
						t.Fatalf("an undisturbed run: %v", err)
					}
					if failures < int(30/step) {
						t.Errorf("%d runs failed, the hook does not see the file operations", failures)
					}
					break
				}
				if err != nil {
					failures++
				}
				if err := job(dir, &disk{}); err != nil {
					t.Fatalf("operation %d: the run after it: %v", n, err)
				}
				checkJob(t, dir)
				if t.Failed() {
					t.Fatalf("operation %d", n)
				}
			}
		})
	}
}

// TestFailWhileRecovering lets a run fail for good at an operation, and the run
// after it at another, for all of those; the one after that finds both halves.
func TestFailWhileRecovering(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	from := func(n int64, ops *atomic.Int64) *disk {
		return &disk{hook: func(_, _ string, do func() error) error {
			if ops.Add(1) >= n {
				return errInjected
			}
			return do()
		}}
	}
	var all atomic.Int64
	if err := job(memoryDir(t), from(math.MaxInt64, &all)); err != nil {
		t.Fatal(err)
	}
	const firsts, step = 6, 9
	for i := range int64(firsts) {
		first := 1 + i*all.Load()/firsts + r.Int64N(all.Load()/firsts)
		t.Run(fmt.Sprintf("first operation %d of %d", first, all.Load()), func(t *testing.T) {
			t.Parallel()
			for second := 1 + i%step; ; second += step {
				dir := memoryDir(t)
				if err := job(dir, from(first, new(atomic.Int64))); err == nil {
					t.Fatal("it did not fail")
				}
				var ops atomic.Int64
				err := job(dir, from(second, &ops))
				if again := job(dir, &disk{}); again != nil {
					t.Fatalf("second operation %d: the run after it: %v", second, again)
				}
				checkJob(t, dir)
				if t.Failed() {
					t.Fatalf("second operation %d", second)
				}
				if err == nil {
					return
				}
			}
		})
	}
}

const (
	crashDir = "LUPA_TEST_CRASH_DIR"
	crashAt  = "LUPA_TEST_CRASH_AT"
)

// TestKilledProcess kills the process at a file operation, for a spread of
// them, then once more, then goes on in a new one.
func TestKilledProcess(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		n, err := strconv.ParseInt(os.Getenv(crashAt), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		var ops atomic.Int64
		err = job(dir, &disk{hook: func(op, path string, do func() error) error {
			if ops.Add(1) == n {
				if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
					return err
				}
				select {}
			}
			return do()
		}})
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	for n := 3; ; n += 11 {
		dir := memoryDir(t)
		if !killedAt(t, dir, n) {
			if n < 30 {
				t.Errorf("a run of %d operations was never killed", n)
			}
			checkJob(t, dir)
			return
		}
		// The process that puts that right may be killed too.
		again := 1 + n*7%60
		killedAt(t, dir, again)
		if err := job(dir, &disk{}); err != nil {
			t.Fatalf("killed at operation %d, then at %d: the run after it: %v", n, again, err)
		}
		checkJob(t, dir)
	}
}

// killedAt runs the job in a process that is killed at its n-th operation, and
// reports whether it has so many.
func killedAt(t *testing.T, dir string, n int) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, fmt.Sprintf("%s=%d", crashAt, n))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the process ended otherwise: %v\n%s", err, out)
	}
	return true
}
