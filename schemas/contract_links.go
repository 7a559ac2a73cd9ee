package schemas

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// links reads which columns of one event name one person.
func (p *contractParser) links(c *Contract, n *yaml.Node) {
	if n == nil {
		return
	}
	const what = "links"
	list := p.items(n, what)
	if n.Kind == yaml.SequenceNode && len(list) == 0 {
		p.problem(n.Line, "%s: the list is empty; leave it out where events link nobody", what)
	}
	for _, item := range list {
		names := p.items(item, what)
		if item.Kind != yaml.SequenceNode {
			continue
		}
		if len(names) != 2 {
			p.problem(item.Line, "%s: an entry is a pair of columns, has %d", what, len(names))
			continue
		}
		pair := [2]int{p.linkEnd(c, names[0]), p.linkEnd(c, names[1])}
		switch {
		case pair[0] < 0 || pair[1] < 0:
		case pair[0] == pair[1]:
			p.problem(item.Line, "%s: a column is no pair with itself", what)
		case slices.Contains(c.Links, pair) || slices.Contains(c.Links, [2]int{pair[1], pair[0]}):
			p.problem(item.Line, "%s: a pair is listed twice", what)
		default:
			c.Links = append(c.Links, pair)
		}
	}
}

// linkEnd gives the field of a column that has an identifier, or -1.
func (p *contractParser) linkEnd(c *Contract, n *yaml.Node) int {
	name, ok := p.text(n, "links")
	if !ok {
		return -1
	}
	var able []string
	for i := range c.Fields {
		if f := &c.Fields[i]; len(f.Identifiers) > 0 {
			if f.Name == name {
				return i
			}
			able = append(able, f.Name)
		}
	}
	p.problem(n.Line, "links: there is no column %q with an identifier; allowed: %s", name, strings.Join(able, ", "))
	return -1
}
