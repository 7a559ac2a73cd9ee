package transforms

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
	"lupa/transforms/keys"
)

func treat(technique schemas.Technique, allow ...string) schemas.Treatment {
	return schemas.Treatment{Technique: technique, Allow: allow}
}

// visits is a contract with a field for every kernel.
func visits() *schemas.Contract {
	const personal, other = schemas.Category("user.behavior"), schemas.Category("system.operations")
	return &schemas.Contract{
		ID: "visits", Table: "visits", Domain: "warehouse", EventTime: 7, OnDeny: schemas.MaskRow,
		Purposes: schemas.Purposes(schemas.Analytics),
		Fields: []schemas.Field{
			{Name: "anonymous_id", Type: schemas.Text, Category: "user.unique_id", Treatment: treat(schemas.Drop), Identifiers: []schemas.IdentifierKind{schemas.AnonymousID}},
			{Name: "email", Type: schemas.Text, Category: "user.contact.email", Treatment: treat(schemas.Pseudonymize), Identifiers: []schemas.IdentifierKind{schemas.Email}, Purposes: schemas.Purposes(schemas.DirectMarketingEmail)},
			{Name: "user_id", Type: schemas.Text, Category: "user.unique_id", Treatment: treat(schemas.Pseudonymize), Identifiers: []schemas.IdentifierKind{schemas.UserID, schemas.Email}},
			{Name: "event", Type: schemas.Text, Category: personal, Treatment: treat(schemas.Keep), KeepMasked: true},
			{Name: "ip", Type: schemas.Text, Category: "user.device.ip_address", Treatment: treat(schemas.TruncateIP)},
			{Name: "url", Type: schemas.Text, Category: personal, Treatment: treat(schemas.StripQuery, "page")},
			{Name: "contact", Type: schemas.Text, Category: "user.contact.email", Treatment: treat(schemas.EmailDomain)},
			{Name: "at", Type: schemas.Timestamp, Category: personal, Treatment: treat(schemas.Keep)},
			{Name: "sent_at", Type: schemas.Timestamp, Category: other, Treatment: treat(schemas.Keep)},
			{Name: "received_at", Type: schemas.Timestamp, Category: personal, Treatment: treat(schemas.Keep), KeepMasked: true},
			{Name: "size", Type: schemas.Integer, Category: other, Treatment: treat(schemas.Keep)},
			{Name: "price", Type: schemas.Number, Category: personal, Treatment: treat(schemas.Keep)},
			{Name: "bot", Type: schemas.Boolean, Category: "system", Treatment: treat(schemas.Keep)},
			{Name: "born", Type: schemas.Date, Category: "user.demographic.date_of_birth", Treatment: treat(schemas.Keep)},
			{Name: "secret", Type: schemas.Text, Category: "user.authorization.password", Treatment: treat(schemas.Drop)},
			{Name: "coupon", Type: schemas.Text, Category: personal, Treatment: treat(schemas.Pseudonymize)},
		},
	}
}

