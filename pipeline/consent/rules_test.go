package consent

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

func (s say) until(at int64) say { s.Until = at; return s }

func (s say) in(regions string) say { s.Terms.Regions = regions; return s }

func pending(p schemas.Purpose, time int64) say { s := grant(p, time); s.Pending = true; return s }
func expire(p schemas.Purpose, time int64) say  { return record(schemas.Expire, p, time) }
func restrict(time int64) say                   { return record(schemas.Restrict, schemas.NoPurpose, time) }
func lift(time int64) say                       { return record(schemas.Lift, schemas.NoPurpose, time) }

func guardian(p schemas.Purpose, time int64) say {
	s := record(schemas.GuardianGrant, p, time)
	s.Proven = true
	return s
}

func guardianWithdraw(p schemas.Purpose, time int64) say {
	return record(schemas.GuardianWithdraw, p, time)
}

func born(birthday int64, country string) say {
	s := record(schemas.Born, schemas.NoPurpose, 1).until(birthday)
	s.Terms.Country = country
	return s
}

func retain(fields string, until int64) say {
	s := record(schemas.Retain, schemas.NoPurpose, 1).until(until)
	s.Terms.Fields, s.Terms.Basis = fields, "eu-gdpr:A6-1-c"
	return s
}

func broken(k key) step { return func(t Timeline) Timeline { return t.deny(k) } }

func shared(t Timeline) Line    { return Line{Timeline: t, Shared: true} }
func neighbour(t Timeline) Line { return Line{Timeline: t, Neighbour: true} }
func capped(t Timeline) Line    { return Line{Timeline: t, Capped: true} }

