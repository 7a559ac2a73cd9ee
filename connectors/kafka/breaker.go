package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"lupa/pipeline"
)

// Breaker keeps records that kill the process from doing so for ever. Before
// records are decoded and handed over, their place is written into a register,
// which outlives the process as a file; once they are processed it is wiped
// out. Whoever opens the breaker next finds what a process died of. Three
// deaths at one offset end the reading there with a PoisonError.
//
// The counts are in a file, deaths.json, that all processes of a directory
// share.
type Breaker struct {
	dir  string
	file *os.File // the register; its lock tells that the process lives
	mem  []byte   // of the file

	mu   sync.Mutex
	free []int // slots
}

// PoisonError says that processes died again and again while they worked on
// the records from an offset on. Those are not read any more.
type PoisonError struct {
	Partition pipeline.Partition
	Offset    int64
	End       int64 // the offset after the batch that they are in
	Deaths    int
}

// Error names the place and how to go on.
func (e *PoisonError) Error() string {
	return fmt.Sprintf("%s: offset %d: the process died %d times while it worked on the records from there to %d; an operator decides: once the cause is gone, lupa positions forgive --partition %s; to leave them out, lupa positions set --partition %s --next %d",
		e.Partition, e.Offset, e.Deaths, e.End-1, e.Partition, e.Partition, e.End)
}

// Is tells that what was read before stands.
func (e *PoisonError) Is(target error) bool { return target == pipeline.ErrHeld }

// deadly is how many deaths at one offset are too many.
const deadly = 3

// A register has one slot for each source that reads at once. What a slot
// holds counts only while its checksum is right, so that neither a wiped one
// nor one that was being written when the process died does.
const (
	registerPrefix = "inflight-"
	registerMagic  = "lupabr1\n"
	slots          = 256
	slotBytes      = 280
	slotHeader     = 24  // checksum, partition, from, to
	maxTopic       = 249 // bytes in the name of a Kafka topic
)

// OpenBreaker makes the register of this process in a directory and counts the
// deaths of those that left one there.
func OpenBreaker(dir string) (*Breaker, error) {
	b := &Breaker{dir: dir}
	for i := range slots {
		b.free = append(b.free, slots-1-i)
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = b.locked(func() error {
			if err := b.register(); err != nil {
				return err
			}
			return b.sweep()
		})
	}
	if err != nil {
		return nil, fmt.Errorf("kafka: breaker: %w", errors.Join(err, b.discard()))
	}
	return b, nil
}

var unfit = regexp.MustCompile(`[^A-Za-z0-9.]+`)

// register makes the file. Others leave it alone as long as this process lives.
func (b *Breaker) register() error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // it is there for people to read
	}
	name := fmt.Sprintf("%s%s-%d-%s", registerPrefix, unfit.ReplaceAllString(host, "_"), os.Getpid(), uuid.New())
	file, err := os.OpenFile(filepath.Join(b.dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	b.file = file
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock %s: %w", name, err)
	}
	// Written out, for a disk that is full kills whoever writes to the memory of
	// a file that has no room yet.
	const size = len(registerMagic) + slots*slotBytes
	if _, err := file.Write(make([]byte, size)); err != nil {
		return err
	}
	if b.mem, err = unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map %s: %w", name, err)
	}
	copy(b.mem, registerMagic)
	return nil
}

// discard removes the register.
func (b *Breaker) discard() (err error) {
	if b.mem != nil {
		err = unix.Munmap(b.mem)
		b.mem = nil
	}
	if b.file != nil {
		err = errors.Join(err, os.Remove(b.file.Name()), b.file.Close())
		b.file = nil
	}
	return err
}

// Close removes the register. Sources that the breaker guards must be closed
// before.
func (b *Breaker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.free) < slots {
		return errors.New("kafka: breaker: closed while a source reads")
	}
	b.free = nil
	if err := b.discard(); err != nil {
		return fmt.Errorf("kafka: breaker: %w", err)
	}
	return nil
}

