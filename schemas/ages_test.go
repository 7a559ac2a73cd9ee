package schemas

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestAges(t *testing.T) {
	day := func(text string) int64 {
		at, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return at.UnixMicro()
	}
	now := day("2026-11-24")
	for _, c := range []struct {
		country string
		at      int64
		years   int
		joint   bool
	}{
		{"FI", now, 13, false}, {"BE", now, 13, false}, {"PT", now, 13, false}, {"SE", now, 13, false},
		{"AT", now, 14, false}, {"ES", now, 14, false}, {"IT", now, 14, false}, {"CZ", now, 15, false},
		{"DE", now, 16, false}, {"IE", now, 16, false}, {"NL", now, 16, false}, {"PL", now, 16, false},
		{"FR", now, 15, true}, {"FR", math.MinInt64, 15, true},
		{"DK", now, 15, false}, {"DK", day("2024-01-01"), 15, false}, {"DK", day("2024-01-01") - 1, 13, false}, {"DK", math.MinInt64, 13, false},
		// Not verified.
		{"EE", now, 16, false}, {"GB", now, 16, false}, {"UK", now, 16, false}, {"NO", now, 16, false}, {"GR", now, 16, false}, {"EL", now, 16, false}, {"SI", now, 16, false},
		// Not known.
		{"US", now, 16, false}, {"", now, 16, false}, {"Finland", now, 16, false},
		// However it is written.
		{"fi", now, 13, false},
	} {
		if years, joint := DefaultAges().Age(c.country, c.at); years != c.years || joint != c.joint {
			t.Errorf("%q: %d, joint %t, want %d, %t", c.country, years, joint, c.years, c.joint)
		}
	}
	if DefaultAges().Date() != "2026-08-01" {
		t.Errorf("the table is of %s", DefaultAges().Date())
	}
}

func TestReadAges(t *testing.T) {
	a, err := ReadAges(writeFile(t, `
date: "2026-11-01"
countries:
  "NO":
    - {age: 15, since: "2027-01-01"}
    - {age: 13, since: "2018-07-20"}
  GB: [{age: 13}]
  GR: [{age: 15, verified: false, joint: true}]
  US: [{age: 18, joint: true}]
`))
	if err != nil {
		t.Fatal(err)
	}
	at := func(year int) int64 { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() }
	for _, c := range []struct {
		country string
		at      int64
		years   int
		joint   bool
	}{
		{"NO", at(2017), 16, false}, {"NO", at(2026), 13, false}, {"NO", at(2027), 15, false},
		{"UK", at(2026), 13, false}, {"GR", at(2026), 16, true}, {"US", at(2026), 18, true}, {"FI", at(2026), 13, false},
	} {
		if years, joint := a.Age(c.country, c.at); years != c.years || joint != c.joint {
			t.Errorf("%s: %d, joint %t, want %d, %t", c.country, years, joint, c.years, c.joint)
		}
	}
	if years, _ := DefaultAges().Age("GB", at(2026)); years != StrictestAge || a.Date() != "2026-11-01" {
		t.Error("reading a file changed the embedded table, or not its own date")
	}
}

func TestReadAgesErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "date: '2026-01-01'", "1: ages: the key countries is missing"},
		{"a key that is not known", "countries: {}\nunknown: 13", `2: ages: unknown key "unknown"; allowed: countries, date`},
		{"a country by its name", "countries: {Finland: [{age: 13}]}", `1: countries: "Finland" is no ISO 3166-1 alpha-2 code in capital letters`},
		{"a country by another code", "countries: {EL: [{age: 13}]}", `1: countries: "EL" is no ISO 3166-1 alpha-2 code in capital letters`},
		{"no entries", "countries: {FI: []}", "1: FI: the list is empty"},
		{"no age", "countries: {FI: [{since: '2026-01-01'}]}", "1: FI: the key age is missing"},
		{"an age that is too low", "countries: {FI: [{age: 12}]}", "1: FI: age: must be a whole number, 13 to 21"},
		{"an age that is text", "countries: {FI: [{age: '13'}]}", "1: FI: age: must be a whole number, 13 to 21"},
		{"an age with a fraction", "countries: {FI: [{age: 13.5}]}", "1: FI: age: must be a whole number, 13 to 21"},
		{"a day that is none", "countries: {FI: [{age: 13, since: 'May'}]}", "1: FI: since: must be a date as YYYY-MM-DD"},
		{"a day twice", "countries: {FI: [{age: 13}, {age: 14}]}", "1: FI: two entries are in force since the same day"},
		{"a misspelt key", "countries: {FI: [{age: 13, verifed: false}]}", `1: FI: unknown key "verifed"; allowed: age, joint, since, verified`},
		{"joint as text", "countries: {FI: [{age: 13, joint: 'yes'}]}", "1: FI: joint: must be true or false, is text"},
	} {
		file := writeFile(t, c.text)
		_, err := ReadAges(file)
		var wrong *ContractError
		if !errors.As(err, &wrong) || len(wrong.Problems) != 1 || err.Error() != file+":"+c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestAgesHash(t *testing.T) {
	seen := map[[32]byte]string{DefaultAges().Hash(): "the embedded table"}
	for _, text := range []string{
		"countries: {FI: [{age: 14}]}", "countries: {FI: [{age: 13, joint: true}]}", "countries: {FI: [{age: 13, verified: false}]}",
		"countries: {FI: [{age: 13, since: '2018-05-25'}]}", "countries: {US: [{age: 13}]}",
	} {
		a, err := ReadAges(writeFile(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if other, same := seen[a.Hash()]; same {
			t.Errorf("%s has the hash of %s", text, other)
		}
		seen[a.Hash()] = text
	}
	same, err := ReadAges(writeFile(t, "date: '2027-01-01'\ncountries: {FI: [{age: 13}], DK: [{age: 15, since: '2024-01-01'}, {age: 13}]}"))
	if err != nil || same.Hash() != DefaultAges().Hash() {
		t.Errorf("the same entries have another hash, error %v", err)
	}
}

// FuzzReadAges: what loads never gives an age below that of Art 8.
func FuzzReadAges(f *testing.F) {
	f.Add(defaultAgesFile, "FI", int64(0))
	f.Add([]byte("countries: {FI: [{age: 14, since: '2030-01-01'}]}"), "fi", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, data []byte, country string, at int64) {
		a, err := parseAges("own.yaml", data, DefaultAges())
		if err != nil {
			return
		}
		if years, _ := a.Age(country, at); years < youngestAge || years > oldestAge {
			t.Fatalf("%d years", years)
		}
	})
}
