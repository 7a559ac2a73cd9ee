package oracle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// broker is a connection to a cluster. Fetches are made by hand: only so can it
// be told that the end of a partition is reached when what stands there are
// markers, or nothing any more.
type broker struct{ *kgo.Client }

// patience is how long a partition may take to give its next message.
const patience = 30 * time.Second

func (s *Source) dial() (*broker, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(s.Brokers...)}, s.Dial...)...)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &broker{client}, nil
}

func (b *broker) extents(ctx context.Context, topics []string, all map[place]extent) error {
	admin := kadm.NewClient(b.Client)
	details, err := admin.ListTopics(ctx, topics...)
	if err == nil {
		err = details.Error()
	}
	if err != nil {
		return fmt.Errorf("topics: %w", err)
	}
	compacted := b.compacted(ctx, topics)
	starts, err := admin.ListStartOffsets(ctx, topics...)
	stable, err1 := admin.ListCommittedOffsets(ctx, topics...)
	ends, err2 := admin.ListEndOffsets(ctx, topics...)
	if err := errors.Join(err, err1, err2, starts.Error(), stable.Error(), ends.Error()); err != nil {
		return fmt.Errorf("offsets: %w", err)
	}
	for topic, detail := range details {
		for id, partition := range detail.Partitions {
			first, ok := starts.Lookup(topic, id)
			last, ok1 := stable.Lookup(topic, id)
			end, ok2 := ends.Lookup(topic, id)
			if !ok || !ok1 || !ok2 || first.Offset < 0 || last.Offset < 0 || end.Offset < 0 {
				return fmt.Errorf("%s/%d: its offsets are not known", topic, id)
			}
			all[place{topic, id}] = extent{
				start: first.Offset, end: last.Offset, high: end.Offset,
				compacted: compacted[topic], leader: partition.Leader, topicID: detail.ID,
			}
		}
	}
	return nil
}

// compacted tells the topics from which messages may be removed that are not
// the oldest. One that nothing is told of may be any.
func (b *broker) compacted(ctx context.Context, topics []string) map[string]bool {
	all := map[string]bool{}
	for _, topic := range topics {
		all[topic] = true
	}
	configs, err := kadm.NewClient(b.Client).DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return all
	}
	for _, c := range configs {
		for _, entry := range c.Configs {
			if c.Err == nil && entry.Key == "cleanup.policy" && entry.Value != nil {
				all[c.Name] = strings.Contains(*entry.Value, "compact")
			}
		}
	}
	return all
}

// read reads a partition to its end, without what was aborted.
func (b *broker) read(ctx context.Context, p place, e extent, each func(place, *message) error) error {
	for at, since := e.start, time.Now(); at < e.end; {
		part, err := b.fetch(ctx, p, e, at)
		if err != nil {
			return err
		}
		options := kgo.ProcessFetchPartitionOpts{
			Offset: at, IsolationLevel: kgo.ReadCommitted(), Topic: p.topic, Partition: p.id}
		got, next := kgo.ProcessFetchPartition(options, part, kgo.DefaultDecompressor(), nil)
		if got.Err != nil {
			return fmt.Errorf("offset %d: %w", at, got.Err)
		}
		for _, r := range got.Records {
			if r.Offset >= e.end {
				return nil
			}
			m := &message{offset: r.Offset, time: noTime, key: r.Key, value: r.Value}
			if ms := r.Timestamp.UnixMilli(); ms >= 0 {
				m.time = ms * 1000
			}
			if err := each(p, m); err != nil {
				return err
			}
		}
		if next > at {
			at, since = next, time.Now()
		} else if time.Since(since) > patience {
			return fmt.Errorf("nothing came from offset %d on, the partition ends at %d", at, e.end)
		}
	}
	return nil
}

func (b *broker) fetch(ctx context.Context, p place, e extent, at int64) (*kmsg.FetchResponseTopicPartition, error) {
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = p.id, at, 8<<20
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = p.topic, e.topicID
	topic.Partitions = append(topic.Partitions, part)
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = 200, 1, 16<<20
	request.IsolationLevel = 1 // read committed
	request.SessionEpoch = -1
	request.Topics = append(request.Topics, topic)
	response, err := b.Broker(int(e.leader)).RetriableRequest(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("fetch from offset %d: %w", at, err)
	}
	r, ok := response.(*kmsg.FetchResponse)
	if !ok {
		return nil, errors.New("the answer to a fetch is something else")
	}
	if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
		return nil, fmt.Errorf("fetch from offset %d: %w", at, err)
	}
	if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return nil, errors.New("the answer to a fetch is about something else")
	}
	return &r.Topics[0].Partitions[0], nil
}

func sortedPlaces[T any](all map[place]T) []place {
	return slices.SortedFunc(maps.Keys(all), func(a, b place) int {
		return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id))
	})
}
