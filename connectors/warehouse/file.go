package warehouse

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"lupa/pipeline"
	"lupa/schemas"
)

const (
	// rowGroupBytes bounds the rows of one row group, uncompressed: a subject's
	// rows are found and rewritten by the row group.
	rowGroupBytes = 64 << 20
	// chunkRows and chunkBytes bound what is handed to a column writer at once;
	// it looks at the size of its page only between two calls.
	chunkRows  = 1024
	chunkBytes = 128 << 10
)

// encoder writes the buffers of one table as Parquet. It is the one place that
// knows how: everything around it sees a buffer go in and bytes come out.
type encoder struct {
	table      *table
	groupBytes int64
	codec      *zstd.Codec
	writer     *parquet.GenericWriter[any]
	dictionary []bool // by column: the encoding that writer was made for
	wanted     []bool
	order      []int32
	keys       []sortKey
	values     []parquet.Value
	purposes   map[schemas.PurposeSet][]parquet.Value
	topics     [][]byte // by source of the buffer at hand
}

// newEncoder makes the encoder of a table. Encoders share a codec: it keeps a
// compressor, which is megabytes, for each goroutine that uses it at once.
func newEncoder(t *table, codec *zstd.Codec) *encoder {
	return &encoder{table: t, groupBytes: rowGroupBytes, codec: codec, wanted: make([]bool, len(t.cols)), purposes: map[schemas.PurposeSet][]parquet.Value{}}
}

