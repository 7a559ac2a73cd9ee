package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// oracleObject is JSON text that was found to be one object in which no name
// stands twice, at any depth.
type oracleObject []byte

// oracleChecked makes sure that data is what oracleObject says. The standard
// decoder would take the last of two members with the same name, match names
// without their case, and mend text that is not Unicode.
func oracleChecked(data []byte) (oracleObject, error) {
	switch {
	case !utf8.Valid(data):
		return nil, errors.New("the record is not UTF-8")
	case !json.Valid(data):
		return nil, errors.New("the record is not JSON")
	}
	object := oracleObject(bytes.TrimSpace(data))
	if object[0] != '{' {
		return nil, errors.New("the record is not a JSON object")
	}
	names := make(oracleNames, 0, 64)
	if _, err := names.value(object, 0, 0); err != nil {
		return nil, err
	}
	return object, nil
}

// each calls f with the name and the value of every member.
func (o oracleObject) each(f func(name, value []byte)) {
	for i := oracleSkipSpace(o, 1); o[i] == '"'; {
		end := oracleStringEnd(o, i)
		name, _ := oracleUnquote(o[i:end]) // cannot fail, since the names were checked
		i = oracleSkipSpace(o, oracleSkipSpace(o, end)+1)
		end = oracleValueEnd(o, i)
		f(name, o[i:end])
		if i = oracleSkipSpace(o, end); o[i] == ',' {
			i = oracleSkipSpace(o, i+1)
		}
	}
}

// oracleNames holds the names of the objects that are open.
type oracleNames [][]byte

// value walks over one value of valid JSON and gives its end.
func (names *oracleNames) value(data []byte, i, depth int) (end int, err error) {
	if data[i] != '{' && data[i] != '[' {
		return oracleValueEnd(data, i), nil
	}
	if depth == maxRecordDepth {
		return 0, errors.New("the record is nested too deep")
	}
	object := data[i] == '{'
	base := len(*names)
	for i = oracleSkipSpace(data, i+1); data[i] != '}' && data[i] != ']'; {
		if object {
			end = oracleStringEnd(data, i)
			if err := names.push(data[i:end], base); err != nil {
				return 0, err
			}
			i = oracleSkipSpace(data, oracleSkipSpace(data, end)+1)
		}
		if i, err = names.value(data, i, depth+1); err != nil {
			return 0, err
		}
		if i = oracleSkipSpace(data, i); data[i] == ',' {
			i = oracleSkipSpace(data, i+1)
		}
	}
	*names = (*names)[:base]
	return i + 1, nil
}

// push adds a name to the object whose names begin at base.
func (names *oracleNames) push(quoted []byte, base int) error {
	name, err := oracleUnquote(quoted)
	if err != nil {
		return fmt.Errorf("the record has a name that is %w", err)
	}
	for _, other := range (*names)[base:] {
		if bytes.Equal(other, name) {
			return errors.New("the record has a member twice")
		}
	}
	if len(*names)-base == maxRecordMembers {
		return fmt.Errorf("the record has more than %d members in one object", maxRecordMembers)
	}
	*names = append(*names, name)
	return nil
}

func oracleSkipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// oracleStringEnd gives the index behind the string that begins at i.
func oracleStringEnd(data []byte, i int) int {
	for i++; data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// oracleValueEnd gives the index behind the value that begins at i.
func oracleValueEnd(data []byte, i int) int {
	depth := 0
	for {
		switch data[i] {
		case '"':
			i = oracleStringEnd(data, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r':
			i++
			continue
		default:
			i = oracleWordEnd(data, i)
		}
		if depth == 0 {
			return i
		}
	}
}

// oracleWordEnd gives the index behind the number, true, false or null at i.
func oracleWordEnd(data []byte, i int) int {
	for ; i < len(data); i++ {
		switch data[i] {
		case ',', ']', '}', ' ', '\t', '\n', '\r':
			return i
		}
	}
	return i
}

// oracleUnquote gives the text of a JSON string. An escape for half of a surrogate
// pair stands for no character: two identifiers that differ in it would become
// one, so it is an error.
func oracleUnquote(quoted []byte) ([]byte, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	if oracleHalfSurrogate(quoted) {
		return nil, errNotUnicode
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil, errNotUnicode
	}
	return []byte(text), nil
}

func oracleHalfSurrogate(quoted []byte) bool {
	for i := 0; i < len(quoted); i++ {
		if quoted[i] != '\\' {
			continue
		}
		first := oracleUnit(quoted[i:])
		i++ // the character behind the backslash
		if !utf16.IsSurrogate(first) {
			continue
		}
		i += 4
		if utf16.DecodeRune(first, oracleUnit(quoted[i+1:])) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// oracleUnit reads \uXXXX at the start of text, or gives -1.
func oracleUnit(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
