package consent

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

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
	links     map[[2]schemas.Subject]*modelLink
	kinds     []schemas.IdentifierKind // that are shared
	known     map[schemas.Subject]bool
}

// modelKey is whom and what records are about: a purpose's name, "*", "group:"
// and its number, "restriction", "born", "retain:" and fields, or "guardian:" and
// a purpose's name or "*".
type modelKey struct {
	who  schemas.Subject
	what string
}

type modelRecords struct {
	said   []say
	broken *int64 // version of the unreadable value
	floor  *int64 // version of the tombstone
	void   int64  // of the tombstone of a key whose records only take away
}

type modelErasures struct {
	times   []int64
	version *int64
	broken  *int64
}

func newModel(maxLinked int, kinds ...schemas.IdentifierKind) *model {
	return &model{
		maxLinked, map[modelKey]*modelRecords{}, map[schemas.Subject]*modelErasures{},
		map[[2]schemas.Subject]*modelLink{}, kinds, map[schemas.Subject]bool{},
	}
}

// whatOf names what a record is about.
func whatOf(r *schemas.Record) string {
	name := r.Purpose.String()
	if r.Every {
		name = "*"
	}
	switch r.Verb {
	case schemas.Restrict, schemas.Lift:
		return "restriction"
	case schemas.Born:
		return "born"
	case schemas.Retain:
		return "retain:" + r.Terms.Fields
	case schemas.GuardianGrant, schemas.GuardianWithdraw:
		if r.Purpose.IsGroup() {
			name = "*"
		}
		return "guardian:" + name
	}
	if r.Purpose.IsGroup() {
		return fmt.Sprint("group:", uint8(r.Purpose))
	}
	return name
}

func onlyTakesAway(what string) bool {
	return what == "*" || what == "guardian:*" || strings.HasPrefix(what, "group:")
}

