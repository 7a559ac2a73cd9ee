package registry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const secret = "correct-horse"

func known(s string) func() (string, error) { return func() (string, error) { return s, nil } }

func TestOptionsThatAreRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	urls := []string{"https://a"}
	for _, tc := range []struct {
		name, want string
		o          Options
	}{
		{"no url", "there is no url", Options{}},
		{"no scheme", "url 2: it cannot be read", Options{URLs: []string{"http://a", secret + ":8081"}}},
		{"another scheme", "url 1: it cannot be read", Options{URLs: []string{"ftp://" + secret}}},
		{"no host", "url 1: it cannot be read", Options{URLs: []string{"http:///" + secret}}},
		{"what no URL is", "url 1: it cannot be read", Options{URLs: []string{"http://a:" + secret}}},
		{"a password in it", "url 1: a user and password", Options{URLs: []string{"https://u:" + secret + "@a"}}},
		{"a query", "url 1: allowed is nothing after its path", Options{URLs: []string{"https://a?key=" + secret}}},
		{"a password in clear", "url 1: credentials would cross the network in clear", Options{URLs: []string{"http://a"}, User: "u", Password: known(secret)}},
		{"a token in clear", "url 1: credentials would cross the network in clear", Options{URLs: []string{"http://a"}, Token: known(secret)}},
		{"no password", "user and password go together", Options{URLs: urls, User: "u"}},
		{"no user", "user and password go together", Options{URLs: urls, Password: known(secret)}},
		{"a colon", "user has a colon", Options{URLs: urls, User: "u:" + secret, Password: known(secret)}},
		{"both", "a password and a token", Options{URLs: urls, User: "u", Password: known(secret), Token: known(secret)}},
		{"no CA file", "ca file: open /nowhere/ca.pem", Options{URLs: urls, CAFile: "/nowhere/ca.pem"}},
		{"a CA file without any", "has no certificate", Options{URLs: urls, CAFile: empty}},
		{"no key", "cert file and key file go together", Options{URLs: urls, CertFile: empty}},
		{"no certificate", "client certificate: ", Options{URLs: urls, CertFile: empty, KeyFile: empty}},
		{"negative timeout", "timeout is -1", Options{URLs: urls, Timeout: -1}},
		{"negative cache", "cache bytes is -1", Options{URLs: urls, CacheBytes: -1}},
	} {
		_, err := New(tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error repeats a secret", tc.name)
		}
	}
	for _, o := range []Options{
		{URLs: []string{"http://a:8081", "https://b/contexts/.c"}},
		{URLs: []string{"http://127.0.0.1:1", "http://[::1]:1", "http://localhost"}, Token: known(secret)},
	} {
		open(t, o)
	}
}

// TestCredentials: they are sent, read anew for each request, and nowhere else.
func TestCredentials(t *testing.T) {
	for _, tc := range []struct {
		name  string
		o     Options
		right func(r *http.Request) bool
	}{
		{"basic", Options{User: "u", Password: known(secret)}, func(r *http.Request) bool {
			user, password, ok := r.BasicAuth()
			return ok && user == "u" && password == secret
		}},
		{"bearer", Options{Token: known(secret)}, func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+secret }},
		{"none", Options{}, func(r *http.Request) bool { return r.Header.Get("Authorization") == "" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !tc.right(r) {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				fmt.Fprint(w, `{"schema":"one"}`)
			}))
			defer s.Close()
			var log syncBuffer
			tc.o.URLs, tc.o.Log = []string{s.URL}, slog.New(slog.NewTextHandler(&log, nil))
			c := open(t, tc.o)
			if _, err := c.ByID(t.Context(), 1); err != nil {
				t.Error(err)
			}
			if printed := fmt.Sprintf("%+v %#v", tc.o, tc.o) + fmt.Sprintf("%+v", c.auth) + log.String(); strings.Contains(printed, secret) {
				t.Error("the secret is printed")
			}
		})
	}
}

