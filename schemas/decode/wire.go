package decode

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// document is a text or payload a[p:end]; slack bytes behind it can be read.
type document struct {
	a      []byte
	p, end int
}

func (d document) bytes() []byte { return d.a[d.p:d.end] }

// The first byte of a schema id says what it is.
const (
	magicID   = 0 // four bytes, big-endian
	magicGUID = 1 // sixteen bytes
)

// mostIndexes is how deeply the message types of a Protobuf schema may nest.
const mostIndexes = 64

// wireForm is a message in the Confluent wire format.
type wireForm struct {
	schema schemaID
	// inHeader says that the id stood in a header, and with it all that stands
	// between id and payload otherwise; rest is what followed the id there.
	inHeader bool
	rest     []byte
	payload  document
}

// cutSchemaID reads the id in the header, or, when there is none, before the
// payload.
func cutSchemaID(in document, h *headers) (w wireForm, ok bool) {
	w.payload = in
	if h.hasSchemaID {
		w.inHeader = true
		w.schema, w.rest, ok = readSchemaID(h.schemaID)
		return w, ok
	}
	value := in.bytes()
	if len(value) == 0 || value[0] != magicID {
		return w, false // GUIDs stand in headers only
	}
	var rest []byte
	w.schema, rest, ok = readSchemaID(value)
	w.payload.p = in.end - len(rest)
	return w, ok
}

func readSchemaID(b []byte) (s schemaID, rest []byte, ok bool) {
	switch {
	case len(b) >= 5 && b[0] == magicID:
		s.id = int32(binary.BigEndian.Uint32(b[1:]))
		return s, b[5:], true
	case len(b) >= 17 && b[0] == magicGUID:
		s.byGUID = true
		copy(s.guid[:], b[1:])
		return s, b[17:], true
	}
	return s, nil, false
}

// indexes reads which message type of a Protobuf schema the payload has: its
// index among the types of the file, then among those within that type, and so
// on.
func (w *wireForm) indexes(list []int) (_ []int, ok bool) {
	b := w.payload.bytes()
	if w.inHeader {
		b = w.rest
	}
	n, b, ok := cutZigzag(b)
	if !ok || n < 0 || n > mostIndexes {
		return nil, false
	}
	if n == 0 {
		list = append(list, 0)
	}
	for range n {
		var index int64
		if index, b, ok = cutZigzag(b); !ok || index < 0 || index > 1<<31-1 {
			return nil, false
		}
		list = append(list, int(index))
	}
	if w.inHeader {
		return list, len(b) == 0
	}
	w.payload.p = w.payload.end - len(b)
	return list, true
}

// cutZigzag reads a signed varint.
func cutZigzag(b []byte) (n int64, rest []byte, ok bool) {
	u, k := protowire.ConsumeVarint(b)
	if k < 0 {
		return 0, nil, false
	}
	return protowire.DecodeZigZag(u), b[k:], true
}
