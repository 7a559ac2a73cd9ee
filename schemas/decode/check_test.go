package decode

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/schemas"
)

// cell gives a value of a column, nil for null.
func cell(t testing.TB, c arrow.Array, i int) any {
	t.Helper()
	if c.IsNull(i) {
		return nil
	}
	switch c := c.(type) {
	case *array.BinaryView:
		h := c.ValueHeader(i)
		v := string(c.Value(i))
		if want := (v + "\x00\x00\x00\x00")[:4]; string(prefix(h)) != want {
			t.Error("a view header's prefix is not the beginning of its text")
		}
		return v
	case *array.Int64:
		return c.Value(i)
	case *array.Float64:
		return c.Value(i)
	case *array.Boolean:
		return c.Value(i)
	case *array.Timestamp:
		return int64(c.Value(i))
	case *array.Date32:
		return int64(c.Value(i))
	}
	t.Fatalf("column of type %s", c.DataType())
	return nil
}

func prefix(h *arrow.ViewHeader) []byte { p := h.Prefix(); return p[:] }

// sameCell compares a cell with the oracle's.
func sameCell(got, want any) bool {
	if text, ok := want.(oracleText); ok {
		return text.is(got)
	}
	g, ok := got.(float64)
	w, ok2 := want.(float64)
	if ok && ok2 {
		return math.Float64bits(g) == math.Float64bits(w)
	}
	return got == want
}

func row(t testing.TB, r arrow.Record, i int) []any {
	var cells []any
	for c := range int(r.NumCols()) {
		cells = append(cells, cell(t, r.Column(c), i))
	}
	return cells
}

func newJSON(t testing.TB, contracts []*schemas.Contract, opts Options) *JSON {
	t.Helper()
	d, err := NewJSON(contracts, opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// checkAgainstOracle decodes messages and compares all that comes out. Messages
// are named by their number: their content may be personal.
func checkAgainstOracle(t testing.TB, d *JSON, contracts []*schemas.Contract, messages [][]byte, times []int64) (rows int) {
	t.Helper()
	arena, spans, _ := pack(messages)
	got, rejects, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: arena, Values: spans, Times: times})
	if err != nil {
		t.Fatal(err)
	}
	checkShape(t, d, contracts, got, rejects)
	next := make([]int, len(contracts))
	reject := func(i int) (r schemas.Reject) {
		if len(rejects) == 0 || rejects[0].Message != int32(i) {
			return schemas.Reject{Message: -1}
		}
		r, rejects = rejects[0], rejects[1:]
		return r
	}
	whole := func(i int, reasons ...schemas.Reason) {
		r := reject(i)
		if r.Contract != schemas.NoContract || r.Field != schemas.NoField {
			t.Errorf("message %d: no reject of the whole message, want %v", i, reasons)
			return
		}
		for _, want := range reasons {
			if r.Reason == want {
				return
			}
		}
		t.Errorf("message %d: rejected as %s, want %v", i, r.Reason, reasons)
	}
	for i, m := range messages {
		list, object, ok := oracleWalk(m)
		deep := oracleDepth(m) > d.opts.MaxDepth
		switch {
		case len(m) == 0:
			whole(i, schemas.EmptyMessage)
			continue
		case len(m) > d.opts.MaxMessageBytes:
			whole(i, schemas.TooLarge)
			continue
		case !ok && deep:
			whole(i, schemas.Malformed, schemas.TooDeep)
			continue
		case !ok:
			whole(i, schemas.Malformed)
			continue
		case deep:
			whole(i, schemas.TooDeep)
			continue
		}
		taken := false
		for c, contract := range contracts {
			if !object || !oracleTakes(contract, list) {
				continue
			}
			taken = true
			want, field, reason := oracleRow(contract, list, times[i])
			if reason != schemas.NoReason {
				r := reject(i)
				if r.Message < 0 || r.Contract != int32(c) || r.Field != field || r.Reason != reason && reason != oracleEither {
					t.Errorf("message %d contract %d: got reject %+v, want field %d reason %s", i, c, r, field, reason)
				}
				continue
			}
			n := next[c]
			if n >= len(got[c].Message) || got[c].Message[n] != int32(i) {
				t.Errorf("message %d contract %d: has no row", i, c)
				continue
			}
			next[c]++
			rows++
			for f := range want {
				if !sameCell(cell(t, got[c].Record.Column(f), n), want[f]) {
					t.Errorf("message %d contract %d: field %s differs", i, c, contract.Fields[f].Name)
				}
			}
		}
		if !taken {
			whole(i, schemas.Unrouted)
		}
	}
	if len(rejects) > 0 {
		t.Errorf("%d rejects too many, the first %+v", len(rejects), rejects[0])
	}
	for c := range contracts {
		if next[c] != len(got[c].Message) {
			t.Errorf("contract %d: %d rows, want %d", c, len(got[c].Message), next[c])
		}
	}
	return rows
}

