package main

import (
	"context"
	"encoding/json"
	"fmt"

	"lupa/schemas"
	"lupa/schemas/decode"
)

// statements reads what ledger messages say.
type statements interface {
	Read(m *schemas.LedgerMessages, i int, dst []schemas.Statement) []schemas.Statement
}

// registryReader reads ledger messages whose schema is in a registry: their JSON
// text is given to the reader behind it. Keys may be texts or have a schema too.
type registryReader struct {
	ctx   context.Context // of the ledger: what waits for the registry ends with it
	texts *decode.Texts
	next  statements

	one schemas.LedgerMessages
	key []byte
}

func newRegistryReader(ctx context.Context, registry decode.Registry, next statements) (*registryReader, error) {
	texts, err := decode.NewTexts(registry, decode.Options{})
	if err != nil {
		return nil, err
	}
	r := &registryReader{ctx: ctx, texts: texts, next: next}
	r.one.Keys, r.one.Values = make([][]byte, 1), make([][]byte, 1)
	return r, nil
}

// noText is what stands for a value without a text: no reader takes it for a
// record, and each denies what the key names.
var noText = []byte{0}

// Read gives what message i says.
func (r *registryReader) Read(m *schemas.LedgerMessages, i int, dst []schemas.Statement) []schemas.Statement {
	if i == 0 {
		r.texts.Begin()
	}
	var headers []byte
	if m.Headers != nil {
		headers = m.Headers[i]
	}
	r.one.Topic, r.one.Partition, r.one.Offsets = m.Topic, m.Partition, m.Offsets[i:i+1]
	r.one.Keys[0], r.one.Values[0] = r.keyText(m.Keys[i]), m.Values[i]
	if schemas.IsMarker(r.one.Keys[0]) || m.Values[i] == nil || schemas.IsMarker(m.Values[i]) {
		return r.next.Read(&r.one, 0, dst)
	}
	text, reason, err := r.texts.Text(r.ctx, m.Values[i], headers)
	if err == nil && reason == schemas.NoReason {
		r.one.Values[0] = text
		return r.next.Read(&r.one, 0, dst)
	}
	r.one.Values[0] = noText
	from := len(dst)
	dst = r.next.Read(&r.one, 0, dst)
	for j := from; j < len(dst); j++ {
		dst[j].Fault = fmt.Errorf("the value has no text of its schema: %s", reason)
		if err != nil {
			// Nobody is denied for a registry that is not there: the reading stops.
			dst[j] = schemas.Statement{Fault: err}
		}
	}
	return dst
}

// keyText gives a key as text: what a serializer with a schema wrote, or as it is.
func (r *registryReader) keyText(key []byte) []byte {
	if len(key) == 0 || key[0] != 0 {
		return key
	}
	text, reason, err := r.texts.Text(r.ctx, key, nil)
	if err != nil || reason != schemas.NoReason {
		return key
	}
	var plain string
	if json.Unmarshal(text, &plain) == nil {
		r.key = append(r.key[:0], plain...)
	} else {
		r.key = append(r.key[:0], text...) // an object, which a mapping may know
	}
	return r.key
}
