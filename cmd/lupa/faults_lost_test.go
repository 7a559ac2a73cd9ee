package main

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
)

// suiteLost takes away what a job stands on, while it runs and while it does
// not. It must end with the exit code of lost data, name the partition, leave
// the tables as they are and do the same at the next start.
func suiteLost(t *testing.T, b *bed) {
	var tests []subtest
	for _, c := range []struct {
		name string
		run  func(*testing.T, *standing)
	}{
		{"records deleted while it is down", lostRecords},
		{"records deleted while it is stopped", lostRecordsUnderIt},
		{"made anew and shorter while it is down", lostTopicShorter},
		{"made anew and longer while it is down", lostTopicLonger},
		{"made anew while it runs", lostTopicUnderIt},
		{"deleted while it runs", lostTopicForGood},
		{"another cluster", lostCluster},
		{"the group is deleted", lostGroup},
	} {
		tests = append(tests, subtest{c.name, func(t *testing.T) {
			s := &standing{bedTopics: b.topics(t, 2)}
			s.mustPut(t, s.ledger, theSample(t).Ledger()...)
			s.read = s.mustPut(t, s.events, theSample(t).Events()[:standsAt]...)
			s.job = s.bedTopics.job(t, 100*time.Millisecond)
			s.process = s.job.stream(t)
			s.arrives(t, endsOf(s.read...), s.process)
			c.run(t, s)
		}})
	}
	someAtOnce(t, 2, tests)
}

// standing is a job whose process runs, and whose tables stand at the ends of
// its topics.
type standing struct {
	*bedTopics
	job
	process *process
	read    []place
}

// standsAt is how many messages a standing job has read.
const standsAt = 1000

// ends waits until the process has ended for lost data, starts it again to the
// same end, and compares the tables with those before. A partition of the events
// and what has become of it must be named.
func (s *standing) ends(t *testing.T, before map[string]*storedTable, want ...string) {
	t.Helper()
	said := []*process{s.process}
	defer tell(t, &said)
	s.process.end(t, exitData)
	again := s.stream(t)
	said = append(said, again)
	again.end(t, exitData)
	for _, p := range said {
		text := p.stderr.text()
		last := text[strings.LastIndex(strings.TrimSpace(text), "\nlupa: ")+1:]
		if !strings.Contains(last, s.events+"/") {
			t.Errorf("it names no partition: %s", last)
		}
	}
	text := s.process.stderr.text()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q but\n%s", w, text)
		}
	}
	sameTables(t, before, readTables(t, s.warehouse()))
}

// down stops the process and gives the tables as they are.
func (s *standing) down(t *testing.T) map[string]*storedTable {
	t.Helper()
	s.process.stop(t, exitOK)
	return readTables(t, s.warehouse())
}

// up starts a process again.
func (s *standing) up(t *testing.T) { s.process = s.stream(t) }

// anew makes the topic anew, with so many messages.
func (s *standing) anew(t *testing.T, messages int) {
	t.Helper()
	if err := s.DeleteTopic(s.events); err != nil {
		t.Fatal(err)
	}
	s.create(t, s.events, 2, "delete")
	s.writer.PurgeTopicsFromClient(s.events) // it knows the topic by its identity
	s.mustPut(t, s.events, theSample(t).Events()[standsAt:][:messages]...)
}

func lostRecords(t *testing.T, s *standing) {
	before := s.down(t)
	next := s.mustPut(t, s.events, theSample(t).Events()[standsAt:2*standsAt]...)
	s.deleteBefore(t, next[len(next)-1])
	s.up(t)
	s.ends(t, before, "was deleted before it was read", next[len(next)-1].Partition.String())
}