// TestDecideDesign has the rows of the table that says what a decision is.
func TestDecideDesign(t *testing.T) {
	const need = schemas.FirstGroup
	both := schemas.Purposes(email, prof)
	runDecide(t, []decideCase{
		{name: "no record", lines: subject(nil), at: 5, want: schemas.NoRecord},
		{name: "an unknown purpose", need: 1 << 60, lines: subject(line(grant(email, 1))), at: 5, want: schemas.NoRecord},
		{name: "an undecodable record", lines: subject(line(grant(email, 1), garble(email, 2))), at: 5, want: schemas.NoRecord},
		{name: "a tombstone", lines: subject(line(grant(email, 1), tombstone(email))), at: 5, want: schemas.NoRecord},
		{name: "granted at the event and in force now", lines: subject(line(grant(email, 1))), at: 5, want: schemas.ConsentGiven},
		{name: "granted at the event, withdrawn later", lines: subject(line(grant(email, 1), withdraw(email, 7))), at: 5, want: schemas.Withdrawn},
		{name: "the same, prospectively", prospective: true, lines: subject(line(grant(email, 1), withdraw(email, 7))), at: 5, want: schemas.ConsentGiven},
		{name: "granted after the event", lines: subject(line(grant(email, 7))), at: 5, want: schemas.BeforeConsent},
		{name: "a grant without evidence", lines: subject(line(claim(email, 1))), at: 5, want: schemas.Unproven},
		{name: "a double opt-in that is not confirmed", lines: subject(line(pending(email, 1))), at: 5, want: schemas.Pending},
		{name: "its confirmation, after the event", lines: subject(line(pending(email, 1), grant(email, 7))), at: 5, want: schemas.Pending},
		{name: "its confirmation, before the event", lines: subject(line(pending(email, 1), grant(email, 3))), at: 5, want: schemas.ConsentGiven},
		{name: "a validity that has run out", lines: subject(line(grant(email, 1).until(8))), at: 5, want: schemas.Expired},
		{name: "a register that says so", lines: subject(line(grant(email, 1), expire(email, 7))), at: 5, want: schemas.Expired},
		{name: "refused", lines: subject(line(refuse(email, 1))), at: 5, want: schemas.Refused},
		{name: "objected to profiling", need: schemas.Purposes(email), also: schemas.Purposes(prof),
			lines: subject(line(grant(email, 1), grant(prof, 1), object(prof, 3))), at: 5, want: schemas.ConsentGiven},
		{name: "objected to profiling, a table that profiles", need: both,
			lines: subject(line(grant(email, 1), grant(prof, 1), object(prof, 3))), at: 5, want: schemas.Objected, granted: schemas.Purposes(email)},
		{name: "restricted", lines: subject(line(grant(email, 1), restrict(7))), at: 5, want: schemas.Restricted},
		{name: "restricted and lifted", lines: subject(line(grant(email, 1), restrict(2), lift(7))), at: 5, want: schemas.ConsentGiven},
		{name: "erased", lines: subject(line(grant(email, 1), erase(7))), at: 5, want: schemas.Erased},
		{name: "an event after the erasure", lines: subject(line(grant(email, 1), erase(3))), at: 5, want: schemas.NoRecord},
		{name: "and a new grant before it", lines: subject(line(grant(email, 1), erase(3), grant(email, 4))), at: 5, want: schemas.ConsentGiven},
		{name: "a duty to retain named fields", lines: subject(line(grant(email, 1), erase(7), retain("plan", 20))), at: 5, want: schemas.Retained,
			until: 20, duties: []Duty{{"plan", "eu-gdpr:A6-1-c", 20}}},
		{name: "a duty that has ended", now: 20, lines: subject(line(grant(email, 1), erase(7), retain("plan", 20))), at: 5, want: schemas.Erased},
		{name: "a child without its guardian's grant", now: day(2010, 1, 1), at: day(2010, 1, 1),
			lines: subject(line(born(day(2000, 6, 1), "FI"), grant(email, 1))), want: schemas.Minor, until: day(2013, 6, 1) + day(1970, 1, 2)/2},
		{name: "a child with it", now: day(2010, 1, 1), at: day(2010, 1, 1),
			lines: subject(line(born(day(2000, 6, 1), "FI"), guardian(email, 1))), want: schemas.ConsentGiven, until: day(2013, 6, 1) + day(1970, 1, 2)/2},
		{name: "grown up without an own grant", now: day(2014, 1, 1), at: day(2010, 1, 1),
			lines: subject(line(born(day(2000, 6, 1), "FI"), guardian(email, 1))), want: schemas.Minor},
		{name: "grown up with one, and an event of the childhood", now: day(2014, 1, 1), at: day(2010, 1, 1),
			lines: subject(line(born(day(2000, 6, 1), "FI"), guardian(email, 1), grant(email, day(2013, 7, 1)))), want: schemas.ConsentGiven},
		{name: "two identifiers disagree", lines: subject(line(grant(email, 1)), line(refuse(email, 1))), at: 5, want: schemas.Refused},
		{name: "a region that is not allowed", lines: subject(line(grant(email, 1).in("SE"))), at: 5, want: schemas.Residency},
		{name: "a region that is", lines: subject(line(grant(email, 1).in("FI,SE"))), at: 5, want: schemas.ConsentGiven},
		{name: "a group that is withdrawn", lines: subject(line(grant(email, 1), withdraw(need, 3))), at: 5, want: schemas.Withdrawn},
	})
}

