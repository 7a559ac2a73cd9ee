package warehouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"lupa/pipeline"
	"lupa/schemas"
)

// ErrPosition is a commit that does not begin where the table stands: another
// writer has moved the partition, or the commit was made before.
var ErrPosition = errors.New("commit begins elsewhere than the table stands")

// errMoved is a commit whose table changed under it: nothing was committed.
var errMoved = errors.New("the table was changed meanwhile")

const (
	// maxAttempts bounds how often a commit is built again because the table
	// moved under it. With the lock that only happens when somebody commits
	// without it.
	maxAttempts = 20
	// outcomeTimeout bounds the search for a commit whose outcome is unknown.
	outcomeTimeout = 30 * time.Second
)

// Commit makes files and positions visible in one step. It fails with an error
// that wraps pipeline.ErrRefused, and ErrPosition or ErrClaim, if a stored
// position is not the one that the commit begins at or a stored claim not the
// commit's own; its files are then removed. On any other error nothing of the
// commit is visible, unless the error says that the outcome is unknown; then
// the positions tell, and the files stay.
func (s *Sink) Commit(ctx context.Context, c *pipeline.Commit) error {
	if c.Table < 0 || c.Table >= len(s.tables) {
		return fmt.Errorf("commit: no table %d", c.Table)
	}
	t := s.tables[c.Table]
	if err := s.commit(withDisk(ctx, s.disk), t, c); err != nil {
		return fmt.Errorf("commit to table %s: %w", t.name, err)
	}
	return nil
}

func (s *Sink) commit(ctx context.Context, t *table, c *pipeline.Commit) error {
	if err := t.checkCommit(c); err != nil {
		return err
	}
	for i := range c.Files {
		if err := s.checkStaged(&c.Files[i]); err != nil {
			return fmt.Errorf("file %s: %w", fileName(c.Files[i].Path), err)
		}
	}
	release, err := t.lock.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	id := uuid.NewString()
	committed, err := s.change(ctx, t, &commitChange{sink: s, commit: c, id: id})
	switch {
	case err == nil:
		s.count.commits.Add(1)
		s.settle(ctx, t, committed, c, id)
	case errors.Is(err, pipeline.ErrRefused):
		s.count.refused.Add(1)
		s.discard(ctx, t, c.Files)
	}
	return err
}

// discard removes the files of a refused commit. One that the table names
// stays: whoever commits a second time what landed before is refused as well.
// What cannot be removed is swept later.
func (s *Sink) discard(ctx context.Context, t *table, files []pipeline.File) {
	if len(files) == 0 {
		return
	}
	now, err := s.catalog.LoadTable(ctx, t.ident)
	var live []string
	if err == nil {
		live, err = t.live.list(ctx, now)
	}
	for i := range files {
		if err != nil {
			break
		}
		if _, named := slices.BinarySearch(live, files[i].Path); !named {
			err = s.disk.remove(files[i].Path)
		}
	}
	if err != nil {
		s.log.Warn("files of a refused commit not removed, a sweep will", "table", t.name, "error", err)
	}
}

// Discard removes files that no commit was tried with. What cannot be removed is
// swept later.
func (s *Sink) Discard(table int, files []pipeline.File) {
	for i := range files {
		if err := s.disk.remove(files[i].Path); err != nil {
			s.log.Warn("a file that is not committed was not removed, a sweep will", "table", s.tables[table].name, "error", err)
		}
	}
}

// checkCommit refuses a commit whose numbers do not agree.
func (t *table) checkCommit(c *pipeline.Commit) error {
	n := &c.Counts
	if n.Read != n.Kept+n.Masked+n.Dropped+n.Rejected {
		return fmt.Errorf("%d messages read, but %d kept, %d masked, %d dropped and %d rejected",
			n.Read, n.Kept, n.Masked, n.Dropped, n.Rejected)
	}
	var reasons int64
	for _, count := range n.Reasons {
		reasons += count
	}
	if reasons != n.Read || n.Reasons[schemas.NoReason] != 0 {
		return fmt.Errorf("%d messages read, %d have a reason", n.Read, reasons-n.Reasons[schemas.NoReason])
	}
	var rows int64
	for i := range c.Files {
		f := &c.Files[i]
		if f.Table != c.Table || !strings.HasPrefix(f.Path, t.dataDir+string(filepath.Separator)) {
			return errors.New("a file belongs to another table")
		}
		rows += f.Rows
	}
	// The rejects table also lists messages that its counts leave to the table
	// whose contract they broke.
	if rows != n.Kept+n.Masked && t.name != schemas.RejectsTable {
		return fmt.Errorf("files hold %d rows, %d were kept and %d masked", rows, n.Kept, n.Masked)
	}
	if len(c.Files) > 0 && len(c.Moves) == 0 {
		return errors.New("there are files, and no interval that they cover")
	}
	for p, m := range c.Moves {
		if err := checkPartition(p); err != nil {
			return err
		}
		// JSON would store another anchor, which would prove nothing.
		if !utf8.ValidString(m.To.Anchor) {
			return fmt.Errorf("partition %s: its anchor is not UTF-8", p)
		}
		if m.From < 0 || m.To.Next < m.From {
			return fmt.Errorf("partition %s moves from %d to %d", p, m.From, m.To.Next)
		}
	}
	return nil
}

