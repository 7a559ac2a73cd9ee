package schemas

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

//go:embed vocabulary.yaml
var defaultVocabularyFile []byte

var defaultVocabulary = sync.OnceValue(func() *Vocabulary {
	v, err := parseVocabulary("built-in/vocabulary.yaml", defaultVocabularyFile, nil)
	if err != nil {
		panic(fmt.Sprintf("schemas: the vocabulary does not load: %v", err))
	}
	return v.compile()
})

// DefaultVocabulary gives the embedded table.
func DefaultVocabulary() *Vocabulary { return defaultVocabulary() }

// ReadVocabulary gives the embedded table with a file laid over it, which has the
// same form. The error is a *ContractError with everything that is wrong in it.
func ReadVocabulary(path string) (*Vocabulary, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read vocabulary: %w", err)
	}
	base, err := parseVocabulary("built-in/vocabulary.yaml", defaultVocabularyFile, nil)
	if err != nil {
		return nil, err
	}
	v, err := parseVocabulary(path, data, base)
	if err != nil {
		return nil, err
	}
	return v.compile(), nil
}

// meaning is what a name stands for, and whether exactly.
type meaning struct {
	purpose Purpose
	exact   bool
}

// wordList is a vocabulary as its file has it.
type wordList struct {
	groups              []group
	plain               map[string]meaning // by bareName
	exact               map[string]Purpose // plain names as a grant writes them
	dpv                 map[string]meaning
	categories, signals map[string]PurposeSet
	tcf                 map[int]PurposeSet
	gpc                 PurposeSet
}

func newWordList() *wordList {
	return &wordList{
		plain: map[string]meaning{}, exact: map[string]Purpose{}, dpv: map[string]meaning{},
		categories: map[string]PurposeSet{}, signals: map[string]PurposeSet{}, tcf: map[int]PurposeSet{},
	}
}

// The keys of the form, and the signals of Google Consent Mode.
var (
	purposeKeys   = []string{"categories", "dpv", "dpv_narrower", "fides", "google", "names", "narrower", "tcf"}
	groupKeys     = []string{"categories", "dpv", "fides", "names", "objection", "purposes"}
	googleSignals = []string{
		"ad_storage", "ad_user_data", "ad_personalization", "analytics_storage",
		"functionality_storage", "personalization_storage", "security_storage",
	}
	// takenNames stand for something else in a record or its key.
	takenNames = []string{anyPurpose, unknownPurpose, eraseSlot, restrictSlot, bornSlot}
)

// maxTCF is how many purposes a TC string has room for.
const maxTCF = 24

// vocabularyParser reads one file.
type vocabularyParser struct {
	yamlFile
	own    *wordList
	base   *wordList // what the file is laid over, nil of the embedded one
	groups []group   // of base, and then the file's
}

func parseVocabulary(name string, data []byte, base *wordList) (*wordList, error) {
	p := vocabularyParser{yamlFile: yamlFile{name: name}, own: newWordList(), base: base}
	if base != nil {
		p.groups = slices.Clone(base.groups)
	}
	root := p.root(data)
	if root == nil {
		return nil, p.err()
	}
	top := p.object(root, "vocabulary", []string{"gpc", "groups", "purposes"}, "")
	var groups []member
	if top["groups"] != nil {
		groups = p.members(top["groups"], "groups")
		p.declare(groups)
	}
	for _, m := range groups {
		p.group(m)
	}
	if top["purposes"] != nil {
		for _, m := range p.members(top["purposes"], "purposes") {
			p.purpose(m)
		}
	}
	if top["gpc"] != nil {
		p.own.gpc = p.purposeSet(top["gpc"], "gpc")
	}
	p.checkObjections(root.Line)
	if err := p.err(); err != nil {
		return nil, err
	}
	return p.overlay(), nil
}

// declare numbers the groups before anything names them.
func (p *vocabularyParser) declare(groups []member) {
	for _, m := range groups {
		name := m.key.Value
		switch {
		case p.groupOf(name) != NoPurpose:
		case !lowerName.MatchString(name) || slices.Contains(takenNames, name) || slices.Contains(PurposeNames(), name):
			p.problem(m.key.Line, "groups: %q cannot be a group; allowed: lower-case letters, digits and _, but no purpose and none of %s",
				name, strings.Join(takenNames, ", "))
		case len(p.groups) == MaxGroups:
			p.problem(m.key.Line, "groups: %s is one too many; allowed: %d with those that are built in", name, MaxGroups)
		default:
			p.groups = append(p.groups, group{name: name})
		}
	}
}

