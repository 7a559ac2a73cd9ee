package decode

import (
	"bytes"
	"context"
	"encoding/base64"

	"lupa/schemas"
)

// cloudEventMember is the member of a view that holds the event's attributes.
const cloudEventMember = "cloudevent"

// cloudEventWant is what is wanted of an event in structured mode: its data and
// all attributes, for any may be an extension.
func cloudEventWant(paths *want) *want {
	all := everything()
	return &want{below: map[string]*want{"data": paths, "data_base64": all}, rest: all}
}

// cloudEvent is what an event in structured mode is made of.
type cloudEvent struct {
	data, base64 property
	contentType  property
	names        [][]byte
	// The attributes that an event must have, as text.
	version, id, source, typ bool
	attributes               []byte // as the members of a JSON object
}

// The media types of structured mode. Those of batches and of other encodings
// begin with the first one, too.
const (
	cloudEventType     = "application/cloudevents"
	cloudEventJSONType = "application/cloudevents+json"
)

// cloudEvent appends the view of a CloudEvent.
func (d *Decoder) cloudEvent(ctx context.Context, f Format, value document) (schemas.Reason, error) {
	h := &d.work.headers
	media := mediaType(h.contentType)
	structured := hasPrefixFold(media, cloudEventType)
	if !structured && h.attribute([]byte("specversion")) != nil {
		return d.binaryEvent(ctx, f, value)
	}
	isJSON := equalFold(media, cloudEventType) || equalFold(media, cloudEventJSONType)
	switch {
	case value.p == value.end:
		return schemas.EmptyMessage, nil
	case f.Encoding == FromRegistry && (!isJSON || d.hasSchema(value)):
		var reason schemas.Reason
		var err error
		if value, reason, err = d.registered(ctx, value, d.wants[CloudEvents]); reason != schemas.NoReason || err != nil {
			return reason, err
		}
		h.hasSchemaID = false // it was the envelope's
	case structured && !isJSON:
		return schemas.Malformed, nil
	}
	return d.structuredEvent(ctx, f, value)
}

// hasSchema reports whether a payload comes with the id of its schema.
func (d *Decoder) hasSchema(value document) bool {
	return d.work.headers.hasSchemaID || value.p < value.end && value.a[value.p] == magicID
}

// mediaType gives a content type without its parameters.
func mediaType(contentType []byte) []byte {
	media, _, _ := bytes.Cut(contentType, []byte(";"))
	return bytes.TrimSpace(media)
}

// isJSON tells JSON by its media type.
func isJSON(media []byte) bool {
	return equalFold(media, "application/json") || equalFold(media, "text/json") ||
		len(media) > 5 && equalFold(media[len(media)-5:], "+json")
}

func hasPrefixFold(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && equalFold(b[:len(prefix)], prefix)
}

// equalFold compares with lower-case text, ignoring ASCII case.
func equalFold(b []byte, lowered string) bool {
	if len(b) != len(lowered) {
		return false
	}
	for i, c := range b {
		if lower(c) != lowered[i] {
			return false
		}
	}
	return true
}

// binaryEvent appends the view of an event whose attributes are headers.
func (d *Decoder) binaryEvent(ctx context.Context, f Format, value document) (schemas.Reason, error) {
	h := &d.work.headers
	e := &d.work.event
	*e = cloudEvent{attributes: e.attributes[:0]}
	for i := range h.attributes {
		name, text := h.attributes[i].name, h.attributes[i].value
		if string(name) == "datacontenttype" && h.hasContentType {
			continue
		}
		e.note(name, text)
		e.attributes, _ = appendQuoted(e.attributes, name)
		e.attributes = append(e.attributes, ':')
		e.attributes, _ = appendQuoted(e.attributes, text)
		e.attributes = append(e.attributes, ',')
	}
	if h.hasContentType {
		e.attributes = append(e.attributes, `"datacontenttype":`...)
		e.attributes, _ = appendQuoted(e.attributes, h.contentType)
		e.attributes = append(e.attributes, ',')
	}
	if !e.complete() {
		return schemas.Malformed, nil
	}
	d.arena = append(d.arena, '{')
	if value.p < value.end {
		reason, err := d.eventData(ctx, f, value, h.contentType, h.hasContentType)
		if reason != schemas.NoReason || err != nil {
			return reason, err
		}
	}
	d.closeEvent()
	return schemas.NoReason, nil
}

// note marks an attribute that an event must have.
func (e *cloudEvent) note(name, text []byte) {
	switch string(name) {
	case "specversion":
		e.version = string(text) == "1.0"
	case "id":
		e.id = len(text) > 0
	case "source":
		e.source = len(text) > 0
	case "type":
		e.typ = len(text) > 0
	}
}

func (e *cloudEvent) complete() bool { return e.version && e.id && e.source && e.typ }

// closeEvent puts the attributes behind the data.
func (d *Decoder) closeEvent() {
	d.arena = append(d.arena, `"cloudevent":{`...)
	d.arena = append(d.arena, d.work.event.attributes...)
	d.arena[len(d.arena)-1] = '}' // for the comma behind the last
	d.arena = append(d.arena, '}')
}

