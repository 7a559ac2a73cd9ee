package decode

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lupa/schemas"
)

func TestCloudEvents(t *testing.T) {
	binary := func(more ...[2]string) [][2]string {
		return append([][2]string{{"ce_specversion", "1.0"}, {"ce_id", "i"}, {"ce_source", "s"}, {"ce_type", "t"}}, more...)
	}
	contentType := func(v string) [2]string { return [2]string{"content-type", v} }
	const attributes = `"cloudevent":{"specversion":"1.0","id":"i","source":"s","type":"t"`
	structured := func(rest string) string { return `{"specversion":"1.0","id":"i","source":"s","type":"t"` + rest + `}` }
	b64 := base64.StdEncoding.EncodeToString
	jsonRegistry := &fakeRegistry{ids: map[int32]Schema{
		1: {Type: JSONSchema, Text: "{}"},
		2: {Type: Avro, Text: `{"type":"record","name":"R","fields":[{"name":"x","type":"string"},{"name":"cloudevent","type":"string"}]}`},
		3: {Type: Avro, Text: `{"type":"record","name":"R","fields":[{"name":"specversion","type":"string"},{"name":"id","type":"string"},{"name":"source","type":"string"},{"name":"type","type":"string"},{"name":"data","type":{"type":"map","values":"string"}}]}`},
	}}
	const ok = schemas.NoReason
	for _, c := range []struct {
		name     string
		encoding Encoding
		value    string
		headers  [][2]string
		want     string
		reason   schemas.Reason
	}{
		{"structured", BareJSON, structured(`,"data":{"x":1}`), nil, `{"x":1,` + attributes + `}}`, ok},
		{"structured, by its header", BareJSON, structured(`,"data":{"x":1}`), [][2]string{contentType("application/cloudevents+json; charset=UTF-8")}, `{"x":1,` + attributes + `}}`, ok},
		{"structured, in capitals", BareJSON, structured(``), [][2]string{contentType("Application/CloudEvents")}, `{` + attributes + `}}`, ok},
		{"structured, the header wins over attributes", BareJSON, structured(``), binary(contentType("application/cloudevents+json")), `{` + attributes + `}}`, ok},
		{"attributes of all kinds", BareJSON, structured(`,"time":"2026-03-14T15:09:26Z","subject":null,"ext":5,"flag":true,"data":{}`), nil,
			`{` + attributes + `,"time":"2026-03-14T15:09:26Z","ext":5,"flag":true}}`, ok},
		{"data that would pass for attributes", BareJSON, structured(`,"data":{"cloudevent":{"type":"spoofed","subject":"s"},"cloud\u0065vent":1,"x":1}`), nil, `{"x":1,` + attributes + `}}`, ok},
		{"data is a text", BareJSON, structured(`,"data":"text"`), nil, `{` + attributes + `}}`, ok},
		{"data is an array", BareJSON, structured(`,"data":[{"x":1}]`), nil, `{` + attributes + `}}`, ok},
		{"data is null", BareJSON, structured(`,"data":null,"data_base64":null`), nil, `{` + attributes + `}}`, ok},
		{"no data", BareJSON, structured(``), nil, `{` + attributes + `}}`, ok},
		{"data in base64", BareJSON, structured(`,"data_base64":"` + b64([]byte(` {"x":1} `)) + `"`), nil, `{"x":1,` + attributes + `}}`, ok},
		{"data in base64, said to be JSON", BareJSON, structured(`,"datacontenttype":"application/vnd.x+json","data_base64":"` + b64([]byte(`{"x":1}`)) + `"`), nil, `{"x":1,` + attributes + `,"datacontenttype":"application/vnd.x+json"}}`, ok},
		{"data in base64, of another type", BareJSON, structured(`,"datacontenttype":"image/png","data_base64":"` + b64([]byte{0x89}) + `"`), nil, `{` + attributes + `,"datacontenttype":"image/png"}}`, ok},
		{"data in base64, broken JSON", BareJSON, structured(`,"data_base64":"` + b64([]byte(`{"x":`)) + `"`), nil, ``, schemas.Malformed},
		{"data in base64, more behind", BareJSON, structured(`,"data_base64":"` + b64([]byte(`{"x":1}}`)) + `"`), nil, ``, schemas.Malformed},
		{"data in broken base64", BareJSON, structured(`,"data_base64":"???"`), nil, ``, schemas.Malformed},
		{"data in base64 is no text", BareJSON, structured(`,"data_base64":7`), nil, ``, schemas.Malformed},
		{"data twice over", BareJSON, structured(`,"data":{},"data_base64":""`), nil, ``, schemas.Malformed},
		{"a member twice", BareJSON, structured(`,"data":{},"d\u0061ta":{}`), nil, ``, schemas.Malformed},
		{"an attribute twice", BareJSON, structured(`,"ty\u0070e":"u"`), nil, ``, schemas.Malformed},
		{"an attribute that is an object", BareJSON, structured(`,"ext":{"a":1}`), nil, ``, schemas.Malformed},
		{"too many members", BareJSON, structured(manyMembers(300)), nil, ``, schemas.Malformed},
		{"another version", BareJSON, `{"specversion":"0.3","id":"i","source":"s","type":"t"}`, nil, ``, schemas.Malformed},
		{"version is a number", BareJSON, `{"specversion":1.0,"id":"i","source":"s","type":"t"}`, nil, ``, schemas.Malformed},
		{"no id", BareJSON, `{"specversion":"1.0","source":"s","type":"t"}`, nil, ``, schemas.Malformed},
		{"empty id", BareJSON, `{"specversion":"1.0","id":"","source":"s","type":"t"}`, nil, ``, schemas.Malformed},
		{"id is null", BareJSON, `{"specversion":"1.0","id":null,"source":"s","type":"t"}`, nil, ``, schemas.Malformed},
		{"no type", BareJSON, `{"specversion":"1.0","id":"i","source":"s"}`, nil, ``, schemas.Malformed},
		{"no source", BareJSON, `{"specversion":"1.0","id":"i","type":"t"}`, nil, ``, schemas.Malformed},
		{"neither form", BareJSON, `{"x":1}`, nil, ``, schemas.Malformed},
		{"neither form, array", BareJSON, `[]`, nil, ``, schemas.Malformed},
		{"a batch", BareJSON, `[` + structured(``) + `]`, [][2]string{contentType("application/cloudevents-batch+json")}, ``, schemas.Malformed},
		{"another encoding", BareJSON, structured(``), [][2]string{contentType("application/cloudevents+avro")}, ``, schemas.Malformed},
		{"broken behind the data", BareJSON, structured(`,"data":{"x":1},`), nil, ``, schemas.Malformed},
		{"empty", BareJSON, ``, nil, ``, schemas.EmptyMessage},
		{"too deep", BareJSON, structured(`,"data":` + strings.Repeat("[", 70) + strings.Repeat("]", 70)), nil, ``, schemas.TooDeep},

		{"binary", BareJSON, `{"x":1}`, binary(contentType("application/json")), `{"x":1,` + attributes + `,"datacontenttype":"application/json"}}`, ok},
		{"binary, no content type", BareJSON, `{"x":1}`, binary(), `{"x":1,` + attributes + `}}`, ok},
		{"binary, attributes", BareJSON, `{"x":1}`, binary([2]string{"ce_subject", "a\"b"}, [2]string{"ce_ext", "5"}, [2]string{"other", "x"}, [2]string{"ce_none", nullHeader}, [2]string{"ce_", "x"}), `{"x":1,` + attributes + `,"subject":"a\"b","ext":"5"}}`, ok},
		{"binary, data that would pass for attributes", BareJSON, `{"cloudevent":{"subject":"spoofed"},"x":1}`, binary(), `{"x":1,` + attributes + `}}`, ok},
		{"binary, no data", BareJSON, ``, binary(), `{` + attributes + `}}`, ok},
		{"binary, an array", BareJSON, `[1]`, binary(), `{` + attributes + `}}`, ok},
		{"binary, of another type", BareJSON, `<x/>`, binary(contentType("text/xml")), `{` + attributes + `,"datacontenttype":"text/xml"}}`, ok},
		{"binary, broken", BareJSON, `{"x":`, binary(contentType("application/json")), ``, schemas.Malformed},
		{"binary, broken, no content type", BareJSON, `x`, binary(), ``, schemas.Malformed},
		{"binary, another version", BareJSON, `{}`, append(binary()[1:], [2]string{"ce_specversion", "0.3"}), ``, schemas.Malformed},
		{"binary, no id", BareJSON, `{}`, slices.Delete(binary(), 1, 2), ``, schemas.Malformed},
		{"binary, no version", BareJSON, `{}`, binary()[1:], ``, schemas.Malformed},
		{"binary, two types", BareJSON, `{}`, binary([2]string{"ce_type", "u"}), ``, schemas.Malformed},
		{"binary, the content type twice over", BareJSON, `{}`, binary(contentType("application/json"), [2]string{"ce_datacontenttype", "x"}), `{` + attributes + `,"datacontenttype":"application/json"}}`, ok},

		{"registry, binary", FromRegistry, "\x00\x00\x00\x00\x02\x02a\x02b", binary(contentType("application/avro")), `{"x":"a",` + attributes + `,"datacontenttype":"application/avro"}}`, ok},
		{"registry, binary, no content type", FromRegistry, "\x00\x00\x00\x00\x02\x02a\x02b", binary(), `{"x":"a",` + attributes + `}}`, ok},
		{"registry, binary, id in a header", FromRegistry, "\x02a\x02b", binary([2]string{schemaIDHeader, "\x00\x00\x00\x00\x02"}), `{"x":"a",` + attributes + `}}`, ok},
		{"registry, binary, JSON with a schema", FromRegistry, "\x00\x00\x00\x00\x01{\"x\":1}", binary(contentType("application/json")), `{"x":1,` + attributes + `,"datacontenttype":"application/json"}}`, ok},
		{"registry, binary, JSON without one", FromRegistry, `{"x":1}`, binary(contentType("application/json")), `{"x":1,` + attributes + `,"datacontenttype":"application/json"}}`, ok},
		{"registry, binary, neither", FromRegistry, `{"x":1}`, binary(), ``, schemas.Malformed},
		{"registry, binary, unknown", FromRegistry, "\x00\x00\x00\x00\x09\x02a\x02b", binary(), ``, schemas.UnknownSchema},
		{"registry, structured", FromRegistry, "\x00\x00\x00\x00\x01" + structured(`,"data":{"x":1}`), nil, `{"x":1,` + attributes + `}}`, ok},
		{"registry, structured, no schema", FromRegistry, structured(``), [][2]string{contentType("application/cloudevents+json")}, `{` + attributes + `}}`, ok},
		{"registry, structured, neither", FromRegistry, structured(``), nil, ``, schemas.Malformed},
		{"registry, structured in Avro", FromRegistry, "\x00\x00\x00\x00\x03\x061.0\x02i\x02s\x02t\x02\x02x\x02v\x00", nil, `{"x":"v",` + attributes + `}}`, ok},
		{"registry, Avro in base64", FromRegistry, structured(`,"data_base64":"` + b64([]byte("\x00\x00\x00\x00\x02\x02a\x02b")) + `"`), [][2]string{contentType("application/cloudevents+json")}, `{"x":"a",` + attributes + `}}`, ok},
		{"registry, Avro in base64 in JSON with a schema", FromRegistry, structured(`,"data_base64":"` + b64([]byte("\x00\x00\x00\x00\x02\x02a\x02b")) + `"`), [][2]string{{schemaIDHeader, "\x00\x00\x00\x00\x01"}}, `{"x":"a",` + attributes + `}}`, ok},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := wantAll(newDecoder(t, Format{c.encoding, CloudEvents}, jsonRegistry))
			if got, reason := viewOf(t, d, raw{value: []byte(c.value), headers: c.headers}); got != c.want || reason != c.reason {
				t.Errorf("got %s %q, want %s %q", got, reason, c.want, c.reason)
			}
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"a%d":1`, i)
	}
	return b.String()
}

// TestCloudEventRows routes by attributes; data cannot pass for them.
func TestCloudEventRows(t *testing.T) {
	c := contract(when("cloudevent.type", "order"), identity("customer", schemas.UserID, "customerId"), keep("subject", schemas.Text, "cloudevent.subject"), keep("at", schemas.Timestamp, "cloudevent.time"))
	d := newDecoder(t, Format{Envelope: CloudEvents}, nil, c)
	event := func(typ, data string) raw {
		return raw{value: fmt.Appendf(nil, `{"specversion":"1.0","id":"i","source":"s","type":%q,"time":"2026-03-14T15:09:26Z","data":%s}`, typ, data)}
	}
	got := decodeRaw(t, d, "t", event("order", `{"customerId":"u1"}`), event("other", `{"customerId":"u2","cloudevent":{"type":"order"}}`),
		event("order", `{"customerId":"u3","cloudevent":{"subject":"spoofed"}}`),
		raw{value: []byte(`{"customerId":"u4"}`), headers: [][2]string{{"ce_specversion", "1.0"}, {"ce_id", "i"}, {"ce_source", "s"}, {"ce_type", "Order"}, {"ce_subject", "x"}}})
	want := [][]any{{"u1", nil, int64(1773500966000000)}, {"u3", nil, int64(1773500966000000)}, {"u4", "x", nil}}
	if fmt.Sprint(got.Rows[0]) != fmt.Sprint(want) {
		t.Errorf("%d rows, want three with their columns", len(got.Rows[0]))
	}
	if len(got.Rejects) != 1 || got.Rejects[0].Reason != schemas.Unrouted || got.Rejects[0].Message != 1 {
		t.Errorf("rejects are %+v", got.Rejects)
	}
}

// TestCloudEventsShared reads the examples of the specification in both modes.
func TestCloudEventsShared(t *testing.T) {
	d := newDecoder(t, Format{Envelope: CloudEvents}, nil)
	lines := readLines(t, shared(t, "cloudevents", "examples.jsonl"))
	taken := 0
	for i, line := range lines {
		event := parseJSON(t, string(line)).(map[string]any)
		want, placeholder := map[string]any{}, false
		if data, ok := event["data"].(map[string]any); ok {
			want = data
		}
		if text, ok := event["data_base64"].(string); ok {
			data, err := base64.StdEncoding.DecodeString(text)
			placeholder = err != nil
			if event["datacontenttype"] == nil && err == nil {
				want = parseJSON(t, string(data)).(map[string]any)
			}
		}
		attributes := map[string]any{}
		var headers [][2]string
		for k, v := range event {
			if k == "data" || k == "data_base64" || v == nil {
				continue
			}
			attributes[k] = v
			if k == "datacontenttype" {
				headers = append(headers, [2]string{"content-type", fmt.Sprint(v)})
			} else {
				headers = append(headers, [2]string{"ce_" + k, fmt.Sprint(v)})
			}
		}
		want["cloudevent"] = attributes
		got, reason := viewOf(t, d, raw{value: line})
		switch {
		case placeholder != (reason == schemas.Malformed):
			t.Errorf("line %d: %q", i+1, reason)
			continue
		case placeholder:
			continue
		case !sameJSONText(t, got, want):
			t.Errorf("line %d: the view differs", i+1)
		}
		taken++
		data, ok := event["data"].(map[string]any)
		if !ok {
			continue
		}
		delete(data, "cloudevent")
		value := line[strings.Index(string(line), `"data":`)+len(`"data":`) : len(line)-1]
		got, reason = viewOf(t, d, raw{value: value, headers: headers})
		for k, v := range attributes {
			attributes[k] = fmt.Sprint(v)
		}
		data["cloudevent"] = attributes
		if reason != schemas.NoReason || !sameJSONText(t, got, data) {
			t.Errorf("line %d: differs in binary mode, %q", i+1, reason)
		}
	}
	if taken < 24 {
		t.Errorf("%d of %d examples are taken", taken, len(lines))
	}
}

// FuzzCloudEvents makes views of any bytes with any headers.
func FuzzCloudEvents(f *testing.F) {
	seed := appendHeaders(nil, binaryHeaders())
	f.Add([]byte(`{"x":1}`), seed)
	f.Add([]byte(`{"specversion":"1.0","id":"i","source":"s","type":"t","data":{"x":1}}`), []byte(nil))
	f.Add([]byte(`{"specversion":"1.0","id":"i","source":"s","type":"t","data_base64":"e30="}`), []byte{0})
	f.Add([]byte(`{"x":1},"cloudevent":{},"y":{"z":2}`), seed)
	f.Add([]byte(`{"x":[1}`), seed)
	d := newDecoder(f, Format{Envelope: CloudEvents}, nil)
	f.Fuzz(func(t *testing.T, value, list []byte) {
		// Data is taken when it is JSON by itself, whatever is put behind it.
		_, _, ok := oracleWalk(value)
		_, reason := viewOf(t, d, raw{value: value, headers: binaryHeaders()})
		if deep := oracleDepth(value) > 64; len(value) > 0 && !deep && ok != (reason == schemas.NoReason) {
			t.Errorf("data is JSON %v, and %q", ok, reason)
		}
		var h headers
		if h.read(list) {
			checkEnvelope(t, d, raw{value: value, headers: headerList(&h)}, "cloudevent")
		}
	})
}

func binaryHeaders() [][2]string {
	return [][2]string{{"ce_specversion", "1.0"}, {"ce_id", "i"}, {"ce_source", "s"}, {"ce_type", "t"}, {"content-type", "application/json"}}
}

// headerList gives the headers that were read.
func headerList(h *headers) (list [][2]string) {
	for _, a := range h.attributes {
		list = append(list, [2]string{attributePrefix + string(a.name), string(a.value)})
	}
	if h.hasContentType {
		list = append(list, [2]string{contentTypeHeader, string(h.contentType)})
	}
	return list
}
