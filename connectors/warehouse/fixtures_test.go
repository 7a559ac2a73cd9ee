package warehouse

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/parquet-go/parquet-go"

	"lupa/pipeline"
	"lupa/schemas"
)

// clicks is a personal contract with a field of every column type.
func clicks() *schemas.Contract {
	keep := schemas.Treatment{Technique: schemas.Keep}
	return &schemas.Contract{
		ID: "test:clicks", Version: "1.2.0", Table: "clicks", LegalBasis: "eu-gdpr:A6-1-a",
		Purposes: schemas.Purposes(schemas.Analytics), OnDeny: schemas.MaskRow, EventTime: 1, RetentionDays: 30,
		Fields: []schemas.Field{
			{Name: "user_id", Type: schemas.Text, Category: "user.unique_id", Identifiers: []schemas.IdentifierKind{schemas.UserID},
				Treatment: schemas.Treatment{Technique: schemas.Pseudonymize}},
			{Name: "at", Type: schemas.Timestamp, Category: "user.behavior", Treatment: keep, Required: true, KeepMasked: true},
			{Name: "email", Type: schemas.Text, Category: "user.contact.email", Treatment: schemas.Treatment{Technique: schemas.Drop}},
			{Name: "page", Type: schemas.Text, Category: "system.operations", Treatment: keep},
			{Name: "clicks", Type: schemas.Integer, Category: "user.behavior", Treatment: keep, Purposes: schemas.Purposes(schemas.Profiling)},
			{Name: "score", Type: schemas.Number, Category: "system.operations", Treatment: keep},
			{Name: "returning", Type: schemas.Boolean, Category: "system.operations", Treatment: keep},
			{Name: "signup", Type: schemas.Date, Category: "system.operations", Treatment: keep},
		},
	}
}

func contracts() []*schemas.Contract { return []*schemas.Contract{clicks(), schemas.Rejects()} }

const clicksTable, rejectsTable = 0, 1

var (
	events = pipeline.Partition{Topic: "events", ID: 0}
	other  = pipeline.Partition{Topic: "files/events.jsonl", ID: 3}
)

// click is one row of the clicks table, before it is written.
type click struct {
	offset int64
	person int // 0 is masked
	at     time.Time
	page   string
	clicks int64
}

var day = time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC)

// makeClicks gives n clicks from an offset on, by a few people over two days;
// every seventh is masked.
func makeClicks(from int64, n int) []click {
	rows := make([]click, n)
	for i := range rows {
		offset := from + int64(i)
		rows[i] = click{
			offset: offset, person: int(offset*7919%50) + 1,
			at:   day.Add(time.Duration(offset%48) * time.Hour).Add(time.Duration(offset) * time.Microsecond),
			page: fmt.Sprintf("/page/%d", offset%9), clicks: offset * 3,
		}
		if offset%7 == 0 {
			rows[i].person = 0
		}
	}
	return rows
}

