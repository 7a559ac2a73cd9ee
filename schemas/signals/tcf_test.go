package signals

import (
	"strings"
	"testing"
	"time"

	"lupa/schemas"
)

func TestTCString(t *testing.T) {
	change := func(f func(*tcFields)) string {
		c := goodTC()
		f(&c)
		return quote(c.String())
	}
	without := func(purposes ...int) string {
		return change(func(c *tcFields) {
			var rest []int
			for n := 1; n <= 11; n++ {
				if !strings.ContainsRune(string(runes(purposes)), rune(n)) {
					rest = append(rest, n)
				}
			}
			c.consent = rest
		})
	}
	day := func(year int, month time.Month, day int) time.Time {
		return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	}
	good := goodTC().String()
	core, disclosed, _ := strings.Cut(good, ".")
	checkRules(t, newReader(t, Options{}), schemas.TCFSignal, []rule{
		{"all consent", quote(good), 0},
		{"no consent", change(func(c *tcFields) { c.consent = nil }), byTCF},
		{"without 7", without(7), analytics},
		{"without 3", without(3), advertising | social | profiling},
		{"without 1 and 11", without(1, 11), advertising | functional},
		{"without what nothing needs", without(10), 0},
		{"legitimate interest for 2 and 7 to 11 alone", change(func(c *tcFields) { c.consent, c.interest = []int{1, 3, 4, 5, 6}, []int{2, 7, 8, 9, 10, 11} }), advertising | analytics | functional},
		{"legitimate interest for 3, which there cannot be", change(func(c *tcFields) { c.interest = []int{3} }), byTCF},
		{"policy 4", change(func(c *tcFields) { c.policy = 4 }), 0},
		{"policy 3", change(func(c *tcFields) { c.policy = 3 }), byTCF},
		{"policy 2", change(func(c *tcFields) { c.policy = 2 }), byTCF},
		{"global", change(func(c *tcFields) { c.shared = true }), byTCF},
		{"version 1", change(func(c *tcFields) { c.version = 1 }), byTCF},
		{"version 3", change(func(c *tcFields) { c.version = 3 }), byTCF},
		{"no disclosed vendors", change(func(c *tcFields) { c.disclosed = nil }), byTCF},
		{"no disclosed vendors on 1 March 2026", change(func(c *tcFields) { c.disclosed, c.created, c.updated = nil, day(2026, 3, 1), day(2026, 3, 1) }), byTCF},
		{"no disclosed vendors on 28 February 2026", change(func(c *tcFields) { c.disclosed, c.created, c.updated = nil, day(2026, 2, 28), day(2026, 2, 28) }), 0},
		{"no disclosed vendors, updated later", change(func(c *tcFields) { c.disclosed, c.created = nil, day(2025, 2, 28) }), byTCF},
		{"no disclosed vendors, created later", change(func(c *tcFields) { c.disclosed, c.updated = nil, day(2025, 2, 28) }), byTCF},
		{"vendors as ranges", change(func(c *tcFields) { c.ranges = true }), 0},
		{"with a publisher segment", quote(good + "." + publisherSegment()), 0},
		{"the publisher segment first", quote(core + "." + publisherSegment() + "." + disclosed), 0},
		{"disclosed vendors twice", quote(good + "." + disclosed), byTCF},
		{"an unknown segment", quote(good + ".YA"), byTCF},
		{"an empty segment", quote(good + "."), byTCF},
		{"no core", quote("." + disclosed), byTCF},
		{"core cut short, and a good segment", quote(core[:len(core)-8] + "." + disclosed), byTCF},
		{"segment cut short, and a good one", quote(core + "." + disclosed[:4] + "." + publisherSegment()), byTCF},
		{"padded", quote(good + "="), byTCF},
		{"the other alphabet", quote("+" + good[1:]), byTCF},
		{"with a line end", quote(good[:8] + `\n` + good[8:]), byTCF},
		{"an escape", quote(`\u0043` + good[1:]), 0},
		{"vendors without end", quote(hugeVendors()), byTCF},
	})
}

func runes(numbers []int) (list []rune) {
	for _, n := range numbers {
		list = append(list, rune(n))
	}
	return list
}

func publisherSegment() string {
	var w bitWriter
	w.number(3, 3)
	w.set([]int{1}, 24)
	w.set(nil, 24)
	w.number(0, 6)
	return w.String()
}

// hugeVendors announces 4095 restrictions of 4095 ranges each and ends.
func hugeVendors() string {
	c := goodTC()
	c.disclosed = nil
	core := c.String()
	var w bitWriter
	for range 200 {
		w.number(0xffffff, 24)
	}
	return core[:len(core)-3] + w.String()
}

func TestTCStringWithVendor(t *testing.T) {
	for _, ranges := range []bool{false, true} {
		c := goodTC()
		c.ranges = ranges
		text := quote(c.String())
		for vendor, denies := range map[int]schemas.PurposeSet{0: 0, 3: 0, 812: 0, 4: byTCF, 813: byTCF, 65535: byTCF} {
			r := newReader(t, Options{TCFVendor: vendor})
			if got := schemas.AllPurposes &^ r.Permitted(schemas.TCFSignal, []byte(text)); got != denies {
				t.Errorf("ranges %v, vendor %d: denies %s, want %s", ranges, vendor, got, denies)
			}
		}
		c.disclosed = []int{812}
		r := newReader(t, Options{TCFVendor: 3})
		if got := schemas.AllPurposes &^ r.Permitted(schemas.TCFSignal, []byte(quote(c.String()))); got != byTCF {
			t.Errorf("ranges %v, a vendor that was not disclosed: denies %s, want %s", ranges, got, byTCF)
		}
		for kind, denies := range map[int]schemas.PurposeSet{0: analytics, 1: 0, 2: analytics, 3: analytics} {
			c := goodTC()
			c.ranges, c.restrict = ranges, map[int]int{7: kind}
			for vendor, denies := range map[int]schemas.PurposeSet{812: denies, 3: 0} {
				r := newReader(t, Options{TCFVendor: vendor})
				if got := schemas.AllPurposes &^ r.Permitted(schemas.TCFSignal, []byte(quote(c.String()))); got != denies {
					t.Errorf("ranges %v, restriction %d of purpose 7, vendor %d: denies %s, want %s", ranges, kind, vendor, got, denies)
				}
			}
		}
	}
}

// TestTCStringCutShort cuts both segments at every character.
func TestTCStringCutShort(t *testing.T) {
	r := newReader(t, Options{TCFVendor: 812})
	core, disclosed, _ := strings.Cut(goodTC().String(), ".")
	for n := range core {
		if got := schemas.AllPurposes &^ r.Permitted(schemas.TCFSignal, []byte(quote(core[:n]+"."+disclosed))); got != byTCF {
			t.Errorf("core of %d characters denies %s", n, got)
		}
	}
	for n := range disclosed {
		if got := schemas.AllPurposes &^ r.Permitted(schemas.TCFSignal, []byte(quote(core+"."+disclosed[:n]))); got != byTCF {
			t.Errorf("segment of %d characters denies %s", n, got)
		}
	}
}
