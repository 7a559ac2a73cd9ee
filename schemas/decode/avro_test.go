package decode

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hamba/avro/v2"

	"lupa/schemas"
)

func mustAvro(t testing.TB, text string, refs ...string) *avroSchema {
	t.Helper()
	s := Schema{Type: Avro, Text: text}
	for _, r := range refs {
		s.References = append(s.References, Reference{Text: r})
	}
	parsed := parseAvro(s)
	if parsed == nil {
		t.Fatal("the schema is none")
	}
	return parsed
}

func (s *avroSchema) read(in []byte, w *want, maxDepth int) (string, schemas.Reason) {
	var r avroReader
	out, reason := s.appendJSON(nil, in, w, maxDepth, &r)
	return string(out), reason
}

func TestAvroTypes(t *testing.T) {
	at := time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC)
	for _, c := range []struct {
		name, schema string
		value        any
		want         string
	}{
		{"null", `"null"`, nil, `null`},
		{"boolean", `"boolean"`, true, `true`},
		{"int", `"int"`, math.MinInt32, `-2147483648`},
		{"long", `"long"`, int64(math.MinInt64), `-9223372036854775808`},
		{"float", `"float"`, float32(0.1), `0.1`},
		{"double", `"double"`, 1e300, `1e+300`},
		{"double, not a number", `"double"`, math.NaN(), `"NaN"`},
		{"double, infinite", `"double"`, math.Inf(-1), `"-Infinity"`},
		{"float, infinite", `"float"`, float32(math.Inf(1)), `"Infinity"`},
		{"string", `"string"`, "\"\\\n\u00e9\U0001f600\u2028", `"\"\\\u000aé😀` + "\u2028" + `"`},
		{"bytes", `"bytes"`, []byte{0, 255, 16}, `"AP8Q"`},
		{"fixed", `{"type":"fixed","name":"F","size":2}`, [2]byte{1, 2}, `"AQI="`},
		{"enum", `{"type":"enum","name":"E","symbols":["A","B"]}`, "B", `"B"`},
		{"array", `{"type":"array","items":"long"}`, []int64{1, 2, 3}, `[]`},
		{"map", `{"type":"map","values":"long"}`, map[string]int64{"a\"b": 1}, `{"a\"b":1}`},
		{"union, null", `["null","long"]`, nil, `null`},
		{"union", `["null","long"]`, int64(5), `5`},
		{"date", `{"type":"int","logicalType":"date"}`, at, `"2026-03-14"`},
		{"date before 1970", `{"type":"int","logicalType":"date"}`, time.Date(1969, 2, 28, 0, 0, 0, 0, time.UTC), `"1969-02-28"`},
		{"date far away", `{"type":"int","logicalType":"date","x":1}`, int32(3_000_000), `"+010183-09-21"`},
		{"date as Debezium names it", `{"type":"int","connect.name":"io.debezium.time.Date"}`, int32(0), `"1970-01-01"`},
		{"time-millis", `{"type":"int","logicalType":"time-millis"}`, 15*time.Hour + 7*time.Millisecond, `"15:00:00.007"`},
		{"time-micros", `{"type":"long","logicalType":"time-micros"}`, 23*time.Hour + 59*time.Minute + 59*time.Second + 999_999*time.Microsecond, `"23:59:59.999999"`},
		{"a time that is none", `{"type":"long","connect.name":"io.debezium.time.MicroTime"}`, int64(-1), `-1`},
		{"timestamp-millis", `{"type":"long","logicalType":"timestamp-millis"}`, at, `"2026-03-14T15:09:26.535Z"`},
		{"timestamp-micros", `{"type":"long","logicalType":"timestamp-micros"}`, at, `"2026-03-14T15:09:26.535897Z"`},
		{"timestamp-nanos", `{"type":"long","logicalType":"timestamp-nanos"}`, at.UnixNano() + 1, `"2026-03-14T15:09:26.535897001Z"`},
		{"timestamp before 1970", `{"type":"long","connect.name":"x","logicalType":"timestamp-micros"}`, time.UnixMicro(-1).UTC(), `"1969-12-31T23:59:59.999999Z"`},
		{"timestamp-millis, the last", `{"type":"long","logicalType":"timestamp-millis"}`, time.UnixMilli(math.MaxInt64).UTC(), `"+292278994-08-17T07:12:55.807Z"`},
		{"local-timestamp-millis", `{"type":"long","logicalType":"local-timestamp-millis"}`, at.Local(), `"` + wall(at, "2006-01-02T15:04:05.000") + `"`},
		{"timestamp as Debezium names it", `{"type":"long","connect.name":"io.debezium.time.MicroTimestamp"}`, at.UnixMicro(), `"2026-03-14T15:09:26.535897"`},
		{"an unknown meaning", `{"type":"long","logicalType":"mood"}`, int64(7), `7`},
		{"uuid", `{"type":"string","logicalType":"uuid"}`, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", `"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`},
		{"uuid, fixed", `{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}`, [16]byte{0xf8, 0x1d, 0x4f, 0xae, 0x7d, 0xec, 0x11, 0xd0, 0xa7, 0x65, 0, 0xa0, 0xc9, 0x1e, 0x6b, 0xf6}, `"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"`},
		{"decimal", `{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, big.NewRat(-12345, 100), `-123.45`},
		{"decimal, small", `{"type":"bytes","logicalType":"decimal","precision":9,"scale":5}`, big.NewRat(5, 100_000), `0.00005`},
		{"decimal, none before the point", `{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}`, big.NewRat(123, 1000), `0.123`},
		{"decimal, zero", `{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`, big.NewRat(0, 1), `0.00`},
		{"decimal, whole", `{"type":"bytes","logicalType":"decimal","precision":40,"scale":0}`, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(39), nil)), `1` + strings.Repeat("0", 39)},
		{"decimal, fixed", `{"type":"fixed","name":"D","size":4,"logicalType":"decimal","precision":4,"scale":1}`, big.NewRat(-1, 10), `-0.1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := avro.Marshal(avro.MustParse(c.schema), c.value)
			if err != nil {
				// What hamba/avro has no own type for.
				n, ok := c.value.(int32)
				if !ok {
					t.Fatal(err)
				}
				in = appendZigzag(nil, int64(n))
			}
			got, reason := mustAvro(t, c.schema).read(in, everything(), 64)
			if got != c.want || reason != schemas.NoReason {
				t.Errorf("got %s %q, want %s", got, reason, c.want)
			}
			if !json.Valid([]byte(got)) {
				t.Error("is no JSON")
			}
			// What is not wanted is read all the same.
			if got, reason := mustAvro(t, c.schema).read(in, nil, 64); got != "" || reason != schemas.NoReason {
				t.Errorf("unwanted: got %q %q", got, reason)
			}
		})
	}
}

// wall is the time that local clocks show: hamba/avro takes it from there.
func wall(at time.Time, layout string) string { return at.Local().Format(layout) }

// TestAvroDays compares dates with those of package time.
func TestAvroDays(t *testing.T) {
	for days := int64(-800_000); days <= 3_000_000; days += 13 {
		want := time.Unix(days*86_400, 0).UTC()
		year, month, dom := dateOf(days)
		if int(year) != want.Year() || time.Month(month) != want.Month() || int(dom) != want.Day() {
			t.Fatalf("day %d is %d-%d-%d", days, year, month, dom)
		}
	}
}

func TestAvroWanted(t *testing.T) {
	s := mustAvro(t, `{"type":"record","name":"R","fields":[
		{"name":"a","type":"string"},
		{"name":"traits","type":["null",{"type":"record","name":"T","fields":[{"name":"email","type":"string"},{"name":"secret","type":"string"}]}]},
		{"name":"tags","type":{"type":"map","values":"string"}},
		{"name":"list","type":{"type":"array","items":"T"}},
		{"name":"z","type":"long"}]}`)
	in, err := avro.Marshal(s.schema, map[string]any{
		"a": "A", "z": int64(9), "traits": map[string]any{"T": map[string]any{"email": "E", "secret": "S"}},
		"tags": map[string]any{"one": "1", "two": "2"}, "list": []any{map[string]any{"email": "E", "secret": "S"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		paths []string
		want  string
	}{
		{[]string{"z"}, `{"z":9}`},
		{[]string{"traits.email"}, `{"traits":{"email":"E"}}`},
		{[]string{"traits"}, `{"traits":{}}`},
		{[]string{"tags.two", "tags.three"}, `{"tags":{"two":"2"}}`},
		{[]string{"list", "list.email"}, `{"list":[]}`},
		{[]string{"a", "a.b", "absent"}, `{"a":"A"}`},
	} {
		got, reason := s.read(in, wantPaths(c.paths...), 64)
		if got != c.want || reason != schemas.NoReason {
			t.Errorf("%v: got %s %q, want %s", c.paths, got, reason, c.want)
		}
	}
}

func wantPaths(paths ...string) *want {
	tr := tree{top: newBranch()}
	for _, p := range paths {
		tr.slot(strings.Split(p, "."))
	}
	return wanted(tr.top, make([]bool, tr.slots), make([]bool, tr.slots))
}

// TestAvroReferences has references in an order in which none comes after what
// it needs.
func TestAvroReferences(t *testing.T) {
	s := mustAvro(t, `{"type":"record","name":"R","namespace":"n","fields":[{"name":"b","type":"n.B"}]}`,
		`{"type":"record","name":"B","namespace":"n","fields":[{"name":"a","type":"n.A"}]}`,
		`{"type":"record","name":"A","namespace":"n","fields":[{"name":"x","type":"long"}]}`)
	if got, reason := s.read([]byte{14}, everything(), 64); got != `{"b":{"a":{"x":7}}}` || reason != schemas.NoReason {
		t.Errorf("got %s %q", got, reason)
	}
}

func TestAvroHostile(t *testing.T) {
	list := `{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}`
	endless := `{"type":"record","name":"L","fields":[{"name":"a","type":"L"}]}`
	laughs := `{"type":"record","name":"A0","fields":[{"name":"x","type":"null"}]}`
	var refs []string
	for i := range 30 {
		refs = append(refs, laughs)
		laughs = fmt.Sprintf(`{"type":"record","name":"A%d","fields":[{"name":"a","type":"A%d"},{"name":"b","type":"A%d"}]}`, i+1, i, i)
	}
	huge := []byte{0x80, 0x80, 0x80, 0x80, 0x10} // 2^31
	for _, c := range []struct {
		name, schema string
		in           []byte
		want         schemas.Reason
	}{
		{"string of 2^31 bytes", `"string"`, append(huge, "abcde"...), schemas.Malformed},
		{"bytes of 2^31 bytes", `"bytes"`, append(huge, "abcde"...), schemas.Malformed},
		{"string of negative length", `"string"`, []byte{1}, schemas.Malformed},
		{"string that is not UTF-8", `"string"`, []byte{2, 0xff}, schemas.Malformed},
		{"string with half a surrogate pair", `"string"`, []byte{6, 0xed, 0xa0, 0x80}, schemas.Malformed},
		{"key that is not UTF-8", `{"type":"map","values":"null"}`, []byte{2, 2, 0xff, 0}, schemas.Malformed},
		{"array of 2^31 items", `{"type":"array","items":"long"}`, append(huge, "abcde"...), schemas.Malformed},
		{"array of 2^31 nulls", `{"type":"array","items":"null"}`, append(huge, 0), schemas.Malformed},
		{"many blocks of many nulls", `{"type":"array","items":"null"}`, append([]byte(strings.Repeat("\xfe\x01", 10_000)), 0), schemas.Malformed},
		{"block with a negative count", `{"type":"array","items":"long"}`, []byte{1, 2, 14, 0}, schemas.NoReason},
		{"block of another size", `{"type":"array","items":"long"}`, []byte{1, 4, 14, 0}, schemas.Malformed},
		{"block of negative size", `{"type":"array","items":"long"}`, []byte{1, 1, 14, 0}, schemas.Malformed},
		{"block of 2^31 bytes", `{"type":"array","items":"long"}`, append([]byte{1}, append(huge, 14, 0)...), schemas.Malformed},
		{"map block of another size", `{"type":"map","values":"long"}`, []byte{1, 2, 2, 'a', 14, 0}, schemas.Malformed},
		{"the lowest count", `{"type":"array","items":"long"}`, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}, schemas.Malformed},
		{"array without end", `{"type":"array","items":"long"}`, []byte{2, 14}, schemas.Malformed},
		{"union index too high", `["null","long"]`, []byte{4}, schemas.Malformed},
		{"union index negative", `["null","long"]`, []byte{1}, schemas.Malformed},
		{"enum index too high", `{"type":"enum","name":"E","symbols":["A"]}`, []byte{2}, schemas.Malformed},
		{"enum index negative", `{"type":"enum","name":"E","symbols":["A"]}`, []byte{1}, schemas.Malformed},
		{"boolean 2", `"boolean"`, []byte{2}, schemas.Malformed},
		{"the lowest int", `"int"`, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, schemas.NoReason},
		{"int of 2^31", `"int"`, huge[:5:5], schemas.Malformed},
		{"long of 65 bits", `"long"`, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}, schemas.Malformed},
		{"long without end", `"long"`, []byte{0xff, 0xff}, schemas.Malformed},
		{"fixed cut short", `{"type":"fixed","name":"F","size":4}`, []byte{1, 2, 3}, schemas.Malformed},
		{"double cut short", `"double"`, []byte{1, 2, 3, 4, 5, 6, 7}, schemas.Malformed},
		{"trailing byte", `"long"`, []byte{14, 0}, schemas.Malformed},
		{"nothing", `"long"`, nil, schemas.Malformed},
		{"decimal of many bytes", `{"type":"bytes","logicalType":"decimal","precision":4,"scale":1}`, append([]byte{0x82, 4}, make([]byte, 257)...), schemas.Malformed},
		{"decimal of many digits", `{"type":"bytes","logicalType":"decimal","precision":300000000,"scale":300000000}`, []byte{2, 1}, schemas.Malformed},
		{"list as deep as may be", list, append([]byte(strings.Repeat("\x02", 63)), 0), schemas.NoReason},
		{"list too deep", list, append([]byte(strings.Repeat("\x02", 64)), 0), schemas.TooDeep},
		{"list very deep", list, []byte(strings.Repeat("\x02", 1<<20)), schemas.TooDeep},
		{"a record that holds itself", endless, nil, schemas.TooDeep},
		{"a record of 2^30 nulls", laughs, nil, schemas.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mustAvro(t, c.schema, refs...)
			for _, w := range []*want{everything(), nil, wantPaths("x")} {
				if _, got := s.read(c.in, w, 64); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			}
		})
	}
}

// avroCase is a random schema with a random value, as hamba/avro wants it and
// as JSON is to have it.
type avroCase struct {
	r     *rand.Rand
	names int
}

// leaves are the types without others in them.
func (c *avroCase) make(depth int) (schema string, value, want any) {
	kind := c.r.IntN(16)
	if depth <= 0 {
		kind = c.r.IntN(11)
	}
	switch kind {
	case 0:
		b := c.r.IntN(2) == 1
		return `"boolean"`, b, b
	case 1:
		n := int32(c.r.Uint32())
		return `"int"`, n, json.Number(fmt.Sprint(n))
	case 2:
		n := int64(c.r.Uint64()) >> c.r.IntN(64)
		return `"long"`, n, json.Number(fmt.Sprint(n))
	case 3:
		f := float32(c.r.NormFloat64())
		n, _ := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
		return `"float"`, f, n
	case 4:
		f := c.r.NormFloat64()
		return `"double"`, f, f
	case 5:
		s := c.text()
		return `"string"`, s, s
	case 6:
		b := []byte(c.text())
		return `"bytes"`, b, base64.StdEncoding.EncodeToString(b)
	case 7:
		c.names++
		return fmt.Sprintf(`{"type":"enum","name":"N%d","symbols":["A","B","C"]}`, c.names), "B", "B"
	case 8:
		at := time.UnixMicro(int64(c.r.Uint64()) >> 9).UTC()
		if at.Year() > 9999 || at.Year() < 0 {
			at = time.Unix(0, 0).UTC()
		}
		return `{"type":"long","logicalType":"timestamp-micros"}`, at, at.Format("2006-01-02T15:04:05.000000Z")
	case 9:
		at := time.Unix(int64(c.r.IntN(100_000)-50_000)*86_400, 0).UTC()
		return `{"type":"int","logicalType":"date"}`, at, at.Format(time.DateOnly)
	case 10:
		n := big.NewInt(int64(c.r.Uint64()))
		scale := c.r.IntN(12)
		v := new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
		return fmt.Sprintf(`{"type":"bytes","logicalType":"decimal","precision":20,"scale":%d}`, scale), v, json.Number(v.FloatString(scale))
	case 11:
		item, _, _ := c.make(0)
		return fmt.Sprintf(`{"type":"array","items":%s}`, item), []any{}, []any{}
	case 12:
		schema, value, want = c.make(depth - 1)
		key := c.text()
		return fmt.Sprintf(`{"type":"map","values":%s}`, schema), map[string]any{key: value}, map[string]any{key: want}
	case 13:
		c.names++
		name := fmt.Sprint("N", c.names)
		inner, value, want := c.make(depth - 1)
		schema = fmt.Sprintf(`["null",{"type":"record","name":"%s","fields":[{"name":"in","type":%s}]}]`, name, inner)
		if c.r.IntN(3) == 0 {
			return schema, nil, nil
		}
		return schema, map[string]any{name: map[string]any{"in": value}}, map[string]any{"in": want}
	}
	c.names++
	var fields []string
	values, wants := map[string]any{}, map[string]any{}
	head := fmt.Sprintf(`{"type":"record","name":"N%d","fields":[`, c.names)
	for i := range c.r.IntN(6) {
		inner, value, want := c.make(depth - 1)
		name := fmt.Sprint("f", i)
		fields = append(fields, fmt.Sprintf(`{"name":"%s","type":%s}`, name, inner))
		values[name], wants[name] = value, want
	}
	return head + strings.Join(fields, ",") + "]}", values, wants
}

func (c *avroCase) text() string {
	return []string{"", "plain", "\"quoted\\\"", "line\nbreak\x00", "ä€😀", strings.Repeat("long ", 50)}[c.r.IntN(6)]
}

// sameJSON compares a decoded JSON text with what it is to be.
func sameJSON(got, want any) bool {
	switch w := want.(type) {
	case float64:
		n, ok := got.(json.Number)
		f, err := n.Float64()
		return ok && err == nil && f == w
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for k := range w {
			if v, ok := g[k]; !ok || !sameJSON(v, w[k]) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		return ok && len(g) == len(w)
	}
	return got == want
}

func parseJSON(t testing.TB, text string) any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatal("is no JSON")
	}
	return v
}

// checkAvroRandom writes a random value with hamba/avro and reads it here; and
// it reads what is left when bytes are cut off or changed.
func checkAvroRandom(t *testing.T, seed uint64) {
	c := avroCase{r: rand.New(rand.NewPCG(seed, 2))}
	text, value, want := c.make(4)
	s := mustAvro(t, text)
	in, err := avro.Marshal(s.schema, value)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	got, reason := s.read(in, everything(), 64)
	if reason != schemas.NoReason || !sameJSON(parseJSON(t, got), want) {
		t.Errorf("seed %d: differs, %q", seed, reason)
	}
	if _, reason := s.read(in, nil, 64); reason != schemas.NoReason {
		t.Errorf("seed %d: unwanted is %q", seed, reason)
	}
	if len(in) > 0 {
		if _, reason := s.read(in[:c.r.IntN(len(in))], everything(), 64); reason == schemas.NoReason {
			t.Errorf("seed %d: a part of the message is taken", seed)
		}
		in[c.r.IntN(len(in))] ^= byte(1 + c.r.IntN(255))
		if got, reason := s.read(in, everything(), 64); reason == schemas.NoReason && !json.Valid([]byte(got)) {
			t.Errorf("seed %d: is no JSON", seed)
		}
	}
}

func TestAvroRandom(t *testing.T) {
	for seed := range uint64(3000) {
		checkAvroRandom(t, seed)
	}
}

// FuzzAvro reads any bytes by any schema.
func FuzzAvro(f *testing.F) {
	for seed := range uint64(20) {
		c := avroCase{r: rand.New(rand.NewPCG(seed, 2))}
		text, value, _ := c.make(3)
		in, err := avro.Marshal(avro.MustParse(text), value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, in)
	}
	f.Add(`{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}`, []byte("\x02\x02\x00"))
	f.Fuzz(func(t *testing.T, text string, in []byte) {
		s := parseAvro(Schema{Type: Avro, Text: text})
		if s == nil {
			return
		}
		got, reason := s.read(in, everything(), 16)
		if reason == schemas.NoReason && !json.Valid([]byte(got)) {
			t.Error("is no JSON")
		}
		if _, unwanted := s.read(in, nil, 16); unwanted != reason {
			t.Errorf("wanted is %q, unwanted %q", reason, unwanted)
		}
		// A byte gives six at most, or a value with a name of the schema around it.
		if len(got) > (6+len(text))*(valuesPerByte*len(in)+valuesAtLeast) {
			t.Error("the view is far longer than the message")
		}
	})
}
