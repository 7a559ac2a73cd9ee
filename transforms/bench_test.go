package transforms

import (
	"context"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/pipeline"
	"lupa/schemas"
)

const benchRows = 1024

// perValue reports the cost of one value; what is allocated is for a batch.
func perValue(b *testing.B) {
	b.ReportAllocs()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/value")
}

func BenchmarkKernels(b *testing.B) {
	rnd := rand.New(rand.NewSource(1))
	field := func(t schemas.Type, technique schemas.Technique) schemas.Field {
		return schemas.Field{Name: "f", Type: t, Treatment: treat(technique, "page", "utm_*")}
	}
	identity := func(kind schemas.IdentifierKind) schemas.Field {
		f := field(schemas.Text, schemas.Pseudonymize)
		f.Identifiers = []schemas.IdentifierKind{kind}
		return f
	}
	for _, c := range []struct {
		name  string
		field schemas.Field
		value func() any
	}{
		{"keep/text", field(schemas.Text, schemas.Keep), func() any { return fmt.Sprintf("value %d", rnd.Int63()) }},
		{"keep/integer", field(schemas.Integer, schemas.Keep), func() any { return rnd.Int() }},
		{"keep/boolean", field(schemas.Boolean, schemas.Keep), func() any { return rnd.Intn(2) == 0 }},
		{"keep/timestamp", field(schemas.Timestamp, schemas.Keep), func() any { return time.Unix(rnd.Int63n(1<<31), 0) }},
		{"pseudonymize/user_id", identity(schemas.UserID), func() any { return fmt.Sprintf("user-%012d", rnd.Int63n(1e9)) }},
		{"pseudonymize/email", identity(schemas.Email), func() any { return fmt.Sprintf("Jane.Doe%d@Example.com", rnd.Intn(1e6)) }},
		{"truncate_ip/4", field(schemas.Text, schemas.TruncateIP), func() any { return fmt.Sprintf("203.0.113.%d", rnd.Intn(256)) }},
		{"truncate_ip/6", field(schemas.Text, schemas.TruncateIP), func() any { return fmt.Sprintf("2001:db8:%x:%x::1", rnd.Intn(1<<16), rnd.Intn(1<<16)) }},
		{"email_domain", field(schemas.Text, schemas.EmailDomain), func() any { return fmt.Sprintf("Jane.Doe%d@Example.com", rnd.Intn(1e6)) }},
		{"strip_query", field(schemas.Text, schemas.StripQuery), func() any {
			return fmt.Sprintf("https://www.example.com/products/%d/reviews?utm_source=mail&id=%d&page=2#top", rnd.Intn(1e6), rnd.Int())
		}},
		{"strip_query/path", field(schemas.Text, schemas.StripQuery), func() any { return fmt.Sprintf("https://www.example.com/products/%d/reviews", rnd.Intn(1e6)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			contract := &schemas.Contract{Table: "t", Domain: "d", EventTime: -1, Fields: []schemas.Field{c.field}}
			values := make([]map[string]any, benchRows)
			rows := make([]int32, benchRows)
			for i := range values {
				values[i], rows[i] = map[string]any{"f": c.value()}, int32(i)
			}
			raw := rawOf(b, memory.DefaultAllocator, contract, values...)
			k := stageOf(b, keyset(b), contract).tables[0].fields[0].kernel
			if p, ok := k.(*pseudonymize); ok {
				p.shared = false // there is no subject here
			}
			for b.Loop() {
				column, err := k.build(raw.Column(0), rows, rows)
				if err != nil {
					b.Fatal(err)
				}
				column.Release()
			}
			perValue(b)
		})
	}
}

func BenchmarkStage(b *testing.B) {
	rnd := rand.New(rand.NewSource(1))
	c := visits()
	values := make([]map[string]any, benchRows)
	verdicts, granted := make([]pipeline.Verdict, benchRows), make([]schemas.PurposeSet, benchRows)
	for i := range values {
		values[i] = map[string]any{
			"anonymous_id": fmt.Sprintf("507f191e-810c-4197-a9de-%012d", rnd.Intn(1000)), "email": fmt.Sprintf("jane%d@example.com", rnd.Intn(1000)),
			"user_id": fmt.Sprintf("u-%d", rnd.Intn(1000)), "event": "Order Completed", "ip": "203.0.113.77", "url": "https://example.com/a?page=2",
			"at": time.Unix(rnd.Int63n(1<<31), 0), "size": rnd.Int(), "bot": true,
		}
		verdicts[i] = []pipeline.Verdict{keep, keep, keep, mask, drop}[rnd.Intn(5)]
		granted[i] = schemas.AllPurposes
	}
	batch := batchOf(c, rawOf(b, memory.DefaultAllocator, c, values...), verdicts, granted...)
	s := stageOf(b, keyset(b), c)
	for b.Loop() {
		if err := s.Apply(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	perValue(b)
}
