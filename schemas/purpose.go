package schemas

import (
	"math/bits"
	"strings"
)

// Purpose is what data is used for. The zero value is no purpose; nothing is
// ever granted for it.
type Purpose uint8

// The purposes, in the order of the table that maps them to the names of DPV,
// TCF, Google Consent Mode and OneTrust.
const (
	NoPurpose Purpose = iota
	Necessary
	Analytics
	Functional
	DirectMarketingEmail
	DirectMarketingSMS
	DirectMarketingPhone
	PersonalisedAdvertising
	SocialMediaMarketing
	Profiling
	ThirdPartySharing

	numPurposes
)

// NumPurposes is the length of an array indexed by Purpose.
const NumPurposes = int(numPurposes)

var purposeNames = [numPurposes]string{
	Necessary:               "necessary",
	Analytics:               "analytics",
	Functional:              "functional",
	DirectMarketingEmail:    "direct_marketing_email",
	DirectMarketingSMS:      "direct_marketing_sms",
	DirectMarketingPhone:    "direct_marketing_phone",
	PersonalisedAdvertising: "personalised_advertising",
	SocialMediaMarketing:    "social_media_marketing",
	Profiling:               "profiling",
	ThirdPartySharing:       "third_party_sharing",
}

// String gives the purpose's name as contracts and ledger records write it.
func (p Purpose) String() string {
	if p < numPurposes {
		return purposeNames[p]
	}
	return ""
}

// ParsePurpose finds a purpose by its name. An unknown name is no purpose.
func ParsePurpose(name string) (Purpose, bool) {
	for p := Necessary; p < numPurposes; p++ {
		if purposeNames[p] == name {
			return p, true
		}
	}
	return NoPurpose, false
}

// PurposeNames lists every purpose, for messages that say what is allowed.
func PurposeNames() []string { return append([]string(nil), purposeNames[Necessary:]...) }

// PurposeSet is a set of purposes; the zero value is empty.
type PurposeSet uint64

// AllPurposes holds every purpose there is.
const AllPurposes = PurposeSet((1<<numPurposes - 1) &^ 1)

// Purposes makes a set.
func Purposes(list ...Purpose) PurposeSet {
	var s PurposeSet
	for _, p := range list {
		s = s.With(p)
	}
	return s
}

// With adds p. Adding NoPurpose changes nothing.
func (s PurposeSet) With(p Purpose) PurposeSet {
	if p == NoPurpose || p >= numPurposes {
		return s
	}
	return s | 1<<p
}

// Has reports whether p is in s.
func (s PurposeSet) Has(p Purpose) bool { return p != NoPurpose && s>>p&1 == 1 }

// Covers reports whether every purpose of need is in s.
func (s PurposeSet) Covers(need PurposeSet) bool { return s&need == need }

// Each calls f for every purpose of s, in order.
func (s PurposeSet) Each(f func(Purpose)) {
	for rest := uint64(s); rest != 0; rest &= rest - 1 {
		f(Purpose(bits.TrailingZeros64(rest)))
	}
}

// String lists the names with commas.
func (s PurposeSet) String() string {
	var names []string
	s.Each(func(p Purpose) { names = append(names, p.String()) })
	return strings.Join(names, ",")
}
