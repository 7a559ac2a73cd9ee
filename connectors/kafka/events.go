package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"lupa/pipeline"
	"lupa/schemas"
)

// pollWait is how long Next waits before it gives no chunk.
const pollWait = 500 * time.Millisecond

// Events is one worker's share of the event topics.
type Events struct {
	cluster *Cluster
	topics  []string
	choose  func(map[pipeline.Partition]leader) ([]pipeline.Partition, error)
	fixed   bool // the share is given: whether the topics grow is nobody's concern here
	breaker *Breaker

	held    []pipeline.Positions // of every table
	fetcher *fetcher
	name    string // of the cluster
	chunk   pipeline.Chunk
	large   []int32

	mu        sync.Mutex // guards what follows
	client    *client    // while it is open
	positions map[pipeline.Partition]int64
	states    map[pipeline.Partition]PartitionState
	given     pipeline.Partition // what Next gave last
	working   bool               // and it is not finished
}

var _ interface {
	pipeline.Source
	pipeline.Prover
	pipeline.Finisher
} = (*Events)(nil)

// Events makes the source of one worker of several: partitions go round, in
// the order of the topics and of their numbers, beginning with worker 0. It
// ends when a topic gets more partitions, which none of the workers would read.
func (c *Cluster) Events(topics []string, worker, workers int) (*Events, error) {
	if worker < 0 || worker >= workers {
		return nil, fmt.Errorf("kafka: worker %d of %d", worker, workers)
	}
	topics, err := checkTopics(topics)
	if err != nil {
		return nil, err
	}
	return &Events{cluster: c, topics: topics, choose: func(leaders map[pipeline.Partition]leader) ([]pipeline.Partition, error) {
		return share(topics, leaders, worker, workers), nil
	}}, nil
}

// EventsOf makes the source of some partitions of the topics, such as those
// that a Group assigns; there may be none. Only those concern it: one that is
// gone is an error, one that is added is not noticed.
func (c *Cluster) EventsOf(topics []string, parts []pipeline.Partition) (*Events, error) {
	topics, err := checkTopics(topics)
	if err != nil {
		return nil, err
	}
	parts = slices.Clone(parts)
	slices.SortFunc(parts, byTopic)
	for i, p := range parts {
		if !slices.Contains(topics, p.Topic) {
			return nil, fmt.Errorf("kafka: partitions: %s is of none of the topics", p)
		}
		if i > 0 && p == parts[i-1] {
			return nil, fmt.Errorf("kafka: partitions: %s is there twice", p)
		}
	}
	return &Events{cluster: c, topics: topicsOf(parts), fixed: true, choose: func(leaders map[pipeline.Partition]leader) ([]pipeline.Partition, error) {
		for _, p := range parts {
			if _, ok := leaders[p]; !ok {
				return nil, fmt.Errorf("%s: %w", p, errNoPartition)
			}
		}
		return parts, nil
	}}, nil
}

// errNoPartition is of the same class as a topic that is not there.
var errNoPartition = fmt.Errorf("no such partition: %w", ErrNoTopic)

// checkTopics leaves out what is there twice.
func checkTopics(topics []string) ([]string, error) {
	if len(topics) == 0 {
		return nil, errors.New("kafka: topics: at least one is needed")
	}
	var list []string
	for _, t := range topics {
		if t == "" {
			return nil, errors.New("kafka: topics: an empty name")
		}
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list, nil
}

func byTopic(a, b pipeline.Partition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
}

// Guard has b remember, until it is processed, what is being read. It is
// called before Open.
func (e *Events) Guard(b *Breaker) { e.breaker = b }

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
		return eventsError(err)
	}
	return nil
}

func (e *Events) open(ctx context.Context, c *client, from pipeline.Positions) error {
	at, err := e.look(ctx, c)
	if err != nil {
		return err
	}
	total := at.total
	if e.fixed {
		total = anyTotal
	}
	f, err := newFetcher(c, e.topics, total, reader{maxValue: e.cluster.o.MaxMessageBytes, headers: true})
	if err != nil {
		return err
	}
	if err := e.begin(ctx, c, f, at, from); err != nil {
		f.close()
		return err
	}
	e.fetcher = f
	return nil
}

// look asks what is there.
func (e *Events) look(ctx context.Context, c *client) (at landscape, err error) {
	if e.fixed && len(e.topics) == 0 {
		return at, nil
	}
	err = c.begin(ctx, func(ctx context.Context) error {
		leaders, err := c.leaders(ctx, e.topics)
		if err != nil {
			return err
		}
		at.total = len(leaders)
		if at.parts, err = e.choose(leaders); err != nil {
			return err
		}
		if at.cluster, err = c.clusterID(ctx, e.topics); err != nil {
			return err
		}
		if at.first, err = c.offsets(ctx, at.parts, logStart); err != nil {
			return err
		}
		if at.last, err = c.offsets(ctx, at.parts, logEnd); err != nil {
			return err
		}
		if at.compacted, err = c.compacted(ctx, e.topics); err != nil {
			return err
		}
		at.ids, err = c.identities(ctx, slices.Sorted(maps.Keys(at.compacted)))
		return err
	})
	return at, err
}

// landscape is what Open finds.
type landscape struct {
	total       int // partitions of the topics
	parts       []pipeline.Partition
	cluster     string
	first, last map[pipeline.Partition]int64
	compacted   map[string]bool
	ids         map[string]identity // of the compacted topics
}

