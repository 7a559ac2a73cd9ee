package oracle

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"lupa/schemas"
)

// leaf is a value of a message and the way to it: a json.Number, string, bool,
// nil, or nested{} for an object or array.
type leaf struct {
	path  string // as pathKey makes it
	value any
	// listed says that the way leads through objects alone, so that a contract
	// can name it.
	listed bool
}

type nested struct{}

// pathKey is the steps of a path in one text.
func pathKey(steps []string) string { return strings.Join(steps, "\x00/") }

// leaves takes a message apart. The reason is why it is no message at all.
func leaves(message []byte, maxDepth int) (list []leaf, object bool, reason schemas.Reason) {
	if !utf8.Valid(message) {
		return nil, false, schemas.Malformed
	}
	w := walker{d: json.NewDecoder(bytes.NewReader(message)), maxDepth: maxDepth}
	w.d.UseNumber()
	switch err := w.value(nil, true, 0); {
	case errors.Is(err, errDeep):
		return nil, false, schemas.TooDeep
	case err != nil:
		return nil, false, schemas.Malformed
	}
	if _, err := w.d.Token(); err != io.EOF || !json.Valid(message) || halfSurrogate(message) {
		return nil, false, schemas.Malformed
	}
	return w.list, bytes.TrimLeft(message, " \t\r\n")[0] == '{', schemas.NoReason
}

var errDeep = errors.New("nested too deep")

type walker struct {
	d        *json.Decoder
	maxDepth int
	list     []leaf
}

// value reads one value; it is the value of path, if that is listed.
func (w *walker) value(path []string, listed bool, depth int) error {
	token, err := w.d.Token()
	if err != nil {
		return err
	}
	delim, isDelim := token.(json.Delim)
	if len(path) > 0 {
		l := leaf{pathKey(path), token, listed}
		if isDelim {
			l.value = nested{}
		}
		w.list = append(w.list, l)
	}
	if !isDelim {
		return nil
	}
	if depth == w.maxDepth {
		return errDeep
	}
	for w.d.More() {
		if delim == '[' {
			if err := w.value(path, false, depth+1); err != nil {
				return err
			}
			continue
		}
		name, err := w.d.Token()
		if err != nil {
			return err
		}
		text, ok := name.(string)
		if !ok {
			return errors.New("a name is no text")
		}
		if err := w.value(append(path[:len(path):len(path)], text), listed, depth+1); err != nil {
			return err
		}
	}
	_, err = w.d.Token()
	return err
}

// halfSurrogate looks for an escape of half a character in valid JSON, which
// encoding/json reads as another character.
func halfSurrogate(message []byte) bool {
	for i := 0; i < len(message); i++ {
		if message[i] != '\\' {
			continue
		}
		i++
		if message[i] != 'u' {
			continue
		}
		unit := utf16Unit(message[i+1:])
		i += 4
		switch {
		case unit >= 0xdc00 && unit < 0xe000:
			return true
		case unit < 0xd800 || unit >= 0xe000:
			continue
		}
		if !bytes.HasPrefix(message[i+1:], []byte(`\u`)) {
			return true
		}
		if low := utf16Unit(message[i+3:]); low < 0xdc00 || low >= 0xe000 {
			return true
		}
		i += 6
	}
	return false
}

func utf16Unit(digits []byte) uint64 {
	unit, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil {
		return 0
	}
	return unit
}
