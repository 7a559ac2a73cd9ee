package kafka

import (
	"fmt"
	"sync/atomic"
	"testing"

	"lupa/pipeline"
	"lupa/pipeline/pipelinetest"
)

func TestEventsConformance(t *testing.T) {
	k := fake(t)
	p := producer(t, k)
	var topics atomic.Int64
	pipelinetest.RunSourceSuite(t, func(t *testing.T, messages []string) (func() pipeline.Source, pipeline.Partition) {
		name := fmt.Sprintf("conformance-%d", topics.Add(1))
		topic(t, k, name, 1, "delete")
		// A batch of several chunks, and one of another.
		half := len(messages) * 2 / 3
		put(t, p, name, 0, messages[:half]...)
		put(t, p, name, 0, messages[half:]...)
		c := connect(t, k)
		return func() pipeline.Source {
			e, err := c.Events([]string{name}, 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}, pipeline.Partition{Topic: name}
	})
}
