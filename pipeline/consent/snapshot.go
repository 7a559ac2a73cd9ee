package consent

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"lupa/pipeline"
	"lupa/pipeline/consent/shelf"
	"lupa/schemas"
)

// Anchor says what a snapshot is of. Where it stands is for the caller to judge;
// what else it says must be the same when it is loaded.
type Anchor struct {
	// Ledger is the next offset of every partition. Nothing behind it is in the
	// snapshot, and all before it is.
	Ledger pipeline.Vector
	// Topics are the ids of the ledger's topics, as far as they are known, and Marks
	// what the caller wants to find again in each partition.
	Topics map[string]string
	Marks  map[pipeline.Partition]string

	Cluster  string // the id of the ledger's cluster
	Keys     string // a fingerprint of the keys that make the ledger's tokens
	KeyEpoch uint8
	Words    string // a fingerprint of the vocabulary, the ages and whatever else records are read by
}

// Snapshot is a view as it was at one moment, to be written while the view goes on.
type Snapshot struct {
	view    *View
	meta    snapshotMeta
	terms   []schemas.Terms
	reviews snapshotReviews
	frozen  *shelf.Frozen

	discarded bool
}

// snapshotMeta is the first section, as JSON.
type snapshotMeta struct {
	Written  int64 // microseconds since 1970 UTC
	Cluster  string
	Keys     string
	KeyEpoch uint8
	Words    string
	// Purposes and Reasons are the names of what entries have numbers for.
	Purposes, Reasons []string
	Partitions        []snapshotPartition
	Topics            map[string]string
	Seed              shelf.Seed
	Identifiers       int
	Members           int // of the graph
	Pairs             int
	Stats             Stats
	Fault             string
}

type snapshotPartition struct {
	Topic string
	ID    int32
	Next  int64
	Mark  string
}

// snapshotReviews are the reviews that wait, as JSON.
type snapshotReviews struct {
	Partitions []snapshotLate
	// Pending are pendingBytes each, in no order.
	Pending []byte
	Further []snapshotPosition
}

// snapshotLate is what reviews know of a partition.
type snapshotLate struct {
	Topic       string
	ID          int32
	Next, Since int64
}

// snapshotPosition is one of the further positions of a review.
type snapshotPosition struct {
	Token     schemas.Token
	Partition uint16
	Offset    int64
}

// pendingBytes is the size of a written review.
const pendingBytes = 16 + 8 + 4 + 2 + 1 + 1

// keptForSnapshot is how much of what changes meanwhile is kept at least, bytes;
// a large view keeps a quarter of its size.
const keptForSnapshot = 64 << 20

// Freeze keeps the view as it is now, which is what at says: the caller makes sure
// that nothing is applied meanwhile. It takes a moment, and the snapshot must be
// written or discarded then. There is one at a time.
func (v *View) Freeze(at Anchor) (*Snapshot, error) {
	v.applying.Lock()
	defer v.applying.Unlock()
	stats := v.Stats()
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &v.store
	frozen, err := s.shelf.Freeze(max(keptForSnapshot, int(s.shelf.MemoryBytes()/4)))
	if err != nil {
		return nil, fmt.Errorf("consent: %w", err)
	}
	s.graph.freeze()
	return &Snapshot{view: v, terms: v.glossary.terms, reviews: v.reviews.save(), frozen: frozen, meta: snapshotMeta{
		Written: v.clock(), Cluster: at.Cluster, Keys: at.Keys, KeyEpoch: at.KeyEpoch, Words: at.Words,
		Purposes: purposeNames(), Reasons: reasonNames(), Partitions: at.partitions(), Topics: at.Topics,
		Seed: s.shelf.Seed(), Identifiers: s.shelf.Len(), Members: s.graph.vertices.count, Pairs: s.graph.edges.count,
		Stats: stats, Fault: v.Fault(),
	}}, nil
}

// partitions gives the vector and the marks in order.
func (a *Anchor) partitions() (all []snapshotPartition) {
	for p, next := range a.Ledger {
		all = append(all, snapshotPartition{p.Topic, p.ID, next, a.Marks[p]})
	}
	slices.SortFunc(all, func(x, y snapshotPartition) int {
		return cmpPartition(pipeline.Partition{Topic: x.Topic, ID: x.ID}, pipeline.Partition{Topic: y.Topic, ID: y.ID})
	})
	return all
}

// WriteSnapshot writes the view as it is now, which is what at says.
func (v *View) WriteSnapshot(ctx context.Context, w io.Writer, at Anchor) error {
	s, err := v.Freeze(at)
	if err != nil {
		return err
	}
	defer s.Discard()
	return s.to(ctx, w)
}

// Discard lets go of what the snapshot keeps. More than once is as good as once.
func (s *Snapshot) Discard() {
	if s.discarded {
		return
	}
	s.discarded = true
	readers := s.view.mu.RLocker()
	// The shelf comes last: once it is let go, the next snapshot may freeze both.
	readers.Lock()
	s.view.store.graph.frozen.done = true
	readers.Unlock()
	s.frozen.Release(readers)
}