func TestDecideValidity(t *testing.T) {
	runDecide(t, []decideCase{
		{name: "a grant is valid until its end", now: 7, lines: subject(line(grant(email, 1).until(8))), at: 5, want: schemas.ConsentGiven, until: 8},
		{name: "and not in that moment", now: 8, lines: subject(line(grant(email, 1).until(8))), at: 5, want: schemas.Expired},
		{name: "an event after the end is not kept by a clock that is late", now: 5, lines: subject(line(grant(email, 1).until(8))), at: 8,
			want: schemas.Expired, until: 8},
		{name: "a later version renews", lines: subject(line(grant(email, 1).until(8), grant(email, 3))), at: 5, want: schemas.ConsentGiven},
		{name: "renewed too late for the event", lines: subject(line(grant(email, 1).until(4), grant(email, 7))), at: 5, want: schemas.Expired},
		{name: "the renewal too runs out", lines: subject(line(grant(email, 1).until(8), grant(email, 3).until(12))), at: 5, want: schemas.ConsentGiven, until: 12},
		{name: "an end before the beginning permits nothing", lines: subject(line(grant(email, 4).until(2))), at: 5, want: schemas.Expired},
		{name: "prospective keeps what was collected while it was valid", prospective: true,
			lines: subject(line(grant(email, 1).until(8))), at: 5, want: schemas.ConsentGiven},
		{name: "and not what came after it", prospective: true, lines: subject(line(grant(email, 1).until(4))), at: 5, want: schemas.Expired},
		{name: "a withdrawal stands behind an end", lines: subject(line(grant(email, 1).until(8), withdraw(email, 3))), at: 2, want: schemas.Withdrawn},
		{name: "of two grants of one version the shorter stands", now: 8,
			lines: subject(line(grant(email, 1).v(1), grant(email, 1).v(1).until(8))), at: 5, want: schemas.Expired},
		{name: "of two grants of one version for different regions neither allows one",
			lines: subject(line(grant(email, 1).v(1).in("FI"), grant(email, 1).v(1).in("FI,SE"))), at: 5, want: schemas.Residency},
		{name: "a grant for another region outweighs one without", lines: subject(line(grant(email, 1)), line(grant(email, 1).in("SE"))), at: 5, want: schemas.Residency},
		{name: "a grant at the event that did not allow the region", lines: subject(line(grant(email, 1).in("SE"), grant(email, 7))), at: 5, want: schemas.Residency},
	})
}

func TestDecideRestrictionsAndGroups(t *testing.T) {
	two := schemas.FirstGroup
	runDecide(t, []decideCase{
		{name: "a restriction of any identifier", lines: subject(line(grant(email, 1)), line(restrict(2))), at: 5, want: schemas.Restricted},
		{name: "a restriction has no time of its own", lines: subject(line(grant(email, 1), restrict(99))), at: 5, want: schemas.Restricted},
		{name: "the version decides", lines: subject(line(grant(email, 1), restrict(2).v(9), lift(7).v(8))), at: 5, want: schemas.Restricted},
		{name: "of one version it is not lifted", lines: subject(line(grant(email, 1), lift(7).v(8), restrict(2).v(8))), at: 5, want: schemas.Restricted},
		{name: "what is erased is erased", lines: subject(line(restrict(2), erase(9))), at: 5, want: schemas.Erased},
		{name: "one that cannot be read denies", lines: subject(line(grant(email, 1), broken(key{scope: restriction}))), at: 5, want: schemas.NoRecord},
		{name: "a lift that cannot be read does not lift", lines: subject(line(grant(email, 1), restrict(2), broken(key{scope: restriction}))), at: 5, want: schemas.NoRecord},
		{name: "and is made up for by one that can", lines: subject(line(grant(email, 1), restrict(2), broken(key{scope: restriction}), lift(3))), at: 5, want: schemas.ConsentGiven},

		{name: "a group takes away what it has", lines: subject(line(grant(email, 1).v(9), object(two, 3).v(1))), at: 2, want: schemas.Objected},
		{name: "and nothing else", need: schemas.Purposes(prof), lines: subject(line(grant(prof, 1), object(two, 3))), at: 5, want: schemas.ConsentGiven},
		{name: "a later grant holds against it", lines: subject(line(object(two, 3).v(9), grant(email, 4).v(1))), at: 5, want: schemas.ConsentGiven},
		{name: "groups have versions of their own", lines: subject(line(withdraw(two, 3).v(1), grant(email, 4), refuse(two+1, 1).v(2))), at: 5, want: schemas.ConsentGiven},
		{name: "one that cannot be read denies what the group has", lines: subject(line(grant(email, 1), unreadable(two))), at: 5, want: schemas.NoRecord},
		{name: "and nothing else again", need: schemas.Purposes(prof), lines: subject(line(grant(prof, 1), unreadable(two))), at: 5, want: schemas.ConsentGiven},
		{name: "deleting it is not consent", lines: subject(line(grant(email, 1), withdraw(two, 3), tombstone(two))), at: 2, want: schemas.NoRecord},
	})
}

