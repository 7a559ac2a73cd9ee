package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
)

// The formats of files of rows.
const (
	RowsCSV     = "csv"
	RowsJSON    = "jsonl"
	RowsParquet = "parquet"
)

// RowFormats lists the formats, for messages that say what is allowed.
func RowFormats() []string { return []string{RowsCSV, RowsJSON, RowsParquet} }

// maxRow is how long a row may be.
const maxRow = 16 << 20

// RowOptions say which rows to read. Zero values stand for the defaults.
type RowOptions struct {
	// Paths are as in Options.
	Paths []string
	// Format is that of all files; by default each file's name says it: .csv, .tsv,
	// .jsonl, .ndjson, .json or .parquet, with .gz or .zst behind all but the last.
	Format string
	// Delimiter stands between the columns of CSV: a comma, or a tab in .tsv.
	Delimiter rune
	// Latin1 is that CSV is in ISO 8859-1 and not in UTF-8.
	Latin1 bool
}

// Row is one row of a file. It is valid until the next one is read.
type Row struct {
	File string
	Line int64 // or the number of the row in a Parquet file, from 1
	// JSON is the row as one object. Of a JSON line it is the line as it is; of CSV
	// it has a text for each column that is not empty; of Parquet what the schema
	// says, with times as RFC 3339 and lists as arrays.
	JSON []byte
	// Fault says why the row cannot be read. It holds nothing of it.
	Fault error
}

// Place names the file and the line.
func (r *Row) Place() string { return fmt.Sprintf("%s:%d", r.File, r.Line) }

// Rows reads the rows of files, one after the other. One goroutine uses it.
type Rows struct {
	o     RowOptions
	files []file
	total int64
	read  atomic.Int64
	dec   decoders
	next  int
	in    rowReader // nil between files
	row   Row
}

// rowReader reads one file. An error other than io.EOF ends the reading.
type rowReader interface {
	next(ctx context.Context, row *Row) error
	close() error
}

// OpenRows finds the files. They are read in the order of their names.
func OpenRows(o RowOptions) (*Rows, error) {
	set, err := NewSet(Options{Paths: o.Paths})
	if err != nil {
		return nil, err
	}
	if o.Format != "" && !slices.Contains(RowFormats(), o.Format) {
		return nil, fmt.Errorf("files: the format of rows must be one of %s", strings.Join(RowFormats(), ", "))
	}
	r := &Rows{o: o, files: set.files, total: set.total}
	for _, f := range r.files {
		if _, err := r.format(f.name); err != nil {
			return nil, fmt.Errorf("files: %s: %w", f.name, err)
		}
	}
	return r, nil
}

// format gives the format of a file.
func (r *Rows) format(name string) (string, error) {
	if r.o.Format != "" {
		return r.o.Format, nil
	}
	switch filepath.Ext(bareRowName(name)) {
	case ".csv", ".tsv":
		return RowsCSV, nil
	case ".jsonl", ".ndjson", ".json":
		return RowsJSON, nil
	case ".parquet":
		return RowsParquet, nil
	}
	return "", fmt.Errorf("the name does not say the format, which must be one of %s", strings.Join(RowFormats(), ", "))
}

// bareRowName is a name without what says how it is compressed.
func bareRowName(name string) string {
	name = strings.ToLower(name)
	return strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
}

// Progress gives how many bytes, as they are on disk, have been read, and how
// many there are. It may be called at any time.
func (r *Rows) Progress() (read, total int64) { return r.read.Load(), r.total }

// Next gives the next row, or io.EOF after the last one.
func (r *Rows) Next(ctx context.Context) (*Row, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.in == nil {
			if r.next == len(r.files) {
				return nil, io.EOF
			}
			f := r.files[r.next]
			r.next++
			if err := r.begin(f); err != nil {
				return nil, fmt.Errorf("files: %s: %w", f.name, err)
			}
		}
		r.row.JSON, r.row.Fault = r.row.JSON[:0], nil
		err := r.in.next(ctx, &r.row)
		switch {
		case err == nil:
			return &r.row, nil
		case !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("files: %s: %w", r.row.File, err)
		}
		if err := r.Close(); err != nil {
			return nil, fmt.Errorf("files: %s: %w", r.row.File, err)
		}
	}
}

func (r *Rows) begin(f file) error {
	r.row = Row{File: f.name, JSON: r.row.JSON}
	format, err := r.format(f.name)
	if err != nil {
		return err
	}
	if format == RowsParquet {
		in, err := openParquetRows(f.name, &r.read)
		if err != nil {
			return err
		}
		r.in = in
		return nil
	}
	in, err := r.dec.open(f.name, &r.read)
	if err != nil {
		return err
	}
	if format == RowsJSON {
		lines := &lineRows{in: in}
		lines.split.reset(in.body, maxRow)
		r.in = lines
		return nil
	}
	delimiter := r.o.Delimiter
	if delimiter == 0 {
		delimiter = ','
		if strings.HasSuffix(bareRowName(f.name), ".tsv") {
			delimiter = '\t'
		}
	}
	rows, err := newCSVRows(in, delimiter, r.o.Latin1)
	if err != nil {
		return errors.Join(err, in.f.Close())
	}
	r.in = rows
	return nil
}

// Close lets go of the file that is open.
func (r *Rows) Close() error {
	if r.in == nil {
		return nil
	}
	err := r.in.close()
	r.in = nil
	return err
}

var errLongRow = fmt.Errorf("the row is longer than %d bytes", maxRow)

// lineRows reads JSON lines.
type lineRows struct {
	in    *input
	split splitter
	lines lines
	at    int // of lines
}

func (l *lineRows) next(ctx context.Context, row *Row) error {
	for l.at == len(l.lines.values) {
		if l.split.finished() {
			return io.EOF
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		l.at = 0
		if err := l.split.next(&l.lines); err != nil {
			return l.in.fault(err)
		}
	}
	v := l.lines.values[l.at]
	row.Line = l.lines.offsets[l.at] + 1
	row.JSON = append(row.JSON, l.lines.arena[v.Off:v.Off+v.Len]...)
	if slices.Contains(l.lines.large, int32(l.at)) {
		row.Fault = errLongRow
	}
	l.at++
	return nil
}

func (l *lineRows) close() error { return errors.Join(l.in.unchanged(), l.in.f.Close()) }
