package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lupa/pipeline"
)

// inspector asks a broker what a topic is at the moment. The transport would
// answer from what it has heard up to a second ago, without partitions that
// were added since, and it cannot tell a topic from its namesake. One
// goroutine at a time may use it.
type inspector struct {
	client  *client
	version int16 // to ask in; 0 is not known yet
	serial  int32
}

// inspected is what a broker says of a topic.
type inspected struct {
	id      [16]byte // zero from brokers older than Apache Kafka 2.8
	leaders map[pipeline.Partition]leader
}

// The versions of metadata requests that can be asked in: they tell the epoch
// of a leader, and from the tenth on the identity of a topic.
const (
	oldestMetadata = 7
	newestMetadata = 12
	metadataBytes  = 4 << 20 // of an answer about one topic
)

// inspect makes one round trip, and one more before the first and after a
// broker was lost, for the next one may speak other versions.
func (i *inspector) inspect(ctx context.Context, topic string) (*inspected, error) {
	if i.version == 0 {
		version, err := i.negotiate(ctx)
		if err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
		i.version = version
	}
	i.serial++
	res, err := call[*metadataResponse](ctx, i.client, &metadataRequest{
		topic: topic, clientID: i.client.c.o.ClientID, version: i.version, correlation: i.serial,
	})
	if err != nil {
		if classOf(err) == unreachable {
			i.version = 0
		}
		return nil, fmt.Errorf("metadata: %w", err)
	}
	for _, t := range res.Topics {
		if t.Topic == nil || *t.Topic != topic {
			continue
		}
		switch code := kafkago.Error(t.ErrorCode); {
		case code == kafkago.UnknownTopicOrPartition:
			return nil, fmt.Errorf("topic %s: %w", topic, ErrNoTopic)
		case code != 0:
			return nil, fmt.Errorf("topic %s: %w", topic, code)
		}
		found := &inspected{t.TopicID, make(map[pipeline.Partition]leader, len(t.Partitions))}
		for _, p := range t.Partitions {
			found.leaders[pipeline.Partition{Topic: topic, ID: p.Partition}] = leader{p.Leader, p.LeaderEpoch}
		}
		return found, nil
	}
	return nil, fmt.Errorf("topic %s: metadata: not in the answer: %w", topic, kafkago.LeaderNotAvailable)
}

func (i *inspector) negotiate(ctx context.Context) (int16, error) {
	res, err := call[*apiversions.Response](ctx, i.client, &apiversions.Request{})
	if err != nil {
		return 0, err
	}
	if res.ErrorCode != 0 {
		return 0, kafkago.Error(res.ErrorCode)
	}
	for _, k := range res.ApiKeys {
		if k.ApiKey == int16(protocol.Metadata) && k.MinVersion <= newestMetadata && k.MaxVersion >= oldestMetadata {
			return min(k.MaxVersion, newestMetadata), nil
		}
	}
	return 0, errMetadataVersion
}

// metadataRequest uses the connection itself, which the transport does not
// take for one of the requests that it answers.
type metadataRequest struct {
	topic, clientID string
	version         int16
	correlation     int32
}

var _ protocol.RawExchanger = (*metadataRequest)(nil)

// metadataResponse is the answer.
type metadataResponse struct{ *kmsg.MetadataResponse }

// ApiKey makes the request a protocol message.
func (*metadataRequest) ApiKey() protocol.ApiKey { return protocol.Metadata }

// ApiKey makes the answer a protocol message.
func (metadataResponse) ApiKey() protocol.ApiKey { return protocol.Metadata }

// Required is always true.
func (*metadataRequest) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange writes the request and reads its answer.
func (r *metadataRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation = r.version, false
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &r.topic
	req.Topics = append(req.Topics, topic)
	out := kmsg.NewRequestFormatter(kmsg.FormatterClientID(r.clientID)).AppendRequest(nil, req, r.correlation)
	if _, err := rw.Write(out); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:4]))) - 4
	if size < 0 || size > metadataBytes || int32(binary.BigEndian.Uint32(head[4:])) != r.correlation {
		return nil, errMetadata
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(rw, body); err != nil {
		return nil, err
	}
	res := &metadataResponse{kmsg.NewPtrMetadataResponse()}
	res.Version = r.version
	if res.IsFlexible() {
		var ok bool
		if body, ok = skipTags(body); !ok {
			return nil, errMetadata
		}
	}
	if err := res.ReadFrom(body); err != nil {
		return nil, errMetadata
	}
	return res, nil
}

// skipTags steps over the tagged fields of an answer's header.
func skipTags(b []byte) ([]byte, bool) {
	number := func() (v uint64, ok bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, false
		}
		b = b[n:]
		return v, true
	}
	tags, ok := number()
	for ; ok && tags > 0; tags-- {
		var size uint64
		if _, ok = number(); !ok {
			break
		}
		if size, ok = number(); !ok || size > uint64(len(b)) {
			return nil, false
		}
		b = b[size:]
	}
	return b, ok
}
