package consent

import "lupa/schemas"

// scoped gives the key that a record of a principal belongs to; known is false
// when it is about purposes of which nothing says what they are.
func scoped(r *schemas.Record, words vocabulary, g *glossary) (k key, known bool) {
	switch r.Verb {
	case schemas.Restrict, schemas.Lift:
		return key{scope: restriction}, true
	case schemas.Born:
		return key{scope: birth}, true
	case schemas.Retain:
		fields, kept := g.number(&schemas.Terms{Fields: r.Terms.Fields})
		return key{retention, uint16(fields)}, kept
	case schemas.Erase:
		return key{}, true
	case schemas.GuardianGrant, schemas.GuardianWithdraw:
		switch {
		case r.Every || r.Purpose.IsGroup():
			return key{scope: guardians}, true
		case schemas.AllPurposes.Has(r.Purpose):
			return key{scope: guardians + r.Purpose}, true
		}
		return key{scope: guardians}, false
	}
	switch {
	case r.Every:
		return key{}, true
	case r.Purpose.IsGroup() && words.Set(r.Purpose) != 0, schemas.AllPurposes.Has(r.Purpose):
		return key{scope: r.Purpose}, true
	}
	return key{}, false
}

// entry gives what a record about a principal says under its key. Records that
// say nothing this package knows are undecodable, which denies.
func entry(r *schemas.Record, k key, g *glossary) Entry {
	e := Entry{Time: r.Time, Version: r.Version, Purpose: k.scope, Fields: k.fields, Says: schemas.NoRecord}
	terms, kept := g.number(&r.Terms)
	if e.Terms = terms; !kept {
		switch r.Verb {
		case schemas.Grant, schemas.GuardianGrant, schemas.Retain, schemas.Born:
			return e // without its regions or its law it says too much
		}
	}
	switch r.Verb {
	case schemas.Grant, schemas.GuardianGrant:
		if !wide(k.scope) && r.Time != beginning {
			e.Says, e.Until = granted(r), r.Until
		}
	case schemas.Refuse:
		e.Says = schemas.Refused
	case schemas.Withdraw, schemas.GuardianWithdraw:
		e.Says = schemas.Withdrawn
	case schemas.Expire:
		e.Says = schemas.Expired
	case schemas.Object:
		e.Says = schemas.Objected
	case schemas.Erase:
		e.Says = schemas.Erased
	case schemas.Restrict:
		e.Says = schemas.Restricted
	case schemas.Lift:
		e.Says = schemas.ConsentGiven
	case schemas.Born:
		e.Says, e.Until = schemas.Minor, r.Until
	case schemas.Retain:
		if r.Until > 0 && r.Terms.Fields != "" && r.Terms.Basis != "" {
			e.Says, e.Until = schemas.Retained, r.Until
		}
	}
	return e
}

// granted gives what a grant is worth.
func granted(r *schemas.Record) schemas.Reason {
	switch {
	case r.Pending:
		return schemas.Pending
	case r.Proven && r.Until >= 0:
		return schemas.ConsentGiven
	}
	return schemas.Unproven
}