// checkStaged reads a file that is to be committed once more. What happened to
// it since it was written could be put right no more once the positions have
// passed its rows. It takes 1 to 2 % of the time that making the file took.
func (s *Sink) checkStaged(f *pipeline.File) error {
	return s.disk.do("read", f.Path, func() (err error) {
		in, err := os.Open(f.Path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.Close()) }()
		return unchanged(in, f)
	})
}

// change is one step of a table: a commit, a claim or a move of its position.
type change interface {
	// build puts the step into a transaction on base, or says why it cannot be
	// taken from there.
	build(ctx context.Context, base *icetable.Table, txn *icetable.Transaction) error
	// landed looks for the last built step in the table.
	landed(now *icetable.Table) bool
}

// change takes one step of the table. The caller holds the table's lock.
func (s *Sink) change(ctx context.Context, t *table, c change) (changed *icetable.Table, err error) {
	for range maxAttempts {
		changed, err = s.attempt(ctx, t, c)
		if err == nil || !errors.Is(err, errMoved) {
			return changed, err
		}
	}
	return nil, fmt.Errorf("gave up after %d attempts: %w", maxAttempts, err)
}

// attempt takes the step from the table as it is now. An error other than
// errMoved means that it will not or may not have been taken.
func (s *Sink) attempt(ctx context.Context, t *table, c change) (*icetable.Table, error) {
	base, err := s.catalog.LoadTable(ctx, t.ident)
	if err != nil {
		return nil, err
	}
	if err := checkClock(base.Metadata()); err != nil {
		return nil, err
	}
	txn := s.fence(base).NewTransaction()
	if err := txn.AssertRefSnapshotID(""); err != nil {
		return nil, err
	}
	if err = c.build(ctx, base, txn); err == nil {
		var changed *icetable.Table
		if changed, err = txn.Commit(ctx); err == nil {
			return changed, nil
		}
		if !errors.Is(err, errMoved) && !errors.Is(err, icetable.ErrCommitFailed) {
			s.count.unknown.Add(1)
		}
	}
	if errors.Is(err, pipeline.ErrRefused) {
		return nil, err
	}
	return s.outcome(ctx, t, base, c, err)
}

// checkClock refuses a step that the table format does not allow at this time,
// before anything is written for it. Each version of a table bears the time of
// the clock that made it, and no version may be more than a minute older than
// the one before.
func checkClock(base icetable.Metadata) error {
	last := time.UnixMilli(base.LastUpdatedMillis())
	if behind := time.Until(last); behind > time.Minute {
		return fmt.Errorf("the clock of this machine is %s behind the one by which the table was changed last; nothing is committed until it has caught up",
			behind.Round(time.Second))
	}
	return nil
}

// commitChange is the change that a commit makes.
type commitChange struct {
	sink   *Sink
	commit *pipeline.Commit
	id     string
}

// build adds the files and sets the properties, if the partitions are still
// the commit's and stand where it begins.
func (c *commitChange) build(ctx context.Context, base *icetable.Table, txn *icetable.Transaction) error {
	if err := c.sink.checkClaims(base.Properties(), c.commit); err != nil {
		return err
	}
	if err := checkPositions(base.Properties(), c.commit); err != nil {
		return err
	}
	first := len(c.commit.Files) > 0 && base.CurrentSnapshot() == nil
	props, err := c.sink.commitProperties(base.Properties(), c.commit, c.id, first)
	if err != nil {
		return err
	}
	summary, err := c.sink.summaryProperties(c.commit, c.id)
	if err != nil {
		return err
	}
	if files := c.commit.Files; len(files) > 0 {
		paths := make([]string, len(files))
		for i := range files {
			paths[i] = fileURI(files[i].Path)
		}
		// Names are unique, so the search for duplicates would find none.
		if err := txn.AddFiles(ctx, paths, summary, true); err != nil {
			return err
		}
	}
	return txn.SetProperties(props)
}

