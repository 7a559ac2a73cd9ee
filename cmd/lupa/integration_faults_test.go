//go:build integration

package main

import (
	"fmt"
	"testing"

	"lupa/connectors/kafka/kafkatest"
)

// TestRealSuite runs the suites on a real Apache Kafka of one broker and of
// three.
func TestRealSuite(t *testing.T) {
	for _, brokers := range []int{1, 3} {
		t.Run(fmt.Sprintf("brokers=%d", brokers), func(t *testing.T) {
			b := newBed(t, kafkatest.Run(t, brokers))
			var tests []subtest
			for _, s := range suites() {
				tests = append(tests, subtest{s.name, func(t *testing.T) { s.run(t, b) }})
			}
			someAtOnce(t, 2, tests)
			for _, s := range outages() {
				t.Run(s.name, func(t *testing.T) { s.run(t, b) })
			}
		})
	}
}
