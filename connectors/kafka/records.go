package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"slices"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"

	"lupa/pipeline"
	"lupa/schemas"
)

// batch is one record batch of format v2, taken apart as far as its header.
type batch struct {
	first, last int64 // offsets it covers, whether or not a record is left at them
	crc         uint32
	attributes  protocol.Attributes
	firstTime   int64 // milliseconds
	maxTime     int64
	producer    int64
	count       int
	records     []byte // compressed as the attributes say
	covered     []byte // by the checksum: all of the above but first
}

// logAppendTime marks batches whose records all carry the broker's time.
const logAppendTime protocol.Attributes = 1 << 3

const (
	batchPrefix = 12 // base offset and length: what stands before the length counts
	batchHeader = 61
)

// nextBatch takes the first batch off buf; its checksum is not looked at. ok is
// false when what is left is no whole batch: a broker may cut the last one
// short.
func nextBatch(buf []byte) (b batch, rest []byte, ok bool, err error) {
	if len(buf) < batchPrefix {
		return b, nil, false, nil
	}
	size := int(int32(binary.BigEndian.Uint32(buf[8:])))
	if size < 0 {
		return b, nil, false, errMalformed
	}
	if size > len(buf)-batchPrefix {
		return b, nil, false, nil
	}
	rest = buf[batchPrefix+size:]
	buf = buf[:batchPrefix+size]
	if len(buf) <= 16 {
		return b, nil, false, errMalformed
	}
	if magic := buf[16]; magic < 2 {
		return b, nil, false, errOldFormat
	} else if magic > 2 || len(buf) < batchHeader {
		return b, nil, false, errMalformed
	}
	c := cursor{rest: buf}
	b.first = c.int64()
	c.take(4 + 4 + 1) // length, leader epoch, magic
	b.crc = uint32(c.int32())
	b.covered = c.rest
	b.attributes = protocol.Attributes(c.int16())
	delta := c.int32()
	b.last = b.first + int64(delta)
	b.firstTime, b.maxTime = c.int64(), c.int64()
	b.producer = c.int64()
	c.take(2 + 4) // producer epoch, base sequence
	b.count = int(c.int32())
	b.records = c.rest
	if b.first < 0 || delta < 0 || b.last < b.first || b.count < 0 || b.count > int(delta)+1 {
		return b, nil, false, errMalformed
	}
	return b, rest, true, nil
}

// intact reports whether the batch is what the producer sent, but for the
// offset that the broker gave it.
func (b *batch) intact() bool { return crc32.Checksum(b.covered, castagnoli) == b.crc }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// survey walks the batches from the position next on, and gives the part that
// is whole and sound with the position after it. When strict, every offset
// must be covered. The error is about the first batch that is not sound, and
// counts only when nothing sound stands before it: the position then stays at
// that batch and the next fetch begins with it.
func survey(buf []byte, next int64, strict bool) (sound []byte, after int64, err error) {
	after = next
	rest := buf
	for len(rest) > 0 {
		b, tail, ok, e := nextBatch(rest)
		if e == nil && !ok {
			break
		}
		if len(b.covered) > 0 && !b.intact() {
			e = errChecksum
		}
		if e == nil && after != next && b.first < after {
			e = errMalformed // offsets never go back
		}
		if e == nil && strict && (b.first > after || b.count != int(b.last-b.first)+1) {
			e = errHole
		}
		if e != nil {
			if after == next {
				err = e
			}
			break
		}
		after = max(after, b.last+1)
		rest = tail
	}
	if err == nil && len(rest) == len(buf) && len(buf) > 0 {
		err = errMalformed // not even one whole batch
	}
	return buf[:len(buf)-len(rest)], after, err
}

// records are the decoded records of one partition. null marks a key or value
// that is absent.
type records struct {
	arena   []byte
	keys    []schemas.Span // only when they are asked for
	values  []schemas.Span
	headers []schemas.Span // only when they are asked for; none before the first record that has some
	offsets []int64
	times   []int64
	large   []int32
}

var null = schemas.Span{Off: math.MaxUint32}

func (r *records) reset() {
	r.arena, r.keys, r.values, r.headers = r.arena[:0], r.keys[:0], r.values[:0], r.headers[:0]
	r.offsets, r.times, r.large = r.offsets[:0], r.times[:0], r.large[:0]
}

// head appends the headers of the record that comes next. Until some record
// has any there is nothing to keep.
func (r *records) head(h schemas.Span) {
	if missing := len(r.values) - len(r.headers); missing > 0 {
		r.headers = append(r.headers, make([]schemas.Span, missing)...)
	}
	r.headers = append(r.headers, h)
}

// headed gives the headers of some of the records, nil when none of them has
// any.
func (r *records) headed(lo, hi int) []schemas.Span {
	if len(r.headers) == 0 {
		return nil
	}
	for _, h := range r.headers[lo:hi] {
		if h.Len > 0 {
			return r.headers[lo:hi]
		}
	}
	return nil
}

// slack makes sure that the arena can be read beyond its end.
func (r *records) slack() {
	r.arena = slices.Grow(r.arena, pipeline.ArenaSlack)
}

// reader decodes batches.
type reader struct {
	codecs   *codecs
	keys     bool // ask for keys
	headers  bool // ask for headers
	maxValue int  // longer values are listed as too large; 0 is no limit
}

