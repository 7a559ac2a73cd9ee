package oracle

import (
	"testing"
	"time"

	"lupa/schemas"
)

// The times of made-up ledgers, and one that is now for all of them.
var (
	day0 = time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC)
	nowT = at(100)
)

// at is so many days after the first.
func at(days int) int64 { return day0.AddDate(0, 0, days).UnixMicro() }

var (
	her    = schemas.NewSubject(schemas.UserID, "u-1")
	mail   = schemas.NewSubject(schemas.Email, "a@posti.example")
	him    = schemas.NewSubject(schemas.UserID, "u-2")
	device = schemas.NewSubject(schemas.DeviceID, "d-1")
	child  = at(-6 * 365)
)

// said0 begins a record: who says what on which day, in which version.
func said0(verb schemas.Verb, who schemas.Subject, day int, version int64) schemas.Record {
	r := schemas.Record{Verb: verb, Principal: who, Time: at(day), Version: version}
	switch verb {
	case schemas.Grant, schemas.GuardianGrant:
		r.Purpose, r.Proven = schemas.Analytics, true
	case schemas.Refuse, schemas.Withdraw, schemas.Object, schemas.Expire, schemas.GuardianWithdraw:
		r.Purpose = schemas.Analytics
	case schemas.Erase:
		r.Every = true
	case schemas.Retain:
		r.Terms.Fields, r.Terms.Basis = "event,user_id", "eu-gdpr:A6-1-c"
	case schemas.Born:
		r.Until, r.Terms.Country = child, "FI"
	}
	return r
}

func (r recordOf) until(until int64) recordOf { r.Until = until; return r }

// recordOf is a record with the changes that tests make.
type recordOf struct{ schemas.Record }

func say(verb schemas.Verb, who schemas.Subject, day int, version int64) recordOf {
	return recordOf{said0(verb, who, day, version)}
}

func (r recordOf) in(regions string) recordOf { r.Terms.Regions = regions; return r }
func (r recordOf) pending() recordOf          { r.Proven, r.Pending = false, true; return r }
func (r recordOf) country(code string) recordOf {
	r.Terms.Country = code
	return r
}
func (r recordOf) about(name string) recordOf {
	r.Purpose, r.Every = schemas.DefaultVocabulary().Denied(name)
	return r
}
func (r recordOf) with(other schemas.Subject) recordOf { r.Other = other; return r }
func (r recordOf) shared() recordOf                    { r.Shared = true; return r }

