package kafka

import (
	"context"
	"fmt"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"lupa/pipeline"
)

// client asks one transport what is where. Everything it is asked is read
// only.
type client struct {
	c         *Cluster
	transport *kafkago.Transport
}

// leader is who leads a partition, and since which election.
type leader struct {
	node, epoch int32
}

// The isolation levels of ListOffsets: the end of a log is its high watermark,
// or the last stable offset, which an open transaction holds back.
const (
	readUncommitted = 0
	readCommitted   = 1
)

// The timestamps that ask ListOffsets for the ends of a log.
const (
	logStart = int64(-2)
	logEnd   = int64(-1)
)

// call makes one request and bounds its time.
func call[R any](ctx context.Context, c *client, req kafkago.Request) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var zero R
	res, err := c.transport.RoundTrip(ctx, c.c.address(), req)
	if err != nil {
		return zero, err
	}
	r, ok := res.(R)
	if !ok {
		return zero, errFrame
	}
	return r, nil
}

// leaders gives the leader of every partition of the topics. The transport
// answers from metadata that are at most a second old.
func (c *client) leaders(ctx context.Context, topics []string) (map[pipeline.Partition]leader, error) {
	res, err := call[*metadata.Response](ctx, c, &metadata.Request{TopicNames: topics})
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	all := make(map[pipeline.Partition]leader)
	for _, t := range res.Topics {
		switch code := kafkago.Error(t.ErrorCode); {
		case code == kafkago.UnknownTopicOrPartition:
			return nil, fmt.Errorf("topic %s: %w", t.Name, ErrNoTopic)
		case code != 0:
			return nil, fmt.Errorf("topic %s: %w", t.Name, code)
		}
		for _, p := range t.Partitions {
			all[pipeline.Partition{Topic: t.Name, ID: p.PartitionIndex}] = leader{p.LeaderID, p.LeaderEpoch}
		}
	}
	return all, nil
}

// offsets asks for the start or the read-committed end of each partition, as
// listOffsets does, from the leaders that the transport knows.
func (c *client) offsets(ctx context.Context, parts []pipeline.Partition, at int64) (map[pipeline.Partition]int64, error) {
	if len(parts) == 0 {
		return map[pipeline.Partition]int64{}, nil
	}
	leaders, err := c.leaders(ctx, topicsOf(parts))
	if err != nil {
		return nil, err
	}
	return c.listOffsets(ctx, parts, leaders, at, readCommitted)
}

// listOffsets asks for the start or the end of each partition. It gives all of
// them or an error: a partition that the answer leaves out, that carries an
// error, or that has no offset fails the whole call.
func (c *client) listOffsets(ctx context.Context, parts []pipeline.Partition, leaders map[pipeline.Partition]leader, at int64, isolation int8) (map[pipeline.Partition]int64, error) {
	req := &listoffsets.Request{ReplicaID: -1, IsolationLevel: isolation}
	var trouble partsError
	for _, p := range parts {
		l, ok := leaders[p]
		if !ok || l.node < 0 {
			trouble.add(p, fmt.Errorf("%s: %w", p, kafkago.LeaderNotAvailable))
			continue
		}
		req.Topics = append(req.Topics, listoffsets.RequestTopic{Topic: p.Topic, Partitions: []listoffsets.RequestPartition{{
			Partition: p.ID, CurrentLeaderEpoch: l.epoch, Timestamp: at,
		}}})
	}
	if err := trouble.orNil(); err != nil {
		return nil, err
	}
	res, err := call[*listoffsets.Response](ctx, c, req)
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	return checkOffsets(res, parts)
}

// checkOffsets takes an answer apart and lets nothing but offsets pass.
func checkOffsets(res *listoffsets.Response, parts []pipeline.Partition) (map[pipeline.Partition]int64, error) {
	found := make(map[pipeline.Partition]int64, len(parts))
	var trouble partsError
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			id := pipeline.Partition{Topic: t.Topic, ID: p.Partition}
			switch _, twice := found[id]; {
			case p.ErrorCode != 0:
				trouble.add(id, fmt.Errorf("%s: list offsets: %w", id, kafkago.Error(p.ErrorCode)))
			case p.Offset < 0:
				trouble.add(id, fmt.Errorf("%s: list offsets: no offset: %w", id, kafkago.OffsetNotAvailable))
			case twice:
				trouble.add(id, fmt.Errorf("%s: list offsets: twice in the answer: %w", id, kafkago.OffsetNotAvailable))
			default:
				found[id] = p.Offset
			}
		}
	}
	if err := trouble.orNil(); err != nil {
		return nil, err
	}
	for _, id := range parts {
		if _, ok := found[id]; !ok {
			trouble.add(id, fmt.Errorf("%s: list offsets: not in the answer: %w", id, kafkago.OffsetNotAvailable))
		}
	}
	if err := trouble.orNil(); err != nil {
		return nil, err
	}
	return found, nil
}

// compacted tells which of the topics may lose records to compaction. Where
// the configuration may not be read, a topic counts as not compacted: a gap
// then stops the run instead of passing for compaction.
func (c *client) compacted(ctx context.Context, topics []string) (map[string]bool, error) {
	const topicResource = 2
	req := &describeconfigs.Request{}
	for _, t := range topics {
		req.Resources = append(req.Resources, describeconfigs.RequestResource{
			ResourceType: topicResource, ResourceName: t, ConfigNames: []string{"cleanup.policy"},
		})
	}
	res, err := call[*describeconfigs.Response](ctx, c, req)
	if err != nil {
		return nil, fmt.Errorf("describe configs: %w", err)
	}
	found := make(map[string]bool)
	for _, r := range res.Resources {
		code := kafkago.Error(r.ErrorCode)
		if code != 0 && code != kafkago.TopicAuthorizationFailed && code != kafkago.ClusterAuthorizationFailed {
			return nil, fmt.Errorf("topic %s: describe configs: %w", r.ResourceName, code)
		}
		for _, e := range r.ConfigEntries {
			if e.ConfigName == "cleanup.policy" && strings.Contains(e.ConfigValue, "compact") {
				found[r.ResourceName] = true
			}
		}
	}
	return found, nil
}

// begin runs f until it gives no error that may pass, for as long as a start
// may take. f is a read and may be repeated.
func (c *client) begin(ctx context.Context, f func(context.Context) error) error {
	start, trouble := time.Now(), healthy
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		err := f(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		patience, class := c.c.o.StartTimeout, classOf(err)
		switch class {
		case fatal, corrupt:
			return err
		case unknown:
			patience /= 10
		}
		if time.Since(start)+wait > patience {
			return fmt.Errorf("gave up after %s: %w", patience, err)
		}
		if class != trouble {
			c.c.o.Logger.Warn("brokers cannot be asked, trying again", "brokers", c.c.o.Brokers, "class", class.String(), "for", patience)
			trouble = class
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// pause waits, or gives the error of a context that ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func topicsOf(parts []pipeline.Partition) []string {
	var topics []string
	seen := make(map[string]bool)
	for _, p := range parts {
		if !seen[p.Topic] {
			seen[p.Topic] = true
			topics = append(topics, p.Topic)
		}
	}
	return topics
}
