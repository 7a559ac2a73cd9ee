//go:build integration

package kafka

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"lupa/connectors/kafka/kafkatest"
)

const refusedSecret = "it refuses the username or password"

// TestRealSecurity goes through every listener of Apache Kafka with everything
// that connects, and is refused where it should be.
func TestRealSecurity(t *testing.T) {
	k := kafkatest.RunSecure(t, 1)
	const user = "scram-user"
	if err := k.SetSCRAM(user, canary); err != nil {
		t.Fatal(err)
	}
	a := k.Authority()
	client, late := issue(t, a, "client", time.Hour), issue(t, a, "late", -time.Minute)
	foreign := issue(t, authority(t), "client", time.Hour)
	trusting := Security{TLS: true, CAFile: a.CAFile}
	with := func(change func(*Security)) Security {
		s := trusting
		change(&s)
		return s
	}
	shows := func(p kafkatest.Pair) Security {
		return with(func(s *Security) { s.CertFile, s.KeyFile = p.CertFile, p.KeyFile })
	}
	says := func(mechanism, user, secret string) Security {
		return with(func(s *Security) { s.Mechanism, s.Username, s.Password = mechanism, user, password(secret) })
	}
	bears := func(token string) Security {
		return with(func(s *Security) {
			s.Mechanism, s.Token = "OAUTHBEARER", &fixed{token: Token{Value: token, Expires: jwtExpiry(token)}}
		})
	}
	to := func(l kafkatest.Listener, s Security, j *journal) *Cluster {
		c, err := New(Options{
			Brokers: k.Addrs(l), Security: s, Logger: j.logger(),
			StartTimeout: 500 * time.Millisecond, FetchWait: 100 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	plain := Security{Mechanism: "PLAIN", Username: kafkatest.PlainUser, Password: password(kafkatest.PlainPassword), PlaintextOnLoopback: true}
	for i, test := range []struct {
		name     string
		listener kafkatest.Listener
		s        Security
	}{
		{"TLS", kafkatest.TLS, trusting},
		{"a client certificate that is asked for", kafkatest.TLS, shows(client)},
		{"a client certificate that is demanded", kafkatest.MTLS, shows(client)},
		{"PLAIN", kafkatest.SASL, says("PLAIN", kafkatest.PlainUser, kafkatest.PlainPassword)},
		{"SCRAM-SHA-256", kafkatest.SASL, says("SCRAM-SHA-256", user, canary)},
		{"SCRAM-SHA-512", kafkatest.SASL, says("SCRAM-SHA-512", user, canary)},
		{"OAUTHBEARER", kafkatest.SASL, bears(unsecured(time.Hour))},
		{"PLAIN without TLS", kafkatest.SASLPlaintext, plain},
		{"SCRAM without TLS", kafkatest.SASLPlaintext, Security{Mechanism: "SCRAM-SHA-512", Username: user, Password: password(canary)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var j journal
			useAll(t, to(test.listener, test.s, &j), fmt.Sprint("accepted", i))
			calm(t, &j)
		})
	}
	for _, test := range []struct {
		name     string
		listener kafkatest.Listener
		s        Security
		class    class
		cause    string
	}{
		{"unknown authority", kafkatest.TLS, with(func(s *Security) { s.CAFile = authority(t).CAFile }), untrusted,
			"its certificate is signed by an authority that is not trusted here"},
		{"another host", kafkatest.TLS, with(func(s *Security) { s.ServerName = "elsewhere.example" }), untrusted,
			"its certificate is for another host name"},
		{"no client certificate", kafkatest.MTLS, trusting, untrusted, "it refuses TLS as this side has it: tls: "},
		{"client certificate of a stranger", kafkatest.MTLS, shows(foreign), untrusted, "it refuses TLS as this side has it: tls: "},
		{"expired client certificate", kafkatest.MTLS, shows(late), untrusted, "it refuses TLS as this side has it: tls: "},
		{"TLS on the broker's side only", kafkatest.TLS, Security{}, untrusted, "it speaks TLS, and security.tls is off"},
		{"TLS on this side only", kafkatest.SASLPlaintext, says("PLAIN", user, canary), unreachable, "it closed the connection in the TLS handshake"},
		{"SASL on this side only", kafkatest.TLS, says("SCRAM-SHA-512", user, canary), denied, "it takes no SASL at this address"},
		{"PLAIN with a wrong password", kafkatest.SASL, says("PLAIN", kafkatest.PlainUser, canary), denied, refusedSecret},
		{"SCRAM-SHA-256 with a wrong password", kafkatest.SASL, says("SCRAM-SHA-256", user, "wrong"), denied, refusedSecret},
		{"SCRAM-SHA-512 with a wrong password", kafkatest.SASL, says("SCRAM-SHA-512", user, "wrong"), denied, refusedSecret},
		{"SCRAM-SHA-512 with an unknown user", kafkatest.SASL, says("SCRAM-SHA-512", "other", canary), denied, refusedSecret},
		{"an expired token", kafkatest.SASL, bears(unsecured(-time.Second)), denied, "it refuses the token, which expired at "},
		{"a token that is none", kafkatest.SASL, bears(canary), denied, "it refuses the token, invalid_token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var j journal
			refusedBroker(t, to(test.listener, test.s, &j), &j, test.class, test.cause)
		})
	}
	t.Run("SASL on the broker's side only", func(t *testing.T) {
		var j journal
		_, err := to(kafkatest.SASL, trusting, &j).EndOffsets(bounded(t), "accepted0")
		if classOf(err) != unreachable {
			t.Error(err)
		}
	})
	t.Run("sessions are renewed", func(t *testing.T) { realSessions(t, k, to, plain, bears) })
	t.Run("a password is rotated", func(t *testing.T) { realRotation(t, k, to) })
}

// unsecured is a token that is signed by nobody, which the broker takes.
func unsecured(life time.Duration) string {
	now := time.Now()
	return jwt(fmt.Sprintf(`{"sub":"lupa","iat":%d,"exp":%d}`, now.Add(-time.Minute).Unix(), now.Add(life).Unix()))
}

// realSessions outlives sessions that the broker ends, those that its
// configuration bounds and those that end with a token. The broker closes a
// connection that goes on without authenticating again.
func realSessions(t *testing.T, k *kafkatest.Cluster, to func(kafkatest.Listener, Security, *journal) *Cluster, plain Security, bears func(string) Security) {
	const tokenLife = 3 * time.Second
	bearer := bears(unsecured(time.Minute))
	for _, test := range []struct {
		listener kafkatest.Listener
		s        Security
		life     time.Duration
	}{
		{kafkatest.SASLPlaintext, plain, kafkatest.SessionLife},
		{kafkatest.SASL, bearer, tokenLife},
	} {
		t.Run(test.s.Mechanism, func(t *testing.T) {
			name := "sessions-" + test.s.Mechanism
			topic(t, k, name, 1, "delete")
			if f, ok := test.s.Token.(*fixed); ok {
				first := unsecured(tokenLife)
				f.set(Token{Value: first, Expires: jwtExpiry(first)})
			}
			var j journal
			c := to(test.listener, test.s, &j)
			p := c.Producer()
			defer p.Close()
			conn, err := c.dialer().DialContext(bounded(t), "tcp", c.o.Brokers[0])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			e := open(t, c, nil, name)
			a := member(t, c, name)
			sent := 0
			for begin := time.Now(); time.Since(begin) < test.life*2; sent++ {
				if f, ok := test.s.Token.(*fixed); ok && time.Since(begin) > test.life/3 {
					next := unsecured(time.Minute)
					f.set(Token{Value: next, Expires: jwtExpiry(next)})
				}
				if err := p.Produce(bounded(t), name, nil, [][]byte{[]byte("v")}); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.ReadPartitions(name); err != nil {
					t.Fatal(err)
				}
			}
			if got := collect(t, e, map[int32]int64{0: int64(sent)})[0]; len(got) != sent {
				t.Errorf("%d of %d", len(got), sent)
			}
			select {
			case <-a.Ended():
				t.Error("the member of the group lost its partitions")
			default:
			}
			calm(t, &j)
		})
	}
}

// realRotation changes a password under a ledger that is followed.
func realRotation(t *testing.T, k *kafkatest.Cluster, to func(kafkatest.Listener, Security, *journal) *Cluster) {
	const user = "rotated"
	if err := k.SetSCRAM(user, "first"); err != nil {
		t.Fatal(err)
	}
	topic(t, k, "x", 1, "compact")
	var mu sync.Mutex
	secret := "first"
	var j journal
	c := to(kafkatest.SASLPlaintext, Security{Mechanism: "SCRAM-SHA-512", Username: user, Password: func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return secret, nil
	}}, &j)
	view := &table{}
	l := follow(t, c, view, LedgerOptions{})
	if err := k.SetSCRAM(user, canary); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return strings.Contains(j.String(), refusedSecret) })
	putKey(t, producer(t, k), 0, "k", []byte("v"))
	done := make(chan error, 1)
	go func() {
		_, err := l.Barrier(bounded(t))
		done <- err
	}()
	mu.Lock()
	secret = canary
	mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(j.String(), "broker cannot be used"); n != 1 || !strings.Contains(j.String(), "broker can be used again") {
		t.Errorf("%d log lines: %s", n, j.String())
	}
	if view.copy()["k"] != "v" {
		t.Error("the ledger's record is not seen")
	}
	leaks(t, j.String())
}
