package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/pipeline"
	"lupa/pipeline/pipelinetest"
	"lupa/schemas"
)

// memorizing is a stage that judges like Judge and holds what was kept or masked.
type memorizing struct {
	pipelinetest.Judge
	denied *denials
	rows   []memory
}

type memory struct {
	row
	masked schemas.Reason
}

type row struct {
	table     int
	partition pipeline.Partition
	offset    int64
}

// denials are the rows that are denied by the time that somebody asks.
type denials struct {
	mu     sync.Mutex
	rows   map[row]schemas.Reason
	asked  int
	onAsk  func(asked int) // called before each answer
	failed error
}

func (m *memorizing) Apply(ctx context.Context, b *pipeline.Batch) error {
	if err := m.Judge.Apply(ctx, b); err != nil {
		return err
	}
	for i, v := range b.Verdicts {
		r := memory{row: row{b.Table, b.Partition, b.Offsets[i]}}
		switch v {
		case pipeline.DropRow:
			continue
		case pipeline.MaskRow:
			r.masked = b.Reasons[i]
		}
		m.rows = append(m.rows, r)
	}
	return nil
}

func (m *memorizing) HeldBytes() int64 { return int64(len(m.rows)) }

func (m *memorizing) Hold() pipeline.Held {
	h := &heldRows{m.denied, m.rows}
	m.rows = nil
	return h
}

type heldRows struct {
	denied *denials
	rows   []memory
}

func (h *heldRows) Recheck(table int) (found []pipeline.Amendment, err error) {
	d := h.denied
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if d.onAsk != nil {
		d.onAsk(d.asked)
	}
	h.rows = slices.DeleteFunc(h.rows, func(r memory) bool {
		reason, ok := d.rows[r.row]
		if ok && r.table == table {
			found = append(found, pipeline.Amendment{Partition: r.partition, Offset: r.offset, Reason: reason, Masked: r.masked})
		}
		return ok && r.table == table
	})
	return found, d.failed
}

func (h *heldRows) Release() { h.rows = nil }

// amending is a sink that only remembers what is amended: the files stay.
type amending struct {
	*pipelinetest.Sink
	amended []pipeline.Amendment
	commits []*pipeline.Commit
}

func (s *amending) Amend(_ context.Context, _ int, files []pipeline.File, rows []pipeline.Amendment) ([]pipeline.File, error) {
	s.amended = append(s.amended, rows...)
	return files, nil
}

func (s *amending) Commit(ctx context.Context, c *pipeline.Commit) error {
	s.commits = append(s.commits, c)
	return s.Sink.Commit(ctx, c)
}

// counting is a ledger whose position grows with each barrier.
type counting struct{ at atomic.Int64 }

func (l *counting) Barrier(context.Context) (pipeline.Vector, error) {
	return pipeline.Vector{{Topic: "consent"}: l.at.Add(1)}, nil
}

func recheckJob(sink pipeline.Sink, d *denials, messages []string) (pipeline.Job, *counting) {
	p := pipeline.Partition{Topic: "events"}
	j := job(sink, map[pipeline.Partition][]string{p: messages}, 100)
	j.CommitEvery = 1000 * time.Hour
	ledger := &counting{}
	j.Ledger = ledger
	j.Workers[0].Stages = []pipeline.Stage{&memorizing{denied: d}}
	j.Stats = new(pipeline.Stats)
	return j, ledger
}

