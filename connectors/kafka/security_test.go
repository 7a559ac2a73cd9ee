package kafka

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lupa/connectors/kafka/kafkatest"
)

// canary is a password or a token that must not be found anywhere.
const canary = "c4n4ry+S3cret/v4lue"

// leaks fails a test whose output shows the canary in any form.
func leaks(t testing.TB, texts ...string) {
	t.Helper()
	text := strings.Join(texts, "\n")
	for _, form := range []string{
		canary, base64.StdEncoding.EncodeToString([]byte(canary)), hex.EncodeToString([]byte(canary)),
		url.QueryEscape(canary), strings.ToLower(canary), strings.Trim(fmt.Sprint([]byte(canary)), "[]"),
	} {
		if strings.Contains(text, form) {
			t.Errorf("the secret is shown as %d bytes of another form or itself", len(form))
		}
	}
}

// journal is a logger's output.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func password(value string) func() (string, error) {
	return func() (string, error) { return value, nil }
}

func authority(t testing.TB) *kafkatest.Authority {
	t.Helper()
	a, err := kafkatest.NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t testing.TB, a *kafkatest.Authority, name string, life time.Duration, hosts ...string) kafkatest.Pair {
	t.Helper()
	p, err := a.Issue(name, time.Now().Add(life), hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSecurityIsChecked(t *testing.T) {
	a := authority(t)
	pair := issue(t, a, "client", time.Hour)
	other := issue(t, a, "other", time.Hour)
	open := issue(t, a, "open", time.Hour)
	if err := os.Chmod(open.KeyFile, 0o640); err != nil {
		t.Fatal(err)
	}
	const nowhere = "/nowhere/to/be/found"
	for _, test := range []struct {
		name string
		s    Security
		want string // empty is no error
	}{
		{"nothing", Security{}, ""},
		{"TLS alone", Security{TLS: true}, ""},
		{"TLS in full", Security{TLS: true, CAFile: a.CAFile, CertFile: pair.CertFile, KeyFile: pair.KeyFile, ServerName: "x"}, ""},
		{"PLAIN over TLS", Security{TLS: true, Mechanism: "PLAIN", Username: "u", Password: password("p")}, ""},
		{"SCRAM without TLS keeps the password to itself", Security{Mechanism: "SCRAM-SHA-256", Username: "u", Password: password("p")}, ""},
		{"OAUTHBEARER over TLS", Security{TLS: true, Mechanism: "OAUTHBEARER", Token: TokenFile(nowhere)}, ""},
		{"PLAIN on loopback", Security{Mechanism: "PLAIN", Username: "u", Password: password("p"), PlaintextOnLoopback: true}, ""},

		{"certificate without a key", Security{TLS: true, CertFile: pair.CertFile},
			"security.key_file: is missing, security.cert_file is set"},
		{"key without a certificate", Security{TLS: true, KeyFile: pair.KeyFile},
			"security.cert_file: is missing, security.key_file is set"},
		{"CA without TLS", Security{CAFile: a.CAFile}, "security.ca_file: is set, but security.tls is off"},
		{"name without TLS", Security{ServerName: "x"}, "security.server_name: is set, but security.tls is off"},
		{"no CA file", Security{TLS: true, CAFile: nowhere},
			"security.ca_file: open " + nowhere + ": no such file or directory"},
		{"CA file without certificates", Security{TLS: true, CAFile: pair.KeyFile},
			"security.ca_file: " + pair.KeyFile + ": holds no certificate as PEM"},
		{"no certificate file", Security{TLS: true, CertFile: nowhere, KeyFile: pair.KeyFile},
			"security.cert_file: open " + nowhere + ": no such file or directory"},
		{"no key file", Security{TLS: true, CertFile: pair.CertFile, KeyFile: nowhere},
			"security.key_file: stat " + nowhere + ": no such file or directory"},
		{"key that others may read", Security{TLS: true, CertFile: open.CertFile, KeyFile: open.KeyFile},
			"security.key_file: " + open.KeyFile + ": mode is 0640, want 0600 or narrower: nobody but the owner may use it"},
		{"key of another certificate", Security{TLS: true, CertFile: pair.CertFile, KeyFile: other.KeyFile},
			"security.key_file: " + other.KeyFile + " and " + pair.CertFile + " do not hold an unencrypted private key and its certificate as PEM"},
		{"unknown mechanism", Security{TLS: true, Mechanism: "GSSAPI"},
			`security.mechanism: "GSSAPI" is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER`},
		{"secret without a mechanism", Security{TLS: true, Password: password("p")},
			"security.mechanism: is missing, a username, password or token is set"},
		{"no username", Security{TLS: true, Mechanism: "PLAIN", Password: password("p")},
			"security.username: is missing, PLAIN needs it"},
		{"no password", Security{TLS: true, Mechanism: "SCRAM-SHA-512", Username: "u"},
			"security.password: is missing, SCRAM-SHA-512 needs it"},
		{"a token for SCRAM", Security{TLS: true, Mechanism: "SCRAM-SHA-512", Username: "u", Token: TokenFile(nowhere)},
			"security.token: is for OAUTHBEARER, not for SCRAM-SHA-512"},
		{"a password for OAUTHBEARER", Security{TLS: true, Mechanism: "OAUTHBEARER", Username: "u", Password: password("p")},
			"security.username, security.password: OAUTHBEARER has a token instead"},
		{"no token", Security{TLS: true, Mechanism: "OAUTHBEARER"},
			"security.token: is missing, OAUTHBEARER needs it"},
		{"a username that would end early", Security{TLS: true, Mechanism: "PLAIN", Username: "a\x00b", Password: password("p")},
			"security.username: holds a NUL"},
		{"PLAIN in clear", Security{Mechanism: "PLAIN", Username: "u", Password: password("p")},
			"security.mechanism: PLAIN needs security.tls: the secret would cross the network as it is"},
		{"OAUTHBEARER in clear", Security{Mechanism: "OAUTHBEARER", Token: TokenFile(nowhere)},
			"security.mechanism: OAUTHBEARER needs security.tls: the secret would cross the network as it is"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(Options{Brokers: []string{"127.0.0.1:9092"}, Security: test.s})
			got := ""
			if err != nil {
				got = strings.TrimPrefix(err.Error(), "kafka: ")
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	token := Token{Value: canary, Expires: time.Unix(1700000000, 0), Extensions: map[string]string{"extension": canary}}
	o := Options{Brokers: []string{"127.0.0.1:9092"}, Security: Security{
		TLS: true, Mechanism: "PLAIN", Username: "u", Password: password(canary),
	}}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	p := c.Producer()
	defer p.Close()
	oauth := o
	oauth.Security = Security{TLS: true, Mechanism: "OAUTHBEARER", Token: &fixed{token: token}}
	d, err := New(oauth)
	if err != nil {
		t.Fatal(err)
	}
	kept := &tokenClient{token: func() Token { return token }}
	for i, v := range []any{
		token, &token, []Token{token}, staticTokens(token), o, &o, o.Security, &o.Security, c, *c, p, oauth, oauth.Security, d, *d, kept,
	} {
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "value", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "value", v)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&b, verb, v)
		}
		if encoded, err := json.Marshal(v); err == nil {
			b.Write(encoded)
		}
		leaks(t, b.String())
		if t.Failed() {
			t.Fatalf("value %d is a %T", i, v)
		}
	}
	if got := fmt.Sprintf("%v", token); got != "token:[redacted] until 2023-11-14T22:13:20Z" {
		t.Error(got)
	}
	if got := fmt.Sprintf("%+v", c); got != "kafka cluster [127.0.0.1:9092]" {
		t.Error(got)
	}
	if got := fmt.Sprintf("%+v", o.Security); got != "{tls:true mechanism:PLAIN}" {
		t.Error(got)
	}
}

func staticTokens(t Token) any { return struct{ Token Token }{t} }

// The refusals of check are those of the configuration; these are of brokers
// that New is given.
func TestPlaintextSecretsAreForLoopback(t *testing.T) {
	for address, allowed := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "10.0.0.1:1": false, "broker:1": false, "localhost.example.com:1": false,
	} {
		s := Security{Mechanism: "PLAIN", Username: "u", Password: password("p"), PlaintextOnLoopback: true}
		_, err := New(Options{Brokers: []string{"127.0.0.1:9092", address}, Security: s})
		want := "kafka: security.mechanism: PLAIN without security.tls is for loopback addresses only, not for broker " + address
		if (err == nil) != allowed || err != nil && err.Error() != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A file that is not a private one is not read, whatever it is.
func TestPrivateFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), maxSecretBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPrivate(path); err == nil || err.Error() != path+": more than 1048576 bytes" {
		t.Error(err)
	}
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if body, err := readPrivate(path); err != nil || len(body) != 10 {
		t.Errorf("%d bytes: %v", len(body), err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o604, 0o640, 0o620, 0o610, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := readPrivate(link); err == nil || !strings.Contains(err.Error(), "nobody but the owner") {
			t.Errorf("%#o: %v", mode, err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := readPrivate(dir); err == nil || err.Error() != dir+": not a regular file" {
		t.Error(err)
	}
}

// Everything that can connect, or weaken a connection, stands where all of it
// can be read at once.
func TestConnectionsComeFromOnePlace(t *testing.T) {
	allowed := map[string]string{
		"kafkago.Transport{": "cluster.go", "kafkago.Dialer{": "cluster.go", "net.Dialer{": "security_dial.go", "tls.Client(": "security_dial.go",
		"http.Transport{": "oauth_client.go", "http.Client{": "oauth_client.go", "tls.Config{": "security_tls.go oauth_client.go",
		"net.Dial(": "", "tls.Dial": "", "DefaultDialer": "", "DefaultTransport": "", "DefaultClient": "", "InsecureSkipVerify": "",
		"kafkago.Dial": "cluster.go", "kafkago.NewReader": "", "VerifyPeerCertificate": "", "KeyLogWriter": "",
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no files")
	}
	found := make(map[string]bool)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for word, where := range allowed {
			if strings.Contains(string(text), word) {
				found[word] = true
				if !strings.Contains(" "+where+" ", " "+file+" ") {
					t.Errorf("%s is in %s", word, file)
				}
			}
		}
	}
	for word, where := range allowed {
		if where != "" && !found[word] {
			t.Errorf("%s is nowhere: the search does not work", word)
		}
	}
}
