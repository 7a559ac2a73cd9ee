package consent

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lupa/schemas"
)

// model is the ledger as a list of what was said, and decides by reading it
// from the top every time.
type model struct {
	maxLinked int
	keys      map[modelKey]*modelRecords
	erasures  map[schemas.Subject]*modelErasures
	links     map[[2]schemas.Subject]bool // false: not readable
}

type modelKey struct {
	who     schemas.Subject
	purpose schemas.Purpose
	every   bool
}

type modelRecords struct {
	said   []say
	broken *int64 // version of the unreadable value
	floor  *int64 // version of the tombstone
	void   int64  // of the tombstone of every purpose
}

type modelErasures struct {
	times   []int64
	version *int64
	broken  *int64
}

func newModel(maxLinked int) *model {
	return &model{maxLinked, map[modelKey]*modelRecords{}, map[schemas.Subject]*modelErasures{}, map[[2]schemas.Subject]bool{}}
}

func (m *model) key(k modelKey) *modelRecords {
	if m.keys[k] == nil {
		m.keys[k] = &modelRecords{void: math.MinInt64}
	}
	return m.keys[k]
}

func (m *model) erased(who schemas.Subject) *modelErasures {
	if m.erasures[who] == nil {
		m.erasures[who] = &modelErasures{}
	}
	return m.erasures[who]
}

func (k *modelRecords) highest() (version int64, known bool) {
	version = math.MinInt64
	for _, s := range k.said {
		version, known = max(version, s.Version), true
	}
	for _, p := range []*int64{k.broken, k.floor} {
		if p != nil {
			version, known = max(version, *p), true
		}
	}
	return version, known
}

func (m *model) say(s say) {
	switch s.Verb {
	case schemas.Link:
		m.links[pair(s.Principal, s.Other)] = true
		return
	case schemas.Erase:
		e := m.erased(s.Principal)
		e.times = append(e.times, s.Time)
		if e.broken != nil && s.Version > *e.broken {
			e.broken = nil
		}
		if e.version == nil || s.Version > *e.version {
			e.version = &s.Version
		}
		return
	}
	k := m.key(modelKey{s.Principal, s.Purpose, s.Every})
	if k.floor != nil && s.Version <= *k.floor {
		k.void = max(k.void, s.Time)
		return
	}
	k.said = append(k.said, s)
}

func pair(a, b schemas.Subject) [2]schemas.Subject {
	if a.Reveal() > b.Reveal() || a.Reveal() == b.Reveal() && a.Kind > b.Kind {
		a, b = b, a
	}
	return [2]schemas.Subject{a, b}
}

func (m *model) tombstone(k modelKey) {
	r := m.key(k)
	version, known := r.highest()
	if !known {
		return
	}
	for _, s := range r.said {
		r.void = max(r.void, s.Time)
	}
	if !k.every {
		r.broken = nil
	}
	r.said, r.floor = nil, &version
}

func (m *model) unreadable(k modelKey) {
	version, _ := m.key(k).highest()
	m.key(k).broken = &version
}

func (m *model) unreadableErasure(who schemas.Subject) {
	version := int64(math.MinInt64)
	if e := m.erased(who); e.version != nil {
		version = *e.version
	}
	m.erased(who).broken = &version
}

// same gives who and everybody linked with them.
func (m *model) same(who schemas.Subject) []schemas.Subject {
	found := []schemas.Subject{who}
	for i := 0; i < len(found); i++ {
		for link, readable := range m.links {
			if !readable {
				continue
			}
			for side := range 2 {
				if link[side] == found[i] && !slices.Contains(found, link[1-side]) {
					found = append(found, link[1-side])
				}
			}
		}
	}
	return found
}

func (m *model) decide(names []schemas.Subject, at int64, need, also schemas.PurposeSet, prospective bool) Decision {
	var people []schemas.Subject
	capped := false
	void := int64(math.MinInt64)
	for _, name := range names {
		same := m.same(name)
		for _, who := range same {
			for _, time := range m.erased(who).times {
				if at <= time {
					return Decision{Reason: schemas.Erased}
				}
				void = max(void, time)
			}
		}
		if len(same) > m.maxLinked {
			capped = true
		} else {
			people = append(people, same...)
		}
	}
	d := Decision{Reason: schemas.ConsentGiven}
	for p := schemas.Necessary; int(p) < schemas.NumPurposes; p++ {
		if !(need | also).Has(p) {
			continue
		}
		reason := schemas.NoReason
		if capped {
			reason = schemas.NoRecord
		}
		for _, who := range people {
			reason = max(reason, m.weigh(who, p, at, void, prospective))
		}
		if reason == schemas.ConsentGiven {
			d.Granted = d.Granted.With(p)
		} else if need.Has(p) {
			d.Reason = max(d.Reason, reason, schemas.NoRecord)
		}
	}
	return d
}

