package warehouse

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/pipeline"
	"lupa/schemas"
)

// A row that a duty keeps says under which law and until when, also after its
// file was rewritten for another row's sake.
func TestRetainedRows(t *testing.T) {
	s := openSink(t, Options{Dir: t.TempDir(), Namespace: "lupa", Contracts: contracts(), KeyEpoch: 1})
	p := pipeline.Partition{Topic: "clicks"}
	rows := makeClicks(0, 8)
	rows[2].person, rows[4].person = 0, 0
	b := clicksBatch(memory.DefaultAllocator, p, rows)
	end := time.Date(2031, 12, 31, 22, 0, 0, 0, time.UTC)
	bind := func(row int, until time.Time, basis string) {
		raw := b.Selected[row]
		b.Reasons[raw] = schemas.Retained
		b.Duties = append(b.Duties, pipeline.Duty{Row: raw, Fields: make([]bool, len(clicks().Fields)), Until: until.UnixMicro(), Basis: basis})
	}
	bind(2, end, "eu-gdpr:A6-1-c")
	bind(4, end.Truncate(24*time.Hour), "")
	w := s.Writer()
	defer w.Close()
	if err := w.Append(b); err != nil {
		t.Fatal(err)
	}
	files, err := w.Flush(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	check := func(files []pipeline.File, left int) {
		t.Helper()
		n, found := 0, 0
		for _, f := range files {
			for _, row := range readFile(t, f.Path) {
				n++
				switch row["_src_offset"] {
				case fmt.Sprint(rows[2].offset):
					found++
					// 2032-01-01 is day 22645.
					if row["reason"] != "retained" || row["legal_basis"] != "eu-gdpr:A6-1-c" || row["retention_until"] != "22645" || row["subject_token"] != "" || row["purposes"] != "" {
						t.Error(row)
					}
				case fmt.Sprint(rows[4].offset):
					found++
					if row["reason"] != "retained" || row["legal_basis"] != "" || row["retention_until"] != "22644" {
						t.Error(row)
					}
				default:
					if row["reason"] == "retained" || row["retention_until"] == "22645" {
						t.Error(row)
					}
				}
			}
		}
		if n != left || found != 2 {
			t.Errorf("%d rows, %d of them retained", n, found)
		}
	}
	check(files, 8)
	amended, err := s.Amend(context.Background(), clicksTable, files, []pipeline.Amendment{
		{Partition: p, Offset: rows[0].offset, Reason: schemas.Withdrawn}, {Partition: p, Offset: rows[3].offset, Reason: schemas.Erased},
	})
	if err != nil {
		t.Fatal(err)
	}
	check(amended, 6)

	b.Duties = b.Duties[:1]
	if err := s.Writer().Append(b); err == nil {
		t.Error("a retained row without a duty passes")
	}
}
