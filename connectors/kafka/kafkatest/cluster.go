// Package kafkatest starts real Apache Kafka brokers for tests.
//
// A cluster is one or several Java processes in KRaft mode, each broker and
// controller at once, that listen on loopback alone.
//
//	k := kafkatest.Run(t, 1)
//	err := k.CreateTopic("events", 3, nil)
//	err = k.Kill(0)                 // SIGKILL
//	err = k.Restart(t.Context(), 0) // same port, same data
//
// A cluster of RunSecure has addresses with TLS, client certificates and SASL
// besides, and an authority whose certificates its brokers trust.
//
// The brokers keep what Apache Kafka ships as defaults, such as making topics
// that are asked for, but for what makes them small and quick to recover, and
// lets members of groups have sessions of a second. They end with the program
// that started them, on Linux also when it is killed.
//
// The jars are fetched by Maven as pom.xml says: `make integration` does it.
package kafkatest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Options say what to run.
type Options struct {
	// Jars is the folder of the broker's jars.
	Jars string
	// Dir takes the brokers' data and logs. It must be there.
	Dir string
	// Brokers is how many, at least 1.
	Brokers int
	// Secure gives the brokers the listeners with TLS and SASL besides.
	Secure bool
}

// Cluster is some brokers that know each other. It may be used by many at
// once, but for what stops and starts brokers.
type Cluster struct {
	version string
	brokers []*broker
	admin   *kadm.Client
	secured *secured // nil is none
}

// startTimeout bounds how long brokers may take until they answer.
const startTimeout = time.Minute

// Start runs a cluster and returns when all its brokers answer.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	version, err := versionOf(o.Jars)
	if err != nil {
		return nil, err
	}
	const each = 2 + int(numListeners)
	ports, err := freePorts(each * o.Brokers)
	if err != nil {
		return nil, err
	}
	c := &Cluster{version: version}
	if o.Secure {
		if c.secured, err = newSecured(o.Dir); err != nil {
			return nil, err
		}
	}
	for id := range o.Brokers {
		own := ports[each*id:]
		c.brokers = append(c.brokers, &broker{
			id: id, port: own[0], controllerPort: own[1], listeners: [numListeners]int(own[2:each]), secured: c.secured,
			jars: o.Jars, dir: filepath.Join(o.Dir, fmt.Sprint("broker", id)),
		})
	}
	cluster := uuid.New()
	clusterID := base64.RawURLEncoding.EncodeToString(cluster[:])
	err = c.each(func(b *broker) error {
		if err := b.format(ctx, clusterID, c.brokers); err != nil {
			return err
		}
		return b.start()
	})
	if err == nil {
		err = c.each(func(b *broker) error { return b.ready(ctx, o.Brokers) })
	}
	if err == nil {
		c.admin, err = kadm.NewOptClient(kgo.SeedBrokers(c.ListenAddrs()...))
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Run runs a cluster for the length of a test. The jars are those in the
// folder that LUPA_KAFKA_JARS names; without them the test fails. When the
// test has failed, the ends of the brokers' logs are in its output.
func Run(t testing.TB, brokers int) *Cluster {
	t.Helper()
	return run(t, Options{Brokers: brokers})
}

// RunSecure is Run for a cluster that has the listeners with TLS and SASL
// besides.
func RunSecure(t testing.TB, brokers int) *Cluster {
	t.Helper()
	return run(t, Options{Brokers: brokers, Secure: true})
}

func run(t testing.TB, o Options) *Cluster {
	t.Helper()
	jars := os.Getenv("LUPA_KAFKA_JARS")
	if jars == "" {
		t.Fatal("LUPA_KAFKA_JARS does not name the folder of the broker's jars; make integration sets it")
	}
	o.Jars, o.Dir = jars, t.TempDir()
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, b := range c.brokers {
				t.Logf("log of broker %d:\n%s", b.id, b.tail())
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	fmt.Printf("broker: Apache Kafka %s\n", c.version)
	return c
}

// Version is the brokers' version.
func (c *Cluster) Version() string { return c.version }

// ListenAddrs are the brokers' addresses, host:port, also of those that are
// down.
func (c *Cluster) ListenAddrs() []string {
	var list []string
	for _, b := range c.brokers {
		list = append(list, b.address())
	}
	return list
}

// Kill ends a broker with SIGKILL and waits until it is gone.
func (c *Cluster) Kill(broker int) error { return c.brokers[broker].kill() }

// Restart starts a broker that is down, on its port and its data, and returns
// when it answers.
func (c *Cluster) Restart(ctx context.Context, broker int) error {
	b := c.brokers[broker]
	if err := b.start(); err != nil {
		return err
	}
	running := 0
	for _, b := range c.brokers {
		if b.running() {
			running++
		}
	}
	return b.ready(ctx, running)
}

// Close ends all brokers in order.
func (c *Cluster) Close() error {
	if c.admin != nil {
		c.admin.Close()
	}
	return c.each((*broker).stop)
}

// each calls f for all brokers at once.
func (c *Cluster) each(f func(*broker) error) error {
	errs := make([]error, len(c.brokers))
	var all sync.WaitGroup
	for i, b := range c.brokers {
		all.Go(func() { errs[i] = f(b) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// versionOf reads the version off the name of the broker's jar.
func versionOf(jars string) (string, error) {
	const before, after = "kafka_2.13-", ".jar"
	found, err := filepath.Glob(filepath.Join(jars, before+"*"+after))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%s has %d jars %s*%s, one is needed", jars, len(found), before, after)
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), before), after), nil
}

// Ports come from below the range out of which systems give ports to outgoing
// connections. Else one of those, even a client's own attempt to reach a broker
// that is down, could hold the port when the broker comes back.
const firstPort, lastPort = 20000, 32000

func freePorts(n int) ([]int, error) {
	var ports []int
	for range 1000 {
		if len(ports) == n {
			return ports, nil
		}
		port := firstPort + rand.N(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		defer l.Close() // only once all are chosen, so that they differ
		ports = append(ports, port)
	}
	return nil, errors.New("no free ports found on 127.0.0.1")
}
