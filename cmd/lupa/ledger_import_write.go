package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/bmatcuk/doublestar/v4"

	"lupa/connectors/kafka"
	"lupa/schemas"
)

// importTarget takes the records of an import in the order of their rows.
type importTarget interface {
	put(ctx context.Context, r importRecord) error
	// finish makes all of them durable and tells what was written.
	finish(ctx context.Context) (*writtenTo, error)
	// close lets go of what a target that was not finished has.
	close() error
}

// checkTarget refuses a ledger that records cannot be written to.
func (im *importer) checkTarget() error {
	c := &im.config.Ledger
	switch {
	case !im.o.apply && im.o.to != "":
		return usageError("--to is for --apply")
	case !im.o.apply:
		return nil
	case c.Mapping != "":
		return usageError("%s: ledger.mapping says that the ledger holds rows of another system, beside which no records can stand", im.config.File)
	case c.Encoding == encodingRegistry:
		return usageError("%s: ledger.encoding is registry, and records are written as JSON alone", im.config.File)
	case c.Kafka != nil && im.o.to != "":
		return usageError("--to is for a ledger of files, and that of %s is a topic", im.config.File)
	case c.Kafka == nil && im.o.to == "":
		return usageError("--to is missing: the new file of the ledger %s", c.File)
	case c.Kafka == nil:
		return im.checkFile()
	}
	return nil
}

// checkFile refuses a file that would not be read as a part of the ledger, or
// is there already, or whose parts might be read before it is whole.
func (im *importer) checkFile() error {
	to, glob := im.o.to, im.config.Ledger.File
	matches := func(name string) (bool, error) {
		pattern, err := filepath.Abs(glob)
		if err != nil {
			return false, err
		}
		path, err := filepath.Abs(name)
		if err != nil {
			return false, err
		}
		return doublestar.PathMatch(pattern, path)
	}
	ok, err := matches(to)
	if err != nil {
		return err
	}
	if !ok {
		return usageError("--to %s: ledger.file is %s, which does not match it, so that nothing in it would be read", to, glob)
	}
	if ok, err = matches(partName(to)); err != nil {
		return err
	} else if ok {
		return usageError("--to %s: ledger.file is %s, which matches what is not written whole too; it must end like the files of the ledger", to, glob)
	}
	if ext := filepath.Ext(to); ext == ".gz" || ext == ".zst" {
		return usageError("--to %s: the file is not compressed", to)
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return usageError("--to %s is there already, and a ledger is never written over", to)
	}
	return nil
}

func partName(name string) string { return name + ".part" }

// open gives where the records go.
func (im *importer) open(ctx context.Context) (importTarget, error) {
	switch {
	case !im.o.apply:
		return nothing{}, nil
	case im.config.Ledger.Kafka == nil:
		return openFileTarget(im.o.to)
	}
	return im.openTopic(ctx)
}

func (im *importer) finish(ctx context.Context, target importTarget) (err error) {
	im.sum.Written, err = target.finish(ctx)
	return err
}

// nothing is the target of an import that is not applied.
type nothing struct{}

func (nothing) put(context.Context, importRecord) error    { return nil }
func (nothing) finish(context.Context) (*writtenTo, error) { return nil, nil }
func (nothing) close() error                               { return nil }

// fileTarget writes a new file of a ledger.
type fileTarget struct {
	name string
	f    *os.File // nil once it is closed
	w    *bufio.Writer
	text []byte
	done writtenTo
}

func openFileTarget(name string) (*fileTarget, error) {
	f, err := os.OpenFile(partName(name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &fileTarget{name: name, f: f, w: bufio.NewWriterSize(f, 1<<20), done: writtenTo{Target: name}}, nil
}

// put writes a record. A file has no keys, so a deletion is a withdrawal.
func (t *fileTarget) put(_ context.Context, r importRecord) error {
	if r.deleted {
		if !forgettable(&r.record) {
			t.done.Kept++
			return nil
		}
		r.record.Verb = schemas.Withdraw
	}
	t.text = append(schemas.AppendRecord(t.text[:0], r.record), '\n')
	t.done.Records++
	_, err := t.w.Write(t.text)
	return err
}

// finish gives the file its name when all of it is on disk.
func (t *fileTarget) finish(context.Context) (*writtenTo, error) {
	err := t.w.Flush()
	if err == nil {
		err = t.f.Sync()
	}
	if err = errors.Join(err, t.f.Close()); err != nil {
		return nil, err
	}
	t.f = nil
	if _, err := os.Lstat(t.name); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is there now, and a ledger is never written over", t.name)
	}
	if err := os.Rename(partName(t.name), t.name); err != nil {
		return nil, err
	}
	dir, err := os.Open(filepath.Dir(t.name))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return nil, err
	}
	return &t.done, nil
}

func (t *fileTarget) close() error {
	if t.f == nil {
		return nil
	}
	return errors.Join(t.f.Close(), os.Remove(partName(t.name)))
}

// forgettable reports whether what a key says may be gone without permitting
// more: a consent for one purpose, and no restriction, erasure, link or denial
// of several purposes.
func forgettable(r *schemas.Record) bool {
	return r.Verb == schemas.NoVerb && !r.Every && r.Purpose != schemas.NoPurpose && !r.Purpose.IsGroup()
}

// The batches of a topic.
const (
	batchRecords = 1000
	batchBytes   = 512 << 10
)

// topicTarget writes to the topic of a ledger.
type topicTarget struct {
	producer *kafka.Producer
	topic    string
	last     map[[16]byte]keyStanding // of each key, in the topic or the batch
	keys     [][]byte
	values   [][]byte
	bytes    int
	first    string // place of the batch's first record
	done     writtenTo
}

