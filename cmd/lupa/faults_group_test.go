package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lupa/cmd/lupa/sample"
	"lupa/connectors/kafka"
	"lupa/connectors/warehouse/pgtest"
	"lupa/pipeline"
)

// slowly gives a second configuration of the job that commits only when it has
// to let go of its partitions.
func (j job) slowly(t *testing.T) job {
	t.Helper()
	text, err := os.ReadFile(j.config)
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(text), "interval: ")
	_, after, more := strings.Cut(after, ",")
	if !ok || !more {
		t.Fatal("the configuration has no commit interval")
	}
	const name = "slowly.yaml"
	write(t, j.dir, name, fmt.Sprintf("%sinterval: %s,%s", before, longInterval, after))
	return job{dir: j.dir, config: filepath.Join(j.dir, name)}
}

// What lupa logs about its group.
const (
	assignedLine = "msg=\"partitions are assigned\""
	refusedLine  = "another process has taken partitions over"
)

// assigned waits until the group has given the process n partitions, after it
// had said that it has any `before` times.
func (p *process) assigned(t *testing.T, before, n int) {
	t.Helper()
	want := fmt.Sprintf("partitions=%d\n", n)
	for count := before + 1; ; count++ {
		if !p.says(t, assignedLine, count) {
			t.Fatalf("ended before it was given %d partitions; it said:\n%s", n, p.stderr.text())
		}
		said := strings.Split(p.stderr.text(), assignedLine)
		if line, _, _ := strings.Cut(said[count], "\n"); strings.HasSuffix(line+"\n", want) {
			return
		}
	}
}

// shares is how often the group has given the process partitions.
func (p *process) shares() int {
	n, _ := p.stderr.count(assignedLine)
	return n
}

// TestStreamOutlivesARebalanceWhileItClaims has the group take partitions back
// from a process that is still about to claim them.
func TestStreamOutlivesARebalanceWhileItClaims(t *testing.T) {
	t.Parallel()
	b := fakeBed(t)
	topics := b.topics(t, 4)
	b.mustPut(t, topics.ledger, theSample(t).Ledger()...)
	places := b.mustPut(t, topics.events, theSample(t).Events()[:500]...)
	j := topics.job(t, 100*time.Millisecond)
	p := j.stream(t)
	j.awaits(t, p, endsOf(places...))
	release := j.hold(t, "pages") // which is not the first table to be claimed
	before := p.shares()
	leave := topics.join(t)
	p.assigned(t, before, 2)
	before = p.shares()
	leave()
	p.assigned(t, before, 4)
	release()
	places = append(places, b.mustPut(t, topics.events, theSample(t).Events()[500:1000]...)...)
	j.awaits(t, p, endsOf(places...))

	// A signal at that moment is no failure either.
	release = j.hold(t, "pages")
	before = p.shares()
	leave = topics.join(t)
	p.assigned(t, before, 2)
	p.stop(t, exitOK)
	release()
	leave()
	if !json.Valid(p.stdout.Bytes()) {
		t.Errorf("it has no result; it said:\n%s", p.stderr.text())
	}
	verified(t, j, verifyOptions{still: true}, p)
}

