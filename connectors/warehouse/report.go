package warehouse

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	icetable "github.com/apache/iceberg-go/table"
	"github.com/parquet-go/parquet-go"

	"lupa/pipeline"
)

// TableReport is what the catalog knows of a table.
type TableReport struct {
	Table string
	// Rows, Files and Bytes are those of the current snapshot.
	Rows, Files, Bytes int64
	// Counts say what became of every message that commits have covered.
	Counts    pipeline.Counts
	Positions pipeline.Positions
	// Location is the table's directory, Metadata its newest metadata file.
	Location, Metadata string
	// Query are lines for the DuckDB shell that show the table.
	Query []string
}

// Report tells the state of every table.
func (s *Sink) Report(ctx context.Context) ([]TableReport, error) {
	ctx = withDisk(ctx, s.disk)
	reports := make([]TableReport, len(s.tables))
	for i, t := range s.tables {
		loaded, err := s.catalog.LoadTable(ctx, t.ident)
		if err == nil {
			reports[i], err = t.report(loaded)
		}
		if err != nil {
			return nil, fmt.Errorf("report of table %s: %w", t.name, err)
		}
	}
	return reports, nil
}

func (t *table) report(loaded *icetable.Table) (TableReport, error) {
	r := TableReport{
		Table: t.name, Location: t.dir, Metadata: localPath(loaded.MetadataLocation()),
		Query: []string{
			".read " + filepath.Join(t.dir, viewsName),
			"SELECT * FROM " + quoteName(t.name) + " LIMIT 10;",
		},
	}
	var err error
	if r.Counts, err = readCounts(loaded.Properties()); err != nil {
		return r, err
	}
	if r.Positions, err = readPositions(loaded.Properties()); err != nil {
		return r, err
	}
	now := loaded.CurrentSnapshot()
	if now == nil || now.Summary == nil {
		return r, nil
	}
	for key, total := range map[string]*int64{
		"total-records": &r.Rows, "total-data-files": &r.Files, "total-files-size": &r.Bytes,
	} {
		if *total, err = strconv.ParseInt(now.Summary.Properties[key], 10, 64); err != nil {
			return r, fmt.Errorf("snapshot %d has no %s", now.SnapshotID, key)
		}
	}
	return r, nil
}

// Sample gives the columns of a table and up to n of its rows as text; null is
// the empty text.
func (s *Sink) Sample(ctx context.Context, table int, n int) (columns []string, rows [][]string, err error) {
	if table < 0 || table >= len(s.tables) {
		return nil, nil, fmt.Errorf("sample: no table %d", table)
	}
	t := s.tables[table]
	for i := range t.cols {
		columns = append(columns, t.cols[i].name)
	}
	ctx = withDisk(ctx, s.disk)
	loaded, err := s.catalog.LoadTable(ctx, t.ident)
	if err != nil {
		return nil, nil, fmt.Errorf("sample of table %s: %w", t.name, err)
	}
	var live liveFiles
	paths, err := live.list(ctx, loaded)
	if err != nil {
		return nil, nil, fmt.Errorf("sample of table %s: %w", t.name, err)
	}
	for _, path := range paths {
		if len(rows) >= n {
			break
		}
		more, err := t.sampleFile(path, n-len(rows))
		if err != nil {
			return nil, nil, fmt.Errorf("sample of table %s: %s: %w", t.name, fileName(path), err)
		}
		rows = append(rows, more...)
	}
	return columns, rows, nil
}

func (t *table) sampleFile(path string, n int) (rows [][]string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	file, err := openParquet(f)
	if err != nil {
		return nil, err
	}
	if len(file.Schema().Columns()) != len(t.cols) {
		return nil, errors.New("it has other columns than the table")
	}
	reader := parquet.NewReader(file)
	defer func() { err = errors.Join(err, reader.Close()) }()
	buf := make([]parquet.Row, 1)
	for len(rows) < n {
		got, err := reader.ReadRows(buf)
		if got == 1 {
			rows = append(rows, t.text(buf[0]))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// text shows a row's values, the elements of a list with commas.
func (t *table) text(row parquet.Row) []string {
	cells := make([]string, len(t.cols))
	for _, v := range row {
		if v.IsNull() {
			continue
		}
		i := v.Column()
		if v.RepetitionLevel() > 0 {
			cells[i] += ","
		}
		cells[i] += cellText(t.cols[i].kind, v)
	}
	return cells
}

func cellText(k kind, v parquet.Value) string {
	switch k {
	case intKind:
		return strconv.FormatInt(int64(v.Int32()), 10)
	case longKind:
		return strconv.FormatInt(v.Int64(), 10)
	case doubleKind:
		return strconv.FormatFloat(v.Double(), 'g', -1, 64)
	case booleanKind:
		return strconv.FormatBool(v.Boolean())
	case timestampKind:
		return time.UnixMicro(v.Int64()).UTC().Format("2006-01-02T15:04:05.999999Z")
	case dateKind:
		return dayName(v.Int32())
	case uuidKind:
		return uuidText(v.ByteArray())
	}
	return string(v.ByteArray())
}

func uuidText(b []byte) string {
	text := hex.EncodeToString(b)
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}
