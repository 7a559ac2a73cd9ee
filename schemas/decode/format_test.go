package decode

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"lupa/schemas"
)

// fakeRegistry knows schemas by id and by GUID.
type fakeRegistry struct {
	ids   map[int32]Schema
	guids map[[16]byte]Schema
	err   error // instead of an answer
	asked int
}

func (r *fakeRegistry) ByID(_ context.Context, id int32) (Schema, error) {
	r.asked++
	s, ok := r.ids[id]
	return s, r.answer(ok)
}

func (r *fakeRegistry) ByGUID(_ context.Context, guid [16]byte) (Schema, error) {
	r.asked++
	s, ok := r.guids[guid]
	return s, r.answer(ok)
}

func (r *fakeRegistry) answer(ok bool) error {
	switch {
	case r.err != nil:
		return r.err
	case !ok:
		return fmt.Errorf("ask: %w", ErrUnknownSchema)
	}
	return nil
}

// raw is a message as a topic has it.
type raw struct {
	value   []byte
	headers [][2]string // a value of "\x00null" is none
}

const nullHeader = "\x00null"

func appendZigzag(b []byte, n int64) []byte {
	u := uint64(n)<<1 ^ uint64(n>>63)
	for u >= 0x80 {
		b = append(b, byte(u)|0x80)
		u >>= 7
	}
	return append(b, byte(u))
}

func appendHeaders(b []byte, list [][2]string) []byte {
	b = appendZigzag(b, int64(len(list)))
	for _, h := range list {
		b = append(appendZigzag(b, int64(len(h[0]))), h[0]...)
		if h[1] == nullHeader {
			b = appendZigzag(b, -1)
			continue
		}
		b = append(appendZigzag(b, int64(len(h[1]))), h[1]...)
	}
	return b
}

func packRaw(list []raw) *schemas.Messages {
	m := &schemas.Messages{}
	for _, r := range list {
		m.Values = append(m.Values, schemas.Span{Off: uint32(len(m.Arena)), Len: uint32(len(r.value))})
		m.Times = append(m.Times, noEventTime)
		m.Arena = append(m.Arena, r.value...)
		from := len(m.Arena)
		if r.headers != nil {
			m.Arena = appendHeaders(m.Arena, r.headers)
		}
		m.Headers = append(m.Headers, schemas.Span{Off: uint32(from), Len: uint32(len(m.Arena) - from)})
	}
	m.Arena = append(m.Arena, strings.Repeat(`"}]0 ,"`, 10)[:slack]...)
	return m
}

