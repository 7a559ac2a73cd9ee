package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/schemas"
)

// worker drives one Worker: read, decode, wait for the ledger, decide, treat,
// append; and once per interval flush and hand over to the committer.
type worker struct {
	job    *Job
	src    Source
	dec    Decoder
	stages []Stage
	out    Writer
	holds  []Rechecker // those of the stages that are
	step   *step
	halt   context.CancelCauseFunc // ends the reading of all workers
	staged chan<- []*Commit

	// held is how far each table has come: what it had committed when the run
	// began, then what this worker handed over. Reading begins at the lowest of
	// them, so the others must skip what they hold already.
	held    []Positions
	pending []*Commit // by table; nil where nothing moved since the last flush
	since   time.Time
	moved   bool

	batch    Batch
	seen     []bool
	offsets  []int64
	times    []int64
	rejected []Rejected
	names    *array.StringBuilder
}

func newWorker(job *Job, id int, held []Positions, staged chan<- []*Commit) *worker {
	w := job.Workers[id]
	own := make([]Positions, len(held))
	for table := range held {
		own[table] = Positions{}
		maps.Copy(own[table], held[table])
	}
	var holds []Rechecker
	for _, s := range w.Stages {
		if r, ok := s.(Rechecker); ok {
			holds = append(holds, r)
		}
	}
	return &worker{
		job: job, holds: holds, src: w.Source, dec: w.Decoder, stages: w.Stages,
		staged: staged, held: own,
		pending: make([]*Commit, len(job.Contracts)),
		names:   array.NewStringBuilder(memory.DefaultAllocator),
	}
}

