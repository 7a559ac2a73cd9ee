package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/hamba/avro/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// eventShape is what the values at one place of many JSON objects are.
type eventShape struct {
	text, time, whole, real, truth, list bool
	members                              map[string]*eventShape // of those that are objects
}

// errShapes is the error of an object among texts, or a text among objects,
// which no message type can be of both.
var errShapes = errors.New("a text and an object")

// learn widens the shape by a value.
func (s *eventShape) learn(v any) error {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		if _, ok := instant(v); ok {
			s.time = true
		} else {
			s.text = true
		}
	case json.Number:
		if _, err := v.Int64(); err == nil {
			s.whole = true
		} else {
			s.real = true
		}
	case bool:
		s.truth = true
	case []any:
		s.list = true
	case map[string]any:
		if s.scalar() {
			return errShapes
		}
		if s.members == nil {
			s.members = map[string]*eventShape{}
		}
		for name, member := range v {
			if s.members[name] == nil {
				s.members[name] = &eventShape{}
			}
			if err := s.members[name].learn(member); err != nil {
				return err
			}
		}
		return nil
	}
	if s.members != nil {
		return errShapes
	}
	return nil
}

func (s *eventShape) scalar() bool { return s.text || s.time || s.whole || s.real || s.truth || s.list }

// instant reads a time of whole milliseconds.
func instant(text string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, text)
	return at, err == nil && at.Equal(at.Truncate(time.Millisecond))
}

// names gives the names of the members in order.
func (s *eventShape) names() []string { return slices.Sorted(maps.Keys(s.members)) }

// parseEvent reads a JSON object; nil is what is none.
func parseEvent(t *testing.T, value []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var o map[string]any
	if d.Decode(&o) != nil {
		return nil
	}
	return o
}

// elements spells what is in a list, which no contract looks into.
func elements(t *testing.T, list []any) (texts []string) {
	t.Helper()
	for _, e := range list {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}

// avroType gives the schema of a place: a union with null of all that stands
// there. note is written into the schema where only people read.
func (s *eventShape) avroType(name, note string) any {
	union := []any{"null"}
	for _, branch := range []struct {
		there bool
		typ   any
	}{
		{s.text, "string"}, {s.time, map[string]any{"type": "long", "logicalType": "timestamp-millis"}},
		{s.whole && !s.time, "long"}, {s.real, "double"}, {s.truth, "boolean"},
		{s.list, map[string]any{"type": "array", "items": "string"}},
	} {
		if branch.there {
			union = append(union, branch.typ)
		}
	}
	if s.members != nil {
		union = append(union, s.avroRecord(name, note))
	}
	return union
}

func (s *eventShape) avroRecord(name, note string) map[string]any {
	fields := []any{}
	for _, member := range s.names() {
		fields = append(fields, map[string]any{"name": member, "type": s.members[member].avroType(name+"_"+member, note), "doc": note, "default": nil})
	}
	return map[string]any{"type": "record", "name": name, "fields": fields}
}

// avroValue gives a value as the Avro library takes it.
func (s *eventShape) avroValue(t *testing.T, name string, v any) any {
	t.Helper()
	switch v := v.(type) {
	case string:
		if at, ok := instant(v); ok {
			return map[string]any{"long.timestamp-millis": at}
		}
		return map[string]any{"string": v}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return map[string]any{"long": n}
		}
		n, err := v.Float64()
		if err != nil {
			t.Fatal("a number that is none")
		}
		return map[string]any{"double": n}
	case bool:
		return map[string]any{"boolean": v}
	case []any:
		return map[string]any{"array": elements(t, v)}
	case map[string]any:
		return map[string]any{name: s.avroMembers(t, name, v)}
	}
	return avroNull
}

// avroNull is null as the Avro library takes it for any union.
var avroNull = map[string]any(nil)

func (s *eventShape) avroMembers(t *testing.T, name string, v map[string]any) map[string]any {
	t.Helper()
	members := map[string]any{}
	for _, member := range s.names() {
		members[member] = s.members[member].avroValue(t, name+"_"+member, v[member])
	}
	return members
}

// avroWriter writes objects of a shape in Avro.
type avroWriter struct {
	shape  *eventShape
	text   string
	schema avro.Schema
}

func newAvroWriter(t *testing.T, s *eventShape, note string) *avroWriter {
	t.Helper()
	return avroWriterOf(t, s, s.avroRecord("Event", note))
}

