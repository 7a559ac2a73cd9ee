package oracle

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestMatcherFindsEverything compares with looking for one pattern after the
// other, on letters so few that patterns begin alike and overlap.
func TestMatcherFindsEverything(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		patterns := rapid.SliceOfN(rapid.StringMatching(`[ab]{6,12}`), 0, 30).Draw(rt, "patterns")
		text := []byte(rapid.StringMatching(`[abc]{0,200}`).Draw(rt, "text"))
		m := newMatcher()
		want, got := map[string]bool{}, map[string]bool{}
		for _, p := range patterns {
			m.add(p)
			for i := range text {
				if bytes.HasPrefix(text[i:], []byte(p)) {
					want[fmt.Sprint(p, i)] = true
				}
			}
		}
		m.find(text, func(n int32, at int) { got[fmt.Sprint(m.pattern[n], at)] = true })
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("places (-naive +matcher):\n%s", diff)
		}
	})
}

// TestFormsAreFound hides a value in each form in the middle of other bytes.
func TestFormsAreFound(t *testing.T) {
	const value = "Jäne+1.Doe@posti.example"
	m := newMatcher()
	for _, text := range forms(value) {
		m.add(text)
	}
	var hidden [][]byte
	for _, text := range []string{
		value, strings.ToLower(value), strings.ToUpper(value), hex.EncodeToString([]byte(value)), url.QueryEscape(value), url.PathEscape(value),
	} {
		hidden = append(hidden, []byte("xx"+text+"yy"))
	}
	for before := range 5 {
		text := strings.Repeat("~", before) + value + "~~~"
		hidden = append(hidden, []byte(base64.StdEncoding.EncodeToString([]byte(text))), []byte(base64.RawURLEncoding.EncodeToString([]byte(text))))
	}
	for i, text := range hidden {
		found := false
		m.find(text, func(int32, int) { found = true })
		if !found {
			t.Errorf("text %d: not found", i)
		}
	}
}

// BenchmarkFind searches a megabyte for a million patterns.
func BenchmarkFind(b *testing.B) {
	m := newMatcher()
	for i := range 1_000_000 {
		m.add(fmt.Sprintf("user-%07d", i))
	}
	r := rand.New(rand.NewPCG(1, 1))
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = "user-0123456789abcdefghijklmnop"[r.IntN(31)]
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		m.find(text, func(int32, int) {})
	}
}

// TestStrippedHoldsNobody: what counts as readable of a URL excuses no raw
// value that points at a person.
func TestStrippedHoldsNobody(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"https://a.example/shop?email=jane@posti.example&utm_source=x#jane", "https://a.example/shop&utm_source=x"},
		{"https://jane@posti.example/shop", "https://-/shop"},
		{"https://a.example/jane@posti.example/x?utm_source=jane%40posti.example", "https://a.example/-/x"},
		{"https://a.example/x;sid=abcdef/y", "https://a.example/x/y"},
	} {
		if got := stripped(c.url, []string{"utm_source"}); got != c.want {
			t.Errorf("%s leaves %s", c.url, got)
		}
	}
}

func TestDigitsAmidDigitsAreAnotherNumber(t *testing.T) {
	for text, want := range map[string]bool{"123456": false, "x123456y": false, "0123456": true, "1234567": true} {
		if got := amidDigits([]byte(text), strings.Index(text, "123456"), 6); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

// TestProtoBytes reads what is and what is not a field.
func TestProtoBytes(t *testing.T) {
	for text, want := range map[string]string{
		"\x08\x00\x1a\x02ab": "ab", "\x12\x02\x08\x03\x1a\x01k": "k", "\x1a\x05ab": "", "\x1d\x00\x00": "", "\x1a": "", "": "",
	} {
		got, _ := protoBytes([]byte(text), 3)
		if string(got) != want {
			t.Errorf("%q gives %q", text, got)
		}
	}
}

// TestReportIsBounded: a thing that goes wrong everywhere is told of a hundred
// times and counted.
func TestReportIsBounded(t *testing.T) {
	c := &check{in: &Input{}}
	for range maxViolations + 5 {
		c.violate(noLoss, "here", "something")
	}
	r := c.report()
	if got := &r.Invariants[noLoss]; len(got.Violations) != maxViolations || got.More != 5 || got.Status != Violated {
		t.Errorf("%d violations and %d more, %s", len(got.Violations), got.More, got.Status)
	}
	if r.Holds() || !slices.Equal(r.Violated(), []string{"I1"}) {
		t.Errorf("violated: %v", r.Violated())
	}
	if got := r.Invariants[progress].Status; got != NotChecked {
		t.Errorf("an invariant of which nothing was looked at: %s", got)
	}
}
