package transforms

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/schemas"
)

// pseudonymize makes tokens of a field's values; masked rows have none.
type pseudonymize struct {
	tokens Tokens
	kind   schemas.IdentifierKind
	made   []schemas.Token
	// shared tells that the subject column has made the tokens of the kept rows
	// by the time of build.
	shared bool
	out    tokenBuffer
}

func newPseudonymize(tokens Tokens, f *schemas.Field) *pseudonymize {
	return &pseudonymize{tokens: tokens, kind: tokenKind(f)}
}

// tokenKind is the kind as which the field's value becomes a token.
func tokenKind(f *schemas.Field) schemas.IdentifierKind {
	if len(f.Identifiers) == 0 {
		return schemas.NoIdentifier
	}
	return f.Identifiers[0]
}

// make makes the tokens of the rows.
func (k *pseudonymize) make(in arrow.Array, rows []int32) []schemas.Token {
	k.made = resized(k.made, len(rows))
	k.tokens.TokensAt(k.kind, in.(*array.BinaryView), rows, k.made)
	return k.made
}

func (k *pseudonymize) build(in arrow.Array, rows, kept []int32) (arrow.Array, error) {
	if !k.shared {
		k.make(in, rows)
	}
	k.out.reset(len(rows))
	for i, row := range rows {
		if row >= 0 && kept[i] >= 0 {
			k.out.put(i, k.made[i])
		}
	}
	return k.out.column(), nil
}

// tokenBuffer collects a column of tokens.
type tokenBuffer struct {
	validity
	values []byte
}

func (b *tokenBuffer) reset(rows int) {
	b.validity.reset(rows)
	b.values = resized(b.values, rows*len(schemas.Token{}))
	clear(b.values)
}

// put sets row i. No token is null.
func (b *tokenBuffer) put(i int, t schemas.Token) {
	if !t.IsZero() {
		copy(b.values[i*len(t):], t[:])
		b.add(i)
	}
}

func (b *tokenBuffer) column() arrow.Array { return b.array(tokenType, b.values) }

// subjectOrder is the order in which a row's identifiers are asked who its
// subject is: from the one that lasts longest to the one that lasts shortest.
var subjectOrder = [...]schemas.IdentifierKind{
	schemas.UserID, schemas.Email, schemas.Phone, schemas.DeviceID, schemas.AnonymousID,
}

// subject makes the column of each row's subject: the token of the first
// identifier that the row has. Masked rows have none.
type subject struct {
	tokens  Tokens
	sources []subjectSource
	made    []schemas.Token
	some    []schemas.Token
	missing []int32
	out     tokenBuffer
}

// subjectSource is an identity field.
type subjectSource struct {
	column int
	name   string
	kind   schemas.IdentifierKind
	stored *pseudonymize // nil if its tokens have no column of their own
}

func newSubject(c *schemas.Contract, tokens Tokens, fields []field) *subject {
	s := &subject{tokens: tokens}
	for i := range c.Fields {
		f := &c.Fields[i]
		if len(f.Identifiers) == 0 {
			continue
		}
		source := subjectSource{column: i, name: f.Name, kind: tokenKind(f)}
		for j := range fields {
			if k, ok := fields[j].kernel.(*pseudonymize); ok && fields[j].source == i {
				k.shared, source.stored = true, k
			}
		}
		s.sources = append(s.sources, source)
	}
	slices.SortStableFunc(s.sources, func(a, b subjectSource) int {
		return cmp.Compare(slices.Index(subjectOrder[:], a.kind), slices.Index(subjectOrder[:], b.kind))
	})
	// A row may be kept for what a field's value is only as another kind: then
	// no column has a token of it, and the subject has one all the same.
	for i := range c.Fields {
		for _, kind := range c.Fields[i].Identifiers[min(1, len(c.Fields[i].Identifiers)):] {
			s.sources = append(s.sources, subjectSource{column: i, name: c.Fields[i].Name, kind: kind})
		}
	}
	return s
}

func (s *subject) check(raw arrow.Record) error {
	for i := range s.sources {
		if got := raw.Column(s.sources[i].column).DataType().ID(); got != arrow.BINARY_VIEW {
			return fmt.Errorf("field %s: column is %s, want %s", s.sources[i].name, got, arrow.BINARY_VIEW)
		}
	}
	return nil
}

func (s *subject) build(raw arrow.Record, kept []int32) arrow.Array {
	s.made, s.some = resized(s.made, len(kept)), resized(s.some, len(kept))
	clear(s.made)
	s.missing = append(s.missing[:0], kept...)
	left := 0
	for _, row := range kept {
		if row >= 0 {
			left++
		}
	}
	for i := range s.sources {
		left = s.ask(&s.sources[i], raw, kept, left)
	}
	s.out.reset(len(kept))
	for i, t := range s.made {
		s.out.put(i, t)
	}
	return s.out.column()
}

// ask takes the tokens of one field for the rows that have none yet, and gives
// how many are still left.
func (s *subject) ask(source *subjectSource, raw arrow.Record, kept []int32, left int) int {
	values := raw.Column(source.column)
	some := s.some
	switch {
	case source.stored != nil:
		some = source.stored.make(values, kept)
	case left == 0:
		return 0
	default:
		s.tokens.TokensAt(source.kind, values.(*array.BinaryView), s.missing, some)
	}
	if left == 0 {
		return 0
	}
	for i, row := range s.missing {
		if row >= 0 && !some[i].IsZero() {
			s.made[i], s.missing[i] = some[i], -1
			left--
		}
	}
	return left
}
