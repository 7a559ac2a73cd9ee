package mapping

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"lupa/schemas"
)

// record reads one rule.
func (l *loader) record(what string, n *yaml.Node) {
	rule := recordRule{time: l.time}
	version := l.version
	var columns *yaml.Node
	known := keys{
		"each":    l.reader.each(&rule.each),
		"verb":    func(what string, n *yaml.Node) { rule.verb = l.verb(what, n) },
		"purpose": func(what string, n *yaml.Node) { rule.purpose = l.purpose(what, n) },
		"columns": func(_ string, n *yaml.Node) { columns = n },
		"time":    func(what string, n *yaml.Node) { rule.time = l.moment(what, n) },
		"version": func(what string, n *yaml.Node) { version = l.versionRule(what, n) },
	}
	l.terms(known, &rule)
	seen := l.section(what, n, known)
	if n.Kind != yaml.MappingNode {
		return
	}
	l.need(what, n, seen, "verb")
	if version == nil {
		version = &versionRule{kind: byTime}
	}
	rule.version = *version
	if columns != nil {
		l.members(what+".columns", columns, func(key, value *yaml.Node) {
			var c *column
			l.column(&c)(what+".columns", key)
			if c != nil {
				rule.columns = append(rule.columns, wideColumn{*c, l.purposes(what+".columns."+key.Value, value)})
			}
		})
	}
	l.checkRecord(what, n, seen, &rule)
	l.m.records = append(l.m.records, rule)
}

// checkRecord looks at what the keys of a rule say together.
func (l *loader) checkRecord(what string, n *yaml.Node, seen map[string]*yaml.Node, rule *recordRule) {
	wide := seen["columns"] != nil
	verbs := rule.verb.all()
	aboutPurposes := slices.ContainsFunc(verbs, needsPurpose)
	rule.aboutPurposes = !slices.ContainsFunc(verbs, func(v schemas.Verb) bool { return !needsPurpose(v) })
	switch {
	case wide && rule.purpose != nil:
		l.problem(n, "%s: has both purpose and columns; exactly one is allowed", what)
	case !wide && rule.purpose == nil && aboutPurposes:
		l.problem(n, "%s: purpose is missing", what)
	case wide && rule.verb.constant != nil:
		l.problem(n, "%s: verb needs values, which say what those of columns mean", what)
	case wide && rule.verb.column != nil:
		l.problem(n, "%s: verb has a path, but its values are those of columns", what)
	case !wide && rule.verb.column == nil && rule.verb.constant == nil && seen["verb"] != nil:
		l.problem(seen["verb"], "%s.verb: path is missing", what)
	}
	if rule.verb.constant != nil && rule.verb.constant.verb == schemas.Grant {
		names := []string(nil)
		if rule.purpose != nil {
			names = rule.purpose.constant
		}
		for _, name := range names {
			if l.m.vocabulary.Granted(name) == schemas.NoPurpose {
				l.problem(seen["purpose"], "%s.purpose: %q is not one purpose, which a grant needs", what, name)
			}
		}
	}
	if rule.time == nil && slices.ContainsFunc(verbs, func(v schemas.Verb) bool { return v != schemas.Grant }) {
		l.problem(n, "%s: time is missing, which only grants can do without, and are then not proven", what)
	}
	if l.m.envelope == bareRow && (rule.time != nil && rule.time.change || rule.version.kind == byChange) {
		l.problem(n, "%s: there is no change without an envelope", what)
	}
	if rule.version.kind == byLSN && l.m.envelope != debezium {
		l.problem(n, "%s: only a debezium envelope has an lsn", what)
	}
	if slices.Contains(verbs, schemas.Link) || slices.Contains(verbs, schemas.Unlink) {
		l.problem(n, "%s: links are made of several principals, not by a verb", what)
	}
}

// all lists what a rule can say.
func (v *verbRule) all() (list []schemas.Verb) {
	if v.constant != nil {
		list = append(list, v.constant.verb)
	}
	if v.unsaid != nil {
		list = append(list, v.unsaid.verb)
	}
	for _, o := range v.values {
		list = append(list, o.verb)
	}
	return slices.DeleteFunc(list, func(v schemas.Verb) bool { return v == schemas.NoVerb })
}