// keyStanding is what orders the records of a key: compaction keeps the one that was
// written last, so that it must be the one that stands.
type keyStanding struct {
	version, time, end int64
	rank               uint8
	less               bool // only some regions are meant, or somebody is several people
}

// standingOf gives the rank of a record among those of one version: as the view
// has it, the one that permits less.
func standingOf(r *schemas.Record, deleted bool) keyStanding {
	s := keyStanding{r.Version, r.Time, r.Until, rankOf(r, deleted), r.Terms.Regions != "" || r.Shared}
	grants := r.Verb == schemas.Grant || r.Verb == schemas.GuardianGrant
	switch {
	case r.Verb == schemas.Erase:
		s.version = s.time // no version undoes an erasure; the latest counts
	case !deleted && !grants && !r.Every && !r.Purpose.IsGroup():
		s.time = -s.time // of two denials of one purpose the earlier
	}
	if r.Verb != schemas.Born {
		// The one that ends sooner, and at last what never does.
		if s.end = -s.end; s.end == 0 {
			s.end = math.MinInt64
		}
	}
	return s
}

// rankOf orders what can stand under one key, from what permits the most.
func rankOf(r *schemas.Record, deleted bool) uint8 {
	switch {
	case deleted:
		return 255
	case r.Pending:
		return 2
	case r.Proven:
		return 0
	}
	switch r.Verb {
	case schemas.Grant, schemas.GuardianGrant:
		return 1
	case schemas.Lift, schemas.Link, schemas.Expire:
		return 3
	case schemas.Refuse:
		return 4
	case schemas.Withdraw, schemas.GuardianWithdraw:
		return 5
	}
	return 6
}

// stands reports whether s is to be written where o was.
func (s keyStanding) stands(o keyStanding) bool {
	return cmp.Or(cmp.Compare(s.version, o.version), cmp.Compare(s.rank, o.rank), cmp.Compare(s.time, o.time),
		cmp.Compare(s.end, o.end)) > 0 || s.less && !o.less && s == (keyStanding{o.version, o.time, o.end, o.rank, true})
}

// openTopic reads what the topic has before anything is written.
func (im *importer) openTopic(ctx context.Context) (_ *topicTarget, err error) {
	k := im.config.Ledger.Kafka
	cluster, err := im.rooms.cluster(k.Brokers, k.Security)
	if err != nil {
		return nil, err
	}
	t := &topicTarget{topic: k.Topic, last: map[[16]byte]keyStanding{}, done: writtenTo{Target: "topic " + k.Topic}}
	present := &topicKeys{im: im, target: t, reader: schemas.NewRecordReader(im.vocabulary)}
	ledger, err := cluster.Ledger(k.Topic, present, kafka.LedgerOptions{})
	if err != nil {
		return nil, err
	}
	if err := ledger.Start(ctx); err != nil {
		return nil, err
	}
	if err := ledger.Close(); err != nil {
		return nil, err
	}
	t.producer = cluster.Producer()
	return t, nil
}

// topicKeys notes what stands under each key of a topic.
type topicKeys struct {
	im     *importer
	target *topicTarget
	reader *schemas.RecordReader
	list   []schemas.Statement
}

// ApplyMessages takes messages of the topic. What cannot be read stands for
// nothing: it says nothing about a version.
func (k *topicKeys) ApplyMessages(m *schemas.LedgerMessages) (int, error) {
	for i := range m.Offsets {
		k.list = k.reader.Read(m, i, k.list[:0])
		for j := range k.list {
			s := &k.list[j]
			if s.Kind != schemas.Said || k.im.resolve(s) != nil || s.Kind != schemas.Said {
				continue
			}
			key := digestOf(schemas.AppendRecordKey(nil, s.Record))
			now := standingOf(&s.Record, false)
			if before, known := k.target.last[key]; !known || now.stands(before) {
				k.target.last[key] = now
			}
		}
	}
	return len(m.Offsets), nil
}

func digestOf(key []byte) (d [16]byte) {
	sum := sha256.Sum256(key)
	copy(d[:], sum[:])
	return d
}

// put adds a record to the batch, if it stands.
func (t *topicTarget) put(ctx context.Context, r importRecord) error {
	if r.deleted && !forgettable(&r.record) {
		t.done.Kept++
		return nil
	}
	key := schemas.AppendRecordKey(nil, r.record)
	digest, now := digestOf(key), standingOf(&r.record, r.deleted)
	if before, known := t.last[digest]; known && !now.stands(before) {
		t.done.Superseded++
		return nil
	}
	t.last[digest] = now
	var value []byte
	if r.deleted {
		t.done.Tombstones++
	} else {
		t.done.Records++
		value = schemas.AppendRecord(nil, r.record)
	}
	if len(t.keys) == 0 {
		t.first = r.place
	}
	t.keys, t.values = append(t.keys, key), append(t.values, value)
	t.bytes += len(key) + len(value)
	if len(t.keys) < batchRecords && t.bytes < batchBytes {
		return nil
	}
	return t.flush(ctx)
}

func (t *topicTarget) flush(ctx context.Context) error {
	if err := t.producer.Produce(ctx, t.topic, t.keys, t.values); err != nil {
		return fmt.Errorf("the rows before %s are written; running the import again writes the rest: %w", t.first, err)
	}
	t.keys, t.values, t.bytes = t.keys[:0], t.values[:0], 0
	return nil
}

func (t *topicTarget) finish(ctx context.Context) (*writtenTo, error) {
	if err := t.flush(ctx); err != nil {
		return nil, err
	}
	return &t.done, nil
}

func (t *topicTarget) close() error { return t.producer.Close() }
