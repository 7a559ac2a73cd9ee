package decode

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lupa/schemas"
)

// The oracle decodes one message the slow and obvious way, over encoding/json,
// math/big and package time.

// found is a value at a path: json.Number, string, bool, nil, or struct{} for
// an object or array.
type found struct {
	path  string
	value any
	raw   string // its text
}

func pathKey(steps []string) string { return strings.Join(steps, "\x00/") }

// oracleWalk lists the values of every path in order. ok is false when the
// message is no well-formed JSON text.
func oracleWalk(message []byte) (list []found, object, ok bool) {
	if !utf8.Valid(message) || !json.Valid(message) || loneSurrogate(message) {
		return nil, false, false
	}
	dec := json.NewDecoder(bytes.NewReader(message))
	dec.UseNumber()
	var walk func(path []string, dead bool)
	walk = func(path []string, dead bool) {
		from := dec.InputOffset()
		tok, _ := dec.Token()
		delim, isDelim := tok.(json.Delim)
		if !dead && len(path) > 0 {
			v := found{path: pathKey(path), value: tok}
			if isDelim {
				v.value = struct{}{}
			}
			list = append(list, v)
			at := len(list) - 1
			defer func() { list[at].raw = strings.TrimLeft(string(message[from:dec.InputOffset()]), " \t\r\n:,") }()
		}
		if !isDelim {
			return
		}
		for dec.More() {
			if delim == '[' {
				walk(path, true)
				continue
			}
			name, _ := dec.Token()
			walk(append(path[:len(path):len(path)], name.(string)), dead)
		}
		dec.Token()
	}
	walk(nil, false)
	_, err := dec.Token()
	return list, bytes.TrimLeft(message, " \t\r\n")[0] == '{', err == io.EOF
}

var escapeSequence = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)

// loneSurrogate looks for half a surrogate pair in valid JSON.
func loneSurrogate(message []byte) bool {
	high := -1 // where the low half must begin
	for _, at := range escapeSequence.FindAllIndex(message, -1) {
		s := string(message[at[0]+1 : at[1]])
		r := uint64(0)
		if s[0] == 'u' {
			r, _ = strconv.ParseUint(s[1:], 16, 32)
		}
		switch {
		case high >= 0 && (at[0] != high || r < 0xdc00 || r > 0xdfff):
			return true
		case high >= 0:
			high = -1
		case r >= 0xd800 && r < 0xdc00:
			high = at[1]
		case r >= 0xdc00 && r < 0xe000:
			return true
		}
	}
	return high >= 0
}

