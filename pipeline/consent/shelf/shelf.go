// Package shelf holds many short byte strings, each under a key of 16 bytes, in
// little more memory than they have themselves.
//
// The common case: New, then Put by one writer and Find by many readers. Whoever
// has a Shelf keeps a lock beside it: readers hold it shared, and the writer holds
// it alone around Put and Settle. Every call says what it needs.
//
// What it guarantees:
//
//   - A key is found by all its bytes. Its hash, which has a secret seed, only says
//     where to look, so that nobody can choose keys that are slow to find.
//   - Find works on many keys at once, so that their cache misses overlap.
//   - Nothing is on the garbage collector's heap but what is longer than a page
//     can well hold, and where there is no other memory.
//   - No call takes longer because there is much on the shelf: it grows by one
//     of its 256 shards at a time, and the writer can prepare that with Reserve while
//     readers go on. The room of what was replaced is taken back page by page.
//   - Freeze keeps all as it is at one moment, for a snapshot, while the writer goes
//     on; readers and the writer wait for a page of it at a time and no more.
package shelf

import (
	"encoding/binary"
	"errors"
	"iter"
	"runtime"

	"lupa/schemas"
)

const (
	shardBits = 8
	// Shards is in how many parts the keys are, by their hash. Each is written
	// and read for itself.
	Shards = 1 << shardBits
)

// Shelf is a set of byte strings by their keys.
type Shelf struct {
	seed   Seed
	shards [Shards]shard
	pool   *pool
	frozen *Frozen
	grown  []*shard // those that have a larger table than they use
}

// Ref is where a key and its bytes lie, until the next Put. Zero is nowhere.
type Ref uint64

// Refs have a bit that makes them other than zero, the address and the shard.
const refBit = Ref(1) << 63

func refOf(shard int, address uint32) Ref {
	return refBit | Ref(address)<<shardBits | Ref(shard)
}

// New makes an empty shelf with a random seed.
func New() *Shelf { return NewSeeded(randomSeed()) }

// NewSeeded makes an empty shelf whose shards are those of another one that had
// this seed.
func NewSeeded(seed Seed) *Shelf {
	s := &Shelf{seed: seed, pool: &pool{}}
	for i := range s.shards {
		sh := &s.shards[i]
		*sh = shard{seed: &s.seed, pool: s.pool, number: i}
	}
	runtime.AddCleanup(s, (*pool).close, s.pool)
	return s
}

// Seed gives the seed of the shelf's hash.
func (s *Shelf) Seed() Seed { return s.seed }

// Close gives back all memory. Nothing of the shelf may be in use, nor be used
// again. Who forgets it leaves that to the garbage collector.
func (s *Shelf) Close() {
	for i := range s.shards {
		s.shards[i] = shard{}
	}
	s.pool.close()
}

// Get gives the bytes of a key, under the readers' lock; they are valid until it is
// let go. The zero key has none.
func (s *Shelf) Get(key *schemas.Token) ([]byte, bool) {
	h := s.seed.Hash(key)
	sh := &s.shards[h>>(64-shardBits)]
	if at := sh.lookup(h, key); at != nil {
		return sh.value(*at & addressMask), true
	}
	return nil, false
}

// Bytes gives what a Ref, which must be somewhere, points to. It is valid until
// the lock is let go, and must not be changed.
func (s *Shelf) Bytes(r Ref) []byte {
	return s.shards[r%Shards].value(uint32(r >> shardBits))
}

// Put stores bytes, a copy, under a key. The writer holds the lock alone. The bytes
// must not be those of a Ref, and the key not zero.
func (s *Shelf) Put(key *schemas.Token, value []byte) Ref {
	if key.IsZero() {
		panic("shelf: put under the zero key")
	}
	h := s.seed.Hash(key)
	sh := &s.shards[h>>(64-shardBits)]
	return refOf(sh.number, sh.put(h, key, value))
}

// Len gives the number of keys, under the readers' lock.
func (s *Shelf) Len() int {
	n := 0
	for i := range s.shards {
		n += s.shards[i].table.count
	}
	return n
}

// MemoryBytes gives how much memory the shelf has, under the readers' lock.
func (s *Shelf) MemoryBytes() int64 {
	bytes := s.pool.spareBytes()
	for i := range s.shards {
		bytes += s.shards[i].memory()
	}
	return bytes
}

// All gives every key and its bytes, in no order, under the readers' lock.
func (s *Shelf) All() iter.Seq2[*schemas.Token, []byte] {
	return func(yield func(*schemas.Token, []byte) bool) {
		for i := range s.shards {
			sh := &s.shards[i]
			for page := range sh.pages {
				for at, h := range sh.blocks(page, sh.info[page].used) {
					if h&deadBlock == 0 && !yield((*schemas.Token)(sh.pages[page][at:]), sh.value(address(page, at))) {
						return
					}
				}
			}
		}
	}
}