// needsPurpose reports whether a verb is about purposes.
func needsPurpose(v schemas.Verb) bool {
	switch v {
	case schemas.Grant, schemas.Refuse, schemas.Withdraw, schemas.Object, schemas.Expire, schemas.GuardianGrant, schemas.GuardianWithdraw:
		return true
	}
	return false
}

// The texts that the keys if_true and if_false stand for.
var (
	trueTexts  = []string{"true", "t", "yes", "y", "1", "on"}
	falseTexts = []string{"false", "f", "no", "n", "0", "off"}
)

func (l *loader) verb(what string, n *yaml.Node) (v verbRule) {
	if n.Kind != yaml.MappingNode {
		if o, ok := l.outcome(what, n); ok {
			v.constant = &o
		}
		return v
	}
	v.values = map[string]outcome{}
	add := func(n *yaml.Node, value string, o outcome) {
		if _, twice := v.values[value]; twice {
			l.problem(n, "%sthe value %q is also one of if_true, if_false or values", prefix(what), value)
		}
		v.values[value] = o
	}
	either := func(texts []string) func(string, *yaml.Node) {
		return func(what string, n *yaml.Node) {
			if o, ok := l.outcome(what, n); ok {
				for _, t := range texts {
					add(n, t, o)
				}
			}
		}
	}
	l.section(what, n, keys{
		"path": l.column(&v.column),
		"values": func(what string, n *yaml.Node) {
			l.table(what, n, func(value string, n *yaml.Node) {
				if o, ok := l.outcome(what, n); ok {
					add(n, value, o)
				}
			})
		},
		"if_true":  either(trueTexts),
		"if_false": either(falseTexts),
		"absent": func(what string, n *yaml.Node) {
			o, ok := l.outcome(what, n)
			if ok && (o.verb == schemas.Grant || o.verb == schemas.GuardianGrant) {
				l.problem(n, "%swhat is absent is no grant", prefix(what))
			}
			v.unsaid = &o
		},
	})
	if len(v.values) == 0 {
		l.problem(n, "%svalues are missing, which say what each means", prefix(what))
	}
	return v
}

// outcome reads a verb, pending, or skip: that a value says nothing.
func (l *loader) outcome(what string, n *yaml.Node) (o outcome, ok bool) {
	name, ok := l.scalar(what, n)
	if !ok {
		return o, false
	}
	switch name {
	case "skip":
		return o, true
	case "pending":
		return outcome{schemas.Grant, true}, true
	}
	v, ok := schemas.ParseVerb(name)
	if !ok || v == schemas.NoVerb {
		l.problem(n, "%sallowed: %s, pending, skip", prefix(what), strings.Join(schemas.VerbNames(), ", "))
		return o, false
	}
	return outcome{verb: v}, true
}

func (l *loader) purpose(what string, n *yaml.Node) *purposeRule {
	p := &purposeRule{}
	if n.Kind != yaml.MappingNode {
		p.constant = l.purposes(what, n)
		return p
	}
	seen := l.section(what, n, keys{
		"path": l.column(&p.column),
		"values": func(what string, n *yaml.Node) {
			p.values = map[string][]string{}
			l.table(what, n, func(value string, n *yaml.Node) { p.values[value] = l.purposes(what, n) })
		},
		"other":  func(what string, n *yaml.Node) { p.other = l.purposes(what, n) },
		"prefix": l.text(&p.prefix),
	})
	l.need(what, n, seen, "path")
	if seen["prefix"] != nil && seen["values"] != nil {
		l.problem(n, "%shas both prefix and values; at most one is allowed", prefix(what))
	}
	if seen["other"] != nil && seen["values"] == nil {
		l.problem(n, "%sother is of what values does not list", prefix(what))
	}
	return p
}

// purposes reads names that are known.
func (l *loader) purposes(what string, n *yaml.Node) []string {
	list := l.texts(what, n)
	for _, name := range list {
		p, every := l.m.vocabulary.Denied(name)
		if p == schemas.NoPurpose && !every {
			l.problem(n, "%s%q is no purpose; ours are %s", prefix(what), name, strings.Join(schemas.PurposeNames(), ", "))
		}
	}
	return list
}

