package kafka

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"lupa/pipeline"
)

// fetchRequest is a fetch request that takes its answer as one raw frame. The
// transport routes it like any other and lets it use the connection itself.
type fetchRequest struct {
	*fetch.Request
	clientID    string
	correlation int32
	limit       int // of the frame's size
	frame       []byte
	version     int16
}

var _ protocol.RawExchanger = (*fetchRequest)(nil)

// fetchResponse is the answer as it came, behind its size and correlation id.
type fetchResponse struct {
	version int16
	frame   []byte
}

// ApiKey makes the answer a protocol message.
func (*fetchResponse) ApiKey() protocol.ApiKey { return protocol.Fetch }

// Required notes the negotiated version; the exchange is always raw.
func (r *fetchRequest) Required(versions map[protocol.ApiKey]int16) bool {
	r.version = versions[protocol.Fetch]
	return true
}

// RawExchange writes the request and reads the frame of its answer.
func (r *fetchRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if r.version < 9 || r.version > 11 {
		return nil, errVersion
	}
	if err := protocol.WriteRequest(rw, r.version, r.correlation, r.clientID, r.Request); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:4]))) - 4
	if size < 0 || int32(binary.BigEndian.Uint32(head[4:])) != r.correlation {
		return nil, errFrame
	}
	if size > r.limit {
		return nil, errFrameSize
	}
	if cap(r.frame) < size {
		r.frame = make([]byte, size)
	}
	r.frame = r.frame[:size]
	if _, err := io.ReadFull(rw, r.frame); err != nil {
		return nil, err
	}
	return &fetchResponse{r.version, r.frame}, nil
}

// abortedTransaction begins at First; its records are not to be seen.
type abortedTransaction struct {
	producer, first int64
}

// fetched is one partition's part of an answer.
type fetched struct {
	partition pipeline.Partition
	code      kafkago.Error
	stable    int64 // last stable offset: no committed record stands at or after it yet
	start     int64 // log start
	aborted   []abortedTransaction
	batches   []byte
}

// parse gives the partitions of the answer; their batches are views of it.
func (r *fetchResponse) parse() ([]fetched, error) {
	c := cursor{rest: r.frame}
	c.int32() // throttled for
	if code := kafkago.Error(c.int16()); code != 0 && !c.short {
		return nil, code
	}
	c.int32() // session
	var list []fetched
	for range c.count(6) {
		topic := string(c.take(int(c.int16())))
		for range c.count(34) {
			f := fetched{partition: pipeline.Partition{Topic: topic, ID: c.int32()}}
			f.code = kafkago.Error(c.int16())
			c.int64() // high watermark
			f.stable, f.start = c.int64(), c.int64()
			for range c.count(16) {
				f.aborted = append(f.aborted, abortedTransaction{producer: c.int64(), first: c.int64()})
			}
			slices.SortFunc(f.aborted, func(a, b abortedTransaction) int { return cmp.Compare(a.first, b.first) })
			if r.version >= 11 {
				c.int32() // preferred replica
			}
			if n := int(c.int32()); n > 0 {
				f.batches = c.take(n)
			}
			list = append(list, f)
		}
	}
	if c.short {
		return nil, fmt.Errorf("%w: %d bytes", errFrame, len(r.frame))
	}
	return list, nil
}

// cursor reads big-endian values; once they run out it is short and gives
// zeros.
type cursor struct {
	rest  []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.rest) {
		c.short, c.rest = true, nil
		return nil
	}
	p := c.rest[:n:n]
	c.rest = c.rest[n:]
	return p
}

func (c *cursor) int16() int16 {
	if p := c.take(2); p != nil {
		return int16(binary.BigEndian.Uint16(p))
	}
	return 0
}

func (c *cursor) int32() int32 {
	if p := c.take(4); p != nil {
		return int32(binary.BigEndian.Uint32(p))
	}
	return 0
}

func (c *cursor) int64() int64 {
	if p := c.take(8); p != nil {
		return int64(binary.BigEndian.Uint64(p))
	}
	return 0
}

// count reads the length of an array whose elements take at least size bytes,
// so that a length that cannot be true allocates nothing. A null array is -1.
func (c *cursor) count(size int) int {
	n := int(c.int32())
	if n > len(c.rest)/size {
		c.short, c.rest = true, nil
		return 0
	}
	return max(n, 0)
}
