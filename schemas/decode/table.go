package decode

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/schemas"
)

// table collects the rows of one contract.
type table struct {
	where  []condition
	fields []field // all but the dropped ones that may be absent, and signals
	// signals are filled last: whatever they are, there is a row.
	signals []signal
	schema  *arrow.Schema
	// types are those of all fields of the contract, by which the dropped
	// ones get their columns.
	types   []schemas.Type
	rows    int
	room    int
	message []int32
	record  arrow.Record
}

// newTable plans a contract; its paths get their slots from t.
func newTable(c *schemas.Contract, t *tree) (*table, error) {
	if c.EventTime < -1 || c.EventTime >= len(c.Fields) {
		return nil, fmt.Errorf("event time is field %d of %d", c.EventTime, len(c.Fields))
	}
	tb := &table{}
	for _, m := range c.Where {
		if len(m.Path) == 0 {
			return nil, fmt.Errorf("a condition has an empty path")
		}
		tb.where = append(tb.where, newCondition(t.slot(m.Path), m))
	}
	columns := make([]arrow.Field, len(c.Fields))
	for i := range c.Fields {
		f := &c.Fields[i]
		dtype := arrowType(f.Type)
		if dtype == nil {
			return nil, fmt.Errorf("field %s has no type", f.Name)
		}
		columns[i] = arrow.Field{Name: f.Name, Type: dtype, Nullable: true}
		tb.types = append(tb.types, f.Type)
		if err := tb.plan(f, int32(i), i == c.EventTime, t); err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
	}
	tb.schema = arrow.NewSchema(columns, nil)
	return tb, nil
}

func (tb *table) plan(f *schemas.Field, index int32, event bool, t *tree) error {
	if event && f.Type != schemas.Timestamp && f.Type != schemas.Date {
		return fmt.Errorf("is the event time, must be a timestamp or date")
	}
	if f.Type == schemas.JSON {
		return tb.planSignal(f, index, event, t)
	}
	identity := len(f.Identifiers) > 0
	ignored := f.Treatment.Technique == schemas.Drop && !identity && !event
	for _, p := range f.Paths {
		if len(p) == 0 {
			return fmt.Errorf("has an empty path")
		}
	}
	if ignored && !f.Required {
		return nil
	}
	planned := field{
		index: index, typ: f.Type, coerce: f.Coerce, required: f.Required,
		identity: identity, event: event, ignored: ignored,
		column: column{dtype: arrowType(f.Type)},
	}
	for _, p := range f.Paths {
		planned.slots = append(planned.slots, t.slot(p))
	}
	tb.fields = append(tb.fields, planned)
	return nil
}

func (tb *table) takes(v *values) bool {
	for i := range tb.where {
		if !tb.where[i].holds(v) {
			return false
		}
	}
	return true
}

// reset forgets the rows of the batch before.
func (tb *table) reset() {
	if tb.record != nil {
		tb.record.Release()
		tb.record = nil
	}
	for i := range tb.fields {
		if !tb.fields[i].ignored {
			tb.fields[i].column.reset(tb.rows)
		}
	}
	for i := range tb.signals {
		tb.signals[i].reset(tb.rows)
	}
	tb.rows = 0
	tb.message = tb.message[:0]
}

// add makes a row of the slots. When a field does not allow it, there is no
// row, and the field and the reason are given.
func (tb *table) add(v *values, message int32, at int64) (int32, schemas.Reason) {
	if tb.rows == tb.room {
		tb.grow()
	}
	for i := range tb.fields {
		f := &tb.fields[i]
		if reason := f.fill(v, tb.rows, at); reason != schemas.NoReason {
			tb.undo(i)
			return f.index, reason
		}
	}
	for i := range tb.signals {
		tb.signals[i].fill(v, tb.rows)
	}
	tb.rows++
	tb.message = append(tb.message, message)
	return schemas.NoField, schemas.NoReason
}

func (tb *table) grow() {
	tb.room = max(64, 2*tb.room)
	for i := range tb.fields {
		if f := &tb.fields[i]; !f.ignored {
			f.column.grow(tb.room, f.typ)
		}
	}
	for i := range tb.signals {
		tb.signals[i].grow(tb.room)
	}
}