// checkShape checks what holds for every result.
func checkShape(t testing.TB, d *JSON, contracts []*schemas.Contract, rows []schemas.Rows, rejects []schemas.Reject) {
	t.Helper()
	if len(rows) != len(contracts) {
		t.Fatalf("%d rows for %d contracts", len(rows), len(contracts))
	}
	for c, r := range rows {
		if (r.Record == nil) != (len(r.Message) == 0) {
			t.Fatalf("contract %d: a record without messages, or messages without a record", c)
		}
		for i := range r.Message {
			if i > 0 && r.Message[i] <= r.Message[i-1] {
				t.Errorf("contract %d: messages do not ascend", c)
			}
		}
		if r.Record == nil {
			continue
		}
		if int(r.Record.NumRows()) != len(r.Message) || int(r.Record.NumCols()) != len(contracts[c].Fields) {
			t.Fatalf("contract %d: record of %d rows and %d columns", c, r.Record.NumRows(), r.Record.NumCols())
		}
		for f, col := range r.Record.Columns() {
			if want := arrowType(contracts[c].Fields[f].Type); !arrow.TypeEqual(col.DataType(), want) {
				t.Errorf("contract %d field %d: type %s, want %s", c, f, col.DataType(), want)
			}
			nulls := 0
			for i := range col.Len() {
				if col.IsNull(i) {
					nulls++
				}
			}
			if nulls != col.NullN() {
				t.Errorf("contract %d field %d: %d nulls, says %d", c, f, nulls, col.NullN())
			}
		}
	}
	for i := range rejects {
		if i > 0 && rejects[i].Message < rejects[i-1].Message {
			t.Error("rejects do not ascend")
		}
	}
}

// result is one decode in a form that can be compared.
type result struct {
	Rows    [][][]any
	Message [][]int32
	Rejects []schemas.Reject
}

func decodeAll(t testing.TB, d *JSON, messages [][]byte, times []int64) result {
	t.Helper()
	arena, spans, none := pack(messages)
	if times == nil {
		times = none
	}
	rows, rejects, err := d.Decode(context.Background(), "", &schemas.Messages{Arena: arena, Values: spans, Times: times})
	if err != nil {
		t.Fatal(err)
	}
	res := result{Rejects: append([]schemas.Reject(nil), rejects...)}
	for _, r := range rows {
		var table [][]any
		for i := range r.Message {
			table = append(table, row(t, r.Record, i))
		}
		res.Rows = append(res.Rows, table)
		res.Message = append(res.Message, append([]int32(nil), r.Message...))
	}
	return res
}

// checkTiers decodes with and without what was learned, and once more after
// learning, and compares.
func checkTiers(t testing.TB, contracts []*schemas.Contract, opts Options, messages [][]byte) {
	t.Helper()
	plain, learned := newJSON(t, contracts, opts), newJSON(t, contracts, opts)
	plain.walker.plain = true
	want := decodeAll(t, plain, messages, nil)
	for pass := range 3 {
		if !reflect.DeepEqual(want, decodeAll(t, learned, messages, nil)) {
			t.Errorf("pass %d: what was learned changes the result", pass)
		}
	}
}

// shared gives the path of a shared data file.
func shared(t testing.TB, parts ...string) string {
	t.Helper()
	dir := os.Getenv("LUPA_SHARED_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	path := filepath.Join(append([]string{dir}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("shared data %s is not there", filepath.Join(parts...))
		}
		t.Skipf("SKIPPED: shared data %s is not there", filepath.Join(parts...))
	}
	return path
}
