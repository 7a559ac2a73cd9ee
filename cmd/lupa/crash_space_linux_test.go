package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// mount puts a file system in memory in the place of a directory, which is made.
func mount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("lupa-test", dir, "tmpfs", flags, options); err != nil {
		missing(t, "no file system can be mounted here: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// ended fails unless the process has ended with an error that names the place
// and one of the reasons, and no raw value.
func (p *process) ended(t *testing.T, place string, reasons ...string) {
	t.Helper()
	code, by := p.wait(t)
	said, complaint := p.stderr.text(), p.complaint()
	why := slices.ContainsFunc(reasons, func(reason string) bool { return strings.Contains(complaint, reason) })
	if code != exitError || by != 0 || !why || !strings.Contains(complaint, place) {
		t.Errorf("ended with code %d, signal %d; it said:\n%s", code, by, said)
	}
	if found := theSample(t).SecretsIn([]byte(said)); len(found) > 0 {
		t.Errorf("it says %d raw values", len(found))
	}
}

// standing fails unless what is committed so far is right, however little.
func (j job) standing(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(j.warehouse(), "rejects", "current_files.json")); err != nil {
		return // the job did not come to make all its tables
	}
	if code, out, errs := command(t, "verify", "-c", j.config, "--still", "--behind"); code != exitOK {
		t.Errorf("verify: code %d, %s\n%s", code, errs, out)
	}
}

// TestFullDisk gives a job less and more room on its disk, until it is enough,
// and each time all that it needs for the next run.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := crashFiles(t)
	full := 0
	for room := int64(40); ; room += room / 4 {
		j := w.job(t)
		mount(t, j.warehouse(), 0, "size=8m")
		ballast := filepath.Join(j.warehouse(), "ballast")
		write(t, j.warehouse(), "ballast", strings.Repeat(" ", 8<<20-int(room<<10)))
		p := w.prepare(t, j)
		p.start(t)
		if code, _ := p.wait(t); code == exitOK {
			w.check(t, j)
			break
		}
		full++
		p.ended(t, j.warehouse(), "no space left on device", "database or disk is full", "disk I/O error")
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		j.standing(t)
		w.finish(t, j, p)
		if t.Failed() {
			t.Fatalf("with %d KiB of room", room)
		}
	}
	if full < 5 {
		t.Errorf("the disk was full %d times", full)
	}
}

// TestStreamOnFullDisk fills the disk under a stream that has committed already.
func TestStreamOnFullDisk(t *testing.T) {
	t.Parallel()
	w := crashTopics(t)
	events, _ := crashSample(t)
	j := w.job(t)
	mount(t, j.warehouse(), 0, "size=8m")
	p := w.prepare(t, j)
	p.start(t)
	j.awaits(t, p, w.broker.ends(t))
	ballast, err := os.Create(filepath.Join(j.warehouse(), "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := ballast.Write(make([]byte, 4096)); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	w.broker.produce(t, demoEvents, events)
	p.ended(t, j.warehouse(), "no space left on device", "database or disk is full", "disk I/O error")
	if err := errors.Join(ballast.Close(), os.Remove(ballast.Name())); err != nil {
		t.Fatal(err)
	}
	j.standing(t)
	w.grown(t)
	w.finish(t, j, p)
}

// grown makes what an undisturbed job writes now the measure.
func (w *crashWorld) grown(t *testing.T) {
	t.Helper()
	j := w.job(t)
	j.streamTo(t, w.broker.ends(t))
	w.settled(t, j)
}

// TestFewFiles lets a job open only so many files, more each time, until it is
// enough.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	w := crashFiles(t)
	short := 0
	for limit := 8; ; limit++ {
		j := w.job(t)
		p := w.prepare(t, j)
		p.cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, limit), p.cmd.Path}, p.cmd.Args[1:]...)
		p.cmd.Path = "/bin/sh"
		p.start(t)
		code, _ := p.wait(t)
		if code == exitOK {
			w.check(t, j)
			break
		}
		short++
		if said := p.stderr.text(); !strings.Contains(said, "too many open files") && !strings.Contains(said, "unable to open database file") {
			t.Errorf("ended with code %d; it said:\n%s", code, said)
		}
		w.finish(t, j, p)
		if t.Failed() {
			t.Fatalf("with %d files", limit)
		}
		j.done(t)
	}
	t.Logf("%d times too few", short)
	if short < 3 || short > 50 {
		t.Errorf("%d times too few", short)
	}
}

// TestReadOnlyDisk starts a job that must not write.
func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	w := crashFiles(t)
	j := w.job(t)
	mount(t, j.warehouse(), syscall.MS_RDONLY, "size=1m")
	p := w.prepare(t, j)
	p.start(t)
	p.ended(t, j.warehouse(), "read-only file system")
	for _, dir := range []string{"warehouse", "quarantine"} {
		if found, err := os.ReadDir(filepath.Join(j.dir, dir)); len(found) > 0 {
			t.Errorf("%s has %d files, error %v", dir, len(found), err)
		}
	}
}

// TestDeletedWarehouse takes the directory away under a stream.
func TestDeletedWarehouse(t *testing.T) {
	t.Parallel()
	w := crashTopics(t)
	events, _ := crashSample(t)
	j := w.job(t)
	p := w.prepare(t, j)
	p.start(t)
	j.awaits(t, p, w.broker.ends(t))
	if err := os.RemoveAll(j.warehouse()); err != nil {
		t.Fatal(err)
	}
	commits, _ := p.stderr.count(committedLine)
	w.broker.produce(t, demoEvents, events)
	p.ended(t, j.warehouse(), "no such file or directory", "unable to open database file", "readonly database", "disk I/O error", "no such table")
	if after, _ := p.stderr.count(committedLine); after != commits {
		t.Errorf("%d commits went into a directory that is gone", after-commits)
	}
	w.grown(t)
	w.finish(t, j, p)
}
