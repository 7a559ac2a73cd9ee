package decode

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"lupa/schemas"
)

func TestSignalTexts(t *testing.T) {
	c := contract(nil, coerced(keep("text", schemas.Text, "s")), signalField("s", "other.s"), signalField("deep.s"))
	for _, tt := range []struct {
		name, in   string
		want, deep any
	}{
		{"absent", `{"x":1}`, nil, nil},
		{"null", `{"s":null,"deep":{"s":null}}`, nil, nil},
		{"true", `{"s":true}`, "true", nil},
		{"a number", `{"s": 1.50 }`, "1.50", nil},
		{"a text", `{"s":"abc"}`, `"abc"`, nil},
		{"a text with escapes", `{"s":"a\u0062"}`, `"ab"`, nil}, // undone for the column text
		{"a text with escapes that no column has", `{"deep":{"s":"a\u0062\"}"}}`, nil, `"a\u0062\"}"`},
		{"an object", `{"deep":{"s": {"a":[1,{"b":"}"}],"c":{}} ,"t":2}}`, nil, `{"a":[1,{"b":"}"}],"c":{}}`},
		{"an empty object", `{"deep":{"s":{}}}`, nil, `{}`},
		{"a list", `{"deep":{"s":[ 1, 2 ]}}`, nil, `[ 1, 2 ]`},
		{"the second path", `{"other":{"s":"x"}}`, `"x"`, nil},
		{"both paths, equal", `{"s":"x","other":{"s":"x"}}`, `"x"`, nil},
		{"both paths, and they differ", `{"s":"x","other":{"s":"y"}}`, contradiction, nil},
		{"twice and equal", `{"s":"x","s":"x"}`, `"x"`, nil},
		{"twice, and they differ", `{"s":"x","s":"y"}`, contradiction, nil},
		{"an object twice", `{"deep":{"s":{"a":1}},"deep":{"s":{"a":1}}}`, nil, contradiction},
		{"null behind a value", `{"deep":{"s":1,"s":null}}`, nil, contradiction},
		{"a value behind null", `{"deep":{"s":null,"s":1}}`, nil, "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newJSON(t, []*schemas.Contract{c}, Options{})
			messages := [][]byte{[]byte(tt.in), []byte(`{"s":"other message"}`), []byte(tt.in)}
			for range 3 { // the gaps are learned on the way
				arena, spans, times := pack(messages)
				rows, rejects, err := d.Decode(t.Context(), "", &schemas.Messages{Arena: arena, Values: spans, Times: times})
				if err != nil || len(rejects) > 0 || rows[0].Record.NumRows() != 3 {
					t.Fatal(rows, rejects, err)
				}
				for _, i := range []int{0, 2} {
					if got := cell(t, rows[0].Record.Column(1), i); got != tt.want {
						t.Errorf("row %d: got %v, want %v", i, got, tt.want)
					}
					if got := cell(t, rows[0].Record.Column(2), i); got != tt.deep {
						t.Errorf("row %d, deep: got %v, want %v", i, got, tt.deep)
					}
				}
				if got := cell(t, rows[0].Record.Column(1), 1); got != `"other message"` {
					t.Errorf("the other message: got %v", got)
				}
			}
		})
	}
}

func TestSignalFieldIsRefused(t *testing.T) {
	kept := signalField("s")
	kept.Treatment.Technique = schemas.Keep
	named := signalField("s")
	named.Identifiers = []schemas.IdentifierKind{schemas.UserID}
	for _, f := range []schemas.Field{kept, named, required(signalField("s"))} {
		if _, err := NewJSON([]*schemas.Contract{contract(nil, f)}, Options{}); err == nil {
			t.Error("a field of type JSON was taken that is kept, required or an identifier")
		}
	}
}

// wantSignals are the paths of signals beside those of other fields.
func wantSignals(signals, others []string) *want {
	tr := tree{top: newBranch()}
	for _, p := range append(others, signals...) {
		tr.slot(strings.Split(p, "."))
	}
	marks := make([]bool, tr.slots)
	for _, p := range signals {
		marks[tr.slot(strings.Split(p, "."))] = true
	}
	return wanted(tr.top, make([]bool, tr.slots), marks)
}