// Write writes the snapshot to a file, whole or not at all, and discards it. It
// gives up when more has changed meanwhile than is kept, and the next one may do
// better. It gives the file's size.
func (s *Snapshot) Write(ctx context.Context, path string) (size int64, err error) {
	defer s.Discard()
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part") // readable by nobody else
	if err != nil {
		return 0, fmt.Errorf("consent: snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	err = s.to(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		size, err = f.Seek(0, io.SeekCurrent)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return 0, fmt.Errorf("consent: snapshot: %w", err)
	}
	return size, nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// to writes all sections.
func (s *Snapshot) to(ctx context.Context, to io.Writer) error {
	buffered := bufio.NewWriterSize(to, 1<<20)
	w := newSectionWriter(buffered)
	for _, part := range []struct {
		kind section
		what any
	}{{metaSection, &s.meta}, {termSection, s.terms}} {
		if err := w.json(part.kind, part.what); err != nil {
			return err
		}
	}
	s.writeGraph(w)
	if err := w.json(reviewSection, &s.reviews); err != nil {
		return err
	}
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	defer packer.Close()
	var im shelf.Image
	var packed []byte
	for i := range shelf.Shards {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.frozen.Read(i, s.view.mu.RLocker(), &im); err != nil {
			return err
		}
		packed = packer.EncodeAll(im.Values, packed[:0])
		// Keys are pseudonyms, which nothing packs.
		w.write(shardSection, []byte{byte(i)}, binary.LittleEndian.AppendUint32(nil, uint32(s.frozen.Len(i))), im.Keys, packed)
		if w.err != nil {
			return w.err
		}
	}
	if err := w.end(); err != nil {
		return err
	}
	return buffered.Flush()
}

func (s *sectionWriter) json(kind section, what any) error {
	b, err := json.Marshal(what)
	if err != nil {
		return err
	}
	s.write(kind, b)
	return s.err
}

// pairBytes is the size of a written pair.
const pairBytes = 4 + 4 + 8 + 1

// writeGraph writes whose number is which, and what is said of pairs, a page of
// the graph at a time under the readers' lock.
func (s *Snapshot) writeGraph(w *sectionWriter) {
	g := &s.view.store.graph
	var b []byte
	for from := 0; from < s.meta.Members; from += pageSize {
		b = b[:0]
		s.view.mu.RLock()
		for v := from; v < min(from+pageSize, s.meta.Members); v++ {
			b = append(b, g.name(int32(v))[:]...)
		}
		s.view.mu.RUnlock()
		w.write(memberSection, b)
	}
	for from := 0; from < s.meta.Pairs; from += pageSize {
		b = b[:0]
		s.view.mu.RLock()
		for id := from; id < min(from+pageSize, s.meta.Pairs); id++ {
			p := g.frozenPair(int32(id))
			b = binary.LittleEndian.AppendUint32(b, uint32(p.a))
			b = binary.LittleEndian.AppendUint32(b, uint32(p.b))
			b = binary.LittleEndian.AppendUint64(b, uint64(p.version))
			b = append(b, byte(p.says))
		}
		s.view.mu.RUnlock()
		w.write(pairSection, b)
	}
}

// save gives the reviews that wait.
func (r *reviews) save() (s snapshotReviews) {
	for _, p := range r.partitions {
		s.Partitions = append(s.Partitions, snapshotLate{p.Topic, p.ID, p.next, p.since})
	}
	s.Pending = make([]byte, 0, pendingBytes*len(r.pending))
	for token, p := range r.pending {
		b := binary.LittleEndian.AppendUint64(append(s.Pending, token[:]...), uint64(p.first))
		b = binary.LittleEndian.AppendUint32(b, p.behind)
		b = binary.LittleEndian.AppendUint16(b, p.partition)
		s.Pending = append(b, byte(p.why), byte(p.marks))
	}
	for token, further := range r.further {
		for _, o := range further {
			s.Further = append(s.Further, snapshotPosition{token, o.partition, o.offset})
		}
	}
	return s
}

// restore is the inverse of save.
func (r *reviews) restore(s *snapshotReviews) error {
	for _, p := range s.Partitions {
		if n, err := r.number(pipeline.Partition{Topic: p.Topic, ID: p.ID}); err != nil || int(n) != len(r.partitions)-1 {
			return errDamaged
		}
		last := &r.partitions[len(r.partitions)-1]
		last.next, last.since = p.Next, p.Since
	}
	for b := range slices.Chunk(s.Pending, pendingBytes) {
		if len(b) < pendingBytes {
			return errDamaged
		}
		token := schemas.Token(b)
		p := review{
			first: int64(binary.LittleEndian.Uint64(b[16:])), behind: binary.LittleEndian.Uint32(b[24:]),
			partition: binary.LittleEndian.Uint16(b[28:]), why: schemas.Reason(b[30]), marks: reviewMarks(b[31]),
		}
		if _, twice := r.pending[token]; twice || token.IsZero() || int(p.partition) >= len(r.partitions) ||
			p.why > schemas.Erased || p.marks > isLinkedToo|hasFurther {
			return errDamaged
		}
		r.pending[token] = p
	}
	for i := range s.Further {
		o := &s.Further[i]
		if r.pending[o.Token].marks&hasFurther == 0 || int(o.Partition) >= len(r.partitions) {
			return errDamaged
		}
		r.further[o.Token] = append(r.further[o.Token], position{o.Partition, o.Offset})
	}
	return nil
}

func purposeNames() (names []string) {
	for p := range schemas.Purpose(schemas.NumPurposes) {
		names = append(names, p.String())
	}
	return names
}

// reasonNames are those that an entry may have.
func reasonNames() (names []string) {
	for r := range schemas.Erased + 1 {
		names = append(names, r.String())
	}
	return names
}

// anchor gives what a snapshot says that it is of.
func (m *snapshotMeta) anchor() Anchor {
	a := Anchor{Ledger: pipeline.Vector{}, Topics: maps.Clone(m.Topics), Marks: map[pipeline.Partition]string{},
		Cluster: m.Cluster, Keys: m.Keys, KeyEpoch: m.KeyEpoch, Words: m.Words}
	for _, p := range m.Partitions {
		at := pipeline.Partition{Topic: p.Topic, ID: p.ID}
		a.Ledger[at] = p.Next
		if p.Mark != "" {
			a.Marks[at] = p.Mark
		}
	}
	return a
}