// newDecoder makes a decoder of one format for all topics.
func newDecoder(t testing.TB, f Format, r Registry, contracts ...*schemas.Contract) *Decoder {
	t.Helper()
	if len(contracts) == 0 {
		contracts = []*schemas.Contract{contract(nil, keep("x", schemas.Text, "x"))}
	}
	d, err := New(contracts, nil, f, r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wantAll makes a decoder write all members into its views.
func wantAll(d *Decoder) *Decoder {
	all := everything()
	for i := range d.wants {
		d.wants[i] = all
	}
	return d
}

// viewOf gives the view of one message, or why it has none. A view is JSON.
func viewOf(t testing.TB, d *Decoder, r raw) (string, schemas.Reason) {
	t.Helper()
	m := packRaw([]raw{r})
	if err := d.rewrite(context.Background(), d.other, m.Arena, m); err != nil {
		t.Fatal(err)
	}
	v := d.views[0]
	if v.reason == schemas.NoReason && v.span.Len > 0 {
		d.json.begin(d.arena)
		d.json.text(0, v.span, 0)
		if r := d.json.rejects; len(r) > 0 && (r[0].Reason == schemas.Malformed || r[0].Reason == schemas.TooDeep) {
			return "", r[0].Reason
		}
	}
	text := string(d.arena[v.span.Off : v.span.Off+v.span.Len])
	if v.reason != schemas.NoReason && text != "" {
		t.Errorf("rejected as %s with a view", v.reason)
	}
	if d.other.Encoding != BareJSON && d.other.Envelope == NoEnvelope && v.reason == schemas.NoReason && !json.Valid([]byte(text)) {
		t.Error("the view is no JSON")
	}
	return text, v.reason
}

// decodeRaw decodes messages of one topic.
func decodeRaw(t testing.TB, d *Decoder, topic string, list ...raw) result {
	t.Helper()
	rows, rejects, err := d.Decode(context.Background(), topic, packRaw(list))
	if err != nil {
		t.Fatal(err)
	}
	res := result{Rejects: append([]schemas.Reject(nil), rejects...)}
	for _, r := range rows {
		var table [][]any
		for i := range r.Message {
			table = append(table, row(t, r.Record, i))
		}
		res.Rows = append(res.Rows, table)
		res.Message = append(res.Message, append([]int32(nil), r.Message...))
	}
	return res
}

// avroID puts the id of a schema before a payload.
func withID(id int32, payload []byte) []byte {
	return append([]byte{0, byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}, payload...)
}

func TestNew(t *testing.T) {
	contracts := []*schemas.Contract{contract(nil, keep("x", schemas.Text, "x"))}
	for _, c := range []struct {
		name    string
		formats map[string]Format
		other   Format
		want    string
	}{
		{"no registry", map[string]Format{"a": {Encoding: FromRegistry}}, Format{}, "needs a schema registry"},
		{"no registry for the others", nil, Format{Encoding: FromRegistry}, "needs a schema registry"},
		{"no such encoding", map[string]Format{"a": {Encoding: 7}}, Format{}, "topic a: encoding 7"},
		{"no such envelope", nil, Format{Envelope: 9}, "other topics: envelope 9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := New(contracts, c.formats, c.other, nil, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := New(nil, nil, Format{}, nil, Options{}); err == nil {
		t.Error("no contracts are taken")
	}
}

// TestPlainTopic checks that bare JSON comes out as it does without formats.
func TestPlainTopic(t *testing.T) {
	contracts := segmentContracts()
	events := segmentEvents(500, 7)
	events[3], events[9] = []byte("{"), nil
	want := decodeAll(t, newJSON(t, contracts, Options{}), events, nil)
	d, err := New(contracts, map[string]Format{"changes": {Envelope: Debezium}}, Format{}, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var list []raw
	for _, e := range events {
		list = append(list, raw{value: e, headers: [][2]string{{"k", "v"}}})
	}
	for range 2 {
		if got := decodeRaw(t, d, "events", list...); !reflect.DeepEqual(got, want) {
			t.Error("a plain topic differs from plain JSON")
		}
		decodeRaw(t, d, "changes", list[:10]...)
	}
}

// TestFormatsByTopic decodes topics of different formats in turn.
func TestFormatsByTopic(t *testing.T) {
	contracts := []*schemas.Contract{contract(nil, keep("name", schemas.Text, "name"), keep("n", schemas.Integer, "n"))}
	avroText := `{"type":"record","name":"R","fields":[{"name":"name","type":"string"},{"name":"n","type":"long"}]}`
	r := &fakeRegistry{ids: map[int32]Schema{1: {Type: Avro, Text: avroText}, 2: {Type: JSONSchema, Text: "{}"}}}
	d, err := New(contracts, map[string]Format{
		"registry": {Encoding: FromRegistry}, "changes": {Envelope: Debezium}, "cloud": {Envelope: CloudEvents},
	}, Format{}, r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("long text that no header holds ", 3)
	binary := append(append([]byte{byte(2 * len(long) & 0x7f), 1}, long...), 14)
	binary[0] |= 0x80
	for range 3 {
		for _, c := range []struct {
			topic string
			value []byte
		}{
			{"other", fmt.Appendf(nil, `{"name":%q,"n":7}`, long)},
			{"registry", withID(1, binary)},
			{"registry", withID(2, fmt.Appendf(nil, `{"name":%q,"n":7}`, long))},
			{"changes", fmt.Appendf(nil, `{"op":"c","after":{"name":%q,"n":7}}`, long)},
			{"cloud", fmt.Appendf(nil, `{"specversion":"1.0","id":"i","source":"s","type":"t","data":{"name":%q,"n":7}}`, long)},
		} {
			got := decodeRaw(t, d, c.topic, raw{value: c.value}, raw{value: []byte("x")}, raw{value: c.value})
			want := [][]any{{long, int64(7)}, {long, int64(7)}}
			if !reflect.DeepEqual(got.Rows[0], want) || !reflect.DeepEqual(got.Message[0], []int32{0, 2}) {
				t.Errorf("%s: wrong rows", c.topic)
			}
			if len(got.Rejects) != 1 || got.Rejects[0].Message != 1 || got.Rejects[0].Reason != schemas.Malformed {
				t.Errorf("%s: rejects are %+v", c.topic, got.Rejects)
			}
		}
	}
}

func TestRegistry(t *testing.T) {
	text := `{"type":"record","name":"R","fields":[{"name":"x","type":"string"}]}`
	good, payload := Schema{Type: Avro, Text: text}, []byte{2, 'a'}
	format := Format{Encoding: FromRegistry}

	t.Run("a schema is asked for once", func(t *testing.T) {
		r := &fakeRegistry{ids: map[int32]Schema{1: good}}
		d := newDecoder(t, format, r)
		for range 3 {
			if got := decodeRaw(t, d, "t", raw{value: withID(1, payload)}, raw{value: withID(1, payload)}); len(got.Rows[0]) != 2 {
				t.Error("no rows")
			}
		}
		if r.asked != 1 {
			t.Errorf("asked %d times", r.asked)
		}
	})
	t.Run("an unknown schema is asked for once a batch, until it is known", func(t *testing.T) {
		r := &fakeRegistry{ids: map[int32]Schema{}}
		d := newDecoder(t, format, r)
		for range 2 {
			got := decodeRaw(t, d, "t", raw{value: withID(1, payload)}, raw{value: withID(1, payload)})
			if len(got.Rejects) != 2 || got.Rejects[0].Reason != schemas.UnknownSchema || got.Rejects[0].Contract != schemas.NoContract {
				t.Errorf("rejects are %+v", got.Rejects)
			}
		}
		if r.asked != 2 {
			t.Errorf("asked %d times", r.asked)
		}
		r.ids[1] = good
		if got := decodeRaw(t, d, "t", raw{value: withID(1, payload)}); len(got.Rows[0]) != 1 {
			t.Error("a schema that is known now is not used")
		}
	})
	t.Run("any other error ends decoding", func(t *testing.T) {
		down := errors.New("no route")
		d := newDecoder(t, format, &fakeRegistry{err: down})
		m := packRaw([]raw{{value: withID(1, payload)}})
		rows, rejects, err := d.Decode(context.Background(), "t", m)
		if !errors.Is(err, down) || rows != nil || rejects != nil {
			t.Errorf("got %d rows, %d rejects, %v", len(rows), len(rejects), err)
		}
	})
	t.Run("a text that is no schema", func(t *testing.T) {
		for name, s := range map[string]Schema{
			"avro":           {Type: Avro, Text: `{"type":"recor`},
			"avro type":      {Type: Avro, Text: `{"type":"record","name":"R","fields":[{"name":"x","type":"Other"}]}`},
			"avro reference": {Type: Avro, Text: text, References: []Reference{{Name: "r", Text: "{"}}},
			"protobuf":       {Type: Protobuf, Text: "syntax = \"proto3\"; message {"},
			"import":         {Type: Protobuf, Text: "syntax = \"proto3\"; import \"absent.proto\"; message M {}"},
			"type":           {Type: 0, Text: text},
			"too long":       {Type: JSONSchema, Text: strings.Repeat(" ", longestSchema+1)},
		} {
			d := newDecoder(t, format, &fakeRegistry{ids: map[int32]Schema{1: s}})
			if got := decodeRaw(t, d, "t", raw{value: withID(1, payload)}); len(got.Rejects) != 1 || got.Rejects[0].Reason != schemas.UnknownSchema {
				t.Errorf("%s: rejects are %+v", name, got.Rejects)
			}
		}
	})
	t.Run("the oldest schema is forgotten", func(t *testing.T) {
		r := &fakeRegistry{ids: map[int32]Schema{}}
		d := newDecoder(t, format, r)
		var list []raw
		for id := int32(0); id < mostSchemas+5; id++ {
			r.ids[id] = good
			list = append(list, raw{value: withID(id, payload)})
		}
		decodeRaw(t, d, "t", list...)
		if len(d.cache.parsed) != mostSchemas || len(d.cache.order) != mostSchemas {
			t.Fatalf("%d schemas are kept", len(d.cache.parsed))
		}
		r.asked = 0
		decodeRaw(t, d, "t", raw{value: withID(4, payload)}, raw{value: withID(mostSchemas+4, payload)})
		if r.asked != 1 {
			t.Errorf("asked %d times, want once for the oldest", r.asked)
		}
	})
}

// TestWrongSchema is about a registry that serves another schema than the one
// that contracts were written for: nothing that they do not name passes.
func TestWrongSchema(t *testing.T) {
	contracts := []*schemas.Contract{contract(nil, identity("email", schemas.Email, "email"), keep("n", schemas.Integer, "n"))}
	avroText := func(fields string) Schema {
		return Schema{Type: Avro, Text: `{"type":"record","name":"R","fields":[` + fields + `]}`}
	}
	protoText := func(fields string) Schema {
		return Schema{Type: Protobuf, Text: `syntax = "proto3"; message R {` + fields + `} message S { string s = 1; }`}
	}
	text := func(s string) []byte { return append([]byte{byte(2 * len(s))}, s...) }
	wrong := func(field int32) []schemas.Reject {
		return []schemas.Reject{{Contract: 0, Field: field, Reason: schemas.WrongType}}
	}
	for _, c := range []struct {
		name    string
		schema  Schema
		payload []byte
		rows    [][]any
		rejects []schemas.Reject
	}{
		{"avro, a field more", avroText(`{"name":"email","type":"string"},{"name":"email2","type":"string"},{"name":"n","type":"long"}`),
			append(append(text("a@b"), text("SECRET")...), 14), [][]any{{"a@b", int64(7)}}, nil},
		{"avro, text for a number", avroText(`{"name":"email","type":"string"},{"name":"n","type":"string"}`),
			append(text("a@b"), text("7")...), nil, wrong(1)},
		{"avro, a record for a text", avroText(`{"name":"email","type":{"type":"record","name":"E","fields":[{"name":"email2","type":"string"}]}},{"name":"n","type":"long"}`),
			append(text("SECRET"), 14), nil, wrong(0)},
		{"avro, an array for a text", avroText(`{"name":"email","type":{"type":"array","items":"string"}},{"name":"n","type":"long"}`),
			append(append([]byte{2}, text("SECRET")...), 0, 14), nil, wrong(0)},
		{"avro, a number that is none", avroText(`{"name":"email","type":"string"},{"name":"n","type":"double"}`),
			append(text("a@b"), 0, 0, 0, 0, 0, 0, 0xf8, 0x7f), nil, wrong(1)},
		{"protobuf, a field more", protoText(`string email = 1; string email2 = 2; int32 n = 3;`),
			[]byte("\x00\x0a\x03a@b\x12\x06SECRET\x18\x07"), [][]any{{"a@b", int64(7)}}, nil},
		{"protobuf, text for a number", protoText(`string email = 1; string n = 3;`),
			[]byte("\x00\x0a\x03a@b\x1a\x017"), nil, wrong(1)},
		{"protobuf, a message for a text", protoText(`S email = 1; int32 n = 3;`), []byte("\x00\x0a\x03\x0a\x01s\x18\x07"), nil, wrong(0)},
		{"protobuf, repeated", protoText(`repeated string email = 1; int32 n = 3;`), []byte("\x00\x0a\x03a@b\x18\x07"), nil, wrong(0)},
		{"protobuf, another schema's number", protoText(`string email = 1; int32 n = 3;`), []byte("\x00\x0a\x03a@b\x1a\x017"), nil,
			[]schemas.Reject{{Contract: schemas.NoContract, Field: schemas.NoField, Reason: schemas.Malformed}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDecoder(t, Format{Encoding: FromRegistry}, &fakeRegistry{ids: map[int32]Schema{5: c.schema}}, contracts...)
			got := decodeRaw(t, d, "t", raw{value: withID(5, c.payload)})
			if !reflect.DeepEqual(got.Rows[0], c.rows) || !reflect.DeepEqual(got.Rejects, c.rejects) {
				t.Errorf("%d rows, rejects %+v", len(got.Rows[0]), got.Rejects)
			}
			if strings.Contains(string(d.arena), "SECRET") {
				t.Error("the view holds what no contract names")
			}
		})
	}
}

func TestHeadersOfMessages(t *testing.T) {
	d := newDecoder(t, Format{Envelope: CloudEvents}, nil)
	m := packRaw([]raw{{value: []byte("{}")}, {value: []byte("{}")}})
	m.Headers = m.Headers[:1]
	if _, _, err := d.Decode(context.Background(), "t", m); err == nil {
		t.Error("two messages with one header are taken")
	}
	m = packRaw([]raw{{value: []byte("{}")}})
	m.Headers[0] = schemas.Span{Off: uint32(len(m.Arena)), Len: 1}
	if _, _, err := d.Decode(context.Background(), "t", m); err == nil {
		t.Error("headers behind the arena are taken")
	}
	m = packRaw([]raw{{value: []byte("{}")}})
	m.Headers = nil
	if _, _, err := d.Decode(context.Background(), "t", m); err != nil {
		t.Error(err)
	}
}
