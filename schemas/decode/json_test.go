package decode

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
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

// TestField has one field x (or the one given) and what becomes of a message.
func TestField(t *testing.T) {
	email := identity("email", schemas.Email, "email", "traits.email")
	text := keep("x", schemas.Text, "x")
	integer := keep("x", schemas.Integer, "x")
	num := keep("x", schemas.Number, "x")
	boolean := keep("x", schemas.Boolean, "x")
	stamp := keep("x", schemas.Timestamp, "x")
	date := keep("x", schemas.Date, "x")
	first := keep("x", schemas.Text, "a", "b.c", "d")
	const noon = int64(1773500966) * 1_000_000 // 2026-03-14T15:09:26Z
	for _, c := range []struct {
		name    string
		field   schemas.Field
		message string
		want    any
		reason  schemas.Reason
	}{
		{"text", text, `{"x":"abc"}`, "abc", 0},
		{"empty text", text, `{"x":""}`, "", 0},
		{"text of 12 bytes is inline", text, `{"x":"abcdefghijkl"}`, "abcdefghijkl", 0},
		{"text of 13 bytes is a view", text, `{"x":"abcdefghijklm"}`, "abcdefghijklm", 0},
		{"text with escapes, inline", text, `{"x":"a\"\\\/\b\f\n\r\tb"}`, "a\"\\/\b\f\n\r\tb", 0},
		{"text with escapes, long", text, `{"x":"abcdefghijklm\u00e9\uD834\udd1e"}`, "abcdefghijklmé𝄞", 0},
		{"text with an escaped NUL", text, `{"x":"a\u0000b"}`, "a\x00b", 0},
		{"text, high half alone", text, `{"x":"\ud800"}`, nil, schemas.Malformed},
		{"text, low half alone", text, `{"x":"\udc00"}`, nil, schemas.Malformed},
		{"text, halves swapped", text, `{"x":"\udc00\ud800"}`, nil, schemas.Malformed},
		{"text, high half and text", text, `{"x":"\ud800abcdef"}`, nil, schemas.Malformed},
		{"text, high half twice", text, `{"x":"\ud800\ud800"}`, nil, schemas.Malformed},
		{"text, high half at the end", text, `{"x":"\ud800\u"}`, nil, schemas.Malformed},
		{"number for text", text, `{"x":1}`, nil, schemas.WrongType},
		{"boolean for text", text, `{"x":true}`, nil, schemas.WrongType},
		{"object for text", text, `{"x":{}}`, nil, schemas.WrongType},
		{"array for text", text, `{"x":["a"]}`, nil, schemas.WrongType},
		{"null", text, `{"x":null}`, nil, 0},
		{"absent", text, `{}`, nil, 0},
		{"null, required", required(text), `{"x":null}`, nil, schemas.MissingField},
		{"absent, required", required(text), `{"y":1}`, nil, schemas.MissingField},
		{"empty text, required", required(text), `{"x":""}`, "", 0},
		{"number to text", coerced(text), `{"x":-1.50E+3}`, "-1.50E+3", 0},
		{"long number to text", coerced(text), `{"x":12345678901234567890.10}`, "12345678901234567890.10", 0},
		{"boolean to text", coerced(text), `{"x":false}`, "false", 0},
		{"array to text", coerced(text), `{"x":[]}`, nil, schemas.WrongType},

		{"integer", integer, `{"x":12}`, int64(12), 0},
		{"integer with fraction 0", integer, `{"x":12.0}`, int64(12), 0},
		{"integer with exponent", integer, `{"x":1e3}`, int64(1000), 0},
		{"integer with both", integer, `{"x":1.25e2}`, int64(125), 0},
		{"integer with negative exponent", integer, `{"x":1200e-2}`, int64(12), 0},
		{"minus zero", integer, `{"x":-0}`, int64(0), 0},
		{"zero with huge exponent", integer, `{"x":0e999999999999999999999}`, int64(0), 0},
		{"least integer", integer, `{"x":-9223372036854775808}`, int64(math.MinInt64), 0},
		{"greatest integer", integer, `{"x":9223372036854775807}`, int64(math.MaxInt64), 0},
		{"integer too small", integer, `{"x":-9223372036854775809}`, nil, schemas.WrongType},
		{"integer too great", integer, `{"x":9223372036854775808}`, nil, schemas.WrongType},
		{"integer far too great", integer, `{"x":1e400}`, nil, schemas.WrongType},
		{"long integer with zeros", integer, `{"x":120000000000000000000000000e-25}`, int64(12), 0},
		{"fraction for integer", integer, `{"x":12.5}`, nil, schemas.WrongType},
		{"tiny fraction for integer", integer, `{"x":1.00000000000000000000000001}`, nil, schemas.WrongType},
		{"text for integer", integer, `{"x":"12"}`, nil, schemas.WrongType},
		{"boolean for integer", coerced(integer), `{"x":true}`, nil, schemas.WrongType},
		{"text to integer", coerced(integer), `{"x":"12"}`, int64(12), 0},
		{"escaped text to integer", coerced(integer), `{"x":"\u00312"}`, int64(12), 0},
		{"text with a blank to integer", coerced(integer), `{"x":" 12"}`, nil, schemas.WrongType},
		{"text with plus to integer", coerced(integer), `{"x":"+12"}`, nil, schemas.WrongType},
		{"text with leading zero to integer", coerced(integer), `{"x":"012"}`, nil, schemas.WrongType},
		{"word to integer", coerced(integer), `{"x":"twelve"}`, nil, schemas.WrongType},
		{"empty text to integer", coerced(integer), `{"x":""}`, nil, 0},
		{"empty text for integer", integer, `{"x":""}`, nil, schemas.WrongType},
		{"empty text to required integer", required(coerced(integer)), `{"x":""}`, nil, schemas.MissingField},

		{"number", num, `{"x":12.5}`, 12.5, 0},
		{"number, minus zero", num, `{"x":-0.0}`, math.Copysign(0, -1), 0},
		{"number with many digits", num, `{"x":0.1000000000000000055511151231257827}`, 0.1, 0},
		{"number, halfway", num, `{"x":9007199254740993}`, 9007199254740992.0, 0},
		{"number, underflow", num, `{"x":1e-999}`, 0.0, 0},
		{"number, overflow", num, `{"x":1e999}`, nil, schemas.WrongType},
		{"text to number", coerced(num), `{"x":"-1.5e1"}`, -15.0, 0},
		{"text NaN to number", coerced(num), `{"x":"NaN"}`, nil, schemas.WrongType},
		{"text Inf to number", coerced(num), `{"x":"Inf"}`, nil, schemas.WrongType},
		{"hexadecimal text to number", coerced(num), `{"x":"0x1p4"}`, nil, schemas.WrongType},

		{"boolean", boolean, `{"x":true}`, true, 0},
		{"boolean false", boolean, `{"x":false}`, false, 0},
		{"number for boolean", coerced(boolean), `{"x":1}`, nil, schemas.WrongType},
		{"text for boolean", boolean, `{"x":"true"}`, nil, schemas.WrongType},
		{"text to boolean", coerced(boolean), `{"x":"false"}`, false, 0},
		{"capital text to boolean", coerced(boolean), `{"x":"True"}`, nil, schemas.WrongType},

		{"time", stamp, `{"x":"2026-03-14T15:09:26Z"}`, noon, 0},
		{"time with milliseconds", stamp, `{"x":"2026-03-14T15:09:26.535Z"}`, noon + 535_000, 0},
		{"time with nanoseconds is cut", stamp, `{"x":"2026-03-14T15:09:26.535897999Z"}`, noon + 535_897, 0},
		{"time with ten digits", stamp, `{"x":"2026-03-14T15:09:26.5358979999Z"}`, nil, schemas.WrongType},
		{"time before 1970 with fraction", stamp, `{"x":"1969-12-31T23:59:59.9Z"}`, int64(-100_000), 0},
		{"time with comma", stamp, `{"x":"2026-03-14T15:09:26,5Z"}`, noon + 500_000, 0},
		{"time with offset", stamp, `{"x":"2026-03-14T17:09:26+02:00"}`, noon, 0},
		{"time with negative offset", stamp, `{"x":"2026-03-14T09:39:26-0530"}`, noon, 0},
		{"time with short offset", stamp, `{"x":"2026-03-14T17:09:26.000+02"}`, noon, 0},
		{"time with a space", stamp, `{"x":"2026-03-14 15:09:26Z"}`, noon, 0},
		{"time in lower case", stamp, `{"x":"2026-03-14t15:09:26z"}`, noon, 0},
		{"time without seconds", stamp, `{"x":"2026-03-14T15:09Z"}`, noon - 26_000_000, 0},
		{"leap second", stamp, `{"x":"2016-12-31T23:59:60Z"}`, int64(1483228800_000000), 0},
		{"second 60 elsewhere", stamp, `{"x":"2016-12-31T23:58:60Z"}`, nil, schemas.WrongType},
		{"leap day", stamp, `{"x":"2024-02-29T00:00:00.000Z"}`, int64(1709164800_000000), 0},
		{"no leap day", stamp, `{"x":"2023-02-29T00:00:00.000Z"}`, nil, schemas.WrongType},
		{"no leap day in 1900", stamp, `{"x":"1900-02-29T00:00:00.000Z"}`, nil, schemas.WrongType},
		{"leap day in 2000", stamp, `{"x":"2000-02-29T00:00:00.000Z"}`, int64(951782400_000000), 0},
		{"month 13", stamp, `{"x":"2026-13-14T15:09:26.000Z"}`, nil, schemas.WrongType},
		{"hour 24", stamp, `{"x":"2026-03-14T24:00:00.000Z"}`, nil, schemas.WrongType},
		{"minute 60", stamp, `{"x":"2026-03-14T15:60:00.000Z"}`, nil, schemas.WrongType},
		{"offset of 24 hours", stamp, `{"x":"2026-03-14T15:09:26+24:00"}`, nil, schemas.WrongType},
		{"year 0", stamp, `{"x":"0000-01-01T00:00:00.000Z"}`, int64(-62167219200_000000), 0},
		{"year 9999", stamp, `{"x":"9999-12-31T23:59:59.999Z"}`, int64(253402300799_999000), 0},
		{"time without zone", stamp, `{"x":"2026-03-14T15:09:26"}`, nil, schemas.WrongType},
		{"time without zone, coerced", coerced(stamp), `{"x":"2026-03-14T15:09:26"}`, noon, 0},
		{"date for time", stamp, `{"x":"2026-03-14"}`, nil, schemas.WrongType},
		{"date to time", coerced(stamp), `{"x":"2026-03-14"}`, int64(1773446400_000000), 0},
		{"seconds for time", stamp, `{"x":1773500966}`, nil, schemas.WrongType},
		{"seconds to time", coerced(stamp), `{"x":1773500966}`, noon, 0},
		{"seconds with fraction to time", coerced(stamp), `{"x":1773500966.5358979}`, noon + 535_897, 0},
		{"text of seconds to time", coerced(stamp), `{"x":"1773500966"}`, noon, 0},
		{"milliseconds to time", coerced(stamp), `{"x":1773500966535}`, noon + 535_000, 0},
		{"text of milliseconds to time", coerced(stamp), `{"x":"1773500966535"}`, noon + 535_000, 0},
		{"seconds below the range", coerced(stamp), `{"x":99999999.9}`, nil, schemas.WrongType},
		{"first second", coerced(stamp), `{"x":1e8}`, int64(1e14), 0},
		{"last second", coerced(stamp), `{"x":9999999999}`, int64(9999999999_000000), 0},
		{"between the ranges", coerced(stamp), `{"x":1e10}`, nil, schemas.WrongType},
		{"first millisecond", coerced(stamp), `{"x":1e11}`, int64(1e14), 0},
		{"above the ranges", coerced(stamp), `{"x":1e13}`, nil, schemas.WrongType},
		{"date as number", coerced(stamp), `{"x":20260314}`, nil, schemas.WrongType},
		{"negative seconds", coerced(stamp), `{"x":-1773500966}`, nil, schemas.WrongType},
		{"empty text to time", coerced(stamp), `{"x":""}`, nil, 0},

		{"date", date, `{"x":"2026-03-14"}`, int64(20526), 0},
		{"date before 1970", date, `{"x":"1969-12-31"}`, int64(-1), 0},
		{"no date", date, `{"x":"2026-02-30"}`, nil, schemas.WrongType},
		{"time for date", coerced(date), `{"x":"2026-03-14T00:00:00Z"}`, nil, schemas.WrongType},
		{"number for date", coerced(date), `{"x":20526}`, nil, schemas.WrongType},

		{"first path", first, `{"d":"3","b":{"c":"2"},"a":"1"}`, "1", 0},
		{"second path after null", first, `{"a":null,"d":"3","b":{"c":"2"}}`, "2", 0},
		{"third path", first, `{"b":{"d":"x"},"d":"3"}`, "3", 0},
		{"an empty text is a value", first, `{"a":"","d":"3"}`, "", 0},
		{"a bad first path is not passed over", first, `{"a":1,"d":"3"}`, nil, schemas.WrongType},
		{"no path through an array", first, `{"b":[{"c":"2"}],"d":"3"}`, "3", 0},
		{"a scalar on the way", first, `{"b":"c","d":"3"}`, "3", 0},
		{"the same key deeper", first, `{"e":{"a":"9"},"d":"3"}`, "3", 0},
		{"key with escapes", text, `{"\u0078":"1"}`, "1", 0},
		{"key with escapes deeper", first, `{"\u0062":{"\u0063":"2"}}`, "2", 0},
		{"last wins", text, `{"x":"1","x":"2"}`, "2", 0},
		{"last wins, null", text, `{"x":"1","x":null}`, nil, 0},
		{"last wins, key with escapes", text, `{"x":"1","\u0078":"2"}`, "2", 0},
		{"two objects are one", first, `{"b":{"c":"2"},"b":{"e":1}}`, "2", 0},
		{"an object then a scalar", first, `{"b":{"c":"2"},"b":1}`, "2", 0},

		{"identity", email, `{"email":"a@b"}`, "a@b", 0},
		{"identity, second path", email, `{"traits":{"email":"a@b"}}`, "a@b", 0},
		{"identity, equal twice", email, `{"email":"a@b","traits":{"email":"a@b"}}`, "a@b", 0},
		{"identity, equal after unescaping", email, `{"email":"a@b","traits":{"email":"a\u0040b"}}`, "a@b", 0},
		{"identity, different", email, `{"email":"a@b","traits":{"email":"c@d"}}`, nil, schemas.IdentityConflict},
		{"identity, different in case", email, `{"email":"a@b","traits":{"email":"A@b"}}`, nil, schemas.IdentityConflict},
		{"identity, empty is absent", email, `{"email":"","traits":{"email":"c@d"}}`, "c@d", 0},
		{"identity, all empty", email, `{"email":"","traits":{"email":""}}`, nil, 0},
		{"identity, empty and required", required(email), `{"email":""}`, nil, schemas.MissingField},
		{"identity, key twice, equal", email, `{"email":"a@b","email":"a@b"}`, "a@b", 0},
		{"identity, key twice, equal escaped", email, `{"email":"a\u0040b","email":"a@b"}`, "a@b", 0},
		{"identity, key twice, different", email, `{"email":"a@b","email":"c@d"}`, nil, schemas.IdentityConflict},
		{"identity, key three times", email, `{"email":"a@b","email":"","email":"c@d"}`, nil, schemas.IdentityConflict},
		{"identity, key twice, then null", email, `{"email":"a@b","email":null}`, "a@b", 0},
		{"identity, key twice, then empty", email, `{"email":"a@bcdefghijklmn","email":""}`, "a@bcdefghijklmn", 0},
		{"identity, key twice, escaped then null", email, `{"email":"a\u0040b","email":null}`, "a@b", 0},
		{"identity, key three times, then empty", email, `{"email":"a@b","email":"c@d","email":""}`, nil, schemas.IdentityConflict},
		{"identity, parent twice", email, `{"traits":{"email":"a@b"},"traits":{"email":"c@d"}}`, nil, schemas.IdentityConflict},
		{"identity, key with escapes", email, `{"email":"a@b","\u0065mail":"c@d"}`, nil, schemas.IdentityConflict},
		{"identity, number and its text", email, `{"email":12,"traits":{"email":"12"}}`, "12", 0},
		{"identity, numbers of two spellings", email, `{"email":12,"traits":{"email":12.0}}`, nil, schemas.IdentityConflict},
		{"identity, object", email, `{"email":{}}`, nil, schemas.WrongType},
		{"identity, good and then object", email, `{"email":"a@b","traits":{"email":[]}}`, nil, schemas.WrongType},
		{"identity, object and then good", email, `{"email":{},"email":"a@b"}`, nil, schemas.WrongType},
		{"identity, dropped", dropped(email), `{"email":"a@b"}`, "a@b", 0},

		{"dropped", dropped(text), `{"x":"abc"}`, nil, 0},
		{"dropped, any type", dropped(integer), `{"x":{"y":[1,"2"]}}`, nil, 0},
		{"dropped, bad syntax", dropped(text), `{"x":01}`, nil, schemas.Malformed},
		{"dropped, required", required(dropped(integer)), `{"x":{"y":1}}`, nil, 0},
		{"dropped, required, absent", required(dropped(text)), `{"y":1}`, nil, schemas.MissingField},
		{"dropped, required, null", required(dropped(text)), `{"x":null}`, nil, schemas.MissingField},
	} {
		t.Run(c.name, func(t *testing.T) {
			cells, reason := decodeOne(t, contract(nil, c.field), c.message)
			if reason != c.reason {
				t.Fatalf("reason %q, want %q", reason, c.reason)
			}
			if reason == schemas.NoReason && !sameCell(cells[0], c.want) {
				t.Fatalf("got %v, want %v", cells[0], c.want)
			}
			contracts := []*schemas.Contract{contract(nil, c.field)}
			checkAgainstOracle(t, newJSON(t, contracts, Options{}), contracts, [][]byte{[]byte(c.message)}, []int64{noEventTime})
		})
	}
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
	rows, _, err := newJSON(t, c, Options{}).Decode(arena, spans, times)
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
	rows, rejects, err := d.Decode(arena, spans, times)
	if err != nil {
		t.Fatal(err)
	}
	if want := []schemas.Reject{{Message: 1, Contract: -1, Field: -1, Reason: schemas.TooLarge}}; !cmp.Equal(rejects, want) {
		t.Errorf("rejects %v", rejects)
	}
	if rows[0].Record.NumRows() != 2 || rows[0].Record.Column(0).NullN() != 2 {
		t.Error("a field without paths is not a column of nulls")
	}
	if _, _, err := d.Decode(arena[:len(arena)-slack], spans, times); err != nil {
		t.Errorf("slack in the arena's capacity: %v", err)
	}
	if _, _, err := d.Decode(arena[:len(arena)-1:len(arena)-1], spans, times); err == nil {
		t.Error("an arena without slack is taken")
	}
	if _, _, err := d.Decode(arena, spans, times[1:]); err == nil {
		t.Error("fewer times than messages are taken")
	}
	if rows, rejects, err := d.Decode(nil, nil, nil); err == nil || rows != nil || rejects != nil {
		t.Error("an arena without slack is taken")
	}
	if rows, rejects, err := d.Decode(arena, nil, nil); err != nil || len(rejects) > 0 || rows[0].Record != nil {
		t.Error("no messages are not no rows")
	}
}

