package schemas

import "testing"

func TestMarker(t *testing.T) {
	if m := AppendMarker(nil, "consent-service.1"); !IsMarker(m) || string(m) != `{"marker":"consent-service.1"}` {
		t.Errorf("%s is no marker", m)
	}
	for _, other := range []string{"", "{}", `{"marker":`, `{"marker":"`, `{"marker":"}`, `{"marker":"a","principal":"b"}`,
		`{"marker":"a\"}`, `{"principal":{"kind":"email"},"marker":"a"}`} {
		if IsMarker([]byte(other)) {
			t.Errorf("%s passes for a marker", other)
		}
	}
}
