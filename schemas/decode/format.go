package decode

import (
	"context"
	"fmt"
	"math"

	"lupa/schemas"
)

// Encoding says how the values of messages are written.
type Encoding uint8

// The encodings. The zero value is bare JSON.
const (
	BareJSON Encoding = iota // one JSON text
	// FromRegistry is Avro, JSON or Protobuf, as the schema in the registry
	// says whose id stands before the value or in a header.
	FromRegistry
)

// Envelope says what is around an event.
type Envelope uint8

// The envelopes. The zero value is none.
const (
	NoEnvelope  Envelope = iota
	CloudEvents          // CloudEvents 1.0, structured or in headers
	Debezium             // a row change of a database
)

// Format is what the messages of a topic look like.
type Format struct {
	Encoding Encoding
	Envelope Envelope
}

func (f Format) check() error {
	if f.Encoding > FromRegistry {
		return fmt.Errorf("encoding %d is none", f.Encoding)
	}
	if f.Envelope > Debezium {
		return fmt.Errorf("envelope %d is none", f.Envelope)
	}
	return nil
}

// Decoder decodes the messages of topics in several formats. A message that is
// not bare JSON already is rewritten as the JSON text that it stands for, its
// view, and the views are then decoded as JSON is. One goroutine may use it.
type Decoder struct {
	json    *JSON
	formats map[string]Format
	other   Format
	cache   schemaCache
	// wants are what is wanted of a payload, by the envelope that it is.
	wants [Debezium + 1]*want

	arena []byte // the views, one after the other
	views []view
	work  scratch
}

// scratch is what one message needs, kept for the next one.
type scratch struct {
	headers headers
	payload []byte // a payload as JSON, and slack
	inner   []byte // what stood in a string of it, and slack
	indexes []int
	avro    avroReader
	proto   protoReader
	object  object
	event   cloudEvent
}

// view is what became of a message: the place of its view, or why there is none.
type view struct {
	span   schemas.Span
	reason schemas.Reason
}

// New makes a decoder of the messages of the contracts. A topic that is not in
// formats has the format other. The registry may be nil when no format needs it.
func New(contracts []*schemas.Contract, formats map[string]Format, other Format, registry Registry, opts Options) (*Decoder, error) {
	json, err := NewJSON(contracts, opts)
	if err != nil {
		return nil, err
	}
	needed := other.Encoding == FromRegistry
	if err := other.check(); err != nil {
		return nil, fmt.Errorf("decode: format of other topics: %w", err)
	}
	d := &Decoder{json: json, formats: make(map[string]Format, len(formats)), other: other, cache: newSchemaCache(registry)}
	for topic, f := range formats {
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("decode: format of topic %s: %w", topic, err)
		}
		needed = needed || f.Encoding == FromRegistry
		d.formats[topic] = f
	}
	if needed && registry == nil {
		return nil, fmt.Errorf("decode: a format needs a schema registry, and there is none")
	}
	slots := len(json.walker.compared)
	paths := wanted(json.paths, json.identitySlots(slots), json.signalSlots(slots))
	d.wants = [...]*want{NoEnvelope: paths, CloudEvents: cloudEventWant(paths), Debezium: debeziumWant(paths)}
	return d, nil
}

// Decode reads the messages of a topic, as Decode of JSON does. While a schema
// is needed that the registry cannot be asked for, it waits.
func (d *Decoder) Decode(ctx context.Context, topic string, m *schemas.Messages) ([]schemas.Rows, []schemas.Reject, error) {
	f, ok := d.formats[topic]
	if !ok {
		f = d.other
	}
	if f == (Format{}) {
		return d.json.Decode(ctx, topic, m)
	}
	arena, err := withSlack(m.Arena, m.Values, m.Times)
	if err != nil {
		return nil, nil, err
	}
	if err := checkHeaders(m); err != nil {
		return nil, nil, err
	}
	if err := d.rewrite(ctx, f, arena, m); err != nil {
		return nil, nil, err
	}
	d.json.begin(d.arena)
	for i, v := range d.views {
		if v.reason != schemas.NoReason {
			d.json.reject(int32(i), v.reason)
			continue
		}
		d.json.text(int32(i), v.span, m.Times[i])
	}
	return d.json.end()
}

func checkHeaders(m *schemas.Messages) error {
	if len(m.Headers) != 0 && len(m.Headers) != len(m.Values) {
		return fmt.Errorf("decode: %d messages with %d headers", len(m.Values), len(m.Headers))
	}
	for _, s := range m.Headers {
		if int(s.Off)+int(s.Len) > len(m.Arena) {
			return fmt.Errorf("decode: headers end behind their arena of %d bytes", len(m.Arena))
		}
	}
	return nil
}

