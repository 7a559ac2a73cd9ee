package decode

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"lupa/schemas"
)

// keep is a field that is stored as it is.
func keep(name string, t schemas.Type, paths ...string) schemas.Field {
	f := schemas.Field{Name: name, Type: t, Treatment: schemas.Treatment{Technique: schemas.Keep}}
	for _, p := range paths {
		f.Paths = append(f.Paths, strings.Split(p, "."))
	}
	return f
}

// identity is an identity field.
func identity(name string, k schemas.IdentifierKind, paths ...string) schemas.Field {
	f := keep(name, schemas.Text, paths...)
	f.Identifiers = []schemas.IdentifierKind{k}
	f.Treatment.Technique = schemas.Pseudonymize
	f.Coerce = true
	return f
}

func when(path, value string) []schemas.Match {
	return []schemas.Match{{Path: strings.Split(path, "."), Value: value}}
}

// segmentContracts are six tables in the shape of Segment's.
func segmentContracts() []*schemas.Contract {
	common := func() []schemas.Field {
		return []schemas.Field{
			keep("message_id", schemas.Text, "messageId"),
			identity("user_id", schemas.UserID, "userId"),
			identity("anonymous_id", schemas.AnonymousID, "anonymousId"),
			identity("email", schemas.Email, "context.traits.email", "traits.email", "properties.email"),
			identity("phone", schemas.Phone, "context.traits.phone", "traits.phone"),
			keep("timestamp", schemas.Timestamp, "timestamp", "originalTimestamp"),
			keep("sent_at", schemas.Timestamp, "sentAt"),
			keep("received_at", schemas.Timestamp, "receivedAt"),
			keep("ip", schemas.Text, "context.ip"),
			keep("user_agent", schemas.Text, "context.userAgent"),
			keep("locale", schemas.Text, "context.locale"),
			keep("library", schemas.Text, "context.library.name"),
			keep("page_path", schemas.Text, "context.page.path"),
			keep("page_url", schemas.Text, "context.page.url"),
			keep("page_title", schemas.Text, "context.page.title"),
			keep("page_referrer", schemas.Text, "context.page.referrer"),
			keep("campaign_name", schemas.Text, "context.campaign.name"),
			keep("campaign_source", schemas.Text, "context.campaign.source"),
			keep("campaign_medium", schemas.Text, "context.campaign.medium"),
		}
	}
	table := func(name, typ string, more ...schemas.Field) *schemas.Contract {
		return &schemas.Contract{ID: name, Table: name, Where: when("type", typ), EventTime: 5, Fields: append(common(), more...)}
	}
	return []*schemas.Contract{
		table("tracks", "track", keep("event", schemas.Text, "event"), keep("revenue", schemas.Number, "properties.revenue"),
			keep("currency", schemas.Text, "properties.currency"), keep("quantity", schemas.Integer, "properties.quantity")),
		table("pages", "page", keep("name", schemas.Text, "name"), keep("url", schemas.Text, "properties.url"), keep("title", schemas.Text, "properties.title")),
		table("identifies", "identify", keep("plan", schemas.Text, "traits.plan"), keep("logins", schemas.Integer, "traits.logins")),
		table("screens", "screen", keep("name", schemas.Text, "name")),
		table("groups", "group", keep("group_id", schemas.Text, "groupId")),
		table("aliases", "alias", keep("previous_id", schemas.Text, "previousId")),
	}
}

