package main

import (
	"context"
	"fmt"

	"lupa/connectors/kafka"
	"lupa/pipeline/consent"
	"lupa/schemas"
)

// topicLinker makes links that events tell of records of the ledger's topic, so
// that every process has them and the next start too.
type topicLinker struct {
	topic    string
	producer *kafka.Producer
	ledger   *kafka.Ledger
}

// Link writes the records and waits until the view has them. Every in-sync
// replica has acknowledged them before the barrier is asked.
func (l *topicLinker) Link(ctx context.Context, records []schemas.Record) error {
	keys, values := make([][]byte, len(records)), make([][]byte, len(records))
	for i, r := range records {
		keys[i], values[i] = schemas.AppendRecordKey(nil, r), schemas.AppendRecord(nil, r)
	}
	if err := l.producer.Produce(ctx, l.topic, keys, values); err != nil {
		return err
	}
	_, err := l.ledger.Barrier(ctx)
	return err
}

// openLinker makes what remembers the links that events tell of, if they are to be
// learned.
func (r *rooms) openLinker() (consent.Linker, error) {
	c := &r.config.Ledger
	switch {
	case !c.Learn:
		return nil, nil
	case c.Mapping != "" || c.Encoding != encodingJSON:
		return nil, usageError("%s: ledger.learn writes records as schemas/FORMAT.md has them, and ledger.mapping or ledger.encoding reads others", r.config.File)
	}
	cluster, err := r.cluster(c.Kafka.Brokers, c.Kafka.Security)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	producer := cluster.Producer()
	r.closers = append(r.closers, producer.Close)
	return &topicLinker{c.Kafka.Topic, producer, r.following}, nil
}