func TestDecideChildren(t *testing.T) {
	const finnish, french, unknown = "FI", "FR", ""
	birthday, noon := day(2000, 6, 1), day(1970, 1, 2)/2
	child, grown := day(2010, 1, 1), day(2020, 1, 1)
	free := func(years int) int64 { return day(2000+years, 6, 1) + noon }
	runDecide(t, []decideCase{
		{name: "a grant of its own does not help a child", now: child, at: child, lines: subject(line(born(birthday, finnish), grant(email, 1))),
			want: schemas.Minor, until: free(13)},
		{name: "the half day after the birthday is childhood", now: free(13) - 1, at: free(13) - 1,
			lines: subject(line(born(birthday, finnish), grant(email, free(13)-2))), want: schemas.Minor, until: free(13)},
		{name: "and then it is over", now: free(13), at: free(13), lines: subject(line(born(birthday, finnish), grant(email, free(13)))), want: schemas.ConsentGiven},
		{name: "a grant that a child gave stays void", now: grown, at: grown, lines: subject(line(born(birthday, finnish), grant(email, child))), want: schemas.Minor},
		{name: "where nobody knows the country it takes longer", now: free(15), at: free(15),
			lines: subject(line(born(birthday, unknown), grant(email, 1))), want: schemas.Minor, until: free(16)},
		{name: "without a birth nobody is a child", now: child, at: child, lines: subject(line(grant(email, 1))), want: schemas.ConsentGiven},
		{name: "nor does a guardian's grant permit anything", now: child, at: child, lines: subject(line(guardian(email, 1))), want: schemas.NoRecord},
		{name: "a guardian who takes it back", now: child, at: child, lines: subject(line(born(birthday, finnish), guardian(email, 1), guardianWithdraw(email, 2))),
			want: schemas.Minor, until: free(13)},
		{name: "a guardian who takes everything back", now: child, at: child,
			lines: subject(line(born(birthday, finnish), guardian(email, 1), every(guardianWithdraw(email, 2)))), want: schemas.Minor, until: free(13)},
		{name: "a guardian's grant that has run out", now: child, at: 5, lines: subject(line(born(birthday, finnish), guardian(email, 1).until(9))),
			want: schemas.Minor, until: free(13)},
		{name: "a guardian's grant after the event", now: child, at: 5, lines: subject(line(born(birthday, finnish), guardian(email, 9))),
			want: schemas.Minor, until: free(13)},
		{name: "a guardian's grant for another region", now: child, at: child, lines: subject(line(born(birthday, finnish), guardian(email, 1).in("SE"))),
			want: schemas.Residency, until: free(13)},
		{name: "what the child itself denies is denied", now: child, at: child, lines: subject(line(born(birthday, finnish), guardian(email, 1), object(email, 2))),
			want: schemas.Objected, until: free(13)},
		{name: "a guardian may grant under another identifier", now: child, at: child,
			lines: subject(line(born(birthday, finnish)), line(guardian(email, 1))), want: schemas.ConsentGiven, until: free(13)},
		{name: "jointly: a guardian alone", now: child, at: child, lines: subject(line(born(birthday, french), guardian(email, 1))), want: schemas.Minor, until: free(15)},
		{name: "jointly: the child alone", now: child, at: child, lines: subject(line(born(birthday, french), grant(email, 1))), want: schemas.Minor, until: free(15)},
		{name: "jointly: both", now: child, at: child, lines: subject(line(born(birthday, french), guardian(email, 1), grant(email, 1))),
			want: schemas.ConsentGiven, until: free(15)},
		{name: "of two births the youngest counts", now: free(13), at: free(13),
			lines: subject(line(born(birthday, finnish), grant(email, 1)), line(born(day(2001, 6, 1), finnish))), want: schemas.Minor, until: free(14)},
		{name: "of two births of one version the youngest counts", now: free(13), at: free(13),
			lines: subject(line(born(birthday, finnish), born(day(2001, 6, 1), finnish), grant(email, 1))), want: schemas.Minor, until: free(14)},
		{name: "a birth that cannot be read denies", now: grown, at: grown, lines: subject(line(born(birthday, finnish), grant(email, grown), broken(key{scope: birth}))),
			want: schemas.NoRecord},
		{name: "a guardian's record that cannot be read denies", now: child, at: child,
			lines: subject(line(born(birthday, finnish), guardian(email, 1), unreadable(guardians+email))), want: schemas.Minor, until: free(13)},
		{name: "of a grown-up too", now: grown, at: grown, lines: subject(line(grant(email, 1), unreadable(guardians+email))), want: schemas.NoRecord},
		{name: "an erasure voids a guardian's grant", now: child, at: child, lines: subject(line(born(birthday, finnish), guardian(email, 1), erase(3))),
			want: schemas.Minor, until: free(13)},
	})
}

