package schemas

import "slices"

var typeNames = [...]string{
	Text:      "string",
	Integer:   "integer",
	Number:    "number",
	Boolean:   "boolean",
	Timestamp: "timestamp",
	Date:      "date",
	JSON:      "json",
}

// String gives the ODCS logicalType.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return ""
}

// ParseType finds a field type by its ODCS logicalType. JSON is none of them.
func ParseType(name string) (Type, bool) {
	i := indexOf(typeNames[Text:JSON], name)
	return Type(i + 1), i >= 0
}

// TypeNames lists the field types, for messages that say what is allowed.
func TypeNames() []string { return slices.Clone(typeNames[Text:JSON]) }

var techniqueNames = [...]string{
	Drop:         "drop",
	Keep:         "keep",
	Pseudonymize: "pseudonymize",
	TruncateIP:   "truncate_ip",
	EmailDomain:  "email_domain",
	StripQuery:   "strip_query",
}

// String gives the technique's name as contracts write it.
func (t Technique) String() string {
	if int(t) < len(techniqueNames) {
		return techniqueNames[t]
	}
	return ""
}

// ParseTechnique finds a technique by its name. An unknown name drops.
func ParseTechnique(name string) (Technique, bool) {
	i := indexOf(techniqueNames[:], name)
	return Technique(max(i, 0)), i >= 0
}

// TechniqueNames lists the techniques, for messages that say what is allowed.
func TechniqueNames() []string { return slices.Clone(techniqueNames[:]) }

var denialNames = [...]string{DropRow: "drop", MaskRow: "mask"}

// String gives the denial's name as contracts write it.
func (d Denial) String() string {
	if int(d) < len(denialNames) {
		return denialNames[d]
	}
	return ""
}

// consentBases are the legal bases that the ledger can show: consent.
var consentBases = [...]string{
	"eu-gdpr:A6-1-a",
	"eu-gdpr:A6-1-a-explicit-consent",
	"eu-gdpr:A9-2-a",
}

// LedgerDomain is the token domain of the consent ledger. No table may use it,
// or its tokens would join with the ledger's.
const LedgerDomain = "ledger"

func indexOf(names []string, name string) int {
	if name == "" {
		return -1
	}
	return slices.Index(names, name)
}
