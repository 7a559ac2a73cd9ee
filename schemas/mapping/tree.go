package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep a row may be nested.
const maxDepth = 64

// What is wrong with a text that is no row.
var (
	errNotUTF8    = errors.New("the row is not UTF-8")
	errNotJSON    = errors.New("the row is not JSON")
	errTooDeep    = errors.New("the row is nested too deep")
	errTwice      = errors.New("the row has a name twice in one object")
	errNotUnicode = errors.New("the row has half of a surrogate pair")
)

// tree is a JSON text as nodes in the order of the text. What is in it is valid
// until the next parse.
type tree struct {
	nodes []node
	side  []byte // texts with escapes undone
}

// node is one value. Those within it follow it, up to next.
type node struct {
	kind byte   // first byte of the value: { [ " t f n, or # for a number
	text []byte // of a string what it says, of anything else its JSON
	name []byte // of a member of an object
	next int32
}

// absent is no node.
const absent = int32(-1)

// parse reads a text in which no object has a name twice. Its errors hold no
// part of it.
func (t *tree) parse(data []byte) error {
	t.nodes, t.side = t.nodes[:0], t.side[:0]
	_, err := t.add(data)
	return err
}

// add appends the nodes of one more text, which may be text within the first.
func (t *tree) add(data []byte) (root int32, err error) {
	if !utf8.Valid(data) {
		return absent, errNotUTF8
	}
	if !json.Valid(data) {
		return absent, errNotJSON
	}
	root = int32(len(t.nodes))
	_, err = t.value(data, skipSpace(data, 0), nil, 0)
	return root, err
}

// value adds the value at i, in text that is known to be JSON, and gives the
// index behind it.
func (t *tree) value(data []byte, i int, name []byte, depth int) (end int, err error) {
	if depth > maxDepth {
		return 0, errTooDeep
	}
	n := len(t.nodes)
	t.nodes = append(t.nodes, node{kind: data[i], name: name})
	end = i
	switch c := data[i]; c {
	case '{', '[':
		end, err = t.inside(data, i, depth)
		t.nodes[n].text = data[i:end]
	case '"':
		end = endOfString(data, i)
		t.nodes[n].text, err = t.unquote(data[i+1 : end-1])
	default:
		if c != 't' && c != 'f' && c != 'n' {
			t.nodes[n].kind = '#'
		}
		for end < len(data) && bytes.IndexByte([]byte(" \t\r\n,]}"), data[end]) < 0 {
			end++
		}
		t.nodes[n].text = data[i:end]
	}
	t.nodes[n].next = int32(len(t.nodes))
	return end, err
}

// inside adds what is in the object or array at i.
func (t *tree) inside(data []byte, i, depth int) (end int, err error) {
	parent, object := int32(len(t.nodes)-1), data[i] == '{'
	var many map[string]bool
	count := 0
	for i = skipSpace(data, i+1); data[i] != '}' && data[i] != ']'; count++ {
		var name []byte
		if object {
			end := endOfString(data, i)
			if name, err = t.unquote(data[i+1 : end-1]); err != nil {
				return i, err
			}
			if many, err = t.once(parent, name, count, many); err != nil {
				return i, err
			}
			i = skipSpace(data, skipSpace(data, end)+1) // the colon
		}
		if i, err = t.value(data, i, name, depth+1); err != nil {
			return i, err
		}
		if i = skipSpace(data, i); data[i] == ',' {
			i = skipSpace(data, i+1)
		}
	}
	return i + 1, nil
}

// once makes sure that the members so far have not the name. Of many members
// the names are kept in a map.
func (t *tree) once(parent int32, name []byte, count int, many map[string]bool) (map[string]bool, error) {
	const few = 32
	if count < few {
		for c := parent + 1; c < int32(len(t.nodes)); c = t.nodes[c].next {
			if bytes.Equal(t.nodes[c].name, name) {
				return nil, errTwice
			}
		}
		return nil, nil
	}
	if many == nil {
		many = make(map[string]bool)
		for c := parent + 1; c < int32(len(t.nodes)); c = t.nodes[c].next {
			many[string(t.nodes[c].name)] = true
		}
	}
	if many[string(name)] {
		return nil, errTwice
	}
	many[string(name)] = true
	return many, nil
}

// member gives the value of a name in an object.
func (t *tree) member(object int32, name string) int32 {
	if object == absent || t.nodes[object].kind != '{' {
		return absent
	}
	for c := object + 1; c < t.nodes[object].next; c = t.nodes[c].next {
		if string(t.nodes[c].name) == name {
			return c
		}
	}
	return absent
}

// isNull reports whether there is no value, or null.
func (t *tree) isNull(n int32) bool { return n == absent || t.nodes[n].kind == 'n' }

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// endOfString gives the index behind the string whose opening quote is at i.
func endOfString(data []byte, i int) int {
	for i++; data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// unquote gives what the inside of a string says. Half of a surrogate pair
// stands for no character: two identifiers that differ in it would become one.
func (t *tree) unquote(inside []byte) ([]byte, error) {
	if bytes.IndexByte(inside, '\\') < 0 {
		return inside, nil
	}
	begin := len(t.side)
	for i := 0; i < len(inside); {
		if inside[i] != '\\' {
			t.side = append(t.side, inside[i])
			i++
			continue
		}
		switch c := inside[i+1]; c {
		case 'u':
			r := hexUnit(inside[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				if i+6 > len(inside) || inside[i] != '\\' || inside[i+1] != 'u' {
					return nil, errNotUnicode
				}
				if r = utf16.DecodeRune(r, hexUnit(inside[i+2:])); r == utf8.RuneError {
					return nil, errNotUnicode
				}
				i += 6
			}
			t.side = utf8.AppendRune(t.side, r)
			continue
		case 'b':
			t.side = append(t.side, '\b')
		case 'f':
			t.side = append(t.side, '\f')
		case 'n':
			t.side = append(t.side, '\n')
		case 'r':
			t.side = append(t.side, '\r')
		case 't':
			t.side = append(t.side, '\t')
		default:
			t.side = append(t.side, c)
		}
		i += 2
	}
	return t.side[begin:len(t.side):len(t.side)], nil
}

func hexUnit(digits []byte) (r rune) {
	for _, c := range digits[:4] {
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c | 0x20 - 'a' + 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
