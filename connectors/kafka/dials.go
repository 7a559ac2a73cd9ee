package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"sync"

	"github.com/segmentio/kafka-go/protocol"
)

// dials keeps the connections of a group. The client library does not let go
// of them while it waits for an answer, and it asks for metadata in a way that
// makes topics.
type dials struct {
	mu   sync.Mutex
	open map[*dialed]bool
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func (d *dials) track(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c := &dialed{Conn: conn, d: d}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open[c] = true
		return c, nil
	}
}

// cut closes all connections that are open. Whoever uses them hears of it.
func (d *dials) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.open {
		_ = c.Conn.Close() // it is closed again by whom it belongs to
	}
}

// dialed is one connection.
type dialed struct {
	net.Conn
	d    *dials
	made requests
}

func (c *dialed) Close() error {
	c.d.mu.Lock()
	delete(c.d.open, c)
	c.d.mu.Unlock()
	return c.Conn.Close()
}

func (c *dialed) Write(p []byte) (int, error) { return c.Conn.Write(c.made.harmless(p)) }

// requests follows the requests that are written to a connection.
type requests struct {
	head [8]byte // of the request under way: size, key, version
	seen int     // bytes of head
	left int     // bytes of the request behind head
}

// harmless gives p with metadata requests changed so that they make no topic
// that is not there. In these versions the last byte says whether they may.
func (r *requests) harmless(p []byte) []byte {
	out := p
	for at := 0; at < len(p); {
		if r.seen < len(r.head) {
			n := copy(r.head[r.seen:], p[at:])
			r.seen += n
			at += n
			r.left = int(int32(binary.BigEndian.Uint32(r.head[:]))) - 4
		} else {
			n := min(r.left, len(p)-at)
			r.left -= n
			at += n
		}
		if r.seen < len(r.head) || r.left > 0 {
			continue
		}
		key, version := binary.BigEndian.Uint16(r.head[4:]), binary.BigEndian.Uint16(r.head[6:])
		if key == uint16(protocol.Metadata) && version >= 4 && version <= 7 && r.left == 0 {
			if &out[0] == &p[0] {
				out = bytes.Clone(p) // a writer leaves what it is given alone
			}
			out[at-1] = 0
		}
		r.seen = 0
	}
	return out
}
