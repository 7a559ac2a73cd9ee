package main

import (
	"context"
	"errors"
	"fmt"

	"lupa/pipeline"
)

// errLedgerBehind is a ledger that ends before what the tables were decided by.
var errLedgerBehind = errors.New("the ledger topic was truncated, made again or restored from an older copy, and may not know of withdrawals any more; " +
	"if it is known to be complete, give it a topic of another name")

// checkLedger refuses a ledger topic that has less than it had at the last
// commit: what it has lost may be withdrawals, and nothing that was granted
// before would show it.
func (r *rooms) checkLedger(ctx context.Context) error {
	if r.following == nil {
		return nil
	}
	committed, err := r.sink.LedgerPositions(ctx)
	if err != nil {
		return err
	}
	// Asked after the tables, which other processes go on committing to.
	reached, err := r.ledger.Barrier(ctx)
	if err != nil {
		return err
	}
	return ledgerReaches(reached, committed, r.config.Ledger.Kafka.Topic)
}

// ledgerReaches compares a topic's position with what was committed.
func ledgerReaches(reached, committed pipeline.Vector, topic string) error {
	var errs []error
	for p, next := range committed {
		if p.Topic == topic && reached[p] < next {
			errs = append(errs, fmt.Errorf("ledger: %s ends at %d, the tables were committed at %d: %w", p, reached[p], next, errLedgerBehind))
		}
	}
	return withCode(exitData, errors.Join(errs...))
}