// TestDecisions is the decision table, and who is meant.
func TestDecisions(t *testing.T) {
	const given = schemas.ConsentGiven
	type ledgerOf = []recordOf
	grant := say(schemas.Grant, her, 0, 1)
	link := say(schemas.Link, her, 0, 1).with(mail)
	both := []schemas.Subject{her, device}
	common := say(schemas.Link, her, 0, 1).with(device).shared()
	adult := say(schemas.Born, her, 0, 1).until(at(50 - 13*365))
	for _, c := range []struct {
		name    string
		records ledgerOf
		who     []schemas.Subject
		want    schemas.Reason
	}{
		{"granted", ledgerOf{grant}, nil, given},
		{"granted too late", ledgerOf{say(schemas.Grant, her, 20, 1)}, nil, schemas.BeforeConsent},
		{"pending", ledgerOf{grant.pending()}, nil, schemas.Pending},
		{"pending, then confirmed", ledgerOf{grant.pending(), say(schemas.Grant, her, 5, 2)}, nil, given},
		{"ran out", ledgerOf{grant.until(at(50))}, nil, schemas.Expired},
		{"ran out before the event", ledgerOf{grant.until(at(5)), say(schemas.Grant, her, 20, 2)}, nil, schemas.Expired},
		{"ran out and renewed in time", ledgerOf{grant.until(at(50)), say(schemas.Grant, her, 40, 2)}, nil, given},
		{"valid yet", ledgerOf{grant.until(at(101))}, nil, given},
		{"register says it ran out", ledgerOf{grant, say(schemas.Expire, her, 50, 2)}, nil, schemas.Expired},
		{"region of the tables", ledgerOf{grant.in("EU")}, nil, given},
		{"another region", ledgerOf{grant.in("SE,US")}, nil, schemas.Residency},
		{"another region at the event", ledgerOf{grant.in("SE"), say(schemas.Grant, her, 20, 2)}, nil, schemas.Residency},
		{"region that is none", ledgerOf{grant.in("?")}, nil, schemas.Residency},
		{"withdrawn for a group that has it not", ledgerOf{grant, say(schemas.Withdraw, her, 20, 1).about("direct_marketing")}, nil, given},
		{"objected to marketing", ledgerOf{grant, say(schemas.Object, her, 20, 1).about("*")}, nil, schemas.Objected},

		{"restricted", ledgerOf{grant, say(schemas.Restrict, her, 200, 1)}, nil, schemas.Restricted},
		{"restricted and lifted", ledgerOf{grant, say(schemas.Restrict, her, 5, 1), say(schemas.Lift, her, 6, 2)}, nil, given},
		{"restricted and lifted in one version", ledgerOf{grant, say(schemas.Lift, her, 6, 2), say(schemas.Restrict, her, 5, 2)}, nil, schemas.Restricted},
		{"restricted under a linked address", ledgerOf{grant, link, say(schemas.Restrict, mail, 5, 1)}, nil, schemas.Restricted},

		{"erased", ledgerOf{grant, say(schemas.Erase, her, 20, 1)}, nil, schemas.Erased},
		{"erased, restricted too", ledgerOf{grant, say(schemas.Erase, her, 20, 1), say(schemas.Restrict, her, 20, 1)}, nil, schemas.Erased},
		{"erased and retained", ledgerOf{grant, say(schemas.Erase, her, 20, 1), say(schemas.Retain, her, 20, 1).until(at(101))}, nil, schemas.Retained},
		{"erased, duty over", ledgerOf{grant, say(schemas.Erase, her, 20, 1), say(schemas.Retain, her, 20, 1).until(at(100))}, nil, schemas.Erased},
		{"retained and not erased", ledgerOf{say(schemas.Retain, her, 20, 1).until(at(101))}, nil, schemas.NoRecord},
		{"duty shortened", ledgerOf{say(schemas.Erase, her, 20, 1), say(schemas.Retain, her, 20, 1).until(at(101)), say(schemas.Retain, her, 30, 2).until(at(90))}, nil, schemas.Erased},

		{"child", ledgerOf{grant, say(schemas.Born, her, 0, 1)}, nil, schemas.Minor},
		{"child with a guardian", ledgerOf{say(schemas.Born, her, 0, 1), say(schemas.GuardianGrant, her, 0, 1)}, nil, given},
		{"child with a guardian who came later", ledgerOf{say(schemas.Born, her, 0, 1), say(schemas.GuardianGrant, her, 20, 1)}, nil, schemas.Minor},
		{"child with a guardian who took it back", ledgerOf{say(schemas.Born, her, 0, 1), say(schemas.GuardianGrant, her, 0, 1), say(schemas.GuardianWithdraw, her, 20, 2)}, nil, schemas.Minor},
		{"child with a guardian who took all back", ledgerOf{say(schemas.Born, her, 0, 1), say(schemas.GuardianGrant, her, 0, 1), say(schemas.GuardianWithdraw, her, 20, 1).about("*")}, nil, schemas.Minor},
		{"child that refuses", ledgerOf{say(schemas.Born, her, 0, 1), say(schemas.GuardianGrant, her, 0, 1), say(schemas.Refuse, her, 20, 1)}, nil, schemas.Refused},
		{"child whose guardian's consent ran out", ledgerOf{say(schemas.Born, her, 0, 1), say(schemas.GuardianGrant, her, 0, 1).until(at(50))}, nil, schemas.Minor},
		{"child whose guardian allows another region", ledgerOf{say(schemas.Born, her, 0, 1), say(schemas.GuardianGrant, her, 0, 1).in("SE")}, nil, schemas.Residency},
		{"child in a country where both must agree", ledgerOf{say(schemas.Born, her, 0, 1).country("FR"), say(schemas.GuardianGrant, her, 0, 1)}, nil, schemas.Minor},
		{"child in a country where both agree", ledgerOf{say(schemas.Born, her, 0, 1).country("FR"), say(schemas.GuardianGrant, her, 0, 1), grant}, nil, given},
		{"guardian of somebody without a birthday", ledgerOf{say(schemas.GuardianGrant, her, 0, 1)}, nil, schemas.NoRecord},
		{"child under a linked address", ledgerOf{grant, link, say(schemas.Born, mail, 0, 1)}, nil, schemas.Minor},
		{"grown up since, and silent", ledgerOf{adult, say(schemas.GuardianGrant, her, 0, 1), grant}, nil, schemas.Minor},
		{"grown up since, and agrees", ledgerOf{adult, say(schemas.GuardianGrant, her, 0, 1), say(schemas.Grant, her, 60, 1)}, nil, given},

		{"address withdrew", ledgerOf{grant, link, say(schemas.Withdraw, mail, 20, 1)}, nil, schemas.Withdrawn},
		{"address withdrew, unlinked", ledgerOf{grant, link, say(schemas.Withdraw, mail, 20, 1), say(schemas.Unlink, her, 30, 2).with(mail)}, nil, given},
		{"unlinked by the other end", ledgerOf{grant, link, say(schemas.Withdraw, mail, 20, 1), say(schemas.Unlink, mail, 30, 2).with(her)}, nil, given},
		{"unlinked in a lower version", ledgerOf{grant, say(schemas.Link, her, 0, 5).with(mail), say(schemas.Withdraw, mail, 20, 1), say(schemas.Unlink, her, 30, 2).with(mail)}, nil, schemas.Withdrawn},
		{"linked and unlinked in one version", ledgerOf{grant, link, say(schemas.Unlink, her, 30, 1).with(mail)}, nil, schemas.NoRecord},
		{"granted under an address that was unlinked", ledgerOf{say(schemas.Grant, mail, 0, 1), link, say(schemas.Unlink, her, 30, 2).with(mail)}, nil, schemas.NoRecord},

		{"device that grants", ledgerOf{common, say(schemas.Grant, device, 0, 1)}, both, schemas.NoRecord},
		{"device that refuses", ledgerOf{common, grant, say(schemas.Refuse, device, 0, 1)}, both, schemas.Refused},
		{"device that is restricted", ledgerOf{common, grant, say(schemas.Restrict, device, 0, 1)}, both, schemas.Restricted},
		{"device that is erased", ledgerOf{common, grant, say(schemas.Erase, device, 50, 1)}, both, given},
		{"device of somebody else who withdrew", ledgerOf{common, grant, say(schemas.Link, him, 0, 1).with(device).shared(), say(schemas.Withdraw, him, 20, 1)}, both, given},
		{"device alone", ledgerOf{common, say(schemas.Grant, device, 0, 1)}, both[1:], given},
		{"device alone, a person grants", ledgerOf{common, grant}, both[1:], schemas.NoRecord},
		{"device alone, a person withdrew", ledgerOf{common, say(schemas.Grant, device, 0, 1), say(schemas.Withdraw, her, 20, 1)}, both[1:], schemas.Withdrawn},
		{"device alone, a person is erased", ledgerOf{common, say(schemas.Grant, device, 0, 1), say(schemas.Erase, her, 20, 1)}, both[1:], given},
		{"device alone, erased", ledgerOf{common, say(schemas.Grant, device, 0, 1), say(schemas.Erase, device, 20, 1)}, both[1:], schemas.Erased},
		{"device that is shared no more", ledgerOf{common, say(schemas.Link, her, 5, 2).with(device), say(schemas.Grant, device, 0, 1)}, both, given},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJudged(t, defaults(t))
			l := j.emptyLedger(1000)
			for i, r := range c.records {
				m := &message{offset: int64(i), time: r.Time, key: schemas.AppendRecordKey(nil, r.Record), value: schemas.AppendRecord(nil, r.Record)}
				if err := l.add(j.check.keys, place0, m); err != nil || len(l.stuck) > 0 {
					t.Fatalf("record %d: %v %v", i, err, l.stuck)
				}
			}
			who := c.who
			if who == nil {
				who = []schemas.Subject{her}
			}
			e := event{contract: j.table(t, "tracks").contract, at: at(10), told: noTime}
			for _, s := range who {
				id, _ := j.check.keys.ident(principal{kind: s.Kind, raw: s.Reveal()})
				e.who = append(e.who, id)
			}
			if got := l.decideRow(l.whole(), e, nowT); got.reason != c.want {
				t.Errorf("%s, want %s", got.reason, c.want)
			}
		})
	}
}

func (j *judged) table(t *testing.T, name string) *table {
	t.Helper()
	for _, table := range j.check.tables {
		if table.name == name {
			return table
		}
	}
	t.Fatalf("no table %s", name)
	return nil
}