func lostRecordsUnderIt(t *testing.T, s *standing) {
	before := readTables(t, s.warehouse())
	s.process.signal(t, syscall.SIGSTOP)
	next := s.mustPut(t, s.events, theSample(t).Events()[standsAt:2*standsAt]...)
	// Also of what an answer on its way to the process may hold.
	ends := endsOf(next...)
	for p, end := range ends {
		s.deleteBefore(t, place{p, end})
	}
	s.process.signal(t, syscall.SIGCONT)
	s.process.end(t, exitData)
	// It may have been handed some messages before it was stopped.
	after := readTables(t, s.warehouse())
	s.up(t)
	s.ends(t, after, "was deleted before it was read")
	if rowsIn(after) < rowsIn(before) {
		t.Errorf("%d rows are there, there were %d", rowsIn(after), rowsIn(before))
	}
}

func lostTopicShorter(t *testing.T, s *standing) {
	before := s.down(t)
	s.anew(t, standsAt/10)
	s.up(t)
	s.ends(t, before, "the topic was recreated or truncated")
}

func lostTopicLonger(t *testing.T, s *standing) {
	before := s.down(t)
	s.anew(t, 2*standsAt)
	s.up(t)
	s.ends(t, before, "the topic was recreated or truncated")
}

func lostTopicUnderIt(t *testing.T, s *standing) {
	before := readTables(t, s.warehouse())
	s.anew(t, 2*standsAt)
	s.ends(t, before)
}

// A topic that is gone is no lost position: there may be one again.
func lostTopicForGood(t *testing.T, s *standing) {
	before := readTables(t, s.warehouse())
	if err := s.DeleteTopic(s.events); err != nil {
		t.Fatal(err)
	}
	s.process.end(t, exitError)
	if said := s.process.stderr.text(); !strings.Contains(said, "no such topic") || !strings.Contains(said, s.events) {
		t.Errorf("it does not say that the topic is gone but\n%s", said)
	}
	sameTables(t, before, readTables(t, s.warehouse()))
}

// lostCluster moves the job to a cluster where everything is the same but its
// name.
func lostCluster(t *testing.T, s *standing) {
	before := s.down(t)
	other := fakeBed(t, kfake.ClusterID("another"), kfake.SeedTopics(2, s.events, s.bedTopics.ledger))
	other.mustPut(t, s.bedTopics.ledger, theSample(t).Ledger()...)
	other.mustPut(t, s.events, theSample(t).Events()[:2*standsAt]...)
	for range 2 { // of the ledger and of the events
		s.change(t, strings.Join(s.ListenAddrs(), ", "), strings.Join(other.ListenAddrs(), ", "))
	}
	s.up(t)
	s.ends(t, before, "is a position in the cluster", "this one is another")
}

// lostGroup: positions are the tables', and the group only shares out.
func lostGroup(t *testing.T, s *standing) {
	if res, err := s.admin.DeleteGroups(bounded(t), s.group); err != nil || !errors.Is(res[s.group].Err, kerr.NonEmptyGroup) {
		t.Errorf("a group with members: %v, %v", res[s.group].Err, err)
	}
	offsets, err := s.admin.FetchOffsets(bounded(t), s.group)
	if err != nil || len(offsets) != 0 {
		t.Errorf("the group has offsets of %d topics, %v", len(offsets), err)
	}
	first := s.process
	s.down(t)
	await(t, bounded(t), "the group is deleted", func() bool {
		res, err := s.admin.DeleteGroups(bounded(t), s.group)
		return err == nil && (res[s.group].Err == nil || errors.Is(res[s.group].Err, kerr.GroupIDNotFound))
	})
	// Somebody else's offsets in a group of that name change nothing either.
	foreign := kadm.Offsets{}
	for p, end := range endsOf(s.read...) {
		foreign.AddOffset(p.Topic, p.ID, end/2, -1)
	}
	if err := s.admin.CommitAllOffsets(bounded(t), s.group, foreign); err != nil {
		t.Fatal(err)
	}
	next := s.mustPut(t, s.events, theSample(t).Events()[standsAt:2*standsAt]...)
	s.up(t)
	s.arrives(t, endsOf(next...), s.process)
	s.process.stop(t, exitOK)
	standAt(t, readTables(t, s.warehouse()), endsOf(append(s.read, next...)...))
	verified(t, s.job, verifyOptions{still: true}, first, s.process)
}