func TestDecideDuties(t *testing.T) {
	duty := Duty{"plan", "eu-gdpr:A6-1-c", 20}
	other := Duty{"contact", "eu-gdpr:A6-1-c", 30}
	runDecide(t, []decideCase{
		{name: "a duty of any identifier", lines: subject(line(erase(7)), line(retain("plan", 20))), at: 5, want: schemas.Retained, until: 20, duties: []Duty{duty}},
		{name: "several duties", lines: subject(line(erase(7), retain("plan", 20), retain("contact", 30))), at: 5, want: schemas.Retained, until: 20, duties: []Duty{other, duty}},
		{name: "one of them has ended", now: 20, lines: subject(line(erase(7), retain("plan", 20), retain("contact", 30))), at: 5, want: schemas.Retained, until: 30, duties: []Duty{other}},
		{name: "a higher version ends it", lines: subject(line(erase(7), retain("plan", 20), retain("plan", 2).v(2))), at: 5, want: schemas.Erased},
		{name: "of one version the shorter stands", lines: subject(line(erase(7), retain("plan", 30), retain("plan", 20))), at: 5, want: schemas.Retained, until: 20, duties: []Duty{duty}},
		{name: "without an erasure it keeps nothing", lines: subject(line(retain("plan", 20))), at: 5, want: schemas.NoRecord},
		{name: "an event after the erasure is no longer about it", lines: subject(line(erase(3), grant(email, 4), retain("plan", 20))), at: 5, want: schemas.ConsentGiven},
		{name: "one that cannot be read keeps nothing", lines: subject(line(erase(7), retain("plan", 20), broken(retainKey("plan")))), at: 5, want: schemas.Erased},
		{name: "and denies", lines: subject(line(grant(email, 1), broken(retainKey("plan")))), at: 5, want: schemas.NoRecord},
		{name: "one without a law is none", lines: subject(line(erase(7), record(schemas.Retain, schemas.NoPurpose, 1).until(20))), at: 5, want: schemas.Erased},
	})
}

func retainKey(fields string) key {
	s := retain(fields, 1)
	k, _ := scoped(&s.Record, testRules.vocabulary, testGlossary)
	return k
}

