package consent

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"lupa/pipeline"
	"lupa/pipeline/consent/shelf"
	"lupa/schemas"
)

// LoadSnapshot makes a view of what a snapshot has, and gives what that says that it
// is of. Of want, the cluster, keys, epoch and words must be the same. It loads all
// or fails: a snapshot that is damaged, cut off, of another ledger or of another
// program's format is an error that says which.
func LoadSnapshot(ctx context.Context, r io.Reader, tokens Tokens, opts Options, want Anchor) (*View, Anchor, error) {
	v, err := NewView(tokens, opts)
	if err != nil {
		return nil, Anchor{}, err
	}
	l := loader{view: v, want: want}
	if err := l.load(ctx, r); err != nil {
		l.view.store.shelf.Close()
		return nil, Anchor{}, fmt.Errorf("consent: snapshot: %w", err)
	}
	return v, l.meta.anchor(), nil
}

// loader fills a view that nobody has yet.
type loader struct {
	view  *View
	want  Anchor
	meta  snapshotMeta
	pairs []pairing

	mu     sync.Mutex
	linked int
	loaded [shelf.Shards]bool
	fault  error // of a shard
}

var errDamaged = errors.New("it is damaged: a section is not what it says")

func (l *loader) load(ctx context.Context, from io.Reader) error {
	r, err := newSectionReader(bufio.NewReaderSize(from, 1<<20))
	if err != nil {
		return err
	}
	shards := make(chan []byte)
	var loading sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		loading.Go(func() {
			unpacker, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxSection))
			if err == nil {
				defer unpacker.Close()
			}
			for payload := range shards {
				if err == nil {
					err = l.shard(unpacker, payload)
				}
				if err != nil {
					l.mu.Lock()
					l.fault = cmp.Or(l.fault, err)
					l.mu.Unlock()
				}
			}
		})
	}
	err = l.sections(ctx, r, shards)
	close(shards)
	loading.Wait()
	if err = cmp.Or(err, l.fault); err != nil {
		return err
	}
	return l.finish()
}

