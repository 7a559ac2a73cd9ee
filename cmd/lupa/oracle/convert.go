package oracle

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"lupa/schemas"
)

// convert makes a value one of the field's type; false is the wrong type.
func convert(f *schemas.Field, v any) (any, bool) {
	text, isText := v.(string)
	if isText && f.Coerce && f.Type != schemas.Text {
		// A text that spells a bare value and nothing else stands for it.
		switch {
		case text == "true" || text == "false":
			v = text == "true"
		case text != "" && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') && json.Valid([]byte(text)) && strings.TrimSpace(text) == text:
			v = json.Number(text)
		}
	}
	number, isNumber := v.(json.Number)
	switch f.Type {
	case schemas.Text:
		return convertText(f, v)
	case schemas.Boolean:
		b, ok := v.(bool)
		return b, ok
	case schemas.Integer:
		if isNumber {
			return wholeNumber(number)
		}
	case schemas.Number:
		if isNumber {
			x, err := strconv.ParseFloat(number.String(), 64)
			return x, err == nil
		}
	case schemas.Date:
		if t, err := time.Parse(time.DateOnly, text); isText && err == nil {
			return floorDiv(t.Unix(), 24*60*60), true
		}
	case schemas.Timestamp:
		if isNumber && f.Coerce {
			return sinceEpoch(number)
		}
		if isText {
			return dateTime(text, f.Coerce)
		}
	}
	return nil, false
}

func convertText(f *schemas.Field, v any) (any, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), f.Coerce
	case json.Number:
		// However it is spelled, a number is one identifier.
		if n, ok := wholeNumber(v); ok && len(f.Identifiers) > 0 {
			return strconv.FormatInt(n.(int64), 10), f.Coerce
		}
		return v.String(), f.Coerce
	}
	return nil, false
}

// wholeNumber gives an int64 if the number is one, however it is spelled.
func wholeNumber(n json.Number) (any, bool) {
	r := exactly(n)
	if r == nil || !r.IsInt() || !r.Num().IsInt64() {
		return nil, false
	}
	return r.Num().Int64(), true
}

// exactly gives the number without rounding, or nil if it is so long that it
// is neither an integer of 64 bits nor a time.
func exactly(n json.Number) *big.Rat {
	digits, exponent, _ := strings.Cut(strings.ToLower(n.String()), "e")
	if strings.Trim(digits, "-0.") == "" {
		return new(big.Rat)
	}
	if len(digits) > 100_000 {
		return nil
	}
	if exponent != "" {
		if e, err := strconv.Atoi(exponent); err != nil || e > 6000 || e < -6000 {
			return nil
		}
	}
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		return nil
	}
	return r
}

// sinceEpoch reads seconds or milliseconds, whichever the size of the number
// says.
func sinceEpoch(n json.Number) (any, bool) {
	r := exactly(n)
	if r == nil {
		return nil, false
	}
	unit := int64(0)
	for _, scale := range [...]struct{ from, below, unit int64 }{
		{100_000_000, 10_000_000_000, 1_000_000}, {100_000_000_000, 10_000_000_000_000, 1000},
	} {
		if r.Cmp(big.NewRat(scale.from, 1)) >= 0 && r.Cmp(big.NewRat(scale.below, 1)) < 0 {
			unit = scale.unit
		}
	}
	if unit == 0 {
		return nil, false
	}
	r.Mul(r, big.NewRat(unit, 1))
	return new(big.Int).Quo(r.Num(), r.Denom()).Int64(), true
}

// dateTimeForm is date, time, seconds, fraction, zone.
var dateTimeForm = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(:\d\d)?(?:[.,](\d{1,9}))?([Zz]|[+-]\d\d(?::?\d\d)?)?)?$`)

// dateTime reads a date-time as microseconds. Without a zone, or without a
// time, it must be allowed to be loose.
func dateTime(text string, loose bool) (any, bool) {
	m := dateTimeForm.FindStringSubmatch(text)
	if m == nil || m[4] != "" && m[3] == "" || m[5] == "" && !loose {
		return nil, false
	}
	clock, leap := m[2]+m[3], time.Duration(0)
	switch {
	case m[2] == "":
		clock = "00:00:00"
	case m[3] == "":
		clock += ":00"
	case m[3] == ":60" && strings.HasSuffix(m[2], ":59"):
		clock, leap = m[2]+":59", time.Second
	}
	t, err := time.Parse(time.DateTime, m[1]+" "+clock)
	if err != nil {
		return nil, false
	}
	nanos, err := strconv.Atoi((m[4] + "000000000")[:9])
	if err != nil {
		return nil, false
	}
	east, ok := zoneOffset(m[5])
	if !ok {
		return nil, false
	}
	return t.Add(leap + time.Duration(nanos) - east).UnixMicro(), true
}

func zoneOffset(zone string) (time.Duration, bool) {
	zone = strings.ReplaceAll(zone, ":", "")
	if zone == "" || zone == "Z" || zone == "z" {
		return 0, true
	}
	hours, err := strconv.Atoi(zone[1:3])
	minutes, err1 := 0, error(nil)
	if len(zone) == 5 {
		minutes, err1 = strconv.Atoi(zone[3:])
	}
	if err != nil || err1 != nil || hours > 23 || minutes > 59 {
		return 0, false
	}
	east := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if zone[0] == '-' {
		east = -east
	}
	return east, true
}

func floorDiv(a, b int64) int64 {
	if q := a / b; q*b <= a {
		return q
	}
	return a/b - 1
}
