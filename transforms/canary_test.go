package transforms

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/pipeline"
	"lupa/schemas"
)

// formsOf are the forms in which a raw value may turn up.
func formsOf(value string) [][]byte {
	reversed := []byte(value)
	slices.Reverse(reversed)
	forms := [][]byte{reversed, []byte(url.QueryEscape(value))}
	var wide []byte
	for _, c := range []byte(value) {
		wide = append(wide, c, 0)
	}
	forms = append(forms, wide)
	for _, v := range []string{value, strings.ToLower(value), strings.ToUpper(value)} {
		sha, md, s1 := sha256.Sum256([]byte(v)), md5.Sum([]byte(v)), sha1.Sum([]byte(v))
		for _, b := range [][]byte{[]byte(v), sha[:8], md[:8], s1[:8]} {
			forms = append(forms, b, []byte(hex.EncodeToString(b)), []byte(strings.ToUpper(hex.EncodeToString(b))))
		}
		// Whatever stands before it, one of three cuts of its base64 form shows.
		for skip := range 3 {
			whole := v[skip:]
			forms = append(forms, []byte(base64.RawURLEncoding.EncodeToString([]byte(whole[:len(whole)/3*3]))))
		}
	}
	return forms
}

// bytesOf is everything in the buffers of a record: values, offsets, and what
// stands behind the last value.
func bytesOf(record arrow.Record) []byte {
	var all []byte
	for _, column := range record.Columns() {
		for _, buffer := range column.Data().Buffers() {
			if buffer != nil {
				all = append(all, buffer.Buf()[:cap(buffer.Buf())]...)
				all = append(all, 0xff)
			}
		}
	}
	return append(all, record.Schema().String()...)
}

// canaries are values whose secret must not come out.
var canaries = map[schemas.Technique][]struct{ secret, value string }{
	schemas.Pseudonymize: {
		{"Canary-7f3a91c4", "Canary-7f3a91c4"},
		{"Canary-7f3a91c4", "Canary-7f3a91c4@Example.com"},
		{"0405550147", "+3580405550147"},
	},
	schemas.TruncateIP: {
		{"113.77", "203.0.113.77"},
		{"c0de:7f3a", "2001:db8:1:c0de:7f3a:91c4:1:2"},
		{"113.77", "::ffff:203.0.113.77"},
		{"canary7f3a", "fe80::1%canary7f3a"},
		{"Canary-7f3a91c4", "Canary-7f3a91c4"},
		{"113.77", "203.0.113.77, 198.51.100.1"},
	},
	schemas.EmailDomain: {
		{"Canary-7f3a91c4", "Canary-7f3a91c4@Example.com"},
		{"Canary-7f3a91c4", "Canary-7f3a91c4"},
		{"Canary-7f3a91c4", `"@Canary-7f3a91c4"@example.com`},
		{"Canary-7f3a91c4", "Jane <Canary-7f3a91c4@example.com>"},
		{"0405550147", "a@040.555.0147 0405550147"},
	},
	schemas.StripQuery: {
		{"Canary-7f3a91c4", "https://Canary-7f3a91c4:x@example.com/"},
		{"Canary-7f3a91c4", "https://example.com/?id=Canary-7f3a91c4&page=1"},
		{"Canary-7f3a91c4", "https://example.com/?page=1;id=Canary-7f3a91c4"},
		{"Canary-7f3a91c4", "https://example.com/#Canary-7f3a91c4"},
		{"Canary-7f3a91c4", "https://example.com/Canary-7f3a91c4%40example.com/a"},
		{"Canary-7f3a91c4", "https://example.com/?page=Canary-7f3a91c4@example.com"},
		{"Canary-7f3a91c4", "mailto:Canary-7f3a91c4@example.com"},
		{"Canary-7f3a91c4", "hello Canary-7f3a91c4"},
	},
	schemas.Drop: {{"Canary-7f3a91c4", "Canary-7f3a91c4"}},
}

