package kafka

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"lupa/pipeline"
)

// flight is one fetch request.
type flight struct {
	node   int32
	parts  []*partition
	at     []int64 // where each partition was asked for
	prove  time.Duration
	req    *fetchRequest
	answer []surveyed
	err    error
}

// surveyed is one partition's part of an answer, surveyed.
type surveyed struct {
	fetched
	sound []byte
	after int64
	err   error

	last   anchor // of sound
	proved bool   // the batch before sound was looked at, after sound was here
	doubt  error  // why it is not what it was, or cannot be looked at
}

// fly sends one request.
func (f *fetcher) fly(node int32, wait time.Duration, parts []*partition, leaders map[pipeline.Partition]leader) {
	o := &f.client.c.o
	req := &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(wait / time.Millisecond), MinBytes: 1,
		MaxBytes: int32(max(requestBytes, o.FetchBytes)), IsolationLevel: readCommitted, SessionEpoch: -1,
	}
	fl := &flight{node: node, parts: parts, prove: f.prove}
	for _, p := range parts {
		p.flying = true
		fl.at = append(fl.at, p.next)
		rp := fetch.RequestPartition{
			Partition: p.id.ID, CurrentLeaderEpoch: leaders[p.id].epoch, FetchOffset: p.next,
			LogStartOffset: -1, PartitionMaxBytes: int32(o.FetchBytes),
		}
		if n := len(req.Topics); n > 0 && req.Topics[n-1].Topic == p.id.Topic {
			req.Topics[n-1].Partitions = append(req.Topics[n-1].Partitions, rp)
			continue
		}
		req.Topics = append(req.Topics, fetch.RequestTopic{Topic: p.id.Topic, Partitions: []fetch.RequestPartition{rp}})
	}
	f.serial++
	// A broker answers with one whole batch even above the limits, so one of
	// the largest kind must fit besides.
	fl.req = &fetchRequest{
		Request: req, clientID: o.ClientID, correlation: f.serial,
		limit: int(req.MaxBytes) + o.MaxBatchBytes + 1<<20,
	}
	if n := len(f.frames); n > 0 {
		fl.req.frame, f.frames = f.frames[n-1], f.frames[:n-1]
	}
	f.flights[node] = fl
	f.flying.Go(func() {
		fl.run(f.life, f.client)
		select {
		case f.landed <- fl:
		case <-f.life.Done():
		}
	})
}

// run makes the round trip and checks what came, so that the caller's
// goroutine never sees a byte that the checksum does not cover.
func (fl *flight) run(ctx context.Context, c *client) {
	ctx, cancel := context.WithTimeout(ctx, c.c.o.FetchWait+fetchGrace)
	defer cancel()
	res, err := c.transport.RoundTrip(ctx, c.c.address(), fl.req)
	if err != nil {
		fl.err = err
		return
	}
	r, ok := res.(*fetchResponse)
	if !ok {
		fl.err = errFrame
		return
	}
	list, err := r.parse()
	if err != nil {
		fl.err = err
		return
	}
	for n, part := range list {
		if slices.ContainsFunc(list[:n], func(o fetched) bool { return o.partition == part.partition }) {
			fl.err, fl.answer = errFrame, nil // one of them is another's
			return
		}
		s := surveyed{fetched: part}
		if part.code == kafkago.OffsetOutOfRange {
			s.start, s.stable = c.bounds(ctx, part.partition)
		}
		for i, p := range fl.parts {
			if p.id == part.partition {
				s.sound, s.after, s.err = survey(part.batches, fl.at[i], p.strict)
				fl.doubt(ctx, c, p, fl.at[i], &s)
			}
		}
		fl.answer = append(fl.answer, s)
	}
}

// doubt looks again at the batch before an answer's first, or at the topic, if
// there is reason to.
func (fl *flight) doubt(ctx context.Context, c *client, p *partition, at int64, s *surveyed) {
	if len(s.sound) == 0 {
		return
	}
	s.last = lastOf(s.sound)
	strange := p.edge && firstOf(s.sound) < at
	switch {
	case !strange && !p.doubtful(&s.fetched, fl.prove, time.Now()):
	case p.strict && p.last.known:
		s.doubt = c.checkAnchor(ctx, p.id, at, p.last)
		s.proved = s.doubt == nil
	case p.topic != identity{}:
		s.doubt = c.checkIdentity(ctx, p.id, at, p.topic)
		s.proved = s.doubt == nil
	}
	if strange && s.doubt == nil {
		s.sound, s.after, s.err = nil, at, errMalformed
	}
}

// doubtful reports whether an answer for p may be of another log than those
// before. A topic that is deleted and made again answers with errors meanwhile,
// has fewer records for a while, or is found out when its time has come.
func (p *partition) doubtful(answer *fetched, prove time.Duration, now time.Time) bool {
	return p.suspect || answer.start < p.start || answer.stable < p.stable || now.Sub(p.proved) >= prove
}

// firstOf is the offset at which sound batches begin.
func firstOf(sound []byte) int64 { return int64(binary.BigEndian.Uint64(sound)) }

// lastOf gives the anchor of the last of some sound batches.
func lastOf(sound []byte) (a anchor) {
	for len(sound) > 0 {
		b, rest, ok, err := nextBatch(sound)
		if err != nil || !ok {
			break
		}
		a, sound = anchor{true, b.first, b.crc}, rest
	}
	return a
}

// bounds asks where a partition starts and ends, to say so in an error: a
// broker that refuses an offset does not tell. -1 is what cannot be asked.
func (c *client) bounds(ctx context.Context, p pipeline.Partition) (start, end int64) {
	at := [2]int64{logStart, logEnd}
	for i, which := range at {
		at[i] = -1
		if found, err := c.offsets(ctx, []pipeline.Partition{p}, which); err == nil {
			at[i] = found[p]
		}
	}
	return at[0], at[1]
}