// undo takes the row back of which the fields before n are filled.
func (tb *table) undo(n int) {
	for i := range tb.fields[:n] {
		if f := &tb.fields[i]; !f.ignored {
			f.column.undo(tb.rows)
		}
	}
}

// fill puts the field's value into row r of its column. A field that gives a
// reason has changed nothing.
func (f *field) fill(v *values, r int, at int64) schemas.Reason {
	slot := none
	if f.identity {
		var reason schemas.Reason
		if slot, reason = f.pickIdentity(v); reason != schemas.NoReason {
			return reason
		}
	} else {
		slot = f.pick(v)
	}
	switch {
	case slot == none:
		return f.fillAbsent(r, at)
	case f.ignored:
		return schemas.NoReason
	case f.typ == schemas.Text && v.kinds[slot] == text:
		s := v.spans[slot]
		f.column.setArena(r, v.arena, s.Off, s.Len)
		return schemas.NoReason
	case f.typ == schemas.Text:
		return f.fillText(v, r, slot)
	case f.typ == schemas.Timestamp && v.kinds[slot] == text && v.spans[slot].Len == 24:
		if us, ok := usualTime(v.arena, int(v.spans[slot].Off)); ok {
			f.column.words[r] = uint64(us)
			return schemas.NoReason
		}
	}
	switch o, word := f.convert(v, slot); o {
	case given:
		f.column.set(r, f.typ, word)
	case empty:
		return f.fillAbsent(r, at)
	default:
		return schemas.WrongType
	}
	return schemas.NoReason
}

func (f *field) fillText(v *values, r int, slot int32) schemas.Reason {
	switch v.kinds[slot] {
	case escaped:
		v.unfold(slot)
		fallthrough
	case unfolded:
		f.column.setSide(r, v.side, v.spans[slot].Off, v.spans[slot].Len)
		return schemas.NoReason
	case nested:
		return schemas.WrongType
	case number, yes, no:
		if !f.coerce {
			return schemas.WrongType
		}
		if b, written := f.spelling(v, slot); written {
			from := len(v.side)
			v.side = append(v.side, b...)
			f.column.setSide(r, v.side, uint32(from), uint32(len(b)))
			return schemas.NoReason
		}
	}
	f.column.setArena(r, v.arena, v.spans[slot].Off, v.spans[slot].Len)
	return schemas.NoReason
}

// fillAbsent fills a field that has no value.
func (f *field) fillAbsent(r int, at int64) schemas.Reason {
	switch {
	case f.event && at != noEventTime:
		if f.typ == schemas.Date {
			at = floorDay(at)
		}
		f.column.set(r, f.typ, uint64(at))
	case f.event || f.required:
		return schemas.MissingField
	case !f.ignored:
		f.column.setNull(r, f.typ)
	}
	return schemas.NoReason
}

// floorDay gives the day of a time.
func floorDay(us int64) int64 {
	days := us / day
	if us%day < 0 {
		days--
	}
	return days
}

// result makes the record of the rows; nothing is the memory of columns
// without values.
func (tb *table) result(arena, side, nothing *memory.Buffer) schemas.Rows {
	if tb.rows == 0 {
		return schemas.Rows{}
	}
	columns := make([]arrow.Array, len(tb.types))
	for i := range tb.fields {
		if f := &tb.fields[i]; !f.ignored {
			columns[f.index] = f.column.array(tb.rows, f.typ, arena, side)
		}
	}
	for i := range tb.signals {
		if s := &tb.signals[i]; s.given > 0 {
			columns[s.index] = s.array(tb.rows, arena, side)
		}
	}
	for i, c := range columns {
		if c == nil {
			columns[i] = makeArray(arrowType(tb.types[i]), tb.rows, []*memory.Buffer{nothing, nothing}, tb.rows)
		}
	}
	tb.record = array.NewRecord(tb.schema, columns, int64(tb.rows))
	for _, c := range columns {
		c.Release()
	}
	return schemas.Rows{Record: tb.record, Message: tb.message}
}
