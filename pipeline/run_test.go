package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

const red, blue, rejects = 0, 1, 2

// input is a mixed sequence of messages of one partition.
func input(seed uint64, n int) []string {
	rng := rand.New(rand.NewPCG(seed, 1))
	kinds := []string{"red:k", "red:m", "red:x", "blue:k", "blue:x", "both:k", "both:m", "bad:", "what:", "conflict:", ""}
	messages := make([]string, n)
	for i := range messages {
		messages[i] = kinds[rng.IntN(len(kinds))]
		if messages[i] != "" {
			messages[i] += fmt.Sprint(i)
		}
	}
	return messages
}

// want is what the tables must hold, told from the input alone.
func want(partitions map[pipeline.Partition][]string) (rows [3][]pipelinetest.Row, counts [3]pipeline.Counts) {
	for p, messages := range partitions {
		for i, m := range messages {
			row := pipelinetest.Row{Partition: p, Offset: int64(i)}
			count := func(table int, r schemas.Reason, which *int64) {
				counts[table].Read++
				*which++
				counts[table].Reasons[r]++
			}
			reject := func(home int, name string, r schemas.Reason) {
				count(home, r, &counts[home].Rejected)
				row.Reason, row.Value = r, name
				rows[rejects] = append(rows[rejects], row)
			}
			take := func(table int, value string) {
				switch value[0] {
				case 'k':
					count(table, schemas.ConsentGiven, &counts[table].Kept)
					row.Reason, row.Value = schemas.ConsentGiven, value
					rows[table] = append(rows[table], row)
				case 'm':
					count(table, schemas.Withdrawn, &counts[table].Masked)
					row.Reason, row.Value = schemas.Withdrawn, ""
					rows[table] = append(rows[table], row)
				default:
					count(table, schemas.Withdrawn, &counts[table].Dropped)
				}
			}
			switch {
			case m == "":
				reject(rejects, "", schemas.EmptyMessage)
			case m[:3] == "red":
				take(red, m[4:])
			case m[:3] == "blu":
				take(blue, m[5:])
			case m[:3] == "bot":
				take(red, m[5:])
				take(blue, m[5:])
			case m[:3] == "con":
				reject(red, "red", schemas.IdentityConflict)
			case m[:3] == "bad":
				reject(rejects, "", schemas.Malformed)
			default:
				reject(rejects, "", schemas.Unrouted)
			}
		}
	}
	return rows, counts
}

// aMinuteLater is a clock on which a minute passes from one look to the next.
func aMinuteLater() func() time.Time {
	var minutes atomic.Int64
	return func() time.Time { return time.Unix(60*minutes.Add(1), 0) }
}

// job reads the partitions with one worker each.
func job(sink pipeline.Sink, partitions map[pipeline.Partition][]string, size int) pipeline.Job {
	j := pipeline.Job{
		Contracts: pipelinetest.Contracts(), Ledger: pipelinetest.Ledger{}, Sink: sink,
		CommitEvery: 15 * time.Minute, DrainTimeout: time.Minute, Now: aMinuteLater(),
	}
	for p, messages := range partitions {
		j.Workers = append(j.Workers, pipeline.Worker{
			Source:  &pipelinetest.Source{Partition: p, Messages: messages, Size: size},
			Decoder: pipelinetest.Decoder{}, Stages: []pipeline.Stage{pipelinetest.Judge{}},
		})
	}
	return j
}

