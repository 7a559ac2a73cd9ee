package schemas

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// columnFacts are what the checks need to know of a field besides the field.
type columnFacts struct {
	categoryBad   bool // a problem was noted already
	treatmentLine int  // 0 when the field states no treatment
	treatmentBad  bool
	acknowledged  bool // the contract says that it knows the value is personal
	maskedLine    int
}

// column reads one column of the table, as far as the column alone can tell.
func (p *contractParser) column(c *Contract, n *yaml.Node) {
	f := Field{Line: n.Line}
	what := "column"
	values := p.object(n, what, columnKeys, "; what ODCS has no key for belongs into customProperties")
	if n.Kind != yaml.MappingNode {
		return
	}
	if f.Name = p.columnName(n, values["name"], what); f.Name != "" {
		what = "column " + f.Name
	}
	if d := values["description"]; d != nil {
		f.Description, _ = p.text(d, what+": description")
	}
	if r := values["required"]; r != nil {
		f.Required = p.boolean(r, what+": required")
	}
	p.logicalType(&f, values, what)

	var facts columnFacts
	own := p.customProperties(values["customProperties"], what, columnProperties, contractProperties, "the contract")
	if own["path"] == nil {
		p.problem(n.Line, "%s: the custom property path is missing", what)
	} else if text, ok := p.text(own["path"], what+": path"); ok {
		paths, err := parsePaths(text)
		if err != nil {
			p.problem(own["path"].Line, "%s: path: %v", what, err)
		}
		f.Paths = paths
	}
	p.category(&f, &facts, own["fidesDataCategories"], what)
	p.treatment(&f, &facts, own["treatment"], what)
	p.identifiers(&f, own["identifier"], what)
	if v := own["purposes"]; v != nil {
		f.Purposes = p.purposes(v, what)
	}
	if v := own["coerce"]; v != nil {
		f.Coerce = p.boolean(v, what+": coerce")
	}
	if v := own["masked"]; v != nil {
		f.KeepMasked = p.masked(v, what)
		facts.maskedLine = v.Line
	}
	c.Fields = append(c.Fields, f)
	p.columns = append(p.columns, facts)
}

func (p *contractParser) logicalType(f *Field, values map[string]*yaml.Node, what string) {
	n := values["logicalType"]
	if n == nil {
		p.problem(f.Line, "%s: the key logicalType is missing; allowed: %s", what, strings.Join(TypeNames(), ", "))
		return
	}
	name, ok := p.text(n, what+": logicalType")
	if !ok {
		return
	}
	if f.Type, ok = ParseType(name); ok {
		for _, key := range []string{"properties", "items"} {
			if values[key] != nil {
				p.problem(values[key].Line, "%s: %s is only for objects and arrays; list each sub-field as a column with its path", what, key)
			}
		}
		return
	}
	switch name {
	case "object", "array":
		p.problem(n.Line, "%s: logicalType %s is not supported; list each sub-field as a column with its path", what, name)
	default:
		p.problem(n.Line, "%s: logicalType %q is not supported; %s", what, name, allowed(name, TypeNames()))
	}
}

func (p *contractParser) category(f *Field, facts *columnFacts, n *yaml.Node, what string) {
	if n == nil {
		return
	}
	facts.categoryBad = true
	list := p.texts(n, what+": fidesDataCategories")
	if len(list) == 0 {
		return
	}
	if len(list) > 1 {
		p.problem(n.Line, "%s: fidesDataCategories: exactly one category is allowed; list the value as two columns to treat it in two ways", what)
		return
	}
	f.Category = Category(list[0].Value)
	if !f.Category.Known() {
		p.problem(list[0].Line, "%s: unknown data category %q; %s", what, f.Category, knownCategory(string(f.Category)))
		return
	}
	facts.categoryBad = false
}

func (p *contractParser) treatment(f *Field, facts *columnFacts, n *yaml.Node, what string) {
	if n == nil {
		// A personal field without a treatment is refused by the checks.
		f.Treatment.Technique = Keep
		return
	}
	facts.treatmentLine, facts.treatmentBad = n.Line, true
	values := p.object(n, what+": treatment", []string{"technique", "allow", "acknowledge"}, "")
	if n.Kind != yaml.MappingNode {
		return
	}
	if values["technique"] == nil {
		p.problem(n.Line, "%s: treatment: the key technique is missing; allowed: %s", what, strings.Join(TechniqueNames(), ", "))
		return
	}
	i := p.choice(values["technique"], what+": technique", TechniqueNames())
	if i < 0 {
		return
	}
	facts.treatmentBad = false
	f.Treatment.Technique = Technique(i)
	if v := values["acknowledge"]; v != nil {
		facts.acknowledged = p.choice(v, what+": acknowledge", []string{"personal"}) == 0
	}
	if v := values["allow"]; v != nil {
		f.Treatment.Allow = p.allowList(v, f.Treatment.Technique, what)
	}
}

var queryParameter = regexp.MustCompile(`^[A-Za-z0-9_.~-]+$`)

func (p *contractParser) allowList(n *yaml.Node, technique Technique, what string) []string {
	if technique != StripQuery {
		p.problem(n.Line, "%s: allow is only for the technique strip_query", what)
		return nil
	}
	var names []string
	for _, item := range p.texts(n, what+": allow") {
		if !queryParameter.MatchString(item.Value) {
			p.problem(item.Line, "%s: allow: %q is not the name of a query parameter; names are matched whole and have letters, digits, _, ., ~ and -", what, item.Value)
			continue
		}
		names = append(names, item.Value)
	}
	return names
}

func (p *contractParser) identifiers(f *Field, n *yaml.Node, what string) {
	if n == nil {
		return
	}
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = p.texts(n, what+": identifier")
	}
	for _, item := range list {
		if i := p.choice(item, what+": identifier", IdentifierKinds()); i >= 0 {
			kind, _ := ParseIdentifierKind(item.Value)
			f.Identifiers = append(f.Identifiers, kind)
		}
	}
}

func (p *contractParser) purposes(n *yaml.Node, what string) PurposeSet {
	var set PurposeSet
	for _, item := range p.texts(n, what+": purposes") {
		purpose, ok := ParsePurpose(item.Value)
		if !ok {
			p.problem(item.Line, "%s: unknown purpose %q; %s", what, item.Value, allowed(item.Value, PurposeNames()))
			continue
		}
		set = set.With(purpose)
	}
	return set
}

func (p *contractParser) masked(n *yaml.Node, what string) bool {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return false
	}
	return p.choice(n, what+": masked", []string{"keep", "null"}) == 0
}
