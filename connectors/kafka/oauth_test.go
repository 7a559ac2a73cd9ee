package kafka

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fixed is a source whose token and error a test sets.
type fixed struct {
	mu    sync.Mutex
	token Token
	err   error
}

func (f *fixed) Token(context.Context) (Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.token, f.err
}

func (f *fixed) set(t Token) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token = t
}

// bearerBroker takes OAUTHBEARER as Apache Kafka does, which the fake cluster
// does not do by itself.
type bearerBroker struct {
	mu     sync.Mutex
	valid  string        // the token that is taken
	life   time.Duration // that is told
	first  []string      // what clients began with
	failed int
}

func (b *bearerBroker) install(k *kfake.Cluster) {
	k.ControlKey(int16(kmsg.SASLHandshake), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		res := r.ResponseKind().(*kmsg.SASLHandshakeResponse)
		if r.(*kmsg.SASLHandshakeRequest).Mechanism != "OAUTHBEARER" {
			res.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		}
		return res, nil, true
	})
	k.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		b.mu.Lock()
		defer b.mu.Unlock()
		res := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		text := string(r.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes)
		switch {
		case text == "\x01":
			b.failed++
			message := "Authentication failed: " + b.valid
			res.ErrorCode, res.ErrorMessage = kerr.SaslAuthenticationFailed.Code, &message
		case strings.HasPrefix(text, "n,,\x01auth=Bearer "+b.valid+"\x01"):
			b.first = append(b.first, text)
			res.SessionLifetimeMillis = b.life.Milliseconds()
		default:
			b.first = append(b.first, text)
			res.SASLAuthBytes = []byte(`{"status":"invalid_token","scope":"` + canary + `"}`)
		}
		return res, nil, true
	})
}

func (b *bearerBroker) accept(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.valid = token
}

func (b *bearerBroker) begun() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.first)
}

// jwt makes a token that is signed by nobody.
func jwt(claims string) string {
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(`{"alg":"none"}`)) + "." + e.EncodeToString([]byte(claims)) + "."
}

func TestOAuthBearer(t *testing.T) {
	a := authority(t)
	side := kfake.TLS(serverTLS(t, issue(t, a, "broker", time.Hour, "127.0.0.1")))
	start := func(t *testing.T, valid string) (*kfake.Cluster, *bearerBroker) {
		k, b := fake(t, kfake.NumBrokers(1), side), &bearerBroker{valid: valid}
		b.install(k)
		return k, b
	}
	s := Security{TLS: true, CAFile: a.CAFile, Mechanism: "OAUTHBEARER"}
	t.Run("accepted", func(t *testing.T) {
		var j journal
		k, b := start(t, canary)
		s := s
		s.Token = &fixed{token: Token{Value: canary, Extensions: map[string]string{"traceId": "7", "logicalCluster": "lkc"}}}
		useAll(t, connect(t, k, secured(s, &j)), "x")
		want := "n,,\x01auth=Bearer " + canary + "\x01logicalCluster=lkc\x01traceId=7\x01\x01"
		for _, first := range b.first {
			if first != want {
				t.Error("a client begins in another way")
			}
		}
		calm(t, &j)
	})
	for _, test := range []struct {
		name  string
		token *fixed
		cause string
		begun bool
	}{
		{"another token", &fixed{token: Token{Value: "another"}}, "it refuses the token, invalid_token", true},
		{"an expired token", &fixed{token: Token{Value: "another", Expires: time.Unix(1700000000, 0)}},
			"it refuses the token, which expired at 2023-11-14T22:13:20Z, invalid_token", true},
		{"no token", &fixed{err: errors.New("nobody gives one")}, "security.token: nobody gives one", false},
		{"an empty token", &fixed{}, "security.token: is empty or holds characters that no token has", false},
		{"a token that would go on", &fixed{token: Token{Value: "x\x01evil=1"}}, "security.token: is empty or holds", false},
		{"an extension that would go on", &fixed{token: Token{Value: "x", Extensions: map[string]string{"a": "b\x01c=d"}}},
			"security.token: has an extension", false},
		{"an extension in the token's place", &fixed{token: Token{Value: "x", Extensions: map[string]string{"Auth": "b"}}},
			"security.token: has an extension", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var j journal
			k, b := start(t, canary)
			s := s
			s.Token = test.token
			refusedBroker(t, connect(t, k, secured(s, &j)), &j, denied, test.cause)
			if test.begun != (b.begun() > 0) || test.begun != (b.failed > 0) {
				t.Errorf("%d exchanges begun, %d ended", b.begun(), b.failed)
			}
		})
	}
}

