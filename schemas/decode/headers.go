package decode

import (
	"bytes"
	"unicode/utf8"
)

// The headers that are read.
const (
	schemaIDHeader    = "__value_schema_id"
	contentTypeHeader = "content-type"
	attributePrefix   = "ce_"
)

// mostAttributes is how many attributes an event may have.
const mostAttributes = 256

// attribute is a context attribute of a CloudEvent.
type attribute struct{ name, value []byte }

// headers are the headers of one message that are read.
type headers struct {
	hasSchemaID, hasContentType bool
	schemaID, contentType       []byte
	attributes                  []attribute
}

// read goes over the headers of a message. It is false when they are cut short,
// when one that is read is there twice with different values, and when one that
// is text is not UTF-8.
func (h *headers) read(b []byte) bool {
	*h = headers{attributes: h.attributes[:0]}
	if len(b) == 0 {
		return true
	}
	n, b, ok := cutZigzag(b)
	if !ok || n < 0 {
		return false
	}
	for ; n > 0; n-- {
		var key, value []byte
		if key, b, ok = cutBytes(b); !ok || key == nil {
			return false
		}
		if value, b, ok = cutBytes(b); !ok {
			return false
		}
		if !h.take(key, value) {
			return false
		}
	}
	return len(b) == 0
}

// cutBytes reads a length and so many bytes; nil is for the length -1.
func cutBytes(b []byte) (value, rest []byte, ok bool) {
	n, b, ok := cutZigzag(b)
	switch {
	case !ok || n < -1 || n > int64(len(b)):
		return nil, nil, false
	case n == -1:
		return nil, b, true
	}
	return b[:n:n], b[n:], true
}

// take keeps a header that is read. One without a value counts as absent.
func (h *headers) take(key, value []byte) bool {
	switch name, isAttribute := bytes.CutPrefix(key, []byte(attributePrefix)); {
	case value == nil:
		return true
	case string(key) == schemaIDHeader:
		return once(&h.schemaID, &h.hasSchemaID, value)
	case string(key) == contentTypeHeader:
		return once(&h.contentType, &h.hasContentType, value) && utf8.Valid(value)
	case isAttribute && len(name) > 0:
		return h.addAttribute(name, value)
	}
	return true
}

func once(slot *[]byte, has *bool, value []byte) bool {
	if *has {
		return bytes.Equal(*slot, value)
	}
	*slot, *has = value, true
	return true
}

func (h *headers) addAttribute(name, value []byte) bool {
	if old := h.attribute(name); old != nil {
		return bytes.Equal(old.value, value)
	}
	if len(h.attributes) == mostAttributes {
		return false
	}
	h.attributes = append(h.attributes, attribute{name, value})
	return utf8.Valid(name) && utf8.Valid(value)
}

func (h *headers) attribute(name []byte) *attribute {
	for i := range h.attributes {
		if bytes.Equal(h.attributes[i].name, name) {
			return &h.attributes[i]
		}
	}
	return nil
}
