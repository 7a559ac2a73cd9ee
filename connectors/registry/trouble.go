package registry

import (
	"errors"
	"fmt"
)

// trouble is why a registry cannot be asked. The zero value is that it can.
type trouble uint8

const (
	none trouble = iota
	unreachable
	failing
	garbage
	forbidden
	secretless
)

func (t trouble) String() string {
	return [...]string{"", "cannot be reached", "answers with an error", "answers with what is no schema",
		"refuses the credentials", "cannot be asked, for its credentials cannot be read"}[t]
}

// failure is a request that brought no answer to go by.
type failure struct {
	trouble
	server string // scheme, host and port
	err    error
}

func (f *failure) Error() string {
	return fmt.Sprintf("registry %s %s: %v", f.server, f.trouble, f.err)
}
func (f *failure) Unwrap() error { return f.err }

// answered notes that a server answered, and keeps what it said.
func (c *Client) answered(k key, s Schema) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cache.keep(k, s)
	c.recovered()
}

func (c *Client) answeredUnknown(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cache.miss(k, c.now())
	c.count.Unknown++
	c.recovered()
}

func (c *Client) recovered() {
	if c.state != none {
		c.state = none
		c.log.Info("schema registry answers again")
	}
}

// failed notes that no server answered. It says so once, and again when the
// reason is another.
func (c *Client) failed(failures []error) {
	state := unreachable
	// What a person has to correct is said first.
	for _, err := range failures {
		if f := (*failure)(nil); errors.As(err, &f) {
			state = max(state, f.trouble)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == state {
		return
	}
	c.state = state
	err := errors.Join(failures...)
	if state == forbidden || state == secretless {
		c.log.Error("messages wait until the access to the schema registry is corrected", "registry", state.String(), "error", err)
		return
	}
	c.log.Warn("messages wait for the schema registry", "registry", state.String(), "error", err)
}