func checkPositions(props iceberg.Properties, c *pipeline.Commit) error {
	positions, err := readPositions(props)
	if err != nil {
		return err
	}
	for p, m := range c.Moves {
		if at, ok := positions[p]; ok && at.Next != m.From {
			return fmt.Errorf("%w: %w: partition %s stands at %d, the commit begins at %d",
				pipeline.ErrRefused, ErrPosition, p, at.Next, m.From)
		}
	}
	return nil
}

// landed looks for the commit: as the last one, or as one that has a snapshot
// below those of later ones.
func (c *commitChange) landed(now *icetable.Table) bool {
	return now.Properties()[propCommitID] == c.id ||
		slices.ContainsFunc(now.Metadata().Snapshots(), func(s icetable.Snapshot) bool {
			return s.Summary != nil && s.Summary.Properties[propCommitID] == c.id
		})
}

// outcome finds out what became of a step that ended in an error, also when
// the error is that the caller's time is up. Staged files stay where they are:
// if the step was taken after all, they are the table's.
func (s *Sink) outcome(ctx context.Context, t *table, base *icetable.Table, c change, cause error) (*icetable.Table, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	now, err := s.catalog.LoadTable(ctx, t.ident)
	if err != nil {
		return nil, fmt.Errorf("outcome unknown: %w", errors.Join(cause, err))
	}
	switch {
	case c.landed(now):
		return now, nil
	case !sameState(base.Metadata(), now.Metadata()):
		return nil, errMoved
	}
	return nil, cause
}

// fence makes transactions on t fail unless the table still is what t was
// loaded from at the moment of the catalog's compare-and-swap. The library's
// own pin covers snapshots only, and a claim or a commit without files makes
// none.
func (s *Sink) fence(t *icetable.Table) *icetable.Table {
	return icetable.New(t.Identifier(), t.Metadata(), t.MetadataLocation(), t.FS, fenced{s.catalog, t.Metadata()})
}

type fenced struct {
	icetable.CatalogIO
	base icetable.Metadata
}

// CommitTable commits if the table has not moved.
func (f fenced) CommitTable(ctx context.Context, ident icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, string, error) {
	reqs = append([]icetable.Requirement{unmoved{f.base}}, reqs...)
	return f.CatalogIO.CommitTable(ctx, ident, reqs, updates)
}

// unmoved is the requirement that nobody committed since base.
type unmoved struct{ base icetable.Metadata }

// GetType names the requirement.
func (unmoved) GetType() string { return "assert-lupa-unmoved" }

// Validate compares the table with the base of the commit.
func (u unmoved) Validate(now icetable.Metadata) error {
	if now == nil || !sameState(u.base, now) {
		return errMoved
	}
	return nil
}

// sameState reports whether two versions of a table have the same rows and
// the same properties: every commit and every claim changes one of them.
func sameState(a, b icetable.Metadata) bool {
	return maps.Equal(a.Properties(), b.Properties()) && sameSnapshot(a, b)
}

func sameSnapshot(a, b icetable.Metadata) bool {
	x, y := a.CurrentSnapshot(), b.CurrentSnapshot()
	if x == nil || y == nil {
		return x == y
	}
	return x.SnapshotID == y.SnapshotID
}

// settle does what follows a commit that landed. None of it can undo the
// commit, so none of it fails it: what is left out is made up for by the next
// commit or by Open.
func (s *Sink) settle(ctx context.Context, t *table, committed *icetable.Table, c *pipeline.Commit, id string) {
	ctx = context.WithoutCancel(ctx)
	t.live.follow(committed.CurrentSnapshot(), c, id)
	if err := s.reviewed.note(t, committed); err != nil {
		s.log.Error("the table does not tell up to where it was reviewed; all of it counts as not reviewed", "table", t.name, "error", err)
	}
	if err := s.publish(ctx, t, committed); err != nil {
		s.log.Error("files of the table not published, readers see an older state", "table", t.name, "error", err)
	}
	if committed.Properties().GetInt(propCommits, 0)%expireEvery == 0 {
		if err := s.expire(ctx, committed); err != nil {
			s.log.Warn("old snapshots not expired, the next time will", "table", t.name, "error", err)
		}
	}
}
