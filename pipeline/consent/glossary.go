package consent

import (
	"cmp"
	"strings"

	"lupa/schemas"
)

// glossary keeps each combination of terms once. Records name it by its number;
// 0 is no terms at all. It is the writer's: readers have a copy of its slices,
// whose elements never change.
type glossary struct {
	allows func(regions string) bool
	ids    map[schemas.Terms]uint32
	terms  []schemas.Terms
	barred []bool // of each, that the destination lies outside of its regions
}

const (
	// nowhere is the number of the terms that allow no region: two records of
	// one version name different ones.
	nowhere = uint32(1)
	// maxTerms is how many combinations are kept. When there are wholeTerms, of
	// new ones only what decides is: a ledger with so many has texts that are
	// none of a register's.
	maxTerms, wholeTerms = 65_535, 57_344
	// noRegion is no region's code.
	noRegion = "?"
)

func newGlossary(allows func(regions string) bool) *glossary {
	return &glossary{
		allows: allows,
		ids:    map[schemas.Terms]uint32{{}: 0, {Regions: noRegion}: nowhere},
		terms:  []schemas.Terms{{}, {Regions: noRegion}},
		barred: []bool{false, true},
	}
}

// number gives the number of some terms. It reports whether what decides of them
// is kept.
func (g *glossary) number(t *schemas.Terms) (id uint32, kept bool) {
	if id, ok := g.ids[*t]; ok {
		return id, true
	}
	most := wholeTerms
	if essence := (schemas.Terms{Regions: t.Regions, Fields: t.Fields, Basis: t.Basis, Country: t.Country}); *t == essence {
		most = maxTerms
	} else if len(g.terms) >= wholeTerms {
		return g.number(&essence)
	}
	if len(g.terms) >= most {
		return 0, false
	}
	own := schemas.Terms{
		// Texts may be parts of a message.
		Method: strings.Clone(t.Method), Notice: strings.Clone(t.Notice), System: strings.Clone(t.System),
		Language: strings.Clone(t.Language), Basis: strings.Clone(t.Basis), Type: strings.Clone(t.Type),
		ProcessingID: strings.Clone(t.ProcessingID), Regions: strings.Clone(t.Regions),
		Fields: strings.Clone(t.Fields), Country: strings.Clone(t.Country),
	}
	id = uint32(len(g.terms))
	g.ids[own] = id
	g.terms = append(g.terms, own)
	g.barred = append(g.barred, own.Regions != "" && (g.allows == nil || !g.allows(own.Regions)))
	return id, true
}

// stricter gives the terms that stand of two records that say the same: none of a
// region in which they differ, no country whose law would be the one, and for the
// rest those that sort first.
func (g *glossary) stricter(a, b uint32) uint32 {
	x, y := &g.terms[a], &g.terms[b]
	switch {
	case a == b:
		return a
	case x.Regions != y.Regions:
		return nowhere
	case x.Country != y.Country:
		return 0
	case compareTerms(x, y) > 0:
		return b
	}
	return a
}

func compareTerms(x, y *schemas.Terms) int {
	return cmp.Or(
		cmp.Compare(x.Basis, y.Basis), cmp.Compare(x.Method, y.Method), cmp.Compare(x.Notice, y.Notice),
		cmp.Compare(x.System, y.System), cmp.Compare(x.Language, y.Language), cmp.Compare(x.Type, y.Type),
		cmp.Compare(x.ProcessingID, y.ProcessingID), cmp.Compare(x.Regions, y.Regions),
		cmp.Compare(x.Fields, y.Fields), cmp.Compare(x.Country, y.Country),
	)
}

// rules are what a decision rests on besides records and question.
type rules struct {
	ages       Ages
	vocabulary vocabulary
	terms      []schemas.Terms // of a glossary
	barred     []bool
}

// vocabulary says what groups of purposes are.
type vocabulary interface {
	Set(p schemas.Purpose) schemas.PurposeSet
	Name(p schemas.Purpose) string
}

// Ages is the law that says from which age on a subject's own consent counts
// (GDPR Art 8). It is asked by many at once.
type Ages interface {
	// Age gives the age by the law that a country, which may be unknown, has at a
	// time, and whether until then child and guardian must agree jointly.
	Age(country string, at int64) (years int, joint bool)
}

// wholeYears is the law where nobody says what it is.
type wholeYears int

func (y wholeYears) Age(string, int64) (years int, joint bool) { return int(y), false }

// learn takes over what the glossary has.
func (r *rules) learn(g *glossary) { r.terms, r.barred = g.terms, g.barred }

// forbids reports whether terms do not allow the destination. Those that are not
// known do not.
func (r *rules) forbids(terms uint32) bool {
	return terms != 0 && (int(terms) >= len(r.barred) || r.barred[terms])
}

// country gives the country of a birth.
func (r *rules) country(terms uint32) string {
	if int(terms) >= len(r.terms) {
		return ""
	}
	return r.terms[terms].Country
}
