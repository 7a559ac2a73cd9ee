package schemas

import (
	"strings"
	"unicode"
)

// dpvNamespaces are how the namespace of DPV is written.
var dpvNamespaces = [...]string{"dpv:", "https://w3id.org/dpv#"}

// dpvTerm takes the namespace off a DPV term. isTerm is false for a name that
// has none.
func dpvTerm(name string) (term string, isTerm bool) {
	for _, namespace := range dpvNamespaces {
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
