package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// ClientCredentials say how to ask an authorization server for tokens, as
// RFC 6749 section 4.4 has it.
type ClientCredentials struct {
	// TokenURL is the server's token endpoint: https, or http on a loopback
	// address.
	TokenURL string
	// ClientID and ClientSecret are what this program is known by. ClientSecret
	// is asked for every request.
	ClientID     string
	ClientSecret func() (string, error)
	// Scope is what to ask for, separated by spaces; may be empty.
	Scope string
	// CAFile holds the certificates, as PEM, of the authorities that may have
	// signed the server's; by default the system's.
	CAFile string
}

// tokenClient keeps one token for as long as it is good.
type tokenClient struct {
	host   string
	secret func() (string, error)
	http   *http.Client

	turn    chan struct{} // holds a value while nobody uses what follows
	config  *clientcredentials.Config
	token   func() Token // which printing the client does not call; nil before the first
	refresh time.Time    // when to ask for another
}

// NewClientCredentials makes a source that asks the server for a token and
// hands it out until 80 % of its life have passed. After that, as long as the
// server cannot be asked, it is handed out until it ends. A token of unknown
// life is handed out once.
func NewClientCredentials(o ClientCredentials) (TokenSource, error) {
	u, err := url.Parse(o.TokenURL)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errors.New("kafka: security.token_url: is not a URL of the form https://host/path")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, errors.New("kafka: security.token_url: must be https, or http on a loopback address")
	}
	if o.ClientID == "" {
		return nil, errors.New("kafka: security.client_id: is missing")
	}
	if o.ClientSecret == nil {
		return nil, errors.New("kafka: security.client_secret: is missing")
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		if t.RootCAs, err = authorities(o.CAFile); err != nil {
			return nil, fmt.Errorf("kafka: security.token_ca_file: %w", err)
		}
	}
	c := &tokenClient{
		host: u.Host, secret: o.ClientSecret, turn: make(chan struct{}, 1),
		http: &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: t, IdleConnTimeout: time.Minute},
			// A redirect would take the secret elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		config: &clientcredentials.Config{ClientID: o.ClientID, TokenURL: o.TokenURL, Scopes: strings.Fields(o.Scope)},
	}
	c.turn <- struct{}{}
	return c, nil
}

// Token gives the token that is kept, or a new one.
func (c *tokenClient) Token(ctx context.Context) (Token, error) {
	select {
	case <-c.turn:
	case <-ctx.Done():
		return Token{}, ctx.Err()
	}
	defer func() { c.turn <- struct{}{} }()
	now := time.Now()
	if c.token != nil && now.Before(c.refresh) {
		return c.token(), nil
	}
	t, err := c.ask(ctx)
	if err != nil {
		if c.token != nil && now.Before(c.token().Expires) {
			return c.token(), nil
		}
		return Token{}, err
	}
	c.token, c.refresh = func() Token { return t }, now
	if life := t.Expires.Sub(now); !t.Expires.IsZero() {
		c.refresh = now.Add(life / 10 * 8)
	}
	return t, nil
}

// ask makes one request. What the libraries say of a failure may hold what the
// server answered and stays here.
func (c *tokenClient) ask(ctx context.Context) (Token, error) {
	secret, err := c.secret()
	if err != nil {
		return Token{}, fmt.Errorf("security.client_secret: %w", err)
	}
	c.config.ClientSecret = secret
	defer func() { c.config.ClientSecret = "" }()
	got, err := c.config.Token(context.WithValue(ctx, oauth2.HTTPClient, c.http))
	if err != nil {
		return Token{}, fmt.Errorf("token endpoint %s: %s", c.host, endpointCause(ctx, err))
	}
	t := Token{Value: got.AccessToken, Expires: got.Expiry}
	if t.Expires.IsZero() {
		t.Expires = jwtExpiry(t.Value)
	}
	return t, nil
}

// endpointCause tells in fixed words why there is no token.
func endpointCause(ctx context.Context, err error) string {
	var answer *oauth2.RetrieveError
	var transport *url.Error
	switch {
	case ctx.Err() != nil:
		return "no answer in time"
	case errors.As(err, &answer):
		known := []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
		if slices.Contains(known, answer.ErrorCode) {
			return fmt.Sprintf("HTTP status %d, %s", answer.Response.StatusCode, answer.ErrorCode)
		}
		return fmt.Sprintf("HTTP status %d", answer.Response.StatusCode)
	case errors.As(err, &transport):
		if cause, ok := tlsCause(err); ok {
			return cause
		}
		return "cannot be reached"
	}
	return "gave no token"
}
