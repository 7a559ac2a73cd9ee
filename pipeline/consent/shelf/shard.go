package shelf

import (
	"encoding/binary"
	"iter"
	"slices"
	"unsafe"

	"lupa/schemas"
)

// shard is a part of all keys: a table and the blocks to which it points. Blocks
// are written one after the other into pages. What is replaced is dead, and
// before there is too much of that, what is alive in the page with the most of it
// moves on, so that there are no sizes of which too many are free. A page is small
// enough for readers to wait for.
type shard struct {
	table table
	pages []*page // by number; nil is free

	next   table // a larger one, to be used from Settle on
	info   []pageInfo
	free   []int32 // numbers of pages that are free
	active int     // the page that blocks are written to

	used, dead int // bytes of all pages

	large     [][]byte // values that are too long for a page
	freeLarge []uint32

	frozen *frozenShard
	seed   *Seed
	pool   *pool
	number int
}

type pageInfo struct {
	used, dead int
	sealed     int // up to where the page is part of what is frozen
}

// Blocks are a key, two bytes of a head and the value. An address counts units.
const (
	unit      = 4
	keySize   = len(schemas.Token{})
	blockHead = keySize + 2
	// maxShort is how long a value may be that stands in its block; that of a longer
	// one has four bytes with its number in large.
	maxShort = 1000
)

// Bits of a block's head beside its value's length.
const (
	deadBlock  = 1 << 15
	largeBlock = 1 << 14
	lengthMask = largeBlock - 1
)

// block is the beginning of one.
type block [blockHead]byte

func (b *block) key() schemas.Token { return schemas.Token(b[:keySize]) }
func (b *block) head() uint16       { return binary.LittleEndian.Uint16(b[keySize:]) }

func (b *block) setHead(h uint16) { binary.LittleEndian.PutUint16(b[keySize:], h) }

// sizeOf gives the size of a block with this head.
func sizeOf(head uint16) int {
	return (blockHead + int(head&lengthMask) + unit - 1) &^ (unit - 1)
}

func address(page, at int) uint32 { return uint32(page<<pageBits|at) / unit }

// place is the inverse of address.
func place(address uint32) (page, at int) {
	return int(address >> (pageBits - 2)), int(address*unit) & (pageSize - 1)
}

func (sh *shard) block(address uint32) *block {
	page, at := place(address)
	return (*block)(sh.pages[page][at:])
}

// reach gives a block and a byte 40 bytes behind its beginning, which is at the end
// of a usual one.
func (sh *shard) reach(address uint32) (*block, *byte) {
	page, at := place(address)
	p := sh.pages[page]
	return (*block)(p[at:]), &p[(at+40)&(pageSize-1)]
}

// value gives the value of a block.
func (sh *shard) value(address uint32) []byte {
	page, at := place(address)
	p := sh.pages[page]
	head := (*block)(p[at:]).head()
	at += blockHead
	value := p[at : at+int(head&lengthMask)]
	if head&largeBlock != 0 {
		return sh.large[binary.LittleEndian.Uint32(value)]
	}
	return value[:len(value):len(value)]
}

// blocks gives where blocks of a page begin, and their heads, up to a place.
func (sh *shard) blocks(page, to int) iter.Seq2[int, uint16] {
	return func(yield func(int, uint16) bool) {
		for at := 0; at < to; {
			head := (*block)(sh.pages[page][at:]).head()
			if !yield(at, head) {
				return
			}
			at += sizeOf(head)
		}
	}
}

// lookup gives the slot of a key, nil if it is not there.
func (sh *shard) lookup(h uint64, key *schemas.Token) *uint32 {
	return sh.table.slot(h, func(address uint32) bool { return sh.block(address).key() == *key })
}

// put stores a value and gives its address.
func (sh *shard) put(h uint64, key *schemas.Token, value []byte) uint32 {
	sh.thaw()
	sh.reclaim()
	at := sh.lookup(h, key)
	if at == nil {
		sh.grow(1)
		sh.settle()
		to := sh.write(key, value)
		sh.table.insert(h, to)
		return to
	}
	old := *at & addressMask
	if sh.overwrite(old, value) {
		return old
	}
	to := sh.write(key, value)
	*at = topOf(h) | to
	sh.bury(old)
	return to
}

// overwrite stores a value where the old one is, if it may.
func (sh *shard) overwrite(old uint32, value []byte) bool {
	page, at := place(old)
	b := sh.block(old)
	if len(value) > maxShort || b.head()&largeBlock != 0 || sizeOf(uint16(len(value))) != sizeOf(b.head()) {
		return false
	}
	if sh.frozen != nil && at < sh.info[page].sealed {
		return false
	}
	b.setHead(uint16(len(value)))
	copy(sh.pages[page][at+blockHead:], value)
	return true
}

// write appends a block and gives its address.
func (sh *shard) write(key *schemas.Token, value []byte) uint32 {
	if len(value) <= maxShort {
		return sh.append(key, uint16(len(value)), value)
	}
	var number uint32
	if last := len(sh.freeLarge) - 1; last >= 0 {
		number, sh.freeLarge = sh.freeLarge[last], sh.freeLarge[:last]
		sh.large[number] = slices.Clone(value)
	} else {
		number = uint32(len(sh.large))
		sh.large = append(sh.large, slices.Clone(value))
	}
	return sh.append(key, largeBlock|4, binary.LittleEndian.AppendUint32(nil, number))
}

