package consent

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// A snapshot is a file of sections, as FORMAT.md says.
const (
	snapshotMagic   = "LUPALEDG"
	snapshotVersion = 1
	// maxSection is how long one may be; what says that it is longer is damaged.
	maxSection = 1 << 32
)

// section says what a section holds. They come in this order.
type section uint8

const (
	metaSection section = iota + 1
	termSection
	memberSection
	pairSection
	reviewSection
	shardSection
	endSection
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sectionWriter writes them, and at the end what all of them come to.
type sectionWriter struct {
	w   io.Writer
	sum hash.Hash
	err error // the first
}

func newSectionWriter(w io.Writer) *sectionWriter {
	s := &sectionWriter{sum: sha256.New()}
	s.w = io.MultiWriter(w, s.sum)
	s.put(binary.LittleEndian.AppendUint32([]byte(snapshotMagic), snapshotVersion))
	return s
}

func (s *sectionWriter) put(b []byte) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
	}
}

// write writes a section of some parts.
func (s *sectionWriter) write(kind section, parts ...[]byte) {
	head := []byte{byte(kind)}
	length, sum := 0, crc32.Checksum(head, castagnoli)
	for _, part := range parts {
		length += len(part)
		sum = crc32.Update(sum, castagnoli, part)
	}
	head = binary.LittleEndian.AppendUint64(head, uint64(length))
	s.put(binary.LittleEndian.AppendUint32(head, sum))
	for _, part := range parts {
		s.put(part)
	}
}

// end writes the last section, without which the others are not whole.
func (s *sectionWriter) end() error {
	s.write(endSection, s.sum.Sum(nil))
	return s.err
}

// errCut is what the reader of a snapshot gives when it ends too early.
var errCut = errors.New("it is cut off")

// sectionReader reads what a sectionWriter has written.
type sectionReader struct {
	r   io.Reader
	sum hash.Hash
}

func newSectionReader(r io.Reader) (*sectionReader, error) {
	s := &sectionReader{sum: sha256.New()}
	s.r = io.TeeReader(r, s.sum)
	head := make([]byte, len(snapshotMagic)+4)
	if err := s.fill(head); err != nil {
		return nil, err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, errors.New("it is no snapshot of a ledger")
	}
	if v := binary.LittleEndian.Uint32(head[len(snapshotMagic):]); v != snapshotVersion {
		return nil, fmt.Errorf("it has format %d, this program reads %d", v, snapshotVersion)
	}
	return s, nil
}

func (s *sectionReader) fill(b []byte) error {
	_, err := io.ReadFull(s.r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errCut
	}
	return err
}

// next gives a section, in memory of its own. After the last it has read all that
// there is.
func (s *sectionReader) next() (section, []byte, error) {
	whole := s.sum.Sum(nil)
	var head [13]byte
	if err := s.fill(head[:]); err != nil {
		return 0, nil, err
	}
	kind, length := section(head[0]), binary.LittleEndian.Uint64(head[1:])
	if kind < metaSection || kind > endSection || length > maxSection {
		return 0, nil, errors.New("it is damaged: a section is none")
	}
	var payload bytes.Buffer
	// Memory for what is there, and not for what a damaged length says.
	payload.Grow(int(min(length, 1<<20)))
	if n, err := io.CopyN(&payload, s.r, int64(length)); err == io.EOF && uint64(n) < length {
		return 0, nil, errCut
	} else if err != nil {
		return 0, nil, err
	}
	b := payload.Bytes()
	if crc32.Update(crc32.Checksum(head[:1], castagnoli), castagnoli, b) != binary.LittleEndian.Uint32(head[9:]) {
		return 0, nil, fmt.Errorf("it is damaged: section %d has another checksum", kind)
	}
	if kind == endSection {
		if !bytes.Equal(b, whole) {
			return 0, nil, errors.New("it is damaged: its sections do not belong together")
		}
		if n, err := s.r.Read(head[:1]); n > 0 || err == nil {
			return 0, nil, errors.New("it is damaged: something follows its end")
		}
	}
	return kind, b, nil
}
