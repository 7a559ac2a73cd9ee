package consent

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
// It is a pipeline.Rechecker: it holds the rows that it kept or masked until Hold
// is called, which must be now and then.
type Stage struct {
	view   *View
	tokens Tokens
	plans  map[*schemas.Contract]*plan
	held   *Held // since the last Hold

	tokenBuf []schemas.Token // by lookup, then by row
	ids      []int32         // the nodes of the tokens
	nodes    []*node
	when     []moments
	lines    []Timeline
	seen     schemas.Reason // keeps the loads of touch alive
}

// plan is what deciding the rows of one contract takes.
type plan struct {
	lookups    []lookup
	eventTime  int
	need, also schemas.PurposeSet
	policy     Policy
	denied     pipeline.Verdict
}

// lookup is one column read as one kind of identifier.
type lookup struct {
	column int
	kind   schemas.IdentifierKind
}

// NewStage makes the stage of one worker. The tokens must be those that the
// view's are.
func NewStage(view *View, tokens Tokens) *Stage {
	held := &Held{view: view, spare: &spare{}}
	return &Stage{view: view, tokens: tokens, plans: map[*schemas.Contract]*plan{}, held: held}
}

// Apply decides every row of b. Every row is decided on the view as it is at
// one moment during the call.
func (s *Stage) Apply(_ context.Context, b *pipeline.Batch) error {
	b.Verdicts, b.Reasons, b.Granted = b.Verdicts[:0], b.Reasons[:0], b.Granted[:0]
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
	b.Verdicts, b.Reasons, b.Granted = resize(b.Verdicts, n), resize(b.Reasons, n), resize(b.Granted, n)
	s.when = resize(s.when, n)
	momentsOf(times, b.Times, s.when)
	stay, decided := s.decide(b, p)
	s.keep(b, p, stay, decided)
	return nil
}

// decide holds the view for as long as the lookups and decisions of one batch
// take. It gives the number of rows that are kept or masked, and the moment of
// the view.
func (s *Stage) decide(b *pipeline.Batch, p *plan) (stay int, decided moment) {
	n := len(b.Verdicts)
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	store := &s.view.store
	s.ids, s.nodes = resize(s.ids, len(s.tokenBuf)), resize(s.nodes, len(s.tokenBuf))
	store.index.find(&store.nodes, s.tokenBuf, s.ids, s.nodes)
	s.seen |= store.touch(s.nodes)
	var capped int64
	for row := range n {
		lines, isCapped := store.gather(s.nodes[row:], n, s.lines[:0])
		s.lines = lines
		d := p.decide(lines, &s.when[row])
		if isCapped {
			capped++
		}
		b.Reasons[row], b.Granted[row] = d.Reason, d.Granted
		switch d.Reason {
		case schemas.ConsentGiven:
			b.Verdicts[row] = pipeline.KeepRow
		case schemas.Erased:
			b.Verdicts[row] = pipeline.DropRow
		default:
			b.Verdicts[row] = p.denied
		}
		if b.Verdicts[row] != pipeline.DropRow {
			stay++
		}
	}
	if capped > 0 {
		s.view.cappedRows.Add(capped)
	}
	return stay, store.moment()
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
		policy: Policy{Prospective: c.Prospective},
		denied: pipeline.DropRow,
	}
	if c.OnDeny == schemas.MaskRow {
		p.denied = pipeline.MaskRow
	}
	for column := range c.Fields {
		for _, kind := range c.Fields[column].Identifiers {
			if kind == schemas.NoIdentifier {
				return nil, fmt.Errorf("table %s: field %s is an identifier of no kind", c.Table, c.Fields[column].Name)
			}
			p.lookups = append(p.lookups, lookup{column, kind})
		}
	}
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

// decide decides a row that happened in these moments: it must be permitted in
// each of them.
func (p *plan) decide(lines []Timeline, m *moments) Decision {
	d := Decide(lines, m.first, p.need, p.also, p.policy)
	if m.several() {
		d = d.and(Decide(lines, m.last, p.need, p.also, p.policy))
		d = d.and(Decide(lines, m.told, p.need, p.also, p.policy))
	}
	return d
}

// resize gives a slice of length n, in the same memory where it fits.
func resize[T any](s []T, n int) []T {
	return slices.Grow(s[:0], n)[:n]
}
