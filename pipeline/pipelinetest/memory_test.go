package pipelinetest_test

import (
	"context"
	"testing"

	"lupa/pipeline"
	"lupa/pipeline/pipelinetest"
)

func TestMemorySink(t *testing.T) {
	homes := map[string]*pipelinetest.Sink{}
	pipelinetest.RunSinkSuite(t, func(_ *testing.T, home string) (pipeline.Sink, func(int) []pipelinetest.Row) {
		if homes[home] == nil {
			homes[home] = pipelinetest.NewSink(3)
		}
		return homes[home], homes[home].Rows
	})
}

func TestMemorySource(t *testing.T) {
	pipelinetest.RunSourceSuite(t, func(_ *testing.T, messages []string) (func() pipeline.Source, pipeline.Partition) {
		p := pipeline.Partition{Topic: "events"}
		return func() pipeline.Source { return &pipelinetest.Source{Partition: p, Messages: messages, Size: 40} }, p
	})
}

func TestFailingFailsFromItsCallOn(t *testing.T) {
	sink := pipelinetest.NewSink(3)
	failing := &pipelinetest.Failing{Sink: sink, At: 2, After: true}
	c := func(from, to int64) *pipeline.Commit {
		return &pipeline.Commit{Moves: map[pipeline.Partition]pipeline.Move{
			{Topic: "events"}: {From: from, To: pipeline.Mark{Next: to}}}}
	}
	if err := failing.Commit(context.Background(), c(0, 1)); err != nil || failing.Reached() {
		t.Fatalf("first call: %v, reached %t", err, failing.Reached())
	}
	if err := failing.Commit(context.Background(), c(1, 2)); err == nil || !failing.Reached() {
		t.Fatalf("second call: %v, reached %t", err, failing.Reached())
	}
	if err := failing.Commit(context.Background(), c(2, 3)); err == nil {
		t.Fatal("a call after the failure passed")
	}
	at, _ := sink.Positions(context.Background())
	if got := at[0][pipeline.Partition{Topic: "events"}].Next; got != 2 {
		t.Errorf("position %d, want 2: the second call took effect, the third did not", got)
	}
}