func avroWriterOf(t *testing.T, s *eventShape, schema any) *avroWriter {
	t.Helper()
	text, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	w := &avroWriter{shape: s, text: string(text)}
	// A cache of the library's own would hold the schemas of all tests.
	if w.schema, err = avro.ParseWithCache(w.text, "", &avro.SchemaCache{}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *avroWriter) write(t *testing.T, v map[string]any) []byte {
	t.Helper()
	return w.marshal(t, w.shape.avroMembers(t, "Event", v))
}

func (w *avroWriter) marshal(t *testing.T, v any) []byte {
	t.Helper()
	out, err := avro.Marshal(w.schema, v)
	if err != nil {
		t.Fatalf("an event cannot be written in Avro: %T", err) // the error may show it
	}
	return out
}

// newChangeWriter writes change events whose rows are of the shape.
func newChangeWriter(t *testing.T, s *eventShape, note string) *avroWriter {
	t.Helper()
	return avroWriterOf(t, s, map[string]any{"type": "record", "name": "Envelope", "fields": []any{
		map[string]any{"name": "before", "type": []any{"null", s.avroRecord("Event", note)}},
		map[string]any{"name": "after", "type": []any{"null", "Event"}},
		map[string]any{"name": "source", "type": map[string]any{"type": "record", "name": "Source", "fields": []any{
			map[string]any{"name": "table", "type": "string"}}}},
		map[string]any{"name": "op", "type": "string"},
		map[string]any{"name": "ts_ms", "type": []any{"null", "long"}},
	}})
}

// change writes a change event; a row that is nil is none.
func (w *avroWriter) change(t *testing.T, op string, before, after map[string]any) []byte {
	t.Helper()
	row := func(v map[string]any) any {
		if v == nil {
			return avroNull
		}
		return map[string]any{"Event": w.shape.avroMembers(t, "Event", v)}
	}
	return w.marshal(t, map[string]any{"before": row(before), "after": row(after), "source": map[string]any{"table": "visits"},
		"op": op, "ts_ms": map[string]any{"long": int64(1)}})
}

// protoWriter writes objects of a shape in Protobuf, as the second message type
// of its file.
type protoWriter struct {
	shape *eventShape
	text  string
	typ   protoreflect.MessageDescriptor
}

// protoIndexes names the second message type of a file.
const protoIndexes = "\x02\x02"

func newProtoWriter(t *testing.T, s *eventShape, note string) *protoWriter {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "syntax = \"proto3\"; // %s\npackage shop;\nimport \"google/protobuf/timestamp.proto\";\nmessage Other { string other = 1; }\n", note)
	s.protoMessage(&b, "Event")
	w := &protoWriter{shape: s, text: b.String()}
	files, err := (&protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"event.proto": w.text})})}).Compile(t.Context(), "event.proto")
	if err != nil {
		t.Fatal(err)
	}
	w.typ = files[0].Messages().ByName("Event")
	return w
}

// protoMessage writes the message type of an object.
func (s *eventShape) protoMessage(b *strings.Builder, name string) {
	fmt.Fprintf(b, "message %s {\n", name)
	for i, member := range s.names() {
		m := s.members[member]
		if m.members != nil {
			m.protoMessage(b, "M_"+member)
		}
		if typ := m.protoType(member); typ != "" {
			fmt.Fprintf(b, "  %s %s = %d;\n", typ, member, i+1)
		}
	}
	b.WriteString("}\n")
}

func (s *eventShape) protoType(member string) string {
	kinds := 0
	for _, there := range []bool{s.text, s.time, s.whole || s.real, s.truth} {
		if there {
			kinds++
		}
	}
	switch {
	case s.members != nil:
		return "M_" + member
	case s.list:
		return "repeated string"
	case s.text || kinds > 1:
		return "optional string"
	case s.time:
		return "google.protobuf.Timestamp"
	case s.real:
		return "optional double"
	case s.whole:
		return "optional sint64"
	case s.truth:
		return "optional bool"
	}
	return "" // only null
}

func (w *protoWriter) write(t *testing.T, v map[string]any) []byte {
	t.Helper()
	m := dynamicpb.NewMessage(w.typ)
	w.shape.protoFields(t, m, v)
	out, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatalf("an event cannot be written in Protobuf: %T", err)
	}
	return out
}

func (s *eventShape) protoFields(t *testing.T, m protoreflect.Message, v map[string]any) {
	t.Helper()
	for name, member := range v {
		f := m.Descriptor().Fields().ByName(protoreflect.Name(name))
		if f == nil || member == nil {
			continue
		}
		switch member := member.(type) {
		case map[string]any:
			s.members[name].protoFields(t, m.Mutable(f).Message(), member)
		case []any:
			list := m.Mutable(f).List()
			for _, e := range elements(t, member) {
				list.Append(protoreflect.ValueOfString(e))
			}
		default:
			m.Set(f, protoValue(t, f, member))
		}
	}
}

func protoValue(t *testing.T, f protoreflect.FieldDescriptor, v any) protoreflect.Value {
	t.Helper()
	text := fmt.Sprint(v)
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text)
	case protoreflect.DoubleKind:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal("a number that is none")
		}
		return protoreflect.ValueOfFloat64(n)
	case protoreflect.Sint64Kind:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal("a number that is none")
		}
		return protoreflect.ValueOfInt64(n)
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(text == "true")
	}
	at, ok := instant(text)
	if !ok {
		t.Fatal("a time that is none")
	}
	return protoreflect.ValueOfMessage(timestamppb.New(at).ProtoReflect())
}

// messageHeader is one header of a message.
type messageHeader struct{ name, value string }

// formatted is a message of a topic that has a format.
type formatted struct {
	key, value []byte
	headers    []messageHeader
}

// cloudEvent are the attributes of an event in headers.
func cloudEvent(more ...messageHeader) []messageHeader {
	return append([]messageHeader{{"ce_specversion", "1.0"}, {"ce_id", "1"}, {"ce_source", "/shop"}, {"ce_type", "shop.event"}}, more...)
}

// compactJSON writes a value as JSON on one line.
func compactJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