// Connections outlive their tokens: they are renewed where the broker lets
// them, and made anew where it does not.
func TestTokensExpire(t *testing.T) {
	for _, renewed := range []bool{true, false} {
		t.Run(fmt.Sprint("renewed ", renewed), func(t *testing.T) {
			const life = 150 * time.Millisecond
			k, cut := cuttable(t)
			topic(t, k, "x", 1, "delete")
			b := &bearerBroker{valid: "first"}
			if renewed {
				b.life = life
			}
			b.install(k)
			source := &fixed{token: Token{Value: "first", Expires: time.Now().Add(life)}}
			var j journal
			c := connect(t, k, func(o *Options) {
				o.Logger = j.logger()
				o.Security = Security{Mechanism: "OAUTHBEARER", Token: source, PlaintextOnLoopback: true}
			})
			p := c.Producer()
			defer p.Close()
			produce := func() {
				t.Helper()
				if err := p.Produce(bounded(t), "x", nil, [][]byte{[]byte("v")}); err != nil {
					t.Fatal(err)
				}
			}
			produce()
			conns, begun := cut.accepted(), b.begun()
			source.set(Token{Value: canary, Expires: time.Now().Add(time.Hour)})
			b.accept(canary)
			for ctx := bounded(t); b.begun() < begun+2; {
				if ctx.Err() != nil {
					t.Fatal("nobody authenticates again")
				}
				produce()
			}
			if n := cut.accepted(); renewed != (n == conns) {
				t.Errorf("%d connections, then %d", conns, n)
			}
			leaks(t, j.String())
		})
	}
}

// Credentials that have expired recover when the source has others.
func TestExpiredTokenRecovers(t *testing.T) {
	k, cut := cuttable(t)
	topic(t, k, "x", 1, "compact")
	b := &bearerBroker{valid: "first"}
	b.install(k)
	source := &fixed{token: Token{Value: "first", Expires: time.Now()}}
	var j journal
	c := connect(t, k, func(o *Options) {
		o.Logger = j.logger()
		o.Security = Security{Mechanism: "OAUTHBEARER", Token: source, PlaintextOnLoopback: true}
	})
	l := follow(t, c, &table{}, LedgerOptions{})
	b.accept(canary)
	cut.cut()
	await(t, func() bool { return strings.Contains(j.String(), "it refuses the token, which expired at") })
	source.set(Token{Value: canary})
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(j.String(), "broker can be used again") {
		t.Error(j.String())
	}
	leaks(t, j.String())
}

func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	source := TokenFile(path)
	if _, err := source.Token(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, test := range []struct{ content, value, expires string }{
		{canary + "\n", canary, ""},
		{jwt(`{"sub":"lupa","exp":1700000000}`) + "\n", jwt(`{"sub":"lupa","exp":1700000000}`), "2023-11-14T22:13:20Z"},
		{jwt(`{"exp":1700000000.5}`), jwt(`{"exp":1700000000.5}`), "2023-11-14T22:13:20Z"},
		{jwt(`{"sub":"lupa"}`), jwt(`{"sub":"lupa"}`), ""},
		{jwt(`{"exp":"soon"}`), jwt(`{"exp":"soon"}`), ""},
		{jwt(`{"exp":1e300}`), jwt(`{"exp":1e300}`), ""},
		{jwt(`not JSON`), jwt(`not JSON`), ""},
		{"a.!.c", "a.!.c", ""},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := source.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		expires := ""
		if !got.Expires.IsZero() {
			expires = got.Expires.UTC().Format(time.RFC3339)
		}
		if got.Value != test.value || expires != test.expires {
			t.Errorf("a token until %q, want %q", expires, test.expires)
		}
	}
}

