package pipelinetest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "lupa"

// topFolders are the folders that the module may have, with and without Go
// code. Names that begin with a dot or stand in .gitignore are not looked at.
var topFolders = []string{"pipeline", "transforms", "connectors", "schemas", "cmd", "bench", "docs", "deploy"}

// notNouns are folder names that say nothing of what is inside.
var notNouns = []string{"util", "utils", "common", "helper", "helpers", "types", "mocks", "internal"}

// ignoredFolders hold what is built or downloaded, never source.
var ignoredFolders = []string{"bin"}

// xxhashFolders may use xxhash, as tests may: what they hash is a checksum or a
// shard number and never decides whether two values are the same.
var xxhashFolders []string

// clockFolders may ask what time it is, as commands and tests may. What becomes
// of a row is never a question of that: there the clock measures how long a
// server has not answered, a token lives or a file has lain about.
var clockFolders = []string{"connectors/kafka", "connectors/kafka/kafkatest", "connectors/registry", "connectors/warehouse"}

// TestImports parses every Go file of the module and checks it against the
// rules of this file.
func TestImports(t *testing.T) {
	const root = "../.."
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !strings.HasPrefix(string(mod), "module "+module+"\n") {
		t.Fatalf("%s is not the root of module %s: %v", root, module, err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !skipFolder(e.Name()) && !slices.Contains(topFolders, e.Name()) {
			t.Errorf("%s: unknown top-level folder; the folders are %s", e.Name(), strings.Join(topFolders, " "))
		}
	}
	found := checkTree(t, os.DirFS(root))
	if found == 0 {
		t.Fatal("no Go file found: nothing was checked")
	}
	t.Logf("%d files checked", found)
}

// checkTree reports what the Go files of a module do that they may not, and
// gives the number of files. Modules inside the module follow their own rules.
func checkTree(t *testing.T, root fs.FS) int {
	t.Helper()
	files := 0
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "." {
				return nil
			}
			if _, err := fs.Stat(root, path.Join(name, "go.mod")); err == nil || skipFolder(d.Name()) {
				return fs.SkipDir
			}
			if slices.Contains(notNouns, d.Name()) {
				t.Errorf("%s: a folder is named after what is in it", name)
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		files++
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		faults, err := checkFile(name, source)
		if err != nil {
			return err
		}
		for _, fault := range faults {
			t.Error(fault)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func skipFolder(name string) bool {
	return strings.HasPrefix(name, ".") || name == "testdata" || slices.Contains(ignoredFolders, name)
}

// checkFile lists what one file imports or calls that it may not.
func checkFile(name string, source []byte) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	folder, test := path.Dir(name), strings.HasSuffix(name, "_test.go")
	var faults []string
	report := func(at token.Pos, fault string) {
		if fault != "" {
			faults = append(faults, fmt.Sprintf("%s:%d: %s", name, fset.Position(at).Line, fault))
		}
	}
	names := map[string]string{} // local name -> import path
	for _, spec := range file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		local := packageName(target)
		if spec.Name != nil {
			local = spec.Name.Name
		}
		names[local] = target
		if ours, ok := strings.CutPrefix(target, module+"/"); ok {
			report(spec.Pos(), forbiddenEdge(folder, ours, test))
		} else {
			report(spec.Pos(), bannedImport(folder, target, test))
		}
	}
	u := used{imports: slices.Collect(maps.Values(names)), names: map[string]token.Pos{}}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && names[x.Name] != "" {
			name := names[x.Name] + "." + selector.Sel.Name
			u.names[name] = selector.Pos()
			report(selector.Pos(), bannedName(u, name, test))
			report(selector.Pos(), bannedClock(folder, name, test))
		} else {
			report(selector.Pos(), bannedMethod(u, selector.Sel.Name))
		}
		return true
	})
	if at, ok := u.names[parquetPath+".DictionaryMaxBytes"]; ok && u.names[parquetPath+".BloomFilters"] != 0 {
		report(at, "parquet.DictionaryMaxBytes beside parquet.BloomFilters: the filter misses what came after the cap")
	}
	return faults, nil
}

// used is what a file takes from other packages.
type used struct {
	imports []string             // paths
	names   map[string]token.Pos // path.Name, and where it stands
}

// packageName guesses the name under which a file sees an import that it did
// not name itself.
func packageName(target string) string {
	base := path.Base(target)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(target))
	}
	return strings.TrimSuffix(strings.TrimSuffix(base, "-go"), ".v3")
}

