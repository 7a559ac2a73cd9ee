package warehouse

import (
	"context"
	"path/filepath"

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
	removed := 0
	for _, dir := range []string{t.dataDir, filepath.Join(t.dir, "metadata")} {
		plan, err := loaded.PlanOrphanFiles(ctx,
			icetable.WithLocation(fileURI(dir)), icetable.WithFilesOlderThan(s.staleAfter))
		if err != nil {
			return err
		}
		for _, path := range plan.Files() {
			if err := s.disk.remove(localPath(path)); err != nil {
				return err
			}
			removed++
		}
	}
	if removed > 0 {
		s.log.Info("files removed that no commit names", "table", t.name, "files", removed)
	}
	return nil
}
