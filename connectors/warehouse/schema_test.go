package warehouse

import (
	"context"
	"fmt"
	"strings"
	"testing"

	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

func TestTableSchema(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	loaded := load(t, s, clicksTable)
	var got []string
	for _, f := range loaded.Schema().Fields() {
		line := fmt.Sprintf("%s %s", f.Name, f.Type.Type())
		if f.Required {
			line += " required"
		}
		if strings.HasPrefix(f.Doc, "category=") {
			line += ": " + f.Doc
		}
		if loaded.Properties()["write.metadata.metrics.column."+f.Name] == "none" {
			line += " (hidden)"
		}
		got = append(got, line)
	}
	want := []string{
		"subject_token uuid: category=user.unique_id; treatment=pseudonymize (hidden)",
		"user_id uuid: category=user.unique_id; treatment=pseudonymize; purposes=analytics (hidden)",
		"at timestamptz: category=user.behavior; treatment=keep; purposes=analytics",
		"page string: category=system.operations; treatment=keep; purposes=analytics",
		"clicks long: category=user.behavior; treatment=keep; purposes=analytics,profiling (hidden)",
		"score double: category=system.operations; treatment=keep; purposes=analytics",
		"returning boolean: category=system.operations; treatment=keep; purposes=analytics",
		"signup date: category=system.operations; treatment=keep; purposes=analytics",
		"legal_basis string", "purposes list", "retention_until date",
		"reason string required", "contract_version string required",
		"_src_topic string required", "_src_partition int required", "_src_offset long required",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	spec := loaded.Spec()
	if spec.NumFields() != 1 || spec.Field(0).Name != "at_day" || loaded.Metadata().Version() != 2 {
		t.Errorf("partition spec %v, format version %d", spec, loaded.Metadata().Version())
	}
	order := loaded.SortOrder()
	if order.Len() != 1 {
		t.Errorf("sort order %v", order)
	}
	if spec := load(t, s, rejectsTable).Spec(); spec.NumFields() != 0 {
		t.Errorf("the rejects table is partitioned: %v", spec)
	}
}

// TestManifestsHideValues: bounds of personal columns are not in the table's
// metadata, those that prune scans are, and the day is every file's partition.
func TestManifestsHideValues(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Contracts: contracts()})
	writeAndCommit(t, s, events, 0, 100)
	loaded := load(t, s, clicksTable)
	tasks, err := loaded.Scan().PlanFiles(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(tasks) != 2 {
		t.Fatalf("%d files, want one a day", len(tasks))
	}
	days := map[string]bool{}
	for _, task := range tasks {
		for _, field := range loaded.Schema().Fields() {
			hidden := field.Name == "subject_token" || field.Name == "user_id" || field.Name == "clicks" || field.Name == "purposes"
			for name, bounds := range map[string]map[int][]byte{
				"lower": task.File.LowerBoundValues(), "upper": task.File.UpperBoundValues()} {
				if _, ok := bounds[field.ID]; ok == hidden {
					t.Errorf("column %s: %s bound known=%t", field.Name, name, ok)
				}
			}
		}
		days[fmt.Sprint(task.File.Partition())] = true
	}
	first := dayOf(day.UnixMicro())
	want := map[string]bool{fmt.Sprintf("map[1000:%d]", first): true, fmt.Sprintf("map[1000:%d]", first+1): true}
	if diff := cmp.Diff(want, days); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
}

func TestTableDiffersFromContract(t *testing.T) {
	text := func(name string) schemas.Field {
		return schemas.Field{Name: name, Type: schemas.Text, Treatment: schemas.Treatment{Technique: schemas.Keep}}
	}
	for _, tc := range []struct {
		name, message string
		change        func(c *schemas.Contract)
	}{
		{"same", "", func(*schemas.Contract) {}},
		{"other purposes", "", func(c *schemas.Contract) { c.Purposes = schemas.Purposes(schemas.Functional) }},
		{"another type", "table clicks: column page is string, the contract needs long", func(c *schemas.Contract) { c.Fields[3].Type = schemas.Integer }},
		{"another treatment", "table clicks: column page is string, the contract needs uuid",
			func(c *schemas.Contract) { c.Fields[3].Treatment.Technique = schemas.Pseudonymize }},
		{"a new field", "table clicks: column 9 is legal_basis, the contract needs extra there",
			func(c *schemas.Contract) { c.Fields = append(c.Fields, text("extra")) }},
		{"a field less", "table clicks: column 4 is page, the contract needs clicks there",
			func(c *schemas.Contract) { c.Fields[3].Treatment = schemas.Treatment{} }},
		{"another event time", "table clicks: it is not partitioned by the day of column signup", func(c *schemas.Contract) { c.EventTime = 7 }},
		{"no event time", "table clicks: it is partitioned", func(c *schemas.Contract) { c.EventTime = -1 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			openSink(t, Options{Dir: dir, Contracts: contracts()})
			c := clicks()
			tc.change(c)
			s, err := Open(context.Background(), Options{Dir: dir, Contracts: []*schemas.Contract{c}})
			if tc.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.message) {
				t.Errorf("error %v, want one with %q", err, tc.message)
			}
		})
	}
}

func TestOptionsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	named := func(table string) []*schemas.Contract {
		c := clicks()
		c.Table = table
		return []*schemas.Contract{c}
	}
	reserved := clicks()
	reserved.Fields[3].Name = "_src_offset"
	dropped := clicks()
	dropped.Fields[1].Treatment.Technique = schemas.Drop
	notTime := clicks()
	notTime.EventTime = 3
	for _, tc := range []struct {
		name, message string
		o             Options
	}{
		{"no directory", "dir is empty", Options{Contracts: contracts()}},
		{"a directory that a URI escapes", "a URI would escape", Options{Dir: dir + "/a b", Contracts: contracts()}},
		{"no contracts", "no contracts", Options{Dir: dir}},
		{"table name", "no table name", Options{Dir: dir, Contracts: named("../x")}},
		{"two contracts of a table", "another contract too", Options{Dir: dir, Contracts: append(contracts(), clicks())}},
		{"reserved column", "column _src_offset stands twice", Options{Dir: dir, Contracts: []*schemas.Contract{reserved}}},
		{"dropped event time", "event time is no column", Options{Dir: dir, Contracts: []*schemas.Contract{dropped}}},
		{"event time of another type", "neither a timestamp nor a date", Options{Dir: dir, Contracts: []*schemas.Contract{notTime}}},
		{"namespace", "namespace", Options{Dir: dir, Contracts: contracts(), Namespace: "A.b"}},
		{"negative size", "max file bytes is -1", Options{Dir: dir, Contracts: contracts(), MaxFileBytes: -1}},
		{"huge files", "at most", Options{Dir: dir, Contracts: contracts(), MaxFileBytes: 1 << 40}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Open(context.Background(), tc.o); err == nil || !strings.Contains(err.Error(), tc.message) {
				t.Errorf("error %v, want one with %q", err, tc.message)
			}
		})
	}
}

// TestTwoProcessesMakeTables: both start on an empty directory.
func TestTwoProcessesMakeTables(t *testing.T) {
	dir := t.TempDir()
	done := make(chan *icetable.Table)
	for range 2 {
		go func() {
			s, err := Open(context.Background(), Options{Dir: dir, Contracts: contracts()})
			if err != nil {
				t.Error(err)
				done <- nil
				return
			}
			defer s.Close()
			done <- load(t, s, clicksTable)
		}()
	}
	a, b := <-done, <-done
	if a == nil || b == nil {
		t.FailNow()
	}
	if a.Metadata().TableUUID() != b.Metadata().TableUUID() {
		t.Error("they made two tables")
	}
}
