package main

import (
	"bytes"
	"compress/flate"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"lupa/connectors/quarantine"
)

// TestSearchFindsWhatAContractLeaks runs the same input under a contract that
// stores e-mail addresses as they are. The search that passes the embedded
// contracts must find them, in every place where a Parquet file has them.
func TestSearchFindsWhatAContractLeaks(t *testing.T) {
	c := leakCase{settings: leakSettings{defaults: true}, people: 900, texts: 2000, excluded: 4}
	input := segmentInput(t)
	list := newLeakJob(t, c.settings, input).search(t, &c)

	leaking := newLeakJob(t, leakSettings{defaults: true, contracts: "testdata/leaks/leaking"}, input)
	leaking.backfill(t)
	res, _, _ := leaking.checkRepeated(t)
	leaking.checkCounts(t, res)
	found := map[string]map[int32]bool{}
	for _, h := range newScanner(list).scan(readTree(t, leaking.out())) {
		if !strings.HasPrefix(h.place, "warehouse/tracks/data/") {
			t.Fatalf("found in %s, which the contract did not change", h.place)
		}
		_, part, _ := strings.Cut(h.place, ".parquet")
		if found[part] == nil {
			found[part] = map[int32]bool{}
		}
		found[part][h.canary] = true
	}
	want := leaking.storedEmails(t, list)
	if len(want) < 20 {
		t.Fatalf("%d addresses are stored: too few to tell anything", len(want))
	}
	for _, part := range []string{" column email", " column email page", " bounds of email"} {
		if len(found[part]) == 0 {
			t.Errorf("nothing is found in%s", part)
		}
	}
	for i := range want {
		// In a page the length of the next value may look like a letter, so a
		// short value is sure to be found as a reader gets it, and only there.
		if !found[" column email"][i] || !list[i].whole && !found[" column email page"][i] {
			t.Errorf("an address that is stored is not found: that of %s", list[i].place)
		}
	}
}

// storedEmails gives the canaries that stand in the e-mail column of tracks.
func (j *leakJob) storedEmails(t *testing.T, list []canary) map[int32]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(j.out(), "warehouse", "tracks", "data", "*", "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]bool{}
	for _, file := range files {
		rows, err := parquet.ReadFile[struct {
			Email *string `parquet:"email,optional"`
		}](file)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.Email != nil {
				stored[*r.Email] = true
			}
		}
	}
	want := map[int32]bool{}
	for i := range list {
		if stored[list[i].value] {
			want[int32(i)] = true
		}
	}
	return want
}

// TestSearchFindsWhatIsPlanted puts one value into one place of what a job
// left behind, and expects the search to find it there and nothing else.
func TestSearchFindsWhatIsPlanted(t *testing.T) {
	c := leakCase{settings: leakSettings{defaults: true, sealed: true}, people: 180, texts: 350, excluded: 4}
	j := newLeakJob(t, c.settings, segmentInput(t)[1:])
	stdout, stderr := j.backfill(t)
	list := j.search(t, &c)
	s := newScanner(list)
	target := slices.IndexFunc(list, func(x canary) bool { return x.class == emailCanary && plainEmail.MatchString(x.value) })
	if target < 0 {
		t.Fatal("there is no address to plant")
	}
	value := list[target].value

	for _, p := range []struct {
		name  string
		plant func(t *testing.T, dir string)
		log   string
		place string // how the place ends in which it must be found
	}{
		{name: "nothing"},
		{name: "a line of the log", log: "level=DEBUG msg=seen value=" + value + "\n", place: "stderr"},
		{name: "a line of the log, escaped", log: `msg="GET /?mail=` + strings.ReplaceAll(value, "@", "%40") + `"`, place: "stderr"},
		{
			name: "a message that is not sealed", place: " payload",
			plant: func(t *testing.T, dir string) {
				plantEntry(t, dir, quarantine.Entry{Reason: "wrong_type", Payload: []byte(`{"a":1,"b":{"c":"` + value + `"}}`)})
			},
		},
		{
			name: "the entry of a message", place: " entry",
			plant: func(t *testing.T, dir string) {
				plantEntry(t, dir, quarantine.Entry{Reason: "wrong_type", Field: value})
			},
		},
		{
			name: "the name of a file", place: "names of files",
			plant: func(t *testing.T, dir string) { write(t, dir, "warehouse/tracks/data/.tmp-"+value, "") },
		},
		{
			name: "the name of a directory, in hexadecimal", place: "names of files",
			plant: func(t *testing.T, dir string) {
				write(t, dir, "warehouse/tracks/data/"+hex.EncodeToString([]byte(value))+"/empty", "")
			},
		},
		{
			name: "a lock", place: "tracks.lock",
			plant: func(t *testing.T, dir string) { write(t, dir, "warehouse/tracks.lock", value) },
		},
		{
			name: "the metadata of a table, in base64", place: ".metadata.json",
			plant: func(t *testing.T, dir string) {
				appendTo(t, anyFile(t, dir, "warehouse/tracks/metadata/*.metadata.json"),
					`{"bound":"`+base64.StdEncoding.EncodeToString([]byte("x="+value+";"))+`"}`)
			},
		},
		{
			name: "a block of a manifest", place: ".avro block",
			plant: func(t *testing.T, dir string) {
				file := anyFile(t, dir, "warehouse/tracks/metadata/*-m1.avro")
				appendTo(t, file, string(avroBlock(t, readAll(t, file), hiding(value))))
			},
		},
		{
			name: "the header of a manifest", place: ".avro header",
			plant: func(t *testing.T, dir string) { write(t, dir, "warehouse/tracks/metadata/x.avro", avroFile(value)) },
		},
		{
			name: "a row of the catalog", place: "catalog.db table notes",
			plant: func(t *testing.T, dir string) { plantRow(t, filepath.Join(dir, "warehouse", "catalog.db"), value) },
		},
		{
			name: "the footer of a data file", place: ".parquet footer",
			plant: func(t *testing.T, dir string) {
				plantParquet(t, dir, []string{"nothing"}, parquet.KeyValueMetadata("note", value))
			},
		},
		{
			name: "a page of a data file", place: ".parquet column name page",
			plant: func(t *testing.T, dir string) { plantParquet(t, dir, []string{"!", string(hiding(value)), "~"}) },
		},
		{
			name: "the bounds of a column", place: ".parquet bounds of name",
			plant: func(t *testing.T, dir string) { plantParquet(t, dir, []string{value, value}) },
		},
	} {
		t.Run(p.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			if err := os.CopyFS(dir, os.DirFS(j.out())); err != nil {
				t.Fatal(err)
			}
			if p.plant != nil {
				p.plant(t, dir)
			}
			left := append(readTree(t, dir),
				section{place: "stdout", data: []byte(stdout)}, section{place: "stderr", data: []byte(stderr + p.log)})
			hits := s.scan(left)
			if p.place != "" && !hasPlace(hits, p.place) {
				t.Errorf("it is not found in%s", p.place)
			}
			for _, h := range hits {
				// The value stands in texts of the input that are canaries too.
				if p.place == "" || !strings.Contains(value, list[h.canary].value) && !strings.Contains(list[h.canary].value, value) {
					t.Errorf("more is found: %s", describe(list, []hit{h}))
				}
			}
		})
	}
}

