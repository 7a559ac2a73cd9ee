package shelf

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
)

// Frozen is all keys and values as they were at one moment. It has a copy of
// nothing: what the writer replaces stays where it is until its shard was read.
type Frozen struct {
	shelf  *Shelf
	counts [Shards]int
	limit  int
	kept   int
	over   bool // kept more than the limit
	done   bool
}

// ErrOutgrown means that too much was replaced since Freeze, so that no more of it
// is kept.
var ErrOutgrown = errors.New("more has changed meanwhile than is kept")

// ErrFrozen means that something is frozen already, and was not released.
var ErrFrozen = errors.New("another snapshot is being written")

// frozenShard is a shard that is not read yet.
type frozenShard struct {
	all   *Frozen
	kept  map[uint32]struct{} // blocks that died since
	large []uint32            // values of them that are too long for a page
	done  bool
}

// keptBytes is about what it takes to remember a block.
const keptBytes = 16

// Freeze keeps all keys and values as they are now. The writer holds the lock
// alone, for a moment. limit is for how many bytes of what is replaced meanwhile
// memory may be taken; beyond it, what is frozen can no longer be read.
func (s *Shelf) Freeze(limit int) (*Frozen, error) {
	if s.frozen != nil && !s.frozen.done {
		return nil, ErrFrozen
	}
	f := &Frozen{shelf: s, limit: limit}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.thaw()
		for j := range sh.info {
			sh.info[j].sealed = sh.info[j].used
		}
		f.counts[i] = sh.table.count
		sh.frozen = &frozenShard{all: f}
	}
	s.frozen = f
	return f, nil
}

// Len gives how many keys one shard has.
func (f *Frozen) Len(shard int) int { return f.counts[shard] }

// Image is a shard as it is written: its keys one after the other, and the values in
// the same order, each after its length as a varint.
type Image struct{ Keys, Values []byte }

// Read sets im to the image of one shard, each of which can be read once, by one
// goroutine. It takes the readers' lock for a page at a time.
func (f *Frozen) Read(shard int, readers sync.Locker, im *Image) error {
	im.Keys, im.Values = slices.Grow(im.Keys[:0], keySize*f.counts[shard]), im.Values[:0]
	sh := &f.shelf.shards[shard]
	for page := 0; ; page++ {
		more, err := f.readPage(sh, page, readers, im)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if len(im.Keys) != keySize*f.counts[shard] {
		return errors.New("shelf: a shard has other keys than it had")
	}
	return nil
}

func (f *Frozen) readPage(sh *shard, page int, readers sync.Locker, im *Image) (more bool, err error) {
	readers.Lock()
	defer readers.Unlock()
	if f.over {
		return false, ErrOutgrown
	}
	if f.done || sh.frozen == nil || sh.frozen.all != f || sh.frozen.done {
		return false, errors.New("shelf: a shard was read already")
	}
	if page >= len(sh.pages) {
		sh.frozen.done = true
		return false, nil
	}
	for at, head := range sh.blocks(page, sh.info[page].sealed) {
		if head&deadBlock != 0 {
			if _, kept := sh.frozen.kept[address(page, at)]; !kept {
				continue
			}
		}
		im.Keys = append(im.Keys, sh.pages[page][at:at+keySize]...)
		value := sh.value(address(page, at))
		im.Values = binary.AppendUvarint(im.Values, uint64(len(value)))
		im.Values = append(im.Values, value...)
	}
	return true, nil
}

// Release lets go of what is frozen, whether or not all of it was read.
func (f *Frozen) Release(readers sync.Locker) {
	readers.Lock()
	defer readers.Unlock()
	f.done = true
}

// keep remembers that a block which died, with so many bytes, is part of what is
// frozen.
func (s *frozenShard) keep(old uint32, size int) {
	if s.kept == nil {
		s.kept = map[uint32]struct{}{}
	}
	s.kept[old] = struct{}{}
	if s.all.kept += size + keptBytes; s.all.kept > s.all.limit {
		s.all.over = true
	}
}

// thaw lets the writer go on with a shard that was read, or need not be any longer.
func (sh *shard) thaw() {
	f := sh.frozen
	if f == nil || !f.done && !f.all.done && !f.all.over {
		return
	}
	for _, number := range f.large {
		sh.drop(number)
	}
	sh.frozen = nil
}
