package consent

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lupa/schemas"
)

// TestTimelineBytes: whatever a timeline holds is read as it was written.
func TestTimelineBytes(t *testing.T) {
	times := rapid.OneOf(
		rapid.Int64(),
		rapid.SampledFrom([]int64{beginning, 0, epoch - 1, epoch, epoch + 1, epoch + 1000, math.MaxInt64, math.MinInt64 + 1,
			epoch + 1_000_000*math.MaxUint32, epoch + 1_000_000*(math.MaxUint32+1), epoch + 1000*(1<<40-1), epoch + 1000*(1<<40+1)}),
		rapid.Map(rapid.Int64Range(0, 4e9), func(s int64) int64 { return s * 1_000_000 }),
		rapid.Map(rapid.Int64Range(0, 4e12), func(ms int64) int64 { return ms * 1000 }),
	)
	rapid.Check(t, func(rt *rapid.T) {
		var want Timeline
		for range rapid.IntRange(0, 20).Draw(rt, "entries") {
			e := Entry{
				Time: times.Draw(rt, "time"), Version: times.Draw(rt, "version"),
				Terms:   rapid.SampledFrom([]uint32{0, 1, 300, maxTerms}).Draw(rt, "terms"),
				Purpose: rapid.SampledFrom([]schemas.Purpose{0, 1, stats, 64, 70, 128, 191, restriction, birth, retention, brokenLink, brokenErasure}).Draw(rt, "scope"),
				Says:    schemas.Reason(rapid.Uint8Range(0, uint8(schemas.Erased)).Draw(rt, "says")),
			}
			if last := len(want) - 1; last >= 0 && rapid.Bool().Draw(rt, "near") {
				e.Time = want[last].Time + rapid.SampledFrom([]int64{0, 1, 1000, -1000, 999, near - 1000, near, -near, -near - 1000, 60_000_000}).Draw(rt, "after")
			}
			if rapid.Bool().Draw(rt, "ends") {
				e.Until = times.Draw(rt, "until")
			}
			if e.Purpose == retention {
				e.Fields = rapid.Uint16().Draw(rt, "fields")
			}
			want = append(want, e)
		}
		id := identity{vertex: rapid.SampledFrom([]int32{none, 0, 1, math.MaxInt32}).Draw(rt, "vertex"), shared: rapid.Bool().Draw(rt, "shared")}
		written := appendTimeline(appendIdentity(nil, id), want)
		gotID, rest := splitIdentity(written)
		got, ok := readTimeline(rest, nil)
		if gotID != id || !ok || !slices.Equal(got, want) {
			rt.Errorf("identity %v of %v, whole %t (-want +got):\n%s", gotID, id, ok, cmp.Diff(want, got))
		}
	})
}

// TestTimelineSize: three usual records take about 22 bytes, however exact their time
// is.
func TestTimelineSize(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123_000_000, time.UTC).UnixMicro()
	line := Timeline{
		{Time: at, Version: 1, Terms: 5, Purpose: email, Says: schemas.ConsentGiven},
		{Time: at + 60_000_000, Version: 2, Terms: 5, Purpose: stats, Says: schemas.ConsentGiven},
		{Time: at + 3600_000_000, Version: 3, Purpose: prof, Says: schemas.Objected},
	}
	if n := len(appendTimeline(nil, line)); n > 22 {
		t.Errorf("%d bytes, want 22 at most", n)
	}
}

// FuzzReadTimeline: what can be read is written as the same entries, and what
// cannot denies.
func FuzzReadTimeline(f *testing.F) {
	line := Timeline{{Time: epoch, Version: 1, Until: 5, Terms: 300, Purpose: email, Says: schemas.ConsentGiven},
		{Time: beginning, Version: -1, Fields: 9, Purpose: retention, Says: schemas.Retained}}
	whole := appendTimeline(nil, line)
	for n := range whole {
		f.Add(whole[:n])
	}
	f.Add(bytes.Repeat([]byte{0xff}, 30))
	f.Add([]byte{1, 0x31, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		line, ok := readTimeline(b, nil)
		if !ok {
			if d := Decide([]Line{{Timeline: line}}, Question{Need: schemas.Purposes(email), rules: &rules{}}); d.Reason != schemas.NoRecord {
				t.Errorf("what cannot be read makes it %s", d.Reason)
			}
			return
		}
		again, ok := readTimeline(appendTimeline(nil, line), nil)
		if !ok || !slices.Equal(line, again) {
			t.Errorf("reads as another timeline (-want +got):\n%s", cmp.Diff(line, again))
		}
	})
}
