package signals

import (
	"testing"

	"lupa/schemas"
)

// TestDefaultVocabulary reads signals by the names that come with the program.
func TestDefaultVocabulary(t *testing.T) {
	r, err := NewReader(schemas.DefaultVocabulary(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Of direct marketing no signal but a category can say anything.
	marketing := schemas.Purposes(schemas.DirectMarketingEmail, schemas.DirectMarketingSMS, schemas.DirectMarketingPhone)
	for kind := schemas.CategorySignal; int(kind) < schemas.NumSignalKinds; kind++ {
		if speaks := r.speaks[kind]; speaks == 0 || speaks&^schemas.AllPurposes != 0 || speaks&marketing != 0 {
			t.Errorf("%s speaks of %s", kind, speaks)
		}
		if !r.speaks[kind].Covers(advertising) {
			t.Errorf("%s says nothing of advertising", kind)
		}
	}
	for _, c := range []struct {
		kind          schemas.SignalKind
		value         string
		denies, leave schemas.PurposeSet // at least
	}{
		{schemas.CategorySignal, `{"Advertising":true,"Analytics":false,"Functional":true,"DataSharing":false}`, analytics | sharing, functional | advertising | social},
		{schemas.CategorySignal, `{"C0001":true,"C0002":true,"C0003":false,"C0004":false,"C0005":false}`, functional | advertising | social | sharing, necessary | analytics},
		{schemas.RudderSignal, `{"deniedConsentIds":["C0004"]}`, advertising, analytics | functional | necessary},
		{schemas.PreferenceSignal, `{"eventType":"deny_all"}`, advertising | analytics | functional, marketing},
		{schemas.TCFSignal, quote(goodTC().String()), 0, schemas.AllPurposes},
		{schemas.TCFSignal, `"COwAdDhOwAdDhN4ABAENAPCgAAQAAv___wAAAFP_AAp_4AI6ACACAA"`, byTCF, marketing | necessary},
		{schemas.GPPSignal, quote(gppHeader(7) + "~" + usNational(1, 2, 2)), byGPC, analytics | functional | social},
		{schemas.GPCSignal, `true`, byGPC, analytics | functional | marketing},
		{schemas.GoogleSignal, `"G101"`, advertising | social, analytics | necessary | functional},
	} {
		left := r.Permitted(c.kind, []byte(c.value))
		if left&c.denies != 0 || !left.Covers(c.leave) {
			t.Errorf("%s leaves %s, must deny %s and leave %s", c.kind, left, c.denies, c.leave)
		}
	}
}
