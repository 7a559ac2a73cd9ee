package consent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/pipeline"
	"lupa/schemas"
)

// Stage decides batches: it sets their Verdicts, Reasons and Granted. Each
// worker has its own.
//
// A row without an identifier has no record. A row without an event time is
// taken to be older than any grant. A sender's clock may run ahead, but nothing
// happens after it was told: an event time behind that of the row's message
// must be permitted at both times, and the more restrictive decision counts.
// So must the first and the last moment of an event time that is only a day. A
// batch that cannot be decided as a whole is an error, and is left without
// verdicts.
//
// What a legal duty keeps of an erased row is masked whatever the contract says,
// and the batch names its fields; where the table has none of them it is erased.
//
// It is a pipeline.Rechecker: it holds the rows that it kept or masked until Hold
// is called, which must be now and then.
type Stage struct {
	view   *View
	tokens Tokens
	linker Linker // or nil
	plans  map[*schemas.Contract]*plan
	held   *Held // since the last Hold

	tokenBuf []schemas.Token // by lookup, then by row
	lines    gatherer
	when     []moments
	unlike   []schemas.Token      // that are shared by their kind, and not known to be
	carried  []schemas.PurposeSet // what the rows themselves permit, nil where they carry nothing
}

// plan is what deciding the rows of one contract takes.
type plan struct {
	lookups    []lookup
	pairs      []lookupPair // that are learned
	eventTime  int
	need, also schemas.PurposeSet
	// prospective keeps what was collected while it was permitted.
	prospective bool
	denied      pipeline.Verdict
	contract    *schemas.Contract
}

// Narrower takes away from what the ledger permits what the events themselves do
// not.
type Narrower interface {
	// Narrow takes out of permitted, one entry a row of b.Raw that holds all
	// purposes, those that the consent that the row carries does not cover. All
	// stages call it at once.
	Narrow(b *pipeline.Batch, permitted []schemas.PurposeSet) error
}

// lookup is one column read as one kind of identifier.
type lookup struct {
	column int
	kind   schemas.IdentifierKind
	shared bool // the kind is several people's
}

// NewStage makes the stage of one worker. The tokens must be those that the
// view's are.
func NewStage(view *View, tokens Tokens) *Stage {
	held := &Held{view: view, spare: &spare{}}
	return &Stage{view: view, tokens: tokens, plans: map[*schemas.Contract]*plan{}, held: held}
}

// Apply decides every row of b. Every row is decided on the view as it is at
// one moment during the call.
func (s *Stage) Apply(ctx context.Context, b *pipeline.Batch) error {
	b.Verdicts, b.Reasons, b.Granted, b.Duties = b.Verdicts[:0], b.Reasons[:0], b.Granted[:0], b.Duties[:0]
	p, err := s.plan(b.Contract)
	if err != nil {
		return fmt.Errorf("consent: %w", err)
	}
	times, err := p.times(b)
	if err != nil {
		return fmt.Errorf("consent: table %s: %w", b.Contract.Table, err)
	}
	n := int(b.Raw.NumRows())
	if len(b.Offsets) != n || b.Times != nil && len(b.Times) != n {
		return fmt.Errorf("consent: table %s: %d offsets and %d times for %d rows", b.Contract.Table, len(b.Offsets), len(b.Times), n)
	}
	s.tokenBuf = resize(s.tokenBuf, n*len(p.lookups))
	for i, l := range p.lookups {
		column, ok := b.Raw.Column(l.column).(*array.BinaryView)
		if !ok {
			return fmt.Errorf("consent: table %s: field %s is an identifier but no text",
				b.Contract.Table, b.Contract.Fields[l.column].Name)
		}
		dst := s.tokenBuf[i*n : (i+1)*n]
		clear(dst) // so that what Tokens leaves out is nobody
		s.tokens.Tokens(l.kind, column, dst)
	}
	s.when = resize(s.when, n)
	momentsOf(times, b.Times, s.when)
	if err := s.learn(ctx, p, n); err != nil {
		return fmt.Errorf("consent: table %s: %w", b.Contract.Table, err)
	}
	if err := s.narrow(b, n); err != nil {
		return fmt.Errorf("consent: table %s: %w", b.Contract.Table, err)
	}
	b.Verdicts, b.Reasons, b.Granted = resize(b.Verdicts, n), resize(b.Reasons, n), resize(b.Granted, n)
	stay, due, decided := s.decide(b, p)
	for len(s.unlike) > 0 {
		s.view.declareAll(s.unlike)
		stay, due, decided = s.decide(b, p)
	}
	s.keep(b, p, stay, due, decided)
	return nil
}

