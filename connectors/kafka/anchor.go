package kafka

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"lupa/pipeline"
)

// anchor names the batch that a position stands behind or in. The zero value
// names none.
type anchor struct {
	known bool
	first int64
	crc   uint32
}

// An anchor as positions hold it: "cluster:<id> batch:<first offset>:<crc>".
// Either part may be missing.
const (
	clusterPart = "cluster:"
	batchPart   = "batch:"
)

// mark is the anchor of a position in a cluster.
func (a anchor) mark(cluster string) string {
	var b []byte
	if cluster != "" {
		b = append(append(b, clusterPart...), cluster...)
	}
	if a.known {
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = fmt.Appendf(strconv.AppendInt(append(b, batchPart...), a.first, 10), ":%08x", a.crc)
	}
	return string(b)
}

// parseAnchor reads what mark wrote.
func parseAnchor(s string) (cluster string, batch anchor, ok bool) {
	if s == "" {
		return "", anchor{}, true
	}
	rest, ok := strings.CutPrefix(s, clusterPart)
	if ok {
		cluster, rest, ok = strings.Cut(rest, " ")
		if cluster == "" || !ok {
			return cluster, anchor{}, cluster != ""
		}
	}
	rest, ok = strings.CutPrefix(rest, batchPart)
	first, crc, colon := strings.Cut(rest, ":")
	if !ok || !colon {
		return "", anchor{}, false
	}
	batch.known = true
	var errs [2]error
	var sum uint64
	batch.first, errs[0] = strconv.ParseInt(first, 10, 64)
	sum, errs[1] = strconv.ParseUint(crc, 16, 32)
	batch.crc = uint32(sum)
	if errs[0] != nil || errs[1] != nil || batch.mark(cluster) != s {
		return "", anchor{}, false
	}
	return cluster, batch, true
}

// clusterID gives the cluster's own name for itself, as positions hold it.
func (c *client) clusterID(ctx context.Context, topics []string) (string, error) {
	res, err := call[*metadata.Response](ctx, c, &metadata.Request{TopicNames: topics})
	if err != nil {
		return "", fmt.Errorf("metadata: %w", err)
	}
	return url.QueryEscape(res.ClusterID), nil
}

// identity tells a topic from its namesakes. It is zero where brokers are older
// than Apache Kafka 2.8.
type identity [16]byte

// identities asks what the topics are.
func (c *client) identities(ctx context.Context, topics []string) (map[string]identity, error) {
	ids := make(map[string]identity)
	i := inspector{client: c}
	for _, t := range topics {
		found, err := i.inspect(ctx, t)
		if err != nil {
			return nil, err
		}
		ids[t] = found.id
	}
	return ids, nil
}

// checkIdentity stands for checkAnchor where compaction writes batches anew.
func (c *client) checkIdentity(ctx context.Context, p pipeline.Partition, next int64, want identity) error {
	found, err := c.identities(ctx, []string{p.Topic})
	if err != nil {
		return err
	}
	if found[p.Topic] != want {
		return &PositionError{Partition: p, Next: next, Start: -1, End: -1, Anchor: true}
	}
	return nil
}

// checkAnchor fetches the batch before the offset next and compares it with
// the anchor. Where that was deleted, by retention as it seems, there is
// nothing left to compare.
func (c *client) checkAnchor(ctx context.Context, p pipeline.Partition, next int64, want anchor) error {
	at := next - 1
	found, err := c.peek(ctx, p, at)
	if errors.Is(err, kafkago.OffsetOutOfRange) {
		start, end := c.bounds(ctx, p)
		if start >= next {
			return nil
		}
		return &PositionError{Partition: p, Next: next, Start: start, End: end, Anchor: end >= next}
	}
	if err == nil && len(found) == 0 {
		// The log does not end before at, and nothing may be seen there yet: it is
		// a leader that was elected just now and does not know what is replicated.
		err = kafkago.OffsetNotAvailable
	}
	if err != nil {
		return fmt.Errorf("%s: fetch at offset %d: %w", p, at, err)
	}
	b, _, ok, err := nextBatch(found)
	if err == nil && ok && !b.intact() {
		err = errChecksum
	}
	if err != nil {
		return fmt.Errorf("%s: fetch at offset %d: %w", p, at, err)
	}
	if !ok || b.first > at || b.last < at || (anchor{true, b.first, b.crc}) != want {
		return &PositionError{Partition: p, Next: next, Start: -1, End: -1, Anchor: true}
	}
	return nil
}

// peek fetches as little as there is at an offset: one batch, however small
// the limits are.
func (c *client) peek(ctx context.Context, p pipeline.Partition, at int64) (batches []byte, err error) {
	leaders, err := c.leaders(ctx, []string{p.Topic})
	if err != nil {
		return nil, err
	}
	l, ok := leaders[p]
	if !ok {
		return nil, errNoPartition
	}
	req := &fetchRequest{clientID: c.c.o.ClientID, correlation: 1, limit: c.c.o.MaxBatchBytes + 1<<20, Request: &fetch.Request{
		ReplicaID: -1, MaxWaitTime: 100, MinBytes: 1, MaxBytes: 1, IsolationLevel: readCommitted, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{Topic: p.Topic, Partitions: []fetch.RequestPartition{{
			Partition: p.ID, CurrentLeaderEpoch: l.epoch, FetchOffset: at, LogStartOffset: -1, PartitionMaxBytes: 1,
		}}}},
	}}
	res, err := call[*fetchResponse](ctx, c, req)
	if err != nil {
		return nil, err
	}
	list, err := res.parse()
	switch {
	case err != nil:
		return nil, err
	case len(list) != 1 || list[0].partition != p:
		return nil, errFrame
	case list[0].code != 0:
		return nil, list[0].code
	}
	return list[0].batches, nil
}