// TestNothingOfAValueSurvives runs canaries through each technique that cannot
// be undone, and looks for them in every byte of the output. Keep is the proof
// that they would be found.
func TestNothingOfAValueSurvives(t *testing.T) {
	k := keyset(t)
	run := func(technique schemas.Technique, kind schemas.IdentifierKind, verdict pipeline.Verdict, value string) []byte {
		f := schemas.Field{Name: "f", Type: schemas.Text, Category: "system", Treatment: treat(technique)}
		if technique == schemas.StripQuery {
			f.Treatment.Allow = []string{"page"}
		}
		if kind != schemas.NoIdentifier {
			f.Category, f.Identifiers = "user.unique_id", []schemas.IdentifierKind{kind}
		}
		c := &schemas.Contract{Table: "t", Domain: "d", EventTime: -1, Fields: []schemas.Field{f}}
		raw := rawOf(t, memory.DefaultAllocator, c, map[string]any{"f": value}, map[string]any{"f": value})
		b := batchOf(c, raw, []pipeline.Verdict{verdict, verdict}, 0, 0)
		if err := stageOf(t, k, c).Apply(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		return bytesOf(b.Out)
	}
	for technique, values := range canaries {
		for _, v := range values {
			if out := run(schemas.Keep, schemas.NoIdentifier, pipeline.KeepRow, v.value); !bytes.Contains(out, []byte(v.secret)) {
				t.Fatalf("%s: the control shows no canary: nothing is tested", technique)
			}
			for kind := schemas.NoIdentifier; kind.String() != "" || kind == schemas.NoIdentifier; kind++ {
				for _, verdict := range []pipeline.Verdict{pipeline.KeepRow, pipeline.MaskRow} {
					out := run(technique, kind, verdict, v.value)
					for i, form := range formsOf(v.secret) {
						if bytes.Contains(out, form) {
							t.Errorf("%s as %q, verdict %d: form %d of a canary is in the output", technique, kind, verdict, i)
						}
					}
				}
			}
		}
	}
}

// TestMaskedAndDroppedRowsLeaveNothing: whatever the technique, also Keep, no
// value of a personal field of a row that is masked or dropped is in a buffer.
func TestMaskedAndDroppedRowsLeaveNothing(t *testing.T) {
	c := visits()
	row := map[string]any{}
	for i := range c.Fields {
		if c.Fields[i].Type == schemas.Text && !c.Fields[i].KeepMasked {
			row[c.Fields[i].Name] = fmt.Sprintf("https://example.com/Canary-%d-7f3a91c4", i)
		}
	}
	c.Fields[0].Treatment.Technique, c.Fields[0].Category = schemas.Keep, "system" // an identifier that the contract stores readable
	c.Fields[6].Treatment.Technique, c.Fields[6].Purposes = schemas.Keep, schemas.Purposes(schemas.Profiling)
	raw := rawOf(t, memory.DefaultAllocator, c, row, row, row)
	for _, test := range []struct {
		verdicts []pipeline.Verdict
		granted  schemas.PurposeSet
		shows    []string
	}{
		{[]pipeline.Verdict{mask, drop, mask}, schemas.AllPurposes, nil},
		{[]pipeline.Verdict{keep, drop, mask}, 0, []string{"Canary-0-", "Canary-5-"}},
		{[]pipeline.Verdict{keep, drop, mask}, schemas.AllPurposes, []string{"Canary-0-", "Canary-5-", "Canary-6-"}},
	} {
		s := stageOf(t, keyset(t), c) // with fresh buffers
		b := batchOf(c, raw, test.verdicts, test.granted, test.granted, test.granted)
		if err := s.Apply(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		out := string(bytesOf(b.Out))
		shows := []string(nil)
		for i := range c.Fields {
			name := fmt.Sprintf("Canary-%d-", i)
			switch n := strings.Count(out, name); n {
			case 0:
			case 1:
				shows = append(shows, name)
			default:
				t.Errorf("%s is there %d times, of one row", name, n)
			}
		}
		if !slices.Equal(shows, test.shows) {
			t.Errorf("verdicts %v, granted %v: the output holds %v, want %v", test.verdicts, test.granted, shows, test.shows)
		}
	}
}

// TestErrorsHoldNoValue: a batch that is refused names its place only.
func TestErrorsHoldNoValue(t *testing.T) {
	c := visits()
	b := batchOf(c, rawOf(t, memory.DefaultAllocator, c, map[string]any{"user_id": "Canary-7f3a91c4"}), []pipeline.Verdict{99}, 0)
	err := stageOf(t, keyset(t), c).Apply(context.Background(), b)
	if err == nil || strings.Contains(err.Error(), "Canary") {
		t.Error("no error, or one with a value")
	}
}
