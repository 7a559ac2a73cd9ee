package oracle

import (
	"strings"
	"unicode"

	"lupa/schemas"
)

// every is the purpose of a record about all purposes, in place of one.
const every = schemas.NoPurpose

// dpvPurposes are the terms of the DPV that the ledger's format knows: the
// purpose that a grant for it permits, and the one that a denial takes away
// (every for all).
var dpvPurposes = map[string]struct{ grants, denies schemas.Purpose }{
	"ServiceProvision":        {schemas.Necessary, schemas.Necessary},
	"ServiceUsageAnalytics":   {schemas.Analytics, schemas.Analytics},
	"ServicePersonalisation":  {schemas.Functional, schemas.Functional},
	"PersonalisedAdvertising": {schemas.PersonalisedAdvertising, schemas.PersonalisedAdvertising},
	"SocialMediaMarketing":    {schemas.SocialMediaMarketing, schemas.SocialMediaMarketing},
	"SellDataToThirdParties":  {schemas.ThirdPartySharing, schemas.ThirdPartySharing},
	"Profiling":               {schemas.Profiling, schemas.Profiling},
	"TargetedAdvertising":     {schemas.NoPurpose, schemas.PersonalisedAdvertising},
	"DirectMarketing":         {schemas.NoPurpose, every},
	"Marketing":               {schemas.NoPurpose, every},
	"Advertising":             {schemas.NoPurpose, every},
	"Personalisation":         {schemas.NoPurpose, every},
}

// dpv cuts the namespace off a term of the DPV as records must write it.
func dpv(name string) (term string, is bool) {
	for _, prefix := range []string{"dpv:", "https://w3id.org/dpv#"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return rest, true
		}
	}
	return name, false
}

// grantPurpose is what a grant under a name permits; the name must fit exactly.
func grantPurpose(name string) (p schemas.Purpose, known bool) {
	if term, is := dpv(name); is {
		p = dpvPurposes[term].grants
	} else {
		p, _ = schemas.ParsePurpose(name)
	}
	return p, p != schemas.NoPurpose
}

// denialPurpose is what a denial under a name takes away: no less than it may
// mean. known is false when it means nothing of ours.
func denialPurpose(name string) (p schemas.Purpose, known bool) {
	if name == "*" {
		return every, true
	}
	term, is := dpv(name)
	if !is {
		if p, ok := schemas.ParsePurpose(name); ok {
			return p, true
		}
	} else if d, ok := dpvPurposes[term]; ok {
		return d.denies, true
	}
	// Not exactly ours: spelling and namespaces do not matter now.
	term, is = name, false
	if cut := strings.LastIndexAny(name, ":#/"); cut >= 0 && strings.Contains(strings.ToLower(name[:cut]), "dpv") {
		term, is = name[cut+1:], true
	}
	plain := plainName(term)
	if plain == "*" {
		return every, true
	}
	for _, ours := range schemas.PurposeNames() {
		if !is && plainName(ours) == plain {
			return schemas.ParsePurpose(ours)
		}
	}
	for dpvTerm, d := range dpvPurposes {
		if plainName(dpvTerm) == plain {
			return d.denies, true
		}
	}
	return every, is
}

func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// stateVerbs are the DPV's consent statuses. In those of NoVerb nobody has said
// anything.
var stateVerbs = map[string]schemas.Verb{
	"ConsentGiven": schemas.Grant, "RenewedConsentGiven": schemas.Grant,
	"ConsentRefused":   schemas.Refuse,
	"ConsentWithdrawn": schemas.Withdraw, "ConsentRevoked": schemas.Withdraw,
	"ConsentInvalidated": schemas.Withdraw, "ConsentExpired": schemas.Withdraw,
	"ConsentUnknown": schemas.NoVerb, "ConsentRequested": schemas.NoVerb, "ConsentRequestDeferred": schemas.NoVerb,
}

var verbs = map[string]schemas.Verb{
	"grant": schemas.Grant, "refuse": schemas.Refuse, "withdraw": schemas.Withdraw,
	"object": schemas.Object, "erase": schemas.Erase, "link": schemas.Link,
}
