package consent

import (
	"encoding/binary"
	"math"

	"lupa/schemas"
)

// identity is what is known of an identifier besides its timeline.
type identity struct {
	vertex int32 // in the graph, or none
	shared bool  // by its kind, several people's
}

// What a view keeps of an identifier are bytes, as FORMAT.md says: its identity
// where there is something to say, and its entries. Three usual ones take about 22
// bytes, where in memory that is fit to decide on they have 96.
const (
	// identityHead is the first of four bytes that no scope is, plus these bits.
	identityHead = 244
	hasVertex    = 1
	isOfMany     = 2

	// The bits of an entry's second byte, above what it says.
	timeBits  = 4
	withTerms = 1 << 6
	withUntil = 1 << 7
)

// An entry says what four bits hold.
const _ = uint8(15 - schemas.Erased)

// How times are written: seconds or milliseconds since epoch, or microseconds
// since 1970 as they are. What was said at once, as most is that one form asked
// for, is near the time of the entry before.
const (
	inSeconds = iota // 4 bytes
	inMillis         // 5 bytes
	inMicros         // 8 bytes
	isNear           // 3 bytes, milliseconds with sign; of no end

	epoch = 1_262_304_000_000_000 // 2010-01-01, microseconds since 1970
	near  = 1 << 23 * 1000        // microseconds
)

// appendIdentity writes an identity.
func appendIdentity(b []byte, id identity) []byte {
	head := byte(identityHead)
	if id.shared {
		head |= isOfMany
	}
	switch {
	case id.vertex != none:
		return binary.LittleEndian.AppendUint32(append(b, head|hasVertex), uint32(id.vertex))
	case id.shared:
		return append(b, head)
	}
	return b
}

// splitIdentity gives the identity and the rest, which are the entries.
func splitIdentity(b []byte) (identity, []byte) {
	if len(b) == 0 || b[0]&^3 != identityHead {
		return identity{vertex: none}, b
	}
	id := identity{vertex: none, shared: b[0]&isOfMany != 0}
	if b[0]&hasVertex == 0 || len(b) < 5 {
		return id, b[1:]
	}
	id.vertex = int32(binary.LittleEndian.Uint32(b[1:]))
	return id, b[5:]
}

// appendTimeline writes entries.
func appendTimeline(b []byte, t Timeline) []byte {
	last := beginning
	for i := range t {
		e := &t[i]
		form := timeForm(e.Time)
		if last >= epoch && e.Time >= epoch && (e.Time-last)%1000 == 0 && e.Time-last < near && e.Time-last >= -near {
			form = isNear
		}
		head := byte(e.Says) | form<<timeBits
		if e.Terms != 0 {
			head |= withTerms
		}
		if e.Until != 0 {
			head |= withUntil
		}
		if b = append(b, byte(e.Purpose), head); form == isNear {
			millis := uint32((e.Time - last) / 1000)
			b = append(b, byte(millis), byte(millis>>8), byte(millis>>16))
		} else {
			b = appendTime(b, e.Time, form)
		}
		last = e.Time
		b = binary.AppendVarint(b, e.Version)
		if e.Terms != 0 {
			b = binary.AppendUvarint(b, uint64(e.Terms))
		}
		if e.Until != 0 {
			form := timeForm(e.Until)
			b = appendTime(append(b, form), e.Until, form)
		}
		if e.Purpose == retention {
			b = binary.AppendUvarint(b, uint64(e.Fields))
		}
	}
	return b
}

func timeForm(at int64) byte {
	switch since := at - epoch; {
	case at < epoch:
		return inMicros
	case since%1_000_000 == 0 && since/1_000_000 <= math.MaxUint32:
		return inSeconds
	case since%1000 == 0 && since/1000 < 1<<40:
		return inMillis
	}
	return inMicros
}

func appendTime(b []byte, at int64, form byte) []byte {
	switch form {
	case inSeconds:
		return binary.LittleEndian.AppendUint32(b, uint32((at-epoch)/1_000_000))
	case inMillis:
		millis := uint64(at-epoch) / 1000
		return append(binary.LittleEndian.AppendUint32(b, uint32(millis)), byte(millis>>32))
	case inMicros:
		return binary.LittleEndian.AppendUint64(b, uint64(at))
	}
	return b
}

// readTimeline appends the entries that are written in b. It reports whether that
// is whole; what is not denies every purpose.
func readTimeline(b []byte, t Timeline) (_ Timeline, ok bool) {
	r, from, last := reading{b, true}, len(t), beginning
	for len(r.rest) >= 2 && r.ok {
		purpose, head := r.rest[0], r.rest[1]
		r.rest = r.rest[2:]
		t = append(t, Entry{Purpose: schemas.Purpose(purpose), Says: schemas.Reason(head & 15)})
		e := &t[len(t)-1]
		if form := head >> timeBits & 3; form != isNear {
			e.Time = r.time(form)
		} else if e.Time = last + r.millis(); last < epoch || e.Time < epoch {
			r.ok = false
		}
		last = e.Time
		e.Version = r.varint()
		if head&withTerms != 0 {
			e.Terms = uint32(r.uvarint(math.MaxUint32))
		}
		if head&withUntil != 0 {
			e.Until = r.time(r.byte())
		}
		if e.Purpose == retention {
			e.Fields = uint16(r.uvarint(math.MaxUint16))
		}
	}
	if !r.ok || len(r.rest) > 0 {
		return append(t[:from], Entry{Says: schemas.NoRecord, Time: beginning, Version: math.MaxInt64}), false
	}
	return t, true
}

// reading is the rest of what is read; ok is false when it was not whole.
type reading struct {
	rest []byte
	ok   bool
}

func (r *reading) take(n int) []byte {
	if len(r.rest) < n {
		r.ok = false
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reading) byte() byte { return r.take(1)[0] }

func (r *reading) time(form byte) int64 {
	switch form {
	case inSeconds:
		return int64(binary.LittleEndian.Uint32(r.take(4)))*1_000_000 + epoch
	case inMillis:
		b := r.take(5)
		return (int64(binary.LittleEndian.Uint32(b))|int64(b[4])<<32)*1000 + epoch
	case inMicros:
		return int64(binary.LittleEndian.Uint64(r.take(8)))
	}
	r.ok = false
	return 0
}

// millis reads a signed number of milliseconds and gives microseconds.
func (r *reading) millis() int64 {
	b := r.take(3)
	return int64(int32(uint32(b[0])<<8|uint32(b[1])<<16|uint32(b[2])<<24)>>8) * 1000
}

func (r *reading) varint() int64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 { // as most versions
		x := r.rest[0]
		r.rest = r.rest[1:]
		return int64(x>>1) ^ -int64(x&1)
	}
	x, n := binary.Varint(r.rest)
	if n <= 0 {
		r.ok = false
		return 0
	}
	r.rest = r.rest[n:]
	return x
}

func (r *reading) uvarint(most uint64) uint64 {
	x, n := binary.Uvarint(r.rest)
	if n <= 0 || x > most {
		r.ok = false
		return 0
	}
	r.rest = r.rest[n:]
	return x
}
