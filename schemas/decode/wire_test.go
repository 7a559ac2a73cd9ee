package decode

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lupa/schemas"
)

func TestWireFormat(t *testing.T) {
	guid := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	inHeader := "\x01" + string(guid[:])
	idInHeader := "\x00\x00\x00\x00\x05"
	avroSchema := Schema{Type: Avro, Text: `{"type":"record","name":"R","fields":[{"name":"x","type":"string"}]}`}
	protoSchema := Schema{Type: Protobuf, Text: `syntax = "proto3";
		message First { string a = 1; }
		message Second { map<string, int32> m = 9; message Inner { string x = 1; } message Other { string y = 1; } string x = 1; }`}
	r := &fakeRegistry{
		ids:   map[int32]Schema{5: avroSchema, 6: {Type: JSONSchema, Text: "{}"}, 7: protoSchema, -1: avroSchema},
		guids: map[[16]byte]Schema{guid: avroSchema},
	}
	protoGUID := guid
	protoGUID[0] = 9
	r.guids[protoGUID] = protoSchema
	protoHeader := "\x01" + string(protoGUID[:])
	header := func(value string) [][2]string { return [][2]string{{"other", "x"}, {schemaIDHeader, value}} }
	const ok = schemas.NoReason
	for _, c := range []struct {
		name    string
		value   string
		headers [][2]string
		want    string
		reason  schemas.Reason
	}{
		{"avro, id before the value", "\x00\x00\x00\x00\x05\x02a", nil, `{"x":"a"}`, ok},
		{"the highest id", "\x00\xff\xff\xff\xff\x02a", nil, `{"x":"a"}`, ok},
		{"json, id before the value", "\x00\x00\x00\x00\x06{\"x\":1}", nil, `{"x":1}`, ok},
		{"json, nothing behind the id", "\x00\x00\x00\x00\x06", nil, ``, ok},
		{"avro, GUID in a header", "\x02a", header(inHeader), `{"x":"a"}`, ok},
		{"avro, id in a header", "\x02a", header(idInHeader), `{"x":"a"}`, ok},
		{"the header wins", "\x00", header(inHeader), `{"x":""}`, ok},
		{"a header without value", "\x00\x00\x00\x00\x05\x02a", header(nullHeader), `{"x":"a"}`, ok},
		{"the header twice", "\x02a", append(header(inHeader), header(inHeader)...), `{"x":"a"}`, ok},
		{"the header twice, different", "\x02a", append(header(inHeader), header(idInHeader)...), ``, schemas.Malformed},
		{"the key's header is not the value's", "\x02a", [][2]string{{"__key_schema_id", inHeader}}, ``, schemas.Malformed},
		{"header of another magic", "\x02a", header("\x02" + inHeader[1:]), ``, schemas.Malformed},
		{"header cut short", "\x02a", header(inHeader[:16]), ``, schemas.Malformed},
		{"header too long", "\x02a", header(inHeader + "\x00"), ``, schemas.Malformed},
		{"header empty", "\x02a", header(""), ``, schemas.Malformed},
		{"neither", `{"x":"a"}`, nil, ``, schemas.Malformed},
		{"a GUID before the value", inHeader + "\x02a", nil, ``, schemas.Malformed},
		{"id cut short", "\x00\x00\x00\x05", nil, ``, schemas.Malformed},
		{"empty", "", nil, ``, schemas.EmptyMessage},
		{"empty with a header", "", header(inHeader), ``, schemas.EmptyMessage},
		{"unknown id", "\x00\x00\x00\x00\x09\x02a", nil, ``, schemas.UnknownSchema},
		{"unknown GUID", "\x02a", header("\x01" + strings.Repeat("z", 16)), ``, schemas.UnknownSchema},
		{"protobuf, first message", "\x00\x00\x00\x00\x07\x00\x0a\x01v", nil, `{"a":"v"}`, ok},
		{"protobuf, first message in full", "\x00\x00\x00\x00\x07\x02\x00\x0a\x01v", nil, `{"a":"v"}`, ok},
		{"protobuf, second message", "\x00\x00\x00\x00\x07\x02\x02\x0a\x01v", nil, `{"x":"v"}`, ok},
		{"protobuf, message within, entries of maps not counted", "\x00\x00\x00\x00\x07\x04\x02\x00\x0a\x01v", nil, `{"x":"v"}`, ok},
		{"protobuf, another message within", "\x00\x00\x00\x00\x07\x04\x02\x02\x0a\x01v", nil, `{"y":"v"}`, ok},
		{"protobuf, no such message", "\x00\x00\x00\x00\x07\x02\x04\x0a\x01v", nil, ``, schemas.Malformed},
		{"protobuf, no such message within", "\x00\x00\x00\x00\x07\x04\x00\x00\x0a\x01v", nil, ``, schemas.Malformed},
		{"protobuf, negative count", "\x00\x00\x00\x00\x07\x01\x0a\x01v", nil, ``, schemas.Malformed},
		{"protobuf, negative index", "\x00\x00\x00\x00\x07\x02\x01\x0a\x01v", nil, ``, schemas.Malformed},
		{"protobuf, 2^31 indexes", "\x00\x00\x00\x00\x07\x80\x80\x80\x80\x10", nil, ``, schemas.Malformed},
		{"protobuf, indexes cut short", "\x00\x00\x00\x00\x07\x06\x00", nil, ``, schemas.Malformed},
		{"protobuf, no indexes", "\x00\x00\x00\x00\x07", nil, ``, schemas.Malformed},
		{"protobuf, header with indexes", "\x0a\x01v", header(protoHeader + "\x02\x02"), `{"x":"v"}`, ok},
		{"protobuf, header of the first message", "\x0a\x01v", header(protoHeader + "\x00"), `{"a":"v"}`, ok},
		{"protobuf, header without indexes", "\x0a\x01v", header(protoHeader), ``, schemas.Malformed},
		{"protobuf, header with more", "\x0a\x01v", header(protoHeader + "\x00\x00"), ``, schemas.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := wantAll(newDecoder(t, Format{Encoding: FromRegistry}, r))
			m := raw{value: []byte(c.value), headers: c.headers}
			if c.name == "json, nothing behind the id" {
				got := decodeRaw(t, d, "t", m)
				if len(got.Rejects) != 1 || got.Rejects[0].Reason != schemas.Malformed {
					t.Errorf("rejects are %+v", got.Rejects)
				}
				return
			}
			if got, reason := viewOf(t, d, m); got != c.want || reason != c.reason {
				t.Errorf("got %s %q, want %s %q", got, reason, c.want, c.reason)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	many := make([][2]string, 10_000)
	for i := range many {
		many[i] = [2]string{fmt.Sprint("h", i), "v"}
	}
	many[9_999] = [2]string{contentTypeHeader, "text/plain"}
	attributes := make([][2]string, mostAttributes)
	for i := range attributes {
		attributes[i] = [2]string{fmt.Sprint("ce_a", i), "v"}
	}
	two := appendHeaders(nil, [][2]string{{"a", "b"}, {"c", nullHeader}})
	for _, c := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"none", nil, true},
		{"no headers", []byte{0}, true},
		{"two", two, true},
		{"cut short", two[:len(two)-1], false},
		{"more behind", append(slices.Clone(two), 0), false},
		{"10,000", appendHeaders(nil, many), true},
		{"as many attributes as may be", appendHeaders(nil, attributes), true},
		{"too many attributes", appendHeaders(nil, append(slices.Clone(attributes), [2]string{"ce_b", "v"})), false},
		{"an attribute twice", appendHeaders(nil, [][2]string{{"ce_a", "x"}, {"ce_a", "x"}}), true},
		{"an attribute twice, different", appendHeaders(nil, [][2]string{{"ce_a", "x"}, {"ce_a", "y"}}), false},
		{"content type twice, different", appendHeaders(nil, [][2]string{{contentTypeHeader, "x"}, {contentTypeHeader, "y"}}), false},
		{"another header twice, different", appendHeaders(nil, [][2]string{{"a", "x"}, {"a", "y"}}), true},
		{"attribute that is not UTF-8", appendHeaders(nil, [][2]string{{"ce_a", "\xff"}}), false},
		{"attribute's name that is not UTF-8", appendHeaders(nil, [][2]string{{"ce_\xff", "a"}}), false},
		{"content type that is not UTF-8", appendHeaders(nil, [][2]string{{contentTypeHeader, "\xff"}}), false},
		{"other header that is not UTF-8", appendHeaders(nil, [][2]string{{"\xff", "\xff"}}), true},
		{"negative number of headers", []byte{1}, false},
		{"2^31 headers", []byte{0x80, 0x80, 0x80, 0x80, 0x10}, false},
		{"a key of length -1", []byte{2, 1, 0}, false},
		{"a key of length -2", []byte{2, 3, 0}, false},
		{"a value of length 2^31", append([]byte{2, 2, 'a'}, 0x80, 0x80, 0x80, 0x80, 0x10), false},
		{"a length without end", []byte{2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h headers
			if got := h.read(c.b); got != c.want {
				t.Errorf("got %v", got)
			}
			if c.name == "10,000" && (!h.hasContentType || string(h.contentType) != "text/plain") {
				t.Error("the last of 10,000 headers is not found")
			}
		})
	}
}

// FuzzWire decodes any value with any headers, by schemas of each type.
func FuzzWire(f *testing.F) {
	r := &fakeRegistry{ids: map[int32]Schema{
		0: {Type: Avro, Text: `{"type":"record","name":"R","fields":[{"name":"x","type":["null","string","R"]}]}`},
		1: {Type: JSONSchema, Text: "{}"},
		2: {Type: Protobuf, Text: `syntax = "proto3"; message M { string x = 1; M m = 2; message N { int64 x = 1; } }`},
	}}
	f.Add([]byte("\x00\x00\x00\x00\x00\x02\x02a"), []byte(nil))
	f.Add([]byte("\x00\x00\x00\x00\x01{}"), []byte{0})
	f.Add([]byte("\x00\x00\x00\x00\x02\x00\x0a\x01v"), []byte(nil))
	f.Add([]byte("\x0a\x01v"), appendHeaders(nil, [][2]string{{schemaIDHeader, "\x00\x00\x00\x00\x02\x00"}}))
	c := contract(nil, keep("x", schemas.Text, "x"), keep("n", schemas.Integer, "m.m.x"))
	d := newDecoder(f, Format{Encoding: FromRegistry}, r, c)
	f.Fuzz(func(t *testing.T, value, list []byte) {
		m := packRaw([]raw{{value: value}, {value: value}})
		m.Headers[1] = schemas.Span{Off: uint32(len(m.Arena)), Len: uint32(len(list))}
		m.Arena = append(append(m.Arena, list...), make([]byte, slack)...)
		rows, rejects, err := d.Decode(context.Background(), "t", m)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows[0].Message)+len(rejects) != 2 {
			t.Errorf("%d rows and %d rejects of two messages", len(rows[0].Message), len(rejects))
		}
		var h headers
		if h.read(list) && h.hasSchemaID && !bytes.Contains(list, []byte(schemaIDHeader)) {
			t.Error("a header is found that is not there")
		}
	})
}
