package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"lupa/pipeline"
)

// fetcher reads a fixed set of partitions. Each leader has at most one fetch
// under way, in a goroutine of its own, and the next one starts as soon as an
// answer is here, so that the brokers work while the caller does. Everything
// else happens in the caller's goroutine.
type fetcher struct {
	client *client
	log    *slog.Logger
	topics []string
	total  int // partitions of the topics, read here or not; 0 if more may come
	parts  []*partition
	turn   int // rotates which partition is asked for first

	// life ends with close and bounds fetches, which outlive the call of next
	// that began them.
	life    context.Context
	cancel  context.CancelFunc
	flights map[int32]*flight
	landed  chan *flight
	flying  sync.WaitGroup
	serial  int32
	frames  [][]byte // for reuse
	bytes   int      // of the frames that payloads look into
	ahead   int      // as many of them stop further fetches
	failure error    // what ends the run once all that was fetched is handed over

	reader reader
	ready  []*payload // in order of arrival
	out    records
	ends   []batchEnd // of the batches in out
	served int        // how many of out's records were handed over
	piece  piece
	watch  *watch        // of the breaker; may be nil
	prove  time.Duration // how old a partition's proof may be

	// within is how long a partition may go without being read to its end, 0 is
	// for ever: as long as compaction leaves tombstones for it to read.
	within time.Duration
	now    func() time.Time // for within alone
}

// anyTotal has the topics grow as they like.
const anyTotal = -1

// proveEvery bounds how often, without trouble, a partition's anchor is looked
// at again.
const proveEvery = 5 * time.Second

// partition is how far one of them is.
type partition struct {
	id     pipeline.Partition
	strict bool  // not compacted: every offset must be accounted for
	next   int64 // to fetch
	flying bool
	held   int  // payloads that are not used up
	alone  bool // an empty answer left its end unreached: ask for it alone
	empty  int  // such answers to asking for next alone

	edge    bool      // next is where a batch ends, so that the next begins there
	last    anchor    // the batch before next
	topic   identity  // of a compacted topic, if it is known
	proved  time.Time // when last was still there
	suspect bool      // there was trouble since
	level   time.Time // when it was last read to its end, or reading began
	start   int64     // of the log, as the last answer told
	stable  int64     // its last stable offset, likewise

	trouble  class
	since    time.Time
	failures int
	retryAt  time.Time
}

// payload is what one answer holds of one partition.
type payload struct {
	part    *partition
	rest    []byte // batches that are not decoded yet
	next    int64  // of the first record that was not handed over
	after   int64  // the position when all is handed over
	aborted []abortedTransaction
	hidden  map[int64]bool // producers whose records belong to an aborted transaction
	frame   *frame
}

// frame is an answer's buffer and how many payloads look into it.
type frame struct {
	buf  []byte
	uses int
}

// batchEnd is how many records there were in out after a batch.
type batchEnd struct {
	rows   int
	anchor anchor
}

// piece is what next hands over: records of one partition, until its next
// call.
type piece struct {
	part   *partition
	lo, hi int // of out
	next   int64
	anchor anchor
}

func newFetcher(c *client, topics []string, total int, rd reader) (*fetcher, error) {
	codecs, err := newCodecs(c.c.o.MaxBatchBytes)
	if err != nil {
		return nil, err
	}
	rd.codecs = codecs
	f := &fetcher{
		client: c, log: c.c.o.Logger, topics: topics, total: total, reader: rd,
		flights: make(map[int32]*flight), landed: make(chan *flight), ahead: c.c.o.AheadBytes, prove: proveEvery,
		now: time.Now,
	}
	f.life, f.cancel = context.WithCancel(context.Background())
	return f, nil
}

func (f *fetcher) add(id pipeline.Partition, next int64, strict bool) {
	f.parts = append(f.parts, &partition{id: id, next: next, strict: strict, proved: time.Now(), level: f.now()})
}

// close ends all fetches and waits for them.
func (f *fetcher) close() {
	f.cancel()
	f.flying.Wait()
	f.watch.close()
	f.reader.codecs.close()
	f.client.transport.CloseIdleConnections()
}

