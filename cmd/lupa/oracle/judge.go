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
	// signalled counts the events that carry consent of their own, refused the
	// rows that were denied for it.
	signalled, refused int64
}

// tally is what a table should have counted.
type tally struct {
	rows, rejected int64
	reasons        map[schemas.Reason]int64 // of rejects; of all when the ledger is still
	// either are those of which one of two reasons may be told, maybe the rows
	// that could have got each reason besides others.
	either int64
	maybe  map[schemas.Reason]int64
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
		j.tallies[i].reasons, j.tallies[i].maybe = map[schemas.Reason]int64{}, map[schemas.Reason]int64{}
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
	c.judgeRow(t, n, &rowCase{table: t, at: p, row: r, signals: o.signals}, m, o)
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
		var readings []ident
		for _, kind := range k.Fields[i].Identifiers {
			p := principal{kind: kind, raw: text}
			id, missing := c.keys.ident(p)
			if missing {
				continue
			}
			if c.keys.isShared(p) {
				c.ledger.named[id] = true
			}
			if !slices.Contains(who, id) {
				who = append(who, id)
			}
			readings = append(readings, id)
		}
		for _, id := range readings {
			if c.ledger.twins[id] == nil {
				c.ledger.twins[id] = readings
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
