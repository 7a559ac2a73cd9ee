package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// config makes what TLS connections are made with, or nil without TLS. Nothing
// in it turns a check off.
func (s *Security) config() (*tls.Config, error) {
	if !s.TLS {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.ServerName}
	if s.CAFile != "" {
		pool, err := authorities(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("security.ca_file: %w", err)
		}
		t.RootCAs = pool
	}
	if s.CertFile != "" {
		certFile, keyFile := s.CertFile, s.KeyFile
		if _, err := readPair(certFile, keyFile); err != nil {
			return nil, err
		}
		// Connections are few, and a certificate that was renewed is used by the
		// next of them.
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return readPair(certFile, keyFile)
		}
	}
	return t, nil
}

// authorities reads certificates, at least one.
func authorities(path string) (*x509.CertPool, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(body) {
		return nil, fmt.Errorf("%s: holds no certificate as PEM", path)
	}
	return pool, nil
}

// pairError is why the certificate of this program cannot be had.
type pairError struct{ reason string }

func (e *pairError) Error() string { return e.reason }

func readPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return nil, &pairError{fmt.Sprintf("security.cert_file: %v", err)}
	}
	key, err := readPrivate(keyFile)
	if err != nil {
		return nil, &pairError{fmt.Sprintf("security.key_file: %v", err)}
	}
	defer clear(key)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &pairError{fmt.Sprintf(
			"security.key_file: %s and %s do not hold an unencrypted private key and its certificate as PEM", keyFile, certFile)}
	}
	return &pair, nil
}

// tlsCause tells in fixed words what is wrong with TLS; ok is false for
// anything else.
func tlsCause(err error) (cause string, ok bool) {
	var (
		pair     *pairError
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		remote   *net.OpError
		unlisted x509.SystemRootsError
	)
	switch {
	case errors.As(err, &pair):
		return pair.reason, true
	case errors.As(err, &unknown):
		return "its certificate is signed by an authority that is not trusted here", true
	case errors.As(err, &name):
		return "its certificate is for another host name", true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired or is not valid yet", true
	case errors.As(err, &unlisted):
		return "the system has no list of trusted authorities", true
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "its certificate is not valid", true
	case errors.As(err, &record):
		return "it does not speak TLS", true
	case errors.As(err, &remote) && remote.Op == "remote error":
		return "it refuses TLS as this side has it: " + remote.Err.Error(), true
	}
	return "", false
}
