package registry

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
)

// mostReferences is how many schemas one may refer to, directly or not.
const mostReferences = 500

// resolve asks a server for a schema and all that it refers to.
func (c *Client) resolve(ctx context.Context, s *server, k key) (Schema, error) {
	a, err := c.fetch(ctx, s, k.path(), noSchema)
	if err != nil {
		return Schema{}, err
	}
	schema := Schema{Text: a.Schema}
	switch a.SchemaType {
	case "", "AVRO":
		schema.Type = Avro
	case "JSON":
		schema.Type = JSONSchema
	case "PROTOBUF":
		schema.Type = Protobuf
	default:
		return Schema{}, fmt.Errorf("%w: it is none of Avro, JSON Schema and Protobuf", ErrUnknownSchema)
	}
	r := resolver{client: c, server: s, typ: schema.Type, seen: map[reference]bool{}, texts: map[string]string{}, size: len(a.Schema)}
	if err := r.add(ctx, a.References); err != nil {
		return Schema{}, err
	}
	schema.References = r.list
	return schema, nil
}

// resolver collects what a schema refers to.
type resolver struct {
	client *Client
	server *server
	typ    SchemaType
	seen   map[reference]bool
	texts  map[string]string // by name
	size   int
	list   []Reference
}

// add adds the references, each after those of its own.
func (r *resolver) add(ctx context.Context, refs []reference) error {
	for _, ref := range refs {
		if r.seen[ref] {
			continue
		}
		if len(r.seen) == mostReferences {
			return fmt.Errorf("%w: it refers to more than %d others", ErrUnknownSchema, mostReferences)
		}
		r.seen[ref] = true
		if ref.Version < 1 {
			return fmt.Errorf("%w: it refers to no fixed version of another", ErrUnknownSchema)
		}
		// A version that was deleted is still what was referred to.
		path := "/subjects/" + url.PathEscape(ref.Subject) + "/versions/" + strconv.FormatInt(ref.Version, 10) + "?deleted=true"
		a, err := r.client.fetch(ctx, r.server, path, noSubject, noVersion, noSchema)
		if err != nil {
			return fmt.Errorf("a schema that it refers to: %w", err)
		}
		if r.size += len(ref.Name) + len(a.Schema); r.size > mostBytes {
			return fmt.Errorf("%w: with all that it refers to it has more than %d bytes", ErrUnknownSchema, mostBytes)
		}
		if err := r.add(ctx, a.References); err != nil {
			return err
		}
		text, taken := r.texts[ref.Name]
		if taken && text == a.Schema {
			continue
		}
		// To choose one of two would be a guess. Names in JSON Schema are
		// relative to where they stand.
		if taken && r.typ != JSONSchema {
			return fmt.Errorf("%w: it refers to two others by one name", ErrUnknownSchema)
		}
		r.texts[ref.Name] = a.Schema
		r.list = append(r.list, Reference{Name: ref.Name, Text: a.Schema})
	}
	return nil
}
