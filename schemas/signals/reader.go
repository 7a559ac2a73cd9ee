package signals

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/schemas"
)

// Vocabulary says which purposes the names in signals stand for.
type Vocabulary interface {
	// Category gives the purposes of a category id; false for one that is not
	// known.
	Category(id string) (schemas.PurposeSet, bool)
	// CategoryPurposes are the purposes of all categories.
	CategoryPurposes() schemas.PurposeSet
	// TCFPurpose gives the purposes that need a purpose of the TCF.
	TCFPurpose(n int) schemas.PurposeSet
	// GoogleSignal gives the purposes that need a signal of Consent Mode.
	GoogleSignal(name string) (schemas.PurposeSet, bool)
	// GPC are the purposes that Global Privacy Control refuses.
	GPC() schemas.PurposeSet
}

// Options are what a Reader can be told.
type Options struct {
	// TCFVendor is our number in the TCF's vendor list. If it is not 0, a TC
	// string must name us among those who have consent and those who were
	// disclosed.
	TCFVendor int
	// CacheBytes bounds what a Reader remembers of values; 1 MiB when 0.
	CacheBytes int
}

const (
	defaultCacheBytes = 1 << 20
	// longestValue is the length of the longest value that is looked at.
	longestValue = 4096
	// entryBytes is about what an entry of the cache takes besides its value.
	entryBytes = 64
	// tcfPurposes is how many purposes a TC string has bits for.
	tcfPurposes = 24
	// highestVendor is the highest number that a vendor can have.
	highestVendor = 1<<16 - 1
)

// Reader says what signals leave. It remembers values that it has seen. One
// goroutine may use it.
type Reader struct {
	vocabulary Vocabulary
	vendor     int
	// speaks has what a signal of each kind can take away.
	speaks [schemas.NumSignalKinds]schemas.PurposeSet
	tcf    [tcfPurposes + 1]schemas.PurposeSet
	google []googleSignal

	// seen has what values leave, by kind. Most values come again: with it one
	// takes 20 ns and not the 10 to 15 µs that it takes to read it
	// (BenchmarkPermitted).
	seen          [schemas.NumSignalKinds]map[string]schemas.PurposeSet
	bytes, atMost int
}

// NewReader makes the reader of one worker.
func NewReader(v Vocabulary, o Options) (*Reader, error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.TCFVendor < 0 || o.TCFVendor > highestVendor {
		return nil, fmt.Errorf("signals: TCF vendor is %d, must be 1 to %d, or 0 for none", o.TCFVendor, highestVendor)
	}
	if o.CacheBytes < 0 {
		return nil, fmt.Errorf("signals: cache bytes is %d, must not be negative", o.CacheBytes)
	}
	r := &Reader{vocabulary: v, vendor: o.TCFVendor, atMost: o.CacheBytes}
	for n := 1; n <= tcfPurposes; n++ {
		r.tcf[n] = v.TCFPurpose(n)
		r.speaks[schemas.TCFSignal] |= r.tcf[n]
	}
	for _, name := range googleSignals {
		purposes, _ := v.GoogleSignal(name)
		r.google = append(r.google, googleSignal{name, purposes})
		r.speaks[schemas.GoogleSignal] |= purposes
	}
	r.speaks[schemas.CategorySignal] = v.CategoryPurposes()
	r.speaks[schemas.RudderSignal] = v.CategoryPurposes()
	r.speaks[schemas.PreferenceSignal] = v.CategoryPurposes()
	r.speaks[schemas.GPCSignal] = v.GPC()
	r.speaks[schemas.GPPSignal] = v.GPC() | r.speaks[schemas.TCFSignal]
	for kind := range r.seen {
		r.seen[kind] = map[string]schemas.PurposeSet{}
	}
	return r, nil
}

// Narrow takes from what is permitted in each row what the row's value takes
// away. A null takes nothing.
func (r *Reader) Narrow(kind schemas.SignalKind, values *array.BinaryView, permitted []schemas.PurposeSet) error {
	if values.Len() != len(permitted) {
		return fmt.Errorf("signals: %d values of %s for %d rows", values.Len(), kind, len(permitted))
	}
	if values.NullN() == values.Len() {
		return nil
	}
	for row := range permitted {
		if values.IsValid(row) {
			permitted[row] &= r.Permitted(kind, values.Value(row))
		}
	}
	return nil
}

// Permitted gives the purposes that a value leaves. It is the text of a JSON
// value; an empty one is absent, and leaves all, as null does. A kind that there
// is not leaves nothing.
func (r *Reader) Permitted(kind schemas.SignalKind, raw []byte) schemas.PurposeSet {
	switch {
	case kind == schemas.NoSignal || int(kind) >= schemas.NumSignalKinds:
		return 0
	case len(raw) == 0 || string(raw) == "null":
		return schemas.AllPurposes
	case len(raw) > longestValue:
		return schemas.AllPurposes &^ r.speaks[kind]
	}
	seen := r.seen[kind]
	if left, ok := seen[string(raw)]; ok {
		return left
	}
	denied, ok := r.read(kind, raw)
	if !ok {
		denied = r.speaks[kind]
	}
	left := schemas.AllPurposes &^ denied
	if r.bytes += len(raw) + entryBytes; r.bytes > r.atMost {
		r.forget()
		r.bytes = len(raw) + entryBytes
	}
	if r.bytes <= r.atMost {
		seen[string(raw)] = left
	}
	return left
}

// forget empties the cache. Clearing keeps the memory of the maps, which is
// bounded as what was in them is.
func (r *Reader) forget() {
	for kind := range r.seen {
		clear(r.seen[kind])
	}
	r.bytes = 0
}

// read gives what a value denies; ok is false when it cannot be read.
func (r *Reader) read(kind schemas.SignalKind, raw []byte) (denied schemas.PurposeSet, ok bool) {
	switch kind {
	case schemas.CategorySignal:
		return r.categories(raw)
	case schemas.RudderSignal:
		return r.rudder(raw)
	case schemas.PreferenceSignal:
		return r.preferences(raw)
	case schemas.GoogleSignal:
		return r.consentMode(raw)
	case schemas.GPCSignal:
		return r.privacyControl(raw)
	case schemas.TCFSignal:
		if text, isText := textOf(raw); isText {
			return r.tcString(text)
		}
	case schemas.GPPSignal:
		if text, isText := textOf(raw); isText {
			return r.gpp(text)
		}
	}
	return 0, false
}