// join makes this process a member of the job's group, which reads nothing of
// what it is given.
func (r *bedTopics) join(t *testing.T) (leave func()) {
	t.Helper()
	c, err := kafka.New(kafka.Options{Brokers: r.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Group([]string{r.events}, kafka.GroupOptions{
		ID: r.group, SessionTimeout: time.Second, HeartbeatInterval: 250 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Next(bounded(t)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

// tell has a failed test say what its processes have said.
func tell(t *testing.T, said *[]*process) {
	if t.Failed() {
		for i, p := range *said {
			t.Logf("process %d has said:\n%s", i, p.stderr.text())
		}
	}
}

// suiteZombies stops one of two processes for longer than its session, at a
// moment when it has read what it has not committed, at one of its commits or
// at any, and lets it go on once the other has committed what was its own.
func suiteZombies(t *testing.T, b *bed) {
	const partitions = 4
	topics := b.topics(t, partitions)
	b.mustPut(t, topics.ledger, theSample(t).Ledger()...)
	j := topics.job(t, 100*time.Millisecond)
	slow := j.slowly(t)
	r := newRandom(t)
	rounds := killTimes(t, 3)
	shares := slices.Collect(slices.Chunk(theSample(t).Events(), len(theSample(t).Events())/(4*rounds)+1))
	var said []*process
	defer tell(t, &said)

	// The one that commits only when it must has always something to commit
	// when it wakes up, and is refused.
	var places []place
	caught := 0
	quick, sleeper := j.stream(t), slow.stream(t)
	said = append(said, quick, sleeper)
	quick.assigned(t, 0, partitions/2)
	sleeper.assigned(t, 0, partitions/2)
	for round := range rounds {
		read := sleeper.metric(t, "lupa_messages_read_total")
		places = append(places, b.mustPut(t, topics.events, shares[2*round]...)...)
		sleeper.reaches(t, "lupa_messages_read_total", read+1)
		before, refused := quick.shares(), sleeper.counts(refusedLine)
		sleeper.signal(t, syscall.SIGSTOP)
		quick.assigned(t, before, partitions)
		places = append(places, b.mustPut(t, topics.events, shares[2*round+1]...)...)
		j.arrives(t, endsOf(places...), quick)
		before = sleeper.shares()
		sleeper.signal(t, syscall.SIGCONT)
		sleeper.assigned(t, before, partitions/2)
		if sleeper.counts(refusedLine) > refused {
			caught++
		}
	}
	sleeper.stop(t, exitOK)
	// One whose partitions the group happened to take back just before has
	// nothing left to commit.
	t.Logf("%d of %d that had read something were refused when they woke up", caught, rounds)
	if caught == 0 {
		t.Error("nobody was refused: nothing is tested")
	}

	// Any moment. One that is stopped while it holds the lock of a table keeps
	// the other waiting.
	other := j.stream(t)
	said = append(said, other)
	other.assigned(t, 0, partitions/2)
	crew, taken := []*process{quick, other}, 0
	shares = shares[2*rounds:]
	for round := range rounds {
		victim, heir := crew[0], crew[1]
		slices.Reverse(crew)
		fed := feedSlowly(t.Context(), topics, shares[2*round], 10*time.Millisecond)
		if round%2 == 0 {
			victim.says(t, committedLine, victim.counts(committedLine)+1)
		} else {
			time.Sleep(time.Duration(r.ExpFloat64() * float64(100*time.Millisecond)))
		}
		before := heir.shares()
		victim.signal(t, syscall.SIGSTOP)
		heir.assigned(t, before, partitions)
		f := <-fed
		if f.err != nil {
			t.Fatal(f.err)
		}
		places = append(places, f.places...)
		places = append(places, b.mustPut(t, topics.events, shares[2*round+1]...)...)
		if j.arrivesWithin(t, endsOf(places...), 3*time.Second, heir) {
			taken++
		}
		before = victim.shares()
		victim.signal(t, syscall.SIGCONT)
		victim.assigned(t, before, partitions/2)
		j.arrives(t, endsOf(places...), crew...)
	}
	t.Logf("beside %d of %d that were stopped at any moment the other has committed all within a few seconds", taken, rounds)
	for _, p := range crew {
		p.stop(t, exitOK)
	}
	for _, share := range shares[2*rounds:] { // what division has left
		places = append(places, b.mustPut(t, topics.events, share...)...)
	}
	p := j.stream(t)
	said = append(said, p)
	p.must(t, streamingLine)
	j.arrives(t, endsOf(places...), p)
	p.stop(t, exitOK)
	checkSample(t, j, places)
	verified(t, j, verifyOptions{still: true}, said...)
}

// fed is what feedSlowly has produced.
type fed struct {
	places []place
	err    error
}

// feedSlowly produces events in the background, a few at each tick.
func feedSlowly(ctx context.Context, topics *bedTopics, events []sample.Message, every time.Duration) <-chan fed {
	done := make(chan fed, 1)
	go func() {
		var f fed
		tick := time.NewTicker(every)
		defer tick.Stop()
		for share := range slices.Chunk(events, max(1, len(events)/50)) {
			places, err := topics.put(ctx, topics.events, share...)
			f.places, f.err = append(f.places, places...), err
			if err != nil {
				break
			}
			<-tick.C
		}
		done <- f
	}()
	return done
}

// arrives waits until every table stands at the ends, whichever process brings
// it there; none of them may end before.
func (j job) arrives(t *testing.T, ends pipeline.Vector, crew ...*process) {
	t.Helper()
	if !j.arrivesWithin(t, ends, patience, crew...) {
		t.Fatalf("the tables have not reached %v", ends)
	}
}

// arrivesWithin is arrives for tables that may not do so, and reports whether
// they have.
func (j job) arrivesWithin(t *testing.T, ends pipeline.Vector, most time.Duration, crew ...*process) bool {
	t.Helper()
	for until := time.Now().Add(most); !caughtUp(t, j.warehouse(), ends); {
		for _, p := range crew {
			select {
			case <-p.exited:
				t.Fatalf("ended before the tables had reached %v; it said:\n%s", ends, p.stderr.text())
			default:
			}
		}
		if time.Now().After(until) {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	return true
}

// onPostgres gives the job a catalog in a PostgreSQL server.
func (j job) onPostgres(t *testing.T, server *pgtest.Server) job {
	t.Helper()
	const name = "dsn"
	if err := os.WriteFile(filepath.Join(j.dir, name), []byte(server.Database(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	j.change(t, "warehouse: {dir: warehouse}", "warehouse: {dir: warehouse, catalog: {postgres: {dsn_file: "+name+"}}}")
	return j
}

// suiteShared has two processes on one group and one catalog in PostgreSQL
// share the partitions, and kills one.
func suiteShared(t *testing.T, b *bed) {
	const partitions, session = 4, 2 * time.Second
	topics := b.topics(t, partitions)
	b.mustPut(t, topics.ledger, theSample(t).Ledger()...)
	j := topics.job(t, 100*time.Millisecond).onPostgres(t, pgtest.Start(t))
	j.change(t, "session_timeout: 1s", "session_timeout: "+session.String())
	events := theSample(t).Events()
	third := len(events) / 3
	said := []*process{j.stream(t), j.stream(t)}
	defer tell(t, &said)
	for _, p := range said {
		p.assigned(t, 0, partitions/2)
	}
	places := b.mustPut(t, topics.events, events[:third]...)
	j.arrives(t, endsOf(places...), said...)
	for i, p := range said {
		if p.counts(committedLine) == 0 {
			t.Errorf("process %d has committed nothing", i)
		}
	}

	fed := feedSlowly(t.Context(), topics, events[third:2*third], 10*time.Millisecond)
	dead, heir := said[0], said[1]
	dead.says(t, committedLine, dead.counts(committedLine)+1)
	before := heir.shares()
	dead.kill(t)
	began := time.Now()
	heir.assigned(t, before, partitions)
	moved := time.Since(began)
	f := <-fed
	if f.err != nil {
		t.Fatal(f.err)
	}
	places = append(places, f.places...)
	j.arrives(t, endsOf(places...), heir)
	t.Logf("with sessions of %s the partitions moved after %s, and all was committed after %s", session, moved, time.Since(began))
	// Which is on top of it is for a heartbeat and for joining.
	if most := session + 4*time.Second; moved > most {
		t.Errorf("the partitions moved after %s, want at most %s", moved, most)
	}

	// Who comes back gets a share again.
	back := j.stream(t)
	said = append(said, back)
	back.assigned(t, 0, partitions/2)
	places = append(places, b.mustPut(t, topics.events, events[2*third:]...)...)
	j.arrives(t, endsOf(places...), heir, back)
	heir.stop(t, exitOK)
	back.stop(t, exitOK)
	checkSample(t, j, places)
	verified(t, j, verifyOptions{still: true}, said...)
}

// checkSample fails unless every event of the sample has become what its story
// says, exactly once. places are where its events are, in order.
func checkSample(t *testing.T, j job, places []place) {
	t.Helper()
	tables := readTables(t, j.warehouse())
	standAt(t, tables, endsOf(places...))
	outcomes := outcomesAt(places, theSample(t).Expect())
	checkCounts(t, tables, outcomes)
	checkRows(t, tables, outcomes)
	checkColumns(t, tables, outcomes)
	checkTokens(t, tables, outcomes)
}

// suiteStorm starts, stops and kills processes about every second while the
// sample is fed.
func suiteStorm(t *testing.T, b *bed) {
	const most = 4
	topics := b.topics(t, 6)
	b.mustPut(t, topics.ledger, theSample(t).Ledger()...)
	j := topics.job(t, 200*time.Millisecond)
	r := newRandom(t)
	rounds := killTimes(t, 10)
	feeding := feedSlowly(t.Context(), topics, theSample(t).Events(), time.Duration(rounds)*20*time.Millisecond)
	var all, crew, stopped []*process
	defer tell(t, &all)
	begin := func() {
		p := j.stream(t)
		all, crew = append(all, p), append(crew, p)
	}
	begin()
	deeds := map[string]int{}
	for range rounds {
		deed := [...]string{"start", "stop", "kill"}[r.IntN(3)]
		if len(crew) == 1 || deed != "start" && len(crew) < most && r.IntN(3) == 0 {
			deed = "start"
		} else if len(crew) == most && deed == "start" {
			deed = "kill"
		}
		deeds[deed]++
		if deed == "start" {
			begin()
		} else {
			i := r.IntN(len(crew))
			p := crew[i]
			crew = slices.Delete(crew, i, i+1)
			if b.remembers() {
				p.must(t, assignedLine)
			}
			if deed == "kill" {
				p.kill(t)
			} else {
				p.must(t, "metrics are served") // before that it is no stream yet
				p.signal(t, syscall.SIGTERM)
				stopped = append(stopped, p)
			}
		}
		time.Sleep(time.Duration(float64(time.Second) * (0.5 + r.Float64())))
	}
	t.Logf("%v", deeds)
	f := <-feeding
	if f.err != nil {
		t.Fatal(f.err)
	}
	ends := endsOf(f.places...)
	j.arrives(t, ends, crew...)
	for _, p := range crew {
		p.must(t, "metrics are served")
		p.signal(t, syscall.SIGTERM)
	}
	for _, p := range append(stopped, crew...) {
		p.end(t, exitOK)
	}
	checkSample(t, j, f.places)
	verified(t, j, verifyOptions{still: true}, all...)
}