// run reads until the source ends or stop is done; work is the context of
// everything that must still succeed then.
func (w *worker) run(stop, work context.Context) (err error) {
	w.out = w.job.Sink.Writer()
	defer func() { err = errors.Join(err, w.out.Close()) }()
	// A failure elsewhere ends the reading too.
	stop, cancel := context.WithCancel(stop)
	defer cancel()
	defer context.AfterFunc(work, cancel)()

	if p, ok := w.src.(Prover); ok {
		p.Prove(w.held)
	}
	if err := w.src.Open(stop, lowest(w.held)); err != nil {
		if stop.Err() != nil {
			return nil
		}
		return fmt.Errorf("open source: %w", err)
	}
	defer func() { err = errors.Join(err, w.src.Close()) }()

	w.since = w.job.Now()
	for stop.Err() == nil {
		w.step.begin(w.job.Now())
		chunk, err := w.src.Next(stop)
		w.step.end()
		if errors.Is(err, io.EOF) || (err != nil && stop.Err() != nil) {
			break
		}
		if errors.Is(err, ErrHeld) {
			w.halt(fmt.Errorf("read: %w", err))
			break
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if chunk != nil {
			w.step.begin(w.job.Now())
			err := w.process(stop, work, chunk)
			w.step.end()
			if err != nil {
				if stop.Err() != nil && errors.Is(err, errStopped) {
					break
				}
				return err
			}
		}
		if w.due() {
			if err := w.flush(work); err != nil {
				return err
			}
		}
	}
	if err := work.Err(); err != nil {
		return nil // the failure that ended work is reported by whom it befell
	}
	return w.flush(work)
}

func (w *worker) due() bool {
	return w.moved && (w.job.Now().Sub(w.since) >= w.job.CommitEvery || w.full())
}

// full reports whether the rows that are kept in mind take so much memory that
// they must be committed.
func (w *worker) full() bool {
	if w.job.MaxHeldBytes == 0 {
		return false
	}
	var held int64
	for _, r := range w.holds {
		held += r.HeldBytes()
	}
	return held >= w.job.MaxHeldBytes
}

// errStopped marks a chunk that was given up untouched because the run ends.
var errStopped = errors.New("stopped")

// process takes one chunk through the rooms. The order of events is the
// guarantee: the chunk was fetched before the barrier is taken, so every
// withdrawal acknowledged before that is in the view when rows are decided.
func (w *worker) process(stop, work context.Context, c *Chunk) error {
	rows, rejects, err := w.dec.Decode(stop, c.Partition.Topic, &c.Messages)
	if err != nil {
		if stop.Err() != nil {
			return errStopped
		}
		return fmt.Errorf("decode %s from offset %d: %w", c.Partition, firstOffset(c), err)
	}
	if err := w.accounted(c, rows, rejects); err != nil {
		return err
	}
	vector, err := w.job.barrier(stop, w.step)
	if err != nil {
		if stop.Err() != nil {
			return errStopped
		}
		return fmt.Errorf("ledger barrier: %w", err)
	}
	for table := range w.pending {
		w.move(table, c, vector)
	}
	for table := range rows {
		if err := w.rows(work, table, c, &rows[table]); err != nil {
			return fmt.Errorf("table %s: %s from offset %d: %w",
				w.job.Contracts[table].Table, c.Partition, firstOffset(c), err)
		}
	}
	if err := w.rejects(work, c, rejects); err != nil {
		return err
	}
	w.job.Stats.Read.Add(int64(len(c.Values)))
	if f, ok := w.src.(Finisher); ok {
		return f.Finished()
	}
	return nil
}

// move extends the interval that the table's next commit covers by the chunk.
func (w *worker) move(table int, c *Chunk, vector Vector) {
	from := firstOffset(c)
	if held, ok := w.held[table][c.Partition]; ok {
		if c.Next.Next <= held.Next {
			return // the table holds all of it
		}
		from = held.Next
	}
	p := w.pending[table]
	if p == nil {
		p = &Commit{Table: table, Moves: map[Partition]Move{}, Ledger: Vector{}}
		w.pending[table] = p
	}
	if m, ok := p.Moves[c.Partition]; ok {
		from = m.From
	}
	p.Moves[c.Partition] = Move{From: from, To: c.Next}
	p.Ledger.Lower(vector)
	w.moved = true
}

func firstOffset(c *Chunk) int64 {
	if len(c.Offsets) > 0 {
		return c.Offsets[0]
	}
	return c.Next.Next
}

// rows decides, treats and appends the rows of one table.
func (w *worker) rows(ctx context.Context, table int, c *Chunk, rows *schemas.Rows) error {
	if rows.Record == nil || rows.Record.NumRows() == 0 {
		return nil
	}
	if int(rows.Record.NumRows()) != len(rows.Message) {
		return fmt.Errorf("decoder gave %d rows for %d messages", rows.Record.NumRows(), len(rows.Message))
	}
	w.offsets, w.times = w.offsets[:0], w.times[:0]
	for _, m := range rows.Message {
		w.offsets, w.times = append(w.offsets, c.Offsets[m]), append(w.times, c.Times[m])
	}
	record := rows.Record
	if skip := w.skip(table, c.Partition, w.offsets); skip == len(w.offsets) {
		return nil
	} else if skip > 0 {
		record = record.NewSlice(int64(skip), record.NumRows())
		defer record.Release()
		w.offsets, w.times = w.offsets[skip:], w.times[skip:]
	}
	b := &w.batch
	*b = Batch{
		Contract: w.job.Contracts[table], Table: table, Partition: c.Partition,
		Raw: record, Offsets: w.offsets, Times: w.times,
		Verdicts: b.Verdicts[:0], Reasons: b.Reasons[:0], Granted: b.Granted[:0], Selected: b.Selected[:0],
	}
	for _, s := range w.stages {
		if err := s.Apply(ctx, b); err != nil {
			return err
		}
	}
	if err := tally(&w.pending[table].Counts, b); err != nil {
		return err
	}
	b.Raw = nil
	if len(b.Selected) == 0 {
		return nil
	}
	return w.out.Append(b)
}

// skip counts the leading offsets that the table holds already.
func (w *worker) skip(table int, p Partition, offsets []int64) int {
	held, ok := w.held[table][p]
	if !ok {
		return 0
	}
	return sort.Search(len(offsets), func(i int) bool { return offsets[i] >= held.Next })
}

// rejects counts rejected messages with their table, lists them in the rejects
// table and hands them to the quarantine.
func (w *worker) rejects(ctx context.Context, c *Chunk, rejects []schemas.Reject) error {
	if len(rejects) == 0 {
		return nil
	}
	list := len(w.job.Contracts) - 1
	b := &w.batch
	*b = Batch{
		Contract: w.job.Contracts[list], Table: list, Partition: c.Partition,
		Verdicts: b.Verdicts[:0], Reasons: b.Reasons[:0], Granted: b.Granted[:0], Selected: b.Selected[:0],
	}
	w.offsets, w.rejected = w.offsets[:0], w.rejected[:0]
	for _, r := range rejects {
		if !r.Reason.Rejects() {
			return fmt.Errorf("decoder rejected %s offset %d without a reason", c.Partition, c.Offsets[r.Message])
		}
		w.reject(b, c, r)
	}
	if len(w.rejected) > 0 && w.job.Quarantine != nil {
		if err := w.job.Quarantine.Put(ctx, w.rejected); err != nil {
			return fmt.Errorf("quarantine: %w", err)
		}
	}
	if len(w.offsets) == 0 {
		return nil
	}
	names := w.names.NewArray()
	defer names.Release()
	b.Offsets = w.offsets
	b.Out = array.NewRecord(rejectsSchema, []arrow.Array{names}, int64(len(w.offsets)))
	defer b.Out.Release()
	return w.out.Append(b)
}

var rejectsSchema = arrow.NewSchema([]arrow.Field{
	{Name: "table_name", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)

// reject takes one rejected message, unless its table holds it already.
func (w *worker) reject(b *Batch, c *Chunk, r schemas.Reject) {
	if _, large := slices.BinarySearch(c.TooLarge, r.Message); large {
		r.Reason, r.Contract, r.Field = schemas.TooLarge, schemas.NoContract, schemas.NoField
	}
	list, offset := b.Table, c.Offsets[r.Message]
	home := list
	if r.Contract != schemas.NoContract {
		home = int(r.Contract)
	}
	counted, listed := w.fresh(home, c.Partition, offset), w.fresh(list, c.Partition, offset)
	if counted {
		n := &w.pending[home].Counts
		n.Read++
		n.Rejected++
		n.Reasons[r.Reason]++
	}
	if listed {
		w.offsets = append(w.offsets, offset)
		b.Verdicts = append(b.Verdicts, KeepRow)
		b.Reasons = append(b.Reasons, r.Reason)
		b.Granted = append(b.Granted, 0)
		b.Selected = append(b.Selected, int32(len(b.Selected)))
		if home == list {
			w.names.AppendNull()
		} else {
			w.names.Append(w.job.Contracts[home].Table)
		}
	}
	if counted || listed {
		q := Rejected{Partition: c.Partition, Offset: offset, Reason: r.Reason}
		if home != list {
			q.Table = w.job.Contracts[home].Table
			if r.Field != schemas.NoField {
				q.Field = w.job.Contracts[home].Fields[r.Field].Name
			}
		}
		v := c.Values[r.Message]
		q.Value = c.Arena[v.Off : v.Off+v.Len]
		w.rejected = append(w.rejected, q)
	}
}

// fresh reports whether the table has not yet committed the offset.
func (w *worker) fresh(table int, p Partition, offset int64) bool {
	held, ok := w.held[table][p]
	return !ok || offset >= held.Next
}

// flush finishes the worker's files and hands them over; it returns when the
// committer has taken them, which is the back-pressure.
func (w *worker) flush(ctx context.Context) error {
	w.since = w.job.Now()
	if !w.moved {
		return nil
	}
	w.step.begin(w.since)
	files, err := w.out.Flush(ctx)
	w.step.end()
	if err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	for _, f := range files {
		if w.pending[f.Table] == nil {
			return fmt.Errorf("flush: a file of table %s belongs to no interval", w.job.Contracts[f.Table].Table)
		}
		w.pending[f.Table].Files = append(w.pending[f.Table].Files, f)
	}
	var held []Held
	for _, r := range w.holds {
		w.job.Stats.HeldBytes.Store(r.HeldBytes())
		held = append(held, r.Hold())
	}
	var commits []*Commit
	for table, p := range w.pending {
		if p != nil {
			p.held = held
			commits = append(commits, p)
			for partition, m := range p.Moves {
				w.held[table][partition] = m.To
			}
		}
		w.pending[table] = nil
	}
	w.moved = false
	select {
	case w.staged <- commits:
		return nil
	case <-ctx.Done():
		w.job.discard(commits)
		return nil // the failure that ended it is reported by whom it befell
	}
}
