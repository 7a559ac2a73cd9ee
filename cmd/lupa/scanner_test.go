package main

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/cespare/xxhash/v2"
)

// section is a piece of what a job left behind. In an opaque one bytes are as
// good as random (compressed, encrypted, hashed), so only long patterns tell
// anything there; what it packs is a section of its own.
type section struct {
	place  string
	data   []byte
	opaque bool
}

// haystack is everything that a job left behind.
type haystack []section

func (h haystack) size() (n int) {
	for i := range h {
		n += len(h[i].data)
	}
	return n
}

// pattern is one way to write a canary.
type pattern struct {
	canary int32
	form   string
	text   string
	whole  bool
	anchor int // where the window ends in text by which the scanner knows it
}

const (
	windowSize  = 5  // bytes that every pattern has at least
	opaqueLeast = 10 // bytes of a pattern that is looked for in opaque sections
)

// scanner looks for many patterns in one pass. It knows each by one window of
// its bytes, one that few others have: many addresses begin or end alike.
type scanner struct {
	patterns []pattern
	windows  map[uint64][]int32
	filter   []uint64 // a bit for each hash of a window
	texts    map[string]bool
}

const filterBits = 24

func windowHash(window uint64) uint64 { return window * 0x9e3779b97f4a7c15 >> (64 - filterBits) }

// slide moves a window on by one byte.
func slide(window uint64, c byte) uint64 { return window>>8 | uint64(c)<<(8*(windowSize-1)) }

func newScanner(list []canary) *scanner {
	s := &scanner{windows: map[uint64][]int32{}, filter: make([]uint64, 1<<filterBits/64), texts: map[string]bool{}}
	for i := range list {
		clear(s.texts)
		s.addForms(int32(i), &list[i])
	}
	return s
}

// add adds a pattern, unless the canary has it already.
func (s *scanner) add(canary int32, form, text string, whole bool) {
	if len(text) < windowSize || s.texts[text] {
		return
	}
	s.texts[text] = true
	p := pattern{canary: canary, form: form, text: text, whole: whole}
	var best, window uint64
	for i, c := range []byte(text) {
		if window = slide(window, c); i+1 < windowSize {
			continue
		}
		if p.anchor == 0 || len(s.windows[window]) < len(s.windows[best]) {
			p.anchor, best = i+1, window
		}
		if len(s.windows[best]) == 0 {
			break
		}
	}
	s.windows[best] = append(s.windows[best], int32(len(s.patterns)))
	s.patterns = append(s.patterns, p)
	h := windowHash(best)
	s.filter[h/64] |= 1 << (h % 64)
}

// addForms adds a canary in every form in which it could leave.
func (s *scanner) addForms(i int32, c *canary) {
	v := c.value
	s.add(i, "plain", v, c.whole)
	s.add(i, "lower case", strings.ToLower(v), c.whole)
	s.add(i, "upper case", strings.ToUpper(v), c.whole)
	s.add(i, "query-escaped", url.QueryEscape(v), c.whole)
	s.add(i, "path-escaped", url.PathEscape(v), c.whole)
	s.add(i, "percent-encoded @", strings.ReplaceAll(v, "@", "%40"), c.whole)
	if quoted, err := json.Marshal(v); err == nil {
		s.add(i, "JSON", string(quoted[1:len(quoted)-1]), c.whole)
	}
	if c.class == textCanary {
		return
	}
	for _, text := range slices.Compact([]string{v, strings.ToLower(v)}) {
		s.addEncodings(i, text)
		s.addDigests(i, text)
	}
}

