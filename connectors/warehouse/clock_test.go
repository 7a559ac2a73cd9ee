package warehouse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
)

// shiftClock makes a table look as if everything so far had been done by clocks
// that were ahead of this one.
func shiftClock(t *testing.T, s *Sink, by time.Duration) {
	t.Helper()
	path := localPath(load(t, s, clicksTable).MetadataLocation())
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var metadata any
	if err := decoder.Decode(&metadata); err != nil {
		t.Fatal(err)
	}
	var shift func(v any)
	shift = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				shift(e)
			}
		case map[string]any:
			for key, e := range v {
				if n, ok := e.(json.Number); ok && (key == "timestamp-ms" || key == "last-updated-ms") {
					at, err := n.Int64()
					if err != nil {
						t.Fatal(err)
					}
					v[key] = at + by.Milliseconds()
				} else {
					shift(e)
				}
			}
		}
	}
	shift(metadata)
	if text, err = json.Marshal(metadata); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, fileMode); err != nil {
		t.Fatal(err)
	}
}

// TestClockJumps goes on with a table after the clock was set. Tables cannot be
// changed while it is behind; nothing is lost by waiting.
func TestClockJumps(t *testing.T) {
	for _, c := range []struct {
		name   string
		ahead  time.Duration // of the clock that the table was changed by
		behind bool          // too far to go on
	}{
		{"set ahead", -2 * time.Hour, false},
		{"set back a little", 50 * time.Second, false},
		{"set back", 2 * time.Hour, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			dir := memoryDir(t)
			s := openSink(t, Options{Dir: dir, Contracts: []*schemas.Contract{clicks()}})
			writeAndCommit(t, s, events, 0, 20)
			w := s.Writer()
			defer func() {
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}()
			rows := makeClicks(20, 20)
			withRows := clicksCommit(write(t, w, events, rows), events, 20, 40, rows)
			without := clicksCommit(nil, events, 20, 40, nil)

			shiftClock(t, s, c.ahead)
			if c.behind {
				_, _, claimed := s.Claim(ctx, []pipeline.Partition{events})
				for _, err := range []error{claimed, s.Commit(ctx, withRows), s.Commit(ctx, without)} {
					if err == nil || !strings.Contains(err.Error(), "clock of this machine is 2h0m0s behind") {
						t.Errorf("got %v, want an error about the clock", err)
					}
				}
				if diff := cmp.Diff(wantRows(events, makeClicks(0, 20)), tableRows(t, dir, "clicks")); diff != "" {
					t.Errorf("rows (-want +got):\n%s", diff)
				}
				shiftClock(t, s, -c.ahead)
			}
			withRows.Claims = claim(t, s, events)
			if err := s.Commit(ctx, withRows); err != nil {
				t.Fatal(err)
			}
			openSink(t, Options{Dir: dir, Contracts: []*schemas.Contract{clicks()}})
			if diff := cmp.Diff(wantRows(events, makeClicks(0, 40)), tableRows(t, dir, "clicks")); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSweptBeforeItsCommit: to a process whose clock is far ahead a file that is
// on its way into a commit looks left behind. That commit then fails.
func TestSweptBeforeItsCommit(t *testing.T) {
	ctx := context.Background()
	dir := memoryDir(t)
	s := openSink(t, Options{Dir: dir, Contracts: []*schemas.Contract{clicks()}})
	w := s.Writer()
	rows := makeClicks(0, 20)
	files := write(t, w, events, rows)
	old := time.Now().Add(-2 * time.Hour)
	for _, f := range files {
		if err := os.Chtimes(f.Path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	openSink(t, Options{Dir: dir, Contracts: []*schemas.Contract{clicks()}})
	if err := s.Commit(ctx, clicksCommit(files, events, 0, 20, rows)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that a file is gone", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	writeAndCommit(t, s, events, 0, 20)
	if diff := cmp.Diff(wantRows(events, rows), tableRows(t, dir, "clicks")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
