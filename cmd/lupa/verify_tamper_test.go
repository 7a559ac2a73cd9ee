package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/pipeline"
)

// What a test needs to change tables behind the back of whoever wrote them.

// object is a JSON object.
type object = map[string]any

// metadata changes a table's current metadata file in place.
func (j *judgedJob) metadata(t *testing.T, table string, change func(m object)) {
	t.Helper()
	m := j.readMetadata(t, table)
	change(m)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(j.metadataFile(t, table), text, 0o640); err != nil {
		t.Fatal(err)
	}
}

func (j *judgedJob) readMetadata(t *testing.T, table string) (m object) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(readAll(t, j.metadataFile(t, table))))
	d.UseNumber() // snapshot ids do not fit a float
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

// metadataFile is the newest one. A table has few, and their names are numbered.
func (j *judgedJob) metadataFile(t *testing.T, table string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(j.warehouse(), table, "metadata", "*.metadata.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no metadata of %s: %v", table, err)
	}
	return slices.Max(paths)
}

// property changes one of a table's properties.
func (j *judgedJob) property(t *testing.T, table, key string, change func(old string) string) {
	t.Helper()
	j.metadata(t, table, func(m object) { changeText(t, m["properties"].(object), key, change) })
}

// last is the newest snapshot.
const last = -1

// summary changes an entry of the summary of the n-th snapshot, or of the last.
func (j *judgedJob) summary(t *testing.T, table string, n int, key string, change func(old string) string) {
	t.Helper()
	j.metadata(t, table, func(m object) {
		all := m["snapshots"].([]any)
		changeText(t, all[(n+len(all))%len(all)].(object)["summary"].(object), key, change)
	})
}

// changeText changes what stands under a key, or under the only one that begins
// with it; nothing removes it.
func changeText(t *testing.T, in object, key string, change func(old string) string) {
	t.Helper()
	if strings.HasSuffix(key, "*") {
		var found []string
		for name := range in {
			if strings.HasPrefix(name, key[:len(key)-1]) {
				found = append(found, name)
			}
		}
		if len(found) == 0 {
			t.Fatalf("nothing begins with %s", key)
		}
		key = slices.Min(found)
	}
	old, _ := in[key].(string)
	if text := change(old); text != "" {
		in[key] = text
	} else {
		delete(in, key)
	}
}

// plus adds to a number.
func plus(n int64) func(string) string {
	return func(old string) string {
		var v int64
		if _, err := fmt.Sscan(old, &v); err != nil {
			v = 0
		}
		return fmt.Sprint(v + n)
	}
}

