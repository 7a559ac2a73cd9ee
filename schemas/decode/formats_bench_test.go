package decode

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
)

// flat is an event of Segment's shape in each format's own schema language.
const (
	flatAvro = `{"type":"record","name":"Event","fields":[
		{"name":"type","type":"string"},{"name":"messageId","type":"string"},{"name":"anonymousId","type":"string"},{"name":"userId","type":["null","string"]},
		{"name":"event","type":["null","string"]},{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},
		{"name":"sentAt","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"receivedAt","type":{"type":"long","logicalType":"timestamp-millis"}},
		{"name":"context","type":{"type":"record","name":"Context","fields":[{"name":"ip","type":"string"},{"name":"userAgent","type":"string"},{"name":"locale","type":"string"},
			{"name":"page","type":{"type":"record","name":"Page","fields":[{"name":"path","type":"string"},{"name":"referrer","type":"string"},{"name":"title","type":"string"},{"name":"url","type":"string"}]}}]}},
		{"name":"properties","type":{"type":"record","name":"Properties","fields":[{"name":"revenue","type":"double"},{"name":"currency","type":"string"},{"name":"quantity","type":"int"},{"name":"coupon","type":"string"}]}}]}`
	flatProto = `syntax = "proto3"; import "google/protobuf/timestamp.proto";
		message Event { string type = 1; string message_id = 2; string anonymous_id = 3; optional string user_id = 4; string event = 5;
			google.protobuf.Timestamp timestamp = 6; google.protobuf.Timestamp sent_at = 7; google.protobuf.Timestamp received_at = 8; Context context = 9; Properties properties = 10; }
		message Context { string ip = 1; string user_agent = 2; string locale = 3; Page page = 4; }
		message Page { string path = 1; string referrer = 2; string title = 3; string url = 4; }
		message Properties { double revenue = 1; string currency = 2; int32 quantity = 3; string coupon = 4; }`
)

// flatEvent is one such event; JSON has the names of Segment.
func flatEvent(i int) map[string]any {
	return map[string]any{
		"type": "track", "messageId": fmt.Sprintf("%08x-4b5c-4d1e-9f00-000000000000", i), "anonymousId": fmt.Sprintf("%08x-1111-4222-8333-000000000000", i), "userId": fmt.Sprint("user-", i),
		"event": "Order Completed", "timestamp": "2026-03-14T15:09:26.535Z", "sentAt": "2026-03-14T15:09:27.535Z", "receivedAt": "2026-03-14T15:09:28.535Z",
		"context": map[string]any{"ip": "203.0.113.7", "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0", "locale": "fi-FI",
			"page": map[string]any{"path": "/pricing", "referrer": "", "title": "Pricing", "url": "https://shop.example.com/pricing?ref=7"}},
		"properties": map[string]any{"revenue": 12.5, "currency": "EUR", "quantity": 3, "coupon": "SPRING"},
	}
}

// BenchmarkFormats decodes the same events in every format; bytes are those of
// the messages as they come.
func BenchmarkFormats(b *testing.B) {
	const batch = 1000
	r := &fakeRegistry{ids: map[int32]Schema{1: {Type: Avro, Text: flatAvro}, 2: {Type: JSONSchema, Text: "{}"}, 3: {Type: Protobuf, Text: flatProto}}}
	protoSchema := mustProto(b, flatProto)
	avroSchema := avro.MustParse(flatAvro)
	text := func(i int) []byte {
		m, err := json.Marshal(flatEvent(i))
		if err != nil {
			b.Fatal(err)
		}
		return m
	}
	ce := [][2]string{{"ce_specversion", "1.0"}, {"ce_id", "0123456789"}, {"ce_source", "/shop"}, {"ce_type", "order"}, {"ce_time", "2026-03-14T15:09:26.535Z"}, {"content-type", "application/json"}}
	for _, c := range []struct {
		name   string
		format Format
		make   func(i int) raw
	}{
		{"json", Format{}, func(i int) raw { return raw{value: text(i)} }},
		{"registry-json", Format{Encoding: FromRegistry}, func(i int) raw { return raw{value: withID(2, text(i))} }},
		{"registry-avro", Format{Encoding: FromRegistry}, func(i int) raw {
			e := flatEvent(i)
			for _, k := range []string{"timestamp", "sentAt", "receivedAt"} {
				e[k] = int64(1_773_500_966_535)
			}
			for _, k := range []string{"userId", "event"} {
				e[k] = map[string]any{"string": e[k]}
			}
			in, err := avro.Marshal(avroSchema, e)
			if err != nil {
				b.Fatal(err)
			}
			return raw{value: withID(1, in)}
		}},
		{"registry-protobuf", Format{Encoding: FromRegistry}, func(i int) raw {
			m := dynamicpb.NewMessage(protoSchema.file.Messages().Get(0))
			if err := protojson.Unmarshal(text(i), m); err != nil {
				b.Fatal(err)
			}
			in, err := proto.Marshal(m)
			if err != nil {
				b.Fatal(err)
			}
			return raw{value: withID(3, append([]byte{0}, in...))}
		}},
		{"cloudevents-structured", Format{Envelope: CloudEvents}, func(i int) raw {
			return raw{value: fmt.Appendf(nil, `{"specversion":"1.0","id":"%d","source":"/shop","type":"order","time":"2026-03-14T15:09:26.535Z","datacontenttype":"application/json","data":%s}`, i, text(i))}
		}},
		{"cloudevents-binary", Format{Envelope: CloudEvents}, func(i int) raw { return raw{value: text(i), headers: ce} }},
		{"debezium", Format{Envelope: Debezium}, func(i int) raw {
			return raw{value: fmt.Appendf(nil, `{"before":null,"after":%s,"source":{"version":"2.7.0.Final","connector":"postgresql","name":"shop","ts_ms":1773500966535,"snapshot":"false","db":"shop","schema":"public","table":"events","txId":555,"lsn":24023128,"xmin":null},"op":"c","ts_ms":1773500966600,"transaction":null}`, text(i))}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var list []raw
			bytes := 0
			for i := range batch {
				list = append(list, c.make(i))
				bytes += len(list[i].value)
			}
			m := packRaw(list)
			d := newDecoder(b, c.format, r, segmentContracts()...)
			rows, rejects, err := d.Decode(context.Background(), "t", m)
			if err != nil || len(rejects) > 0 || len(rows[0].Message) != batch {
				b.Fatal(len(rejects), err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(bytes / batch))
			b.ResetTimer()
			for n := 0; n < b.N; n += batch {
				if _, _, err := d.Decode(context.Background(), "t", m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHeaders walks over headers of which none is read.
func BenchmarkHeaders(b *testing.B) {
	list := appendHeaders(nil, [][2]string{{"traceparent", strings.Repeat("0", 55)}, {"tenant", "shop"}, {"retry", "0"}})
	var h headers
	b.ReportAllocs()
	for range b.N {
		if !h.read(list) {
			b.Fatal("is not read")
		}
	}
}

// FuzzSchema parses any text as a schema of each language.
func FuzzSchema(f *testing.F) {
	f.Add(flatProto)
	f.Add(everyKind)
	f.Add(flatAvro)
	f.Fuzz(func(_ *testing.T, text string) {
		for _, typ := range []SchemaType{Avro, Protobuf} {
			if s := parseSchema(context.Background(), Schema{Type: typ, Text: text, References: []Reference{{Name: "a.proto", Text: text}}}); s != nil && s.proto != nil {
				s.proto.read([]byte("\x0a\x01v"), everything(), 8)
			}
		}
	})
}
