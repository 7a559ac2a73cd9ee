package oracle

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"lupa/schemas"
)

// shortest is how long a value must be to be searched for: shorter ones stand
// everywhere by chance.
const shortest = 6

// rawValue is a raw identifier of the ledger and where it stood.
type rawValue struct {
	text   string
	kind   schemas.IdentifierKind
	origin origin
}

// origin is where a value was met first.
type origin struct {
	table  string
	field  string
	at     place
	offset int64
}

func (o origin) String() string {
	if o.table == "" {
		return o.field + ", " + o.at.at(o.offset)
	}
	return "field " + o.field + " of " + o.table + ", " + o.at.at(o.offset)
}

// secrets are the raw values that nothing that was written may hold, and the
// texts that may be readable.
type secrets struct {
	c      *check
	origin map[string]origin // of each value
	open   map[string]struct{}

	matcher  *matcher
	patterns []pattern // by number
	ordinary int       // patterns that also stand in open text
}

// pattern is a value in one of its forms.
type pattern struct {
	value, form string
	ordinary    bool
	digits      bool
}

func newSecrets(c *check) *secrets {
	return &secrets{c: c, origin: map[string]origin{}, open: map[string]struct{}{}}
}

func (s *secrets) hide(text string, at origin) {
	if len(text) < shortest {
		return
	}
	if _, ok := s.origin[text]; !ok {
		s.origin[text] = at
	}
}

func (s *secrets) show(text string) {
	if len(text) >= shortest {
		s.open[text] = struct{}{}
	}
}

// collect notes the values of a message: every value of a personal field that
// a contract does not keep as it is, whichever table it is for, and whatever
// looks like an e-mail address.
func (s *secrets) collect(p place, m *message, values []leaf, f found) {
	for _, t := range s.c.tables[:len(s.c.tables)-1] {
		taken := t.contract.takes(f)
		for i := range t.contract.Fields {
			field := &t.contract.Fields[i]
			for _, path := range t.contract.paths[i] {
				for _, v := range f[path] {
					if text, ok := textOfLeaf(v); ok {
						s.field(t, field, text, taken, origin{t.name, field.Name, p, m.offset})
					}
				}
			}
		}
	}
	for i := range values {
		if text, ok := values[i].value.(string); ok && strings.Contains(text, "@") {
			s.hide(text, origin{"", "a text with an @", p, m.offset})
		}
	}
}

func textOfLeaf(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

// field notes one value of a field. taken says that the message is a row of the
// field's table.
func (s *secrets) field(t *table, f *schemas.Field, text string, taken bool, at origin) {
	personal := f.Category.Personal() || len(f.Identifiers) > 0
	if f.Treatment.Technique == schemas.Keep {
		if taken {
			s.show(text)
		}
		return
	}
	if !personal {
		return
	}
	s.hide(text, at)
	for _, kind := range f.Identifiers {
		value := s.c.normal(kind, text)
		s.hide(value, at)
		s.hide(strings.TrimLeft(value, "+?"), at)
	}
	if taken {
		s.show(treated(f, text))
	}
}

// treated is about what a treatment leaves of a value, without anything that
// could point at a person.
func treated(f *schemas.Field, text string) string {
	switch f.Treatment.Technique {
	case schemas.TruncateIP:
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return ""
		}
		bits := 48
		if ip = ip.WithZone("").Unmap(); ip.Is4() {
			bits = 24
		}
		network, err := ip.Prefix(bits)
		if err != nil {
			return ""
		}
		return network.Addr().String()
	case schemas.EmailDomain:
		return text[strings.LastIndexByte(text, '@')+1:]
	case schemas.StripQuery:
		return stripped(text, f.Treatment.Allow)
	}
	return ""
}

// stripped is a URL without user info, fragment, and query but for what is
// allowed, and without any piece that holds an @.
func stripped(text string, allow []string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "#")
	text, query, _ := strings.Cut(text, "?")
	var kept []string
	for _, piece := range strings.Split(text, "/") {
		piece, _, _ = strings.Cut(piece, ";")
		if hasAt(piece) {
			piece = "-"
		}
		kept = append(kept, piece)
	}
	text = strings.Join(kept, "/")
	for _, parameter := range strings.Split(query, "&") {
		name, _, _ := strings.Cut(parameter, "=")
		if slices.Contains(allow, name) && !hasAt(parameter) {
			text += "&" + parameter
		}
	}
	return text
}

func hasAt(text string) bool {
	plain, err := url.PathUnescape(text)
	return err != nil || strings.Contains(plain, "@") || strings.Contains(plain, "%40")
}

// build makes the patterns. Values that stand in text which is meant to be read
// cannot be told from a leak, and are not searched for.
func (s *secrets) build() {
	if l := s.c.ledger; l != nil {
		for _, v := range l.raw {
			s.hide(v.text, v.origin)
			s.hide(s.c.normal(v.kind, v.text), v.origin)
		}
	}
	s.matcher = newMatcher()
	for value := range s.origin {
		for form, text := range forms(value) {
			if len(text) < shortest {
				continue
			}
			if _, isNew := s.matcher.add(text); isNew {
				s.patterns = append(s.patterns, pattern{value: value, form: form, digits: strings.Trim(text, "0123456789") == ""})
			}
		}
	}
	s.showContracts()
	for text := range s.open {
		s.matcher.find([]byte(text), func(n int32, _ int) { s.patterns[n].ordinary = true })
	}
	for i := range s.patterns {
		if s.patterns[i].ordinary {
			s.ordinary++
		}
	}
}

// showContracts makes what the contracts say readable: it stands in metadata.
func (s *secrets) showContracts() {
	for _, k := range s.c.in.Contracts {
		s.show(k.ID)
		s.show(k.Table)
		s.show(k.LegalBasis)
		for i := range k.Fields {
			s.show(k.Fields[i].Name)
			s.show(string(k.Fields[i].Category))
		}
	}
	for r := range schemas.NumReasons {
		s.show(schemas.Reason(r).String())
	}
	for _, p := range schemas.PurposeNames() {
		s.show(p)
	}
}

// forms are the spellings in which a value would still be there, by their names.
func forms(value string) map[string]string {
	all := map[string]string{
		"as it is":       value,
		"in lower case":  strings.ToLower(value),
		"in upper case":  strings.ToUpper(value),
		"in hexadecimal": hex.EncodeToString([]byte(value)),
		"in HEXADECIMAL": strings.ToUpper(hex.EncodeToString([]byte(value))),
		"URL-escaped":    url.QueryEscape(value),
		"path-escaped":   url.PathEscape(value),
	}
	for shift, name := range [...]string{"in base64", "in base64 one on", "in base64 two on"} {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), value...))
		text = text[(8*shift+5)/6:]
		if 8*(shift+len(value))%6 != 0 {
			text = text[:len(text)-1] // its last bits are those of what follows
		}
		all[name] = text
		all[name+" for URLs"] = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	}
	return all
}