// everyType is a contract with fields of every type, and one that shares slots.
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
			if _, _, err := d.Decode(a, s, at); err != nil {
				t.Fatal(err)
			}
		})
	}
	of2000, of100 := count(big, bigSpans, bigTimes), count(small, smallSpans, smallTimes)
	if of2000 > of100+10 {
		t.Errorf("%v allocations for 2000 messages, %v for 100", of2000, of100)
	}
}

func readLines(t testing.TB, path string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	for line := range strings.SplitSeq(strings.TrimSuffix(string(b), "\n"), "\n") {
		lines = append(lines, []byte(line))
	}
	return lines
}

func TestSharedEvents(t *testing.T) {
	hub := []*schemas.Contract{
		contract(when("type", "PushEvent"), coerced(keep("id", schemas.Integer, "id")), keep("actor_id", schemas.Integer, "actor.id"),
			identity("login", schemas.UserID, "actor.login"), keep("repo", schemas.Text, "repo.name"), keep("public", schemas.Boolean, "public"),
			keep("created_at", schemas.Timestamp, "created_at"), keep("size", schemas.Number, "payload.size"), keep("ref", schemas.Text, "payload.ref")),
		contract(nil, keep("type", schemas.Text, "type"), keep("id", schemas.Text, "id"), coerced(keep("actor", schemas.Text, "actor.id")),
			coerced(keep("number", schemas.Text, "payload.number", "payload.issue.number")), keep("body", schemas.Text, "payload.comment.body", "payload.pull_request.body")),
	}
	access := []*schemas.Contract{contract(nil, keep("addr", schemas.Text, "remote_addr"), keep("status", schemas.Integer, "status"),
		coerced(keep("bytes", schemas.Text, "bytes")), keep("request", schemas.Text, "request"), keep("agent", schemas.Text, "user_agent"),
		keep("referer", schemas.Text, "referer"), required(dropped(keep("user", schemas.Text, "user"))))}
	events := append(segmentContracts(), contract(nil,
		identity("user_id", schemas.UserID, "userId"), coerced(keep("timestamp", schemas.Timestamp, "timestamp", "originalTimestamp", "sentAt")),
		coerced(keep("revenue", schemas.Number, "properties.revenue", "properties.total")), coerced(keep("age", schemas.Integer, "traits.age", "context.traits.age")),
		coerced(keep("name", schemas.Text, "traits.name", "context.traits.name", "properties.name")), coerced(keep("product", schemas.Text, "properties.product_id"))))
	for _, c := range []struct {
		dir, file string
		contracts []*schemas.Contract
		rows      int // at least
	}{
		{"rudder-transformer", "events.jsonl", events, 1500},
		{"rudder-transformer", "source-webhooks.jsonl", events, 100},
		{"segment-docs", "examples.jsonl", events, 200},
		{"rudderstack-docs", "examples.jsonl", events, 90},
		{"gharchive", "2021-07-21-few-hours.json", hub, 1000},
		{"access-log", "apache_logs.jsonl", access, 9000},
	} {
		t.Run(c.dir+"/"+c.file, func(t *testing.T) {
			lines := readLines(t, shared(t, c.dir, c.file))
			times := make([]int64, len(lines))
			for i := range times {
				times[i] = int64(i)
			}
			rows := checkAgainstOracle(t, newJSON(t, c.contracts, Options{}), c.contracts, lines, times)
			if rows < c.rows {
				t.Errorf("%d rows of %d lines, want at least %d", rows, len(lines), c.rows)
			}
			checkTiers(t, c.contracts, Options{}, lines)
		})
	}
}

