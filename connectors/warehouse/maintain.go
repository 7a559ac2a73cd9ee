package warehouse

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	icetable "github.com/apache/iceberg-go/table"
)

// expireEvery is after how many commits of a table its old snapshots go. The
// list of snapshots is what makes a table's metadata, and so each commit, grow.
const expireEvery = 25

// expire removes snapshots that are neither among the newest nor young, and
// the metadata files that only they named. Data files stay: every commit so
// far only adds files, so the current snapshot names all of them. A reader
// that began on a snapshot that goes loses it, hence the age. The caller holds
// the table's lock.
func (s *Sink) expire(ctx context.Context, loaded *icetable.Table) error {
	txn := s.fence(loaded).NewTransaction()
	if err := txn.AssertRefSnapshotID(""); err != nil {
		return err
	}
	if err := txn.ExpireSnapshots(icetable.WithRetainLast(s.keepSnapshots), icetable.WithOlderThan(s.keepFor)); err != nil {
		return err
	}
	_, err := txn.Commit(ctx)
	return err
}

// sweep removes files that no snapshot names and that are too old to be on
// their way into a commit: what writers and commits that died left behind. The
// caller holds the table's lock, so no commit is under way.
func (s *Sink) sweep(ctx context.Context, t *table, loaded *icetable.Table) error {
	var stale []string
	for _, dir := range []string{t.dataDir, filepath.Join(t.dir, "metadata")} {
		plan, err := loaded.PlanOrphanFiles(ctx,
			icetable.WithLocation(fileURI(dir)), icetable.WithFilesOlderThan(s.staleAfter))
		if err != nil {
			return err
		}
		stale = append(stale, plan.Files()...)
	}
	// Beside the two stand only published files, their halves and locks.
	for _, dir := range []string{t.dir, s.dir} {
		halves, err := s.staleTemps(dir)
		if err != nil {
			return err
		}
		stale = append(stale, halves...)
	}
	for _, path := range stale {
		if err := s.disk.remove(localPath(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(stale) > 0 {
		s.log.Info("files removed that no commit names", "table", t.name, "files", len(stale))
	}
	return nil
}

// staleTemps lists the old unfinished files right in a directory.
func (s *Sink) staleTemps(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was finished just now
		}
		if err != nil {
			return nil, err
		}
		if time.Since(info.ModTime()) > s.staleAfter {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}
