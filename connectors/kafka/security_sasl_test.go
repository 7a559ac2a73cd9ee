package kafka

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// cutter is a listener that can break all its connections.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
	}
	return conn, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
}

func (c *cutter) accepted() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

// cuttable starts one broker whose connections can be broken.
func cuttable(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, *cutter) {
	t.Helper()
	c := &cutter{}
	k := fake(t, append(opts, kfake.NumBrokers(1), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		c.Listener = l
		return c, err
	}))...)
	return k, c
}

func TestSASL(t *testing.T) {
	a := authority(t)
	side := kfake.TLS(serverTLS(t, issue(t, a, "broker", time.Hour, "127.0.0.1")))
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		s := Security{TLS: true, CAFile: a.CAFile, Mechanism: mechanism, Username: "user", Password: password(canary)}
		broker := func(t *testing.T) *kfake.Cluster {
			return fake(t, kfake.NumBrokers(1), side, kfake.EnableSASL(), kfake.Superuser(mechanism, "user", canary))
		}
		t.Run(mechanism, func(t *testing.T) {
			var j journal
			useAll(t, connect(t, broker(t), secured(s, &j)), "x")
			calm(t, &j)
		})
		t.Run(mechanism+" with a wrong password", func(t *testing.T) {
			var j journal
			s := s
			s.Password = password("wrong " + canary)
			refusedBroker(t, connect(t, broker(t), secured(s, &j)), &j, denied, "it refuses the username or password")
		})
		t.Run(mechanism+" with an unknown user", func(t *testing.T) {
			var j journal
			s := s
			s.Username = "other"
			refusedBroker(t, connect(t, broker(t), secured(s, &j)), &j, denied, "it refuses the username or password")
		})
		t.Run(mechanism+" without a password", func(t *testing.T) {
			var j journal
			s := s
			s.Password = func() (string, error) { return "", errors.New("nobody has one") }
			refusedBroker(t, connect(t, broker(t), secured(s, &j)), &j, denied, "security.password: nobody has one")
		})
		t.Run(mechanism+" with a password that it cannot carry", func(t *testing.T) {
			var j journal
			s := s
			s.Password = password(canary + "\x00")
			refusedBroker(t, connect(t, broker(t), secured(s, &j)), &j, denied, "security.")
		})
	}
	t.Run("a mechanism that is not enabled", func(t *testing.T) {
		var j journal
		k := fake(t, kfake.NumBrokers(1), side, kfake.EnableSASL())
		s := Security{TLS: true, CAFile: a.CAFile, Mechanism: "OAUTHBEARER", Token: &fixed{token: Token{Value: canary}}}
		refusedBroker(t, connect(t, k, secured(s, &j)), &j, denied,
			"it does not offer OAUTHBEARER, but [PLAIN SCRAM-SHA-256 SCRAM-SHA-512]")
	})
	t.Run("SASL on the broker's side only", func(t *testing.T) {
		var j journal
		k := fake(t, kfake.NumBrokers(1), side, kfake.EnableSASL())
		c := connect(t, k, secured(Security{TLS: true, CAFile: a.CAFile}, &j))
		_, err := c.EndOffsets(bounded(t), "x")
		if err == nil || !strings.Contains(err.Error(), "it closed the connection at the first request: it may want SASL") ||
			!strings.Contains(err.Error(), k.ListenAddrs()[0]) {
			t.Error(err)
		}
	})
	t.Run("in plaintext on loopback", func(t *testing.T) {
		var j journal
		k := fake(t, kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", canary))
		s := Security{Mechanism: "PLAIN", Username: "user", Password: password(canary), PlaintextOnLoopback: true}
		useAll(t, connect(t, k, secured(s, &j)), "x")
	})
}

