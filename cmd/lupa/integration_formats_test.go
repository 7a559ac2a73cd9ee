//go:build integration

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"lupa/connectors/kafka/kafkatest"
	"lupa/connectors/registry/registrytest"
)

// realBook registers schemas in a real registry.
type realBook struct {
	t      *testing.T
	server *registrytest.Server
	count  int
}

func (r *realBook) add(kind, text string) int32 {
	r.t.Helper()
	r.count++
	return r.server.Register(r.t, fmt.Sprintf("formats-%d-value", r.count), kind, text)
}

// name is the schema's id: this registry knows no GUIDs.
func (r *realBook) name(id int32) string { return string(inFront(id, nil)) }

// TestRealFormats streams the same events in every format, as TestFormats does,
// from a real Apache Kafka with the schemas of a real registry.
func TestRealFormats(t *testing.T) {
	b := newBed(t, kafkatest.Run(t, 1))
	r := &realBook{t: t, server: registrytest.Run(t)}
	topics := b.topics(t, 1)
	b.mustPut(t, topics.ledger, theSample(t).Ledger()...)
	f := newFormatWorld(t, b, r, 16)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	j := topics.job(t, time.Second)
	j.change(t, "topics: ["+topics.events+"]", "topics: ["+demoEvents+"]")
	formatConfig(t, j, f.topics, identity.Recipient())
	j.change(t, "workers: 2\n", fmt.Sprintf("workers: 2\nschema_registry: {urls: [%q]}\n", r.server.URL()))
	if code, out, errs := command(t, "check", "-c", j.config); code != exitOK || !strings.Contains(words(out), "schema_registry 1 server: can be asked") {
		t.Errorf("check ends with %d: %s\n%s", code, errs, out)
	}
	p := j.stream(t)
	j.awaits(t, p, behind(f.outcomes))
	p.stop(t, exitOK)
	f.check(t, j, p, identity)
	f.checkSecrets(t, j, p, nil)
}
