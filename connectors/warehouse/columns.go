package warehouse

import (
	"strings"

	"lupa/schemas"
)

// kind is the type of a column as Iceberg and Parquet see it.
type kind uint8

const (
	stringKind kind = iota
	intKind
	longKind
	doubleKind
	booleanKind
	timestampKind
	dateKind
	uuidKind
	listKind // of strings
)

// origin says where the values of a column come from.
type origin uint8

const (
	fromBatch origin = iota // a column of Batch.Out
	fromLegalBasis
	fromPurposes
	fromRetention
	fromReason
	fromVersion
	fromTopic
	fromPartition
	fromOffset
)

// subjectColumn holds the token of the person whom a row is about.
const subjectColumn = "subject_token"

// column is one column of a table.
type column struct {
	name     string
	kind     kind
	origin   origin
	out      int // index in Batch.Out, for fromBatch
	required bool
	doc      string
	// hidden keeps bounds and counts of the values out of the table's metadata.
	hidden bool
	// id and element are the field ids that the table gave the column and, for
	// a list, its elements.
	id, element int
}

// layout gives the columns of a contract's table in their order, still without
// field ids, and the index in Batch.Out of the event time or -1.
func layout(c *schemas.Contract) (cols []column, eventTime int) {
	eventTime = -1
	out := 0
	personal := c.Personal()
	if personal {
		cols = append(cols, column{name: subjectColumn, kind: uuidKind, out: out, hidden: true,
			doc: "category=user.unique_id; treatment=pseudonymize"})
		out++
	}
	for i := range c.Fields {
		f := &c.Fields[i]
		k, ok := stored(f.Column())
		if !ok {
			continue
		}
		// The day partition is read off the bounds of the event time, so they stay.
		hidden := i != c.EventTime && (k == uuidKind || isPersonal(f.Category))
		cols = append(cols, column{name: f.Name, kind: k, out: out, hidden: hidden, doc: fieldDoc(c, f)})
		if i == c.EventTime {
			eventTime = out
		}
		out++
	}
	if personal {
		cols = append(cols,
			column{name: "legal_basis", kind: stringKind, origin: fromLegalBasis,
				doc: "legal basis of the processing; null in masked rows"},
			column{name: "purposes", kind: listKind, origin: fromPurposes,
				doc: "purposes permitted for the row; null in masked rows"},
			column{name: "retention_until", kind: dateKind, origin: fromRetention,
				doc: "day on which the row must be gone; null when there is no limit"})
	}
	return append(cols,
		column{name: "reason", kind: stringKind, origin: fromReason, required: true,
			doc: "reason of the decision about the row"},
		column{name: "contract_version", kind: stringKind, origin: fromVersion, required: true,
			doc: "version of the contract under which the row was written"},
		column{name: "_src_topic", kind: stringKind, origin: fromTopic, required: true,
			doc: "topic or file that the row was read from"},
		column{name: "_src_partition", kind: intKind, origin: fromPartition, required: true,
			doc: "partition of the topic"},
		column{name: "_src_offset", kind: longKind, origin: fromOffset, required: true,
			doc: "offset in the partition"},
	), eventTime
}

func stored(t schemas.ColumnType) (kind, bool) {
	switch t {
	case schemas.StringColumn:
		return stringKind, true
	case schemas.Int64Column:
		return longKind, true
	case schemas.Float64Column:
		return doubleKind, true
	case schemas.BooleanColumn:
		return booleanKind, true
	case schemas.TimestampColumn:
		return timestampKind, true
	case schemas.DateColumn:
		return dateKind, true
	case schemas.TokenColumn:
		return uuidKind, true
	}
	return 0, false
}

// isPersonal reports whether a Fideslang category is of the data of a user.
func isPersonal(c schemas.Category) bool {
	return c == "user" || strings.HasPrefix(string(c), "user.")
}

// fieldDoc is what a reader of the table's schema learns of a field.
func fieldDoc(c *schemas.Contract, f *schemas.Field) string {
	doc := "category=" + string(f.Category) + "; treatment=" + techniqueName(f.Treatment.Technique)
	if purposes := c.Purposes | f.Purposes; purposes != 0 {
		doc += "; purposes=" + purposes.String()
	}
	return doc
}

func techniqueName(t schemas.Technique) string {
	switch t {
	case schemas.Keep:
		return "keep"
	case schemas.Pseudonymize:
		return "pseudonymize"
	case schemas.TruncateIP:
		return "truncate_ip"
	case schemas.EmailDomain:
		return "email_domain"
	case schemas.StripQuery:
		return "strip_query"
	}
	return "drop"
}
