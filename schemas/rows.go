package schemas

import "github.com/apache/arrow/go/v17/arrow"

// Span is where one message lies in an arena of messages.
type Span struct{ Off, Len uint32 }

// Messages are raw messages, one after the other in one arena.
type Messages struct {
	// Arena holds the messages; at least 64 readable bytes follow the last one.
	Arena []byte
	// Values are where the messages lie; Len 0 is an empty value.
	Values []Span
	// Headers are where each message's headers lie, as a Kafka record of format
	// v2 has them: their number, then of each the length of the key, the key,
	// the length of the value (-1 for none) and the value, numbers as zigzag
	// varints. Len 0 is no headers; nil is none for all.
	Headers []Span
	// Times are the messages' own times (a Kafka record's timestamp) in
	// microseconds since 1970, or the lowest int64 where there is none.
	Times []int64
}

// Rows are the messages of one arena that belong to one contract, as columns.
//
// Record has one column per Contract.Fields, in their order: Text is
// BinaryView (views into the arena, or into a side buffer where an escape had
// to be undone), Integer Int64, Number Float64, Boolean, Timestamp[us, UTC],
// Date Date32. A field that is absent or null is null. JSON is BinaryView of the
// text of the value; a value that comes twice and differs is a text that is no
// JSON.
type Rows struct {
	Record arrow.Record
	// Message is the index, in the arena, of the message of each row; it
	// ascends.
	Message []int32
}

// Reject is a message that is no row of a contract.
type Reject struct {
	Message  int32 // index in the arena
	Contract int32 // index of the contract, or NoContract
	Field    int32 // index of the field that is at fault, or NoField
	Reason   Reason
}

// NoContract marks a reject that no contract can be blamed for, NoField one
// that is the whole message's fault.
const (
	NoContract int32 = -1
	NoField    int32 = -1
)
