package schemas

import "testing"

func TestAllPurposes(t *testing.T) {
	for p := NoPurpose; p < numPurposes+1; p++ {
		if got, want := AllPurposes.Has(p), p != NoPurpose && p < numPurposes; got != want {
			t.Errorf("AllPurposes.Has(%d) is %t, want %t", p, got, want)
		}
	}
	var all PurposeSet
	for _, name := range PurposeNames() {
		p, _ := ParsePurpose(name)
		all = all.With(p)
	}
	if all != AllPurposes {
		t.Errorf("AllPurposes is %b, the names make %b", AllPurposes, all)
	}
}
