package signals

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/LiveRamp/iabconsent"

	"lupa/schemas"
)

// vector is a line of a file of consent strings.
type vector struct {
	String   string                     `json:"string"`
	Expect   map[string]json.RawMessage `json:"expect"`
	MustFail string                     `json:"expect_error"`
	Parse    string                     `json:"expect_parse"`
	Sections []string                   `json:"sections_with_values"`
}

// vectors reads a file of the shared data.
func vectors(t *testing.T, name string) (list []vector) {
	t.Helper()
	dir := os.Getenv("LUPA_SHARED_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	data, err := os.ReadFile(filepath.Join(dir, "tcf", name))
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED, the consent strings are not there: ", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	if len(list) == 0 {
		t.Fatal("the file is empty")
	}
	return list
}

// fields are those of a TC string, under the names of both files.
func (c tc) fields() map[string]any {
	set := func(m map[int]bool) []int { return slices.Sorted(maps.Keys(m)) }
	vendors := func(ranges bool, entries []*iabconsent.RangeEntry, bits map[int]bool) []int {
		if !ranges {
			return set(bits)
		}
		all := map[int]bool{}
		for _, e := range entries {
			for v := e.StartVendorID; v <= e.EndVendorID; v++ {
				all[v] = true
			}
		}
		return set(all)
	}
	f := map[string]any{
		"Version": c.Version, "Created": c.Created, "LastUpdated": c.LastUpdated, "CMPID": c.CMPID, "CMPVersion": c.CMPVersion,
		"ConsentScreen": c.ConsentScreen, "ConsentLanguage": c.ConsentLanguage, "VendorListVersion": c.VendorListVersion,
		"TCFPolicyVersion": c.TCFPolicyVersion, "IsServiceSpecific": c.IsServiceSpecific, "UseNonStandardStacks": c.UseNonStandardStacks,
		"SpecialFeaturesOptIn": set(c.SpecialFeaturesOptIn), "PurposesConsent": set(c.PurposesConsent),
		"PurposesLITransparency": set(c.PurposesLITransparency), "PurposeOneTreatment": c.PurposeOneTreatment, "PublisherCC": c.PublisherCC,
		"MaxConsentVendorID": c.MaxConsentVendorID, "IsConsentRangeEncoding": c.IsConsentRangeEncoding, "ConsentedVendorsRange": c.ConsentedVendorsRange,
		"NumConsentEntries": c.NumConsentEntries, "NumPubRestrictions": c.NumPubRestrictions,
		"vendorConsent":            vendors(c.IsConsentRangeEncoding, c.ConsentedVendorsRange, c.ConsentedVendors),
		"vendorLegitimateInterest": vendors(c.IsInterestsRangeEncoding, c.InterestsVendorsRange, c.InterestsVendors),
	}
	if d := c.disclosed; d != nil {
		f["disclosedVendors"] = vendors(d.IsRangeEncoding, d.VendorEntries, d.Vendors)
	}
	for other, name := range map[string]string{
		"version": "Version", "created": "Created", "lastUpdated": "LastUpdated", "cmpId": "CMPID", "cmpVersion": "CMPVersion",
		"consentScreen": "ConsentScreen", "consentLanguage": "ConsentLanguage", "vendorListVersion": "VendorListVersion",
		"tcfPolicyVersion": "TCFPolicyVersion", "publisherCC": "PublisherCC", "serviceSpecific": "IsServiceSpecific",
		"purposeOneTreatment": "PurposeOneTreatment", "useNonStandardStacks": "UseNonStandardStacks",
		"specialFeatureOptIns": "SpecialFeaturesOptIn", "purposesConsent": "PurposesConsent", "purposesLITransparency": "PurposesLITransparency",
	} {
		f[other] = f[name]
	}
	return f
}

// checkFields compares what is expected of a string with what was read, and
// gives how many fields that were.
func checkFields(t *testing.T, c tc, expect map[string]json.RawMessage) (checked int) {
	t.Helper()
	fields := c.fields()
	for name, raw := range expect {
		name, how, _ := strings.Cut(name, ".")
		got, ok := fields[name]
		if !ok {
			continue
		}
		checked++
		if at, isTime := got.(time.Time); isTime {
			var want time.Time
			if err := json.Unmarshal(raw, &want); err != nil || !at.Equal(want) {
				t.Errorf("%s: got %s, want %s", name, at, raw)
			}
			continue
		}
		if how != "" {
			var want []int
			if err := json.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			for _, n := range want {
				if slices.Contains(got.([]int), n) != (how == "contains") {
					t.Errorf("%s %s %d: got %v", name, how, n, got)
				}
			}
			continue
		}
		if string(raw) == "{}" { // an empty set
			raw = json.RawMessage("[]")
		}
		want := reflect.New(reflect.TypeOf(got))
		if err := json.Unmarshal(raw, want.Interface()); err != nil {
			t.Fatal(name, err)
		}
		if list, isList := got.([]int); isList && len(list) == 0 && want.Elem().Len() == 0 {
			continue
		}
		if !reflect.DeepEqual(got, want.Elem().Interface()) {
			t.Errorf("%s: got %v, want %s", name, got, raw)
		}
	}
	return checked
}

