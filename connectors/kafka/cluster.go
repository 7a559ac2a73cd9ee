package kafka

import (
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// Cluster is how to reach one Kafka cluster.
type Cluster struct {
	o      Options
	access *access
}

// Format prints the brokers and nothing else, whatever the verb.
func (c Cluster) Format(f fmt.State, _ rune) { fmt.Fprint(f, "kafka cluster ", c.o.Brokers) }

// address is where a transport begins to look for the cluster.
func (c *Cluster) address() net.Addr { return kafkago.TCP(c.o.Brokers...) }

// transport makes connections for one purpose. Metadata is asked for the given
// topics only, or for all when there are none. Like dialer it knows nothing of
// TLS and SASL: whatever reaches a broker comes from access.dial, which gives
// connections that are encrypted and authenticated already, so that none can be
// configured with less than the rest.
func (c *Cluster) transport(topics ...string) *kafkago.Transport {
	return &kafkago.Transport{
		Dial:           c.access.dial,
		DialTimeout:    dialTimeout,
		IdleTimeout:    5 * time.Minute,
		MetadataTTL:    time.Second,
		MetadataTopics: topics,
		ClientID:       c.o.ClientID,
	}
}

// dialer makes connections for what the client library does not do through a
// transport: the membership of a consumer group.
func (c *Cluster) dialer() *kafkago.Dialer {
	return &kafkago.Dialer{DialFunc: c.access.dial, Timeout: dialTimeout, ClientID: c.o.ClientID}
}
