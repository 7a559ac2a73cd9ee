package pipelinetest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/pipeline"
	"lupa/schemas"
)

// Source gives the messages of one partition, Size at a time, from memory.
// With Follow set it never ends: it gives nil chunks instead.
type Source struct {
	Partition pipeline.Partition
	Messages  []string
	Size      int
	Follow    bool

	next  int
	chunk pipeline.Chunk
}

// Open starts at the given position.
func (s *Source) Open(_ context.Context, from pipeline.Positions) error {
	if s.next = int(from[s.Partition].Next); s.next > len(s.Messages) {
		return fmt.Errorf("%s: position %d is past the end %d", s.Partition, s.next, len(s.Messages))
	}
	return nil
}

// Next gives the next chunk.
func (s *Source) Next(ctx context.Context) (*pipeline.Chunk, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.next >= len(s.Messages) {
		if s.Follow {
			return nil, nil
		}
		return nil, io.EOF
	}
	c := &s.chunk
	*c = pipeline.Chunk{Partition: s.Partition}
	for range max(s.Size, 1) {
		if s.next == len(s.Messages) {
			break
		}
		m := s.Messages[s.next]
		c.Values = append(c.Values, schemas.Span{Off: uint32(len(c.Arena)), Len: uint32(len(m))})
		c.Arena = append(c.Arena, m...)
		c.Offsets = append(c.Offsets, int64(s.next))
		c.Times = append(c.Times, pipeline.NoTime)
		s.next++
	}
	c.Arena = append(c.Arena, make([]byte, pipeline.ArenaSlack)...)
	c.Next = pipeline.Mark{Next: int64(s.next)}
	return c, nil
}

// Close does nothing.
func (s *Source) Close() error { return nil }

// Ledger is a ledger that is always caught up.
type Ledger struct{ Vector pipeline.Vector }

// Barrier returns at once.
func (l Ledger) Barrier(context.Context) (pipeline.Vector, error) { return l.Vector, nil }

// Quarantine remembers what was put and flushed.
type Quarantine struct {
	mu      sync.Mutex
	put     []pipeline.Rejected
	Flushed []pipeline.Rejected
}

// Put remembers the entries with copies of their values.
func (q *Quarantine) Put(_ context.Context, entries []pipeline.Rejected) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range entries {
		e.Value = slices.Clone(e.Value)
		q.put = append(q.put, e)
	}
	return nil
}

// Flush makes what was put part of Flushed.
func (q *Quarantine) Flush(context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.Flushed = append(q.Flushed, q.put...)
	q.put = nil
	return nil
}

// Row is one committed row as a sink's reader sees it.
type Row struct {
	Partition pipeline.Partition
	Offset    int64
	Reason    schemas.Reason
	Value     string // of the table's first text column; empty when null
}

// Compare orders rows by partition and offset.
func (r Row) Compare(o Row) int {
	return cmp.Or(cmp.Compare(r.Partition.Topic, o.Partition.Topic),
		cmp.Compare(r.Partition.ID, o.Partition.ID), cmp.Compare(r.Offset, o.Offset))
}

// Sink keeps tables in memory and holds commits to the same rules as a real
// one. It outlives a run, as a warehouse does.
type Sink struct {
	mu     sync.Mutex
	tables []memoryTable
	staged map[string][]Row
	files  int
}

type memoryTable struct {
	rows      []Row
	positions pipeline.Positions
	counts    pipeline.Counts
	ledger    pipeline.Vector
}

// NewSink makes a sink of n empty tables.
func NewSink(n int) *Sink {
	s := &Sink{tables: make([]memoryTable, n), staged: map[string][]Row{}}
	for i := range s.tables {
		s.tables[i].positions = pipeline.Positions{}
	}
	return s
}

// Rows gives the committed rows of a table, ordered.
func (s *Sink) Rows(table int) []Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := slices.Clone(s.tables[table].rows)
	slices.SortFunc(rows, Row.Compare)
	return rows
}

// Counts gives the sum of a table's commits.
func (s *Sink) Counts(table int) pipeline.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tables[table].counts
}

// Positions gives every table's positions.
func (s *Sink) Positions(context.Context) ([]pipeline.Positions, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]pipeline.Positions, len(s.tables))
	for i, t := range s.tables {
		all[i] = pipeline.Positions{}
		for p, m := range t.positions {
			all[i][p] = m
		}
	}
	return all, nil
}

// Commit applies c whole or not at all.
func (s *Sink) Commit(_ context.Context, c *pipeline.Commit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tables[c.Table]
	n := c.Counts
	if n.Read != n.Kept+n.Masked+n.Dropped+n.Rejected {
		return fmt.Errorf("table %d: counts do not add up", c.Table)
	}
	for p, m := range c.Moves {
		if held, ok := t.positions[p]; ok && held.Next != m.From {
			return fmt.Errorf("table %d: %s stands at %d, the commit begins at %d", c.Table, p, held.Next, m.From)
		}
	}
	var rows []Row
	for _, f := range c.Files {
		staged, ok := s.staged[f.Path]
		if !ok {
			return fmt.Errorf("table %d: no such file", c.Table)
		}
		delete(s.staged, f.Path)
		rows = append(rows, staged...)
	}
	t.rows = append(t.rows, rows...)
	for p, m := range c.Moves {
		t.positions[p] = m.To
	}
	t.counts.Add(&n)
	t.ledger = c.Ledger
	return nil
}

// Writer makes a writer.
func (s *Sink) Writer() pipeline.Writer { return &memoryWriter{sink: s, rows: map[int][]Row{}} }

type memoryWriter struct {
	sink *Sink
	rows map[int][]Row
}

func (w *memoryWriter) Append(b *pipeline.Batch) error {
	column := firstText(b)
	for i, row := range b.Selected {
		r := Row{Partition: b.Partition, Offset: b.Offsets[row], Reason: b.Reasons[row]}
		if column != nil && column.IsValid(i) {
			r.Value = column.Value(i)
		}
		w.rows[b.Table] = append(w.rows[b.Table], r)
	}
	return nil
}

func firstText(b *pipeline.Batch) *array.String {
	for _, c := range b.Out.Columns() {
		if s, ok := c.(*array.String); ok {
			return s
		}
	}
	return nil
}

func (w *memoryWriter) Flush(context.Context) ([]pipeline.File, error) {
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	var files []pipeline.File
	for table, rows := range w.rows {
		w.sink.files++
		path := fmt.Sprintf("memory-%d", w.sink.files)
		w.sink.staged[path] = rows
		files = append(files, pipeline.File{Table: table, Path: path, Rows: int64(len(rows))})
	}
	w.rows = map[int][]Row{}
	return files, nil
}

func (w *memoryWriter) Close() error { return nil }
