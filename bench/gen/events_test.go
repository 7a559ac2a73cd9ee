package gen

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var small = Options{Seed: 1, Events: 20_000, Subjects: 100_000, Files: 1}

// TestEvents reads every event back with the standard library and checks what
// the cases and the README say of the data.
func TestEvents(t *testing.T) {
	s := NewStream(small, 0)
	var buf []byte
	var size, kept, anonymous, v6, known int
	var kinds [numKinds]int
	days := map[string]int{}
	for {
		var err error
		if buf, err = s.Append(buf[:0]); err == io.EOF {
			break
		}
		size += len(buf)
		kinds[s.Kind]++
		var e struct {
			Type, UserID, AnonymousID, MessageID string
			Timestamp, SentAt, ReceivedAt        time.Time
			Context                              struct {
				IP     string
				Traits struct{ Email, Phone string }
			}
		}
		if err := json.Unmarshal(buf, &e); err != nil {
			t.Fatalf("event %d is no JSON: %v", s.next-1, err)
		}
		if want := []string{"track", "page", "identify", "screen", "group", "alias"}[s.Kind]; e.Type != want {
			t.Fatalf("event %d is a %s, the stream says %s", s.next-1, e.Type, want)
		}
		if e.MessageID == "" || e.UserID == "" && e.AnonymousID == "" {
			t.Fatalf("event %d lacks an id", s.next-1)
		}
		if e.ReceivedAt.Before(e.Timestamp) || e.ReceivedAt.Before(e.SentAt) {
			t.Fatalf("event %d was received before it was sent or happened", s.next-1)
		}
		if end := FirstDay.AddDate(0, 0, Days); e.Timestamp.Before(FirstDay) || !e.Timestamp.Before(end) {
			t.Fatalf("event %d is not within the days", s.next-1)
		}
		days[e.Timestamp.Format(time.DateOnly)]++
		if s.Subject.Anonymous {
			anonymous++
			if e.UserID != "" || e.Context.Traits.Email != "" {
				t.Fatalf("event %d of an anonymous subject names it", s.next-1)
			}
		}
		if e.Context.Traits.Email != "" {
			known++
		}
		if bytes.IndexByte([]byte(e.Context.IP), ':') >= 0 {
			v6++
		}
		if s.Subject.Choice == Granted {
			kept++
		}
	}
	if s.next != small.Events {
		t.Fatalf("%d events, want %d", s.next, small.Events)
	}
	share := func(what string, n int, low, high float64) {
		if got := float64(n) / float64(small.Events); got < low || got > high {
			t.Errorf("share of %s is %.3f, want %.3f to %.3f", what, got, low, high)
		}
	}
	share("bytes an event", size, 560, 640)
	share("tracks", kinds[Track], 0.53, 0.57)
	share("pages", kinds[Page], 0.29, 0.33)
	share("identifies", kinds[Identify], 0.055, 0.08)
	share("screens", kinds[Screen], 0.04, 0.06)
	share("groups", kinds[Group], 0.012, 0.025)
	share("aliases", kinds[Alias], 0.005, 0.015)
	share("granted", kept, 0.77, 0.84)
	share("anonymous", anonymous, 0.07, 0.13)
	share("with an e-mail in the context", known, 0.2, 0.4)
	share("IPv6", v6, 0.05, 0.25)
	if len(days) != Days {
		t.Errorf("events on %d days, want %d", len(days), Days)
	}
	t.Logf("%.0f bytes an event, %.3f granted, kinds %v", float64(size)/float64(small.Events), float64(kept)/float64(small.Events), kinds)
}

func TestSubjectsAreDistinct(t *testing.T) {
	seen := map[string]int{}
	add := func(rank int, id []byte) {
		if other, ok := seen[string(id)]; ok {
			t.Fatalf("subjects %d and %d share an identifier", other, rank)
		}
		seen[string(id)] = rank
	}
	for rank := range 20_000 {
		s := NewSubject(1, rank)
		add(rank, s.AppendUserID(nil))
		add(rank, s.AppendAnonymousID(nil))
		add(rank, s.AppendEmail(nil))
		add(rank, s.AppendPhone(nil))
	}
}

func TestSubjectShares(t *testing.T) {
	const n = 100_000
	var got [numChoices]float64
	for rank := range n {
		got[NewSubject(1, rank).Choice] += 1.0 / n
	}
	for c, want := range choiceShares {
		if math.Abs(got[c]-want) > 0.002 {
			t.Errorf("choice %d has share %.4f, want %.4f", c, got[c], want)
		}
	}
}

func TestSameOptionsSameBytes(t *testing.T) {
	all := func(o Options) string {
		var b []byte
		for file := range o.Files {
			s := NewStream(o, file)
			for err := error(nil); err == nil; {
				b, err = s.Append(b)
			}
		}
		return string(b)
	}
	o := Options{Seed: 7, Events: 500, Subjects: 100, Files: 3}
	if diff := cmp.Diff(all(o), all(o)); diff != "" {
		t.Errorf("two runs differ:\n%s", diff)
	}
	other := o
	other.Seed = 8
	if all(o) == all(other) {
		t.Error("another seed gives the same events")
	}
}

func BenchmarkStream(b *testing.B) {
	o := small
	o.Events = b.N
	s := NewStream(o, 0)
	var buf []byte
	size := 0
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		buf, _ = s.Append(buf[:0])
		size += len(buf)
	}
	b.SetBytes(int64(size / b.N))
}
