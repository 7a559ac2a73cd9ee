package signals

import "lupa/schemas"

// privacyControl reads Global Privacy Control. Only what says that it is off
// denies nothing.
func (r *Reader) privacyControl(raw []byte) (denied schemas.PurposeSet, ok bool) {
	switch string(raw) {
	case "false", "0", `"0"`, `"false"`:
		return 0, true
	}
	return 0, false
}

// googleSignals are the signals of Google Consent Mode v2.
var googleSignals = [...]string{
	"ad_storage", "ad_user_data", "ad_personalization", "analytics_storage",
	"functionality_storage", "personalization_storage", "security_storage",
}

type googleSignal struct {
	name     string
	purposes schemas.PurposeSet
}

// consentMode reads the signals of Google Consent Mode. One that is missing is
// not granted. The text gcs has two of them; its first digit is for all that is
// about advertising.
func (r *Reader) consentMode(raw []byte) (denied schemas.PurposeSet, ok bool) {
	if text, isText := textOf(raw); isText {
		if len(text) != 4 || text[:2] != "G1" || !isDigit(text[2]) || !isDigit(text[3]) {
			return 0, false
		}
		for i, signal := range r.google[:4] {
			if i < 3 && text[2] == '0' || i == 3 && text[3] == '0' {
				denied |= signal.purposes
			}
		}
		return denied, true
	}
	var granted, refused [len(googleSignals)]bool
	ok = members(raw, func(name string, value []byte) bool {
		for i := range r.google {
			if r.google[i].name == name {
				granted[i] = true
				refused[i] = refused[i] || string(value) != `"granted"`
			}
		}
		return true
	})
	for i, signal := range r.google {
		if !granted[i] || refused[i] {
			denied |= signal.purposes
		}
	}
	return denied, ok
}

func isDigit(c byte) bool { return c == '0' || c == '1' }
