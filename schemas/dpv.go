package schemas

import "strings"

// dpvTerm takes the namespace off a DPV term. isTerm is false for a name that
// has none.
func dpvTerm(name string) (term string, isTerm bool) {
	for _, namespace := range [...]string{"dpv:", "https://w3id.org/dpv#"} {
		if term, found := strings.CutPrefix(name, namespace); found {
			return term, true
		}
	}
	return name, false
}

// stateVerb gives the verb of a DPV consent status. States in which nobody has
// said anything are known and have no verb.
func stateVerb(state string) (verb Verb, known bool) {
	state, _ = dpvTerm(state)
	switch state {
	case "ConsentGiven", "RenewedConsentGiven":
		return Grant, true
	case "ConsentRefused":
		return Refuse, true
	case "ConsentWithdrawn", "ConsentRevoked", "ConsentInvalidated", "ConsentExpired":
		return Withdraw, true
	case "ConsentUnknown", "ConsentRequested", "ConsentRequestDeferred":
		return NoVerb, true
	}
	return NoVerb, false
}

// verbState is the status that stands for a verb, or "" when DPV has none.
func verbState(v Verb) string {
	switch v {
	case Grant:
		return "ConsentGiven"
	case Refuse:
		return "ConsentRefused"
	case Withdraw:
		return "ConsentWithdrawn"
	case NoVerb:
		return "ConsentUnknown"
	}
	return ""
}

// validConsentType reports whether consent of a DPV type is one that the GDPR
// knows: informed and expressed. A type that is not stated is not held against
// it.
func validConsentType(name string) bool {
	term, _ := dpvTerm(name)
	switch term {
	case "", "InformedConsent", "ExpressedConsent", "ExplicitlyExpressedConsent":
		return true
	}
	return false
}

// anyPurpose is how a record writes that it is about every purpose.
const anyPurpose = "*"

// unknownPurpose is how a record about no purpose of ours is written.
const unknownPurpose = "unknown"

// grantedPurpose gives what a grant under a purpose's name permits: only what
// the name means exactly.
func grantedPurpose(name string) Purpose {
	p, _, exact := dpvPurpose(name)
	if !exact {
		return NoPurpose
	}
	return p
}

// deniedPurpose gives what a denial under a purpose's name takes away: no less
// than the name means, which is every purpose when it means several.
func deniedPurpose(name string) (p Purpose, every bool) {
	if name == anyPurpose {
		return NoPurpose, true
	}
	p, every, _ = dpvPurpose(name)
	return p, every
}

// dpvPurpose finds a purpose by our name or that of DPV. exact is false when
// the name means less than the purpose, or more than one (every).
func dpvPurpose(name string) (p Purpose, every, exact bool) {
	term, isTerm := dpvTerm(name)
	if !isTerm {
		p, exact = ParsePurpose(name)
		return p, false, exact
	}
	switch term {
	case "ServiceProvision":
		return Necessary, false, true
	case "ServiceUsageAnalytics":
		return Analytics, false, true
	case "ServicePersonalisation":
		return Functional, false, true
	case "PersonalisedAdvertising":
		return PersonalisedAdvertising, false, true
	case "SocialMediaMarketing":
		return SocialMediaMarketing, false, true
	case "SellDataToThirdParties":
		return ThirdPartySharing, false, true
	case "Profiling":
		return Profiling, false, true
	case "TargetedAdvertising":
		return PersonalisedAdvertising, false, false
	case "DirectMarketing", "Marketing", "Advertising", "Personalisation":
		return NoPurpose, true, false
	}
	return NoPurpose, false, false
}