// TestStringsOfOthers reads the test strings of other parsers. What they read
// is read to the same values; nearly all were made under policies that no
// longer count, so that they deny everything.
func TestStringsOfOthers(t *testing.T) {
	r := newReader(t, Options{})
	deniesAll := func(text string) bool {
		return schemas.AllPurposes&^r.Permitted(schemas.TCFSignal, []byte(quote(text))) == byTCF
	}
	t.Run("iabtcf-java", func(t *testing.T) {
		list := vectors(t, "iabtcf-java.jsonl")
		checked, read := 0, 0
		for i, v := range list {
			c, ok := parseTC(v.String)
			// Base64 in these strings has no padding.
			if want := strings.HasPrefix(v.String, "CO") && !strings.HasSuffix(v.String, "="); ok != want {
				t.Errorf("line %d: read is %v, want %v", i+1, ok, want)
			}
			if ok {
				read++
				checked += checkFields(t, c, v.Expect)
			}
			if !deniesAll(v.String) {
				t.Errorf("line %d does not deny everything", i+1)
			}
		}
		if len(list) != 26 || read != 13 || checked < 20 {
			t.Errorf("%d strings, %d read, %d fields compared", len(list), read, checked)
		}
	})
	t.Run("liveramp-iabconsent-v2", func(t *testing.T) {
		list := vectors(t, "liveramp-iabconsent-v2.jsonl")
		checked := 0
		for i, v := range list {
			c, ok := parseTC(v.String)
			if !ok {
				t.Errorf("line %d: not read", i+1)
				continue
			}
			checked += checkFields(t, c, v.Expect)
			if !deniesAll(v.String) {
				t.Errorf("line %d does not deny everything, with policy %d", i+1, c.TCFPolicyVersion)
			}
		}
		if len(list) != 5 || checked < 90 {
			t.Errorf("%d strings, %d fields compared", len(list), checked)
		}
	})
	t.Run("prebid-strings", func(t *testing.T) {
		rejects, short, policies := 0, 0, map[int]int{}
		for i, v := range vectors(t, "prebid-strings.jsonl") {
			switch c, ok := parseTC(v.String); {
			case v.Parse == "reject":
				rejects++
				fallthrough
			case !strings.HasPrefix(v.String, "C"):
				if !deniesAll(v.String) {
					t.Errorf("line %d does not deny everything", i+1)
				}
			case !ok:
				short++ // they end where publisher restrictions ought to begin
			default:
				policies[c.TCFPolicyVersion]++
				if valid := c.TCFPolicyVersion >= firstPolicy && c.IsServiceSpecific; deniesAll(v.String) == valid && len(c.PurposesConsent) > 0 {
					t.Errorf("line %d: policy %d, service-specific %v, and denies everything is %v", i+1, c.TCFPolicyVersion, c.IsServiceSpecific, !valid)
				}
			}
		}
		if rejects != 27 || short != 2 || policies[2] != 14 || len(policies) != 1 {
			t.Errorf("%d broken strings, %d cut short, policies of the others: %v", rejects, short, policies)
		}
	})
}

// TestGPPStringsOfOthers reads GPP strings by other parsers.
func TestGPPStringsOfOthers(t *testing.T) {
	r := newReader(t, Options{})
	list := vectors(t, "liveramp-gpp.jsonl")
	opted, unread := 0, 0
	for i, v := range list {
		denied, ok := r.gpp(v.String)
		ids, _ := gppSections(strings.SplitN(v.String, "~", 2)[0])
		if !ok || len(ids) == 0 {
			t.Errorf("line %d: read is %v, of sections %v", i+1, ok, ids)
			unread++
			continue
		}
		read := 0
		for _, id := range ids {
			if id >= firstUSSection {
				read++
			}
		}
		if want := slices.DeleteFunc(v.Sections, func(s string) bool { return strings.HasPrefix(s, "SID") }); read != len(want) && len(want) > 0 && read < len(want) {
			t.Errorf("line %d: %d US sections, want %v", i+1, read, want)
		}
		if denied&byGPC == byGPC {
			opted++
		}
	}
	if len(list) != 24 || unread > 0 {
		t.Errorf("%d strings, %d not read", len(list), unread)
	}
	if opted != 6 {
		t.Errorf("%d opt out, want 6", opted)
	}
	// Among these are sections of versions that there are not, of Canada, and
	// headers that are none.
	read := map[bool]int{}
	for _, v := range vectors(t, "prebid-strings.jsonl") {
		if strings.HasPrefix(v.String, "D") {
			_, ok := r.gpp(v.String)
			read[ok]++
		}
	}
	if read[true] != 7 || read[false] != 5 {
		t.Errorf("of other strings %d are read and %d are not, want 7 and 5", read[true], read[false])
	}
}
