package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"lupa/connectors/kafka"
	"lupa/pipeline"
)

func newStreamCommand() *cobra.Command {
	var configFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stream",
		Short: "read events from Kafka until stopped",
		Long: `Read events from Kafka, join them with the ledger and commit tables, until a
signal comes. The signal commits what was read; the next start goes on from the
tables' own positions. Several processes with one configuration share the
partitions.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, log, err := start(cmd, configFile)
			if err != nil {
				return err
			}
			result, err := runStream(cmd.Context(), config, log, nil)
			if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
				log.Info("stopped before anything was read")
				return nil
			}
			if err != nil {
				return err
			}
			return result.print(cmd.OutOrStdout(), asJSON)
		},
	}
	configFlag(cmd, &configFile)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// configFlag adds the flag that names the configuration file.
func configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "lupa.yaml", "configuration file")
}

// start reads what every job needs before it begins.
func start(cmd *cobra.Command, configFile string) (*Config, *slog.Logger, error) {
	log, err := newLogger(cmd)
	if err != nil {
		return nil, nil, err
	}
	config, err := LoadConfig(configFile)
	if err != nil {
		return nil, nil, withCode(exitUsage, err)
	}
	return config, log, nil
}

// runStream runs the stream job until ctx ends, and tells committed, if there
// is one, of every commit.
func runStream(ctx context.Context, config *Config, log *slog.Logger, committed func(*pipeline.Commit)) (_ *result, err error) {
	if config.Events.Kafka == nil {
		return nil, usageError("%s: stream reads events.kafka, which is not there", config.File)
	}
	if config.Ledger.Kafka == nil {
		// A file would be read once, and no withdrawal after that be seen.
		return nil, usageError("%s: stream follows ledger.kafka, which is not there; a ledger.file does not tell what is withdrawn while the stream runs", config.File)
	}
	s := &streamer{config: config, log: log, monitor: newMonitor(), stats: new(pipeline.Stats), committed: committed}
	if config.Metrics.Listen != "" {
		stop, failed := s.monitor.serve(config.Metrics.Listen, log)
		if failed != nil {
			return nil, failed
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	ctx, unlimit := limitMemory(ctx, config.Memory.Limit, log)
	defer unlimit()
	if s.rooms, err = openRooms(ctx, config, log); err != nil {
		return nil, runError(err)
	}
	err = s.run(ctx)
	if errors.Is(err, pipeline.ErrWedged) {
		return nil, err // what hangs may hold what closing would wait for
	}
	if err == nil && errors.Is(context.Cause(ctx), errMemory) {
		err = errMemory
	}
	if err != nil {
		return nil, closeAfter(s.rooms, err)
	}
	// The report is of what stands committed, also when a signal ended the run.
	result, err := newResult(context.WithoutCancel(ctx), s.rooms, s.totals)
	return result, closeAfter(s.rooms, err)
}

// breakerDir is beside the tables, which all processes of the job share.
func breakerDir(c *Config) string { return filepath.Join(c.Warehouse.Dir, ".inflight") }

// streamer is the always-on job: a member of a group, which runs the pipeline
// anew for each share of the partitions that the group gives it.
type streamer struct {
	config    *Config
	log       *slog.Logger
	rooms     *rooms
	monitor   *monitor
	stats     *pipeline.Stats
	committed func(*pipeline.Commit)

	cluster *kafka.Cluster
	breaker *kafka.Breaker
	totals  []pipeline.Counts
	reading atomic.Pointer[[]*kafka.Events] // the sources at work
	shares  atomic.Int64                    // how many were given so far
	refused int                             // runs in a row that ended in a refused commit
}

// rebalanceTimeout is how long the others of the group wait for this process to
// let go of its partitions. Half of it is for the last commit.
const rebalanceTimeout = time.Minute

// mostRefused is how many runs in a row may end because another process has
// claimed what the group gives to this one.
const mostRefused = 5

func (s *streamer) run(ctx context.Context) (err error) {
	k := s.config.Events.Kafka
	if s.cluster, err = s.rooms.events(); err != nil {
		return err
	}
	if s.breaker, err = kafka.OpenBreaker(breakerDir(s.config)); err != nil {
		return err
	}
	defer func() {
		// What hangs is a death of what was in flight, as a crash is.
		if !errors.Is(err, pipeline.ErrWedged) {
			err = errors.Join(err, s.breaker.Close())
		}
	}()
	group, err := s.cluster.Group(k.Topics, kafka.GroupOptions{
		ID: k.Group, SessionTimeout: k.SessionTimeout, RebalanceTimeout: rebalanceTimeout,
		HeartbeatInterval: min(2*time.Second, k.SessionTimeout/4),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, group.Close()) }()
	s.totals = make([]pipeline.Counts, len(s.rooms.tables()))
	s.observe()
	stop := s.rooms.tellFaults(time.Minute)
	defer stop()
	if k := s.rooms.keeper; k != nil {
		stop := k.keep(s.config.Ledger.Snapshot.Interval)
		defer stop()
	}
	for {
		s.monitor.wait("partitions", "the group has not given any yet")
		s.monitor.ready("start") // from here on that is all that is missing
		share, err := group.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		s.shares.Add(1)
		err = s.work(ctx, share)
		share.Release()
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// work reads a share of the partitions until the group takes it back or ctx
// ends.
func (s *streamer) work(ctx context.Context, share *kafka.Assignment) error {
	held, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-share.Ended():
			cancel()
		case <-held.Done():
		}
	}()
	s.log.Info("streaming", "generation", share.Generation, "partitions", len(share.Partitions), "workers", s.rooms.workers())
	s.monitor.ready("partitions")
	if len(share.Partitions) == 0 {
		<-held.Done()
		return nil
	}
	for {
		err := s.once(held, share.Partitions)
		switch {
		case errors.Is(err, pipeline.ErrRefused):
			// Another process has claimed what the group gave to this one: the
			// group is late, or this process was.
			if s.refused++; s.refused >= mostRefused {
				return err
			}
			s.log.Warn("another process has taken partitions over; what was read since the last commit is read again", "error", err)
		case errors.Is(err, pipeline.ErrDrain) && ctx.Err() == nil:
			s.log.Warn("the group took the partitions back before the last commit was done; its rows are read again")
			return nil
		case err != nil || held.Err() != nil:
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-held.Done():
			return nil
		}
	}
}

// once runs the pipeline over the partitions.
func (s *streamer) once(ctx context.Context, partitions []pipeline.Partition) error {
	workers := s.rooms.workers()
	events := make([]*kafka.Events, workers)
	sources := make([]pipeline.Source, workers)
	for i := range sources {
		var own []pipeline.Partition
		for j := i; j < len(partitions); j += workers {
			own = append(own, partitions[j])
		}
		var err error
		if events[i], err = s.cluster.EventsOf(s.config.Events.Kafka.Topics, own); err != nil {
			return err
		}
		events[i].Guard(s.breaker)
		sources[i] = events[i]
	}
	job, err := s.rooms.job(sources)
	if err != nil {
		return err
	}
	job.Partitions, job.Stats, job.DrainTimeout = partitions, s.stats, rebalanceTimeout/2
	job.Committed = func(c *pipeline.Commit) {
		s.refused = 0
		table := job.Contracts[c.Table].Table
		logCommit(s.log, table, c)
		s.monitor.committed(table, c)
		if s.committed != nil {
			s.committed(c)
		}
	}
	s.reading.Store(&events)
	defer s.reading.Store(nil)
	var refreshing sync.WaitGroup
	running, ended := context.WithCancel(ctx)
	refreshing.Go(func() { refresh(running, events) })
	counts, err := pipeline.Run(ctx, job)
	ended()
	refreshing.Wait()
	for table := range counts {
		s.totals[table].Add(&counts[table])
	}
	return err
}

// finish runs the job and closes the rooms, whose last state is the result.
func finish(ctx context.Context, r *rooms, job pipeline.Job) (*result, error) {
	counts, err := pipeline.Run(ctx, job)
	if errors.Is(err, pipeline.ErrWedged) {
		return nil, err // what hangs may hold what closing would wait for
	}
	if err != nil {
		return nil, closeAfter(r, err)
	}
	// The report is of what stands committed, also when a signal ended the run.
	result, err := newResult(context.WithoutCancel(ctx), r, counts)
	return result, closeAfter(r, err)
}

func logCommit(log *slog.Logger, table string, c *pipeline.Commit) {
	log.Debug("committed", "table", table, "files", len(c.Files), "read", c.Counts.Read,
		"kept", c.Counts.Kept, "masked", c.Counts.Masked, "dropped", c.Counts.Dropped, "rejected", c.Counts.Rejected)
}

// closeAfter closes the rooms after err, and gives both errors.
func closeAfter(r *rooms, err error) error {
	return runError(errors.Join(err, r.close()))
}