// check holds the sink against what the input alone says it must hold.
func check(t *testing.T, sink *pipelinetest.Sink, partitions map[pipeline.Partition][]string) {
	t.Helper()
	rows, counts := want(partitions)
	for table := range rows {
		slices.SortFunc(rows[table], pipelinetest.Row.Compare)
		if diff := cmp.Diff(rows[table], sink.Rows(table)); diff != "" {
			t.Errorf("table %d: rows (-want +got):\n%s", table, diff)
		}
		if diff := cmp.Diff(counts[table], sink.Counts(table)); diff != "" {
			t.Errorf("table %d: counts (-want +got):\n%s", table, diff)
		}
	}
	positions, err := sink.Positions(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for table, at := range positions {
		for p, messages := range partitions {
			if at[p].Next != int64(len(messages)) {
				t.Errorf("table %d: %s stands at %d, want %d", table, p, at[p].Next, len(messages))
			}
		}
	}
}

func TestRunCommitsEveryMessageOnce(t *testing.T) {
	for _, size := range []int{1, 7, 1000} {
		for _, workers := range []int{1, 3} {
			t.Run(fmt.Sprintf("chunks of %d, %d workers", size, workers), func(t *testing.T) {
				partitions := map[pipeline.Partition][]string{}
				for i := range workers {
					partitions[pipeline.Partition{Topic: "events", ID: int32(i)}] = input(uint64(i), 500)
				}
				sink := pipelinetest.NewSink(3)
				totals, err := pipeline.Run(context.Background(), job(sink, partitions, size))
				if err != nil {
					t.Fatal(err)
				}
				check(t, sink, partitions)
				for table := range totals {
					if diff := cmp.Diff(sink.Counts(table), totals[table]); diff != "" {
						t.Errorf("table %d: totals (-sink +run):\n%s", table, diff)
					}
				}
				// A second run finds nothing to do.
				totals, err = pipeline.Run(context.Background(), job(sink, partitions, size))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(make([]pipeline.Counts, 3), totals); diff != "" {
					t.Errorf("rerun (-want +got):\n%s", diff)
				}
				check(t, sink, partitions)
			})
		}
	}
}

// Every call of the sink fails once, before or after it took effect; the run
// is then started again on what was committed.
func TestRunResumesAfterEveryFailure(t *testing.T) {
	partitions := map[pipeline.Partition][]string{
		{Topic: "events"}:        input(11, 90),
		{Topic: "events", ID: 1}: input(12, 60),
	}
	for _, after := range []bool{false, true} {
		failures := 0
		for n := 1; ; n++ {
			sink := pipelinetest.NewSink(3)
			failing := &pipelinetest.Failing{Sink: sink, At: n, After: after}
			_, err := pipeline.Run(context.Background(), job(failing, partitions, 10))
			if !failing.Reached() {
				if err != nil {
					t.Fatalf("call %d: %v without an injected failure", n, err)
				}
				break
			}
			if !errors.Is(err, pipelinetest.ErrInjected) {
				t.Fatalf("call %d, after=%t: error %v, want the injected one", n, after, err)
			}
			failures++
			if _, err := pipeline.Run(context.Background(), job(sink, partitions, 10)); err != nil {
				t.Fatalf("call %d, after=%t: second run: %v", n, after, err)
			}
			check(t, sink, partitions)
			if t.Failed() {
				t.Fatalf("call %d, after=%t", n, after)
			}
		}
		if failures < 20 {
			t.Errorf("only %d calls were made to fail", failures)
		}
	}
}

// Stages are told the time of each row's own message, also where a table holds
// the first rows of a chunk already.
func TestRunTellsTheTimesOfMessages(t *testing.T) {
	p := pipeline.Partition{Topic: "events"}
	partitions := map[pipeline.Partition][]string{p: input(41, 90)}
	timed := func(sink pipeline.Sink, size int) pipeline.Job {
		j := job(sink, partitions, size)
		j.CommitEvery = time.Second // a commit for each chunk
		j.Workers[0].Source = withTimes{j.Workers[0].Source}
		j.Workers[0].Stages = append(j.Workers[0].Stages, stage(func(b *pipeline.Batch) error {
			if len(b.Times) != len(b.Offsets) {
				return fmt.Errorf("%d times for %d rows", len(b.Times), len(b.Offsets))
			}
			for i, offset := range b.Offsets {
				if b.Times[i] != timeOf(offset) {
					return fmt.Errorf("the message at %d is told at %d", offset, b.Times[i])
				}
			}
			return nil
		}))
		return j
	}
	for n := 1; ; n++ {
		sink := pipelinetest.NewSink(3)
		failing := &pipelinetest.Failing{Sink: sink, At: n}
		if _, err := pipeline.Run(context.Background(), timed(failing, 20)); err != nil && !errors.Is(err, pipelinetest.ErrInjected) {
			t.Fatal(err)
		}
		if _, err := pipeline.Run(context.Background(), timed(sink, 7)); err != nil {
			t.Fatal(err)
		}
		check(t, sink, partitions)
		if !failing.Reached() {
			break
		}
	}
}

func timeOf(offset int64) int64 { return 1000 + offset*offset }

// withTimes gives messages times.
type withTimes struct{ pipeline.Source }

func (s withTimes) Next(ctx context.Context) (*pipeline.Chunk, error) {
	c, err := s.Source.Next(ctx)
	if c != nil {
		for i, offset := range c.Offsets {
			c.Times[i] = timeOf(offset)
		}
	}
	return c, err
}

// A run that is told to stop commits what it read and reports no error.
func TestRunStopsWithACommit(t *testing.T) {
	p := pipeline.Partition{Topic: "events"}
	partitions := map[pipeline.Partition][]string{p: input(21, 300)}
	sink := pipelinetest.NewSink(3)
	j := job(sink, partitions, 10)
	j.CommitEvery = 1000 * time.Hour
	ctx, stop := context.WithCancel(context.Background())
	source := j.Workers[0].Source.(*pipelinetest.Source)
	source.Follow = true
	j.Workers[0].Source = stopAfter{source, stop}
	if _, err := pipeline.Run(ctx, j); err != nil {
		t.Fatal(err)
	}
	check(t, sink, partitions)
}

// stopAfter calls stop once the source has given all of its messages.
type stopAfter struct {
	*pipelinetest.Source
	stop func()
}

func (s stopAfter) Next(ctx context.Context) (*pipeline.Chunk, error) {
	c, err := s.Source.Next(ctx)
	if c == nil {
		s.stop()
	}
	return c, err
}

type brokenLedger struct{ err error }

func (l brokenLedger) Barrier(context.Context) (pipeline.Vector, error) { return nil, l.err }

func TestRunFailsClosed(t *testing.T) {
	p := pipeline.Partition{Topic: "events"}
	partitions := map[pipeline.Partition][]string{p: input(31, 50)}
	broken := errors.New("broken")
	cases := map[string]func(*pipeline.Job){
		"the ledger cannot be reached": func(j *pipeline.Job) { j.Ledger = brokenLedger{broken} },
		"a stage fails": func(j *pipeline.Job) {
			j.Workers[0].Stages = []pipeline.Stage{stage(func(*pipeline.Batch) error { return broken })}
		},
		"a stage decides nothing": func(j *pipeline.Job) {
			j.Workers[0].Stages = []pipeline.Stage{stage(func(*pipeline.Batch) error { return nil })}
		},
		"a stage passes a row that was not kept": func(j *pipeline.Job) {
			j.Workers[0].Stages = append(j.Workers[0].Stages, stage(func(b *pipeline.Batch) error {
				b.Verdicts[b.Selected[0]] = pipeline.DropRow
				return nil
			}))
		},
		"a row has no reason": func(j *pipeline.Job) {
			j.Workers[0].Stages = append(j.Workers[0].Stages, stage(func(b *pipeline.Batch) error {
				b.Reasons[0] = schemas.NoReason
				return nil
			}))
		},
		"a row is kept against its reason": func(j *pipeline.Job) {
			j.Workers[0].Stages = append(j.Workers[0].Stages, stage(func(b *pipeline.Batch) error {
				b.Reasons[slices.Index(b.Verdicts, pipeline.KeepRow)] = schemas.Withdrawn
				return nil
			}))
		},
		"an erased row is masked": func(j *pipeline.Job) {
			j.Workers[0].Stages = append(j.Workers[0].Stages, stage(func(b *pipeline.Batch) error {
				b.Reasons[slices.Index(b.Verdicts, pipeline.MaskRow)] = schemas.Erased
				return nil
			}))
		},
		"a row has a verdict that there is not": func(j *pipeline.Job) {
			j.Workers[0].Stages = append(j.Workers[0].Stages, stage(func(b *pipeline.Batch) error {
				b.Verdicts[slices.Index(b.Verdicts, pipeline.DropRow)] = 7
				return nil
			}))
		},
		"a stage passes a dropped row in place of a kept one": func(j *pipeline.Job) {
			j.Workers[0].Stages = append(j.Workers[0].Stages, stage(func(b *pipeline.Batch) error {
				b.Selected[0] = int32(slices.Index(b.Verdicts, pipeline.DropRow))
				return nil
			}))
		},
		"the decoder fails":             func(j *pipeline.Job) { j.Workers[0].Decoder = brokenDecoder{broken} },
		"the decoder forgets a message": func(j *pipeline.Job) { j.Workers[0].Decoder = forgetful{} },
	}
	for name, breakIt := range cases {
		t.Run(name, func(t *testing.T) {
			sink := pipelinetest.NewSink(3)
			j := job(sink, partitions, 50)
			breakIt(&j)
			if _, err := pipeline.Run(context.Background(), j); err == nil {
				t.Fatal("the run passed")
			}
			for table := range 3 {
				if rows := sink.Rows(table); len(rows) > 0 {
					t.Errorf("table %d holds %d rows", table, len(rows))
				}
			}
		})
	}
}

type stage func(*pipeline.Batch) error

func (s stage) Apply(_ context.Context, b *pipeline.Batch) error { return s(b) }

type brokenDecoder struct{ err error }

func (d brokenDecoder) Decode(context.Context, string, *schemas.Messages) ([]schemas.Rows, []schemas.Reject, error) {
	return nil, nil, d.err
}

// forgetful leaves the last message out.
type forgetful struct{ pipelinetest.Decoder }

func (d forgetful) Decode(ctx context.Context, topic string, m *schemas.Messages) ([]schemas.Rows, []schemas.Reject, error) {
	short := *m
	short.Values, short.Times = m.Values[:len(m.Values)-1], m.Times[:len(m.Times)-1]
	return d.Decoder.Decode(ctx, topic, &short)
}

// Rejected messages are in the quarantine before a position passes them.
func TestRunQuarantinesBeforeItCommits(t *testing.T) {
	p := pipeline.Partition{Topic: "events"}
	messages := []string{"red:k0", "bad:1", "conflict:2", "what:3", ""}
	sink := pipelinetest.NewSink(3)
	j := job(sink, map[pipeline.Partition][]string{p: messages}, 2)
	j.CommitEvery = 1000 * time.Hour
	q := &pipelinetest.Quarantine{}
	j.Quarantine = q
	j.Committed = func(*pipeline.Commit) {
		if len(q.Flushed) != 4 {
			t.Errorf("%d of 4 rejects were safe at a commit", len(q.Flushed))
		}
	}
	if _, err := pipeline.Run(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	want := []pipeline.Rejected{
		{Partition: p, Offset: 1, Reason: schemas.Malformed, Value: []byte("bad:1")},
		{Partition: p, Offset: 2, Table: "red", Field: "value", Reason: schemas.IdentityConflict, Value: []byte("conflict:2")},
		{Partition: p, Offset: 3, Reason: schemas.Unrouted, Value: []byte("what:3")},
		{Partition: p, Offset: 4, Reason: schemas.EmptyMessage, Value: []byte{}},
	}
	if diff := cmp.Diff(want, q.Flushed); diff != "" {
		t.Errorf("quarantine (-want +got):\n%s", diff)
	}
}

// Two workers that both read a partition, because each found other partitions
// when it began, must not commit its rows twice.
func TestRunRefusesAPartitionOfTwoWorkers(t *testing.T) {
	p := pipeline.Partition{Topic: "events"}
	messages := input(41, 40)
	for range 50 {
		sink := pipelinetest.NewSink(3)
		j := job(sink, map[pipeline.Partition][]string{p: messages}, 10)
		j.CommitEvery = 1000 * time.Hour
		j.Workers = append(j.Workers, pipeline.Worker{
			Source:  &pipelinetest.Source{Partition: p, Messages: messages, Size: 10},
			Decoder: pipelinetest.Decoder{}, Stages: []pipeline.Stage{pipelinetest.Judge{}},
		})
		if _, err := pipeline.Run(context.Background(), j); err == nil {
			t.Fatal("the run passed")
		}
		want, _ := want(map[pipeline.Partition][]string{p: messages})
		for table := range want {
			if got := len(sink.Rows(table)); got > len(want[table]) {
				t.Fatalf("table %d holds %d rows of %d", table, got, len(want[table]))
			}
		}
	}
}

// proving remembers what it was told to prove, and refuses what does not fit.
type proving struct {
	*pipelinetest.Source
	first int64 // the messages before it are gone
	held  []pipeline.Positions
}

func (s *proving) Prove(held []pipeline.Positions) { s.held = held }

func (s *proving) Open(ctx context.Context, from pipeline.Positions) error {
	for _, held := range append(s.held, from) {
		if at, ok := held[s.Partition]; ok && at.Next < s.first {
			return fmt.Errorf("%s: offset %d is gone", s.Partition, at.Next)
		}
	}
	if _, ok := from[s.Partition]; !ok {
		from = pipeline.Positions{s.Partition: {Next: s.first}}
	}
	return s.Source.Open(ctx, from)
}

// A table without a position has reading begin where the partition does now.
// What the other tables have not read yet may be gone by then; that is a loss
// and not a place to begin at.
func TestRunProvesEveryPosition(t *testing.T) {
	p := pipeline.Partition{Topic: "events"}
	messages := input(51, 60)
	for first, lost := range map[int64]bool{10: false, 40: true} {
		sink := pipelinetest.NewSink(3)
		seen := &pipeline.Commit{Table: red, Moves: map[pipeline.Partition]pipeline.Move{p: {To: pipeline.Mark{Next: 30}}}}
		if err := sink.Commit(context.Background(), seen); err != nil {
			t.Fatal(err)
		}
		j := job(sink, map[pipeline.Partition][]string{p: messages}, 10)
		j.Workers[0].Source = &proving{Source: j.Workers[0].Source.(*pipelinetest.Source), first: first}
		if _, err := pipeline.Run(context.Background(), j); (err != nil) != lost {
			t.Errorf("messages from %d on, red stands at 30: error %v", first, err)
		}
	}
}

// claimThatEnds is a sink whose claim is under way when the run is told to stop.
type claimThatEnds struct {
	*pipelinetest.Sink
	stop func()
}

func (s claimThatEnds) Claim(ctx context.Context, _ []pipeline.Partition) ([]pipeline.Claims, []pipeline.Positions, error) {
	s.stop()
	return nil, nil, context.Cause(ctx)
}

// TestRunStopsWhileItClaims: being told to stop is no failure then either. The
// group may take its partitions back at any time.
func TestRunStopsWhileItClaims(t *testing.T) {
	p := pipeline.Partition{Topic: "events"}
	ctx, stop := context.WithCancel(context.Background())
	j := job(claimThatEnds{pipelinetest.NewSink(3), stop}, map[pipeline.Partition][]string{p: input(1, 10)}, 10)
	j.Partitions = []pipeline.Partition{p}
	counts, err := pipeline.Run(ctx, j)
	if err != nil || len(counts) != len(j.Contracts) {
		t.Errorf("%d counts, error %v", len(counts), err)
	}
}

// holding gives what stands before an offset, and then an error.
type holding struct {
	pipelinetest.Source
	err error
}

func (h *holding) Next(ctx context.Context) (*pipeline.Chunk, error) {
	c, err := h.Source.Next(ctx)
	if errors.Is(err, io.EOF) {
		err = h.err
	}
	return c, err
}

// What stands before something that a source holds back is committed, by all
// workers; what was read before any other error is not.
func TestRunCommitsWhatStandsBeforeWhatIsHeld(t *testing.T) {
	first, second := pipeline.Partition{Topic: "events"}, pipeline.Partition{Topic: "events", ID: 1}
	partitions := map[pipeline.Partition][]string{first: input(5, 40), second: input(6, 30)}
	for _, held := range []bool{true, false} {
		cause := errors.New("broken")
		if held {
			cause = fmt.Errorf("offset 40: %w", pipeline.ErrHeld)
		}
		sink := pipelinetest.NewSink(3)
		j := job(sink, partitions, 7)
		j.Now = func() time.Time { return time.Unix(0, 0) } // no interval ends
		read := make(chan struct{})
		for i := range j.Workers {
			s := j.Workers[i].Source.(*pipelinetest.Source)
			if s.Partition == first {
				j.Workers[i].Source = &waiting{holding{*s, cause}, read}
			} else {
				s.Follow = true
				j.Workers[i].Source = &telling{Source: s, read: read}
			}
		}
		counts, err := pipeline.Run(context.Background(), j)
		if !errors.Is(err, cause) || errors.Is(err, pipeline.ErrHeld) != held {
			t.Errorf("held %t: error %v", held, err)
		}
		if held {
			check(t, sink, partitions)
			if counts[red].Read == 0 {
				t.Error("the counts are not given")
			}
			continue
		}
		for table := range 3 {
			if n := len(sink.Rows(table)); n > 0 {
				t.Errorf("table %d holds %d rows", table, n)
			}
		}
	}
}

// waiting waits with its error until another source was read to its end.
type waiting struct {
	holding
	read <-chan struct{}
}

func (w *waiting) Next(ctx context.Context) (*pipeline.Chunk, error) {
	c, err := w.holding.Next(ctx)
	if err != nil {
		<-w.read
	}
	return c, err
}

// telling tells once that it has nothing more to give.
type telling struct {
	*pipelinetest.Source
	read chan<- struct{}
	told bool
}

func (s *telling) Next(ctx context.Context) (*pipeline.Chunk, error) {
	c, err := s.Source.Next(ctx)
	if c == nil && !s.told {
		s.told = true
		close(s.read)
	}
	return c, err
}

// discarding is a sink that cannot commit to one table, and remembers what it is
// told to remove.
type discarding struct {
	*pipelinetest.Sink
	mu        sync.Mutex
	staged    map[string]int
	discarded map[string]int
}

func (s *discarding) Writer() pipeline.Writer { return &stagingWriter{s.Sink.Writer(), s} }

type stagingWriter struct {
	pipeline.Writer
	sink *discarding
}

func (w *stagingWriter) Flush(ctx context.Context) ([]pipeline.File, error) {
	files, err := w.Writer.Flush(ctx)
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	for _, f := range files {
		w.sink.staged[f.Path] = f.Table
	}
	return files, err
}

func (s *discarding) Commit(ctx context.Context, c *pipeline.Commit) error {
	if c.Table == blue {
		return errors.New("no answer")
	}
	return s.Sink.Commit(ctx, c)
}

func (s *discarding) Discard(table int, files []pipeline.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		s.discarded[f.Path] = table
	}
}

// TestRunLeavesNothingBehind: files that were handed over, and whose commit was
// not tried when the run ended, are removed; of the others only the sink knows
// whether they were committed.
func TestRunLeavesNothingBehind(t *testing.T) {
	partitions := map[pipeline.Partition][]string{}
	for id := range int32(3) {
		partitions[pipeline.Partition{Topic: "events", ID: id}] = []string{"red:k0", "blue:k1", "bad", "red:k3", "blue:k4", "bad"}
	}
	sink := &discarding{Sink: pipelinetest.NewSink(3), staged: map[string]int{}, discarded: map[string]int{}}
	j := job(sink, partitions, 1)
	j.CommitEvery = time.Nanosecond
	if _, err := pipeline.Run(context.Background(), j); err == nil {
		t.Fatal("the run passed")
	}
	if len(sink.discarded) == 0 {
		t.Error("nothing was removed")
	}
	perTable := map[int]int{}
	for path, table := range sink.staged {
		if _, ok := sink.discarded[path]; !ok {
			perTable[table]++
		}
	}
	// Red's were committed and blue's tried, once a worker at most.
	if perTable[2] != 0 || perTable[red] > len(partitions) || perTable[blue] > len(partitions) {
		t.Errorf("files left behind, by table: %v", perTable)
	}
}
