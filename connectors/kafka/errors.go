package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/produce"

	"lupa/pipeline"
)

// ErrNoTopic is the error of a topic that the cluster does not have.
var ErrNoTopic = errors.New("no such topic")

// ErrTopicExists is the error of CreateTopic for a topic that is there already.
var ErrTopicExists = errors.New("topic exists")

// PositionError says that a partition does not have the position that reading
// was to go on from: data was deleted before it was read, or the topic is not
// the one that was read. An operator has to decide; nothing is reset.
type PositionError struct {
	Partition pipeline.Partition
	Next      int64  // where reading was to go on
	Start     int64  // the first offset that the partition has, or -1
	End       int64  // the offset after its last, or -1
	Anchor    bool   // the offset is there, what stands before it is something else
	Cluster   string // the cluster that was asked, when it is another one
	Was       string // the cluster that the position is of
}

// Error names the partition and its offsets.
func (e *PositionError) Error() string {
	switch {
	case e.Was != "":
		return fmt.Sprintf("%s: offset %d is a position in the cluster %s, this one is %s", e.Partition, e.Next, e.Was, cmp.Or(e.Cluster, "without a name"))
	case e.Anchor:
		return fmt.Sprintf("%s: what stands before offset %d is not what was read: the topic was recreated or truncated", e.Partition, e.Next)
	case e.Start >= 0 && e.Next < e.Start:
		return fmt.Sprintf("%s: offset %d was deleted before it was read: the log starts at %d", e.Partition, e.Next, e.Start)
	case e.End >= 0 && e.Next > e.End:
		return fmt.Sprintf("%s: offset %d is past the end %d: the topic was recreated or truncated", e.Partition, e.Next, e.End)
	}
	return fmt.Sprintf("%s: offset %d is out of range", e.Partition, e.Next)
}

// Cause is what became of the position: deleted, recreated or other_cluster.
func (e *PositionError) Cause() string {
	switch {
	case e.Was != "":
		return "other_cluster"
	case !e.Anchor && e.Start >= 0 && e.Next < e.Start:
		return "deleted"
	}
	return "recreated"
}

// eventsError says of an error what an operator can do about it.
func eventsError(err error) error {
	var gone *PositionError
	if errors.As(err, &gone) {
		return fmt.Errorf("kafka: events: %w; an operator decides where to go on: lupa positions set --partition %s", err, gone.Partition)
	}
	var bad *BatchError
	if errors.As(err, &bad) && bad.End > 0 {
		return fmt.Errorf("kafka: events: %w; an operator decides where to go on: lupa positions set --partition %s --next %d", err, bad.Partition, bad.End)
	}
	return fmt.Errorf("kafka: events: %w", err)
}

// BatchError says that a batch, which the brokers have as it is, cannot be read.
type BatchError struct {
	Partition pipeline.Partition
	Offset    int64
	End       int64 // the offset after the batch, if that is known, or 0
	err       error
}

// Error names the place.
func (e *BatchError) Error() string {
	return fmt.Sprintf("%s: batch at offset %d: %v", e.Partition, e.Offset, e.err)
}

func (e *BatchError) Unwrap() error { return e.err }

// Is tells that what was read before stands.
func (e *BatchError) Is(target error) bool { return target == pipeline.ErrHeld }

// The reasons why what a broker sent cannot be used.
var (
	errChecksum        = errors.New("checksum mismatch")
	errMalformed       = errors.New("malformed record batch")
	errOldFormat       = errors.New("message format older than v2")
	errCodec           = errors.New("unknown compression codec")
	errBomb            = errors.New("record batch larger than max_batch_bytes")
	errHole            = errors.New("offsets are missing")
	errFrame           = errors.New("malformed fetch answer")
	errFrameSize       = errors.New("fetch answer larger than asked for")
	errVersion         = errors.New("broker too old: fetch v9 is needed")
	errMetadataVersion = errors.New("broker too old or too new: metadata v7 to v12 is needed")
	errGrown           = errors.New("the number of partitions changed: start again to read all of them")
	errRecreated       = errors.New("the topic was deleted and made again: start again to read the new one")
	errShrunk          = errors.New("partitions are gone: the topic was deleted and made again")
	errTombstones      = errors.New("not read to its end for so long that compaction may have removed tombstones unread (delete.retention.ms): start again to read it anew")
	errMetadata        = errors.New("malformed metadata answer")
	errClosed          = errors.New("closed")
)