func keyset(t testing.TB) *keys.Keyset {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := keys.Init(path, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	k, err := keys.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func domains(k *keys.Keyset) func(string) (Tokens, error) {
	return func(name string) (Tokens, error) { return k.Domain(name) }
}

func stageOf(t testing.TB, k *keys.Keyset, contracts ...*schemas.Contract) *Stage {
	t.Helper()
	s, err := NewStage(contracts, domains(k))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func rawType(f *schemas.Field) arrow.DataType {
	switch f.Type {
	case schemas.Text:
		return arrow.BinaryTypes.BinaryView
	case schemas.Integer:
		return arrow.PrimitiveTypes.Int64
	case schemas.Number:
		return arrow.PrimitiveTypes.Float64
	case schemas.Boolean:
		return arrow.FixedWidthTypes.Boolean
	case schemas.Timestamp:
		return arrow.FixedWidthTypes.Timestamp_us
	}
	return arrow.FixedWidthTypes.Date32
}

// rawOf builds the raw record of rows; an absent value is null. It begins with
// a row that is sliced off, so that offsets are not zero.
func rawOf(t testing.TB, mem memory.Allocator, c *schemas.Contract, rows ...map[string]any) arrow.Record {
	t.Helper()
	var columns []arrow.Field
	for i := range c.Fields {
		columns = append(columns, arrow.Field{Name: c.Fields[i].Name, Type: rawType(&c.Fields[i]), Nullable: true})
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(columns, nil))
	defer b.Release()
	for _, row := range append([]map[string]any{{}}, rows...) {
		used := 0
		for i := range c.Fields {
			v, ok := row[c.Fields[i].Name]
			if !ok {
				b.Field(i).AppendNull()
				continue
			}
			used++
			switch b := b.Field(i).(type) {
			case *array.BinaryViewBuilder:
				b.Append([]byte(v.(string)))
			case *array.Int64Builder:
				b.Append(int64(v.(int)))
			case *array.Float64Builder:
				b.Append(v.(float64))
			case *array.BooleanBuilder:
				b.Append(v.(bool))
			case *array.TimestampBuilder:
				b.Append(arrow.Timestamp(v.(time.Time).UnixMicro()))
			case *array.Date32Builder:
				b.Append(arrow.Date32FromTime(v.(time.Time)))
			}
		}
		if used != len(row) {
			t.Fatalf("row %v has values of no field", row)
		}
	}
	whole := b.NewRecord()
	defer whole.Release()
	return whole.NewSlice(1, whole.NumRows())
}

// rowsOf reads what came out, without nulls.
func rowsOf(out arrow.Record) []map[string]any {
	rows := make([]map[string]any, out.NumRows())
	for i := range rows {
		rows[i] = map[string]any{}
		for j, column := range out.Columns() {
			if column.IsNull(i) {
				continue
			}
			var v any
			switch c := column.(type) {
			case *array.String:
				v = c.Value(i)
			case *array.Int64:
				v = int(c.Value(i))
			case *array.Float64:
				v = c.Value(i)
			case *array.Boolean:
				v = c.Value(i)
			case *array.Timestamp:
				v = time.UnixMicro(int64(c.Value(i))).UTC()
			case *array.Date32:
				v = c.Value(i).ToTime()
			case *array.FixedSizeBinary:
				v = schemas.Token(c.Value(i))
			}
			rows[i][out.ColumnName(j)] = v
		}
	}
	return rows
}

func batchOf(c *schemas.Contract, raw arrow.Record, verdicts []pipeline.Verdict, granted ...schemas.PurposeSet) *pipeline.Batch {
	return &pipeline.Batch{Contract: c, Raw: raw, Verdicts: verdicts, Granted: granted}
}

const (
	keep = pipeline.KeepRow
	mask = pipeline.MaskRow
	drop = pipeline.DropRow
)

func TestStage(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	c, k := visits(), keyset(t)
	at := time.Date(2026, 3, 1, 12, 30, 15, 123456000, time.UTC)
	midnight, born := at.Truncate(24*time.Hour), time.Date(1990, 5, 1, 0, 0, 0, 0, time.UTC)
	full := map[string]any{
		"anonymous_id": "a-1", "email": " Jane@Example.com", "user_id": "u-1", "event": "bought", "ip": "203.0.113.77",
		"url": "https://example.com/a?page=2&q=jane", "contact": "jane@Example.com", "at": at, "sent_at": at, "received_at": at,
		"size": 7, "price": 1.5, "bot": true, "born": born, "secret": "hunter2", "coupon": "SPRING",
	}
	raw := rawOf(t, mem, c, full, full, full, map[string]any{"email": "x@example.com", "at": at}, full, map[string]any{})
	defer raw.Release()
	all := schemas.Purposes(schemas.Analytics, schemas.DirectMarketingEmail)
	some := schemas.Purposes(schemas.Analytics)

	s := stageOf(t, k, c)
	b := batchOf(c, raw, []pipeline.Verdict{drop, keep, mask, keep, keep, mask}, 0, all, 0, all, some, 0)
	if err := s.Apply(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int32{1, 2, 3, 4, 5}, b.Selected); diff != "" {
		t.Fatal(diff)
	}

	d, err := k.Domain("warehouse")
	if err != nil {
		t.Fatal(err)
	}
	token := func(kind schemas.IdentifierKind, value string) schemas.Token { return d.Token(kind, []byte(value)) }
	kept := map[string]any{
		"subject_token": token(schemas.UserID, "u-1"), "user_id": token(schemas.UserID, "u-1"),
		"email": token(schemas.Email, "jane@example.com"), "event": "bought", "ip": "203.0.113.0",
		"url": "https://example.com/a?page=2", "contact": "example.com", "at": at, "sent_at": at, "received_at": at,
		"size": 7, "price": 1.5, "bot": true, "born": born, "coupon": token(schemas.NoIdentifier, "SPRING"),
	}
	withoutMail := map[string]any{}
	for name, v := range kept {
		if name != "email" {
			withoutMail[name] = v
		}
	}
	want := []map[string]any{
		kept,
		{"event": "bought", "at": midnight, "received_at": midnight, "size": 7, "bot": true},
		{"subject_token": token(schemas.Email, "x@example.com"), "email": token(schemas.Email, "x@example.com"), "at": at},
		withoutMail,
		{},
	}
	if diff := cmp.Diff(want, rowsOf(b.Out)); diff != "" {
		t.Error(diff)
	}

	var names []string
	for _, f := range b.Out.Schema().Fields() {
		names = append(names, f.Name+" "+f.Type.String())
	}
	if diff := cmp.Diff([]string{
		"subject_token fixed_size_binary[16]", "email fixed_size_binary[16]", "user_id fixed_size_binary[16]", "event utf8", "ip utf8",
		"url utf8", "contact utf8", "at timestamp[us, tz=UTC]", "sent_at timestamp[us, tz=UTC]", "received_at timestamp[us, tz=UTC]",
		"size int64", "price float64", "bot bool", "born date32", "coupon fixed_size_binary[16]",
	}, names); diff != "" {
		t.Error(diff)
	}

	// The buffers are used again, by batches of other sizes.
	for _, verdicts := range [][]pipeline.Verdict{
		{drop, drop, drop, drop, drop, drop}, {keep, keep, keep, keep, keep, keep}, {mask, mask, mask, mask, mask, mask}, {drop, keep, mask, keep, keep, mask},
	} {
		b.Verdicts = verdicts
		if err := s.Apply(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if int(b.Out.NumRows()) != len(b.Selected) {
			t.Fatalf("%d rows, %d selected", b.Out.NumRows(), len(b.Selected))
		}
	}
	if diff := cmp.Diff(want, rowsOf(b.Out)); diff != "" {
		t.Error(diff)
	}
}

func TestSubjectIsTheFirstIdentifier(t *testing.T) {
	identity := func(name string, technique schemas.Technique, kinds ...schemas.IdentifierKind) schemas.Field {
		return schemas.Field{Name: name, Type: schemas.Text, Category: "user.unique_id", Treatment: treat(technique), Identifiers: kinds}
	}
	c := &schemas.Contract{Table: "t", Domain: "d", EventTime: -1, Fields: []schemas.Field{
		identity("anonymous_id", schemas.Pseudonymize, schemas.AnonymousID),
		identity("device", schemas.Drop, schemas.DeviceID),
		identity("phone", schemas.Pseudonymize, schemas.Phone),
		identity("user_id", schemas.Drop, schemas.UserID),
		identity("email", schemas.EmailDomain, schemas.Email),
		identity("other_id", schemas.Drop, schemas.UserID),
	}}
	all := map[string]any{"anonymous_id": "1", "device": "1", "phone": "+358401234567", "user_id": "1", "email": "jane@example.com", "other_id": "2"}
	without := func(names ...string) map[string]any {
		row := map[string]any{}
		for name, v := range all {
			row[name] = v
		}
		for _, name := range names {
			delete(row, name)
		}
		return row
	}
	blank := without("other_id")
	blank["user_id"], blank["email"], blank["phone"] = "", " ", "none"
	raw := rawOf(t, memory.DefaultAllocator, c, all, without("user_id"), without("user_id", "other_id"), without("user_id", "other_id", "email"),
		without("user_id", "other_id", "email", "phone"), map[string]any{"anonymous_id": "1"}, blank, map[string]any{})
	k := keyset(t)
	b := batchOf(c, raw, []pipeline.Verdict{keep, keep, keep, keep, keep, keep, keep, keep})
	if err := stageOf(t, k, c).Apply(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	d, err := k.Domain("d")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		kind  schemas.IdentifierKind
		value string
	}{
		{schemas.UserID, "1"}, {schemas.UserID, "2"}, {schemas.Email, "jane@example.com"}, {schemas.Phone, "+358401234567"},
		{schemas.DeviceID, "1"}, {schemas.AnonymousID, "1"}, {schemas.DeviceID, "1"}, {},
	} {
		row := rowsOf(b.Out)[i]
		got, _ := row["subject_token"].(schemas.Token)
		if got != d.Token(want.kind, []byte(want.value)) {
			t.Errorf("row %d: not the token of its %s", i, want.kind)
		}
		if _, raw := row["user_id"]; raw {
			t.Errorf("row %d has a dropped column", i)
		}
	}
}

// TestSubjectIsAnyIdentifier: what is nobody as the first kind of its field may
// be somebody as another, and then a row that is kept for it has a subject.
func TestSubjectIsAnyIdentifier(t *testing.T) {
	c := &schemas.Contract{Table: "t", Domain: "d", EventTime: -1, Fields: []schemas.Field{
		{Name: "login", Type: schemas.Text, Category: "user.unique_id", Treatment: treat(schemas.Pseudonymize),
			Identifiers: []schemas.IdentifierKind{schemas.Phone, schemas.UserID}},
		{Name: "anonymous_id", Type: schemas.Text, Category: "user.unique_id", Treatment: treat(schemas.Drop),
			Identifiers: []schemas.IdentifierKind{schemas.AnonymousID}},
	}}
	raw := rawOf(t, memory.DefaultAllocator, c, map[string]any{"login": "none"}, map[string]any{"login": "+358401234567"},
		map[string]any{"login": "none", "anonymous_id": "1"}, map[string]any{"login": "none"})
	k := keyset(t)
	b := batchOf(c, raw, []pipeline.Verdict{keep, keep, keep, mask})
	if err := stageOf(t, k, c).Apply(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	d, err := k.Domain("d")
	if err != nil {
		t.Fatal(err)
	}
	want := []schemas.Token{d.Token(schemas.UserID, []byte("none")), d.Token(schemas.Phone, []byte("+358401234567")),
		d.Token(schemas.AnonymousID, []byte("1")), {}}
	for i, row := range rowsOf(b.Out) {
		if got, _ := row["subject_token"].(schemas.Token); got != want[i] {
			t.Errorf("row %d has another subject", i)
		}
	}
}

func TestSameTokenInEveryBatchAndWorker(t *testing.T) {
	c, k := visits(), keyset(t)
	raw := rawOf(t, memory.DefaultAllocator, c, map[string]any{"user_id": "u-1"}, map[string]any{"user_id": "u-1"})
	seen := map[any]bool{}
	for range 2 {
		s := stageOf(t, k, c)
		for range 2 {
			b := batchOf(c, raw, []pipeline.Verdict{keep, keep}, 0, 0)
			if err := s.Apply(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			for _, row := range rowsOf(b.Out) {
				seen[row["user_id"]], seen[row["subject_token"]] = true, true
			}
		}
	}
	if len(seen) != 1 || seen[nil] {
		t.Errorf("%d tokens of one identifier", len(seen))
	}
}

func TestTablesOfDifferentDomains(t *testing.T) {
	one, two, free := visits(), visits(), schemas.Rejects()
	two.Domain = "other"
	asked := map[string]int{}
	k := keyset(t)
	s, err := NewStage([]*schemas.Contract{one, two, one, free}, func(name string) (Tokens, error) {
		asked[name]++
		return k.Domain(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"warehouse": 1, "other": 1}, asked); diff != "" {
		t.Error(diff)
	}
	raw := rawOf(t, memory.DefaultAllocator, one, map[string]any{"user_id": "u-1"})
	var tokens []any
	for table, c := range []*schemas.Contract{one, two} {
		b := batchOf(c, raw, []pipeline.Verdict{keep}, 0)
		b.Table = table
		if err := s.Apply(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, rowsOf(b.Out)[0]["user_id"])
	}
	if tokens[0] == tokens[1] || tokens[0] == nil || tokens[1] == nil {
		t.Errorf("tokens %v", tokens)
	}
	b := batchOf(free, rawOf(t, memory.DefaultAllocator, free, map[string]any{"table_name": "visits"}), []pipeline.Verdict{keep})
	b.Table = 3
	if err := s.Apply(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]map[string]any{{"table_name": "visits"}}, rowsOf(b.Out)); diff != "" {
		t.Error(diff)
	}
}

// TestNullsHoldNoOlderValue: where a value is null, the buffer does not hold
// what a batch before had there.
func TestNullsHoldNoOlderValue(t *testing.T) {
	c := visits()
	raw := rawOf(t, memory.DefaultAllocator, c, map[string]any{"size": 7, "price": 1.5, "bot": true, "born": time.Unix(1e9, 0), "at": time.Unix(1e9, 0), "user_id": "u-1"})
	for i := range c.Fields {
		f, err := newField(c, i, func() (Tokens, error) { return keyset(t).Domain("d") })
		if err != nil {
			t.Fatal(err)
		}
		if f.kernel == nil {
			continue
		}
		for _, row := range []int32{0, -1} {
			column, err := f.kernel.build(raw.Column(i), []int32{row}, []int32{0})
			if err != nil {
				t.Fatal(err)
			}
			buffers := column.Data().Buffers()
			if values := buffers[len(buffers)-1].Bytes(); row < 0 && (column.NullN() != 1 || len(bytes.Trim(values, "\x00")) > 0) {
				t.Errorf("field %s: %d nulls, and a value is left", f.name, column.NullN())
			}
		}
	}
}

// TestNoTokenOfMaskedRows: the kernel itself makes none, whatever rows it is
// told to show.
func TestNoTokenOfMaskedRows(t *testing.T) {
	c := &schemas.Contract{Table: "t", Domain: "d", EventTime: -1, Fields: []schemas.Field{
		{Name: "coupon", Type: schemas.Text, Category: "system", Treatment: treat(schemas.Pseudonymize)}}}
	raw := rawOf(t, memory.DefaultAllocator, c, map[string]any{"coupon": "SPRING"})
	k := stageOf(t, keyset(t), c).tables[0].fields[0].kernel
	for _, kept := range []int32{0, -1} {
		column, err := k.build(raw.Column(0), []int32{0}, []int32{kept})
		if err != nil || column.IsNull(0) != (kept < 0) {
			t.Errorf("kept row %d: null %v, %v", kept, column.IsNull(0), err)
		}
	}
}

func TestDay(t *testing.T) {
	const day24h = 24 * 60 * 60 * 1_000_000
	for in, want := range map[arrow.Timestamp]arrow.Timestamp{
		0: 0, 1: 0, day24h - 1: 0, day24h: day24h, -1: -day24h, -day24h: -day24h, -day24h - 1: -2 * day24h,
		1<<63 - 1: (1<<63 - 1) / day24h * day24h, -1 << 63: -1 << 63,
	} {
		if got := day(in); got != want {
			t.Errorf("day of %d: got %d, want %d", in, got, want)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	c := visits()
	k := keyset(t)
	row := map[string]any{"user_id": "u-1", "event": "bought"}
	for _, test := range []struct {
		name   string
		spoil  func(b *pipeline.Batch)
		reason string
	}{
		{"no verdicts", func(b *pipeline.Batch) { b.Verdicts = nil }, "0 verdicts for 2 rows"},
		{"too few verdicts", func(b *pipeline.Batch) { b.Verdicts = b.Verdicts[:1] }, "1 verdicts for 2 rows"},
		{"too many verdicts", func(b *pipeline.Batch) { b.Verdicts = append(b.Verdicts, keep) }, "3 verdicts for 2 rows"},
		{"unknown verdict", func(b *pipeline.Batch) { b.Verdicts[1] = keep + 1 }, "unknown verdict"},
		{"no grants", func(b *pipeline.Batch) { b.Granted = nil }, "0 sets of granted purposes for 2 rows"},
		{"no rows", func(b *pipeline.Batch) { b.Raw = nil }, "without rows"},
		{"no contract", func(b *pipeline.Batch) { b.Contract = nil }, "not of the contract"},
		{"another contract", func(b *pipeline.Batch) { b.Contract = visits() }, "not of the contract"},
		{"another table", func(b *pipeline.Batch) { b.Table = 1 }, "not of the contract"},
		{"columns of another contract", func(b *pipeline.Batch) {
			b.Raw = rawOf(t, memory.DefaultAllocator, schemas.Rejects(), map[string]any{}, map[string]any{})
		}, "1 columns for 16 fields"},
		{"a column of another type", func(b *pipeline.Batch) {
			other := visits()
			other.Fields[3].Type = schemas.Integer
			b.Raw = rawOf(t, memory.DefaultAllocator, other, map[string]any{}, map[string]any{})
		}, "field event: column is INT64, want BINARY_VIEW"},
		{"an identifier of another type", func(b *pipeline.Batch) {
			other := visits()
			other.Fields[0].Type = schemas.Integer
			b.Raw = rawOf(t, memory.DefaultAllocator, other, map[string]any{}, map[string]any{})
		}, "field anonymous_id: column is INT64, want BINARY_VIEW"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := batchOf(c, rawOf(t, memory.DefaultAllocator, c, row, row), []pipeline.Verdict{keep, keep}, 0, 0)
			s := stageOf(t, k, c)
			if err := s.Apply(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			test.spoil(b)
			err := s.Apply(context.Background(), b)
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Fatalf("error %v, want one that says %q", err, test.reason)
			}
			if b.Out != nil || len(b.Selected) > 0 {
				t.Error("the rows of the batch before, or some of this one, are still there")
			}
		})
	}
}

func TestNewStageRefuses(t *testing.T) {
	k := keyset(t)
	for _, test := range []struct {
		name   string
		spoil  func(c *schemas.Contract)
		reason string
	}{
		{"a technique that is none", func(c *schemas.Contract) { c.Fields[3].Treatment.Technique = 99 }, "event"},
		{"an address cut from a number", func(c *schemas.Contract) { c.Fields[10].Treatment.Technique = schemas.TruncateIP }, "size: truncate_ip works on text"},
		{"tokens of numbers", func(c *schemas.Contract) { c.Fields[10].Treatment.Technique = schemas.Pseudonymize }, "size"},
		{"identifiers that are numbers", func(c *schemas.Contract) { c.Fields[0].Type = schemas.Integer }, "anonymous_id"},
		{"identifiers in masked rows", func(c *schemas.Contract) { c.Fields[1].KeepMasked = true }, "email"},
		{"a special category", func(c *schemas.Contract) { c.Fields[3].Category = "user.health_and_medical" }, "event"},
		{"two columns of one name", func(c *schemas.Contract) { c.Fields[3].Name = "ip" }, "two columns ip"},
		{"a field named like the subject", func(c *schemas.Contract) { c.Fields[3].Name = "subject_token" }, "two columns subject_token"},
		{"a bad pattern", func(c *schemas.Contract) { c.Fields[5].Treatment.Allow = []string{"a*b"} }, "url"},
		{"a bad domain", func(c *schemas.Contract) { c.Domain = "Ware House" }, "token domain"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := visits()
			test.spoil(c)
			_, err := NewStage([]*schemas.Contract{c}, domains(k))
			if err == nil || !strings.Contains(err.Error(), "table visits: ") || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("error %v, want one that says %q", err, test.reason)
			}
		})
	}
	broken := errors.New("keys are away")
	if _, err := NewStage([]*schemas.Contract{visits()}, func(string) (Tokens, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if _, err := NewStage([]*schemas.Contract{nil}, domains(k)); err == nil {
		t.Error("a missing contract was accepted")
	}
}

// TestEmbeddedContracts makes the stage of the contracts that come with the
// program.
func TestEmbeddedContracts(t *testing.T) {
	contracts := schemas.DefaultContracts()
	if len(contracts) == 0 {
		t.Fatal("no contract")
	}
	stageOf(t, keyset(t), append(contracts, schemas.Rejects())...)
}