func (m *model) key(who schemas.Subject, what string) *modelRecords {
	k := modelKey{who, what}
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
	m.known[s.Principal] = true
	switch s.Verb {
	case schemas.Link, schemas.Unlink:
		m.link(s.Principal, s.Other).says(s)
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
	k := m.key(s.Principal, whatOf(&s.Record))
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

func (m *model) tombstone(who schemas.Subject, what string) {
	if what == "restriction" || what == "born" {
		return
	}
	r := m.key(who, what)
	version, known := r.highest()
	if !known {
		return
	}
	for _, s := range r.said {
		r.void = max(r.void, s.Time)
	}
	if !onlyTakesAway(what) {
		r.broken = nil
	}
	r.said, r.floor = nil, &version
}

func (m *model) unreadable(who schemas.Subject, what string) {
	m.known[who] = true
	version, _ := m.key(who, what).highest()
	m.key(who, what).broken = &version
}

func (m *model) unreadableErasure(who schemas.Subject) {
	m.known[who] = true
	version := int64(math.MinInt64)
	if e := m.erased(who); e.version != nil {
		version = *e.version
	}
	m.erased(who).broken = &version
}

// modelLine is one identifier as it counts for a row.
type modelLine struct {
	who                       schemas.Subject
	shared, capped, neighbour bool
}

// trial is the model's decision on its way.
type trial struct {
	*model
	Question
	all, full []modelLine // all that count, and those that may permit
	void      int64
}

func (m *model) judge(lines []modelLine, q Question) Decision {
	t := trial{model: m, Question: q, void: math.MinInt64}
	somebody := slices.ContainsFunc(lines, func(l modelLine) bool { return !l.shared && !l.neighbour })
	gone, floor := false, schemas.NoReason
	var erasable []modelLine
	for _, l := range lines {
		full := !l.neighbour && !(l.shared && somebody)
		if full {
			erasable = append(erasable, l)
			for _, at := range m.erased(l.who).times {
				gone, t.void = gone || q.At <= at, max(t.void, at)
			}
		}
		if l.capped {
			floor = schemas.NoRecord
			continue
		}
		t.all = append(t.all, l)
		if full {
			t.full = append(t.full, l)
		}
	}
	if gone {
		return t.gone(erasable)
	}
	for _, l := range t.all {
		if r, _ := m.current(l.who, "restriction"); r != nil && r.Verb == schemas.Restrict {
			return Decision{Reason: schemas.Restricted}
		}
		if m.unclear(l.who) {
			floor = schemas.NoRecord
		}
	}
	d := Decision{Reason: schemas.ConsentGiven}
	for p := schemas.Necessary; int(p) < schemas.NumPurposes; p++ {
		if !(q.Need | q.Also).Has(p) {
			continue
		}
		reason := max(t.purpose(p), floor)
		if reason == schemas.ConsentGiven {
			d.Granted = d.Granted.With(p)
		} else if q.Need.Has(p) {
			d.Reason = max(d.Reason, reason, schemas.NoRecord)
		}
	}
	return d
}

// gone decides what is erased.
func (t *trial) gone(lines []modelLine) Decision {
	d := Decision{Reason: schemas.Erased}
	for _, l := range lines {
		var whats []string
		for k := range t.keys {
			if k.who == l.who && strings.HasPrefix(k.what, "retain:") {
				whats = append(whats, k.what)
			}
		}
		slices.Sort(whats)
		for _, what := range whats {
			if r, _ := t.current(l.who, what); r != nil && r.Until > t.Now {
				d.Reason = schemas.Retained
				d.Duties = append(d.Duties, Duty{r.Terms.Fields, r.Terms.Basis, r.Until})
			}
		}
	}
	slices.SortFunc(d.Duties, func(a, b Duty) int {
		return strings.Compare(fmt.Sprint(a.Fields, " ", a.Basis, " ", a.Until), fmt.Sprint(b.Fields, " ", b.Basis, " ", b.Until))
	})
	d.Duties = slices.Compact(d.Duties)
	return d
}

// unclear reports whether something could not be read that may deny everything.
func (m *model) unclear(who schemas.Subject) bool {
	if m.erased(who).broken != nil {
		return true
	}
	for link, l := range m.links {
		if l.unclear() && slices.Contains(link[:], who) {
			return true
		}
	}
	for k := range m.keys {
		about := k.what == "restriction" || k.what == "born" || strings.HasPrefix(k.what, "retain:") || strings.HasPrefix(k.what, "guardian:")
		if k.who == who && about {
			if _, unreadable := m.current(k.who, k.what); unreadable {
				return true
			}
		}
	}
	return false
}

// current gives what the highest version of a key says now, nil if that is
// nothing or could not be read.
func (m *model) current(who schemas.Subject, what string) (r *say, unreadable bool) {
	k := m.key(who, what)
	for _, s := range k.stand() {
		if r == nil || s.Version > r.Version {
			r = &s
		}
	}
	if k.broken != nil && (r == nil || *k.broken >= r.Version) {
		return nil, k.floor == nil || *k.broken >= *k.floor
	}
	return r, false
}

// stand gives one record a version: of several the strictest in all.
func (k *modelRecords) stand() (stand []say) {
	versions := map[int64][]say{}
	for _, s := range k.said {
		versions[s.Version] = append(versions[s.Version], s)
	}
	for _, alike := range versions {
		greatest := slices.MaxFunc(alike, func(a, b say) int { return int(reasonOf(&a)) - int(reasonOf(&b)) })
		alike = slices.DeleteFunc(slices.Clone(alike), func(s say) bool { return reasonOf(&s) != reasonOf(&greatest) })
		s := alike[0]
		for _, o := range alike[1:] {
			switch s.Verb {
			case schemas.Grant, schemas.GuardianGrant:
				s.Time = max(s.Time, o.Time)
			default:
				s.Time = min(s.Time, o.Time)
			}
			switch {
			case s.Verb == schemas.Born:
				s.Until = max(s.Until, o.Until)
			case s.Until == 0 || o.Until != 0 && o.Until < s.Until:
				s.Until = o.Until
			}
			if s.Terms.Regions != o.Terms.Regions {
				s.Terms.Regions = "?"
			}
			if s.Terms.Country != o.Terms.Country {
				s.Terms.Country = ""
			}
			s.Terms.Basis = min(s.Terms.Basis, o.Terms.Basis)
		}
		stand = append(stand, s)
	}
	return stand
}

// child reports whether somebody of the lines that may permit is a child at a
// time, and whether that takes two grants.
func (t *trial) child(at int64) (child, joint bool) {
	for _, l := range t.full {
		if b, _ := t.current(l.who, "born"); b != nil {
			years, both := testAges{}.Age(b.Terms.Country, at)
			if at < time.UnixMicro(b.Until).UTC().AddDate(years, 0, 0).Add(12*time.Hour).UnixMicro() {
				child, joint = true, joint || both
			}
		}
	}
	return child, joint
}

// purpose gives what all lines say of one purpose, or no reason.
func (t *trial) purpose(p schemas.Purpose) (worst schemas.Reason) {
	for _, l := range t.all {
		if slices.Contains(t.full, l) {
			continue
		}
		// Its own denials, now or at the event.
		denied := t.own(l, p, math.MaxInt64).denial
		if denied == schemas.NoReason {
			denied = t.own(l, p, t.At).denial
		}
		worst = max(worst, denied)
	}
	childNow, _ := t.child(t.Now)
	childThen, _ := t.child(t.At)
	if childNow || childThen {
		now, then := t.together(p, math.MaxInt64, t.Now), t.together(p, t.At, t.At)
		return max(worst, t.clocks(now, then))
	}
	self := schemas.NoReason
	for _, l := range t.full {
		now, then := t.own(l, p, math.MaxInt64), t.own(l, p, t.At)
		thenReason := t.reason(then, t.At)
		if thenReason == schemas.NoReason && then.young {
			thenReason = schemas.Minor
		}
		self = max(self, t.clocks(t.reason(now, t.Now), thenReason))
	}
	if worst == schemas.NoReason && self == schemas.NoReason && t.weaned(p) {
		self = schemas.Minor
	}
	return max(worst, self)
}

// clocks joins what is in force now and what was at the event.
func (t *trial) clocks(now, then schemas.Reason) schemas.Reason {
	switch {
	case now == schemas.ConsentGiven && then == schemas.NoReason:
		return schemas.BeforeConsent
	case now == schemas.ConsentGiven:
		return then
	case t.Prospective && (now == schemas.Withdrawn || now == schemas.Expired) && then == schemas.ConsentGiven:
		return schemas.ConsentGiven
	}
	return now
}

// weaned reports whether there are grants that do not count because the subject
// has grown up.
func (t *trial) weaned(p schemas.Purpose) bool {
	for _, l := range t.full {
		if b, _ := t.current(l.who, "born"); b != nil {
			for _, l := range t.full {
				for _, s := range t.key(l.who, "guardian:"+p.String()).stand() {
					if s.Verb == schemas.GuardianGrant {
						return true
					}
				}
				if t.own(l, p, math.MaxInt64).young {
					return true
				}
			}
		}
	}
	return false
}

// together gives the state of one purpose over all that may permit.
func (t *trial) together(p schemas.Purpose, said, at int64) schemas.Reason {
	child, joint := t.child(at)
	own, guardian := schemas.NoReason, schemas.NoReason
	for _, l := range t.full {
		s := t.force(l.who, p.String(), append(groupsOf(p), "*"), said, !child)
		if child && !joint {
			own = max(own, s.denial)
		} else {
			own = max(own, t.reason(s, at))
		}
		guardian = max(guardian, t.reason(t.force(l.who, "guardian:"+p.String(), []string{"guardian:*"}, said, false), at))
	}
	if !child {
		if own == schemas.NoReason && t.weanedAt(p, said) {
			return schemas.Minor
		}
		return own
	}
	if guardian != schemas.ConsentGiven && guardian != schemas.Residency {
		guardian = schemas.Minor
	}
	if joint && own == schemas.NoReason {
		own = schemas.Minor
	}
	return max(own, guardian)
}

func (t *trial) weanedAt(p schemas.Purpose, said int64) bool {
	for _, l := range t.full {
		for _, s := range t.key(l.who, "guardian:"+p.String()).stand() {
			if s.Verb == schemas.GuardianGrant {
				return true
			}
		}
		if t.force(l.who, p.String(), append(groupsOf(p), "*"), said, true).young {
			return true
		}
	}
	return false
}

func groupsOf(p schemas.Purpose) (groups []string) {
	for g := schemas.FirstGroup; (testWords{}).Set(g) != 0; g++ {
		if (testWords{}).Set(g).Has(p) {
			groups = append(groups, fmt.Sprint("group:", uint8(g)))
		}
	}
	return groups
}

// inForceModel is what is in force: a grant or none, and what denies.
type inForceModel struct {
	grant  *say
	denial schemas.Reason
	young  bool
}

// own gives what one line says of a purpose, by what was said until then. Who
// only takes away is nobody's child.
func (t *trial) own(l modelLine, p schemas.Purpose, said int64) inForceModel {
	return t.force(l.who, p.String(), append(groupsOf(p), "*"), said, slices.Contains(t.full, l))
}

func (t *trial) reason(s inForceModel, at int64) schemas.Reason {
	switch {
	case s.grant == nil:
		return s.denial
	case s.denial != schemas.NoReason || reasonOf(s.grant) != schemas.ConsentGiven:
		return max(s.denial, reasonOf(s.grant))
	case s.grant.Until != 0 && s.grant.Until <= at:
		return schemas.Expired
	case s.grant.Terms.Regions != "" && !strings.Contains(s.grant.Terms.Regions, "FI"):
		return schemas.Residency
	}
	return schemas.ConsentGiven
}

// force gives what was in force of one key, and of those that only take away.
func (t *trial) force(who schemas.Subject, what string, wide []string, at int64, weaned bool) (f inForceModel) {
	own := t.key(who, what)
	var best *say
	for _, s := range own.stand() {
		if s.Time <= at && (best == nil || s.Version > best.Version) {
			best = &s
		}
	}
	since := int64(math.MinInt64)
	switch {
	case own.broken != nil && (best == nil || *own.broken >= best.Version):
		f.denial = schemas.NoRecord
	case best == nil:
	case best.Verb != schemas.Grant && best.Verb != schemas.GuardianGrant:
		f.denial, since = reasonOf(best), best.Time
	case best.Time <= t.void:
	case weaned && t.wasChild(best.Time):
		f.young = true
	default:
		f.grant, since = best, best.Time
	}
	for _, what := range wide {
		f.denial = max(f.denial, t.key(who, what).outweighs(at, since, f.grant != nil))
	}
	return f
}

func (t *trial) wasChild(at int64) bool {
	child, _ := t.child(at)
	return child
}

// outweighs gives what a key whose records only take away says at a time of what
// stands since another.
func (all *modelRecords) outweighs(at, since int64, granted bool) (reason schemas.Reason) {
	highest, known := int64(math.MinInt64), false // version in force
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
		if reasonOf(s) == schemas.NoRecord && s.Version == highest {
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
	case schemas.Grant, schemas.GuardianGrant:
		switch {
		case s.Every:
			return schemas.NoRecord
		case s.Pending:
			return schemas.Pending
		case s.Proven:
			return schemas.ConsentGiven
		}
		return schemas.Unproven
	case schemas.Refuse:
		return schemas.Refused
	case schemas.Withdraw, schemas.GuardianWithdraw:
		return schemas.Withdrawn
	case schemas.Expire:
		return schemas.Expired
	case schemas.Object:
		return schemas.Objected
	case schemas.Restrict:
		return schemas.Restricted
	case schemas.Lift:
		return schemas.ConsentGiven
	case schemas.Born:
		return schemas.Minor
	case schemas.Retain:
		return schemas.Retained
	}
	return schemas.NoRecord
}

var (
	names    = rapid.SampledFrom([]string{"a", "b", "c"})
	subjects = rapid.Custom(func(t *rapid.T) schemas.Subject {
		kind := rapid.SampledFrom([]schemas.IdentifierKind{schemas.UserID, schemas.AnonymousID, schemas.Email}).Draw(t, "kind")
		return schemas.NewSubject(kind, names.Draw(t, "name"))
	})
	purposes = rapid.SampledFrom([]schemas.Purpose{email, stats, prof})
	groups   = rapid.SampledFrom([]schemas.Purpose{schemas.FirstGroup, schemas.FirstGroup + 1})
	// So far apart that an event may be told of before it was.
	instants = rapid.Map(rapid.Int64Range(1, 8), func(n int64) int64 { return n * (tick + 1) / 2 })
	ends     = rapid.OneOf(rapid.Just(int64(0)), instants)
	regions  = rapid.SampledFrom([]string{"", "", "", "FI", "FI,SE", "SE", "?"})
)

// said draws a record about somebody, links among them.
func said(t *rapid.T) say { return saidBy(t, subjects.Draw(t, "who")) }

// saidBy draws a record about one identifier.
func saidBy(t *rapid.T, who schemas.Subject) say {
	var s say
	s.Verb = rapid.SampledFrom([]schemas.Verb{
		schemas.Grant, schemas.Grant, schemas.Grant, schemas.Grant, schemas.Withdraw, schemas.Refuse, schemas.Object, schemas.Expire,
		schemas.Erase, schemas.Link, schemas.NoVerb, schemas.Restrict, schemas.Lift, schemas.Born, schemas.Retain,
		schemas.GuardianGrant, schemas.GuardianGrant, schemas.GuardianWithdraw,
	}).Draw(t, "verb")
	s.Principal = who
	s.Time, s.Version = instants.Draw(t, "time"), instants.Draw(t, "version")
	switch s.Verb {
	case schemas.Link:
		return linkDrawn(t, s.Principal)
	case schemas.Erase:
		s.Time = instants.Draw(t, "erased") / 2
		s.Every = true
		return s
	case schemas.Restrict, schemas.Lift:
		return s
	case schemas.Born:
		// So that the subject comes of age among the other times.
		years := rapid.SampledFrom([]int{13, 15, 16}).Draw(t, "age")
		s.Until = time.UnixMicro(instants.Draw(t, "grown up")).UTC().Add(-12*time.Hour).AddDate(-years, 0, 0).UnixMicro()
		s.Terms.Country = rapid.SampledFrom([]string{"", "FI", "FR"}).Draw(t, "country")
		return s
	case schemas.Retain:
		s.Until = instants.Draw(t, "until")
		s.Terms.Fields = rapid.SampledFrom([]string{"plan", "contact", "other.plan"}).Draw(t, "fields")
		s.Terms.Basis = rapid.SampledFrom([]string{"law-a", "law-b"}).Draw(t, "basis")
		return s
	case schemas.Grant, schemas.GuardianGrant:
		s.Proven = rapid.IntRange(0, 5).Draw(t, "proven") > 0
		s.Pending = rapid.IntRange(0, 5).Draw(t, "pending") == 0
		s.Until = ends.Draw(t, "until")
		s.Terms.Regions = regions.Draw(t, "regions")
	default:
		s.Every = rapid.IntRange(0, 3).Draw(t, "every") == 0
	}
	switch {
	case s.Every:
	case !s.Proven && s.Verb != schemas.Grant && s.Verb != schemas.GuardianGrant && rapid.IntRange(0, 3).Draw(t, "grouped") == 0:
		s.Purpose = groups.Draw(t, "group")
	default:
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

// names gives whom each column names.
func (r row) names() (columns [][]schemas.Subject) {
	if r.user != "" {
		columns = append(columns, []schemas.Subject{user(r.user)})
	}
	if r.anon != "" {
		columns = append(columns, []schemas.Subject{anon(r.anon)})
	}
	if r.contact != "" {
		columns = append(columns, []schemas.Subject{mail(r.contact), user(r.contact)})
	}
	return columns
}

// TestViewIsTheModel compares the view and the stage with the model, under
// everything that can be in a ledger, in any order, at several moments.
func TestViewIsTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var at int64
		maxLinked, kinds := rapid.IntRange(2, 6).Draw(rt, "max linked"), kindsDrawn.Draw(rt, "shared kinds")
		v, m := newView(t, Options{MaxLinked: maxLinked, SharedKinds: kinds, Now: func() int64 { return at }}), newModel(maxLinked, kinds...)
		for range rapid.IntRange(0, 40).Draw(rt, "messages") {
			message(rt, v, m)
		}
		c := contractDrawn(rt)
		rows := rowsDrawn.Draw(rt, "rows")
		for range 3 {
			at += instants.Draw(rt, "later")
			var want []Decision
			for _, r := range rows {
				q := Question{At: r.time, Now: at, Need: c.Purposes, Also: c.FieldPurposes(), Prospective: c.Prospective}
				d := m.judge(m.lines(r.names()), q)
				if d.Reason == schemas.Retained && !slices.ContainsFunc(d.Duties, func(d Duty) bool { return d.Fields == "plan" }) {
					d.Reason = schemas.Erased // the table has none of the fields
				}
				want = append(want, Decision{Reason: d.Reason, Granted: d.Granted})
			}
			if diff := cmp.Diff(want, decideRows(t, v, c, rows...)); diff != "" {
				rt.Fatalf("decisions at %d (-model +view):\n%s", at, diff)
			}
		}
	})
}

// message gives one ledger message to both.
func message(rt *rapid.T, v *View, m *model) {
	key := schemas.Record{Principal: subjects.Draw(rt, "key")}
	value := []byte("{")
	switch rapid.IntRange(0, 15).Draw(rt, "message") {
	case 0:
		value = nil
		drawSlot(rt, &key)
		m.tombstone(key.Principal, whatOf(&key))
	case 1:
		key.Every, value = true, nil
		m.tombstone(key.Principal, "*")
	case 2:
		key.Verb, value = schemas.Erase, nil
	case 3:
		switch rapid.IntRange(0, 3).Draw(rt, "unreadable") {
		case 0:
			drawSlot(rt, &key)
			m.unreadable(key.Principal, whatOf(&key))
		case 1:
			key.Every = true
			m.unreadable(key.Principal, "*")
		case 2:
			key.Verb = schemas.Erase
			m.unreadableErasure(key.Principal)
		case 3:
			key.Verb = schemas.Link
			key.Other = subjects.Filter(func(o schemas.Subject) bool { return o != key.Principal }).Draw(rt, "other")
			m.link(key.Principal, key.Other).broken = true
		}
	default:
		s := said(rt)
		rt.Logf("%s verb %s time %d version %d until %d proven %t pending %t %v", schemas.AppendRecordKey(nil, s.Record), s.Verb, s.Time, s.Version, s.Until, s.Proven, s.Pending, s.Terms)
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

// drawSlot draws what a key is about.
func drawSlot(rt *rapid.T, key *schemas.Record) {
	key.Verb = rapid.SampledFrom([]schemas.Verb{
		schemas.NoVerb, schemas.NoVerb, schemas.GuardianWithdraw, schemas.Restrict, schemas.Born, schemas.Retain,
	}).Draw(rt, "slot")
	switch key.Verb {
	case schemas.NoVerb:
		key.Purpose = purposes.Draw(rt, "purpose")
	case schemas.GuardianWithdraw:
		if key.Every = rapid.Bool().Draw(rt, "every"); !key.Every {
			key.Purpose = purposes.Draw(rt, "purpose")
		}
	case schemas.Retain:
		key.Terms.Fields = rapid.SampledFrom([]string{"plan", "contact"}).Draw(rt, "fields")
	}
}

// TestDecideIsTheModel compares decisions over lines of every sort, at any moment,
// with the model, and checks that nothing changes by itself before Until.
func TestDecideIsTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(64)
		var lines []Line
		var same []modelLine
		for i := range rapid.IntRange(1, 4).Draw(rt, "lines") {
			who := user(fmt.Sprint(i))
			l := Line{Shared: rapid.IntRange(0, 2).Draw(rt, "shared") == 0}
			l.Neighbour = !l.Shared && rapid.IntRange(0, 3).Draw(rt, "neighbour") == 0
			l.Capped = rapid.IntRange(0, 9).Draw(rt, "capped") == 0
			for range rapid.IntRange(0, 12).Draw(rt, "records") {
				s := saidBy(rt, who)
				if s.Verb == schemas.Link || s.Verb == schemas.Unlink {
					continue
				}
				rt.Logf("line %d: %s verb %s time %d version %d until %d proven %t pending %t %v", i, whatOf(&s.Record), s.Verb, s.Time, s.Version, s.Until, s.Proven, s.Pending, s.Terms)
				m.say(s)
				l.Timeline = s.step(l.Timeline)
			}
			lines = append(lines, l)
			same = append(same, modelLine{who, l.Shared, l.Capped, l.Neighbour})
		}
		q := Question{
			At: rapid.OneOf(instants, rapid.Just(beginning)).Draw(rt, "at"), Now: instants.Draw(rt, "now"),
			Need: schemas.Purposes(rapid.SliceOfN(purposes, 1, 2).Draw(rt, "need")...), Also: schemas.Purposes(prof),
			Prospective: rapid.Bool().Draw(rt, "prospective"), rules: testRules,
		}
		got := Decide(lines, q)
		want := m.judge(same, q)
		if want.Until = got.Until; !cmp.Equal(want, got) {
			rt.Fatalf("%+v of lines %+v (-model +decision):\n%s", q, same, cmp.Diff(want, got))
		}
		explained := explain(lines, &q)
		if !cmp.Equal(explained.Decision, got) || explained.Rule == "" {
			rt.Fatalf("explained (-decision +explanation):\n%s", cmp.Diff(got, explained.Decision))
		}
		later := q
		if later.Now += instants.Draw(rt, "later"); got.Until == 0 || later.Now < got.Until {
			then := Decide(lines, later)
			if then.Until = got.Until; !cmp.Equal(then, got) && q.Now >= newLaw {
				rt.Fatalf("at %d nothing may change until %d, but at %d (-then +now):\n%s", q.Now, got.Until, later.Now, cmp.Diff(then, got))
			}
		} else if got.Until <= q.Now {
			rt.Fatalf("at %d a decision changes at %d", q.Now, got.Until)
		}
	})
}

// TestOrderOfDelivery: the same records in another order, and some of them
// again, give the same decisions.
func TestOrderOfDelivery(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(said), 1, 40).Draw(rt, "records")
		again := rapid.SliceOfN(rapid.SampledFrom(all), 0, 5).Draw(rt, "again")
		shuffled := rapid.Permutation(append(slices.Clone(all), again...)).Draw(rt, "shuffled")
		c, rows := contractDrawn(rt), rowsDrawn.Draw(rt, "rows")
		at := instants.Draw(rt, "now")
		opts := Options{SharedKinds: kindsDrawn.Draw(rt, "shared kinds"), MaxLinked: rapid.IntRange(2, 6).Draw(rt, "max linked"), Now: func() int64 { return at }}
		first, second := newView(t, opts), newView(t, opts)
		apply(t, first, all...)
		apply(t, second, shuffled...)
		if diff := cmp.Diff(decideRows(t, first, c, rows...), decideRows(t, second, c, rows...)); diff != "" {
			rt.Fatalf("decisions (-in order +shuffled):\n%s", diff)
		}
	})
}
