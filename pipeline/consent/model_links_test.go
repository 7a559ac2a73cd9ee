package consent

import (
	"slices"

	"pgregory.net/rapid"

	"lupa/schemas"
)

// modelLink is what is said of two identifiers.
type modelLink struct {
	said   []say
	broken bool // what came last could not be read
}

// says adds a record, which makes up for what could not be read if its version is
// higher than all.
func (l *modelLink) says(s say) {
	if !slices.ContainsFunc(l.said, func(o say) bool { return o.Version >= s.Version }) {
		l.broken = false
	}
	l.said = append(l.said, s)
}

// newest gives the different records of the highest version.
func (l *modelLink) newest() (newest []say) {
	for _, s := range l.said {
		if slices.ContainsFunc(l.said, func(o say) bool { return o.Version > s.Version }) {
			continue
		}
		alike := func(o say) bool {
			return o.Verb == s.Verb && o.Shared == s.Shared && (!s.Shared || o.Other == s.Other)
		}
		if !slices.ContainsFunc(newest, alike) {
			newest = append(newest, s)
		}
	}
	return newest
}

func (l *modelLink) linked() bool {
	return slices.ContainsFunc(l.newest(), func(s say) bool { return s.Verb == schemas.Link })
}

func (l *modelLink) unclear() bool { return l.broken || len(l.newest()) > 1 }

// link gives what is said of two identifiers.
func (m *model) link(a, b schemas.Subject) *modelLink {
	m.known[a], m.known[b] = true, true
	p := pair(a, b)
	if m.links[p] == nil {
		m.links[p] = &modelLink{}
	}
	return m.links[p]
}

// linkedWith gives whom an identifier is linked with.
func (m *model) linkedWith(who schemas.Subject) (others []schemas.Subject) {
	for p, l := range m.links {
		for side := range p {
			if p[side] == who && l.linked() {
				others = append(others, p[1-side])
			}
		}
	}
	return others
}

// shared reports whether an identifier is several people's.
func (m *model) shared(who schemas.Subject) bool {
	if m.known[who] && slices.Contains(m.kinds, who.Kind) {
		return true
	}
	for _, l := range m.links {
		if slices.ContainsFunc(l.newest(), func(s say) bool { return s.Verb == schemas.Link && s.Shared && s.Other == who }) {
			return true
		}
	}
	return false
}

// same gives who and everybody linked with them who is not shared.
func (m *model) same(who schemas.Subject) []schemas.Subject {
	found := []schemas.Subject{who}
	for i := 0; i < len(found) && !m.shared(who); i++ {
		for _, other := range m.linkedWith(found[i]) {
			if !m.shared(other) && !slices.Contains(found, other) {
				found = append(found, other)
			}
		}
	}
	return found
}

// person gives the lines of whom an identifier is one person with.
func (m *model) person(who schemas.Subject, neighbour bool) (lines []modelLine) {
	same := m.same(who)
	if len(same) > m.maxLinked {
		return []modelLine{{who: who, capped: true, neighbour: neighbour}}
	}
	for _, who := range same {
		lines = append(lines, modelLine{who: who, shared: m.shared(who), neighbour: neighbour})
	}
	return lines
}

// lines gives the identifiers that decide of a row with these names, which are
// alternatives where they stand in one column.
func (m *model) lines(columns [][]schemas.Subject) (lines []modelLine) {
	var crowd []schemas.Subject
	person, stranger := false, false
	for _, names := range columns {
		known, one := false, false
		for _, name := range names {
			one = one || !slices.Contains(m.kinds, name.Kind)
			switch {
			case !m.known[name]:
				continue
			case m.shared(name):
				crowd = append(crowd, name)
			default:
				person = true
			}
			known = true
			lines = append(lines, m.person(name, false)...)
		}
		stranger = stranger || one && !known
	}
	switch {
	case person || len(crowd) == 0:
	case stranger:
		lines = append(lines, modelLine{})
	default:
		for _, name := range crowd {
			others := m.linkedWith(name)
			if len(others) > m.maxLinked {
				lines = append(lines, modelLine{capped: true, neighbour: true})
				continue
			}
			for _, other := range others {
				lines = append(lines, m.person(other, true)...)
			}
		}
	}
	return lines
}

// linkDrawn draws what is said of two identifiers.
func linkDrawn(t *rapid.T, who schemas.Subject) say {
	s := linked(who, subjects.Filter(func(o schemas.Subject) bool { return o != who }).Draw(t, "other"))
	s.Version = rapid.Int64Range(0, 3).Draw(t, "version")
	switch rapid.IntRange(0, 4).Draw(t, "link") {
	case 0:
		s.Verb = schemas.Unlink
	case 1:
		s.Shared = true
	}
	return s
}

var kindsDrawn = rapid.SampledFrom([][]schemas.IdentifierKind{nil, nil, {schemas.AnonymousID}, {schemas.AnonymousID, schemas.Email}})
