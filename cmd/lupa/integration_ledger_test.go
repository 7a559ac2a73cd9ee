//go:build integration

package main

import (
	"fmt"
	"net/http/httputil"
	"net/url"
	"testing"

	"lupa/connectors/kafka/kafkatest"
	"lupa/connectors/registry/registrytest"
)

// TestRealLedgerSources streams from a real Apache Kafka with ledgers in every form,
// and with the schemas of a real registry.
func TestRealLedgerSources(t *testing.T) {
	b := newBed(t, kafkatest.Run(t, 1))
	server := registrytest.Run(t)
	r := &realBook{t: t, server: server}
	configure := func(j job) {
		j.change(t, "workers: 2\n", fmt.Sprintf("workers: 2\nschema_registry: {urls: [%q]}\n", server.URL()))
	}
	t.Run("records in Avro", func(t *testing.T) {
		s := newRegisteredSources(t, b)
		// The registry forgets its schemas when it ends, so that it is its address that
		// goes away.
		to, err := url.Parse(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		front := startRegistry(t)
		front.answers(httputil.NewSingleHostReverseProxy(&url.URL{Scheme: to.Scheme, Host: to.Host}).ServeHTTP)
		front.configure(t, s.j)
		s.j.change(t, front.address, front.address+to.Path)
		suiteRegistered(t, s, newRegisteredLedger(t, r), front.stop, front.start)
	})
	t.Run("changes of a table", func(t *testing.T) { suiteTable(t, newTableTopic(t, b, false, "delete")) })
	t.Run("changes of a table, compacted", func(t *testing.T) { suiteTable(t, newTableTopic(t, b, true, "compact")) })
	t.Run("import while streaming", func(t *testing.T) { suiteImport(t, b) })
	t.Run("all forms", func(t *testing.T) { suiteForms(t, b, r, configure) })
}
