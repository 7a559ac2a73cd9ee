package decode

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"lupa/schemas"
)

func mustProto(t testing.TB, text string, refs ...Reference) *protoSchema {
	t.Helper()
	s := parseProto(context.Background(), Schema{Type: Protobuf, Text: text, References: refs})
	if s == nil {
		t.Fatal("the schema is none")
	}
	return s
}

func (s *protoSchema) read(in []byte, w *want, maxDepth int) (string, schemas.Reason) {
	var r protoReader
	out, reason := s.appendJSON(nil, in, []int{0}, w, maxDepth, &r)
	return string(out), reason
}

// everyKind has a field of each kind and each well-known type.
const everyKind = `syntax = "proto3";
package p;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "confluent/meta.proto";
import "confluent/type/decimal.proto";
option (confluent.file_meta).doc = "file";
enum Color { option allow_alias = true; NONE = 0; RED = 1; ROT = 1; MINUS = -1; }
message Every {
  option (confluent.message_meta) = { doc: "x" };
  double double_field = 1; float float_field = 2;
  int32 int32_field = 3; int64 int64_field = 4 [(confluent.field_meta).tags = "PII", deprecated = true];
  uint32 uint32_field = 5; uint64 uint64_field = 6;
  sint32 sint32_field = 7; sint64 sint64_field = 8;
  fixed32 fixed32_field = 9; fixed64 fixed64_field = 10;
  sfixed32 sfixed32_field = 11; sfixed64 sfixed64_field = 12;
  bool bool_field = 13; string string_field = 14; bytes bytes_field = 15; Color color = 16;
  optional int32 optional_int = 17; optional string optional_text = 18 [json_name = "perhaps"];
  Every child = 19;
  repeated int32 numbers = 20; repeated string texts = 21; repeated Every children = 22;
  map<string, string> labels = 23; map<int32, Every> by_number = 24; map<bool, double> by_bool = 25;
  oneof pick { string picked_text = 26; int64 picked_number = 27; Every picked_child = 28; }
  google.protobuf.Timestamp at = 40; google.protobuf.Duration took = 41;
  google.protobuf.StringValue text_value = 42; google.protobuf.Int64Value long_value = 43; google.protobuf.BoolValue bool_value = 44;
  google.protobuf.Struct structure = 45; google.protobuf.Value value = 46; google.protobuf.ListValue list_value = 47;
  google.protobuf.FieldMask mask = 48; google.protobuf.Empty empty = 49; google.protobuf.Any any = 50;
  confluent.type.Decimal decimal = 51;
}
message Inner { string a = 1; int64 b = 2; }
message Nothing {}
`

