package pipelinetest

import (
	"context"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/schemas"
)

// OpenSink opens a sink over Contracts. Opening it again with the same home
// finds what was committed. Rows reads a table by other means than the writer.
type OpenSink func(t *testing.T, home string) (sink pipeline.Sink, rows func(table int) []Row)

// RunSinkSuite checks what every sink promises.
func RunSinkSuite(t *testing.T, open OpenSink) {
	ctx := context.Background()
	events := pipeline.Partition{Topic: "events"}
	other := pipeline.Partition{Topic: "events", ID: 1}

	t.Run("rows are visible after their commit and not before", func(t *testing.T) {
		sink, rows := open(t, t.TempDir())
		w := sink.Writer()
		defer closeWriter(t, w)
		appendValues(t, w, events, 3, "a", "b")
		files := flush(t, w)
		if got := rows(0); len(got) != 0 {
			t.Fatalf("%d rows visible before the commit", len(got))
		}
		if err := sink.Commit(ctx, commit(files, events, 3, 5, 2)); err != nil {
			t.Fatal(err)
		}
		want := []Row{
			{Partition: events, Offset: 3, Reason: schemas.ConsentGiven, Value: "a"},
			{Partition: events, Offset: 4, Reason: schemas.ConsentGiven, Value: "b"},
		}
		if diff := cmp.Diff(want, rows(0)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})

	t.Run("positions survive, per table and partition", func(t *testing.T) {
		home := t.TempDir()
		sink, _ := open(t, home)
		first := commit(nil, events, 0, 7, 0)
		first.Moves[other] = pipeline.Move{From: 0, To: pipeline.Mark{Next: 9, Anchor: "size 12 <&> \"x\""}}
		if err := sink.Commit(ctx, first); err != nil {
			t.Fatal(err)
		}
		again, _ := open(t, home)
		got, err := again.Positions(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := []pipeline.Positions{
			{events: {Next: 7}, other: {Next: 9, Anchor: "size 12 <&> \"x\""}}, {}, {}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("positions (-want +got):\n%s", diff)
		}
	})

	t.Run("a commit that begins elsewhere is refused and changes nothing", func(t *testing.T) {
		sink, rows := open(t, t.TempDir())
		w := sink.Writer()
		defer closeWriter(t, w)
		appendValues(t, w, events, 0, "a")
		if err := sink.Commit(ctx, commit(flush(t, w), events, 0, 1, 1)); err != nil {
			t.Fatal(err)
		}
		for _, from := range []int64{0, 2} {
			appendValues(t, w, events, from, "late")
			if err := sink.Commit(ctx, commit(flush(t, w), events, from, from+1, 1)); err == nil {
				t.Errorf("a commit from %d was taken, the table stands at 1", from)
			}
		}
		if got := rows(0); len(got) != 1 {
			t.Errorf("%d rows, want the first commit's 1", len(got))
		}
		appendValues(t, w, events, 1, "b")
		if err := sink.Commit(ctx, commit(flush(t, w), events, 1, 2, 1)); err != nil {
			t.Errorf("the commit that fits was refused: %v", err)
		}
	})

	t.Run("counts that do not add up are refused", func(t *testing.T) {
		sink, _ := open(t, t.TempDir())
		c := commit(nil, events, 0, 5, 0)
		c.Counts.Read = 5
		if err := sink.Commit(ctx, c); err == nil {
			t.Error("5 messages read, none accounted for, and the commit was taken")
		}
	})

	t.Run("what was not flushed is gone with its writer", func(t *testing.T) {
		home := t.TempDir()
		sink, rows := open(t, home)
		w := sink.Writer()
		appendValues(t, w, events, 0, "lost")
		closeWriter(t, w)
		if err := sink.Commit(ctx, commit(nil, events, 0, 1, 0)); err != nil {
			t.Fatal(err)
		}
		if got := rows(0); len(got) != 0 {
			t.Errorf("%d rows, want none", len(got))
		}
	})
}

func closeWriter(t *testing.T, w pipeline.Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func flush(t *testing.T, w pipeline.Writer) []pipeline.File {
	t.Helper()
	files, err := w.Flush(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// commit is a commit of kept rows to the first table.
func commit(files []pipeline.File, p pipeline.Partition, from, to, kept int64) *pipeline.Commit {
	c := &pipeline.Commit{
		Files:  files,
		Moves:  map[pipeline.Partition]pipeline.Move{p: {From: from, To: pipeline.Mark{Next: to}}},
		Counts: pipeline.Counts{Read: kept, Kept: kept},
		Ledger: pipeline.Vector{{Topic: "consent"}: 1},
	}
	c.Counts.Reasons[schemas.ConsentGiven] = kept
	return c
}

// appendValues appends kept rows of the first table, at consecutive offsets.
func appendValues(t *testing.T, w pipeline.Writer, p pipeline.Partition, from int64, values ...string) {
	t.Helper()
	b := &pipeline.Batch{Contract: Contracts()[0], Partition: p}
	out := array.NewStringBuilder(memory.DefaultAllocator)
	for i, v := range values {
		out.Append(v)
		b.Offsets = append(b.Offsets, from+int64(i))
		b.Verdicts = append(b.Verdicts, pipeline.KeepRow)
		b.Reasons = append(b.Reasons, schemas.ConsentGiven)
		b.Granted = append(b.Granted, 0)
		b.Selected = append(b.Selected, int32(i))
	}
	b.Out = array.NewRecord(valueSchema, []arrow.Array{out.NewArray()}, int64(len(values)))
	if err := w.Append(b); err != nil {
		t.Fatal(err)
	}
}
