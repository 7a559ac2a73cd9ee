package oracle

import (
	"slices"

	"lupa/schemas"
)

// I12: the same identifier has the same token in all tables of a domain, and
// no token stands in two domains.

// subjectOrder is the order in which a row's identifiers are asked for its
// subject.
var subjectOrder = [...]schemas.IdentifierKind{
	schemas.UserID, schemas.Email, schemas.Phone, schemas.DeviceID, schemas.AnonymousID,
}

// judgeTokens compares the tokens of a row with the identifiers in its message.
func (c *check) judgeTokens(t *table, p place, m *message, o *outcome, r *row) {
	if !r.kept() && r.reason != schemas.Retained.String() {
		return
	}
	for i := range t.contract.Fields {
		f := &t.contract.Fields[i]
		if f.Column() != schemas.TokenColumn {
			continue
		}
		raw, _ := o.cells[i].(string)
		value := c.normal(kindOf(f), raw)
		switch {
		case r.tokens[i] == (token{}) && value != "" && r.kept() && r.purposes.Covers(f.Purposes):
			c.violate(stablePseudonyms, c.relative(t.files[r.file].path), "table %s has no token in %s for %s", t.name, f.Name, r.place())
		case r.tokens[i] != (token{}):
			c.judgeToken(t, r, f.Name, kindOf(f), raw, value, r.tokens[i])
		}
	}
	kind, raw, value := c.subjectOf(t.contract, o.cells)
	if !r.kept() || r.subject == (token{}) && value == "" {
		return // that of a row that is not kept is I4's
	}
	c.judgeToken(t, r, "subject_token", kind, raw, value, r.subject)
}

func kindOf(f *schemas.Field) schemas.IdentifierKind {
	if len(f.Identifiers) == 0 {
		return schemas.NoIdentifier
	}
	return f.Identifiers[0]
}

// rawIdentifier is an identifier as it stands in a message.
type rawIdentifier struct {
	kind schemas.IdentifierKind
	text string
}

// normal is the normal form of an identifier, made once.
func (c *check) normal(kind schemas.IdentifierKind, text string) string {
	raw := rawIdentifier{kind, text}
	value, ok := c.judge.normals[raw]
	if !ok {
		value = normal(kind, text, c.in.PhoneRegion)
		c.judge.normals[raw] = value
	}
	return value
}

// subjectOf gives the identifier that a row's subject is named by.
func (c *check) subjectOf(k *contract, cells []any) (kind schemas.IdentifierKind, raw, value string) {
	best := len(subjectOrder)
	for i := range k.Fields {
		f := &k.Fields[i]
		if len(f.Identifiers) == 0 {
			continue
		}
		text, _ := cells[i].(string)
		rank := slices.Index(subjectOrder[:], kindOf(f))
		if v := c.normal(kindOf(f), text); v != "" && rank < best {
			best, kind, raw, value = rank, kindOf(f), text, v
		}
	}
	return kind, raw, value
}

// judgeToken compares a token with those of the same identifier and with what
// the keys make of it.
func (c *check) judgeToken(t *table, r *row, column string, kind schemas.IdentifierKind, raw, value string, got token) {
	c.looked(stablePseudonyms, 1)
	domain, f := t.contract.Domain, &t.files[r.file]
	wrong := func(problem string) {
		c.violate(stablePseudonyms, c.relative(f.path), "table %s, %s of %s: %s", t.name, column, r.place(), problem)
	}
	if owner, ok := c.judge.owners[got]; ok && owner != domain {
		wrong("the token stands in domain " + owner + " too")
		return
	}
	c.judge.owners[got] = domain
	if value == "" {
		wrong("a token of an identifier that the message does not have")
		return
	}
	if f.epoch != 0 && int(got[0]) != f.epoch {
		wrong("its epoch is not that of its commit")
		return
	}
	if c.keys == nil {
		c.limit(stablePseudonyms, "tokens were not made anew, for there is no key file")
	} else if !c.keys.wellFormed(got) {
		wrong("it is no token of an epoch that there is a key of")
		return
	} else if want, _ := c.keys.token(domain, kind, raw, int(got[0])); want != got {
		wrong("it is not the token that the keys make")
		return
	}
	id := identity{domain, kind, value, got[0]}
	if first, ok := c.judge.stable[id]; !ok {
		c.judge.stable[id] = seenToken{got, r.place()}
	} else if first.token != got {
		wrong("the same identifier has another token at " + first.at)
	}
}
