package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNothingIsReadableByEverybody: what a stream writes has narrow modes of its
// own, however careless the environment is.
func TestNothingIsReadableByEverybody(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	b.produce(t, demoEvents, theSample(t).Events()[:1000])
	j := newJob(t, b, "", 100*time.Millisecond)
	p := newProcess(t, "stream", "-c", j.config, "--log-level", "debug")
	p.cmd.Path, p.cmd.Args = "/bin/sh", append([]string{"sh", "-c", `umask 0; exec "$0" "$@"`, p.cmd.Path}, p.cmd.Args[1:]...)
	if _, err := exec.LookPath("/bin/sh"); err != nil {
		missing(t, "there is no shell to set the umask")
	}
	p.start(t)
	j.awaits(t, p, b.ends(t))
	seen := map[string]int{}
	look := func() {
		for root, most := range map[string]fs.FileMode{
			j.warehouse(): 0o750, filepath.Join(j.warehouse(), ".inflight"): 0o700, filepath.Join(j.dir, "quarantine"): 0o700,
		} {
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if os.IsNotExist(err) {
					return nil
				}
				if err != nil {
					return err
				}
				info, err := d.Info()
				if os.IsNotExist(err) {
					return nil
				}
				if err != nil {
					return err
				}
				if mode := info.Mode().Perm(); mode&^most != 0 {
					t.Errorf("%s: mode %#o", strings.TrimPrefix(path, j.dir), mode)
				}
				seen[root]++
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
	look() // with the register and SQLite's own files
	p.stop(t, exitOK)
	look()
	if len(seen) != 3 || seen[j.warehouse()] < 20 {
		t.Errorf("looked at %v", seen)
	}
}