// A broker that metadata name, or that a name resolves to, may be elsewhere
// than the first.
func TestPlaintextCredentialsStayOnLoopback(t *testing.T) {
	c, err := New(Options{Brokers: []string{"127.0.0.1:1"}, Security: Security{
		Mechanism: "PLAIN", Username: "user", Password: password(canary), PlaintextOnLoopback: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	defer here.Close()
	received := make(chan string)
	go func() {
		defer there.Close()
		b := make([]byte, 4096)
		n, _ := there.Read(b)
		there.Write([]byte{0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		received <- string(b[:n])
	}()
	_, err = c.access.secure(bounded(t), here, "far:9092")
	if err == nil || err.Error() != "broker far:9092: authentication_failed: security.mechanism: without security.tls it is for loopback addresses only" {
		t.Error(err)
	}
	if text := <-received; strings.Contains(text, "user") || strings.Contains(text, canary) {
		t.Error("the credentials are sent")
	}
}

// scramAdmin is another client that may change passwords.
func scramAdmin(t testing.TB, k *kfake.Cluster) *kadm.Client {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...),
		kgo.SASL(scram.Auth{User: "admin", Pass: "admin"}.AsSha256Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return kadm.NewClient(c)
}

func setPassword(t testing.TB, admin *kadm.Client, user, secret string) {
	t.Helper()
	res, err := admin.AlterUserSCRAMs(bounded(t), nil, []kadm.UpsertSCRAM{{
		User: user, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: secret,
	}})
	if err := errors.Join(err, res.Error()); err != nil {
		t.Fatal(err)
	}
}

// A password that is rotated while the program runs: it stalls, says so once,
// and goes on when it knows the new one.
func TestRotatedPassword(t *testing.T) {
	k, cut := cuttable(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "admin", "admin"), kfake.Superuser("SCRAM-SHA-512", "user", "first"))
	admin := scramAdmin(t, k)
	var j journal
	var secret atomic.Value
	secret.Store("first")
	c := connect(t, k, func(o *Options) {
		o.Logger = j.logger()
		o.Security = Security{Mechanism: "SCRAM-SHA-512", Username: "user", Password: func() (string, error) { return secret.Load().(string), nil }}
	})
	if err := c.CreateTopic(bounded(t), "x", 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	p := c.Producer()
	defer p.Close()
	l := follow(t, c, &table{}, LedgerOptions{})
	setPassword(t, admin, "user", canary)
	cut.cut()
	stalled := make(chan error, 1)
	go func() {
		_, err := l.Barrier(bounded(t))
		stalled <- err
	}()
	await(t, func() bool { return strings.Contains(j.String(), "class=authentication_failed") })
	select {
	case err := <-stalled:
		t.Fatalf("a barrier came back while nobody could be asked: %v", err)
	default:
	}
	secret.Store(canary)
	if err := <-stalled; err != nil {
		t.Fatal(err)
	}
	if err := p.Produce(bounded(t), "x", [][]byte{[]byte("k")}, [][]byte{[]byte("v")}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Barrier(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(j.String(), "broker cannot be used"); n != 1 {
		t.Errorf("%d log lines say so", n)
	}
	leaks(t, j.String())
}

// await waits until something is so.
func await(t testing.TB, so func() bool) {
	t.Helper()
	for ctx := bounded(t); !so(); {
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// A start gives up on credentials that stay wrong when its patience ends, and
// does not before that.
func TestStartWaitsForCredentials(t *testing.T) {
	k := fake(t, kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "user", canary))
	topic(t, k, "x", 1, "delete")
	var asked atomic.Int64
	s := Security{Mechanism: "SCRAM-SHA-512", Username: "user", Password: func() (string, error) {
		if asked.Add(1) < 3 {
			return "too early", nil
		}
		return canary, nil
	}}
	var j journal
	open(t, connect(t, k, func(o *Options) { o.Security, o.Logger = s, j.logger() }), nil, "x")
	if !strings.Contains(j.String(), "brokers cannot be asked, trying again") || !strings.Contains(j.String(), "class=authentication_failed") {
		t.Error(j.String())
	}
	s.Password = password("wrong")
	e, err := connect(t, k, secured(s, &j)).Events([]string{"x"}, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("kafka: events: gave up after 300ms: metadata: broker %s: authentication_failed: it refuses the username or password", k.ListenAddrs()[0])
	if err := e.Open(bounded(t), nil); err == nil || err.Error() != want {
		t.Error(err)
	}
	leaks(t, j.String())
}

// A session that the broker ends is renewed before that, on the connection that
// there is, between two requests.
func TestSessionsAreRenewed(t *testing.T) {
	const life = 200 * time.Millisecond
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256"} {
		t.Run(mechanism, func(t *testing.T) {
			k, cut := cuttable(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "user", canary),
				kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": fmt.Sprint(life.Milliseconds())}))
			topic(t, k, "x", 1, "delete")
			var shaken atomic.Int64
			k.ControlKey(int16(kmsg.SASLHandshake), func(kmsg.Request) (kmsg.Response, error, bool) {
				k.KeepControl()
				shaken.Add(1)
				return nil, nil, false
			})
			var j journal
			c := connect(t, k, secured(Security{
				Mechanism: mechanism, Username: "user", Password: password(canary), PlaintextOnLoopback: mechanism == "PLAIN",
			}, &j))
			e := open(t, c, nil, "x")
			p := c.Producer()
			defer p.Close()
			conn, err := c.dialer().DialContext(bounded(t), "tcp", k.ListenAddrs()[0])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			sent, conns := 0, 0
			for begin := time.Now(); time.Since(begin) < 4*life; sent++ {
				if err := p.Produce(bounded(t), "x", nil, [][]byte{[]byte("v")}); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.ReadPartitions("x"); err != nil {
					t.Fatal(err)
				}
				if sent == 0 {
					conns = cut.accepted()
				}
			}
			if got := collect(t, e, map[int32]int64{0: int64(sent)})[0]; len(got) != sent {
				t.Errorf("%d of %d", len(got), sent)
			}
			// Whoever has not fetched yet connects once more at most.
			if n := cut.accepted(); n > conns+2 {
				t.Errorf("%d connections, then %d", conns, n)
			}
			if n := shaken.Load(); n < int64(cut.accepted())+6 {
				t.Errorf("%d authentications of %d connections", n, cut.accepted())
			}
			calm(t, &j)
		})
	}
}

// A renewal that fails breaks the connection before the request is written, and
// a new one is made.
func TestRenewalFails(t *testing.T) {
	k, _ := cuttable(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "admin", "admin"), kfake.Superuser("SCRAM-SHA-512", "user", "first"),
		kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "20"}))
	topic(t, k, "x", 1, "delete")
	var secret atomic.Value
	secret.Store("first")
	var j journal
	c := connect(t, k, func(o *Options) {
		o.Logger = j.logger()
		o.Security = Security{Mechanism: "SCRAM-SHA-512", Username: "user", Password: func() (string, error) { return secret.Load().(string), nil }}
	})
	made, err := c.access.dial(bounded(t), "tcp", k.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	secret.Store(canary)
	await(t, func() bool { return !time.Now().Before(made.(*conn).session.due) })
	_, err = made.Write([]byte{0, 0, 0, 1, 0})
	var failed *accessError
	if !errors.As(err, &failed) || failed.class != denied || failed.cause != "it refuses the username or password" {
		t.Error(err)
	}
	setPassword(t, scramAdmin(t, k), "user", canary)
	if _, err := c.EndOffsets(bounded(t), "x"); err != nil {
		t.Error(err)
	}
	leaks(t, j.String())
}

// A broker may neither make SCRAM cost what it likes nor word what is logged.
func TestScramBounds(t *testing.T) {
	for challenge, want := range map[string]string{
		"r=x,s=y,i=1048577":   "it demands too much work of SCRAM",
		"r=x,s=y,i=many":      "it demands too much work of SCRAM",
		"e=" + canary:         "it refuses the username or password",
		"r=" + canary:         "it does not prove by SCRAM that it knows the password",
		"r=x,s=y,i=4096":      "it does not prove by SCRAM that it knows the password", // not the nonce of this side
		"v=" + canary + ",m=": "it does not prove by SCRAM that it knows the password",
	} {
		machine, _, err := secretMechanism{mechanismScram256, "user", password(canary)}.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := machine.Next(t.Context(), []byte(challenge)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// pipe is a connection whose other side has said everything already.
type pipe struct {
	net.Conn
	said *bytes.Reader
}

func (p pipe) Read(b []byte) (int, error)  { return p.said.Read(b) }
func (p pipe) Write(b []byte) (int, error) { return len(b), nil }
func (p pipe) RemoteAddr() net.Addr        { return &net.TCPAddr{} }

// Whatever a stranger answers, a connection is made or there is an error in
// words of this side.
func FuzzFirstAnswers(f *testing.F) {
	greeting := "\x00\x00\x00\x10\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x00\x24\x00\x00\x00\x02"
	shaken := "\x00\x00\x00\x0a\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00"
	taken := "\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\xe8"
	f.Add([]byte(greeting + shaken + taken))
	f.Add([]byte(greeting + "\x00\x00\x00\x13\x00\x00\x00\x02\x00\x21\x00\x00\x00\x01\x00\x07forgery"))
	f.Add([]byte(greeting + shaken + "\x00\x00\x00\x15\x00\x00\x00\x03\x00\x3a\x00\x07forgery\x00\x00\x00\x00"))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		s := Security{Mechanism: mechanismPlain, Username: "user", Password: password(canary)}
		a := &access{mechanism: s.mechanism(), log: slog.New(slog.DiscardHandler), trouble: map[string]string{}}
		c, err := a.open(t.Context(), pipe{said: bytes.NewReader(said)}, "broker:1")
		if (c == nil) == (err == nil) {
			t.Fatal("both or neither")
		}
		if err == nil {
			if !bytes.Contains(said, []byte{0, 0, 0, 3, 0, 0}) {
				t.Error("authenticated by nobody")
			}
			return
		}
		var failed *accessError
		if !errors.As(err, &failed) || len(failed.cause) > 200 || strings.Contains(failed.cause, "forgery") {
			t.Error("words that are not this side's")
		}
		leaks(t, err.Error())
	})
}

// recorder is a pipe that notes its deadline and how much was written.
type recorder struct {
	pipe
	read, write time.Time
	written     int
}

func (r *recorder) Write(b []byte) (int, error) {
	r.written += len(b)
	return len(b), nil
}

func (r *recorder) SetDeadline(t time.Time) error {
	r.read, r.write = t, t
	return nil
}

func (r *recorder) SetReadDeadline(t time.Time) error {
	r.read = t
	return nil
}

func (r *recorder) SetWriteDeadline(t time.Time) error {
	r.write = t
	return nil
}

// A renewal waits for the answers that are under way, comes before the next
// request, and leaves the deadlines as they were.
func TestRenewalKeepsItsPlace(t *testing.T) {
	const (
		request = "\x00\x00\x00\x02ab"
		answers = "\x00\x00\x00\x01a\x00\x00\x00\x01b"
		shaken  = "\x00\x00\x00\x0a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"
		taken   = "\x00\x00\x00\x14\x00\x00\x00\x02\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\xe8"
	)
	r := &recorder{pipe: pipe{said: bytes.NewReader([]byte(answers + shaken + taken))}}
	s := Security{Mechanism: mechanismPlain, Username: "user", Password: password(canary)}
	a := &access{mechanism: s.mechanism(), log: slog.New(slog.DiscardHandler), trouble: map[string]string{}}
	c := &conn{Conn: r, r: bufio.NewReader(r), a: a, session: &session{again: true}}
	write := func() {
		t.Helper()
		if _, err := c.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(time.Hour)
	if err := c.SetReadDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	write()
	c.session.due = time.Unix(1, 0)
	write()
	if c.serial != 0 || r.written != 2*len(request) {
		t.Fatal("renewed while an answer was under way")
	}
	got := make([]byte, len(answers))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != answers {
		t.Fatalf("%q: %v", got, err)
	}
	before := r.written
	write()
	if c.serial != 2 || r.written <= before+len(request) {
		t.Error("not renewed when nothing was under way")
	}
	if left := time.Until(c.session.due); left <= 0 || left > 800*time.Millisecond {
		t.Errorf("renewed until %s", left)
	}
	if !r.read.Equal(deadline) || !r.write.IsZero() {
		t.Errorf("deadlines %v and %v", r.read, r.write)
	}
}

// Requests are told apart by their sizes, however they come.
func TestFramesAreFollowed(t *testing.T) {
	stream := []byte{0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 1, 9}
	for size := 1; size <= len(stream); size++ {
		var f frames
		for at := 0; at < len(stream); at += size {
			f.pass(stream[at:min(at+size, len(stream))])
		}
		if f.count != 3 || !f.between() {
			t.Errorf("%d bytes at once: %+v", size, f)
		}
	}
	for cut, between := range map[int]bool{0: true, 3: false, 4: true, 6: false, 8: false, 10: false, 11: true, 15: false} {
		var f frames
		f.pass(stream[:cut])
		if f.between() != between {
			t.Errorf("after %d bytes: %+v", cut, f)
		}
	}
}
