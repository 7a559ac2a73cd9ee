package transforms

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/pipeline"
	"lupa/schemas"
)

// Tokens makes the tokens of one domain. A Stage calls it from one goroutine.
type Tokens interface {
	// TokensAt sets dst[i] to the token of the value in row rows[i], and to zero
	// where the row is less than 0 or its value null or nobody's. dst is as
	// long as rows.
	TokensAt(kind schemas.IdentifierKind, values *array.BinaryView, rows []int32, dst []schemas.Token)
}

// subjectColumn is the column of the row's subject, the first of a table about
// people.
const subjectColumn = "subject_token"

// Stage treats batches. Each worker has its own.
type Stage struct {
	tables []*table
}

// table is what treating the rows of one contract takes.
type table struct {
	contract *schemas.Contract
	schema   *arrow.Schema
	fields   []field
	subject  *subject // nil if the contract is not about people

	rows    selection
	covered []int32
	bound   selection
	columns []arrow.Array
	out     arrow.Record
}

// selection is the rows of a batch that go on, ascending.
type selection struct {
	all  []int32 // kept and masked
	kept []int32 // the same, with -1 in place of masked ones
}

// field is one column of the output.
type field struct {
	source      int // column of the raw record
	name        string
	input       arrow.Type
	purposes    schemas.PurposeSet
	whileMasked bool // whether masked rows hold a value
	kernel      kernel
}

// kernel makes the column of one field.
type kernel interface {
	// build makes a column of the values of in: rows[i], or null where that is
	// less than 0. kept[i] is less than 0 in masked rows. The column is valid
	// until the next call.
	build(in arrow.Array, rows, kept []int32) (arrow.Array, error)
}

// NewStage makes the stage of one worker for the contracts of its job, in their
// order. It asks domain once for each token domain.
func NewStage(contracts []*schemas.Contract, domain func(name string) (Tokens, error)) (*Stage, error) {
	domains := map[string]Tokens{}
	s := &Stage{}
	for i, c := range contracts {
		if c == nil {
			return nil, fmt.Errorf("treat: contract %d is missing", i)
		}
		t, err := newTable(c, func() (Tokens, error) {
			if tokens, ok := domains[c.Domain]; ok {
				return tokens, nil
			}
			tokens, err := domain(c.Domain)
			if err == nil {
				domains[c.Domain] = tokens
			}
			return tokens, err
		})
		if err != nil {
			return nil, fmt.Errorf("treat: table %s: %w", c.Table, err)
		}
		s.tables = append(s.tables, t)
	}
	return s, nil
}

func newTable(c *schemas.Contract, domain func() (Tokens, error)) (*table, error) {
	t := &table{contract: c}
	var columns []arrow.Field
	names := map[string]bool{}
	add := func(name string, dtype arrow.DataType) error {
		if names[name] {
			return fmt.Errorf("there are two columns %s", name)
		}
		names[name] = true
		columns = append(columns, arrow.Field{Name: name, Type: dtype, Nullable: true})
		return nil
	}
	if c.Personal() {
		if err := add(subjectColumn, tokenType); err != nil {
			return nil, err
		}
	}
	for i := range c.Fields {
		f, err := newField(c, i, domain)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", c.Fields[i].Name, err)
		}
		if f.kernel == nil {
			continue
		}
		if err := add(f.name, columnTypes[c.Fields[i].Column()]); err != nil {
			return nil, err
		}
		t.fields = append(t.fields, f)
	}
	if c.Personal() {
		tokens, err := domain()
		if err != nil {
			return nil, err
		}
		t.subject = newSubject(c, tokens, t.fields)
	}
	t.schema = arrow.NewSchema(columns, nil)
	return t, nil
}

// newField chooses the kernel of a field; there is none if it is dropped.
func newField(c *schemas.Contract, index int, domain func() (Tokens, error)) (field, error) {
	f := &c.Fields[index]
	technique := f.Treatment.Technique
	out := field{
		source: index, name: f.Name, input: inputTypes[f.Type], purposes: f.Purposes,
		whileMasked: c.StaysMasked(index),
	}
	if len(f.Identifiers) > 0 || technique == schemas.Pseudonymize {
		if f.Type != schemas.Text {
			return field{}, fmt.Errorf("%s identifier: only text can be looked up and made a token", f.Type)
		}
		if f.KeepMasked {
			return field{}, errors.New("an identifier cannot stay in masked rows")
		}
	}
	if f.Column() == schemas.NoColumn {
		return out, nil
	}
	if f.Category.Special() {
		return field{}, fmt.Errorf("%s is a special category and can only be dropped", f.Category)
	}
	if technique != schemas.Keep && f.Type != schemas.Text {
		return field{}, fmt.Errorf("%s works on text, not on %s", technique, f.Type)
	}
	var err error
	switch technique {
	case schemas.Keep:
		out.kernel = newKeep(f.Type)
	case schemas.Pseudonymize:
		var tokens Tokens
		if tokens, err = domain(); err == nil {
			out.kernel = newPseudonymize(tokens, f)
		}
	case schemas.TruncateIP:
		out.kernel = &truncateIP{}
	case schemas.EmailDomain:
		out.kernel, err = newEmailDomain()
	case schemas.StripQuery:
		out.kernel, err = newStripQuery(f.Treatment.Allow)
	default:
		err = fmt.Errorf("unknown technique %d", technique)
	}
	return out, err
}

