package schemas

import (
	"slices"
	"strings"
)

// The codes of regions that are not countries.
const (
	regionEU       = "EU"
	regionEEA      = "EEA"
	regionAdequate = "ADEQUATE"
	regionDPF      = "US-DPF" // recipients that are certified under the EU-US Data Privacy Framework
	noRegion       = "?"      // what is no code, and matches nothing
)

// countryCode gives the ISO 3166-1 alpha-2 code of a country, which EU texts
// write otherwise for two.
func countryCode(text string) (code string, ok bool) {
	if len(text) != 2 {
		return "", false
	}
	for i := range len(text) {
		if c := text[i] | 0x20; c < 'a' || c > 'z' {
			return "", false
		}
	}
	switch code = strings.ToUpper(text); code {
	case "EL":
		return "GR", true
	case "UK":
		return "GB", true
	}
	return code, true
}

// regionCode gives the code of a region as Terms have it, in any case and with
// the namespace of DPV or without; noRegion if it is none.
func regionCode(text string) string {
	for _, namespace := range [...]string{"loc:", "dpv-loc:", "https://w3id.org/dpv/loc#"} {
		text = strings.TrimPrefix(text, namespace)
	}
	switch code := strings.ToUpper(text); code {
	case regionEU, regionEEA, regionAdequate, regionDPF:
		return code
	}
	code, ok := countryCode(text)
	if !ok {
		return noRegion
	}
	return code
}

// commonRegions gives the regions of each list that lie in the other, noRegion
// if there are none.
func commonRegions(a, b []string) (common []string) {
	for _, lists := range [...][2][]string{{a, b}, {b, a}} {
		for _, code := range lists[0] {
			if code != noRegion && regionWithin(code, lists[1]) {
				common = append(common, code)
			}
		}
	}
	if common == nil {
		return []string{noRegion}
	}
	slices.Sort(common)
	return slices.Compact(common)
}

// regionWithin reports whether a region surely lies in one of a list. Which
// countries are adequate is another matter each year, so none is.
func regionWithin(code string, list []string) bool {
	in := func(region string) bool { return slices.Contains(list, region) }
	switch {
	case in(code):
		return true
	case code == regionEU:
		return in(regionEEA)
	case code == regionDPF:
		return in("US")
	}
	r := DefaultRegions()
	return in(regionEU) && r.eu[code] || in(regionEEA) && r.EEA(code)
}
