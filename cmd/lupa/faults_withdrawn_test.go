package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// withdrawer is somebody whose grant ends while the job runs, with an event
// before that and one after.
type withdrawer struct {
	before, after place
}

// suiteWithdrawn has many people withdraw while four jobs, with one to four
// workers, read their events. As soon as a withdrawal is acknowledged an event
// of the same person follows, and none of those may be kept by any of the jobs.
func suiteWithdrawn(t *testing.T, b *bed) {
	const people, steadfast, early, hands, behind, leastRate, mostWorkers = 10_000, 50, 50, 32, 500, 400, 4
	topics := b.topics(t, mostWorkers)
	var grants []sample.Message
	for i := range people + steadfast {
		grants = append(grants, said(i, schemas.Record{Verb: schemas.Grant, Purpose: schemas.Analytics, Proven: true, Version: 1}))
	}
	b.mustPut(t, topics.ledger, grants...)
	var jobs []job
	var crew []*process
	defer tell(t, &crew)
	for workers := 1; workers <= mostWorkers; workers++ {
		own := *topics
		own.group = b.name("withdrawn")
		j := own.job(t, 2*time.Second)
		j.change(t, "workers: 2", "workers: "+strconv.Itoa(workers))
		jobs, crew = append(jobs, j), append(crew, j.stream(t))
	}
	// Some of them are seen to be kept before anybody withdraws.
	var seen []place
	for i := range early {
		seen = append(seen, b.mustPut(t, topics.events, tracked(i))...)
	}
	for i, j := range jobs {
		j.arrives(t, endsOf(seen...), crew[i])
	}

	own := *topics
	own.group = b.name("hasty")
	blind := own.job(t, 200*time.Millisecond)
	without := topics.control(t, blind, hasty)

	them := make([]withdrawer, people)
	group, ctx := errgroup.WithContext(t.Context())
	turns := make(chan int)
	for range hands {
		group.Go(func() (err error) {
			for i := range turns {
				if them[i], err = topics.withdraw(ctx, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	// The race is one only as long as the jobs are close behind, so they are
	// waited for, but not by a machine that has much else to do.
	began := time.Now()
	for i := 0; i < people; {
		read := math.Inf(1)
		for _, p := range crew {
			read = min(read, p.metric(t, "lupa_messages_read_total"))
		}
		turn := max(int(read-early)/2+behind, int(time.Since(began).Seconds()*leastRate))
		for ; i < min(people, turn); i++ {
			select {
			case turns <- i:
			case <-ctx.Done():
				t.Fatal(group.Wait())
			}
		}
	}
	close(turns)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	unmoved := seen
	for i := range steadfast {
		unmoved = append(unmoved, b.mustPut(t, topics.events, tracked(people+i))...)
	}
	all := append([]place(nil), unmoved...)
	for _, w := range them {
		all = append(all, w.before, w.after)
	}
	for i, j := range jobs {
		j.arrives(t, endsOf(all...), crew[i])
		crew[i].stop(t, exitOK)
		j.checkWithdrawn(t, them, unmoved)
		verified(t, j, verifyOptions{}, crew[i])
	}
	blind.arrives(t, endsOf(all...))
	without.end(t)
	late, outcome := 0, blind.outcomes(t)
	for _, w := range them {
		if outcome(w.after) != withdrawnMasked {
			late++
		}
	}
	t.Logf("without waiting for the ledger %d of %d events after a withdrawal are kept", late, len(them))
	if late == 0 {
		t.Error("nothing is tested: a job that does not wait for the ledger does as well")
	}
}

// The outcomes of an event in the tracks table.
const (
	grantedKept     = "consent_given with a token"
	withdrawnMasked = "withdrawn without a token"
	noRow           = "no row"
)

// outcomes tells what became of events in the tracks table.
func (j job) outcomes(t *testing.T) func(place) string {
	t.Helper()
	tracks := readTables(t, j.warehouse())["tracks"]
	rows := tracks.places(t)
	reason, token := tracks.column(t, "reason"), tracks.column(t, "subject_token")
	return func(at place) string {
		switch row := rows[at]; {
		case row == nil:
			return noRow
		case row[token] == null:
			return row[reason] + " without a token"
		default:
			return row[reason] + " with a token"
		}
	}
}

// checkWithdrawn fails if an event after a withdrawal is kept, or one of who
// did not withdraw is not.
func (j job) checkWithdrawn(t *testing.T, them []withdrawer, unmoved []place) {
	t.Helper()
	outcome := j.outcomes(t)
	counts := map[string]int{}
	for _, w := range them {
		if got := outcome(w.after); got != withdrawnMasked {
			t.Errorf("after its withdrawal the event at %s offset %d is %s", w.after.Partition, w.after.Offset, got)
		}
		counts[outcome(w.before)]++
	}
	for _, at := range unmoved {
		// Some of them withdrew later.
		if got := outcome(at); got != grantedKept {
			t.Errorf("without a withdrawal the event at %s offset %d is %s", at.Partition, at.Offset, got)
		}
	}
	// An event that was read before the withdrawal was kept under the grant,
	// and taken out if it was not committed yet.
	if counts[grantedKept]+counts[withdrawnMasked]+counts[noRow] != len(them) {
		t.Errorf("the events before the withdrawals are %v", counts)
	}
	t.Logf("%d pairs; the events before the withdrawals are %v", len(them), counts)
}

// slowBytes of blanks before a withdrawal, which take next to nothing on the
// wire, make its way into the view longer than that of the event which follows
// it. Without them a view that nobody waits for is in time nearly always.
const slowBytes = 16 << 20

// withdraw has somebody do something, withdraw and do something again, each
// when what was before is acknowledged.
func (r *bedTopics) withdraw(ctx context.Context, person int) (w withdrawer, err error) {
	before, err := r.put(ctx, r.events, tracked(person))
	if err != nil {
		return w, err
	}
	withdrawal := said(person, schemas.Record{Verb: schemas.Withdraw, Every: true, Version: 2})
	if person%2000 == 0 {
		withdrawal.Value = append(bytes.Repeat([]byte{' '}, slowBytes), withdrawal.Value...)
	}
	if _, err := r.put(ctx, r.ledger, withdrawal); err != nil {
		return w, err
	}
	after, err := r.put(ctx, r.events, tracked(person))
	if err != nil {
		return w, err
	}
	return withdrawer{before[0], after[0]}, nil
}

// said is a record about a person, now.
func said(person int, r schemas.Record) sample.Message {
	r.Principal = schemas.NewSubject(schemas.UserID, fmt.Sprint("person-", person))
	r.Time = time.Now().UnixMicro()
	return sample.Message{Key: schemas.AppendRecordKey(nil, r), Value: schemas.AppendRecord(nil, r)}
}

// tracked is an event of a person, now.
func tracked(person int) sample.Message {
	at := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	return sample.Message{
		Key:   fmt.Append(nil, person),
		Value: fmt.Appendf(nil, `{"type":"track","event":"Order Completed","messageId":"%d-%[2]s","timestamp":"%[2]s","userId":"person-%[1]d"}`, person, at),
	}
}
