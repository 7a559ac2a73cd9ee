// Package quarantine puts rejected messages aside, sealed.
//
// An entry is one line of JSON: where the message came from, for which table it
// was, why it was rejected, and, if a recipient is configured, the message
// itself, encrypted to that age public key and in base64. Without a recipient
// an entry holds no part of the message. FORMAT.md describes it.
//
// Entries are durable before the position that passes their messages is
// committed, so none is lost; a run that is killed in between puts the same
// messages aside again. Topic, partition and offset tell such copies.
//
// With the recipient's identity in key.txt, one payload is opened by
//
//	jq -r 'select(.offset == 17).payload' rejects-*.jsonl | base64 -d | age -d -i key.txt
package quarantine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"filippo.io/age"
	"github.com/google/uuid"

	"lupa/pipeline"
)

// Entry is one line of a quarantine.
type Entry struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Table     string `json:"table,omitempty"`
	Field     string `json:"field,omitempty"`
	Reason    string `json:"reason"`
	Payload   []byte `json:"payload,omitempty"` // age file; base64 in JSON
}

// sealer makes entries of rejected messages.
type sealer struct {
	recipient age.Recipient // nil: no payloads
}

func newSealer(recipient string) (sealer, error) {
	if recipient == "" {
		return sealer{}, nil
	}
	r, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		// The error of the library repeats the text, which may be a secret key.
		return sealer{}, errors.New("quarantine: recipient: want an age public key, which begins with age1")
	}
	return sealer{r}, nil
}

// seal gives the entry's line, without a line end.
func (s sealer) seal(r pipeline.Rejected) ([]byte, error) {
	e := Entry{
		Topic: r.Partition.Topic, Partition: r.Partition.ID, Offset: r.Offset,
		Table: r.Table, Field: r.Field, Reason: r.Reason.String(),
	}
	if s.recipient != nil && len(r.Value) > 0 {
		var sealed bytes.Buffer
		w, err := age.Encrypt(&sealed, s.recipient)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(r.Value); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		e.Payload = sealed.Bytes()
	}
	return json.Marshal(e)
}

// Open gives the message of an entry, with the identity of its recipient.
func Open(e Entry, identity age.Identity) ([]byte, error) {
	if len(e.Payload) == 0 {
		return nil, errors.New("quarantine: the entry has no payload")
	}
	r, err := age.Decrypt(bytes.NewReader(e.Payload), identity)
	if err != nil {
		return nil, fmt.Errorf("quarantine: open a payload: %w", err)
	}
	return io.ReadAll(r)
}

// Dir is a quarantine in a directory: one file for each run that rejects
// anything, which only its owner can read.
type Dir struct {
	sealer
	dir string

	mu      sync.Mutex
	file    *os.File
	dirty   bool
	failure error // a file that failed once is not trusted again
}

var _ pipeline.Quarantine = (*Dir)(nil)

// NewDir makes a quarantine in dir, which is made when it is absent. recipient
// is an age public key, or empty to put no messages aside, only their places.
func NewDir(dir, recipient string) (*Dir, error) {
	s, err := newSealer(recipient)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	if err := syncDir(filepath.Dir(filepath.Clean(dir))); err != nil {
		return nil, fmt.Errorf("quarantine: %w", err)
	}
	return &Dir{sealer: s, dir: dir}, nil
}

// Put appends the entries. They are durable after the next Flush.
func (d *Dir) Put(_ context.Context, entries []pipeline.Rejected) error {
	if len(entries) == 0 {
		return nil
	}
	var lines []byte
	for _, r := range entries {
		line, err := d.seal(r)
		if err != nil {
			return fmt.Errorf("quarantine: seal %s offset %d: %w", r.Partition, r.Offset, err)
		}
		lines = append(append(lines, line...), '\n')
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure != nil {
		return d.failure
	}
	if err := d.append(lines); err != nil {
		d.failure = fmt.Errorf("quarantine: %w", err)
	}
	return d.failure
}

func (d *Dir) append(lines []byte) error {
	if d.file == nil {
		name := filepath.Join(d.dir, "rejects-"+uuid.NewString()+".jsonl")
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		d.file = f
		if err := syncDir(d.dir); err != nil {
			return err
		}
	}
	d.dirty = true
	_, err := d.file.Write(lines)
	return err
}

// Flush returns once everything put before is on disk.
func (d *Dir) Flush(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failure != nil || !d.dirty {
		return d.failure
	}
	if err := d.file.Sync(); err != nil {
		d.failure = fmt.Errorf("quarantine: %w", err)
		return d.failure
	}
	d.dirty = false
	return nil
}

// Close closes the run's file.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file = nil
	return err
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Producer writes messages to a topic and returns once they are durable there.
type Producer interface {
	Produce(ctx context.Context, topic string, keys, values [][]byte) error
}

// maxMessage is the longest entry that goes to a topic: brokers take messages
// of one MiB by default, with their key and overhead.
const maxMessage = 1000 << 10

// Topic is a quarantine in a Kafka topic. The key of a message is
// topic/partition/offset of the one that was rejected. An entry that is too
// long for a topic goes there without its payload: refusing it would stop every
// run at the same message.
type Topic struct {
	sealer
	producer Producer
	topic    string
}

var _ pipeline.Quarantine = (*Topic)(nil)

// NewTopic makes a quarantine in a topic that exists; recipient is as in NewDir.
func NewTopic(producer Producer, topic, recipient string) (*Topic, error) {
	s, err := newSealer(recipient)
	if err != nil {
		return nil, err
	}
	return &Topic{sealer: s, producer: producer, topic: topic}, nil
}

// Put writes the entries and returns once they are durable.
func (t *Topic) Put(ctx context.Context, entries []pipeline.Rejected) error {
	if len(entries) == 0 {
		return nil
	}
	keys, values := make([][]byte, len(entries)), make([][]byte, len(entries))
	for i, r := range entries {
		line, err := t.seal(r)
		if err == nil && len(line) > maxMessage {
			line, err = sealer{}.seal(r)
		}
		if err != nil {
			return fmt.Errorf("quarantine: seal %s offset %d: %w", r.Partition, r.Offset, err)
		}
		keys[i] = strconv.AppendInt([]byte(r.Partition.String()+"/"), r.Offset, 10)
		values[i] = line
	}
	if err := t.producer.Produce(ctx, t.topic, keys, values); err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	return nil
}

// Flush does nothing: Put already waited.
func (t *Topic) Flush(context.Context) error { return nil }
