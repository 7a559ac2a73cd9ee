package decode

import (
	"context"
	"errors"

	"lupa/schemas"
)

// Texts gives messages as the JSON texts that they stand for, whole: all members
// at every depth. It is for what is read without a contract, such as records of
// the ledger. One goroutine may use it.
type Texts struct{ d *Decoder }

// NewTexts makes one for messages whose schema is in a registry.
func NewTexts(registry Registry, opts Options) (*Texts, error) {
	if registry == nil {
		return nil, errors.New("decode: texts need a schema registry")
	}
	opts, err := opts.filled()
	if err != nil {
		return nil, err
	}
	all := everything()
	all.whole = true
	d := &Decoder{json: &JSON{opts: opts}, cache: newSchemaCache(registry)}
	for i := range d.wants {
		d.wants[i] = all
	}
	return &Texts{d}, nil
}

// Begin says that what comes is another fetch: a schema that was not known may
// be known by now.
func (t *Texts) Begin() { clear(t.d.cache.unknown) }

// Text gives the JSON text of a value, valid until the next call, or the reason
// why there is none. headers are the message's, as schemas.Messages has them.
// While a schema is needed that the registry cannot be asked for, it waits,
// until ctx ends.
func (t *Texts) Text(ctx context.Context, value, headers []byte) ([]byte, schemas.Reason, error) {
	d := t.d
	switch {
	case len(value) > d.json.opts.MaxMessageBytes:
		return nil, schemas.TooLarge, nil
	case len(value) == 0:
		return nil, schemas.EmptyMessage, nil
	case !d.work.headers.read(headers):
		return nil, schemas.Malformed, nil
	}
	// Scanners load whole words, and value may end where its memory does.
	d.arena = append(append(d.arena[:0], value...), make([]byte, slack)...)
	text, reason, err := d.registered(ctx, document{d.arena, 0, len(value)}, d.wants[NoEnvelope])
	if reason != schemas.NoReason || err != nil {
		return nil, reason, err
	}
	if len(text.bytes()) > d.longestView() {
		return nil, schemas.TooLarge, nil
	}
	return text.bytes(), schemas.NoReason, nil
}
