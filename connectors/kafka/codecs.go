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
	waste [16 << 10]byte // for what is only counted
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
		return c.drain(dst, src, c.gzip.NewReader)
	case compress.Lz4:
		return c.drain(dst, src, c.lz4.NewReader)
	}
	return dst, errCodec
}

// appendZstd decodes in one go into what room the arena has, or is given once.
// Few producers state the decompressed size, but the blocks tell how much it
// may be at most. When that is more than the limit it is counted first.
func (c *codecs) appendZstd(dst, src []byte) ([]byte, error) {
	room, ok := zstdMost(src, c.limit)
	if !ok {
		return dst, errMalformed
	}
	if room > c.limit {
		n, err := c.countZstd(src)
		if err != nil {
			return dst, err
		}
		room = n
	}
	// The decoder wants room for one block more than there is.
	full := room + 2*zstdBlock
	dst = slices.Grow(dst, full)
	out, err := c.zstd.DecodeAll(src, dst[len(dst):len(dst):len(dst)+full])
	if err != nil || len(out) > room {
		return dst, errMalformed
	}
	return append(dst, out...), nil // onto itself
}

// countZstd gives the decompressed size without room for it.
func (c *codecs) countZstd(src []byte) (size int, err error) {
	c.src.Reset(src)
	r, err := zstd.NewReader(&c.src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(usualWindow))
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for n := 0; err == nil && size <= c.limit; size += n {
		n, err = r.Read(c.waste[:])
	}
	switch {
	case size > c.limit || errors.Is(err, zstd.ErrWindowSizeExceeded):
		return 0, errBomb
	case err != io.EOF:
		return 0, errMalformed
	}
	return size, nil
}

const usualWindow = 8 << 20

const zstdBlock = 128 << 10 // the most that one block of the format decodes to

// zstdMost gives what all frames decode to at most, and stops counting at the
// limit.
func zstdMost(src []byte, limit int) (most int, ok bool) {
	for len(src) > 0 && most <= limit {
		var h zstd.Header
		if h.Decode(src) != nil || h.HeaderSize > len(src) {
			return 0, false
		}
		src = src[h.HeaderSize:]
		if h.Skippable {
			if int64(h.SkippableSize) > int64(len(src)) {
				return 0, false
			}
			src = src[h.SkippableSize:]
			continue
		}
		sum := 0
		for last := false; !last && sum <= limit; {
			if len(src) < 3 {
				return 0, false
			}
			head := int(src[0]) | int(src[1])<<8 | int(src[2])<<16
			size := head >> 3
			last, src = head&1 != 0, src[3:]
			sum += zstdBlock
			switch kind := head >> 1 & 3; {
			case kind == 1: // one byte, repeated
				size = 1
			case kind == 0:
				sum += size - zstdBlock
			case kind == 3:
				return 0, false
			}
			if size > len(src) {
				return 0, false
			}
			src = src[size:]
		}
		if h.HasCheckSum {
			src = src[min(4, len(src)):]
		}
		if h.HasFCS {
			sum = int(min(h.FrameContentSize, uint64(sum)))
		}
		most += sum
	}
	return most, true
}

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

// drain decompresses a stream that does not say how long it is. What is longer
// than usual is counted before it is given room: a bomb takes none.
func (c *codecs) drain(dst, src []byte, open func(io.Reader) io.ReadCloser) ([]byte, error) {
	usual := min(c.limit, usualBatch)
	c.src.Reset(src)
	r := open(&c.src)
	out, err := read(dst, r, usual+1)
	size := len(out) - len(dst)
	if err == nil && size > usual {
		for n := 0; err == nil && size <= c.limit; size += n {
			n, err = r.Read(c.waste[:])
		}
		switch {
		case size > c.limit:
			err = errBomb
		case err == io.EOF:
			c.src.Reset(src)
			again := open(&c.src)
			out, err = read(slices.Grow(out[:len(dst)], size+1), again, size+1)
			again.Close()
		}
	}
	r.Close()
	switch {
	case err == errBomb:
		return out[:len(dst)], errBomb
	case err != nil:
		return out[:len(dst)], errMalformed
	}
	return out, nil
}

const usualBatch = 4 << 20

// read appends what r has, but not more than so many bytes.
func read(dst []byte, r io.Reader, most int) ([]byte, error) {
	end := len(dst) + most
	for len(dst) < end {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, min(max(64<<10, len(dst)), end-len(dst)))
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), end)])
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}