// weigh gives what who says of p, or no reason.
func (m *model) weigh(who schemas.Subject, p schemas.Purpose, at, void int64, prospective bool) schemas.Reason {
	current := m.state(who, p, math.MaxInt64, void)
	before := m.state(who, p, at, void)
	reason := current
	if current == schemas.ConsentGiven {
		reason = before
		if before == schemas.NoReason {
			reason = schemas.BeforeConsent
		}
	}
	if prospective && current == schemas.Withdrawn && before == schemas.ConsentGiven {
		reason = schemas.ConsentGiven
	}
	broken := m.erased(who).broken != nil
	for link, readable := range m.links {
		broken = broken || !readable && slices.Contains(link[:], who)
	}
	if broken {
		reason = max(reason, schemas.NoRecord)
	}
	return reason
}

// state gives what was in force at a time.
func (m *model) state(who schemas.Subject, p schemas.Purpose, at, void int64) schemas.Reason {
	own := m.key(modelKey{who, p, false})
	var best *say
	for i := range own.said {
		s := &own.said[i]
		stands := s.Time <= at
		for j := range own.said {
			if o := &own.said[j]; o.Version == s.Version && takesMore(o, s) {
				stands = false
			}
		}
		if stands && (best == nil || s.Version > best.Version) {
			best = s
		}
	}
	reason, since := schemas.NoReason, int64(math.MinInt64)
	granted := false
	switch {
	case own.broken != nil && (best == nil || *own.broken >= best.Version):
		reason = schemas.NoRecord
	case best != nil && best.Verb == schemas.Grant:
		if best.Time > void {
			reason, since, granted = reasonOf(best), best.Time, true
		}
	case best != nil:
		reason, since = reasonOf(best), best.Time
	}

	all := m.key(modelKey{who, schemas.NoPurpose, true})
	highest, known := int64(math.MinInt64), false // version in force for every purpose
	if all.floor != nil && all.void <= at {
		highest, known = *all.floor, true
	}
	for _, s := range all.said {
		if s.Time <= at {
			highest, known = max(highest, s.Version), true
		}
	}
	if all.broken != nil && (!known || *all.broken >= highest) {
		reason = max(reason, schemas.NoRecord)
		highest = math.MaxInt64 // nothing else is the newest
	}
	for i := range all.said {
		s := &all.said[i]
		if s.Time > at {
			continue
		}
		if s.Time >= since {
			reason = max(reason, reasonOf(s))
		}
		if s.Verb == schemas.NoVerb && s.Version == highest {
			reason = max(reason, schemas.NoRecord)
		}
	}
	if all.floor != nil && granted && all.void <= at && since <= all.void {
		reason = max(reason, schemas.NoRecord)
	}
	return reason
}

func reasonOf(s *say) schemas.Reason {
	switch s.Verb {
	case schemas.Grant:
		if s.Proven {
			return schemas.ConsentGiven
		}
		return schemas.Unproven
	case schemas.Refuse:
		return schemas.Refused
	case schemas.Withdraw:
		return schemas.Withdrawn
	case schemas.Object:
		return schemas.Objected
	}
	return schemas.NoRecord
}

// takesMore reports whether of two records of one version a is the one that
// stands.
func takesMore(a, b *say) bool {
	switch ra, rb := reasonOf(a), reasonOf(b); {
	case ra != rb:
		return ra > rb
	case a.Verb == schemas.Grant:
		return a.Time > b.Time
	}
	return a.Time < b.Time
}

var (
	names    = rapid.SampledFrom([]string{"a", "b", "c"})
	subjects = rapid.Custom(func(t *rapid.T) schemas.Subject {
		kind := rapid.SampledFrom([]schemas.IdentifierKind{schemas.UserID, schemas.AnonymousID, schemas.Email}).Draw(t, "kind")
		return schemas.NewSubject(kind, names.Draw(t, "name"))
	})
	purposes = rapid.SampledFrom([]schemas.Purpose{email, stats, prof})
	// So far apart that an event may be told of before it was.
	instants = rapid.Map(rapid.Int64Range(1, 8), func(n int64) int64 { return n * (tick + 1) / 2 })
)

// said draws a record about somebody, links among them.
func said(t *rapid.T) say {
	var s say
	s.Verb = rapid.SampledFrom([]schemas.Verb{
		schemas.Grant, schemas.Grant, schemas.Grant, schemas.Withdraw, schemas.Refuse, schemas.Object,
		schemas.Erase, schemas.Link, schemas.NoVerb,
	}).Draw(t, "verb")
	s.Principal = subjects.Draw(t, "who")
	s.Time, s.Version = instants.Draw(t, "time"), instants.Draw(t, "version")
	switch s.Verb {
	case schemas.Link:
		return linked(s.Principal, subjects.Filter(func(o schemas.Subject) bool { return o != s.Principal }).Draw(t, "other"))
	case schemas.Erase:
		s.Time = instants.Draw(t, "erased") / 2
		s.Every = true
		return s
	case schemas.Grant:
		s.Proven = rapid.IntRange(0, 3).Draw(t, "proven") > 0
	default:
		s.Every = rapid.IntRange(0, 3).Draw(t, "every") == 0
	}
	if !s.Every {
		s.Purpose = purposes.Draw(t, "purpose")
	}
	return s
}