// oracleDepth is how deeply brackets nest outside of strings.
func oracleDepth(message []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(message); i++ {
		switch c := message[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// oracleRow gives the cells of a contract's row, or why there is none.
func oracleRow(c *schemas.Contract, list []found, at int64) (cells []any, field int32, reason schemas.Reason) {
	for i := range c.Fields {
		f := &c.Fields[i]
		event := i == c.EventTime
		if f.Type == schemas.JSON {
			cells = append(cells, oracleSignal(f, list))
			continue
		}
		cell, reason := oracleField(f, list, event)
		dropped := f.Treatment.Technique == schemas.Drop && len(f.Identifiers) == 0 && !event
		if reason == schemas.NoReason && cell == nil {
			switch {
			case event && at != noEventTime:
				cell = at
			case event || f.Required:
				reason = schemas.MissingField
			}
		}
		if reason != schemas.NoReason {
			return nil, int32(i), reason
		}
		if dropped {
			cell = nil
		}
		cells = append(cells, cell)
	}
	return cells, schemas.NoField, schemas.NoReason
}

// oracleSignal gives the text of the one value that a signal has.
func oracleSignal(f *schemas.Field, list []found) any {
	var values []*found
	for _, p := range f.Paths {
		var last *found
		for i := range list {
			if list[i].path != pathKey(p) {
				continue
			}
			if last != nil && last.value != nil && (last.raw != list[i].raw || last.value == struct{}{}) {
				return contradiction
			}
			last = &list[i]
		}
		if last != nil && last.value != nil {
			values = append(values, last)
		}
	}
	for _, v := range values {
		_, isText := v.value.(string)
		if v.value != values[0].value || !isText && v.raw != values[0].raw {
			return contradiction
		}
	}
	if len(values) == 0 {
		return nil
	}
	return oracleText(values[0].raw)
}

// oracleText is the text of a value, in which a string may have its escapes or
// not.
type oracleText string

func (want oracleText) is(got any) bool {
	text, ok := got.(string)
	if !ok || text == string(want) {
		return ok
	}
	var a, b string
	return json.Unmarshal([]byte(text), &a) == nil && json.Unmarshal([]byte(want), &b) == nil && a == b
}

func oracleField(f *schemas.Field, list []found, event bool) (any, schemas.Reason) {
	identity := len(f.Identifiers) > 0
	var all []any
	for _, p := range f.Paths {
		var last any
		for _, v := range list {
			if v.path != pathKey(p) {
				continue
			}
			last = v.value
			if identity && v.value != nil && v.value != "" {
				all = append(all, v.value)
			}
		}
		if blank := last == "" && f.Coerce && f.Type != schemas.Text; blank && (event || f.Treatment.Technique != schemas.Drop) {
			continue
		}
		if !identity && last != nil {
			all = append(all, last)
			break
		}
	}
	if len(all) == 0 {
		return nil, schemas.NoReason
	}
	if f.Treatment.Technique == schemas.Drop && !identity && !event {
		return struct{}{}, schemas.NoReason
	}
	first, ok := oracleConvert(f, all[0])
	bad := !ok
	conflict := false
	for _, v := range all[1:] {
		other, ok := oracleConvert(f, v)
		bad = bad || !ok
		conflict = conflict || ok && other != first
	}
	switch {
	case bad && conflict:
		return nil, oracleEither
	case bad:
		return nil, schemas.WrongType
	case conflict:
		return nil, schemas.IdentityConflict
	}
	return first, schemas.NoReason
}

// oracleEither is a row that is wrong in two ways, of which either may be told.
const oracleEither = schemas.Reason(200)

func oracleConvert(f *schemas.Field, v any) (any, bool) {
	s, isText := v.(string)
	if isText && f.Type != schemas.Text && f.Coerce {
		switch {
		case s == "":
			return nil, true
		case s == "true" || s == "false":
			v = s == "true"
		case json.Valid([]byte(s)) && strings.Trim(s, " \t\r\n") == s && strings.ContainsAny(s[:1], "-0123456789"):
			v = json.Number(s)
		}
	}
	switch f.Type {
	case schemas.Text:
		switch v := v.(type) {
		case string:
			return v, true
		case json.Number:
			if r := oracleRat(v); len(f.Identifiers) > 0 && r != nil && r.IsInt() && r.Num().IsInt64() {
				return r.Num().String(), f.Coerce
			}
			return v.String(), f.Coerce
		case bool:
			return strconv.FormatBool(v), f.Coerce
		}
	case schemas.Boolean:
		b, ok := v.(bool)
		return b, ok
	case schemas.Number:
		if n, ok := v.(json.Number); ok {
			x, err := n.Float64()
			return x, err == nil
		}
	case schemas.Integer:
		if n, ok := v.(json.Number); ok {
			if r := oracleRat(n); r != nil && r.IsInt() && r.Num().IsInt64() {
				return r.Num().Int64(), true
			}
		}
	case schemas.Date:
		if t, err := time.Parse("2006-01-02", s); err == nil {
			return t.Unix() / 86400, true
		}
	case schemas.Timestamp:
		if n, ok := v.(json.Number); ok && f.Coerce {
			return oracleEpoch(n)
		}
		return oracleTime(s, f.Coerce)
	}
	return nil, false
}

// oracleRat is n exactly, or nil when it is far out of every range.
func oracleRat(n json.Number) *big.Rat {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(n.String()), "e")
	if strings.Trim(mantissa, "-.0") == "" {
		return new(big.Rat)
	}
	if exponent != "" {
		if e, err := strconv.Atoi(exponent); err != nil || e > 2000 || e < -2000 {
			return nil
		}
	}
	r, _ := new(big.Rat).SetString(n.String())
	return r
}

func oracleEpoch(n json.Number) (any, bool) {
	r := oracleRat(n)
	if r == nil {
		return nil, false
	}
	in := func(from, below int64) bool {
		return r.Cmp(new(big.Rat).SetInt64(from)) >= 0 && r.Cmp(new(big.Rat).SetInt64(below)) < 0
	}
	unit := int64(0)
	if in(1e8, 1e10) {
		unit = 1e6
	} else if in(1e11, 1e13) {
		unit = 1e3
	} else {
		return nil, false
	}
	r.Mul(r, new(big.Rat).SetInt64(unit))
	return new(big.Int).Quo(r.Num(), r.Denom()).Int64(), true
}

var timeSyntax = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(:\d\d)?([.,]\d{1,9})?([Zz]|[+-]\d\d(?::?\d\d)?)?)?$`)

func oracleTime(s string, coerce bool) (any, bool) {
	m := timeSyntax.FindStringSubmatch(s)
	if m == nil || m[3] == "" && m[4] != "" || m[5] == "" && !coerce {
		return nil, false
	}
	clock, extra := m[2]+m[3], time.Duration(0)
	switch {
	case m[2] == "":
		clock = "00:00:00"
	case m[3] == "":
		clock += ":00"
	case m[3] == ":60" && strings.HasSuffix(m[2], ":59"):
		clock, extra = m[2]+":59", time.Second
	}
	t, err := time.Parse("2006-01-02 15:04:05", m[1]+" "+clock)
	if err != nil {
		return nil, false
	}
	if m[4] != "" {
		nanos, _ := strconv.Atoi((m[4][1:] + "000000000")[:9])
		extra += time.Duration(nanos)
	}
	if zone := strings.ReplaceAll(m[5], ":", ""); len(zone) > 1 {
		h, _ := strconv.Atoi(zone[1:3])
		minutes := 0
		if len(zone) == 5 {
			minutes, _ = strconv.Atoi(zone[3:])
		}
		if h > 23 || minutes > 59 {
			return nil, false
		}
		east := time.Duration(h)*time.Hour + time.Duration(minutes)*time.Minute
		if zone[0] == '-' {
			east = -east
		}
		extra -= east
	}
	return t.Add(extra).UnixMicro(), true
}

// oracleTakes reports whether a contract's conditions hold.
func oracleTakes(c *schemas.Contract, list []found) bool {
	for _, m := range c.Where {
		var last any
		for _, v := range list {
			if v.path == pathKey(m.Path) {
				last = v.value
			}
		}
		s, ok := last.(string)
		if !ok || asciiLower(s) != asciiLower(m.Value) {
			return false
		}
	}
	return true
}

func asciiLower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 32
		}
		return r
	}, s)
}