// begin has the fetcher read from where each partition is to go on.
func (e *Events) begin(ctx context.Context, c *client, f *fetcher, at landscape, from pipeline.Positions) (err error) {
	if e.breaker != nil {
		if f.watch, err = e.breaker.watch(at.parts); err != nil {
			return err
		}
	}
	positions := make(map[pipeline.Partition]int64)
	for _, p := range at.parts {
		strict := !at.compacted[p.Topic]
		next, last, err := e.start(ctx, c, p, from, at)
		if err != nil {
			return err
		}
		positions[p] = next
		f.add(p, next, strict)
		read := f.parts[len(f.parts)-1]
		read.last, read.topic = last, at.ids[p.Topic]
	}
	e.name = at.cluster
	states := make(map[pipeline.Partition]PartitionState, len(positions))
	for p, next := range positions {
		states[p] = PartitionState{Next: next, Start: at.first[p], End: at.last[p]}
	}
	e.mu.Lock()
	e.client, e.positions, e.states = c, positions, states
	e.mu.Unlock()
	return nil
}

// start gives where reading p is to go on and the batch before that, if it is
// known, and checks that mark and those of Prove.
func (e *Events) start(ctx context.Context, c *client, p pipeline.Partition, from pipeline.Positions, at landscape) (next int64, last anchor, err error) {
	next = at.first[p]
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
	for i, mark := range marks {
		cluster, batch, ok := parseAnchor(mark.Anchor)
		switch {
		case !ok:
			return 0, last, &PositionError{Partition: p, Next: mark.Next, Start: -1, End: -1, Anchor: true}
		case cluster != "" && cluster != at.cluster:
			return 0, last, &PositionError{Partition: p, Next: mark.Next, Start: -1, End: -1, Cluster: at.cluster, Was: cluster}
		case mark.Next < at.first[p] || mark.Next > at.last[p]:
			return 0, last, &PositionError{Partition: p, Next: mark.Next, Start: at.first[p], End: at.last[p]}
		case !batch.known || mark.Next == at.first[p] || at.compacted[p.Topic]:
			continue
		}
		err := c.begin(ctx, func(ctx context.Context) error { return c.checkAnchor(ctx, p, mark.Next, batch) })
		if err != nil {
			return 0, last, err
		}
		if _, ok := from[p]; ok && i == 0 {
			last = batch
		}
	}
	return next, last, nil
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

// Next gives the next chunk of one partition, at most about 4096 messages and
// 4 MiB. A chunk without messages only moves the position, past markers and
// aborted records.
func (e *Events) Next(ctx context.Context) (*pipeline.Chunk, error) {
	if e.fetcher == nil {
		return nil, errors.New("kafka: events: not open")
	}
	p, err := e.fetcher.next(ctx, pollWait)
	if err != nil {
		return nil, eventsError(err)
	}
	e.mu.Lock()
	e.finish()
	for _, part := range e.fetcher.parts {
		s := e.states[part.id]
		s.Start, s.End = max(s.Start, part.start), max(s.End, part.stable)
		e.states[part.id] = s
	}
	if p != nil {
		e.positions[p.part.id] = p.next
		e.given, e.working = p.part.id, true
	}
	e.mu.Unlock()
	if p == nil {
		return nil, nil
	}
	e.fill(p)
	return &e.chunk, nil
}

// Finished says that the chunk which Next gave last has been worked on: a death
// from here on is not that chunk's doing. The next call of Next says so, too.
func (e *Events) Finished() error {
	e.mu.Lock()
	e.finish()
	e.mu.Unlock()
	if err := e.fetcher.watch.passed(); err != nil {
		return fmt.Errorf("kafka: events: %w", err)
	}
	return nil
}

// finish moves what was given last behind what has been worked on.
func (e *Events) finish() {
	if e.working {
		s := e.states[e.given]
		s.Next = e.positions[e.given]
		e.states[e.given], e.working = s, false
	}
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
		Messages: schemas.Messages{
			Values: out.values[p.lo:p.hi], Headers: out.headed(p.lo, p.hi), Times: out.times[p.lo:p.hi],
		},
		TooLarge: e.large,
		Offsets:  out.offsets[p.lo:p.hi],
		Next:     pipeline.Mark{Next: p.next},
	}
	if !p.part.strict {
		p.anchor = anchor{} // compaction will write the batch anew
	}
	e.chunk.Next.Anchor = p.anchor.mark(e.name)
	begin, end := 0, len(out.arena)
	if p.hi-p.lo < len(out.values) {
		begin, end = trim(e.chunk.Values, e.chunk.Headers)
	}
	e.chunk.Arena = out.arena[begin : end+pipeline.ArenaSlack]
}

// trim moves spans so that they begin at 0, for a chunk that needs only a part
// of a large arena, and tells which.
func trim(lists ...[]schemas.Span) (begin, end int) {
	begin = math.MaxInt
	for _, list := range lists {
		for _, v := range list {
			if v.Len > 0 {
				begin = min(begin, int(v.Off))
				end = max(end, int(v.Off+v.Len))
			}
		}
	}
	if end == 0 {
		return 0, 0
	}
	for _, list := range lists {
		for i := range list {
			if list[i].Len > 0 {
				list[i].Off -= uint32(begin)
			}
		}
	}
	return begin, end
}

// Close ends the fetches that are under way.
func (e *Events) Close() error {
	e.mu.Lock()
	e.client = nil
	e.mu.Unlock()
	if e.fetcher != nil {
		e.fetcher.close()
	}
	return nil
}
