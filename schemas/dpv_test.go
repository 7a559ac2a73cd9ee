package schemas

import "testing"

func TestPurposeOfDenial(t *testing.T) {
	for _, c := range []struct {
		name  string
		want  Purpose
		every bool
	}{
		{"analytics", Analytics, false},
		{"*", NoPurpose, true},
		{" * ", NoPurpose, true},
		{"dpv:ServiceUsageAnalytics", Analytics, false},
		{"dpv:TargetedAdvertising", PersonalisedAdvertising, false},
		{"dpv:Marketing", NoPurpose, true},

		{"Direct_Marketing_Email", DirectMarketingEmail, false},
		{" direct_marketing_email\n", DirectMarketingEmail, false},
		{"direct-marketing-email", DirectMarketingEmail, false},
		{"directMarketingEmail", DirectMarketingEmail, false},
		{"DirectMarketing", NoPurpose, true},
		{"Marketing", NoPurpose, true},
		{"dpv:marketing", NoPurpose, true},
		{"DPV:TargetedAdvertising", PersonalisedAdvertising, false},
		{"http://www.w3.org/ns/dpv#ServiceUsageAnalytics", Analytics, false},
		{"https://w3id.org/dpv/owl#DirectMarketing", NoPurpose, true},
		{"https://w3id.org/dpv#Purpose", NoPurpose, true},
		{"dpv:CommercialPurpose", NoPurpose, true},
		{"dpv:analytics", NoPurpose, true},
		{"dpv:", NoPurpose, true},

		{"newsletter", NoPurpose, false},
		{"unknown", NoPurpose, false},
		{"C0004", NoPurpose, false},
		{"shop:analytics", NoPurpose, false},
		{"", NoPurpose, false},
	} {
		if p, every := deniedPurpose(c.name); p != c.want || every != c.every {
			t.Errorf("%q: %v, every %v, want %v, %v", c.name, p, every, c.want, c.every)
		}
	}
}

// A grant is for what it names, letter by letter.
func TestPurposeOfGrant(t *testing.T) {
	for name, want := range map[string]Purpose{
		"analytics":                          Analytics,
		"dpv:ServiceUsageAnalytics":          Analytics,
		"https://w3id.org/dpv#Profiling":     Profiling,
		"Analytics":                          NoPurpose,
		" analytics":                         NoPurpose,
		"ServiceUsageAnalytics":              NoPurpose,
		"DPV:ServiceUsageAnalytics":          NoPurpose,
		"http://www.w3.org/ns/dpv#Profiling": NoPurpose,
		"https://w3id.org/dpv/owl#Profiling": NoPurpose,
		"direct-marketing-email":             NoPurpose,
		"dpv:TargetedAdvertising":            NoPurpose,
		"dpv:Marketing":                      NoPurpose,
		"*":                                  NoPurpose,
	} {
		if got := grantedPurpose(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
