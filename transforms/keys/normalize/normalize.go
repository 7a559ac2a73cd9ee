// Package normalize gives every spelling of one identifier the same bytes, so
// that it becomes the same token wherever it is met.
//
// The usual call is Identifier, once before each token. Its results are stable:
// normalizing what was normalized changes nothing. The rules are part of the
// token format (see FORMAT.md of package keys): another rule is another token.
package normalize

import (
	"fmt"

	"github.com/nyaruka/phonenumbers"

	"lupa/schemas"
)

// Normalizer normalizes identifiers. It holds buffers, so that only one
// goroutine may use it.
type Normalizer struct {
	region string
	buf    []byte
}

// New makes a normalizer. Phone numbers without a country code are read as
// numbers of phoneRegion, an ISO 3166 code such as FI; without a region they
// stay unparsed.
func New(phoneRegion string) (*Normalizer, error) {
	if phoneRegion != "" && phonenumbers.GetCountryCodeForRegion(phoneRegion) == 0 {
		return nil, fmt.Errorf("phone region %q: want an ISO 3166 code in upper case, such as FI", phoneRegion)
	}
	return &Normalizer{region: phoneRegion}, nil
}

// Identifier normalizes value as an identifier of the kind: e-mail addresses
// and phone numbers as Email and Phone say, every other kind stays exactly as
// it is. What is empty identifies nobody. The result may share memory with
// value and is valid until the next call.
func (n *Normalizer) Identifier(kind schemas.IdentifierKind, value []byte) []byte {
	switch kind {
	case schemas.Email:
		return n.Email(value)
	case schemas.Phone:
		return n.Phone(value)
	}
	return value
}
