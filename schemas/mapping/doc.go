// Package mapping reads rows of other systems as records of the consent ledger:
// exports of consent and e-mail tools, erasure requests, and changes of a
// database table.
//
//	m, err := mapping.Load("crm.yaml") // or mapping.Preset("onetrust")
//	r := mapping.NewReader(m)          // one for each goroutine
//	statements = r.Row(row, statements[:0])
//
// A row is one JSON object, bare or in the envelope of a change capture tool. A
// mapping, one YAML file that FORMAT.md describes, says which members name the
// person, what was said, for which purpose, when, and how that can be proven.
//
// From the members a record is written as schemas/FORMAT.md has it, and read by
// schemas.ParseRecord: a mapped row means what such a record means, and nothing
// else. What cannot be read never permits: it is a statement that denies whom
// it is about, or that says that this is not known, and Fault tells why without
// a value of the row. A value that a mapping does not list is such a fault.
//
// A grant is proven by what the row or the mapping states and by nothing else.
// So a list of addresses maps to grants that are not proven.
package mapping
