package warehouse

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
)

// TestStagedFilesThatChange: what is not as it was written is not committed, and
// the positions do not pass its rows.
func TestStagedFilesThatChange(t *testing.T) {
	for _, c := range []struct {
		name, message string
		change        func(files [][]byte) []byte // of the first file
	}{
		{"a bit of a row", "not as it was written", func(files [][]byte) []byte {
			files[0][len(files[0])/3] ^= 4
			return files[0]
		}},
		{"a bit of the footer", "not as it was written", func(files [][]byte) []byte {
			files[0][len(files[0])-20] ^= 1
			return files[0]
		}},
		{"the end", "not as it was written", func(files [][]byte) []byte { return files[0][:len(files[0])-1] }},
		{"more than its end", "not as it was written", func(files [][]byte) []byte { return append(files[0], 0) }},
		{"all of it, for zeros", "not as it was written", func(files [][]byte) []byte { return make([]byte, len(files[0])) }},
		{"all of it, for another file", "not as it was written", func(files [][]byte) []byte { return files[1] }},
		{"that it is there", "no such file", func([][]byte) []byte { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			dir := memoryDir(t)
			s := openSink(t, Options{Dir: dir, Contracts: []*schemas.Contract{clicks()}})
			w := s.Writer()
			rows := makeClicks(0, 40)
			files := write(t, w, events, rows)
			var contents [][]byte
			for _, f := range files {
				content, err := os.ReadFile(f.Path)
				if err != nil {
					t.Fatal(err)
				}
				contents = append(contents, bytes.Clone(content))
			}
			if err := os.Remove(files[0].Path); err != nil {
				t.Fatal(err)
			}
			if changed := c.change(contents); changed != nil {
				if err := os.WriteFile(files[0].Path, changed, fileMode); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Commit(ctx, clicksCommit(files, events, 0, 40, rows))
			if err == nil || !strings.Contains(err.Error(), c.message) || !strings.Contains(err.Error(), fileName(files[0].Path)) {
				t.Errorf("got %v, want %q and the file", err, c.message)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			positions, err := s.Positions(ctx)
			if diff := cmp.Diff([]pipeline.Positions{{}}, positions); diff != "" || err != nil {
				t.Errorf("positions (-want +got):\n%s%v", diff, err)
			}
			whole := writeAndCommit(t, s, events, 0, 40)
			if diff := cmp.Diff(wantRows(events, rows), tableRows(t, dir, "clicks")); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			for _, path := range currentFiles(t, dir, "clicks") {
				if !slices.ContainsFunc(whole, func(f pipeline.File) bool { return f.Path == path }) {
					t.Errorf("the table names %s", path)
				}
			}
		})
	}
}
