package schemas

// Contract is one table: which events it takes, its fields, what may happen to
// each, for which purposes and for how long. It is read from ODCS 3.1 YAML.
type Contract struct {
	ID      string
	Version string
	Table   string // name of the table, [a-z][a-z0-9_]*
	Where   []Match
	Fields  []Field
	// Purposes must all be permitted for a row to be kept.
	Purposes PurposeSet
	// LegalBasis is the DPV GDPR term, such as eu-gdpr:A6-1-a.
	LegalBasis string
	// OnDeny is what becomes of a row without permission; erased rows are
	// dropped whatever it says.
	OnDeny Denial
	// Prospective keeps what was collected while it was permitted even after a
	// withdrawal (Art 7(3)); by default consent must also hold now.
	Prospective bool
	// Domain is the token domain of the table: its tokens join with those of
	// the same domain and no other.
	Domain string
	// EventTime is the index of the field that says when the event happened,
	// or -1 for a table without one.
	EventTime int
	// Signals are where events may carry consent; each narrows what is permitted.
	Signals []Signal
	// Links are pairs of fields that name one person in an event, which is then
	// remembered as a link. Both have identifiers.
	Links [][2]int
	// RetentionDays after the event day the row must be gone; 0 is no limit.
	RetentionDays int
	// File is where the contract was read from, for messages.
	File string
}

// Match is one condition on an event: the value at Path equals Value,
// ignoring ASCII case.
type Match struct {
	Path  Path
	Value string
}

// Path leads from the top of an event to a value: one key a step.
type Path []string

// Denial is what a contract does with rows that are not permitted.
type Denial uint8

// The denials. The zero value drops.
const (
	DropRow Denial = iota
	MaskRow
)

// Type is the type of a field's value.
type Type uint8

// The field types, with their ODCS logicalType.
const (
	NoType    Type = iota
	Text           // string
	Integer        // integer
	Number         // number
	Boolean        // boolean
	Timestamp      // timestamp, microseconds UTC
	Date           // date, days since 1970
	// JSON is the text of any JSON value, as it stands in the event: for
	// signals, and never a column.
	JSON
)

// Field is one column of a contract.
type Field struct {
	Name        string
	Description string
	Type        Type
	// Paths are the places where the value may stand; the first that is
	// present and not null is taken.
	Paths     []Path
	Category  Category
	Treatment Treatment
	// Identifiers are the kinds that the value may be, for identity fields.
	// It is looked up as each of them, and its token is made as the first.
	Identifiers []IdentifierKind
	// Purposes are needed besides the contract's; without them the field is
	// null while the row stays.
	Purposes PurposeSet
	Required bool
	// Coerce reads a number or boolean as text, or a text as the number,
	// boolean, timestamp or date it spells. Without it that is WrongType.
	Coerce bool
	// KeepMasked keeps the treated value in masked rows; by default a masked
	// row keeps only fields that are not personal. A masked event time is cut
	// to its day.
	KeepMasked bool
	Line       int
}

// Technique names a treatment: what happens to a field's value before it may be
// stored.
type Technique uint8

// The techniques. The zero value drops.
const (
	Drop         Technique = iota // no column
	Keep                          // as it is
	Pseudonymize                  // keyed HMAC-SHA-256 token, a UUID column
	TruncateIP                    // IPv4 to /24, IPv6 to /48
	EmailDomain                   // the part behind the @
	StripQuery                    // a URL without fragment, user info and query but for allowed parameters
)

// Treatment is a technique with its parameters.
type Treatment struct {
	Technique Technique
	// Allow lists the query parameters that StripQuery leaves.
	Allow []string
}

// ColumnType is the type of a column as it is stored.
type ColumnType uint8

// The stored types.
const (
	NoColumn        ColumnType = iota
	StringColumn               // UTF-8
	Int64Column                // long
	Float64Column              // double
	BooleanColumn              // boolean
	TimestampColumn            // microseconds UTC
	DateColumn                 // days since 1970
	TokenColumn                // 16 bytes, UUID
)

// Column is the stored type of the field after its treatment; NoColumn when
// the field is dropped.
func (f *Field) Column() ColumnType {
	switch f.Treatment.Technique {
	case Drop:
		return NoColumn
	case Pseudonymize:
		return TokenColumn
	case TruncateIP, EmailDomain, StripQuery:
		return StringColumn
	}
	switch f.Type {
	case Text:
		return StringColumn
	case Integer:
		return Int64Column
	case Number:
		return Float64Column
	case Boolean:
		return BooleanColumn
	case Timestamp:
		return TimestampColumn
	case Date:
		return DateColumn
	}
	return NoColumn // of what is JSON, too
}

// Personal reports whether rows of the contract are about a subject: it has an
// identity field. Tables without one hold no consent decision.
func (c *Contract) Personal() bool {
	for i := range c.Fields {
		if len(c.Fields[i].Identifiers) > 0 {
			return true
		}
	}
	return false
}

// StaysMasked reports whether masked rows hold a value of field i: the ones that
// say so, those that are about nobody but for exact times, and the day of the
// event. What identifies never stays.
func (c *Contract) StaysMasked(i int) bool {
	f := &c.Fields[i]
	if f.Column() == NoColumn || len(f.Identifiers) > 0 || f.Treatment.Technique == Pseudonymize {
		return false
	}
	isEventTime := i == c.EventTime && (f.Type == Timestamp || f.Type == Date)
	return f.KeepMasked || !f.Category.Personal() && f.Type != Timestamp || isEventTime
}

// FieldPurposes is every purpose that the contract or one of its fields names.
func (c *Contract) FieldPurposes() PurposeSet {
	s := c.Purposes
	for i := range c.Fields {
		s |= c.Fields[i].Purposes
	}
	return s
}

// RejectsTable is the name of the table of rejected messages.
const RejectsTable = "rejects"

// Rejects is the contract of the table that lists rejected messages: which
// table they were for, their coordinates and reason, never their content.
func Rejects() *Contract {
	return &Contract{
		ID: "lupa:rejects", Version: "1.0.0", Table: RejectsTable, EventTime: -1,
		Fields: []Field{{
			Name: "table_name", Type: Text, Category: "system.operations",
			Description: "table whose contract the message broke; null when no contract takes it",
			Treatment:   Treatment{Technique: Keep},
		}},
	}
}