// forbiddenEdge says why a package of ours may not import another, both named
// by their folder, or gives "".
//
//	schemas <- pipeline <- {pipeline/*, transforms, connectors/*} <- {cmd, bench}
func forbiddenEdge(from, to string, test bool) string {
	top, _, _ := strings.Cut(from, "/")
	if toTop, _, _ := strings.Cut(to, "/"); toTop != top && (toTop == "cmd" || toTop == "bench") {
		return fmt.Sprintf("%s imports %s: only commands stand above commands", from, to)
	}
	below, may := []string{"schemas", "pipeline"}, "only schemas, pipeline and its own subfolders"
	switch {
	case top == "cmd" || top == "bench":
		return ""
	case test && (to == from || to == "pipeline/pipelinetest"):
		// An external test package imports what it tests, and every
		// implementation runs the conformance suites.
		return ""
	case from == ".", from == "schemas":
		below, may = nil, "nothing of ours"
	case from == "pipeline", top == "schemas":
		below, may = []string{"schemas"}, "only schemas"
	case strings.HasPrefix(to, from+"/"):
		return ""
	}
	if slices.Contains(below, to) {
		return ""
	}
	return fmt.Sprintf("%s imports %s: it may import %s", from, to, may)
}

const (
	arrowPath   = "github.com/apache/arrow/go/v17"
	kafkaPath   = "github.com/segmentio/kafka-go"
	parquetPath = "github.com/parquet-go/parquet-go"
)

// bannedImport says why no package, or not the one in folder, may import a
// package from outside the module, or gives "".
func bannedImport(folder, target string, test bool) string {
	within := func(parent string) bool { return target == parent || strings.HasPrefix(target, parent+"/") }
	switch {
	case within(arrowPath + "/arrow/flight"), within(arrowPath + "/arrow/compute"), within(arrowPath + "/parquet"):
		return target + ": only the columns of Arrow are used, none of its engines, servers and file formats"
	case within("github.com/cespare/xxhash") && !test && !slices.Contains(xxhashFolders, folder):
		return target + ": its collisions can be made at will, so it may not decide what is equal"
	case target == "expvar", target == "net/http/pprof":
		return target + ": it serves the memory of the process as soon as it is imported"
	case within("math/rand") && !test && (folder == "transforms" || strings.HasPrefix(folder, "transforms/")):
		return target + ": keys and nonces come from crypto/rand"
	}
	return ""
}

// bannedName says why no file may use a name (path.Name) of another package,
// or gives "".
func bannedName(u used, name string, test bool) string {
	switch name {
	case kafkaPath + ".NewReader", kafkaPath + ".Reader", kafkaPath + ".ReaderConfig":
		return "kafka" + strings.TrimPrefix(name, kafkaPath) + ": it goes past damaged batches without a word"
	case kafkaPath + ".FetchRequest":
		if !test {
			return "kafka.FetchRequest: it decodes whatever a batch claims to be, without limit"
		}
	case parquetPath + ".NewSortingWriter":
		return "parquet.NewSortingWriter: it hangs or panics on optional columns"
	case parquetPath + ".MergeRowGroups":
		return "parquet.MergeRowGroups: rows are rewritten one by one, not merged"
	case parquetPath + ".SkipPageBounds":
		return "parquet.SkipPageBounds: it leaves empty bounds, by which readers skip rows that are there"
	case "sort.Sort", "sort.Stable":
		if slices.Contains(u.imports, parquetPath) {
			return name + ": beside parquet it may be a buffer with optional columns, which hangs"
		}
	}
	return ""
}

// bannedClock says why a file in folder may not use a name that reads the clock,
// or gives "".
func bannedClock(folder, name string, test bool) string {
	switch name {
	case "time.Now", "time.Since", "time.Until":
		if !test && folder != "cmd" && !strings.HasPrefix(folder, "cmd/") && !slices.Contains(clockFolders, folder) {
			return name + ": whoever needs a clock is given one"
		}
	}
	return ""
}

// bannedMethod says why a method of that name may not be called in a file that
// takes this from other packages, or gives "".
func bannedMethod(u used, method string) string {
	switch method {
	case "ReadMessage", "ReadBatch", "ReadBatchWith":
		if slices.Contains(u.imports, kafkaPath) {
			return method + ": it goes past damaged batches without a word"
		}
	}
	return ""
}

