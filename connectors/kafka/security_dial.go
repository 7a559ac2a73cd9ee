package kafka

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
)

// dialTimeout bounds a new connection until it can be used, and a session's
// renewal.
const dialTimeout = 5 * time.Second

// access makes every connection to the brokers of one cluster.
type access struct {
	tls       *tls.Config    // nil is plaintext
	mechanism sasl.Mechanism // nil is none
	loopback  bool           // what proves who this is must not leave the machine
	clientID  string
	log       *slog.Logger

	mu      sync.Mutex
	trouble map[string]string // by broker
}

func newAccess(o Options) (*access, error) {
	s := &o.Security
	if err := s.check(o.Brokers); err != nil {
		return nil, err
	}
	t, err := s.config()
	if err != nil {
		return nil, err
	}
	return &access{
		tls: t, mechanism: s.mechanism(), loopback: !s.TLS && s.bare(),
		clientID: o.ClientID, log: o.Logger, trouble: make(map[string]string),
	}, nil
}

// accessError says why a broker cannot be used, in words that hold no secret
// and nothing that the broker chose.
type accessError struct {
	broker, cause string
	class         class
}

// Error names the broker, the class and the cause.
func (e *accessError) Error() string {
	return fmt.Sprintf("broker %s: %s: %s", e.broker, e.class, e.cause)
}

// Temporary lets the client library's writer try again.
func (e *accessError) Temporary() bool { return true }

// dial connects to a broker and gives a connection that is encrypted and
// authenticated as the Security option says, or none. Trouble of that kind is
// logged when it begins, when its cause changes and when it ends.
func (a *access) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c, err := a.secure(ctx, raw, address)
	a.note(address, err)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

// note logs what has changed.
func (a *access) note(address string, err error) {
	var now *accessError
	errors.As(err, &now)
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.trouble[address]
	switch {
	case now != nil && now.cause != before:
		level := slog.LevelError // somebody has to change something
		if now.class == unreachable {
			level = slog.LevelWarn
		}
		a.log.Log(context.Background(), level, "broker cannot be used", "broker", address, "class", now.class.String(), "cause", now.cause)
		a.trouble[address] = now.cause
	case err == nil && before != "":
		a.log.Info("broker can be used again", "broker", address)
		delete(a.trouble, address)
	}
}

// secure makes a connection usable, or says why it cannot be.
func (a *access) secure(ctx context.Context, raw net.Conn, address string) (*conn, error) {
	past := time.Unix(1, 0)
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(past) })
	c, err := a.open(ctx, raw, address)
	if !stop() && err == nil {
		err = ctx.Err() // and with it the deadline, which is on the connection
	}
	switch {
	case err == nil || ctx.Err() == nil:
		return c, err
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ctx.Err()
	}
	return nil, &accessError{address, "no answer in time while the connection was made", unreachable}
}

func (a *access) open(ctx context.Context, raw net.Conn, address string) (*conn, error) {
	stream := raw
	if a.tls != nil {
		t := tls.Client(raw, a.tlsFor(address))
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, a.failure(address, "in the TLS handshake: it may not speak TLS", err)
		}
		stream = t
	}
	c := &conn{Conn: stream, r: bufio.NewReaderSize(stream, readBufferSize), a: a, address: address}
	versions, err := c.greet()
	if err != nil {
		return nil, a.failure(address, greetHint(a.tls), err)
	}
	if a.mechanism == nil {
		return c, nil
	}
	if remote, ok := raw.RemoteAddr().(*net.TCPAddr); a.loopback && (!ok || !remote.IP.IsLoopback()) {
		return nil, &accessError{address, "security.mechanism: without security.tls it is for loopback addresses only", denied}
	}
	life, again, err := c.authenticate(ctx, min(versions[protocol.SaslAuthenticate], 1))
	if err != nil {
		return nil, err
	}
	if life > 0 {
		c.session = &session{due: dueAfter(life), again: again}
	}
	return c, nil
}

// tlsFor adds the name that the broker's certificate must be for.
func (a *access) tlsFor(address string) *tls.Config {
	t := a.tls.Clone()
	if host, _, err := net.SplitHostPort(address); err == nil && t.ServerName == "" {
		t.ServerName = host
	}
	return t
}

func greetHint(t *tls.Config) string {
	if t == nil {
		return "at the first request: it may want TLS"
	}
	return "after the TLS handshake: it may want a client certificate, or refuse this one"
}

// failure words an error of the network; where tells what was done when a
// broker that just closes the connection did so.
func (a *access) failure(address, where string, err error) error {
	if cause, ok := tlsCause(err); ok {
		return &accessError{address, cause, untrusted}
	}
	if hungUp(err) {
		return &accessError{address, "it closed the connection " + where, unreachable}
	}
	var known *accessError
	var network net.Error
	if errors.As(err, &known) || errors.As(err, &network) {
		return err
	}
	return &accessError{address, "it does not speak as a Kafka broker does", unreachable}
}

// hungUp reports whether the other side closed a connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// maxAnswer bounds what is read of a broker before it is known to be one.
const maxAnswer = 1 << 20

