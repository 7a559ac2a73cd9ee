//go:build integration

package main

import (
	"fmt"
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
	must := func(do func() error) func() {
		return func() {
			t.Helper()
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Run("records in Avro", func(t *testing.T) {
		s := newRegisteredSources(t, b)
		configure(s.j)
		suiteRegistered(t, s, newRegisteredLedger(t, r), must(server.Stop), must(server.Start))
	})
	t.Run("changes of a table", func(t *testing.T) { suiteTable(t, newTableTopic(t, b, false, "delete")) })
	t.Run("changes of a table, compacted", func(t *testing.T) { suiteTable(t, newTableTopic(t, b, true, "compact")) })
	t.Run("import while streaming", func(t *testing.T) { suiteImport(t, b) })
	t.Run("all forms", func(t *testing.T) { suiteForms(t, b, r, configure) })
}
