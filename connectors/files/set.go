package files

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// Options say what to read. Zero values stand for the defaults.
type Options struct {
	// Paths are files, or patterns where ** stands for any number of folders;
	// at least one, and each must match a file.
	Paths []string
	// MaxMessageBytes is the longest line that is handed over (1 MiB).
	MaxMessageBytes int
}

// Set is the files of a job, and the queue of those that no worker has taken.
type Set struct {
	limit int
	files []file
	total int64
	read  atomic.Int64

	mu   sync.Mutex
	next int
}

// file is one file of a set; its name is its absolute path.
type file struct {
	name string
	size int64
}

// NewSet finds the files. They are sorted by name, and one that is matched
// twice, or reached by two links, is taken once: under its own name if that is
// matched, so that a link that is new or moves on does not rename it.
func NewSet(o Options) (*Set, error) {
	if o.MaxMessageBytes == 0 {
		o.MaxMessageBytes = 1 << 20
	}
	if o.MaxMessageBytes < 1 || o.MaxMessageBytes > 1<<30 {
		return nil, fmt.Errorf("files: max_message_bytes: %d is not in 1 to %d", o.MaxMessageBytes, 1<<30)
	}
	if len(o.Paths) == 0 {
		return nil, errors.New("files: paths: at least one is needed")
	}
	s := &Set{limit: o.MaxMessageBytes}
	seen := make(map[string]int)
	var found []file
	for _, path := range o.Paths {
		list, err := match(path)
		if err != nil {
			return nil, fmt.Errorf("files: %w", err)
		}
		found = append(found, list...)
	}
	byName := func(a, b file) int { return cmp.Compare(a.name, b.name) }
	slices.SortFunc(found, byName)
	for _, f := range found {
		real, err := filepath.EvalSymlinks(f.name)
		if err != nil {
			return nil, fmt.Errorf("files: %w", err)
		}
		if i, ok := seen[real]; !ok {
			seen[real] = len(s.files)
			s.files = append(s.files, f)
			s.total += f.size
		} else if f.name == real {
			s.files[i] = f
		}
	}
	slices.SortFunc(s.files, byName)
	return s, nil
}

// match gives the files that one path or pattern stands for. A path that is
// there is taken as it is, whatever characters are in it.
func match(path string) ([]file, error) {
	names := []string{path}
	if _, err := os.Stat(path); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		names, err = doublestar.FilepathGlob(path, doublestar.WithFilesOnly(), doublestar.WithFailOnIOErrors())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("%s: no such file, and no file matches", path)
		}
	}
	var list []file
	for _, name := range names {
		abs, err := filepath.Abs(name)
		if err != nil {
			return nil, err
		}
		// Positions are stored by the name, as text.
		if !utf8.ValidString(abs) {
			return nil, fmt.Errorf("%q: the name is not UTF-8", abs)
		}
		info, err := os.Stat(abs)
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			return nil, fmt.Errorf("%s is a folder: %s would match the files in it", path, filepath.Join(path, "*"))
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", path)
		}
		list = append(list, file{abs, info.Size()})
	}
	return list, nil
}

// Source makes the source of one worker.
func (s *Set) Source() *Source { return &Source{set: s} }

// Len is how many files there are.
func (s *Set) Len() int { return len(s.files) }

// Progress gives how many bytes, as they are on disk, have been read, and how
// many there are. It may be called at any time.
func (s *Set) Progress() (read, total int64) { return s.read.Load(), s.total }

// take gives the next file that nobody has.
func (s *Set) take() (file, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == len(s.files) {
		return file{}, false
	}
	f := s.files[s.next]
	s.next++
	return f, true
}
