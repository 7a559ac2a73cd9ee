package decode

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"

	"lupa/schemas"
)

func TestDebezium(t *testing.T) {
	const ok = schemas.NoReason
	for _, c := range []struct {
		name, value, want string
		reason            schemas.Reason
	}{
		{"create", `{"before":null,"after":{"id":1,"email":"a@b"},"source":{"db":"d","table":"t"},"op":"c","ts_ms":5,"transaction":null}`,
			`{"id":1,"email":"a@b","debezium":{"op":"c","ts_ms":5,"source":{"db":"d","table":"t"}}}`, ok},
		{"update", `{"before":{"id":2},"after":{"id":1},"op":"u"}`, `{"id":1,"debezium":{"op":"u"}}`, ok},
		{"snapshot", `{"after":{},"op":"r","ts_ms":null}`, `{"debezium":{"op":"r","ts_ms":null}}`, ok},
		{"beside its schema", `{"schema":{"type":"struct"},"payload":{"after":{"id":1},"op":"c"}}`, `{"id":1,"debezium":{"op":"c"}}`, ok},
		{"white space", " { \"op\" : \"c\" , \"after\" : { \"id\" : 1 } } ", `{"id" : 1 ,"debezium":{"op":"c"}}`, ok},
		{"escapes in keys", `{"\u006fp":"c","aft\u0065r":{"id":1}}`, `{"id":1,"debezium":{"op":"c"}}`, ok},
		{"a column that would pass for where the row is from", `{"op":"c","after":{"debezium":{"op":"r"},"deb\u0065zium":1,"id":1}}`, `{"id":1,"debezium":{"op":"c"}}`, ok},
		{"a document in a text", `{"op":"c","after":"{\"_id\": 1, \"name\": \"\u00e9\\n\"}"}`, `{"_id": 1, "name": "é\n","debezium":{"op":"c"}}`, ok},
		{"the placeholder of an unchanged value", `{"op":"u","after":{"bio":"__debezium_unavailable_value"}}`, `{"bio":"__debezium_unavailable_value","debezium":{"op":"u"}}`, ok},

		{"delete", `{"before":{"id":1},"after":null,"op":"d"}`, ``, schemas.SourceDeleted},
		{"delete that has a row", `{"after":{"id":1},"op":"d"}`, ``, schemas.SourceDeleted},
		{"tombstone", ``, ``, schemas.SourceDeleted},
		{"tombstone beside its schema", `{"schema":null,"payload":null}`, ``, schemas.SourceDeleted},
		{"truncate", `{"op":"t"}`, ``, schemas.Unrouted},
		{"message", `{"op":"m","message":{"prefix":"p"}}`, ``, schemas.Unrouted},
		{"schema change", `{"source":{},"databaseName":"d","ddl":"x","tableChanges":[]}`, ``, schemas.Unrouted},
		{"schema change beside its schema", `{"schema":{},"payload":{"ddl":"x"}}`, ``, schemas.Unrouted},
		{"transaction", `{"status":"BEGIN","id":"1"}`, ``, schemas.Unrouted},
		{"no object", `[1]`, ``, schemas.Unrouted},
		{"null", `null`, ``, schemas.Unrouted},
		{"no row", `{"op":"c"}`, ``, schemas.Malformed},
		{"row is null", `{"op":"u","after":null}`, ``, schemas.Malformed},
		{"row is a number", `{"op":"c","after":7}`, ``, schemas.Malformed},
		{"row is a text of no object", `{"op":"c","after":"[1]"}`, ``, schemas.Malformed},
		{"row is a broken document", `{"op":"c","after":"{\"a\":1}}"}`, ``, schemas.Malformed},
		{"row is an empty text", `{"op":"c","after":""}`, ``, schemas.Malformed},
		{"unknown op", `{"op":"x","after":{}}`, ``, schemas.Malformed},
		{"op of two letters", `{"op":"cc","after":{}}`, ``, schemas.Malformed},
		{"op is a number", `{"op":1,"after":{}}`, ``, schemas.Malformed},
		{"op twice", `{"op":"c","op":"d","after":{}}`, ``, schemas.Malformed},
		{"row twice", `{"op":"c","after":{"a":1},"aft\u0065r":{"a":2}}`, ``, schemas.Malformed},
		{"broken behind the row", `{"op":"c","after":{"a":1},"x":}`, ``, schemas.Malformed},
		{"more behind", `{"op":"c","after":{"a":1}}{}`, ``, schemas.Malformed},
		{"broken where nobody looks", `{"op":"d","before":{"a":tru}}`, ``, schemas.Malformed},
		{"no object and broken", `[1`, ``, schemas.Malformed},
		{"no JSON", `x`, ``, schemas.Malformed},
		{"too deep", `{"op":"d","before":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, ``, schemas.TooDeep},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDecoder(t, Format{Envelope: Debezium}, nil)
			if got, reason := viewOf(t, d, raw{value: []byte(c.value)}); got != c.want || reason != c.reason {
				t.Errorf("got %s %q, want %s %q", got, reason, c.want, c.reason)
			}
		})
	}
}

// TestDebeziumRows routes by the source and takes fields of the row.
func TestDebeziumRows(t *testing.T) {
	c := contract(when("debezium.source.table", "customers"), identity("email", schemas.Email, "email"), keep("id", schemas.Integer, "id"),
		keep("op", schemas.Text, "debezium.op"), keep("at", schemas.Timestamp, "created_at"))
	d := newDecoder(t, Format{Envelope: Debezium}, nil, c)
	got := decodeRaw(t, d, "t",
		raw{value: []byte(`{"op":"c","after":{"id":1,"email":"a@b","created_at":"2026-03-14T15:09:26Z","name":"no field"},"source":{"table":"customers"}}`)},
		raw{value: []byte(`{"op":"c","after":{"id":1,"email":"a@b","source":{"table":"customers"},"debezium":{"source":{"table":"customers"}}},"source":{"table":"orders"}}`)},
		raw{value: []byte(`{"op":"c","after":{"id":"1","email":"a@b"},"source":{"table":"customers"}}`)},
		raw{value: []byte(`{"op":"d","before":{"id":1},"source":{"table":"customers"}}`)}, raw{})
	wantRows := fmt.Sprint([][]any{{"a@b", int64(1), "c", int64(1773500966000000)}})
	if fmt.Sprint(got.Rows[0]) != wantRows {
		t.Errorf("%d rows, want one with its columns", len(got.Rows[0]))
	}
	var reasons []schemas.Reason
	for _, r := range got.Rejects {
		reasons = append(reasons, r.Reason)
	}
	if fmt.Sprint(reasons) != "[unrouted wrong_type source_deleted source_deleted]" {
		t.Errorf("rejects for %v", reasons)
	}
}

func TestDebeziumAvro(t *testing.T) {
	text := `{"type":"record","name":"Envelope","fields":[
		{"name":"before","type":["null",{"type":"record","name":"Value","fields":[{"name":"id","type":"int"},{"name":"email","type":["null","string"]},
			{"name":"secret","type":"string"},{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}]},
		{"name":"after","type":["null","Value"]},
		{"name":"source","type":{"type":"record","name":"Source","fields":[{"name":"table","type":"string"},{"name":"lsn","type":["null","long"]}]}},
		{"name":"op","type":"string"},{"name":"ts_ms","type":["null","long"]}]}`
	schema := avro.MustParse(text)
	c := contract(when("debezium.source.table", "customers"), identity("email", schemas.Email, "email"), keep("id", schemas.Integer, "id"), keep("at", schemas.Timestamp, "at"))
	d := newDecoder(t, Format{FromRegistry, Debezium}, &fakeRegistry{ids: map[int32]Schema{1: {Type: Avro, Text: text}}}, c)
	event := func(op string, after any) raw {
		source := map[string]any{"table": "customers", "lsn": map[string]any{"long": int64(5)}}
		in, err := avro.Marshal(schema, map[string]any{"before": nil, "after": after, "source": source, "op": op, "ts_ms": nil})
		if err != nil {
			t.Fatal(err)
		}
		return raw{value: withID(1, in)}
	}
	value := map[string]any{"Value": map[string]any{"id": 7, "email": map[string]any{"string": "a@b"}, "secret": "SECRET", "at": int64(1_773_500_966_000_000)}}
	got := decodeRaw(t, d, "t", event("c", value), event("u", value), event("d", nil), event("c", nil), raw{})
	if fmt.Sprint(got.Rows[0]) != "[[a@b 7 1773500966000000] [a@b 7 1773500966000000]]" {
		t.Errorf("%d rows", len(got.Rows[0]))
	}
	var reasons []schemas.Reason
	for _, r := range got.Rejects {
		reasons = append(reasons, r.Reason)
	}
	if fmt.Sprint(reasons) != "[source_deleted malformed source_deleted]" {
		t.Errorf("rejects for %v", reasons)
	}
	if bytes.Contains(d.arena, []byte("SECRET")) {
		t.Error("a view holds what no contract names")
	}
}

// TestDebeziumShared reads change events of other people's connectors and
// compares them with what encoding/json makes of them.
func TestDebeziumShared(t *testing.T) {
	for _, c := range []struct {
		file                               string
		rows, deleted, unrouted, malformed int
	}{
		{"paimon-debezium.jsonl", 37, 2, 0, 0},
		{"paimon-debezium-avro.jsonl", 2, 0, 2, 0},
		{"paimon-debezium-bson.jsonl", 3, 2, 5, 0},
		{"debezium-docs.jsonl", 12, 1, 25, 1}, // one has ts_ms twice
	} {
		t.Run(c.file, func(t *testing.T) {
			d := newDecoder(t, Format{Envelope: Debezium}, nil, contract(nil, keep("op", schemas.Text, "debezium.op")))
			rows, reasons := 0, map[schemas.Reason]int{}
			for i, line := range readLines(t, shared(t, "cdc", c.file)) {
				got, reason := viewOf(t, d, raw{value: line})
				reasons[reason]++
				if reason != schemas.NoReason {
					continue
				}
				rows++
				if want := changeOracle(t, line); !sameJSONText(t, got, want) {
					t.Errorf("line %d: the view differs", i+1)
				}
				if res := decodeRaw(t, d, "t", raw{value: line}); len(res.Rows[0]) != 1 {
					t.Errorf("line %d: is no row", i+1)
				}
			}
			if rows != c.rows || reasons[schemas.SourceDeleted] != c.deleted || reasons[schemas.Unrouted] != c.unrouted || reasons[schemas.Malformed] != c.malformed {
				t.Errorf("%d rows, and %v", rows, reasons)
			}
		})
	}
}

// changeOracle makes the view of a change event with encoding/json.
func changeOracle(t *testing.T, line []byte) map[string]any {
	t.Helper()
	event, ok := parseJSON(t, string(line)).(map[string]any)
	if p, wrapped := event["payload"].(map[string]any); wrapped {
		event = p
	}
	if !ok {
		t.Fatal("is no object")
	}
	if text, ok := event["after"].(string); ok {
		event["after"] = parseJSON(t, text)
	}
	view := map[string]any{}
	for k, v := range event["after"].(map[string]any) {
		view[k] = v
	}
	about := map[string]any{}
	for _, k := range []string{"op", "ts_ms", "source"} {
		if v, ok := event[k]; ok {
			about[k] = v
		}
	}
	view["debezium"] = about
	return view
}

func sameJSONText(t *testing.T, got string, want any) bool {
	t.Helper()
	a, err := json.Marshal(parseJSON(t, got))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	return string(a) == string(b)
}

// FuzzDebezium makes views of any bytes.
func FuzzDebezium(f *testing.F) {
	for _, s := range []string{`{"op":"c","after":{"id":1},"source":{}}`, `{"schema":{},"payload":{"op":"u","after":{"a":[1]}}}`, `{"op":"c","after":"{\"a\":1}"}`, `{"op":"d"}`} {
		f.Add([]byte(s))
	}
	d := newDecoder(f, Format{Envelope: Debezium}, nil)
	f.Fuzz(func(t *testing.T, value []byte) { checkEnvelope(t, d, raw{value: value}, "debezium") })
}

// checkEnvelope makes a view, which must be JSON when the message is, and have
// the envelope's member once.
func checkEnvelope(t *testing.T, d *Decoder, m raw, member string) {
	t.Helper()
	got, reason := viewOf(t, d, m)
	if reason != schemas.NoReason {
		return
	}
	dec := json.NewDecoder(strings.NewReader(got))
	dec.UseNumber()
	var view map[string]any
	if err := dec.Decode(&view); err != nil {
		t.Fatal("the view is no JSON object")
	}
	if _, ok := view[member].(map[string]any); !ok {
		t.Error("the view does not say where it came from")
	}
	if len(got) > 8*len(m.value)+1<<16 {
		t.Error("the view is far longer than the message")
	}
	keys, _, _ := walkObject(got, 64)
	times := 0
	for _, k := range keys {
		if k == member {
			times++
		}
	}
	if times != 1 {
		t.Errorf("the envelope's member is there %d times", times)
	}
}