// tokenOf is a version 8 UUID whose order is not that of the persons.
func tokenOf(person int) []byte {
	t := make([]byte, 16)
	binary.BigEndian.PutUint64(t, uint64(person)*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(t[8:], uint64(person))
	t[0], t[6], t[8] = 1, 0x80|t[6]&0x0f, 0x80|t[8]&0x3f
	return t
}

var clicksSchema = arrow.NewSchema([]arrow.Field{
	{Name: "subject_token", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}, Nullable: true},
	{Name: "user_id", Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}, Nullable: true},
	{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	{Name: "page", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "clicks", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "score", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "returning", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
	{Name: "signup", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
}, nil)

// clicksBatch makes a batch; one dropped row stands before each of the rows.
func clicksBatch(mem memory.Allocator, p pipeline.Partition, rows []click) *pipeline.Batch {
	b := &pipeline.Batch{Contract: clicks(), Table: clicksTable, Partition: p}
	build := array.NewRecordBuilder(mem, clicksSchema)
	defer build.Release()
	for i, r := range rows {
		granted := schemas.Purposes(schemas.Analytics, schemas.DirectMarketingSMS)
		verdict, reason := pipeline.KeepRow, schemas.ConsentGiven
		if r.person == 0 {
			verdict, reason, granted = pipeline.MaskRow, schemas.Withdrawn, 0
		} else if r.clicks%2 == 0 {
			granted = granted.With(schemas.Profiling)
		}
		b.Offsets = append(b.Offsets, r.offset, r.offset)
		b.Verdicts = append(b.Verdicts, pipeline.DropRow, verdict)
		b.Reasons = append(b.Reasons, schemas.NoRecord, reason)
		b.Granted = append(b.Granted, 0, granted)
		b.Selected = append(b.Selected, int32(2*i+1))
		for c := range 2 {
			if r.person == 0 {
				build.Field(c).AppendNull()
			} else {
				build.Field(c).(*array.FixedSizeBinaryBuilder).Append(tokenOf(r.person))
			}
		}
		if r.at.IsZero() {
			build.Field(2).AppendNull()
		} else {
			build.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(r.at.UnixMicro()))
		}
		if r.page == "" {
			build.Field(3).AppendNull()
		} else {
			build.Field(3).(*array.StringBuilder).Append(r.page)
		}
		build.Field(4).(*array.Int64Builder).Append(r.clicks)
		build.Field(5).(*array.Float64Builder).Append(float64(r.clicks) / 4)
		build.Field(6).(*array.BooleanBuilder).Append(r.offset%3 == 0)
		build.Field(7).(*array.Date32Builder).Append(arrow.Date32(r.clicks % 1000))
	}
	b.Out = build.NewRecord()
	return b
}

// rejectsBatch lists rejected messages of the clicks table and of none.
func rejectsBatch(p pipeline.Partition, offsets ...int64) *pipeline.Batch {
	b := &pipeline.Batch{Contract: schemas.Rejects(), Table: rejectsTable, Partition: p, Offsets: offsets}
	names := array.NewStringBuilder(memory.DefaultAllocator)
	for i, offset := range offsets {
		reason := schemas.WrongType
		if offset%2 == 0 {
			names.AppendNull()
			reason = schemas.Unrouted
		} else {
			names.Append("clicks")
		}
		b.Verdicts = append(b.Verdicts, pipeline.KeepRow)
		b.Reasons = append(b.Reasons, reason)
		b.Granted = append(b.Granted, 0)
		b.Selected = append(b.Selected, int32(i))
	}
	b.Out = array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "table_name", Type: arrow.BinaryTypes.String, Nullable: true}}, nil),
		[]arrow.Array{names.NewArray()}, int64(len(offsets)))
	return b
}

// clicksCommit is the commit of rows and of as many dropped ones.
func clicksCommit(files []pipeline.File, p pipeline.Partition, from, to int64, rows []click) *pipeline.Commit {
	c := &pipeline.Commit{Table: clicksTable, Files: files,
		Moves:  map[pipeline.Partition]pipeline.Move{p: {From: from, To: pipeline.Mark{Next: to, Anchor: "anchor of " + p.String()}}},
		Ledger: pipeline.Vector{{Topic: "consent", ID: 0}: 17, {Topic: "consent", ID: 1}: 4}}
	for _, r := range rows {
		if r.person == 0 {
			c.Counts.Masked++
			c.Counts.Reasons[schemas.Withdrawn]++
		} else {
			c.Counts.Kept++
			c.Counts.Reasons[schemas.ConsentGiven]++
		}
	}
	c.Counts.Dropped = int64(len(rows))
	c.Counts.Reasons[schemas.NoRecord] += int64(len(rows))
	c.Counts.Read = c.Counts.Kept + c.Counts.Masked + c.Counts.Dropped
	return c
}

