package decode

import (
	"context"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow/endian"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/schemas"
)

// JSON decodes messages that are one JSON object each. One goroutine may use
// it.
type JSON struct {
	opts    Options
	walker  walker
	tables  []*table
	paths   *branch
	rows    []schemas.Rows
	rejects []schemas.Reject
	// nothing is zeros, the columns of fields that have no values.
	nothing []byte
}

// NewJSON makes a decoder of the messages of the contracts.
func NewJSON(contracts []*schemas.Contract, opts Options) (*JSON, error) {
	opts, err := opts.filled()
	if err != nil {
		return nil, err
	}
	if endian.IsBigEndian {
		return nil, fmt.Errorf("decode: needs a little-endian machine")
	}
	if len(contracts) == 0 {
		return nil, fmt.Errorf("decode: no contracts")
	}
	d := &JSON{opts: opts, rows: make([]schemas.Rows, len(contracts))}
	paths := tree{top: newBranch()}
	for i, c := range contracts {
		if c == nil {
			return nil, fmt.Errorf("decode: contract %d is nil", i)
		}
		t, err := newTable(c, &paths)
		if err != nil {
			return nil, fmt.Errorf("decode: contract %s: %w", c.ID, err)
		}
		d.tables = append(d.tables, t)
	}
	d.paths = paths.top
	d.walker = walker{
		values:   newValues(paths.slots, d.comparedSlots(paths.slots)),
		nodes:    paths.nodes(),
		maxDepth: opts.MaxDepth,
		learned:  newHabits(),
	}
	return d, nil
}

// comparedSlots marks the slots that an identity field or a signal is taken from.
func (d *JSON) comparedSlots(slots int) []bool {
	marks := d.identitySlots(slots)
	for s, signal := range d.signalSlots(slots) {
		marks[s] = marks[s] || signal
	}
	return marks
}

// signalSlots marks the slots that a signal is taken from.
func (d *JSON) signalSlots(slots int) []bool {
	marks := make([]bool, slots)
	for _, t := range d.tables {
		for i := range t.signals {
			for _, s := range t.signals[i].slots {
				marks[s] = true
			}
		}
	}
	return marks
}

// identitySlots marks the slots that an identity field is taken from.
func (d *JSON) identitySlots(slots int) []bool {
	marks := make([]bool, slots)
	for _, t := range d.tables {
		for i := range t.fields {
			for _, s := range t.fields[i].slots {
				marks[s] = marks[s] || t.fields[i].identity
			}
		}
	}
	return marks
}

// Decode reads messages of any topic. It gives the rows of each contract and
// the rejects, ascending by message; both point into the arena and are valid
// until the next call. An error means that the parts of m do not fit together.
func (d *JSON) Decode(_ context.Context, _ string, m *schemas.Messages) ([]schemas.Rows, []schemas.Reject, error) {
	arena, err := withSlack(m.Arena, m.Values, m.Times)
	if err != nil {
		return nil, nil, err
	}
	d.begin(arena)
	for i, s := range m.Values {
		d.message(int32(i), s, m.Times[i])
	}
	return d.end()
}

// begin forgets the batch before; the messages of the next lie in the arena.
func (d *JSON) begin(arena []byte) {
	for _, t := range d.tables {
		t.reset()
	}
	d.walker.arena, d.walker.side = arena, d.walker.side[:0]
	d.rejects = d.rejects[:0]
}

// end gives what the messages have come to.
func (d *JSON) end() ([]schemas.Rows, []schemas.Reject, error) {
	if n := len(d.walker.side); n > math.MaxInt32 {
		return nil, nil, fmt.Errorf("decode: %d bytes of text with escapes in one arena, views reach 2 GiB", n)
	}
	d.finish()
	return d.rows, d.rejects, nil
}

// withSlack checks the arguments of Decode and gives the arena with the bytes
// behind its last message.
func withSlack(arena []byte, values []schemas.Span, times []int64) ([]byte, error) {
	if len(times) != len(values) {
		return nil, fmt.Errorf("decode: %d messages with %d times", len(values), len(times))
	}
	if len(values) > math.MaxInt32 {
		return nil, fmt.Errorf("decode: %d messages in one arena", len(values))
	}
	end := 0
	for _, s := range values {
		end = max(end, int(s.Off)+int(s.Len))
	}
	end += slack
	if end > math.MaxInt32 {
		return nil, fmt.Errorf("decode: arena of %d bytes, views reach 2 GiB", end)
	}
	if end > cap(arena) {
		return nil, fmt.Errorf("decode: arena of %d bytes for messages that end at %d with slack", cap(arena), end)
	}
	return arena[:max(len(arena), end)], nil
}

// message decodes one message.
func (d *JSON) message(i int32, s schemas.Span, at int64) {
	switch {
	case s.Len == 0:
		d.reject(i, schemas.EmptyMessage)
		return
	case int(s.Len) > d.opts.MaxMessageBytes:
		d.reject(i, schemas.TooLarge)
		return
	}
	d.text(i, s, at)
}

// text decodes the JSON text of one message.
func (d *JSON) text(i int32, s schemas.Span, at int64) {
	w := &d.walker
	w.reset()
	object, reason := w.walk(int(s.Off), int(s.Off)+int(s.Len))
	if reason != schemas.NoReason {
		d.reject(i, reason)
		return
	}
	taken := false
	for c, t := range d.tables {
		if !object || !t.takes(&w.values) {
			continue
		}
		taken = true
		if field, reason := t.add(&w.values, i, at); reason != schemas.NoReason {
			d.rejects = append(d.rejects, schemas.Reject{Message: i, Contract: int32(c), Field: field, Reason: reason})
		}
	}
	if !taken {
		d.reject(i, schemas.Unrouted)
	}
}

// reject rejects a message for which no contract can be blamed.
func (d *JSON) reject(i int32, reason schemas.Reason) {
	d.rejects = append(d.rejects, schemas.Reject{Message: i, Contract: schemas.NoContract, Field: schemas.NoField, Reason: reason})
}

// finish makes the records.
func (d *JSON) finish() {
	rows := 0
	for _, t := range d.tables {
		rows = max(rows, t.rows)
	}
	d.nothing = extend(d.nothing, max(len(d.nothing), 16*rows))
	arena := memory.NewBufferBytes(d.walker.arena)
	side := memory.NewBufferBytes(d.walker.side)
	nothing := memory.NewBufferBytes(d.nothing)
	for i, t := range d.tables {
		d.rows[i] = t.result(arena, side, nothing)
	}
}
