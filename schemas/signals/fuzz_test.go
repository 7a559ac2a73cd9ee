package signals

import (
	"testing"

	"lupa/schemas"
)

// FuzzPermitted gives any value as any kind. None takes away what its kind does
// not speak of, none leaves more when it is seen again, and none leaves more
// than an empty vocabulary would let through.
func FuzzPermitted(f *testing.F) {
	for _, value := range []string{
		"null", "true", "0", `"1"`, `{}`, `{"C0001":true,"C0002":false}`, `{"deniedConsentIds":["C0002"],"allowedConsentIds":[]}`,
		`{"eventType":"allow_selected","consentScopes":["C0001"]}`, `{"ad_storage":"granted","analytics_storage":"denied"}`, `"G110"`,
		quote(goodTC().String()), quote(hugeVendors()), quote("DBABrWA~BVVqAAEABCA~BVoYYZoI~BVoYYYI~BVoYYQg~BVaGGGCA~BVoYYYQg~Bqqqqqqo~Bqqqqqqo"),
		quote(gppHeader(2, 6, 7) + "~" + goodTC().String() + "~1YYN~" + usNational(1, 2, 2) + ".YA"), quote(gppRange(1 << 40)), "!", `"\ud800"`,
	} {
		f.Add([]byte(value))
	}
	fresh := newReader(f, Options{TCFVendor: 812})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := newReader(t, Options{})
		for kind := schemas.CategorySignal; int(kind) < schemas.NumSignalKinds; kind++ {
			left := r.Permitted(kind, raw)
			if again := r.Permitted(kind, raw); again != left {
				t.Errorf("%s leaves %s, and then %s", kind, left, again)
			}
			if left&^schemas.AllPurposes != 0 || left|r.speaks[kind] != schemas.AllPurposes {
				t.Errorf("%s leaves %s, and speaks only of %s", kind, left, r.speaks[kind])
			}
			if strict := fresh.Permitted(kind, raw); strict&^left != 0 {
				t.Errorf("%s leaves %s to a vendor, and %s to all", kind, strict, left)
			}
		}
	})
}

// FuzzStrings gives any text as a TC and a GPP string.
func FuzzStrings(f *testing.F) {
	for _, text := range []string{
		goodTC().String(), hugeVendors(), "DBABMA~" + goodTC().String(), "DBAA", gppRange(1<<40) + "~1YNN",
		gppHeader(2, 6, 7, 22) + "~" + goodTC().String() + "~1YYN~" + usNational(1, 2, 2) + ".YA~Bqqqqqo",
	} {
		f.Add(text)
	}
	r := newReader(f, Options{})
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > longestValue {
			return
		}
		denied, ok := r.tcString(text)
		if ok && denied&^byTCF != 0 || !ok && denied != 0 {
			t.Errorf("denies %s, read is %v", denied, ok)
		}
		if c, read := parseTC(text); ok && (!read || c.TCFPolicyVersion < firstPolicy || !c.IsServiceSpecific) {
			t.Error("a string is taken that is not valid")
		}
		if ids, ok := gppSections(text); ok && len(ids) > mostSections {
			t.Errorf("%d sections", len(ids))
		}
		if denied, _ := r.gpp(text); denied&^byGPP != 0 {
			t.Errorf("denies %s", denied)
		}
	})
}
