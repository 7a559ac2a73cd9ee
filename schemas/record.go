package schemas

// Verb is what a subject (or somebody for them) said.
type Verb uint8

// The verbs of the ledger. Withdrawal is not erasure.
const (
	NoVerb           Verb = iota // undecodable: denies
	Grant                        // consent given, with or without evidence
	Refuse                       // asked and said no
	Withdraw                     // took a grant back (GDPR Art 7(3))
	Object                       // objected (Art 21)
	Erase                        // asked to be forgotten (Art 17)
	Link                         // two identifiers are one subject
	Restrict                     // store only (Art 18), until lifted
	Lift                         // ends a restriction
	Retain                       // a legal duty keeps named fields through an erasure (Art 17(3))
	Unlink                       // two identifiers are not one subject after all
	GuardianGrant                // consent of the holder of parental responsibility (Art 8)
	GuardianWithdraw             // which took it back
	Born                         // when the subject was born, and whose law says when it is of age
	Expire                       // the register says that a grant has run out
)

// Record is one entry of the consent ledger. Its JSON form follows ISO/IEC TS
// 27560 and W3C DPV names.
type Record struct {
	Verb Verb
	// Principal is whom the record is about: a raw identifier that is made a
	// token as it is read, or zero when Token is set.
	Principal Subject
	// Token is the principal in the ledger's own domain, for sources that
	// never hold raw identifiers.
	Token Token
	// Purpose is what the record is about: one purpose, or in anything but a
	// grant a group of the vocabulary. NoPurpose with Every false is an unknown
	// purpose, which permits nothing. Of verbs that are about the subject as a
	// whole (Erase, Restrict, Lift, Retain, Born) and of links it is NoPurpose.
	Purpose Purpose
	// Every means all purposes. Only what takes away may say so: a grant is for
	// a specific purpose (Art 6(1)(a)). An erasure always does.
	Every bool
	// Time is when it was said, microseconds since 1970 UTC.
	Time int64
	// Version orders the records of one principal and purpose; a lower one
	// never undoes a higher one.
	Version int64
	// Proven reports whether a grant carries its evidence: how it was
	// collected, the notice shown, when, and by which system (Art 7(1)).
	Proven bool
	// Pending is a grant that was asked for and not confirmed yet; it is never
	// Proven.
	Pending bool
	// Until is when a grant runs out or a duty to retain ends, microseconds
	// since 1970 UTC; 0 is never. Of Born it is the first moment of the
	// subject's birthday, the latest that it may be when only the year is known.
	Until int64
	// Other and OtherToken are the second identifier of a Link or Unlink. Shared
	// says that it is several people's: a family's address, a common device.
	Other      Subject
	OtherToken Token
	Shared     bool
	// Terms are what else it says.
	Terms Terms
}

// Terms are what a record says besides who, what and when. Few combinations
// occur in one ledger, so that a view keeps each once. Texts are those of
// TermText; what is absent is empty.
type Terms struct {
	Method       string // collection_method
	Notice       string // privacy_notice, with its version
	System       string // source.system
	Language     string
	Basis        string // lawful_basis, a DPV term such as eu-gdpr:A6-1-a; of Retain the duty's
	Type         string // event_type, the DPV consent type
	ProcessingID string // the register entry with what does not vary per subject
	// Regions are where the data may be stored: codes of countries or EU, EEA,
	// ADEQUATE, ascending with commas; empty is wherever the policy allows.
	Regions string
	// Fields are the columns that a Retain is about, ascending with commas.
	Fields string
	// Country is the ISO 3166-1 code of the law that says when the subject of a
	// Born is of age; empty is unknown.
	Country string
}
