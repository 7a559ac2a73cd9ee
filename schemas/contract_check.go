package schemas

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reservedColumns are the columns that every personal table gets.
var reservedColumns = []string{
	"subject_token", "legal_basis", "purposes", "reason", "contract_version", "retention_until",
}

// check finds what is wrong between the parts of a contract. top is the line
// for what is missing, own the contract's custom properties.
func (p *contractParser) check(c *Contract, top int, own map[string]*yaml.Node) {
	lines := map[string]int{}
	for i := range c.Fields {
		f := &c.Fields[i]
		if line, dup := lines[f.Name]; dup && f.Name != "" {
			p.problem(f.Line, "column %s: the name is taken by the column in line %d", f.Name, line)
		}
		lines[f.Name] = f.Line
		if slices.Contains(reservedColumns, f.Name) {
			p.problem(f.Line, "column %s: the name is reserved; reserved are %s and names that begin with _", f.Name, strings.Join(reservedColumns, ", "))
		}
		p.checkColumn(f, &p.columns[i])
	}
	p.eventTime(c, own["eventTime"])
	p.links(c, own["links"])
	if c.Personal() {
		p.checkPersonal(c, top, own)
		return
	}
	if len(c.Fields) > 0 { // a table about nobody would need a basis other than consent
		p.problem(top, "contract: no column has the custom property identifier, so there is nobody whose consent could be asked for; allowed: %s", strings.Join(IdentifierKinds(), ", "))
	}
}

// checkPersonal asks a contract about subjects for what a consent decision
// needs.
func (p *contractParser) checkPersonal(c *Contract, top int, own map[string]*yaml.Node) {
	for _, need := range []struct{ property, why string }{
		{"purposes", "a table about subjects says for which purposes it is kept; allowed: " + strings.Join(PurposeNames(), ", ")},
		{"legalBasis", "a table about subjects says on which basis it is kept; allowed: " + strings.Join(consentBases[:], ", ")},
		{"eventTime", "consent is decided for the time of the event; name the column that holds it"},
		{"domain", "tokens join within a domain and nowhere else; name the one of this table"},
	} {
		if own[need.property] == nil {
			p.problem(top, "contract: the custom property %s is missing: %s", need.property, need.why)
		}
	}
	if c.OnDeny != MaskRow || c.EventTime < 0 {
		return
	}
	if f := &c.Fields[c.EventTime]; f.Category.Personal() && !f.KeepMasked {
		p.problem(f.Line, "column %s: a table whose rows are masked needs the day of the event in them; add masked: keep, or onDeny: drop", f.Name)
	}
}

func (p *contractParser) eventTime(c *Contract, n *yaml.Node) {
	if n == nil {
		return
	}
	name, ok := p.text(n, "eventTime")
	if !ok || len(c.Fields) == 0 {
		return
	}
	c.EventTime = slices.IndexFunc(c.Fields, func(f Field) bool { return f.Name == name })
	if c.EventTime < 0 {
		var times []string
		for i := range c.Fields {
			if t := c.Fields[i].Type; t == Timestamp || t == Date {
				times = append(times, c.Fields[i].Name)
			}
		}
		p.problem(n.Line, "eventTime: there is no column %q; columns with a time: %s", name, strings.Join(times, ", "))
		return
	}
	f, facts := &c.Fields[c.EventTime], &p.columns[c.EventTime]
	if f.Type != Timestamp && f.Type != Date && f.Type != NoType {
		p.problem(n.Line, "eventTime: column %s is of logicalType %s; allowed: timestamp, date", name, f.Type)
	}
	if f.Treatment.Technique != Keep && !facts.treatmentBad {
		p.problem(n.Line, "eventTime: column %s must have the technique keep, has %s", name, f.Treatment.Technique)
	}
	if f.Purposes != 0 {
		p.problem(n.Line, "eventTime: column %s must not need purposes of its own, or rows would lose their time", name)
	}
}

