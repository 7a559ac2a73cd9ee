package kafka

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"

	"lupa/pipeline"
	"lupa/schemas"
)

// newMarker makes a process's marker. It stays the same, so that compaction
// keeps the last of each partition only.
func newMarker(clientID string) []byte {
	name := []byte(clientID)
	for i, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			name[i] = '-'
		}
	}
	var own [8]byte
	rand.Read(own[:])
	return schemas.AppendMarker(nil, string(name)+"."+hex.EncodeToString(own[:]))
}

// mark writes the marker to each partition and gives the offsets behind those
// that all in-sync replicas have, as many as there are, and an error unless
// there are all. A leader that was replaced without knowing cannot get that
// acknowledged, so what was acknowledged before stands before the marker. It
// may be in the log twice after an error, which does no harm: it needs neither
// a transaction nor an idempotent producer.
func (c *client) mark(ctx context.Context, parts []pipeline.Partition, marker []byte) (map[pipeline.Partition]int64, error) {
	// The transport routes by what it knows itself and takes partitions of
	// one leader at a time.
	leaders, err := c.leaders(ctx, topicsOf(parts))
	if err != nil {
		return nil, err
	}
	var trouble partsError
	byNode := make(map[int32][]pipeline.Partition)
	for _, p := range parts {
		if l, ok := leaders[p]; ok && l.node >= 0 {
			byNode[l.node] = append(byNode[l.node], p)
			continue
		}
		trouble.add(p, fmt.Errorf("%s: %w", p, kafkago.LeaderNotAvailable))
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	ends := make(map[pipeline.Partition]int64, len(parts))
	for _, led := range byNode {
		asking.Go(func() {
			found, err := c.markLed(ctx, led, marker)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(ends, found)
			if some, ok := errors.AsType[*partsError](err); ok {
				for _, p := range some.parts {
					trouble.add(p, some.err)
				}
			} else if err != nil {
				for _, p := range led {
					trouble.add(p, fmt.Errorf("%s: %w", p, err))
				}
			}
		})
	}
	asking.Wait()
	return ends, trouble.orNil()
}

// markLed writes the marker to partitions of one leader.
func (c *client) markLed(ctx context.Context, parts []pipeline.Partition, marker []byte) (map[pipeline.Partition]int64, error) {
	req := &produce.Request{Acks: int16(kafkago.RequireAll), Timeout: int32((callTimeout - time.Second) / time.Millisecond)}
	for _, p := range parts {
		rp := produce.RequestPartition{Partition: p.ID, RecordSet: protocol.RecordSet{Records: protocol.NewRecordReader(protocol.Record{
			Time: time.Now(), Key: protocol.NewBytes(marker), Value: protocol.NewBytes(marker),
		})}}
		if n := len(req.Topics); n > 0 && req.Topics[n-1].Topic == p.Topic {
			req.Topics[n-1].Partitions = append(req.Topics[n-1].Partitions, rp)
			continue
		}
		req.Topics = append(req.Topics, produce.RequestTopic{Topic: p.Topic, Partitions: []produce.RequestPartition{rp}})
	}
	res, err := call[*produce.Response](ctx, c, req)
	if err != nil {
		return nil, fmt.Errorf("write markers: %w", err)
	}
	return checkMarked(res, parts)
}

// checkMarked gives the offset behind each marker that was acknowledged, and
// an error unless all were.
func checkMarked(res *produce.Response, parts []pipeline.Partition) (map[pipeline.Partition]int64, error) {
	var trouble partsError
	answered := make(map[pipeline.Partition]bool, len(parts))
	ends := make(map[pipeline.Partition]int64, len(parts))
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			id := pipeline.Partition{Topic: t.Topic, ID: p.Partition}
			answered[id] = true
			switch {
			case p.ErrorCode != 0:
				trouble.add(id, fmt.Errorf("%s: write marker: %w", id, kafkago.Error(p.ErrorCode)))
			case p.BaseOffset < 0:
				trouble.add(id, fmt.Errorf("%s: write marker: no offset: %w", id, kafkago.OffsetNotAvailable))
			default:
				ends[id] = p.BaseOffset + 1
			}
		}
	}
	for _, id := range parts {
		if !answered[id] {
			trouble.add(id, fmt.Errorf("%s: write marker: not in the answer: %w", id, kafkago.OffsetNotAvailable))
		}
	}
	return ends, trouble.orNil()
}
