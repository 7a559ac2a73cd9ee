package consent

import (
	"math"
	"slices"
	"sync"

	"lupa/pipeline"
	"lupa/schemas"
)

// Held are the rows that a Stage kept or masked in a time, as they were decided.
// Of masked ones nothing personal is in any file, so nothing that the ledger says
// later concerns them but an erasure: who is erased is not even masked.
type Held struct {
	view   *View
	spare  *spare
	tables []heldTable
	bytes  int64

	// What Recheck works with.
	matched []int
	tokens  []schemas.Token
	lines   gatherer
}

// heldTable is the rows of one table.
type heldTable struct {
	blocks []*heldBlock
	rows   int
	// since is how many changes the view had seen when the first of the rows was
	// decided, or at the last Recheck.
	since uint64
	// due is when the first of their decisions may change by itself; 0 is never.
	due int64
}

// heldBlock is a number of rows, so that neither growing nor deciding again is
// about all rows at once.
type heldBlock struct {
	runs  []run
	rows  []heldRow
	names []schemas.Token // of each row as many as its plan has lookups; zero is nobody
	odd   []oddRow
}

// blockRows is how many rows a block has, unless one batch has more.
const blockRows = 4096

// run is consecutive rows that were decided alike.
type run struct {
	plan      *plan
	partition pipeline.Partition
	offset    int64 // of its first row
	row, name int   // its first ones
}

// heldRow is one row that was kept or masked.
type heldRow struct {
	first  int64  // of its moments
	offset uint32 // after the run's
	// granted is what the row was kept for, or maskedRow with the reason why it
	// was masked, and 0 when it is neither any longer: a row is always kept for
	// something.
	granted uint32
}

const maskedRow = uint32(1) << 31

// Every set of purposes fits into a row beside it.
const _ = uint32(uint64(maskedRow) - 1 - uint64(schemas.AllPurposes))

// oddRow has the moments of a row if they are not all one.
type oddRow struct {
	row int
	moments
}

// The sizes of what a block has.
const (
	runBytes  = 56
	rowBytes  = 16
	nameBytes = 16
	oddBytes  = 32
)

// keep holds those rows of the batch at hand that stay: they are kept or masked.
func (s *Stage) keep(b *pipeline.Batch, p *plan, stay int, due int64, decided uint64) {
	if stay == 0 {
		return
	}
	k := s.held.block(b.Table, stay, decided)
	t := &s.held.tables[b.Table]
	t.due = sooner(t.due, due)
	s.held.bytes -= k.bytes()
	n := len(b.Verdicts)
	k.rows, k.names = slices.Grow(k.rows, stay), slices.Grow(k.names, stay*len(p.lookups))
	var r *run
	for row, verdict := range b.Verdicts {
		if verdict == pipeline.DropRow {
			continue
		}
		granted := uint32(b.Granted[row])
		if verdict == pipeline.MaskRow {
			granted = maskedRow | uint32(b.Reasons[row])
		}
		if offset := b.Offsets[row]; r == nil || uint64(offset-r.offset) > math.MaxUint32 {
			r = k.run(p, b.Partition, offset)
		}
		m := &s.when[row]
		if m.several() {
			k.odd = append(k.odd, oddRow{len(k.rows), *m})
		}
		k.rows = append(k.rows, heldRow{m.first, uint32(b.Offsets[row] - r.offset), granted})
		for at := row; at < len(s.tokenBuf); at += n {
			k.names = append(k.names, s.tokenBuf[at])
		}
	}
	s.held.bytes += k.bytes()
}

// run gives the run that a row goes into.
func (k *heldBlock) run(p *plan, partition pipeline.Partition, offset int64) *run {
	if last := len(k.runs) - 1; last >= 0 {
		if r := &k.runs[last]; r.plan == p && r.partition == partition && uint64(offset-r.offset) <= math.MaxUint32 {
			return r
		}
	}
	k.runs = append(k.runs, run{p, partition, offset, len(k.rows), len(k.names)})
	return &k.runs[len(k.runs)-1]
}

func (k *heldBlock) bytes() int64 {
	return int64(len(k.runs)*runBytes + len(k.rows)*rowBytes + len(k.names)*nameBytes + len(k.odd)*oddBytes)
}

// block gives a block of a table that has room for some rows.
func (h *Held) block(table, rows int, decided uint64) *heldBlock {
	for table >= len(h.tables) {
		h.tables = append(h.tables, heldTable{})
	}
	t := &h.tables[table]
	if t.rows == 0 {
		t.since = decided
	}
	t.rows += rows
	if last := len(t.blocks) - 1; last >= 0 && len(t.blocks[last].rows)+rows <= blockRows {
		return t.blocks[last]
	}
	t.blocks = append(t.blocks, h.spare.take())
	return t.blocks[len(t.blocks)-1]
}

// Hold gives the rows that were kept or masked since the last call, and begins anew. What
// it gives is a *Held.
func (s *Stage) Hold() pipeline.Held {
	h := s.held
	s.held = &Held{view: s.view, spare: h.spare}
	return h
}

// HeldBytes is the memory of the rows that the next Hold will give.
func (s *Stage) HeldBytes() int64 { return s.held.bytes }

// Release gives the memory of the rows back to the stage, for those that it will
// hold next. It may be called from any goroutine, and h is empty then.
func (h *Held) Release() {
	h.spare.give(h)
	h.tables = nil
}

// spare are blocks to be used again. Without them BenchmarkStage takes a tenth
// longer.
type spare struct {
	mu     sync.Mutex
	blocks []*heldBlock
}

func (s *spare) take() *heldBlock {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.blocks) - 1
	if last < 0 {
		return &heldBlock{}
	}
	k := s.blocks[last]
	s.blocks = s.blocks[:last]
	*k = heldBlock{k.runs[:0], k.rows[:0], k.names[:0], k.odd[:0]}
	return k
}

// give takes the blocks of h. All in all there are as many spare ones as h has,
// so that those of a backlog go when it is over.
func (s *spare) give(h *Held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for i := range h.tables {
		n += len(h.tables[i].blocks)
		s.blocks = append(s.blocks, h.tables[i].blocks...)
	}
	clear(s.blocks[n:])
	s.blocks = s.blocks[:n]
}
