package oracle

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Source is where messages are: topics, or files of lines.
type Source struct {
	Brokers []string
	Topics  []string
	// Dial is what it takes besides their addresses to connect to the brokers.
	Dial []kgo.Opt
	// Files are paths and globs of JSON lines, plain, gzip or zstd. Each file is
	// a partition 0 of a topic that is its absolute path.
	Files []string
	// Opaque are topics, and files by their paths as they stand in Files, whose
	// messages are not JSON as they are. They cannot be judged.
	Opaque []string
}

func (s *Source) empty() bool { return len(s.Topics) == 0 && len(s.Files) == 0 }

// place is a partition of a topic, or a file.
type place struct {
	topic string
	id    int32
}

func (p place) String() string { return fmt.Sprintf("%s/%d", p.topic, p.id) }

// at names a message.
func (p place) at(offset int64) string { return fmt.Sprintf("%s offset %d", p, offset) }

// extent is what there is of a partition.
type extent struct {
	start int64 // the first offset that the log still has
	end   int64 // where a reader of committed messages ends
	high  int64 // where the log ends
	// compacted says that messages may have been removed between the two.
	compacted bool
	// opaque says that nothing is known of what its messages say.
	opaque  bool
	leader  int32
	topicID [16]byte
	real    string // what the name of a file leads to
}

// noTime is the time of a message that has none.
const noTime = int64(math.MinInt64)

// message is one message as it was sent. A nil value is a tombstone, or an
// empty message.
type message struct {
	offset     int64
	time       int64 // microseconds, or noTime
	key, value []byte
	large      bool // a line that is too long to be looked at
}

// extents asks how far the partitions go.
func (s *Source) extents(ctx context.Context, limit int) (map[place]extent, error) {
	all := map[place]extent{}
	if len(s.Topics) > 0 {
		k, err := s.dial()
		if err != nil {
			return nil, err
		}
		defer k.Close()
		if err := k.extents(ctx, s.Topics, all); err != nil {
			return nil, err
		}
	}
	for _, glob := range s.Files {
		if err := lineExtents(glob, limit, slices.Contains(s.Opaque, glob), all); err != nil {
			return nil, err
		}
	}
	for p, e := range all {
		e.opaque = e.opaque || slices.Contains(s.Opaque, p.topic)
		all[p] = e
	}
	return all, nil
}

// read gives all messages up to the ends, one partition after the other. Bytes
// belong to the receiver.
func (s *Source) read(ctx context.Context, all map[place]extent, limit int, each func(place, *message) error) error {
	var k *broker
	if len(s.Topics) > 0 {
		var err error
		if k, err = s.dial(); err != nil {
			return err
		}
		defer k.Close()
	}
	for _, p := range sortedPlaces(all) {
		var err error
		if e := all[p]; e.leader == aFile {
			err = readLines(p, limit, each)
		} else {
			err = k.read(ctx, p, e, each)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}