// movePlus adds to the "from" or "next" of an interval or a position.
func movePlus(t *testing.T, member string, n int64) func(string) string {
	return func(old string) string {
		var v object
		if err := json.Unmarshal([]byte(old), &v); err != nil {
			t.Fatal(err)
		}
		v[member] = v[member].(float64) + float64(n)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

func to(text string) func(string) string { return func(string) string { return text } }

// storedFile is a data file with its columns.
type storedFile struct {
	path    string
	columns []string
	rows    []parquet.Row
	schema  *parquet.Schema
}

// dataFile gives the first file of a table in which pick finds a row, and the
// row's number.
func (j *judgedJob) dataFile(t *testing.T, table string, pick func(f *storedFile, row parquet.Row) bool) (*storedFile, int) {
	t.Helper()
	f, i := j.findRow(t, table, pick)
	if f == nil {
		t.Fatalf("no row of %s is as it should be", table)
	}
	return f, i
}

func (j *judgedJob) findRow(t *testing.T, table string, pick func(f *storedFile, row parquet.Row) bool) (*storedFile, int) {
	t.Helper()
	for _, path := range filesIn(t, filepath.Join(j.warehouse(), table, "data")) {
		f := readStored(t, path)
		for i, row := range f.rows {
			if pick(f, row) {
				return f, i
			}
		}
	}
	return nil, 0
}

// twoRows gives two rows of one file.
func (j *judgedJob) twoRows(t *testing.T, table string, pick func(f *storedFile, a, b parquet.Row) bool) (f *storedFile, a, b int) {
	t.Helper()
	f, a = j.dataFile(t, table, func(f *storedFile, row parquet.Row) bool {
		b = slices.IndexFunc(f.rows, func(other parquet.Row) bool { return pick(f, row, other) })
		return b >= 0
	})
	return f, a, b
}

func readStored(t *testing.T, path string) *storedFile {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r := parquet.NewReader(file)
	defer r.Close()
	f := &storedFile{path: path, schema: r.Schema()}
	for _, c := range r.Schema().Columns() {
		f.columns = append(f.columns, c[0])
	}
	buf := make([]parquet.Row, 100)
	for {
		n, err := r.ReadRows(buf)
		for _, row := range buf[:n] {
			f.rows = append(f.rows, row.Clone())
		}
		if errors.Is(err, io.EOF) {
			return f
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// at gives the index of a column's only value in a row.
func (f *storedFile) at(row parquet.Row, column string) int {
	c := slices.Index(f.columns, column)
	return slices.IndexFunc(row, func(v parquet.Value) bool { return v.Column() == c })
}

// text gives the text of a column in a row, empty for null.
func (f *storedFile) text(row parquet.Row, column string) string {
	if v := row[f.at(row, column)]; !v.IsNull() {
		return string(v.ByteArray())
	}
	return ""
}

func (f *storedFile) offset(row parquet.Row) int64 { return row[f.at(row, "_src_offset")].Int64() }

// set puts a value into a column of a row.
func (f *storedFile) set(row parquet.Row, column string, v parquet.Value) {
	i := f.at(row, column)
	definition := 1
	if row[i].DefinitionLevel() == 0 && !row[i].IsNull() {
		definition = 0 // a required column
	}
	row[i] = v.Level(0, definition, row[i].Column())
}

// store writes the file anew and makes the table's metadata agree with it.
func (j *judgedJob) store(t *testing.T, table string, f *storedFile) {
	t.Helper()
	var body bytes.Buffer
	w := parquet.NewWriter(&body, f.schema)
	if _, err := w.WriteRows(f.rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path, body.Bytes(), 0o640); err != nil {
		t.Fatal(err)
	}
	j.rehash(t, table, f.path)
	j.manifests(t, table, func(entry object) bool {
		data := entry["data_file"].(object)
		if !strings.HasSuffix(data["file_path"].(string), f.path) {
			return false
		}
		data["record_count"], data["file_size_in_bytes"] = int64(len(f.rows)), int64(body.Len())
		return true
	})
}

// rehash makes the snapshot that added a file name its hash as it is now.
func (j *judgedJob) rehash(t *testing.T, table, path string) {
	t.Helper()
	sum := sha256.Sum256(readAll(t, path))
	name, done := filepath.Base(path), false
	j.metadata(t, table, func(m object) {
		for _, s := range m["snapshots"].([]any) {
			summary := s.(object)["summary"].(object)
			var hashes map[string]string
			if err := json.Unmarshal([]byte(summary["lupa.files.sha256"].(string)), &hashes); err != nil {
				t.Fatal(err)
			}
			if _, ok := hashes[name]; !ok {
				continue
			}
			hashes[name], done = hex.EncodeToString(sum[:]), true
			text, err := json.Marshal(hashes)
			if err != nil {
				t.Fatal(err)
			}
			summary["lupa.files.sha256"] = string(text)
		}
	})
	if !done {
		t.Fatalf("no commit names %s", name)
	}
}

// manifests changes every entry of a table's manifests for which change gives
// true, which must be one at least.
func (j *judgedJob) manifests(t *testing.T, table string, change func(entry object) bool) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(j.warehouse(), table, "metadata", "*-m*.avro"))
	if err != nil {
		t.Fatal(err)
	}
	changed := false
	for _, path := range paths {
		r, err := ocf.NewReader(bytes.NewReader(readAll(t, path)))
		if err != nil {
			t.Fatal(err)
		}
		var entries []any
		touched := false
		for {
			var e any
			if err := r.Decode(&e); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			touched = change(e.(object)) || touched
			entries = append(entries, e)
		}
		if touched {
			changed = true
			writeAvro(t, path, r.Schema(), entries)
		}
	}
	if !changed {
		t.Fatal("no manifest was changed")
	}
}

func writeAvro(t *testing.T, path string, schema *avro.Schema, entries []any) {
	t.Helper()
	var body bytes.Buffer
	w, err := ocf.NewWriter(&body, schema)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, body.Bytes(), 0o640); err != nil {
		t.Fatal(err)
	}
}

// messages gives the values of a topic by where they stand.
func (b *broker) messages(t *testing.T, topic string) map[place][]byte {
	t.Helper()
	ends, err := b.kafka.EndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	left := int64(0)
	for _, end := range ends {
		left += end
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	all := map[place][]byte{}
	for int64(len(all)) < left {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			all[place{pipeline.Partition{Topic: r.Topic, ID: r.Partition}, r.Offset}] = r.Value
		})
	}
	return all
}
