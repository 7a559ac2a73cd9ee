package oracle

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/klauspost/compress/zstd"
)

// aFile stands in place of a leader where the partition is a file.
const aFile = int32(-2)

// lineExtents finds the files of a path or glob and counts their lines. A file
// that has two names is one partition, under its own name if that is among
// them, and else under the first.
func lineExtents(glob string, limit int, opaque bool, all map[place]extent) error {
	names := []string{glob}
	if _, err := os.Stat(glob); err != nil {
		if names, err = doublestar.FilepathGlob(glob, doublestar.WithFilesOnly()); err != nil {
			return err
		}
	}
	for _, name := range names {
		name, err := filepath.Abs(name)
		if err != nil {
			return err
		}
		real, err := filepath.EvalSymlinks(name)
		if err != nil {
			return err
		}
		known, found := place{}, false
		for p, e := range all {
			if e.real == real {
				known, found = p, true
			}
		}
		if found {
			if known.topic == real || name != real && known.topic < name {
				continue
			}
			delete(all, known)
		}
		lines, err := countLines(name, limit)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all[place{name, 0}] = extent{end: lines, high: lines, leader: aFile, opaque: opaque, real: real}
	}
	return nil
}

func countLines(name string, limit int) (n int64, err error) {
	return n, eachLine(name, limit, func([]byte, bool) error { n++; return nil })
}

// readLines gives the lines that are not empty; their offset is their number.
func readLines(p place, limit int, each func(place, *message) error) error {
	offset := int64(-1)
	return eachLine(p.topic, limit, func(line []byte, large bool) error {
		offset++
		if len(line) == 0 && !large {
			return nil
		}
		return each(p, &message{offset: offset, time: noTime, value: line, large: large})
	})
}

// eachLine gives every line without its end, and only the fact of one that is
// over the limit.
func eachLine(name string, limit int, each func(line []byte, large bool) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	body, err := unpacked(bufio.NewReader(f))
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(body, 1<<20)
	if mark, err := r.Peek(3); err == nil && string(mark) == "\xef\xbb\xbf" {
		if _, err := r.Discard(3); err != nil {
			return err
		}
	}
	for {
		line, err := r.ReadBytes('\n')
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return err
		}
		if last && len(line) == 0 {
			return nil
		}
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		large := len(line) > limit
		if large {
			line = nil
		}
		if err := each(line, large); err != nil || last {
			return err
		}
	}
}

func unpacked(r *bufio.Reader) (io.Reader, error) {
	magic, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return r, nil
}
