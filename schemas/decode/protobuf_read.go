package decode

import (
	"bytes"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"lupa/schemas"
)

// protoReader reads a message in Protobuf's encoding and writes what is wanted
// of it as JSON. What is not wanted is passed over by its length.
type protoReader struct {
	schema   *protoSchema
	out      []byte
	slots    []protoSlot // of all messages that are open
	depth    int
	maxDepth int
}

// protoSlot is what a message had in a field: the last number, or the bytes.
type protoSlot struct {
	set   bool
	owned bool // bytes are a copy that may grow
	word  uint64
	bytes []byte
}

// appendJSON appends a message as a JSON text.
func (s *protoSchema) appendJSON(out, in []byte, indexes []int, w *want, maxDepth int, r *protoReader) ([]byte, schemas.Reason) {
	m := s.messageType(indexes)
	if m == nil {
		return out, schemas.Malformed
	}
	*r = protoReader{schema: s, out: out, slots: r.slots[:0], maxDepth: maxDepth}
	reason := r.message(s.node(m, w), in)
	out = r.out
	clear(r.slots[:cap(r.slots)]) // no message outlives its batch here
	r.out, r.schema = nil, nil
	return out, reason
}

// message writes the message that is the bytes in.
func (r *protoReader) message(n *protoNode, in []byte) schemas.Reason {
	if r.depth == r.maxDepth {
		return schemas.TooDeep
	}
	r.depth++
	base := len(r.slots)
	r.slots = extend(r.slots, base+n.slots)
	clear(r.slots[base:])
	reason := r.fill(n, base, in)
	if reason == schemas.NoReason {
		reason = r.write(n, base, in)
	}
	r.slots = r.slots[:base]
	r.depth--
	return reason
}

// fill reads the fields of a message into its slots.
func (r *protoReader) fill(n *protoNode, base int, in []byte) schemas.Reason {
	for len(in) > 0 {
		number, typ, k := protowire.ConsumeTag(in)
		if k < 0 {
			return schemas.Malformed
		}
		in = in[k:]
		if k = protowire.ConsumeFieldValue(number, typ, in); k < 0 {
			return schemas.Malformed
		}
		value := in[:k]
		in = in[k:]
		if f := n.fields.field(number); f != nil && !r.field(f, base, number, typ, value) {
			return schemas.Malformed
		}
	}
	return schemas.NoReason
}

// field takes one occurrence of a field, whose value is well-formed.
func (r *protoReader) field(f *protoField, base int, number protowire.Number, typ protowire.Type, value []byte) bool {
	packed := f.list && typ == protowire.BytesType
	if typ != f.wire && !packed {
		return false // the schema is not the one that the message was written by
	}
	for _, slot := range f.clears {
		r.slots[base+int(slot)] = protoSlot{}
	}
	if f.slot == none {
		return true
	}
	s := &r.slots[base+int(f.slot)]
	switch {
	case f.raw:
		s.bytes = append(protowire.AppendTag(s.bytes, number, typ), value...)
	case f.list, len(f.entries) > 0, f.keyKind != 0:
		s.set = true
		return f.list || r.entry(f, base, value)
	case typ == protowire.VarintType:
		s.word, _ = protowire.ConsumeVarint(value)
	case typ == protowire.Fixed32Type:
		word, _ := protowire.ConsumeFixed32(value)
		s.word = uint64(word)
	case typ == protowire.Fixed64Type:
		s.word, _ = protowire.ConsumeFixed64(value)
	case typ == protowire.StartGroupType:
		value, _ = protowire.ConsumeGroup(number, value)
		s.merge(value)
	case f.kind == protoreflect.MessageKind:
		value, _ = protowire.ConsumeBytes(value)
		s.merge(value)
	default:
		s.bytes, _ = protowire.ConsumeBytes(value)
	}
	s.set = true
	return true
}

// merge adds another part of a message: parts that follow one another are one
// message.
func (s *protoSlot) merge(part []byte) {
	if s.set && !s.owned {
		s.bytes, s.owned = bytes.Clone(s.bytes), true
	}
	if s.owned {
		s.bytes = append(s.bytes, part...)
		return
	}
	s.bytes = part
}

