// Package stamped takes from what the ledger permits what events themselves do
// not: the consent that was stamped into them when they were sent. It is the
// consent.Narrower of a view:
//
//	n, err := stamped.New(func() (stamped.Signals, error) { return signals.NewReader(vocabulary, options) })
//	view, err := consent.NewView(tokens, consent.Options{Narrow: n, Now: now})
//
// A row never gets more than it had: Narrow only takes purposes away, and what
// it cannot read is an error, which stops the run.
package stamped

import (
	"errors"
	"fmt"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/pipeline"
	"lupa/schemas"
)

// Signals reads the consent that events carry. Only one goroutine uses it.
type Signals interface {
	// Narrow takes from what is permitted in each row what the row's value, the
	// text of a JSON value or null, takes away.
	Narrow(kind schemas.SignalKind, values *array.BinaryView, permitted []schemas.PurposeSet) error
}

// Narrower narrows batches by the signals that their contracts name. Stages may
// use it at once.
type Narrower struct {
	open func() (Signals, error)

	mu   sync.Mutex
	idle []Signals // as many as were ever in use at once, less those in use
}

// New makes a Narrower; open makes what one stage at a time reads with.
func New(open func() (Signals, error)) (*Narrower, error) {
	first, err := open()
	if err != nil {
		return nil, fmt.Errorf("read consent in events: %w", err)
	}
	return &Narrower{open: open, idle: []Signals{first}}, nil
}

// Narrow takes out of permitted, one entry a row of b.Raw, what the rows' own
// signals do not cover.
func (n *Narrower) Narrow(b *pipeline.Batch, permitted []schemas.PurposeSet) error {
	if len(b.Contract.Signals) == 0 {
		return nil
	}
	if b.Raw == nil || int(b.Raw.NumRows()) != len(permitted) {
		return errors.New("the rows are not those of the batch")
	}
	s, err := n.take()
	if err != nil {
		return err
	}
	defer n.give(s)
	for _, signal := range b.Contract.Signals {
		if signal.Field < 0 || signal.Field >= int(b.Raw.NumCols()) {
			return fmt.Errorf("signal %s has no column", signal.Kind)
		}
		values, ok := b.Raw.Column(signal.Field).(*array.BinaryView)
		if !ok {
			return fmt.Errorf("the column of signal %s is no text", signal.Kind)
		}
		if err := s.Narrow(signal.Kind, values, permitted); err != nil {
			return err
		}
	}
	return nil
}

func (n *Narrower) take() (Signals, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := len(n.idle) - 1; last >= 0 {
		s := n.idle[last]
		n.idle = n.idle[:last]
		return s, nil
	}
	return n.open()
}

func (n *Narrower) give(s Signals) {
	n.mu.Lock()
	n.idle = append(n.idle, s)
	n.mu.Unlock()
}
