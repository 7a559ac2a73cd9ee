package decode

import "github.com/hamba/avro/v2"

// avroSchema is a schema with the programs that read its messages, one for each
// set of wanted members.
type avroSchema struct {
	schema   avro.Schema
	programs map[*want]*avroNode
}

// parseAvro gives nil for a text that is no Avro schema.
func parseAvro(s Schema) *avroSchema {
	cache := &avro.SchemaCache{}
	// References may stand in any order: those that others need are found when
	// the others are tried again.
	left := s.References
	for len(left) > 0 {
		var again []Reference
		for _, r := range left {
			if _, err := avro.ParseWithCache(r.Text, "", cache); err != nil {
				again = append(again, r)
			}
		}
		if len(again) == len(left) {
			return nil
		}
		left = again
	}
	schema, err := avro.ParseWithCache(s.Text, "", cache)
	if err != nil {
		return nil
	}
	return &avroSchema{schema: schema, programs: map[*want]*avroNode{}}
}

// program gives the program for what is wanted.
func (s *avroSchema) program(w *want) *avroNode {
	n := s.programs[w]
	if n == nil {
		c := avroCompiler{records: map[avroKey]*avroNode{}}
		n = c.node(s.schema, w)
		s.programs[w] = n
	}
	return n
}

// avroForm says how a value stands in a message.
type avroForm uint8

const (
	avroNull avroForm = iota
	avroBoolean
	avroInt
	avroLong
	avroFloat
	avroDouble
	avroText
	avroBytes
	avroFixed
	avroEnum
	avroRecord
	avroArray
	avroMap
	avroUnion
)

// avroMeaning says what an integer or bytes stand for.
type avroMeaning uint8

const (
	asIs avroMeaning = iota
	asDay
	asClock
	asInstant // UTC
	asLocal   // date and time without zone
	asDecimal
	asUUID
)

// avroNode reads one value and, if it is wanted, writes it as JSON.
type avroNode struct {
	form    avroForm
	meaning avroMeaning
	write   bool
	items   bool  // of an array: written, not only passed over
	size    int64 // of fixed
	scale   int   // of a decimal
	per     int64 // units of a time in a second
	digits  int   // of its fraction
	// names are the names of a record's fields with quotes and colon, empty for
	// those that are not wanted, or the symbols of an enum with quotes.
	names [][]byte
	// below are a record's fields, a union's branches, or what an array or map
	// holds where it is not wanted.
	below []*avroNode
	// keys are the wanted members of a map, rest is all others if they are.
	keys map[string]*avroNode
	rest *avroNode
}

// avroKey is a record as it is read for what is wanted of it.
type avroKey struct {
	record *avro.RecordSchema
	want   *want
}

// avroCompiler makes nodes; a record that holds itself is one node.
type avroCompiler struct{ records map[avroKey]*avroNode }

func (c *avroCompiler) node(s avro.Schema, w *want) *avroNode {
	n := &avroNode{write: w != nil}
	switch s := s.(type) {
	case *avro.RefSchema:
		return c.node(s.Schema(), w)
	case *avro.RecordSchema:
		return c.record(s, w)
	case *avro.UnionSchema:
		n.form = avroUnion
		for _, branch := range s.Types() {
			n.below = append(n.below, c.node(branch, w))
		}
	case *avro.ArraySchema:
		n.form = avroArray
		if w != nil && !w.whole {
			w = nil
		}
		n.items, n.below = w != nil, []*avroNode{c.node(s.Items(), w)}
	case *avro.MapSchema:
		n.form, n.below = avroMap, []*avroNode{c.node(s.Values(), nil)}
		c.mapKeys(n, s.Values(), w)
	case *avro.EnumSchema:
		n.form = avroEnum
		for _, symbol := range s.Symbols() {
			n.names = append(n.names, quoted(symbol))
		}
	case *avro.FixedSchema:
		n.form, n.size = avroFixed, int64(s.Size())
		n.bytesMeaning(s.Logical(), s.Prop)
	case *avro.PrimitiveSchema:
		n.primitive(s)
	}
	return n
}

func (c *avroCompiler) record(s *avro.RecordSchema, w *want) *avroNode {
	key := avroKey{s, w}
	if n := c.records[key]; n != nil {
		return n
	}
	n := &avroNode{form: avroRecord, write: w != nil}
	c.records[key] = n
	for _, f := range s.Fields() {
		below := w.member([]byte(f.Name()))
		var name []byte
		if below != nil {
			name = append(quoted(f.Name()), ':')
		}
		n.names = append(n.names, name)
		n.below = append(n.below, c.node(f.Type(), below))
	}
	return n
}

func (c *avroCompiler) mapKeys(n *avroNode, values avro.Schema, w *want) {
	if w == nil {
		return
	}
	n.keys = make(map[string]*avroNode, len(w.below))
	for name, below := range w.below {
		n.keys[name] = c.node(values, below)
	}
	if w.rest != nil {
		n.rest = c.node(values, w.rest)
	}
}

func (n *avroNode) primitive(s *avro.PrimitiveSchema) {
	switch s.Type() {
	case avro.Boolean:
		n.form = avroBoolean
	case avro.Int:
		n.form = avroInt
		n.timeMeaning(s)
	case avro.Long:
		n.form = avroLong
		n.timeMeaning(s)
	case avro.Float:
		n.form = avroFloat
	case avro.Double:
		n.form = avroDouble
	case avro.String:
		n.form = avroText
	case avro.Bytes:
		n.form = avroBytes
		n.bytesMeaning(s.Logical(), s.Prop)
	}
}

// timeMeaning finds out which time an integer is: by its logical type, or by
// the name under which Debezium's connectors know it.
func (n *avroNode) timeMeaning(s *avro.PrimitiveSchema) {
	name, _ := s.Prop("logicalType").(string)
	if l := s.Logical(); l != nil {
		name = string(l.Type())
	}
	if name == "" {
		name, _ = s.Prop("connect.name").(string)
	}
	switch n.form {
	case avroInt:
		switch name {
		case "date", "io.debezium.time.Date":
			n.meaning = asDay
		case "time-millis", "io.debezium.time.Time":
			n.time(asClock, 3)
		}
	case avroLong:
		switch name {
		case "time-micros", "io.debezium.time.MicroTime":
			n.time(asClock, 6)
		case "io.debezium.time.NanoTime":
			n.time(asClock, 9)
		case "timestamp-millis":
			n.time(asInstant, 3)
		case "timestamp-micros":
			n.time(asInstant, 6)
		case "timestamp-nanos":
			n.time(asInstant, 9)
		case "local-timestamp-millis", "io.debezium.time.Timestamp":
			n.time(asLocal, 3)
		case "local-timestamp-micros", "io.debezium.time.MicroTimestamp":
			n.time(asLocal, 6)
		case "local-timestamp-nanos", "io.debezium.time.NanoTimestamp":
			n.time(asLocal, 9)
		}
	}
}

func (n *avroNode) time(m avroMeaning, digits int) {
	n.meaning, n.digits, n.per = m, digits, 1
	for range digits {
		n.per *= 10
	}
}

func (n *avroNode) bytesMeaning(logical avro.LogicalSchema, prop func(string) any) {
	if d, ok := logical.(*avro.DecimalLogicalSchema); ok {
		n.meaning, n.scale = asDecimal, d.Scale()
	}
	if name, _ := prop("logicalType").(string); name == "uuid" && n.form == avroFixed && n.size == 16 {
		n.meaning = asUUID
	}
}
