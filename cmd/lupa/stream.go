package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

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
tables' own positions.`,
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
func runStream(ctx context.Context, config *Config, log *slog.Logger, committed func(*pipeline.Commit)) (*result, error) {
	if config.Events.Kafka == nil {
		return nil, usageError("%s: stream reads events.kafka, which is not there", config.File)
	}
	if config.Ledger.Kafka == nil {
		// A file would be read once, and no withdrawal after that be seen.
		return nil, usageError("%s: stream follows ledger.kafka, which is not there; a ledger.file does not tell what is withdrawn while the stream runs", config.File)
	}
	rooms, err := openRooms(ctx, config, log)
	if err != nil {
		return nil, runError(err)
	}
	sources, err := rooms.eventSources()
	if err != nil {
		return nil, closeAfter(rooms, err)
	}
	job, err := rooms.job(sources)
	if err != nil {
		return nil, closeAfter(rooms, err)
	}
	job.Committed = func(c *pipeline.Commit) {
		logCommit(log, job.Contracts[c.Table].Table, c)
		if committed != nil {
			committed(c)
		}
	}
	log.Info("streaming", "topics", config.Events.Kafka.Topics, "workers", len(sources), "tables", len(job.Contracts))
	return finish(ctx, rooms, job)
}

// eventSources shares the topics' partitions among the workers.
func (r *rooms) eventSources() ([]pipeline.Source, error) {
	cluster, err := r.cluster(r.config.Events.Kafka.Brokers)
	if err != nil {
		return nil, err
	}
	sources := make([]pipeline.Source, r.workers())
	for i := range sources {
		if sources[i], err = cluster.Events(r.config.Events.Kafka.Topics, i, len(sources)); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

// finish runs the job and closes the rooms, whose last state is the result.
func finish(ctx context.Context, r *rooms, job pipeline.Job) (*result, error) {
	counts, err := pipeline.Run(ctx, job)
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
