package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"

	"lupa/pipeline"
)

// Topic is what there is to know of a topic before it is read.
type Topic struct {
	Partitions int
	// Forgets says why records go from the topic whatever stands in them, or
	// nothing if none do. As a ledger it then forgets withdrawals.
	Forgets string
}

// Describe asks what a topic is.
func (c *Cluster) Describe(ctx context.Context, name string) (t Topic, err error) {
	k := &client{c, c.transport(name)}
	defer k.transport.CloseIdleConnections()
	err = k.begin(ctx, func(ctx context.Context) error {
		leaders, err := k.leaders(ctx, []string{name})
		if err != nil {
			return err
		}
		parts := make([]pipeline.Partition, 0, len(leaders))
		for p := range leaders {
			parts = append(parts, p)
		}
		t.Partitions = len(parts)
		first, err := k.listOffsets(ctx, parts, leaders, logStart, readUncommitted)
		if err != nil {
			return err
		}
		t.Forgets, err = k.forgets(ctx, name, first)
		return err
	})
	if err != nil {
		return Topic{}, fmt.Errorf("kafka: topic %s: %w", name, err)
	}
	return t, nil
}

// forgets says why records go from a topic whatever stands in them; first are
// the first offsets that its partitions have. What cannot be asked counts.
func (c *client) forgets(ctx context.Context, topic string, first map[pipeline.Partition]int64) (string, error) {
	settings, err := c.settings(ctx, topic, "cleanup.policy", "retention.ms", "retention.bytes", keepsTombstones)
	if errors.Is(err, kafkago.TopicAuthorizationFailed) || errors.Is(err, kafkago.ClusterAuthorizationFailed) {
		return "its configuration may not be read, so it is not known whether it deletes records by their age or its size", nil
	}
	if err != nil {
		return "", err
	}
	var limits []string
	for _, name := range []string{"retention.ms", "retention.bytes"} {
		if n, err := strconv.ParseInt(settings[name], 10, 64); err != nil || n >= 0 {
			limits = append(limits, fmt.Sprintf("%s %q", name, settings[name]))
		}
	}
	if policy := settings["cleanup.policy"]; len(limits) > 0 && (policy == "" || strings.Contains(policy, "delete")) {
		return fmt.Sprintf("cleanup.policy is %q with %s", policy, strings.Join(limits, " and ")), nil
	}
	if kept := settings[keepsTombstones]; strings.Contains(settings["cleanup.policy"], "compact") && tombstones(kept) < leastTombstones {
		return fmt.Sprintf("%s is %q, so that tombstones may be gone before they are read", keepsTombstones, kept), nil
	}
	for _, at := range first {
		if at > 0 {
			return "its first records have been deleted", nil
		}
	}
	return "", nil
}

// keepsTombstones is the setting of how long compaction leaves tombstones.
const keepsTombstones = "delete.retention.ms"

const (
	usualTombstones = 24 * time.Hour // what brokers do where nothing is set
	leastTombstones = time.Minute    // below it no reader can be sure to see them
)

// tombstones is how long compaction leaves tombstones in a topic for readers
// to see; 0 is not long enough for any.
func (c *client) tombstones(ctx context.Context, topic string) (time.Duration, error) {
	settings, err := c.settings(ctx, topic, keepsTombstones)
	if errors.Is(err, kafkago.TopicAuthorizationFailed) || errors.Is(err, kafkago.ClusterAuthorizationFailed) {
		return usualTombstones, nil
	}
	if kept := tombstones(settings[keepsTombstones]); kept >= leastTombstones {
		return kept, err
	}
	return 0, err
}

func tombstones(setting string) time.Duration {
	ms, err := strconv.ParseInt(setting, 10, 64)
	if err != nil {
		return usualTombstones
	}
	return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// settings asks for what is set for a topic, by it or by a default.
func (c *client) settings(ctx context.Context, topic string, names ...string) (map[string]string, error) {
	const topicResource = 2
	res, err := call[*describeconfigs.Response](ctx, c, &describeconfigs.Request{
		Resources: []describeconfigs.RequestResource{{ResourceType: topicResource, ResourceName: topic, ConfigNames: names}},
	})
	if err != nil {
		return nil, fmt.Errorf("describe configs: %w", err)
	}
	found := make(map[string]string)
	for _, r := range res.Resources {
		if r.ErrorCode != 0 {
			return nil, fmt.Errorf("topic %s: describe configs: %w", r.ResourceName, kafkago.Error(r.ErrorCode))
		}
		for _, e := range r.ConfigEntries {
			found[e.ConfigName] = e.ConfigValue
		}
	}
	return found, nil
}