// next gives the next piece, or nil when wait has passed without any.
func (f *fetcher) next(ctx context.Context, wait time.Duration) (*piece, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	if err := f.watch.passed(); err != nil {
		return nil, err
	}
	for {
		f.release()
		f.landAll()
		now := time.Now()
		f.launch(ctx, now)
		if p, err := f.serve(); p != nil || err != nil {
			return p, err
		}
		if f.failure != nil {
			return nil, f.failure
		}
		select {
		case fl := <-f.landed:
			f.land(fl)
		case <-f.nextRetry(now):
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.life.Done():
			return nil, errClosed
		}
	}
}

// landAll takes in what has come so far.
func (f *fetcher) landAll() {
	for {
		select {
		case fl := <-f.landed:
			f.land(fl)
		default:
			return
		}
	}
}

// nextRetry fires when the first partition that waits may be asked for again.
// One whose time has come already waits for the fetch that its leader answers.
func (f *fetcher) nextRetry(now time.Time) <-chan time.Time {
	var first time.Time
	for _, p := range f.parts {
		if p.trouble != healthy && !p.flying && p.retryAt.After(now) && (first.IsZero() || p.retryAt.Before(first)) {
			first = p.retryAt
		}
	}
	if first.IsZero() {
		return nil
	}
	return time.After(time.Until(first))
}

// wants reports whether p may be fetched now: one answer is held at most
// besides the one that is being handed over.
func (p *partition) wants(now time.Time) bool {
	return !p.flying && p.held < 2 && (p.trouble == healthy || !now.Before(p.retryAt))
}

// launch starts a fetch at every leader that has none and leads a partition
// that wants one, unless enough is here to go on with: what waits is bounded by
// bytes, however many partitions there are.
func (f *fetcher) launch(ctx context.Context, now time.Time) {
	if f.failure != nil || len(f.ready) > 0 && f.bytes >= f.ahead {
		return
	}
	var want []*partition
	for i := range f.parts {
		if p := f.parts[(i+f.turn)%len(f.parts)]; p.wants(now) {
			want = append(want, p)
		}
	}
	if len(want) == 0 {
		return
	}
	f.turn++
	leaders, err := f.client.leaders(ctx, f.topics)
	if err == nil && f.total > 0 && len(leaders) != f.total {
		f.failure = fmt.Errorf("topics %v: %w (%d, then %d)", f.topics, errGrown, f.total, len(leaders))
		return
	}
	if err != nil {
		if ctx.Err() == nil {
			for _, p := range want {
				f.fail(p, classOfAnswer(err), err)
			}
		}
		return
	}
	byNode := make(map[int32][]*partition)
	for _, p := range want {
		l, ok := leaders[p.id]
		if !ok {
			f.fail(p, unknown, errNoPartition)
			continue
		}
		if l.node < 0 {
			f.fail(p, leaderMoved, kafkago.LeaderNotAvailable)
			continue
		}
		if f.flights[l.node] == nil {
			byNode[l.node] = append(byNode[l.node], p)
		}
	}
	for node, parts := range byNode {
		for _, p := range parts {
			if p.alone {
				parts = []*partition{p}
				break
			}
		}
		// A fetch that leaves out a partition of its leader must not wait for
		// data while that partition has some.
		wait := f.client.c.o.FetchWait
		led := 0
		for _, p := range f.parts {
			if leaders[p.id].node == node {
				led++
			}
		}
		if led > len(parts) {
			wait = min(wait, shortWait)
		}
		f.fly(node, wait, parts, leaders)
	}
}

const shortWait = 10 * time.Millisecond

// land takes an answer in.
func (f *fetcher) land(fl *flight) {
	delete(f.flights, fl.node)
	buf := &frame{buf: fl.req.frame}
	for i, p := range fl.parts {
		p.flying = false
		if fl.err != nil {
			f.fail(p, classOfAnswer(fl.err), fl.err)
			continue
		}
		found := false
		for j := range fl.answer {
			if s := &fl.answer[j]; s.partition == p.id && !found {
				found = true
				f.arrive(p, fl.at[i], s, buf, len(fl.parts) == 1)
			}
		}
		if !found {
			f.fail(p, brokerBusy, errFrame)
		}
	}
	// After an error the connection may still be writing to the buffer.
	if buf.uses == 0 && fl.err == nil {
		f.frames = append(f.frames, buf.buf)
	}
}

