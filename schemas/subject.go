package schemas

import "log/slog"

// IdentifierKind says what sort of identifier a value is, which decides how it
// is normalized before it becomes a token and which values can be equal: the
// user id 7 and the anonymous id 7 are two identifiers.
type IdentifierKind uint8

// The identifier kinds. NoIdentifier marks a field that identifies nobody.
const (
	NoIdentifier IdentifierKind = iota
	UserID
	AnonymousID
	Email
	Phone
	DeviceID

	numIdentifierKinds
)

var identifierNames = [numIdentifierKinds]string{
	UserID:      "user_id",
	AnonymousID: "anonymous_id",
	Email:       "email",
	Phone:       "phone",
	DeviceID:    "device_id",
}

// String gives the kind's name as contracts and ledger records write it.
func (k IdentifierKind) String() string {
	if k < numIdentifierKinds {
		return identifierNames[k]
	}
	return ""
}

// ParseIdentifierKind finds a kind by its name.
func ParseIdentifierKind(name string) (IdentifierKind, bool) {
	for k := UserID; k < numIdentifierKinds; k++ {
		if identifierNames[k] == name {
			return k, true
		}
	}
	return NoIdentifier, false
}

// IdentifierKinds lists the names, for messages that say what is allowed.
func IdentifierKinds() []string { return append([]string(nil), identifierNames[UserID:]...) }

// Subject is one identifier of a natural person, raw. However it is printed,
// it shows its kind and a placeholder.
type Subject struct {
	Kind  IdentifierKind
	value string
}

// NewSubject wraps a raw identifier.
func NewSubject(kind IdentifierKind, value string) Subject { return Subject{kind, value} }

// Reveal gives the raw identifier. Every caller states why it needs it.
func (s Subject) Reveal() string { return s.value }

// IsZero reports whether s names nobody.
func (s Subject) IsZero() bool { return s.Kind == NoIdentifier || s.value == "" }

// String prints the kind and a placeholder.
func (s Subject) String() string { return s.Kind.String() + ":[redacted]" }

// GoString keeps %#v from printing the value.
func (s Subject) GoString() string { return "schemas.Subject{" + s.String() + "}" }

// MarshalText keeps encoders from writing the value.
func (s Subject) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue keeps loggers from writing the value.
func (s Subject) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Token is the pseudonym of one identifier in one domain under one key epoch:
// an RFC 9562 version 8 UUID whose first byte is the epoch.
type Token [16]byte

// Epoch is the key epoch under which the token was made.
func (t Token) Epoch() uint8 { return t[0] }

// IsZero reports whether t is no token. Epochs begin at 1.
func (t Token) IsZero() bool { return t == Token{} }
