package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"lupa/schemas"
)

// storedRow is a row as it stands in a data file, as far as counting goes.
type storedRow struct {
	table     string // of the rejects table: the table that the message was for
	reason    string
	purposes  schemas.PurposeSet
	filled    []string // the columns that are not null
	times     map[string]int64
	file      string
	partition int32
	offset    int64
}

// storedRows reads the rows of a table from the files of its last commit, and
// checks that no other data file lies about.
func (j *leakJob) storedRows(t *testing.T, table string) (rows []storedRow) {
	t.Helper()
	dir := filepath.Join(j.out(), "warehouse", table)
	list, err := os.ReadFile(filepath.Join(dir, "current_files.json"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	if err := json.Unmarshal(list, &files); err != nil {
		t.Fatal(err)
	}
	var there []string
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".parquet") {
			there = append(there, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	slices.Sort(there)
	if !slices.Equal(files, there) {
		t.Errorf("%s: %d files are listed, %d are there", table, len(files), len(there))
	}
	for _, file := range files {
		more, err := readRows(file)
		if err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		rows = append(rows, more...)
	}
	return rows
}

func readRows(path string) (rows []storedRow, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	reader := parquet.NewReader(f)
	defer func() { err = errors.Join(err, reader.Close()) }()
	names := make([]string, 0, 64)
	for _, path := range reader.Schema().Columns() {
		names = append(names, path[0])
	}
	buf := make([]parquet.Row, 64)
	for {
		n, err := reader.ReadRows(buf)
		for _, row := range buf[:n] {
			rows = append(rows, newStoredRow(names, row))
		}
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func newStoredRow(names []string, row parquet.Row) (r storedRow) {
	r.times = map[string]int64{}
	for _, v := range row {
		if v.IsNull() {
			continue
		}
		name := names[v.Column()]
		if !slices.Contains(r.filled, name) {
			r.filled = append(r.filled, name)
		}
		switch name {
		case "table_name":
			r.table = string(v.ByteArray())
		case "reason":
			r.reason = string(v.ByteArray())
		case "purposes":
			p, _ := schemas.ParsePurpose(string(v.ByteArray()))
			r.purposes = r.purposes.With(p)
		case "_src_topic":
			r.file = string(v.ByteArray())
		case "_src_partition":
			r.partition = v.Int32()
		case "_src_offset":
			r.offset = v.Int64()
		default:
			if v.Kind() == parquet.Int64 {
				r.times[name] = v.Int64()
			}
		}
	}
	return r
}

// checkKept checks that a kept row says why it may be, and that no field is
// filled that needs a purpose which is not permitted.
func (r *storedRow) checkKept(t *testing.T, c *schemas.Contract) {
	t.Helper()
	for _, name := range []string{"subject_token", "legal_basis", "purposes"} {
		if !slices.Contains(r.filled, name) {
			t.Errorf("%s: the kept row of offset %d has no %s", c.Table, r.offset, name)
		}
	}
	if !r.purposes.Covers(c.Purposes) {
		t.Errorf("%s: the kept row of offset %d lacks a purpose", c.Table, r.offset)
	}
	for i := range c.Fields {
		if f := &c.Fields[i]; slices.Contains(r.filled, f.Name) && !r.purposes.Covers(f.Purposes) {
			t.Errorf("%s: %s of offset %d is kept without its purpose", c.Table, f.Name, r.offset)
		}
	}
}

// checkMasked checks that a masked row has nothing but what the contract leaves
// in masked rows, and of its time only the day.
func (r *storedRow) checkMasked(t *testing.T, c *schemas.Contract) {
	t.Helper()
	const day = int64(24 * time.Hour / time.Microsecond)
	may := []string{"retention_until", "reason", "contract_version", "_src_topic", "_src_partition", "_src_offset"}
	for i := range c.Fields {
		f := &c.Fields[i]
		if i == c.EventTime && r.times[f.Name]%day != 0 {
			t.Errorf("%s: the masked row of offset %d has more of its time than the day", c.Table, r.offset)
		}
		if f.KeepMasked || i == c.EventTime || !f.Category.Personal() && f.Type != schemas.Timestamp {
			may = append(may, f.Name)
		}
	}
	for _, name := range r.filled {
		if !slices.Contains(may, name) {
			t.Errorf("%s: the masked row of offset %d has a %s", c.Table, r.offset, name)
		}
	}
}

// origin is where a row came from.
type origin struct {
	file   string
	offset int64
}

// checkCounts compares what the program says with the test's own walk over the
// input and with the rows that are stored.
func (j *leakJob) checkCounts(t *testing.T, res *result) {
	t.Helper()
	byTable := map[string]*tableResult{}
	var rejected, messages, unrouted int64
	for i := range res.Tables {
		byTable[res.Tables[i].Table] = &res.Tables[i]
		rejected += res.Tables[i].Total.Rejected
		checkSums(t, &res.Tables[i])
	}
	if len(byTable) != len(j.contracts)+1 {
		t.Fatalf("%d tables, want %d", len(byTable), len(j.contracts)+1)
	}
	at := map[origin]*message{}
	for i := range j.messages {
		m := &j.messages[i]
		at[origin{m.file, m.line}] = m
		messages += int64(max(1, len(m.tables)))
		if len(m.tables) == 0 {
			unrouted++
		}
	}
	listed := j.storedRows(t, schemas.RejectsTable)
	rejects := byTable[schemas.RejectsTable]
	if got := rejects.Total.Read; got != unrouted {
		t.Errorf("rejects: read %d, want the %d messages that no contract takes", got, unrouted)
	}
	if int64(len(listed)) != rejected || rejects.Rows != rejected {
		t.Errorf("rejects: %d rows stored, %d in the report, want %d", len(listed), rejects.Rows, rejected)
	}
	var read int64
	for i, c := range j.contracts {
		read += byTable[c.Table].Total.Read
		j.checkTable(t, i, byTable[c.Table], at, listed)
	}
	if read += rejects.Total.Read; read != messages {
		t.Errorf("read %d for all tables, want %d", read, messages)
	}
	for _, r := range listed {
		m := at[origin{r.file, r.offset}]
		if m == nil || r.table == "" && len(m.tables) > 0 {
			t.Errorf("rejects: the row of offset %d is of no message", r.offset)
		}
	}
}

// checkSums checks a table's counts against each other.
func checkSums(t *testing.T, r *tableResult) {
	t.Helper()
	c := r.Total
	var sum, kept, denied, rejected int64
	for name, n := range c.Reasons {
		reason, ok := schemas.ParseReason(name)
		switch {
		case !ok:
			t.Errorf("%s: %q is no reason", r.Table, name)
		case reason.Denies():
			denied += n
		case reason.Rejects():
			rejected += n
		default:
			kept += n
		}
		sum += n
	}
	if c.Read != c.Kept+c.Masked+c.Dropped+c.Rejected || c.Read != sum {
		t.Errorf("%s: read %d, %d by outcome, %d by reason", r.Table, c.Read, c.Kept+c.Masked+c.Dropped+c.Rejected, sum)
	}
	if c.Kept != kept || c.Masked+c.Dropped != denied || c.Rejected != rejected {
		t.Errorf("%s: outcomes and reasons do not agree", r.Table)
	}
	if r.Table != schemas.RejectsTable && r.Rows != c.Kept+c.Masked {
		t.Errorf("%s: %d rows, want %d", r.Table, r.Rows, c.Kept+c.Masked)
	}
}

// checkTable follows every message of one table to its row, its line in the
// list of rejects, or neither.
func (j *leakJob) checkTable(t *testing.T, table int, res *tableResult, at map[origin]*message, listed []storedRow) {
	t.Helper()
	c := j.contracts[table]
	var want int64
	for i := range j.messages {
		if slices.Contains(j.messages[i].tables, table) {
			want++
		}
	}
	if res.Total.Read != want {
		t.Errorf("%s: read %d, want %d", c.Table, res.Total.Read, want)
	}
	reasons, outcome := map[string]int64{}, map[origin]fate{}
	var kept, masked int64
	for _, r := range j.storedRows(t, c.Table) {
		p := origin{r.file, r.offset}
		switch m := at[p]; {
		case m == nil || !slices.Contains(m.tables, table) || r.partition != 0:
			t.Fatalf("%s: a row of offset %d is of no message of the table", c.Table, r.offset)
		case outcome[p] != silent:
			t.Fatalf("%s: offset %d has two rows", c.Table, r.offset)
		}
		reasons[r.reason]++
		outcome[p] = refused
		if r.reason == schemas.ConsentGiven.String() {
			kept, outcome[p] = kept+1, granted
			r.checkKept(t, c)
		} else {
			masked++
			r.checkMasked(t, c)
		}
	}
	if kept != res.Total.Kept || masked != res.Total.Masked {
		t.Errorf("%s: %d rows kept and %d masked are stored, want %d and %d", c.Table, kept, masked, res.Total.Kept, res.Total.Masked)
	}
	for _, r := range listed {
		p := origin{r.file, r.offset}
		if r.table != c.Table {
			continue
		}
		if m := at[p]; m == nil || !slices.Contains(m.tables, table) || outcome[p] != silent {
			t.Errorf("%s: offset %d is rejected and something else", c.Table, r.offset)
		}
		reasons[r.reason]++
		outcome[p] = unproven
	}
	j.checkReasons(t, c, res, reasons)
	j.checkConsent(t, table, outcome)
}

// checkReasons compares the counts of reasons with those of stored rows. Only
// dropped rows are not stored.
func (j *leakJob) checkReasons(t *testing.T, c *schemas.Contract, res *tableResult, stored map[string]int64) {
	t.Helper()
	var dropped int64
	for name, n := range res.Total.Reasons {
		reason, _ := schemas.ParseReason(name)
		if reason == schemas.Erased || reason.Denies() && c.OnDeny == schemas.DropRow {
			if stored[name] != 0 {
				t.Errorf("%s: %d rows are stored that had to be dropped as %s", c.Table, stored[name], name)
			}
			dropped += n
			delete(stored, name)
			continue
		}
		if stored[name] != n {
			t.Errorf("%s: %d rows are %s, want %d", c.Table, stored[name], name, n)
		}
		delete(stored, name)
	}
	if len(stored) > 0 || dropped != res.Total.Dropped {
		t.Errorf("%s: dropped %d, want %d; %d reasons too many", c.Table, res.Total.Dropped, dropped, len(stored))
	}
}

// checkConsent compares each outcome with what the ledger says of everybody
// whom the message names.
func (j *leakJob) checkConsent(t *testing.T, table int, outcome map[origin]fate) {
	t.Helper()
	c := j.contracts[table]
	for i := range j.messages {
		m := &j.messages[i]
		p := origin{m.file, m.line}
		if !slices.Contains(m.tables, table) || outcome[p] == unproven {
			continue
		}
		said := map[fate]bool{}
		for _, id := range identifiers(c, m.object) {
			if f := fateFor(c, id); f != granted || id.kind != schemas.Phone {
				said[f] = true
			}
		}
		denied := said[refused] || said[withdrawn] || said[erased] || said[objected] || said[unproven] || said[late]
		switch got := outcome[p]; {
		case got == granted && denied:
			t.Errorf("%s: offset %d is kept against the ledger", c.Table, m.line)
		case got != silent && said[erased]:
			t.Errorf("%s: offset %d is stored though it names somebody who is erased", c.Table, m.line)
		case got != granted && said[granted] && !denied:
			t.Errorf("%s: offset %d is permitted and not kept", c.Table, m.line)
		}
	}
}

// parseResult reads what --json printed.
func parseResult(t *testing.T, stdout string) *result {
	t.Helper()
	var res result
	if err := json.Unmarshal([]byte(stdout), &res); err != nil {
		t.Fatal(err)
	}
	return &res
}

// checkRepeated runs the job again and checks that nothing comes of it. It gives
// the tables as they stand.
func (j *leakJob) checkRepeated(t *testing.T) (res *result, stdout, stderr string) {
	t.Helper()
	before := tree(t, j.out())
	stdout, stderr = j.backfill(t, "--json")
	res = parseResult(t, stdout)
	if res.Run.Read != 0 {
		t.Errorf("the second run read %d messages", res.Run.Read)
	}
	for i := range res.Tables {
		if diff := cmp.Diff(tableCounts{Reasons: map[string]int64{}}, res.Tables[i].Run); diff != "" {
			t.Errorf("%s: the second run did something (-want +got):\n%s", res.Tables[i].Table, diff)
		}
	}
	if after := tree(t, j.out()); after != before {
		t.Error("the second run made or removed files")
	}
	return res, stdout, stderr
}
