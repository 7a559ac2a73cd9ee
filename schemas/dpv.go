package schemas

import (
	"strings"
	"unicode"
)

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
// said anything are known and have no verb; of a grant that was requested
// pending is true.
func stateVerb(state string) (verb Verb, pending, known bool) {
	state, _ = dpvTerm(state)
	switch state {
	case "ConsentGiven", "RenewedConsentGiven":
		return Grant, false, true
	case "ConsentRequested":
		return Grant, true, true
	case "ConsentRefused":
		return Refuse, false, true
	case "ConsentWithdrawn", "ConsentRevoked", "ConsentInvalidated":
		return Withdraw, false, true
	case "ConsentExpired":
		return Expire, false, true
	case "ConsentUnknown", "ConsentRequestDeferred":
		return NoVerb, false, true
	}
	return NoVerb, false, false
}

// recordState is the status of a record, or "" when DPV has none.
func recordState(r *Record) string {
	switch {
	case r.Pending && r.Verb.grants():
		return "ConsentRequested"
	case r.Verb == Grant:
		return "ConsentGiven"
	case r.Verb == Refuse:
		return "ConsentRefused"
	case r.Verb == Withdraw:
		return "ConsentWithdrawn"
	case r.Verb == Expire:
		return "ConsentExpired"
	case r.Verb == NoVerb:
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
// than the name means, which is every purpose when it means several, or is a
// DPV term that is not known here and may. A denial is not held to the exact
// spelling either: case, space, hyphens and the namespace of a DPV term do not
// matter. A plain name that is like none of these is no purpose of ours.
func deniedPurpose(name string) (p Purpose, every bool) {
	if name == anyPurpose {
		return NoPurpose, true
	}
	if p, every, _ = dpvPurpose(name); p != NoPurpose || every {
		return p, every
	}
	term, isTerm := name, false
	if cut := strings.LastIndexAny(name, ":#/"); cut >= 0 && strings.Contains(strings.ToLower(name[:cut]), "dpv") {
		term, isTerm = name[cut+1:], true
	}
	term = bareName(term)
	if term == anyPurpose {
		return NoPurpose, true
	}
	for p := Necessary; p < numPurposes && !isTerm; p++ {
		if bareName(p.String()) == term {
			return p, false
		}
	}
	for i := range dpvPurposes {
		if t := &dpvPurposes[i]; bareName(t.term) == term {
			return t.purpose, t.purpose == NoPurpose
		}
	}
	return NoPurpose, isTerm
}

// bareName leaves out what only tells spellings of a name apart.
func bareName(name string) string {
	return strings.Map(func(r rune) rune {
		if isSpelling(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

func isSpelling(r rune) bool { return r == '_' || r == '-' || unicode.IsSpace(r) }

// dpvPurposes are the DPV terms that are known here.
var dpvPurposes = [...]struct {
	term    string
	purpose Purpose // NoPurpose when the term means more than one of ours
	exact   bool    // false when it means less or more than the purpose
}{
	{"ServiceProvision", Necessary, true},
	{"ServiceUsageAnalytics", Analytics, true},
	{"ServicePersonalisation", Functional, true},
	{"PersonalisedAdvertising", PersonalisedAdvertising, true},
	{"SocialMediaMarketing", SocialMediaMarketing, true},
	{"SellDataToThirdParties", ThirdPartySharing, true},
	{"Profiling", Profiling, true},
	{"TargetedAdvertising", PersonalisedAdvertising, false},
	{"DirectMarketing", NoPurpose, false},
	{"Marketing", NoPurpose, false},
	{"Advertising", NoPurpose, false},
	{"Personalisation", NoPurpose, false},
}

// dpvPurpose finds a purpose by our name or that of DPV. exact is false when
// the name means less than the purpose, or more than one (every).
func dpvPurpose(name string) (p Purpose, every, exact bool) {
	term, isTerm := dpvTerm(name)
	if !isTerm {
		p, exact = ParsePurpose(name)
		return p, false, exact
	}
	for i := range dpvPurposes {
		if t := &dpvPurposes[i]; t.term == term {
			return t.purpose, t.purpose == NoPurpose, t.exact
		}
	}
	return NoPurpose, false, false
}