func TestDecideSharedAndCapped(t *testing.T) {
	mine := Line{Timeline: line(grant(email, 1))}
	runDecide(t, []decideCase{
		{name: "a shared identifier's grant does not count for one person", lines: []Line{{}, shared(line(grant(email, 1)))}, at: 5, want: schemas.NoRecord},
		{name: "nor its erasure", lines: []Line{mine, shared(line(erase(9)))}, at: 5, want: schemas.ConsentGiven},
		{name: "its withdrawal does", lines: []Line{mine, shared(line(grant(email, 1), withdraw(email, 2)))}, at: 5, want: schemas.Withdrawn},
		{name: "and what it denied at the event", lines: []Line{mine, shared(line(refuse(email, 1), grant(email, 7)))}, at: 5, want: schemas.Refused},
		{name: "and that it has run out", lines: []Line{mine, shared(line(expire(email, 2)))}, at: 5, want: schemas.Expired},
		{name: "and its restriction", lines: []Line{mine, shared(line(restrict(2)))}, at: 5, want: schemas.Restricted},
		{name: "and what cannot be read of it", lines: []Line{mine, shared(line(unreadable(email)))}, at: 5, want: schemas.NoRecord},
		{name: "prospective does not soften its withdrawal", prospective: true, lines: []Line{mine, shared(line(grant(email, 1), withdraw(email, 7)))}, at: 5, want: schemas.Withdrawn},
		{name: "its duties keep nothing of one person", lines: []Line{{Timeline: line(erase(9))}, shared(line(retain("plan", 20)))}, at: 5, want: schemas.Erased},
		{name: "nobody but shared ones: the grant counts", lines: []Line{shared(line(grant(email, 1)))}, at: 5, want: schemas.ConsentGiven},
		{name: "and the erasure", lines: []Line{shared(line(grant(email, 1), erase(9)))}, at: 5, want: schemas.Erased},
		{name: "and what people who share it deny", lines: []Line{shared(line(grant(email, 1))), neighbour(line(object(email, 2)))}, at: 5, want: schemas.Objected},
		{name: "but not their grants", lines: []Line{shared(nil), neighbour(line(grant(email, 1)))}, at: 5, want: schemas.NoRecord},
		{name: "nor their erasures", lines: []Line{shared(line(grant(email, 1))), neighbour(line(erase(9)))}, at: 5, want: schemas.ConsentGiven},
		{name: "nor their births", lines: []Line{shared(line(grant(email, 1))), neighbour(line(born(1, "FI")))}, at: 5, want: schemas.ConsentGiven},

		{name: "one of too many that are linked", lines: []Line{capped(line(grant(email, 1)))}, at: 5, want: schemas.NoRecord},
		{name: "denies what else is named", lines: []Line{mine, capped(nil)}, at: 5, want: schemas.NoRecord},
		{name: "its own erasure counts", lines: []Line{mine, capped(line(erase(9)))}, at: 5, want: schemas.Erased},
		{name: "and its own duty", lines: []Line{capped(line(erase(9), retain("plan", 20)))}, at: 5, want: schemas.Retained, until: 20, duties: []Duty{{"plan", "eu-gdpr:A6-1-c", 20}}},
	})
}

// TestExplain: the chain names the records that mattered, whose they are, and why.
func TestExplain(t *testing.T) {
	lines := subject(line(grant(email, 1).in("FI"), withdraw(schemas.FirstGroup, 7)), line(refuse(stats, 2)))
	q := Question{At: 5, Now: 9, Need: schemas.Purposes(email, stats), rules: testRules}
	got := explain(lines, &q)
	var text []string
	for _, s := range got.Chain {
		text = append(text, strings.Join([]string{string(rune('0' + s.Line)), s.Scope, s.Word, s.Purpose, s.Clock, s.Terms.Regions, s.Rule}, "|"))
	}
	want := []string{
		"0|analytics,direct_marketing_email|withdraw|analytics|now||it denies several purposes",
		"0|analytics,direct_marketing_email|withdraw|direct_marketing_email|now||it denies several purposes",
		"0|direct_marketing_email|grant|direct_marketing_email|now|FI|it does not permit",
		"1|analytics|refuse|analytics|now||it denies what is in force",
	}
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("chain (-want +got):\n%s", diff)
	}
	if got.Reason != schemas.Withdrawn || !strings.Contains(got.Rule, "took its grant back") {
		t.Errorf("%s: %s", got.Reason, got.Rule)
	}
	if diff := cmp.Diff(Decide(lines, q), got.Decision); diff != "" {
		t.Errorf("(-decided +explained):\n%s", diff)
	}
}