// What a JWT says of its end is found whatever else it says, and nothing else
// is taken for it.
func FuzzJWTExpiry(f *testing.F) {
	f.Add("a.b.c", uint32(1))
	f.Add(jwt(`{"exp":1700000000}`), uint32(1700000000))
	f.Fuzz(func(t *testing.T, token string, at uint32) {
		if e := jwtExpiry(token); !e.IsZero() && e.Unix() < 0 {
			t.Error("an end before all time")
		}
		other, err := json.Marshal(token)
		if err != nil {
			t.Fatal(err)
		}
		made := jwt(fmt.Sprintf(`{"sub":%s,"exp":%d}`, other, at))
		if got := jwtExpiry(made); at > 0 && got.Unix() != int64(at) {
			t.Errorf("%d is %v", at, got)
		}
	})
}

// tokenServer is an authorization server.
type tokenServer struct {
	mu     sync.Mutex
	secret string
	answer string
	status int
	asked  int
	scopes []string
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	s.scopes = append(s.scopes, r.PostFormValue("scope"))
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case s.status != 0:
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(s.status)
		fmt.Fprint(w, s.answer)
	case r.PostFormValue("grant_type") != "client_credentials" || id != "lupa" || secret != s.secret:
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error":"invalid_client","error_description":"not %s but %s"}`, secret, s.secret)
	default:
		fmt.Fprint(w, s.answer)
	}
}

func (s *tokenServer) set(status int, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.answer = status, answer
}

