package kafka

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go/sasl"
)

// TokenSource gives a bearer token for each connection that is authenticated.
// It may be asked by many at once. Its errors are logged and must not hold a
// secret.
type TokenSource interface {
	Token(ctx context.Context) (Token, error)
}

// Token is an OAuth 2.0 bearer token. However it is printed, it shows when it
// expires and a placeholder.
type Token struct {
	// Value is what is sent.
	Value string
	// Expires is when it ends; zero is not known.
	Expires time.Time
	// Extensions are sent along with it, as KIP-342 has it.
	Extensions map[string]string
}

// String gives the placeholder.
func (t Token) String() string {
	if t.Expires.IsZero() {
		return "token:[redacted]"
	}
	return "token:[redacted] until " + t.Expires.UTC().Format(time.RFC3339)
}

// Format gives the placeholder, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// MarshalJSON gives the placeholder.
func (t Token) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// tokenFile reads a token from a file.
type tokenFile string

// TokenFile is a source that reads the file for each authentication: what else
// renews the token writes it there. If the token is a JWT it says itself when
// it expires. Those who write such files, as Kubernetes does, choose their
// modes, so the mode is not checked.
func TokenFile(path string) TokenSource { return tokenFile(path) }

// Token reads the file.
func (path tokenFile) Token(context.Context) (Token, error) {
	f, err := os.Open(string(path))
	if err != nil {
		return Token{}, err
	}
	defer f.Close()
	body, err := readSome(f, string(path))
	if err != nil {
		return Token{}, err
	}
	value := strings.TrimSpace(string(body))
	return Token{Value: value, Expires: jwtExpiry(value)}, nil
}

// jwtExpiry is the exp claim of a JWT, or zero. Nothing is verified: that is up
// to the broker.
func jwtExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	const latest = 1 << 38 // seconds, in the year 10680
	if json.Unmarshal(body, &claims) != nil || claims.Exp <= 0 || claims.Exp > latest {
		return time.Time{}
	}
	return time.UnixMilli(int64(claims.Exp * 1000))
}

// bearer is the SASL mechanism OAUTHBEARER of RFC 7628, as KIP-255 has it.
type bearer struct{ source TokenSource }

// Name is OAUTHBEARER.
func (bearer) Name() string { return mechanismOAuth }

// Start sends the token.
func (b bearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	t, err := b.source.Token(ctx)
	if err != nil {
		return nil, nil, errors.New("security.token: " + err.Error())
	}
	first, err := t.message()
	if err != nil {
		return nil, nil, errors.New("security.token: " + err.Error())
	}
	return &bearerSession{expires: t.Expires}, first, nil
}

// The characters of RFC 6750 for tokens and of RFC 7628 for extensions. The
// separator is in neither, so that nothing can be slipped in.
const (
	tokenPattern     = `^[A-Za-z0-9._~+/-]+=*$`
	extensionPattern = `^[\x20-\x7e\t\r\n]*$`
	namePattern      = `^[A-Za-z]+$`
)

// message is the client's first, in the order of the extensions' names.
func (t Token) message() ([]byte, error) {
	if !regexp.MustCompile(tokenPattern).MatchString(t.Value) {
		return nil, errors.New("is empty or holds characters that no token has")
	}
	b := []byte("n,,\x01auth=Bearer " + t.Value + "\x01")
	name, value := regexp.MustCompile(namePattern), regexp.MustCompile(extensionPattern)
	for _, key := range slices.Sorted(maps.Keys(t.Extensions)) {
		if !name.MatchString(key) || strings.EqualFold(key, "auth") || !value.MatchString(t.Extensions[key]) {
			return nil, errors.New("has an extension whose name or value SASL does not allow")
		}
		b = append(b, key+"="+t.Extensions[key]+"\x01"...)
	}
	return append(b, 1), nil
}

// bearerSession hears whether the token was taken.
type bearerSession struct {
	expires time.Time
	refused bool
	status  string
}

// Next ends well at an empty challenge. Any other holds an error, which has to
// be answered before the broker fails the exchange.
func (s *bearerSession) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) == 0 && !s.refused {
		return true, nil, nil
	}
	if s.refused {
		return false, nil, s.refusal()
	}
	s.refused = true
	var answer struct{ Status string }
	known := []string{"invalid_request", "invalid_token", "insufficient_scope"}
	if json.Unmarshal(challenge, &answer) == nil && slices.Contains(known, answer.Status) {
		s.status = ", " + answer.Status
	}
	return false, []byte{1}, nil
}

// refusal says what the broker said, in words that are known here.
func (s *bearerSession) refusal() error {
	if !s.expires.IsZero() && s.expires.Before(time.Now()) {
		return fmt.Errorf("it refuses the token, which expired at %s%s", s.expires.UTC().Format(time.RFC3339), s.status)
	}
	return fmt.Errorf("it refuses the token%s", s.status)
}
