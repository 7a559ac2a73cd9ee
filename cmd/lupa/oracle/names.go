package oracle

import (
	"strings"
	"unicode"

	"lupa/schemas"
)

// every is the purpose of a record about all purposes, in place of one.
const every = schemas.NoPurpose

// lexicon is the names of purposes: which one a name means is configuration.
type lexicon struct{ *schemas.Vocabulary }

// granted is what a grant under a name permits.
func (n lexicon) granted(name string) (p schemas.Purpose, known bool) {
	p = n.Granted(name)
	return p, p != schemas.NoPurpose && !p.IsGroup()
}

// denial is what a denial under a name takes away; known is false when it means
// nothing of ours.
func (n lexicon) denial(name string) (p schemas.Purpose, known bool) {
	return meant(n.Denied(name))
}

// objection is the same for an objection.
func (n lexicon) objection(name string) (p schemas.Purpose, known bool) {
	return meant(n.Objected(name))
}

func meant(p schemas.Purpose, all bool) (schemas.Purpose, bool) {
	if all {
		return every, true
	}
	return p, p != schemas.NoPurpose
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
	"ConsentGiven": schemas.Grant, "RenewedConsentGiven": schemas.Grant, "ConsentRequested": schemas.Grant,
	"ConsentRefused":   schemas.Refuse,
	"ConsentWithdrawn": schemas.Withdraw, "ConsentRevoked": schemas.Withdraw, "ConsentInvalidated": schemas.Withdraw,
	"ConsentExpired": schemas.Expire,
	"ConsentUnknown": schemas.NoVerb, "ConsentRequestDeferred": schemas.NoVerb,
}

var verbs = map[string]schemas.Verb{
	"grant": schemas.Grant, "refuse": schemas.Refuse, "withdraw": schemas.Withdraw, "expire": schemas.Expire,
	"object": schemas.Object, "erase": schemas.Erase, "retain": schemas.Retain,
	"restrict": schemas.Restrict, "lift": schemas.Lift,
	"link": schemas.Link, "unlink": schemas.Unlink, "born": schemas.Born,
	"guardian_grant": schemas.GuardianGrant, "guardian_withdraw": schemas.GuardianWithdraw,
}
