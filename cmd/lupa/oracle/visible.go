package oracle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// I8: what is readable is committed and whole.

// readRows reads all committed files and checks that they are what was
// committed, and that nothing else is shown to readers.
func (c *check) readRows(ctx context.Context) error {
	for _, t := range c.tables {
		s := t.snapshot(t.current)
		if s == nil && t.current != 0 {
			c.violate(atomicVisibility, t.name, "its current snapshot is not among its snapshots")
		}
		if s != nil {
			files, err := s.dataFiles()
			if err != nil {
				c.violate(atomicVisibility, t.name, "the list of its files cannot be read: %v", err)
				t.unread = true
				continue
			}
			t.files = files
		}
		for i := range t.files {
			c.readFile(t, i)
		}
		c.checkNames(t)
		if err := c.checkPublished(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// readFile reads a data file, unless it is not the one that was committed.
func (c *check) readFile(t *table, i int) {
	f := &t.files[i]
	c.looked(atomicVisibility, 1)
	name := c.relative(f.path)
	sum, size, err := hashOf(f.path)
	if err != nil {
		c.violate(atomicVisibility, name, "a committed file cannot be read: %v", causeOf(err))
		t.unread = true
		return
	}
	s := t.snapshot(f.snapshot)
	if s == nil {
		c.limit(atomicVisibility, "files whose snapshot has expired have no hash to compare with")
	} else if want, ok := s.hashes()[filepath.Base(f.path)]; !ok {
		c.violate(atomicVisibility, name, "its commit names no hash of it")
	} else if want != sum {
		c.violate(atomicVisibility, name, "it has another SHA-256 than was committed")
		t.unread = true
		return
	}
	if size != f.bytes {
		c.violate(atomicVisibility, name, "it has %d bytes, its manifest says %d", size, f.bytes)
	}
	if err := t.readFile(i); err != nil {
		c.violate(atomicVisibility, name, "%v", err)
		t.unread = true
	}
}

func (s *snapshot) hashes() map[string]string {
	var hashes map[string]string
	if json.Unmarshal([]byte(s.Summary["lupa.files.sha256"]), &hashes) != nil {
		return nil
	}
	return hashes
}

// checkNames looks for a file that two entries name.
func (c *check) checkNames(t *table) {
	seen := map[string]bool{}
	for i := range t.files {
		if seen[t.files[i].path] {
			c.violate(atomicVisibility, c.relative(t.files[i].path), "it is committed twice")
		}
		seen[t.files[i].path] = true
	}
}

// published is how long whoever commits may take to show what it has committed.
const published = 30 * time.Second

// checkPublished compares what readers without an Iceberg library are shown. It
// follows a commit while the table's lock is held; so what differs counts once
// nobody holds the lock.
func (c *check) checkPublished(ctx context.Context, t *table) error {
	var want []string
	for i := range t.files {
		want = append(want, t.files[i].path)
	}
	slices.Sort(want)
	problem := ""
	for since := time.Now(); ; {
		quiet := time.Since(since) > published || t.unlocked()
		if problem = t.shown(want, c.in.Warehouse); problem == "" {
			c.looked(atomicVisibility, 1)
			return nil
		}
		if quiet {
			break
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	now, err := c.readCatalog(ctx)
	if err != nil {
		return err
	}
	if path, err := localPath(now[t.name]); err == nil && path != t.metadataFile {
		c.limit(atomicVisibility, "table %s was committed to meanwhile, so what it shows was not compared", t.name)
		return nil
	}
	c.violate(atomicVisibility, t.name, "%s", problem)
	return nil
}

// unlocked reports whether nobody works on the table at this moment. It takes
// the lock for no time at all, and never waits for it.
func (t *table) unlocked() bool {
	f, err := os.Open(t.dir + ".lock")
	if err != nil {
		return true
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil
}

// pause waits a little for somebody else.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

// shown says what is wrong with what is shown, or nothing.
func (t *table) shown(want []string, warehouse string) string {
	list := filepath.Join(t.dir, "current_files.json")
	text, err := os.ReadFile(list)
	if err != nil {
		return "current_files.json cannot be read"
	}
	var got []string
	if json.Unmarshal(text, &got) != nil {
		return "current_files.json is no list of texts"
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return "current_files.json names other files than are committed"
	}
	view, err := os.ReadFile(filepath.Join(t.dir, "views.sql"))
	if err != nil {
		return "views.sql cannot be read"
	}
	if len(want) > 0 && !strings.Contains(string(view), list) {
		return "views.sql does not read current_files.json"
	}
	if all, err := os.ReadFile(filepath.Join(warehouse, "views.sql")); err != nil || !strings.Contains(string(all), string(view)) {
		return "the warehouse's views.sql does not hold the table's"
	}
	return ""
}

// leftovers are the data files that no commit names, and temps what was not
// finished.
type leftovers struct {
	files  []string
	oldest string
	age    time.Duration
	temps  int
}

// leftovers looks for files that no snapshot names.
func (c *check) leftovers() (l leftovers, err error) {
	for _, t := range c.tables {
		named := map[string]bool{}
		for i := range t.files {
			named[t.files[i].path] = true
		}
		older := len(t.snapshots)
		err = filepath.WalkDir(t.dir, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil || d.IsDir():
				return ignoreGone(err)
			case strings.HasPrefix(d.Name(), ".tmp-"):
				l.temps++
				return nil
			case filepath.Ext(path) != ".parquet" || named[path]:
				return nil
			}
			for ; older > 0 && !named[path]; older-- {
				// Snapshots that readers may still be on.
				files, err := t.snapshots[older-1].dataFiles()
				if err != nil {
					continue // it expires just now
				}
				for i := range files {
					named[files[i].path] = true
				}
			}
			if named[path] {
				return nil
			}
			l.files = append(l.files, path)
			info, err := d.Info()
			if err != nil {
				return ignoreGone(err)
			}
			if age := time.Since(info.ModTime()); age > l.age {
				l.age, l.oldest = age, path
			}
			return nil
		})
		if err != nil {
			return l, err
		}
	}
	return l, nil
}

func ignoreGone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func hashOf(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// causeOf is an error without the path, which is told as the place.
func causeOf(err error) error {
	if os.IsNotExist(err) {
		return fs.ErrNotExist
	}
	return errDamaged
}

// relative names a file by its path inside of the warehouse.
func (c *check) relative(path string) string {
	if rel, err := filepath.Rel(c.in.Warehouse, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}
