// Package gen makes synthetic marketing events and the consent ledger that
// belongs to them: JSON lines in the form of the Segment spec, from subjects of
// whom a few are seen very often and most hardly ever.
//
// The same Options give the same bytes, always. Nothing in them is about a
// real person: hosts and mail domains are reserved ones, addresses are private.
package gen

import "fmt"

// Options say what is made.
type Options struct {
	Seed uint64
	// Events is how many events there are in all files together.
	Events int
	// Subjects is how many people there are; the ledger knows of most of them,
	// the events are of those that the draw hits.
	Subjects int
	// Files is over how many files the events are spread, by time.
	Files int
	// Compression of the event files; the ledger is plain.
	Compression Compression
}

// Compression is how event files are stored.
type Compression string

// The compressions, by the ending of the file name.
const (
	Plain Compression = ""
	Gzip  Compression = "gz"
	Zstd  Compression = "zst"
)

// Check says what is wrong with the options.
func (o Options) Check() error {
	switch {
	case o.Events < 0:
		return fmt.Errorf("events is %d, must not be negative", o.Events)
	case o.Subjects < 2 || o.Subjects > maxSubjects:
		return fmt.Errorf("subjects is %d, must be between 2 and %d", o.Subjects, maxSubjects)
	case o.Files < 1:
		return fmt.Errorf("files is %d, must be at least 1", o.Files)
	case o.Compression != Plain && o.Compression != Gzip && o.Compression != Zstd:
		return fmt.Errorf("compression is %q, must be gz, zst or empty", o.Compression)
	}
	return nil
}
