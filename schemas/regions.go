package schemas

import (
	"crypto/sha256"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed regions.yaml
var defaultRegionsFile []byte

// Regions are the countries that the names of regions stand for, as of a date.
// It is never changed once it is made.
type Regions struct {
	date                     string
	eu, eea, adequate, certs map[string]bool
}

var defaultRegions = sync.OnceValue(func() *Regions {
	r, err := parseRegions("built-in/regions.yaml", defaultRegionsFile, &Regions{})
	if err != nil {
		panic(fmt.Sprintf("schemas: the regions do not load: %v", err))
	}
	return r
})

// DefaultRegions gives the embedded lists.
func DefaultRegions() *Regions { return defaultRegions() }

// ReadRegions gives the embedded lists with those replaced that a file names,
// which has the same form. Its date must stand in the file.
func ReadRegions(path string) (*Regions, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read regions: %w", err)
	}
	return parseRegions(path, data, DefaultRegions())
}

// Date is the day up to which the lists were checked, as YYYY-MM-DD.
func (r *Regions) Date() string { return r.date }

// EEA reports whether a country is in the European Economic Area.
func (r *Regions) EEA(country string) bool {
	code, ok := countryCode(country)
	return ok && (r.eu[code] || r.eea[code])
}

// Adequate reports whether a third country is adequate (Art 45). One where only
// certified recipients are is adequate with -DPF behind its code.
func (r *Regions) Adequate(country string) bool {
	code, certified, ok := destinationCode(country)
	return ok && (r.adequate[code] || certified && r.certs[code])
}

// Allows reports whether a record with these Terms.Regions lets its data be
// stored at a destination: the code of a country, with -DPF behind it for a
// recipient there that is certified. Without regions all are allowed; of regions
// each allows what it stands for, and a destination that is empty or no code is
// in none. ADEQUATE stands for adequate third countries, and not for the EEA.
func (r *Regions) Allows(terms string, destination string) bool {
	if terms == "" {
		return true
	}
	country, certified, ok := destinationCode(destination)
	if !ok {
		return false
	}
	for code := range strings.SplitSeq(terms, ",") {
		allowed := false
		switch code {
		case regionEU:
			allowed = r.eu[country]
		case regionEEA:
			allowed = r.eu[country] || r.eea[country]
		case regionAdequate:
			allowed = r.adequate[country] || certified && r.certs[country]
		case regionDPF:
			allowed = certified && country == "US"
		default:
			allowed = code == country
		}
		if allowed {
			return true
		}
	}
	return false
}

// destinationCode splits what is said of a destination.
func destinationCode(text string) (country string, certified, ok bool) {
	text, certified = strings.CutSuffix(strings.ToUpper(text), "-DPF")
	country, ok = countryCode(text)
	return country, certified, ok && country != regionEU
}

// Hash changes exactly when a list or the date does.
func (r *Regions) Hash() [32]byte {
	h := policyHasher{sha256.New()}
	h.text("lupa regions 1")
	h.text(r.date)
	for _, list := range [...]map[string]bool{r.eu, r.eea, r.adequate, r.certs} {
		h.number(len(list))
		for _, code := range slices.Sorted(maps.Keys(list)) {
			h.text(code)
		}
	}
	return [32]byte(h.sum.Sum(nil))
}

func parseRegions(name string, data []byte, base *Regions) (*Regions, error) {
	f := yamlFile{name: name}
	root := f.root(data)
	if root == nil {
		return nil, f.err()
	}
	r := *base
	keys := f.object(root, "regions", []string{"date", "eu", "eea", "adequate", "certified"}, "")
	if keys["date"] == nil {
		f.problem(root.Line, "regions: the key date is missing")
	} else {
		r.date = f.day(keys["date"], "date")
	}
	for key, list := range map[string]*map[string]bool{"eu": &r.eu, "eea": &r.eea, "adequate": &r.adequate, "certified": &r.certs} {
		if keys[key] != nil {
			*list = f.countries(keys[key], key)
		}
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return &r, nil
}

// countries gives the codes of a list, which may be empty.
func (f *yamlFile) countries(n *yaml.Node, what string) map[string]bool {
	codes := map[string]bool{}
	for _, item := range f.items(n, what) {
		text, ok := f.text(item, what)
		if !ok {
			continue
		}
		code, ok := countryCode(text)
		switch {
		case !ok || code != text:
			f.problem(item.Line, "%s: %q is no ISO 3166-1 alpha-2 code in capital letters", what, text)
		case codes[code]:
			f.problem(item.Line, "%s: %s is listed twice", what, code)
		}
		codes[code] = true
	}
	return codes
}
