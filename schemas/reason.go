package schemas

import "fmt"

// Reason says why a message ended as it did. Every message of every table has
// exactly one. The numbers are not stored anywhere; the names are.
type Reason uint8

// The deny reasons stand in order from the least to the most restrictive, so
// that the reason of several is the greatest of them.
const (
	NoReason Reason = iota // never stored: a row that was not decided

	// ConsentGiven is the only reason for which a row is kept.
	ConsentGiven

	// Deny reasons: the row is dropped, or masked where the contract says so.
	NoRecord       // the ledger knows nothing of the subject for the purpose
	BeforeConsent  // the event is older than the grant
	Unproven       // a grant without evidence
	Pending        // a double opt-in that is not confirmed
	Expired        // the validity of the grant ran out
	Residency      // the grant does not allow the region of the destination
	RefusedInEvent // the consent that the event carries does not cover it
	Refused        // the subject said no
	Withdrawn      // the subject took a grant back
	Objected       // the subject objected (GDPR Art 21)
	Minor          // a child without its guardian's consent, or grown up without its own (Art 8)
	Restricted     // the data may only be stored (Art 18)
	Retained       // erased but for fields that a law says must stay: always masked
	Erased         // the subject asked to be forgotten: always dropped

	// Reject reasons: the message is no row of the contract.
	Malformed        // not the text of the format, or not UTF-8
	TooLarge         // longer than the limit
	TooDeep          // nested deeper than the limit
	EmptyMessage     // no value, a tombstone
	Unrouted         // no contract takes it
	WrongType        // a listed field has a value of another type
	MissingField     // a required field is absent
	IdentityConflict // an identity field appears twice with different values
	UnknownSchema    // the registry does not know its schema, or the schema is none
	SourceDeleted    // a change event that says that the row is gone

	numReasons
)

// NumReasons is the length of an array indexed by Reason.
const NumReasons = int(numReasons)

var reasonNames = [numReasons]string{
	NoReason:         "",
	ConsentGiven:     "consent_given",
	NoRecord:         "no_record",
	BeforeConsent:    "before_consent",
	Unproven:         "unproven",
	Pending:          "pending",
	Expired:          "expired",
	Residency:        "residency",
	RefusedInEvent:   "refused_in_event",
	Refused:          "refused",
	Withdrawn:        "withdrawn",
	Objected:         "objected",
	Minor:            "minor",
	Restricted:       "restricted",
	Retained:         "retained",
	Erased:           "erased",
	Malformed:        "malformed",
	TooLarge:         "too_large",
	TooDeep:          "too_deep",
	EmptyMessage:     "empty_message",
	Unrouted:         "unrouted",
	WrongType:        "wrong_type",
	MissingField:     "missing_field",
	IdentityConflict: "identity_conflict",
	UnknownSchema:    "unknown_schema",
	SourceDeleted:    "source_deleted",
}

// String gives the reason's name as it stands in tables, metrics and reports.
func (r Reason) String() string {
	if r < numReasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Denies reports whether r is a reason of the consent decision against a row.
func (r Reason) Denies() bool { return r > ConsentGiven && r <= Erased }

// Rejects reports whether r is a reason why a message is no row at all.
func (r Reason) Rejects() bool { return r >= Malformed && r < numReasons }

// ParseReason is the inverse of String for every reason but NoReason.
func ParseReason(name string) (Reason, bool) {
	for r := ConsentGiven; r < numReasons; r++ {
		if reasonNames[r] == name {
			return r, true
		}
	}
	return NoReason, false
}
