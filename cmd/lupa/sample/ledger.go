package sample

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"lupa/schemas"
)

// A teller writes down what one person says to the ledger. Records are
// appended at the time when they are said, those of one time in their order.
type teller struct {
	person *person

	about   schemas.Subject // whom the records are about
	version int64           // of the next record
	records []said
}

// said is one ledger message and when it was appended.
type said struct {
	when    time.Duration
	message Message
}

func newTeller(p *person) *teller {
	return &teller{person: p, about: p.subject(schemas.UserID), version: 1}
}

// subject is one identifier of the person as the ledger spells it.
func (p *person) subject(kind schemas.IdentifierKind) schemas.Subject {
	switch kind {
	case schemas.UserID:
		return schemas.NewSubject(kind, p.userID)
	case schemas.AnonymousID:
		return schemas.NewSubject(kind, p.anonymous[0])
	case schemas.Email:
		return schemas.NewSubject(kind, p.email)
	case schemas.Phone:
		return schemas.NewSubject(kind, p.phone)
	case schemas.DeviceID:
		return schemas.NewSubject(kind, p.device)
	}
	return schemas.Subject{}
}

// as makes the next records about another identifier of the person.
func (t *teller) as(s schemas.Subject) { t.about = s }

// link says that all identifiers of the person are one subject.
func (t *teller) link() {
	others := []schemas.Subject{
		t.person.subject(schemas.Email), t.person.subject(schemas.Phone), t.person.subject(schemas.DeviceID),
	}
	for _, a := range t.person.anonymous {
		others = append(others, schemas.NewSubject(schemas.AnonymousID, a))
	}
	for _, other := range others {
		t.append(longAgo-time.Hour, &schemas.Record{Verb: schemas.Link, Other: other})
	}
}

// grant gives consent, with its evidence, for each purpose.
func (t *teller) grant(when time.Duration, list ...schemas.Purpose) {
	for _, p := range list {
		t.append(when, &schemas.Record{Verb: schemas.Grant, Purpose: p, Proven: true})
	}
}

// say appends a record for each purpose; a grant said here has no evidence.
func (t *teller) say(verb schemas.Verb, when time.Duration, list ...schemas.Purpose) {
	for _, p := range list {
		t.append(when, &schemas.Record{Verb: verb, Purpose: p})
	}
}

// every appends a record about all purposes.
func (t *teller) every(verb schemas.Verb, when time.Duration) {
	t.append(when, &schemas.Record{Verb: verb, Every: true})
}

// tombstone deletes the key of a purpose from the ledger.
func (t *teller) tombstone(when time.Duration, p schemas.Purpose) {
	m := t.encode(&schemas.Record{Verb: schemas.Withdraw, Purpose: p, Version: t.version})
	t.records = append(t.records, said{when, Message{Key: m.Key}})
}

// unreadable appends a value of which only the beginning arrived.
func (t *teller) unreadable(when time.Duration, p schemas.Purpose) {
	m := t.encode(&schemas.Record{Verb: schemas.Grant, Purpose: p, Proven: true, Version: t.version})
	t.records = append(t.records, said{when, Message{Key: m.Key, Value: m.Value[:len(m.Value)/3]}})
}

// unknownPurpose grants consent for a purpose that no contract can name.
func (t *teller) unknownPurpose(when time.Duration) {
	from, to := []byte(schemas.Functional.String()), []byte("weather_reports")
	t.grant(when, schemas.Functional)
	m := &t.records[len(t.records)-1].message
	m.Key = bytes.Replace(m.Key, from, to, 1)
	m.Value = bytes.Replace(m.Value, from, to, 1)
}

func (t *teller) append(when time.Duration, r *schemas.Record) {
	// Seconds apart, so that no two people speak at once.
	spoken := when + time.Duration(t.person.index%600)*time.Second/2
	r.Time, r.Version = Base().Add(spoken).UnixMicro(), t.version
	t.version++
	t.records = append(t.records, said{spoken, t.encode(r)})
}

func (t *teller) encode(r *schemas.Record) Message {
	r.Principal = t.about
	return Message{Key: schemas.AppendRecordKey(nil, *r), Value: schemas.AppendRecord(nil, *r)}
}

// inOrder gives the messages of all people in the order of the ledger.
func inOrder(all []said) []Message {
	slices.SortStableFunc(all, func(a, b said) int { return cmp.Compare(a.when, b.when) })
	list := make([]Message, len(all))
	for i := range all {
		list[i] = all[i].message
	}
	return list
}

// spellings of a phone number, as people write it.
func (p *person) spelledPhone(r *rand.Rand) string {
	if !strings.HasPrefix(p.phone, "+358") {
		return p.phone
	}
	return pick(r, []string{p.phone, "0" + p.phone[4:6] + " " + p.phone[6:], "00" + p.phone[1:], "+358 " + p.phone[4:6] + "-" + p.phone[6:]})
}