var rowsDrawn = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) row {
	maybe := rapid.OneOf(rapid.Just(""), names)
	return row{
		time: rapid.OneOf(instants, instants, instants, rapid.Just(noTime)).Draw(t, "at"),
		user: maybe.Draw(t, "user"), anon: maybe.Draw(t, "anon"), contact: maybe.Draw(t, "contact"),
	}
}), 1, 12)

func contractDrawn(t *rapid.T) *schemas.Contract {
	c := contract()
	c.Prospective = rapid.Bool().Draw(t, "prospective")
	c.OnDeny = rapid.SampledFrom([]schemas.Denial{schemas.DropRow, schemas.MaskRow}).Draw(t, "on deny")
	c.Purposes = schemas.Purposes(rapid.SliceOfN(purposes, 1, 2).Draw(t, "need")...)
	return c
}

func (r row) names() (names []schemas.Subject) {
	if r.user != "" {
		names = append(names, user(r.user))
	}
	if r.anon != "" {
		names = append(names, anon(r.anon))
	}
	if r.contact != "" {
		names = append(names, mail(r.contact), user(r.contact))
	}
	return names
}

// TestViewIsTheModel compares the view and the stage with the model, under
// everything that can be in a ledger, in any order.
func TestViewIsTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		maxLinked := rapid.IntRange(2, 6).Draw(rt, "max linked")
		v, m := newView(t, Options{MaxLinked: maxLinked}), newModel(maxLinked)
		for range rapid.IntRange(0, 40).Draw(rt, "messages") {
			message(rt, v, m)
		}
		c := contractDrawn(rt)
		rows := rowsDrawn.Draw(rt, "rows")
		var want []Decision
		for _, r := range rows {
			want = append(want, m.decide(r.names(), r.time, c.Purposes, c.FieldPurposes(), c.Prospective))
		}
		if diff := cmp.Diff(want, decideRows(t, v, c, rows...)); diff != "" {
			rt.Fatalf("decisions (-model +view):\n%s", diff)
		}
	})
}

// message gives one ledger message to both.
func message(rt *rapid.T, v *View, m *model) {
	key := schemas.Record{Principal: subjects.Draw(rt, "key")}
	value := []byte("{")
	switch rapid.IntRange(0, 11).Draw(rt, "message") {
	case 0:
		key.Purpose, value = purposes.Draw(rt, "purpose"), nil
		m.tombstone(modelKey{key.Principal, key.Purpose, false})
	case 1:
		key.Every, value = true, nil
		m.tombstone(modelKey{key.Principal, schemas.NoPurpose, true})
	case 2:
		key.Verb, value = schemas.Erase, nil
	case 3:
		switch rapid.IntRange(0, 3).Draw(rt, "unreadable") {
		case 0:
			key.Purpose = purposes.Draw(rt, "purpose")
			m.unreadable(modelKey{key.Principal, key.Purpose, false})
		case 1:
			key.Every = true
			m.unreadable(modelKey{key.Principal, schemas.NoPurpose, true})
		case 2:
			key.Verb = schemas.Erase
			m.unreadableErasure(key.Principal)
		case 3:
			key.Verb = schemas.Link
			key.Other = subjects.Filter(func(o schemas.Subject) bool { return o != key.Principal }).Draw(rt, "other")
			if p := pair(key.Principal, key.Other); !m.links[p] {
				m.links[p] = false
			} else {
				return // the model has one state a link; see TestApplyUnreadable
			}
		}
	default:
		s := said(rt)
		rt.Logf("%s verb %d time %d version %d proven %t", schemas.AppendRecordKey(nil, s.Record), s.Verb, s.Time, s.Version, s.Proven)
		m.say(s)
		if n, err := v.ApplyRecords(records(s)); n != 1 || err != nil {
			rt.Fatalf("applied %d: %v", n, err)
		}
		return
	}
	rt.Logf("%s value %q", schemas.AppendRecordKey(nil, key), value)
	if n, err := v.Apply([][]byte{schemas.AppendRecordKey(nil, key)}, [][]byte{value}); n != 1 || err != nil {
		rt.Fatalf("applied %d: %v", n, err)
	}
}

// TestOrderOfDelivery: the same records in another order, and some of them
// again, give the same decisions.
func TestOrderOfDelivery(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(said), 1, 40).Draw(rt, "records")
		again := rapid.SliceOfN(rapid.SampledFrom(all), 0, 5).Draw(rt, "again")
		shuffled := rapid.Permutation(append(slices.Clone(all), again...)).Draw(rt, "shuffled")
		c, rows := contractDrawn(rt), rowsDrawn.Draw(rt, "rows")
		opts := Options{MaxLinked: rapid.IntRange(2, 6).Draw(rt, "max linked")}
		first, second := newView(t, opts), newView(t, opts)
		apply(t, first, all...)
		apply(t, second, shuffled...)
		if diff := cmp.Diff(decideRows(t, first, c, rows...), decideRows(t, second, c, rows...)); diff != "" {
			rt.Fatalf("decisions (-in order +shuffled):\n%s", diff)
		}
	})
}