func TestForbiddenEdge(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		test, allowed  bool
	}{
		{name: "schemas imports nothing", from: "schemas", to: "pipeline"},
		{name: "schemas does not import its subfolders", from: "schemas", to: "schemas/decode"},
		{name: "a subfolder of schemas imports schemas", from: "schemas/decode", to: "schemas", allowed: true},
		{name: "a subfolder of schemas does not import pipeline", from: "schemas/decode", to: "pipeline"},
		{name: "pipeline imports schemas", from: "pipeline", to: "schemas", allowed: true},
		{name: "pipeline does not import its subfolders", from: "pipeline", to: "pipeline/consent"},
		{name: "pipeline does not import a connector", from: "pipeline", to: "connectors/files"},
		{name: "a connector imports pipeline", from: "connectors/kafka", to: "pipeline", allowed: true},
		{name: "a connector imports schemas", from: "connectors/kafka", to: "schemas", allowed: true},
		{name: "a connector imports its subfolder", from: "connectors/kafka", to: "connectors/kafka/wire", allowed: true},
		{name: "a subfolder does not import its parent", from: "connectors/kafka/wire", to: "connectors/kafka"},
		{name: "peers do not import peers", from: "connectors/kafka", to: "connectors/files"},
		{name: "a name that begins like the folder is a peer", from: "connectors/kafka", to: "connectors/kafkatest"},
		{name: "consent does not import transforms", from: "pipeline/consent", to: "transforms"},
		{name: "consent does not import keys", from: "pipeline/consent", to: "transforms/keys"},
		{name: "transforms imports keys", from: "transforms", to: "transforms/keys", allowed: true},
		{name: "keys does not import transforms", from: "transforms/keys", to: "transforms"},
		{name: "code does not import the suites", from: "connectors/files", to: "pipeline/pipelinetest"},
		{name: "a test runs the suites", from: "connectors/files", to: "pipeline/pipelinetest", test: true, allowed: true},
		{name: "a test imports what it tests", from: "connectors/files", to: "connectors/files", test: true, allowed: true},
		{name: "a test does not import a peer", from: "connectors/files", to: "connectors/warehouse", test: true},
		{name: "cmd imports anything", from: "cmd/lupa", to: "connectors/files", allowed: true},
		{name: "bench imports anything", from: "bench/gen", to: "schemas", allowed: true},
		{name: "nobody imports cmd", from: "connectors/files", to: "cmd/lupa/console"},
		{name: "cmd does not import bench", from: "cmd/lupa", to: "bench/gen"},
		{name: "a file at the root imports nothing of ours", from: ".", to: "schemas"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if fault := forbiddenEdge(c.from, c.to, c.test); (fault == "") != c.allowed {
				t.Errorf("%s -> %s: got %q, allowed is %v", c.from, c.to, fault, c.allowed)
			}
		})
	}
}

