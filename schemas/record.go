package schemas

// Verb is what a subject (or somebody for them) said.
type Verb uint8

// The verbs of the ledger. Withdrawal is not erasure.
const (
	NoVerb   Verb = iota // undecodable: denies
	Grant                // consent given, with or without evidence
	Refuse               // asked and said no
	Withdraw             // took a grant back (GDPR Art 7(3))
	Object               // objected (Art 21)
	Erase                // asked to be forgotten (Art 17)
	Link                 // two identifiers are one subject
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
	// Purpose is what the record is about; NoPurpose with Every false is an
	// unknown purpose, which permits nothing.
	Purpose Purpose
	// Every means all purposes. Only a refusal, withdrawal, objection or
	// erasure may say so: a grant is for a specific purpose (Art 6(1)(a)).
	Every bool
	// Time is when it was said, microseconds since 1970 UTC.
	Time int64
	// Version orders the records of one principal and purpose; a lower one
	// never undoes a higher one.
	Version int64
	// Proven reports whether a grant carries its evidence: how it was
	// collected, the notice shown, when, and by which system (Art 7(1)).
	Proven bool
	// Other and OtherToken are the second identifier of a Link.
	Other      Subject
	OtherToken Token
}
