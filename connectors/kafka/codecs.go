package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/compress/gzip"
	"github.com/segmentio/kafka-go/compress/lz4"
)

// codecs decompress record batches into an arena and never beyond a limit.
// They are not safe for use by two goroutines. The client library's own table
// of codecs, a global, has no part in reading and stays as it is.
type codecs struct {
	limit int
	zstd  *zstd.Decoder
	gzip  gzip.Codec
	lz4   lz4.Codec
	src   bytes.Reader
}

func newCodecs(limit int) (*codecs, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	return &codecs{limit: limit, zstd: z}, nil
}

func (c *codecs) close() { c.zstd.Close() }

// append decompresses src behind dst. The error is errBomb, errCodec or
// errMalformed, and says nothing of the content.
func (c *codecs) append(dst []byte, codec compress.Compression, src []byte) ([]byte, error) {
	switch codec {
	case compress.None:
		if len(src) > c.limit {
			return dst, errBomb
		}
		return append(dst, src...), nil
	case compress.Zstd:
		return c.appendZstd(dst, src)
	case compress.Snappy:
		return c.appendSnappy(dst, src)
	case compress.Gzip:
		c.src.Reset(src)
		return c.drain(dst, c.gzip.NewReader(&c.src))
	case compress.Lz4:
		c.src.Reset(src)
		return c.drain(dst, c.lz4.NewReader(&c.src))
	}
	return dst, errCodec
}

// appendZstd decodes in one go into what room the arena has. Few producers
// state the decompressed size, so the room is doubled until it fits.
func (c *codecs) appendZstd(dst, src []byte) ([]byte, error) {
	room := max(cap(dst)-len(dst), 4*len(src))
	for {
		room = min(room, c.limit)
		dst = slices.Grow(dst, room)
		out, err := c.zstd.DecodeAll(src, dst[len(dst):len(dst):len(dst)+room])
		if err == nil {
			return append(dst, out...), nil // onto itself
		}
		// A block that does not fit is also reported as malformed.
		full := errors.Is(err, zstd.ErrDecoderSizeExceeded) || room-len(out) < zstdBlock
		if !full {
			return dst, errMalformed
		}
		if room == c.limit {
			return dst, errBomb
		}
		room *= 2
	}
}

const zstdBlock = 128 << 10 // the most that one block of the format decodes to

// xerial begins the framing that Java clients put around snappy blocks; other
// clients send one bare block.
const (
	xerial     = "\x82SNAPPY\x00"
	xerialHead = len(xerial) + 8 // two version numbers follow
)

func (c *codecs) appendSnappy(dst, src []byte) ([]byte, error) {
	if len(src) < xerialHead || string(src[:len(xerial)]) != xerial {
		return c.appendBlock(dst, src, c.limit)
	}
	end := len(dst) + c.limit
	for src = src[xerialHead:]; len(src) > 0; {
		if len(src) < 4 {
			return dst, errMalformed
		}
		n := int(int32(binary.BigEndian.Uint32(src)))
		if src = src[4:]; n < 0 || n > len(src) {
			return dst, errMalformed
		}
		var err error
		if dst, err = c.appendBlock(dst, src[:n], end-len(dst)); err != nil {
			return dst, err
		}
		src = src[n:]
	}
	return dst, nil
}

func (c *codecs) appendBlock(dst, block []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return dst, errMalformed
	}
	if n > limit {
		return dst, errBomb
	}
	dst = slices.Grow(dst, n)
	out, err := snappy.Decode(dst[len(dst):len(dst)+n], block)
	if err != nil || len(out) != n {
		return dst, errMalformed
	}
	return dst[:len(dst)+n], nil
}

// drain reads r to its end, or until it has given more than the limit.
func (c *codecs) drain(dst []byte, r io.ReadCloser) ([]byte, error) {
	defer r.Close()
	start := len(dst)
	for {
		if len(dst)-start > c.limit {
			return dst[:start], errBomb
		}
		if cap(dst)-len(dst) < 16<<10 {
			dst = slices.Grow(dst, max(64<<10, len(dst)-start))
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), start+c.limit+1)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return dst[:start], errMalformed
		}
	}
	if len(dst)-start > c.limit {
		return dst[:start], errBomb
	}
	return dst, nil
}
