package decode

import (
	"context"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/parser"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// mainFile is the name under which a schema is compiled. References have names
// that end in .proto.
const mainFile = "the schema"

// protoSchema is a file of message types with the programs that read them.
type protoSchema struct {
	file     protoreflect.FileDescriptor
	types    linker.Resolver // with those of the files that it imports
	programs map[protoKey]*protoNode
}

// protoKey is a message type as it is read for what is wanted of it.
type protoKey struct {
	message protoreflect.FullName
	want    *want
}

// parseProto gives nil for a text that is no Protobuf schema.
func parseProto(ctx context.Context, s Schema) *protoSchema {
	sources := protoSources{mainFile: s.Text}
	for _, r := range s.References {
		sources[r.Name] = r.Text
	}
	silent := reporter.NewReporter(func(err reporter.ErrorWithPos) error { return err }, func(reporter.ErrorWithPos) {})
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(sources), MaxParallelism: 1, Reporter: silent}
	files, err := c.Compile(ctx, mainFile)
	if err != nil || len(files) != 1 {
		return nil
	}
	return &protoSchema{file: files[0], types: linker.ResolverFromFile(files[0]), programs: map[protoKey]*protoNode{}}
}

// protoSources are the texts of files by their names.
type protoSources map[string]string

// FindFileByPath parses a file. Options that extensions define change nothing
// about how a message is read; without them, the files that define them need not
// be there.
func (s protoSources) FindFileByPath(path string) (protocompile.SearchResult, error) {
	text, ok := s[path]
	if !ok {
		if text, ok = wellKnownProto(path); !ok {
			return protocompile.SearchResult{}, protoregistry.NotFound
		}
	}
	h := reporter.NewHandler(reporter.NewReporter(func(err reporter.ErrorWithPos) error { return err }, nil))
	file, err := parser.Parse(path, strings.NewReader(text), h)
	if err != nil {
		return protocompile.SearchResult{}, err
	}
	result, err := parser.ResultFromAST(file, true, h)
	if err != nil {
		return protocompile.SearchResult{}, err
	}
	d := result.FileDescriptorProto()
	dropOptions(d.ProtoReflect())
	return protocompile.SearchResult{Proto: d}, nil
}

// messageType finds the message type that indexes lead to. Entries of maps are
// message types that no text names, and are not counted.
func (s *protoSchema) messageType(indexes []int) protoreflect.MessageDescriptor {
	types := s.file.Messages()
	var found protoreflect.MessageDescriptor
	for _, index := range indexes {
		found = nil
		for i := range types.Len() {
			if m := types.Get(i); !m.IsMapEntry() {
				if index == 0 {
					found = m
					break
				}
				index--
			}
		}
		if found == nil {
			return nil
		}
		types = found.Messages()
	}
	return found
}

// protoForm says how a message type is written.
type protoForm uint8

const (
	protoObject   protoForm = iota // an object of its fields
	protoInstant                   // google.protobuf.Timestamp
	protoWrapper                   // the value of its only field
	protoAny                       // the members of the message within
	protoOwnTexts                  // as the protobuf module writes it
)

// protoNode reads a message of one type and writes what is wanted of it.
type protoNode struct {
	form   protoForm
	slots  int
	fields protoFields
	emits  []protoEmit
	want   *want
	make   func() proto.Message // of protoOwnTexts
}

// protoFields are fields by their numbers: low ones in a list, for they are the
// usual ones and a map costs more than all else that is done with most.
type protoFields struct {
	low  []*protoField
	high map[protowire.Number]*protoField
}

const lowNumbers = 64

func (l *protoFields) field(n protowire.Number) *protoField {
	if int(n) < len(l.low) {
		return l.low[n]
	}
	return l.high[n]
}

