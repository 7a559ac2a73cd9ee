package schemas

import (
	"slices"
	"testing"
)

func TestPolicyHashIgnores(t *testing.T) {
	want := PolicyHash(DefaultContracts())
	if len(want) != 64 {
		t.Fatalf("hash %q is not SHA-256 in hex", want)
	}
	for name, change := range map[string]func(list []*Contract){
		"nothing":     func([]*Contract) {},
		"order":       func(list []*Contract) { slices.Reverse(list) },
		"file":        func(list []*Contract) { list[0].File = "other.yaml" },
		"line":        func(list []*Contract) { list[0].Fields[0].Line = 7 },
		"description": func(list []*Contract) { list[0].Fields[0].Description = "other" },
		"allow order": func(list []*Contract) { slices.Reverse(field(list[1], "context_page_url").Treatment.Allow) },
	} {
		list := DefaultContracts()
		change(list)
		if got := PolicyHash(list); got != want {
			t.Errorf("%s changes the hash", name)
		}
	}
}

func TestPolicyHashChanges(t *testing.T) {
	seen := map[string]string{PolicyHash(DefaultContracts()): "the defaults"}
	for name, change := range map[string]func(c *Contract){
		"id":             func(c *Contract) { c.ID = "x" },
		"version":        func(c *Contract) { c.Version = "x" },
		"table":          func(c *Contract) { c.Table = "x" },
		"where path":     func(c *Contract) { c.Where[0].Path = Path{"kind"} },
		"where value":    func(c *Contract) { c.Where[0].Value = "x" },
		"no where":       func(c *Contract) { c.Where = nil },
		"purposes":       func(c *Contract) { c.Purposes = Purposes(Functional) },
		"legal basis":    func(c *Contract) { c.LegalBasis = "eu-gdpr:A9-2-a" },
		"denial":         func(c *Contract) { c.OnDeny = DropRow },
		"prospective":    func(c *Contract) { c.Prospective = true },
		"links":          func(c *Contract) { c.Links = [][2]int{{0, 1}} },
		"other links":    func(c *Contract) { c.Links = [][2]int{{1, 0}} },
		"domain":         func(c *Contract) { c.Domain = "x" },
		"event time":     func(c *Contract) { c.EventTime = -1 },
		"retention":      func(c *Contract) { c.RetentionDays = 0 },
		"fewer fields":   func(c *Contract) { c.Fields = c.Fields[1:] },
		"field order":    func(c *Contract) { slices.Reverse(c.Fields) },
		"name":           func(c *Contract) { c.Fields[0].Name = "x" },
		"type":           func(c *Contract) { c.Fields[0].Type = Integer },
		"path":           func(c *Contract) { c.Fields[0].Paths = []Path{{"x"}} },
		"path steps":     func(c *Contract) { c.Fields[0].Paths = []Path{{"messageId", "message_id"}} },
		"category":       func(c *Contract) { c.Fields[0].Category = "system" },
		"technique":      func(c *Contract) { c.Fields[0].Treatment.Technique = Drop },
		"allow":          func(c *Contract) { c.Fields[0].Treatment.Allow = []string{"x"} },
		"identifiers":    func(c *Contract) { c.Fields[0].Identifiers = []IdentifierKind{Email} },
		"field purposes": func(c *Contract) { c.Fields[0].Purposes = Purposes(Profiling) },
		"required":       func(c *Contract) { c.Fields[0].Required = true },
		"coerce":         func(c *Contract) { c.Fields[0].Coerce = false },
		"masked":         func(c *Contract) { c.Fields[0].KeepMasked = true },
		"signal kind":    func(c *Contract) { c.Signals[0].Kind = TCFSignal },
		"signal field":   func(c *Contract) { c.Signals[0].Field++ },
		"fewer signals":  func(c *Contract) { c.Signals = c.Signals[1:] },
		"signal path":    func(c *Contract) { c.Fields[c.Signals[0].Field].Paths = []Path{{"x"}} },
	} {
		list := DefaultContracts()
		change(list[1])
		hash := PolicyHash(list)
		if other, taken := seen[hash]; taken {
			t.Errorf("a change of %s gives the hash of %s", name, other)
		}
		seen[hash] = name
	}
	if other, taken := seen[PolicyHash(DefaultContracts()[:5])]; taken {
		t.Errorf("without a contract the hash is that of %s", other)
	}
}

func field(c *Contract, name string) *Field {
	return &c.Fields[slices.IndexFunc(c.Fields, func(f Field) bool { return f.Name == name })]
}
