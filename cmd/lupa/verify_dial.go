package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	saslplain "github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"lupa/connectors/kafka"
)

// dialOptions says to the client that `lupa verify` reads topics with how
// brokers are reached. It is another client than that of the job.
func dialOptions(c SecurityConfig) (opts []kgo.Opt, err error) {
	if c.TLS {
		config, err := tlsConfig(c)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(config))
	} else if c.Mechanism == "PLAIN" || c.Mechanism == "OAUTHBEARER" {
		opts = append(opts, kgo.Dialer(dialLoopback))
	}
	password := func() (string, error) {
		if c.Password == nil {
			return "", errors.New("there is no password")
		}
		return c.Password.Read()
	}
	switch c.Mechanism {
	case "":
		return opts, nil
	case "PLAIN":
		return append(opts, kgo.SASL(saslplain.Plain(func(context.Context) (saslplain.Auth, error) {
			pass, err := password()
			return saslplain.Auth{User: c.Username, Pass: pass}, err
		}))), nil
	case "SCRAM-SHA-256", "SCRAM-SHA-512":
		auth := func(context.Context) (scram.Auth, error) {
			pass, err := password()
			return scram.Auth{User: c.Username, Pass: pass}, err
		}
		if c.Mechanism == "SCRAM-SHA-256" {
			return append(opts, kgo.SASL(scram.Sha256(auth))), nil
		}
		return append(opts, kgo.SASL(scram.Sha512(auth))), nil
	case "OAUTHBEARER":
		source, err := tokenSource(c)
		if err != nil {
			return nil, err
		}
		return append(opts, kgo.SASL(oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			token, err := source.Token(ctx)
			return oauth.Auth{Token: token.Value, Extensions: token.Extensions}, err
		}))), nil
	}
	return nil, fmt.Errorf("mechanism %s is not known here", c.Mechanism)
}

// dialLoopback connects to brokers on this machine alone: what PLAIN and
// OAUTHBEARER send without TLS is the secret itself, whatever address the
// configuration or the cluster names.
func dialLoopback(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if remote, ok := conn.RemoteAddr().(*net.TCPAddr); !ok || !remote.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("broker %s: without tls this mechanism is for loopback addresses only", address), conn.Close())
	}
	return conn, nil
}

func tokenSource(c SecurityConfig) (kafka.TokenSource, error) {
	if t := c.Token; t != nil {
		return kafka.NewClientCredentials(kafka.ClientCredentials{
			TokenURL: t.URL, ClientID: t.ClientID, ClientSecret: t.ClientSecret.Read, Scope: t.Scope, CAFile: t.CAFile,
		})
	}
	return kafka.TokenFile(c.TokenFile), nil
}

func tlsConfig(c SecurityConfig) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%s and %s are no certificate and its key", c.CertFile, c.KeyFile)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
