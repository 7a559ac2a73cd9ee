package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"lupa/cmd/lupa/oracle"
	"lupa/connectors/warehouse/pgtest"
)

// TestVerifyDials reaches brokers that ask for a certificate's name and a
// password, and not those that something else answers for.
func TestVerifyDials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pair := selfSigned(t, filepath.Join(dir, "ca.pem"))
	write(t, dir, "password", "right\n")
	write(t, dir, "wrong", "wrong\n")
	for _, name := range []string{"password", "wrong"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}),
		kfake.Superuser("PLAIN", "lupa", "right"), kfake.Superuser("SCRAM-SHA-256", "lupa", "right"), kfake.Superuser("SCRAM-SHA-512", "lupa", "right"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	good := SecurityConfig{TLS: true, CAFile: filepath.Join(dir, "ca.pem"), Username: "lupa", Password: &Secret{File: filepath.Join(dir, "password")}}
	for _, c := range []struct {
		name, mechanism string
		change          func(*SecurityConfig)
		reached         bool
	}{
		{"plain", "PLAIN", func(*SecurityConfig) {}, true},
		{"scram 256", "SCRAM-SHA-256", func(*SecurityConfig) {}, true},
		{"scram 512", "SCRAM-SHA-512", func(*SecurityConfig) {}, true},
		{"wrong password", "SCRAM-SHA-256", func(s *SecurityConfig) { s.Password = &Secret{File: filepath.Join(dir, "wrong")} }, false},
		{"another authority", "PLAIN", func(s *SecurityConfig) { s.CAFile = "" }, false},
		{"another name", "PLAIN", func(s *SecurityConfig) { s.ServerName = "other.example" }, false},
		{"no mechanism", "", func(*SecurityConfig) {}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			security := good
			security.Mechanism = c.mechanism
			c.change(&security)
			opts, err := dialOptions(security)
			if err != nil {
				t.Fatal(err)
			}
			client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(k.ListenAddrs()...), kgo.RequestRetries(0))...)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Ping(t.Context()); (err == nil) != c.reached {
				t.Errorf("reached: %v", err)
			}
		})
	}
	if _, err := dialOptions(SecurityConfig{Mechanism: "GSSAPI"}); err == nil {
		t.Error("a mechanism that is not known passes")
	}
	if _, err := dialOptions(SecurityConfig{TLS: true, CAFile: filepath.Join(dir, "password")}); err == nil {
		t.Error("a file without a certificate passes")
	}
}

// TestVerifyKeepsSecretsOnThisMachine: what PLAIN and OAUTHBEARER send without
// TLS is the secret, so nothing at all is sent to another machine's broker.
func TestVerifyKeepsSecretsOnThisMachine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "secret", "canary")
	if err := os.Chmod(filepath.Join(dir, "secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	for _, security := range []SecurityConfig{
		{Mechanism: "PLAIN", Username: "lupa", Password: &Secret{File: secret}},
		{Mechanism: "OAUTHBEARER", TokenFile: secret},
	} {
		t.Run(security.Mechanism, func(t *testing.T) {
			l := listenOutside(t)
			heard := make(chan int, 16)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					n, _ := conn.Read(make([]byte, 1))
					heard <- n
					conn.Close()
				}
			}()
			opts, err := dialOptions(security)
			if err != nil {
				t.Fatal(err)
			}
			client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(l.Addr().String()), kgo.RequestRetries(0))...)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Ping(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("reached: %v", err)
			}
			if n := <-heard; n > 0 {
				t.Error("something was sent in the clear")
			}
		})
	}
}

