package schemas

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// signalCategory is the data category of what a person chose.
const signalCategory = Category("user.privacy_preferences")

// signals reads where events carry consent. Each place is a field of its own
// behind the columns, whose name begins with _, as that of no column does.
func (p *contractParser) signals(c *Contract, n *yaml.Node) {
	if n == nil {
		return
	}
	const what = "consent"
	list := p.items(n, what)
	if n.Kind == yaml.SequenceNode && len(list) == 0 {
		p.problem(n.Line, "%s: the list is empty; leave it out where events carry no consent", what)
	}
	for _, item := range list {
		entry := p.object(item, what, []string{"signal", "path"}, "")
		if item.Kind != yaml.MappingNode {
			continue
		}
		if entry["signal"] == nil || entry["path"] == nil {
			p.problem(item.Line, "%s: an entry needs the keys signal and path; allowed signals: %s", what, strings.Join(SignalKinds(), ", "))
			continue
		}
		i := p.choice(entry["signal"], what+": signal", SignalKinds())
		text, ok := p.text(entry["path"], what+": path")
		if !ok {
			continue
		}
		paths, err := parsePaths(text)
		if err != nil {
			p.problem(entry["path"].Line, "%s: path: %v", what, err)
			continue
		}
		if i >= 0 {
			p.signal(c, item, CategorySignal+SignalKind(i), paths)
		}
	}
}

func (p *contractParser) signal(c *Contract, n *yaml.Node, kind SignalKind, paths []Path) {
	name, same := "_consent_"+kind.String(), 0
	for _, s := range c.Signals {
		if s.Kind != kind {
			continue
		}
		same++
		for _, path := range paths {
			if slices.ContainsFunc(c.Fields[s.Field].Paths, func(o Path) bool { return slices.Equal(o, path) }) {
				p.problem(n.Line, "consent: the path %s is listed twice for %s", path, kind)
			}
		}
	}
	if same > 0 {
		name = fmt.Sprintf("%s_%d", name, same+1)
	}
	c.Signals = append(c.Signals, Signal{Kind: kind, Field: len(c.Fields)})
	c.Fields = append(c.Fields, Field{
		Name: name, Type: JSON, Paths: paths, Category: signalCategory, Line: n.Line,
		Description: "consent that the event carries, which only narrows what the ledger permits; read and never stored",
	})
}
