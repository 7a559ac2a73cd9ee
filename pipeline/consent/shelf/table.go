package shelf

import (
	"math"
	"math/bits"
)

// table says where the blocks of a shard's keys are. Buckets have the size of a
// cache line; what one has no room for spills into the next, and nothing is ever
// taken out. With tags of 12 bits and addresses of 28 it takes some 7 bytes a
// key; a plain table of 8-byte slots takes 11 and longer.
type table struct {
	buckets []bucket
	count   int
}

const slots = 12

// bucket has slots that are filled in order.
type bucket struct {
	tags  uint64        // of the first 8 slots, 8 bits each; 0 is an empty slot
	more  uint32        // of the others
	spilt uint32        // how many keys went past it
	at    [slots]uint32 // 4 more bits of the tag, and the block's address
}

const (
	addressBits = 28
	addressMask = 1<<addressBits - 1
)

// empty is the home of all keys in a table that has no bucket.
var empty bucket

// maxLoad is how full a table is at most; at 0.85 one key in twenty spills.
const maxLoad = 0.85

// growth is by how much it grows, so that it is 0.75 full on average. Shards begin
// with sizes that lie between two steps of each other, so that they do not all
// grow at the same time.
const growth = 1.3

// capacity is how many keys n buckets take.
func capacity(n int) int { return int(float64(n*slots) * maxLoad) }

// sizeFor gives how many buckets the table of a shard has when it takes n keys.
func sizeFor(n, shard int) int {
	size := math.Pow(growth, float64(shard)/Shards)
	for capacity(int(size)) < n {
		size *= growth
	}
	return int(size)
}

func (t *table) home(h uint64) *bucket {
	if len(t.buckets) == 0 {
		return &empty
	}
	return &t.buckets[t.homeOf(h)]
}

func (t *table) homeOf(h uint64) int {
	return int(uint64(uint32(h>>24)) * uint64(len(t.buckets)) >> 32)
}

// tagOf gives the 8 bits of a tag that stand in the bucket's head, and topOf the
// others where they stand in a slot.
func tagOf(h uint8) uint64  { return uint64(max(h, 2)) }
func topOf(h uint64) uint32 { return uint32(h>>8) << addressBits }

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// match gives a mask with one bit for each slot whose tag may be that of a hash,
// slotOf the slot of its lowest bit. A slot may be there that has another tag, as
// the subtraction borrows, but none that is empty: no tag is below 2.
func (b *bucket) match(h uint8) uint64 {
	want := tagOf(h) * lows
	x, y := b.tags^want, uint64(b.more)^want&math.MaxUint32
	x = (x - lows) &^ x & highs
	y = (y - lows) &^ y & (highs & math.MaxUint32)
	return x>>7 | y>>6
}

func slotOf(m uint64) uint64 {
	bit := uint64(bits.TrailingZeros64(m))
	return bit/8 + bit%8*8
}

// candidate gives the first slot whose whole tag is that of a hash, and whether
// there is one.
func (b *bucket) candidate(h uint64) (address uint32, ok bool) {
	for m := b.match(uint8(h)); m != 0; m &= m - 1 {
		if at := b.at[slotOf(m)]; at&^addressMask == topOf(h) {
			return at & addressMask, true
		}
	}
	return 0, false
}

// used gives how many slots of a bucket are.
func (b *bucket) used() int {
	if b.tags>>56 == 0 {
		return (bits.Len64(b.tags) + 7) / 8
	}
	return 8 + (bits.Len32(b.more)+7)/8
}

// insert adds the block of a key that the table does not have, and has room for.
func (t *table) insert(h uint64, address uint32) {
	i := t.homeOf(h)
	for {
		b := &t.buckets[i]
		if n := b.used(); n < slots {
			b.at[n] = topOf(h) | address
			if n < 8 {
				b.tags |= tagOf(uint8(h)) << (8 * n)
			} else {
				b.more |= uint32(tagOf(uint8(h))) << (8 * (n - 8))
			}
			t.count++
			return
		}
		b.spilt++
		if i++; i == len(t.buckets) {
			i = 0
		}
	}
}

// slot gives the slot of which a function says that it is the right one, of those
// that a key with this hash may be in; nil if there is none.
func (t *table) slot(h uint64, right func(address uint32) bool) *uint32 {
	if len(t.buckets) == 0 {
		return nil
	}
	for i := t.homeOf(h); ; {
		b := &t.buckets[i]
		for m := b.match(uint8(h)); m != 0; m &= m - 1 {
			at := &b.at[slotOf(m)]
			if *at&^addressMask == topOf(h) && right(*at&addressMask) {
				return at
			}
		}
		if b.spilt == 0 {
			return nil
		}
		if i++; i == len(t.buckets) {
			i = 0
		}
	}
}