// rewrite makes the views of all messages.
func (d *Decoder) rewrite(ctx context.Context, f Format, arena []byte, m *schemas.Messages) error {
	clear(d.cache.unknown)
	d.arena, d.views = d.arena[:0], d.views[:0]
	for i, s := range m.Values {
		value := document{arena, int(s.Off), int(s.Off) + int(s.Len)}
		var list []byte
		if len(m.Headers) > 0 {
			h := m.Headers[i]
			list = m.Arena[h.Off : h.Off+h.Len]
		}
		from := len(d.arena)
		reason, err := d.view(ctx, f, value, list)
		if err != nil {
			return err
		}
		if reason == schemas.NoReason && len(d.arena)-from > d.longestView() {
			reason = schemas.TooLarge
		}
		if reason != schemas.NoReason {
			d.arena = d.arena[:from]
		}
		d.views = append(d.views, view{schemas.Span{Off: uint32(from), Len: uint32(len(d.arena) - from)}, reason})
		if len(d.arena) > math.MaxInt32-slack {
			return fmt.Errorf("decode: %d bytes of JSON for %d messages, views reach 2 GiB", len(d.arena), i+1)
		}
	}
	d.arena = append(d.arena, make([]byte, slack)...)
	return nil
}

// longestView is the length of the longest JSON text that is made of a message.
// Escapes make six bytes of one, and short numbers get names.
func (d *Decoder) longestView() int { return 8*d.json.opts.MaxMessageBytes + 1<<16 }

// view appends the view of a message to the arena.
func (d *Decoder) view(ctx context.Context, f Format, value document, headers []byte) (schemas.Reason, error) {
	switch empty := value.p == value.end; {
	case value.end-value.p > d.json.opts.MaxMessageBytes:
		return schemas.TooLarge, nil
	case !d.work.headers.read(headers):
		return schemas.Malformed, nil
	case f.Envelope == CloudEvents:
		return d.cloudEvent(ctx, f, value)
	case empty && f.Envelope == Debezium:
		return schemas.SourceDeleted, nil
	case empty:
		return schemas.EmptyMessage, nil
	}
	payload, reason, err := d.payload(ctx, f, value)
	if reason != schemas.NoReason || err != nil {
		return reason, err
	}
	if f.Envelope == Debezium {
		return d.change(payload), nil
	}
	d.arena = append(d.arena, payload.bytes()...)
	return schemas.NoReason, nil
}

// payload gives the JSON text of a value, without an envelope's meaning.
func (d *Decoder) payload(ctx context.Context, f Format, value document) (document, schemas.Reason, error) {
	if f.Encoding == BareJSON {
		return value, schemas.NoReason, nil
	}
	return d.registered(ctx, value, d.wants[f.Envelope])
}

// registered turns a payload whose schema is in the registry into JSON text.
func (d *Decoder) registered(ctx context.Context, value document, w *want) (document, schemas.Reason, error) {
	form, ok := cutSchemaID(value, &d.work.headers)
	if !ok {
		return document{}, schemas.Malformed, nil
	}
	s, err := d.cache.schema(ctx, form.schema)
	switch {
	case err != nil:
		return document{}, schemas.NoReason, err
	case s == nil:
		return document{}, schemas.UnknownSchema, nil
	case s.typ == Protobuf:
		if d.work.indexes, ok = form.indexes(d.work.indexes[:0]); !ok {
			return document{}, schemas.Malformed, nil
		}
	case len(form.rest) > 0:
		return document{}, schemas.Malformed, nil
	}
	var reason schemas.Reason
	out := d.work.payload[:0]
	switch s.typ {
	case JSONSchema:
		return form.payload, schemas.NoReason, nil
	case Avro:
		out, reason = s.avro.appendJSON(out, form.payload.bytes(), w, d.json.opts.MaxDepth, &d.work.avro)
	case Protobuf:
		out, reason = s.proto.appendJSON(out, form.payload.bytes(), d.work.indexes, w, d.json.opts.MaxDepth, &d.work.proto)
	}
	d.work.payload, value = withSlackBehind(out)
	return value, reason, nil
}

// withSlackBehind makes a document of a text that was written. The first result
// is the text and the slack.
func withSlackBehind(text []byte) ([]byte, document) {
	n := len(text)
	text = append(text, make([]byte, slack)...)
	return text, document{text, 0, n}
}
