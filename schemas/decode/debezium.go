package decode

import "lupa/schemas"

// debeziumMember is the member of a view that says where its row came from.
const debeziumMember = "debezium"

// debeziumWant is what is wanted of a change event.
func debeziumWant(paths *want) *want {
	all := everything()
	return &want{below: map[string]*want{
		"after": paths, "op": all, "ts_ms": all, "source": all,
		"payload": {below: map[string]*want{"after": paths, "op": all, "ts_ms": all, "source": all}},
	}}
}

// changeEvent is where the members of a change event stand that are read.
type changeEvent struct {
	op, after, source, time, payload property
}

// change appends the view of a change event: the members of the row as it is
// after the change, and where it came from.
func (d *Decoder) change(in document) schemas.Reason {
	c, reason := d.changeEvent(in)
	if reason != schemas.NoReason {
		return reason
	}
	a := in.a
	switch {
	case c.op.begins == 0 || c.op.begins == 'n':
		return schemas.Unrouted // of a schema or a transaction, not of a row
	case c.op.begins != '"' || c.op.end-c.op.value != 3:
		return schemas.Malformed
	}
	switch a[c.op.value+1] {
	case 'c', 'u', 'r':
	case 'd':
		return schemas.SourceDeleted
	case 't', 'm':
		return schemas.Unrouted
	default:
		return schemas.Malformed
	}
	d.arena = append(d.arena, '{')
	if reason := d.row(a, c.after); reason != schemas.NoReason {
		return reason
	}
	d.arena = append(d.arena, `"debezium":{"op":`...)
	d.arena = append(d.arena, a[c.op.value:c.op.end]...)
	d.arena = appendMember(d.arena, `,"ts_ms":`, a, c.time)
	d.arena = appendMember(d.arena, `,"source":`, a, c.source)
	d.arena = append(d.arena, "}}"...)
	return schemas.NoReason
}

func appendMember(dst []byte, name string, a []byte, m property) []byte {
	if m.begins == 0 {
		return dst
	}
	dst = append(dst, name...)
	return append(dst, a[m.value:m.end]...)
}

// row appends the members of a row, with a comma behind each. MongoDB's is the
// text of an object.
func (d *Decoder) row(a []byte, after property) schemas.Reason {
	switch after.begins {
	case '{':
		return d.members(a, after.value, after.end, 1, debeziumMember)
	case '"':
		var inner document
		text := unescape(d.work.inner[:0], a[after.value+1:after.end-1])
		d.work.inner, inner = withSlackBehind(text)
		p := skipSpace(inner.a, 0, inner.end)
		if p >= inner.end || inner.a[p] != '{' {
			return schemas.Malformed
		}
		return d.members(inner.a, p, inner.end, 0, debeziumMember)
	}
	return schemas.Malformed
}

// changeEvent finds the members of a change event, bare or beside its schema.
func (d *Decoder) changeEvent(in document) (c changeEvent, reason schemas.Reason) {
	p := skipSpace(in.a, in.p, in.end)
	if p >= in.end || in.a[p] != '{' {
		q, reason := valueEnd(in.a, p, in.end, 0, d.json.opts.MaxDepth)
		if reason == schemas.NoReason {
			if reason = malformedUnless(skipSpace(in.a, q, in.end) == in.end); reason == schemas.NoReason {
				reason = schemas.Unrouted
			}
		}
		return c, reason
	}
	p, reason = d.find(in, p, 0, &c)
	switch {
	case reason != schemas.NoReason:
		return c, reason
	case skipSpace(in.a, p, in.end) != in.end:
		return c, schemas.Malformed
	case c.op.begins != 0:
		return c, schemas.NoReason
	case c.payload.begins == 'n':
		return c, schemas.SourceDeleted
	case c.payload.begins != '{':
		return c, schemas.NoReason
	}
	payload := c.payload
	c = changeEvent{}
	_, reason = d.find(in, payload.value, 1, &c)
	return c, reason
}

// find fills c from the object at p. No member that is read may be there twice.
func (d *Decoder) find(in document, p, depth int, c *changeEvent) (int, schemas.Reason) {
	o := &d.work.object
	o.open(in.a, p, in.end, depth, d.json.opts.MaxDepth)
	for {
		m, more, reason := o.next()
		if reason != schemas.NoReason || !more {
			return o.p, reason
		}
		var slot *property
		switch string(m.key) {
		case "op":
			slot = &c.op
		case "after":
			slot = &c.after
		case "source":
			slot = &c.source
		case "ts_ms":
			slot = &c.time
		case "payload":
			slot = &c.payload
		default:
			continue
		}
		if slot.begins != 0 {
			return 0, schemas.Malformed
		}
		*slot = m
	}
}
