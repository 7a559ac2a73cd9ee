package schemas

import "testing"

func TestPurposeOfDenial(t *testing.T) {
	direct, marketing := groupNamed("direct_marketing"), groupNamed("marketing")
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
		{"dpv:Marketing", marketing, false},

		{"Direct_Marketing_Email", DirectMarketingEmail, false},
		{" direct_marketing_email\n", DirectMarketingEmail, false},
		{"direct-marketing-email", DirectMarketingEmail, false},
		{"directMarketingEmail", DirectMarketingEmail, false},
		{"DirectMarketing", direct, false},
		{"Direct Marketing", direct, false},
		{"Marketing", marketing, false},
		{"dpv:marketing", marketing, false},
		{"dpv:Advertising", groupNamed("advertising"), false},
		{"dpv:Personalisation", groupNamed("personalisation"), false},
		{"DPV:TargetedAdvertising", PersonalisedAdvertising, false},
		{"http://www.w3.org/ns/dpv#ServiceUsageAnalytics", Analytics, false},
		{"https://w3id.org/dpv/owl#DirectMarketing", direct, false},
		{"https://w3id.org/dpv#Purpose", NoPurpose, true},
		{"dpv:CommercialPurpose", NoPurpose, true},
		{"dpv:PublicRelations", NoPurpose, true},
		{"dpv:analytics", NoPurpose, true},
		{"dpv:newsletter", NoPurpose, true},
		{"dpv:*", NoPurpose, true},
		{"dpv:", NoPurpose, true},

		{"newsletter", DirectMarketingEmail, false},
		{"E-Mail", DirectMarketingEmail, false},
		{"SMS", DirectMarketingSMS, false},
		{"telephone", DirectMarketingPhone, false},
		{"marketing.communications.sms", DirectMarketingSMS, false},
		{"marketing.communications", direct, false},
		{"personalization", groupNamed("personalisation"), false},

		{"fun", NoPurpose, false},
		{"unknown", NoPurpose, false},
		{"C0004", NoPurpose, false},
		{"shop:analytics", NoPurpose, false},
		{"", NoPurpose, false},
	} {
		if p, every := DefaultVocabulary().Denied(c.name); p != c.want || every != c.every {
			t.Errorf("%q: %v, every %v, want %v, %v", c.name, p, every, c.want, c.every)
		}
	}
}

func groupNamed(name string) Purpose {
	p, known := DefaultVocabulary().ParseScope(name)
	if !known || !p.IsGroup() {
		panic("no group " + name)
	}
	return p
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
		"newsletter":                         NoPurpose,
		"email":                              NoPurpose,
		"direct_marketing":                   NoPurpose,
		"marketing.communications.email":     NoPurpose,
		"unknown":                            NoPurpose,
	} {
		if got := DefaultVocabulary().Granted(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