// segmentEvents are n events as a browser library sends them.
func segmentEvents(n int, seed uint64) [][]byte {
	r := rand.New(rand.NewPCG(seed, 1))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	stamp := func() string {
		return fmt.Sprintf("2026-%02d-%02dT%02d:%02d:%02d.%03dZ", 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000))
	}
	list := make([][]byte, n)
	for i := range list {
		typ := pick("track", "track", "track", "page", "page", "identify")
		var b strings.Builder
		fmt.Fprintf(&b, `{"type":"%s","messageId":"%08x-4b5c-4d1e-9f00-%012x","anonymousId":"%08x-1111-4222-8333-%012x","userId":`,
			typ, r.Uint32(), r.Uint64()&0xffffffffffff, r.Uint32(), r.Uint64()&0xffffffffffff)
		if r.IntN(3) > 0 {
			fmt.Fprintf(&b, `"user-%d"`, r.IntN(1_000_000))
		} else {
			b.WriteString("null")
		}
		path := pick("/", "/pricing", "/docs/start", "/blog/tracking-plans", "/product/4711")
		fmt.Fprintf(&b, `,"context":{"library":{"name":"analytics.js","version":"2.1.%d"},"ip":"203.0.113.%d","locale":"%s","userAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:%d.0) Gecko/20100101 Firefox/%d.0"`,
			r.IntN(9), r.IntN(256), pick("en-US", "fi-FI", "de-DE"), 100+r.IntN(40), 100+r.IntN(40))
		fmt.Fprintf(&b, `,"page":{"path":"%s","referrer":"","title":"%s","url":"https://shop.example.com%s?ref=%d"}`,
			path, pick("Home", "Pricing", `K\u00e4ytt\u00f6ohje`, "Das Blog für alle"), path, r.IntN(1000))
		if r.IntN(4) == 0 {
			fmt.Fprintf(&b, `,"campaign":{"name":"%s","source":"google","medium":"cpc"}`, pick("spring", "brand", "retarget"))
		}
		if typ != "identify" && r.IntN(4) == 0 {
			fmt.Fprintf(&b, `,"traits":{"email":"person%d@example.com"}`, r.IntN(1_000_000))
		}
		b.WriteString("}")
		switch typ {
		case "track":
			fmt.Fprintf(&b, `,"event":"%s","properties":{"revenue":%d.%02d,"currency":"EUR","quantity":%d}`,
				pick("Order Completed", "Product Viewed", "Signed Up"), r.IntN(500), r.IntN(100), 1+r.IntN(9))
		case "page":
			fmt.Fprintf(&b, `,"name":"%s","properties":{"url":"https://shop.example.com%s","title":"Page %d"}`, pick("Home", "Docs"), path, r.IntN(50))
		case "identify":
			fmt.Fprintf(&b, `,"traits":{"email":"p%d@example.com","phone":"+35840%07d","plan":"%s","logins":%d}`, r.IntN(1_000_000), r.IntN(10_000_000), pick("free", "pro"), r.IntN(300))
		}
		fmt.Fprintf(&b, `,"timestamp":"%s","sentAt":"%s","receivedAt":"%s"}`, stamp(), stamp(), stamp())
		list[i] = []byte(b.String())
	}
	return list
}

// pack lays messages into an arena. The slack is full of what a scan that runs
// over the end would take for JSON.
func pack(messages [][]byte) (arena []byte, spans []schemas.Span, times []int64) {
	for _, m := range messages {
		spans = append(spans, schemas.Span{Off: uint32(len(arena)), Len: uint32(len(m))})
		times = append(times, noEventTime)
		arena = append(arena, m...)
	}
	return append(arena, strings.Repeat(`"}]0 ,"`, 10)[:slack]...), spans, times
}

func BenchmarkDecode(b *testing.B) {
	const batch = 1000
	arena, spans, times := pack(segmentEvents(batch, 1))
	for _, c := range []struct {
		name      string
		contracts []*schemas.Contract
		plain     bool
	}{
		{"learned", segmentContracts(), false},
		{"plain", segmentContracts(), true},
		{"default-contracts", schemas.DefaultContracts(), false},
		{"default-contracts-signals", schemas.DefaultContracts(), false},
	} {
		b.Run(c.name, func(b *testing.B) {
			arena, spans, times := arena, spans, times
			if c.name == "default-contracts-signals" {
				events := segmentEvents(batch, 1)
				for i, event := range events {
					events[i] = []byte(strings.Replace(string(event), `"context":{`,
						`"context":{"consent":{"categoryPreferences":{"C0001":true,"C0002":true,"C0003":false,"C0004":false}},`, 1))
				}
				arena, spans, times = pack(events)
			}
			d := newJSON(b, c.contracts, Options{})
			d.walker.plain = c.plain
			if _, rejects, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: arena, Values: spans, Times: times}); err != nil || len(rejects) > 0 {
				b.Fatal(len(rejects), err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(arena) / batch))
			b.ResetTimer()
			for n := 0; n < b.N; n += batch {
				if _, _, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: arena, Values: spans, Times: times}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWalk(b *testing.B) {
	const batch = 1000
	arena, spans, _ := pack(segmentEvents(batch, 1))
	for _, tier := range []string{"learned", "plain"} {
		b.Run(tier, func(b *testing.B) {
			d, err := NewJSON(segmentContracts(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			w := &d.walker
			w.plain, w.arena = tier == "plain", arena
			b.SetBytes(int64(len(arena) / batch))
			for n := range b.N {
				s := spans[n%batch]
				w.reset()
				if _, reason := w.walk(int(s.Off), int(s.Off+s.Len)); reason != schemas.NoReason {
					b.Fatal(reason)
				}
			}
		})
	}
}

func BenchmarkUsualTime(b *testing.B) {
	a := []byte("2026-03-14T15:09:26.535Z")
	for range b.N {
		if _, ok := usualTime(a, 0); !ok {
			b.Fatal("not read")
		}
	}
}
