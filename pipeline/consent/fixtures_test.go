package consent

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/pipeline"
	"lupa/schemas"
)

// hashed makes tokens without a key. The value "nobody" is nothing of any kind.
type hashed struct{}

func (hashed) Token(kind schemas.IdentifierKind, value []byte) (t schemas.Token) {
	if len(value) == 0 || string(value) == "nobody" {
		return t
	}
	sum := sha256.Sum256(append([]byte{byte(kind)}, value...))
	copy(t[:], sum[:])
	t[0] = 1
	return t
}

// Current knows one earlier epoch, whose tokens differ in nothing else.
func (hashed) Current(t schemas.Token) schemas.Token {
	switch t.Epoch() {
	case 1:
	case earlier:
		t[0] = 1
	default:
		return schemas.Token{}
	}
	return t
}

const earlier = 200

func (h hashed) Tokens(kind schemas.IdentifierKind, values *array.BinaryView, dst []schemas.Token) {
	for i := range dst {
		dst[i] = schemas.Token{}
		if values.IsValid(i) {
			dst[i] = h.Token(kind, values.Value(i))
		}
	}
}

func user(name string) schemas.Subject { return schemas.NewSubject(schemas.UserID, name) }
func anon(name string) schemas.Subject { return schemas.NewSubject(schemas.AnonymousID, name) }
func mail(name string) schemas.Subject { return schemas.NewSubject(schemas.Email, name) }
func of(s schemas.Subject, r say) say  { r.Principal = s; return r }
func linked(a, b schemas.Subject) say {
	return say{schemas.Record{Verb: schemas.Link, Principal: a, Other: b}}
}
func records(said ...say) (r []schemas.Record) {
	for _, s := range said {
		r = append(r, s.Record)
	}
	return r
}

// clocked gives options the machine's clock if they have none.
func clocked(opts Options) Options {
	if opts.Now == nil {
		opts.Now = func() int64 { return time.Now().UnixMicro() }
	}
	return opts
}

func newView(t testing.TB, opts Options) *View {
	t.Helper()
	if opts.Ages == nil {
		opts.Ages, opts.Allows = testAges{}, inFinland
	}
	v, err := NewView(hashed{}, clocked(opts))
	if err != nil {
		t.Fatal(err)
	}
	v.rules.vocabulary = testWords{}
	return v
}

func apply(t testing.TB, v *View, said ...say) {
	t.Helper()
	if n, err := v.ApplyRecords(records(said...)); err != nil || n != len(said) {
		t.Fatalf("applied %d of %d: %v", n, len(said), err)
	}
}

// The columns of the tests' contract. A contact is an e-mail or a user id.
const (
	timeColumn = iota
	userColumn
	anonColumn
	contactColumn
	plainColumn
)

func contract() *schemas.Contract {
	return &schemas.Contract{
		ID: "test", Version: "1.0.0", Table: "tracks", EventTime: timeColumn,
		Purposes: schemas.Purposes(email),
		Fields: []schemas.Field{
			timeColumn:    {Name: "timestamp", Type: schemas.Timestamp},
			userColumn:    {Name: "user_id", Type: schemas.Text, Identifiers: []schemas.IdentifierKind{schemas.UserID}},
			anonColumn:    {Name: "anonymous_id", Type: schemas.Text, Identifiers: []schemas.IdentifierKind{schemas.AnonymousID}},
			contactColumn: {Name: "contact", Type: schemas.Text, Identifiers: []schemas.IdentifierKind{schemas.Email, schemas.UserID}},
			plainColumn:   {Name: "plan", Type: schemas.Text, Purposes: schemas.Purposes(stats), Treatment: schemas.Treatment{Technique: schemas.Keep}},
		},
	}
}

// row is one event; empty texts are null, and so is the time of noTime, which is
// a day where the contract says so. A message that was told at 0 has no time of
// its own.
type row struct {
	time                int64
	user, anon, contact string
	told                int64
}

