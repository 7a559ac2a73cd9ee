package oracle

import (
	"context"
	"fmt"
	"slices"

	"lupa/schemas"
)

// judge holds what is learned from reading all messages once.
type judge struct {
	tallies []tally // by table
	first   map[place]int64
	next    map[place]int64
	holes   map[place]bool
	rows    []map[rowKey]int // by table
	stable  map[identity]seenToken
	normals map[rawIdentifier]string
	owners  map[token]string // domain that a token was met in
	secrets *secrets
	// later counts rows that only what was said after the commit's ledger
	// position permits, unsure those that a ledger with holes cannot judge,
	// since those of subjects erased after the row was committed.
	later, unsure, since int64
}

// tally is what a table should have counted.
type tally struct {
	rows, rejected int64
	reasons        map[schemas.Reason]int64 // of rejects; of all when the ledger is still
	either         int64
}

// rowKey names the message of a row; about is set in the rejects table.
type rowKey struct {
	at     place
	offset int64
	about  string
}

// identity is an identifier in a domain; seenToken its token where it was first
// met.
type identity struct {
	domain string
	kind   schemas.IdentifierKind
	value  string
	epoch  byte
}

type seenToken struct {
	token token
	at    string
}

// readEnds notes how far the events go, before the tables are looked at.
func (c *check) readEnds(ctx context.Context) (err error) {
	c.ends, err = c.in.Events.extents(ctx, c.in.MaxMessageBytes)
	return err
}

