package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
)

// mostBytes is how long an answer may be.
const mostBytes = 4 << 20

// The error codes of the registry's API that say that something is not there.
const (
	noSubject = 40401
	noVersion = 40402
	noSchema  = 40403
)

// answer is a schema in the registry's words.
type answer struct {
	Schema     string      `json:"schema"`
	SchemaType string      `json:"schemaType"`
	References []reference `json:"references"`
}

// reference is where a schema that another one refers to stands.
type reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int64  `json:"version"`
}

// fetch asks one server once. An error is a *failure, or wraps ErrUnknownSchema
// if the server answered with one of the codes.
func (c *Client) fetch(ctx context.Context, s *server, path string, absent ...int) (*answer, error) {
	a, err := c.request(ctx, s, path, absent)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count.Requests++
	if f := (*failure)(nil); errors.As(err, &f) {
		c.count.Failures++
	}
	return a, err
}

func (c *Client) request(ctx context.Context, s *server, path string, absent []int) (*answer, error) {
	fail := func(t trouble, err error) (*answer, error) {
		return nil, &failure{trouble: t, server: s.name, err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return fail(failing, errors.New("the address cannot be used"))
	}
	req.Header.Set("Accept", "application/vnd.schemaregistry.v1+json, application/json")
	req.Header.Set("User-Agent", "lupa")
	if err := c.auth.sign(req); err != nil {
		return fail(secretless, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fail(unreachable, cause(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostBytes+1))
	if err != nil {
		return fail(unreachable, cause(err))
	}
	if len(body) > mostBytes {
		return fail(garbage, fmt.Errorf("HTTP %d with more than %d bytes", resp.StatusCode, mostBytes))
	}
	switch resp.StatusCode {
	case http.StatusOK:
		var a answer
		// An error of the parser repeats what it read.
		if json.Unmarshal(body, &a) != nil || a.Schema == "" {
			return fail(garbage, errors.New("HTTP 200 without a schema"))
		}
		return &a, nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return fail(forbidden, fmt.Errorf("HTTP %d", resp.StatusCode))
	}
	var problem struct {
		Code int `json:"error_code"`
	}
	if json.Unmarshal(body, &problem) != nil {
		problem.Code = 0
	}
	if resp.StatusCode == http.StatusNotFound && slices.Contains(absent, problem.Code) {
		return nil, fmt.Errorf("%w: error %d of registry %s", ErrUnknownSchema, problem.Code, s.name)
	}
	return fail(failing, fmt.Errorf("HTTP %d, error %d", resp.StatusCode, problem.Code))
}

// redirect is an answer that sends a request where it must not go.
type redirect string

func (r redirect) Error() string { return string(r) }

// cause is what may be said of a request that brought no answer. Other errors
// of the HTTP library repeat what the server sent, the address, or that of a
// proxy with its password.
func cause(err error) error {
	var network *net.OpError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var sent redirect
	switch {
	case errors.As(err, &sent):
		return sent
	case errors.As(err, &verify):
		return verify
	case errors.As(err, &record):
		return record
	case errors.As(err, &network):
		return network
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, io.EOF):
		return io.EOF
	}
	return errors.New("what it sends is no HTTP that can be read, or the way to it is not set up right")
}
