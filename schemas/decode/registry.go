package decode

import (
	"context"
	"errors"
	"fmt"
)

// SchemaType is the language of a schema.
type SchemaType uint8

// The schema types.
const (
	Avro SchemaType = iota + 1
	JSONSchema
	Protobuf
)

// Schema is a schema as the registry has it.
type Schema struct {
	Type SchemaType
	Text string
	// References are all schemas that Text refers to, directly or not.
	References []Reference
}

// Reference is a schema that another one refers to: by the name of an import
// in Protobuf, by the names that its text defines in Avro.
type Reference struct {
	Name string
	Text string
}

// Registry knows the schemas of messages. Decoders of several workers may ask
// it at once. While it cannot be reached it waits, until ctx ends. An error
// that wraps ErrUnknownSchema means that there is no such schema and the
// message is rejected; any other error ends Decode.
type Registry interface {
	ByID(ctx context.Context, id int32) (Schema, error)
	ByGUID(ctx context.Context, guid [16]byte) (Schema, error)
}

// ErrUnknownSchema is the error of a registry that has no such schema.
var ErrUnknownSchema = errors.New("unknown schema")

// mostSchemas is how many schemas a decoder keeps parsed.
const mostSchemas = 1000

// longestSchema is the length of the longest schema with all its references.
const longestSchema = 4 << 20

// schemaID names a schema by its id or by its GUID.
type schemaID struct {
	byGUID bool
	id     int32
	guid   [16]byte
}

// parsedSchema is a schema that messages can be read by.
type parsedSchema struct {
	typ   SchemaType
	avro  *avroSchema
	proto *protoSchema
}

// schemaCache keeps the schemas that were parsed last.
type schemaCache struct {
	registry Registry
	parsed   map[schemaID]*parsedSchema
	order    []schemaID // the oldest first
	// unknown are the ids that gave no schema in this batch. They are asked for
	// again in the next one, for a registry may learn.
	unknown map[schemaID]bool
}

func newSchemaCache(r Registry) schemaCache {
	return schemaCache{registry: r, parsed: map[schemaID]*parsedSchema{}, unknown: map[schemaID]bool{}}
}

// schema gives the schema of an id, nil for one that is unknown or cannot be
// understood.
func (c *schemaCache) schema(ctx context.Context, id schemaID) (*parsedSchema, error) {
	if s := c.parsed[id]; s != nil {
		return s, nil
	}
	if c.unknown[id] {
		return nil, nil
	}
	text, err := c.ask(ctx, id)
	if err != nil && !errors.Is(err, ErrUnknownSchema) {
		return nil, err
	}
	var s *parsedSchema
	if err == nil {
		s = parseSchema(ctx, text)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("decode: parse schema: %w", context.Cause(ctx))
	}
	if s == nil {
		c.unknown[id] = true
		return nil, nil
	}
	if len(c.order) == mostSchemas {
		delete(c.parsed, c.order[0])
		c.order = append(c.order[:0], c.order[1:]...)
	}
	c.parsed[id] = s
	c.order = append(c.order, id)
	return s, nil
}

func (c *schemaCache) ask(ctx context.Context, id schemaID) (Schema, error) {
	if id.byGUID {
		s, err := c.registry.ByGUID(ctx, id.guid)
		if err != nil {
			err = fmt.Errorf("decode: schema %x: %w", id.guid, err)
		}
		return s, err
	}
	s, err := c.registry.ByID(ctx, id.id)
	if err != nil {
		err = fmt.Errorf("decode: schema %d: %w", id.id, err)
	}
	return s, err
}

// parseSchema gives nil for a text that is no schema of its type.
func parseSchema(ctx context.Context, s Schema) *parsedSchema {
	length := len(s.Text)
	for _, r := range s.References {
		length += len(r.Text)
	}
	if length > longestSchema {
		return nil
	}
	p := &parsedSchema{typ: s.Type}
	switch s.Type {
	case Avro:
		if p.avro = parseAvro(s); p.avro == nil {
			return nil
		}
	case Protobuf:
		if p.proto = parseProto(ctx, s); p.proto == nil {
			return nil
		}
	case JSONSchema:
	default:
		return nil
	}
	return p
}
