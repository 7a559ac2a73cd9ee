package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lupa/cmd/lupa/sample"
	"lupa/schemas"
)

// changer is somebody who permits everything while two events are read, and
// says something before the events are committed.
type changer struct {
	id             int
	says           *schemas.Record // nil is nothing
	tracked, known place           // an event of tracks, one of identifies
}

// The things that changers say.
var (
	saysNothing  *schemas.Record
	saysWithdraw = &schemas.Record{Verb: schemas.Withdraw, Every: true, Version: 2}
	saysErase    = &schemas.Record{Verb: schemas.Erase, Every: true, Version: 2}
	saysNoEmail  = &schemas.Record{Verb: schemas.Withdraw, Purpose: schemas.DirectMarketingEmail, Version: 2}
)

// changers puts some people of each kind into the ledger, who permit all.
func (r *bedTopics) changers(t *testing.T, first int) []changer {
	t.Helper()
	const each = 25
	var list []changer
	var records []sample.Message
	for _, says := range []*schemas.Record{saysNothing, saysWithdraw, saysErase, saysNoEmail} {
		for range each {
			c := changer{id: first + len(list), says: says}
			list = append(list, c)
			records = append(records,
				said(c.id, schemas.Record{Verb: schemas.Link, Other: schemas.NewSubject(schemas.Email, c.email())}),
				said(c.id, schemas.Record{Verb: schemas.Grant, Purpose: schemas.Analytics, Proven: true, Version: 1}),
				said(c.id, schemas.Record{Verb: schemas.Grant, Purpose: schemas.DirectMarketingEmail, Proven: true, Version: 1}))
		}
	}
	r.mustPut(t, r.ledger, records...)
	return list
}

func (c *changer) email() string { return fmt.Sprintf("changer-%d@example.com", c.id) }

// act has all of them do something: the two events of each.
func (r *bedTopics) act(t *testing.T, list []changer) (places []place) {
	t.Helper()
	at := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	var events []sample.Message
	for _, c := range list {
		key := fmt.Append(nil, c.id)
		events = append(events,
			sample.Message{Key: key, Value: fmt.Appendf(nil, `{"type":"track","event":"Order Completed","messageId":"t-%d","timestamp":%q,"userId":"person-%[1]d","properties":{"email":%[3]q}}`, c.id, at, c.email())},
			sample.Message{Key: key, Value: fmt.Appendf(nil, `{"type":"identify","messageId":"i-%d","timestamp":%q,"userId":"person-%[1]d","traits":{"email":%[3]q}}`, c.id, at, c.email())})
	}
	places = r.mustPut(t, r.events, events...)
	for i := range list {
		list[i].tracked, list[i].known = places[2*i], places[2*i+1]
	}
	return places
}

// speak has all of them say what they say, and returns when it is acknowledged.
func (r *bedTopics) speak(t *testing.T, list []changer) {
	t.Helper()
	var records []sample.Message
	for _, c := range list {
		if c.says != nil {
			records = append(records, said(c.id, *c.says))
		}
	}
	r.mustPut(t, r.ledger, records...)
}