// partsError is an error about some partitions of a request that asked about
// more. It reads as that of one of them.
type partsError struct {
	parts []pipeline.Partition
	err   error
}

func (e *partsError) Error() string { return e.err.Error() }
func (e *partsError) Unwrap() error { return e.err }

// add adds the error of one more partition. One that will not pass goes before
// one that may.
func (e *partsError) add(p pipeline.Partition, err error) {
	e.parts = append(e.parts, p)
	if e.err == nil || classOf(e.err) != fatal && classOf(err) == fatal {
		e.err = err
	}
}

// orNil is the error if there is one.
func (e *partsError) orNil() error {
	if e.err == nil {
		return nil
	}
	return e
}

// class says what can be done about an error.
type class uint8

// The classes. Only fatal ends a run at once.
const (
	healthy     class = iota
	fatal             // stop: trying again gives the same
	untrusted         // TLS fails: certificates are renewed and clocks are set right
	denied            // the broker does not take who this is: secrets are rotated
	unreachable       // the connection broke, was refused or timed out: brokers restart
	leaderMoved       // the broker asked is not the leader: the next metadata tells
	brokerBusy        // the leader is there and cannot answer yet
	unknown           // no such topic: may be a broker that has just started, so only for a while
	corrupt           // the bytes are damaged: on the way perhaps, so a few times
)

// String gives the class as logs write it.
func (c class) String() string {
	switch c {
	case untrusted:
		return "tls_failed"
	case denied:
		return "authentication_failed"
	case unreachable:
		return "broker_unreachable"
	case leaderMoved:
		return "leader_moved"
	case brokerBusy:
		return "broker_busy"
	case unknown:
		return "unknown_topic"
	case corrupt:
		return "corrupt_batch"
	case healthy:
		return "healthy"
	}
	return "fatal"
}

// classOfCode is what a broker's error code means for a request that reads, or
// writes what may be written twice.
func classOfCode(code kafkago.Error) class {
	switch code {
	case 0:
		return healthy
	case kafkago.InvalidMessage:
		return corrupt
	case kafkago.UnknownTopicOrPartition, kafkago.UnknownTopicID:
		return unknown
	case kafkago.LeaderNotAvailable, kafkago.NotLeaderForPartition, kafkago.ReplicaNotAvailable,
		kafkago.FencedLeaderEpoch, kafkago.UnknownLeaderEpoch, kafkago.NotController:
		return leaderMoved
	case kafkago.NetworkException, kafkago.BrokerNotAvailable:
		return unreachable
	case kafkago.Unknown, kafkago.RequestTimedOut, kafkago.GroupLoadInProgress,
		kafkago.GroupCoordinatorNotAvailable, kafkago.NotCoordinatorForGroup, kafkago.KafkaStorageError,
		kafkago.OffsetNotAvailable, kafkago.ThrottlingQuotaExceeded,
		kafkago.IllegalGeneration, kafkago.UnknownMemberId, kafkago.RebalanceInProgress,
		kafkago.NotEnoughReplicas, kafkago.NotEnoughReplicasAfterAppend:
		return brokerBusy
	}
	return fatal
}

// classOf is what an error of a round trip means. The caller has checked that
// its own context has not ended.
func classOf(err error) class {
	var (
		access  *accessError
		code    kafkago.Error
		route   *fetch.Error
		way     *produce.Error
		network net.Error
	)
	switch {
	case err == nil:
		return healthy
	case errors.As(err, &access):
		return access.class
	case errors.Is(err, errChecksum):
		return corrupt
	case errors.As(err, &code):
		return classOfCode(code)
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition), errors.Is(err, ErrNoTopic):
		return unknown
	case errors.Is(err, protocol.ErrNoLeader), errors.As(err, &route), errors.As(err, &way):
		return leaderMoved
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNREFUSED):
		return unreachable
	}
	return fatal
}
