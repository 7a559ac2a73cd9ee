package mapping

import (
	"time"

	"lupa/schemas"
)

// Mapping says how rows become records. It is never changed once it is read.
type Mapping struct {
	name       string // of the file or preset
	vocabulary *schemas.Vocabulary
	envelope   envelopeKind
	optional   bool   // an update need not have the row as it was
	unavail    string // stands for a value that the envelope left out
	absent     map[string]bool
	principals []principalRule
	links      bool
	records    []recordRule
}

// Name is the file or the preset that the mapping was read from.
func (m *Mapping) Name() string { return m.name }

// Envelope is what is around a row: none, debezium, canal or maxwell.
func (m *Mapping) Envelope() string { return envelopeNames[m.envelope] }

// envelopeKind is what is around a row.
type envelopeKind uint8

const (
	bareRow envelopeKind = iota
	debezium
	canal
	maxwell
)

var envelopeNames = [...]string{bareRow: "none", debezium: "debezium", canal: "canal", maxwell: "maxwell"}

// term is a text that is fixed, or that a column has, which a table may turn
// into another.
type term struct {
	constant string
	column   *column
	values   map[string]string // nil is none
}

// principalRule is an identifier of a row.
type principalRule struct {
	each   *each
	kind   term
	column column
	shared bool
	only   *onlyRule
}

// onlyRule takes an identifier only where a column has one of some values.
type onlyRule struct {
	column column
	values map[string]bool
}

// outcome is what a value says.
type outcome struct {
	verb    schemas.Verb // NoVerb is that nothing is said
	pending bool
}

// verbRule is what is said.
type verbRule struct {
	constant *outcome
	column   *column // nil is the value of the wide column
	values   map[string]outcome
	unsaid   *outcome // where there is no value; nil is that it is a fault, or in a wide column nothing
}

// purposeRule is what it is said for.
type purposeRule struct {
	constant []string
	column   *column
	values   map[string][]string // nil is that the value is a name
	other    []string            // of denials under a value that is not listed
	prefix   string
}

// wideColumn is a column whose value is what is said for its purposes.
type wideColumn struct {
	column   column
	purposes []string
}

// moment is a time of a row.
type moment struct {
	change  bool // that of the change in the envelope
	column  *column
	formats []timeFormat
	zone    *time.Location
}

// versionKind is what orders the records of one key.
type versionKind uint8

const (
	byTime versionKind = iota
	byChange
	byLSN
	byColumn
)

type versionRule struct {
	kind   versionKind
	column column
}

// recordRule is one thing that a row says, of each of its elements.
type recordRule struct {
	each    *each
	verb    verbRule
	purpose *purposeRule // nil in rules about the whole person, and with columns
	columns []wideColumn
	time    *moment // nil is not known
	version versionRule
	// aboutPurposes is that it says nothing about a person as a whole.
	aboutPurposes bool

	terms     []termRule
	confirmed *moment
	until     *moment
	birth     *moment
	year      *column
	fields    []string
	fieldsIn  *column
}

// termRule is a member of the record that is a text.
type termRule struct {
	member string // of the record, source.system among them
	term   term
}
