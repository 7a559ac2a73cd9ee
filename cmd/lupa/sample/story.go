package sample

import (
	"slices"
	"time"

	"lupa/schemas"
)

// A story is what one group of people told the ledger, and what must follow
// from it for their events. The outcomes are written down here beside the
// records that cause them; they are not computed.
type story struct {
	name   string
	people int
	tell   func(t *teller)
	// phases are the outcomes of events up to a time; the last has none.
	phases []phase
	// visitor, if set, is the outcome of events that show an anonymous id and
	// nothing else.
	visitor *outcome
	// chosen is the consent that the person's events carry themselves, as
	// categories; nil is none.
	chosen map[string]any
}

// phase is an outcome that holds for events before a time since Base.
type phase struct {
	until time.Duration // 0 is for ever
	outcome
}

// outcome is the reason of each purpose that the embedded contracts name.
type outcome struct{ analytics, email, sms, profiling, advertising schemas.Reason }

// all is the outcome of somebody for whom every purpose ends in the same way.
func all(r schemas.Reason) outcome { return outcome{r, r, r, r, r} }

// always is an outcome whatever the time of the event.
func always(analytics, email, sms, profiling, advertising schemas.Reason) []phase {
	return []phase{{0, outcome{analytics, email, sms, profiling, advertising}}}
}

func (o outcome) granted() schemas.PurposeSet {
	var s schemas.PurposeSet
	for p, r := range map[schemas.Purpose]schemas.Reason{
		schemas.Analytics:               o.analytics,
		schemas.DirectMarketingEmail:    o.email,
		schemas.DirectMarketingSMS:      o.sms,
		schemas.Profiling:               o.profiling,
		schemas.PersonalisedAdvertising: o.advertising,
	} {
		if r == schemas.ConsentGiven {
			s = s.With(p)
		}
	}
	return s
}

// at is the outcome of an event at a time since Base.
func (s *story) at(since time.Duration, visitor bool) outcome {
	if visitor && s.visitor != nil {
		return *s.visitor
	}
	for _, p := range s.phases {
		if p.until == 0 || since < p.until {
			return p.outcome
		}
	}
	return outcome{}
}

// The times of what people say, since Base. Events keep a quarter of an hour
// away from those within their window.
const (
	longAgo  = -60 * 24 * time.Hour
	lately   = -5 * 24 * time.Hour
	early    = 24 * time.Hour
	soon     = 26 * time.Hour
	midway   = 36 * time.Hour
	late     = 48 * time.Hour
	after    = Window + 3*time.Hour
	farAfter = Window + 8*time.Hour
)

// stories is every row of the decision table that consent alone can reach.
func stories() []*story {
	return slices.Concat(openStories(), closedStories(), laterStories())
}

