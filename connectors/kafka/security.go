package kafka

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
)

// Security says how connections to the brokers are protected. Whatever it asks
// for holds for every connection, or there is none.
type Security struct {
	// TLS encrypts, with TLS 1.2 or newer, and checks the brokers' certificates.
	TLS bool
	// CAFile holds the certificates, as PEM, of the authorities that may have
	// signed those of the brokers; by default the system's. It is read by New.
	CAFile string
	// CertFile and KeyFile hold, as PEM, the certificate that this program shows
	// to brokers that ask for one, and its private key, which nobody but the
	// owner of its file may read. They are read for every connection.
	CertFile, KeyFile string
	// ServerName is the name that the brokers' certificates are for; by default
	// the host of each broker's address.
	ServerName string

	// Mechanism is how this program proves who it is: PLAIN, SCRAM-SHA-256,
	// SCRAM-SHA-512 or OAUTHBEARER, or nothing.
	Mechanism string
	// Username and Password are for PLAIN and SCRAM. Password is asked for every
	// authentication, so that it may change. Its errors are logged.
	Username string
	Password func() (string, error)
	// Token is for OAUTHBEARER. It is asked for every authentication, and its
	// errors are logged.
	Token TokenSource
	// PlaintextOnLoopback lets PLAIN and OAUTHBEARER, which send what proves who
	// this program is as it is, do so without TLS to brokers on this machine.
	PlaintextOnLoopback bool
}

// The SASL mechanisms.
const (
	mechanismPlain    = "PLAIN"
	mechanismScram256 = "SCRAM-SHA-256"
	mechanismScram512 = "SCRAM-SHA-512"
	mechanismOAuth    = "OAUTHBEARER"
)

func mechanisms() []string {
	return []string{mechanismPlain, mechanismScram256, mechanismScram512, mechanismOAuth}
}

// Format prints which protection there is, whatever the verb.
func (s Security) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "{tls:%t mechanism:%s}", s.TLS, s.Mechanism)
}

// bare reports whether the mechanism gives the secret itself to the broker.
func (s *Security) bare() bool {
	return s.Mechanism == mechanismPlain || s.Mechanism == mechanismOAuth
}

// check finds what is missing and what contradicts. Files are another matter.
func (s *Security) check(brokers []string) error {
	if !s.TLS {
		for key, value := range map[string]string{
			"ca_file": s.CAFile, "cert_file": s.CertFile, "key_file": s.KeyFile, "server_name": s.ServerName,
		} {
			if value != "" {
				return fmt.Errorf("security.%s: is set, but security.tls is off", key)
			}
		}
	}
	if s.CertFile != "" && s.KeyFile == "" {
		return errors.New("security.key_file: is missing, security.cert_file is set")
	}
	if s.KeyFile != "" && s.CertFile == "" {
		return errors.New("security.cert_file: is missing, security.key_file is set")
	}
	if err := s.checkMechanism(); err != nil {
		return err
	}
	if s.TLS || !s.bare() {
		return nil
	}
	if !s.PlaintextOnLoopback {
		return fmt.Errorf("security.mechanism: %s needs security.tls: the secret would cross the network as it is", s.Mechanism)
	}
	for _, b := range brokers {
		if host, _, err := net.SplitHostPort(b); err != nil || !loopback(host) {
			return fmt.Errorf("security.mechanism: %s without security.tls is for loopback addresses only, not for broker %s", s.Mechanism, b)
		}
	}
	return nil
}

func (s *Security) checkMechanism() error {
	named, secret, token := s.Username != "", s.Password != nil, s.Token != nil
	switch {
	case s.Mechanism != "" && !slices.Contains(mechanisms(), s.Mechanism):
		return fmt.Errorf("security.mechanism: %q is not one of %s", s.Mechanism, strings.Join(mechanisms(), ", "))
	case s.Mechanism == "" && (named || secret || token):
		return errors.New("security.mechanism: is missing, a username, password or token is set")
	case s.Mechanism == mechanismOAuth && (named || secret):
		return errors.New("security.username, security.password: OAUTHBEARER has a token instead")
	case s.Mechanism == mechanismOAuth && !token:
		return errors.New("security.token: is missing, OAUTHBEARER needs it")
	case s.Mechanism == "" || s.Mechanism == mechanismOAuth:
		return nil
	case token:
		return fmt.Errorf("security.token: is for OAUTHBEARER, not for %s", s.Mechanism)
	case !named:
		return fmt.Errorf("security.username: is missing, %s needs it", s.Mechanism)
	case !secret:
		return fmt.Errorf("security.password: is missing, %s needs it", s.Mechanism)
	case strings.ContainsRune(s.Username, 0):
		return errors.New("security.username: holds a NUL")
	}
	return nil
}

// loopback reports whether a host is this machine by its spelling alone: what a
// name resolves to may change.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

const maxSecretBytes = 1 << 20

// readPrivate reads a file that group and others may not use in any way, also
// behind a symbolic link.
func readPrivate(path string) ([]byte, error) {
	// Looked at before it is opened, because opening a pipe would wait, and
	// again after, because it may be another file by then.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := private(path, info); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := private(path, info); err != nil {
		return nil, err
	}
	return readSome(f, path)
}

func private(path string, info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s: mode is %#o, want 0600 or narrower: nobody but the owner may use it", path, mode)
	}
	return nil
}

func readSome(f io.Reader, path string) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err == nil && len(body) > maxSecretBytes {
		err = fmt.Errorf("%s: more than %d bytes", path, maxSecretBytes)
	}
	return body, err
}
