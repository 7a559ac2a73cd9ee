package warehouse

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/parquet-go/parquet-go"

	"lupa/pipeline"
	"lupa/schemas"
)

// errDamaged is a file over which the library panics.
var errDamaged = errors.New("the file is damaged")

// loader reads the rows of a file back into the buffer that they were written
// from, with their amendments applied.
type loader struct {
	table *table
	rows  []pipeline.Amendment
	hits  []int32 // by row of the file: index into rows plus one, or 0

	buf     *buffer
	sources []pipeline.Partition
	stays   []int32 // row of the file by row of buf
}

// load reads all columns of the file. The purposes come first: which fields of
// a row stay follows from them.
func (l *loader) load(file *parquet.File) error {
	l.stays = l.stays[:0]
	for row, hit := range l.hits {
		if hit == 0 || !l.rows[hit-1].Reason.Denies() {
			l.stays = append(l.stays, int32(row))
		}
	}
	l.buf = &buffer{table: l.table, day: noDay, rows: len(l.stays)}
	for n := 0; n < len(l.stays); n += blockRows {
		b := newBlock(l.table)
		rows := min(blockRows, len(l.stays)-n)
		b.masked, b.granted = make([]bool, rows), make([]schemas.PurposeSet, rows)
		l.buf.blocks = append(l.buf.blocks, b)
	}
	if len(l.stays) == 0 {
		return nil
	}
	if err := l.purposes(file); err != nil {
		return err
	}
	for i := range l.table.cols {
		var err error
		switch l.table.cols[i].origin {
		case fromBatch:
			err = l.field(file, i)
		case fromReason:
			err = l.reasons(file, i)
		case fromOffset:
			err = l.each(file, i, func(b *block, _ int, v parquet.Value) error {
				b.offsets = append(b.offsets, v.Int64())
				return nil
			})
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", l.table.cols[i].name, err)
		}
	}
	if err := l.source(file); err != nil {
		return err
	}
	if err := l.duties(file); err != nil {
		return fmt.Errorf("duties: %w", err)
	}
	return l.finish()
}

