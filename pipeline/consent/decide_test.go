package consent

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

const (
	email = schemas.DirectMarketingEmail
	stats = schemas.Analytics
	prof  = schemas.Profiling
)

// say makes a record; its version is its time until v gives another.
type say struct{ schemas.Record }

func record(verb schemas.Verb, p schemas.Purpose, time int64) say {
	return say{schemas.Record{Verb: verb, Purpose: p, Time: time, Version: time}}
}

func grant(p schemas.Purpose, time int64) say {
	s := record(schemas.Grant, p, time)
	s.Proven = true
	return s
}

func claim(p schemas.Purpose, time int64) say    { return record(schemas.Grant, p, time) }
func refuse(p schemas.Purpose, time int64) say   { return record(schemas.Refuse, p, time) }
func withdraw(p schemas.Purpose, time int64) say { return record(schemas.Withdraw, p, time) }
func object(p schemas.Purpose, time int64) say   { return record(schemas.Object, p, time) }
func garble(p schemas.Purpose, time int64) say   { return record(schemas.NoVerb, p, time) }

func erase(time int64) say {
	s := record(schemas.Erase, schemas.NoPurpose, time)
	s.Every = true
	return s
}

func every(s say) say {
	s.Every, s.Purpose = true, schemas.NoPurpose
	return s
}

func (s say) v(version int64) say {
	s.Version = version
	return s
}

// step is anything that changes a timeline.
type step func(Timeline) Timeline

// The glossary and rules of the tests: the destination is in Finland, and nobody
// may speak for itself before it is 16 but in Finland, where it is 13, and in
// France, where it is 15 and both must agree.
var (
	testGlossary = newGlossary(inFinland)
	testRules    = &rules{ages: testAges{}, vocabulary: testWords{}}
)

type testAges struct{}

// newLaw is when the Finnish law changes.
const newLaw = int64(1000)

// Age has a law that was stricter in Finland before newLaw.
func (testAges) Age(country string, at int64) (years int, joint bool) {
	switch {
	case country == "FI" && at >= newLaw:
		return 13, false
	case country == "FR":
		return 15, true
	}
	return 16, false
}

func inFinland(regions string) bool { return slices.Contains(strings.Split(regions, ","), "FI") }

// testWords has two groups of purposes, one of which has what the other has.
type testWords struct{}

func (testWords) Set(p schemas.Purpose) schemas.PurposeSet {
	switch p {
	case schemas.FirstGroup:
		return schemas.Purposes(email, stats)
	case schemas.FirstGroup + 1:
		return schemas.Purposes(stats, prof)
	}
	if p.IsGroup() {
		return 0
	}
	return schemas.Purposes(p)
}

func (w testWords) Name(p schemas.Purpose) string { return w.Set(p).String() }

func day(year int, month time.Month, day int) int64 {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC).UnixMicro()
}

func (s say) step(t Timeline) Timeline {
	k, _ := scoped(&s.Record, testRules.vocabulary, testGlossary)
	t, _ = t.add(entry(&s.Record, k, testGlossary), testGlossary)
	testRules.learn(testGlossary)
	return t
}

func tombstone(p schemas.Purpose) step {
	return func(t Timeline) Timeline { return t.clear(key{scope: p}) }
}
func unreadable(p schemas.Purpose) step {
	return func(t Timeline) Timeline { return t.deny(key{scope: p}) }
}

// line is the timeline of one identifier that was told these things in order.
func line(things ...any) Timeline {
	var t Timeline
	for _, thing := range things {
		switch thing := thing.(type) {
		case say:
			t = thing.step(t)
		case step:
			t = thing(t)
		}
	}
	return t
}

func subject(timelines ...Timeline) (lines []Line) {
	for _, t := range timelines {
		lines = append(lines, Line{Timeline: t})
	}
	return lines
}

type decideCase struct {
	name        string
	lines       []Line
	at          int64
	now         int64              // 9 unless given
	need        schemas.PurposeSet // email unless given
	also        schemas.PurposeSet
	prospective bool
	want        schemas.Reason
	granted     schemas.PurposeSet // of a kept row: need unless given
	until       int64
	duties      []Duty
}

