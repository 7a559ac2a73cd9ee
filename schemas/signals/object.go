package signals

import (
	"bytes"
	"encoding/json"
	"io"
)

// textOf gives the text of a JSON string.
func textOf(raw []byte) (text string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return text, json.Unmarshal(raw, &text) == nil
}

// textsOf gives a list of JSON strings.
func textsOf(raw []byte) (list []string, ok bool) {
	var texts []*string
	if json.Unmarshal(raw, &texts) != nil || texts == nil {
		return nil, false
	}
	for _, text := range texts {
		if text == nil {
			return nil, false
		}
		list = append(list, *text)
	}
	return list, true
}

// members calls f with every member of an object, also with those that come
// again. ok is false when f is once, or there is no object.
func members(raw []byte, f func(name string, value []byte) (ok bool)) (ok bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return false
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return false
		}
		var value json.RawMessage
		if d.Decode(&value) != nil || !f(name.(string), value) {
			return false
		}
	}
	if _, err := d.Token(); err != nil {
		return false
	}
	_, err := d.Token()
	return err == io.EOF
}