func (l *protoFields) set(n protowire.Number, f *protoField) {
	if n >= lowNumbers {
		if l.high == nil {
			l.high = map[protowire.Number]*protoField{}
		}
		l.high[n] = f
		return
	}
	if l.low == nil {
		l.low = make([]*protoField, lowNumbers)
	}
	l.low[n] = f
}

// protoField is a field that is looked at.
type protoField struct {
	kind protoreflect.Kind
	wire protowire.Type
	list bool
	raw  bool  // kept as it is, with its tags
	slot int32 // none if only its siblings are wanted
	// clears are the slots of the other fields of its oneof.
	clears []int32
	// entries are the wanted keys of a map; slot then tells that it has any.
	entries []protoEntry
	keyKind protoreflect.Kind
}

// protoEntry is a wanted key of a map; its slot holds the entry.
type protoEntry struct {
	key  string
	slot int32
}

// protoEmit writes a slot as a member.
type protoEmit struct {
	name     []byte // with quotes and colon
	slot     int32
	field    protoreflect.FieldDescriptor
	kind     protoreflect.Kind
	presence bool // absent is not the same as zero
	identity bool // of an identity field
	list     bool
	isMap    bool
	whole    bool        // with all that is in it, as the protobuf module writes it
	entries  []protoEmit // of a map
	// below reads the message that the field holds; for an entry of a map, the
	// entry.
	below *protoNode
	enum  *protoEnum
}

// protoEnum are the names of an enum, with quotes.
type protoEnum struct {
	names  map[protoreflect.EnumNumber][]byte
	closed bool
}

// node makes the program of a message type.
func (s *protoSchema) node(m protoreflect.MessageDescriptor, w *want) *protoNode {
	key := protoKey{m.FullName(), w}
	if n := s.programs[key]; n != nil {
		return n
	}
	n := &protoNode{want: w}
	s.programs[key] = n
	if s.wellKnown(n, m) {
		return n
	}
	for i := range m.Fields().Len() {
		f, whole := m.Fields().Get(i), false
		for _, name := range names(f) {
			below := w.member([]byte(name))
			whole = whole || below != nil && below.whole
		}
		for _, name := range names(f) {
			switch below := w.member([]byte(name)); {
			case below == nil:
			case whole && (f.IsList() || f.IsMap() || f.Message() != nil):
				s.emitWhole(n, f, name)
			default:
				s.emit(n, f, name, below)
			}
		}
	}
	n.oneofs(m)
	return n
}

// names are those under which a contract may list a field: the one in the
// schema, and the one that the JSON of Protobuf has.
func names(f protoreflect.FieldDescriptor) []string {
	if f.JSONName() == string(f.Name()) {
		return []string{f.JSONName()}
	}
	return []string{string(f.Name()), f.JSONName()}
}

// wellKnown makes the node of a type that has a form of its own in JSON.
func (s *protoSchema) wellKnown(n *protoNode, m protoreflect.MessageDescriptor) bool {
	if m.FullName().Parent() != "google.protobuf" {
		return false
	}
	switch m.Name() {
	case "Timestamp":
		n.form = protoInstant
		s.lookAt(n, m.Fields().ByNumber(1))
		s.lookAt(n, m.Fields().ByNumber(2))
	case "Any":
		n.form = protoAny
		s.lookAt(n, m.Fields().ByNumber(1))
		s.lookAt(n, m.Fields().ByNumber(2))
	case "DoubleValue", "FloatValue", "Int64Value", "UInt64Value", "Int32Value", "UInt32Value", "BoolValue", "StringValue", "BytesValue":
		n.form = protoWrapper
		s.emit(n, m.Fields().ByNumber(1), "value", n.want)
	case "Duration":
		n.form, n.make = protoOwnTexts, func() proto.Message { return &durationpb.Duration{} }
	case "FieldMask":
		n.form, n.make = protoOwnTexts, func() proto.Message { return &fieldmaskpb.FieldMask{} }
	case "Struct":
		n.form, n.make = protoOwnTexts, func() proto.Message { return &structpb.Struct{} }
	case "Value":
		n.form, n.make = protoOwnTexts, func() proto.Message { return &structpb.Value{} }
	case "ListValue":
		n.form, n.make = protoOwnTexts, func() proto.Message { return &structpb.ListValue{} }
	default:
		return false
	}
	return true
}