// decode appends the records of b at or after the offset from. A batch that
// does not decode completely appends nothing.
func (d *reader) decode(r *records, b *batch, from int64, strict bool) error {
	begin, rows, large, headers := len(r.arena), len(r.values), len(r.large), len(r.headers)
	arena, err := d.codecs.append(r.arena, compress.Compression(b.attributes&7), b.records)
	r.arena = arena
	if err == nil {
		err = d.walk(r, b, begin, from, strict)
	}
	if err != nil {
		r.arena, r.values, r.large = r.arena[:begin], r.values[:rows], r.large[:large]
		r.offsets, r.times, r.headers = r.offsets[:rows], r.times[:rows], r.headers[:headers]
		if d.keys {
			r.keys = r.keys[:rows]
		}
	}
	return err
}

// walk lists the records that stand in the arena from begin on.
func (d *reader) walk(r *records, b *batch, begin int, from int64, strict bool) error {
	p := r.arena[begin:]
	at := 0
	previous := int64(-1)
	for i := range b.count {
		size, n := binary.Varint(p[at:])
		if n <= 0 || size < 0 || size > int64(len(p)-at-n) {
			return errMalformed
		}
		at += n
		end := at + int(size)
		rec := record{p: p[:end], at: at + 1} // behind the attributes, which mean nothing
		stamp, delta := rec.varint(), rec.varint()
		key, value := rec.span(begin), rec.span(begin)
		var headers schemas.Span
		if d.headers {
			headers = rec.headers(begin)
		}
		if rec.bad || delta <= previous || delta > b.last-b.first || strict && delta != int64(i) {
			return errMalformed
		}
		previous, at = delta, end
		if b.first+delta < from {
			continue
		}
		if d.maxValue > 0 && value != null && int(value.Len) > d.maxValue {
			r.large = append(r.large, int32(len(r.values)))
			value = schemas.Span{}
		}
		if d.keys {
			r.keys = append(r.keys, key)
		} else if value == null {
			value = schemas.Span{}
		}
		if headers.Len > 0 || len(r.headers) > 0 {
			r.head(headers)
		}
		r.values = append(r.values, value)
		r.offsets = append(r.offsets, b.first+delta)
		r.times = append(r.times, b.time(stamp))
	}
	if at != len(p) {
		return errMalformed
	}
	return nil
}

// time gives microseconds.
func (b *batch) time(delta int64) int64 {
	ms := b.firstTime + delta
	if b.attributes&logAppendTime != 0 {
		ms = b.maxTime
	}
	if ms < 0 || ms > math.MaxInt64/1000 {
		return pipeline.NoTime
	}
	return ms * 1000
}

// record reads the fields of one record.
type record struct {
	p   []byte
	at  int
	bad bool
}

func (r *record) varint() int64 {
	if r.at >= len(r.p) {
		r.bad = true
		return 0
	}
	v, n := binary.Varint(r.p[r.at:])
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.at += n
	return v
}

// span reads a length and skips as many bytes.
func (r *record) span(begin int) schemas.Span {
	n := r.varint()
	if n < 0 {
		return null
	}
	if n > int64(len(r.p)-r.at) {
		r.bad = true
		return null
	}
	s := schemas.Span{Off: uint32(begin + r.at), Len: uint32(n)}
	r.at += int(n)
	return s
}

// headers gives all headers, from their number to the end of the record, once
// it is sure that they can be walked. A record without any gives an empty span.
func (r *record) headers(begin int) schemas.Span {
	start := r.at
	n := r.varint()
	if r.bad || n < 0 || n > int64(len(r.p)-r.at)/2 { // each has two lengths
		r.bad = true
		return schemas.Span{}
	}
	for range n {
		if key := r.varint(); key < 0 || !r.skip(key) {
			r.bad = true
		}
		if value := r.varint(); value < -1 || value > 0 && !r.skip(value) {
			r.bad = true
		}
		if r.bad {
			return schemas.Span{}
		}
	}
	if r.at != len(r.p) {
		r.bad = true
	}
	if n == 0 || r.bad {
		return schemas.Span{}
	}
	return schemas.Span{Off: uint32(begin + start), Len: uint32(r.at - start)}
}

// skip passes n bytes, if as many are left.
func (r *record) skip(n int64) bool {
	if n > int64(len(r.p)-r.at) {
		return false
	}
	r.at += int(n)
	return true
}

// isAbort reports whether the only record of a control batch is an abort
// marker: its key is the version and the type, 0 for abort.
func isAbort(p []byte) (abort, ok bool) {
	size, n := binary.Varint(p)
	if n <= 0 || size < 1 || size > int64(len(p)-n) {
		return false, false
	}
	rec := record{p: p[:n+int(size)], at: n + 1}
	rec.varint()
	rec.varint()
	key := rec.span(0)
	if rec.bad || key == null || key.Len < 4 {
		return false, false
	}
	return binary.BigEndian.Uint16(rec.p[key.Off+2:]) == 0, true
}

// bytes gives what a span stands for, nil for an absent one.
func (r *records) bytes(s schemas.Span) []byte {
	if s == null {
		return nil
	}
	end := s.Off + s.Len
	return r.arena[s.Off:end:end]
}
