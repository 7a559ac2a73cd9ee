package signals

import (
	"encoding/base64"
	"testing"
	"time"

	"lupa/schemas"
)

const (
	necessary   = schemas.PurposeSet(1 << schemas.Necessary)
	analytics   = schemas.PurposeSet(1 << schemas.Analytics)
	functional  = schemas.PurposeSet(1 << schemas.Functional)
	advertising = schemas.PurposeSet(1 << schemas.PersonalisedAdvertising)
	social      = schemas.PurposeSet(1 << schemas.SocialMediaMarketing)
	profiling   = schemas.PurposeSet(1 << schemas.Profiling)
	sharing     = schemas.PurposeSet(1 << schemas.ThirdPartySharing)

	byCategory = necessary | analytics | functional | advertising | social
	byTCF      = analytics | functional | advertising | social | profiling
	byGoogle   = necessary | analytics | functional | advertising | social | sharing
	byGPC      = advertising | sharing
	byGPP      = byTCF | byGPC
)

// words is a small vocabulary.
type words struct{}

func (words) Category(id string) (schemas.PurposeSet, bool) {
	p, ok := map[string]schemas.PurposeSet{
		"C0001": necessary, "C0002": analytics, "C0003": functional, "C0004": advertising, "C0005": social,
		"Analytics": analytics, "Advertising": advertising | social, "Functional": functional, "DataSharing": social,
	}[id]
	return p, ok
}

func (words) CategoryPurposes() schemas.PurposeSet { return byCategory }

func (words) TCFPurpose(n int) schemas.PurposeSet {
	return map[int]schemas.PurposeSet{
		1: advertising, 2: advertising, 3: advertising | social | profiling, 4: advertising | social,
		5: functional | profiling, 6: functional, 7: analytics, 8: analytics, 9: analytics, 11: functional,
	}[n]
}

func (words) GoogleSignal(name string) (schemas.PurposeSet, bool) {
	p, ok := map[string]schemas.PurposeSet{
		"ad_storage": advertising | social, "ad_user_data": advertising | social | sharing, "ad_personalization": advertising | social,
		"analytics_storage": analytics, "functionality_storage": functional, "personalization_storage": functional, "security_storage": necessary,
	}[name]
	return p, ok
}

func (words) GPC() schemas.PurposeSet { return byGPC }

func newReader(t testing.TB, o Options) *Reader {
	t.Helper()
	r, err := NewReader(words{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tcFields are those of a TC string that a test changes.
type tcFields struct {
	version, policy   int
	created, updated  time.Time
	shared            bool // not service-specific
	consent, interest []int
	vendors           []int
	ranges            bool // vendors as ranges
	restrict          map[int]int
	disclosed         []int // nil for no such segment
	more              string
}

// goodTC has all consent under rules that are in force.
func goodTC() tcFields {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	return tcFields{
		version: 2, policy: 5, created: at, updated: at,
		consent: []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, vendors: []int{3, 812}, disclosed: []int{3, 812},
	}
}

type bitWriter struct {
	bytes []byte
	at    int
}

func (w *bitWriter) number(n uint64, bits int) {
	for i := bits - 1; i >= 0; i-- {
		if w.at%8 == 0 {
			w.bytes = append(w.bytes, 0)
		}
		w.bytes[w.at/8] |= byte(n>>i&1) << (7 - w.at%8)
		w.at++
	}
}

func (w *bitWriter) set(list []int, bits int) {
	for n := 1; n <= bits; n++ {
		bit := uint64(0)
		for _, m := range list {
			if m == n {
				bit = 1
			}
		}
		w.number(bit, 1)
	}
}

func (w *bitWriter) vendors(list []int, ranges bool) {
	most := 0
	for _, v := range list {
		most = max(most, v)
	}
	w.number(uint64(most), 16)
	if !ranges {
		w.number(0, 1)
		w.set(list, most)
		return
	}
	w.number(1, 1)
	w.number(uint64(len(list)), 12)
	for _, v := range list {
		w.number(0, 1)
		w.number(uint64(v), 16)
	}
}

func (w *bitWriter) String() string { return base64.RawURLEncoding.EncodeToString(w.bytes) }

func (f tcFields) String() string {
	var w bitWriter
	w.number(uint64(f.version), 6)
	w.number(uint64(f.created.UnixMilli()/100), 36)
	w.number(uint64(f.updated.UnixMilli()/100), 36)
	w.number(0, 12+12+6+12+12)
	w.number(uint64(f.policy), 6)
	specific := uint64(1)
	if f.shared {
		specific = 0
	}
	w.number(specific, 1)
	w.number(0, 1+12)
	w.set(f.consent, 24)
	w.set(f.interest, 24)
	w.number(0, 1+12)
	w.vendors(f.vendors, f.ranges)
	w.vendors(nil, false)
	w.number(uint64(len(f.restrict)), 12)
	for purpose, kind := range f.restrict {
		w.number(uint64(purpose), 6)
		w.number(uint64(kind), 2)
		w.number(1, 12)
		w.number(1, 1)
		w.number(800, 16)
		w.number(900, 16)
	}
	text := w.String()
	if f.disclosed != nil {
		var d bitWriter
		d.number(1, 3)
		d.vendors(f.disclosed, !f.ranges)
		text += "." + d.String()
	}
	return text + f.more
}

func quote(text string) string { return `"` + text + `"` }