// TestNaughtyStrings takes each string as a value and as a key.
func TestNaughtyStrings(t *testing.T) {
	b, err := os.ReadFile(shared(t, "blns", "blns.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil || len(list) < 400 {
		t.Fatalf("%d strings: %v", len(list), err)
	}
	var messages [][]byte
	fields := []schemas.Field{keep("x", schemas.Text, "x")}
	seen := map[string]bool{"x": true}
	for i, s := range list {
		m, err := json.Marshal(map[string]string{"x": s, "k" + s: s})
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
		if !seen["k"+s] {
			seen["k"+s] = true
			fields = append(fields, schemas.Field{Name: fmt.Sprint("k", i), Type: schemas.Text, Paths: []schemas.Path{{"k" + s}}, Treatment: schemas.Treatment{Technique: schemas.Keep}})
		}
	}
	contracts := []*schemas.Contract{contract(nil, fields...)}
	res := decodeAll(t, newJSON(t, contracts, Options{}), messages, nil)
	if len(res.Rows[0]) != len(list) {
		t.Fatalf("%d rows of %d strings", len(res.Rows[0]), len(list))
	}
	for i, cells := range res.Rows[0] {
		filled := 0
		for f, c := range cells {
			if c == nil {
				continue
			}
			filled++
			if c != list[i] {
				t.Errorf("string %d, field %d: differs", i, f)
			}
		}
		if filled != 2 {
			t.Errorf("string %d: %d cells filled, want one by value and one by key", i, filled)
		}
	}
	checkTiers(t, contracts, Options{}, messages)
}

// implementationDefined pins what becomes of the files of the JSON test suite
// that a parser may take or refuse.
var implementationDefined = map[string]schemas.Reason{
	"i_number_double_huge_neg_exp.json":                   schemas.NoReason,
	"i_number_huge_exp.json":                              schemas.NoReason,
	"i_number_neg_int_huge_exp.json":                      schemas.NoReason,
	"i_number_pos_double_huge_exp.json":                   schemas.NoReason,
	"i_number_real_neg_overflow.json":                     schemas.NoReason,
	"i_number_real_pos_overflow.json":                     schemas.NoReason,
	"i_number_real_underflow.json":                        schemas.NoReason,
	"i_number_too_big_neg_int.json":                       schemas.NoReason,
	"i_number_too_big_pos_int.json":                       schemas.NoReason,
	"i_number_very_big_negative_int.json":                 schemas.NoReason,
	"i_object_key_lone_2nd_surrogate.json":                schemas.Malformed,
	"i_string_1st_surrogate_but_2nd_missing.json":         schemas.Malformed,
	"i_string_1st_valid_surrogate_2nd_invalid.json":       schemas.Malformed,
	"i_string_UTF-16LE_with_BOM.json":                     schemas.Malformed,
	"i_string_UTF-8_invalid_sequence.json":                schemas.Malformed,
	"i_string_UTF8_surrogate_U+D800.json":                 schemas.Malformed,
	"i_string_incomplete_surrogate_and_escape_valid.json": schemas.Malformed,
	"i_string_incomplete_surrogate_pair.json":             schemas.Malformed,
	"i_string_incomplete_surrogates_escape_valid.json":    schemas.Malformed,
	"i_string_invalid_lonely_surrogate.json":              schemas.Malformed,
	"i_string_invalid_surrogate.json":                     schemas.Malformed,
	"i_string_invalid_utf-8.json":                         schemas.Malformed,
	"i_string_inverted_surrogates_U+1D11E.json":           schemas.Malformed,
	"i_string_iso_latin_1.json":                           schemas.Malformed,
	"i_string_lone_second_surrogate.json":                 schemas.Malformed,
	"i_string_lone_utf8_continuation_byte.json":           schemas.Malformed,
	"i_string_not_in_unicode_range.json":                  schemas.Malformed,
	"i_string_overlong_sequence_2_bytes.json":             schemas.Malformed,
	"i_string_overlong_sequence_6_bytes.json":             schemas.Malformed,
	"i_string_overlong_sequence_6_bytes_null.json":        schemas.Malformed,
	"i_string_truncated-utf-8.json":                       schemas.Malformed,
	"i_string_utf16BE_no_BOM.json":                        schemas.Malformed,
	"i_string_utf16LE_no_BOM.json":                        schemas.Malformed,
	"i_structure_500_nested_arrays.json":                  schemas.TooDeep,
	"i_structure_UTF-8_BOM_empty_object.json":             schemas.Malformed,
}

// suiteOutcome is what a file of the suite must come to as part of a message:
// NoReason, or the reason of a message that is not well-formed.
func suiteOutcome(t *testing.T, name string, got schemas.Reason) {
	t.Helper()
	broken := got == schemas.Malformed || got == schemas.TooDeep || got == schemas.EmptyMessage
	switch {
	case strings.HasPrefix(name, "y_") && broken:
		t.Errorf("%s: rejected as %s", name, got)
	case strings.HasPrefix(name, "n_") && !broken:
		t.Errorf("%s: taken", name)
	case strings.HasPrefix(name, "i_"):
		want, ok := implementationDefined[name]
		if !ok {
			t.Errorf("%s: is not in the table", name)
		}
		if broken != (want != schemas.NoReason) || broken && got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestSuite(t *testing.T) {
	dir := shared(t, "json-test-suite", "test_parsing")
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 300 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	listed := contract(when("type", "track"), keep("timestamp", schemas.Timestamp, "timestamp"), coerced(keep("x", schemas.Text, "properties.x")))
	unlisted := contract(when("type", "track"), keep("timestamp", schemas.Timestamp, "timestamp"))
	contracts := []*schemas.Contract{listed, unlisted}
	d := newJSON(t, contracts, Options{})
	var messages [][]byte
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		inside := fmt.Appendf(nil, `{"type":"track","timestamp":"2026-03-14T15:09:26.535Z","properties":{"x":%s}}`, b)
		messages = append(messages, b, inside)
		whole, nested := decodeAll(t, d, [][]byte{b}, nil), decodeAll(t, d, [][]byte{inside}, nil)
		suiteOutcome(t, f.Name(), blame(whole))
		suiteOutcome(t, f.Name(), blame(nested))
		if blame(nested) == schemas.NoReason && len(nested.Rows[1]) != 1 {
			t.Errorf("%s: the contract that does not list the value has no row", f.Name())
		}
	}
	times := make([]int64, len(messages))
	checkAgainstOracle(t, d, contracts, messages, times)
	checkTiers(t, contracts, Options{}, messages)
}

// blame gives the reason of a message of which no contract could have a row.
func blame(r result) schemas.Reason {
	for _, x := range r.Rejects {
		if x.Contract == schemas.NoContract {
			return x.Reason
		}
	}
	return schemas.NoReason
}

func TestSuiteTransform(t *testing.T) {
	dir := shared(t, "json-test-suite", "test_transform")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	var messages [][]byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, b, fmt.Appendf(nil, `{"x":%s}`, b), fmt.Appendf(nil, `{"x":"v","p":%s,"ts":"%s"}`, b, b))
		if inner := strings.TrimSpace(string(b)); strings.HasPrefix(inner, "[") && strings.HasSuffix(inner, "]") {
			value := strings.TrimSpace(inner[1 : len(inner)-1])
			for _, field := range []string{"t", "x", "i", "n", "u", "ts"} {
				messages = append(messages, fmt.Appendf(nil, `{"p":1,%q:%s}`, field, value))
			}
		}
	}
	contracts := everyType()
	times := make([]int64, len(messages))
	checkAgainstOracle(t, newJSON(t, contracts, Options{}), contracts, messages, times)
	checkTiers(t, contracts, Options{}, messages)
}
