package gen

import (
	"io"
	"time"

	"lupa/schemas"
)

// Ledger makes the consent records of all subjects, one after the other: first
// what everybody said before the events, then what some said later. One
// goroutine uses it.
type Ledger struct {
	o       Options
	later   bool             // whether everybody's first answer has been given
	rank    int              // of the next subject
	records []schemas.Record // of the last subject
	at      int              // in records
	version int64
}

// NewLedger makes the ledger that belongs to the events of the same options.
func NewLedger(o Options) *Ledger { return &Ledger{o: o} }

// Append appends the next record as JSON, without a line end; io.EOF is the
// end of the ledger.
func (l *Ledger) Append(b []byte) ([]byte, error) {
	r, ok := l.Next()
	if !ok {
		return b, io.EOF
	}
	return schemas.AppendRecord(b, *r), nil
}

// Next gives the next record, valid until the call after it.
func (l *Ledger) Next() (*schemas.Record, bool) {
	for l.at == len(l.records) {
		if l.rank == l.o.Subjects {
			if l.later {
				return nil, false
			}
			l.later, l.rank = true, 0
		}
		s := NewSubject(l.o.Seed, l.rank)
		l.rank++
		l.records, l.at = l.records[:0], 0
		if l.later {
			l.saidLater(&s)
		} else {
			l.saidBefore(&s)
		}
	}
	r := &l.records[l.at]
	l.at++
	return r, true
}

// saidBefore is what the subject said when first asked.
func (l *Ledger) saidBefore(s *Subject) {
	r := schemas.Record{Verb: schemas.Grant, Principal: s.principal(), Time: s.asked().UnixMicro(), Proven: true}
	switch s.Choice {
	case Silent, GrantedNow:
		return
	case Refused:
		r.Verb = schemas.Refuse
	case Unproven:
		r.Proven = false
	}
	l.each(r, s)
	if s.linked() {
		l.add(schemas.Record{
			Verb: schemas.Link, Principal: r.Principal, Time: r.Time,
			Other: schemas.NewSubject(schemas.AnonymousID, string(s.AppendAnonymousID(nil))),
		})
	}
}

// saidLater is what the subject said after its first answer.
func (l *Ledger) saidLater(s *Subject) {
	r := schemas.Record{Principal: s.principal(), Every: true}
	// Between three weeks before the events and their end.
	span := uint64((21 + Days) * 24 * time.Hour / time.Second)
	at := FirstDay.AddDate(0, 0, -21).Add(time.Duration(mix(s.seed+20)%span) * time.Second)
	switch s.Choice {
	case GrantedNow:
		r.Verb, r.Every, r.Proven = schemas.Grant, false, true
		r.Time = FirstDay.Add(Days * 24 * time.Hour / 2).UnixMicro()
		l.each(r, s)
		return
	case Withdrawn:
		r.Verb = schemas.Withdraw
	case Objected:
		r.Verb = schemas.Object
	case Erased:
		// Of whom everything is to go, the events of these days too.
		r.Verb, at = schemas.Erase, FirstDay.AddDate(0, 0, Days)
	default:
		return
	}
	r.Time = at.UnixMicro()
	l.add(r)
}

// each adds r for every purpose that the subject was asked for. Whoever came by
// a newsletter said yes to e-mail under the address.
func (l *Ledger) each(r schemas.Record, s *Subject) {
	principal := r.Principal
	s.purposes().Each(func(p schemas.Purpose) {
		r.Purpose, r.Principal = p, principal
		if p == schemas.DirectMarketingEmail && s.throughNewsletter() {
			r.Principal = schemas.NewSubject(schemas.Email, string(s.AppendEmail(nil)))
		}
		l.add(r)
	})
}

func (l *Ledger) add(r schemas.Record) {
	l.version++
	r.Version = l.version
	l.records = append(l.records, r)
}

// principal is the identifier under which the subject is in the ledger.
func (s *Subject) principal() schemas.Subject {
	if s.Anonymous {
		return schemas.NewSubject(schemas.AnonymousID, string(s.AppendAnonymousID(nil)))
	}
	return schemas.NewSubject(schemas.UserID, string(s.AppendUserID(nil)))
}

// asked is when the subject was first asked: in the year before the events.
func (s *Subject) asked() time.Time {
	const year = 360 * 24 * 60 * 60
	return FirstDay.AddDate(0, -1, 0).Add(-time.Duration(mix(s.seed+21)%year) * time.Second)
}

// purposes are what the subject answered about: everybody was asked about
// analytics, most about e-mail, some about advertising and profiling.
func (s *Subject) purposes() schemas.PurposeSet {
	set := schemas.Purposes(schemas.Analytics)
	if mix(s.seed+22)%4 > 0 {
		set = set.With(schemas.DirectMarketingEmail)
	}
	if mix(s.seed+23)%4 == 0 {
		set = set.With(schemas.PersonalisedAdvertising)
	}
	if mix(s.seed+24)%4 == 0 {
		set = set.With(schemas.Profiling)
	}
	return set
}

func (s *Subject) throughNewsletter() bool { return !s.Anonymous && mix(s.seed+26)%3 == 0 }

// linked reports whether the ledger was told that the anonymous id is the
// subject's, too.
func (s *Subject) linked() bool { return !s.Anonymous && mix(s.seed+27)%20 == 0 }
