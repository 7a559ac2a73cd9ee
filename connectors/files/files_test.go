package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"lupa/pipeline"
)

func gz(t testing.TB, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(p)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zst(t testing.TB, p []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(p, nil)
}

func write(t testing.TB, dir, name string, p []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// line is what a test compares.
type line struct {
	Offset int64
	Value  string
	Large  bool
}

type read struct {
	lines map[string][]line
	marks pipeline.Positions
}

// drain reads a source to its end and asserts what every chunk owes.
func drain(t testing.TB, s *Source, from pipeline.Positions, r *read) error {
	t.Helper()
	defer s.Close()
	if err := s.Open(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := s.Next(t.Context())
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if c == nil || len(c.Values) > maxMessages || len(c.Values) != len(c.Offsets) || len(c.Values) != len(c.Times) {
			t.Fatalf("chunk of %d values, %d offsets, %d times", len(c.Values), len(c.Offsets), len(c.Times))
		}
		large := make(map[int32]bool)
		for _, i := range c.TooLarge {
			large[i] = true
		}
		for i, v := range c.Values {
			if int(v.Off)+int(v.Len)+pipeline.ArenaSlack > len(c.Arena) || c.Times[i] != pipeline.NoTime || c.Offsets[i] >= c.Next.Next {
				t.Fatalf("value %d: %+v in %d bytes, time %d, offset %d, next %d", i, v, len(c.Arena), c.Times[i], c.Offsets[i], c.Next.Next)
			}
			r.lines[c.Partition.Topic] = append(r.lines[c.Partition.Topic], line{c.Offsets[i], string(c.Arena[v.Off : v.Off+v.Len]), large[int32(i)]})
		}
		if old, ok := r.marks[c.Partition]; ok && old.Next >= c.Next.Next {
			t.Fatalf("%s: position %d after %d", c.Partition, c.Next.Next, old.Next)
		}
		r.marks[c.Partition] = c.Next
	}
}

func readAll(t testing.TB, o Options, from pipeline.Positions) (read, error) {
	t.Helper()
	set, err := NewSet(o)
	if err != nil {
		t.Fatal(err)
	}
	r := read{make(map[string][]line), make(pipeline.Positions)}
	err = drain(t, set.Source(), from, &r)
	if got, total := set.Progress(); err == nil && got != total {
		t.Errorf("progress %d of %d at the end", got, total)
	}
	return r, err
}

func TestLinesOfEveryForm(t *testing.T) {
	long := strings.Repeat("L", 101)
	for _, test := range []struct {
		name, text string
		want       []line
		next       int64
		state      string
	}{
		{"plain", "a\nb\n", []line{{0, "a", false}, {1, "b", false}}, 2, done},
		{"no end", "a\nb", []line{{0, "a", false}, {1, "b", false}}, 2, tail},
		{"CR LF", "a\r\nb\r\n", []line{{0, "a", false}, {1, "b", false}}, 2, done},
		{"CR at the very end", "a\r\nb\r", []line{{0, "a", false}, {1, "b", false}}, 2, tail},
		{"CR inside stays", "a\rb\n", []line{{0, "a\rb", false}}, 1, done},
		{"empty lines count", "\n\na\n\r\nb\n\n", []line{{2, "a", false}, {4, "b", false}}, 6, done},
		{"only empty lines", "\n\n\n", nil, 3, done},
		{"byte order mark", "\xef\xbb\xbfa\n\xef\xbb\xbfb\n", []line{{0, "a", false}, {1, "\xef\xbb\xbfb", false}}, 2, done},
		{"only a byte order mark and a line end", "\xef\xbb\xbf\na\n", []line{{1, "a", false}}, 2, done},
		{"blanks are content", " \n", []line{{0, " ", false}}, 1, done},
		{"zero bytes are content", "\x00\n", []line{{0, "\x00", false}}, 1, done},
		{"at the limit", long[1:] + "\n" + long[1:] + "\r\n", []line{{0, long[1:], false}, {1, long[1:], false}}, 2, done},
		{"over the limit", "a\n" + long + "\nb\n" + long + "\r\n" + long, []line{{0, "a", false}, {1, "", true}, {2, "b", false}, {3, "", true}, {4, "", true}}, 5, tail},
	} {
		for form, bytes := range map[string][]byte{
			"jsonl": []byte(test.text), "gz": gz(t, []byte(test.text)), "zst": zst(t, []byte(test.text)),
			"two.gz":  append(gz(t, []byte(test.text[:1])), gz(t, []byte(test.text[1:]))...),
			"two.zst": append(zst(t, []byte(test.text[:1])), zst(t, []byte(test.text[1:]))...),
		} {
			path := write(t, t.TempDir(), "x."+form, bytes)
			got, err := readAll(t, Options{Paths: []string{path}, MaxMessageBytes: 100}, nil)
			if err != nil {
				t.Errorf("%s, %s: %v", test.name, form, err)
				continue
			}
			if d := cmp.Diff(test.want, got.lines[path]); d != "" {
				t.Errorf("%s, %s: %s", test.name, form, d)
			}
			mark := got.marks[pipeline.Partition{Topic: path}]
			if a, ok := parseAnchor(mark.Anchor); mark.Next != test.next || !ok || a.state != test.state || a.size != int64(len(bytes)) {
				t.Errorf("%s, %s: mark %+v", test.name, form, mark)
			}
		}
	}
}

func TestEmptyFilesHaveNothingToTell(t *testing.T) {
	for _, p := range [][]byte{nil, gz(t, nil), {0xef, 0xbb, 0xbf}} {
		path := write(t, t.TempDir(), "x.jsonl", p)
		got, err := readAll(t, Options{Paths: []string{path}}, nil)
		if err != nil || len(got.marks) != 0 {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestLineOfManyMegabytesIsPassedOver(t *testing.T) {
	huge := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	text := bytes.Join([][]byte{[]byte("before\n"), huge, []byte("\nafter\n"), huge}, nil)
	path := write(t, t.TempDir(), "x.jsonl.zst", zst(t, text))
	set, err := NewSet(Options{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	s := set.Source()
	r := read{make(map[string][]line), make(pipeline.Positions)}
	if err := drain(t, s, nil, &r); err != nil {
		t.Fatal(err)
	}
	want := []line{{0, "before", false}, {1, "", true}, {2, "after", false}, {3, "", true}}
	if d := cmp.Diff(want, r.lines[path]); d != "" {
		t.Error(d)
	}
	if n := cap(s.split.buf); n > 2*bufferSize {
		t.Errorf("the buffer has grown to %d bytes", n)
	}
}

func TestLongFilesComeInBoundedChunks(t *testing.T) {
	var text bytes.Buffer
	var want []line
	for i := range 50000 {
		v := fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("p", i%211))
		text.WriteString(v + "\n")
		want = append(want, line{int64(i), v, false})
	}
	for name, p := range map[string][]byte{"x.jsonl": text.Bytes(), "x.gz": gz(t, text.Bytes()), "x.zst": zst(t, text.Bytes())} {
		path := write(t, t.TempDir(), name, p)
		got, err := readAll(t, Options{Paths: []string{path}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got.lines[path]); d != "" {
			t.Fatalf("%s: %s", name, d[:min(len(d), 500)])
		}
		// From every tenth mark on, the rest is the rest.
		set, err := NewSet(Options{Paths: []string{path}})
		if err != nil {
			t.Fatal(err)
		}
		s := set.Source()
		if err := s.Open(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		for i := 0; ; i++ {
			c, err := s.Next(t.Context())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if i%10 != 0 {
				continue
			}
			rest, err := readAll(t, Options{Paths: []string{path}}, pipeline.Positions{c.Partition: c.Next})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want[c.Next.Next:], rest.lines[path]); c.Next.Next < 50000 && d != "" {
				t.Fatalf("%s from %d: %s", name, c.Next.Next, d[:min(len(d), 500)])
			}
		}
	}
}

func TestPositionsAreChecked(t *testing.T) {
	head := strings.Repeat("a line\n", 20000) // longer than the head that is hashed
	for _, test := range []struct {
		name   string
		before string
		after  string
		want   []line
		err    string
	}{
		{"finished and unchanged", "a\nb\n", "a\nb\n", nil, ""},
		{"finished without a line end", "a\nb", "a\nb", nil, ""},
		{"grown", "a\nb\n", "a\nb\nc\n", []line{{2, "c", false}}, ""},
		{"grown behind its head", head, head + "more\n", []line{{20000, "more", false}}, ""},
		{"grown in its last line", "a\nb", "a\nbc\n", nil, "has grown behind a line without an end"},
		{"cut", "a\nb\n", "a\n", nil, "has 2 bytes, it had 4"},
		{"another", "a\nb\n", "a\nc\n", nil, "does not begin as it did"},
		{"another and longer", "a\nb\n", "c\nb\nc\n", nil, "does not begin as it did"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, t.TempDir(), "x.jsonl", []byte(test.before))
			first, err := readAll(t, Options{Paths: []string{path}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Dir(path), "x.jsonl", []byte(test.after))
			set, err := NewSet(Options{Paths: []string{path}})
			if err != nil {
				t.Fatal(err)
			}
			r := read{make(map[string][]line), make(pipeline.Positions)}
			err = drain(t, set.Source(), first.marks, &r)
			switch {
			case test.err == "" && err != nil:
				t.Fatal(err)
			case test.err != "" && (err == nil || !strings.HasPrefix(err.Error(), "files: "+path+": "+test.err)):
				t.Fatalf("%v, want %s", err, test.err)
			}
			var refused *PositionError
			if errors.As(err, &refused) != (test.err != "") {
				t.Errorf("%v is or is not a refused position", err)
			}
			if d := cmp.Diff(test.want, r.lines[path]); d != "" {
				t.Error(d)
			}
		})
	}
	path := write(t, t.TempDir(), "x.jsonl", []byte("a\n"))
	for want, mark := range map[string]pipeline.Mark{
		"the anchor of its position is not one of a file": {Next: 1, Anchor: "batch:0:1234"},
		"has 1 lines, 7 were read before":                 {Next: 7, Anchor: strings.Replace(mustAnchor(t, path), done, part, 1)},
	} {
		_, err := readAll(t, Options{Paths: []string{path}}, pipeline.Positions{{Topic: path}: mark})
		var refused *PositionError
		if !errors.As(err, &refused) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want a refused position: %s", err, want)
		}
	}
}

// A table that was added begins at the first line. The marks of the others are
// still held against the file: they skip what they are said to hold.
func TestPositionsOfOtherTablesAreChecked(t *testing.T) {
	path := write(t, t.TempDir(), "x.jsonl", []byte("a\nb\n"))
	p := pipeline.Partition{Topic: path}
	first, err := readAll(t, Options{Paths: []string{path}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{"a\nb\n": "", "a\nb\nc\n": "", "other\nlines\n": "does not begin as it did", "a\n": "has 2 bytes"} {
		write(t, filepath.Dir(path), "x.jsonl", []byte(content))
		set, err := NewSet(Options{Paths: []string{path}})
		if err != nil {
			t.Fatal(err)
		}
		s := set.Source()
		s.Prove([]pipeline.Positions{{}, {p: first.marks[p]}})
		r := read{make(map[string][]line), make(pipeline.Positions)}
		err = drain(t, s, nil, &r)
		var refused *PositionError
		if want == "" && err != nil || want != "" && (!errors.As(err, &refused) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: error %v, want one with %q", content, err, want)
		}
		if n := int64(strings.Count(content, "\n")); want == "" && r.marks[p].Next != n {
			t.Errorf("%q: read to line %d, want %d", content, r.marks[p].Next, n)
		}
	}
}

func mustAnchor(t testing.TB, path string) string {
	t.Helper()
	got, err := readAll(t, Options{Paths: []string{path}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.marks[pipeline.Partition{Topic: path}].Anchor
}

func TestDamagedArchivesNameThePlace(t *testing.T) {
	const secret = "a-value-that-no-error-shows"
	text := []byte(strings.Repeat(secret+" and so on\n", 3000))
	flip := func(p []byte, at int) []byte {
		p = bytes.Clone(p)
		p[at] ^= 0x55
		return p
	}
	g, z := gz(t, text), zst(t, text)
	for _, test := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"cut.gz", g[:len(g)/2], fmt.Sprintf("gzip data ends early, at byte %d", len(g)/2)},
		{"sum.gz", g[:len(g)-3], fmt.Sprintf("gzip data ends early, at byte %d", len(g)-3)},
		{"head.gz", g[:5], "gzip data ends early, at byte 5"},
		{"crc.gz", flip(g, len(g)-6), fmt.Sprintf("gzip data is damaged, before byte %d", len(g))},
		{"junk.gz", append(bytes.Clone(g), "junk that follows"...), fmt.Sprintf("gzip data is damaged, before byte %d", len(g)+17)},
		{"cut.zst", z[:len(z)/2], fmt.Sprintf("zstd data ends early, at byte %d", len(z)/2)},
		{"crc.zst", flip(z, len(z)-2), fmt.Sprintf("zstd data is damaged, before byte %d", len(z))},
		{"short.gz", g[:1], "has 1 bytes: no compressed file is that short"},
		{"none.zst", nil, "has 0 bytes: no compressed file is that short"},
		{"x.zip", []byte("PK\x03\x04rest"), "is a zip archive, which is not read"},
		{"x.jsonl", []byte("PAR1rest"), "is a Parquet file, which is not read"},
	} {
		path := write(t, t.TempDir(), test.name, test.bytes)
		_, err := readAll(t, Options{Paths: []string{path}}, nil)
		if err == nil || err.Error() != "files: "+path+": "+test.want {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows a value", test.name)
		}
	}
}

func TestCompressionIsToldByContent(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.jsonl", gz(t, []byte("one\n")))
	write(t, dir, "b.log", zst(t, []byte("two\n")))
	write(t, dir, "c.gz", []byte("three\n"))
	got, err := readAll(t, Options{Paths: []string{dir + "/*"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]line{dir + "/a.jsonl": {{0, "one", false}}, dir + "/b.log": {{0, "two", false}}, dir + "/c.gz": {{0, "three", false}}}
	if d := cmp.Diff(want, got.lines); d != "" {
		t.Error(d)
	}
}

func TestSetFindsFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b/2.jsonl", "b/1.jsonl", "a/deep/3.jsonl", "a/[odd].jsonl", "a/other.txt"} {
		write(t, dir, name, []byte(name+"\n"))
	}
	if err := os.Symlink(filepath.Join(dir, "b/1.jsonl"), filepath.Join(dir, "b/link.jsonl")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "b/2.jsonl"), filepath.Join(dir, "a/before.jsonl")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	all := []string{"a/[odd].jsonl", "a/deep/3.jsonl", "b/1.jsonl", "b/2.jsonl"}
	for _, test := range []struct {
		paths []string
		want  []string
		err   string
	}{
		{[]string{"**/*.jsonl"}, all, ""},
		{[]string{"./b/../**/*.jsonl", dir + "/b/2.jsonl", "b/2.jsonl"}, all, ""},
		{[]string{"a/[odd].jsonl"}, all[:1], ""},
		{[]string{"b/*.jsonl", "a/*.jsonl"}, []string{"a/[odd].jsonl", "b/1.jsonl", "b/2.jsonl"}, ""},
		{[]string{"a/*.jsonl"}, []string{"a/[odd].jsonl", "a/before.jsonl"}, ""},
		{[]string{"b/*.jsonl", "c/*.jsonl"}, nil, "files: c/*.jsonl: no such file, and no file matches"},
		{[]string{"b/9.jsonl"}, nil, "files: b/9.jsonl: no such file, and no file matches"},
		{[]string{"b"}, nil, "files: b is a folder: b/* would match the files in it"},
		{[]string{"b/[1.jsonl"}, nil, "files: b/[1.jsonl: syntax error in pattern"},
		{nil, nil, "files: paths: at least one is needed"},
	} {
		set, err := NewSet(Options{Paths: test.paths})
		if test.err != "" || err != nil {
			if err == nil || err.Error() != test.err {
				t.Errorf("%v: %v, want %s", test.paths, err, test.err)
			}
			continue
		}
		var names []string
		for _, f := range set.files {
			rel, err := filepath.Rel(dir, f.name)
			if err != nil || !filepath.IsAbs(f.name) {
				t.Fatal(f.name, err)
			}
			names = append(names, rel)
		}
		if d := cmp.Diff(test.want, names); d != "" {
			t.Errorf("%v: %s", test.paths, d)
		}
	}
	write(t, dir, "d/\xff.jsonl", []byte("x\n"))
	if _, err := NewSet(Options{Paths: []string{"d/*"}}); err == nil || !strings.Contains(err.Error(), `\xff.jsonl": the name is not UTF-8`) {
		t.Errorf("error %v for a name that is not UTF-8", err)
	}
	if _, err := NewSet(Options{Paths: []string{"b/1.jsonl"}, MaxMessageBytes: -1}); err == nil {
		t.Error("a negative limit passes")
	}
}

func TestWorkersShareTheFiles(t *testing.T) {
	dir := t.TempDir()
	want := make(map[string][]line)
	for i := range 20 {
		name := write(t, dir, fmt.Sprintf("%02d.jsonl", i), []byte(strings.Repeat("v\n", i+1)))
		for n := range i + 1 {
			want[name] = append(want[name], line{int64(n), "v", false})
		}
	}
	set, err := NewSet(Options{Paths: []string{dir + "/*"}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	results := make([]read, 2)
	for i := range results {
		results[i] = read{make(map[string][]line), make(pipeline.Positions)}
		wg.Go(func() {
			if err := drain(t, set.Source(), nil, &results[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := make(map[string][]line)
	for _, r := range results {
		for name, list := range r.lines {
			got[name] = append(got[name], list...) // twice if two workers had it
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if read, total := set.Progress(); read != total || set.Len() != 20 {
		t.Errorf("%d of %d bytes, %d files", read, total, set.Len())
	}
}

func TestFileThatChangesWhileReadStops(t *testing.T) {
	path := write(t, t.TempDir(), "x.jsonl", bytes.Repeat([]byte("a line of text\n"), 200000))
	set, err := NewSet(Options{Paths: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	s := set.Source()
	defer s.Close()
	if err := s.Open(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("one more\n")
	f.Close()
	for err == nil {
		_, err = s.Next(t.Context())
	}
	if err.Error() != "files: "+path+": changed while it was read" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
