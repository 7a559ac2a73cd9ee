package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/pipeline"
	"lupa/schemas"
)

// walkHeaders reads headers as a decoder does, without a look at bounds.
func walkHeaders(b []byte) []kgo.RecordHeader {
	if len(b) == 0 {
		return nil
	}
	number := func() int64 {
		v, n := binary.Varint(b)
		b = b[n:]
		return v
	}
	var list []kgo.RecordHeader
	for range number() {
		var h kgo.RecordHeader
		n := number()
		h.Key, b = string(b[:n]), b[n:]
		if n = number(); n >= 0 {
			h.Value, b = bytes.Clone(b[:n]), b[n:]
		}
		list = append(list, h)
	}
	if len(b) > 0 {
		panic("bytes are left over")
	}
	return list
}

func span2bytes(arena []byte, s schemas.Span) []byte { return arena[s.Off : s.Off+s.Len] }

func TestEventsHandOverHeaders(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	many := make([]kgo.RecordHeader, 10_000)
	for i := range many {
		many[i] = kgo.RecordHeader{Key: fmt.Sprint("key", i), Value: fmt.Append(nil, "value", i)}
	}
	var records []*kgo.Record
	for i, h := range [][]kgo.RecordHeader{
		nil, {{Key: "a", Value: []byte("1")}}, nil, {{Key: "", Value: nil}, {Key: "empty", Value: []byte{}}}, many,
	} {
		records = append(records, &kgo.Record{Topic: "x", Value: fmt.Append(nil, "value", i), Headers: h})
	}
	if err := p.ProduceSync(bounded(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	put(t, p, "x", 0, words(3, "none")...)
	e := open(t, connect(t, k), nil, "x")
	got := 0
	for got < len(records)+3 {
		c, err := e.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			continue
		}
		checkChunk(t, c)
		if c.Headers == nil {
			got += len(c.Values)
			continue
		}
		if len(c.Headers) != len(c.Values) {
			t.Fatalf("%d spans of headers for %d messages", len(c.Headers), len(c.Values))
		}
		for i := range c.Values {
			var want []kgo.RecordHeader
			if got < len(records) {
				want = records[got].Headers
			}
			if d := cmp.Diff(want, walkHeaders(span2bytes(c.Arena, c.Headers[i]))); d != "" {
				t.Errorf("message %d: %s", got, d)
			}
			if c.Headers[i].Len == 0 != (len(want) == 0) {
				t.Errorf("message %d: a span of %d bytes for %d headers", got, c.Headers[i].Len, len(want))
			}
			got++
		}
	}
}

// A chunk that is cut out of a large batch has its own headers, and none
// without any.
func TestHeadersOfCutChunks(t *testing.T) {
	const n = maxMessages*2 + 100
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	p := producer(t, k, kgo.ProducerBatchMaxBytes(8<<20), kgo.MaxBufferedRecords(n+1))
	var records []*kgo.Record
	for i := range n {
		r := &kgo.Record{Topic: "x", Value: fmt.Append(nil, "value", i)}
		if i%3 == 0 && i < maxMessages {
			r.Headers = []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}}
		}
		records = append(records, r)
	}
	if err := p.ProduceSync(bounded(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	e := open(t, connect(t, k), nil, "x")
	for got := 0; got < n; {
		c, err := e.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			continue
		}
		checkChunk(t, c)
		any := false
		for i := range c.Values {
			if v := string(span2bytes(c.Arena, c.Values[i])); v != fmt.Sprint("value", got) {
				t.Fatalf("message %d is %q", got, v)
			}
			if len(records[got].Headers) > 0 {
				any = true
				if d := cmp.Diff(records[got].Headers, walkHeaders(span2bytes(c.Arena, c.Headers[i]))); d != "" {
					t.Fatalf("message %d: %s", got, d)
				}
			} else if c.Headers != nil && c.Headers[i].Len > 0 {
				t.Fatalf("message %d has headers", got)
			}
			got++
		}
		if any != (c.Headers != nil) {
			t.Errorf("headers before message %d: %v, spans: %v", got, any, c.Headers != nil)
		}
	}
}