// Reserve makes room for keys that the writer will put next, as far as they are
// new. Readers may go on meanwhile: the new room is used from Settle on.
func (s *Shelf) Reserve(keys []schemas.Token) {
	var adding [Shards]int32
	for i := range keys {
		adding[s.seed.Hash(&keys[i])>>(64-shardBits)]++
	}
	for i, n := range adding {
		if sh := &s.shards[i]; n > 0 && sh.grow(int(n)) {
			s.grown = append(s.grown, sh)
		}
	}
}

// Settle begins to use the room that Reserve made. The writer holds the lock alone.
func (s *Shelf) Settle() {
	for _, sh := range s.grown {
		sh.settle()
	}
	clear(s.grown)
	s.grown = s.grown[:0]
}

// batch is how many keys Find keeps in flight.
const batch = 128

// Find sets refs[i] to where keys[i] lies, under the readers' lock; to nowhere
// where it is not on the shelf, as the zero key never is.
func (s *Shelf) Find(keys []schemas.Token, refs []Ref) {
	var hashes [batch]uint64
	var homes [batch]*bucket
	var blocks [batch]*block
	var ends [batch]*byte
	var seen uint64
	for len(keys) > 0 {
		n := min(len(keys), batch)
		for i := range n {
			hashes[i] = s.seed.Hash(&keys[i])
		}
		// Loads that depend on nothing but the hashes: their misses overlap.
		for i, h := range hashes[:n] {
			homes[i] = s.shards[h>>(64-shardBits)].table.home(h)
			seen += homes[i].tags
		}
		for i, h := range hashes[:n] {
			refs[i] = 0
			if at, ok := s.candidate(homes[i], h); ok {
				refs[i] = refOf(int(h>>(64-shardBits)), at)
			}
		}
		for i, r := range refs[:n] {
			blocks[i], ends[i] = &nowhere, &nowhere[0]
			if r != 0 {
				blocks[i], ends[i] = s.shards[r%Shards].reach(uint32(r >> shardBits))
			}
		}
		// The same for the blocks. Each pass waits for one thing only: together, the
		// last three take twice as long. A short block may lie in two cache lines, and
		// both will be needed.
		for i := range n {
			seen += uint64(blocks[i][0]) + uint64(*ends[i])
		}
		for i, b := range blocks[:n] {
			if refs[i] != 0 && b.key() != keys[i] {
				refs[i] = s.find(hashes[i], &keys[i])
			}
		}
		keys, refs = keys[n:], refs[n:]
	}
	runtime.KeepAlive(seen)
}

// nowhere stands for the block of a key that has none.
var nowhere block

// candidate gives the first block whose tag is that of a hash.
func (s *Shelf) candidate(home *bucket, h uint64) (address uint32, ok bool) {
	if address, ok = home.candidate(h); !ok && home.spilt != 0 {
		if at := s.shards[h>>(64-shardBits)].table.slot(h, func(uint32) bool { return true }); at != nil {
			return *at & addressMask, true
		}
	}
	return address, ok
}

// find is Find for one key.
func (s *Shelf) find(h uint64, key *schemas.Token) Ref {
	sh := &s.shards[h>>(64-shardBits)]
	if at := sh.lookup(h, key); at != nil {
		return refOf(sh.number, *at&addressMask)
	}
	return 0
}

// Load fills one shard of an empty shelf with the keys and values of an Image. What
// it keeps is a copy. Shards may be loaded at once. It fails if the image is not
// one of this shard under this seed, and the shelf is of no use then.
func (s *Shelf) Load(shard int, keys, values []byte) error {
	const size = len(schemas.Token{})
	sh := &s.shards[shard]
	if len(keys)%size != 0 {
		return errors.New("keys are cut off")
	}
	sh.grow(len(keys) / size)
	sh.settle()
	for ; len(keys) > 0; keys = keys[size:] {
		key := (*schemas.Token)(keys)
		n, read := binary.Uvarint(values)
		if read <= 0 || n > uint64(len(values)-read) {
			return errors.New("values are cut off")
		}
		h := s.seed.Hash(key)
		if h>>(64-shardBits) != uint64(shard) || key.IsZero() {
			return errors.New("a key is in the wrong shard")
		}
		if sh.lookup(h, key) != nil {
			return errors.New("a key is there twice")
		}
		sh.table.insert(h, sh.write(key, values[read:read+int(n)]))
		values = values[read+int(n):]
	}
	if len(values) > 0 {
		return errors.New("there are values without keys")
	}
	return nil
}