// exchange makes one request and gives what stands in its answer. It goes
// around what conn does for others. The client library would take the first
// bytes of any server for lengths, and allocate as much.
func (c *conn) exchange(version int16, req protocol.Message) (*cursor, error) {
	c.serial++
	if err := protocol.WriteRequest(c.Conn, version, c.serial, c.a.clientID, req); err != nil {
		// Why a broker has hung up stands in what it sent before.
		if _, said := c.r.Peek(1); said != nil {
			return nil, said
		}
		return nil, err
	}
	head, err := c.r.Peek(8)
	const alert = 21 // the record that a TLS server answers plaintext with
	if len(head) > 2 && head[0] == alert && head[1] == 3 {
		return nil, &accessError{c.address, "it speaks TLS, and security.tls is off", untrusted}
	}
	if err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head))) - 4
	if size < 0 || size > maxAnswer || int32(binary.BigEndian.Uint32(head[4:])) != c.serial {
		return nil, errFrame
	}
	body := make([]byte, 8+size)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return nil, err
	}
	return &cursor{rest: body[8:]}, nil
}

// greet asks which versions of requests the broker knows, and gives the newest
// of each: any broker answers that, if it can be talked to at all.
func (c *conn) greet() (map[protocol.ApiKey]int16, error) {
	res, err := c.exchange(0, &apiversions.Request{})
	if err != nil {
		return nil, err
	}
	code := res.int16()
	newest := make(map[protocol.ApiKey]int16)
	for range res.count(6) {
		key, _ := res.int16(), res.int16()
		newest[protocol.ApiKey(key)] = res.int16()
	}
	if res.short || code != 0 {
		return nil, errFrame
	}
	return newest, nil
}

const maxLife = 1 << 40 // ms, so that no session is too long for a duration

// authenticate proves who this is. It gives how long the broker lets that
// stand until it has to be done again, or else for how long the token is good
// that did it; what is not above zero is for ever.
func (c *conn) authenticate(ctx context.Context, version int16) (life time.Duration, again bool, err error) {
	m := c.a.mechanism
	if err := c.shake(m.Name()); err != nil {
		return 0, false, err
	}
	machine, answer, err := m.Start(ctx)
	if err != nil {
		return 0, false, c.refusal(err.Error())
	}
	for done := false; !done; {
		res, err := c.exchange(version, &saslauthenticate.Request{AuthBytes: answer})
		if hungUp(err) {
			return 0, false, c.refusal(refusedBy(machine))
		}
		if err != nil {
			return 0, false, c.a.failure(c.address, "while it authenticated", err)
		}
		switch code := kafkago.Error(res.int16()); code {
		case 0:
		case kafkago.SASLAuthenticationFailed:
			return 0, false, c.refusal(refusedBy(machine))
		default:
			return 0, false, c.refusal(fmt.Sprintf("it fails the authentication with error %d %s", code, code.Title()))
		}
		res.take(max(int(res.int16()), 0)) // the broker's words
		challenge := res.take(max(int(res.int32()), 0))
		if version > 0 {
			life = time.Duration(min(res.int64(), maxLife)) * time.Millisecond
		}
		if res.short {
			return 0, false, c.a.failure(c.address, "", errFrame)
		}
		if done, answer, err = machine.Next(ctx, challenge); err != nil {
			return 0, false, c.refusal(err.Error())
		}
	}
	if b, ok := machine.(*bearerSession); ok && life <= 0 && b.expires.After(time.Now()) {
		return time.Until(b.expires), false, nil
	}
	return life, true, nil
}

// shake names the mechanism.
func (c *conn) shake(mechanism string) error {
	res, err := c.exchange(1, &saslhandshake.Request{Mechanism: mechanism})
	if err != nil {
		return c.a.failure(c.address, "at the SASL handshake", err)
	}
	code := kafkago.Error(res.int16())
	var list []string
	for range res.count(2) {
		list = append(list, string(res.take(int(res.int16()))))
	}
	switch {
	case res.short:
		return c.a.failure(c.address, "", errFrame)
	case code == 0:
		return nil
	case code == kafkago.UnsupportedSASLMechanism:
		return c.refusal(fmt.Sprintf("it does not offer %s, but %v", mechanism, offered(list)))
	case code == kafkago.IllegalSASLState:
		return c.refusal("it takes no SASL at this address")
	default:
		return c.refusal(fmt.Sprintf("it refuses the SASL handshake with error %d", code))
	}
}

func (c *conn) refusal(cause string) error { return &accessError{c.address, cause, denied} }

// refusedBy is what it means that a broker ends the exchange. It may word that
// itself, but it knows the secret, or what was taken for it.
func refusedBy(m sasl.StateMachine) string {
	if b, ok := m.(*bearerSession); ok {
		return b.refusal().Error()
	}
	return "it refuses the username or password"
}

// offered is which of the mechanisms that are known here a broker lists.
func offered(list []string) []string {
	return slices.DeleteFunc(mechanisms(), func(m string) bool { return !slices.Contains(list, m) })
}