func (l *loader) versionRule(what string, n *yaml.Node) *versionRule {
	v := &versionRule{}
	if n.Kind == yaml.MappingNode {
		var c *column
		seen := l.section(what, n, keys{"path": l.column(&c)})
		l.need(what, n, seen, "path")
		v.kind = byColumn
		if c != nil {
			v.column = *c
		}
		return v
	}
	name, _ := l.scalar(what, n)
	i := slices.Index([]string{byTime: "time", byChange: "change", byLSN: "lsn"}, name)
	if i < 0 {
		l.problem(n, "%sallowed: time, change, lsn, or a mapping with path", prefix(what))
		return v
	}
	v.kind = versionKind(i)
	return v
}

func (l *loader) moment(what string, n *yaml.Node) *moment {
	m := &moment{}
	if n.Kind != yaml.MappingNode {
		if v, _ := l.scalar(what, n); v != "change" {
			l.problem(n, "%sallowed: change, or a mapping with path, format and zone", prefix(what))
		}
		m.change = true
		return m
	}
	seen := l.section(what, n, keys{
		"path": l.column(&m.column),
		"format": func(what string, n *yaml.Node) {
			for _, name := range l.texts(what, n) {
				i := slices.Index(formatNames[:], name)
				if i < 0 {
					l.problem(n, "%sallowed: %s", prefix(what), strings.Join(formatNames[:], ", "))
					continue
				}
				m.formats = append(m.formats, timeFormat(i))
			}
		},
		"zone": func(what string, n *yaml.Node) {
			name, ok := l.scalar(what, n)
			if !ok {
				return
			}
			zone, err := time.LoadLocation(name)
			if err != nil || name == "Local" {
				l.problem(n, "%sis no IANA time zone that is known here, such as UTC or Europe/Helsinki", prefix(what))
				return
			}
			m.zone = zone
		},
	})
	l.need(what, n, seen, "path", "format")
	epochs := 0
	for _, f := range m.formats {
		if f.local() && seen["zone"] == nil {
			l.problem(n, "%szone is missing, which the format %s needs", prefix(what), formatNames[f])
		}
		if f.counts() {
			epochs++
		}
	}
	if epochs > 1 {
		l.problem(n, "%sa number cannot be of two formats", prefix(what))
	}
	return m
}

// terms adds the keys of what else a record says.
func (l *loader) terms(known keys, rule *recordRule) {
	member := func(name string) func(string, *yaml.Node) {
		return func(what string, n *yaml.Node) {
			rule.terms = append(rule.terms, termRule{name, l.term(what, n)})
		}
	}
	known["language"] = member("language")
	known["basis"] = member("lawful_basis")
	known["regions"] = member("storage_locations")
	known["processing"] = member("processing_id")
	known["validity"] = member("validity_duration")
	known["until"] = func(what string, n *yaml.Node) { rule.until = l.moment(what, n) }
	known["evidence"] = func(what string, n *yaml.Node) {
		l.section(what, n, keys{
			"method":       member("collection_method"),
			"notice":       member("privacy_notice"),
			"system":       member("source.system"),
			"type":         member("event_type"),
			"confirmed_at": func(what string, n *yaml.Node) { rule.confirmed = l.moment(what, n) },
		})
	}
	known["fields"] = func(what string, n *yaml.Node) {
		if n.Kind == yaml.MappingNode {
			l.need(what, n, l.section(what, n, keys{"path": l.column(&rule.fieldsIn)}), "path")
			return
		}
		rule.fields = l.texts(what, n)
	}
	known["born"] = func(what string, n *yaml.Node) {
		seen := l.section(what, n, keys{
			"date":    func(what string, n *yaml.Node) { rule.birth = l.moment(what, n) },
			"year":    l.column(&rule.year),
			"country": member("country"),
		})
		if seen["date"] == nil && seen["year"] == nil {
			l.problem(n, "%shas neither date nor year", prefix(what))
		}
	}
}