// Deaths gives what is counted, by partition and offset.
func (b *Breaker) Deaths() ([]Death, error) {
	var list []Death
	err := b.locked(func() (err error) {
		list, err = b.read()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kafka: breaker: %w", err)
	}
	return list, nil
}

// Forgive forgets the deaths at a partition: sources that are opened from now
// on read it again.
func (b *Breaker) Forgive(p pipeline.Partition) error {
	return b.forget(func(d Death) bool { return d.Partition == p })
}

// watch gives the partitions' deaths and a slot, for one source.
func (b *Breaker) watch(parts []pipeline.Partition) (*watch, error) {
	w := &watch{b: b, deaths: make(map[pipeline.Partition][]Death)}
	err := b.locked(func() error {
		if err := b.sweep(); err != nil { // the last owner may have died just now
			return err
		}
		list, err := b.read()
		for _, d := range list {
			if slices.Contains(parts, d.Partition) {
				w.deaths[d.Partition] = append(w.deaths[d.Partition], d)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("breaker: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.free)
	if n == 0 {
		return nil, fmt.Errorf("breaker: closed, or more than %d sources read", slots)
	}
	w.number, b.free = b.free[n-1], b.free[:n-1]
	at := len(registerMagic) + w.number*slotBytes
	w.slot = b.mem[at : at+slotBytes : at+slotBytes]
	return w, nil
}

// watch is the slot of one source. A nil one watches nothing. Marking costs no
// system call: what is written to the memory of a file is there when the
// process is gone.
type watch struct {
	b      *Breaker
	number int
	slot   []byte
	topic  string // in slot
	deaths map[pipeline.Partition][]Death

	part     pipeline.Partition
	from, to int64 // in flight, when to is above from
}

// admit refuses the records at the offsets first to last if they are known to
// kill.
func (w *watch) admit(p pipeline.Partition, first, last int64) error {
	if w == nil {
		return nil
	}
	for _, d := range w.deaths[p] {
		if d.Deadly() && d.Offset >= first && d.Offset <= last {
			return &PoisonError{Partition: p, Offset: d.Offset, End: last + 1, Deaths: d.Count}
		}
	}
	return nil
}

// wary reports whether a process has died near. Batches are then handed over
// one by one, so that the next death shows which one it is.
func (w *watch) wary(p pipeline.Partition, next int64) bool {
	if w == nil {
		return false
	}
	for _, d := range w.deaths[p] {
		if next < d.End {
			return true
		}
	}
	return false
}

// mark notes that the records from one offset to before another are in flight.
func (w *watch) mark(p pipeline.Partition, from, to int64) {
	if w == nil {
		return
	}
	s := w.slot
	binary.LittleEndian.PutUint32(s, 0)
	if p.Topic != w.topic {
		w.topic = p.Topic
		copy(s[slotHeader+1:], p.Topic[:min(len(p.Topic), maxTopic)])
		s[slotHeader] = byte(min(len(p.Topic), maxTopic))
	}
	binary.LittleEndian.PutUint32(s[4:], uint32(p.ID))
	binary.LittleEndian.PutUint64(s[8:], uint64(from))
	binary.LittleEndian.PutUint64(s[16:], uint64(to))
	binary.LittleEndian.PutUint32(s, sumOf(s))
	w.part, w.from, w.to = p, from, to
}

// sumOf is the checksum of what a slot holds.
func sumOf(slot []byte) uint32 {
	end := min(slotHeader+1+int(slot[slotHeader]), len(slot))
	return crc32.Checksum(slot[4:end], castagnoli)
}

// passed notes that what was in flight has been processed, and forgets deaths
// that it did not repeat.
func (w *watch) passed() error {
	if w == nil || w.to <= w.from {
		return nil
	}
	p, from, to := w.part, w.from, w.to
	w.wipe()
	if len(w.deaths) == 0 {
		return nil
	}
	survived := func(d Death) bool { return d.Partition == p && d.Offset >= from && d.Offset < to }
	known := w.deaths[p]
	if !slices.ContainsFunc(known, func(d Death) bool { return d.Count > 0 && survived(d) }) {
		return nil
	}
	if err := w.b.forget(survived); err != nil {
		return err
	}
	for i := range known {
		if survived(known[i]) {
			known[i].Count = 0 // and stay wary until its end
		}
	}
	return nil
}

func (w *watch) wipe() {
	binary.LittleEndian.PutUint32(w.slot, 0)
	w.from, w.to = 0, 0
}

// close gives the slot back. That what was in flight has been processed is not
// known.
func (w *watch) close() {
	if w == nil || w.slot == nil {
		return
	}
	w.wipe()
	w.slot = nil
	w.b.mu.Lock()
	w.b.free = append(w.b.free, w.number)
	w.b.mu.Unlock()
}

// inFlight reads what a slot holds.
func inFlight(slot []byte) (p pipeline.Partition, from, to int64, ok bool) {
	sum, topic := binary.LittleEndian.Uint32(slot), int(slot[slotHeader])
	if sum == 0 || topic == 0 || topic > maxTopic || sum != sumOf(slot) {
		return p, 0, 0, false
	}
	p = pipeline.Partition{Topic: string(slot[slotHeader+1 : slotHeader+1+topic]), ID: int32(binary.LittleEndian.Uint32(slot[4:]))}
	from, to = int64(binary.LittleEndian.Uint64(slot[8:])), int64(binary.LittleEndian.Uint64(slot[16:]))
	return p, from, to, from >= 0 && to > from && p.ID >= 0
}
