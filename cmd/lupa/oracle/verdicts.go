package oracle

import (
	"os"
	"slices"
	"time"

	"lupa/schemas"
)

// I4 and I6: each row compared with what the ledger says of its people.

// rowCase is a message of a table, what is to be decided of it and the row that
// it became, if any.
type rowCase struct {
	event
	table   *table
	at      place
	offset  int64
	row     *row
	signals bool  // whether the event carries consent of its own
	from    int64 // when it can have been decided at the earliest
	now     []decision
}

func (r *rowCase) file() *dataFile { return &r.table.files[r.row.file] }

// judgeRow compares what became of a message with what was said of its people.
func (c *check) judgeRow(t *table, n *tally, r *rowCase, m *message, o *outcome) {
	k := t.contract
	r.offset = m.offset
	if r.row != nil {
		c.judgeTokens(t, r.at, m, o, r.row)
	}
	if c.ledger == nil {
		return
	}
	r.event = event{k, c.identifiers(k, o.cells), o.cells[k.EventTime], m.time}
	until := c.committed(t)
	if r.row != nil {
		until = r.file().until
	}
	r.from = c.earliest(r.at, m.time, until)
	r.now = c.ledger.outcomes(c.whole(), r.event, r.from, min(until, c.in.Now.UnixMicro()))
	if c.in.Still {
		n.expect(r.reasons())
	}
	if r.signals {
		c.judge.signalled++
	}
	c.looked(consented, 1)
	if r.row == nil {
		c.judgeMissing(r)
		return
	}
	c.looked(erasedGone, 1)
	c.judgeErased(r)
	c.judgeStored(r, o.cells)
}

// judgeStored looks at a row as what it says it is.
func (c *check) judgeStored(r *rowCase, cells []any) {
	switch r.row.reason {
	case schemas.ConsentGiven.String():
		c.judgeKept(r)
	case schemas.Retained.String():
		c.judgeRetained(r, cells)
	default:
		c.judgeMasked(r)
	}
}

// committed is when a table was committed to last.
func (c *check) committed(t *table) int64 {
	if len(t.snapshots) == 0 {
		return c.in.Now.UnixMicro()
	}
	return t.snapshots[len(t.snapshots)-1].at().Add(c.in.ClockSkew).UnixMicro()
}

// earliest is a moment before the decision about a message: when it was sent, or
// of a line when its file was written. Where that is after the commit, somebody
// has changed the file or a clock, and nothing is known.
func (c *check) earliest(p place, told, until int64) int64 {
	if c.ends[p].leader == aFile {
		told = noTime
		if info, err := os.Stat(p.topic); err == nil {
			told = info.ModTime().UnixMicro()
		}
	}
	if told <= 0 || told > until {
		return beginning
	}
	return told - c.in.ClockSkew.Microseconds()
}

// reasons are those that a message may have got.
func (r *rowCase) reasons() (list []schemas.Reason) {
	add := func(reason schemas.Reason) {
		if !slices.Contains(list, reason) {
			list = append(list, reason)
		}
	}
	for _, d := range r.now {
		add(d.reason)
		if r.signals && d.reason < schemas.RefusedInEvent {
			add(schemas.RefusedInEvent)
		}
	}
	return list
}

// expect counts a message under the reasons that it may have got.
func (n *tally) expect(reasons []schemas.Reason) {
	if len(reasons) == 1 {
		n.reasons[reasons[0]]++
		return
	}
	for _, reason := range reasons {
		n.maybe[reason]++
	}
}

// judgeMissing looks at a message that became no row.
func (c *check) judgeMissing(r *rowCase) {
	t := r.table
	if !c.in.Still || t.unread || t.again(r.at) {
		return
	}
	for _, reason := range r.reasons() {
		stored := reason == schemas.ConsentGiven || reason == schemas.Retained ||
			t.contract.OnDeny == schemas.MaskRow && reason != schemas.Erased
		if !stored {
			return
		}
	}
	c.violate(consented, r.at.at(r.offset), "table %s has no row of it; the ledger says %s", t.name, r.now[0].reason)
}