// The secret of these tests has nothing that HTTP's basic authentication of
// OAuth would escape, so that a search for it cannot miss.
func TestClientCredentials(t *testing.T) {
	s := &tokenServer{secret: canary, answer: `{"access_token":"t1","token_type":"Bearer","expires_in":3600}`}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// x/oauth2 escapes both parts, as RFC 6749 section 2.3.1 has it.
		if id, secret, ok := r.BasicAuth(); ok {
			r.SetBasicAuth(unescape(id), unescape(secret))
		}
		s.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	var secret atomic.Value
	secret.Store(canary)
	o := ClientCredentials{
		TokenURL: server.URL + "/token", ClientID: "lupa", Scope: "kafka read", CAFile: ca,
		ClientSecret: func() (string, error) { return secret.Load().(string), nil },
	}
	source := func() *tokenClient {
		c, err := NewClientCredentials(o)
		if err != nil {
			t.Fatal(err)
		}
		return c.(*tokenClient)
	}
	value := func(c *tokenClient) string {
		got, err := c.Token(t.Context())
		if err != nil {
			return err.Error()
		}
		return got.Value
	}
	host := strings.TrimPrefix(server.URL, "https://")

	c := source()
	first, err := c.Token(t.Context())
	if err != nil || first.Value != "t1" || time.Until(first.Expires).Round(time.Minute) != time.Hour {
		t.Fatalf("%v: %v", first, err)
	}
	s.set(0, `{"access_token":"t2","token_type":"Bearer","expires_in":3600}`)
	if got := value(c); got != "t1" || s.asked != 1 {
		t.Errorf("%s after %d requests", got, s.asked)
	}
	if left := time.Until(c.refresh).Round(time.Minute); left != 48*time.Minute {
		t.Errorf("kept for %s", left)
	}
	c.refresh = time.Now()
	if got := value(c); got != "t2" {
		t.Error(got)
	}
	// The token that is there outlives a server that is not.
	c.refresh = time.Now()
	s.set(http.StatusServiceUnavailable, canary)
	if got := value(c); got != "t2" {
		t.Error(got)
	}
	ended := Token{Value: "t2", Expires: time.Now()}
	c.token = func() Token { return ended }
	if got := value(c); got != "token endpoint "+host+": HTTP status 503" {
		t.Error(got)
	}
	s.set(http.StatusTemporaryRedirect, canary)
	if got := value(source()); got != "token endpoint "+host+": HTTP status 307" {
		t.Error(got)
	}
	s.set(0, `{"token_type":"Bearer","note":"`+canary+`"}`)
	if got := value(source()); got != "token endpoint "+host+": gave no token" {
		t.Error(got)
	}
	// A life that is not told may stand in the token, or it is used once.
	s.set(0, `{"access_token":"`+jwt(`{"exp":1700000000}`)+`","token_type":"Bearer"}`)
	if got, err := source().Token(t.Context()); err != nil || got.Expires.Unix() != 1700000000 {
		t.Errorf("%v: %v", got, err)
	}
	s.set(0, `{"access_token":"t3","token_type":"Bearer"}`)
	c, s.asked = source(), 0
	if value(c); value(c) != "t3" || s.asked != 2 {
		t.Errorf("%d requests", s.asked)
	}
	// A secret that is rotated is used by the next request.
	s.secret = "rotated"
	if got := value(c); got != "token endpoint "+host+": HTTP status 401, invalid_client" {
		t.Error(got)
	}
	secret.Store("rotated")
	if got := value(c); got != "t3" {
		t.Error(got)
	}
	leaks(t, fmt.Sprintf("%+v %#v", c, c))
	if d := cmp.Diff("kafka read", s.scopes[0]); d != "" {
		t.Error(d)
	}
	// Neither an unknown authority nor an end of patience is a token.
	o.CAFile = ""
	if got := value(source()); got != "token endpoint "+host+": its certificate is signed by an authority that is not trusted here" {
		t.Error(got)
	}
	server.Close()
	if got := value(c); got != "token endpoint "+host+": cannot be reached" {
		t.Error(got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Token(ctx); err == nil {
		t.Error("a token although nobody waits for it")
	}
	if _, err := c.Token(t.Context()); err == nil {
		t.Error("a token of a server that is gone")
	}
}

func unescape(s string) string {
	return strings.NewReplacer("%2B", "+", "%2F", "/").Replace(s)
}

func TestClientCredentialsAreChecked(t *testing.T) {
	good := ClientCredentials{TokenURL: "https://auth.example/token", ClientID: "lupa", ClientSecret: password("p")}
	for _, test := range []struct {
		name   string
		change func(*ClientCredentials)
		want   string
	}{
		{"all there", func(*ClientCredentials) {}, ""},
		{"http on loopback", func(o *ClientCredentials) { o.TokenURL = "http://127.0.0.1:8080/token" }, ""},
		{"http elsewhere", func(o *ClientCredentials) { o.TokenURL = "http://auth.example/token" },
			"kafka: security.token_url: must be https, or http on a loopback address"},
		{"another scheme", func(o *ClientCredentials) { o.TokenURL = "file://localhost/token" },
			"kafka: security.token_url: must be https, or http on a loopback address"},
		{"a password in the URL", func(o *ClientCredentials) { o.TokenURL = "https://u:" + canary + "@auth.example/token" },
			"kafka: security.token_url: is not a URL of the form https://host/path"},
		{"no URL", func(o *ClientCredentials) { o.TokenURL = "%zz" + canary },
			"kafka: security.token_url: is not a URL of the form https://host/path"},
		{"no client", func(o *ClientCredentials) { o.ClientID = "" }, "kafka: security.client_id: is missing"},
		{"no secret", func(o *ClientCredentials) { o.ClientSecret = nil }, "kafka: security.client_secret: is missing"},
		{"no CA file", func(o *ClientCredentials) { o.CAFile = "/nowhere" },
			"kafka: security.token_ca_file: open /nowhere: no such file or directory"},
	} {
		o := good
		test.change(&o)
		_, err := NewClientCredentials(o)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}