// judgeEvents reads all messages and compares each with what became of it.
func (c *check) judgeEvents(ctx context.Context) error {
	j := &judge{
		tallies: make([]tally, len(c.tables)),
		first:   map[place]int64{}, next: map[place]int64{}, holes: map[place]bool{},
		stable: map[identity]seenToken{}, normals: map[rawIdentifier]string{}, owners: map[token]string{},
		secrets: newSecrets(c),
	}
	c.judge = j
	for i := range j.tallies {
		j.tallies[i].reasons = map[schemas.Reason]int64{}
	}
	c.indexRows()
	if err := c.cutLedger(); err != nil {
		return err
	}
	if c.ledger == nil {
		for _, i := range [...]invariant{consented, erasedGone} {
			c.limit(i, "nothing is decided without a ledger and a key file")
		}
	}
	if c.in.Events.empty() {
		for _, i := range [...]invariant{accounting, consented, erasedGone, noRawValue, stablePseudonyms} {
			c.limit(i, "there are no events to compare with")
		}
		return nil
	}
	for p, e := range c.ends {
		j.next[p] = e.start
		if e.opaque {
			for _, i := range [...]invariant{accounting, consented, erasedGone, noRawValue, stablePseudonyms} {
				c.limit(i, "messages that are not JSON as they are were not looked into")
			}
		}
	}
	err := c.in.Events.read(ctx, c.ends, c.in.MaxMessageBytes, func(p place, m *message) error {
		if _, ok := j.first[p]; !ok {
			j.first[p] = m.offset
		}
		j.holes[p] = j.holes[p] || m.offset > j.next[p]
		j.next[p] = m.offset + 1
		if c.ends[p].opaque {
			return nil
		}
		list, values, f := c.outcomes(m)
		j.secrets.collect(p, m, values, f)
		for i := range list {
			c.judgeOutcome(p, m, &list[i])
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.judgeUnseen()
	c.judgeCounts()
	return nil
}

// indexRows finds the rows by their messages. I2: none is there twice.
func (c *check) indexRows() {
	c.judge.rows = make([]map[rowKey]int, len(c.tables))
	for i, t := range c.tables {
		index := make(map[rowKey]int, len(t.rows))
		for n := range t.rows {
			r := &t.rows[n]
			key := rowKey{r.at, r.offset, r.about}
			if first, ok := index[key]; ok {
				r.seen = true
				if t.again(r.at) {
					continue
				}
				c.violate(noDuplicates, c.relative(t.files[r.file].path), "table %s has %s also in %s",
					t.name, r.place(), c.relative(t.files[t.rows[first].file].path))
				continue
			}
			index[key] = n
		}
		c.judge.rows[i] = index
		c.looked(noDuplicates, int64(len(t.rows)))
	}
}

// cutLedger gives each file the ledger that its commit names.
func (c *check) cutLedger() error {
	cuts := map[string]*cut{}
	for _, t := range c.tables {
		for i := range t.files {
			f := &t.files[i]
			f.until = ever
			// Of a commit whose snapshot is gone it is not known what it could
			// have seen: a row must have been permitted at any time.
			before := map[place]int64{}
			if s := t.snapshot(f.snapshot); s != nil {
				v, err := vectorIn(s.Summary)
				if err != nil {
					return err
				}
				if v != nil {
					before, f.known = v, true
					f.until = s.at().Add(c.in.ClockSkew).UnixMicro()
				}
				if n, err := fmt.Sscan(s.Summary["lupa.key-epoch"], &f.epoch); n != 1 || err != nil {
					f.epoch = 0
				}
			}
			name := fmt.Sprint(before)
			if cuts[name] == nil {
				cuts[name] = newCut(before)
			}
			f.cut = cuts[name]
		}
	}
	return nil
}

// judgeOutcome compares a message that is for a table with its row there.
func (c *check) judgeOutcome(p place, m *message, o *outcome) {
	t, n := c.tables[o.table], &c.judge.tallies[o.table]
	covered := t.covers(p, m.offset)
	if o.reason.Rejects() {
		if covered {
			n.rejected++
			n.reasons[o.reason]++
			if o.either {
				n.either++
			}
		}
		c.judgeReject(p, m, o)
		return
	}
	if !covered {
		return
	}
	n.rows++
	var r *row
	if i, ok := c.judge.rows[o.table][rowKey{p, m.offset, ""}]; ok {
		r = &t.rows[i]
		r.seen = true
	}
	c.judgeRow(t, n, p, m, o, r)
}

// judgeReject looks for a rejected message in the list of rejects.
func (c *check) judgeReject(p place, m *message, o *outcome) {
	last := len(c.tables) - 1
	rejects := c.tables[last]
	if !rejects.covers(p, m.offset) {
		return
	}
	key := rowKey{p, m.offset, ""}
	if o.table != last {
		key.about = c.tables[o.table].name
	}
	i, ok := c.judge.rows[last][key]
	if !ok {
		if !rejects.unread && !rejects.again(p) {
			c.violate(accounting, p.at(m.offset), "the message is rejected as %s, and not listed in table %s", o.reason, rejects.name)
		}
		return
	}
	r := &rejects.rows[i]
	r.seen = true
	if r.reason != o.reason.String() && !o.either {
		c.violate(accounting, p.at(m.offset), "table %s lists it as %s, it is %s", rejects.name, knownReason(r.reason), o.reason)
	}
}

// knownReason gives a reason that was read from a file, unless it is none.
func knownReason(name string) string {
	if _, ok := schemas.ParseReason(name); ok {
		return name
	}
	return "something that is no reason"
}

// judgeUnseen looks at the rows for which there was no message.
func (c *check) judgeUnseen() {
	for _, t := range c.tables {
		for i := range t.rows {
			r := &t.rows[i]
			e, known := c.ends[r.at]
			switch {
			case r.seen, r.offset >= t.positions[r.at]: // I1 tells of the latter
			case !known:
				c.limit(accounting, "rows of partitions that are not among the events were not compared with them")
			case e.opaque, t.again(r.at): // and said so
			case r.offset < e.start:
				c.limit(accounting, "rows whose messages the topic no longer has were not compared with them")
			case e.compacted && c.judge.holes[r.at]:
				c.limit(accounting, "rows whose messages were compacted away were not compared with them")
			default:
				c.violate(accounting, c.relative(t.files[r.file].path), "table %s has a row of %s, which is no row of it", t.name, r.place())
			}
		}
	}
}

// judgeRow compares what became of a message with what was said of its people.
func (c *check) judgeRow(t *table, n *tally, p place, m *message, o *outcome, r *row) {
	k := t.contract
	if r != nil {
		c.judgeTokens(t, p, m, o, r)
	}
	if c.ledger == nil {
		return
	}
	who := c.identifiers(k, o.cells)
	at := o.cells[k.EventTime]
	now := c.ledger.decideRow(c.whole(), k, who, at, m.time)
	if c.in.Still {
		n.reasons[now.reason]++
	}
	c.looked(consented, 1)
	if r == nil {
		if c.in.Still && !t.unread && !t.again(p) && (now.reason == schemas.ConsentGiven || k.OnDeny == schemas.MaskRow && now.reason != schemas.Erased) {
			c.violate(consented, p.at(m.offset), "table %s has no row of it; the ledger says %s", t.name, now.reason)
		}
		return
	}
	c.looked(erasedGone, 1)
	if now.reason == schemas.Erased {
		if c.in.Erased {
			c.violate(erasedGone, c.relative(t.files[r.file].path), "table %s still has %s, whose subject is erased", t.name, r.place())
		} else {
			c.judge.since++
		}
	}
	if !r.kept() {
		c.judgeMasked(t, r, now)
		f := &t.files[r.file]
		if f.known && !c.in.Erased && c.ledger.decideRow(f.cut, k, who, at, m.time).reason == schemas.Erased {
			c.violate(erasedGone, c.relative(f.path), "table %s has a masked row of %s, whose subject was erased before", t.name, r.place())
		}
		return
	}
	c.judgeKept(t, r, who, at, m.time, now)
}

// judgeKept decides again whether a row may have been kept: with the ledger as
// its commit has seen it, or as it became until then.
func (c *check) judgeKept(t *table, r *row, who []ident, at any, told int64, now decision) {
	k, f, l := t.contract, &t.files[r.file], c.ledger
	name := c.relative(f.path)
	for i := range k.Fields {
		if need := k.Fields[i].Purposes; r.filled[i] && !r.purposes.Covers(need) {
			c.violate(consented, name, "table %s has a value of %s for %s without its purpose", t.name, k.Fields[i].Name, r.place())
		}
	}
	permits := func(d decision) bool {
		return d.reason == schemas.ConsentGiven && d.granted.Covers(r.purposes)
	}
	d := l.decideRow(f.cut, k, who, at, told)
	if permits(d) {
		if c.in.Still && (now.reason != schemas.ConsentGiven || now.granted != r.purposes) {
			c.violate(consented, name, "table %s keeps %s for other purposes than the ledger permits", t.name, r.place())
		}
		return
	}
	grown := &cut{before: f.cut.before, more: map[*entry]bool{}}
	for _, e := range l.later(f.cut, c.whole(), who, f.until) {
		grown.more[e] = true
		then := l.decideRow(grown, k, who, at, told)
		if permits(then) {
			c.judge.later++
			return
		}
		if !f.known {
			d = then
		}
	}
	if d.reason != schemas.Erased && l.hasHoles() &&
		(d.reason <= schemas.BeforeConsent || l.mayLack(f.cut, c.whole(), who)) {
		c.judge.unsure++
		return
	}
	switch d.reason {
	case schemas.Erased:
		if !c.in.Erased {
			c.violate(erasedGone, name, "table %s keeps %s, whose subject was erased before", t.name, r.place())
		}
	case schemas.ConsentGiven:
		c.violate(consented, name, "table %s keeps %s for more purposes than are permitted", t.name, r.place())
	default:
		c.violate(consented, name, "table %s keeps %s, the ledger says %s", t.name, r.place(), d.reason)
	}
}

// judgeMasked looks at a row that must not point at anybody.
func (c *check) judgeMasked(t *table, r *row, now decision) {
	k, name := t.contract, c.relative(t.files[r.file].path)
	reason, known := schemas.ParseReason(r.reason)
	if !known || !reason.Denies() || reason == schemas.Erased || k.OnDeny != schemas.MaskRow {
		c.violate(consented, name, "table %s has %s for no reason that a row may have", t.name, r.place())
	}
	if r.subject != (token{}) || r.hasPurposes || r.hasBasis {
		c.violate(consented, name, "table %s has a subject, purposes or a legal basis in the masked row of %s", t.name, r.place())
	}
	for i := range k.Fields {
		f := &k.Fields[i]
		if r.filled[i] && (!k.StaysMasked(i) || f.Column() == schemas.TokenColumn) {
			c.violate(consented, name, "table %s has a value of %s in the masked row of %s", t.name, f.Name, r.place())
		}
	}
	if f := &k.Fields[k.EventTime]; f.Type == schemas.Timestamp && r.filled[k.EventTime] && r.time%(24*60*60*1_000_000) != 0 {
		c.violate(consented, name, "table %s has the time of day in the masked row of %s", t.name, r.place())
	}
	if c.in.Still && known && reason != now.reason && now.reason != schemas.Erased {
		c.violate(consented, name, "table %s masks %s as %s, the ledger says %s", t.name, r.place(), reason, now.reason)
	}
}

// whole is the ledger as it stands.
func (c *check) whole() *cut {
	if c.ledger.now == nil {
		c.ledger.now = c.ledger.whole()
	}
	return c.ledger.now
}

// identifiers are the ledger's names of everybody whom a row names: each
// identity field as each kind that it may be.
func (c *check) identifiers(k *contract, cells []any) (who []ident) {
	for i := range k.Fields {
		text, ok := cells[i].(string)
		if !ok {
			continue
		}
		for _, kind := range k.Fields[i].Identifiers {
			if id, missing := c.keys.ident(principal{kind: kind, raw: text}); !missing && !slices.Contains(who, id) {
				who = append(who, id)
			}
		}
	}
	return who
}

// notes says of the decisions what they leave open.
func (c *check) notes() {
	j := c.judge
	if j.unsure > 0 {
		c.limit(consented, "%d rows could not be judged, for the ledger has lost earlier records of their people by compaction", j.unsure)
	}
	if j.later > 0 {
		c.limit(consented, "%d rows are permitted only by what was said between the ledger position of their commit and the commit", j.later)
	}
	if j.since > 0 {
		c.limit(erasedGone, "%d rows are of subjects who were erased after the row was committed", j.since)
	}
	for _, t := range c.tables {
		for i := range t.files {
			if !t.files[i].known && t.contract.Personal() {
				c.limit(consented, "rows of commits whose snapshot has expired were only asked whether they were ever permitted")
			}
		}
	}
}