// judgeErased looks whether anything of somebody is left who is erased by now.
func (c *check) judgeErased(r *rowCase) {
	d := c.ledger.decideRow(c.whole(), r.event, c.in.Now.UnixMicro())
	switch {
	case d.reason != schemas.Erased && (d.reason != schemas.Retained || r.row.reason == schemas.Retained.String()):
	case c.in.Erased:
		c.violate(erasedGone, c.relative(r.file().path), "table %s still has %s, whose subject is erased", r.table.name, r.row.place())
	default:
		c.judge.since++
	}
}

// ever reports whether there was a moment until the commit at which a decision
// was good, with the ledger as the commit has seen it or as it became until
// then; grown says that it was the latter. Else it gives the decision that was
// due.
func (c *check) ever(r *rowCase, good func(decision) bool) (found, grown bool, due decision) {
	f, l := r.file(), c.ledger
	until := min(f.until, c.in.Now.UnixMicro())
	for _, d := range l.outcomes(f.cut, r.event, r.from, until) {
		if good(d) {
			return true, false, d
		}
		due = d
	}
	more := &cut{before: f.cut.before, more: map[*entry]bool{}}
	for _, e := range l.later(f.cut, r.who, f.until) {
		more.more[e] = true
		for _, d := range l.outcomes(more, r.event, r.from, until) {
			if good(d) {
				return true, true, d
			}
			if !f.known {
				due = d
			}
		}
	}
	return false, false, due
}

// judgeKept decides again whether a row may have been kept.
func (c *check) judgeKept(r *rowCase) {
	t, k, name := r.table, r.contract, c.relative(r.file().path)
	for i := range k.Fields {
		if need := k.Fields[i].Purposes; r.row.filled[i] && !r.row.purposes.Covers(need) {
			c.violate(consented, name, "table %s has a value of %s for %s without its purpose", t.name, k.Fields[i].Name, r.row.place())
		}
	}
	found, grown, due := c.ever(r, func(d decision) bool {
		return d.reason == schemas.ConsentGiven && d.granted.Covers(r.row.purposes)
	})
	switch {
	case found && grown:
		c.judge.later++
	case found:
		if c.in.Still && !slices.ContainsFunc(r.now, func(d decision) bool {
			return d.reason == schemas.ConsentGiven && (d.granted == r.row.purposes || r.signals && d.granted.Covers(r.row.purposes))
		}) {
			c.violate(consented, name, "table %s keeps %s for other purposes than the ledger permits", t.name, r.row.place())
		}
	case due.reason != schemas.Erased && c.ledger.hasHoles() &&
		(due.reason <= schemas.BeforeConsent || c.ledger.mayLack(r.file().cut, r.who)):
		c.judge.unsure++
	case due.reason == schemas.Erased || due.reason == schemas.Retained:
		if !c.in.Erased {
			c.violate(erasedGone, name, "table %s keeps %s, whose subject was erased before", t.name, r.row.place())
		}
	case due.reason == schemas.ConsentGiven:
		c.violate(consented, name, "table %s keeps %s for more purposes than are permitted", t.name, r.row.place())
	default:
		c.violate(consented, name, "table %s keeps %s, the ledger says %s", t.name, r.row.place(), due.reason)
	}
}

// judgeMasked looks at a row that must not point at anybody.
func (c *check) judgeMasked(r *rowCase) {
	t, k, name := r.table, r.contract, c.relative(r.file().path)
	reason, known := schemas.ParseReason(r.row.reason)
	if !known || !reason.Denies() || reason == schemas.Erased || k.OnDeny != schemas.MaskRow {
		c.violate(consented, name, "table %s has %s for no reason that a row may have", t.name, r.row.place())
	}
	if r.row.hasBasis {
		c.violate(consented, name, "table %s has a legal basis in the masked row of %s", t.name, r.row.place())
	}
	c.judgeBlank(r, func(int) bool { return false })
	if reason == schemas.RefusedInEvent {
		c.judge.refused++
		c.judgeRefused(r)
	} else if c.in.Still && known && !slices.Contains(r.reasons(), reason) && !slices.Contains(r.reasons(), schemas.Erased) {
		c.violate(consented, name, "table %s masks %s as %s, the ledger says %s", t.name, r.row.place(), reason, r.now[0].reason)
	}
	if !r.file().known || c.in.Erased {
		return
	}
	found, _, _ := c.ever(r, func(d decision) bool { return d.reason != schemas.Erased })
	if !found {
		c.violate(erasedGone, name, "table %s has a masked row of %s, whose subject was erased before", t.name, r.row.place())
	}
}

