//go:build integration

package main

import (
	"testing"

	"lupa/connectors/kafka/kafkatest"
)

// TestRealContent runs what messages can do to a stream on a real broker.
func TestRealContent(t *testing.T) {
	b := newBed(t, kafkatest.Run(t, 1))
	for _, s := range contentSuites() {
		t.Run(s.name, func(t *testing.T) { s.run(t, b) })
	}
}