func openSink(t testing.TB, o Options) *Sink {
	t.Helper()
	s, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// write appends rows and flushes them.
func write(t testing.TB, w pipeline.Writer, p pipeline.Partition, rows []click) []pipeline.File {
	t.Helper()
	b := clicksBatch(memory.DefaultAllocator, p, rows)
	if err := w.Append(b); err != nil {
		t.Fatal(err)
	}
	files, err := w.Flush(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// writeAndCommit writes and commits makeClicks(from, n).
func writeAndCommit(t testing.TB, s *Sink, p pipeline.Partition, from int64, n int) []pipeline.File {
	t.Helper()
	w := s.Writer()
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	rows := makeClicks(from, n)
	files := write(t, w, p, rows)
	if err := s.Commit(context.Background(), clicksCommit(files, p, from, from+int64(n), rows)); err != nil {
		t.Fatal(err)
	}
	return files
}

// storedRow is a row as a Parquet reader that knows nothing of the writer
// finds it: text by column name, no entry for null.
type storedRow map[string]string

// readFile reads a data file by its own schema.
func readFile(t testing.TB, path string) (rows []storedRow) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	names := file.Schema().Columns()
	reader := parquet.NewGenericReader[any](file)
	defer reader.Close()
	buf := make([]parquet.Row, 100)
	for {
		n, err := reader.ReadRows(buf)
		for _, row := range buf[:n] {
			stored := storedRow{}
			for _, v := range row {
				if v.IsNull() {
					continue
				}
				name := names[v.Column()][0]
				if v.RepetitionLevel() > 0 {
					stored[name] += ","
				}
				if v.Kind() == parquet.FixedLenByteArray {
					stored[name] = uuidText(v.ByteArray())
				} else {
					stored[name] += v.String()
				}
			}
			rows = append(rows, stored)
		}
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// wantRow is what should be stored of a click.
func wantRow(p pipeline.Partition, r click) storedRow {
	row := storedRow{
		"at": fmt.Sprint(r.at.UnixMicro()), "page": r.page, "clicks": fmt.Sprint(r.clicks),
		"score": fmt.Sprint(float64(r.clicks) / 4), "returning": fmt.Sprint(r.offset%3 == 0), "signup": fmt.Sprint(r.clicks % 1000),
		"retention_until": fmt.Sprint(dayOf(r.at.UnixMicro()) + 30), "reason": "withdrawn", "contract_version": "1.2.0",
		"_src_topic": p.Topic, "_src_partition": fmt.Sprint(p.ID), "_src_offset": fmt.Sprint(r.offset),
	}
	if r.person != 0 {
		row["reason"], row["legal_basis"], row["purposes"] = "consent_given", "eu-gdpr:A6-1-a", "analytics"
		if r.clicks%2 == 0 {
			row["purposes"] += ",profiling"
		}
		row["subject_token"] = uuidText(tokenOf(r.person))
		row["user_id"] = row["subject_token"]
	}
	return row
}

// currentFiles reads a table's current_files.json.
func currentFiles(t testing.TB, dir, table string) []string {
	t.Helper()
	return readJSON[[]string](t, filepath.Join(dir, table, filesName))
}

// tableRows reads every row of a table by way of current_files.json, in the
// order of the source.
func tableRows(t testing.TB, dir, table string) []storedRow {
	t.Helper()
	var rows []storedRow
	for _, path := range currentFiles(t, dir, table) {
		rows = append(rows, readFile(t, path)...)
	}
	sortBySource(rows)
	return rows
}

func sortBySource(rows []storedRow) {
	key := func(r storedRow) string {
		return fmt.Sprintf("%s %s %12s", r["_src_topic"], r["_src_partition"], r["_src_offset"])
	}
	slices.SortFunc(rows, func(a, b storedRow) int {
		switch x, y := key(a), key(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
}

func wantRows(p pipeline.Partition, clicks []click) []storedRow {
	rows := make([]storedRow, len(clicks))
	for i := range clicks {
		rows[i] = wantRow(p, clicks[i])
	}
	return rows
}

// amendCounts moves the rows that amendments take out to the dropped ones.
func amendCounts(c *pipeline.Commit, list []pipeline.Amendment) {
	for _, a := range list {
		if !a.Reason.Denies() {
			continue
		}
		c.Counts.Dropped++
		c.Counts.Reasons[a.Reason]++
		if a.Masked == schemas.NoReason {
			c.Counts.Kept--
			c.Counts.Reasons[schemas.ConsentGiven]--
		} else {
			c.Counts.Masked--
			c.Counts.Reasons[a.Masked]--
		}
	}
}

// amendRows is what should be stored of rows after amendments: a denied one is
// gone, a narrowed one has the purposes that are left and no clicks without
// profiling.
func amendRows(rows []storedRow, list []pipeline.Amendment) (left []storedRow) {
	changes := map[string]pipeline.Amendment{}
	for _, a := range list {
		changes[fmt.Sprint(a.Partition, " ", a.Offset)] = a
	}
	for _, row := range rows {
		a, changed := changes[row["_src_topic"]+"/"+row["_src_partition"]+" "+row["_src_offset"]]
		if changed && a.Reason.Denies() {
			continue
		}
		if changed {
			var purposes []string
			for _, name := range strings.Split(row["purposes"], ",") {
				if p, ok := schemas.ParsePurpose(name); ok && a.Granted.Has(p) {
					purposes = append(purposes, name)
				}
			}
			row = maps.Clone(row)
			row["purposes"] = strings.Join(purposes, ",")
			if !slices.Contains(purposes, "profiling") {
				delete(row, "clicks")
			}
		}
		left = append(left, row)
	}
	return left
}
