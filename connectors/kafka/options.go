package kafka

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Options say how to reach a cluster and how much to read at once. Zero values
// stand for the defaults.
type Options struct {
	// Brokers are the host:port addresses to begin with; at least one.
	Brokers []string
	// Security says how connections to them are protected; not at all by default.
	Security Security
	// ClientID is what the brokers' logs call this program; "lupa" by default.
	ClientID string
	// Logger takes state changes; none by default.
	Logger *slog.Logger

	// MaxMessageBytes is the longest event value that is handed over (1 MiB);
	// longer ones are listed as too large.
	MaxMessageBytes int
	// MaxBatchBytes bounds one record batch after decompression (64 MiB, or
	// twice MaxMessageBytes where that is more: a batch over it ends the run).
	MaxBatchBytes int
	// FetchBytes is asked for of each partition at once (4 MiB).
	FetchBytes int
	// AheadBytes of answers may wait for one source before it fetches no more
	// (32 MiB). One answer of each broker can come on top.
	AheadBytes int
	// FetchWait is how long a broker may wait for data (500 ms).
	FetchWait time.Duration
	// StartTimeout bounds how long a start may wait for brokers that cannot be
	// reached (30 s). A topic that the brokers do not know is waited for a
	// tenth of it.
	StartTimeout time.Duration
}

const (
	maxMessages    = 4096    // in one chunk
	maxArena       = 4 << 20 // bytes of batches decoded ahead of one chunk
	requestBytes   = 16 << 20
	fetchGrace     = 10 * time.Second // beyond FetchWait, for the answer to arrive
	callTimeout    = 10 * time.Second // of every other request
	minBackoff     = 50 * time.Millisecond
	maxBackoff     = 2 * time.Second
	corruptTries   = 5
	emptyTries     = 3
	topicPatience  = 30 * time.Second
	readBufferSize = 256 << 10
)

// New fills in the defaults and checks o. It does not connect.
func New(o Options) (*Cluster, error) {
	if len(o.Brokers) == 0 {
		return nil, errors.New("kafka: brokers: at least one host:port is needed")
	}
	for _, b := range o.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return nil, fmt.Errorf("kafka: brokers: %q is not host:port", b)
		}
	}
	if o.ClientID == "" {
		o.ClientID = "lupa"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for _, v := range []struct {
		key              string
		value            *int
		def, least, most int
	}{
		{"max_message_bytes", &o.MaxMessageBytes, 1 << 20, 1, 1 << 30},
		{"max_batch_bytes", &o.MaxBatchBytes, min(max(64<<20, 2*o.MaxMessageBytes), 1<<30), 1 << 10, 1 << 30},
		{"fetch_bytes", &o.FetchBytes, 4 << 20, 1 << 10, 1 << 30},
		{"ahead_bytes", &o.AheadBytes, 2 * requestBytes, 1 << 10, 1 << 40},
	} {
		if *v.value == 0 {
			*v.value = v.def
		}
		if *v.value < v.least || *v.value > v.most {
			return nil, fmt.Errorf("kafka: %s: %d is not in %d to %d", v.key, *v.value, v.least, v.most)
		}
	}
	if o.FetchWait == 0 {
		o.FetchWait = 500 * time.Millisecond
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = 30 * time.Second
	}
	if o.FetchWait < time.Millisecond || o.FetchWait > time.Minute {
		return nil, fmt.Errorf("kafka: fetch_wait: %s is not in 1ms to 1m", o.FetchWait)
	}
	if o.StartTimeout < 0 {
		return nil, fmt.Errorf("kafka: start_timeout: %s is negative", o.StartTimeout)
	}
	a, err := newAccess(o)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &Cluster{o, a}, nil
}