func (s *scanner) addEncodings(i int32, text string) {
	s.add(i, "hexadecimal", hex.EncodeToString([]byte(text)), false)
	s.add(i, "upper-case hexadecimal", strings.ToUpper(hex.EncodeToString([]byte(text))), false)
	units := utf16.Encode([]rune(text))
	var little, big []byte
	for _, u := range units {
		little = binary.LittleEndian.AppendUint16(little, u)
		big = binary.BigEndian.AppendUint16(big, u)
	}
	s.add(i, "UTF-16LE", string(little), false)
	s.add(i, "UTF-16BE", string(big), false)
	if reversed := []byte(text); strings.Trim(text, "0123456789+.- ") != "" {
		slices.Reverse(reversed)
		s.add(i, "reversed", string(reversed), true)
	}
	// Padded base64 begins with the unpadded one.
	s.add(i, "base64", base64.RawStdEncoding.EncodeToString([]byte(text)), false)
	s.add(i, "URL-safe base64", base64.RawURLEncoding.EncodeToString([]byte(text)), false)
	if len(text) < opaqueLeast {
		return
	}
	// Inside of a longer text that is encoded, the value begins at any of
	// three places, and its ends share characters with what adjoins.
	for shift := range 3 {
		shifted := append(make([]byte, shift), text...)
		shifted = shifted[:len(shifted)/3*3]
		from := (shift*8 + 5) / 6
		s.add(i, "part of base64", base64.StdEncoding.EncodeToString(shifted)[from:], false)
		s.add(i, "part of URL-safe base64", base64.URLEncoding.EncodeToString(shifted)[from:], false)
	}
}

// addDigests adds what a hash without a key makes of the value.
func (s *scanner) addDigests(i int32, text string) {
	sum256, sum1, sum5 := sha256.Sum256([]byte(text)), sha1.Sum([]byte(text)), md5.Sum([]byte(text))
	x := binary.BigEndian.AppendUint64(nil, xxhash.Sum64String(text))
	for _, d := range []struct {
		form string
		sum  []byte
	}{{"SHA-256", sum256[:]}, {"SHA-1", sum1[:]}, {"MD5", sum5[:]}, {"xxHash", x}} {
		// The first bytes are enough, and find a digest that was cut.
		bytesOf := d.sum[:min(len(d.sum), 14)]
		s.add(i, d.form+" in hexadecimal", hex.EncodeToString(bytesOf), false)
		s.add(i, d.form+" in upper-case hexadecimal", strings.ToUpper(hex.EncodeToString(bytesOf)), false)
		s.add(i, d.form, string(bytesOf), false)
	}
	slices.Reverse(x)
	s.add(i, "little-endian xxHash", string(x), false)
}

// hit is a canary that was found.
type hit struct {
	canary int32
	form   string
	place  string
}

// scan gives every canary of every section, once a section.
func (s *scanner) scan(h haystack) (hits []hit) {
	for i := range h {
		found := map[int32]bool{}
		s.scanSection(&h[i], func(p *pattern) {
			if !found[p.canary] {
				found[p.canary] = true
				hits = append(hits, hit{p.canary, p.form, h[i].place})
			}
		})
	}
	return hits
}

func (s *scanner) scanSection(sec *section, found func(*pattern)) {
	data, window := sec.data, uint64(0)
	for last, c := range data {
		window = slide(window, c)
		if h := windowHash(window); s.filter[h/64]>>(h%64)&1 == 0 {
			continue
		}
		for _, i := range s.windows[window] {
			p := &s.patterns[i]
			at := last + 1 - p.anchor
			end := at + len(p.text)
			switch {
			case at < 0 || end > len(data) || string(data[at:end]) != p.text:
			case sec.opaque && len(p.text) < opaqueLeast:
			case p.whole && (at > 0 && wordByte(data[at-1]) || end < len(data) && wordByte(data[end])):
			default:
				found(p)
			}
		}
	}
}

func wordByte(c byte) bool {
	return c-'0' < 10 || c|0x20-'a' < 26
}

// found gives the places of the canaries in the haystack, by canary.
func (s *scanner) found(h haystack) map[int]string {
	marked := map[int]string{}
	for _, hit := range s.scan(h) {
		if _, ok := marked[int(hit.canary)]; !ok {
			marked[int(hit.canary)] = hit.place
		}
	}
	return marked
}

// describe says where canaries were found and where they come from, and never
// what they are.
func describe(list []canary, hits []hit) string {
	const most = 40
	var b strings.Builder
	for i, h := range hits {
		if i == most {
			fmt.Fprintf(&b, "and %d more\n", len(hits)-most)
			break
		}
		c := &list[h.canary]
		fmt.Fprintf(&b, "%s: %s (%s) of %s\n", h.place, c.class, h.form, c.place)
	}
	return b.String()
}