// judgeRefused looks at a row that was denied for what its event says: it must
// say something, and the ledger nothing that weighs more.
func (c *check) judgeRefused(r *rowCase) {
	name := c.relative(r.file().path)
	if !r.signals {
		c.violate(consented, name, "table %s masks %s for the consent in the event, and there is none", r.table.name, r.row.place())
		return
	}
	if !r.file().known {
		return
	}
	found, _, due := c.ever(r, func(d decision) bool { return d.reason < schemas.RefusedInEvent })
	if !found && due.reason != schemas.Erased && !c.ledger.hasHoles() {
		c.violate(consented, name, "table %s masks %s for the consent in the event, the ledger says %s", r.table.name, r.row.place(), due.reason)
	}
}

// judgeBlank makes sure that a masked row points at nobody and holds nothing but
// what stays, and what a duty keeps.
func (c *check) judgeBlank(r *rowCase, kept func(field int) bool) {
	t, k, name := r.table, r.contract, c.relative(r.file().path)
	if r.row.subject != (token{}) || r.row.hasPurposes {
		c.violate(consented, name, "table %s has a subject or purposes in the masked row of %s", t.name, r.row.place())
	}
	for i := range k.Fields {
		f := &k.Fields[i]
		if r.row.filled[i] && !kept(i) && (!k.StaysMasked(i) || f.Column() == schemas.TokenColumn) {
			c.violate(consented, name, "table %s has a value of %s in the masked row of %s", t.name, f.Name, r.row.place())
		}
	}
	i := k.EventTime
	if f := &k.Fields[i]; f.Type == schemas.Timestamp && r.row.filled[i] && !kept(i) && r.row.time%dayMicros != 0 {
		c.violate(consented, name, "table %s has the time of day in the masked row of %s", t.name, r.row.place())
	}
}

const dayMicros = int64(24 * time.Hour / time.Microsecond)

// judgeRetained looks at a row of which a duty keeps fields: its subject is
// erased, a duty that was in force names each of them, and the row says until
// when and under which law.
func (c *check) judgeRetained(r *rowCase, cells []any) {
	t, k, name := r.table, r.contract, c.relative(r.file().path)
	found, _, due := c.ever(r, func(d decision) bool { return d.reason == schemas.Retained && r.fits(d.duties) })
	if !found && due.reason != schemas.Retained {
		if c.ledger.hasHoles() && c.ledger.mayLack(r.file().cut, r.who) {
			c.judge.unsure++
			return
		}
		c.violate(consented, name, "table %s retains fields of %s, the ledger says %s", t.name, r.row.place(), due.reason)
		return
	}
	if !found {
		c.violate(consented, name, "table %s retains %s until another day or under another law than its duties say", t.name, r.row.place())
	}
	bound := r.bound(due.duties)
	c.judgeBlank(r, func(field int) bool { return slices.Contains(bound, k.Fields[field].Name) })
	if !c.in.Still || len(r.now) != 1 {
		return
	}
	for i := range k.Fields {
		f := &k.Fields[i]
		plain := f.Treatment.Technique == schemas.Keep && f.Column() != schemas.NoColumn
		if plain && cells[i] != nil && !r.row.filled[i] && slices.Contains(bound, f.Name) {
			c.violate(consented, name, "table %s lacks a value of %s that a duty keeps in %s", t.name, f.Name, r.row.place())
		}
	}
}

// lastDay is the day on which nothing may be left of what is kept until a time.
func lastDay(until int64) int64 { return floorDiv(until-1, dayMicros) + 1 }

// fits reports whether the row says of one of the duties until when and under
// which law it stays.
func (r *rowCase) fits(list []duty) bool {
	return slices.ContainsFunc(list, func(d duty) bool {
		return lastDay(d.until) == r.row.retention && d.basis == r.row.basis
	})
}

// bound are the fields that duties keep for as long as the row stays.
func (r *rowCase) bound(list []duty) (fields []string) {
	for _, d := range list {
		if lastDay(d.until) >= r.row.retention {
			fields = append(fields, splitFields(d.fields)...)
		}
	}
	return fields
}