func (sh *shard) append(key *schemas.Token, head uint16, value []byte) uint32 {
	size := sizeOf(head)
	to := sh.room(size)
	page, at := place(to)
	p := sh.pages[page]
	copy(p[at:], key[:])
	(*block)(p[at:]).setHead(head)
	copy(p[at+blockHead:], value)
	return to
}

// room gives the address of a new block.
func (sh *shard) room(size int) uint32 {
	if len(sh.pages) == 0 || sh.info[sh.active].used+size > pageSize {
		sh.turn()
	}
	info := &sh.info[sh.active]
	at := info.used
	info.used += size
	sh.used += size
	return address(sh.active, at)
}

// turn begins a new page.
func (sh *shard) turn() {
	p := sh.pool.take()
	if last := len(sh.free) - 1; last >= 0 {
		sh.active, sh.free = int(sh.free[last]), sh.free[:last]
		sh.pages[sh.active], sh.info[sh.active] = p, pageInfo{}
		return
	}
	if len(sh.pages) > int(addressMask*unit>>pageBits) {
		panic("shelf: more than 256 GiB")
	}
	sh.active = len(sh.pages)
	sh.pages, sh.info = append(sh.pages, p), append(sh.info, pageInfo{})
}

// bury makes a block dead.
func (sh *shard) bury(old uint32) {
	page, at := place(old)
	b := sh.block(old)
	head := b.head()
	b.setHead(head | deadBlock)
	sh.info[page].dead += sizeOf(head)
	sh.dead += sizeOf(head)
	large := head&largeBlock != 0
	var number uint32
	if large {
		number = binary.LittleEndian.Uint32(sh.pages[page][at+blockHead:])
	}
	switch kept := sh.frozen != nil && at < sh.info[page].sealed; {
	case kept && large:
		sh.frozen.keep(old, sizeOf(head)+len(sh.large[number]))
		sh.frozen.large = append(sh.frozen.large, number)
	case kept:
		sh.frozen.keep(old, sizeOf(head))
	case large:
		sh.drop(number)
	}
}

// drop lets go of a value that is too long for a page.
func (sh *shard) drop(number uint32) {
	sh.large[number] = nil
	sh.freeLarge = append(sh.freeLarge, number)
}

// maxDead is the part of a shard that may be dead: a sixteenth. Then a page that is
// taken back has about twice that, and some seven blocks move for one that is
// written, which takes half a microsecond.
const maxDead = 16

// reclaim takes back the page with the most that is dead, if there is too much. What
// is frozen stays.
func (sh *shard) reclaim() {
	if sh.dead*maxDead <= sh.used {
		return
	}
	worst, most := -1, pageSize/2/maxDead
	for i := range sh.info {
		if sh.frozen != nil && sh.info[i].sealed > 0 {
			continue
		}
		if sh.info[i].dead > most && i != sh.active {
			worst, most = i, sh.info[i].dead
		}
	}
	if worst < 0 {
		return
	}
	p, info := sh.pages[worst], sh.info[worst]
	for at, head := range sh.blocks(worst, info.used) {
		if head&deadBlock != 0 {
			continue
		}
		size, from := sizeOf(head), address(worst, at)
		h := sh.seed.Hash((*schemas.Token)(p[at:]))
		to := sh.room(size)
		page, place := place(to)
		copy(sh.pages[page][place:place+size], p[at:])
		*sh.table.slot(h, func(address uint32) bool { return address == from }) = topOf(h) | to
	}
	sh.used -= info.used
	sh.dead -= info.dead
	sh.pages[worst], sh.info[worst] = nil, pageInfo{}
	sh.free = append(sh.free, int32(worst))
	sh.pool.give(p)
}

// grow makes the next table if the one in use has no room for n more keys, and
// reports whether it did. Others may look things up in the one in use.
func (sh *shard) grow(n int) bool {
	have := len(sh.table.buckets)
	if sh.table.count+n <= capacity(have) || sh.next.buckets != nil && sh.table.count+n <= capacity(len(sh.next.buckets)) {
		return false
	}
	sh.pool.giveTable(sh.next.buckets)
	sh.next = table{buckets: sh.pool.takeTable(sizeFor(sh.table.count+n, sh.number))}
	for page := range sh.pages {
		for at, head := range sh.blocks(page, sh.info[page].used) {
			if head&deadBlock == 0 {
				sh.next.insert(sh.seed.Hash((*schemas.Token)(sh.pages[page][at:])), address(page, at))
			}
		}
	}
	return true
}

// settle puts the next table to use if there is one.
func (sh *shard) settle() {
	if sh.next.buckets != nil {
		sh.pool.giveTable(sh.table.buckets)
		sh.table, sh.next = sh.next, table{}
	}
}

// memory gives how many bytes the shard has. Of a page that is not full, only
// what was written to is in memory, in pages of the system's.
func (sh *shard) memory() int64 {
	const system = 4096
	bytes := int64(unsafe.Sizeof(*sh)) + int64(unsafe.Sizeof(bucket{}))*int64(cap(sh.table.buckets)+cap(sh.next.buckets)) +
		int64(cap(sh.pages))*8 + int64(cap(sh.info))*int64(unsafe.Sizeof(pageInfo{})) + int64(cap(sh.large))*24
	for i := range sh.info {
		if n := sh.info[i].used; sh.pages[i] == nil {
			continue
		} else if i == sh.active {
			bytes += int64(n+system-1) &^ (system - 1)
		} else {
			bytes += pageSize
		}
	}
	for _, value := range sh.large {
		bytes += int64(cap(value))
	}
	return bytes
}