// notDeclared gives the identifiers at hand that are several people's by the kind
// of their column, and that the view has by their tokens alone.
func (s *Stage) notDeclared(p *plan, rows int) []schemas.Token {
	found := s.unlike[:0]
	if len(s.view.shared) == 0 {
		return found
	}
	for i, ref := range s.lines.refs {
		if ref == 0 || !p.lookups[i/rows].shared {
			continue
		}
		if id, _ := splitIdentity(s.view.store.shelf.Bytes(ref)); !id.shared {
			found = append(found, s.tokenBuf[i])
		}
	}
	return found
}

// narrow reads what the rows themselves permit.
func (s *Stage) narrow(b *pipeline.Batch, rows int) error {
	s.carried = s.carried[:0]
	if s.view.narrow == nil || len(b.Contract.Signals) == 0 {
		return nil
	}
	s.carried = resize(s.carried, rows)
	for row := range s.carried {
		s.carried[row] = schemas.AllPurposes
	}
	if err := s.view.narrow.Narrow(b, s.carried); err != nil {
		return fmt.Errorf("consent in events: %w", err)
	}
	return nil
}

// decide holds the view for as long as the lookups and decisions of one batch
// take. It gives the number of rows that are kept or masked, when the first of
// their decisions may change by itself, and how many changes the view had seen.
// With s.unlike, which the view must know to be shared before, nothing is decided.
func (s *Stage) decide(b *pipeline.Batch, p *plan) (stay int, due int64, decided uint64) {
	n := len(b.Verdicts)
	now := s.view.now()
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	store := &s.view.store
	s.lines.find(store, s.tokenBuf)
	if s.unlike = s.notDeclared(p, n); len(s.unlike) > 0 {
		return 0, 0, 0
	}
	q := p.question(now, &s.view.rules)
	var capped int64
	for row := range n {
		lines := s.lines.gather(store, s.lines.refs[row:], n, func() bool { return s.stranger(p, row, n) })
		d := q.during(lines, &s.when[row])
		if s.lines.capped {
			capped++
		}
		if len(s.carried) > 0 {
			p.narrow(&d, s.carried[row])
		}
		if b.Verdicts[row] = p.verdict(b, int32(row), &d); b.Verdicts[row] != pipeline.DropRow {
			stay++
			if b.Verdicts[row] == pipeline.KeepRow || d.Reason == schemas.Retained {
				due = sooner(due, d.Until)
			}
		}
		b.Reasons[row], b.Granted[row] = d.Reason, d.Granted
	}
	if capped > 0 {
		s.view.cappedRows.Add(capped)
	}
	return stay, due, store.journal.count
}

// stranger reports whether a row of n names somebody whom the view does not know.
func (s *Stage) stranger(p *plan, row, n int) bool {
	return p.stranger(func(lookup int) (named, known bool) {
		at := row + lookup*n
		return !s.tokenBuf[at].IsZero(), s.lines.refs[at] != 0
	})
}

// stranger reports whether some column names somebody who is not known as any of
// the kinds that the column may be of, and may be one person as one of them.
func (p *plan) stranger(look func(lookup int) (named, known bool)) bool {
	for i := 0; i < len(p.lookups); {
		named, known := false, false
		for column := p.lookups[i].column; i < len(p.lookups) && p.lookups[i].column == column; i++ {
			n, k := look(i)
			named, known = named || n && !p.lookups[i].shared, known || k
		}
		if named && !known {
			return true
		}
	}
	return false
}

// narrow takes out of a decision what the row itself does not permit.
func (p *plan) narrow(d *Decision, permitted schemas.PurposeSet) {
	d.Granted &= permitted
	if d.Reason == schemas.ConsentGiven && !permitted.Covers(p.need) {
		d.Reason = schemas.RefusedInEvent
	}
}

