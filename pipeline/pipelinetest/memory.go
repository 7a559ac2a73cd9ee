package pipelinetest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
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
	claims    pipeline.Claims
	counts    pipeline.Counts
	ledger    pipeline.Vector
}

// NewSink makes a sink of n empty tables.
func NewSink(n int) *Sink {
	s := &Sink{tables: make([]memoryTable, n), staged: map[string][]Row{}}
	for i := range s.tables {
		s.tables[i].positions = pipeline.Positions{}
		s.tables[i].claims = pipeline.Claims{}
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
	return s.positions(), nil
}

func (s *Sink) positions() []pipeline.Positions {
	all := make([]pipeline.Positions, len(s.tables))
	for i, t := range s.tables {
		all[i] = maps.Clone(t.positions)
	}
	return all
}

// Claim raises the number of every partition in every table.
func (s *Sink) Claim(_ context.Context, partitions []pipeline.Partition) ([]pipeline.Claims, []pipeline.Positions, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]pipeline.Claims, len(s.tables))
	for i, t := range s.tables {
		all[i] = pipeline.Claims{}
		for _, p := range partitions {
			all[i][p] = t.claims[p] + 1
		}
		maps.Copy(t.claims, all[i])
	}
	return all, s.positions(), nil
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
		held, ok := t.positions[p]
		switch {
		case t.claims[p] != c.Claims[p]:
			s.discard(c.Files)
			return fmt.Errorf("table %d: %w: %s is claimed under %d, the commit has %d",
				c.Table, pipeline.ErrRefused, p, t.claims[p], c.Claims[p])
		case ok && held.Next != m.From:
			s.discard(c.Files)
			return fmt.Errorf("table %d: %w: %s stands at %d, the commit begins at %d",
				c.Table, pipeline.ErrRefused, p, held.Next, m.From)
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

func (s *Sink) discard(files []pipeline.File) {
	for _, f := range files {
		delete(s.staged, f.Path)
	}
}

// Amend takes rows out of staged files. A row that stays with fewer purposes
// loses its value: which purposes it needs is not known here.
func (s *Sink) Amend(_ context.Context, table int, files []pipeline.File, rows []pipeline.Amendment) ([]pipeline.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type key struct {
		pipeline.Partition
		offset int64
	}
	left := map[key]pipeline.Amendment{}
	for _, a := range rows {
		if a.Reason != schemas.ConsentGiven && !a.Reason.Denies() {
			return nil, fmt.Errorf("table %d: %s offset %d: the amendment has no reason", table, a.Partition, a.Offset)
		}
		left[key{a.Partition, a.Offset}] = a
	}
	if len(left) != len(rows) {
		return nil, fmt.Errorf("table %d: a row has two amendments", table)
	}
	var amended []pipeline.File
	remade := map[string][]Row{}
	for _, f := range files {
		staged, ok := s.staged[f.Path]
		if !ok || f.Table != table {
			return nil, fmt.Errorf("table %d: no such file", table)
		}
		var stays []Row
		hit := false
		for _, r := range staged {
			k := key{r.Partition, r.Offset}
			a, ok := left[k]
			delete(left, k)
			hit = hit || ok
			if ok && a.Reason.Denies() {
				continue
			}
			if ok {
				r.Value = ""
			}
			stays = append(stays, r)
		}
		if hit {
			remade[f.Path] = stays
			f.Rows = int64(len(stays))
		}
		if f.Rows > 0 {
			amended = append(amended, f)
		}
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("table %d: %d rows are not in the files", table, len(left))
	}
	for i, f := range amended {
		if stays, ok := remade[f.Path]; ok {
			s.files++
			amended[i].Path = fmt.Sprintf("memory-%d", s.files)
			s.staged[amended[i].Path] = stays
		}
	}
	for path := range remade {
		delete(s.staged, path)
	}
	return amended, nil
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
