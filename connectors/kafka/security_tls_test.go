package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"lupa/connectors/kafka/kafkatest"
)

// serverTLS is a broker's side.
func serverTLS(t testing.TB, p kafkatest.Pair) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(p.CertFile, p.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// demanding is a broker's side that wants a certificate of the authority.
func demanding(t testing.TB, p kafkatest.Pair, a *kafkatest.Authority) *tls.Config {
	t.Helper()
	c := serverTLS(t, p)
	pool, err := authorities(a.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	c.ClientCAs, c.ClientAuth = pool, tls.RequireAndVerifyClientCert
	return c
}

// secured gives options that wait for trouble to pass no longer than a test
// should.
func secured(s Security, j *journal) func(*Options) {
	return func(o *Options) {
		o.Security, o.StartTimeout, o.Logger = s, 300*time.Millisecond, j.logger()
	}
}

// useAll goes through everything that connects: the admin calls, the producer,
// the events, the ledger and its barrier, the dialer and the group that has it.
func useAll(t testing.TB, c *Cluster, name string) {
	t.Helper()
	if err := c.CreateTopic(bounded(t), name, 2, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	p := c.Producer()
	defer p.Close()
	values := [][]byte{[]byte("one"), []byte("two"), []byte("three")}
	if err := p.Produce(bounded(t), name, values, values); err != nil {
		t.Fatal(err)
	}
	ends, err := c.EndOffsets(bounded(t), name)
	if err != nil {
		t.Fatal(err)
	}
	wanted := make(map[int32]int64)
	for part, end := range ends {
		wanted[part.ID] = end
	}
	n := 0
	for _, list := range collect(t, open(t, c, nil, name), wanted) {
		n += len(list)
	}
	if n != len(values) {
		t.Errorf("%d events", n)
	}
	view := &table{}
	l := followTopic(t, c, name, view, LedgerOptions{})
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if rows := view.copy(); len(rows) != len(values) {
		t.Errorf("%d rows", len(rows))
	}
	conn, err := c.dialer().DialContext(bounded(t), "tcp", c.o.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if list, err := conn.ReadPartitions(name); err != nil || len(list) != 2 {
		t.Errorf("the dialer sees %d partitions: %v", len(list), err)
	}
	if a := member(t, c, name); len(a.Partitions) != 2 {
		t.Errorf("the group gives %d partitions", len(a.Partitions))
	}
}

// calm asserts that no connection was refused or broke.
func calm(t testing.TB, j *journal) {
	t.Helper()
	for _, trouble := range []string{"cannot be used", "fails", "ERROR"} {
		if strings.Contains(j.String(), trouble) {
			t.Error(j.String())
		}
	}
}

// member joins a group of one.
func member(t testing.TB, c *Cluster, name string) *Assignment {
	t.Helper()
	o := quick("group of " + name)
	o.SessionTimeout = 10 * time.Second // an Apache Kafka takes no less than six
	g, err := c.Group([]string{name}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	a, err := g.Next(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// refusedBroker asserts that neither transport nor dialer reach a broker, for
// the same reason, which is also logged.
func refusedBroker(t testing.TB, c *Cluster, j *journal, want class, cause string) {
	t.Helper()
	_, err := c.EndOffsets(bounded(t), "x")
	_, dialed := c.dialer().DialContext(bounded(t), "tcp", c.o.Brokers[0])
	for name, err := range map[string]error{"transport": err, "dialer": dialed} {
		var failed *accessError
		if !errors.As(err, &failed) {
			t.Fatalf("%s: %v", name, err)
		}
		if failed.class != want || !strings.HasPrefix(failed.cause, cause) || !slices.Contains(c.o.Brokers, failed.broker) {
			t.Errorf("%s: %v", name, failed)
		}
		if classOf(err) != want {
			t.Errorf("%s: class %s", name, classOf(err))
		}
	}
	if !strings.Contains(j.String(), "broker cannot be used") || !strings.Contains(j.String(), cause) {
		t.Errorf("the log does not say so: %s", j)
	}
	var all strings.Builder
	for _, err := range []error{err, dialed} {
		all.WriteString(err.Error())
	}
	leaks(t, all.String(), j.String())
}

func TestTLS(t *testing.T) {
	a, stranger := authority(t), authority(t)
	good := issue(t, a, "broker", time.Hour, "127.0.0.1")
	client := issue(t, a, "client", time.Hour)
	late := issue(t, a, "late", -time.Minute)
	foreign := issue(t, stranger, "client", time.Hour)
	trusting := Security{TLS: true, CAFile: a.CAFile}
	with := func(p kafkatest.Pair) Security {
		s := trusting
		s.CertFile, s.KeyFile = p.CertFile, p.KeyFile
		return s
	}
	t.Run("accepted", func(t *testing.T) {
		var j journal
		k := fake(t, kfake.NumBrokers(1), kfake.TLS(serverTLS(t, good)))
		useAll(t, connect(t, k, secured(trusting, &j)), "x")
		calm(t, &j)
	})
	t.Run("accepted with a client certificate", func(t *testing.T) {
		var j journal
		k := fake(t, kfake.NumBrokers(1), kfake.TLS(demanding(t, good, a)))
		useAll(t, connect(t, k, secured(with(client), &j)), "x")
	})
	t.Run("accepted under a name of its own", func(t *testing.T) {
		var j journal
		k := fake(t, kfake.NumBrokers(1), kfake.TLS(serverTLS(t, issue(t, a, "named", time.Hour, "kafka.example"))))
		s := trusting
		s.ServerName = "kafka.example"
		useAll(t, connect(t, k, secured(s, &j)), "x")
	})
	old := serverTLS(t, good)
	old.MaxVersion = tls.VersionTLS11
	for _, test := range []struct {
		name  string
		side  *tls.Config
		s     Security
		class class
		cause string
	}{
		{"unknown authority", serverTLS(t, issue(t, stranger, "broker", time.Hour, "127.0.0.1")), trusting, untrusted,
			"its certificate is signed by an authority that is not trusted here"},
		{"the system's authorities", serverTLS(t, good), Security{TLS: true}, untrusted, "its certificate is signed by an authority"},
		{"expired", serverTLS(t, issue(t, a, "expired", -time.Minute, "127.0.0.1")), trusting, untrusted,
			"its certificate has expired or is not valid yet"},
		{"another host", serverTLS(t, issue(t, a, "elsewhere", time.Hour, "127.0.0.2", "localhost")), trusting, untrusted,
			"its certificate is for another host name"},
		{"older than 1.2", old, trusting, untrusted, "it refuses TLS as this side has it: tls: protocol version not supported"},
		{"no client certificate", demanding(t, good, a), trusting, untrusted,
			"it refuses TLS as this side has it: tls: certificate required"},
		{"client certificate of a stranger", demanding(t, good, a), with(foreign), untrusted,
			"it refuses TLS as this side has it: tls: "},
		{"expired client certificate", demanding(t, good, a), with(late), untrusted,
			"it refuses TLS as this side has it: tls: "},
		{"TLS on the broker's side only", serverTLS(t, good), Security{}, unreachable,
			"it closed the connection at the first request: it may want TLS"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var j journal
			k := fake(t, kfake.NumBrokers(1), kfake.TLS(test.side))
			refusedBroker(t, connect(t, k, secured(test.s, &j)), &j, test.class, test.cause)
		})
	}
}

// answering serves connections by hand.
func answering(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// A listener without TLS that answers as a broker would gets no byte but those
// that begin TLS, whoever connects.
func TestPlaintextBrokerLearnsNothing(t *testing.T) {
	received := make(chan []byte, 100)
	address := answering(t, func(c net.Conn) {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 64<<10)
		n, _ := c.Read(b)
		c.Write([]byte{0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}) // versions of nothing
		for err := error(nil); err == nil && n < len(b); {
			var more int
			more, err = c.Read(b[n:])
			n += more
		}
		received <- b[:n]
	})
	for name, s := range map[string]Security{
		"PLAIN":       {TLS: true, Mechanism: "PLAIN", Username: "nobody-special", Password: password(canary)},
		"SCRAM":       {TLS: true, Mechanism: "SCRAM-SHA-512", Username: "nobody-special", Password: password(canary)},
		"OAUTHBEARER": {TLS: true, Mechanism: "OAUTHBEARER", Token: &fixed{token: Token{Value: canary}}},
	} {
		t.Run(name, func(t *testing.T) {
			var j journal
			c, err := New(Options{Brokers: []string{address}, Security: s, StartTimeout: 100 * time.Millisecond, Logger: j.logger()})
			if err != nil {
				t.Fatal(err)
			}
			refusedBroker(t, c, &j, untrusted, "it does not speak TLS")
			p := c.Producer()
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if err := p.Produce(ctx, "x", nil, [][]byte{[]byte("value")}); err == nil {
				t.Error("produced")
			}
			p.Close()
			for range 2 { // at least one of the transport and one of the dialer
				b := <-received
				const handshake, alert = 22, 21
				for len(b) > 0 {
					if len(b) < 5 || b[0] != handshake && b[0] != alert || b[1] != 3 {
						t.Fatalf("not a record of TLS: %d bytes", len(b))
					}
					size := 5 + int(b[3])<<8 + int(b[4])
					if size > len(b) {
						t.Fatalf("half a record")
					}
					leaks(t, string(b[:size]))
					if strings.Contains(string(b[:size]), "nobody-special") {
						t.Error("the username is sent")
					}
					b = b[size:]
				}
			}
		})
	}
}

// A broker that only ends connections may want TLS or not have it.
func TestBrokersThatHangUp(t *testing.T) {
	for _, test := range []struct {
		name  string
		s     Security
		serve func(net.Conn)
		class class
		cause string
	}{
		{"in the TLS handshake", Security{TLS: true}, func(c net.Conn) { c.Read(make([]byte, 4096)) }, unreachable,
			"it closed the connection in the TLS handshake: it may not speak TLS"},
		{"at plaintext", Security{}, func(c net.Conn) { c.Read(make([]byte, 4096)) }, unreachable,
			"it closed the connection at the first request: it may want TLS"},
		{"at plaintext, with an alert", Security{}, func(c net.Conn) {
			c.Read(make([]byte, 4096))
			c.Write([]byte{21, 3, 3, 0, 2, 2, 80})
		}, untrusted, "it speaks TLS, and security.tls is off"},
		{"not a broker", Security{}, func(c net.Conn) {
			c.Read(make([]byte, 4096))
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
		}, unreachable, "it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var j journal
			c, err := New(Options{
				Brokers: []string{answering(t, test.serve)}, Security: test.s, StartTimeout: 100 * time.Millisecond, Logger: j.logger(),
			})
			if err != nil {
				t.Fatal(err)
			}
			refusedBroker(t, c, &j, test.class, test.cause)
		})
	}
}

// A broker that never answers holds nobody up for longer than a dial may take.
func TestDialEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	address := answering(t, func(net.Conn) { <-release })
	defer close(release)
	c, err := New(Options{Brokers: []string{address}, Security: Security{TLS: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.access.dial(ctx, "tcp", address)
	var failed *accessError
	if !errors.As(err, &failed) || failed.class != unreachable || failed.cause != "no answer in time while the connection was made" {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := c.access.dial(ctx, "tcp", address); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The certificate that was renewed is shown by the next connection.
func TestClientCertificateIsReadAgain(t *testing.T) {
	a := authority(t)
	side := demanding(t, issue(t, a, "broker", time.Hour, "127.0.0.1"), a)
	shown := make(chan *x509.Certificate, 10)
	side.VerifyConnection = func(s tls.ConnectionState) error {
		shown <- s.PeerCertificates[0]
		return nil
	}
	var j journal
	k := fake(t, kfake.NumBrokers(1), kfake.TLS(side))
	pair := issue(t, a, "client", time.Hour)
	c := connect(t, k, secured(Security{TLS: true, CAFile: a.CAFile, CertFile: pair.CertFile, KeyFile: pair.KeyFile}, &j))
	dial := func() error {
		conn, err := c.access.dial(bounded(t), "tcp", k.ListenAddrs()[0])
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := dial(); err != nil {
		t.Fatal(err)
	}
	first := (<-shown).SerialNumber
	issue(t, a, "client", time.Hour)
	if err := dial(); err != nil {
		t.Fatal(err)
	}
	if second := (<-shown).SerialNumber; second.Cmp(first) == 0 {
		t.Error("the old certificate is shown")
	}
	if err := os.Chmod(pair.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := dial(); err == nil || !strings.Contains(err.Error(), "tls_failed: security.key_file: "+pair.KeyFile+": mode is 0644") {
		t.Error(err)
	}
	if err := os.Chmod(pair.KeyFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dial(); err != nil {
		t.Error(err)
	}
	if log := j.String(); strings.Count(log, "broker cannot be used") != 1 || strings.Count(log, "broker can be used again") != 1 {
		t.Error(log)
	}
}
