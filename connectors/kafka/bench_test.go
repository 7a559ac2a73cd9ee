package kafka

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkEvents reads events of about 600 bytes from the in-process fake,
// whose own work is part of the time.
func BenchmarkEvents(b *testing.B) {
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(), "snappy": kgo.SnappyCompression(),
	} {
		b.Run(name, func(b *testing.B) {
			k := fake(b)
			topic(b, k, "x", 2, "delete")
			p := producer(b, k, kgo.ProducerBatchCompression(codec))
			const n = 40000
			for id := range int32(2) {
				values := make([]string, n/2)
				for i := range values {
					values[i] = event(int(id)*n + i)
				}
				put(b, p, "x", id, values...)
			}
			c := connect(b, k)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				e := open(b, c, nil, "x")
				for got := 0; got < n; {
					ch, err := e.Next(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					if ch != nil {
						got += len(ch.Values)
					}
				}
				e.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
		})
	}
}

// BenchmarkBarrier is how long one takes that has nothing to wait for but the
// answers, and how much of that is asking what partitions there are.
func BenchmarkBarrier(b *testing.B) {
	for _, partitions := range []int32{1, 12} {
		k := fake(b)
		topic(b, k, "x", partitions, "compact")
		for name, strict := range map[string]bool{"ends": false, "markers": true} {
			b.Run(fmt.Sprintf("%s/partitions=%d", name, partitions), func(b *testing.B) {
				l := follow(b, connect(b, k), &table{}, LedgerOptions{Strict: strict})
				for b.Loop() {
					if _, err := l.Barrier(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("inspect/partitions=%d", partitions), func(b *testing.B) {
			c := connect(b, k)
			i := inspector{client: &client{c, c.transport("x")}}
			defer i.client.transport.CloseIdleConnections()
			for b.Loop() {
				if _, err := i.inspect(b.Context(), "x"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecode is the part of reading that is ours alone.
func BenchmarkDecode(b *testing.B) {
	for _, attributes := range []int16{0, 2, 3, 4} {
		m := made{attributes: attributes, count: -1}
		for i := range 1000 {
			m.recs = append(m.recs, rec{int64(i), nil, []byte(event(i))})
		}
		m.lastDelta = int32(len(m.recs) - 1)
		raw := m.encode()
		c, err := newCodecs(64 << 20)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint("codec", attributes), func(b *testing.B) {
			d := reader{codecs: c}
			var r records
			b.ReportAllocs()
			for range b.N {
				r.reset()
				sound, _, err := survey(raw, 0, true)
				if err != nil {
					b.Fatal(err)
				}
				h, _, _, err := nextBatch(sound)
				if err == nil {
					err = d.decode(&r, &h, 0, true)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(m.recs)), "ns/event")
		})
		c.close()
	}
}

func event(i int) string {
	return fmt.Sprintf(`{"type":"track","event":"Order Completed","messageId":"m-%08x-%d","userId":"user-%d","anonymousId":"a-%x",`+
		`"timestamp":"2026-01-02T03:04:%02d.%03dZ","context":{"ip":"192.0.2.%d","page":{"url":"https://shop.example/cart/%d?q=%d",`+
		`"referrer":"https://shop.example/"},"campaign":{"source":"newsletter","medium":"email"},"userAgent":"Mozilla/5.0 (X11; Linux x86_64)"},`+
		`"properties":{"order_id":"o-%d","total":%d.%02d,"currency":"EUR","products":[{"sku":"s-%d","quantity":%d},{"sku":"s-%d","quantity":1}]}}`,
		i*2654435761, i, i%5000, i*40503, i%60, i%1000, i%250, i, i%77, i, i%900, i%100, i%311, i%5, i%97)
}
