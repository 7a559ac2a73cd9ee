package stamped

import (
	"errors"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"lupa/pipeline"
	"lupa/schemas"
)

// refusals is a reader of signals by which a value that is there refuses
// analytics as one kind, and all else as others.
type refusals struct {
	inUse sync.Mutex
	err   error
}

func (r *refusals) Narrow(kind schemas.SignalKind, values *array.BinaryView, permitted []schemas.PurposeSet) error {
	if !r.inUse.TryLock() {
		return errors.New("used by two at once")
	}
	defer r.inUse.Unlock()
	for row := range permitted {
		if values.IsValid(row) && kind == schemas.TCFSignal {
			permitted[row] &^= schemas.Purposes(schemas.Analytics)
		} else if values.IsValid(row) {
			permitted[row] &= schemas.Purposes(schemas.Analytics)
		}
	}
	return r.err
}

// batch has three fields, of which the last two are signals, with a value in the
// rows that say so.
func batch(t *testing.T, tcf, gpc []bool) *pipeline.Batch {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	view := func(given []bool) arrow.Array {
		b := array.NewBinaryViewBuilder(alloc)
		defer b.Release()
		for _, is := range given {
			if is {
				b.Append([]byte("true"))
			} else {
				b.AppendNull()
			}
		}
		return b.NewArray()
	}
	numbers := array.NewInt64Builder(alloc)
	numbers.AppendValues(make([]int64, len(tcf)), nil)
	columns := []arrow.Array{numbers.NewArray(), view(tcf), view(gpc)}
	numbers.Release()
	record := array.NewRecord(arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "tcf", Type: arrow.BinaryTypes.BinaryView}, {Name: "gpc", Type: arrow.BinaryTypes.BinaryView},
	}, nil), columns, int64(len(tcf)))
	for _, c := range columns {
		c.Release()
	}
	t.Cleanup(func() { record.Release(); alloc.AssertSize(t, 0) })
	return &pipeline.Batch{
		Contract: &schemas.Contract{Signals: []schemas.Signal{{Kind: schemas.TCFSignal, Field: 1}, {Kind: schemas.GPCSignal, Field: 2}}},
		Raw:      record,
	}
}

func all(n int) []schemas.PurposeSet {
	list := make([]schemas.PurposeSet, n)
	for i := range list {
		list[i] = schemas.AllPurposes
	}
	return list
}

func newNarrower(t *testing.T, open func() (Signals, error)) *Narrower {
	t.Helper()
	n, err := New(open)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNarrow(t *testing.T) {
	n := newNarrower(t, func() (Signals, error) { return &refusals{}, nil })
	permitted := all(4)
	if err := n.Narrow(batch(t, []bool{false, true, false, true}, []bool{false, false, true, true}), permitted); err != nil {
		t.Fatal(err)
	}
	analytics := schemas.Purposes(schemas.Analytics)
	want := []schemas.PurposeSet{schemas.AllPurposes, schemas.AllPurposes &^ analytics, analytics, 0}
	for row := range want {
		if permitted[row] != want[row] {
			t.Errorf("row %d: %s, want %s", row, permitted[row], want[row])
		}
	}
}

func TestNarrowErrors(t *testing.T) {
	broken := errors.New("broken")
	n := newNarrower(t, func() (Signals, error) { return &refusals{}, nil })
	for name, change := range map[string]func(b *pipeline.Batch, permitted *[]schemas.PurposeSet){
		"other rows": func(_ *pipeline.Batch, permitted *[]schemas.PurposeSet) { *permitted = all(1) },
		"no rows":    func(b *pipeline.Batch, _ *[]schemas.PurposeSet) { b.Raw = nil },
		"no column":  func(b *pipeline.Batch, _ *[]schemas.PurposeSet) { b.Contract.Signals[0].Field = 3 },
		"below none": func(b *pipeline.Batch, _ *[]schemas.PurposeSet) { b.Contract.Signals[0].Field = -1 },
		"not a text": func(b *pipeline.Batch, _ *[]schemas.PurposeSet) { b.Contract.Signals[0].Field = 0 },
		"read it fails": func(*pipeline.Batch, *[]schemas.PurposeSet) {
			n = newNarrower(t, func() (Signals, error) { return &refusals{err: broken}, nil })
		},
	} {
		b, permitted := batch(t, []bool{true, true}, []bool{true, true}), all(2)
		n = newNarrower(t, func() (Signals, error) { return &refusals{}, nil })
		change(b, &permitted)
		if err := n.Narrow(b, permitted); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(func() (Signals, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("got %v for a reader that cannot be made", err)
	}
}

func TestNarrowWithoutSignals(t *testing.T) {
	n := newNarrower(t, func() (Signals, error) { return &refusals{}, nil })
	permitted := all(1)
	if err := n.Narrow(&pipeline.Batch{Contract: &schemas.Contract{}}, permitted); err != nil || permitted[0] != schemas.AllPurposes {
		t.Errorf("got %s, %v", permitted[0], err)
	}
}

// TestAtOnce has stages work at once: no reader is used by two, and there are
// no more readers than stages.
func TestAtOnce(t *testing.T) {
	const stages = 8
	var mu sync.Mutex
	made := 0
	n := newNarrower(t, func() (Signals, error) {
		mu.Lock()
		defer mu.Unlock()
		made++
		return &refusals{}, nil
	})
	b := batch(t, []bool{true, false}, []bool{false, true})
	var wg sync.WaitGroup
	for range stages {
		wg.Go(func() {
			for range 200 {
				if err := n.Narrow(b, all(2)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if made > stages {
		t.Errorf("%d readers for %d stages", made, stages)
	}
}
