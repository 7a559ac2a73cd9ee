package files

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

const headSize = 64 << 10

// anchor tells whether a file is still the one that was read. As text it is
// the size, the hash of the head, and the state: "120:9f86…:part",
// "120:9f86…:done", "120:9f86…:open".
type anchor struct {
	size  int64
	head  [sha256.Size]byte
	state string
}

// The states of an anchor.
const (
	part = "part" // more lines follow the position
	done = "done" // the file was read to its end
	tail = "open" // so it was, and its last line has no end of line
)

func (a anchor) String() string {
	return fmt.Sprintf("%d:%x:%s", a.size, a.head, a.state)
}

func parseAnchor(s string) (a anchor, ok bool) {
	size, rest, ok1 := strings.Cut(s, ":")
	head, state, ok2 := strings.Cut(rest, ":")
	n, err := strconv.ParseInt(size, 10, 64)
	sum, err2 := hex.DecodeString(head)
	if !ok1 || !ok2 || err != nil || err2 != nil || n < 0 || len(sum) != len(a.head) {
		return anchor{}, false
	}
	if state != part && state != done && state != tail {
		return anchor{}, false
	}
	a = anchor{size: n, state: state}
	copy(a.head[:], sum)
	return a, a.String() == s
}

// headHash hashes what of the first size bytes of f is in its head.
func headHash(f *os.File, size int64) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	n := min(size, headSize)
	if m, err := io.Copy(h, io.NewSectionReader(f, 0, n)); err != nil {
		return sum, err
	} else if m < n {
		return sum, io.ErrUnexpectedEOF
	}
	h.Sum(sum[:0])
	return sum, nil
}

// PositionError says that a file is not the one that was read before, or no
// longer what it was: reading on could lose rows or write them twice. An
// operator has to decide; nothing is reset. The source's error names the file.
type PositionError struct{ problem string }

// Error says what is wrong with the file.
func (e *PositionError) Error() string { return e.problem }

func refuse(format string, args ...any) error {
	return &PositionError{fmt.Sprintf(format, args...)}
}

// check compares an open file with the anchor of a mark. finished means that
// there is nothing left to read.
func (a anchor) check(f *os.File, size int64) (finished bool, err error) {
	if size < a.size {
		return false, refuse("has %d bytes, it had %d when it was read: it was replaced or cut", size, a.size)
	}
	head, err := headHash(f, a.size)
	if err != nil {
		return false, err
	}
	if head != a.head {
		return false, refuse("does not begin as it did when it was read: it was replaced")
	}
	if size > a.size && a.state == tail {
		return false, refuse("has grown behind a line without an end that was already read")
	}
	return size == a.size && a.state != part, nil
}