// Apply sets b.Selected and b.Out. Out is valid until the next batch of the
// same table.
func (s *Stage) Apply(_ context.Context, b *pipeline.Batch) error {
	b.Selected, b.Out = b.Selected[:0], nil
	if b.Contract == nil || b.Table < 0 || b.Table >= len(s.tables) || s.tables[b.Table].contract != b.Contract {
		return fmt.Errorf("treat: batch of table %d is not of the contract that the stage has for it", b.Table)
	}
	t := s.tables[b.Table]
	if err := t.apply(b); err != nil {
		b.Selected, b.Out = b.Selected[:0], nil
		return fmt.Errorf("treat: table %s: %w", t.contract.Table, err)
	}
	return nil
}

func (t *table) apply(b *pipeline.Batch) error {
	if err := t.check(b); err != nil {
		return err
	}
	if err := t.choose(b); err != nil {
		return err
	}
	if t.out != nil {
		t.out.Release()
		t.out = nil
	}
	t.columns = t.columns[:0]
	defer func() {
		for _, c := range t.columns {
			c.Release()
		}
	}()
	if t.subject != nil {
		t.columns = append(t.columns, t.subject.build(b.Raw, t.rows.kept))
	}
	for i := range t.fields {
		f := &t.fields[i]
		rows, kept := t.visible(f, b.Granted), t.rows.kept
		if len(b.Duties) > 0 {
			rows, kept = t.retained(f, b, rows)
		}
		column, err := f.kernel.build(b.Raw.Column(f.source), rows, kept)
		if err != nil {
			return fmt.Errorf("field %s: %w", f.name, err)
		}
		t.columns = append(t.columns, column)
	}
	t.out = array.NewRecord(t.schema, t.columns, int64(len(t.rows.all)))
	b.Out = t.out
	return nil
}

// check compares the batch with its contract.
func (t *table) check(b *pipeline.Batch) error {
	if b.Raw == nil {
		return errors.New("batch without rows")
	}
	rows := int(b.Raw.NumRows())
	if len(b.Verdicts) != rows {
		return fmt.Errorf("%d verdicts for %d rows", len(b.Verdicts), rows)
	}
	if int(b.Raw.NumCols()) != len(t.contract.Fields) {
		return fmt.Errorf("%d columns for %d fields", b.Raw.NumCols(), len(t.contract.Fields))
	}
	for i := range t.fields {
		f := &t.fields[i]
		if got := b.Raw.Column(f.source).DataType().ID(); got != f.input {
			return fmt.Errorf("field %s: column is %s, want %s", f.name, got, f.input)
		}
		if f.purposes != 0 && len(b.Granted) != rows {
			return fmt.Errorf("%d sets of granted purposes for %d rows", len(b.Granted), rows)
		}
	}
	last := int32(-1)
	for i := range b.Duties {
		d := &b.Duties[i]
		if d.Row <= last || int(d.Row) >= rows || b.Verdicts[d.Row] != pipeline.MaskRow || len(d.Fields) != len(t.contract.Fields) {
			return fmt.Errorf("duty %d is not about a masked row and the fields of its table", i)
		}
		last = d.Row
	}
	if t.subject != nil {
		return t.subject.check(b.Raw)
	}
	return nil
}

// choose sets the rows that go on.
func (t *table) choose(b *pipeline.Batch) error {
	kept := t.rows.kept[:0]
	for row, verdict := range b.Verdicts {
		switch verdict {
		case pipeline.DropRow:
		case pipeline.MaskRow:
			b.Selected = append(b.Selected, int32(row))
			kept = append(kept, -1)
		case pipeline.KeepRow:
			b.Selected = append(b.Selected, int32(row))
			kept = append(kept, int32(row))
		default:
			return fmt.Errorf("row %d has the unknown verdict %d", row, verdict)
		}
	}
	t.rows = selection{all: b.Selected, kept: kept}
	return nil
}

// visible gives the rows whose value of the field may be stored, with -1 in
// place of the others.
func (t *table) visible(f *field, granted []schemas.PurposeSet) []int32 {
	rows := t.rows.kept
	if f.whileMasked {
		rows = t.rows.all
	}
	if f.purposes == 0 {
		return rows
	}
	t.covered = append(t.covered[:0], rows...)
	for i, row := range t.covered {
		if row >= 0 && !granted[row].Covers(f.purposes) {
			t.covered[i] = -1
		}
	}
	return t.covered
}

// retained adds to the visible rows of a field those masked ones in which a duty
// keeps it. There it is treated as in a kept row. kept are the rows that are
// kept or, as to this field, treated as such.
func (t *table) retained(f *field, b *pipeline.Batch, rows []int32) (visible, kept []int32) {
	t.bound.all, t.bound.kept = append(t.bound.all[:0], rows...), append(t.bound.kept[:0], t.rows.kept...)
	at, some := 0, false
	for i := range b.Duties {
		d := &b.Duties[i]
		for b.Selected[at] < d.Row {
			at++
		}
		if d.Fields[f.source] {
			t.bound.all[at], t.bound.kept[at], some = d.Row, d.Row, true
		}
	}
	if k, ok := f.kernel.(*pseudonymize); ok && k.shared && some {
		// The subject column has made the tokens of kept rows alone.
		k.make(b.Raw.Column(f.source), t.bound.all)
	}
	return t.bound.all, t.bound.kept
}
