package schemas

// LedgerMessages are consecutive messages of one partition of a ledger.
type LedgerMessages struct {
	Topic     string
	Partition int32
	// Offsets are the messages' offsets, ascending, not always dense.
	Offsets []int64
	// Keys and Values are valid during a call only. A nil value is a tombstone, a
	// nil key an absent one.
	Keys, Values [][]byte
	// Compacted says that earlier messages of the same keys may be gone that nobody
	// here has seen: they are read at the start of a reader of a compacted topic.
	Compacted bool
	// Headers are each message's headers as Messages has them; nil is none for all.
	Headers [][]byte
}

// Statement is one thing that a ledger message says.
type Statement struct {
	Kind StatementKind
	// Record is what is said; of a tombstone and of what cannot be read it is
	// whom and what it is about, as far as that is known.
	Record Record
	// Fault says why it cannot be read. It names a member, never a value.
	Fault error
}

// StatementKind says how a Statement is meant.
type StatementKind uint8

// The kinds. The zero value denies whom it is about.
const (
	Unreadable StatementKind = iota // denies what it is about
	Said                            // a record
	Deleted                         // a tombstone: the row of Record's key is gone
	Marked                          // a marker, which is about nobody
)
