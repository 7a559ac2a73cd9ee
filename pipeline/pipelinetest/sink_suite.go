package pipelinetest

import (
	"context"
	"errors"
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
			if err := sink.Commit(ctx, commit(flush(t, w), events, from, from+1, 1)); !errors.Is(err, pipeline.ErrRefused) {
				t.Errorf("a commit from %d: %v, the table stands at 1 and must refuse", from, err)
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

	runClaimSuite(t, open)
	runAmendSuite(t, open)
}

// claimingSink is what the suite asks of every sink.
type claimingSink interface {
	pipeline.Sink
	pipeline.Claimer
	pipeline.Amender
}

func openClaiming(t *testing.T, open OpenSink, home string) (claimingSink, func(table int) []Row) {
	t.Helper()
	sink, rows := open(t, home)
	s, ok := sink.(claimingSink)
	if !ok {
		t.Fatal("the sink cannot be claimed or amended")
	}
	return s, rows
}

func claim(t *testing.T, s claimingSink, partitions ...pipeline.Partition) ([]pipeline.Claims, []pipeline.Positions) {
	t.Helper()
	claims, positions, err := s.Claim(context.Background(), partitions)
	if err != nil {
		t.Fatal(err)
	}
	return claims, positions
}

// runClaimSuite checks that whoever claimed last, and nobody else, commits.
func runClaimSuite(t *testing.T, open OpenSink) {
	ctx := context.Background()
	events := pipeline.Partition{Topic: "events"}
	other := pipeline.Partition{Topic: "events", ID: 1}

	t.Run("a claim gives numbers and positions of every table", func(t *testing.T) {
		home := t.TempDir()
		sink, _ := openClaiming(t, open, home)
		if err := sink.Commit(ctx, commit(nil, events, 2, 7, 0)); err != nil {
			t.Fatal(err)
		}
		claims, positions := claim(t, sink, events, other)
		one := pipeline.Claims{events: 1, other: 1}
		if diff := cmp.Diff([]pipeline.Claims{one, one, one}, claims); diff != "" {
			t.Errorf("claims (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]pipeline.Positions{{events: {Next: 7}}, {}, {}}, positions); diff != "" {
			t.Errorf("positions (-want +got):\n%s", diff)
		}
		again, _ := openClaiming(t, open, home)
		claims, _ = claim(t, again, other)
		two := pipeline.Claims{other: 2}
		if diff := cmp.Diff([]pipeline.Claims{two, two, two}, claims); diff != "" {
			t.Errorf("claims of the second (-want +got):\n%s", diff)
		}
		if got, err := again.Positions(ctx); err != nil || !cmp.Equal(positions, got) {
			t.Errorf("claims changed the positions to %v (%v)", got, err)
		}
	})

	t.Run("who claimed before may commit no more", func(t *testing.T) {
		home := t.TempDir()
		zombie, _ := openClaiming(t, open, home)
		w := zombie.Writer()
		defer closeWriter(t, w)
		old, _ := claim(t, zombie, events, other)
		heir, rows := openClaiming(t, open, home)
		claims, _ := claim(t, heir, events)

		appendValues(t, w, events, 0, "late")
		files := flush(t, w)
		late := commit(files, events, 0, 1, 1)
		late.Claims = old[0]
		if err := zombie.Commit(ctx, late); !errors.Is(err, pipeline.ErrRefused) {
			t.Errorf("the commit under the older claim: %v, want it refused", err)
		}
		appendValues(t, w, events, 0, "unclaimed")
		if err := zombie.Commit(ctx, commit(flush(t, w), events, 0, 1, 1)); !errors.Is(err, pipeline.ErrRefused) {
			t.Errorf("the commit without a claim: %v, want it refused", err)
		}
		kept := commit(nil, other, 0, 4, 0)
		kept.Claims = old[0]
		if err := zombie.Commit(ctx, kept); err != nil {
			t.Errorf("the commit of the partition that nobody took over: %v", err)
		}

		w2 := heir.Writer()
		defer closeWriter(t, w2)
		appendValues(t, w2, events, 0, "a")
		c := commit(flush(t, w2), events, 0, 1, 1)
		c.Claims = claims[0]
		if err := heir.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
		want := []Row{{Partition: events, Reason: schemas.ConsentGiven, Value: "a"}}
		if diff := cmp.Diff(want, rows(0)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
		late.Moves[events], late.Claims = pipeline.Move{From: 1, To: pipeline.Mark{Next: 2}}, claims[0]
		if err := heir.Commit(ctx, late); err == nil {
			t.Error("the files of a refused commit are still there")
		}
	})

	t.Run("claiming again fences the claim before", func(t *testing.T) {
		sink, _ := openClaiming(t, open, t.TempDir())
		first, _ := claim(t, sink, events)
		second, _ := claim(t, sink, events)
		c := commit(nil, events, 0, 1, 0)
		c.Claims = first[0]
		if err := sink.Commit(ctx, c); !errors.Is(err, pipeline.ErrRefused) {
			t.Errorf("the commit under the first claim: %v, want it refused", err)
		}
		c.Claims = second[0]
		if err := sink.Commit(ctx, c); err != nil {
			t.Errorf("the commit under the second: %v", err)
		}
	})

	t.Run("a claim that nobody made is refused", func(t *testing.T) {
		sink, _ := openClaiming(t, open, t.TempDir())
		c := commit(nil, events, 0, 1, 0)
		c.Claims = pipeline.Claims{events: 1}
		if err := sink.Commit(ctx, c); !errors.Is(err, pipeline.ErrRefused) {
			t.Errorf("error %v, want it refused", err)
		}
	})

	t.Run("a claim takes no position for granted", func(t *testing.T) {
		sink, _ := openClaiming(t, open, t.TempDir())
		claims, _ := claim(t, sink, events)
		c := commit(nil, events, 40, 41, 0) // the source begins there
		c.Claims = claims[0]
		if err := sink.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
		if err := sink.Commit(ctx, c); !errors.Is(err, pipeline.ErrRefused) {
			t.Errorf("the same commit again: %v, want it refused", err)
		}
	})
}

// runAmendSuite checks that rows can be taken out before their commit.
func runAmendSuite(t *testing.T, open OpenSink) {
	ctx := context.Background()
	events := pipeline.Partition{Topic: "events"}
	out := func(offset int64) pipeline.Amendment {
		return pipeline.Amendment{Partition: events, Offset: offset, Reason: schemas.Withdrawn}
	}

	t.Run("denied rows are taken out and the others stay", func(t *testing.T) {
		sink, rows := openClaiming(t, open, t.TempDir())
		w := sink.Writer()
		defer closeWriter(t, w)
		appendValues(t, w, events, 0, "a", "b", "c")
		files := flush(t, w)
		appendValues(t, w, events, 3, "d", "e")
		files = append(files, flush(t, w)...)
		appendValues(t, w, events, 5, "f")
		files = append(files, flush(t, w)...)
		narrowed := pipeline.Amendment{Partition: events, Offset: 2, Reason: schemas.ConsentGiven}
		amended, err := sink.Amend(ctx, 0, files, []pipeline.Amendment{out(4), narrowed, out(1), out(3)})
		if err != nil {
			t.Fatal(err)
		}
		if len(amended) != 2 || amended[1] != files[2] || amended[0].Path == files[0].Path || amended[0].Rows != 2 {
			t.Errorf("files %v of %v: want the first anew, the second gone, the third as it was", amended, files)
		}
		if err := sink.Commit(ctx, commit(amended, events, 0, 6, 3)); err != nil {
			t.Fatal(err)
		}
		got := rows(0)
		for i := range got {
			if got[i].Offset == 2 {
				got[i].Value = "" // with fewer purposes it may be gone
			}
		}
		want := []Row{
			{Partition: events, Offset: 0, Reason: schemas.ConsentGiven, Value: "a"},
			{Partition: events, Offset: 2, Reason: schemas.ConsentGiven},
			{Partition: events, Offset: 5, Reason: schemas.ConsentGiven, Value: "f"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})

	t.Run("files without amendments stay as they are", func(t *testing.T) {
		sink, _ := openClaiming(t, open, t.TempDir())
		w := sink.Writer()
		defer closeWriter(t, w)
		appendValues(t, w, events, 0, "a", "b")
		files := flush(t, w)
		amended, err := sink.Amend(ctx, 0, files, nil)
		if err != nil || !cmp.Equal(files, amended) {
			t.Errorf("files %v of %v (%v)", amended, files, err)
		}
	})

	t.Run("an amendment that fits no row changes nothing", func(t *testing.T) {
		sink, rows := openClaiming(t, open, t.TempDir())
		w := sink.Writer()
		defer closeWriter(t, w)
		appendValues(t, w, events, 0, "a", "b")
		files := flush(t, w)
		for name, list := range map[string][]pipeline.Amendment{
			"a row that is not there":  {out(0), out(7)},
			"another partition's row":  {{Partition: pipeline.Partition{Topic: "events", ID: 1}, Reason: schemas.Withdrawn}},
			"a row twice":              {out(0), out(0)},
			"a row without a decision": {{Partition: events}},
			"a reason of a reject":     {{Partition: events, Reason: schemas.Malformed}},
		} {
			if _, err := sink.Amend(ctx, 0, files, list); err == nil {
				t.Errorf("%s was taken", name)
			}
		}
		if err := sink.Commit(ctx, commit(files, events, 0, 2, 2)); err != nil {
			t.Fatal(err)
		}
		if got := rows(0); len(got) != 2 {
			t.Errorf("%d rows, want both", len(got))
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
