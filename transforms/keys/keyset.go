package keys

import (
	"errors"
	"fmt"
	"time"

	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	"github.com/tink-crypto/tink-go/v2/prf/hmacprf"
)

const (
	checkLabel  = "lupa key check v1\x00"
	domainLabel = "lupa token v1\x00"

	minKeyBytes    = 32
	domainKeyBytes = 32
	checkBytes     = 8
	maxDomainName  = 64
	maxEpoch       = 255
)

// Status says what an epoch's key is used for.
type Status string

// The statuses.
const (
	Primary Status = "primary" // its tokens are stored
	Chained Status = "chained" // its tokens lead to those of the next epoch
)

// Keyset holds the key of every epoch. It may be used by many goroutines.
type Keyset struct {
	redacted
	epochs []epochKey // epoch n at n-1
}

type epochKey struct {
	info EpochInfo
	prf  *prf.Set
}

// EpochInfo is what may be said about an epoch's key.
type EpochInfo struct {
	Epoch   uint8
	Status  Status
	Created time.Time
	// Check is the key's check value: equal for equal keys, and of no use to
	// find out the key.
	Check string
}

// Epoch is the epoch of the tokens that are made.
func (k *Keyset) Epoch() uint8 { return k.epochs[len(k.epochs)-1].info.Epoch }

// Epochs lists the epochs, oldest first.
func (k *Keyset) Epochs() []EpochInfo {
	list := make([]EpochInfo, len(k.epochs))
	for i := range k.epochs {
		list[i] = k.epochs[i].info
	}
	return list
}

// Options are the settings of a Domain.
type Options struct {
	// PhoneRegion is the region of phone numbers without a country code, an
	// ISO 3166 code; without it such numbers stay unparsed. Domains that are to
	// give the same tokens need the same region.
	PhoneRegion string
	// CacheBytes bounds the memory of the tokens that a Domain remembers:
	// 0 is 8 MiB, and less than 0 remembers none.
	CacheBytes int
}

// Domain makes the token maker of the named domain with default options.
func (k *Keyset) Domain(name string) (*Domain, error) { return k.DomainWith(name, Options{}) }

// DomainWith makes the token maker of the named domain.
func (k *Keyset) DomainWith(name string, o Options) (*Domain, error) {
	if !validDomain(name) {
		return nil, fmt.Errorf("token domain %q: want [a-z][a-z0-9_-]*, at most %d letters", name, maxDomainName)
	}
	macs := make([]*mac, len(k.epochs))
	for i := range k.epochs {
		key, err := k.epochs[i].prf.ComputePrimaryPRF([]byte(domainLabel+name), domainKeyBytes)
		if err != nil || len(key) != domainKeyBytes {
			return nil, fmt.Errorf("token domain %s: the key of epoch %d gives no domain key", name, i+1)
		}
		macs[i] = newMAC(key)
		clear(key)
	}
	return newDomain(macs, o)
}

func validDomain(name string) bool {
	if name == "" || len(name) > maxDomainName {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c-'a' < 26:
		case i > 0 && (c-'0' < 10 || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// newEpochKey checks the key of one epoch and makes its PRF. Errors never
// repeat what Tink says of a key.
func newEpochKey(h *keyset.Handle) (*prf.Set, error) {
	if h.Len() != 1 {
		return nil, fmt.Errorf("has %d keys, want one", h.Len())
	}
	entry, err := h.Primary()
	if err != nil {
		return nil, errors.New("has no primary key")
	}
	if entry.KeyStatus() != keyset.Enabled {
		return nil, errors.New("is disabled or destroyed")
	}
	key, ok := entry.Key().(*hmacprf.Key)
	if !ok {
		return nil, errors.New("is not of type HmacPrfKey")
	}
	parameters, ok := key.Parameters().(*hmacprf.Parameters)
	if !ok || parameters.HashType() != hmacprf.SHA256 {
		return nil, errors.New("is not for SHA-256")
	}
	secret := key.KeyBytes().Data(insecuresecretdataaccess.Token{})
	defer clear(secret)
	if len(secret) < minKeyBytes {
		return nil, fmt.Errorf("has %d bytes, want %d or more", len(secret), minKeyBytes)
	}
	var bits byte
	for _, b := range secret {
		bits |= b
	}
	if bits == 0 {
		return nil, errors.New("is all zero")
	}
	set, err := prf.NewPRFSet(h)
	if err != nil {
		return nil, errors.New("makes no PRF")
	}
	return set, nil
}
