package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"

	"lupa/connectors/kafka"
	"lupa/pipeline"
)

// A control is the loop without something that a suite is about. What the suite
// checks must fail on what it writes, or nothing is tested.
type control struct {
	stats   pipeline.Stats
	commits atomic.Int64
	stop    func()
	done    chan error
}

// control runs a job in this process on all partitions of its topics, after
// change has taken something out of it. It is no member of the group.
func (r *bedTopics) control(t *testing.T, j job, change func(*rooms, *pipeline.Job)) *control {
	t.Helper()
	config, err := LoadConfig(j.config)
	if err != nil {
		t.Fatal(err)
	}
	open, err := openRooms(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := open.close(); err != nil {
			t.Error(err)
		}
	})
	cluster, err := kafka.New(kafka.Options{Brokers: r.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	sources := make([]pipeline.Source, open.workers())
	for i := range sources {
		if sources[i], err = cluster.Events([]string{r.events}, i, len(sources)); err != nil {
			t.Fatal(err)
		}
	}
	run, err := open.job(sources)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := &control{stop: cancel, done: make(chan error, 1)}
	run.Stats = &c.stats
	run.Committed = func(*pipeline.Commit) { c.commits.Add(1) }
	change(open, &run)
	go func() {
		_, err := pipeline.Run(ctx, run)
		c.done <- err
	}()
	return c
}

// end stops the control, which commits what it has read.
func (c *control) end(t *testing.T) {
	t.Helper()
	c.stop()
	if err := <-c.done; err != nil {
		t.Fatal(err)
	}
}

// forgetful takes the recheck out of a job: its stages hold no rows.
func forgetful(_ *rooms, run *pipeline.Job) {
	for i := range run.Workers {
		for k, s := range run.Workers[i].Stages {
			run.Workers[i].Stages[k] = struct{ pipeline.Stage }{s}
		}
	}
}

// hasty takes the waiting for the ledger out of a job besides. Its view hears
// nothing more: on a quiet machine one that goes on may be in time every time.
func hasty(r *rooms, run *pipeline.Job) {
	forgetful(r, run)
	run.Ledger = impatient{r.following}
	_ = r.following.Close() // which gives no error
}

// impatient is a ledger that takes the view as it is.
type impatient struct{ *kafka.Ledger }

// Barrier waits for nothing.
func (l impatient) Barrier(context.Context) (pipeline.Vector, error) {
	return l.Stats().Applied, nil
}