// each hands over the values of a column whose rows stay, one a row, with the
// block that takes them.
func (l *loader) each(file *parquet.File, column int, use func(b *block, row int, v parquet.Value) error) error {
	buf := make([]parquet.Value, chunkRows)
	at, row := 0, 0 // in the file, in the buffer
	for _, group := range file.RowGroups() {
		err := eachValues(group.ColumnChunks()[column], buf, func(values []parquet.Value) error {
			for i := range values {
				if row < len(l.stays) && int(l.stays[row]) == at {
					if err := use(l.buf.blocks[row>>blockShift], row, values[i]); err != nil {
						return err
					}
					row++
				}
				at++
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if row != len(l.stays) || at != len(l.hits) {
		return fmt.Errorf("%d of %d rows read", at, len(l.hits))
	}
	return nil
}

// field reads a column of the batch. It is emptied in rows that have no longer
// the purposes that it needs.
func (l *loader) field(file *parquet.File, column int) error {
	c := &l.table.cols[column]
	need := l.table.need(c)
	return l.each(file, column, func(b *block, row int, v parquet.Value) error {
		if need != 0 && l.narrowed(row) && !b.granted[row&blockMask].Covers(need) {
			v = parquet.NullValue()
		}
		return b.cols[c.out].put(v)
	})
}

// need gives the purposes that a column needs besides those of its table.
func (t *table) need(c *column) schemas.PurposeSet {
	i := slices.IndexFunc(t.contract.Fields, func(f schemas.Field) bool { return f.Name == c.name })
	if i < 0 {
		return 0
	}
	return t.contract.Fields[i].Purposes
}

// narrowed reports whether a row of the buffer stays with fewer purposes.
func (l *loader) narrowed(row int) bool { return l.hits[l.stays[row]] != 0 }

// purposes reads what every row was granted, and narrows it.
func (l *loader) purposes(file *parquet.File) error {
	column := slices.IndexFunc(l.table.cols, func(c column) bool { return c.origin == fromPurposes })
	if column < 0 {
		return nil
	}
	buf := make([]parquet.Value, chunkRows)
	at, row := -1, 0 // row is the first of the buffer that does not stand before at
	for _, group := range file.RowGroups() {
		err := eachValues(group.ColumnChunks()[column], buf, func(values []parquet.Value) error {
			for i := range values {
				if values[i].RepetitionLevel() == 0 {
					at++
					if row < len(l.stays) && int(l.stays[row]) < at {
						row++
					}
				}
				if values[i].IsNull() || row == len(l.stays) || int(l.stays[row]) != at {
					continue
				}
				p, ok := schemas.ParsePurpose(string(values[i].ByteArray()))
				if !ok {
					return errors.New("a row has a purpose that there is not")
				}
				granted := &l.buf.blocks[row>>blockShift].granted[row&blockMask]
				*granted = granted.With(p)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if at != len(l.hits)-1 {
		return fmt.Errorf("purposes of %d of %d rows read", at+1, len(l.hits))
	}
	for row := range l.stays {
		if l.narrowed(row) {
			l.buf.blocks[row>>blockShift].granted[row&blockMask] &= l.rows[l.hits[l.stays[row]]-1].Granted
		}
	}
	return nil
}

func (l *loader) reasons(file *parquet.File, column int) error {
	return l.each(file, column, func(b *block, _ int, v parquet.Value) error {
		r, ok := schemas.ParseReason(string(v.ByteArray()))
		if !ok {
			return errors.New("a row has a reason that there is not")
		}
		b.reasons = append(b.reasons, r)
		return nil
	})
}

// duties reads which rows a legal duty keeps, and until when.
func (l *loader) duties(file *parquet.File) error {
	some := false
	for _, b := range l.buf.blocks {
		for i, r := range b.reasons {
			if r == schemas.Retained {
				b.duties, some = append(b.duties, duty{row: int32(i)}), true
			}
		}
	}
	if !some {
		return nil
	}
	for i := range l.table.cols {
		var set func(d *duty, v parquet.Value)
		switch l.table.cols[i].origin {
		case fromRetention:
			set = func(d *duty, v parquet.Value) { d.until = v.Int32() }
		case fromLegalBasis:
			set = func(d *duty, v parquet.Value) { d.basis = string(v.ByteArray()) }
		default:
			continue
		}
		err := l.each(file, i, func(b *block, row int, v parquet.Value) error {
			if d := b.duty(int32(row & blockMask)); d != nil && !v.IsNull() {
				set(d, v)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// source reads where the rows came from.
func (l *loader) source(file *parquet.File) error {
	topic, partition, _ := l.table.sourceColumns()
	var topics []string
	err := l.each(file, topic, func(b *block, _ int, v parquet.Value) error {
		name := v.ByteArray()
		i := slices.IndexFunc(topics, func(t string) bool { return t == string(name) })
		if i < 0 {
			i = len(topics)
			topics = append(topics, string(name))
		}
		b.source = append(b.source, int32(i))
		return nil
	})
	if err != nil {
		return err
	}
	indexes := map[pipeline.Partition]int32{}
	return l.each(file, partition, func(b *block, row int, v parquet.Value) error {
		source := &b.source[row&blockMask]
		p := pipeline.Partition{Topic: topics[*source], ID: v.Int32()}
		i, ok := indexes[p]
		if !ok {
			i = int32(len(l.sources))
			indexes[p] = i
			l.sources = append(l.sources, p)
		}
		*source = i
		return nil
	})
}

// finish sets what follows from the columns: which rows are about nobody, the
// event day, which is the same for all, and the size.
func (l *loader) finish() error {
	for n, b := range l.buf.blocks {
		if l.table.personal {
			copy(b.masked, b.cols[0].nulls)
		}
		for i, masked := range b.masked {
			if masked && l.narrowed(n<<blockShift+i) {
				return fmt.Errorf("%s offset %d: the row is about nobody and has no purposes to lose",
					l.sources[b.source[i]], b.offsets[i])
			}
		}
		l.buf.bytes += l.table.blockBytes() + b.size()
	}
	if l.table.eventTime < 0 {
		return nil
	}
	at := &l.buf.blocks[0].cols[l.table.eventTime]
	switch {
	case at.nulls[0]:
	case at.kind == timestampKind:
		l.buf.day = dayOf(at.longs[0])
	default:
		l.buf.day = at.dates[0]
	}
	return nil
}

// put appends one value, which it copies.
func (v *vector) put(value parquet.Value) error {
	null := value.IsNull()
	v.nulls = append(v.nulls, null)
	switch v.kind {
	case uuidKind:
		var token [16]byte
		if n := copy(token[:], value.ByteArray()); n != len(token) && !null {
			return errors.New("a token is too short")
		}
		v.data = append(v.data, token[:]...)
	case stringKind:
		v.data = append(v.data, value.ByteArray()...)
		v.ends = append(v.ends, uint32(len(v.data)))
	case longKind, timestampKind:
		v.longs = append(v.longs, value.Int64())
	case doubleKind:
		v.longs = append(v.longs, int64(math.Float64bits(value.Double())))
	case dateKind:
		v.dates = append(v.dates, value.Int32())
	case booleanKind:
		v.flags = append(v.flags, !null && value.Boolean())
	}
	return nil
}

// eachValues hands over the values of a column chunk in their order, as many
// at a time as buf takes. They are valid during the call only.
func eachValues(chunk parquet.ColumnChunk, buf []parquet.Value, use func([]parquet.Value) error) (err error) {
	defer func() {
		if recover() != nil {
			err = errDamaged
		}
	}()
	pages := chunk.Pages()
	defer func() { err = errors.Join(err, pages.Close()) }()
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = pageValues(page, buf, use)
		parquet.Release(page)
		if err != nil {
			return err
		}
	}
}

func pageValues(page parquet.Page, buf []parquet.Value, use func([]parquet.Value) error) error {
	values := page.Values()
	for {
		n, err := values.ReadValues(buf)
		if n > 0 {
			if err := use(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