func TestProtobufValues(t *testing.T) {
	s := mustProto(t, everyKind)
	field := func(n int, wire int, rest string) string {
		return string(protowireTag(n, wire)) + rest
	}
	text := func(n int, b string) string { return field(n, 2, string(rune(len(b)))+b) }
	for _, c := range []struct {
		name, in string
		paths    []string
		want     string
	}{
		{"a name of the schema", text(14, "v"), []string{"string_field"}, `{"string_field":"v"}`},
		{"a name of its JSON", text(14, "v"), []string{"stringField"}, `{"stringField":"v"}`},
		{"both", text(14, "v"), []string{"stringField", "string_field"}, `{"string_field":"v","stringField":"v"}`},
		{"a JSON name of its own", text(18, "v"), []string{"perhaps"}, `{"perhaps":"v"}`},
		{"zeros that may as well be absent", "", []string{"double_field", "int64_field", "bool_field", "color"}, `{"double_field":0,"int64_field":0,"bool_field":false,"color":"NONE"}`},
		{"empty texts that may as well be absent", text(14, ""), []string{"string_field", "bytes_field"}, `{}`},
		{"absent, and told from zero", "", []string{"optional_int", "optional_text", "child", "at", "text_value", "picked_text"}, `{}`},
		{"zero, and told from absent", field(17, 0, "\x00") + text(18, ""), []string{"optional_int", "optional_text"}, `{"optional_int":0,"optional_text":""}`},
		{"the last counts", text(14, "a") + text(14, "b"), []string{"string_field"}, `{"string_field":"b"}`},
		{"messages are merged", text(19, text(14, "a")) + text(19, field(13, 0, "\x01")) + text(19, text(14, "b")), []string{"child.string_field", "child.bool_field"}, `{"child":{"bool_field":true,"string_field":"b"}}`},
		{"the last of a oneof", text(26, "a") + field(27, 0, "\x05"), []string{"picked_text", "picked_number"}, `{"picked_number":5}`},
		{"the last of a oneof is not wanted", text(26, "a") + field(27, 0, "\x05"), []string{"picked_text"}, `{}`},
		{"a oneof is not merged over another", text(28, text(14, "a")) + text(26, "t") + text(28, field(13, 0, "\x01")), []string{"picked_child.string_field", "picked_child.bool_field"}, `{"picked_child":{"bool_field":true}}`},
		{"a list", text(20, "\x01\x02"), []string{"numbers"}, `{"numbers":[]}`},
		{"a list, not packed", field(20, 0, "\x01"), []string{"numbers"}, `{"numbers":[]}`},
		{"no list", "", []string{"numbers"}, `{}`},
		{"nothing leads into a list", text(22, text(14, "a")), []string{"children.string_field"}, `{"children":[]}`},
		{"a map", text(23, text(1, "k")+text(2, "v")) + text(23, text(1, "q")+text(2, "w")), []string{"labels.k"}, `{"labels":{"k":"v"}}`},
		{"a map, the last counts", text(23, text(1, "k")+text(2, "v")) + text(23, text(2, "w")+text(1, "k")), []string{"labels.k"}, `{"labels":{"k":"w"}}`},
		{"a map without the key", text(23, text(1, "q")), []string{"labels.k"}, `{"labels":{}}`},
		{"a map with an empty value", text(23, text(1, "k")), []string{"labels.k"}, `{"labels":{"k":""}}`},
		{"a map by number", text(24, field(1, 0, "\x07")+text(2, text(14, "v"))), []string{"by_number.7.string_field"}, `{"by_number":{"7":{"string_field":"v"}}}`},
		{"a map by number, no value", text(24, field(1, 0, "\x07")), []string{"by_number.7.string_field"}, `{"by_number":{"7":{}}}`},
		{"a map by boolean, false", text(25, ""), []string{"by_bool.false"}, `{"by_bool":{"false":0}}`},
		{"an enum's first name", field(16, 0, "\x01"), []string{"color"}, `{"color":"RED"}`},
		{"an enum, negative", field(16, 0, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), []string{"color"}, `{"color":"MINUS"}`},
		{"an enum's unknown number", field(16, 0, "\x09"), []string{"color"}, `{"color":9}`},
		{"a timestamp", text(40, "\x08\x01\x10\x02"), []string{"at"}, `{"at":"1970-01-01T00:00:01.000000002Z"}`},
		{"a timestamp in milliseconds", text(40, "\x08\x01\x10\xc0\x84\x3d"), []string{"at"}, `{"at":"1970-01-01T00:00:01.001Z"}`},
		{"a timestamp, merged", text(40, "\x08\x01") + text(40, "\x10\x02"), []string{"at"}, `{"at":"1970-01-01T00:00:01.000000002Z"}`},
		{"a timestamp far away", text(40, "\x08\x80\x83\xd1\xff\xaf\x07"), []string{"at"}, `{"at":"+010000-01-01T00:00:00.000Z"}`},
		{"a duration", text(41, "\x08\x01\x10\x80\xca\xb5\xee\x01"), []string{"took"}, `{"took":"1.500s"}`},
		{"a text in a message", text(42, text(1, "v")), []string{"text_value"}, `{"text_value":"v"}`},
		{"an empty text in a message", text(42, ""), []string{"text_value"}, `{"text_value":""}`},
		{"a number in a message", text(43, "\x08\x05"), []string{"long_value"}, `{"long_value":5}`},
		{"an empty message", text(49, ""), []string{"empty"}, `{"empty":{}}`},
		{"any", text(50, text(1, "type.googleapis.com/p.Inner")+text(2, text(1, "v"))), []string{"any.a"}, `{"any":{"@type":"type.googleapis.com/p.Inner","a":"v"}}`},
		{"any of nothing", text(50, text(1, "type.googleapis.com/p.Nothing")), []string{"any.a"}, `{"any":{"@type":"type.googleapis.com/p.Nothing"}}`},
		{"any of an unknown type", text(50, text(1, "x/unknown.Type")+text(2, "??")), []string{"any.a"}, `{"any":{"@type":"x/unknown.Type"}}`},
		{"a decimal", text(51, text(1, "\x01\x02")+"\x18\x02"), []string{"decimal.value", "decimal.scale"}, `{"decimal":{"value":"AQI=","scale":2}}`},
		{"what is unknown is passed over", text(99, "x") + text(14, "v"), []string{"string_field"}, `{"string_field":"v"}`},
		{"what is not wanted is passed over", text(19, "\xff\xff") + text(14, "v"), []string{"string_field"}, `{"string_field":"v"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, reason := s.read([]byte(c.in), wantPaths(c.paths...), 64)
			if got != c.want || reason != schemas.NoReason {
				t.Errorf("got %s %q, want %s", got, reason, c.want)
			}
		})
	}
}

func protowireTag(number, wire int) []byte {
	var b []byte
	for u := uint64(number<<3 | wire); ; u >>= 7 {
		if u < 0x80 {
			return append(b, byte(u))
		}
		b = append(b, byte(u)|0x80)
	}
}

func TestProtobufHostile(t *testing.T) {
	s := mustProto(t, everyKind)
	nest := func(n int) []byte {
		var b []byte
		for range n {
			inner := b
			b = protowireTag(19, 2)
			for u := uint64(len(inner)); ; u >>= 7 {
				if u < 0x80 {
					b = append(b, byte(u))
					break
				}
				b = append(b, byte(u)|0x80)
			}
			b = append(b, inner...)
		}
		return b
	}
	for _, c := range []struct {
		name string
		in   []byte
		want schemas.Reason
	}{
		{"cut short", []byte("\x72\x02v"), schemas.Malformed},
		{"length of 2^31", []byte("\x72\x80\x80\x80\x80\x08v"), schemas.Malformed},
		{"field number 0", []byte("\x02\x00"), schemas.Malformed},
		{"wire type 7", []byte("\x77"), schemas.Malformed},
		{"the end of a group", []byte("\x74"), schemas.Malformed},
		{"a group without end", []byte("\x73"), schemas.Malformed},
		{"varint of eleven bytes", append([]byte("\x68"), strings.Repeat("\xff", 10)+"\x01"...), schemas.Malformed},
		{"text that is not UTF-8", []byte("\x72\x01\xff"), schemas.Malformed},
		{"a number where the schema has text", []byte("\x70\x05"), schemas.Malformed},
		{"text where the schema has a number", []byte("\x18\x05"), schemas.NoReason},
		{"text where the schema has a number, in truth", []byte("\x1a\x01v"), schemas.Malformed},
		{"nesting that may be", nest(63), schemas.NoReason},
		{"nesting too deep", nest(64), schemas.TooDeep},
		{"nesting very deep", nest(3000), schemas.TooDeep},
		{"groups nested very deep", []byte(strings.Repeat("\xfb\x07", 20_000)), schemas.Malformed},
		{"many parts of one message", []byte(strings.Repeat("\x9a\x01\x02\x68\x01", 200_000)), schemas.NoReason},
		{"map entry that is broken", []byte("\xba\x01\x02\x0a\x05"), schemas.Malformed},
		{"map key of another type", []byte("\xba\x01\x02\x08\x05"), schemas.Malformed},
		{"map key twice, once of another type", []byte("\xca\x01\v\b0\t00000000"), schemas.Malformed},
		{"nanoseconds beyond a second", []byte("\xc2\x02\x06\x10\x80\x94\xeb\xdc\x03"), schemas.Malformed},
		{"a struct without a value", []byte("\xf2\x02\x00"), schemas.Malformed},
		{"a type's name that is not UTF-8", []byte("\x92\x03\x03\x0a\x01\xff"), schemas.Malformed},
		{"a struct nested very deep", append([]byte("\xfa\x02\xe0\x5d"), deepList(4000)...), schemas.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := everything()
			w.below = map[string]*want{"labels": wantPaths("k"), "by_bool": wantPaths("true")}
			got, reason := s.read(c.in, w, 64)
			if reason != c.want {
				t.Errorf("got %q, want %q", reason, c.want)
			}
			if reason == schemas.NoReason && !json.Valid([]byte(got)) {
				t.Error("is no JSON")
			}
		})
	}
}

// deepList is nonsense that begins as lists within lists.
func deepList(n int) []byte { return []byte(strings.Repeat("\x0a\x02\x32", n)) }

// TestProtobufOld reads the older syntax and groups.
func TestProtobufOld(t *testing.T) {
	s := mustProto(t, `syntax = "proto2"; package p; import "other/ref.proto";
		message M { optional string a = 1 [default = "d"]; required int32 n = 2; optional group Deep = 3 { optional string x = 1; } optional E e = 4; optional ref.R r = 5; extensions 100 to 200; }
		enum E { ONE = 1; TWO = 2; }`,
		Reference{Name: "other/ref.proto", Text: `syntax = "proto3"; package ref; import "gogoproto/gogo.proto"; message R { string x = 1 [(gogoproto.nullable) = false]; }`},
		Reference{Name: "gogoproto/gogo.proto", Text: `syntax = "proto2"; package gogoproto; import "google/protobuf/descriptor.proto"; extend google.protobuf.FieldOptions { optional bool nullable = 65001; }`})
	for _, c := range []struct{ in, want string }{
		{"", `{}`},
		{"\x10\x00", `{"n":0}`},
		{"\x1b\x0a\x01v\x1c", `{"deep":{"x":"v"}}`},
		{"\x1b\x0a\x01v\x1c\x1b\x1c", `{"deep":{"x":"v"}}`},
		{"\x20\x02", `{"e":"TWO"}`},
		{"\x20\x07", `{}`},
		{"\x2a\x03\x0a\x01v", `{"r":{"x":"v"}}`},
	} {
		if got, reason := s.read([]byte(c.in), everything(), 64); got != c.want || reason != schemas.NoReason {
			t.Errorf("got %s %q, want %s", got, reason, c.want)
		}
	}
	editions := mustProto(t, `edition = "2023"; message M { string a = 1; int32 n = 2 [features.field_presence = IMPLICIT]; M m = 3 [features.message_encoding = DELIMITED]; }`)
	if got, reason := editions.read([]byte("\x1b\x0a\x01v\x1c"), everything(), 64); got != `{"n":0,"m":{"a":"v","n":0}}` || reason != schemas.NoReason {
		t.Errorf("got %s %q", got, reason)
	}
}

// TestProtobufKnownFiles compiles all files that need no reference.
func TestProtobufKnownFiles(t *testing.T) {
	for _, path := range []string{"confluent/meta.proto", "confluent/type/decimal.proto", "google/type/date.proto", "google/type/timeofday.proto",
		"google/type/money.proto", "google/type/latlng.proto", "google/type/decimal.proto", "google/protobuf/timestamp.proto", "google/protobuf/descriptor.proto"} {
		mustProto(t, fmt.Sprintf("syntax = \"proto3\"; import %q; message M {}", path))
	}
}

// randomProto fills a message at random.
func randomProto(r *rand.Rand, d protoreflect.MessageDescriptor, depth int) *dynamicpb.Message {
	m := dynamicpb.NewMessage(d)
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if r.IntN(3) > 0 || f.Message() != nil && depth == 0 {
			continue
		}
		switch {
		case f.IsList():
			for range r.IntN(3) {
				m.Mutable(f).List().Append(randomScalar(r, f, depth))
			}
		case f.IsMap():
			v := m.Mutable(f).Map()
			for range r.IntN(3) {
				key := randomScalar(r, f.MapKey(), 0)
				v.Set(key.MapKey(), randomScalar(r, f.MapValue(), depth))
			}
		default:
			m.Set(f, randomScalar(r, f, depth))
		}
	}
	return m
}

func randomScalar(r *rand.Rand, f protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	bits := r.Uint64() >> r.IntN(64)
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(bits&1 == 1)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(bits%3) - 1)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(bits))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(-int64(bits))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(bits))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(bits)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32([]float32{float32(r.NormFloat64()), float32(math.NaN()), float32(math.Inf(1)), 0}[r.IntN(4)])
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64([]float64{r.NormFloat64(), math.NaN(), math.Inf(-1), 1e300}[r.IntN(4)])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{byte(bits), 7}[:r.IntN(3)])
	case protoreflect.StringKind:
		return protoreflect.ValueOfString([]string{"", "plain", "\"ä\\\n😀"}[r.IntN(3)])
	}
	return protoreflect.ValueOfMessage(randomProto(r, f.Message(), depth-1))
}

// sameProto compares a view with the JSON of the protobuf module, in which
// lists are not left out and 64-bit numbers are text.
func sameProto(d protoreflect.MessageDescriptor, got, want map[string]any) error {
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		name := string(f.Name())
		g, have := got[name]
		w, wanted := want[name]
		switch {
		case f.IsList():
			if list, ok := w.([]any); ok && (len(list) > 0) != have {
				return fmt.Errorf("%s: a list differs", name)
			}
		case f.IsMap() && f.MapValue().Message() == nil:
			wm, _ := w.(map[string]any)
			gm, _ := g.(map[string]any)
			if len(wm) != len(gm) {
				return fmt.Errorf("%s: a map differs", name)
			}
			for k := range wm {
				if !sameProtoValue(gm[k], wm[k]) {
					return fmt.Errorf("%s: a value of a map differs", name)
				}
			}
		case f.IsMap():
		case w == "" && f.ContainingOneof() == nil && !f.HasPresence():
			if have {
				return fmt.Errorf("%s: an empty text is there", name)
			}
		case have != wanted:
			return fmt.Errorf("%s: is there %v, want %v", name, have, wanted)
		case f.Message() != nil && f.Message().FullName().Parent() != "google.protobuf" && wanted:
			if err := sameProto(f.Message(), g.(map[string]any), w.(map[string]any)); err != nil {
				return fmt.Errorf("%s.%w", name, err)
			}
		case !sameProtoValue(g, w):
			return fmt.Errorf("%s: differs", name)
		}
	}
	return nil
}

func sameProtoValue(got, want any) bool {
	g, gok := got.(json.Number)
	w, wok := want.(json.Number)
	text, isText := want.(string)
	switch {
	case gok && wok:
		a, _ := g.Float64()
		b, _ := w.Float64()
		return a == b
	case gok && isText:
		return g.String() == text
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	return string(a) == string(b)
}

// wantMaps wants everything, and of maps the keys that there are.
func wantMaps(v any) *want {
	w := everything()
	m, ok := v.(map[string]any)
	if !ok {
		return w
	}
	w = &want{below: map[string]*want{}, rest: w.rest}
	for k, inner := range m {
		w.below[k] = wantMaps(inner)
	}
	return w
}

func checkProtoRandom(t *testing.T, s *protoSchema, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 3))
	d := s.file.Messages().Get(0)
	m := randomProto(r, d, 2)
	for _, name := range []string{"took", "at", "structure", "value", "list_value", "mask", "any"} {
		clearDeep(m, protoreflect.Name(name)) // their values have rules of their own
	}
	in, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true, AllowPartial: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	want := parseJSON(t, string(text)).(map[string]any)
	got, reason := s.read(in, wantMaps(want), 64)
	if reason != schemas.NoReason {
		t.Fatalf("seed %d: %q", seed, reason)
	}
	if err := sameProto(d, parseJSON(t, got).(map[string]any), want); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	// A message followed by itself is the same message, but for its lists.
	twice, reason := s.read(append(in[:len(in):len(in)], in...), wantMaps(want), 64)
	if reason != schemas.NoReason || !sameProtoValue(parseJSON(t, twice), parseJSON(t, got)) {
		t.Errorf("seed %d: twice is not once", seed)
	}
}

func clearDeep(m protoreflect.Message, name protoreflect.Name) {
	if f := m.Descriptor().Fields().ByName(name); f != nil {
		m.Clear(f)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				if f.MapValue().Message() != nil {
					clearDeep(v.Message(), name)
				}
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				clearDeep(v.List().Get(i).Message(), name)
			}
		case f.Message() != nil && !f.IsList():
			clearDeep(v.Message(), name)
		}
		return true
	})
}

func TestProtobufRandom(t *testing.T) {
	s := mustProto(t, everyKind)
	for seed := range uint64(300) {
		checkProtoRandom(t, s, seed)
		if len(s.programs) > 500 {
			s = mustProto(t, everyKind) // each seed wants something else
		}
	}
}

// FuzzProtobuf reads any bytes as a message of every kind.
func FuzzProtobuf(f *testing.F) {
	s := mustProto(f, everyKind)
	for seed := range uint64(20) {
		m := randomProto(rand.New(rand.NewPCG(seed, 3)), s.file.Messages().Get(0), 2)
		in, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(in)
	}
	w := everything()
	w.below = map[string]*want{"labels": wantPaths("plain"), "by_bool": wantPaths("true", "false"), "any": wantPaths("a", "child.a")}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, reason := s.read(in, w, 16)
		if reason == schemas.NoReason && !json.Valid([]byte(got)) {
			t.Error("is no JSON")
		}
		if len(got) > (6+len(everyKind))*(len(in)+1) {
			t.Error("the view is far longer than the message")
		}
	})
}

// TestProtobufZeroIsNobody: a number that is not there is zero, and a ledger
// that knows a zero would speak for all who have none.
func TestProtobufZeroIsNobody(t *testing.T) {
	s := Schema{Type: Protobuf, Text: `syntax = "proto3";
		message M { int64 user_id = 1; optional int64 told = 2; int64 count = 3; fixed64 other_id = 4; double third = 5; }`}
	d := newDecoder(t, Format{Encoding: FromRegistry}, &fakeRegistry{ids: map[int32]Schema{1: s}}, contract(nil,
		identity("user_id", schemas.UserID, "user_id", "otherId", "third"), identity("told", schemas.AnonymousID, "told"), keep("count", schemas.Integer, "count")))
	for _, c := range []struct {
		name    string
		payload []byte
		want    []any
	}{
		{"nothing", nil, []any{nil, nil, int64(0)}},
		{"zeros that are there", []byte{0x08, 0, 0x10, 0, 0x18, 0}, []any{nil, "0", int64(0)}},
		{"numbers", []byte{0x08, 7, 0x10, 8, 0x18, 9}, []any{"7", "8", int64(9)}},
	} {
		got := decodeRaw(t, d, "t", raw{value: withID(1, append([]byte{0}, c.payload...))})
		if diff := cmp.Diff([][]any{c.want}, got.Rows[0]); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
