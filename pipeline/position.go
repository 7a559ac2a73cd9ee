package pipeline

import "fmt"

// Partition is one ordered sequence of messages: a Kafka topic-partition, or a
// file (its name, with ID 0).
type Partition struct {
	Topic string
	ID    int32
}

// String gives topic/partition for messages.
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.ID) }

// Mark is how far a partition has been read.
type Mark struct {
	// Next is the offset of the next message to read.
	Next int64
	// Anchor is the source's own proof that the partition is still the one
	// that was read (a file's size and head, say); empty when it has none.
	Anchor string
}

// Positions are marks by partition. A partition that is absent was never read.
type Positions map[Partition]Mark

// Move is the piece of a partition that one commit covers: every message with
// From <= offset < To.Next.
type Move struct {
	From int64
	To   Mark
}

// Vector is a ledger position: the next offset of each ledger partition.
type Vector map[Partition]int64

// Lower sets every entry of v to the lower of v's and o's: the position that
// rows decided under either are sure to have seen.
func (v Vector) Lower(o Vector) {
	for p, next := range o {
		if old, ok := v[p]; !ok || next < old {
			v[p] = next
		}
	}
}