func runDecide(t *testing.T, cases []decideCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.need == 0 {
				c.need = schemas.Purposes(email)
			}
			if c.now == 0 {
				c.now = 9
			}
			want := Decision{Reason: c.want, Granted: c.granted, Until: c.until, Duties: c.duties}
			if c.want == schemas.ConsentGiven && c.granted == 0 {
				want.Granted = c.need
			}
			q := Question{At: c.at, Now: c.now, Need: c.need, Also: c.also, Prospective: c.prospective, rules: testRules}
			got := Decide(c.lines, q)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecideOneKey(t *testing.T) {
	runDecide(t, []decideCase{
		{name: "a row without an identifier has no record", want: schemas.NoRecord},
		{name: "an identifier the ledger does not name has no record", lines: subject(nil), want: schemas.NoRecord},
		{name: "a grant for another purpose is no record", lines: subject(line(grant(stats, 1))), at: 5, want: schemas.NoRecord},
		{name: "granted at the event and in force now is kept", lines: subject(line(grant(email, 1))), at: 5, want: schemas.ConsentGiven},
		{name: "granted in the moment of the event is kept", lines: subject(line(grant(email, 5))), at: 5, want: schemas.ConsentGiven},
		{name: "granted after the event is before consent", lines: subject(line(grant(email, 6))), at: 5, want: schemas.BeforeConsent},
		{name: "an event without a time is before consent", lines: subject(line(grant(email, 6))), at: beginning, want: schemas.BeforeConsent},
		{name: "granted at the event and withdrawn later is withdrawn", lines: subject(line(grant(email, 1), withdraw(email, 9))), at: 5, want: schemas.Withdrawn},
		{name: "withdrawn before the event is withdrawn", lines: subject(line(grant(email, 1), withdraw(email, 3))), at: 5, want: schemas.Withdrawn},
		{name: "granted again after the event, withdrawn at the event, is withdrawn",
			lines: subject(line(grant(email, 1), withdraw(email, 3), grant(email, 9))), at: 5, want: schemas.Withdrawn},
		{name: "withdrawn and granted again around the event is kept",
			lines: subject(line(grant(email, 1), withdraw(email, 6), grant(email, 9))), at: 5, want: schemas.ConsentGiven},
		{name: "a grant without evidence is unproven", lines: subject(line(claim(email, 1))), at: 5, want: schemas.Unproven},
		{name: "proven now but unproven at the event is unproven", lines: subject(line(claim(email, 1), grant(email, 9))), at: 5, want: schemas.Unproven},
		{name: "unproven now but proven at the event is unproven", lines: subject(line(grant(email, 1), claim(email, 9))), at: 5, want: schemas.Unproven},
		{name: "unproven now and after the event is unproven", lines: subject(line(claim(email, 9))), at: 5, want: schemas.Unproven},
		{name: "refused is refused", lines: subject(line(refuse(email, 1))), at: 5, want: schemas.Refused},
		{name: "refused after a grant is refused", lines: subject(line(grant(email, 1), refuse(email, 9))), at: 5, want: schemas.Refused},
		{name: "refused at the event and granted later is refused", lines: subject(line(refuse(email, 1), grant(email, 9))), at: 5, want: schemas.Refused},
		{name: "objected is objected", lines: subject(line(grant(email, 1), object(email, 9))), at: 5, want: schemas.Objected},
		{name: "objected at the event and granted later is objected", lines: subject(line(object(email, 1), grant(email, 9))), at: 5, want: schemas.Objected},
		{name: "an undecodable record is no record", lines: subject(line(garble(email, 1))), at: 5, want: schemas.NoRecord},
		{name: "an undecodable record over a grant is no record", lines: subject(line(grant(email, 1), garble(email, 9))), at: 5, want: schemas.NoRecord},
		{name: "an undecodable record at the event is no record", lines: subject(line(garble(email, 1), grant(email, 9))), at: 5, want: schemas.NoRecord},

		{name: "prospective keeps what was collected while permitted", prospective: true,
			lines: subject(line(grant(email, 1), withdraw(email, 9))), at: 5, want: schemas.ConsentGiven},
		{name: "prospective does not keep what came after the withdrawal", prospective: true,
			lines: subject(line(grant(email, 1), withdraw(email, 3))), at: 5, want: schemas.Withdrawn},
		{name: "prospective does not keep what came before the grant", prospective: true,
			lines: subject(line(grant(email, 6), withdraw(email, 9))), at: 5, want: schemas.Withdrawn},
		{name: "prospective does not keep what was collected unproven", prospective: true,
			lines: subject(line(claim(email, 1), withdraw(email, 9))), at: 5, want: schemas.Withdrawn},
		{name: "prospective does not keep what is refused now", prospective: true,
			lines: subject(line(grant(email, 1), refuse(email, 9))), at: 5, want: schemas.Refused},
		{name: "prospective does not keep what is objected to now", prospective: true,
			lines: subject(line(grant(email, 1), object(email, 9))), at: 5, want: schemas.Objected},
		{name: "prospective does not keep what is unproven now", prospective: true,
			lines: subject(line(grant(email, 1), claim(email, 9))), at: 5, want: schemas.Unproven},
		{name: "prospective does not keep what is unreadable now", prospective: true,
			lines: subject(line(grant(email, 1), unreadable(email))), at: 5, want: schemas.NoRecord},
		{name: "prospective does not keep what is erased", prospective: true,
			lines: subject(line(grant(email, 1), withdraw(email, 7), erase(9))), at: 5, want: schemas.Erased},
		{name: "prospective does not keep what a tombstone emptied", prospective: true,
			lines: subject(line(grant(email, 1), withdraw(email, 9), tombstone(email))), at: 5, want: schemas.NoRecord},
	})
}

func TestDecideVersions(t *testing.T) {
	runDecide(t, []decideCase{
		{name: "the version decides what is in force, not the time",
			lines: subject(line(withdraw(email, 9).v(1), grant(email, 3).v(2))), at: 5, want: schemas.ConsentGiven},
		{name: "a late lower version does not undo a higher one",
			lines: subject(line(withdraw(email, 3).v(2), grant(email, 1).v(1))), at: 5, want: schemas.Withdrawn},
		{name: "a late lower version is history",
			lines: subject(line(grant(email, 9).v(3), grant(email, 1).v(1))), at: 5, want: schemas.ConsentGiven},
		{name: "a late withdrawal is history",
			lines: subject(line(grant(email, 9).v(3), grant(email, 1).v(1), withdraw(email, 3).v(2))), at: 5, want: schemas.Withdrawn},
		{name: "of one version the withdrawal beats the grant",
			lines: subject(line(withdraw(email, 1).v(1), grant(email, 3).v(1))), at: 5, want: schemas.Withdrawn},
		{name: "of one version the withdrawal beats the grant that came first",
			lines: subject(line(grant(email, 3).v(1), withdraw(email, 1).v(1))), at: 5, want: schemas.Withdrawn},
		{name: "of one version the unproven grant beats the proven one",
			lines: subject(line(grant(email, 1).v(1), claim(email, 1).v(1))), at: 5, want: schemas.Unproven},
		{name: "of two grants of one version the later stands",
			lines: subject(line(grant(email, 1).v(1), grant(email, 9).v(1))), at: 5, want: schemas.BeforeConsent},
		{name: "of two withdrawals of one version the earlier stands", prospective: true,
			lines: subject(line(grant(email, 1).v(1), withdraw(email, 9).v(2), withdraw(email, 3).v(2))), at: 5, want: schemas.Withdrawn},
		{name: "negative versions order too",
			lines: subject(line(withdraw(email, 9).v(-2), grant(email, 3).v(-1))), at: 5, want: schemas.ConsentGiven},

		{name: "a tombstone is no record", lines: subject(line(grant(email, 1), tombstone(email))), at: 5, want: schemas.NoRecord},
		{name: "a tombstone forgets history", lines: subject(line(grant(email, 1), tombstone(email), grant(email, 9))), at: 5, want: schemas.BeforeConsent},
		{name: "a tombstone leaves other purposes", lines: subject(line(grant(email, 1), tombstone(stats))), at: 5, want: schemas.ConsentGiven},
		{name: "a version under a tombstone does not come back",
			lines: subject(line(withdraw(email, 2).v(2), tombstone(email), grant(email, 1).v(1))), at: 5, want: schemas.NoRecord},
		{name: "the version of a tombstone does not come back",
			lines: subject(line(grant(email, 1).v(1), tombstone(email), grant(email, 1).v(1))), at: 5, want: schemas.NoRecord},
		{name: "a version over a tombstone counts",
			lines: subject(line(withdraw(email, 2).v(2), tombstone(email), grant(email, 3).v(3))), at: 5, want: schemas.ConsentGiven},
		{name: "a second tombstone keeps the floor",
			lines: subject(line(withdraw(email, 2).v(2), tombstone(email), tombstone(email), grant(email, 1).v(1))), at: 5, want: schemas.NoRecord},
		{name: "a tombstone of nothing hides nothing", lines: subject(line(tombstone(email), grant(email, 1))), at: 5, want: schemas.ConsentGiven},

		{name: "an unreadable value denies its key", lines: subject(line(grant(email, 1), unreadable(email))), at: 5, want: schemas.NoRecord},
		{name: "an unreadable value outweighs another identifier's grant",
			lines: subject(line(unreadable(email)), line(grant(email, 1))), at: 5, want: schemas.NoRecord},
		{name: "an unreadable value leaves other purposes", lines: subject(line(grant(email, 1), unreadable(stats))), at: 5, want: schemas.ConsentGiven},
		{name: "an equal version does not lift an unreadable value",
			lines: subject(line(grant(email, 1).v(4), unreadable(email), grant(email, 2).v(4))), at: 5, want: schemas.NoRecord},
		{name: "a lower version does not lift an unreadable value",
			lines: subject(line(grant(email, 1).v(4), unreadable(email), grant(email, 2).v(3))), at: 5, want: schemas.NoRecord},
		{name: "a higher version lifts an unreadable value",
			lines: subject(line(grant(email, 1).v(4), unreadable(email), grant(email, 2).v(5))), at: 5, want: schemas.ConsentGiven},
		{name: "events before the lifting grant stay denied",
			lines: subject(line(grant(email, 1).v(4), unreadable(email), grant(email, 9).v(5))), at: 5, want: schemas.NoRecord},
		{name: "any record lifts an unreadable value of an empty key",
			lines: subject(line(unreadable(email), grant(email, 2).v(-7))), at: 5, want: schemas.ConsentGiven},
		{name: "a tombstone of an unreadable value is no record",
			lines: subject(line(grant(email, 1), unreadable(email), tombstone(email))), at: 5, want: schemas.NoRecord},
		{name: "an unreadable value under a tombstone's floor denies",
			lines: subject(line(grant(email, 1), tombstone(email), unreadable(email), grant(email, 1))), at: 5, want: schemas.NoRecord},
	})
}

func TestDecideErasure(t *testing.T) {
	runDecide(t, []decideCase{
		{name: "an event before the erasure is erased", lines: subject(line(grant(email, 1), erase(9))), at: 5, want: schemas.Erased},
		{name: "an event in the moment of the erasure is erased", lines: subject(line(grant(email, 1), erase(5))), at: 5, want: schemas.Erased},
		{name: "an event without a time is erased", lines: subject(line(grant(email, 9), erase(5))), at: beginning, want: schemas.Erased},
		{name: "a later grant does not bring back what was erased", lines: subject(line(erase(9), grant(email, 10))), at: 5, want: schemas.Erased},
		{name: "a grant from before the erasure is void afterwards", lines: subject(line(grant(email, 1), erase(3))), at: 5, want: schemas.NoRecord},
		{name: "a grant in the moment of the erasure is void", lines: subject(line(erase(3), grant(email, 3).v(9))), at: 5, want: schemas.NoRecord},
		{name: "a later grant permits later events", lines: subject(line(erase(3), grant(email, 4))), at: 5, want: schemas.ConsentGiven},
		{name: "a later grant permits later events whatever its version", lines: subject(line(erase(3).v(9), grant(email, 4).v(1))), at: 5, want: schemas.ConsentGiven},
		{name: "void at the event is before consent", lines: subject(line(grant(email, 1), erase(3), grant(email, 9))), at: 5, want: schemas.BeforeConsent},
		{name: "a refusal outlives the erasure", lines: subject(line(refuse(email, 1), erase(3))), at: 5, want: schemas.Refused},
		{name: "a void grant of a higher version does not uncover a lower one",
			lines: subject(line(erase(3), grant(email, 4).v(1), grant(email, 2).v(2))), at: 5, want: schemas.NoRecord},
		{name: "the latest erasure counts", lines: subject(line(erase(9).v(1), erase(3).v(2))), at: 5, want: schemas.Erased},
		{name: "an erasure that comes late counts", lines: subject(line(grant(email, 10), erase(9).v(1))), at: 5, want: schemas.Erased},
		{name: "an erasure under the key of one purpose is about all", lines: subject(line(grant(email, 1), record(schemas.Erase, stats, 9))), at: 5, want: schemas.Erased},
		{name: "a tombstone does not undo an erasure", lines: subject(line(erase(9), tombstone(everyPurpose))), at: 5, want: schemas.Erased},
		{name: "a tombstone of a purpose does not undo an erasure", lines: subject(line(grant(email, 1), erase(9), tombstone(email))), at: 5, want: schemas.Erased},
		{name: "an erasure under a tombstone's version counts",
			lines: subject(line(every(withdraw(email, 2)), tombstone(everyPurpose), erase(9).v(1))), at: 5, want: schemas.Erased},
		{name: "an unreadable value does not undo an erasure", lines: subject(line(erase(9), unreadable(everyPurpose))), at: 5, want: schemas.Erased},
		{name: "an unreadable erasure denies", lines: subject(line(grant(email, 1), unreadable(brokenErasure))), at: 5, want: schemas.NoRecord},
		{name: "an unreadable erasure outweighs another identifier's grant", lines: subject(line(unreadable(brokenErasure)), line(grant(email, 1))), at: 5, want: schemas.NoRecord},
		{name: "an erasure of the same version does not make up for an unreadable one",
			lines: subject(line(erase(2).v(5), unreadable(brokenErasure), erase(3).v(5), grant(email, 4))), at: 5, want: schemas.NoRecord},
		{name: "an erasure of a higher version makes up for an unreadable one",
			lines: subject(line(erase(2).v(5), unreadable(brokenErasure), erase(3).v(6), grant(email, 4))), at: 5, want: schemas.ConsentGiven},
		{name: "erased on any identifier wins over everything",
			lines: subject(line(grant(email, 1)), line(object(email, 1)), line(erase(9))), at: 5, want: schemas.Erased},
		{name: "an erasure of one identifier voids the grants of the others", lines: subject(line(grant(email, 1)), line(erase(3))), at: 5, want: schemas.NoRecord},
		{name: "a later grant of any identifier permits later events", lines: subject(line(grant(email, 4)), line(grant(email, 1), erase(3))), at: 5, want: schemas.ConsentGiven},
		{name: "an erased row permits no field", lines: subject(line(grant(stats, 1), erase(9))), at: 5, also: schemas.Purposes(stats), want: schemas.Erased},
		{name: "erased wins even where no purpose is needed", lines: subject(line(erase(9))), at: 5, need: schemas.PurposeSet(1 << 40), want: schemas.Erased},
	})
}

func TestDecideEveryPurpose(t *testing.T) {
	runDecide(t, []decideCase{
		{name: "a withdrawal of everything outweighs an older grant",
			lines: subject(line(grant(email, 1).v(9), every(withdraw(email, 3)).v(1))), at: 2, want: schemas.Withdrawn},
		{name: "a withdrawal of everything came after the event, prospective keeps", prospective: true,
			lines: subject(line(grant(email, 1), every(withdraw(email, 9)))), at: 5, want: schemas.ConsentGiven},
		{name: "a grant later than the withdrawal of everything holds, whatever the versions",
			lines: subject(line(every(withdraw(email, 3)).v(9), grant(email, 4).v(1))), at: 5, want: schemas.ConsentGiven},
		{name: "a grant in the moment of the withdrawal of everything does not hold",
			lines: subject(line(every(withdraw(email, 3)).v(1), grant(email, 3).v(9))), at: 5, want: schemas.Withdrawn},
		{name: "a withdrawal of everything at the event, then a grant, is withdrawn",
			lines: subject(line(grant(email, 1), every(withdraw(email, 3)), grant(email, 9))), at: 5, want: schemas.Withdrawn},
		{name: "an event before the withdrawal of everything is kept after a new grant",
			lines: subject(line(grant(email, 1), every(withdraw(email, 6)), grant(email, 9))), at: 5, want: schemas.ConsentGiven},
		{name: "a refusal of everything stands alone", lines: subject(line(every(refuse(email, 1)))), at: 5, want: schemas.Refused},
		{name: "a refusal of everything denies another identifier's grant",
			lines: subject(line(every(refuse(email, 1))), line(grant(email, 2))), at: 5, want: schemas.Refused},
		{name: "an objection to everything outweighs an older refusal",
			lines: subject(line(refuse(email, 1), every(object(email, 3)))), at: 5, want: schemas.Objected},
		{name: "a withdrawal of everything does not lift an objection", prospective: true,
			lines: subject(line(grant(email, 1), object(email, 7), every(withdraw(email, 9)))), at: 5, want: schemas.Objected},
		{name: "a withdrawal after a grant is not hidden by an older objection to everything", prospective: true,
			lines: subject(line(every(object(email, 1)), grant(email, 3), withdraw(email, 9))), at: 5, want: schemas.ConsentGiven},
		{name: "a higher version for everything does not lift a lower one",
			lines: subject(line(every(withdraw(email, 4)).v(1), every(refuse(email, 1)).v(2), grant(email, 3))), at: 5, want: schemas.Withdrawn},
		{name: "two restrictions of one version for everything both count",
			lines: subject(line(every(withdraw(email, 4)).v(1), every(object(email, 1)).v(1), grant(email, 3))), at: 5, want: schemas.Withdrawn},
		{name: "what is undecodable for everything holds against later grants",
			lines: subject(line(every(garble(email, 1)), grant(email, 3))), at: 5, want: schemas.NoRecord},
		{name: "and beside a denial of its version too",
			lines: subject(line(every(garble(email, 1)), every(object(email, 2)).v(1), grant(email, 3))), at: 5, want: schemas.NoRecord},
		{name: "until one of a higher version",
			lines: subject(line(every(garble(email, 1)), every(object(email, 2)), grant(email, 3))), at: 5, want: schemas.ConsentGiven},
		{name: "a grant of everything is no grant", lines: subject(line(every(grant(email, 1)))), at: 5, want: schemas.NoRecord},
		{name: "a grant of everything over a grant is undecodable", lines: subject(line(grant(email, 1), every(grant(email, 3)))), at: 5, want: schemas.NoRecord},
		{name: "an unreadable value for everything denies", lines: subject(line(grant(email, 1), unreadable(everyPurpose))), at: 5, want: schemas.NoRecord},
		{name: "a grant does not lift an unreadable value for everything",
			lines: subject(line(unreadable(everyPurpose), grant(email, 1).v(9))), at: 5, want: schemas.NoRecord},
		{name: "a record for everything lifts an unreadable value for everything",
			lines: subject(line(unreadable(everyPurpose), every(withdraw(email, 1)), grant(email, 2))), at: 5, want: schemas.ConsentGiven},
		{name: "a lower version for everything does not lift it",
			lines: subject(line(every(withdraw(email, 2)), unreadable(everyPurpose), every(withdraw(email, 1)), grant(email, 3))), at: 5, want: schemas.NoRecord},
		{name: "a tombstone of a withdrawal of everything is not consent",
			lines: subject(line(grant(email, 1), every(withdraw(email, 3)), tombstone(everyPurpose))), at: 2, want: schemas.NoRecord},
		{name: "a grant in the moment of a deleted withdrawal of everything is void",
			lines: subject(line(every(withdraw(email, 3)), grant(email, 3), tombstone(everyPurpose))), at: 5, want: schemas.NoRecord},
		{name: "a grant after a deleted withdrawal of everything holds",
			lines: subject(line(every(withdraw(email, 3)), tombstone(everyPurpose), grant(email, 4))), at: 5, want: schemas.ConsentGiven},
		{name: "a deleted refusal of everything says nothing of other identifiers",
			lines: subject(line(every(refuse(email, 3)), tombstone(everyPurpose)), line(grant(email, 1))), at: 5, want: schemas.ConsentGiven},
		{name: "a deleted withdrawal of everything that comes again does not come back",
			lines: subject(line(every(withdraw(email, 3)), tombstone(everyPurpose), every(withdraw(email, 3)), grant(email, 4))), at: 5, want: schemas.ConsentGiven},
		{name: "a buried withdrawal of everything still voids older grants",
			lines: subject(line(every(withdraw(email, 1)).v(5), tombstone(everyPurpose), every(withdraw(email, 3)).v(4), grant(email, 2))), at: 2, want: schemas.NoRecord},
		{name: "a deleted record for everything has lifted an unreadable value for everything",
			lines: subject(line(unreadable(everyPurpose), every(withdraw(email, 1)), tombstone(everyPurpose)), line(grant(email, 1))), at: 5, want: schemas.ConsentGiven},
		{name: "a tombstone does not lift an unreadable value for everything",
			lines: subject(line(grant(email, 1), unreadable(everyPurpose), tombstone(everyPurpose))), at: 5, want: schemas.NoRecord},
	})
}

func TestDecideManyPurposesAndIdentifiers(t *testing.T) {
	both := schemas.Purposes(email, stats)
	runDecide(t, []decideCase{
		{name: "every needed purpose must be permitted", need: both, lines: subject(line(grant(email, 1))), at: 5,
			want: schemas.NoRecord, granted: schemas.Purposes(email)},
		{name: "all needed purposes permitted is kept", need: both, lines: subject(line(grant(email, 1), grant(stats, 2))), at: 5, want: schemas.ConsentGiven},
		{name: "the greatest reason of the needed purposes is the row's", need: schemas.Purposes(email, stats, prof),
			lines: subject(line(refuse(email, 1), object(stats, 1), grant(prof, 1))), at: 5, want: schemas.Objected, granted: schemas.Purposes(prof)},
		{name: "before consent is greater than no record", need: both, lines: subject(line(grant(email, 9))), at: 5, want: schemas.BeforeConsent},
		{name: "a field's purpose does not deny the row", also: schemas.Purposes(prof), lines: subject(line(grant(email, 1), object(prof, 2))), at: 5, want: schemas.ConsentGiven},
		{name: "a field's purpose is granted with the row", also: schemas.Purposes(prof), lines: subject(line(grant(email, 1), grant(prof, 2))), at: 5,
			want: schemas.ConsentGiven, granted: schemas.Purposes(email, prof)},
		{name: "a purpose nobody asked for is not granted", lines: subject(line(grant(email, 1), grant(prof, 2))), at: 5, want: schemas.ConsentGiven},
		{name: "objection to profiling leaves other purposes", need: schemas.Purposes(stats), also: schemas.Purposes(prof),
			lines: subject(line(grant(stats, 1), grant(prof, 1), object(prof, 3))), at: 5, want: schemas.ConsentGiven},
		{name: "an unknown purpose is no record", need: schemas.Purposes(email) | 1<<60, lines: subject(line(grant(email, 1))), at: 5,
			want: schemas.NoRecord, granted: schemas.Purposes(email)},
		{name: "a row that needs no purpose is denied", need: 1, lines: subject(line(grant(email, 1))), at: 5, want: schemas.NoRecord},

		{name: "an identifier without a record says nothing", lines: subject(nil, line(grant(stats, 1)), line(grant(email, 1))), at: 5, want: schemas.ConsentGiven},
		{name: "a tombstone of an identifier says nothing", lines: subject(line(grant(email, 1), tombstone(email)), line(grant(email, 1))), at: 5, want: schemas.ConsentGiven},
		{name: "two identifiers disagree: withdrawn wins over granted", lines: subject(line(grant(email, 1)), line(withdraw(email, 1))), at: 5, want: schemas.Withdrawn},
		{name: "two identifiers disagree: objected wins over withdrawn", lines: subject(line(object(email, 1)), line(withdraw(email, 1))), at: 5, want: schemas.Objected},
		{name: "two identifiers disagree: before consent wins over granted", lines: subject(line(grant(email, 1)), line(grant(email, 9))), at: 5, want: schemas.BeforeConsent},
		{name: "the same identifier twice changes nothing", lines: subject(line(grant(email, 1)), line(grant(email, 1))), at: 5, want: schemas.ConsentGiven},
		{name: "identifiers may permit different purposes", need: both, lines: subject(line(grant(email, 1)), line(grant(stats, 1))), at: 5, want: schemas.ConsentGiven},
	})
}

// TestDecideNeedsAPurpose: the zero set is not the empty demand.
func TestDecideNeedsAPurpose(t *testing.T) {
	got := Decide(subject(line(grant(email, 1))), Question{At: 5, Now: 9, Also: schemas.Purposes(email), rules: testRules})
	if diff := cmp.Diff(Decision{Reason: schemas.NoRecord, Granted: schemas.Purposes(email)}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddOutcome(t *testing.T) {
	for _, c := range []struct {
		name string
		line Timeline
		add  say
		want outcome
	}{
		{"the first record is new", nil, grant(email, 1), added},
		{"a higher version is new", line(grant(email, 1)), withdraw(email, 2), added},
		{"the same record again is a duplicate", line(grant(email, 1), withdraw(email, 2)), grant(email, 1), duplicate},
		{"a lower version is late", line(grant(email, 2)), withdraw(email, 1), late},
		{"an equal version that differs is a tie", line(grant(email, 2)), withdraw(email, 3).v(2), tie},
		{"an equal version for everything that differs is a tie", line(every(refuse(email, 2))), every(withdraw(email, 3)).v(2), tie},
		{"an equal version of another purpose is new", line(grant(email, 2)), withdraw(stats, 3).v(2), added},
		{"an equal version for everything and for one is new", line(grant(email, 2)), every(withdraw(stats, 3)).v(2), added},
		{"a version under a tombstone is buried", line(grant(email, 2), tombstone(email)), grant(email, 2), buried},
		{"an erasure again is a duplicate", line(erase(3)), erase(3), duplicate},
		{"an older erasure is a duplicate", line(erase(3)), erase(2).v(9), duplicate},
		{"a later erasure is new", line(erase(3)), erase(4).v(1), added},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, _ := scoped(&c.add.Record, testRules.vocabulary, testGlossary)
			if _, got := c.line.add(entry(&c.add.Record, k, testGlossary), testGlossary); got != c.want {
				t.Errorf("outcome %d, want %d", got, c.want)
			}
		})
	}
}

// TestTimelineStaysShort: what is said again takes no room.
func TestTimelineStaysShort(t *testing.T) {
	var all []any
	for range 3 {
		all = append(all, grant(email, 1), every(refuse(email, 2)), erase(3), unreadable(stats), unreadable(brokenErasure), tombstone(prof))
	}
	all = append(all, grant(prof, 4), tombstone(prof), tombstone(prof))
	if got := len(line(all...)); got != 6 {
		t.Errorf("%d entries, want 6", got)
	}
}