// checkColumn applies the rules for one field.
func (p *contractParser) checkColumn(f *Field, facts *columnFacts) {
	what := "column " + f.Name
	if facts.categoryBad || facts.treatmentBad {
		return
	}
	technique := f.Treatment.Technique
	line := max(facts.treatmentLine, f.Line)
	switch {
	case f.Category == "":
		p.problem(f.Line, "%s: the custom property fidesDataCategories is missing; every column has one data category", what)
		return
	case f.Category.Personal() && facts.treatmentLine == 0:
		p.problem(f.Line, "%s: %s is personal and needs a treatment; allowed: %s", what, f.Category, strings.Join(TechniqueNames(), ", "))
		return
	case f.Category.Special() && technique != Drop:
		p.problem(line, "%s: %s is a special category (Art 9) and must have the technique drop, has %s", what, f.Category, technique)
		return
	case f.Category.dropOnly() && technique != Drop:
		p.problem(line, "%s: %s must have the technique drop, has %s", what, f.Category, technique)
		return
	}
	p.checkTechnique(f, line, what)
	p.checkReadable(f, facts, line, what)
	p.checkMasked(f, facts, what)
}

// checkTechnique asks whether the technique can work on the field's type.
func (p *contractParser) checkTechnique(f *Field, line int, what string) {
	technique := f.Treatment.Technique
	switch technique {
	case Pseudonymize:
		if f.Type != Text && f.Type != NoType {
			p.problem(line, "%s: pseudonymize does not take logicalType %s; allowed: string, with coerce: true where the value is a number", what, f.Type)
		}
		if len(f.Identifiers) == 0 {
			p.problem(line, "%s: pseudonymize needs the custom property identifier, which says how the value is normalized; allowed: %s", what, strings.Join(IdentifierKinds(), ", "))
		}
	case TruncateIP, EmailDomain, StripQuery:
		if f.Type != Text && f.Type != NoType {
			p.problem(line, "%s: %s does not take logicalType %s; allowed: string", what, technique, f.Type)
		}
	}
	if len(f.Identifiers) > 0 && f.Type != Text && f.Type != NoType {
		p.problem(f.Line, "%s: an identifier cannot have logicalType %s; allowed: string, with coerce: true where the value is a number", what, f.Type)
	}
}

// checkReadable asks for an acknowledgement where a value that points at a
// person would be stored so that it can be read. Stripping a query leaves the
// path, so it counts as keeping.
func (p *contractParser) checkReadable(f *Field, facts *columnFacts, line int, what string) {
	technique := f.Treatment.Technique
	if technique == Drop || technique == Pseudonymize || facts.acknowledged {
		return
	}
	const remedy = "or acknowledge it: {technique: %s, acknowledge: personal}"
	switch {
	case len(f.Identifiers) > 0:
		p.problem(line, "%s: an identifier must be pseudonymized or dropped, "+remedy, what, technique)
	case f.Category.Identifying() && (technique == Keep || technique == StripQuery):
		p.problem(line, "%s: %s points at a person and must not be stored readable; pseudonymize, drop or coarsen it, "+remedy, what, f.Category, technique)
	}
}

// checkMasked keeps whatever points at a person out of masked rows.
func (p *contractParser) checkMasked(f *Field, facts *columnFacts, what string) {
	if !f.KeepMasked {
		return
	}
	reason := ""
	switch {
	case f.Treatment.Technique == Pseudonymize:
		reason = "tokens"
	case len(f.Identifiers) > 0:
		reason = "identifiers"
	case f.Category.Identifying():
		reason = fmt.Sprintf("%s, which points at a person", f.Category)
	case f.Category.Narrow():
		reason = fmt.Sprintf("%s, which with little else points at a person", f.Category)
	case f.Treatment.Technique == StripQuery:
		reason = "URLs, whose paths may point at a person"
	case f.Purposes != 0:
		reason = "columns that need purposes of their own"
	default:
		return
	}
	p.problem(facts.maskedLine, "%s: masked: keep is not allowed for %s; allowed: null", what, reason)
}
