//go:build integration

package main

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"

	"lupa/cmd/lupa/sample"
	"lupa/connectors/kafka/kafkatest"
	"lupa/schemas"
)

// withdrawer is somebody whose grant ends while the job runs, with an event
// before that and one after.
type withdrawer struct {
	before, after place
}

// streamWithdrawals has a thousand people withdraw while the job runs. As soon
// as a withdrawal is acknowledged an event of the same person follows, and none
// of those may be kept.
func streamWithdrawals(t *testing.T, k *kafkatest.Cluster) {
	const people, steadfast, early, hands = 1000, 50, 50, 4
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	topics := newRealTopics(t, k, "withdrawn")
	j := topics.job(t, k, identity.Recipient().String())
	var grants []sample.Message
	for i := range people + steadfast {
		grants = append(grants, said(i, schemas.Record{Verb: schemas.Grant, Purpose: schemas.Analytics, Proven: true, Version: 1}))
	}
	if _, err := topics.put(t.Context(), topics.ledger, grants...); err != nil {
		t.Fatal(err)
	}
	p := j.stream(t)
	// Some of them are seen to be kept before anybody withdraws.
	var seen []place
	for i := range early {
		at, err := topics.put(t.Context(), topics.events, tracked(i))
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, at...)
	}
	j.awaits(t, p, endsOf(seen...))

	them := make([]withdrawer, people)
	group, ctx := errgroup.WithContext(t.Context())
	for hand := range hands {
		group.Go(func() (err error) {
			for i := hand; i < people && err == nil; i += hands {
				them[i], err = topics.withdraw(ctx, i)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	unmoved := seen
	for i := range steadfast {
		at, err := topics.put(t.Context(), topics.events, tracked(people+i))
		if err != nil {
			t.Fatal(err)
		}
		unmoved = append(unmoved, at...)
	}
	all := unmoved
	for _, w := range them {
		all = append(all, w.before, w.after)
	}
	j.awaits(t, p, endsOf(all...))
	p.stop(t, exitOK)

	tracks := readTables(t, j.warehouse())["tracks"]
	rows := tracks.places(t)
	outcome := func(at place) string {
		row := rows[at]
		if row == nil {
			return "no row"
		}
		reason := row[tracks.column(t, "reason")]
		if row[tracks.column(t, "subject_token")] == null {
			return reason + " without a token"
		}
		return reason + " with a token"
	}
	const kept, masked = "consent_given with a token", "withdrawn without a token"
	counts := map[string]int{}
	for _, w := range them {
		if got := outcome(w.after); got != masked {
			t.Errorf("after its withdrawal the event at %s offset %d is %s", w.after.Partition, w.after.Offset, got)
		}
		counts[outcome(w.before)]++
	}
	for _, at := range unmoved {
		if got := outcome(at); got != kept {
			t.Errorf("without a withdrawal the event at %s offset %d is %s", at.Partition, at.Offset, got)
		}
	}
	// An event that was read before the withdrawal was kept under the grant.
	if counts[kept]+counts[masked] != people {
		t.Errorf("the events before the withdrawals are %v", counts)
	}
	t.Logf("of %d events before the withdrawals %d were read before them", people, counts[kept])
}

// slowBytes of blanks before a withdrawal, which take next to nothing on the
// wire, make its way into the view longer than that of the event which follows
// it. Without them a view that nobody waits for is in time nearly always.
const slowBytes = 16 << 20

// withdraw has somebody do something, withdraw and do something again, each
// when what was before is acknowledged.
func (r *realTopics) withdraw(ctx context.Context, person int) (w withdrawer, err error) {
	before, err := r.put(ctx, r.events, tracked(person))
	if err != nil {
		return w, err
	}
	withdrawal := said(person, schemas.Record{Verb: schemas.Withdraw, Every: true, Version: 2})
	if person%20 == 0 {
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
