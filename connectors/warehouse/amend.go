package warehouse

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"lupa/pipeline"
	"lupa/schemas"
)

// Amend takes rows out of files that no commit names yet, or leaves them with
// fewer purposes and without the fields that need the others. It gives the
// table's files as they are then. A file that changes is written anew and
// checked like any other before the old one is removed; on an error all files
// of before are still there, unless the error is about removing one of them.
// It holds the rows of one file in memory.
func (s *Sink) Amend(ctx context.Context, table int, files []pipeline.File, rows []pipeline.Amendment) ([]pipeline.File, error) {
	if table < 0 || table >= len(s.tables) {
		return nil, fmt.Errorf("amend: no table %d", table)
	}
	t := s.tables[table]
	amended, err := s.amend(ctx, t, files, rows)
	if err != nil {
		return nil, fmt.Errorf("amend table %s: %w", t.name, err)
	}
	s.count.amended.Add(int64(len(rows)))
	return amended, nil
}

func (s *Sink) amend(ctx context.Context, t *table, files []pipeline.File, rows []pipeline.Amendment) (amended []pipeline.File, err error) {
	hits, err := s.locate(ctx, t, files, rows)
	if err != nil {
		return nil, err
	}
	var replaced, added []string
	defer func() {
		if err != nil {
			for _, path := range added {
				_ = s.disk.remove(path) // or a sweep will
			}
		}
	}()
	encoder := newEncoder(t, &zstd.Codec{Level: zstd.SpeedFastest})
	for i := range files {
		if hits[i] == nil {
			amended = append(amended, files[i])
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		file, err := s.rewrite(t, encoder, &files[i], rows, hits[i])
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", fileName(files[i].Path), err)
		}
		replaced = append(replaced, files[i].Path)
		if file.Rows > 0 {
			added = append(added, file.Path)
			amended = append(amended, file)
		}
	}
	for i, path := range replaced {
		if err := s.disk.remove(path); err != nil {
			if i > 0 {
				added = nil // some rows are in the new files alone
			}
			return nil, err
		}
	}
	return amended, nil
}

// locate finds every row in the files. It gives, by file, the amendment of each
// of its rows, as find does.
func (s *Sink) locate(ctx context.Context, t *table, files []pipeline.File, rows []pipeline.Amendment) ([][]int32, error) {
	list, err := t.newAmendments(rows)
	if err != nil {
		return nil, err
	}
	hits := make([][]int32, len(files))
	for i := range files {
		if err := t.checkFile(&files[i]); err != nil {
			return nil, err
		}
		if len(rows) == 0 {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		err := s.read(&files[i], func(file *parquet.File) error { return list.find(file, &hits[i]) })
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", fileName(files[i].Path), err)
		}
	}
	return hits, list.complete()
}

// checkFile refuses a file that is not of the table.
func (t *table) checkFile(f *pipeline.File) error {
	if f.Table != t.index || f.Path != filepath.Clean(f.Path) || !strings.HasPrefix(f.Path, t.dataDir+string(filepath.Separator)) {
		return errors.New("a file belongs to another table")
	}
	return nil
}

// read opens a file that this process wrote, if it still is what was written.
func (s *Sink) read(f *pipeline.File, use func(*parquet.File) error) (err error) {
	return s.disk.do("read", f.Path, func() (err error) {
		in, err := os.Open(f.Path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.Close()) }()
		if err := unchanged(in, f); err != nil {
			return err
		}
		file, err := openParquet(in)
		if err != nil {
			return err
		}
		if file.NumRows() != f.Rows {
			return fmt.Errorf("it has %d rows, %d were written", file.NumRows(), f.Rows)
		}
		return use(file)
	})
}

// unchanged fails unless a file holds the bytes that were written to it.
func unchanged(in io.Reader, f *pipeline.File) error {
	hash := sha256.New()
	n, err := io.Copy(hash, in)
	if err != nil {
		return err
	}
	if n != f.Bytes || [sha256.Size]byte(hash.Sum(nil)) != f.SHA256 {
		return errors.New("it is not as it was written")
	}
	return nil
}

// rewrite writes a file anew without the rows that go, and gives one without
// rows if none is left.
func (s *Sink) rewrite(t *table, e *encoder, f *pipeline.File, rows []pipeline.Amendment, hits []int32) (pipeline.File, error) {
	l := &loader{table: t, rows: rows, hits: hits}
	if err := s.read(f, l.load); err != nil {
		return pipeline.File{}, err
	}
	if l.buf.rows == 0 {
		return pipeline.File{}, nil
	}
	return s.writeFile(e, l.buf, l.sources, filepath.Join(filepath.Dir(f.Path), uuid.NewString()+".parquet"))
}

