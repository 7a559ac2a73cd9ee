package kafka

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// conn is a connection that is ready for use. Its read buffer takes in more of
// an answer per system call than the 4 KiB of the client library.
//
// A broker may bound how long an authentication stands and close the
// connection after that. The client library does not authenticate again, so
// this connection does, between two of its requests: like any net.Conn it may
// be read and written at once, but only one at a time may write.
type conn struct {
	net.Conn // TLS, where that is asked for
	r        *bufio.Reader
	a        *access
	address  string
	serial   int32    // of the requests made here
	heard    frames   // the first answers, where nobody authenticates
	session  *session // nil where the authentication stands for ever
}

// session is until when an authentication stands, and what is under way.
type session struct {
	again bool // the broker lets it be renewed; else the connection ends with it

	mu             sync.Mutex
	due            time.Time // when 80 % of it have passed; zero is never
	sent, received frames
	read, write    time.Time // deadlines that were set
	renewing       bool
}

// Read reads from the buffer.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	// Any broker tells its versions. The request after that is the first that
	// some do not answer to strangers.
	if c.a.mechanism == nil && c.heard.count < 2 {
		if c.heard.pass(p[:n]); hungUp(err) {
			err = &accessError{c.address, "it closed the connection at the first request: it may want SASL authentication", unreachable}
		}
	}
	if s := c.session; s != nil && n > 0 {
		s.mu.Lock()
		s.received.pass(p[:n])
		s.mu.Unlock()
	}
	return n, err
}

// Write writes, and before that authenticates again when it is time to and
// nothing is under way.
func (c *conn) Write(p []byte) (int, error) {
	if c.session != nil {
		if err := c.keep(p); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// keep renews the session if it should be before p is written.
func (c *conn) keep(p []byte) error {
	s := c.session
	s.mu.Lock()
	idle := s.sent.between() && s.sent.count == s.received.count
	due := idle && !s.due.IsZero() && !time.Now().Before(s.due)
	s.renewing = due && s.again
	s.mu.Unlock()
	if due {
		if !s.again {
			return &accessError{c.address, "its token ends soon: a new connection is needed", unreachable}
		}
		if err := c.renew(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent.pass(p)
	return nil
}

// renew authenticates again as KIP-368 has it: the same exchange as at the
// beginning, on the connection that is in use. It has as long as a new
// connection has, or until the deadline that the caller has set.
func (c *conn) renew() error {
	s := c.session
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	s.mu.Lock()
	for _, d := range []time.Time{s.read, s.write} {
		if !d.IsZero() && d.Before(deadline) {
			deadline = d
		}
	}
	err := c.Conn.SetDeadline(deadline)
	s.mu.Unlock()
	var life time.Duration
	if err == nil {
		life, _, err = c.authenticate(ctx, 1)
		c.a.note(c.address, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewing, s.due = false, dueAfter(life)
	return cmp.Or(err, c.Conn.SetReadDeadline(s.read), c.Conn.SetWriteDeadline(s.write))
}

// dueAfter is when something that lives that long from now on is to be
// replaced. What lives for ever never is.
func dueAfter(life time.Duration) time.Time {
	if life <= 0 {
		return time.Time{}
	}
	return time.Now().Add(life / 10 * 8)
}

// SetDeadline bounds reads and writes.
func (c *conn) SetDeadline(t time.Time) error {
	return c.set(c.Conn.SetDeadline, func(s *session) { s.read, s.write = t, t }, t)
}

// SetReadDeadline bounds reads.
func (c *conn) SetReadDeadline(t time.Time) error {
	return c.set(c.Conn.SetReadDeadline, func(s *session) { s.read = t }, t)
}

// SetWriteDeadline bounds writes.
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.set(c.Conn.SetWriteDeadline, func(s *session) { s.write = t }, t)
}

// set sets a deadline, or notes it for after the renewal.
func (c *conn) set(set func(time.Time) error, note func(*session), t time.Time) error {
	s := c.session
	if s == nil {
		return set(t)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	note(s)
	if s.renewing {
		return nil
	}
	return set(t)
}

// frames follows the messages of one direction by the sizes that they begin
// with.
type frames struct {
	count int     // that have passed whole
	head  [4]byte // of the next one's size
	have  int     // bytes of head
	rest  int     // bytes of the message itself that have not passed
}

// between reports whether the last message has passed whole.
func (f *frames) between() bool { return f.have == 0 && f.rest == 0 }

// pass takes note of p.
func (f *frames) pass(p []byte) {
	for len(p) > 0 {
		if f.rest > 0 {
			n := min(f.rest, len(p))
			p = p[n:]
			if f.rest -= n; f.rest == 0 {
				f.count++
			}
			continue
		}
		n := copy(f.head[f.have:], p)
		p = p[n:]
		if f.have += n; f.have == len(f.head) {
			f.have = 0
			if f.rest = int(binary.BigEndian.Uint32(f.head[:])); f.rest == 0 {
				f.count++
			}
		}
	}
}
