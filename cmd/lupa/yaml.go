package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"go.yaml.in/yaml/v3"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	File    string
	Line    int    // 0 when the whole file is at fault
	Key     string // dotted, or empty
	Message string
}

// String gives file:line, the key and what is wrong with it.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + " ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// ConfigError is every problem of one configuration file, in file order.
type ConfigError struct{ Problems []Problem }

// Error lists the problems, one a line.
func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// configReader walks the nodes of one YAML file and collects every problem
// instead of stopping at the first.
type configReader struct {
	file, dir string
	problems  []Problem
}

// A setter reads the value n of the key into its place.
type setter func(key string, n *yaml.Node)

// keySet is the keys that a section may have.
type keySet map[string]setter

// A form is what a text must look like, and how to say so.
type form struct {
	match   *regexp.Regexp
	allowed string
}

func (r *configReader) problem(n *yaml.Node, key, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Key: key, Message: fmt.Sprintf(format, args...)})
}

// document gives the root of the file's only document, or nil with a problem.
func (r *configReader) document(text []byte) *yaml.Node {
	var doc, more yaml.Node
	d := yaml.NewDecoder(bytes.NewReader(text))
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		r.problem(nil, "", "is empty; `lupa check --example` prints an example")
		return nil
	case err != nil:
		r.syntax(err)
		return nil
	}
	switch err := d.Decode(&more); {
	case err == nil:
		r.problem(&more, "", "a second document begins; allowed is one")
		return nil
	case !errors.Is(err, io.EOF):
		r.syntax(err)
		return nil
	}
	return doc.Content[0]
}

// err gives the problems in file order, or nil.
func (r *configReader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return a.Line - b.Line })
	return &ConfigError{Problems: r.problems}
}

var syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (r *configReader) syntax(err error) {
	var at yaml.Node
	if m := syntaxLine.FindStringSubmatch(err.Error()); m != nil && m[1] != "" {
		at.Line, _ = strconv.Atoi(m[1])
	}
	r.problem(&at, "", "is not YAML: %s", syntaxLine.ReplaceAllString(err.Error(), ""))
}

// section reads the keys of a mapping and gives the values of those it has.
// Unknown and repeated keys are problems.
func (r *configReader) section(name string, n *yaml.Node, keys keySet) map[string]*yaml.Node {
	seen := map[string]*yaml.Node{}
	allowed := make([]string, 0, len(keys))
	for k := range keys {
		allowed = append(allowed, k)
	}
	slices.Sort(allowed)
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		r.problem(n, name, "is not a section; allowed are the keys %s", strings.Join(allowed, ", "))
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := k.Value
		if name != "" {
			key = name + "." + key
		}
		set, known := keys[k.Value]
		switch {
		case !known:
			r.problem(k, key, "is not a key; allowed are %s", strings.Join(allowed, ", "))
		case seen[k.Value] != nil:
			r.problem(k, key, "stands twice, first in line %d", seen[k.Value].Line)
		default:
			seen[k.Value] = v
			set(key, v)
		}
	}
	return seen
}

// need makes a problem of each key that a section lacks. A nil seen is a
// section that was already refused.
func (r *configReader) need(seen map[string]*yaml.Node, name string, n *yaml.Node, keys ...string) {
	for _, k := range keys {
		if seen == nil || seen[k] != nil {
			continue
		}
		if name != "" {
			k = name + "." + k
		}
		r.problem(n, k, "is missing")
	}
}

func (r *configReader) exactlyOne(seen map[string]*yaml.Node, name string, n *yaml.Node, a, b string) {
	switch {
	case seen == nil:
	case seen[a] == nil && seen[b] == nil:
		r.problem(n, name, "has neither %s nor %s; exactly one is needed", a, b)
	case seen[a] != nil && seen[b] != nil:
		r.problem(n, name, "has both %s and %s; exactly one is allowed", a, b)
	}
}

