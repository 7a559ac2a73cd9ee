package transforms

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
)

// A duty keeps the fields that it names, treated as in a kept row, and nothing
// else of what a masked row does not have; rows beside it are not touched.
func TestStageRetains(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	c, k := visits(), keyset(t)
	at := time.Date(2026, 3, 1, 12, 30, 15, 0, time.UTC)
	full := map[string]any{
		"email": "jane@example.com", "user_id": "u-1", "event": "bought", "ip": "203.0.113.77", "at": at, "price": 1.5, "size": 7, "secret": "hunter2",
	}
	raw := rawOf(t, mem, c, full, full, full, full)
	defer raw.Release()
	fields := func(names ...string) []bool {
		named := make([]bool, len(c.Fields))
		for i := range c.Fields {
			named[i] = slices.Contains(names, c.Fields[i].Name)
		}
		return named
	}
	b := batchOf(c, raw, []pipeline.Verdict{mask, mask, keep, mask}, 0, 0, schemas.Purposes(schemas.Analytics), 0)
	b.Duties = []pipeline.Duty{{Row: 1, Fields: fields("price", "at", "secret")}, {Row: 3, Fields: fields("user_id", "email", "ip")}}
	s := stageOf(t, k, c)
	d, err := k.Domain("warehouse")
	if err != nil {
		t.Fatal(err)
	}
	user, mail := d.Token(schemas.UserID, []byte("u-1")), d.Token(schemas.Email, []byte("jane@example.com"))
	midnight := at.Truncate(24 * time.Hour)
	want := []map[string]any{
		{"event": "bought", "at": midnight, "size": 7},
		{"event": "bought", "at": at, "size": 7, "price": 1.5},
		{"subject_token": user, "user_id": user, "event": "bought", "ip": "203.0.113.0", "at": at, "price": 1.5, "size": 7},
		{"event": "bought", "at": midnight, "size": 7, "user_id": user, "email": mail, "ip": "203.0.113.0"},
	}
	for range 2 { // also on buffers that were used before
		if err := s.Apply(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, rowsOf(b.Out)); diff != "" {
			t.Error(diff)
		}
	}
	for name, duties := range map[string][]pipeline.Duty{
		"a kept row": {{Row: 2, Fields: fields()}}, "no such row": {{Row: 4, Fields: fields()}},
		"other fields": {{Row: 1}}, "out of order": {{Row: 3, Fields: fields()}, {Row: 1, Fields: fields()}},
	} {
		b.Duties = duties
		if err := s.Apply(context.Background(), b); err == nil || b.Out != nil {
			t.Errorf("%s: passes", name)
		}
	}
}