// arrive takes one partition's part of an answer in.
func (f *fetcher) arrive(p *partition, at int64, s *surveyed, buf *frame, alone bool) {
	switch {
	case s.code == kafkago.OffsetOutOfRange:
		gone := &PositionError{Partition: p.id, Next: at, Start: s.start, End: s.stable}
		if s.start >= 0 && s.start <= at && at <= s.stable {
			f.fail(p, corrupt, gone) // the leader contradicts itself
			return
		}
		f.end(gone)
		return
	case s.code != 0:
		f.fail(p, classOfCode(s.code), s.code)
		return
	case s.err != nil:
		f.fail(p, classOfBatch(s.err), &BatchError{Partition: p.id, Offset: s.after, err: s.err})
		return
	case s.doubt != nil:
		var gone *PositionError
		if errors.As(s.doubt, &gone) {
			f.abandon(gone)
			return
		}
		f.fail(p, classOfAnswer(s.doubt), s.doubt)
		return
	}
	f.heal(p)
	p.start, p.stable = s.start, s.stable
	switch now := f.now(); {
	case f.within > 0 && s.after > at && now.Sub(p.level) > f.within:
		f.end(fmt.Errorf("%s: fetch at offset %d: %w", p.id, at, errTombstones))
		return
	case s.after >= s.stable:
		p.level = now
	}
	if s.proved {
		p.proved, p.suspect = time.Now(), false
	}
	if s.last.known {
		p.last = s.last
	}
	switch {
	case s.after > at:
		p.alone, p.empty = false, 0
	case at >= s.stable || p.strict:
		return
	case !alone:
		// The answer may have been full of other partitions.
		p.alone = true
		return
	case p.empty < emptyTries-1:
		// A broker that is short of something must not pass for compaction: the
		// record that stands here would be gone without a trace.
		p.empty++
		return
	default:
		// Compaction removed what stood here and the broker has nothing to
		// show for it: feel the way forward.
		s.after, p.empty = at+1, 0
	}
	p.next, p.edge = s.after, true
	p.held++
	if buf.uses++; buf.uses == 1 {
		f.bytes += len(buf.buf)
	}
	f.ready = append(f.ready, &payload{
		part: p, rest: s.sound, next: at, after: s.after, aborted: s.aborted, frame: buf,
	})
}

// classOfBatch tells damage, which another fetch may not show, from what the
// broker has in its log.
func classOfBatch(err error) class {
	switch err {
	case errChecksum, errMalformed, errOldFormat, errHole:
		return corrupt // offsets are not under the checksum
	}
	return fatal
}

// classOfAnswer takes what cannot be read, where a broker says nothing that is
// known to be for good, for damage on the way.
func classOfAnswer(err error) class {
	class := classOf(err)
	var code kafkago.Error
	if class == fatal && !errors.As(err, &code) && !errors.Is(err, errVersion) {
		return corrupt
	}
	return class
}

// fail notes trouble with a partition. Only a change of the kind of trouble is
// logged.
func (f *fetcher) fail(p *partition, c class, err error) {
	now := time.Now()
	if p.trouble != c {
		if c != fatal {
			f.log.Warn("fetch fails, trying again", "topic", p.id.Topic, "partition", p.id.ID, "offset", p.next, "class", c.String())
		}
		p.trouble, p.since, p.failures = c, now, 0
	}
	p.failures++
	p.suspect = true
	if c == fatal || c == corrupt && p.failures >= corruptTries || c == unknown && now.Sub(p.since) > topicPatience {
		if bad := (*BatchError)(nil); !errors.As(err, &bad) {
			err = fmt.Errorf("%s: fetch at offset %d: %w", p.id, p.next, err)
		}
		f.end(err)
		return
	}
	wait := min(minBackoff<<min(p.failures-1, 10), maxBackoff)
	p.retryAt = now.Add(wait/2 + rand.N(wait/2))
}

func (f *fetcher) heal(p *partition) {
	if p.trouble != healthy {
		f.log.Info("fetch works again", "topic", p.id.Topic, "partition", p.id.ID, "offset", p.next, "class", p.trouble.String())
	}
	p.trouble, p.failures = healthy, 0
}

func (f *fetcher) end(err error) {
	if f.failure == nil {
		f.failure = err
	}
}

// abandon ends the run at once: what was fetched and not handed over may be of
// a log that is not the one before.
func (f *fetcher) abandon(err error) {
	f.end(err)
	f.ready, f.piece.part = nil, nil
	f.out.reset()
	f.ends, f.served = f.ends[:0], 0
}
