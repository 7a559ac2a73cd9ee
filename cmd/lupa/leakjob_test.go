package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"filippo.io/age"

	"lupa/schemas"
)

// sharedData gives the path of a file of real input.
func sharedData(t *testing.T, parts ...string) string {
	t.Helper()
	dir := os.Getenv("LUPA_SHARED_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	path := filepath.Join(append([]string{dir}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("shared data %s is not there", filepath.Join(parts...))
		}
		t.Skipf("SKIPPED: shared data %s is not there", filepath.Join(parts...))
	}
	return path
}

// leakJob is one backfill. Its input lies in in/ and ledger/, and everything
// that it leaves behind in out/.
type leakJob struct {
	dir       string
	contracts []*schemas.Contract
	files     []string // of events, as the job names them
	messages  []message
	identity  *age.X25519Identity // nil: the quarantine holds no messages
}

// message is one line of the input, read without any code of the program.
type message struct {
	file   string
	line   int64
	raw    []byte
	object map[string]any // nil if it is not a JSON object that is well-formed
	tables []int          // the contracts that take it
}

// leakInput is what a job reads: the bytes of its event files.
type leakInput [][]byte

// leakSettings are what differs between the jobs.
type leakSettings struct {
	contracts string // directory with contracts of the job's own
	defaults  bool   // also the embedded contracts
	sealed    bool   // rejected messages are put aside with their content
}

// newLeakJob lays out a job. The ledger is written over the identifiers that
// the test itself finds in the input.
func newLeakJob(t *testing.T, settings leakSettings, input leakInput) *leakJob {
	t.Helper()
	j := &leakJob{dir: t.TempDir()}
	var err error
	contracts := ContractsConfig{Dir: settings.contracts, Defaults: settings.defaults}
	if j.contracts, err = loadContracts(contracts); err != nil {
		t.Fatal(err)
	}
	for i, data := range input {
		name := fmt.Sprintf("in/%04d.jsonl", i)
		write(t, j.dir, name, string(data))
		j.files = append(j.files, filepath.Join(j.dir, name))
		j.read(t, filepath.Join(j.dir, name), data)
	}
	write(t, j.dir, "ledger/ledger.jsonl", string(j.ledger()))
	if err := initKeys(io.Discard, filepath.Join(j.dir, "lupa.keys"), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("keys: {file: lupa.keys}\nledger: {file: ledger/*.jsonl}\nevents: {files: {paths: [in/*.jsonl]}}\n"+
		"contracts: {defaults: %t}\nwarehouse: {dir: out/warehouse}\nquarantine: {dir: out/quarantine}\n", settings.defaults)
	if settings.contracts != "" {
		dir, err := filepath.Abs(settings.contracts)
		if err != nil {
			t.Fatal(err)
		}
		config = strings.Replace(config, "contracts: {", "contracts: {dir: "+dir+", ", 1)
	}
	if settings.sealed {
		if j.identity, err = age.GenerateX25519Identity(); err != nil {
			t.Fatal(err)
		}
		config = strings.Replace(config, "out/quarantine}", "out/quarantine, recipient: "+j.identity.Recipient().String()+"}", 1)
	}
	write(t, j.dir, "lupa.yaml", config)
	return j
}

// backfill runs the job and gives what it printed and logged.
func (j *leakJob) backfill(t *testing.T, flags ...string) (stdout, stderr string) {
	t.Helper()
	return overheard(t, append([]string{"backfill", "-c", filepath.Join(j.dir, "lupa.yaml"), "--log-level", "debug"}, flags...)...)
}

// overheard runs a command to its good end. What libraries print and log
// beside the command's own output is part of stderr.
func overheard(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "overheard"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out, errs, logs := os.Stdout, os.Stderr, log.Writer()
	os.Stdout, os.Stderr = file, file
	log.SetOutput(file)
	code, stdout, stderr := command(t, args...)
	os.Stdout, os.Stderr = out, errs
	log.SetOutput(logs)
	if code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	return stdout, stderr + string(readAll(t, file.Name()))
}

// out is the directory of everything that the job leaves behind.
func (j *leakJob) out() string { return filepath.Join(j.dir, "out") }

// read splits a file into messages and says which contracts take each.
func (j *leakJob) read(t *testing.T, file string, data []byte) {
	line := int64(-1)
	for raw := range bytes.Lines(data) {
		line++
		if raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r")); len(raw) == 0 {
			continue // an empty line is no message
		}
		m := message{file: file, line: line, raw: raw, object: parseObject(raw)}
		for i, c := range j.contracts {
			if m.object != nil && takes(c, m.object) {
				m.tables = append(m.tables, i)
			}
		}
		j.messages = append(j.messages, m)
	}
	if line < 0 {
		t.Fatal("an input without messages tests nothing")
	}
}

// parseObject gives nil for what is no well-formed object. Where a key comes
// twice, its last value stands.
func parseObject(raw []byte) map[string]any {
	const maxBytes, maxDepth = 1 << 20, 64
	if len(raw) > maxBytes || !utf8.Valid(raw) || !json.Valid(raw) || depth(raw) > maxDepth {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil
	}
	object, _ := v.(map[string]any)
	return object
}

