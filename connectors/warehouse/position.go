package warehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"lupa/pipeline"
)

// maxMoved is how many records of an operator's moves a table keeps.
const maxMoved = 100

// PositionMove is what an operator decides where a job cannot go on by itself:
// a partition's position is moved, and every table that is told keeps a record
// of it.
type PositionMove struct {
	Partition pipeline.Partition
	// To is where the tables are to stand; nil leaves each where it stands, and
	// only keeps the record.
	To *pipeline.Mark
	// Tables are the tables to move, in the order in which they are.
	Tables []Stand
	// Reason is what the operator says; CheckReason tells what it may be.
	Reason string
	// Version is that of the program, Time when it was told.
	Version string
	Time    time.Time
}

// Stand is where a table stood when the operator decided.
type Stand struct {
	Table int
	// At is its position; nil when it had none. A table that has come to stand
	// elsewhere is not moved.
	At *pipeline.Mark
	// Found names the cause, as the one who looked found it: see FORMAT.md.
	Found string
}

// Moved is the record of a move. To is nil when the position stayed, From when
// there was none.
type Moved struct {
	Partition pipeline.Partition
	From, To  *pipeline.Mark
	Epoch     int64 // of the claim that the move made
	Found     string
	Reason    string
	Version   string
	Time      time.Time
}

// storedMoved is a record as a table property holds it.
type storedMoved struct {
	Partition string      `json:"partition"`
	From      *storedMark `json:"from,omitempty"`
	To        *storedMark `json:"to,omitempty"`
	Epoch     int64       `json:"epoch"`
	Found     string      `json:"found"`
	Reason    string      `json:"reason"`
	Version   string      `json:"version"`
	Time      time.Time   `json:"time"`
}

// MovePosition moves the tables one after the other, each in one step that
// also claims the partition, so that a job which runs is fenced off, and
// keeps the record. It gives how many of them are done: they stay so after an
// error, and the same move of the others completes it. A table that stands
// where it is to stand is left alone. The error wraps pipeline.ErrRefused and
// ErrPosition if a table stands elsewhere than was said.
func (s *Sink) MovePosition(ctx context.Context, m PositionMove) (done int, err error) {
	if err := m.check(len(s.tables)); err != nil {
		return 0, fmt.Errorf("move position: %w", err)
	}
	ctx = withDisk(ctx, s.disk)
	for i := range m.Tables {
		stand := &m.Tables[i]
		if m.To != nil && stand.At != nil && *stand.At == *m.To {
			continue
		}
		t := s.tables[stand.Table]
		if err := s.move(ctx, t, &positionChange{sink: s, move: &m, stand: stand}); err != nil {
			return i, fmt.Errorf("move position in table %s: %w", t.name, err)
		}
	}
	return len(m.Tables), nil
}

func (m *PositionMove) check(tables int) error {
	if err := checkPartition(m.Partition); err != nil {
		return err
	}
	if m.To != nil && (m.To.Next < 0 || !utf8.ValidString(m.To.Anchor)) {
		return fmt.Errorf("partition %s: offset %d is below 0, or its anchor not UTF-8", m.Partition, m.To.Next)
	}
	seen := map[int]bool{}
	for _, stand := range m.Tables {
		if stand.Table < 0 || stand.Table >= tables || seen[stand.Table] {
			return fmt.Errorf("table %d is not there, or named twice", stand.Table)
		}
		seen[stand.Table] = true
	}
	return CheckReason(m.Reason)
}

// maxReason is how many characters an operator's reason may have.
const maxReason = 200

// address is what an e-mail address has in it, also where it was escaped or
// comes from another keyboard.
var address = regexp.MustCompile(`[^\s](@|＠|﹫|%40)[^\s]`)

// CheckReason refuses what cannot be kept as the reason of a move. It is stored
// for good and read by anybody who may read the tables, so no personal data
// must be in it; what looks like an e-mail address is refused.
func CheckReason(reason string) error {
	n := utf8.RuneCountInString(reason)
	switch {
	case !utf8.ValidString(reason):
		return errors.New("the reason is not UTF-8")
	case n > maxReason || strings.TrimSpace(reason) == "":
		return fmt.Errorf("the reason has %d characters, allowed are 1 to %d that are not all spaces", n, maxReason)
	case strings.ContainsFunc(reason, breaksLine):
		return errors.New("the reason has line breaks or control characters, allowed is one line")
	case address.MatchString(reason):
		return errors.New("the reason seems to hold an e-mail address; it is stored for good and must not name a person")
	}
	return nil
}

func breaksLine(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }

func (s *Sink) move(ctx context.Context, t *table, c *positionChange) error {
	release, err := t.lock.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	_, err = s.change(ctx, t, c)
	return err
}

// positionChange is the change that moves the position of a table.
type positionChange struct {
	sink  *Sink
	move  *PositionMove
	stand *Stand

	key, record string // as the last build made them
}

