package pipeline

import (
	"github.com/apache/arrow/go/v17/arrow"

	"lupa/schemas"
)

// Verdict is what becomes of a row. The zero value drops it.
type Verdict uint8

// The verdicts.
const (
	DropRow Verdict = iota
	MaskRow
	KeepRow
)

// Chunk is what a source hands over: raw messages of one partition, one after
// the other in one arena, in offset order. It belongs to the source and is
// valid until the source's next call.
type Chunk struct {
	Partition Partition
	// At least ArenaSlack readable bytes follow the last message in the arena.
	schemas.Messages
	// TooLarge lists, ascending, the indexes of messages that were over the
	// source's limit; their value is empty.
	TooLarge []int32
	// Offsets are the messages' offsets, ascending, not always dense.
	Offsets []int64
	// Next is the position after this chunk.
	Next Mark
}

// ArenaSlack is how many readable bytes follow the last message of an arena,
// so that scanners may load whole words.
const ArenaSlack = 64

// NoTime marks a message that carries no time of its own.
const NoTime = int64(-1 << 63)

// Batch is the rows of one contract from one chunk on their way through the
// stages. It and all it holds is valid until the worker's next chunk.
type Batch struct {
	Contract  *schemas.Contract
	Table     int // index of the contract in the job
	Partition Partition
	// Raw has the decoded columns, as schemas.Rows says. Raw identifiers are
	// in it; the sink never sees it.
	Raw arrow.Record
	// Offsets is the source offset of each row of Raw, ascending.
	Offsets []int64
	// Times is the own time of each row's message, as in Chunk; nil when none
	// has one.
	Times []int64

	// Verdicts, Reasons and Granted are set by the consent stage, one entry a
	// row of Raw. Granted holds the purposes that are permitted, of those that
	// the contract and its fields name.
	Verdicts []Verdict
	Reasons  []schemas.Reason
	Granted  []schemas.PurposeSet
	// Duties are set by the consent stage for the rows whose reason is Retained,
	// ascending by row: which fields a legal duty keeps in them, and until when.
	Duties []Duty

	// Selected are the rows of Raw that go on (kept and masked), ascending, and
	// Out their treated columns: first subject_token (16 bytes, null in masked
	// rows) when the contract is personal, then one column for each field whose
	// Column is not NoColumn, in field order. Both are set by the treat stage.
	Selected []int32
	Out      arrow.Record
}

// Duty is what a legal duty keeps in a masked row (GDPR Art 17(3)): the named
// fields, treated as in a kept row, until the duty ends.
type Duty struct {
	Row    int32
	Fields []bool // one entry a field of the contract; not to be changed
	Until  int64  // microseconds since 1970 UTC
	Basis  string // the law, a DPV term; empty if the record does not say
}
