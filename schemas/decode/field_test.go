package decode

import (
	"math"
	"testing"

	"lupa/schemas"
)

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
		{"an empty text is no time", coerced(keep("x", schemas.Timestamp, "a", "b.c")), `{"a":"","b":{"c":"2026-03-14T15:09:26Z"}}`, noon, 0},
		{"an empty text is no number", coerced(keep("x", schemas.Integer, "a", "b.c")), `{"a":"","b":{"c":12}}`, int64(12), 0},
		{"an empty text is a wrong number", keep("x", schemas.Integer, "a", "b.c"), `{"a":"","b":{"c":12}}`, nil, schemas.WrongType},
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
		{"identity, numbers of two spellings", email, `{"email":12,"traits":{"email":12.0}}`, "12", 0},
		{"identity, number and the text of another spelling", email, `{"email":"12.0","traits":{"email":12.0}}`, nil, schemas.IdentityConflict},
		{"identity, two numbers of odd spellings", email, `{"email":13.0,"traits":{"email":12.0}}`, nil, schemas.IdentityConflict},
		{"identity, key twice, odd spellings", email, `{"email":1.2e1,"email":12.0}`, "12", 0},
		{"identity, whole number with fraction", email, `{"email":123.0}`, "123", 0},
		{"identity, whole number with exponent", email, `{"email":-1.23E+2}`, "-123", 0},
		{"identity, whole number that is no view", email, `{"email":1.234567890123456e15}`, "1234567890123456", 0},
		{"identity, minus zero", email, `{"email":-0}`, "0", 0},
		{"identity, number with a fraction", email, `{"email":1.50}`, "1.50", 0},
		{"identity, long number", email, `{"email":12345678901234567890}`, "12345678901234567890", 0},
		{"identity, far number", email, `{"email":1e30}`, "1e30", 0},
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
