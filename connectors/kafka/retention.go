package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

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
	settings, err := c.settings(ctx, topic, "cleanup.policy", "retention.ms", "retention.bytes")
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
	for _, at := range first {
		if at > 0 {
			return "its first records have been deleted", nil
		}
	}
	return "", nil
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