func TestBans(t *testing.T) {
	for _, c := range []struct {
		name, file, source string
		want               []string // "line: first word of the fault"
	}{
		{
			name: "the reader of kafka-go", file: "connectors/kafka/reader.go",
			source: "import kafka \"github.com/segmentio/kafka-go\"\nvar r = kafka.NewReader(kafka.ReaderConfig{})",
			want:   []string{"3: kafka.NewReader:", "3: kafka.ReaderConfig:"},
		},
		{
			name: "under another name", file: "connectors/kafka/reader.go",
			source: "import k \"github.com/segmentio/kafka-go\"\nvar r = k.NewReader",
			want:   []string{"3: kafka.NewReader:"},
		},
		{
			name: "under its own name", file: "connectors/kafka/reader.go",
			source: "import \"github.com/segmentio/kafka-go\"\nvar r = kafka.NewReader",
			want:   []string{"3: kafka.NewReader:"},
		},
		{
			name: "a method that reads batches", file: "connectors/kafka/reader.go",
			source: "import \"github.com/segmentio/kafka-go\"\nfunc f(c *kafka.Conn) { c.ReadBatch(1, 2) }",
			want:   []string{"3: ReadBatch:"},
		},
		{
			name: "the same method of something else", file: "connectors/files/reader.go",
			source: "func f(c interface{ ReadBatch() }) { c.ReadBatch() }",
		},
		{
			name: "a fetch in code", file: "connectors/kafka/a.go",
			source: "import \"github.com/segmentio/kafka-go\"\nvar r kafka.FetchRequest",
			want:   []string{"3: kafka.FetchRequest:"},
		},
		{
			name: "a fetch in a test", file: "connectors/kafka/a_test.go",
			source: "import \"github.com/segmentio/kafka-go\"\nvar r kafka.FetchRequest",
		},
		{
			name: "parquet calls that lose rows", file: "connectors/warehouse/a.go",
			source: "import \"github.com/parquet-go/parquet-go\"\nvar a, b, c = parquet.NewSortingWriter[int], parquet.MergeRowGroups, parquet.SkipPageBounds",
			want:   []string{"3: parquet.NewSortingWriter:", "3: parquet.MergeRowGroups:", "3: parquet.SkipPageBounds:"},
		},
		{
			name: "a cap on dictionaries beside bloom filters", file: "connectors/warehouse/a.go",
			source: "import \"github.com/parquet-go/parquet-go\"\nvar a = parquet.DictionaryMaxBytes\nvar b = parquet.BloomFilters",
			want:   []string{"3: parquet.DictionaryMaxBytes"},
		},
		{
			name: "a cap on dictionaries alone", file: "connectors/warehouse/a.go",
			source: "import \"github.com/parquet-go/parquet-go\"\nvar a = parquet.DictionaryMaxBytes",
		},
		{
			name: "sort of a parquet buffer", file: "connectors/warehouse/a.go",
			source: "import (\n\"github.com/parquet-go/parquet-go\"\n\"sort\"\n)\nfunc f(b *parquet.Buffer) { sort.Sort(b) }",
			want:   []string{"6: sort.Sort:"},
		},
		{
			name: "engines of Arrow", file: "schemas/decode/a.go",
			source: "import (\n_ \"github.com/apache/arrow/go/v17/arrow/compute\"\n_ \"github.com/apache/arrow/go/v17/arrow/flight/flightsql\"\n_ \"github.com/apache/arrow/go/v17/parquet/pqarrow\"\n_ \"github.com/apache/arrow/go/v17/arrow/array\"\n)",
			want:   []string{"3: github.com/apache/arrow/go/v17/arrow/compute:", "4: github.com/apache/arrow/go/v17/arrow/flight/flightsql:", "5: github.com/apache/arrow/go/v17/parquet/pqarrow:"},
		},
		{
			name: "xxhash as identity", file: "pipeline/consent/a.go",
			source: "import \"github.com/cespare/xxhash/v2\"\nvar h = xxhash.Sum64",
			want:   []string{"2: github.com/cespare/xxhash/v2:"},
		},
		{
			name: "a test that looks for leaked hashes", file: "cmd/lupa/a_test.go",
			source: "import \"github.com/cespare/xxhash/v2\"\nvar h = xxhash.Sum64",
		},
		{
			name: "debug servers", file: "cmd/lupa/a.go",
			source: "import (\n_ \"expvar\"\n_ \"net/http/pprof\"\n)",
			want:   []string{"3: expvar:", "4: net/http/pprof:"},
		},
		{
			name: "guessable keys", file: "transforms/keys/a.go",
			source: "import _ \"math/rand/v2\"",
			want:   []string{"2: math/rand/v2:"},
		},
		{
			name: "a clock of its own", file: "pipeline/consent/a.go",
			source: "import \"time\"\nvar a, b, c = time.Now, time.Since, time.Until",
			want:   []string{"3: time.Now:", "3: time.Since:", "3: time.Until:"},
		},
		{
			name: "a wait for a server", file: "connectors/kafka/a.go",
			source: "import \"time\"\nvar a = time.Now",
		},
		{
			name: "a clock for the others", file: "cmd/lupa/a.go",
			source: "import \"time\"\nvar a = time.Now",
		},
		{
			name: "a timer, which no clock that is set disturbs", file: "pipeline/a.go",
			source: "import \"time\"\nvar a = time.NewTimer",
		},
		{
			name: "a peer", file: "connectors/kafka/a.go",
			source: "import _ \"lupa/connectors/files\"",
			want:   []string{"2: connectors/kafka"},
		},
		{
			name: "what is allowed", file: "connectors/kafka/a.go",
			source: "import (\n\"sort\"\n\"lupa/schemas\"\n)\nfunc f(s sort.Interface, _ schemas.Reason) { sort.Sort(s) }",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults, err := checkFile(c.file, []byte("package p\n"+c.source))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, fault := range faults {
				line, rest, _ := strings.Cut(strings.TrimPrefix(fault, c.file+":"), ": ")
				word, _, _ := strings.Cut(rest, " ")
				got = append(got, line+": "+word)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}
