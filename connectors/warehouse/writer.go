package warehouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/google/uuid"

	"lupa/pipeline"
	"lupa/schemas"
)

// writer is a worker's writer: a buffer for each table and event day, and the
// files that were finished since the last flush.
type writer struct {
	sink     *Sink
	encoders []*encoder // by table
	open     []map[int32]*buffer
	spare    [][]*block // by table, empty
	sources  []pipeline.Partition
	days     []int32 // of the rows of one batch
	rows     []int32
	bytes    int64
	done     []pipeline.File
	// failed is why nothing can be written any more: rows of a buffer whose
	// file failed are neither here nor there.
	failed error
}

var errClosed = errors.New("writer is closed")

// Append copies the rows of b.Out into the buffers of their days.
func (w *writer) Append(b *pipeline.Batch) error {
	if w.failed != nil {
		return w.failed
	}
	if b.Table < 0 || b.Table >= len(w.open) {
		return fmt.Errorf("append: no table %d", b.Table)
	}
	t := w.sink.tables[b.Table]
	err := t.checkBatch(b)
	if err == nil && len(b.Selected) > 0 {
		err = w.append(t, b)
	}
	if err != nil {
		w.failed = fmt.Errorf("append to table %s: %w", t.name, err)
	}
	return w.failed
}

// checkBatch refuses a batch whose parts do not belong together, and rows that
// nobody permitted.
func (t *table) checkBatch(b *pipeline.Batch) error {
	if len(b.Selected) == 0 {
		return nil
	}
	if b.Out == nil || b.Out.NumRows() != int64(len(b.Selected)) {
		return fmt.Errorf("%d rows are selected, the batch has others", len(b.Selected))
	}
	if int(b.Out.NumCols()) != t.batchColumns {
		return fmt.Errorf("the batch has %d columns, the contract %d", b.Out.NumCols(), t.batchColumns)
	}
	var tokens *array.FixedSizeBinary
	if t.personal {
		var ok bool
		if tokens, ok = b.Out.Column(0).(*array.FixedSizeBinary); !ok {
			return errors.New("the batch does not begin with the subjects' tokens")
		}
	}
	rows := len(b.Offsets)
	if len(b.Verdicts) != rows || len(b.Reasons) != rows || len(b.Granted) != rows {
		return errors.New("the batch has not one verdict, reason and grant a row")
	}
	for i, raw := range b.Selected {
		if raw < 0 || int(raw) >= rows {
			return errors.New("the batch selects a row that it does not have")
		}
		verdict := b.Verdicts[raw]
		if verdict == pipeline.DropRow || b.Reasons[raw] == 0 {
			return fmt.Errorf("%s offset %d is selected and was not permitted", b.Partition, b.Offsets[raw])
		}
		if (b.Reasons[raw] == schemas.Retained) != bound(b.Duties, raw) {
			return fmt.Errorf("%s offset %d: a row is retained by a duty, and a duty retains it", b.Partition, b.Offsets[raw])
		}
		if t.personal && tokens.IsNull(i) != (verdict == pipeline.MaskRow) {
			return fmt.Errorf("%s offset %d: a kept row has a token and a masked row none", b.Partition, b.Offsets[raw])
		}
	}
	return nil
}

// bound reports whether a duty is about a row.
func bound(duties []pipeline.Duty, row int32) bool {
	_, ok := slices.BinarySearchFunc(duties, row, func(d pipeline.Duty, row int32) int { return cmp.Compare(d.Row, row) })
	return ok
}