func (p *vocabularyParser) groupOf(name string) Purpose {
	i := slices.IndexFunc(p.groups, func(g group) bool { return g.name == name })
	if i < 0 {
		return NoPurpose
	}
	return FirstGroup + Purpose(i)
}

func (p *vocabularyParser) group(m member) {
	target, what := p.groupOf(m.key.Value), "groups: "+m.key.Value
	if target == NoPurpose {
		return
	}
	g := &p.groups[target-FirstGroup]
	keys := p.object(m.value, what, groupKeys, "")
	if n := keys["purposes"]; n != nil {
		g.purposes |= p.purposeSet(n, what+": purposes")
	}
	if g.purposes == 0 && m.value.Kind == yaml.MappingNode {
		p.problem(m.key.Line, "%s: the key purposes is missing", what)
	}
	if n := keys["objection"]; n != nil {
		names := make([]string, len(p.groups))
		for i := range p.groups {
			names[i] = p.groups[i].name
		}
		if i := p.choice(n, what+": objection", names); i >= 0 {
			g.objection = FirstGroup + Purpose(i)
		}
	}
	p.words(keys, what, target, g.purposes)
}

func (p *vocabularyParser) purpose(m member) {
	target, known := ParsePurpose(m.key.Value)
	if !known {
		p.problem(m.key.Line, "purposes: unknown purpose %q; %s", m.key.Value, allowed(m.key.Value, PurposeNames()))
		return
	}
	what := "purposes: " + m.key.Value
	keys := p.object(m.value, what, purposeKeys, "")
	p.words(keys, what, target, Purposes(target))
	for _, n := range p.list(keys["google"], what+": google") {
		if p.choice(n, what+": google", googleSignals) >= 0 {
			p.own.signals[n.Value] = p.own.signals[n.Value].With(target)
		}
	}
	if n := keys["tcf"]; n != nil {
		for _, item := range p.items(n, what+": tcf") {
			number, err := strconv.Atoi(item.Value)
			if err != nil || item.Kind != yaml.ScalarNode || number < 1 || number > maxTCF {
				p.problem(item.Line, "%s: tcf: must be a purpose of the TCF, 1 to %d", what, maxTCF)
				continue
			}
			p.own.tcf[number] = p.own.tcf[number].With(target)
		}
	}
}

// words reads the names of a purpose or a group.
func (p *vocabularyParser) words(keys map[string]*yaml.Node, what string, target Purpose, purposes PurposeSet) {
	for _, key := range [...]string{"names", "narrower", "fides"} {
		for _, n := range p.list(keys[key], what+": "+key) {
			p.plain(n, what+": "+key, meaning{target, key == "names" && !target.IsGroup()})
		}
	}
	for _, key := range [...]string{"dpv", "dpv_narrower"} {
		for _, n := range p.list(keys[key], what+": "+key) {
			p.term(n, what+": "+key, meaning{target, key == "dpv" && !target.IsGroup()})
		}
	}
	for _, n := range p.list(keys["categories"], what+": categories") {
		p.own.categories[n.Value] |= purposes
	}
}

// list is texts for a list that may be absent.
func (p *vocabularyParser) list(n *yaml.Node, what string) []*yaml.Node {
	if n == nil {
		return nil
	}
	return p.texts(n, what)
}

func (p *vocabularyParser) plain(n *yaml.Node, what string, is meaning) {
	name := bareName(n.Value)
	taken := slices.ContainsFunc(takenNames, func(t string) bool { return bareName(t) == name })
	for purpose := Necessary; purpose < numPurposes; purpose++ {
		taken = taken || bareName(purpose.String()) == name && purpose != is.purpose
	}
	for i := range p.groups {
		taken = taken || bareName(p.groups[i].name) == name && FirstGroup+Purpose(i) != is.purpose
	}
	switch before, twice := p.own.plain[name]; {
	case name == "" || taken:
		p.problem(n.Line, "%s: %q has a meaning of its own and cannot be another name", what, n.Value)
		return
	case strings.ContainsAny(n.Value, ":#/") && strings.Contains(strings.ToLower(n.Value), "dpv"):
		p.problem(n.Line, "%s: %q is a DPV term; it belongs under dpv or dpv_narrower, without its namespace", what, n.Value)
		return
	case twice && before.purpose != is.purpose:
		p.problem(n.Line, "%s: %q means another purpose already; a name means one, or a group", what, n.Value)
		return
	}
	p.own.plain[name] = meaning{is.purpose, is.exact || p.own.plain[name].exact}
	if is.exact {
		p.own.exact[n.Value] = is.purpose
	}
}

