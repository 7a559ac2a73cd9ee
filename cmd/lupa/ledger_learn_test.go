package main

import (
	"fmt"
	"testing"
	"time"

	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// A call that identifies makes a browser the user's, in the ledger itself: what the
// user says later holds for events that name the browser alone, also for who starts
// again. A browser that a second user comes with is shared, and then no grant passes.
func TestStreamLearnsLinks(t *testing.T) {
	t.Parallel()
	b := fakeBed(t)
	topics := b.topics(t, 1)
	s := &sources{bedTopics: topics, j: topics.job(t, 100*time.Millisecond)}
	s.j.change(t, "ledger:\n", "ledger:\n  learn: true\n")
	say := func(records ...schemas.Record) {
		t.Helper()
		for _, r := range records {
			s.mustPut(t, s.ledger, sample.Message{Key: schemas.AppendRecordKey(nil, r), Value: schemas.AppendRecord(nil, r)})
		}
	}
	grant := func(who string) schemas.Record {
		r := grantOf(who, 1)
		r.Time = sample.Base().UnixMicro()
		return r
	}
	browses := func(browser string) place {
		t.Helper()
		s.count++
		return s.mustPut(t, s.events, sample.Message{Key: []byte(browser), Value: fmt.Appendf(nil,
			`{"type":"track","event":"Visit","messageId":"m-%d","timestamp":%q,"anonymousId":%q}`, s.count, time.Now().UTC().Format(time.RFC3339Nano), browser)})[0]
	}
	identifies := func(browser, user string) place {
		t.Helper()
		s.count++
		return s.mustPut(t, s.events, sample.Message{Key: []byte(browser), Value: fmt.Appendf(nil,
			`{"type":"identify","messageId":"m-%d","timestamp":%q,"anonymousId":%q,"userId":%q}`, s.count, time.Now().UTC().Format(time.RFC3339Nano), browser, user)})[0]
	}
	became := func(p *process, what string, at place, want string) {
		t.Helper()
		s.j.arrives(t, endsOf(at), p)
		if got := s.j.outcomes(t)(at); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	masked := func(r schemas.Reason) string { return r.String() + " without a token" }

	say(grant("ann"), grant("ben"))
	p := s.j.stream(t)
	defer tell(t, &[]*process{p})
	became(p, "a browser that nobody knows", browses("chrome"), masked(schemas.NoRecord))
	before := s.ends(t, s.ledger)
	s.j.arrives(t, endsOf(identifies("chrome", "ann")), p)
	after := s.ends(t, s.ledger)
	if fmt.Sprint(before) == fmt.Sprint(after) {
		t.Fatal("no link is in the ledger")
	}
	became(p, "ann's browser", browses("chrome"), grantedKept)
	s.j.arrives(t, endsOf(identifies("chrome", "ann")), p)
	if now := s.ends(t, s.ledger); fmt.Sprint(now) != fmt.Sprint(after) {
		t.Errorf("the same link twice: %v, then %v", after, now)
	}
	p.stop(t, exitOK)

	p = s.j.stream(t)
	became(p, "ann's browser in another process", browses("chrome"), grantedKept)
	say(withdrawalOf("ann", 2))
	became(p, "her browser once she withdrew", browses("chrome"), masked(schemas.Withdrawn))
	s.j.arrives(t, endsOf(identifies("kiosk", "ben")), p)
	became(p, "ben's", browses("kiosk"), grantedKept)
	s.j.arrives(t, endsOf(identifies("kiosk", "ann")), p)
	became(p, "what both use", browses("kiosk"), masked(schemas.Withdrawn))
	visit := s.mustPut(t, s.events, s.visits("ben", time.Now().UTC().Format(time.RFC3339Nano)))[0]
	became(p, "ben himself", visit, grantedKept)
	p.stop(t, exitOK)
	verified(t, s.j, verifyOptions{}, p)
}