// entry keeps the entry of a map if its key is wanted.
func (r *protoReader) entry(f *protoField, base int, value []byte) bool {
	entry, _ := protowire.ConsumeBytes(value)
	var key protoSlot
	for in := entry; len(in) > 0; {
		number, typ, k := protowire.ConsumeTag(in)
		if k < 0 {
			return false
		}
		in = in[k:]
		if k = protowire.ConsumeFieldValue(number, typ, in); k < 0 {
			return false
		}
		if number == 1 {
			if typ != wireType(f.keyKind) {
				return false
			}
			key.word, key.bytes = keyOf(typ, in[:k])
		}
		in = in[k:]
	}
	var room [24]byte
	name := key.bytes
	if f.keyKind != protoreflect.StringKind {
		name = appendScalar(room[:0], f.keyKind, key.word)
	}
	for i := range f.entries {
		if e := &f.entries[i]; e.key == string(name) {
			r.slots[base+int(e.slot)] = protoSlot{set: true, bytes: entry}
		}
	}
	return true
}

func keyOf(typ protowire.Type, value []byte) (word uint64, text []byte) {
	switch typ {
	case protowire.VarintType:
		word, _ = protowire.ConsumeVarint(value)
	case protowire.Fixed32Type:
		w, _ := protowire.ConsumeFixed32(value)
		word = uint64(w)
	case protowire.Fixed64Type:
		word, _ = protowire.ConsumeFixed64(value)
	default:
		text, _ = protowire.ConsumeBytes(value)
	}
	return word, text
}

// write writes what the slots of a message hold.
func (r *protoReader) write(n *protoNode, base int, in []byte) schemas.Reason {
	switch n.form {
	case protoInstant:
		return r.instant(base)
	case protoWrapper:
		return r.emit(&n.emits[0], base)
	case protoAny:
		return r.any(n, base)
	case protoOwnTexts:
		return r.ownText(n, in)
	}
	r.out = append(r.out, '{')
	reason := r.emits(n.emits, base)
	r.out = append(r.out, '}')
	return reason
}

// emits writes members.
func (r *protoReader) emits(list []protoEmit, base int) schemas.Reason {
	from := len(r.out)
	for i := range list {
		e := &list[i]
		if r.absent(e, base) {
			continue
		}
		if len(r.out) > from {
			r.out = append(r.out, ',')
		}
		r.out = append(r.out, e.name...)
		if reason := r.emit(e, base); reason != schemas.NoReason {
			return reason
		}
	}
	return schemas.NoReason
}

// absent reports whether a field is not written: it is not there, or it is an
// empty text that may as well not be there. A zero that cannot be told from
// nothing is a zero, but nobody's identity: all who have none would be one.
func (r *protoReader) absent(e *protoEmit, base int) bool {
	s := &r.slots[base+int(e.slot)]
	switch {
	case e.list, e.isMap, e.presence:
		if s.set && e.enum != nil && e.enum.closed {
			return e.enum.names[protoreflect.EnumNumber(int32(s.word))] == nil
		}
		return !s.set
	case e.kind == protoreflect.StringKind, e.kind == protoreflect.BytesKind:
		return len(s.bytes) == 0
	}
	return e.identity && s.word == 0
}

// emit writes a value.
func (r *protoReader) emit(e *protoEmit, base int) schemas.Reason {
	s := &r.slots[base+int(e.slot)]
	switch {
	case e.whole:
		return r.whole(e.field, s.bytes)
	case e.list:
		r.out = append(r.out, "[]"...)
	case e.isMap:
		r.out = append(r.out, '{')
		reason := r.emits(e.entries, base)
		r.out = append(r.out, '}')
		return reason
	case e.below != nil:
		return r.message(e.below, s.bytes)
	case e.enum != nil:
		r.enum(e.enum, s.word)
	case e.kind == protoreflect.StringKind:
		var ok bool
		r.out, ok = appendQuoted(r.out, s.bytes)
		return malformedUnless(ok)
	case e.kind == protoreflect.BytesKind:
		r.out = appendBase64(r.out, s.bytes)
	default:
		r.out = appendScalar(r.out, e.kind, s.word)
	}
	return schemas.NoReason
}

func (r *protoReader) enum(e *protoEnum, word uint64) {
	number := protoreflect.EnumNumber(int32(word))
	if name := e.names[number]; name != nil {
		r.out = append(r.out, name...)
		return
	}
	r.out = strconv.AppendInt(r.out, int64(number), 10)
}

