package decode

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

func coerced(f schemas.Field) schemas.Field { f.Coerce = true; return f }
func required(f schemas.Field) schemas.Field {
	f.Required = true
	return f
}
func dropped(f schemas.Field) schemas.Field { f.Treatment.Technique = schemas.Drop; return f }

func contract(where []schemas.Match, fields ...schemas.Field) *schemas.Contract {
	return &schemas.Contract{ID: "test", Table: "test", Where: where, EventTime: -1, Fields: fields}
}

// decodeOne decodes one message by one contract and gives the cells or the
// reject's reason.
func decodeOne(t testing.TB, c *schemas.Contract, message string) ([]any, schemas.Reason) {
	t.Helper()
	res := decodeAll(t, newJSON(t, []*schemas.Contract{c}, Options{}), [][]byte{[]byte(message)}, nil)
	switch {
	case len(res.Rows[0]) == 1 && len(res.Rejects) == 0:
		return res.Rows[0][0], schemas.NoReason
	case len(res.Rows[0]) == 0 && len(res.Rejects) == 1:
		return nil, res.Rejects[0].Reason
	}
	t.Fatalf("%d rows and %d rejects", len(res.Rows[0]), len(res.Rejects))
	return nil, schemas.NoReason
}

func TestMessage(t *testing.T) {
	deep := func(n int) string { return `{"y":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}" }
	for _, c := range []struct {
		name    string
		message string
		reason  schemas.Reason
	}{
		{"white space around", " \t\r\n{ \n\"x\" : \"1\" \t, \"y\" : [ 1 , { } , [ ] ] } \r\n", 0},
		{"empty object", "{}", 0},
		{"empty", "", schemas.EmptyMessage},
		{"white space only", " \n", schemas.Malformed},
		{"byte order mark", "\ufeff{}", schemas.Malformed},
		{"trailing byte", "{}x", schemas.Malformed},
		{"trailing NUL", "{}\x00", schemas.Malformed},
		{"two objects", "{}{}", schemas.Malformed},
		{"unclosed", `{"x":"1"`, schemas.Malformed},
		{"unclosed text", `{"x":"1`, schemas.Malformed},
		{"unclosed escape", `{"x":"1\`, schemas.Malformed},
		{"unclosed key", `{"x`, schemas.Malformed},
		{"key without value", `{"x"}`, schemas.Malformed},
		{"key without value, colon", `{"x":}`, schemas.Malformed},
		{"comma at the end", `{"x":"1",}`, schemas.Malformed},
		{"comma at the start", `{,"x":"1"}`, schemas.Malformed},
		{"no comma", `{"x":"1" "y":2}`, schemas.Malformed},
		{"wrong bracket", `{"x":"1"]`, schemas.Malformed},
		{"wrong bracket in an array", `{"y":[1}}`, schemas.Malformed},
		{"key in an array", `{"y":["a":1]}`, schemas.Malformed},
		{"empty member in an array", `{"y":[1,,2]}`, schemas.Malformed},
		{"one too many", `{"x":"1"}}`, schemas.Malformed},
		{"array", `[{"x":"1"}]`, schemas.Unrouted},
		{"text", `"x"`, schemas.Unrouted},
		{"number", `-1.5e3`, schemas.Unrouted},
		{"null", `null`, schemas.Unrouted},
		{"word", `nul`, schemas.Malformed},
		{"longer word", `nullx`, schemas.Malformed},
		{"bad word inside", `{"y":trueish}`, schemas.Malformed},
		{"leading zero", `{"y":01}`, schemas.Malformed},
		{"plus", `{"y":+1}`, schemas.Malformed},
		{"point without digits", `{"y":1.}`, schemas.Malformed},
		{"point first", `{"y":.5}`, schemas.Malformed},
		{"exponent without digits", `{"y":1e+}`, schemas.Malformed},
		{"minus alone", `{"y":-}`, schemas.Malformed},
		{"NaN", `{"y":NaN}`, schemas.Malformed},
		{"huge number", `{"y":-` + strings.Repeat("9", 5000) + `.5e99999}`, 0},
		{"single quotes", `{'y':1}`, schemas.Malformed},
		{"control character", "{\"y\":\"a\nb\"}", schemas.Malformed},
		{"control character far in", "{\"y\":\"" + strings.Repeat("a", 100) + "\x1f\"}", schemas.Malformed},
		{"DEL is none", "{\"y\":\"\x7f\"}", 0},
		{"bad UTF-8 in an unlisted value", "{\"y\":\"\xc3\x28\"}", schemas.Malformed},
		{"bad UTF-8 in an unlisted key", "{\"\xff\":1}", schemas.Malformed},
		{"bad UTF-8 behind an escape", "{\"y\":\"\\nabcdefghijk\xed\xa0\x80\"}", schemas.Malformed},
		{"UTF-8 cut by the quote", "{\"y\":\"\xe2\x82\"}", schemas.Malformed},
		{"UTF-8 outside of strings", "{\"y\":1\u00a0}", schemas.Malformed},
		{"UTF-8", `{"y":"äöü€𝄞` + strings.Repeat("ä", 50) + `"}`, 0},
		{"bad escape", `{"y":"\x41"}`, schemas.Malformed},
		{"bad hexadecimal", `{"y":"\u00g0"}`, schemas.Malformed},
		{"short hexadecimal", `{"y":"\u00"}`, schemas.Malformed},
		{"upper case U", `{"y":"\U0041"}`, schemas.Malformed},
		{"lone surrogate in an unlisted key", `{"\ud800":1}`, schemas.Malformed},
		{"as deep as allowed", deep(64), 0},
		{"too deep", deep(65), schemas.TooDeep},
		{"far too deep", strings.Repeat("[", 100_000), schemas.TooDeep},
		{"far too deep objects", strings.Repeat(`{"x":`, 100_000), schemas.TooDeep},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, reason := decodeOne(t, contract(nil, keep("x", schemas.Text, "x")), c.message)
			if reason != c.reason {
				t.Fatalf("reason %q, want %q", reason, c.reason)
			}
		})
	}
}

func TestDepthBeyondOneWord(t *testing.T) {
	c := []*schemas.Contract{contract(nil, keep("x", schemas.Text, "x"))}
	var messages [][]byte
	for n := 1; n < 260; n++ {
		mixed := strings.Repeat(`[{"a":`, n) + "1" + strings.Repeat("}]", n)
		messages = append(messages, []byte(`{"y":`+mixed+`,"x":"1"}`), []byte(`{"y":`+strings.Replace(mixed, "}]", "]}", 1)+`}`))
	}
	times := make([]int64, len(messages))
	checkAgainstOracle(t, newJSON(t, c, Options{MaxDepth: 400}), c, messages, times)
	checkTiers(t, c, Options{MaxDepth: 400}, messages)
}

func TestRouting(t *testing.T) {
	contracts := []*schemas.Contract{
		contract(when("type", "Track"), keep("x", schemas.Text, "x")),
		contract(append(when("type", "track"), when("properties.kind", "order")...), required(keep("x", schemas.Text, "x"))),
		contract(when("type", "page"), keep("x", schemas.Integer, "x")),
	}
	messages := [][]byte{
		[]byte(`{"type":"track","x":"0"}`),
		[]byte(`{"x":"1","properties":{"kind":"ORDER"},"type":"TRACK"}`),
		[]byte(`{"type":"page","x":"2"}`),
		[]byte(`{"type":"screen"}`),
		[]byte(`{"type":"track","properties":{"kind":"order"}}`),
		[]byte(`{"type":"tr\u0061ck","x":"5"}`),
		[]byte(`{"type":1}`),
		[]byte(`{"type":"page","type":"track","x":"7"}`),
		[]byte(`{"type":{"type":"track"}}`),
		[]byte(`{"type":"pagé"}`),
		[]byte(`{"type":"page","x":10}`),
		[]byte(`{`),
	}
	want := result{
		Rows:    [][][]any{{{"0"}, {"1"}, {nil}, {"5"}, {"7"}}, {{"1"}}, {{int64(10)}}},
		Message: [][]int32{{0, 1, 4, 5, 7}, {1}, {10}},
		Rejects: []schemas.Reject{
			{Message: 2, Contract: 2, Field: 0, Reason: schemas.WrongType},
			{Message: 3, Contract: -1, Field: -1, Reason: schemas.Unrouted},
			{Message: 4, Contract: 1, Field: 0, Reason: schemas.MissingField},
			{Message: 6, Contract: -1, Field: -1, Reason: schemas.Unrouted},
			{Message: 8, Contract: -1, Field: -1, Reason: schemas.Unrouted},
			{Message: 9, Contract: -1, Field: -1, Reason: schemas.Unrouted},
			{Message: 11, Contract: -1, Field: -1, Reason: schemas.Malformed},
		},
	}
	d := newJSON(t, contracts, Options{})
	for range 3 {
		if diff := cmp.Diff(want, decodeAll(t, d, messages, nil)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestEventTime(t *testing.T) {
	stamped := contract(nil, keep("x", schemas.Text, "x"), keep("at", schemas.Timestamp, "at"))
	stamped.EventTime = 1
	dropping := contract(nil, dropped(keep("at", schemas.Timestamp, "at")))
	dropping.EventTime = 0
	daily := contract(nil, keep("at", schemas.Date, "at"))
	daily.EventTime = 0
	contracts := []*schemas.Contract{stamped, dropping, daily}
	messages := [][]byte{
		[]byte(`{"at":"2026-03-14T15:09:26Z"}`), []byte(`{"at":"2026-03-14"}`), []byte(`{"at":null}`), []byte(`{}`), []byte(`{"at":""}`), []byte(`{"x":"a"}`),
	}
	times := []int64{7, 7, -1, noEventTime, 7, 2 * day}
	want := result{
		Rows: [][][]any{
			{{nil, int64(1773500966_000000)}, {nil, int64(-1)}, {"a", 2 * int64(day)}},
			{{int64(1773500966_000000)}, {int64(-1)}, {2 * int64(day)}},
			{{int64(20526)}, {int64(-1)}, {int64(2)}},
		},
		Message: [][]int32{{0, 2, 5}, {0, 2, 5}, {1, 2, 5}},
		Rejects: []schemas.Reject{
			{Message: 0, Contract: 2, Field: 0, Reason: schemas.WrongType},
			{Message: 1, Contract: 0, Field: 1, Reason: schemas.WrongType},
			{Message: 1, Contract: 1, Field: 0, Reason: schemas.WrongType},
			{Message: 3, Contract: 0, Field: 1, Reason: schemas.MissingField},
			{Message: 3, Contract: 1, Field: 0, Reason: schemas.MissingField},
			{Message: 3, Contract: 2, Field: 0, Reason: schemas.MissingField},
			{Message: 4, Contract: 0, Field: 1, Reason: schemas.WrongType},
			{Message: 4, Contract: 1, Field: 0, Reason: schemas.WrongType},
			{Message: 4, Contract: 2, Field: 0, Reason: schemas.WrongType},
		},
	}
	if diff := cmp.Diff(want, decodeAll(t, newJSON(t, contracts, Options{}), messages, times)); diff != "" {
		t.Fatal(diff)
	}
}

// TestRowTakenBack rejects rows at their last field, between rows that stay.
func TestRowTakenBack(t *testing.T) {
	contracts := []*schemas.Contract{contract(nil,
		keep("a", schemas.Text, "a"), keep("b", schemas.Boolean, "b"), keep("d", schemas.Date, "d"),
		keep("n", schemas.Number, "n"), required(keep("i", schemas.Integer, "i")))}
	var messages [][]byte
	for i := range 500 {
		m := map[string]any{}
		if i%2 == 0 {
			m["a"], m["b"] = fmt.Sprint("a text that is long ", i), i%4 == 0
		}
		if i%5 != 0 {
			m["d"], m["n"] = "2026-03-14", float64(i)
		}
		if i%3 != 0 {
			m["i"] = i
		}
		b, _ := json.Marshal(m)
		messages = append(messages, b)
	}
	d := newJSON(t, contracts, Options{})
	for _, n := range []int{500, 3, 100, 65, 500} {
		if rows := checkAgainstOracle(t, d, contracts, messages[:n], make([]int64, n)); rows != n-(n+2)/3 {
			t.Errorf("%d rows of %d messages", rows, n)
		}
	}
}

// TestViews proves that long texts are not copied and that escaped ones are.
func TestViews(t *testing.T) {
	c := []*schemas.Contract{contract(nil, keep("x", schemas.Text, "x"), dropped(keep("y", schemas.Text, "y")))}
	long := strings.Repeat("long ", 10)
	arena, spans, times := pack([][]byte{[]byte(`{"x":"` + long + `"}`), []byte(`{"x":"\u006c` + long[1:] + `"}`), []byte(`{"x":"` + long + `","y":"secret\n"}`)})
	rows, _, err := newJSON(t, c, Options{}).Decode(context.Background(), "", &schemas.Messages{Arena: arena, Values: spans, Times: times})
	if err != nil {
		t.Fatal(err)
	}
	col := rows[0].Record.Column(0).(*array.BinaryView)
	var from []int32
	for i := range 3 {
		if got := string(col.Value(i)); got != long {
			t.Errorf("row %d: got %q", i, got)
		}
		from = append(from, col.ValueHeader(i).BufferIndex(), col.ValueHeader(i).BufferOffset())
	}
	if want := []int32{0, 6, 1, 0, 0, int32(spans[2].Off) + 6}; !cmp.Equal(from, want) {
		t.Errorf("views into %v, want %v", from, want)
	}
	buffers := col.Data().Buffers()
	if &buffers[2].Bytes()[0] != &arena[0] {
		t.Error("the first value buffer is not the arena")
	}
	if got := buffers[3].Len(); got != len(long) {
		t.Errorf("side buffer of %d bytes, want %d: only what a column needs is unescaped", got, len(long))
	}
}

func TestSharedSlotIsUnescapedOnce(t *testing.T) {
	f := keep("x", schemas.Text, "x")
	var contracts []*schemas.Contract
	for range 20 {
		contracts = append(contracts, contract(nil, f, f, f))
	}
	d := newJSON(t, contracts, Options{})
	message := []byte(`{"x":"` + strings.Repeat(`\n`, 1000) + `"}`)
	decodeAll(t, d, [][]byte{message}, nil)
	if got := len(d.walker.side); got != 1000 {
		t.Errorf("side buffer of %d bytes", got)
	}
}

func TestNewJSONChecks(t *testing.T) {
	field := keep("x", schemas.Text, "x")
	timeless := contract(nil, field)
	timeless.EventTime = 0
	beyond := contract(nil, field)
	beyond.EventTime = 1
	for _, c := range []struct {
		name      string
		contracts []*schemas.Contract
		opts      Options
		want      string
	}{
		{"no contracts", nil, Options{}, "decode: no contracts"},
		{"nil contract", []*schemas.Contract{nil}, Options{}, "decode: contract 0 is nil"},
		{"no type", []*schemas.Contract{contract(nil, keep("x", schemas.NoType, "x"))}, Options{}, "decode: contract test: field x has no type"},
		{"empty path", []*schemas.Contract{contract(nil, schemas.Field{Name: "x", Type: schemas.Text, Paths: []schemas.Path{{}}})}, Options{}, "decode: contract test: field x: has an empty path"},
		{"empty condition", []*schemas.Contract{contract([]schemas.Match{{}}, field)}, Options{}, "decode: contract test: a condition has an empty path"},
		{"event time is text", []*schemas.Contract{timeless}, Options{}, "decode: contract test: field x: is the event time, must be a timestamp or date"},
		{"event time out of range", []*schemas.Contract{beyond}, Options{}, "decode: contract test: event time is field 1 of 1"},
		{"depth", []*schemas.Contract{contract(nil, field)}, Options{MaxDepth: -1}, "decode: max depth is -1, must be 1 to 10000"},
		{"bytes", []*schemas.Contract{contract(nil, field)}, Options{MaxMessageBytes: 1 << 31}, "decode: max message bytes is 2147483648, must be 1 to 1073741824"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := NewJSON(c.contracts, c.opts); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestDecodeChecks(t *testing.T) {
	d := newJSON(t, []*schemas.Contract{schemas.Rejects()}, Options{MaxMessageBytes: 10})
	arena, spans, times := pack([][]byte{[]byte(`{"a":1234}`), []byte(`{"a":12345}`), []byte(`{}`)})
	rows, rejects, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: arena, Values: spans, Times: times})
	if err != nil {
		t.Fatal(err)
	}
	if want := []schemas.Reject{{Message: 1, Contract: -1, Field: -1, Reason: schemas.TooLarge}}; !cmp.Equal(rejects, want) {
		t.Errorf("rejects %v", rejects)
	}
	if rows[0].Record.NumRows() != 2 || rows[0].Record.Column(0).NullN() != 2 {
		t.Error("a field without paths is not a column of nulls")
	}
	if _, _, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: arena[:len(arena)-slack], Values: spans, Times: times}); err != nil {
		t.Errorf("slack in the arena's capacity: %v", err)
	}
	if _, _, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: arena[: len(arena)-1 : len(arena)-1], Values: spans, Times: times}); err == nil {
		t.Error("an arena without slack is taken")
	}
	if _, _, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: arena, Values: spans, Times: times[1:]}); err == nil {
		t.Error("fewer times than messages are taken")
	}
	if rows, rejects, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: nil, Values: nil, Times: nil}); err == nil || rows != nil || rejects != nil {
		t.Error("an arena without slack is taken")
	}
	if rows, rejects, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: arena, Values: nil, Times: nil}); err != nil || len(rejects) > 0 || rows[0].Record != nil {
		t.Error("no messages are not no rows")
	}
}