// verdict gives what becomes of a row, and notes what a duty keeps of it.
func (p *plan) verdict(b *pipeline.Batch, row int32, d *Decision) pipeline.Verdict {
	switch d.Reason {
	case schemas.ConsentGiven:
		return pipeline.KeepRow
	case schemas.Erased:
		return pipeline.DropRow
	case schemas.Retained:
		duty := p.duty(d.Duties)
		if duty.Fields == nil {
			d.Reason = schemas.Erased
			return pipeline.DropRow
		}
		duty.Row = row
		b.Duties = append(b.Duties, duty)
		return pipeline.MaskRow
	}
	return p.denied
}

// duty joins the duties of one row: all their fields are kept until the first of
// them ends, so that none is kept too long. Without a field of the table there is
// none.
func (p *plan) duty(duties []Duty) (joint pipeline.Duty) {
	for i := range duties {
		d := &duties[i]
		found := false
		for name := range strings.SplitSeq(d.Fields, ",") {
			if table, column, qualified := strings.Cut(name, "."); qualified {
				if table != p.contract.Table {
					continue
				}
				name = column
			}
			for field := range p.contract.Fields {
				if f := &p.contract.Fields[field]; f.Name != name || f.Column() == schemas.NoColumn {
					continue
				}
				if joint.Fields == nil {
					joint.Fields = make([]bool, len(p.contract.Fields))
				}
				joint.Fields[field], found = true, true
			}
		}
		if !found {
			continue
		}
		joint.Until = sooner(joint.Until, d.Until)
		switch {
		case joint.Basis == "":
			joint.Basis = d.Basis
		case joint.Basis != d.Basis:
			joint.Basis += "," + d.Basis
		}
	}
	return joint
}

// plan gives the plan of a contract, made once.
func (s *Stage) plan(c *schemas.Contract) (*plan, error) {
	if p, ok := s.plans[c]; ok {
		return p, nil
	}
	if c == nil {
		return nil, errors.New("batch without a contract")
	}
	if !c.Personal() {
		return nil, fmt.Errorf("table %s has no identity field: no consent can be looked up for it", c.Table)
	}
	if c.EventTime < 0 || c.EventTime >= len(c.Fields) {
		return nil, fmt.Errorf("table %s has no event time: no consent can be decided for it", c.Table)
	}
	p := &plan{
		eventTime: c.EventTime,
		need:      c.Purposes, also: c.FieldPurposes(),
		prospective: c.Prospective,
		denied:      pipeline.DropRow,
		contract:    c,
	}
	if c.OnDeny == schemas.MaskRow {
		p.denied = pipeline.MaskRow
	}
	for column := range c.Fields {
		for _, kind := range c.Fields[column].Identifiers {
			if kind == schemas.NoIdentifier {
				return nil, fmt.Errorf("table %s: field %s is an identifier of no kind", c.Table, c.Fields[column].Name)
			}
			p.lookups = append(p.lookups, lookup{column, kind, slices.Contains(s.view.shared, kind)})
		}
	}
	p.pairs = linksOf(c, p.lookups)
	s.plans[c] = p
	return p, nil
}

// times gives the event times of a batch.
func (p *plan) times(b *pipeline.Batch) (arrow.Array, error) {
	if b.Raw == nil || int(b.Raw.NumCols()) != len(b.Contract.Fields) {
		return nil, errors.New("batch has other columns than its contract")
	}
	times := b.Raw.Column(p.eventTime)
	t, isTime := times.DataType().(*arrow.TimestampType)
	if times.DataType().ID() != arrow.DATE32 && (!isTime || t.Unit != arrow.Microsecond) {
		return nil, fmt.Errorf("event time %s is no column of microseconds or days", b.Contract.Fields[p.eventTime].Name)
	}
	return times, nil
}

// question is what is asked of every row at a time.
func (p *plan) question(now int64, r *rules) Question {
	return Question{Now: now, Need: p.need, Also: p.also, Prospective: p.prospective, rules: r}
}

// during decides a row that happened in these moments: it must be permitted in
// each of them.
func (q *Question) during(lines []Line, m *moments) Decision {
	q.At = m.first
	if !m.several() {
		return decide(lines, q, nil)
	}
	d := decide(lines, q, nil)
	for _, at := range [...]int64{m.last, m.told} {
		q.At = at
		d = d.and(decide(lines, q, nil))
	}
	return d
}

// resize gives a slice of length n, in the same memory where it fits.
func resize[T any](s []T, n int) []T {
	return slices.Grow(s[:0], n)[:n]
}
