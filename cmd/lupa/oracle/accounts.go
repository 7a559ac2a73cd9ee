package oracle

import (
	"maps"
	"slices"

	"lupa/schemas"
)

// I3: every message is accounted for.

// exact reports whether a partition still has every message that there was.
func (c *check) exact(p place) bool {
	e, ok := c.ends[p]
	return ok && e.start == 0 && !e.opaque && !(e.compacted && c.judge.holes[p])
}

// judgeCounts compares what the tables counted with what there is in the topics.
func (c *check) judgeCounts() {
	for i, t := range c.tables {
		n, want := &t.counts, &c.judge.tallies[i]
		exact := true
		again := false
		for p := range t.positions {
			exact, again = exact && c.exact(p), again || t.again(p)
		}
		if again {
			c.limit(accounting, "tables that an operator has made read messages again were not counted")
			continue
		}
		c.looked(accounting, want.rows+want.rejected)
		read := want.rows + want.rejected
		switch {
		case exact && read != n.read:
			c.violate(accounting, t.name, "it counts %d messages read, up to its positions there are %d", n.read, read)
		case !exact && read > n.read:
			c.violate(accounting, t.name, "it counts %d messages read, the topics still have %d of them", n.read, read)
		case exact && want.rejected != n.rejected:
			c.violate(accounting, t.name, "it counts %d messages rejected, there are %d", n.rejected, want.rejected)
		}
		if !exact {
			c.limit(accounting, "of topics that have lost messages by age or compaction, or that cannot be read here, only what is left was counted")
			continue
		}
		for r := range schemas.NumReasons {
			c.judgeReason(t, schemas.Reason(r), want)
		}
	}
}

// judgeReason compares the count of one reason.
func (c *check) judgeReason(t *table, r schemas.Reason, want *tally) {
	n := t.counts.reasons[r.String()]
	switch {
	case want.either > 0 && (r == schemas.WrongType || r == schemas.IdentityConflict):
	case r.Rejects() && n != want.reasons[r]:
		c.violate(accounting, t.name, "it counts %d messages as %s, there are %d", n, r, want.reasons[r])
	case !r.Rejects() && c.in.Still && c.ledger != nil && (n < want.reasons[r] || n > want.reasons[r]+want.maybe[r]):
		c.violate(consented, t.name, "it counts %d messages as %s, the ledger says that of %d, or of %d more", n, r, want.reasons[r], want.maybe[r])
	}
}

// checkAccounts compares the numbers of each table with each other and with its
// files.
func (c *check) checkAccounts() {
	for _, t := range c.tables {
		c.looked(accounting, 1)
		c.checkSums(t, t.name, &t.counts)
		files := map[int64]int64{} // rows by snapshot
		var rows int64
		for i := range t.files {
			files[t.files[i].snapshot] += t.files[i].rows
			rows += t.files[i].rows
		}
		lists := t.name == schemas.RejectsTable // also what other tables count
		if n := &t.counts; !lists && rows != n.kept+n.masked {
			c.violate(accounting, t.name, "its files hold %d rows, it counts %d kept and %d masked", rows, n.kept, n.masked)
		}
		for i := range t.snapshots {
			s := &t.snapshots[i]
			if s.Summary["lupa.commit-id"] == "" {
				continue
			}
			n, err := countsIn(s.Summary)
			if err != nil {
				c.violate(accounting, t.name, "a commit has a count that is none")
				continue
			}
			c.checkSums(t, t.name+" "+commitName(s), &n)
			if !lists && files[s.ID] != n.kept+n.masked {
				c.violate(accounting, t.name+" "+commitName(s), "its files hold %d rows, it counts %d kept and %d masked", files[s.ID], n.kept, n.masked)
			}
		}
		c.checkRowReasons(t)
	}
}

func commitName(s *snapshot) string { return "commit " + s.Summary["lupa.commit-id"] }

func (c *check) checkSums(t *table, place string, n *counts) {
	if n.read != n.kept+n.masked+n.dropped+n.rejected {
		c.violate(accounting, place, "%d messages read, but %d kept, %d masked, %d dropped and %d rejected",
			n.read, n.kept, n.masked, n.dropped, n.rejected)
	}
	var sum, rejected int64
	for _, name := range slices.Sorted(maps.Keys(n.reasons)) {
		r, known := schemas.ParseReason(name)
		if !known {
			c.violate(accounting, place, "it counts under a reason that is none")
		}
		sum += n.reasons[name]
		if r.Rejects() {
			rejected += n.reasons[name]
		}
	}
	if sum != n.read || rejected != n.rejected || n.reasons[schemas.ConsentGiven.String()] != n.kept {
		c.violate(accounting, place, "%d read, %d kept and %d rejected, but the reasons are of %d, %d and %d",
			n.read, n.kept, n.rejected, sum, n.reasons[schemas.ConsentGiven.String()], rejected)
	}
}

// checkRowReasons compares the reasons in the rows with their counts.
func (c *check) checkRowReasons(t *table) {
	if t.unread || t.name == schemas.RejectsTable {
		return
	}
	stored := map[string]int64{}
	for i := range t.rows {
		stored[t.rows[i].reason]++
	}
	for _, name := range slices.Sorted(maps.Keys(stored)) {
		n := t.counts.reasons[name]
		if kept := schemas.ConsentGiven.String(); name == kept && stored[name] != n || stored[name] > n {
			c.violate(accounting, t.name, "it holds %d rows as %s and counts %d", stored[name], knownReason(name), n)
		}
	}
}