// encode writes the rows of b, ordered by subject, and the footer.
func (e *encoder) encode(out io.Writer, b *buffer, sources []pipeline.Partition) error {
	e.sort(b)
	e.prepare(out, b, sources)
	group := b.rows
	if b.bytes > e.groupBytes {
		group = max(1, int(int64(b.rows)*e.groupBytes/b.bytes))
	}
	for rest := e.order; len(rest) > 0; {
		n := min(group, len(rest))
		for i, w := range e.writer.ColumnWriters() {
			if err := e.column(w, i, b, sources, rest[:n]); err != nil {
				return fmt.Errorf("column %s: %w", e.table.cols[i].name, err)
			}
		}
		if err := e.writer.Flush(); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return e.writer.Close()
}

// prepare points the writer at out. Which texts get a dictionary is decided
// anew for every file; the writer is made again only when that changes.
func (e *encoder) prepare(out io.Writer, b *buffer, sources []pipeline.Partition) {
	e.topics = e.topics[:0]
	for _, p := range sources {
		e.topics = append(e.topics, []byte(p.Topic))
	}
	for i := range e.table.cols {
		c := &e.table.cols[i]
		switch {
		case c.origin != fromBatch:
			e.wanted[i] = c.kind == stringKind || c.kind == listKind
		case c.kind == stringKind:
			e.wanted[i] = fewDistinct(b, c.out)
		}
	}
	if e.writer != nil && slices.Equal(e.wanted, e.dictionary) {
		e.writer.Reset(out)
		return
	}
	e.dictionary = slices.Clone(e.wanted)
	options := []parquet.WriterOption{
		parquetSchema(e.table.name, e.table.cols, e.dictionary),
		parquet.Compression(e.codec),
		parquet.DataPageVersion(1),
		// Readers prune by the bounds of chunks and of the page index; bounds in
		// page headers would only repeat values.
		parquet.DataPageStatistics(false),
		parquet.CreatedBy("lupa", "1", "parquet-go"),
		parquet.KeyValueMetadata(propContract, e.table.contract.ID),
	}
	if e.table.personal {
		options = append(options, parquet.SortingWriterConfig(
			parquet.SortingColumns(parquet.NullsFirst(parquet.Ascending(subjectColumn)))))
	}
	e.writer = parquet.NewGenericWriter[any](out, options...)
}

// fewDistinct looks at a sample of the rows spread over all of them.
func fewDistinct(b *buffer, col int) bool {
	const sample = 1024
	n := min(b.rows, sample)
	seen := make(map[string]struct{}, n)
	for i := range n {
		row := i * (b.rows / n)
		seen[string(b.blocks[row>>blockShift].cols[col].text(row&blockMask))] = struct{}{}
	}
	return 4*len(seen) <= n
}

// sortKey is a token as two big-endian words, with its row.
type sortKey struct {
	high, low uint64
	row       int32
}

// sort sets e.order to the rows by subject, those of nobody first, rows of one
// subject as they were appended.
func (e *encoder) sort(b *buffer) {
	e.order = slices.Grow(e.order[:0], b.rows)[:b.rows]
	if !e.table.personal {
		for i := range e.order {
			e.order[i] = int32(i)
		}
		return
	}
	e.keys = slices.Grow(e.keys[:0], b.rows)[:0]
	for _, block := range b.blocks {
		tokens := &block.cols[0]
		for i, null := range tokens.nulls {
			k := sortKey{row: int32(len(e.keys))}
			if !null {
				t := tokens.token(i)
				k.high, k.low = binary.BigEndian.Uint64(t), binary.BigEndian.Uint64(t[8:])
			}
			e.keys = append(e.keys, k)
		}
	}
	slices.SortFunc(e.keys, func(a, b sortKey) int {
		if a.high != b.high {
			return cmp.Compare(a.high, b.high)
		}
		if a.low != b.low {
			return cmp.Compare(a.low, b.low)
		}
		return cmp.Compare(a.row, b.row)
	})
	for i := range e.keys {
		e.order[i] = e.keys[i].row
	}
}

// column writes the rows of one column.
func (e *encoder) column(w *parquet.ColumnWriter, i int, b *buffer, sources []pipeline.Partition, rows []int32) error {
	c := &e.table.cols[i]
	for len(rows) > 0 {
		n := min(chunkRows, len(rows))
		e.values = e.values[:0]
		switch c.origin {
		case fromBatch:
			n = e.fill(b, c, i, rows[:n])
		case fromLegalBasis:
			e.basis(b, i, rows[:n])
		case fromPurposes:
			e.granted(b, i, rows[:n])
		case fromRetention:
			e.retention(b, i, rows[:n])
		case fromReason:
			for _, r := range rows[:n] {
				reason := b.blocks[r>>blockShift].reasons[r&blockMask]
				e.values = append(e.values, parquet.ByteArrayValue(e.table.reasons[reason]).Level(0, 0, i))
			}
		case fromVersion:
			v := parquet.ByteArrayValue([]byte(e.table.contract.Version)).Level(0, 0, i)
			for range n {
				e.values = append(e.values, v)
			}
		case fromTopic:
			for _, r := range rows[:n] {
				e.values = append(e.values, parquet.ByteArrayValue(e.topics[b.blocks[r>>blockShift].source[r&blockMask]]).Level(0, 0, i))
			}
		case fromPartition:
			for _, r := range rows[:n] {
				e.values = append(e.values, parquet.Int32Value(sources[b.blocks[r>>blockShift].source[r&blockMask]].ID).Level(0, 0, i))
			}
		case fromOffset:
			for _, r := range rows[:n] {
				e.values = append(e.values, parquet.Int64Value(b.blocks[r>>blockShift].offsets[r&blockMask]).Level(0, 0, i))
			}
		}
		written, err := w.WriteRowValues(e.values)
		if err != nil {
			return err
		}
		if written != n {
			return fmt.Errorf("%d of %d rows written", written, n)
		}
		rows = rows[n:]
	}
	return nil
}

// fill makes values of a column of the batch. It gives how many rows it took:
// fewer than asked when their texts are long.
func (e *encoder) fill(b *buffer, c *column, i int, rows []int32) int {
	null := parquet.NullValue().Level(0, 0, i)
	if c.kind == stringKind {
		return e.fillTexts(b, c, i, rows)
	}
	for _, r := range rows {
		v, at := &b.blocks[r>>blockShift].cols[c.out], int(r&blockMask)
		if v.nulls[at] {
			e.values = append(e.values, null)
			continue
		}
		var value parquet.Value
		switch c.kind {
		case uuidKind:
			value = parquet.FixedLenByteArrayValue(v.token(at))
		case longKind, timestampKind:
			value = parquet.Int64Value(v.longs[at])
		case doubleKind:
			value = parquet.DoubleValue(math.Float64frombits(uint64(v.longs[at])))
		case dateKind:
			value = parquet.Int32Value(v.dates[at])
		case booleanKind:
			value = parquet.BooleanValue(v.flags[at])
		}
		e.values = append(e.values, value.Level(0, 1, i))
	}
	return len(rows)
}

func (e *encoder) fillTexts(b *buffer, c *column, i int, rows []int32) int {
	null := parquet.NullValue().Level(0, 0, i)
	size := 0
	for n, r := range rows {
		if size >= chunkBytes {
			return n
		}
		v, at := &b.blocks[r>>blockShift].cols[c.out], int(r&blockMask)
		if v.nulls[at] {
			e.values = append(e.values, null)
			continue
		}
		text := v.text(at)
		size += len(text)
		e.values = append(e.values, parquet.ByteArrayValue(text).Level(0, 1, i))
	}
	return len(rows)
}

// basis gives every row but the masked ones the table's basis, and those that a
// duty keeps that of the duty.
func (e *encoder) basis(b *buffer, i int, rows []int32) {
	value := parquet.ByteArrayValue([]byte(e.table.contract.LegalBasis)).Level(0, 1, i)
	null := parquet.NullValue().Level(0, 0, i)
	for _, r := range rows {
		k := b.blocks[r>>blockShift]
		if !k.masked[r&blockMask] {
			e.values = append(e.values, value)
		} else if d := k.duty(r & blockMask); d != nil && d.basis != "" {
			e.values = append(e.values, parquet.ByteArrayValue([]byte(d.basis)).Level(0, 1, i))
		} else {
			e.values = append(e.values, null)
		}
	}
}

// granted lists the purposes permitted for each row.
func (e *encoder) granted(b *buffer, i int, rows []int32) {
	null := parquet.NullValue().Level(0, 0, i)
	for _, r := range rows {
		if b.blocks[r>>blockShift].masked[r&blockMask] {
			e.values = append(e.values, null)
			continue
		}
		set := b.blocks[r>>blockShift].granted[r&blockMask] & e.table.purposes
		list, ok := e.purposes[set]
		if !ok {
			list = purposeList(set, i)
			e.purposes[set] = list
		}
		e.values = append(e.values, list...)
	}
}

// purposeList is one row of the purposes column: definition level 1 is an
// empty list, 2 an element; repetition level 1 goes on with the row's list.
func purposeList(set schemas.PurposeSet, i int) []parquet.Value {
	if set == 0 {
		return []parquet.Value{parquet.NullValue().Level(0, 1, i)}
	}
	var list []parquet.Value
	set.Each(func(p schemas.Purpose) {
		list = append(list, parquet.ByteArrayValue([]byte(p.String())).Level(min(1, len(list)), 2, i))
	})
	return list
}

// retention is the same for all rows of a day, but for those that a duty keeps.
func (e *encoder) retention(b *buffer, i int, rows []int32) {
	value := parquet.NullValue().Level(0, 0, i)
	if days := e.table.contract.RetentionDays; days > 0 && b.day != noDay {
		value = parquet.Int32Value(b.day+int32(days)).Level(0, 1, i)
	}
	for _, r := range rows {
		if d := b.blocks[r>>blockShift].duty(r & blockMask); d != nil {
			e.values = append(e.values, parquet.Int32Value(d.until).Level(0, 1, i))
		} else {
			e.values = append(e.values, value)
		}
	}
}

// parquetSchema is the schema of a table's files: the table's columns in their
// order, each with its field id.
func parquetSchema(name string, cols []column, dictionary []bool) *parquet.Schema {
	root := orderedGroup{Group: parquet.Group{}}
	for i := range cols {
		c := &cols[i]
		node := parquet.FieldID(parquetNode(c, dictionary[i]), c.id)
		root.Group[c.name] = node
		root.fields = append(root.fields, orderedField{Node: node, name: c.name})
	}
	return parquet.NewSchema(name, root)
}

func parquetNode(c *column, dictionary bool) parquet.Node {
	var node parquet.Node
	switch c.kind {
	case stringKind, listKind:
		node = parquet.String()
		if dictionary {
			node = parquet.Encoded(node, &parquet.RLEDictionary)
		}
	case intKind:
		node = parquet.Int(32)
	case longKind:
		node = parquet.Int(64)
	case doubleKind:
		node = parquet.Leaf(parquet.DoubleType)
	case booleanKind:
		node = parquet.Leaf(parquet.BooleanType)
	case timestampKind:
		node = parquet.Timestamp(parquet.Microsecond)
	case dateKind:
		node = parquet.Date()
	case uuidKind:
		// Tokens are as good as random: compressing them only costs time.
		node = parquet.Compressed(parquet.UUID(), &parquet.Uncompressed)
	}
	if c.kind == listKind {
		node = parquet.List(parquet.FieldID(node, c.element))
	}
	if c.required {
		return node
	}
	return parquet.Optional(node)
}

// orderedGroup is a group whose fields keep their order; the library's own
// sorts them by name.
type orderedGroup struct {
	parquet.Group
	fields []parquet.Field
}

// Fields gives the fields in their order.
func (g orderedGroup) Fields() []parquet.Field { return g.fields }

type orderedField struct {
	parquet.Node
	name string
}

// Name is the name of the field in its group.
func (f orderedField) Name() string { return f.name }

// Value finds the field's value in that of its group.
func (f orderedField) Value(base reflect.Value) reflect.Value { return base.FieldByName(f.name) }

// checkRows opens a finished file as a reader would and compares its row count.
func checkRows(path string, rows int64) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	file, err := openParquet(f)
	if err != nil {
		return err
	}
	if file.NumRows() != rows {
		return fmt.Errorf("the finished file has %d rows, %d were written", file.NumRows(), rows)
	}
	return nil
}

// openParquet reads a file's footer. The library panics over some damaged
// files; that is an error of the file.
func openParquet(f *os.File) (file *parquet.File, err error) {
	defer func() {
		if recover() != nil {
			file, err = nil, errDamaged
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return parquet.OpenFile(f, info.Size())
}
