package main

import (
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"

	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
	"lupa/schemas"
)

// TestDemo runs the demo once and compares everything it leaves behind with
// what the stories of the sample promise.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "demo")
	code, out, errs := command(t, "demo", "--dir", dir, "--log-level", "warn")
	if code != exitOK || !warnsOfTheCutRecords(errs) {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
	tables := readTables(t, filepath.Join(dir, "warehouse"))
	expected := demoOutcomes(theSample(t))

	t.Run("counts", func(t *testing.T) { checkCounts(t, tables, expected) })
	t.Run("rows", func(t *testing.T) { checkRows(t, tables, expected) })
	t.Run("columns", func(t *testing.T) { checkColumns(t, tables, expected) })
	t.Run("tokens", func(t *testing.T) { checkTokens(t, tables, expected) })
	t.Run("quarantine", func(t *testing.T) { checkPutAside(t, tables, filepath.Join(dir, "quarantine")) })
	t.Run("nothing raw", func(t *testing.T) { checkNothingRaw(t, dir, out, tables) })
	t.Run("transcript", func(t *testing.T) {
		golden(t, filepath.Join("testdata", "demo", "transcript.txt"), []byte(plain(out, dir)))
	})
}

// demoOutcomes gives what must become of each message of the event topic: the
// partition is the one that its key is dealt to, the offset follows from the
// order in which the demo writes. A topic gives every message a time.
func demoOutcomes(s *sample.Sample) map[place]sample.Outcome {
	partitions := make([]int, demoPartitions)
	for i := range partitions {
		partitions[i] = i
	}
	next := make([]int64, demoPartitions)
	outcomes := map[place]sample.Outcome{}
	for i, o := range s.Expect() {
		id := kafkago.Murmur2Balancer{}.Balance(kafkago.Message{Key: s.Events()[i].Key}, partitions...)
		if o.NeedsTime {
			o.Reason, o.Verdict = schemas.NoRecord, pipeline.MaskRow
		}
		outcomes[place{pipeline.Partition{Topic: demoEvents, ID: int32(id)}, next[id]}] = o
		next[id]++
	}
	return outcomes
}

// expectedCounts counts outcomes by table.
func expectedCounts(outcomes map[place]sample.Outcome) map[string]tableCounts {
	counts := map[string]pipeline.Counts{}
	for _, c := range append(schemas.DefaultContracts(), schemas.Rejects()) {
		counts[c.Table] = pipeline.Counts{}
	}
	for _, o := range outcomes {
		table := o.Table
		if table == "" {
			table = schemas.RejectsTable
		}
		n := counts[table]
		n.Read++
		n.Reasons[o.Reason]++
		switch {
		case o.Reason.Rejects():
			n.Rejected++
		case o.Verdict == pipeline.KeepRow:
			n.Kept++
		case o.Verdict == pipeline.MaskRow:
			n.Masked++
		default:
			n.Dropped++
		}
		counts[table] = n
	}
	all := map[string]tableCounts{}
	for table, n := range counts {
		all[table] = newTableCounts(&n)
	}
	return all
}