// hiding gives bytes that hold the value, and do not once they are compressed:
// both halves stand before it, so that it is made of repetitions.
func hiding(value string) []byte {
	half := len(value) / 2
	var b []byte
	for range 4 {
		b = append(append(append(append(b, value[:half]...), "\x00--\x00"...), value[half:]...), "\x00..\x00"...)
	}
	return append(append(b, value...), 0)
}

func TestHidingIsUndoneByUnpacking(t *testing.T) {
	value := "eeva.meikalainen@posti.example"
	list := []canary{{value: value, class: emailCanary, place: "a test"}}
	s := newScanner(list)
	dir := t.TempDir()
	plantParquet(t, dir, []string{"!", string(hiding(value)), "~"})
	write(t, dir, "x-m1.avro", avroFile("nothing"))
	appendTo(t, filepath.Join(dir, "x-m1.avro"), string(avroBlock(t, []byte(avroFile("nothing")), hiding(value))))
	h := readTree(t, dir)
	for _, sec := range h {
		if packed := strings.HasSuffix(sec.place, ".parquet") || strings.HasSuffix(sec.place, ".avro"); packed && bytes.Contains(sec.data, []byte(value)) {
			t.Errorf("%s holds the value as it is and proves nothing", sec.place)
		}
	}
	hits := s.scan(h)
	for _, place := range []string{" column name page", " column name", ".avro block"} {
		if !hasPlace(hits, place) {
			t.Errorf("it is not found in%s", place)
		}
	}
}

func anyFile(t *testing.T, dir, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file is like %s: %v", pattern, err)
	}
	return files[0]
}

func appendTo(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func plantEntry(t *testing.T, dir string, e quarantine.Entry) {
	t.Helper()
	line, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "quarantine/rejects-planted.jsonl", string(line)+"\n")
}

// avroFile is an object container file without blocks.
func avroFile(note string) string {
	b := binary.AppendVarint([]byte("Obj\x01"), 2)
	for _, text := range []string{"avro.codec", "deflate", "note", note} {
		b = append(binary.AppendVarint(b, int64(len(text))), text...)
	}
	return string(append(b, "\x00sixteen bytes...."[:17]...))
}

// avroBlock is a block that may follow in an object container file, which ends
// with its mark.
func avroBlock(t *testing.T, file, content []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b := binary.AppendVarint(binary.AppendVarint(nil, 1), int64(packed.Len()))
	return append(append(b, packed.Bytes()...), file[len(file)-16:]...)
}

func plantRow(t *testing.T, file, value string) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`CREATE TABLE notes (note TEXT)`, `INSERT INTO notes VALUES ('` + value + `')`} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// plantParquet writes a data file. The least and the greatest name stand in its
// footer too.
func plantParquet(t *testing.T, dir string, names []string, options ...parquet.WriterOption) {
	t.Helper()
	type row struct {
		Name string `parquet:"name,zstd"`
	}
	var rows []row
	for _, name := range names {
		rows = append(rows, row{name})
	}
	file := filepath.Join(dir, "warehouse", "tracks", "data", "planted.parquet")
	write(t, dir, "warehouse/tracks/data/planted.parquet", "")
	if err := parquet.WriteFile(file, rows, options...); err != nil {
		t.Fatal(err)
	}
}
