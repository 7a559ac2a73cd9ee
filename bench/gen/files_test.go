package gen

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func TestWriteEvents(t *testing.T) {
	o := Options{Seed: 1, Events: 3000, Subjects: 500, Files: 3}
	var want string
	for _, c := range []Compression{Plain, Gzip, Zstd} {
		t.Run("compression "+string(c), func(t *testing.T) {
			o.Compression = c
			paths, err := WriteEvents(t.Context(), t.TempDir(), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(paths) != o.Files {
				t.Fatalf("%d files, want %d", len(paths), o.Files)
			}
			var all strings.Builder
			for _, path := range paths {
				all.Write(readFile(t, path, c))
			}
			if n := strings.Count(all.String(), "\n"); n != o.Events || !strings.HasSuffix(all.String(), "}\n") {
				t.Errorf("%d lines, want %d whole ones", n, o.Events)
			}
			if want == "" {
				want = all.String()
			} else if want != all.String() {
				t.Error("the events differ from those of another compression")
			}
		})
	}
}

func readFile(t *testing.T, path string, c Compression) []byte {
	t.Helper()
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = bytes.NewReader(stored)
	switch c {
	case Gzip:
		r, err = gzip.NewReader(r)
	case Zstd:
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestWriteLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.jsonl")
	if err := WriteLedger(t.Context(), path, Options{Seed: 1, Subjects: 100, Files: 1}); err != nil {
		t.Fatal(err)
	}
	if text := readFile(t, path, Plain); !bytes.HasSuffix(text, []byte("}\n")) || bytes.Contains(text, []byte("\n\n")) {
		t.Error("the file is not made of whole lines")
	}
}

func TestWriteFails(t *testing.T) {
	good := Options{Events: 10, Subjects: 10, Files: 1}
	for name, change := range map[string]func(*Options){
		"negative events":     func(o *Options) { o.Events = -1 },
		"one subject":         func(o *Options) { o.Subjects = 1 },
		"too many subjects":   func(o *Options) { o.Subjects = maxSubjects + 1 },
		"no files":            func(o *Options) { o.Files = 0 },
		"unknown compression": func(o *Options) { o.Compression = "lz4" },
	} {
		o := good
		change(&o)
		if _, err := WriteEvents(t.Context(), t.TempDir(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := WriteEvents(t.Context(), filepath.Join(t.TempDir(), "absent"), good); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WriteEvents(ctx, t.TempDir(), good); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
}
