package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"lupa/pipeline"
	"lupa/schemas"
)

// View takes the records of a ledger, in the order of their lines: of a file as
// the only partition of a topic with its name, by line numbers that count from 0.
// Keys are all nil: a file has none. The messages are valid during the call only.
// It gives how many it took; an error ends the reading.
type View interface {
	ApplyMessages(m *schemas.LedgerMessages) (n int, err error)
}

// ApplyError says which line of a ledger the view could not take. Its message
// holds the place alone; the view's own error can be unwrapped.
type ApplyError struct {
	File  string
	Line  int64 // counted from 1, as editors do
	cause error
}

// Error names the file and the line.
func (e *ApplyError) Error() string {
	return fmt.Sprintf("%s:%d: the record cannot be applied", e.File, e.Line)
}

// Unwrap gives the view's error.
func (e *ApplyError) Unwrap() error { return e.cause }

// FixedLedger is a ledger that was read from files and does not move.
type FixedLedger struct {
	at pipeline.Vector
}

var _ pipeline.Ledger = (*FixedLedger)(nil)

// Barrier gives the number of lines of each file. It does not wait: the view
// had all of them before there was a FixedLedger.
func (l *FixedLedger) Barrier(ctx context.Context) (pipeline.Vector, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return maps.Clone(l.at), nil
}

// ReadLedger reads the files that a path or pattern stands for into the view,
// each line a record, in the order of their names. A line over 1 MiB is an
// error: nothing of a ledger is passed over.
func ReadLedger(ctx context.Context, path string, view View) (*FixedLedger, error) {
	set, err := NewSet(Options{Paths: []string{path}})
	if err != nil {
		return nil, err
	}
	source := set.Source()
	defer source.Close()
	if err := source.Open(ctx, nil); err != nil {
		return nil, err
	}
	l := &FixedLedger{at: pipeline.Vector{}}
	for _, f := range set.files {
		l.at[pipeline.Partition{Topic: f.name}] = 0
	}
	var m schemas.LedgerMessages
	for {
		c, err := source.Next(ctx)
		if err == io.EOF {
			return l, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read ledger: %w", err)
		}
		if len(c.TooLarge) > 0 {
			return nil, fmt.Errorf("read ledger: %s:%d: line over %d bytes", c.Partition.Topic, c.Offsets[c.TooLarge[0]]+1, set.limit)
		}
		m.Topic, m.Partition, m.Offsets = c.Partition.Topic, c.Partition.ID, c.Offsets
		m.Keys, m.Values = m.Keys[:0], m.Values[:0]
		for _, v := range c.Values {
			m.Keys = append(m.Keys, nil)
			m.Values = append(m.Values, c.Arena[v.Off:v.Off+v.Len:v.Off+v.Len])
		}
		if len(m.Values) > 0 {
			n, err := view.ApplyMessages(&m)
			if err == nil && n != len(m.Values) {
				err = errors.New("the view took fewer records than it was given")
			}
			if err != nil {
				n = min(max(n, 0), len(m.Values)-1)
				return nil, &ApplyError{c.Partition.Topic, c.Offsets[n] + 1, err}
			}
		}
		l.at[c.Partition] = c.Next.Next
	}
}
