package gen

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

// WriteEvents writes the events to dir, which must exist, and gives the paths
// of the files: events-00000.jsonl and so on, with the compression's ending.
func WriteEvents(ctx context.Context, dir string, o Options) ([]string, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	paths := make([]string, o.Files)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range paths {
		name := fmt.Sprintf("events-%05d.jsonl", i)
		if o.Compression != Plain {
			name += "." + string(o.Compression)
		}
		paths[i] = filepath.Join(dir, name)
		group.Go(func() error {
			s := NewStream(o, i)
			return writeLines(ctx, paths[i], o.Compression, s.Append)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return paths, nil
}

// WriteLedger writes the records of all subjects to a plain file.
func WriteLedger(ctx context.Context, path string, o Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	l := NewLedger(o)
	return writeLines(ctx, path, Plain, l.Append)
}

// writeLines writes what appendLine gives until io.EOF, a line each.
func writeLines(ctx context.Context, path string, c Compression, appendLine func([]byte) ([]byte, error)) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buffered := bufio.NewWriterSize(file, 1<<20)
	w, err := compress(buffered, c)
	if err != nil {
		return err
	}
	const chunk = 1 << 20
	buf := make([]byte, 0, chunk+1<<16)
	for end := false; !end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		for buf = buf[:0]; len(buf) < chunk; buf = append(buf, '\n') {
			if buf, err = appendLine(buf); err == io.EOF {
				end = true
				break
			} else if err != nil {
				return err
			}
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

func compress(w io.Writer, c Compression) (io.WriteCloser, error) {
	switch c {
	case Gzip:
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	}
	return plain{w}, nil
}

type plain struct{ io.Writer }

func (plain) Close() error { return nil }
