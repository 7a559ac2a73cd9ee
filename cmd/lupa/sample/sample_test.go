package sample_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"hash"
	"strings"
	"testing"
	"time"

	"lupa/cmd/lupa/sample"
	"lupa/pipeline"
	"lupa/schemas"
)

func newSample(t testing.TB, seed uint64) *sample.Sample {
	t.Helper()
	s, err := sample.New(seed)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Events()) != len(s.Expect()) {
		t.Fatalf("%d events and %d outcomes", len(s.Events()), len(s.Expect()))
	}
	return s
}

func digest(t *testing.T, seed uint64) [sha256.Size]byte {
	s := newSample(t, seed)
	h := sha256.New()
	for _, list := range [][]sample.Message{s.Events(), s.Ledger()} {
		for _, m := range list {
			writePart(h, m.Key)
			writePart(h, m.Value)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func writePart(h hash.Hash, part []byte) {
	h.Write([]byte{byte(len(part)), byte(len(part) >> 8), byte(len(part) >> 16)})
	h.Write(part)
}

func TestSeedDecidesEveryByte(t *testing.T) {
	first, again := digest(t, 1), digest(t, 1)
	if first != again {
		t.Error("one seed gives two samples")
	}
	if first == digest(t, 2) {
		t.Error("two seeds give one sample")
	}
}

// TestCounts checks that there is enough of everything that a run can meet.
func TestCounts(t *testing.T) {
	s := newSample(t, 1)
	people := map[int]bool{}
	reasons := map[schemas.Reason]int{}
	tables := map[string]int{}
	cells := map[string]int{} // table/reason
	verdicts := map[pipeline.Verdict]int{}
	nulled := 0
	for _, o := range s.Expect() {
		reasons[o.Reason]++
		if o.Reason.Rejects() {
			continue
		}
		people[o.Person] = true
		tables[o.Table]++
		verdicts[o.Verdict]++
		cells[o.Table+"/"+o.Reason.String()]++
		if o.Verdict == pipeline.KeepRow && !o.Granted.Has(schemas.Profiling) {
			nulled++
		}
	}
	if n := len(s.Events()); n < 20_000 {
		t.Errorf("%d events, want 20,000", n)
	}
	if len(people) != 2000 {
		t.Errorf("%d people, want 2,000", len(people))
	}
	for r := schemas.ConsentGiven; int(r) < schemas.NumReasons; r++ {
		// The events are plain JSON: they have no schema and no source table.
		bare := r != schemas.UnknownSchema && r != schemas.SourceDeleted
		if bare && reasons[r] == 0 {
			t.Errorf("no event ends as %s", r)
		}
	}
	for _, c := range schemas.DefaultContracts() {
		if tables[c.Table] < 500 {
			t.Errorf("%d events for %s", tables[c.Table], c.Table)
		}
		for r := schemas.ConsentGiven; r <= schemas.Erased; r++ {
			if r == schemas.RefusedInEvent && c.Purposes.Has(schemas.DirectMarketingEmail) {
				continue // no category of consent in events is about it
			}
			if cell := c.Table + "/" + r.String(); cells[cell] == 0 {
				t.Errorf("no event ends as %s", cell)
			}
		}
	}
	for _, v := range []pipeline.Verdict{pipeline.KeepRow, pipeline.MaskRow, pipeline.DropRow} {
		if verdicts[v] < 1000 {
			t.Errorf("%d events with verdict %d", verdicts[v], v)
		}
	}
	if nulled < 500 {
		t.Errorf("%d kept rows without profiling", nulled)
	}
	bad := 0
	for r, n := range reasons {
		if r.Rejects() {
			bad += n
		}
	}
	if share := float64(bad) / float64(len(s.Events())); share < 0.004 || share > 0.006 {
		t.Errorf("%.2f %% of the events are bad, want about 0.5", share*100)
	}
}

func TestVerdictsAreThoseOfTheContracts(t *testing.T) {
	denial := map[string]schemas.Denial{}
	for _, c := range schemas.DefaultContracts() {
		denial[c.Table] = c.OnDeny
	}
	for i, o := range newSample(t, 1).Expect() {
		want := pipeline.DropRow
		switch {
		case o.Reason == schemas.ConsentGiven:
			want = pipeline.KeepRow
		case o.Reason == schemas.Retained: // whatever the contract says
			want = pipeline.MaskRow
		case o.Reason.Denies() && o.Reason != schemas.Erased && denial[o.Table] == schemas.MaskRow:
			want = pipeline.MaskRow
		}
		if o.Verdict != want {
			t.Fatalf("event %d: verdict %d for %s in %s, want %d", i, o.Verdict, o.Reason, o.Table, want)
		}
	}
}

func TestEventsAreWhatTheirOutcomeSays(t *testing.T) {
	s := newSample(t, 1)
	tables := map[string]string{
		"identify": "identifies", "track": "tracks", "page": "pages", "screen": "screens", "group": "groups", "alias": "aliases",
	}
	ids := map[string]bool{}
	for i, m := range s.Events() {
		o := s.Expect()[i]
		if bytes.ContainsAny(m.Value, "\n\r") {
			t.Fatalf("event %d does not fit a line", i)
		}
		switch o.Reason {
		case schemas.Malformed:
			if json.Valid(m.Value) && bytes.Equal(m.Value, bytes.ToValidUTF8(m.Value, nil)) {
				t.Errorf("event %d is well-formed", i)
			}
			continue
		case schemas.EmptyMessage:
			if len(m.Value) != 0 {
				t.Errorf("event %d is not empty", i)
			}
			continue
		}
		if !json.Valid(m.Value) {
			t.Fatalf("event %d (%s) is not JSON", i, o.Reason)
		}
		if tooLarge := len(m.Value) > sample.MaxMessageBytes; tooLarge != (o.Reason == schemas.TooLarge) {
			t.Errorf("event %d has %d bytes and ends as %s", i, len(m.Value), o.Reason)
		}
		if o.Reason.Rejects() {
			continue
		}
		var e struct {
			Type, MessageID   string
			Timestamp         *time.Time
			OriginalTimestamp time.Time
			UserID, Anonymous any
		}
		if err := json.Unmarshal(m.Value, &e); err != nil {
			t.Fatalf("event %d does not have the types of the Segment spec", i)
		}
		if got := tables[strings.ToLower(e.Type)]; got != o.Table {
			t.Errorf("event %d is for %q, its outcome for %q", i, got, o.Table)
		}
		if ids[e.MessageID] {
			t.Errorf("event %d repeats a message id", i)
		}
		ids[e.MessageID] = true
		if at := e.OriginalTimestamp.Sub(sample.Base()); at < 0 || at > sample.Window {
			t.Errorf("event %d lies %s after the beginning", i, at)
		}
		if e.Timestamp != nil && !e.Timestamp.Equal(e.OriginalTimestamp) {
			t.Errorf("event %d has two times", i)
		}
	}
}

// TestLedger checks that everything in it can be read, but for what one story
// needs to be unreadable.
func TestLedger(t *testing.T) {
	s := newSample(t, 1)
	tombstones, unreadable, unknown := 0, 0, 0
	verbs := map[schemas.Verb]int{}
	versions := map[string]map[int64]int{}
	proven := map[bool]int{}
	for i, m := range s.Ledger() {
		key, err := schemas.ParseRecordKey(m.Key)
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if m.Value == nil {
			tombstones++
			continue
		}
		r, err := schemas.ParseRecord(m.Value)
		if err != nil {
			unreadable++
			continue
		}
		if r.Principal != key.Principal || r.Purpose != key.Purpose || r.Every != key.Every {
			t.Fatalf("record %d is not about what its key says", i)
		}
		verbs[r.Verb]++
		if r.Verb == schemas.Grant {
			proven[r.Proven]++
			if r.Purpose == schemas.NoPurpose {
				unknown++
			}
		}
		if versions[string(m.Key)] == nil {
			versions[string(m.Key)] = map[int64]int{}
		}
		versions[string(m.Key)][r.Version]++
	}
	if tombstones != 30 || unreadable != 10 || unknown != 20 {
		t.Errorf("%d tombstones, %d unreadable, %d of an unknown purpose; want 30, 10, 20", tombstones, unreadable, unknown)
	}
	for v := schemas.Grant; v <= schemas.Link; v++ {
		if verbs[v] == 0 {
			t.Errorf("nobody says %s", v)
		}
	}
	if proven[true] == 0 || proven[false] == 0 {
		t.Errorf("%d grants with evidence and %d without", proven[true], proven[false])
	}
	ties := 0
	for _, list := range versions {
		for _, n := range list {
			if n > 1 {
				ties++
			}
		}
	}
	if ties != 20 {
		t.Errorf("%d keys have two records of one version, want 20", ties)
	}
}

// TestSecretsAreInTheEvents keeps the list of what must not come out from
// going stale.
func TestSecretsAreInTheEvents(t *testing.T) {
	s := newSample(t, 1)
	var all bytes.Buffer
	for _, m := range s.Events() {
		all.Write(m.Value)
		all.WriteByte('\n')
	}
	found := s.SecretsIn(all.Bytes())
	if share := float64(len(found)) / float64(len(s.Secrets())); share < 0.8 {
		t.Errorf("%.0f %% of the secrets are in the events, want most", share*100)
	}
	first := s.Secrets()[0]
	if got := s.SecretsIn([]byte("x" + first + "y")); len(got) == 0 || got[0] != first {
		t.Error("a secret in the middle is not found")
	}
	if got := s.SecretsIn([]byte(first[:len(first)-1])); len(got) != 0 {
		t.Error("a part of a secret is found")
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		newSample(b, 1)
	}
}
