package keys

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"

	"lupa/schemas"
)

// mac is HMAC-SHA-256 under one key. It keeps the state that follows from the
// key, so that a value costs its own blocks and no allocation.
type mac struct {
	state hash.Hash
	sum   [sha256.Size]byte
}

func newMAC(key []byte) *mac { return &mac{state: hmac.New(sha256.New, key)} }

// of gives the MAC of label and value, one behind the other.
func (m *mac) of(label, value []byte) *[sha256.Size]byte {
	m.state.Reset()
	m.state.Write(label)
	m.state.Write(value)
	m.state.Sum(m.sum[:0])
	return &m.sum
}

// token lays the MAC out as a token of the epoch.
func (m *mac) token(epoch uint8, label, value []byte) schemas.Token {
	t := schemas.Token(m.of(label, value)[:16])
	t[0] = epoch
	t[6] = 0x80 | t[6]&0x0f // RFC 9562 version 8
	t[8] = 0x80 | t[8]&0x3f // and variant
	return t
}
