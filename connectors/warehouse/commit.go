package warehouse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

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

// Commit makes files and positions visible in one step. It fails with
// ErrPosition if a stored position is not the one that the commit begins at.
// On an error nothing of it is visible, unless the error says that the outcome
// is unknown; then the positions tell.
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
	release, err := t.lock.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	id := uuid.NewString()
	for range maxAttempts {
		var committed *icetable.Table
		committed, err = s.attempt(ctx, t, c, id)
		if err == nil {
			s.settle(ctx, t, committed, c, id)
			return nil
		}
		if !errors.Is(err, errMoved) {
			return err
		}
	}
	return fmt.Errorf("gave up after %d attempts: %w", maxAttempts, err)
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
		info, err := os.Stat(f.Path)
		if err != nil {
			return err
		}
		if info.Size() != f.Bytes {
			return fmt.Errorf("file %s has %d bytes, %d were written", fileName(f.Path), info.Size(), f.Bytes)
		}
		rows += f.Rows
	}
	// The rejects table also lists messages that its counts leave to the table
	// whose contract they broke.
	if rows != n.Kept+n.Masked && t.name != schemas.RejectsTable {
		return fmt.Errorf("files hold %d rows, %d were kept and %d masked", rows, n.Kept, n.Masked)
	}
	for p, m := range c.Moves {
		// JSON would store another name, and the position would not be found again.
		if !utf8.ValidString(p.Topic) || !utf8.ValidString(m.To.Anchor) {
			return fmt.Errorf("partition %q: its name or its anchor is not UTF-8", p)
		}
		if m.From < 0 || m.To.Next < m.From {
			return fmt.Errorf("partition %s moves from %d to %d", p, m.From, m.To.Next)
		}
	}
	return nil
}

// attempt commits on top of the table as it is now. An error other than
// errMoved means that the commit will not or may not have landed.
func (s *Sink) attempt(ctx context.Context, t *table, c *pipeline.Commit, id string) (*icetable.Table, error) {
	base, err := s.catalog.LoadTable(ctx, t.ident)
	if err != nil {
		return nil, err
	}
	positions, err := readPositions(base.Properties())
	if err != nil {
		return nil, err
	}
	for p, m := range c.Moves {
		if at, ok := positions[p]; ok && at.Next != m.From {
			return nil, fmt.Errorf("%w: partition %s stands at %d, the commit begins at %d",
				ErrPosition, p, at.Next, m.From)
		}
	}
	committed, err := s.submit(ctx, base, c, id)
	if err == nil {
		return committed, nil
	}
	return s.outcome(ctx, t, base, id, err)
}

// submit sends one transaction: files and properties, pinned to the table as
// base has it.
func (s *Sink) submit(ctx context.Context, base *icetable.Table, c *pipeline.Commit, id string) (*icetable.Table, error) {
	props, err := s.commitProperties(base.Properties(), c, id)
	if err != nil {
		return nil, err
	}
	summary, err := s.summaryProperties(c, id)
	if err != nil {
		return nil, err
	}
	txn := s.fence(base).NewTransaction()
	if err := txn.AssertRefSnapshotID(""); err != nil {
		return nil, err
	}
	if len(c.Files) > 0 {
		paths := make([]string, len(c.Files))
		for i := range c.Files {
			paths[i] = fileURI(c.Files[i].Path)
		}
		// Names are unique, so the search for duplicates would find none.
		if err := txn.AddFiles(ctx, paths, summary, true); err != nil {
			return nil, err
		}
	}
	if err := txn.SetProperties(props); err != nil {
		return nil, err
	}
	return txn.Commit(ctx)
}

// outcome finds out what became of a commit that ended in an error, also when
// the error is that the caller's time is up. Staged files stay where they are:
// if the commit did land after all, they are the table's.
func (s *Sink) outcome(ctx context.Context, t *table, base *icetable.Table, id string, cause error) (*icetable.Table, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeTimeout)
	defer cancel()
	now, err := s.catalog.LoadTable(ctx, t.ident)
	if err != nil {
		return nil, fmt.Errorf("outcome unknown: %w", errors.Join(cause, err))
	}
	switch {
	case landed(now, id):
		return now, nil
	case !sameState(base.Metadata(), now.Metadata()):
		return nil, errMoved
	}
	return nil, cause
}

// landed looks for the commit: as the last one, or as one that has a snapshot
// below those of later ones.
func landed(t *icetable.Table, id string) bool {
	return t.Properties()[propCommitID] == id ||
		slices.ContainsFunc(t.Metadata().Snapshots(), func(s icetable.Snapshot) bool {
			return s.Summary != nil && s.Summary.Properties[propCommitID] == id
		})
}

// fence makes transactions on t fail unless the table still is what t was
// loaded from at the moment of the catalog's compare-and-swap. The library's
// own pin covers snapshots only, and a commit without files makes none.
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
// the same last commit.
func sameState(a, b icetable.Metadata) bool {
	if a.Properties()[propCommitID] != b.Properties()[propCommitID] {
		return false
	}
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
	if err := s.publish(ctx, t, committed); err != nil {
		s.log.Error("files of the table not published, readers see an older state", "table", t.name, "error", err)
	}
	if committed.Properties().GetInt(propCommits, 0)%expireEvery == 0 {
		if err := s.expire(ctx, committed); err != nil {
			s.log.Warn("old snapshots not expired, the next time will", "table", t.name, "error", err)
		}
	}
}