// build moves the position, raises the claim and adds the record.
func (c *positionChange) build(_ context.Context, base *icetable.Table, txn *icetable.Transaction) error {
	p := c.move.Partition
	claims, err := readClaims(base.Properties())
	if err != nil {
		return err
	}
	positions, err := readPositions(base.Properties())
	if err != nil {
		return err
	}
	number, err := countMoved(base.Properties())
	if err != nil {
		return err
	}
	at, ok := positions[p]
	if ok != (c.stand.At != nil) || ok && at != *c.stand.At {
		return fmt.Errorf("%w: %w: partition %s has moved since it was looked at", pipeline.ErrRefused, ErrPosition, p)
	}
	number++
	epoch := claims[p].Epoch + 1
	record := storedMoved{
		Partition: p.String(), From: markOf(c.stand.At), To: markOf(c.move.To), Epoch: epoch,
		Found: c.stand.Found, Reason: c.move.Reason, Version: c.move.Version, Time: c.move.Time.UTC(),
	}
	props := iceberg.Properties{propMoved: strconv.Itoa(number)}
	c.key = movedPrefix + strconv.Itoa(number)
	if c.record, err = encode(record); err != nil {
		return err
	}
	props[c.key] = c.record
	if props[claimPrefix+p.String()], err = encode(storedClaim{epoch, c.sink.owner}); err != nil {
		return err
	}
	if record.To != nil {
		if props[positionPrefix+p.String()], err = encode(record.To); err != nil {
			return err
		}
	}
	if err := txn.SetProperties(props); err != nil {
		return err
	}
	if oldest := movedPrefix + strconv.Itoa(number-maxMoved); base.Properties()[oldest] != "" {
		return txn.RemoveProperties([]string{oldest})
	}
	return nil
}

func markOf(m *pipeline.Mark) *storedMark {
	if m == nil {
		return nil
	}
	s := storedMark(*m)
	return &s
}

// landed looks for the record, which no other move can have made: the number
// of its claim is given once.
func (c *positionChange) landed(now *icetable.Table) bool {
	return c.record != "" && now.Properties()[c.key] == c.record
}

// countMoved reads how many moves there have been.
func countMoved(props iceberg.Properties) (int, error) {
	text, ok := props[propMoved]
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("property %s is no count", propMoved)
	}
	return n, nil
}

// readMoved takes the records out of a table's properties, oldest first.
func readMoved(props iceberg.Properties) ([]Moved, error) {
	var numbers []int
	for key := range props {
		if name, ok := strings.CutPrefix(key, movedPrefix); ok {
			n, err := strconv.Atoi(name)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("property %s is no record of a move", key)
			}
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	var list []Moved
	for _, n := range numbers {
		key := movedPrefix + strconv.Itoa(n)
		var r storedMoved
		if json.Unmarshal([]byte(props[key]), &r) != nil || r.Epoch < 1 || r.Reason == "" || r.Time.IsZero() {
			return nil, fmt.Errorf("property %s is no record of a move", key)
		}
		p, err := parsePartition(r.Partition)
		if err != nil {
			return nil, fmt.Errorf("property %s: %w", key, err)
		}
		list = append(list, Moved{
			Partition: p, From: (*pipeline.Mark)(r.From), To: (*pipeline.Mark)(r.To), Epoch: r.Epoch,
			Found: r.Found, Reason: r.Reason, Version: r.Version, Time: r.Time,
		})
	}
	return list, nil
}

// TableState is where one table stands.
type TableState struct {
	Table      string
	Partitions map[pipeline.Partition]PartitionState
	// Moved are the last moves of operators, oldest first; there have been
	// Moves in all.
	Moved []Moved
	Moves int
}

// PartitionState is where a table stands in one partition, and whose it is.
type PartitionState struct {
	Mark  *pipeline.Mark // nil when nothing was committed yet
	Epoch int64          // of the claim; 0 when nobody has claimed it
	Owner string
}

// States gives what the tables' properties say of their partitions.
func (s *Sink) States(ctx context.Context) ([]TableState, error) {
	ctx = withDisk(ctx, s.disk)
	all := make([]TableState, len(s.tables))
	for i, t := range s.tables {
		loaded, err := s.catalog.LoadTable(ctx, t.ident)
		if err == nil {
			all[i], err = tableState(t.name, loaded.Properties())
		}
		if err != nil {
			return nil, fmt.Errorf("state of table %s: %w", t.name, err)
		}
	}
	return all, nil
}

func tableState(name string, props iceberg.Properties) (TableState, error) {
	state := TableState{Table: name, Partitions: map[pipeline.Partition]PartitionState{}}
	positions, err := readPositions(props)
	if err != nil {
		return state, err
	}
	claims, err := readClaims(props)
	if err != nil {
		return state, err
	}
	for p, mark := range positions {
		state.Partitions[p] = PartitionState{Mark: &mark}
	}
	for p, c := range claims {
		state.Partitions[p] = PartitionState{Mark: state.Partitions[p].Mark, Epoch: c.Epoch, Owner: c.Owner}
	}
	if state.Moves, err = countMoved(props); err != nil {
		return state, err
	}
	state.Moved, err = readMoved(props)
	return state, err
}
