package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"lupa/schemas"
)

// Error is everything that is wrong with one mapping file.
type Error struct{ Problems []schemas.Problem }

// Error gives one line for each problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// reader reads YAML nodes and notes every problem with its line, so that one
// reading finds all of them.
type reader struct {
	name     string
	problems []schemas.Problem
}

func (r *reader) problem(n *yaml.Node, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	r.problems = append(r.problems, schemas.Problem{File: r.name, Line: line, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b schemas.Problem) int { return a.Line - b.Line })
	return &Error{r.problems}
}

// root parses the one document of data; nil after a problem.
func (r *reader) root(data []byte) *yaml.Node {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	err := d.Decode(&document)
	if errors.Is(err, io.EOF) {
		r.problem(nil, "the file is empty")
		return nil
	}
	if err == nil {
		if err = d.Decode(&second); err == nil {
			r.problem(&second, "the file has a second document; one mapping is one file")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		r.syntax(err)
		return nil
	}
	if !r.plain(&document) {
		return nil
	}
	return document.Content[0]
}

// syntax turns an error of the YAML parser, which begins with its line, into a
// problem.
func (r *reader) syntax(err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	var at yaml.Node
	if rest, found := strings.CutPrefix(message, "line "); found {
		if number, text, found := strings.Cut(rest, ": "); found {
			if n, err := strconv.Atoi(number); err == nil {
				at.Line, message = n, text
			}
		}
	}
	r.problem(&at, "not YAML: %s", message)
}

// plain refuses anchors and aliases.
func (r *reader) plain(n *yaml.Node) bool {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		r.problem(n, "anchors and aliases are not allowed")
		return false
	}
	return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return !r.plain(c) })
}

// keys are what a section may have.
type keys map[string]func(what string, n *yaml.Node)

// section reads the keys of a mapping and gives the values of those it has.
func (r *reader) section(what string, n *yaml.Node, known keys) map[string]*yaml.Node {
	seen := map[string]*yaml.Node{}
	r.members(what, n, func(key, value *yaml.Node) {
		read, ok := known[key.Value]
		if !ok {
			names := make([]string, 0, len(known))
			for k := range known {
				names = append(names, k)
			}
			slices.Sort(names)
			r.problem(key, "%sunknown key %q; allowed: %s", prefix(what), key.Value, strings.Join(names, ", "))
			return
		}
		seen[key.Value] = value
		read(strings.TrimPrefix(what+"."+key.Value, "."), value)
	})
	return seen
}

// members calls do for each key of a mapping in which none stands twice.
func (r *reader) members(what string, n *yaml.Node, do func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.problem(n, "%smust be a mapping", prefix(what))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.problem(key, "%sa key must be text", prefix(what))
			continue
		}
		if line, twice := seen[key.Value]; twice {
			r.problem(key, "%sthe key %s stands twice, first in line %d", prefix(what), key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		do(key, value)
	}
}

func prefix(what string) string {
	if what == "" {
		return ""
	}
	return what + ": "
}

// need makes a problem of each key that a section lacks.
func (r *reader) need(what string, n *yaml.Node, seen map[string]*yaml.Node, names ...string) {
	for _, name := range names {
		if seen[name] == nil {
			r.problem(n, "%s%s is missing", prefix(what), name)
		}
	}
}

// list calls do for each entry of a list that is not empty.
func (r *reader) list(what string, n *yaml.Node, do func(what string, n *yaml.Node)) {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		r.problem(n, "%smust be a list with at least one entry", prefix(what))
		return
	}
	for i, item := range n.Content {
		do(fmt.Sprintf("%s[%d]", what, i), item)
	}
}

// scalar gives a text, number or boolean as it is written.
func (r *reader) scalar(what string, n *yaml.Node) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" || strings.TrimSpace(n.Value) == "" {
		r.problem(n, "%smust be a text that is not empty", prefix(what))
		return "", false
	}
	return n.Value, true
}

func (r *reader) text(dst *string) func(string, *yaml.Node) {
	return func(what string, n *yaml.Node) { *dst, _ = r.scalar(what, n) }
}

// texts reads one text or a list of them.
func (r *reader) texts(what string, n *yaml.Node) (list []string) {
	if n.Kind == yaml.ScalarNode {
		if v, ok := r.scalar(what, n); ok {
			list = append(list, v)
		}
		return list
	}
	r.list(what, n, func(what string, item *yaml.Node) {
		v, ok := r.scalar(what, item)
		switch {
		case !ok:
		case slices.Contains(list, v):
			r.problem(item, "%s%q stands twice", prefix(what), v)
		default:
			list = append(list, v)
		}
	})
	return list
}

func (r *reader) boolean(dst *bool) func(string, *yaml.Node) {
	return func(what string, n *yaml.Node) {
		if n.Kind != yaml.ScalarNode || n.Value != "true" && n.Value != "false" {
			r.problem(n, "%smust be true or false", prefix(what))
			return
		}
		*dst = n.Value == "true"
	}
}

func (r *reader) column(dst **column) func(string, *yaml.Node) {
	return func(what string, n *yaml.Node) {
		v, ok := r.scalar(what, n)
		if !ok {
			return
		}
		c, err := parseColumn(v)
		if err != nil {
			r.problem(n, "%s%v", prefix(what), err)
			return
		}
		*dst = &c
	}
}

func (r *reader) each(dst **each) func(string, *yaml.Node) {
	return func(what string, n *yaml.Node) {
		v, ok := r.scalar(what, n)
		if !ok {
			return
		}
		e, err := parseEach(v)
		if err != nil {
			r.problem(n, "%s%v", prefix(what), err)
			return
		}
		*dst = e
	}
}

// bare is how values are compared: without case and space.
func bare(text []byte) string {
	return string(bytes.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, text))
}

// table reads what each value of a column stands for.
func (r *reader) table(what string, n *yaml.Node, put func(value string, n *yaml.Node)) {
	seen := map[string]int{}
	r.members(what, n, func(key, value *yaml.Node) {
		v := bare([]byte(key.Value))
		if line, twice := seen[v]; twice {
			r.problem(key, "%sthe value %q stands twice, first in line %d; case and space do not matter", prefix(what), key.Value, line)
			return
		}
		seen[v] = key.Line
		put(v, value)
	})
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		r.problem(n, "%sis empty", prefix(what))
	}
}
