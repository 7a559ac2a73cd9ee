package oracle

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"lupa/schemas"
)

// token is a pseudonym.
type token [16]byte

// keyring makes tokens with the keys of a file.
type keyring struct {
	epochs  [][]byte // key of epoch n at n-1
	domains map[string][][]byte
	region  string
	names   lexicon
	// shared are the kinds of identifiers that several people may have.
	shared []schemas.IdentifierKind
	memo   map[memoKey]token
}

type memoKey struct {
	domain string
	kind   schemas.IdentifierKind
	raw    string
	epoch  int
}

const ledgerDomain = "ledger"

func (c *check) readKeys(context.Context) error {
	if c.in.Keys == "" {
		return nil
	}
	body, err := os.ReadFile(c.in.Keys)
	if err != nil {
		return err
	}
	defer clear(body)
	k, err := parseKeys(body)
	if err != nil {
		return fmt.Errorf("%s: %w", c.in.Keys, err)
	}
	k.region, k.names, k.shared = c.in.PhoneRegion, lexicon{c.in.Vocabulary}, c.in.Shared
	c.keys = k
	return nil
}

// parseKeys reads the key file: Tink keysets of one HMAC PRF key each.
func parseKeys(body []byte) (*keyring, error) {
	var file struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
		Epochs  []struct {
			Epoch  int    `json:"epoch"`
			Check  string `json:"check"`
			Keyset struct {
				Key []struct {
					KeyData struct {
						TypeURL string `json:"typeUrl"`
						Value   string `json:"value"`
					} `json:"keyData"`
				} `json:"key"`
			} `json:"keyset"`
		} `json:"epochs"`
	}
	if err := json.Unmarshal(body, &file); err != nil || file.Format != "lupa-keys" || file.Version != 1 || len(file.Epochs) == 0 {
		return nil, errors.New("is no key file")
	}
	k := &keyring{domains: map[string][][]byte{}, memo: map[memoKey]token{}}
	for i, e := range file.Epochs {
		if e.Epoch != i+1 || len(e.Keyset.Key) != 1 || !strings.HasSuffix(e.Keyset.Key[0].KeyData.TypeURL, "HmacPrfKey") {
			return nil, fmt.Errorf("epoch %d is no HMAC PRF key", i+1)
		}
		proto, err := base64.StdEncoding.DecodeString(e.Keyset.Key[0].KeyData.Value)
		if err != nil {
			return nil, fmt.Errorf("epoch %d is no HMAC PRF key", i+1)
		}
		key, ok := protoBytes(proto, 3)
		if !ok || len(key) < 32 {
			return nil, fmt.Errorf("epoch %d has no key", i+1)
		}
		if hex.EncodeToString(mac(key, "lupa key check v1\x00")[:8]) != e.Check {
			return nil, fmt.Errorf("epoch %d does not match its check value", i+1)
		}
		k.epochs = append(k.epochs, key)
	}
	return k, nil
}

// protoBytes gives a field of bytes of a protobuf message.
func protoBytes(message []byte, field uint64) ([]byte, bool) {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return nil, false
		}
		message = message[n:]
		value, n := binary.Uvarint(message)
		if n <= 0 {
			return nil, false
		}
		message = message[n:]
		switch tag & 7 {
		case 0:
		case 2:
			if value > uint64(len(message)) {
				return nil, false
			}
			if tag>>3 == field {
				return message[:value], true
			}
			message = message[value:]
		default:
			return nil, false
		}
	}
	return nil, false
}

func mac(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// newest is the epoch of today's tokens.
func (k *keyring) newest() int { return len(k.epochs) }

// token makes the token of an identifier as it is in an epoch; missing when
// there is nothing to identify anybody.
func (k *keyring) token(domain string, kind schemas.IdentifierKind, raw string, epoch int) (t token, missing bool) {
	memo := memoKey{domain, kind, raw, epoch}
	if t, ok := k.memo[memo]; ok {
		return t, t == token{}
	}
	value := normal(kind, raw, k.region)
	if value != "" {
		t = layOut(1, mac(k.domain(domain)[0], kind.String(), "\x00", value))
		t = k.advance(domain, t, epoch)
	}
	k.memo[memo] = t
	return t, value == ""
}

// advance makes the token of a later epoch.
func (k *keyring) advance(domain string, t token, epoch int) token {
	for e := int(t[0]) + 1; e <= epoch; e++ {
		t = layOut(e, mac(k.domain(domain)[e-1], "token\x00", string(t[:])))
	}
	return t
}

func (k *keyring) domain(name string) [][]byte {
	if k.domains[name] == nil {
		for _, key := range k.epochs {
			k.domains[name] = append(k.domains[name], mac(key, "lupa token v1\x00", name))
		}
	}
	return k.domains[name]
}

func layOut(epoch int, mac []byte) (t token) {
	copy(t[:], mac)
	t[0] = byte(epoch)
	t[6] = t[6]&0x0f | 0x80
	t[8] = t[8]&0x3f | 0x80
	return t
}

// wellFormed reports whether a token is one of a version 8 UUID's layout and of
// an epoch that there is.
func (k *keyring) wellFormed(t token) bool {
	return t[0] >= 1 && int(t[0]) <= len(k.epochs) && t[6]>>4 == 8 && t[8]>>6 == 2
}

// ident gives the ledger's token of a principal.
func (k *keyring) ident(p principal) (id ident, missing bool) {
	if p.token != (token{}) {
		if !k.wellFormed(p.token) {
			return ident{}, true
		}
		return ident(k.advance(ledgerDomain, p.token, k.newest())), false
	}
	if p.raw == "" {
		return ident{}, true
	}
	t, missing := k.token(ledgerDomain, p.kind, p.raw, k.newest())
	return ident(t), missing
}

// isShared reports whether a principal is of a kind that people share. The kind
// of one that is only known by its token is not known.
func (k *keyring) isShared(p principal) bool {
	return p.raw != "" && slices.Contains(k.shared, p.kind)
}

// parseToken reads a token as UUID text.
func parseToken(text string) (t token, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return token{}, false
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(raw) != len(t) {
		return token{}, false
	}
	copy(t[:], raw)
	return t, !bytes.Equal(raw[:1], []byte{0}) && t[6]>>4 == 8 && t[8]>>6 == 2
}
