package signals

import (
	"strings"
	"testing"

	"lupa/schemas"
)

// gppHeader writes a header of sections, which ascend.
func gppHeader(ids ...int) string {
	var w bitWriter
	w.number(3, 6)
	w.number(1, 6)
	w.number(uint64(len(ids)), 12)
	last := 0
	for _, id := range ids {
		w.number(0, 1)
		w.fibonacci(id - last)
		last = id
	}
	return w.sixes()
}

func (w *bitWriter) fibonacci(n int) {
	numbers := []int{1, 2}
	for numbers[len(numbers)-1] <= n {
		numbers = append(numbers, numbers[len(numbers)-1]+numbers[len(numbers)-2])
	}
	bits := make([]bool, len(numbers))
	highest := 0
	for i := len(numbers) - 1; i >= 0; i-- {
		if numbers[i] <= n {
			bits[i] = true
			n -= numbers[i]
			highest = max(highest, i)
		}
	}
	for _, bit := range bits[:highest+1] {
		if bit {
			w.number(1, 1)
		} else {
			w.number(0, 1)
		}
	}
	w.number(1, 1)
}

// sixes is the text with a character for each six bits, as GPP headers are.
func (w *bitWriter) sixes() string {
	for w.at%6 > 0 {
		w.number(0, 1)
	}
	var b strings.Builder
	for at := 0; at < w.at; at += 6 {
		six := 0
		for i := at; i < at+6; i++ {
			six = six<<1 | int(w.bytes[i/8]>>(7-i%8)&1)
		}
		b.WriteByte(base64URL[six])
	}
	return b.String()
}

// usNational writes the core of a US national section.
func usNational(sale, sharing, targeted uint64) string {
	var w bitWriter
	w.number(1, 6)
	w.number(0, 12)
	w.number(sale, 2)
	w.number(sharing, 2)
	w.number(targeted, 2)
	w.number(0, 2*(12+2+1+3)+4)
	return w.String()
}

func TestGPP(t *testing.T) {
	national := func(sale, sharing, targeted uint64) string {
		return gppHeader(7) + "~" + usNational(sale, sharing, targeted)
	}
	tcf := goodTC()
	tcf.consent = tcf.consent[:6]
	bad := goodTC()
	bad.policy = 2
	var rules []rule
	for _, c := range []rule{
		{"no section", "DBAA", 0},
		{"nothing applies", national(0, 0, 0), 0},
		{"did not opt out", national(2, 2, 2), 0},
		{"opted out of sale", national(1, 2, 2), byGPC},
		{"opted out of sharing", national(2, 1, 2), byGPC},
		{"opted out of targeted advertising", national(2, 2, 1), byGPC},
		{"a choice that there is not", national(2, 2, 3), byGPC},
		{"GPC is not set", national(2, 2, 2) + ".QA", 0},
		{"GPC is set", national(2, 2, 2) + ".YA", byGPC},
		{"GPC is not set and set", national(2, 2, 2) + ".QA.YA", byGPC},
		{"a segment that cannot be read", national(2, 2, 2) + ".Y", byGPP},
		{"one section of two opted out", gppHeader(6, 7, 8) + "~1YYN~" + usNational(2, 2, 2) + "~BVoYYZoI", byGPC},
		{"US privacy", gppHeader(6) + "~1YNN", 0},
		{"US privacy, nothing applies", gppHeader(6) + "~1---", 0},
		{"US privacy, opted out", gppHeader(6) + "~1YYN", byGPC},
		{"US privacy of another version", gppHeader(6) + "~2YNN", byGPP},
		{"US privacy in small letters", gppHeader(6) + "~1yyn", byGPP},
		{"US privacy cut short", gppHeader(6) + "~1YN", byGPP},
		{"TCF", gppHeader(2) + "~" + goodTC().String(), 0},
		{"TCF without 7 to 11", gppHeader(2) + "~" + tcf.String(), analytics | functional},
		{"TCF that is not valid", gppHeader(2) + "~" + bad.String(), byTCF},
		{"TCF that is not valid, and an opt-out", gppHeader(2, 6) + "~" + bad.String() + "~1YYN", byTCF | byGPC},
		{"TCF and GPC", gppHeader(2, 7) + "~" + tcf.String() + "~" + usNational(2, 2, 2) + ".YA", analytics | functional | byGPC},
		{"TCF Canada", gppHeader(5) + "~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA", byGPP},
		{"TCF EU of version 1", gppHeader(1) + "~BOOzQoAOOzQoAAPAFSENCW-AIBA", byGPP},
		{"a section that is not known", gppHeader(23) + "~BVVVVVVA", byGPP},
		{"fewer sections than announced", gppHeader(7, 8) + "~" + usNational(2, 2, 2), byGPP},
		{"more sections than announced", gppHeader(7) + "~" + usNational(2, 2, 2) + "~BVoYYZoI", byGPP},
		{"another type", "C" + gppHeader(7)[1:] + "~" + usNational(2, 2, 2), byGPP},
		{"another version", "DC" + gppHeader(7)[2:] + "~" + usNational(2, 2, 2), byGPP},
		{"only a header of sections", gppHeader(7), byGPP},
		{"a header cut short", "DBAB~" + usNational(2, 2, 2), byGPP},
		{"no header", "~" + usNational(2, 2, 2), byGPP},
		{"national cut short", gppHeader(7) + "~BVVq", byGPP},
		{"a range of sections without end", gppRange(1<<40) + "~1YNN", byGPP},
		{"a range of sections to the highest", gppRange(254) + "~1YNN", byGPP},
	} {
		rules = append(rules, rule{c.name, quote(c.value), c.denies})
	}
	checkRules(t, newReader(t, Options{}), schemas.GPPSignal, rules)
}

// gppRange writes a header of one range, from 1.
func gppRange(length int) string {
	var w bitWriter
	w.number(3, 6)
	w.number(1, 6)
	w.number(1, 12)
	w.number(1, 1)
	w.fibonacci(1)
	w.fibonacci(length)
	return w.sixes()
}

func TestGPPSections(t *testing.T) {
	for text, want := range map[string][]int{
		"DBAA": nil, "DBABMA": {2}, "DBACNYA": {2, 6}, "DBABjw": {5, 6}, "DBABrGA": {7, 8, 9, 10, 11, 12}, "DBABzw": {6, 7},
		gppHeader(2, 6, 22, 200): {2, 6, 22, 200}, gppRange(3): {1, 2, 3, 4},
	} {
		got, ok := gppSections(text)
		if !ok || len(got) != len(want) {
			t.Errorf("%s: got %v, %v; want %v", text, got, ok, want)
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: got %v, want %v", text, got, want)
			}
		}
	}
}
