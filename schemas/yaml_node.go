package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlFile reads YAML nodes and notes every problem with its line, so that one
// reading finds all of them.
type yamlFile struct {
	name     string
	problems []Problem
}

func (f *yamlFile) problem(line int, format string, args ...any) {
	f.problems = append(f.problems, Problem{File: f.name, Line: line, Message: fmt.Sprintf(format, args...)})
}

func (f *yamlFile) err() error {
	if len(f.problems) == 0 {
		return nil
	}
	sortProblems(f.problems)
	return &ContractError{Problems: f.problems}
}

// root parses the one document of data; nil after a problem.
func (f *yamlFile) root(data []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		f.problem(0, "the file is empty")
		return nil
	case err != nil:
		f.syntax(err)
		return nil
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		f.problem(second.Line, "the file has a second document; one contract is one file")
		return nil
	case !errors.Is(err, io.EOF):
		f.syntax(err)
		return nil
	}
	if !f.plain(&document) {
		return nil
	}
	return document.Content[0]
}

// syntax turns an error of the YAML parser, which begins with its line, into a
// problem.
func (f *yamlFile) syntax(err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, found := strings.CutPrefix(message, "line "); found {
		if number, text, found := strings.Cut(rest, ": "); found {
			if n, err := strconv.Atoi(number); err == nil {
				line, message = n, text
			}
		}
	}
	f.problem(line, "not YAML: %s", message)
}

// plain refuses anchors and aliases: a contract says everything where it
// stands, and a node that contains itself would never end.
func (f *yamlFile) plain(n *yaml.Node) bool {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		f.problem(n.Line, "anchors and aliases are not allowed")
		return false
	}
	return !slices.ContainsFunc(n.Content, func(child *yaml.Node) bool { return !f.plain(child) })
}

// member is one key of a mapping with its value.
type member struct {
	key, value *yaml.Node
}

// members gives the keys of a mapping in their order. what names the mapping
// in messages.
func (f *yamlFile) members(n *yaml.Node, what string) []member {
	if n.Kind != yaml.MappingNode {
		f.problem(n.Line, "%s: must be a mapping, is %s", what, kindOf(n))
		return nil
	}
	seen := map[string]int{}
	var list []member
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			f.problem(key.Line, "%s: a key must be text, is %s", what, kindOf(key))
			continue
		}
		if line, dup := seen[key.Value]; dup {
			f.problem(key.Line, "%s: the key %s stands twice, first in line %d", what, key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		list = append(list, member{key, value})
	}
	return list
}

// object is members for a mapping whose keys are known; hint follows the list
// of what is allowed.
func (f *yamlFile) object(n *yaml.Node, what string, keys []string, hint string) map[string]*yaml.Node {
	values := map[string]*yaml.Node{}
	for _, m := range f.members(n, what) {
		if !slices.Contains(keys, m.key.Value) {
			f.problem(m.key.Line, "%s: unknown key %q; %s%s", what, m.key.Value, allowed(m.key.Value, keys), hint)
			continue
		}
		values[m.key.Value] = m.value
	}
	return values
}

// items gives the entries of a list.
func (f *yamlFile) items(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		f.problem(n.Line, "%s: must be a list, is %s", what, kindOf(n))
		return nil
	}
	return n.Content
}

// text gives a text that is not empty.
func (f *yamlFile) text(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		hint := ""
		if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
			hint = "; put it in quotes"
		}
		f.problem(n.Line, "%s: must be text, is %s%s", what, kindOf(n), hint)
		return "", false
	}
	if strings.TrimSpace(n.Value) == "" {
		f.problem(n.Line, "%s: must not be empty", what)
		return "", false
	}
	return n.Value, true
}

// texts gives a list of texts in which none stands twice and which is not
// empty.
func (f *yamlFile) texts(n *yaml.Node, what string) []*yaml.Node {
	list := f.items(n, what)
	if n.Kind == yaml.SequenceNode && len(list) == 0 {
		f.problem(n.Line, "%s: the list is empty", what)
	}
	var good []*yaml.Node
	for _, item := range list {
		value, ok := f.text(item, what)
		if !ok {
			continue
		}
		if slices.ContainsFunc(good, func(o *yaml.Node) bool { return o.Value == value }) {
			f.problem(item.Line, "%s: %s is listed twice", what, value)
			continue
		}
		good = append(good, item)
	}
	return good
}

func (f *yamlFile) boolean(n *yaml.Node, what string) bool {
	var value bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&value) != nil {
		f.problem(n.Line, "%s: must be true or false, is %s", what, kindOf(n))
		return false
	}
	return value
}

// choice gives the index in names of a text that must be one of them, or -1.
func (f *yamlFile) choice(n *yaml.Node, what string, names []string) int {
	value, ok := f.text(n, what)
	if !ok {
		return -1
	}
	i := slices.Index(names, value)
	if i < 0 {
		f.problem(n.Line, "%s: unknown value %q; %s", what, value, allowed(value, names))
	}
	return i
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!str":
		return "text"
	case "!!null":
		return "null"
	case "!!bool":
		return "a boolean"
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	}
	return n.ShortTag()
}