// openStories are of people who permit at least a part.
func openStories() []*story {
	const (
		given   = schemas.ConsentGiven
		none    = schemas.NoRecord
		refused = schemas.Refused
		taken   = schemas.Withdrawn
		against = schemas.Objected
	)
	return []*story{
		{name: "everything granted", people: 410, phases: always(given, given, given, given, given),
			tell: func(t *teller) { t.link(); t.grant(longAgo, purposes()...) }},
		{name: "analytics alone granted", people: 150, phases: always(given, none, none, none, none),
			tell: func(t *teller) { t.link(); t.grant(longAgo, schemas.Analytics) }},
		{name: "newsletter alone granted", people: 80, phases: always(none, given, none, none, none),
			tell: func(t *teller) { t.link(); t.grant(longAgo, schemas.DirectMarketingEmail) }},
		{name: "granted within the window", people: 100,
			phases: []phase{{midway, all(schemas.BeforeConsent)}, {0, all(given)}},
			tell:   func(t *teller) { t.link(); t.grant(midway, purposes()...) }},
		{name: "marketing refused", people: 90, phases: always(given, refused, refused, refused, refused),
			tell: func(t *teller) {
				t.link()
				t.grant(lately, schemas.Analytics)
				t.say(schemas.Refuse, lately, purposes()[1:]...)
			}},
		{name: "analytics withdrawn", people: 50, phases: always(taken, given, given, given, given),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.say(schemas.Withdraw, after, schemas.Analytics)
			}},
		{name: "withdrawn and granted again", people: 50,
			phases: []phase{{early, all(given)}, {late, all(taken)}, {0, all(given)}},
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.say(schemas.Withdraw, early, purposes()...)
				t.grant(late, purposes()...)
			}},
		{name: "objected to analytics", people: 60, phases: always(against, given, given, given, given),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.say(schemas.Object, after, schemas.Analytics)
			}},
		{name: "objected to profiling", people: 100, phases: always(given, given, given, against, against),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.say(schemas.Object, midway, schemas.Profiling, schemas.PersonalisedAdvertising)
			}},
		{name: "erased, then granted again", people: 40,
			phases: []phase{{early, all(schemas.Erased)}, {soon, all(schemas.BeforeConsent)}, {0, all(given)}},
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.every(schemas.Erase, early)
				t.grant(soon, purposes()...)
			}},
		{name: "analytics grant deleted from the ledger", people: 30, phases: always(none, given, given, given, given),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.tombstone(after, schemas.Analytics)
			}},
		{name: "grant and withdrawal of one version", people: 20, phases: always(taken, given, given, given, given),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.version = 20
				t.say(schemas.Withdraw, lately, schemas.Analytics)
				t.version = 20
				t.grant(lately, schemas.Analytics)
			}},
		{name: "grant of a lower version arrives late", people: 20, phases: always(taken, given, given, given, given),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.version = 21
				t.say(schemas.Withdraw, lately, schemas.Analytics)
				t.version = 20
				t.grant(after, schemas.Analytics)
			}},
		{name: "ledger record unreadable", people: 10, phases: always(none, given, given, given, given),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.unreadable(after, schemas.Analytics)
			}},
		{name: "visitor not linked yet", people: 40, phases: always(given, given, given, given, given),
			visitor: &outcome{none, none, none, none, none},
			tell:    func(t *teller) { t.grant(longAgo, purposes()...) }},
	}
}

// closedStories are of people who permit nothing.
func closedStories() []*story {
	deny := func(r schemas.Reason) []phase { return []phase{{0, all(r)}} }
	return []*story{
		{name: "unknown to the ledger", people: 120, phases: deny(schemas.NoRecord),
			tell: func(*teller) {}},
		{name: "granted after every event", people: 40, phases: deny(schemas.BeforeConsent),
			tell: func(t *teller) { t.link(); t.grant(after, purposes()...) }},
		{name: "imported without evidence", people: 70, phases: deny(schemas.Unproven),
			tell: func(t *teller) { t.link(); t.say(schemas.Grant, longAgo, purposes()...) }},
		{name: "opted out only", people: 80, phases: deny(schemas.Refused),
			tell: func(t *teller) { t.link(); t.say(schemas.Refuse, lately, purposes()...) }},
		{name: "everything withdrawn", people: 100, phases: deny(schemas.Withdrawn),
			tell: func(t *teller) { t.link(); t.grant(longAgo, purposes()...); t.every(schemas.Withdraw, after) }},
		{name: "objected to everything", people: 30, phases: deny(schemas.Objected),
			tell: func(t *teller) { t.link(); t.grant(longAgo, purposes()...); t.every(schemas.Object, midway) }},
		{name: "erased", people: 60, phases: deny(schemas.Erased),
			tell: func(t *teller) { t.link(); t.grant(longAgo, purposes()...); t.every(schemas.Erase, after) }},
		{name: "erased within the window", people: 30,
			phases: []phase{{midway, all(schemas.Erased)}, {0, all(schemas.NoRecord)}},
			tell:   func(t *teller) { t.link(); t.grant(longAgo, purposes()...); t.every(schemas.Erase, midway) }},
		{name: "a linked address withdrew", people: 50, phases: deny(schemas.Withdrawn),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.as(t.person.subject(schemas.Email))
				t.grant(longAgo, schemas.DirectMarketingEmail)
				t.every(schemas.Withdraw, lately)
			}},
		{name: "erased under a linked browser", people: 20, phases: deny(schemas.Erased),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.as(t.person.subject(schemas.AnonymousID))
				t.every(schemas.Erase, farAfter)
			}},
		{name: "granted for an unknown purpose", people: 20, phases: deny(schemas.NoRecord),
			tell: func(t *teller) { t.link(); t.unknownPurpose(longAgo) }},
	}
}