func (p *vocabularyParser) term(n *yaml.Node, what string, is meaning) {
	switch {
	case bareName(n.Value) == "" || strings.ContainsAny(n.Value, ":#/*"):
		p.problem(n.Line, "%s: %q must be a term without its namespace", what, n.Value)
	case p.own.hasTerm(n.Value):
		p.problem(n.Line, "%s: %s is listed twice", what, n.Value)
	case p.base != nil && p.base.hasTerm(n.Value):
		p.problem(n.Line, "%s: what %s means is fixed", what, n.Value)
	default:
		p.own.dpv[n.Value] = is
	}
}

func (w *wordList) hasTerm(term string) bool {
	for known := range w.dpv {
		if bareName(known) == bareName(term) {
			return true
		}
	}
	return false
}

// purposeSet gives the purposes of a list.
func (p *vocabularyParser) purposeSet(n *yaml.Node, what string) (s PurposeSet) {
	for _, item := range p.texts(n, what) {
		if i := p.choice(item, what, PurposeNames()); i >= 0 {
			s = s.With(Necessary + Purpose(i))
		}
	}
	return s
}

// checkObjections makes sure that no objection takes less than the group it is
// named by, nor leaves profiling when it is to direct marketing.
func (p *vocabularyParser) checkObjections(line int) {
	direct := Purposes(DirectMarketingEmail, DirectMarketingSMS, DirectMarketingPhone)
	for i := range p.groups {
		g := &p.groups[i]
		reach := g.purposes
		if g.objection != NoPurpose {
			reach = p.groups[g.objection-FirstGroup].purposes
		}
		if !reach.Covers(g.purposes) || g.purposes.Covers(direct) && !reach.Has(Profiling) {
			p.problem(line, "groups: %s: the group of its objection must have all of its purposes, and profiling if it has all of direct marketing", g.name)
		}
	}
}

// overlay gives the file's words, over those of base.
func (p *vocabularyParser) overlay() *wordList {
	w := p.own
	w.groups = p.groups
	if p.base == nil {
		return w
	}
	merged := newWordList()
	merged.groups = p.groups
	maps.Copy(merged.plain, p.base.plain)
	for name, purpose := range p.base.exact {
		if _, again := w.plain[bareName(name)]; !again {
			merged.exact[name] = purpose
		}
	}
	maps.Copy(merged.dpv, p.base.dpv)
	maps.Copy(merged.categories, p.base.categories)
	maps.Copy(merged.signals, p.base.signals)
	maps.Copy(merged.tcf, p.base.tcf)
	maps.Copy(merged.plain, w.plain)
	maps.Copy(merged.exact, w.exact)
	maps.Copy(merged.dpv, w.dpv)
	maps.Copy(merged.categories, w.categories)
	maps.Copy(merged.signals, w.signals)
	maps.Copy(merged.tcf, w.tcf)
	if merged.gpc = w.gpc; w.gpc == 0 {
		merged.gpc = p.base.gpc
	}
	return merged
}

// compile makes the tables in which names are looked up.
func (w *wordList) compile() *Vocabulary {
	v := &Vocabulary{
		groups: w.groups, granted: maps.Clone(w.exact), spelled: map[string]Purpose{}, plain: map[string]Purpose{}, terms: map[string]Purpose{},
		categories: w.categories, signals: w.signals, tcf: w.tcf, gpc: w.gpc,
	}
	for name, is := range w.plain {
		v.plain[name] = is.purpose
	}
	for term, is := range w.dpv {
		v.terms[bareName(term)] = is.purpose
		for _, namespace := range dpvNamespaces {
			v.spelled[namespace+term] = is.purpose
			if is.exact {
				v.granted[namespace+term] = is.purpose
			}
		}
	}
	for p := Necessary; p < numPurposes; p++ {
		v.granted[p.String()], v.spelled[p.String()], v.plain[bareName(p.String())] = p, p, p
	}
	for i := range w.groups {
		name := w.groups[i].name
		v.spelled[name], v.plain[bareName(name)] = FirstGroup+Purpose(i), FirstGroup+Purpose(i)
	}
	for _, s := range v.categories {
		v.covered |= s
	}
	v.hash = v.sum()
	return v
}