// lookAt gives a field its slot.
func (s *protoSchema) lookAt(n *protoNode, f protoreflect.FieldDescriptor) *protoField {
	if p := n.fields.field(f.Number()); p != nil && p.slot != none {
		return p
	}
	p := &protoField{kind: f.Kind(), wire: wireType(f.Kind()), list: f.IsList(), slot: int32(n.slots)}
	n.slots++
	n.fields.set(f.Number(), p)
	return p
}

// emit plans a field to be written under a name.
func (s *protoSchema) emit(n *protoNode, f protoreflect.FieldDescriptor, name string, below *want) {
	p := s.lookAt(n, f)
	e := protoEmit{
		name: append(quoted(name), ':'), slot: p.slot, field: f,
		kind: f.Kind(), presence: f.HasPresence(), identity: below != nil && below.identity, list: f.IsList(), isMap: f.IsMap(),
	}
	switch {
	case e.list:
	case e.isMap:
		s.emitMap(n, p, &e, below)
	case f.Message() != nil:
		e.below = s.node(f.Message(), below)
	case f.Enum() != nil:
		e.enum = enumNames(f.Enum())
	}
	n.emits = append(n.emits, e)
}

// emitWhole plans a field with all that is in it, lists too.
func (s *protoSchema) emitWhole(n *protoNode, f protoreflect.FieldDescriptor, name string) {
	p := s.lookAt(n, f)
	p.raw = true
	n.emits = append(n.emits, protoEmit{
		name: append(quoted(name), ':'), slot: p.slot, field: f, kind: f.Kind(), presence: true, whole: true,
	})
}

// emitMap plans the wanted keys of a map.
func (s *protoSchema) emitMap(n *protoNode, p *protoField, e *protoEmit, w *want) {
	p.keyKind = e.field.MapKey().Kind()
	for key, below := range w.below {
		entry := &protoNode{form: protoWrapper}
		s.emit(entry, e.field.MapValue(), "value", below)
		entry.emits[0].presence = false // an entry without value has the zero value
		p.entries = append(p.entries, protoEntry{key: key, slot: int32(n.slots)})
		e.entries = append(e.entries, protoEmit{name: append(quoted(key), ':'), slot: int32(n.slots), below: entry, kind: protoreflect.MessageKind, presence: true})
		n.slots++
	}
}

// oneofs makes the fields of each oneof with a wanted field clear one another:
// the last one in a message counts.
func (n *protoNode) oneofs(m protoreflect.MessageDescriptor) {
	for i := range m.Oneofs().Len() {
		fields := m.Oneofs().Get(i).Fields()
		var slots []int32
		for j := range fields.Len() {
			if p := n.fields.field(fields.Get(j).Number()); p != nil {
				slots = append(slots, p.slot)
			}
		}
		for j := range fields.Len() {
			f := fields.Get(j)
			if len(slots) == 0 {
				break
			}
			p := n.fields.field(f.Number())
			if p == nil {
				p = &protoField{kind: f.Kind(), wire: wireType(f.Kind()), slot: none}
				n.fields.set(f.Number(), p)
			}
			for _, slot := range slots {
				if slot != p.slot {
					p.clears = append(p.clears, slot)
				}
			}
		}
	}
}

func enumNames(e protoreflect.EnumDescriptor) *protoEnum {
	p := &protoEnum{names: map[protoreflect.EnumNumber][]byte{}, closed: e.IsClosed()}
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		if _, ok := p.names[v.Number()]; !ok {
			p.names[v.Number()] = quoted(string(v.Name()))
		}
	}
	return p
}

func wireType(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	}
	return protowire.VarintType
}