// eventData appends the members of an event's data, when it is a JSON object or
// has a schema by which it is one.
func (d *Decoder) eventData(ctx context.Context, f Format, data document, contentType []byte, hasType bool) (schemas.Reason, error) {
	media := mediaType(contentType)
	isJSON := isJSON(media)
	switch {
	case f.Encoding == FromRegistry && d.hasSchema(data):
		var reason schemas.Reason
		var err error
		if data, reason, err = d.registered(ctx, data, d.wants[NoEnvelope]); reason != schemas.NoReason || err != nil {
			return reason, err
		}
	case f.Encoding == FromRegistry && !isJSON:
		return schemas.Malformed, nil
	case hasType && !isJSON:
		return schemas.NoReason, nil
	}
	return d.dataMembers(data), nil
}

// dataMembers appends the members of a JSON text that is an object.
func (d *Decoder) dataMembers(data document) schemas.Reason {
	p := skipSpace(data.a, data.p, data.end)
	if p < data.end && data.a[p] == '{' {
		return d.members(data.a, p, data.end, 0, cloudEventMember)
	}
	q, reason := valueEnd(data.a, p, data.end, 0, d.json.opts.MaxDepth)
	if reason != schemas.NoReason {
		return reason
	}
	return malformedUnless(skipSpace(data.a, q, data.end) == data.end)
}

// structuredEvent appends the view of an event that is one JSON object.
func (d *Decoder) structuredEvent(ctx context.Context, f Format, in document) (schemas.Reason, error) {
	if reason := d.readEvent(in); reason != schemas.NoReason {
		return reason, nil
	}
	e := &d.work.event
	if !e.complete() || e.data.begins != 0 && e.base64.begins != 0 {
		return schemas.Malformed, nil
	}
	d.arena = append(d.arena, '{')
	switch {
	case e.data.begins == '{':
		if reason := d.members(in.a, e.data.value, e.data.end, 1, cloudEventMember); reason != schemas.NoReason {
			return reason, nil
		}
	case e.base64.begins != 0:
		data, ok := d.decodeBase64(in.a, e.base64)
		if !ok {
			return schemas.Malformed, nil
		}
		var contentType []byte
		hasType := e.contentType.begins == '"'
		if hasType {
			contentType = unfoldText(in.a[e.contentType.value+1 : e.contentType.end-1])
		}
		if reason, err := d.eventData(ctx, f, data, contentType, hasType); reason != schemas.NoReason || err != nil {
			return reason, err
		}
	}
	d.closeEvent()
	return schemas.NoReason, nil
}

// decodeBase64 gives the bytes that a JSON string is in base64.
func (d *Decoder) decodeBase64(a []byte, m property) (document, bool) {
	if m.begins != '"' {
		return document{}, false
	}
	data, err := base64.StdEncoding.AppendDecode(d.work.inner[:0], unfoldText(a[m.value+1:m.end-1]))
	if err != nil {
		return document{}, false
	}
	var in document
	d.work.inner, in = withSlackBehind(data)
	return in, true
}

// unfoldText gives what stands between the quotes of a checked string without
// escapes.
func unfoldText(text []byte) []byte {
	if bytes.IndexByte(text, '\\') < 0 {
		return text
	}
	return unescape(nil, text)
}

// readEvent goes over an event in structured mode. A member may stand once, and
// an attribute is no object and no array.
func (d *Decoder) readEvent(in document) schemas.Reason {
	e, o := &d.work.event, &d.work.object
	*e = cloudEvent{attributes: e.attributes[:0], names: e.names[:0]}
	p := skipSpace(in.a, in.p, in.end)
	if p >= in.end || in.a[p] != '{' {
		return schemas.Malformed
	}
	o.open(in.a, p, in.end, 0, d.json.opts.MaxDepth)
	for {
		m, more, reason := o.next()
		switch {
		case reason != schemas.NoReason:
			return reason
		case !more:
			return malformedUnless(skipSpace(in.a, o.p, in.end) == in.end)
		case !e.add(in.a, m):
			return schemas.Malformed
		}
	}
}

func (e *cloudEvent) add(a []byte, m property) bool {
	for _, name := range e.names {
		if bytes.Equal(name, m.key) {
			return false
		}
	}
	if len(e.names) == mostAttributes {
		return false
	}
	if m.folded {
		m.key = bytes.Clone(m.key)
	}
	e.names = append(e.names, m.key)
	switch {
	case m.begins == 'n':
		return true
	case string(m.key) == "data":
		e.data = m
		return true
	case string(m.key) == "data_base64":
		e.base64 = m
		return true
	case m.begins == '{', m.begins == '[':
		return false
	case m.begins == '"':
		e.note(m.key, unfoldText(a[m.value+1:m.end-1]))
		if string(m.key) == "datacontenttype" {
			e.contentType = m
		}
	}
	e.attributes = append(e.attributes, a[m.from:m.end]...)
	e.attributes = append(e.attributes, ',')
	return true
}
