package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/parquet-go/parquet-go"
)

// allRows writes down the rows of files, one a line.
func allRows(t *testing.T, o RowOptions) string {
	t.Helper()
	text, err := readRows(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func readRows(t *testing.T, o RowOptions) (string, error) {
	t.Helper()
	r, err := OpenRows(o)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var b strings.Builder
	for {
		row, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			if read, total := r.Progress(); read < total-16 {
				t.Errorf("%d of %d bytes were read", read, total)
			}
			return b.String(), r.Close()
		}
		if err != nil {
			return b.String(), err
		}
		place := strings.TrimPrefix(row.Place(), filepath.Dir(row.File)+"/")
		if row.Fault != nil {
			fmt.Fprintf(&b, "%s: fault: %v\n", place, row.Fault)
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", place, row.JSON)
	}
}

func TestRowsOfText(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write([]byte("a\tb\n1\t2\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, file, text string
		o                RowOptions
		want             string
	}{
		{"quotes, empty cells and lines within", "x.csv", "\xef\xbb\xbfa,\"b \"\"c\"\"\",d\r\n1,,\"x\n\\\"\"y\"\r\n,\"\",\r\n3,4,5", RowOptions{},
			"x.csv:2: {\"a\":\"1\",\"d\":\"x\\u000a\\\\\\\"y\"}\nx.csv:4: {}\nx.csv:5: {\"a\":\"3\",\"b \\\"c\\\"\":\"4\",\"d\":\"5\"}\n"},
		{"rows that are none", "x.csv", "a,b\n1\n1,2,3\n1,x\"y\n5,6\n", RowOptions{},
			"x.csv:2: fault: the row has more or fewer columns than the row of names\n" +
				"x.csv:3: fault: the row has more or fewer columns than the row of names\n" +
				"x.csv:4: fault: the row is not CSV: a quote stands where none may, or is not closed\n" +
				"x.csv:5: {\"a\":\"5\",\"b\":\"6\"}\n"},
		{"a delimiter and a column without a name", "x.txt", "a;;c\n1;2;3\n", RowOptions{Format: RowsCSV, Delimiter: ';'}, "x.txt:2: {\"a\":\"1\",\"c\":\"3\"}\n"},
		{"latin1", "x.csv", "n\xe4me\n\xe9\n", RowOptions{Latin1: true}, "x.csv:2: {\"näme\":\"é\"}\n"},
		{"tabs, compressed", "x.tsv.gz", zipped.String(), RowOptions{}, "x.tsv.gz:2: {\"a\":\"1\",\"b\":\"2\"}\n"},
		{"JSON lines", "x.jsonl", "{\"a\":1}\n\nnot json", RowOptions{}, "x.jsonl:1: {\"a\":1}\nx.jsonl:3: not json\n"},
		{"a line that is too long", "x.ndjson", strings.Repeat("x", maxRow+1) + "\n{}\n", RowOptions{},
			"x.ndjson:1: fault: the row is longer than 16777216 bytes\nx.ndjson:2: {}\n"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, test.file), []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		test.o.Paths = []string{filepath.Join(dir, "x.*")}
		if d := cmp.Diff(test.want, allRows(t, test.o)); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
	}
}

func TestRowsThatCannotBeRead(t *testing.T) {
	for _, test := range []struct{ name, file, text, want string }{
		{"no format in the name", "x.dat", "a", "the name does not say the format, which must be one of csv, jsonl, parquet"},
		{"an empty file", "x.csv", "", "has no row of names"},
		{"a name twice", "x.csv", "a,b,a\n", "column 3 has the name of another"},
		{"a name that is not UTF-8", "x.csv", "\xe4\n", "the name of column 1 is not UTF-8; if it is ISO 8859-1, that must be said"},
		{"a quote that is not closed", "x.csv", "a\n\"" + strings.Repeat("secret\n", 3<<20), "the row is longer than 16777216 bytes, or a quote is not closed"},
		{"no Parquet", "x.parquet", "PAR1secretPAR1", "is no Parquet file that can be read"},
		{"another format", "x.csv", "PK\x03\x04secret", "is a zip archive, which is not read"},
	} {
		path := filepath.Join(t.TempDir(), test.file)
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readRows(t, RowOptions{Paths: []string{path}})
		if err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%s: error %v", test.name, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows what is in the file", test.name)
		}
	}
}

type parquetPerson struct {
	Email   string            `parquet:"email" json:"email"`
	Age     *int64            `parquet:"age,optional" json:"age,omitempty"`
	Big     uint64            `parquet:"big" json:"big"`
	On      bool              `parquet:"on" json:"on"`
	At      time.Time         `parquet:"at,timestamp(microsecond)" json:"at"`
	Address *parquetAddress   `parquet:"address,optional" json:"address,omitempty"`
	Choices []parquetChoice   `parquet:"choices,list" json:"choices"`
	Tags    []string          `parquet:"tags" json:"tags"`
	Deep    []parquetChoices  `parquet:"deep" json:"deep"`
	More    map[string]string `parquet:"more" json:"-"`
}

type parquetAddress struct {
	Country string `parquet:"country" json:"country"`
}

type parquetChoice struct {
	Purpose string  `parquet:"purpose" json:"purpose"`
	Status  *string `parquet:"status,optional" json:"status,omitempty"`
}

type parquetChoices struct {
	List []parquetChoice `parquet:"list" json:"list"`
}

// A row is what the library that wrote it would have written as JSON.
func TestRowsOfParquet(t *testing.T) {
	age, yes := int64(9007199254740993), "yes"
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)
	people := []parquetPerson{
		{Email: "a", Age: &age, Big: 1<<64 - 1, On: true, At: at, Address: &parquetAddress{"FI"},
			Choices: []parquetChoice{{"x", &yes}, {"y", nil}}, Tags: []string{"t", ""},
			Deep: []parquetChoices{{nil}, {[]parquetChoice{{"z", &yes}, {"z", nil}}}, {nil}}},
		{At: at},
		{Email: "c", At: at, Choices: []parquetChoice{{}}, Tags: []string{"only"}, Deep: []parquetChoices{{[]parquetChoice{{"q", nil}}}}},
	}
	path := filepath.Join(t.TempDir(), "x.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[parquetPerson](f)
	for i := range people {
		if _, err := w.Write(people[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(allRows(t, RowOptions{Paths: []string{path}}), "\n"), "\n")
	if len(lines) != len(people) {
		t.Fatalf("%d rows", len(lines))
	}
	for i, line := range lines {
		_, text, _ := strings.Cut(line, ": ")
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var got map[string]any
		if err := d.Decode(&got); err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
		delete(got, "more")
		var want map[string]any
		text2, err := json.Marshal(people[i])
		if err != nil {
			t.Fatal(err)
		}
		d = json.NewDecoder(bytes.NewReader(text2))
		d.UseNumber()
		if err := d.Decode(&want); err != nil {
			t.Fatal(err)
		}
		// The library writes no difference between none and an empty list.
		for _, name := range []string{"choices", "tags", "deep"} {
			if want[name] == nil {
				want[name] = []any{}
			}
		}
		for _, c := range append([]any{}, want["deep"].([]any)...) {
			if m := c.(map[string]any); m["list"] == nil {
				m["list"] = []any{}
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("row %d: %s", i, d)
		}
	}
}

// Files that others have published are read, or refused, and never end the
// process; and what is read of them is JSON.
func TestRowsOfPublishedParquet(t *testing.T) {
	root := os.Getenv("LUPA_SHARED_DATA")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared", "data")
	}
	good, err := filepath.Glob(filepath.Join(root, "parquet-testing", "data", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	bad, err := filepath.Glob(filepath.Join(root, "parquet-testing", "bad_data", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	if len(good) == 0 || len(bad) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("there are no files")
		}
		t.Skip("SKIPPED: there are no files of other writers")
	}
	refused, rows := 0, 0
	for _, path := range append(good, bad...) {
		if filepath.Base(path) == "large_string_map.brotli.parquet" {
			continue // two values of a gigabyte
		}
		r, err := OpenRows(RowOptions{Paths: []string{path}})
		if err != nil {
			t.Fatal(err)
		}
		for {
			row, err := r.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				refused++
				break
			}
			rows++
			// Bytes that are no text stay as they are, for the mapping to refuse.
			if !json.Valid(bytes.ToValidUTF8(row.JSON, []byte("?"))) {
				t.Fatalf("%s: no JSON", row.Place())
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if refused > len(bad)+6 || rows < 1000 {
		t.Errorf("%d files refused, %d rows", refused, rows)
	}
}

func FuzzRowsOfCSV(f *testing.F) {
	f.Add([]byte("a,b\n1,\"2\"\n"))
	f.Add([]byte("a\n\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "x.csv")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := OpenRows(RowOptions{Paths: []string{path}})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for {
			row, err := r.Next(t.Context())
			if err != nil {
				return
			}
			if row.Fault == nil && !json.Valid(row.JSON) {
				t.Fatal("a row is no JSON")
			}
		}
	})
}
