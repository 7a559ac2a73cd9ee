package schemas

import "slices"

var verbNames = [...]string{
	NoVerb:           "",
	Grant:            "grant",
	Refuse:           "refuse",
	Withdraw:         "withdraw",
	Object:           "object",
	Erase:            "erase",
	Link:             "link",
	Restrict:         "restrict",
	Lift:             "lift",
	Retain:           "retain",
	Unlink:           "unlink",
	GuardianGrant:    "guardian_grant",
	GuardianWithdraw: "guardian_withdraw",
	Born:             "born",
	Expire:           "expire",
}

// String gives the verb's name as ledger records write it.
func (v Verb) String() string {
	if int(v) < len(verbNames) {
		return verbNames[v]
	}
	return ""
}

// ParseVerb finds a verb by its name. An unknown name is no verb.
func ParseVerb(name string) (Verb, bool) {
	i := indexOf(verbNames[:], name)
	return Verb(max(i, 0)), i >= 0
}

// VerbNames lists the verbs, for messages that say what is allowed.
func VerbNames() []string { return slices.Clone(verbNames[Grant:]) }

// grants reports whether v gives consent, which needs evidence and may end.
func (v Verb) grants() bool { return v == Grant || v == GuardianGrant }

// hasPurpose reports whether v is about a purpose, and not about the subject as
// a whole or its identifiers.
func (v Verb) hasPurpose() bool {
	switch v {
	case Erase, Link, Unlink, Restrict, Lift, Retain, Born:
		return false
	}
	return true
}
