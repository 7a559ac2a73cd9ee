package decode

import (
	"bytes"

	"lupa/schemas"
)

// object goes over the members of a JSON object and checks the syntax of all
// that it passes.
type object struct {
	a        []byte
	p, end   int
	depth    int // how many objects and arrays are open, with this one
	maxDepth int
	begun    bool
	keyText  []byte
}

// property is a member of an object: its key without escapes, valid until the
// next one, where it stands with its key, and its value.
type property struct {
	key    []byte
	folded bool // the key had escapes
	from   int
	value  int
	end    int
	begins byte // the first byte of the value
}

// open begins at the brace at p; depth is how many are open before it.
func (o *object) open(a []byte, p, end, depth, maxDepth int) {
	*o = object{a: a, p: p + 1, end: end, depth: depth + 1, maxDepth: maxDepth, keyText: o.keyText}
}

// next gives the next member; more is false behind the last one, where o.p is
// behind the brace.
func (o *object) next() (m property, more bool, reason schemas.Reason) {
	a := o.a
	p := skipSpace(a, o.p, o.end)
	if p < o.end && a[p] == '}' {
		o.p = p + 1
		return m, false, schemas.NoReason
	}
	if o.begun {
		if p >= o.end || a[p] != ',' {
			return m, false, schemas.Malformed
		}
		p = skipSpace(a, p+1, o.end)
	}
	o.begun = true
	m.from = p
	var k kind
	if p, k, reason = keyEnd(a, p, o.end); reason != schemas.NoReason {
		return m, false, reason
	}
	m.key = a[m.from+1 : p-1]
	if k == escaped {
		o.keyText = unescape(o.keyText[:0], m.key)
		m.key, m.folded = o.keyText, true
	}
	if p = skipSpace(a, p, o.end); p >= o.end || a[p] != ':' {
		return m, false, schemas.Malformed
	}
	m.value = skipSpace(a, p+1, o.end)
	if o.p, reason = valueEnd(a, m.value, o.end, o.depth, o.maxDepth); reason != schemas.NoReason {
		return m, false, reason
	}
	m.end, m.begins = o.p, a[m.value]
	return m, true, schemas.NoReason
}

// keyEnd checks the string at p and gives the place behind it.
func keyEnd(a []byte, p, end int) (int, kind, schemas.Reason) {
	if p >= end || a[p] != '"' {
		return 0, absent, schemas.Malformed
	}
	q, k, ok := stringEnd(a, p+1, end)
	return q + 1, k, malformedUnless(ok)
}

// valueEnd checks the value at p, with depth objects and arrays around it, and
// gives the place behind it.
func valueEnd(a []byte, p, end, depth, maxDepth int) (int, schemas.Reason) {
	if p >= end {
		return 0, schemas.Malformed
	}
	switch c := a[p]; {
	case c == '"':
		q, _, reason := keyEnd(a, p, end)
		return q, reason
	case c == '{', c == '[':
		if depth == maxDepth {
			return 0, schemas.TooDeep
		}
		return nestedEnd(a, p, end, depth+1, maxDepth)
	case !beginsScalar(c):
		return 0, schemas.Malformed
	}
	q, _, ok := scalarEnd(a, p, end)
	return q, malformedUnless(ok)
}

// nestedEnd is valueEnd for an object or array, which is counted in depth.
func nestedEnd(a []byte, p, end, depth, maxDepth int) (int, schemas.Reason) {
	closing := a[p] + 2
	p = skipSpace(a, p+1, end)
	if p < end && a[p] == closing {
		return p + 1, schemas.NoReason
	}
	for {
		var reason schemas.Reason
		if closing == '}' {
			if p, _, reason = keyEnd(a, p, end); reason != schemas.NoReason {
				return 0, reason
			}
			if p = skipSpace(a, p, end); p >= end || a[p] != ':' {
				return 0, schemas.Malformed
			}
			p = skipSpace(a, p+1, end)
		}
		if p, reason = valueEnd(a, p, end, depth, maxDepth); reason != schemas.NoReason {
			return 0, reason
		}
		switch p = skipSpace(a, p, end); {
		case p < end && a[p] == closing:
			return p + 1, schemas.NoReason
		case p >= end || a[p] != ',':
			return 0, schemas.Malformed
		}
		p = skipSpace(a, p+1, end)
	}
}

// members appends the members of the object that is a[p:end], but for white
// space behind it, with a comma behind each. One of the name not is left out: it
// would pass for what is put there about the event.
//
// What is appended is all checked again as a part of the view: with a member
// behind it, the view is JSON only when the object is. So where no key can be
// the name, as none has it in its spelling and none is spelled with escapes for
// letters, it is copied as it is.
func (d *Decoder) members(a []byte, p, end, depth int, not string) schemas.Reason {
	text := bytes.TrimRight(a[p:end], " \t\r\n")
	if text[len(text)-1] != '}' || len(text) < 2 {
		return schemas.Malformed
	}
	if !bytes.Contains(text, []byte(not)) && !bytes.Contains(text, []byte(`\u`)) {
		if inner := bytes.TrimLeft(text[1:len(text)-1], " \t\r\n"); len(inner) > 0 {
			d.arena = append(append(d.arena, inner...), ',')
		}
		return schemas.NoReason
	}
	o := &d.work.object
	o.open(a, p, end, depth, d.json.opts.MaxDepth)
	for {
		m, more, reason := o.next()
		switch {
		case reason != schemas.NoReason:
			return reason
		case !more:
			return malformedUnless(skipSpace(a, o.p, end) == end)
		case string(m.key) == not:
			continue
		}
		d.arena = append(d.arena, a[m.from:m.end]...)
		d.arena = append(d.arena, ',')
	}
}