// wrongly lists what is in the tables of people who said otherwise before it was
// committed, and what is not there of the others.
func (j job) wrongly(t *testing.T, list []changer) (wrong []string) {
	t.Helper()
	tables := readTables(t, j.warehouse())
	tracks, identifies := tables["tracks"], tables["identifies"]
	rows, known := tracks.places(t), identifies.places(t)
	token, email, purposes := tracks.column(t, "subject_token"), tracks.column(t, "email"), tracks.column(t, "purposes")
	add := func(c *changer, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("at %s offset %d ", c.tracked.Partition, c.tracked.Offset)+fmt.Sprintf(format, args...))
	}
	// counts by the end of their names
	tracked, identified := map[string]int64{}, map[string]int64{}
	for i := range list {
		c := &list[i]
		row, person := rows[c.tracked], known[c.known]
		switch c.says {
		case saysWithdraw, saysErase:
			if row != nil || person != nil {
				add(c, "rows are left of somebody who said %d", c.says.Verb)
			}
		default:
			if row == nil || row[token] == null {
				add(c, "the row is not kept")
				break
			}
			full := c.says == saysNothing
			if (row[email] != null) != full {
				add(c, "an address is there: %t, want %t", !full, full)
			}
			if strings.Contains(row[purposes], "direct_marketing_email") != full || !strings.Contains(row[purposes], "analytics") {
				add(c, "its purposes are %s", row[purposes])
			}
			if (person != nil) != full {
				add(c, "a row of identifies is there: %t, want %t", !full, full)
			}
		}
		reason := map[*schemas.Record]schemas.Reason{saysWithdraw: schemas.Withdrawn, saysErase: schemas.Erased}[c.says]
		if reason != schemas.NoReason {
			tracked["dropped"]++
			tracked["reason."+reason.String()]++
		} else {
			tracked["kept"]++
		}
		if c.says == saysNoEmail {
			reason = schemas.Withdrawn
		}
		if reason != schemas.NoReason {
			identified["dropped"]++
			identified["reason."+reason.String()]++
		} else {
			identified["kept"]++
		}
	}
	for _, table := range []struct {
		*storedTable
		name string
		want map[string]int64
	}{{tracks, "tracks", tracked}, {identifies, "identifies", identified}} {
		for name, n := range table.want {
			if got := table.counted(t, name); got != n {
				wrong = append(wrong, fmt.Sprintf("%s: %d are counted as %s, want %d", table.name, got, name, n))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// suiteRecheck has people withdraw, be erased and narrow what they permit when
// their events have been decided and not committed. A job without the recheck
// must be found to be wrong.
func suiteRecheck(t *testing.T, b *bed) {
	t.Run("stopped", func(t *testing.T) { recheckWhenStopped(t, b) })
	t.Run("in time", func(t *testing.T) { recheckInTime(t, b) })
}

// recheckWhenStopped has the signal bring the commit.
func recheckWhenStopped(t *testing.T, b *bed) {
	topics := b.topics(t, 4)
	list := topics.changers(t, 0)
	j := topics.job(t, longInterval)
	p := j.stream(t)
	own := *topics
	own.group = b.name("forgetful")
	blind := own.job(t, longInterval)
	without := topics.control(t, blind, forgetful)
	places := topics.act(t, list)
	p.reaches(t, "lupa_messages_read_total", float64(len(places)))
	p.until(t, "the control has read the events", func() bool { return without.stats.Read.Load() >= int64(len(places)) })
	if p.counts(committedLine) > 0 || without.commits.Load() > 0 {
		t.Fatal("committed before anybody said anything: nothing is tested")
	}
	topics.speak(t, list)
	p.stop(t, exitOK)
	without.end(t)
	for _, problem := range j.wrongly(t, list) {
		t.Error(problem)
	}
	verified(t, j, verifyOptions{}, p)
	wrong := blind.wrongly(t, list)
	t.Logf("without a recheck %d things are wrong", len(wrong))
	if len(wrong) == 0 {
		t.Error("nothing is tested: a job without a recheck does as well")
	}
}

// recheckInTime has the commit interval bring it. On a machine that is too slow
// for that, some rounds commit before people have spoken.
func recheckInTime(t *testing.T, b *bed) {
	const interval, rounds = 3 * time.Second, 5
	topics := b.topics(t, 1)
	j := topics.job(t, interval)
	j.change(t, "workers: 2", "workers: 1")
	p := j.stream(t)
	for round := range rounds {
		// What was idle for an interval commits at once.
		before := topics.changers(t, 2000*round)
		for i := range before {
			before[i].says = saysNothing
		}
		j.arrives(t, endsOf(topics.act(t, before)...), p)
		p.until(t, "all tables are committed", func() bool { return p.counts(committedLine)%len(schemaTables(t)) == 0 })
		commits := p.counts(committedLine)
		list := topics.changers(t, 2000*round+1000)
		read := p.metric(t, "lupa_messages_read_total")
		places := topics.act(t, list)
		p.reaches(t, "lupa_messages_read_total", read+float64(len(places)))
		topics.speak(t, list)
		if p.counts(committedLine) > commits {
			continue
		}
		j.arrives(t, endsOf(places...), p)
		p.stop(t, exitOK)
		var problems []string
		for _, problem := range j.wrongly(t, list) {
			if strings.HasPrefix(problem, "at ") { // the counts are those of the others too
				problems = append(problems, problem)
			}
		}
		if len(problems) > 0 {
			t.Errorf("%v", problems)
		}
		verified(t, j, verifyOptions{}, p)
		return
	}
	t.Fatalf("in %d rounds nobody was quicker than a commit interval of %s", rounds, interval)
}

// schemaTables are the tables of every job, the rejects among them.
func schemaTables(t *testing.T) []*schemas.Contract {
	t.Helper()
	contracts, err := loadContracts(ContractsConfig{Defaults: true})
	if err != nil {
		t.Fatal(err)
	}
	return append(contracts, schemas.Rejects())
}
