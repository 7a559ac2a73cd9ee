package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"lupa/connectors/files"
	"lupa/pipeline"
)

func newBackfillCommand() *cobra.Command {
	var configFile string
	var asJSON, quiet bool
	cmd := &cobra.Command{
		Use:   "backfill",
		Short: "read events from files to their end",
		Long: `Read events from files of JSON lines (plain, gzip or zstd), join them with the
ledger and commit tables. Each file is read once: running the same backfill
again adds no row, and one that was stopped goes on where it was.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, log, err := start(cmd, configFile)
			if err != nil {
				return err
			}
			show := cmd.ErrOrStderr()
			if quiet || asJSON {
				show = io.Discard
			}
			result, err := runBackfill(cmd.Context(), config, log, show)
			if err != nil {
				return err
			}
			return result.print(cmd.OutOrStdout(), asJSON)
		},
	}
	configFlag(cmd, &configFile)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON, and no progress")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "show no progress")
	return cmd
}

// runBackfill reads every file once, showing progress on show.
func runBackfill(ctx context.Context, config *Config, log *slog.Logger, show io.Writer) (*result, error) {
	if config.Events.Files == nil {
		return nil, usageError("%s: backfill reads events.files, which is not there", config.File)
	}
	set, err := files.NewSet(files.Options{
		Paths: config.Events.Files.Paths, MaxMessageBytes: int(config.Events.MaxMessageBytes),
	})
	if err != nil {
		return nil, withCode(exitUsage, err)
	}
	stopped := ctx
	ctx, unlimit := limitMemory(ctx, config.Memory.Limit, log)
	defer unlimit()
	rooms, err := openRooms(ctx, config, log)
	if err != nil {
		return nil, runError(err)
	}
	sources := make([]pipeline.Source, rooms.workers())
	for i := range sources {
		sources[i] = set.Source()
	}
	job, err := rooms.job(sources)
	if err != nil {
		return nil, closeAfter(rooms, err)
	}
	job.Stats = new(pipeline.Stats)
	job.Committed = func(c *pipeline.Commit) { logCommit(log, job.Contracts[c.Table].Table, c) }
	hide := showProgress(show, set, &job.Stats.Read)
	result, err := finish(ctx, rooms, job)
	hide()
	switch {
	case err == nil && stopped.Err() != nil:
		return nil, withCode(exitStopped, stopped.Err())
	case err == nil && ctx.Err() != nil:
		return nil, errMemory
	}
	return result, err
}

// showProgress draws how far the files are read until the function it gives is
// called.
func showProgress(w io.Writer, set *files.Set, read *atomic.Int64) (hide func()) {
	done, total := set.Progress()
	var p *progress
	if f, ok := w.(*os.File); ok {
		p = newProgress(f, total)
	} else if w != io.Discard {
		p = newProgressLines(w, total, time.Now)
	} else {
		return func() {}
	}
	stop := make(chan struct{})
	var drawing sync.WaitGroup
	drawing.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				done, _ = set.Progress()
				p.Set(done, read.Load())
			case <-stop:
				done, _ = set.Progress()
				p.Set(done, read.Load())
				p.Done()
				return
			}
		}
	})
	return func() {
		close(stop)
		drawing.Wait()
	}
}
