package schemas

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"
)

// PolicyHash names the policy that contracts make together: SHA-256, in hex,
// over everything in them that changes what is kept of an event, or how. What
// only describes (descriptions, file names, lines) is left out, and so is the
// order of the contracts, of conditions and of allowed query parameters. The
// order of the fields counts, since it is the order of the columns.
func PolicyHash(contracts []*Contract) string {
	contracts = slices.Clone(contracts)
	slices.SortFunc(contracts, func(a, b *Contract) int { return cmp.Compare(a.Table, b.Table) })
	h := policyHasher{sha256.New()}
	h.text("lupa policy 2")
	h.number(len(contracts))
	for _, c := range contracts {
		h.contract(c)
	}
	return hex.EncodeToString(h.sum.Sum(nil))
}

// policyHasher writes values so that no two different policies give the same
// bytes: every text and list is preceded by its length.
type policyHasher struct{ sum hash.Hash }

func (h policyHasher) contract(c *Contract) {
	h.text(c.ID)
	h.text(c.Version)
	h.text(c.Table)
	where := slices.Clone(c.Where)
	slices.SortFunc(where, func(a, b Match) int { return cmp.Compare(a.Path.String(), b.Path.String()) })
	h.number(len(where))
	for _, m := range where {
		h.path(m.Path)
		h.text(m.Value)
	}
	h.purposes(c.Purposes)
	h.text(c.LegalBasis)
	h.text(c.OnDeny.String())
	h.flag(c.Prospective)
	h.text(c.Domain)
	h.number(c.EventTime)
	h.number(c.RetentionDays)
	h.number(len(c.Fields))
	for i := range c.Fields {
		h.field(&c.Fields[i])
	}
	h.number(len(c.Signals))
	for _, s := range c.Signals {
		h.text(s.Kind.String())
		h.number(s.Field)
	}
	if len(c.Links) == 0 {
		return
	}
	h.number(-1) // which is no length, so nothing else goes on like this
	h.number(len(c.Links))
	for _, pair := range c.Links {
		h.number(pair[0])
		h.number(pair[1])
	}
}

func (h policyHasher) field(f *Field) {
	h.text(f.Name)
	h.text(f.Type.String())
	h.number(len(f.Paths))
	for _, path := range f.Paths {
		h.path(path)
	}
	h.text(string(f.Category))
	h.text(f.Treatment.Technique.String())
	allow := slices.Sorted(slices.Values(f.Treatment.Allow))
	h.number(len(allow))
	for _, name := range allow {
		h.text(name)
	}
	h.number(len(f.Identifiers))
	for _, kind := range f.Identifiers {
		h.text(kind.String())
	}
	h.purposes(f.Purposes)
	h.flag(f.Required)
	h.flag(f.Coerce)
	h.flag(f.KeepMasked)
}

func (h policyHasher) path(p Path) {
	h.number(len(p))
	for _, step := range p {
		h.text(step)
	}
}

func (h policyHasher) purposes(s PurposeSet) {
	// By name: the numbers may change between versions of the program.
	h.text(s.String())
}

func (h policyHasher) text(s string) {
	h.number(len(s))
	h.sum.Write([]byte(s)) // a hash never returns an error
}

func (h policyHasher) number(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(int64(n)))
	h.sum.Write(b[:])
}

func (h policyHasher) flag(b bool) {
	if b {
		h.number(1)
		return
	}
	h.number(0)
}
