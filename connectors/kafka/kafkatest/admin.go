package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// adminTimeout bounds each of what follows.
const adminTimeout = 30 * time.Second

// Admin asks and changes the cluster in all other ways.
func (c *Cluster) Admin() *kadm.Client { return c.admin }

// CreateTopic makes a topic, with as many replicas as the cluster can give up
// to three, and returns when every broker that runs knows its leaders.
func (c *Cluster) CreateTopic(name string, partitions int32, configs map[string]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	set := make(map[string]*string)
	for key, value := range configs {
		set[key] = &value
	}
	if _, err := c.admin.CreateTopic(ctx, partitions, -1, set, name); err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return c.await(ctx, name, func(t kadm.TopicDetail) bool {
		for _, p := range t.Partitions {
			if p.Leader < 0 {
				return false
			}
		}
		return t.Err == nil && len(t.Partitions) == int(partitions)
	})
}

// DeleteTopic deletes a topic and returns when no broker that runs knows it.
func (c *Cluster) DeleteTopic(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	if _, err := c.admin.DeleteTopic(ctx, name); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	return c.await(ctx, name, func(t kadm.TopicDetail) bool {
		return errors.Is(t.Err, kerr.UnknownTopicOrPartition)
	})
}

// Leader is the broker that leads a partition.
func (c *Cluster) Leader(topic string, partition int32) (broker int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	all, err := c.admin.Metadata(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("leader of %s/%d: %w", topic, partition, err)
	}
	p, ok := all.Topics[topic].Partitions[partition]
	if !ok || p.Leader < 0 {
		return 0, fmt.Errorf("leader of %s/%d: there is none", topic, partition)
	}
	return int(p.Leader), nil
}

// await returns when what each broker that runs knows of a topic is as wanted.
func (c *Cluster) await(ctx context.Context, topic string, wanted func(kadm.TopicDetail) bool) error {
	for _, b := range c.brokers {
		for b.running() {
			known, err := b.metadata(ctx, topic)
			if err == nil && wanted(known.Topics[topic]) {
				break
			}
			select {
			case <-time.After(pollEvery):
			case <-ctx.Done():
				return fmt.Errorf("topic %s on broker %d: %w", topic, b.id, ctx.Err())
			}
		}
	}
	return nil
}