// TestSecretsThatCannotBeRead: the caller waits until they can.
func TestSecretsThatCannotBeRead(t *testing.T) {
	_, s := serve(t, map[string]string{"/schemas/ids/1": `{"schema":"one"}`})
	for _, tc := range []struct {
		name, want string
		first      func() (string, error)
	}{
		{"no file", "no such file", func() (string, error) { return "", errors.New("no such file") }},
		{"an empty token", "the token is empty", known("")},
		{"a token with a line end", "no header can hold", known(secret + "\n")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log syncBuffer
			asked := 0
			c := open(t, Options{URLs: []string{s.URL}, Log: slog.New(slog.NewTextHandler(&log, nil)), Token: func() (string, error) {
				if asked++; asked == 1 {
					return tc.first()
				}
				return secret, nil
			}})
			if _, err := c.ByID(t.Context(), 1); err != nil {
				t.Error(err)
			}
			if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, tc.want) || strings.Contains(text, secret) {
				t.Errorf("log, want an error with %q and without the secret:\n%s", tc.want, text)
			}
		})
	}
}

// TestTLS: only a server whose certificate the CA file vouches for is talked
// to, with the client's own certificate, and not in an old version of TLS.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	clients := x509.NewCertPool()
	clients.AddCert(selfSigned(t, certFile, keyFile))
	serveTLS := func(config *tls.Config) (*httptest.Server, string) {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"schema":"one"}`) }))
		s.TLS, s.Config.ErrorLog = config, slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		s.StartTLS()
		t.Cleanup(s.Close)
		file := filepath.Join(t.TempDir(), "ca.pem")
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		if err := os.WriteFile(file, block, 0o600); err != nil {
			t.Fatal(err)
		}
		return s, file
	}
	plain, ca := serveTLS(&tls.Config{})
	mutual, _ := serveTLS(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients})
	old, _ := serveTLS(&tls.Config{MaxVersion: tls.VersionTLS11})
	for _, tc := range []struct {
		name, want string // "": it answers
		o          Options
	}{
		{"the right CA", "", Options{URLs: []string{plain.URL}, CAFile: ca}},
		{"the system's CAs", "certificate signed by unknown authority", Options{URLs: []string{plain.URL}}},
		{"another CA", "certificate signed by unknown authority", Options{URLs: []string{plain.URL}, CAFile: certFile}},
		{"a client certificate", "", Options{URLs: []string{mutual.URL}, CAFile: ca, CertFile: certFile, KeyFile: keyFile}},
		{"no client certificate", "certificate required", Options{URLs: []string{mutual.URL}, CAFile: ca}},
		{"TLS 1.1", "protocol version", Options{URLs: []string{old.URL}, CAFile: ca}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := open(t, tc.o)
			if tc.want == "" {
				if _, err := c.ByID(t.Context(), 1); err != nil {
					t.Error(err)
				}
				return
			}
			ctx, cancel := context.WithCancel(t.Context())
			got := make(chan error, 1)
			go func() {
				_, err := c.ByID(ctx, 1)
				got <- err
			}()
			await(t, func() bool { return c.Stats().Stalls > 0 })
			cancel()
			if err := <-got; err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, ErrUnknownSchema) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func selfSigned(t *testing.T, certFile, keyFile string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// FuzzURL: an address that is taken has a host, and no place for a secret that
// would be printed.
func FuzzURL(f *testing.F) {
	for _, seed := range []string{"http://a", "https://a:1/b/", "https://u:p@a", "http://a?b", "https://[::1]:1", "//a", "http:a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseURL(text, true)
		if err != nil {
			return
		}
		if strings.ContainsAny(s.name, "@?#") || strings.HasSuffix(s.base, "/") || !strings.HasPrefix(s.base, s.name) {
			t.Errorf("name %q and base %q", s.name, s.base)
		}
		if _, err := http.NewRequest(http.MethodGet, s.base+"/schemas/ids/1", nil); err != nil {
			t.Error("the address cannot be asked")
		}
	})
}