// each calls f for every item of a list that is not empty.
func (r *configReader) each(key string, n *yaml.Node, what string, f setter) {
	n = follow(n)
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		r.problem(n, key, "must be a list of %s with at least one entry", what)
		return
	}
	for i, item := range n.Content {
		f(fmt.Sprintf("%s[%d]", key, i), item)
	}
}

// scalar gives the text of a value that is neither empty nor nested.
func (r *configReader) scalar(key string, n *yaml.Node, allowed string) (string, bool) {
	n = follow(n)
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || strings.TrimSpace(n.Value) == "" {
		r.problem(n, key, "has no value; allowed is %s", allowed)
		return "", false
	}
	return n.Value, true
}

func (r *configReader) text(dst *string, f form) setter {
	return func(key string, n *yaml.Node) {
		v, ok := r.scalar(key, n, f.allowed)
		if !ok {
			return
		}
		if !f.match.MatchString(v) {
			r.problem(n, key, "%q is not allowed; allowed is %s", v, f.allowed)
			return
		}
		*dst = v
	}
}

// list reads texts that differ from each other.
func (r *configReader) list(dst *[]string, f form) setter {
	return func(key string, n *yaml.Node) {
		r.each(key, n, "texts ("+f.allowed+")", func(key string, item *yaml.Node) {
			var v string
			r.text(&v, f)(key, item)
			if v != "" && slices.Contains(*dst, v) {
				r.problem(item, key, "%q stands twice", v)
			}
			*dst = append(*dst, v)
		})
	}
}

func (r *configReader) path(dst *string) setter {
	return func(key string, n *yaml.Node) {
		v, ok := r.scalar(key, n, "a path")
		if !ok {
			return
		}
		if strings.Contains(v, "://") {
			r.problem(n, key, "%q is a URL; allowed is a local path", v)
			return
		}
		*dst = r.resolve(v)
	}
}

// resolve makes a path that is relative to the file's folder usable from here.
func (r *configReader) resolve(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(r.dir, path)
}

func (r *configReader) integer(dst *int, low, high int) setter {
	return func(key string, n *yaml.Node) {
		allowed := fmt.Sprintf("a whole number from %d to %d", low, high)
		v, ok := r.scalar(key, n, allowed)
		if !ok {
			return
		}
		i, err := strconv.Atoi(v)
		if err != nil || i < low || i > high {
			r.problem(n, key, "%q is not allowed; allowed is %s", v, allowed)
			return
		}
		*dst = i
	}
}

func (r *configReader) bytes(dst *int64, low, high uint64) setter {
	return func(key string, n *yaml.Node) {
		allowed := fmt.Sprintf("a size from %s to %s", humanize.IBytes(low), humanize.IBytes(high))
		v, ok := r.scalar(key, n, allowed)
		if !ok {
			return
		}
		b, err := humanize.ParseBytes(v)
		if err != nil || b < low || b > high {
			r.problem(n, key, "%q is not allowed; allowed is %s", v, allowed)
			return
		}
		*dst = int64(b)
	}
}

func (r *configReader) duration(dst *time.Duration, low, high time.Duration) setter {
	return func(key string, n *yaml.Node) {
		allowed := fmt.Sprintf("a duration from %s to %s, such as 10s", low, high)
		v, ok := r.scalar(key, n, allowed)
		if !ok {
			return
		}
		d, err := time.ParseDuration(v)
		if err != nil || d < low || d > high {
			r.problem(n, key, "%q is not allowed; allowed is %s", v, allowed)
			return
		}
		*dst = d
	}
}

func (r *configReader) boolean(dst *bool) setter {
	return func(key string, n *yaml.Node) {
		v, ok := r.scalar(key, n, "true or false")
		if !ok {
			return
		}
		if v != "true" && v != "false" {
			r.problem(n, key, "%q is not allowed; allowed is true or false", v)
			return
		}
		*dst = v == "true"
	}
}

// follow gives what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