// depth is how deeply brackets nest outside of strings.
func depth(raw []byte) (deepest int) {
	now, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

func takes(c *schemas.Contract, object map[string]any) bool {
	for _, m := range c.Where {
		s, ok := at(object, m.Path).(string)
		if !ok || !strings.EqualFold(s, m.Value) {
			return false
		}
	}
	return true
}

// at gives the value at a path, or nil.
func at(object map[string]any, path schemas.Path) any {
	var v any = object
	for _, step := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[step]
	}
	return v
}

// scalarText gives a text, number or boolean as it is spelled.
func scalarText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return fmt.Sprint(v)
	}
	return ""
}

// canaries collects those of all messages.
func (j *leakJob) canaries(t *testing.T) *canaries {
	t.Helper()
	c := &canaries{}
	for _, m := range j.messages {
		if json.Valid(m.raw) {
			c.collect(t, fmt.Sprintf("%s:%d", filepath.Base(m.file), m.line+1), m.raw)
		}
	}
	return c
}

// keptValues are the values that the contracts keep as they are, one section a
// column. They are read from all messages, permitted or not.
func (j *leakJob) keptValues() haystack {
	return j.columnValues(func(f *schemas.Field, value string) string {
		if f.Treatment.Technique != schemas.Keep || f.Type == schemas.Timestamp || f.Type == schemas.Date {
			return ""
		}
		return value
	})
}

// strippedURLs are the places that URLs lead to, with the parameters that may
// stay, one section a column.
func (j *leakJob) strippedURLs() haystack {
	return j.columnValues(func(f *schemas.Field, value string) string {
		if f.Treatment.Technique != schemas.StripQuery {
			return ""
		}
		value, _, _ = strings.Cut(value, "#")
		place, query, _ := strings.Cut(value, "?")
		var stay []string
		for parameter := range strings.SplitSeq(query, "&") {
			if name, _, _ := strings.Cut(parameter, "="); slices.Contains(f.Treatment.Allow, name) {
				stay = append(stay, parameter)
			}
		}
		if len(stay) > 0 {
			place += "?" + strings.Join(stay, "&")
		}
		return place
	})
}

// networks are what is left of addresses, one section a column.
func (j *leakJob) networks() haystack {
	return j.columnValues(func(f *schemas.Field, value string) string {
		a, err := netip.ParseAddr(value)
		if f.Treatment.Technique != schemas.TruncateIP || err != nil {
			return ""
		}
		bits := 24
		if a.Is6() {
			bits = 48
		}
		network, err := a.Prefix(bits)
		if err != nil {
			return ""
		}
		return network.Addr().String()
	})
}

// columnValues collects what is left of the values of each column.
func (j *leakJob) columnValues(left func(f *schemas.Field, value string) string) (h haystack) {
	values := map[string]map[string]bool{}
	for _, m := range j.messages {
		for _, table := range m.tables {
			c := j.contracts[table]
			for i := range c.Fields {
				f := &c.Fields[i]
				column := c.Table + "." + f.Name
				if values[column] == nil {
					values[column] = map[string]bool{}
				}
				for _, path := range f.Paths {
					if text := left(f, scalarText(at(m.object, path))); text != "" {
						values[column][text] = true
					}
				}
			}
		}
	}
	for column, set := range values {
		if len(set) > 0 {
			text := slices.Sorted(maps.Keys(set))
			h = append(h, section{place: column, data: []byte(strings.Join(text, "\n"))})
		}
	}
	slices.SortFunc(h, func(a, b section) int { return strings.Compare(a.place, b.place) })
	return h
}

// nobody is an input for the same contracts with nobody in it: what stands in
// the output of both is of the program, not of a person.
func nobody(contracts []*schemas.Contract, files int) leakInput {
	var lines []byte
	for i, c := range contracts {
		object := map[string]any{}
		for k := range c.Fields {
			for _, path := range c.Fields[k].Paths[:1] {
				set(object, path, fmt.Sprintf("%d-%d", i, k))
				if k == c.EventTime {
					set(object, path, "2020-02-02T02:02:02Z")
				} else if c.Fields[k].Type != schemas.Text {
					set(object, path, nil)
				}
			}
		}
		for _, m := range c.Where {
			set(object, m.Path, m.Value)
		}
		line, err := json.Marshal(object)
		if err != nil {
			panic(err)
		}
		lines = append(append(lines, line...), '\n')
	}
	lines = append(lines, "[]\n{\n"...)
	return slices.Repeat(leakInput{lines}, files)
}

func set(object map[string]any, path schemas.Path, value any) {
	for _, step := range path[:len(path)-1] {
		inner, ok := object[step].(map[string]any)
		if !ok {
			inner = map[string]any{}
			object[step] = inner
		}
		object = inner
	}
	object[path[len(path)-1]] = value
}

func readAll(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(path, ".gz") {
		return data
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return data
}