// TestSignalInAvro has lists and maps in it whose members no path names.
func TestSignalInAvro(t *testing.T) {
	s := mustAvro(t, `{"type":"record","name":"R","fields":[
		{"name":"tags","type":{"type":"array","items":"string"}},
		{"name":"gpc","type":["null","boolean"]},
		{"name":"consent","type":["null",{"type":"record","name":"C","fields":[
			{"name":"deniedConsentIds","type":{"type":"array","items":"string"}},
			{"name":"prefs","type":{"type":"map","values":"boolean"}}]}]}]}`)
	in, err := avro.Marshal(s.schema, map[string]any{
		"tags": []any{"x"}, "gpc": map[string]any{"boolean": true},
		"consent": map[string]any{"C": map[string]any{"deniedConsentIds": []any{"a", "b"}, "prefs": map[string]any{"Ads": false}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"tags":[],"gpc":true,"consent":{"deniedConsentIds":["a","b"],"prefs":{"Ads":false}}}`
	got, reason := s.read(in, wantSignals([]string{"consent", "gpc"}, []string{"tags", "consent.prefs.Ads"}), 64)
	if got != want || reason != schemas.NoReason {
		t.Errorf("got %s %q, want %s", got, reason, want)
	}
}

func TestSignalInProtobuf(t *testing.T) {
	s := mustProto(t, `syntax = "proto3"; package p;
		message R { Context context = 1; }
		message Context { Consent consent = 1; Management consentManagement = 2; bool gpc = 3; repeated string tags = 4; string tcf = 5; }
		message Consent { map<string, bool> categoryPreferences = 1; }
		message Management { string provider = 1; repeated string denied_consent_ids = 2; repeated string allowedConsentIds = 3; }`)
	m := dynamicpb.NewMessage(s.file.Messages().ByName("R"))
	const event = `{"context":{"consent":{"categoryPreferences":{"Ads":false,"Stats":true}},"gpc":true,"tcf":"C\"","tags":["x"],
		"consentManagement":{"provider":"custom","deniedConsentIds":["a","b"],"allowedConsentIds":["c"]}}}`
	if err := protojson.Unmarshal([]byte(event), m); err != nil {
		t.Fatal(err)
	}
	in, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	w := wantSignals([]string{"context.consent.categoryPreferences", "context.consentManagement", "context.gpc", "context.tcf"}, []string{"context.tags"})
	got, reason := s.read(in, w, 64)
	if reason != schemas.NoReason {
		t.Fatal(reason)
	}
	squeezed := strings.ReplaceAll(got, " ", "") // the module writes spaces as it likes
	for _, part := range []string{
		`"consent":{"categoryPreferences":{"Ads":false,"Stats":true}}`,
		`"consentManagement":{"provider":"custom","deniedConsentIds":["a","b"],"allowedConsentIds":["c"]}`,
		`"gpc":true`, `"tcf":"C\""`, `"tags":[]`,
	} {
		if !strings.Contains(squeezed, part) {
			t.Errorf("%s is not in %s", part, got)
		}
	}
	if got, reason := s.read(nil, w, 64); got != `{}` || reason != schemas.NoReason {
		t.Errorf("nothing is %s %q", got, reason)
	}
}

// TestSignalInEveryFormat sends one value in each format: what is in its list
// arrives.
func TestSignalInEveryFormat(t *testing.T) {
	const value = `{"provider":"custom","deniedConsentIds":["a","b"]}`
	const event = `{"x":"1","context":{"consent":` + value + `}}`
	const consent = `{"type":"record","name":"C","fields":[{"name":"provider","type":"string"},{"name":"deniedConsentIds","type":{"type":"array","items":"string"}}]}`
	const avroEvent = `{"type":"record","name":"R","fields":[{"name":"x","type":"string"},
		{"name":"context","type":{"type":"record","name":"X","fields":[{"name":"consent","type":["null",` + consent + `]}]}}]}`
	row := map[string]any{"x": "1", "context": map[string]any{"consent": map[string]any{"C": map[string]any{
		"provider": "custom", "deniedConsentIds": []any{"a", "b"}}}}}
	registry := &fakeRegistry{ids: map[int32]Schema{
		1: {Type: Avro, Text: avroEvent},
		2: {Type: Avro, Text: `{"type":"record","name":"E","fields":[{"name":"op","type":"string"},{"name":"after","type":["null",` + avroEvent + `]}]}`},
		3: {Type: Avro, Text: `{"type":"record","name":"V","fields":[{"name":"specversion","type":"string"},{"name":"id","type":"string"},
			{"name":"source","type":"string"},{"name":"type","type":"string"},{"name":"data","type":` + avroEvent + `}]}`},
	}}
	encode := func(id int32, v any) []byte {
		b, err := avro.Marshal(avro.MustParse(registry.ids[id].Text), v)
		if err != nil {
			t.Fatal(err)
		}
		return withID(id, b)
	}
	for _, tt := range []struct {
		name   string
		format Format
		raw    raw
	}{
		{"JSON", Format{}, raw{value: []byte(event)}},
		{"CloudEvents", Format{Envelope: CloudEvents}, raw{value: []byte(`{"specversion":"1.0","id":"1","source":"s","type":"t","data":` + event + `}`)}},
		{"Debezium", Format{Envelope: Debezium}, raw{value: []byte(`{"op":"c","after":` + event + `}`)}},
		{"Debezium of MongoDB", Format{Envelope: Debezium}, raw{value: []byte(`{"op":"c","after":` + string(quoted(event)) + `}`)}},
		{"Avro", Format{Encoding: FromRegistry}, raw{value: encode(1, row)}},
		{"Debezium in Avro", Format{Encoding: FromRegistry, Envelope: Debezium}, raw{value: encode(2, map[string]any{"op": "c", "after": map[string]any{"R": row}})}},
		{"CloudEvents in Avro", Format{Encoding: FromRegistry, Envelope: CloudEvents}, raw{value: encode(3, map[string]any{
			"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": row})}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDecoder(t, tt.format, registry, contract(nil, keep("x", schemas.Text, "x"), signalField("context.consent"), signalField("none")))
			got := decodeRaw(t, d, "topic", tt.raw, tt.raw)
			if len(got.Rejects) > 0 || len(got.Rows[0]) != 2 {
				t.Fatalf("rejects %v, rows %v", got.Rejects, got.Rows)
			}
			for _, row := range got.Rows[0] {
				if row[0] != "1" || row[1] != value || row[2] != nil {
					t.Errorf("got %v", row)
				}
			}
		})
	}
}

// TestSignalInProtobufRandom compares what is in signals with the JSON that the
// protobuf module writes of the whole message.
func TestSignalInProtobufRandom(t *testing.T) {
	s := mustProto(t, everyKind)
	signals := []string{"child", "numbers", "texts", "children", "labels", "byNumber", "by_bool", "picked_child", "structure", "decimal"}
	w := wantSignals(signals, []string{"stringField", "child.stringField"})
	names := protojson.MarshalOptions{AllowPartial: true}
	compared := 0
	for seed := range uint64(200) {
		m := randomProto(rand.New(rand.NewPCG(seed, 3)), s.file.Messages().Get(0), 2)
		clearDeep(m, "any") // of types that there are not
		clearDeep(m, "mask")
		text, err := names.Marshal(m)
		if err != nil {
			continue // a value that has no JSON
		}
		in, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got, reason := s.read(in, w, 64)
		if reason != schemas.NoReason {
			t.Fatalf("seed %d: %q", seed, reason)
		}
		all, view := parseJSON(t, string(text)).(map[string]any), parseJSON(t, got).(map[string]any)
		for _, name := range signals {
			f := m.Descriptor().Fields().ByName(protoreflect.Name(name))
			if f == nil {
				f = m.Descriptor().Fields().ByJSONName(name)
			}
			want, is := all[f.JSONName()]
			have, found := view[name]
			if is != found || !reflect.DeepEqual(have, want) {
				t.Errorf("seed %d: %s differs, there is %v and it is found %v", seed, name, is, found)
			}
			if is {
				compared++
			}
		}
	}
	if compared < 200 {
		t.Errorf("only %d values compared", compared)
	}
}
