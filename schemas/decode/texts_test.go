package decode

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hamba/avro/v2"

	"lupa/schemas"
)

// consentAvro is a record of the ledger in Avro.
const consentAvro = `{"type":"record","name":"Consent","fields":[
	{"name":"schema_version","type":"string"},{"name":"pii_principal_id","type":"string"},{"name":"purpose","type":["null","string"]},
	{"name":"event_state","type":"string"},{"name":"event_time","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"sequence","type":"long"},
	{"name":"privacy_notice","type":["null","string"]},{"name":"collection_method","type":["null","string"]},
	{"name":"storage_locations","type":{"type":"array","items":"string"}},
	{"name":"source","type":{"type":"record","name":"Source","fields":[{"name":"system","type":"string"}]}}]}`

// A ledger record in Avro is the record that its JSON text is.
func TestTextsOfLedgerRecords(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	in, err := avro.Marshal(avro.MustParse(consentAvro), map[string]any{
		"schema_version": "https://w3id.org/dpv/schema/dpv-27560#record", "pii_principal_id": "user_id:u-\u00fc", "purpose": map[string]any{"string": "analytics"},
		"event_state": "ConsentGiven", "event_time": at, "sequence": int64(1<<60 + 1), "privacy_notice": map[string]any{"string": "n-1"},
		"collection_method": map[string]any{"string": "web_form"}, "storage_locations": []string{"FI", "SE"}, "source": map[string]any{"system": "crm"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &fakeRegistry{ids: map[int32]Schema{1: {Type: Avro, Text: consentAvro}, 2: {Type: JSONSchema, Text: "{}"}}}
	texts, err := NewTexts(r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		text, reason, err := texts.Text(context.Background(), withID(1, in), nil)
		if err != nil || reason != schemas.NoReason {
			t.Fatal(reason, err)
		}
		got, err := schemas.ParseRecord(text)
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if !got.Proven || got.Purpose != schemas.Analytics || got.Version != 1<<60+1 || got.Time != at.UnixMicro() || got.Principal.Reveal() != "u-\u00fc" {
			t.Errorf("%+v", got)
		}
	}
	text, _, err := texts.Text(context.Background(), withID(2, []byte(`{"a":[1,{"b":2}]}`)), nil)
	if d := cmp.Diff(`{"a":[1,{"b":2}]}`, string(text)); d != "" || err != nil {
		t.Error(d, err)
	}
	for name, c := range map[string]struct {
		value []byte
		want  schemas.Reason
	}{
		"cut": {withID(1, in[:len(in)-1]), schemas.Malformed}, "more behind": {withID(1, append(in, 0)), schemas.Malformed}, "no schema": {withID(9, in), schemas.UnknownSchema},
		"bare": {[]byte(`{"a":1}`), schemas.Malformed}, "empty": {nil, schemas.EmptyMessage}, "too large": {make([]byte, 2<<20), schemas.TooLarge},
	} {
		if _, reason, err := texts.Text(context.Background(), c.value, nil); reason != c.want || err != nil {
			t.Errorf("%s: %v, %v", name, reason, err)
		}
	}
	if _, reason, err := texts.Text(context.Background(), withID(1, in), []byte{0xff}); reason != schemas.Malformed || err != nil {
		t.Error("headers that are none:", reason, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	down := &fakeRegistry{err: errors.New("down")}
	if texts, err = NewTexts(down, Options{}); err != nil {
		t.Fatal(err)
	}
	if _, reason, err := texts.Text(ctx, withID(1, in), nil); err == nil {
		t.Error("a registry that is down:", reason)
	}
}