// laterStories are of people about whom more is said than yes and no.
func laterStories() []*story {
	const given = schemas.ConsentGiven
	deny := func(r schemas.Reason) []phase { return []phase{{0, all(r)}} }
	born := func() *schemas.Record {
		return &schemas.Record{Verb: schemas.Born, Until: Base().AddDate(-4, 0, 0).UnixMicro(), Terms: schemas.Terms{Country: "FI"}}
	}
	withdrawn := func(t *teller, who schemas.Subject) {
		t.as(who)
		t.every(schemas.Withdraw, lately)
		t.as(t.person.subject(schemas.UserID))
	}
	return []*story{
		{name: "restricted", people: 15, phases: deny(schemas.Restricted),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.append(lately, &schemas.Record{Verb: schemas.Restrict})
			}},
		{name: "restricted and lifted", people: 5, phases: deny(given),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.append(lately, &schemas.Record{Verb: schemas.Restrict})
				t.append(late, &schemas.Record{Verb: schemas.Lift})
			}},
		{name: "child on its own", people: 15, phases: deny(schemas.Minor),
			tell: func(t *teller) { t.link(); t.append(longAgo, born()); t.grant(longAgo, purposes()...) }},
		{name: "child with a guardian", people: 10, phases: deny(given),
			tell: func(t *teller) {
				t.link()
				t.append(longAgo, born())
				for _, p := range purposes() {
					t.append(longAgo, &schemas.Record{Verb: schemas.GuardianGrant, Purpose: p, Proven: true})
				}
			}},
		{name: "double opt-in not confirmed", people: 15, phases: deny(schemas.Pending),
			tell: func(t *teller) {
				t.link()
				for _, p := range purposes() {
					t.append(longAgo, &schemas.Record{Verb: schemas.Grant, Purpose: p, Pending: true})
				}
			}},
		{name: "validity ran out", people: 15, phases: deny(schemas.Expired),
			tell: func(t *teller) {
				t.link()
				for _, p := range purposes() {
					t.append(longAgo, &schemas.Record{Verb: schemas.Grant, Purpose: p, Proven: true, Until: Base().Add(lately).UnixMicro()})
				}
			}},
		{name: "granted for another country", people: 15, phases: deny(schemas.Residency),
			tell: func(t *teller) {
				t.link()
				for _, p := range purposes() {
					t.append(longAgo, &schemas.Record{Verb: schemas.Grant, Purpose: p, Proven: true, Terms: schemas.Terms{Regions: "CH"}})
				}
			}},
		{name: "erased but for what a law keeps", people: 15, phases: deny(schemas.Retained),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				t.every(schemas.Erase, after)
				t.append(after, &schemas.Record{Verb: schemas.Retain, Until: Base().AddDate(60, 0, 0).UnixMicro(),
					Terms: schemas.Terms{Fields: RetainedField, Basis: RetainedBasis}})
			}},
		{name: "refused in the browser", people: 15,
			phases: always(schemas.RefusedInEvent, given, given, given, schemas.RefusedInEvent), chosen: map[string]any{"C0002": false},
			tell: func(t *teller) { t.link(); t.grant(longAgo, purposes()...) }},
		{name: "unlinked from an address that withdrew", people: 5, phases: deny(given),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				old := schemas.NewSubject(schemas.Email, "old."+t.person.email)
				t.append(longAgo, &schemas.Record{Verb: schemas.Link, Other: old})
				withdrawn(t, old)
				t.append(late, &schemas.Record{Verb: schemas.Unlink, Other: old})
			}},
		{name: "family device that withdrew", people: 5, phases: deny(given),
			tell: func(t *teller) {
				t.link()
				t.grant(longAgo, purposes()...)
				tablet := schemas.NewSubject(schemas.DeviceID, "tablet-"+t.person.device)
				t.append(longAgo, &schemas.Record{Verb: schemas.Link, Other: tablet, Shared: true})
				withdrawn(t, tablet)
			}},
	}
}

// purposes are those that the embedded contracts name.
func purposes() []schemas.Purpose {
	return []schemas.Purpose{
		schemas.Analytics, schemas.DirectMarketingEmail, schemas.DirectMarketingSMS,
		schemas.Profiling, schemas.PersonalisedAdvertising,
	}
}
