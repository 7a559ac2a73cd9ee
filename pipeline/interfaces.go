package pipeline

import (
	"context"
	"errors"

	"lupa/schemas"
)

// Source is a worker's share of the input. Only one goroutine uses it.
type Source interface {
	// Open starts reading at the given positions; a partition that is absent
	// from them is read from its beginning. An anchor that does not match the
	// partition is an error.
	Open(ctx context.Context, from Positions) error
	// Next gives the next chunk. It waits a short while at most (about half a
	// second) and then gives a nil chunk, so that the caller can keep its
	// commit interval. io.EOF is the end of bounded input. It retries what is
	// transient by itself; any other error ends the run. What was read before
	// one that is ErrHeld is committed first.
	Next(ctx context.Context) (*Chunk, error)
	// Close lets go of everything. It may be called at any time after Open.
	Close() error
}

// ErrHeld is an error of a Source that will not give what comes next, while
// everything that it gave before stands.
var ErrHeld = errors.New("the source holds back what comes next")

// Prover is a Source that also proves positions that reading does not begin
// at. Tables may stand at different positions; reading begins at the lowest, or
// at the beginning where a table has none, and each table skips what it holds
// already. That is only right while the partition still is the one that every
// one of them was read from, with nothing lost in between.
type Prover interface {
	// Prove gives, for each table, its positions. It is called before Open, and
	// a mark that no longer fits its partition is an error as one that reading
	// begins at. A partition's marks do not change until it has been read.
	Prove(held []Positions)
}

// Finisher is a Source that is told when a chunk has been worked on, so that it
// does not take what comes between two chunks, a commit say, for work on one.
type Finisher interface {
	Finished() error
}

// Decoder makes columns of messages. Only one goroutine uses it.
type Decoder interface {
	// Decode reads the messages of one topic. It gives the rows of each
	// contract (the slice is indexed like the job's contracts; Record is nil
	// where there are none) and the rejects, ascending by message. Both are
	// valid until the next call. While something that it needs cannot be
	// reached it waits, until ctx ends.
	Decode(ctx context.Context, topic string, m *schemas.Messages) ([]schemas.Rows, []schemas.Reject, error)
}

// Stage works on a batch in place. Only one goroutine uses it. An error stops
// the run: a stage never passes what it could not work on.
type Stage interface {
	Apply(ctx context.Context, b *Batch) error
}

// Ledger is what the loop needs to know of the consent ledger.
type Ledger interface {
	// Barrier waits until the view has reached every record that was in the
	// ledger when Barrier was called, and gives the position reached. It never
	// returns early with a nil error. Workers may call it at once.
	Barrier(ctx context.Context) (Vector, error)
}

// Quarantine puts rejected messages aside. Workers may use it at once.
type Quarantine interface {
	// Put hands over rejected messages. value is raw and valid during the call
	// only; it must be sealed before it is stored.
	Put(ctx context.Context, entries []Rejected) error
	// Flush returns once everything put before is durable.
	Flush(ctx context.Context) error
}

// Rejected is one message on its way to the quarantine.
type Rejected struct {
	Partition Partition
	Offset    int64
	Table     string // empty when no contract takes it
	Field     string // name of the field at fault, if one is
	Reason    schemas.Reason
	Value     []byte
}

// Rechecker is a Stage that can tell, until a row is committed, whether it
// would still be kept.
type Rechecker interface {
	Stage
	// Hold gives the rows that were kept or masked since the last call, as they
	// were decided, and begins anew.
	Hold() Held
	// HeldBytes is the memory that the rows take which the next Hold will give.
	HeldBytes() int64
}

// Held are rows that were kept or masked and are not committed. Recheck may be called
// from another goroutine than the stage's, by one at a time.
type Held interface {
	// Recheck decides again the rows of a table whose subjects' records changed
	// since they were decided, or since the last Recheck of the table, and
	// gives those that may no longer stand as they are. The records that count
	// are those that the ledger's view has applied when it is called.
	Recheck(table int) ([]Amendment, error)
	// Release says once that nothing more will be asked: the rows are committed.
	Release()
}