// appendScalar writes a number or boolean.
func appendScalar(dst []byte, k protoreflect.Kind, word uint64) []byte {
	switch k {
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, word != 0)
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		return strconv.AppendInt(dst, int64(int32(word)), 10)
	case protoreflect.Sint32Kind:
		return strconv.AppendInt(dst, int64(int32(protowire.DecodeZigZag(word&math.MaxUint32))), 10)
	case protoreflect.Int64Kind, protoreflect.Sfixed64Kind:
		return strconv.AppendInt(dst, int64(word), 10)
	case protoreflect.Sint64Kind:
		return strconv.AppendInt(dst, protowire.DecodeZigZag(word), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.AppendUint(dst, uint64(uint32(word)), 10)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(dst, word, 10)
	case protoreflect.FloatKind:
		return appendFloat(dst, float64(math.Float32frombits(uint32(word))), 32)
	}
	return appendFloat(dst, math.Float64frombits(word), 64)
}

// instant writes a google.protobuf.Timestamp.
func (r *protoReader) instant(base int) schemas.Reason {
	sec, nanos := int64(r.slots[base].word), int64(int32(r.slots[base+1].word))
	if nanos < 0 || nanos >= 1e9 {
		return schemas.Malformed
	}
	digits := 9
	for digits > 3 && nanos%1000 == 0 {
		nanos, digits = nanos/1000, digits-3
	}
	days, clock := floorDiv(sec, 86_400)
	r.out = appendDay(append(r.out, '"'), days)
	r.out = appendClock(append(r.out, 'T'), clock, nanos, digits)
	r.out = append(r.out, `Z"`...)
	return schemas.NoReason
}

// any writes the name of the message within, and its members if the schema
// knows it.
func (r *protoReader) any(n *protoNode, base int) schemas.Reason {
	url, value := r.slots[base].bytes, r.slots[base+1].bytes
	r.out = append(r.out, `{"@type":`...)
	var ok bool
	if r.out, ok = appendQuoted(r.out, url); !ok {
		return schemas.Malformed
	}
	name := protoreflect.FullName(url[bytes.LastIndexByte(url, '/')+1:])
	if m, err := r.schema.types.FindMessageByName(name); err == nil {
		below := r.schema.node(m.Descriptor(), n.want)
		if below.form == protoObject {
			r.out = append(r.out, ',')
			from := len(r.out)
			if reason := r.message(below, value); reason != schemas.NoReason {
				return reason
			}
			r.joined(from)
		}
	}
	r.out = append(r.out, '}')
	return schemas.NoReason
}

// joined makes members of the object that stands at from, behind a comma.
func (r *protoReader) joined(from int) {
	inner := r.out[from+1 : len(r.out)-1]
	if len(inner) == 0 {
		r.out = r.out[:from-1]
		return
	}
	copy(r.out[from:], inner)
	r.out = r.out[:from+len(inner)]
}

// whole writes a field of which in has all occurrences.
func (r *protoReader) whole(f protoreflect.FieldDescriptor, in []byte) schemas.Reason {
	m := dynamicpb.NewMessage(f.ContainingMessage())
	limits := proto.UnmarshalOptions{RecursionLimit: r.maxDepth, DiscardUnknown: true, AllowPartial: true}
	if limits.Unmarshal(in, m) != nil {
		return schemas.Malformed
	}
	text, err := protojson.MarshalOptions{AllowPartial: true, Resolver: r.schema.types}.Marshal(m)
	if err != nil {
		return schemas.Malformed
	}
	// It is the only member.
	_, doc := withSlackBehind(text)
	var o object
	o.open(doc.a, doc.p, doc.end, 0, math.MaxInt)
	p, more, reason := o.next()
	if reason == schemas.NoReason && !more {
		reason = schemas.Malformed
	}
	if reason == schemas.NoReason {
		r.out = append(r.out, doc.a[p.value:p.end]...)
	}
	return reason
}

// ownText writes a well-known type as the protobuf module does.
func (r *protoReader) ownText(n *protoNode, in []byte) schemas.Reason {
	m := n.make()
	limits := proto.UnmarshalOptions{RecursionLimit: r.maxDepth, DiscardUnknown: true}
	if limits.Unmarshal(in, m) != nil {
		return schemas.Malformed
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return schemas.Malformed
	}
	r.out = append(r.out, text...)
	return schemas.NoReason
}
