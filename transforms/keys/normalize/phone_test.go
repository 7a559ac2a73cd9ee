package normalize

import (
	"fmt"
	"math/rand"
	"testing"

	"github.com/nyaruka/phonenumbers"
)

func TestPhone(t *testing.T) {
	for _, c := range []struct{ name, region, in, want string }{
		{"E.164", "", "+16502530000", "+16502530000"},
		{"separators", "", "+1 (650) 253-00.00", "+16502530000"},
		{"spaces around", "", "  +358 40 1234567 ", "+358401234567"},
		{"RFC 3966", "", "tel:+1-650-253-0000", "+16502530000"},
		{"extension", "", "+1 650 253 0000 ext. 5", "+16502530000"},
		{"national prefix after the code", "", "+44 (0) 20 7183 8750", "+442071838750"},
		{"Italian zero", "", "+39 06 698 1234", "+39066981234"},
		{"fullwidth", "", "＋１ ６５０ ２５３ ００００", "+16502530000"},
		{"national in its region", "FI", "040 1234567", "+358401234567"},
		{"international prefix", "FI", "00 1 650 253 0000", "+16502530000"},
		{"national without a region", "", "040-123 4567", "?0401234567"},
		{"the same, other separators", "", "(040) 1234567", "?0401234567"},
		{"letters stay", "", "040 1234567 Jane", "?0401234567jane"},
		{"unknown code", "", "+210 123456", "?210123456"},
		{"marked already", "FI", "?0401234567", "?0401234567"},
		{"too short", "", "+1", "?1"},
		{"no digit", "FI", "unknown", ""},
		{"empty", "FI", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(normalizer(t, c.region).Phone([]byte(c.in))); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPhoneRegionIsChecked(t *testing.T) {
	for _, region := range []string{"fi", "XX", "FIN", " "} {
		if _, err := New(region); err == nil {
			t.Errorf("region %q was accepted", region)
		}
	}
}

// TestPlainPhoneIsWhatTheParserSays holds the short way against the parser:
// every country code and length, a third of the pairs of digits behind the
// code, with and without separators.
func TestPlainPhoneIsWhatTheParserSays(t *testing.T) {
	seed := rand.Int63()
	rnd := rand.New(rand.NewSource(seed))
	separators := []string{"", "", "", " ", "-", ".", "(", ")", ") ", " - "}
	n, plain := normalizer(t, "US"), 0
	for code := range phonenumbers.GetSupportedCallingCodes() {
		for length := 1; length <= 18; length++ {
			for start := rnd.Intn(3); start < 100; start += 3 {
				number := fmt.Sprintf("%02d", start)
				for len(number) < length {
					number += fmt.Sprint(rnd.Intn(10))
				}
				in := "+"
				for _, digit := range fmt.Sprint(code) + number[:length] {
					in += separators[rnd.Intn(len(separators))] + string(digit)
				}
				got, ok := n.plainPhone([]byte(in))
				if !ok {
					continue
				}
				plain++
				parsed, err := phonenumbers.Parse(in, "US")
				if err != nil {
					t.Fatalf("seed %d: %q is %q, the parser refuses it", seed, in, got)
				}
				if want := phonenumbers.Format(parsed, phonenumbers.E164); string(got) != want {
					t.Fatalf("seed %d: %q is %q, the parser says %q", seed, in, got, want)
				}
			}
		}
	}
	if plain < 50_000 {
		t.Fatalf("only %d numbers took the short way", plain)
	}
}

// TestExampleNumbers runs each region's example number through its national
// and international spellings: all are one identifier.
func TestExampleNumbers(t *testing.T) {
	seen := 0
	for region := range phonenumbers.GetSupportedRegions() {
		example := phonenumbers.GetExampleNumber(region)
		if example == nil {
			continue
		}
		seen++
		n, want := normalizer(t, region), phonenumbers.Format(example, phonenumbers.E164)
		for _, format := range []phonenumbers.PhoneNumberFormat{phonenumbers.E164, phonenumbers.INTERNATIONAL, phonenumbers.NATIONAL, phonenumbers.RFC3966} {
			if got := string(n.Phone([]byte(phonenumbers.Format(example, format)))); got != want {
				t.Errorf("region %s, format %d: got %s, want %s", region, format, got, want)
			}
		}
	}
	if seen < 200 {
		t.Fatalf("only %d regions", seen)
	}
}

func BenchmarkPhone(b *testing.B) {
	for _, c := range []struct{ name, in string }{
		{"E164", "+358401234567"}, {"separators", "+358 40 123-4567"}, {"national", "040 1234567"}, {"unparsed", "1"},
	} {
		b.Run(c.name, func(b *testing.B) {
			n, in := normalizer(b, "FI"), []byte(c.in)
			b.ReportAllocs()
			for b.Loop() {
				n.Phone(in)
			}
		})
	}
}
