//go:build integration

package registry

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/connectors/registry/registrytest"
)

// TestRealRegistry registers schemas of every kind, with references to
// references, and reads them back; then the registry goes away and comes back.
func TestRealRegistry(t *testing.T) {
	r := registrytest.Run(t)
	const (
		country = `{"type":"enum","name":"Country","namespace":"com.example","symbols":["FI","SE"]}`
		address = `{"type":"record","name":"Address","namespace":"com.example","fields":[{"name":"country","type":"com.example.Country"}]}`
		person  = `{"type":"record","name":"Person","namespace":"com.example","fields":[{"name":"address","type":"com.example.Address"},{"name":"born","type":["null","com.example.Country"]}]}`

		cityJSON    = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"string"}`
		visitorJSON = `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"city":{"$ref":"city.json"}}}`

		moneyProto = "syntax = \"proto3\";\npackage shop;\n\nmessage Money {\n  int64 cents = 1;\n}\n"
		itemProto  = "syntax = \"proto3\";\npackage shop;\n\nimport \"shop/money.proto\";\n\nmessage Item {\n  Money price = 1;\n}\n"
		orderProto = "syntax = \"proto3\";\npackage shop;\n\nimport \"shop/item.proto\";\nimport \"shop/money.proto\";\n\nmessage Order {\n  repeated Item items = 1;\n  Money total = 2;\n}\n"
	)
	ref := func(name, subject string) registrytest.Reference {
		return registrytest.Reference{Name: name, Subject: subject, Version: 1}
	}
	r.Register(t, "country", "AVRO", country)
	r.Register(t, "address & more/value", "AVRO", address, ref("com.example.Country", "country"))
	personID := r.Register(t, "person-value", "AVRO", person, ref("com.example.Address", "address & more/value"), ref("com.example.Country", "country"))
	r.Register(t, "city", "JSON", cityJSON)
	visitorID := r.Register(t, "visitor-value", "JSON", visitorJSON, ref("city.json", "city"))
	r.Register(t, "money", "PROTOBUF", moneyProto)
	r.Register(t, "item", "PROTOBUF", itemProto, ref("shop/money.proto", "money"))
	orderID := r.Register(t, "order-value", "PROTOBUF", orderProto, ref("shop/item.proto", "item"), ref("shop/money.proto", "money"))

	var log syncBuffer
	c := open(t, Options{URLs: []string{r.URL()}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, tc := range []struct {
		name string
		id   int32
		want Schema
	}{
		{"Avro", personID, Schema{Avro, person, []Reference{{"com.example.Country", country}, {"com.example.Address", address}}}},
		{"JSON Schema", visitorID, Schema{JSONSchema, visitorJSON, []Reference{{"city.json", cityJSON}}}},
		{"Protobuf", orderID, Schema{Protobuf, orderProto, []Reference{{"shop/money.proto", moneyProto}, {"shop/item.proto", itemProto}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := c.ByID(t.Context(), tc.id)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(canonical(tc.want), canonical(got)); diff != "" {
				t.Errorf("schema (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := c.ByID(t.Context(), 1<<30); !errors.Is(err, ErrUnknownSchema) {
		t.Errorf("error %v of an id that nobody registered", err)
	}

	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ByID(t.Context(), personID); err != nil {
		t.Errorf("a schema that was read before: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	got := make(chan error, 1)
	go func() {
		_, err := c.ByID(ctx, 1<<20) // not one of those that were read, whatever they got
		got <- err
	}()
	await(t, func() bool { return c.Stats().Stalls == 1 })
	select {
	case err := <-got:
		t.Fatalf("it did not wait for a registry that is away: %v", err)
	default:
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	// It has forgotten everything, and says so.
	if err := <-got; !errors.Is(err, ErrUnknownSchema) {
		t.Errorf("error %v of the registry that came back", err)
	}
	if text := log.String(); strings.Count(text, "level=WARN") < 1 || !strings.Contains(text, "schema registry answers again") {
		t.Errorf("the log tells of no outage and its end:\n%s", text)
	}
}

// canonical writes JSON texts in one way: a registry may keep their content and
// not their spaces.
func canonical(s Schema) Schema {
	text := func(t string) string {
		var v any
		if s.Type == Protobuf || json.Unmarshal([]byte(t), &v) != nil {
			return t
		}
		b, err := json.Marshal(v)
		if err != nil {
			return t
		}
		return string(b)
	}
	c := Schema{Type: s.Type, Text: text(s.Text)}
	for _, r := range s.References {
		c.References = append(c.References, Reference{Name: r.Name, Text: text(r.Text)})
	}
	return c
}
