package warehouse

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	iceio "github.com/apache/iceberg-go/io"
	"github.com/google/uuid"
)

const (
	dirMode  = 0o750
	fileMode = 0o640
	// tempPrefix begins the names of unfinished files; readers of a directory
	// pass over hidden files.
	tempPrefix = ".tmp-"
)

// disk does the file operations of a sink. Every one of them goes through the
// hook, if there is one, so that tests can let it fail or die there.
type disk struct {
	hook func(op, path string, do func() error) error
}

func (d *disk) do(op, path string, do func() error) error {
	if d.hook == nil {
		return do()
	}
	return d.hook(op, path, do)
}

// mkdir makes a directory that survives a power cut like what goes into it.
func (d *disk) mkdir(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if parent := filepath.Dir(path); parent != path {
		if err := d.mkdir(parent); err != nil {
			return err
		}
	}
	err := d.do("mkdir", path, func() error { return os.Mkdir(path, dirMode) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.syncDir(filepath.Dir(path))
}

func (d *disk) remove(path string) error {
	return d.do("remove", path, func() error { return os.Remove(path) })
}

// keeping is the same disk for code that would remove what it must not: there
// everything stays.
func (d *disk) keeping() *disk {
	return &disk{hook: func(op, path string, do func() error) error {
		if op == "remove" {
			return nil
		}
		return d.do(op, path, do)
	}}
}

func (d *disk) syncDir(path string) error {
	return d.do("syncdir", path, func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// replace puts content under path in one step: a reader sees the old content
// or the new one, also after a power cut.
func (d *disk) replace(path string, content []byte) error {
	f, err := d.create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return f.abandon(err)
	}
	return f.publish(nil)
}

// staged is a file that is being written under a hidden name beside its final
// one. It ends with publish or abandon.
type staged struct {
	disk        *disk
	file        *os.File
	buffer      *bufio.Writer
	hash        hash.Hash
	temp, final string
	size        int64
}

// create begins a file that will be called final.
func (d *disk) create(final string) (*staged, error) {
	dir := filepath.Dir(final)
	if err := d.mkdir(dir); err != nil {
		return nil, err
	}
	s := &staged{disk: d, final: final, hash: sha256.New(),
		temp: filepath.Join(dir, tempPrefix+uuid.NewString()+filepath.Ext(final))}
	err := d.do("create", s.temp, func() (err error) {
		s.file, err = os.OpenFile(s.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		return err
	})
	if err != nil {
		if s.file != nil {
			return nil, s.abandon(err)
		}
		return nil, err
	}
	s.buffer = bufio.NewWriterSize(writerFunc(s.write), 1<<20)
	return s, nil
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (s *staged) write(p []byte) (n int, err error) {
	err = s.disk.do("write", s.temp, func() error {
		n, err = s.file.Write(p)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.hash.Write(p)
	s.size += int64(n)
	return n, nil
}

func (s *staged) Write(p []byte) (int, error) { return s.buffer.Write(p) }

// publish makes the file durable, lets check look at it, and gives it its
// final name. If anything fails the file is gone: after a failed sync nobody
// knows what the disk holds, so it is never synced again.
func (s *staged) publish(check func(path string) error) error {
	err := s.buffer.Flush()
	if err == nil {
		err = s.disk.do("sync", s.temp, s.file.Sync)
	}
	if err != nil {
		return s.abandon(err)
	}
	if err := s.disk.do("close", s.temp, s.file.Close); err != nil {
		return s.abandon(err)
	}
	if check != nil {
		if err := s.disk.do("check", s.temp, func() error { return check(s.temp) }); err != nil {
			return s.abandon(err)
		}
	}
	err = s.disk.do("rename", s.final, func() error { return os.Rename(s.temp, s.final) })
	if err != nil {
		return s.abandon(err)
	}
	return s.disk.syncDir(filepath.Dir(s.final))
}

// abandon removes the file and gives why back. What cannot be removed is
// swept later.
func (s *staged) abandon(why error) error {
	_ = s.file.Close()
	_ = s.disk.remove(s.temp)
	return why
}

// tableIO is the file system that iceberg-go works on. Its own local one
// writes metadata in place and leaves it to the kernel when it reaches the
// disk, while the catalog that points at it is synced.
type tableIO struct {
	iceio.LocalFS
	disk *disk
}

// Create begins a file that is there, whole and durable, once it is closed.
func (t tableIO) Create(name string) (iceio.FileWriter, error) {
	s, err := t.disk.create(localPath(name))
	if err != nil {
		return nil, err
	}
	return &tableFile{staged: s}, nil
}

// WriteFile writes a whole file.
func (t tableIO) WriteFile(name string, content []byte) error {
	return t.disk.replace(localPath(name), content)
}

// Remove removes one file. One that is not there is no error: the library also
// removes what it could not finish writing, which create has not named yet.
func (t tableIO) Remove(name string) error {
	if err := t.disk.remove(localPath(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// tableFile lets a staged file be closed as iceberg-go closes it: after a
// failed write Close must not publish what there is.
type tableFile struct {
	*staged
	failed error
}

func (f *tableFile) Write(p []byte) (int, error) {
	n, err := f.staged.Write(p)
	if err != nil {
		f.failed = err
	}
	return n, err
}

func (f *tableFile) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(writerFunc(f.Write), r)
	if err != nil {
		f.failed = err
	}
	return n, err
}

func (f *tableFile) Close() error {
	if f.failed != nil {
		return f.abandon(f.failed)
	}
	return f.publish(nil)
}

// fileURI names a local path as the table's metadata does. Open has refused
// directories for which the two differ by more than the scheme.
func fileURI(path string) string { return "file://" + path }

func localPath(uri string) string { return strings.TrimPrefix(uri, "file://") }

type diskKey struct{}

// withDisk lets iceberg-go do its file operations through d. Its registry of
// file systems is one for the process; the context tells the sinks apart.
func withDisk(ctx context.Context, d *disk) context.Context {
	return context.WithValue(ctx, diskKey{}, d)
}

// useTableIO makes iceberg-go do its local file operations through tableIO.
// Its registry belongs to the process and has no replace, hence once.
var useTableIO = sync.OnceFunc(func() {
	for _, scheme := range []string{"file", ""} {
		iceio.Unregister(scheme)
		iceio.Register(scheme, func(ctx context.Context, _ *url.URL, _ map[string]string) (iceio.IO, error) {
			d, ok := ctx.Value(diskKey{}).(*disk)
			if !ok {
				d = &disk{}
			}
			return tableIO{disk: d}, nil
		})
	}
})