func (w *writer) append(t *table, b *pipeline.Batch) error {
	if err := w.eventDays(t, b); err != nil {
		return err
	}
	source := w.source(b.Partition)
	first := w.days[0]
	if !slices.ContainsFunc(w.days, func(day int32) bool { return day != first }) {
		return w.appendDay(t, b, source, first, nil)
	}
	days := slices.Clone(w.days)
	slices.Sort(days)
	for _, day := range slices.Compact(days) {
		w.rows = w.rows[:0]
		for i, d := range w.days {
			if d == day {
				w.rows = append(w.rows, int32(i))
			}
		}
		if err := w.appendDay(t, b, source, day, w.rows); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) appendDay(t *table, b *pipeline.Batch, source, day int32, rows []int32) error {
	buf := w.open[t.index][day]
	if buf == nil {
		buf = &buffer{table: t, day: day}
		w.open[t.index][day] = buf
	}
	before := buf.bytes
	if err := buf.append(b, source, rows, func() *block { return w.block(t) }); err != nil {
		return err
	}
	w.bytes += buf.bytes - before
	if buf.bytes >= w.sink.maxFileBytes {
		if err := w.finish(buf); err != nil {
			return err
		}
	}
	for w.bytes > w.sink.maxBufferBytes {
		if err := w.finish(w.largest()); err != nil {
			return err
		}
	}
	return nil
}

// block gives an empty block of the table.
func (w *writer) block(t *table) *block {
	spare := w.spare[t.index]
	if len(spare) == 0 {
		return newBlock(t)
	}
	b := spare[len(spare)-1]
	w.spare[t.index] = spare[:len(spare)-1]
	return b
}

func (w *writer) largest() *buffer {
	var most *buffer
	for _, days := range w.open {
		for _, buf := range days {
			if most == nil || buf.bytes > most.bytes {
				most = buf
			}
		}
	}
	return most
}

// eventDays sets w.days to the event day of each row of b.Out.
func (w *writer) eventDays(t *table, b *pipeline.Batch) error {
	n := len(b.Selected)
	w.days = slices.Grow(w.days[:0], n)[:n]
	for i := range w.days {
		w.days[i] = noDay
	}
	if t.eventTime < 0 {
		return nil
	}
	switch a := b.Out.Column(t.eventTime).(type) {
	case *array.Timestamp:
		for i, at := range a.TimestampValues() {
			if a.IsValid(i) {
				w.days[i] = dayOf(int64(at))
			}
		}
	case *array.Date32:
		for i, day := range a.Date32Values() {
			if a.IsValid(i) {
				w.days[i] = int32(day)
			}
		}
	}
	if t.retentionDays == 0 {
		return nil
	}
	for i, raw := range b.Selected {
		if w.days[i] == noDay && b.Verdicts[raw] == pipeline.KeepRow {
			return fmt.Errorf("%s offset %d has no event time to count its retention from", b.Partition, b.Offsets[raw])
		}
	}
	return nil
}

const microsPerDay = int64(24 * time.Hour / time.Microsecond)

// dayOf rounds towards the past, also before 1970.
func dayOf(micros int64) int32 {
	day := micros / microsPerDay
	if micros%microsPerDay < 0 {
		day--
	}
	return int32(day)
}

func (w *writer) source(p pipeline.Partition) int32 {
	if i := slices.Index(w.sources, p); i >= 0 {
		return int32(i)
	}
	w.sources = append(w.sources, p)
	return int32(len(w.sources) - 1)
}

// Flush writes every buffer and hands over what was finished.
func (w *writer) Flush(ctx context.Context) ([]pipeline.File, error) {
	for _, days := range w.open {
		bufs := make([]*buffer, 0, len(days))
		for _, buf := range days {
			bufs = append(bufs, buf)
		}
		slices.SortFunc(bufs, func(a, b *buffer) int { return cmp.Compare(a.day, b.day) })
		for _, buf := range bufs {
			if w.failed == nil {
				w.failed = context.Cause(ctx)
			}
			if w.failed != nil {
				return nil, w.failed
			}
			w.failed = w.finish(buf)
		}
	}
	if w.failed != nil {
		return nil, w.failed
	}
	files := w.done
	w.done = nil
	w.sources = w.sources[:0]
	return files, nil
}

// Close abandons what was not handed over.
func (w *writer) Close() error {
	if w.failed == errClosed {
		return nil
	}
	var errs []error
	for i := range w.done {
		errs = append(errs, w.sink.disk.remove(w.done[i].Path))
	}
	w.done, w.open, w.spare, w.bytes = nil, nil, nil, 0
	w.failed = errClosed
	return errors.Join(errs...)
}

// finish writes a buffer to a finished file: written, synced, read back and
// renamed. No reader sees it before a commit names it.
func (w *writer) finish(buf *buffer) error {
	t := buf.table
	dir := t.dataDir
	if t.eventTime >= 0 {
		dir = filepath.Join(dir, dayName(buf.day))
	}
	file, err := w.sink.writeFile(w.encoders[t.index], buf, w.sources, filepath.Join(dir, uuid.NewString()+".parquet"))
	if err != nil {
		return fmt.Errorf("write file of table %s: %w", t.name, err)
	}
	w.done = append(w.done, file)
	w.bytes -= buf.bytes
	delete(w.open[t.index], buf.day)
	w.release(buf)
	return nil
}

// maxSpare is how many blocks of a table a writer keeps for later: what one
// table no longer needs must be free for another.
const maxSpare = 32

// release takes a buffer's blocks back.
func (w *writer) release(buf *buffer) {
	for _, b := range buf.blocks {
		b.reset()
	}
	spare := w.spare[buf.table.index]
	n := min(len(buf.blocks), max(0, maxSpare-len(spare)))
	w.spare[buf.table.index] = append(spare, buf.blocks[:n]...)
	buf.blocks = nil
}

func (s *Sink) writeFile(e *encoder, buf *buffer, sources []pipeline.Partition, path string) (pipeline.File, error) {
	out, err := s.disk.create(path)
	if err != nil {
		return pipeline.File{}, err
	}
	if err := e.encode(out, buf, sources); err != nil {
		return pipeline.File{}, out.abandon(err)
	}
	if err := out.publish(func(temp string) error { return checkRows(temp, int64(buf.rows)) }); err != nil {
		return pipeline.File{}, err
	}
	f := pipeline.File{Table: buf.table.index, Path: path, Rows: int64(buf.rows), Bytes: out.size}
	out.hash.Sum(f.SHA256[:0])
	return f, nil
}

// dayName is the directory of a day's files.
func dayName(day int32) string {
	if day == noDay {
		return "none"
	}
	return time.Unix(int64(day)*int64(24*time.Hour/time.Second), 0).UTC().Format(time.DateOnly)
}

func fileName(path string) string { return filepath.Base(path) }
