// Package registry asks a Confluent-compatible schema registry for the schemas
// of messages.
//
//	c, err := registry.New(registry.Options{URLs: []string{"https://registry:8081"}})
//	schema, err := c.ByID(ctx, 17)
//
// What an id stands for never changes, so an answer is kept. An id is unknown
// only when the registry says so; as long as it cannot be asked, whatever the
// reason, the caller waits. Credentials are asked for when they are needed,
// never kept, and in no error and no log.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"
)

// SchemaType is the language of a schema.
type SchemaType uint8

// The schema types.
const (
	Avro SchemaType = iota + 1
	JSONSchema
	Protobuf
)

// Schema is a schema as the registry has it.
type Schema struct {
	Type SchemaType
	Text string
	// References are all schemas that Text refers to, directly or not, each
	// after those that it refers to itself. They are shared and stay as they
	// are.
	References []Reference
}

// Reference is a schema that another one refers to, under the name that the
// other has for it.
type Reference struct {
	Name string
	Text string
}

// ErrUnknownSchema is the error of an id that the registry does not have, or
// for which it has what is of no use.
var ErrUnknownSchema = errors.New("unknown schema")

// errClosed is the error of a client that was closed.
var errClosed = errors.New("the registry's client is closed")

const (
	// unknownFor is how long an id stays unknown without being asked for again.
	unknownFor  = 30 * time.Second
	firstPause  = 100 * time.Millisecond
	longestWait = 5 * time.Second
)

// Client asks a registry. Its methods may be called at once.
type Client struct {
	servers []server
	http    *http.Client
	auth    authentication
	timeout time.Duration
	log     *slog.Logger
	now     func() time.Time

	flights singleflight.Group
	// preferred is the index of the server that answered last.
	preferred atomic.Int32

	base   context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	closed  bool
	running sync.WaitGroup
	cache   cache
	count   Stats
	state   trouble
	waiting int
}

// Stats tell how a client is doing.
type Stats struct {
	// Requests were sent, Failures of them brought no answer to go by.
	Requests, Failures int64
	// Stalls are how often a caller had to wait because no server answered.
	Stalls int64
	// StalledSince is when the first of those that wait now began to; zero
	// while nobody waits.
	StalledSince time.Time
	// Unknown is how many ids the registry did not have.
	Unknown int64
	// Schemas and Bytes are what is cached now.
	Schemas int
	Bytes   int64
}

// ByID gives the schema of a message that names it by id. While the registry
// cannot be asked it waits, until ctx ends. An error that wraps ErrUnknownSchema
// means that there is no such schema.
func (c *Client) ByID(ctx context.Context, id int32) (Schema, error) {
	return c.schema(ctx, key{id: id})
}

// ByGUID gives the schema of a message that names it by GUID, as ByID does.
func (c *Client) ByGUID(ctx context.Context, guid [16]byte) (Schema, error) {
	return c.schema(ctx, key{byGUID: true, guid: guid})
}

// key names a schema.
type key struct {
	byGUID bool
	id     int32
	guid   [16]byte
}

func (k key) path() string {
	if k.byGUID {
		return "/schemas/guids/" + uuid.UUID(k.guid).String()
	}
	return "/schemas/ids/" + strconv.Itoa(int(k.id))
}

func (k key) String() string {
	if k.byGUID {
		return "schema " + uuid.UUID(k.guid).String()
	}
	return "schema " + strconv.Itoa(int(k.id))
}

func (c *Client) schema(ctx context.Context, k key) (Schema, error) {
	stalled := false
	defer func() {
		if stalled {
			c.resume()
		}
	}()
	for pause := firstPause; ; pause = min(2*pause, longestWait) {
		if s, err, ok := c.known(k); ok {
			return s, err
		}
		var result singleflight.Result
		select {
		case result = <-c.flights.DoChan(k.String(), func() (any, error) { return c.ask(k) }):
		case <-ctx.Done():
			return Schema{}, fmt.Errorf("%s: %w", k, context.Cause(ctx))
		}
		if result.Err == nil {
			return result.Val.(Schema), nil
		}
		if errors.Is(result.Err, ErrUnknownSchema) || errors.Is(result.Err, errClosed) {
			return Schema{}, fmt.Errorf("%s: %w", k, result.Err)
		}
		if !stalled {
			stalled = true
			c.stall()
		}
		select {
		// Workers that wait for the same registry do not ask all at once.
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return Schema{}, fmt.Errorf("%s: %w: %w", k, context.Cause(ctx), result.Err)
		case <-c.base.Done():
			return Schema{}, fmt.Errorf("%s: %w", k, errClosed)
		}
	}
}

// known gives what needs no question.
func (c *Client) known(k key) (_ Schema, err error, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.cache.found[k]; ok {
		return s, nil, true
	}
	if until, ok := c.cache.unknown[k]; ok && c.now().Before(until) {
		return Schema{}, fmt.Errorf("%s: %w", k, ErrUnknownSchema), true
	}
	return Schema{}, nil, false
}

// ask asks one server after the other, each once. It does so for all who want
// the schema at the time, and so for none of them alone: it ends with the
// client, or when every request has had its time.
func (c *Client) ask(k key) (Schema, error) {
	if err := c.begin(); err != nil {
		return Schema{}, err
	}
	defer c.running.Done()
	var unknown error
	var failures []error
	first := int(c.preferred.Load())
	for i := range c.servers {
		at := (first + i) % len(c.servers)
		s, err := c.resolve(c.base, &c.servers[at], k)
		switch {
		case err == nil:
			c.preferred.Store(int32(at))
			c.answered(k, s)
			return s, nil
		case errors.Is(err, ErrUnknownSchema):
			// Another server may have heard of a new schema earlier.
			unknown = err
		case c.base.Err() != nil:
			return Schema{}, errClosed
		default:
			failures = append(failures, err)
		}
	}
	if unknown != nil {
		c.answeredUnknown(k)
		return Schema{}, unknown
	}
	c.failed(failures)
	return Schema{}, errors.Join(failures...)
}

func (c *Client) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	c.running.Add(1)
	return nil
}

// Check asks every server once for a schema, whether it has that or not, and
// gives what keeps any of them from answering.
func (c *Client) Check(ctx context.Context) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.running.Done()
	var failures []error
	for i := range c.servers {
		if _, err := c.fetch(ctx, &c.servers[i], key{id: 1}.path(), noSchema); err != nil && !errors.Is(err, ErrUnknownSchema) {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// Close ends what is under way.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.running.Wait()
	c.http.CloseIdleConnections()
	return nil
}

// Stats tells how the client is doing. It waits for nothing.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.count
	s.Schemas, s.Bytes = len(c.cache.found), c.cache.bytes
	return s
}

// Stalled reports whether a caller waits because no server answers.
func (c *Client) Stalled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting > 0
}

func (c *Client) stall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.Stalls++
	if c.waiting == 0 {
		c.count.StalledSince = c.now()
	}
	c.waiting++
}

func (c *Client) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
	if c.waiting == 0 {
		c.count.StalledSince = time.Time{}
	}
}