// checkCounts compares the counts that the tables' commits have summed up.
func checkCounts(t *testing.T, tables map[string]*storedTable, outcomes map[place]sample.Outcome) {
	got := map[string]tableCounts{}
	for name, s := range tables {
		n := tableCounts{
			Read: s.counted(t, "read"), Kept: s.counted(t, "kept"), Masked: s.counted(t, "masked"),
			Dropped: s.counted(t, "dropped"), Rejected: s.counted(t, "rejected"), Reasons: map[string]int64{},
		}
		for r := range schemas.NumReasons {
			reason := schemas.Reason(r).String()
			if count := s.counted(t, "reason."+reason); count > 0 {
				n.Reasons[reason] = count
			}
		}
		got[name] = n
	}
	if diff := cmp.Diff(expectedCounts(outcomes), got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// checkRows compares which messages became rows, and why.
func checkRows(t *testing.T, tables map[string]*storedTable, outcomes map[place]sample.Outcome) {
	want := map[string]map[place]string{}
	for name := range tables {
		want[name] = map[place]string{}
	}
	for at, o := range outcomes {
		switch {
		case o.Reason.Rejects():
			want[schemas.RejectsTable][at] = o.Reason.String() + " " + o.Table
		case o.Verdict != pipeline.DropRow:
			want[o.Table][at] = o.Reason.String()
		}
	}
	for name, s := range tables {
		got := map[place]string{}
		for at, row := range s.places(t) {
			got[at] = row[s.column(t, "reason")]
			if name == schemas.RejectsTable {
				got[at] += " " + strings.TrimPrefix(row[s.column(t, "table_name")], null)
			}
		}
		wrong := 0
		for at, reason := range want[name] {
			if got[at] != reason {
				if wrong++; wrong <= 5 {
					t.Errorf("%s, offset %d of %s (%s): %q, want %q", name, at.Offset, at.Partition, outcomes[at].Story, got[at], reason)
				}
			}
		}
		if len(got) != len(want[name]) || wrong > 0 {
			t.Errorf("%s has %d rows, want %d; %d are wrong", name, len(got), len(want[name]), wrong)
		}
	}
}

// checkColumns checks each row against its contract: a masked row holds nothing
// personal but what a law keeps, a kept one no field whose purpose is not permitted.
func checkColumns(t *testing.T, tables map[string]*storedTable, outcomes map[place]sample.Outcome) {
	for _, c := range schemas.DefaultContracts() {
		s := tables[c.Table]
		wrong := map[string]int{}
		filled := map[string]bool{}
		for at, row := range s.places(t) {
			o := outcomes[at]
			cell := func(name string) string { return row[s.column(t, name)] }
			expect := func(name, want string) {
				if cell(name) != want {
					wrong[name]++
				}
			}
			kept := o.Verdict == pipeline.KeepRow
			if kept {
				expect("legal_basis", c.LegalBasis)
				expect("purposes", (o.Granted & c.FieldPurposes()).String())
				if cell("subject_token") == null {
					wrong["subject_token"]++
				}
			} else {
				basis := null
				if o.Reason == schemas.Retained {
					basis = sample.RetainedBasis
				}
				expect("legal_basis", basis)
				expect("purposes", null)
				expect("subject_token", null)
			}
			for i := range c.Fields {
				f := &c.Fields[i]
				if f.Column() == schemas.NoColumn || cell(f.Name) == null {
					continue
				}
				filled[f.Name] = filled[f.Name] || kept
				switch {
				case o.Reason == schemas.Retained && f.Name == sample.RetainedField: // the law keeps it
				case kept && !o.Granted.Covers(f.Purposes):
					wrong[f.Name+" without its purpose"]++
				case !kept && i == c.EventTime:
					if !wholeDay(t, cell(f.Name)) {
						wrong[f.Name+" of a masked row"]++
					}
				case !kept && f.Category.Personal() && !f.KeepMasked, !kept && f.Column() == schemas.TokenColumn:
					wrong[f.Name+" of a masked row"]++
				}
			}
		}
		if len(wrong) > 0 {
			t.Errorf("%s: rows that are wrong, by column: %v", c.Table, wrong)
		}
		// The columns that depend on a purpose are not null for everybody.
		for _, name := range purposeColumns()[c.Table] {
			if !filled[name] {
				t.Errorf("%s.%s has no value in any kept row", c.Table, name)
			}
		}
	}
}

// purposeColumns are columns which the sample's events fill and which need a
// purpose besides their table's.
func purposeColumns() map[string][]string {
	return map[string][]string{
		"identifies": {"phone"},
		"tracks":     {"email", "context_campaign_term", "context_campaign_content"},
		"pages":      {"context_campaign_term", "context_campaign_content"},
	}
}

func wholeDay(t *testing.T, micros string) bool {
	t.Helper()
	at, err := time.ParseDuration(micros + "us")
	if err != nil {
		t.Fatal("an event time that is no number")
	}
	return at%(24*time.Hour) == 0
}

// checkTokens checks that a token stands for one person, and that one person
// has one token for each identifier, in all tables.
func checkTokens(t *testing.T, tables map[string]*storedTable, outcomes map[place]sample.Outcome) {
	persons := map[string]int{} // by token
	tokens := map[int]map[schemas.IdentifierKind][]string{}
	for _, c := range schemas.DefaultContracts() {
		s := tables[c.Table]
		for at, row := range s.places(t) {
			o := outcomes[at]
			var own []string
			for i := range c.Fields {
				f := &c.Fields[i]
				if f.Column() != schemas.TokenColumn || row[s.column(t, f.Name)] == null {
					continue
				}
				token := row[s.column(t, f.Name)]
				own = append(own, token)
				if other, ok := persons[token]; ok && other != o.Person {
					t.Fatalf("%s: persons %d and %d share a token", c.Table, other, o.Person)
				}
				persons[token] = o.Person
				if tokens[o.Person] == nil {
					tokens[o.Person] = map[schemas.IdentifierKind][]string{}
				}
				if list := tokens[o.Person][f.Identifiers[0]]; !slices.Contains(list, token) {
					tokens[o.Person][f.Identifiers[0]] = append(list, token)
				}
			}
			if subject := row[s.column(t, "subject_token")]; subject != null && !slices.Contains(own, subject) {
				t.Fatalf("%s: the subject of a row of person %d is none of its identifiers", c.Table, o.Person)
			}
		}
	}
	if len(tokens) < 1000 {
		t.Fatalf("tokens of %d persons only", len(tokens))
	}
	for person, kinds := range tokens {
		for kind, list := range kinds {
			most := 1
			if kind == schemas.AnonymousID {
				most = 2 // a browser and an app
			}
			if len(list) > most {
				t.Errorf("person %d has %d tokens of kind %s", person, len(list), kind)
			}
		}
	}
}

// checkNothingRaw looks for the sample's secrets in every value, in every file
// as it stands on disk, and in what was printed.
func checkNothingRaw(t *testing.T, dir, printed string, tables map[string]*storedTable) {
	s := theSample(t)
	look := func(where string, data []byte) {
		if n := len(s.SecretsIn(data)); n > 0 {
			t.Errorf("%d raw values in %s", n, where)
		}
	}
	look("what was printed", []byte(printed))
	for name, table := range tables {
		var all strings.Builder
		for _, row := range table.Rows {
			all.WriteString(strings.Join(row, "\n") + "\n")
		}
		look("table "+name, []byte(all.String()))
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		look(path, text)
		return err
	})
	if err != nil || files < 50 {
		t.Errorf("%d files, error %v", files, err)
	}
}

// plain makes what the demo prints the same in every run: spaces between
// columns are one, and what depends on time, on chance or on the folder has a
// name in capitals.
func plain(text, dir string) string {
	text = strings.ReplaceAll(text, dir, "DIR")
	text = regexp.MustCompile(` in \d+\.\d s\.`).ReplaceAllString(text, " in SECONDS s.")
	counts := regexp.MustCompile(`^([a-z]+(?: +\d+){6}) +\d+ +\d+$`)
	shown := regexp.MustCompile(`^.*(consent_given|withdrawn|refused)$`)
	sampled := false
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		line = counts.ReplaceAllString(line, "$1 FILES BYTES")
		if sampled = (sampled || strings.HasPrefix(line, "subject_token")) && line != ""; sampled {
			line = shown.ReplaceAllString(line, "VALUES $1")
		}
		out.WriteString(regexp.MustCompile(` {2,}`).ReplaceAllString(line, " ") + "\n")
	}
	return out.String()
}

