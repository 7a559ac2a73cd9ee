package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"lupa/pipeline"
)

// PartitionState is where a partition stands: the next offset to work on, the
// first that the log has and its read-committed end, as last heard.
type PartitionState struct{ Next, Start, End int64 }

// State gives the state of every partition, once the source is open. It asks
// nobody, and may be called at any time.
func (e *Events) State() map[pipeline.Partition]PartitionState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.states)
}

// Refresh asks for the ends of the partitions, so that State tells what comes
// while a chunk takes its time: until the next call of Next nothing is fetched.
// It may be called at any time, and does nothing before Open and after Close.
func (e *Events) Refresh(ctx context.Context) error {
	e.mu.Lock()
	c, parts := e.client, slices.Collect(maps.Keys(e.states))
	e.mu.Unlock()
	if c == nil {
		return nil
	}
	ends, err := c.offsets(ctx, parts, logEnd)
	if err != nil {
		return fmt.Errorf("kafka: ends: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for p, end := range ends {
		s := e.states[p]
		s.End = max(s.End, end)
		e.states[p] = s
	}
	return nil
}

// EndOffsets gives the read-committed end of every partition of a topic.
func (c *Cluster) EndOffsets(ctx context.Context, topic string) (pipeline.Vector, error) {
	k := &client{c, c.transport(topic)}
	defer k.transport.CloseIdleConnections()
	var ends map[pipeline.Partition]int64
	err := k.begin(ctx, func(ctx context.Context) error {
		leaders, err := k.leaders(ctx, []string{topic})
		if err != nil {
			return err
		}
		ends, err = k.offsets(ctx, share([]string{topic}, leaders, 0, 1), logEnd)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kafka: end offsets: %w", err)
	}
	return ends, nil
}
