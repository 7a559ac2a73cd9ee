package decode

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"lupa/schemas"
)

// author writes random messages out of the keys that everyType names.
type author struct {
	*rand.Rand
	strings.Builder
}

func (w *author) pick(list ...string) string { return list[w.IntN(len(list))] }

func (w *author) space() {
	if w.IntN(12) == 0 {
		w.WriteString(w.pick(" ", "\n", "\t ", "  \r\n"))
	}
}

func (w *author) object(depth int) {
	w.WriteString("{")
	w.space()
	for i := range w.IntN(6) {
		if i > 0 {
			w.WriteString(",")
			w.space()
		}
		w.WriteString(w.pick(`"t"`, `"t"`, `"x"`, `"i"`, `"n"`, `"b"`, `"ts"`, `"d"`, `"u"`, `"u"`, `"p"`, `"p"`, `"q"`, `""`, `"email"`,
			`"\u0074"`, `"\u0070"`, `"tt"`, `"é"`, `"\ud83d\ude00"`, `"a much longer key than the rest"`))
		w.space()
		w.WriteString(":")
		w.space()
		w.value(depth)
		w.space()
	}
	w.WriteString("}")
}

func (w *author) value(depth int) {
	switch n := w.IntN(20); {
	case n < 4 && depth > 0:
		w.object(depth - 1)
	case n < 5 && depth > 0:
		w.WriteString("[")
		for i := range w.IntN(4) {
			if i > 0 {
				w.WriteString(",")
			}
			w.space()
			w.value(depth - 1)
		}
		w.WriteString("]")
	case n < 7:
		w.WriteString(w.pick("null", "true", "false", "{}", "[]"))
	case n < 11:
		w.WriteString(w.pick("0", "-0", "1", "12.0", "1e2", "-1.5", "1773500966", "1773500966.25", "1773500966535", "9223372036854775807", "1e999", "20260314"))
	case n < 14:
		w.WriteString(w.pick(`"2026-03-14T15:09:26.535Z"`, `"2026-03-14T15:09:26Z"`, `"2026-03-14"`, `"2026-02-30T00:00:00.000Z"`, `"2026-03-14 15:09:26,5+02"`, `"1773500966"`))
	default:
		w.WriteString(w.pick(`""`, `"x"`, `"X"`, `"\u0078"`, `"1"`, `"true"`, `"me"`, `"m\u0065"`, `"me and twelve more"`, `"me and twelv\u0065 more"`,
			`"12 bytes lon"`, `"é and 12 more bytes"`, `"\ud83d\ude00\n"`))
	}
}

// spoil changes a byte, or leaves some out.
func (w *author) spoil(m []byte) []byte {
	i := w.IntN(len(m))
	switch w.IntN(3) {
	case 0:
		m[i] = byte(w.IntN(256))
	case 1:
		m[i] = w.pick(`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, ` `, `0`)[0]
	default:
		m = append(m[:i], m[min(len(m), i+1+w.IntN(3)):]...)
	}
	return m
}

func randomMessages(seed uint64, n int) [][]byte {
	w := author{Rand: rand.New(rand.NewPCG(seed, 2))}
	list := make([][]byte, n)
	for i := range list {
		w.Reset()
		w.space()
		w.object(4)
		w.space()
		list[i] = []byte(w.String())
		if w.IntN(3) == 0 {
			list[i] = w.spoil(list[i])
		}
	}
	return list
}

func FuzzRandomMessages(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	contracts := everyType()
	f.Fuzz(func(t *testing.T, seed uint64) {
		messages := randomMessages(seed, 300)
		times := make([]int64, len(messages))
		for i := range times {
			times[i] = []int64{noEventTime, int64(i)}[i%2]
		}
		learned := newJSON(t, contracts, Options{MaxDepth: 5})
		for range 2 {
			checkAgainstOracle(t, learned, contracts, messages, times)
		}
		checkTiers(t, contracts, Options{MaxDepth: 5}, messages)
	})
}

// FuzzScalars compares the parsers of numbers and times with the oracle's.
func FuzzScalars(f *testing.F) {
	for _, s := range []string{"2026-03-14T15:09:26.535Z", "2026-03-14 15:09+02", "12.50e-1", "1773500966535", "-9223372036854775808", "true", "0.1e-400", "123456789012345678901234567890e-11", "9007199254740993.5e22"} {
		f.Add(s)
	}
	types := []schemas.Type{schemas.Integer, schemas.Number, schemas.Boolean, schemas.Timestamp, schemas.Date}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "\"\\") {
			return
		}
		var contracts []*schemas.Contract
		for i, typ := range types {
			x := keep(fmt.Sprint(i), typ, "x")
			contracts = append(contracts, contract(nil, x), contract(nil, coerced(x)))
		}
		d := newJSON(t, contracts, Options{})
		checkAgainstOracle(t, d, contracts, [][]byte{[]byte(`{"x":"` + s + `"}`), []byte(`{"x":` + s + `}`)}, []int64{1, 2})
	})
}
