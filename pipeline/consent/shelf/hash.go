package shelf

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"

	"lupa/schemas"
)

// Seed is the secret of a shelf's hash.
type Seed [4]uint64

func randomSeed() (seed Seed) {
	var b [32]byte
	rand.Read(b[:]) // never fails
	for i := range seed {
		seed[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return seed
}

// Hash spreads keys, whoever chose them: products of 128 bits with secret numbers,
// as in wyhash. Its highest bits are the shard, the next 32 the bucket, and the
// lowest the tag.
func (s *Seed) Hash(key *schemas.Token) uint64 {
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(key[:8])^s[0], binary.LittleEndian.Uint64(key[8:])^s[1])
	hi, lo = bits.Mul64(hi^s[2], lo^s[3])
	return hi ^ lo
}
