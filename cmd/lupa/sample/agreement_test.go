package sample_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
	"lupa/pipeline/consent"
	"lupa/pipeline/consent/stamped"
	"lupa/schemas"
	"lupa/schemas/decode"
	"lupa/schemas/signals"
	"lupa/transforms/keys"
)

// TestOutcomesAgreeWithTheRooms decodes and decides every event in earnest and
// compares what becomes of it with the outcome that its story promises.
func TestOutcomesAgreeWithTheRooms(t *testing.T) {
	s := newSample(t, 3)
	arena, spans := arenaOf(s.Events())
	none := make([]int64, len(spans))
	for i := range none {
		none[i] = pipeline.NoTime
	}
	contracts := schemas.DefaultContracts()
	decoder, err := decode.NewJSON(contracts, decode.Options{MaxDepth: sample.MaxDepth, MaxMessageBytes: sample.MaxMessageBytes})
	if err != nil {
		t.Fatal(err)
	}
	rows, rejects, err := decoder.Decode(context.Background(), "", &schemas.Messages{Arena: arena, Values: spans, Times: none})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]sample.Outcome, len(spans))
	for _, r := range rejects {
		got[r.Message].Reason = r.Reason
		if r.Contract != schemas.NoContract {
			got[r.Message].Table = contracts[r.Contract].Table
		}
	}
	stage := newStage(t, s.Ledger())
	for c, table := range rows {
		if table.Record == nil {
			continue
		}
		b := &pipeline.Batch{Contract: contracts[c], Table: c, Raw: table.Record}
		for _, m := range table.Message {
			b.Offsets = append(b.Offsets, int64(m))
		}
		if err := stage.Apply(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		for row, m := range table.Message {
			got[m].Table = contracts[c].Table
			got[m].Reason, got[m].Verdict, got[m].Granted = b.Reasons[row], b.Verdicts[row], b.Granted[row]
		}
	}

	wrong := 0
	for i, want := range s.Expect() {
		g := got[i]
		named := schemas.PurposeSet(0)
		for _, c := range contracts {
			if c.Table == want.Table {
				named = c.FieldPurposes()
			}
		}
		if g.Table == want.Table && g.Reason == want.Reason && g.Verdict == want.Verdict && g.Granted == want.Granted&named {
			continue
		}
		if wrong++; wrong <= 20 {
			t.Errorf("event %d, %s: got %s %s %d (%s), want %s %s %d (%s)", i, want.Story,
				g.Table, g.Reason, g.Verdict, g.Granted, want.Table, want.Reason, want.Verdict, want.Granted&named)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d events end in another way", wrong, len(got))
	}
}

func newStage(t *testing.T, ledger []sample.Message) *consent.Stage {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lupa.keys")
	if err := keys.Init(file, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	keyset, err := keys.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := keyset.DomainWith(schemas.LedgerDomain, keys.Options{PhoneRegion: sample.DefaultRegion})
	if err != nil {
		t.Fatal(err)
	}
	narrow, err := stamped.New(func() (stamped.Signals, error) {
		return signals.NewReader(schemas.DefaultVocabulary(), signals.Options{})
	})
	if err != nil {
		t.Fatal(err)
	}
	view, err := consent.NewView(tokens, consent.Options{Narrow: narrow, Now: func() int64 { return time.Now().UnixMicro() }})
	if err != nil {
		t.Fatal(err)
	}
	var names, values [][]byte
	for _, m := range ledger {
		names, values = append(names, m.Key), append(values, m.Value)
	}
	if _, err := view.Apply(names, values); err != nil {
		t.Fatal(err)
	}
	return consent.NewStage(view, tokens)
}

// arenaOf lays the values one after the other.
func arenaOf(messages []sample.Message) (arena []byte, spans []schemas.Span) {
	for _, m := range messages {
		spans = append(spans, schemas.Span{Off: uint32(len(arena)), Len: uint32(len(m.Value))})
		arena = append(arena, m.Value...)
	}
	return append(arena, make([]byte, pipeline.ArenaSlack)...), spans
}