// TestScannerFindsEveryForm plants one value in every form, at the beginning,
// in the middle and at the end of a text.
func TestScannerFindsEveryForm(t *testing.T) {
	value := "Eeva.Meikäläinen+uutiset@posti.example"
	sum := sha256.Sum256([]byte(strings.ToLower(value)))
	x := xxhash.Sum64String(value)
	forms := map[string]string{
		"plain": value, "lower case": strings.ToLower(value), "upper case": strings.ToUpper(value),
		"query-escaped": url.QueryEscape(value), "path-escaped": url.PathEscape(value),
		"std base64":        base64.StdEncoding.EncodeToString([]byte(value)),
		"url base64":        base64.URLEncoding.EncodeToString([]byte(value)),
		"raw std base64":    base64.RawStdEncoding.EncodeToString([]byte(value)),
		"raw url base64":    base64.RawURLEncoding.EncodeToString([]byte(value)),
		"in base64, 1 in":   base64.StdEncoding.EncodeToString([]byte(`x` + value + `"}`)),
		"in base64, 2 in":   base64.StdEncoding.EncodeToString([]byte(`xy` + value + `"`)),
		"in base64, 3 in":   base64.StdEncoding.EncodeToString([]byte(`xyz` + value + `","b":1}`)),
		"hex":               hex.EncodeToString([]byte(value)),
		"upper hex":         strings.ToUpper(hex.EncodeToString([]byte(value))),
		"UTF-16LE":          utf16Text(value, binary.LittleEndian),
		"UTF-16BE":          utf16Text(value, binary.BigEndian),
		"SHA-256 hex":       hex.EncodeToString(sum[:]),
		"SHA-256 raw, cut":  string(sum[:16]),
		"xxHash raw":        string(binary.LittleEndian.AppendUint64(nil, x)),
		"xxHash hex":        fmt.Sprintf("%016x", x),
		"JSON":              `{"a":"Eeva.Meikäläinen+uutiset@posti.example"}`,
		"percent-encoded @": strings.ReplaceAll(value, "@", "%40"),
	}
	list := []canary{{value: value, class: emailCanary, place: "a test"}}
	s := newScanner(list)
	for form, text := range forms {
		for _, around := range [][2]string{{"", ""}, {"x ", " x"}, {"", "-"}, {"-", ""}} {
			sec := section{place: form, data: []byte(around[0] + text + around[1])}
			if len(s.scan(haystack{sec})) != 1 {
				t.Errorf("%s between %d and %d bytes is not found once", form, len(around[0]), len(around[1]))
			}
		}
	}
	if hits := s.scan(haystack{{place: "nothing", data: bytes.Repeat([]byte("Eeva.Meik "), 1000)}}); len(hits) > 0 {
		t.Errorf("found where it is not: %s", describe(list, hits))
	}
}

func utf16Text(s string, order binary.AppendByteOrder) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

// TestScannerWholeWords pins where short values count.
func TestScannerWholeWords(t *testing.T) {
	list := []canary{{value: "Smith", class: nameCanary, whole: true}, {value: "192.0.2.17", class: ipCanary, whole: true}}
	for _, c := range []struct {
		text   string
		opaque bool
		want   int
	}{
		{"Smith", false, 1}, {"a Smith.", false, 1}, {"\x05Smith\x00", false, 1}, {"smith", false, 1}, {"Smithsonian", false, 0}, {"9Smith", false, 0},
		{"Smith", true, 0}, {"192.0.2.17", false, 1}, {"192.0.2.170", false, 0}, {"1192.0.2.17", false, 0}, {"192.0.2.0", false, 0},
		{"192.0.2.17", true, 1},
	} {
		hits := newScanner(list).scan(haystack{{place: "a test", data: []byte(c.text), opaque: c.opaque}})
		if len(hits) != c.want {
			t.Errorf("%q: found %d, want %d", c.text, len(hits), c.want)
		}
	}
}