const noTime = pipeline.NoTime

var rowSchema = arrow.NewSchema([]arrow.Field{
	{Name: "timestamp", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
	{Name: "user_id", Type: arrow.BinaryTypes.BinaryView, Nullable: true},
	{Name: "anonymous_id", Type: arrow.BinaryTypes.BinaryView, Nullable: true},
	{Name: "contact", Type: arrow.BinaryTypes.BinaryView, Nullable: true},
	{Name: "plan", Type: arrow.BinaryTypes.BinaryView, Nullable: true},
}, nil)

func batch(mem memory.Allocator, c *schemas.Contract, rows ...row) *pipeline.Batch {
	schema := rowSchema
	if c.Fields[timeColumn].Type == schemas.Date {
		fields := rowSchema.Fields()
		fields[timeColumn].Type = arrow.FixedWidthTypes.Date32
		schema = arrow.NewSchema(fields, nil)
	}
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	text := func(column int, value string) {
		if f := b.Field(column).(*array.BinaryViewBuilder); value == "" {
			f.AppendNull()
		} else {
			f.Append([]byte(value))
		}
	}
	offsets, times := make([]int64, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		switch f := b.Field(timeColumn).(type) {
		case *array.TimestampBuilder:
			f.AppendValues([]arrow.Timestamp{arrow.Timestamp(r.time)}, []bool{r.time != noTime})
		case *array.Date32Builder:
			f.AppendValues([]arrow.Date32{arrow.Date32(r.time)}, []bool{r.time != noTime})
		}
		text(userColumn, r.user)
		text(anonColumn, r.anon)
		text(contactColumn, r.contact)
		text(plainColumn, "pro")
		offsets[i], times[i] = int64(i), pipeline.NoTime
		if r.told != 0 {
			times[i] = r.told
		}
	}
	return &pipeline.Batch{Contract: c, Raw: b.NewRecord(), Offsets: offsets, Times: times}
}

// decideRows decides rows and gives the decisions. It checks that every row has
// the verdict that goes with its reason, and that none is left over.
func decideRows(t testing.TB, v *View, c *schemas.Contract, rows ...row) []Decision {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	b := batch(mem, c, rows...)
	if err := NewStage(v, hashed{}).Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	b.Raw.Release()
	if n := mem.CurrentAlloc(); n != 0 {
		t.Errorf("%d bytes are not released", n)
	}
	checkVerdicts(t, b, len(rows))
	decisions := make([]Decision, len(rows))
	for i := range decisions {
		decisions[i] = Decision{Reason: b.Reasons[i], Granted: b.Granted[i]}
	}
	return decisions
}

func checkVerdicts(t testing.TB, b *pipeline.Batch, rows int) {
	t.Helper()
	if len(b.Verdicts) != rows || len(b.Reasons) != rows || len(b.Granted) != rows {
		t.Fatalf("%d rows have %d verdicts, %d reasons, %d sets of purposes", rows, len(b.Verdicts), len(b.Reasons), len(b.Granted))
	}
	var kept, masked, dropped int
	for i, verdict := range b.Verdicts {
		want := pipeline.DropRow
		switch r := b.Reasons[i]; {
		case r == schemas.ConsentGiven:
			want = pipeline.KeepRow
		case !r.Denies():
			t.Fatalf("row %d has reason %s", i, r)
		case r == schemas.Retained, r != schemas.Erased && b.Contract.OnDeny == schemas.MaskRow:
			want = pipeline.MaskRow
		}
		if verdict != want {
			t.Errorf("row %d: verdict %d for %s, want %d", i, verdict, b.Reasons[i], want)
		}
		switch verdict {
		case pipeline.KeepRow:
			kept++
		case pipeline.MaskRow:
			masked++
		case pipeline.DropRow:
			dropped++
		}
	}
	if kept+masked+dropped != rows {
		t.Errorf("%d kept + %d masked + %d dropped of %d rows", kept, masked, dropped, rows)
	}
}
