package schemas

import (
	"errors"
	"strings"
	"testing"
)

func TestRegionsAllow(t *testing.T) {
	for _, c := range []struct {
		terms, destination string
		want               bool
	}{
		{"", "FI", true}, {"", "", true}, {"", "nowhere", true},
		{"FI", "FI", true}, {"FI", "fi", true}, {"FI,SE", "SE", true}, {"FI", "SE", false},
		{"GR", "EL", true}, {"GB", "UK", true}, {"GB", "GB", true},
		{"EU", "FI", true}, {"EU", "EL", true}, {"EU", "NO", false}, {"EU", "CH", false}, {"EU", "EU", false},
		{"EEA", "FI", true}, {"EEA", "NO", true}, {"EEA", "IS", true}, {"EEA", "LI", true}, {"EEA", "CH", false}, {"EEA", "GB", false},
		{"ADEQUATE", "CH", true}, {"ADEQUATE", "GB", true}, {"ADEQUATE", "UK", true}, {"ADEQUATE", "BR", true}, {"ADEQUATE", "KR", true},
		{"ADEQUATE", "FI", false}, {"ADEQUATE,EEA", "FI", true}, {"ADEQUATE", "CN", false},
		{"ADEQUATE", "US", false}, {"ADEQUATE", "US-DPF", true}, {"ADEQUATE", "us-dpf", true},
		{"US", "US", true}, {"US", "US-DPF", true}, {"US-DPF", "US-DPF", true}, {"US-DPF", "US", false}, {"EEA", "US-DPF", false},
		{"ADEQUATE", "CN-DPF", false}, {"CH", "CH-DPF", true},
		{"?", "FI", false}, {"?", "?", false}, {"?", "", false}, {"?,FI", "FI", true},
		{"FI", "", false}, {"EEA,ADEQUATE", "", false}, {"FI", "Finland", false}, {"FI", "FI,SE", false},
	} {
		if got := DefaultRegions().Allows(c.terms, c.destination); got != c.want {
			t.Errorf("%q at %q: %t", c.terms, c.destination, got)
		}
	}
}

func TestRegionLists(t *testing.T) {
	r := DefaultRegions()
	if len(r.eu) != 27 || len(r.eea) != 3 || len(r.adequate) != 15 || r.Date() != "2026-08-05" {
		t.Errorf("%d in the EU, %d more in the EEA, %d adequate, of %s", len(r.eu), len(r.eea), len(r.adequate), r.Date())
	}
	for country, want := range map[string][2]bool{
		"FI": {true, false}, "el": {true, false}, "NO": {true, false}, "CH": {false, true}, "UK": {false, true},
		"US": {false, false}, "US-DPF": {false, true}, "CN": {false, false}, "": {false, false}, "EU": {false, false},
	} {
		if got := [2]bool{r.EEA(country), r.Adequate(country)}; got != want {
			t.Errorf("%q: EEA and adequate are %t, want %t", country, got, want)
		}
	}
	for country := range r.adequate {
		if r.EEA(country) {
			t.Errorf("%s is in the EEA and a third country", country)
		}
	}
}

func TestReadRegions(t *testing.T) {
	r, err := ReadRegions(writeFile(t, "date: '2027-01-01'\nadequate: [CH]\ncertified: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Adequate("GB") || r.Adequate("US-DPF") || !r.Adequate("CH") || !r.EEA("NO") || r.Date() != "2027-01-01" || r.Hash() == DefaultRegions().Hash() {
		t.Error("the file's lists are not laid over the embedded ones")
	}
	if !DefaultRegions().Adequate("GB") {
		t.Error("reading a file changed the embedded lists")
	}
	for text, want := range map[string]string{
		"eu: [FI]":                                       "1: regions: the key date is missing",
		"date: today":                                    "1: date: must be a date as YYYY-MM-DD",
		"date: '2027-01-01'\neu: [Finland]":              `2: eu: "Finland" is no ISO 3166-1 alpha-2 code in capital letters`,
		"date: '2027-01-01'\neu: [FI, FI]":               "2: eu: FI is listed twice",
		"date: '2027-01-01'\neu: FI":                     "2: eu: must be a list, is text",
		"date: '2027-01-01'\nefta: [NO]":                 `2: regions: unknown key "efta"; allowed: date, eu, eea, adequate, certified`,
		"date: '2027-01-01'\nadequate: [UK]":             `2: adequate: "UK" is no ISO 3166-1 alpha-2 code in capital letters`,
		"date: '2027-01-01'\nadequate: [CH]\neea: [1]\n": "3: eea: must be text, is a number; put it in quotes",
	} {
		file := writeFile(t, text)
		_, err := ReadRegions(file)
		var wrong *ContractError
		if !errors.As(err, &wrong) || err.Error() != file+":"+want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// FuzzRegions: regions that a record names allow no destination that is none, and
// each region alone no more than it with others.
func FuzzRegions(f *testing.F) {
	f.Add(`["FI","EEA"]`, "NO")
	f.Add(`"ADEQUATE"`, "US-DPF")
	f.Fuzz(func(t *testing.T, list, destination string) {
		text := recordText(map[string]string{"+": `"storage_locations":` + list})
		r, err := ParseRecord([]byte(text))
		if err != nil || r.Terms.Regions == "" {
			return
		}
		allowed, any := DefaultRegions().Allows(r.Terms.Regions, destination), false
		for code := range strings.SplitSeq(r.Terms.Regions, ",") {
			any = any || DefaultRegions().Allows(code, destination)
		}
		if _, _, ok := destinationCode(destination); allowed != any || allowed && !ok {
			t.Fatalf("regions %s", r.Terms.Regions)
		}
		checkRoundTrip(t, r)
	})
}