// What is denied between the decision and the commit is not committed, nor
// counted as kept, and the commit stands at the ledger position that was looked
// at last.
func TestRunTakesOutWhatWasDeniedMeanwhile(t *testing.T) {
	p := pipeline.Partition{Topic: "events"}
	withdrawn, erased, masked := row{red, p, 0}, row{red, p, 3}, row{red, p, 5}
	d := &denials{rows: map[row]schemas.Reason{withdrawn: schemas.Withdrawn}}
	d.onAsk = func(asked int) {
		if asked == 2 { // while the first one is taken out, another is erased
			d.rows[erased], d.rows[masked] = schemas.Erased, schemas.Erased
		}
	}
	sink := &amending{Sink: pipelinetest.NewSink(3)}
	j, ledger := recheckJob(sink, d, []string{"red:k0", "red:k1", "red:m2", "red:k3", "blue:k4", "red:m5"})
	counts, err := pipeline.Run(context.Background(), j)
	if err != nil {
		t.Fatal(err)
	}
	want := []pipeline.Amendment{
		{Partition: p, Offset: 0, Reason: schemas.Withdrawn}, {Partition: p, Offset: 3, Reason: schemas.Erased},
		{Partition: p, Offset: 5, Reason: schemas.Erased, Masked: schemas.Withdrawn}}
	if diff := cmp.Diff(want, sink.amended); diff != "" {
		t.Errorf("amended (-want +got):\n%s", diff)
	}
	n := counts[red]
	if n.Read != 5 || n.Kept != 1 || n.Masked != 1 || n.Dropped != 3 ||
		n.Reasons[schemas.ConsentGiven] != 1 || n.Reasons[schemas.Withdrawn] != 2 || n.Reasons[schemas.Erased] != 2 {
		t.Errorf("counts %+v", n)
	}
	if counts[blue].Kept != 1 || counts[blue].Dropped != 0 {
		t.Errorf("the other table's counts changed: %+v", counts[blue])
	}
	// One barrier for the decision; then three questions of red, the last of
	// which found nothing.
	if at := sink.commits[0].Ledger[pipeline.Partition{Topic: "consent"}]; at != 4 {
		t.Errorf("the first commit stands at ledger position %d, want that of its last question, 4", at)
	}
	if last := sink.commits[len(sink.commits)-1].Ledger[pipeline.Partition{Topic: "consent"}]; last != ledger.at.Load() {
		t.Errorf("the last commit stands at ledger position %d of %d", last, ledger.at.Load())
	}
	if got := j.Stats.Amended.Load(); got != 3 {
		t.Errorf("%d rows counted as amended, want 3", got)
	}
}

// A ledger that never stands still does not keep a commit from landing.
func TestRunEndsRechecks(t *testing.T) {
	p := pipeline.Partition{Topic: "events"}
	var messages []string
	for i := range 50 {
		messages = append(messages, fmt.Sprintf("red:k%d", i))
	}
	d := &denials{rows: map[row]schemas.Reason{}}
	d.onAsk = func(asked int) { d.rows[row{red, p, int64(asked)}] = schemas.Withdrawn }
	sink := &amending{Sink: pipelinetest.NewSink(3)}
	j, _ := recheckJob(sink, d, messages)
	counts, err := pipeline.Run(context.Background(), j)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(sink.amended); n == 0 || n > 20 || counts[red].Dropped != int64(n) {
		t.Errorf("%d rows amended and %d dropped", n, counts[red].Dropped)
	}
}

func TestRunCommitsNothingUnchecked(t *testing.T) {
	p := pipeline.Partition{Topic: "events"}
	for name, make := range map[string]func(*denials) pipeline.Sink{
		"a recheck that fails": func(d *denials) pipeline.Sink {
			d.failed = errors.New("no answer")
			return &amending{Sink: pipelinetest.NewSink(3)}
		},
		"an amendment without a reason": func(d *denials) pipeline.Sink {
			d.rows[row{red, p, 0}] = schemas.NoReason
			return &amending{Sink: pipelinetest.NewSink(3)}
		},
		"a masked row that is to stay otherwise": func(d *denials) pipeline.Sink {
			d.rows[row{red, p, 2}] = schemas.ConsentGiven
			return &amending{Sink: pipelinetest.NewSink(3)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := &denials{rows: map[row]schemas.Reason{}}
			sink := make(d)
			j, _ := recheckJob(sink, d, []string{"red:k0", "red:k1", "red:m2"})
			if _, err := pipeline.Run(context.Background(), j); err == nil {
				t.Error("the run passed")
			}
			positions, err := sink.Positions(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if len(positions[red]) != 0 {
				t.Error("it committed")
			}
		})
	}
}

// A worker that holds more than the bound commits without waiting for the
// interval.
func TestRunCommitsEarlyWhenMuchIsHeld(t *testing.T) {
	var messages []string
	for i := range 100 {
		messages = append(messages, fmt.Sprintf("red:k%d", i))
	}
	for _, bound := range []int64{0, 25} {
		sink := &amending{Sink: pipelinetest.NewSink(3)}
		j, _ := recheckJob(sink, &denials{}, messages)
		j.Workers[0].Source.(*pipelinetest.Source).Size = 10
		j.MaxHeldBytes = bound
		if _, err := pipeline.Run(context.Background(), j); err != nil {
			t.Fatal(err)
		}
		commits := 0
		for _, c := range sink.commits {
			if c.Table == red {
				commits++
			}
		}
		if early := commits > 1; early != (bound > 0) {
			t.Errorf("bound %d: %d commits", bound, commits)
		}
	}
}