// Amendment is what has to be done to one row that was to be kept: it is taken
// out when Reason denies; when it is ConsentGiven the row stays with fewer
// purposes, and fields that need one of the others are emptied. A row that was
// to be masked can only be taken out.
type Amendment struct {
	Partition Partition
	Offset    int64
	Reason    schemas.Reason
	Granted   schemas.PurposeSet
	// Masked is why the row was to be masked, NoReason if it was to be kept.
	Masked schemas.Reason
}

// Sink keeps the tables of a job, indexed like its contracts.
type Sink interface {
	// Positions gives, for each table, how far its commits have come.
	Positions(ctx context.Context) ([]Positions, error)
	// Writer makes a worker's writer.
	Writer() Writer
	// Commit makes files and positions visible in one step, or none of them.
	// It fails with an error that wraps ErrRefused if a stored position is not
	// the one that the commit begins at, or a stored claim not the commit's;
	// the files are then gone.
	Commit(ctx context.Context, c *Commit) error
}

// Claimer is a Sink whose partitions can be claimed: whoever claimed last may
// commit, and who claimed before may no more.
type Claimer interface {
	// Claim takes partitions over in every table. It gives the claims and, as
	// they stand under them, all positions, both by table.
	Claim(ctx context.Context, partitions []Partition) ([]Claims, []Positions, error)
}

// Amender is a Sink that can change rows of files that no commit names yet.
type Amender interface {
	// Amend applies the amendments, each to one row of one of the files of the
	// table, and gives all its files as they are then: an old one where no row
	// changed, and none for one without rows. Files that were replaced are
	// gone. It is an error if a row is not there.
	Amend(ctx context.Context, table int, files []File, rows []Amendment) ([]File, error)
}

// Discarder is a Sink that removes what a run leaves behind that ends early.
type Discarder interface {
	// Discard removes files of a table that no commit was tried with, so that
	// none will ever name them.
	Discard(table int, files []File)
}

// ErrRefused is the error of a commit that another writer was faster than, or
// whose partitions another writer has claimed since. Nothing of it is visible.
var ErrRefused = errors.New("the commit was refused")

// Writer stages rows in files that no reader sees before their commit. Only
// one goroutine uses it.
type Writer interface {
	// Append copies the rows of b.Out. The writer bounds its own memory: it may
	// write files before Flush asks for them.
	Append(b *Batch) error
	// Flush writes all rows to finished, durable files and starts anew.
	Flush(ctx context.Context) ([]File, error)
	// Close abandons what was not flushed.
	Close() error
}

// File is one finished data file that waits for its commit.
type File struct {
	Table  int
	Path   string
	Rows   int64
	Bytes  int64
	SHA256 [32]byte
}

// Commit is one step of one table.
type Commit struct {
	Table  int
	Files  []File
	Moves  map[Partition]Move
	Counts Counts
	// Claims are the numbers under which the partitions of Moves are committed;
	// nil when the job has claimed none.
	Claims Claims
	// Ledger is the ledger position under which the kept rows are permitted:
	// every record before it was looked at.
	Ledger Vector

	held  []Held
	tried bool // the sink was told of the files
}

// Claims are the numbers of a table's claims by partition.
type Claims map[Partition]int64

// Counts says what became of the messages that a table's commit covers:
// Read = Kept + Masked + Dropped + Rejected, and Read is the sum of Reasons.
type Counts struct {
	Read, Kept, Masked, Dropped, Rejected int64
	Reasons                               [schemas.NumReasons]int64
}

// Add adds o to c.
func (c *Counts) Add(o *Counts) {
	c.Read += o.Read
	c.Kept += o.Kept
	c.Masked += o.Masked
	c.Dropped += o.Dropped
	c.Rejected += o.Rejected
	for i, n := range o.Reasons {
		c.Reasons[i] += n
	}
}