// everyType is a contract with fields of every type, and one that shares slots.
// signalField is a field that has the text of a value.
func signalField(paths ...string) schemas.Field {
	f := keep("_consent_"+strings.Join(paths, "_"), schemas.JSON, paths...)
	f.Treatment.Technique = schemas.Drop
	return f
}

func everyType() []*schemas.Contract {
	a := contract(nil,
		keep("t", schemas.Text, "t", "p.t"), coerced(keep("ct", schemas.Text, "t", "x")),
		coerced(keep("i", schemas.Integer, "i", "p.i")), coerced(keep("n", schemas.Number, "n", "x")),
		coerced(keep("b", schemas.Boolean, "b")), coerced(keep("ts", schemas.Timestamp, "ts", "p.ts")),
		coerced(keep("d", schemas.Date, "d")), identity("u", schemas.UserID, "u", "p.u", "p.q.u"),
		required(dropped(keep("p", schemas.Text, "p", "t"))))
	b := contract(when("t", "x"), keep("x", schemas.Text, "x"), keep("u", schemas.Text, "u"),
		keep("i", schemas.Integer, "i"), keep("n", schemas.Number, "n"), keep("b", schemas.Boolean, "b"),
		keep("ts", schemas.Timestamp, "ts"), identity("email", schemas.Email, "", "p.email"))
	b.Fields[5].Required = true
	a.EventTime, b.EventTime = 5, -1
	a.Fields = append(a.Fields, signalField("", "p", "p.q"), signalField("tt"))
	b.Fields = append(b.Fields, signalField("t", "x"), signalField("p.u", "é", "p.p"))
	return []*schemas.Contract{a, b}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"t":"x","x":"1","u":"me","p":{"t":"y","i":"12","q":{"u":"me"},"u":"m\u0065"},"i":1e2,"n":-0.5,"b":true,"ts":"2026-03-14T15:09:26.535Z","d":"2026-03-14"}`,
		`{"t":"X","ts":1773500966,"":"a@b","p":{"email":"a\u0040b","x":[1,{"t":2},[]]},"u":1,"u":"1"}`,
		`{"t":"\ud83d\ude00","i":"1.0","n":"1e5","b":"false","ts":"2026-03-14 15:09:26,5+02:00","x":null}`,
		` { "p" : { } , "p" : [ ] , "t" : "é" , "d" : "" } `,
		`[{"t":"x"}]`, `"\u0000"`, `-1.5E-3`, `{"t":01}`, `{"t":"` + "\xff" + `"}`,
	} {
		f.Add([]byte(s), []byte(`{"t":"x"}`), uint16(len(s)/2))
	}
	contracts := everyType()
	opts := Options{MaxDepth: 6}
	learned, plain := newJSON(f, contracts, opts), newJSON(f, contracts, opts)
	plain.walker.plain = true
	f.Fuzz(func(t *testing.T, a, b []byte, cut uint16) {
		// Parts of one message and another are what a learned gap must not
		// take for the whole.
		messages := [][]byte{a, b, a[:min(len(a), int(cut))], append(a[:min(len(a), int(cut)):min(len(a), int(cut))], b...), a}
		times := []int64{1, 2, 3, noEventTime, 5}
		checkAgainstOracle(t, plain, contracts, messages, times)
		checkAgainstOracle(t, learned, contracts, messages, times)
	})
}

func TestGeneratedEvents(t *testing.T) {
	contracts := segmentContracts()
	messages := segmentEvents(3000, 7)
	times := make([]int64, len(messages))
	d := newJSON(t, contracts, Options{})
	if rows := checkAgainstOracle(t, d, contracts, messages, times); rows != len(messages) {
		t.Errorf("%d rows of %d messages", rows, len(messages))
	}
	if n := len(d.walker.learned.states); n > 200 {
		t.Errorf("learned %d states of messages of one producer", n)
	}
	checkTiers(t, contracts, Options{}, messages)
}

// TestForgets feeds keys that never come again until the learning starts anew.
func TestForgets(t *testing.T) {
	contracts := []*schemas.Contract{contract(nil, keep("x", schemas.Text, "x"))}
	d := newJSON(t, contracts, Options{})
	var messages [][]byte
	for i := range 3000 {
		messages = append(messages, fmt.Appendf(nil, `{"k%d":1,"x":"v","m%d":{"n%d":"","o%d":[%d,true]},"q%d":2}`, i, i, i, i, i, i))
	}
	times := make([]int64, len(messages))
	renewed := false
	for range 10 {
		before := d.walker.learned.lost
		checkAgainstOracle(t, d, contracts, messages, times)
		renewed = renewed || d.walker.learned.lost < before
		if n := len(d.walker.learned.states); n > mostStates {
			t.Fatalf("%d states", n)
		}
	}
	if !renewed {
		t.Error("never began anew")
	}
}

// TestMemoryIsBounded decodes hostile batches and compares what is held with
// what came in.
func TestMemoryIsBounded(t *testing.T) {
	contracts := everyType()
	d := newJSON(t, contracts, Options{})
	many := strings.Repeat(`"u":"\u0061","u":1,`, 40_000)
	messages := [][]byte{
		[]byte("{" + many[:len(many)-1] + "}"),
		[]byte(`{"t":"` + strings.Repeat(`\u0041`, 150_000) + `","p":1}`),
		[]byte(strings.Repeat("[", 1_000_000)),
		[]byte(`{"` + strings.Repeat(`\n`, 400_000) + `":1}`),
	}
	total := 0
	for _, m := range messages {
		total += len(m)
	}
	for range 3 {
		decodeAll(t, d, messages, []int64{0, 0, 0, 0})
	}
	w := &d.walker
	held := cap(w.side) + 16*cap(w.repeats) + cap(w.keyText) + 8*cap(w.spill)
	if held > 2*total {
		t.Errorf("%d bytes held for %d", held, total)
	}
}

func TestNoAllocationsPerRow(t *testing.T) {
	contracts := segmentContracts()
	d := newJSON(t, contracts, Options{})
	small, smallSpans, smallTimes := pack(segmentEvents(100, 3))
	big, bigSpans, bigTimes := pack(segmentEvents(2000, 3))
	count := func(a []byte, s []schemas.Span, at []int64) float64 {
		return testing.AllocsPerRun(5, func() {
			if _, _, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: a, Values: s, Times: at}); err != nil {
				t.Fatal(err)
			}
		})
	}
	of2000, of100 := count(big, bigSpans, bigTimes), count(small, smallSpans, smallTimes)
	if of2000 > of100+10 {
		t.Errorf("%v allocations for 2000 messages, %v for 100", of2000, of100)
	}
}
