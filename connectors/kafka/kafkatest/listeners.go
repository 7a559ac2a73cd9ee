package kafkatest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Listener is one kind of address that a secure cluster has besides those of
// ListenAddrs.
type Listener int

// The listeners.
const (
	TLS           Listener = iota // asks for a client certificate and does without
	MTLS                          // demands a client certificate
	SASL                          // every mechanism, over TLS
	SASLPlaintext                 // every mechanism, without TLS; an authentication stands for SessionLife
	numListeners
)

// SessionLife is how long an authentication stands at SASLPlaintext: a client
// that does not renew it by then loses its connection.
const SessionLife = 2 * time.Second

// PlainUser and PlainPassword are what PLAIN takes. SCRAM takes what SetSCRAM
// has set, OAUTHBEARER any JWT that is unsecured and has not expired.
const (
	PlainUser     = "plain"
	PlainPassword = "plain-secret"
)

func (l Listener) name() string {
	return [...]string{"TLS", "MTLS", "SASL", "SASLPLAINTEXT"}[l]
}

func (l Listener) protocol() string {
	return [...]string{"SSL", "SSL", "SASL_SSL", "SASL_PLAINTEXT"}[l]
}

// secured is what a secure cluster's brokers have besides.
type secured struct {
	authority *Authority
	keystore  string
}

// newSecured makes certificates for brokers on loopback.
func newSecured(dir string) (*secured, error) {
	a, err := NewAuthority(dir)
	if err != nil {
		return nil, err
	}
	p, err := a.Issue("broker", time.Now().Add(24*time.Hour), "127.0.0.1", "localhost")
	if err != nil {
		return nil, err
	}
	keystore, err := p.keystore()
	return &secured{a, keystore}, err
}

// properties is what configures the listeners.
func (s *secured) properties() string {
	path, err := filepath.Abs(s.keystore)
	if err != nil {
		path = s.keystore
	}
	var b strings.Builder
	fmt.Fprintf(&b, `ssl.keystore.type=PEM
ssl.keystore.location=%s
ssl.truststore.type=PEM
ssl.truststore.location=%s
listener.name.tls.ssl.client.auth=requested
listener.name.mtls.ssl.client.auth=required
listener.name.saslplaintext.connections.max.reauth.ms=%d
`, path, s.authority.CAFile, SessionLife.Milliseconds())
	const from = "org.apache.kafka.common.security."
	for _, l := range []Listener{SASL, SASLPlaintext} {
		prefix := "listener.name." + strings.ToLower(l.name()) + "."
		fmt.Fprintln(&b, prefix+"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER")
		for mechanism, module := range map[string]string{
			"plain":         fmt.Sprintf(`plain.PlainLoginModule required user_%s="%s"`, PlainUser, PlainPassword),
			"scram-sha-256": "scram.ScramLoginModule required",
			"scram-sha-512": "scram.ScramLoginModule required",
			"oauthbearer":   "oauthbearer.OAuthBearerLoginModule required",
		} {
			fmt.Fprintf(&b, "%s%s.sasl.jaas.config=%s%s;\n", prefix, mechanism, from, module)
		}
	}
	return b.String()
}

// Addrs are the brokers' addresses of one kind, also of those that are down.
func (c *Cluster) Addrs(l Listener) []string {
	var list []string
	for _, b := range c.brokers {
		list = append(list, b.listener(l))
	}
	return list
}

// Authority has signed the certificates of a secure cluster's brokers, and
// signs those of clients that they take.
func (c *Cluster) Authority() *Authority { return c.secured.authority }

// SetSCRAM gives a user a password for SCRAM of both kinds.
func (c *Cluster) SetSCRAM(user, password string) error {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	// A broker takes a user once in a request.
	for _, m := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		res, err := c.admin.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: m, Iterations: 4096, Password: password}})
		if err == nil {
			err = res.Error()
		}
		if err != nil {
			return fmt.Errorf("set scram: %w", err)
		}
	}
	return nil
}
