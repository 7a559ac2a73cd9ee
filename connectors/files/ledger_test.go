package files

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
)

type list struct {
	values []string
	refuse string
}

var errRefused = errors.New("a reason that names secret-value")

func (v *list) ApplyMessages(m *schemas.LedgerMessages) (int, error) {
	keys, values := m.Keys, m.Values
	for i, value := range values {
		if keys[i] != nil {
			return i, errors.New("a key")
		}
		if v.refuse != "" && string(value) == v.refuse {
			return i, errRefused
		}
		v.values = append(v.values, string(value))
	}
	return len(values), nil
}

func TestReadLedger(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "a.jsonl", []byte("1\n\n2\n"))
	b := write(t, dir, "b.jsonl.gz", gz(t, []byte("3\n4")))
	c := write(t, dir, "c.jsonl.zst", zst(t, []byte("5\r\n")))
	empty := write(t, dir, "d.jsonl", nil)
	view := &list{}
	l, err := ReadLedger(t.Context(), filepath.Join(dir, "*.jsonl*"), view)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"1", "2", "3", "4", "5"}, view.values); d != "" {
		t.Error(d)
	}
	want := pipeline.Vector{{Topic: a}: 3, {Topic: b}: 2, {Topic: c}: 1, {Topic: empty}: 0}
	for range 2 {
		v, err := l.Barrier(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, v); d != "" {
			t.Error(d)
		}
		v[pipeline.Partition{Topic: a}] = 99 // the caller's own
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Barrier(ctx); err == nil {
		t.Error("passed after the end of its context")
	}
}

func TestReadLedgerStops(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "x.jsonl", []byte("fine\n\nsecret-value\nfine\n"))
	_, err := ReadLedger(t.Context(), path, &list{refuse: "secret-value"})
	if !errors.Is(err, errRefused) || err.Error() != path+":3: the record cannot be applied" {
		t.Error(err)
	}
	path = write(t, dir, "large.jsonl", []byte("fine\n"+strings.Repeat("x", 1<<20+1)+"\n"))
	if _, err := ReadLedger(t.Context(), path, &list{}); err == nil || !strings.HasPrefix(err.Error(), "read ledger: "+path+":2: line over") {
		t.Error(err)
	}
	if _, err := ReadLedger(t.Context(), filepath.Join(dir, "none*"), &list{}); err == nil {
		t.Error("no file is no ledger")
	}
	path = write(t, dir, "cut.gz", gz(t, []byte("fine\n"))[:20])
	if _, err := ReadLedger(t.Context(), path, &list{}); err == nil {
		t.Error("half a ledger passes")
	}
}

// The files that people have are read whole.
func TestRealFiles(t *testing.T) {
	root := os.Getenv("LUPA_SHARED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	if _, err := os.Stat(root); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no data to test with")
		}
		t.Skip("NO REAL FILES HERE: set LUPA_SHARED_DATA")
	}
	got, err := readAll(t, Options{Paths: []string{filepath.Join(root, "**", "*.jsonl"), filepath.Join(root, "**", "*.jsonl.gz")}, MaxMessageBytes: 8 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.lines) < 5 {
		t.Fatalf("%d files", len(got.lines))
	}
	for name, lines := range got.lines {
		if !strings.HasSuffix(name, ".jsonl") {
			continue
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(plainLines(raw, 8<<20), lines); d != "" {
			t.Errorf("%s differs from its bytes", filepath.Base(name))
		}
	}
}
