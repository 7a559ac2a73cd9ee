package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol/fetch"

	"lupa/pipeline"
	"lupa/schemas"
)

// pollWait is how long Next waits before it gives no chunk.
const pollWait = 500 * time.Millisecond

// Events is one worker's share of the event topics.
type Events struct {
	cluster *Cluster
	topics  []string
	worker  int
	workers int

	held    []pipeline.Positions // of every table
	fetcher *fetcher
	chunk   pipeline.Chunk
	large   []int32

	mu        sync.Mutex
	positions map[pipeline.Partition]int64
}

var _ interface {
	pipeline.Source
	pipeline.Prover
} = (*Events)(nil)

// Events makes the source of one worker of several: partitions go round, in
// the order of the topics and of their numbers, beginning with worker 0.
func (c *Cluster) Events(topics []string, worker, workers int) (*Events, error) {
	if len(topics) == 0 {
		return nil, errors.New("kafka: topics: at least one is needed")
	}
	if worker < 0 || worker >= workers {
		return nil, fmt.Errorf("kafka: worker %d of %d", worker, workers)
	}
	e := &Events{cluster: c, worker: worker, workers: workers}
	for _, t := range topics {
		if t == "" {
			return nil, errors.New("kafka: topics: an empty name")
		}
		if !slices.Contains(e.topics, t) {
			e.topics = append(e.topics, t)
		}
	}
	return e, nil
}

// Prove gives positions that Open is to check besides those to begin at.
func (e *Events) Prove(held []pipeline.Positions) { e.held = held }

// Open finds the worker's partitions and where to begin in each. Every topic
// must be there, and every position must still be what it was: at or after the
// start of the log, at or before its end, behind the batch that its anchor
// names.
func (e *Events) Open(ctx context.Context, from pipeline.Positions) error {
	if e.fetcher != nil {
		return errors.New("kafka: events: opened before")
	}
	c := &client{e.cluster, e.cluster.transport(e.topics...)}
	err := e.open(ctx, c, from)
	if err != nil {
		c.transport.CloseIdleConnections()
		return fmt.Errorf("kafka: events: %w", err)
	}
	return nil
}

func (e *Events) open(ctx context.Context, c *client, from pipeline.Positions) error {
	var (
		leaders     map[pipeline.Partition]leader
		parts       []pipeline.Partition
		first, last map[pipeline.Partition]int64
		compacted   map[string]bool
	)
	err := c.begin(ctx, func(ctx context.Context) (err error) {
		if leaders, err = c.leaders(ctx, e.topics); err != nil {
			return err
		}
		parts = share(e.topics, leaders, e.worker, e.workers)
		if first, err = c.offsets(ctx, parts, logStart); err != nil {
			return err
		}
		if last, err = c.offsets(ctx, parts, logEnd); err != nil {
			return err
		}
		compacted, err = c.compacted(ctx, e.topics)
		return err
	})
	if err != nil {
		return err
	}
	f, err := newFetcher(c, e.topics, len(leaders), reader{maxValue: e.cluster.o.MaxMessageBytes})
	if err != nil {
		return err
	}
	positions := make(map[pipeline.Partition]int64)
	for _, p := range parts {
		strict := !compacted[p.Topic]
		next, err := e.start(ctx, c, p, from, first[p], last[p], strict)
		if err != nil {
			f.close()
			return err
		}
		positions[p] = next
		f.add(p, next, strict)
	}
	e.fetcher = f
	e.mu.Lock()
	e.positions = positions
	e.mu.Unlock()
	return nil
}

// start gives where reading p is to go on, and checks that mark and those of
// Prove.
func (e *Events) start(ctx context.Context, c *client, p pipeline.Partition, from pipeline.Positions, first, last int64, strict bool) (int64, error) {
	next := first
	var marks []pipeline.Mark
	if mark, ok := from[p]; ok {
		next = mark.Next
		marks = append(marks, mark)
	}
	for _, held := range e.held {
		if mark, ok := held[p]; ok && !slices.Contains(marks, mark) {
			marks = append(marks, mark)
		}
	}
	for _, mark := range marks {
		if mark.Next < first || mark.Next > last {
			return 0, &PositionError{Partition: p, Next: mark.Next, Start: first, End: last}
		}
		if mark.Anchor == "" || mark.Next == first || !strict {
			continue
		}
		err := c.begin(ctx, func(ctx context.Context) error { return c.checkAnchor(ctx, p, mark) })
		if err != nil {
			return 0, err
		}
	}
	return next, nil
}

// share deals the partitions out.
func share(topics []string, leaders map[pipeline.Partition]leader, worker, workers int) []pipeline.Partition {
	var all []pipeline.Partition
	for _, t := range topics {
		begin := len(all)
		for p := range leaders {
			if p.Topic == t {
				all = append(all, p)
			}
		}
		slices.SortFunc(all[begin:], func(a, b pipeline.Partition) int { return int(a.ID) - int(b.ID) })
	}
	var mine []pipeline.Partition
	for i, p := range all {
		if i%workers == worker {
			mine = append(mine, p)
		}
	}
	return mine
}

