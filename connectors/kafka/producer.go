package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// Producer writes records that every in-sync replica has acknowledged. It may
// be used by many at once.
type Producer struct {
	c *Cluster
	w *kafkago.Writer
	t *kafkago.Transport
}

// Producer makes a producer. Records are dealt to partitions by their key as
// Java's default does.
func (c *Cluster) Producer() *Producer {
	t := c.transport()
	return &Producer{c, &kafkago.Writer{
		Addr: c.address(), Transport: t, RequiredAcks: kafkago.RequireAll, Balancer: kafkago.Murmur2Balancer{},
		BatchSize: 1000, BatchTimeout: 2 * time.Millisecond, MaxAttempts: 20,
		WriteBackoffMin: minBackoff, WriteBackoffMax: maxBackoff, ReadTimeout: callTimeout, WriteTimeout: callTimeout,
	}, t}
}

// Produce writes one record for each value and returns when all are durable.
// keys is nil for records without keys; a nil value is a tombstone. After an
// error some of the records may have been written, and a retry inside may have
// written some of them twice.
func (p *Producer) Produce(ctx context.Context, topic string, keys, values [][]byte) error {
	if keys != nil && len(keys) != len(values) {
		return fmt.Errorf("kafka: produce: %d keys for %d values", len(keys), len(values))
	}
	messages := make([]kafkago.Message, len(values))
	for i, v := range values {
		messages[i] = kafkago.Message{Topic: topic, Value: v}
		if keys != nil {
			messages[i].Key = keys[i]
		}
	}
	if len(messages) == 0 {
		return nil
	}
	if err := p.w.WriteMessages(ctx, messages...); err != nil {
		return fmt.Errorf("kafka: produce to %s: %w", topic, produceCause(ctx, err))
	}
	return nil
}

// produceCause gives what may be said of a failed write: the writer's errors
// hold the messages themselves.
func produceCause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var (
		large  kafkago.MessageTooLargeError
		some   kafkago.WriteErrors
		access *accessError
		code   kafkago.Error
	)
	switch {
	case errors.As(err, &large):
		return errors.New("a record is larger than the writer takes")
	case errors.As(err, &some):
		i := slices.IndexFunc(some, func(e error) bool { return e != nil })
		if i < 0 {
			return errors.New("not all records were acknowledged")
		}
		return produceCause(ctx, some[i])
	case errors.As(err, &access):
		return access
	case errors.As(err, &code):
		return code
	}
	return errors.New(classOf(err).String())
}

// Close waits for writes that are under way.
func (p *Producer) Close() error {
	err := p.w.Close()
	p.t.CloseIdleConnections()
	return err
}

// CreateTopic makes a topic, with the brokers' default for replicas. It is
// ErrTopicExists when the topic is there already.
func (c *Cluster) CreateTopic(ctx context.Context, name string, partitions int, configs map[string]string) error {
	t := c.transport()
	defer t.CloseIdleConnections()
	config := kafkago.TopicConfig{Topic: name, NumPartitions: partitions, ReplicationFactor: -1}
	for k, v := range configs {
		config.ConfigEntries = append(config.ConfigEntries, kafkago.ConfigEntry{ConfigName: k, ConfigValue: v})
	}
	k := &kafkago.Client{Addr: c.address(), Transport: t, Timeout: callTimeout}
	res, err := k.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{config}})
	if err == nil {
		err = res.Errors[name]
	}
	if errors.Is(err, kafkago.TopicAlreadyExists) {
		err = ErrTopicExists
	}
	if err != nil {
		return fmt.Errorf("kafka: create topic %s: %w", name, err)
	}
	return nil
}
