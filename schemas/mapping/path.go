package mapping

import (
	"errors"
	"strings"

	"lupa/schemas"
)

// The steps of a path that begin at an element of `each`.
const (
	theElement = "@"
	theKey     = "@key"
)

// column is where a value stands in a row: the first of the paths that leads to
// something.
type column struct {
	paths []schemas.Path
	text  string // as the mapping has it, for messages
}

// parseColumn reads alternatives with | between them.
func parseColumn(text string) (column, error) {
	c := column{text: text}
	for _, part := range splitOutside(text, "|") {
		p, err := schemas.ParsePath(strings.TrimSpace(part))
		if err != nil {
			return c, err
		}
		c.paths = append(c.paths, p)
	}
	return c, nil
}

// place is where a rule looks: the row, and the element of it that is at hand.
type place struct {
	row     int32
	old     int32 // members that stand for those of the row, or absent
	element int32 // or absent
	key     int32 // the member that the element is of, or absent
}

// rowAt is a row of which no element is at hand.
func rowAt(row int32) place { return place{row, absent, absent, absent} }

// find gives the first value that is there and not null.
func (t *tree) find(c *column, at place) int32 {
	for _, p := range c.paths {
		if n := t.follow(p, at); !t.isNull(n) {
			return n
		}
	}
	return absent
}

func (t *tree) follow(p schemas.Path, at place) int32 {
	if at.element != absent && p[0] == theElement {
		return t.walk(at.element, absent, p[1:])
	}
	return t.walk(at.row, at.old, p)
}

// walk goes down the steps from n, the first of them in old if it has it.
func (t *tree) walk(n, old int32, steps []string) int32 {
	for _, step := range steps {
		m := t.member(old, step)
		if m == absent {
			m = t.member(n, step)
		}
		if m == absent {
			return absent
		}
		n, old = m, absent
	}
	return n
}

// namesKey reports whether a column is the name of the member at hand.
func (c *column) namesKey() bool {
	return len(c.paths) == 1 && len(c.paths[0]) == 1 && c.paths[0][0] == theKey
}

// each is a path to several elements: those of an array, behind [], or the
// members of an object, behind {}.
type each struct {
	levels []level
	text   string
}

type level struct {
	path    schemas.Path // from the element of the level before, or nil
	members bool         // {}
}

var errEach = errors.New("must end with [] (the elements of an array) or {} (the members of an object)")

func parseEach(text string) (*each, error) {
	e := &each{text: text}
	rest := strings.TrimSpace(text)
	for rest != "" {
		end, mark := -1, ""
		for _, m := range [...]string{"[]", "{}"} {
			if parts := splitOutside(rest, m); len(parts) > 1 && (end < 0 || len(parts[0]) < end) {
				end, mark = len(parts[0]), m
			}
		}
		if end < 0 {
			return nil, errEach
		}
		l := level{members: mark == "{}"}
		if before := strings.TrimPrefix(rest[:end], "."); before != "" {
			p, err := schemas.ParsePath(before)
			if err != nil {
				return nil, err
			}
			l.path = p
		}
		e.levels = append(e.levels, l)
		rest = rest[end+len(mark):]
	}
	if len(e.levels) == 0 {
		return nil, errEach
	}
	return e, nil
}

// splitOutside cuts text at every sep that is not in quotes.
func splitOutside(text, sep string) (parts []string) {
	begin, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case !quoted && strings.HasPrefix(text[i:], sep):
			parts = append(parts, text[begin:i])
			begin = i + len(sep)
			i = begin - 1
		}
	}
	return append(parts, text[begin:])
}

// places calls do for each element. wrong is that something on the way is
// neither absent nor of the kind that the path says.
func (t *tree) places(e *each, at place, do func(place)) (wrong bool) {
	if e == nil {
		do(at)
		return false
	}
	return t.level(e.levels, at, do)
}

func (t *tree) level(levels []level, at place, do func(place)) (wrong bool) {
	if len(levels) == 0 {
		do(at)
		return false
	}
	l := levels[0]
	var n int32
	if at.element == absent {
		n = t.walk(at.row, at.old, l.path)
	} else {
		n = t.walk(at.element, absent, l.path)
	}
	if t.isNull(n) {
		return false
	}
	kind := byte('[')
	if l.members {
		kind = '{'
	}
	if t.nodes[n].kind != kind {
		return true
	}
	for c := n + 1; c < t.nodes[n].next; c = t.nodes[c].next {
		inner := at
		inner.element = c
		if l.members {
			inner.key = c
		}
		wrong = t.level(levels[1:], inner, do) || wrong
	}
	return wrong
}