// String is the anchor as positions hold it.
func (a anchor) String() string {
	if !a.known {
		return ""
	}
	return fmt.Sprintf("batch:%d:%08x", a.first, a.crc)
}

// checkAnchor fetches the batch before mark and compares it with the anchor.
func (c *client) checkAnchor(ctx context.Context, p pipeline.Partition, mark pipeline.Mark) error {
	leaders, err := c.leaders(ctx, []string{p.Topic})
	if err != nil {
		return err
	}
	at := mark.Next - 1
	req := &fetchRequest{clientID: c.c.o.ClientID, correlation: 1, limit: c.c.o.MaxBatchBytes + 1<<20, Request: &fetch.Request{
		ReplicaID: -1, MaxWaitTime: 100, MinBytes: 1, MaxBytes: 1, IsolationLevel: readCommitted, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{Topic: p.Topic, Partitions: []fetch.RequestPartition{{
			Partition: p.ID, CurrentLeaderEpoch: leaders[p].epoch, FetchOffset: at, LogStartOffset: -1, PartitionMaxBytes: 1,
		}}}},
	}}
	res, err := call[*fetchResponse](ctx, c, req)
	if err != nil {
		return fmt.Errorf("%s: fetch at offset %d: %w", p, at, err)
	}
	list, err := res.parse()
	if err == nil && (len(list) != 1 || list[0].partition != p) {
		err = errFrame
	}
	if err == nil && list[0].code != 0 {
		err = list[0].code
	}
	if err != nil {
		return fmt.Errorf("%s: fetch at offset %d: %w", p, at, err)
	}
	b, _, ok, err := nextBatch(list[0].batches)
	if err == nil && ok && !b.intact() {
		err = errChecksum
	}
	if err != nil {
		return fmt.Errorf("%s: fetch at offset %d: %w", p, at, err)
	}
	if !ok || b.first > at || b.last < at || (anchor{true, b.first, b.crc}).String() != mark.Anchor {
		return &PositionError{Partition: p, Next: mark.Next, Start: -1, End: -1, Anchor: true}
	}
	return nil
}

// Next gives the next chunk of one partition, at most about 4096 messages and
// 4 MiB. A chunk without messages only moves the position, past markers and
// aborted records.
func (e *Events) Next(ctx context.Context) (*pipeline.Chunk, error) {
	if e.fetcher == nil {
		return nil, errors.New("kafka: events: not open")
	}
	p, err := e.fetcher.next(ctx, pollWait)
	if err != nil {
		return nil, fmt.Errorf("kafka: events: %w", err)
	}
	if p == nil {
		return nil, nil
	}
	e.fill(p)
	e.mu.Lock()
	e.positions[p.part.id] = p.next
	e.mu.Unlock()
	return &e.chunk, nil
}

// fill makes the chunk of a piece.
func (e *Events) fill(p *piece) {
	out := &e.fetcher.out
	e.large = e.large[:0]
	for _, i := range out.large {
		if int(i) >= p.lo && int(i) < p.hi {
			e.large = append(e.large, i-int32(p.lo))
		}
	}
	e.chunk = pipeline.Chunk{
		Partition: p.part.id,
		Messages:  schemas.Messages{Values: out.values[p.lo:p.hi], Times: out.times[p.lo:p.hi]},
		TooLarge:  e.large,
		Offsets:   out.offsets[p.lo:p.hi],
		Next:      pipeline.Mark{Next: p.next},
	}
	if p.part.strict {
		e.chunk.Next.Anchor = p.anchor.String()
	}
	begin, end := 0, len(out.arena)
	if p.hi-p.lo < len(out.values) {
		begin, end = trim(e.chunk.Values)
	}
	e.chunk.Arena = out.arena[begin : end+pipeline.ArenaSlack]
}

// trim moves spans so that they begin at 0, for a chunk that needs only a part
// of a large arena, and tells which.
func trim(values []schemas.Span) (begin, end int) {
	begin = math.MaxInt
	for _, v := range values {
		if v.Len > 0 {
			begin = min(begin, int(v.Off))
			end = max(end, int(v.Off+v.Len))
		}
	}
	if end == 0 {
		return 0, 0
	}
	for i := range values {
		if values[i].Len > 0 {
			values[i].Off -= uint32(begin)
		}
	}
	return begin, end
}

// Lag is how many offsets stand between what was handed over and the
// read-committed end of the worker's partitions. It may be called at any time
// while the source is open.
func (e *Events) Lag(ctx context.Context) (int64, error) {
	if e.fetcher == nil {
		return 0, errors.New("kafka: events: not open")
	}
	e.mu.Lock()
	parts := make([]pipeline.Partition, 0, len(e.positions))
	for p := range e.positions {
		parts = append(parts, p)
	}
	e.mu.Unlock()
	ends, err := e.fetcher.client.offsets(ctx, parts, logEnd)
	if err != nil {
		return 0, fmt.Errorf("kafka: lag: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var lag int64
	for p, end := range ends {
		lag += max(0, end-e.positions[p])
	}
	return lag, nil
}

// Close ends the fetches that are under way.
func (e *Events) Close() error {
	if e.fetcher != nil {
		e.fetcher.close()
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
