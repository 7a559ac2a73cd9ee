package mapping

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"lupa/schemas"
)

//go:embed presets/*.yaml
var presets embed.FS

// Presets lists the names of the embedded mappings.
func Presets() []string {
	list, err := fs.Glob(presets, "presets/*.yaml")
	if err != nil {
		panic(err) // the pattern is well formed
	}
	for i, name := range list {
		list[i] = strings.TrimSuffix(strings.TrimPrefix(name, "presets/"), ".yaml")
	}
	return list
}

// Preset gives an embedded mapping, and its text for who wants to change it.
func Preset(name string, v *schemas.Vocabulary) (*Mapping, []byte, error) {
	text, err := presets.ReadFile("presets/" + name + ".yaml")
	if err != nil {
		return nil, nil, fmt.Errorf("mapping: there is no preset of that name; there are %s", strings.Join(Presets(), ", "))
	}
	m, err := Parse(name, text, v)
	return m, text, err
}

// Load reads a mapping file. Purposes have the names of the vocabulary.
func Load(file string, v *schemas.Vocabulary) (*Mapping, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("mapping: %w", err)
	}
	return Parse(file, text, v)
}

// Parse reads the text of a mapping file. name is for messages; the error is an
// *Error with all that is wrong.
func Parse(name string, text []byte, v *schemas.Vocabulary) (*Mapping, error) {
	l := loader{reader: reader{name: name}, m: &Mapping{
		name: name, vocabulary: v, absent: map[string]bool{"": true}, links: true, unavail: "__debezium_unavailable_value"}}
	if root := l.root(text); root != nil {
		l.mapping(root)
	}
	if err := l.err(); err != nil {
		return nil, err
	}
	return l.m, nil
}

// loader reads one file.
type loader struct {
	reader
	m       *Mapping
	time    *moment // of rules without one of their own
	version *versionRule
}

func (l *loader) mapping(root *yaml.Node) {
	var format string
	var records *yaml.Node
	none := func(string, *yaml.Node) {}
	seen := l.section("", root, keys{
		"mapping":    l.text(&format),
		"about":      none,
		"envelope":   l.envelope,
		"absent":     l.absentTexts,
		"principals": func(what string, n *yaml.Node) { l.list(what, n, l.principal) },
		"links":      l.boolean(&l.m.links),
		"time":       func(what string, n *yaml.Node) { l.time = l.moment(what, n) },
		"version":    func(what string, n *yaml.Node) { l.version = l.versionRule(what, n) },
		"records":    func(_ string, n *yaml.Node) { records = n },
	})
	if root.Kind != yaml.MappingNode {
		return
	}
	l.need("", root, seen, "mapping", "principals", "records")
	if n := seen["mapping"]; n != nil && format != "1" {
		l.problem(n, "mapping: the version of this format is 1")
	}
	// What a record needs from above may stand below it.
	if records != nil {
		l.list("records", records, l.record)
	}
}

func (l *loader) absentTexts(what string, n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		l.problem(n, "%smust be a list of texts", prefix(what))
		return
	}
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode {
			l.problem(item, "%smust be a text", prefix(what))
			continue
		}
		l.m.absent[item.Value] = true
	}
}

func (l *loader) envelope(what string, n *yaml.Node) {
	kind := func(what string, n *yaml.Node) {
		v, _ := l.scalar(what, n)
		i := slices.Index(envelopeNames[:], v)
		if i < 0 {
			l.problem(n, "%sallowed: %s", prefix(what), strings.Join(envelopeNames[:], ", "))
			return
		}
		l.m.envelope = envelopeKind(i)
	}
	if n.Kind == yaml.ScalarNode {
		kind(what, n)
		return
	}
	var before string
	seen := l.section(what, n, keys{"kind": kind, "unavailable": l.text(&l.m.unavail), "before": l.text(&before)})
	l.need(what, n, seen, "kind")
	switch before {
	case "", "required":
	case "optional":
		l.m.optional = true
	default:
		l.problem(seen["before"], "%s.before: allowed: required, optional", what)
	}
}

func (l *loader) principal(what string, n *yaml.Node) {
	var p principalRule
	var c *column
	kinds := append(schemas.IdentifierKinds(), schemas.LedgerDomain)
	isKind := func(at *yaml.Node, what, name string) {
		if !slices.Contains(kinds, name) {
			l.problem(at, "%sallowed: %s", prefix(what), strings.Join(kinds, ", "))
		}
	}
	seen := l.section(what, n, keys{
		"each": l.reader.each(&p.each),
		"kind": func(what string, n *yaml.Node) {
			p.kind = l.term(what, n)
			if p.kind.column == nil {
				isKind(n, what, p.kind.constant)
			} else if p.kind.values == nil {
				l.problem(n, "%sneeds values, which say the kind of each", prefix(what))
			}
			for _, kind := range p.kind.values {
				isKind(n, what, kind)
			}
		},
		"path":   l.column(&c),
		"shared": l.boolean(&p.shared),
		"only":   func(what string, n *yaml.Node) { p.only = l.only(what, n) },
	})
	l.need(what, n, seen, "kind", "path")
	if c != nil {
		p.column = *c
		l.m.principals = append(l.m.principals, p)
	}
}

func (l *loader) only(what string, n *yaml.Node) *onlyRule {
	rule := &onlyRule{values: map[string]bool{}}
	var c *column
	seen := l.section(what, n, keys{"path": l.column(&c), "values": func(what string, n *yaml.Node) {
		for _, v := range l.texts(what, n) {
			rule.values[bare([]byte(v))] = true
		}
	}})
	l.need(what, n, seen, "path", "values")
	if c != nil {
		rule.column = *c
	}
	return rule
}

// term reads a constant, or a path with a table.
func (l *loader) term(what string, n *yaml.Node) (t term) {
	if n.Kind != yaml.MappingNode {
		t.constant, _ = l.scalar(what, n)
		return t
	}
	seen := l.section(what, n, keys{"path": l.column(&t.column), "values": func(what string, n *yaml.Node) {
		t.values = map[string]string{}
		l.table(what, n, func(v string, n *yaml.Node) { t.values[v], _ = l.scalar(what, n) })
	}})
	l.need(what, n, seen, "path")
	if t.column == nil {
		t.column = &column{}
	}
	return t
}