// sections reads all sections, and leaves shards to others.
func (l *loader) sections(ctx context.Context, r *sectionReader, shards chan<- []byte) error {
	last := section(0)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		kind, payload, err := r.next()
		if err != nil {
			return err
		}
		many := kind == memberSection || kind == pairSection || kind == shardSection
		if kind < last || kind == last && !many || last == 0 && kind != metaSection {
			return errDamaged
		}
		last = kind
		switch kind {
		case metaSection:
			err = l.readMeta(payload)
		case termSection:
			err = l.readTerms(payload)
		case memberSection:
			err = l.readMembers(payload)
		case pairSection:
			err = l.readPairs(payload)
		case reviewSection:
			var saved snapshotReviews
			if err = unpack(payload, &saved); err == nil {
				err = l.view.reviews.restore(&saved)
			}
		case shardSection:
			shards <- payload
		case endSection:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func unpack(payload []byte, into any) error {
	if json.Unmarshal(payload, into) != nil {
		return errDamaged // without what stands there
	}
	return nil
}

func (l *loader) readMeta(payload []byte) error {
	if err := unpack(payload, &l.meta); err != nil {
		return err
	}
	m := &l.meta
	for _, c := range []struct {
		what, has, want string
	}{
		{"cluster", m.Cluster, l.want.Cluster},
		{"key fingerprint", m.Keys, l.want.Keys},
		{"key epoch", fmt.Sprint(m.KeyEpoch), fmt.Sprint(l.want.KeyEpoch)},
		{"vocabulary", m.Words, l.want.Words},
		{"list of purposes", strings.Join(m.Purposes, " "), strings.Join(purposeNames(), " ")},
		{"list of reasons", strings.Join(m.Reasons, " "), strings.Join(reasonNames(), " ")},
	} {
		if c.has != c.want {
			return fmt.Errorf("it is of another ledger: its %s is %q, wanted is %q", c.what, c.has, c.want)
		}
	}
	l.view.store.shelf = shelf.NewSeeded(m.Seed)
	l.view.stats = m.Stats
	if m.Fault != "" {
		l.view.fault.Store(&m.Fault)
	}
	return nil
}

func (l *loader) readTerms(payload []byte) error {
	var terms []schemas.Terms
	if err := unpack(payload, &terms); err != nil {
		return err
	}
	g := l.view.glossary
	for i := range terms {
		if id, kept := g.number(&terms[i]); id != uint32(i) || !kept {
			return errDamaged
		}
	}
	l.view.rules.learn(g)
	return nil
}

func (l *loader) readMembers(payload []byte) error {
	for name := range slices.Chunk(payload, len(schemas.Token{})) {
		if len(name) < len(schemas.Token{}) {
			return errDamaged
		}
		l.view.store.graph.add(schemas.Token(name))
	}
	return nil
}

func (l *loader) readPairs(payload []byte) error {
	g := &l.view.store.graph
	for b := range slices.Chunk(payload, pairBytes) {
		if len(b) < pairBytes {
			return errDamaged
		}
		p := pairing{
			a: int32(binary.LittleEndian.Uint32(b)), b: int32(binary.LittleEndian.Uint32(b[4:])),
			version: int64(binary.LittleEndian.Uint64(b[8:])), says: says(b[16]),
		}
		if p.a < 0 || p.a >= p.b || int(p.b) >= g.vertices.count {
			return errDamaged
		}
		l.pairs = append(l.pairs, p)
	}
	return nil
}

// shard loads one shard. Every timeline in it must be one.
func (l *loader) shard(unpacker *zstd.Decoder, payload []byte) error {
	const keySize = len(schemas.Token{})
	if len(payload) < 5 {
		return errDamaged
	}
	number, count := int(payload[0]), int(binary.LittleEndian.Uint32(payload[1:]))
	if payload = payload[5:]; len(payload)/keySize < count {
		return errDamaged
	}
	l.mu.Lock()
	twice := l.loaded[number]
	l.loaded[number] = true
	l.mu.Unlock()
	if twice {
		return errDamaged
	}
	keys, packed := payload[:keySize*count], payload[keySize*count:]
	values, err := unpacker.DecodeAll(packed, nil)
	if err != nil {
		return errDamaged
	}
	if err := l.view.store.shelf.Load(number, keys, values); err != nil {
		return fmt.Errorf("it is damaged: shard %d: %w", number, err)
	}
	linked, err := l.check(values)
	l.mu.Lock()
	l.linked += linked
	l.mu.Unlock()
	return err
}

// check reads every card. It gives how many identifiers are in the graph.
func (l *loader) check(values []byte) (linked int, err error) {
	var line Timeline
	for len(values) > 0 {
		n, read := binary.Uvarint(values)
		id, rest := splitIdentity(values[read : read+int(n)])
		values = values[read+int(n):]
		var ok bool
		if line, ok = readTimeline(rest, line[:0]); !ok || int(id.vertex) >= l.view.store.graph.vertices.count || id.vertex < none {
			return 0, errDamaged
		}
		if id.vertex != none {
			linked++
		}
		for i := range line {
			if int(line[i].Terms) >= len(l.view.rules.terms) {
				return 0, errDamaged
			}
		}
	}
	return linked, nil
}

// finish makes the graph of what was read, and checks that nothing is missing.
func (l *loader) finish() error {
	s := &l.view.store
	g := &s.graph
	if slices.Contains(l.loaded[:], false) || s.shelf.Len() != l.meta.Identifiers || g.vertices.count != l.meta.Members ||
		l.linked != l.meta.Members || len(l.pairs) != l.meta.Pairs || len(l.view.glossary.terms) < 2 {
		return errDamaged
	}
	for v := range int32(g.vertices.count) {
		id, _ := s.identity(g.name(v))
		if id.vertex != v {
			return errDamaged
		}
		if id.shared {
			g.declare(v)
		}
	}
	for i, p := range l.pairs {
		if g.restore(p); g.edges.count != i+1 {
			return errDamaged
		}
	}
	g.settle(nil)
	return nil
}

func cmpPartition(a, b pipeline.Partition) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.ID, b.ID))
}
