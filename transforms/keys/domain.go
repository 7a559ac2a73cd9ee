package keys

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/schemas"
	"lupa/transforms/keys/normalize"
)

const defaultCacheBytes = 8 << 20

// chainLabel stands before a token that becomes the token of the next epoch.
const chainLabel = "token\x00"

// Domain makes the tokens of one domain. It holds buffers and the values it
// met last, so that only one goroutine may use it; each worker asks the keyset
// for its own.
type Domain struct {
	redacted
	macs       []*mac // epoch n at n-1
	labels     [][]byte
	chain      []byte
	previous   schemas.Token
	normalizer *normalize.Normalizer
	cache      *cache
}

func newDomain(macs []*mac, o Options) (*Domain, error) {
	normalizer, err := normalize.New(o.PhoneRegion)
	if err != nil {
		return nil, fmt.Errorf("token domain: %w", err)
	}
	d := &Domain{macs: macs, labels: kindLabels(), chain: []byte(chainLabel), normalizer: normalizer}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.CacheBytes > 0 {
		d.cache = newCache(o.CacheBytes)
	}
	return d, nil
}

// kindLabels are what stands before a value, indexed by its kind: the kind's
// name and a zero byte, which no name holds.
func kindLabels() [][]byte {
	labels := [][]byte{{0}}
	for kind := schemas.NoIdentifier + 1; kind.String() != ""; kind++ {
		labels = append(labels, []byte(kind.String()+"\x00"))
	}
	return labels
}

// Token is the token of an identifier. It is zero if nothing is left of the
// value after normalization, or if there is no such kind.
func (d *Domain) Token(kind schemas.IdentifierKind, value []byte) schemas.Token {
	if len(value) == 0 || int(kind) >= len(d.labels) {
		return schemas.Token{}
	}
	if d.cache == nil || len(value) > maxCached {
		return d.make(kind, value)
	}
	h := d.cache.hash(kind, value)
	if t, found := d.cache.find(h, kind, value); found {
		return t
	}
	t := d.make(kind, value)
	d.cache.put(h, kind, value, t)
	return t
}

// Tokens sets dst[i] to the token of values' i-th value, or to zero where it is
// null. dst is as long as values.
func (d *Domain) Tokens(kind schemas.IdentifierKind, values *array.BinaryView, dst []schemas.Token) {
	for i := range dst {
		dst[i] = schemas.Token{}
		if values.IsValid(i) {
			dst[i] = d.Token(kind, values.Value(i))
		}
	}
}

// TokensAt sets dst[i] to the token of the value of row rows[i], or to zero
// where it is null or the row less than 0. dst is as long as rows.
func (d *Domain) TokensAt(kind schemas.IdentifierKind, values *array.BinaryView, rows []int32, dst []schemas.Token) {
	for i, row := range rows {
		dst[i] = schemas.Token{}
		if row >= 0 && values.IsValid(int(row)) {
			dst[i] = d.Token(kind, values.Value(int(row)))
		}
	}
}

// Current gives the token that stands today for one that was made in an earlier
// epoch of the domain, which is the token itself in the epoch of today. It is
// zero for a token of an epoch that the keyset does not have.
func (d *Domain) Current(t schemas.Token) schemas.Token {
	if int(t.Epoch()) > len(d.macs) || t.Epoch() == 0 {
		return schemas.Token{}
	}
	return d.advance(t)
}

// make follows the chain of epochs, as FORMAT.md says.
func (d *Domain) make(kind schemas.IdentifierKind, value []byte) schemas.Token {
	value = d.normalizer.Identifier(kind, value)
	if len(value) == 0 {
		return schemas.Token{}
	}
	return d.advance(d.macs[0].token(1, d.labels[kind], value))
}

// advance makes the token of the last epoch of one of any other.
func (d *Domain) advance(t schemas.Token) schemas.Token {
	for epoch := int(t.Epoch()) + 1; epoch <= len(d.macs); epoch++ {
		d.previous = t
		t = d.macs[epoch-1].token(uint8(epoch), d.chain, d.previous[:])
	}
	return t
}