// warnsOfTheCutRecords reports whether a log holds one line: that ten records
// of the ledger, which the sample cuts off, could not be read.
func warnsOfTheCutRecords(log string) bool {
	return strings.Count(log, "\n") == 1 && strings.Contains(log, "ledger records could not be read") &&
		strings.Contains(log, "records=10") && strings.Contains(log, "the record is not JSON")
}

// TestDemoJSON runs the demo without a folder.
func TestDemoJSON(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	code, out, errs := command(t, "demo", "--json", "--log-level", "warn")
	if code != exitOK || !warnsOfTheCutRecords(errs) {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
	d := demoResult{result: &result{}}
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(d.Dir) != temp || d.Config != filepath.Join(d.Dir, "lupa.yaml") {
		t.Errorf("the folder is %s, the configuration %s", d.Dir, d.Config)
	}
	run, total := map[string]tableCounts{}, map[string]tableCounts{}
	for _, table := range d.Tables {
		run[table.Table], total[table.Table] = table.Run, table.Total
		if table.Rows != table.Run.Kept+table.Run.Masked && table.Table != schemas.RejectsTable {
			t.Errorf("%s has %d rows, %d were kept and %d masked", table.Table, table.Rows, table.Run.Kept, table.Run.Masked)
		}
	}
	want := expectedCounts(demoOutcomes(theSample(t)))
	if diff := cmp.Diff(want, run); diff != "" {
		t.Errorf("counts of the run (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, total); diff != "" {
		t.Errorf("counts of the tables (-want +got):\n%s", diff)
	}
	if len(d.Sample) != 5 || len(d.Columns) != len(sampleColumns) {
		t.Fatalf("%d sample rows of %d columns", len(d.Sample), len(d.Columns))
	}
	for i, row := range d.Sample {
		kept := i < 3
		_, err := hex.DecodeString(strings.ReplaceAll(row[0], "-", ""))
		if kept != (row[0] != "") || err != nil || kept != (row[len(row)-1] == "consent_given") {
			t.Errorf("sample row %d has a token or a reason that does not fit", i)
		}
	}
}

func TestDemoRefusesAFolderWithSomethingInIt(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "notes.txt", "mine\n")
	code, out, errs := command(t, "demo", "--dir", dir)
	if want := "lupa: --dir " + dir + ": is not empty\n"; code != exitUsage || out != "" || errs != want {
		t.Errorf("code %d, stdout %q, stderr %q; want %q", code, out, errs, want)
	}
	if list := tree(t, dir); strings.Count(list, "\n") != 2 {
		t.Errorf("it made something:\n%s", list)
	}
}