// amendments are the rows to look for in a table's files.
type amendments struct {
	table  *table
	rows   []pipeline.Amendment
	at     map[rowKey]int32 // index into rows
	topics map[string]int32
	found  []bool
}

type rowKey struct {
	topic, partition int32
	offset           int64
}

// newAmendments refuses what cannot be done to a row of the table.
func (t *table) newAmendments(rows []pipeline.Amendment) (*amendments, error) {
	a := &amendments{table: t, rows: rows, at: make(map[rowKey]int32, len(rows)), topics: map[string]int32{}, found: make([]bool, len(rows))}
	for i := range rows {
		r := &rows[i]
		switch {
		case r.Reason != schemas.ConsentGiven && !r.Reason.Denies():
			return nil, fmt.Errorf("%s offset %d: the amendment's reason is none of a decision", r.Partition, r.Offset)
		case r.Reason == schemas.ConsentGiven && !r.Granted.Covers(t.contract.Purposes):
			return nil, fmt.Errorf("%s offset %d: the row is to stay without a purpose that its table needs", r.Partition, r.Offset)
		}
		topic, ok := a.topics[r.Partition.Topic]
		if !ok {
			topic = int32(len(a.topics))
			a.topics[r.Partition.Topic] = topic
		}
		key := rowKey{topic, r.Partition.ID, r.Offset}
		if _, twice := a.at[key]; twice {
			return nil, fmt.Errorf("%s offset %d: the row has two amendments", r.Partition, r.Offset)
		}
		a.at[key] = int32(i)
	}
	return a, nil
}

// find sets hits to the amendment of each row of a file, by its index plus one;
// it stays nil where no row has any. Only the columns of the source are read.
func (a *amendments) find(file *parquet.File, hits *[]int32) error {
	topic, partition, offset := a.table.sourceColumns()
	var keys []rowKey
	buf := make([]parquet.Value, chunkRows)
	first := 0
	for _, group := range file.RowGroups() {
		chunks := group.ColumnChunks()
		keys = keys[:0]
		err := eachValues(chunks[topic], buf, func(values []parquet.Value) error {
			for i := range values {
				n, ok := a.topics[string(values[i].ByteArray())]
				if !ok {
					n = -1
				}
				keys = append(keys, rowKey{topic: n})
			}
			return nil
		})
		if err != nil {
			return err
		}
		at := 0
		err = eachValues(chunks[partition], buf, func(values []parquet.Value) error {
			for i := range values {
				keys[at].partition = values[i].Int32()
				at++
			}
			return nil
		})
		if err != nil {
			return err
		}
		at = 0
		err = eachValues(chunks[offset], buf, func(values []parquet.Value) error {
			for i := range values {
				key := keys[at]
				key.offset = values[i].Int64()
				if err := a.hit(key, first+at, int(file.NumRows()), hits); err != nil {
					return err
				}
				at++
			}
			return nil
		})
		if err != nil {
			return err
		}
		first += len(keys)
	}
	return nil
}

func (a *amendments) hit(key rowKey, row, rows int, hits *[]int32) error {
	if key.topic < 0 {
		return nil
	}
	i, ok := a.at[key]
	if !ok {
		return nil
	}
	if a.found[i] {
		return fmt.Errorf("%s offset %d: the row stands twice", a.rows[i].Partition, a.rows[i].Offset)
	}
	a.found[i] = true
	if *hits == nil {
		*hits = make([]int32, rows)
	}
	(*hits)[row] = i + 1
	return nil
}

// complete fails if a row was not found.
func (a *amendments) complete() error {
	for i, found := range a.found {
		if !found {
			return fmt.Errorf("%s offset %d: no file has the row", a.rows[i].Partition, a.rows[i].Offset)
		}
	}
	return nil
}

// sourceColumns gives the columns that say where a row was read.
func (t *table) sourceColumns() (topic, partition, offset int) {
	for i := range t.cols {
		switch t.cols[i].origin {
		case fromTopic:
			topic = i
		case fromPartition:
			partition = i
		case fromOffset:
			offset = i
		}
	}
	return topic, partition, offset
}
