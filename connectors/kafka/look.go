package kafka

import (
	"context"
	"errors"
	"fmt"

	kafkago "github.com/segmentio/kafka-go"

	"lupa/pipeline"
)

// Logs is what a cluster has of some partitions, for an operator who has to
// decide about a position. It hands nothing over.
type Logs struct {
	client *client
	at     landscape
}

// Logs asks what there is of partitions.
func (c *Cluster) Logs(ctx context.Context, parts []pipeline.Partition) (*Logs, error) {
	topics := topicsOf(parts)
	if len(topics) == 0 {
		return nil, errors.New("kafka: logs: at least one partition is needed")
	}
	e, err := c.EventsOf(topics, parts)
	if err != nil {
		return nil, err
	}
	l := &Logs{client: &client{c, c.transport(topics...)}}
	if l.at, err = e.look(ctx, l.client); err != nil {
		l.Close()
		return nil, fmt.Errorf("kafka: logs: %w", err)
	}
	return l, nil
}

// Close ends the connections.
func (l *Logs) Close() { l.client.transport.CloseIdleConnections() }

// Cluster is the cluster's own name for itself, as anchors hold it.
func (l *Logs) Cluster() string { return l.at.cluster }

// Of gives the first offset that a partition has and its read-committed end.
func (l *Logs) Of(p pipeline.Partition) (start, end int64) { return l.at.first[p], l.at.last[p] }

// Check holds a position to what Open holds it to. What does not fit is a
// PositionError.
func (l *Logs) Check(ctx context.Context, p pipeline.Partition, m pipeline.Mark) error {
	e := &Events{cluster: l.client.c}
	if _, _, err := e.start(ctx, l.client, p, pipeline.Positions{p: m}, l.at); err != nil {
		return fmt.Errorf("kafka: logs: %w", err)
	}
	return nil
}

// Mark gives the position at an offset, with an anchor that Open will check:
// the batch that stands before it, where there is one that stays as it is.
func (l *Logs) Mark(ctx context.Context, p pipeline.Partition, next int64) (pipeline.Mark, error) {
	start, end := l.Of(p)
	if next < start || next > end {
		return pipeline.Mark{}, fmt.Errorf("kafka: logs: %s: offset %d is not in %d to %d", p, next, start, end)
	}
	var before anchor
	if next > start && !l.at.compacted[p.Topic] {
		err := l.client.begin(ctx, func(ctx context.Context) (err error) {
			before, err = l.client.anchorAt(ctx, p, next-1)
			return err
		})
		if err != nil {
			return pipeline.Mark{}, fmt.Errorf("kafka: logs: %w", err)
		}
	}
	return pipeline.Mark{Next: next, Anchor: before.mark(l.at.cluster)}, nil
}

// anchorAt names the batch that an offset is in.
func (c *client) anchorAt(ctx context.Context, p pipeline.Partition, at int64) (anchor, error) {
	found, err := c.peek(ctx, p, at)
	if errors.Is(err, kafkago.OffsetOutOfRange) {
		start, end := c.bounds(ctx, p)
		return anchor{}, &PositionError{Partition: p, Next: at, Start: start, End: end}
	}
	if err != nil {
		return anchor{}, fmt.Errorf("%s: fetch at offset %d: %w", p, at, err)
	}
	b, _, ok, err := nextBatch(found)
	switch {
	case err == nil && !ok:
		err = errMalformed
	case err == nil && !b.intact():
		err = errChecksum
	case err == nil && (b.first > at || b.last < at):
		err = errHole
	}
	if err != nil {
		return anchor{}, fmt.Errorf("%s: fetch at offset %d: %w", p, at, err)
	}
	return anchor{true, b.first, b.crc}, nil
}

// ClusterOf is the cluster that a position names, or nothing.
func ClusterOf(m pipeline.Mark) string {
	cluster, _, _ := parseAnchor(m.Anchor)
	return cluster
}