// headed encodes a record with what stands for its headers.
func headed(delta int64, value string, headers []byte) []byte {
	body := []byte{0}
	body = binary.AppendVarint(binary.AppendVarint(body, delta), delta)
	body = binary.AppendVarint(body, -1)
	body = append(binary.AppendVarint(body, int64(len(value))), value...)
	body = append(body, headers...)
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

func varints(list ...int64) (b []byte) {
	for _, n := range list {
		b = binary.AppendVarint(b, n)
	}
	return b
}

func TestHostileHeadersEndTheRun(t *testing.T) {
	good := made{count: -1, recs: one(0, "good")}
	for name, headers := range map[string][]byte{
		"none at all":                  {},
		"a negative number":            varints(-1),
		"more than there is room for":  varints(1 << 26),
		"as many as fit, but for one":  append(varints(3), 0, 0, 0, 0, 0),
		"a key of negative length":     varints(1, -1, 0),
		"a key that is too long":       append(varints(1, 100), "key"...),
		"a value that is too long":     append(append(varints(1, 1), 'k'), varints(100)...),
		"a value of length -2":         append(append(varints(1, 1), 'k'), varints(-2)...),
		"a length that does not end":   append(varints(1), bytes.Repeat([]byte{0xff}, 12)...),
		"a length beyond all memory":   append(varints(1), varints(1<<62, 0)...),
		"bytes behind the last header": append(varints(1, 0, 0), 7),
		"bytes behind none":            append(varints(0), 7),
	} {
		t.Run(name, func(t *testing.T) {
			c, s := scripted(t, "delete", 10, good)
			s.batches = append(s.batches, made{base: 1, count: 1, payload: headed(0, "v", headers)}.encode())
			n, err := readUntilError(t, open(t, c, nil, "x"))
			if n != 1 || !errors.Is(err, errMalformed) || !strings.Contains(err.Error(), "x/0") {
				t.Errorf("%d messages before %v", n, err)
			}
		})
	}
	// A reader of keys, the ledger's, has no use for them.
	c, err := newCodecs(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var r records
	b, _, _, err := nextBatch(made{count: 1, payload: headed(0, "v", varints(1, 0, 0))}.encode())
	if err == nil {
		err = (&reader{codecs: c, keys: true}).decode(&r, &b, 0, true)
	}
	if err != nil || r.headed(0, 1) != nil {
		t.Errorf("%v, %v", r.headers, err)
	}
}

func TestHeadersTakeNoMemoryEach(t *testing.T) {
	c, err := newCodecs(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	m := made{lastDelta: 999, count: 1000, payload: []byte{}}
	for i := range int64(1000) {
		m.payload = append(m.payload, headed(i, "value", append(append(varints(1, 1), 'k'), varints(-1)...))...)
	}
	b, _, _, err := nextBatch(m.encode())
	if err != nil {
		t.Fatal(err)
	}
	d := reader{codecs: c, headers: true}
	var r records
	allocs := testing.AllocsPerRun(20, func() {
		r.reset()
		if err := d.decode(&r, &b, 0, true); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 || len(r.headers) != 1000 {
		t.Errorf("%v allocations for %d headers", allocs, len(r.headers))
	}
}

// FuzzHeaders: what is handed over can be walked without a look at bounds.
func FuzzHeaders(f *testing.F) {
	f.Add(varints(0))
	f.Add(append(append(varints(1, 1), 'k'), varints(-1)...))
	f.Add(append(append(varints(2, 1), 'k'), append(varints(2), 'v', 'v', 0, 1)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := newCodecs(1 << 16)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		b, _, ok, err := nextBatch(made{count: 1, payload: headed(0, "v", raw)}.encode())
		if err != nil || !ok {
			t.Fatal(err)
		}
		var r records
		if (&reader{codecs: c, headers: true}).decode(&r, &b, 0, true) != nil {
			if len(r.headers) != 0 || len(r.values) != 0 {
				t.Fatal("a batch that does not decode left something")
			}
			return
		}
		for _, h := range r.headed(0, 1) {
			if h.Len > 0 && len(walkHeaders(span2bytes(r.arena, h))) == 0 {
				t.Fatal("a span without headers")
			}
		}
	})
}

// The share that is given is what is read: also none, and nothing else.
func TestEventsOfReadWhatTheyAreGiven(t *testing.T) {
	k := fake(t)
	topic(t, k, "a", 3, "delete")
	topic(t, k, "b", 2, "delete")
	p := producer(t, k)
	for id := range int32(3) {
		put(t, p, "a", id, "a")
	}
	put(t, p, "b", 1, "b")
	c := connect(t, k)
	of := func(parts ...pipeline.Partition) *Events {
		e, err := c.EventsOf([]string{"a", "b"}, parts)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Open(bounded(t), nil); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	none := of()
	if c, err := none.Next(bounded(t)); c != nil || err != nil {
		t.Errorf("of no partitions: %v, %v", c, err)
	}
	if err := none.Refresh(bounded(t)); err != nil || len(none.State()) != 0 {
		t.Errorf("of no partitions: %d states, %v", len(none.State()), err)
	}
	some := of(pipeline.Partition{Topic: "b", ID: 1}, pipeline.Partition{Topic: "a", ID: 2})
	seen := map[pipeline.Partition]int{}
	for len(seen) < 2 {
		chunk, err := some.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if chunk != nil {
			seen[chunk.Partition] += len(chunk.Values)
		}
	}
	// A topic that grows is the group's business.
	grow(t, k, "b", 4)
	put(t, p, "b", 1, "more")
	for seen[pipeline.Partition{Topic: "b", ID: 1}] < 2 {
		chunk, err := some.Next(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		if chunk != nil {
			seen[chunk.Partition] += len(chunk.Values)
		}
	}
	if d := cmp.Diff(map[pipeline.Partition]int{{Topic: "b", ID: 1}: 2, {Topic: "a", ID: 2}: 1}, seen); d != "" {
		t.Error(d)
	}
	for want, parts := range map[string][]pipeline.Partition{
		"c/0 is of none of the topics": {{Topic: "c"}},
		"a/1 is there twice":           {{Topic: "a", ID: 1}, {Topic: "b"}, {Topic: "a", ID: 1}},
	} {
		if _, err := c.EventsOf([]string{"a", "b"}, parts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	quick := connect(t, k, func(o *Options) { o.StartTimeout = o.StartTimeout / 10 })
	gone, err := quick.EventsOf([]string{"a"}, []pipeline.Partition{{Topic: "a", ID: 7}})
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Open(bounded(t), nil); !errors.Is(err, ErrNoTopic) || !strings.Contains(err.Error(), "a/7: no such partition") {
		t.Error(err)
	}
}
