package schemas

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed ages.yaml
var defaultAgesFile []byte

// The ages that a law can say. StrictestAge is that of what is not known, the
// highest that Art 8(1) GDPR allows; no law may say less than the youngest.
const (
	StrictestAge = 16
	youngestAge  = 13
	oldestAge    = 21
)

// Ages say from which age a child consents for itself, by country and time. It is
// never changed once it is made.
type Ages struct {
	date      string
	countries map[string][]ageEntry // each in the order of since
}

// ageEntry is what the law of a country says from a time on.
type ageEntry struct {
	since    int64 // microseconds since 1970 UTC
	years    int
	verified bool
	joint    bool
}

var defaultAges = sync.OnceValue(func() *Ages {
	a, err := parseAges("built-in/ages.yaml", defaultAgesFile, nil)
	if err != nil {
		panic(fmt.Sprintf("schemas: the ages do not load: %v", err))
	}
	return a
})

// DefaultAges gives the embedded table.
func DefaultAges() *Ages { return defaultAges() }

// ReadAges gives the embedded table with the countries replaced that a file
// names, which has the same form. The error is a *ContractError with everything
// that is wrong in it.
func ReadAges(path string) (*Ages, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read ages: %w", err)
	}
	return parseAges(path, data, DefaultAges())
}

// Date is the day up to which the table was checked, as YYYY-MM-DD.
func (a *Ages) Date() string { return a.date }

// Age gives from which age a child consents for itself by the law of a country at
// a time, microseconds since 1970 UTC; joint is that below it the child's own
// consent is needed besides its guardian's. A country that is not known has
// StrictestAge, and so has one of which nobody has verified what its law says.
func (a *Ages) Age(country string, at int64) (years int, joint bool) {
	code, ok := countryCode(country)
	if !ok {
		return StrictestAge, false
	}
	entries := a.countries[code]
	i := len(entries) - 1
	for i >= 0 && entries[i].since > at {
		i--
	}
	if i < 0 {
		return StrictestAge, false
	}
	if e := &entries[i]; e.verified {
		return e.years, e.joint
	}
	return StrictestAge, entries[i].joint
}

// Hash changes exactly when an entry does. The date does not count.
func (a *Ages) Hash() [32]byte {
	h := policyHasher{sha256.New()}
	h.text("lupa ages 1")
	h.number(len(a.countries))
	for _, code := range slices.Sorted(maps.Keys(a.countries)) {
		h.text(code)
		h.number(len(a.countries[code]))
		for _, e := range a.countries[code] {
			h.text(strconv.FormatInt(e.since, 10))
			h.number(e.years)
			h.flag(e.verified)
			h.flag(e.joint)
		}
	}
	return [32]byte(h.sum.Sum(nil))
}

func parseAges(name string, data []byte, base *Ages) (*Ages, error) {
	f := yamlFile{name: name}
	root := f.root(data)
	if root == nil {
		return nil, f.err()
	}
	a := &Ages{countries: map[string][]ageEntry{}}
	if base != nil {
		a.date = base.date
		maps.Copy(a.countries, base.countries)
	}
	keys := f.object(root, "ages", []string{"countries", "date"}, "")
	if n := keys["date"]; n != nil {
		a.date = f.day(n, "date")
	}
	if keys["countries"] == nil {
		f.problem(root.Line, "ages: the key countries is missing")
		return nil, f.err()
	}
	for _, m := range f.members(keys["countries"], "countries") {
		code, ok := countryCode(m.key.Value)
		if !ok || code != m.key.Value {
			f.problem(m.key.Line, "countries: %q is no ISO 3166-1 alpha-2 code in capital letters", m.key.Value)
			continue
		}
		a.countries[code] = f.ages(m.value, code, base != nil)
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return a, nil
}

// ages reads the entries of a country. verified is what one is that does not say.
func (f *yamlFile) ages(n *yaml.Node, country string, verified bool) (entries []ageEntry) {
	items := f.items(n, country)
	if n.Kind == yaml.SequenceNode && len(items) == 0 {
		f.problem(n.Line, "%s: the list is empty", country)
	}
	for _, item := range items {
		e := ageEntry{since: math.MinInt64, verified: verified}
		keys := f.object(item, country, []string{"age", "joint", "since", "verified"}, "")
		if item.Kind != yaml.MappingNode {
			continue
		}
		if k := keys["age"]; k == nil {
			f.problem(item.Line, "%s: the key age is missing", country)
		} else if k.Decode(&e.years) != nil || k.ShortTag() != "!!int" || e.years < youngestAge || e.years > oldestAge {
			f.problem(k.Line, "%s: age: must be a whole number, %d to %d", country, youngestAge, oldestAge)
		}
		if k := keys["since"]; k != nil {
			if day, err := time.Parse(time.DateOnly, f.day(k, country+": since")); err == nil {
				e.since = day.UnixMicro()
			}
		}
		if k := keys["verified"]; k != nil {
			e.verified = f.boolean(k, country+": verified")
		}
		if k := keys["joint"]; k != nil {
			e.joint = f.boolean(k, country+": joint")
		}
		if slices.ContainsFunc(entries, func(o ageEntry) bool { return o.since == e.since }) {
			f.problem(item.Line, "%s: two entries are in force since the same day", country)
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b ageEntry) int { return cmp.Compare(a.since, b.since) })
	return entries
}

// day gives a text that is a date.
func (f *yamlFile) day(n *yaml.Node, what string) string {
	text, ok := f.text(n, what)
	if !ok {
		return ""
	}
	if _, err := time.Parse(time.DateOnly, text); err != nil {
		f.problem(n.Line, "%s: must be a date as YYYY-MM-DD", what)
		return ""
	}
	return text
}