// TestVerifyRefusesWhatTheJobWould: a server that may choose not to encrypt is
// not sent a password.
func TestVerifyRefusesWhatTheJobWould(t *testing.T) {
	dir := world(t)
	config, err := os.ReadFile(filepath.Join(dir, "lupa.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "lupa.yaml", strings.Replace(string(config), "warehouse: {dir: warehouse}",
		"warehouse: {dir: warehouse, catalog: {postgres: {dsn_env: LUPA_TEST_DSN}}}", 1))
	for dsn, want := range map[string]string{
		"postgres://lupa:canary@db.example/lupa":                     "let the server choose not to encrypt",
		"postgres://lupa:canary@db.example/lupa?sslmode=verify-full": "",
		"postgres://lupa:canary@db.example:x/lupa":                   "cannot be read",
	} {
		t.Setenv("LUPA_TEST_DSN", dsn)
		_, err := verifyInput(verifyOptions{config: filepath.Join(dir, "lupa.yaml")})
		if (err != nil) != (want != "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// listenOutside listens at an address of this machine that is not loopback.
func listenOutside(t *testing.T) net.Listener {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			l, err := net.Listen("tcp", net.JoinHostPort(n.IP.String(), "0"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return l
		}
	}
	missing(t, "this machine has no address but loopback ones")
	return nil
}

// selfSigned makes a certificate for this machine and writes it to a file.
func selfSigned(t *testing.T, path string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o640); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestVerifySaysWhatItCannotRead: messages in a format that it does not know are
// no reason for an alarm, nor for silence.
func TestVerifySaysWhatItCannotRead(t *testing.T) {
	t.Parallel()
	j := newJudgedJob(t)
	in := j.input(t, verifyOptions{still: true})
	in.Events.Opaque = []string{demoEvents}
	r := j.judge(t, in)
	if !r.Holds() {
		t.Errorf("violated: %v", r.Violated())
	}
	for _, i := range r.Invariants {
		told := strings.Contains(strings.Join(i.Why, "\n"), "not JSON")
		if want := strings.Contains("I3 I4 I5 I6 I12", i.ID); i.ID != "I1" && told != want {
			t.Errorf("%s tells of it: %t", i.ID, told)
		}
		if i.ID == "I4" && i.Status != oracle.NotChecked {
			t.Errorf("%s: %s", i.ID, i.Status)
		}
	}
	j.change(t, "events:\n", "events:\n  formats:\n    events: {envelope: cloudevents}\n")
	if in := j.input(t, verifyOptions{}); len(in.Events.Opaque) != 1 {
		t.Errorf("opaque topics of a configuration with an envelope: %v", in.Events.Opaque)
	}
}

// TestVerifyReportIsAnInput: a report goes back in as --before, and a violation
// has an exit code of its own.
func TestVerifyReportIsAnInput(t *testing.T) {
	t.Parallel()
	j := newJudgedJob(t)
	code, before, errs := command(t, "verify", "-c", j.config, "--json")
	if code != exitOK || errs != "" {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
	write(t, j.dir, "before.json", before)
	if code, out, errs := command(t, "verify", "-c", j.config, "--before", filepath.Join(j.dir, "before.json")); code != exitOK {
		t.Errorf("code %d, stderr %q, stdout %s", code, errs, out)
	}
	var r oracle.Report
	if err := json.Unmarshal([]byte(before), &r); err != nil {
		t.Fatal(err)
	}
	r.Tables[0].Kept = 0
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	write(t, j.dir, "before.json", string(text))
	code, out, errs := command(t, "verify", "-c", j.config, "--before", filepath.Join(j.dir, "before.json"))
	if code != exitViolated || errs != "lupa: verify: I9 violated\n" || !strings.Contains(out, "I9   "+r.Invariants[8].Name) {
		t.Errorf("code %d, stderr %q, stdout %s", code, errs, out)
	}
	write(t, j.dir, "before.json", "{}")
	if code, _, errs := command(t, "verify", "-c", j.config, "--before", filepath.Join(j.dir, "before.json")); code != exitUsage || !strings.Contains(errs, "--before") {
		t.Errorf("code %d, stderr %q", code, errs)
	}
	if !bytes.Contains([]byte(before), []byte(`"looked_at"`)) {
		t.Error("the report does not say how much was looked at")
	}
}

// TestVerifyReadsACatalogInPostgres judges tables whose catalog is in
// PostgreSQL.
func TestVerifyReadsACatalogInPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	b := reopen(t, kfake.SeedTopics(2, demoEvents), kfake.SeedTopics(2, demoLedger))
	events, ledger := few(t)
	b.produce(t, demoLedger, ledger)
	b.produce(t, demoEvents, events)
	j := newJob(t, b, "", 100*time.Millisecond)
	write(t, j.dir, "dsn", server.Database(t))
	if err := os.Chmod(filepath.Join(j.dir, "dsn"), 0o600); err != nil {
		t.Fatal(err)
	}
	j.change(t, "warehouse: {dir: warehouse}", "warehouse: {dir: warehouse, catalog: {postgres: {dsn_file: dsn}}}")
	p := j.stream(t)
	p.must(t, streamingLine)
	// The catalog is in no file here, so it is verify that waits for the end.
	code, out, errs := command(t, "verify", "-c", j.config, "--still", "--within", patience.String())
	if code != exitOK || errs != "" {
		t.Errorf("code %d, stderr %q; it says:\n%s", code, errs, out)
	}
	p.stop(t, exitOK)
}
