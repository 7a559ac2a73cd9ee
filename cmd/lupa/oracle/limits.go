package oracle

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

var errNoInterval = errors.New("a commit covers something that is no interval")

// awaitTables reads the tables, again and again until they have reached the
// ends that the topics had at the beginning, for as long as they may take.
func (c *check) awaitTables(ctx context.Context) error {
	for since := time.Now(); ; {
		if err := c.readTables(ctx); err != nil {
			return err
		}
		lag := int64(0)
		for _, t := range c.tables {
			lag += c.lag(t)
		}
		c.waited = time.Since(since)
		if lag == 0 || c.in.Behind || c.waited >= c.in.Within {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// lag is how far a table is behind.
func (c *check) lag(t *table) (n int64) {
	for p, e := range c.ends {
		n += max(0, e.end-max(t.positions[p], e.start))
	}
	return n
}

// checkProgress is I11.
func (c *check) checkProgress() {
	if c.in.Events.empty() {
		c.limit(progress, "there are no events")
		return
	}
	for _, t := range c.tables {
		for _, p := range sortedPlaces(c.ends) {
			e := c.ends[p]
			behind := e.end - max(t.positions[p], e.start)
			if c.in.Behind {
				if behind > 0 {
					c.limit(progress, "tables may be behind; some are")
				}
				continue
			}
			c.looked(progress, 1)
			if behind > 0 {
				c.violate(progress, t.name+" "+p.String(), "it is %d behind the end, after %s", behind, c.waited.Round(time.Millisecond))
			}
		}
	}
	if c.in.Behind {
		c.limit(progress, "tables may be behind")
	}
}

// checkClaims is I7: the claims under which a partition was committed never go
// back.
func (c *check) checkClaims() {
	for _, t := range c.tables {
		highest := map[place]int64{}
		for i := range t.snapshots {
			s := &t.snapshots[i]
			for _, key := range slices.Sorted(maps.Keys(s.Summary)) {
				name, ok := strings.CutPrefix(key, "lupa.claim-epoch.")
				if !ok {
					continue
				}
				p, err := parsePlace(name)
				epoch, err1 := claimEpoch(s.Summary[key])
				if err != nil || err1 != nil {
					c.violate(fencing, t.name+" "+commitName(s), "its claim of a partition is no number")
					continue
				}
				c.looked(fencing, 1)
				if epoch < highest[p] {
					c.violate(fencing, t.name+" "+p.String()+" "+commitName(s), "it was committed under claim %d, claim %d had committed before", epoch, highest[p])
				}
				highest[p] = max(highest[p], epoch)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(t.properties)) {
			name, ok := strings.CutPrefix(key, "lupa.claim.")
			if !ok {
				continue
			}
			p, err := parsePlace(name)
			epoch, err1 := claimEpoch(t.properties[key])
			if err != nil || err1 != nil {
				c.violate(fencing, t.name, "the claim of a partition is no number")
				continue
			}
			c.looked(fencing, 1)
			if epoch < highest[p] {
				c.violate(fencing, t.name+" "+p.String(), "its claim is %d, claim %d has committed", epoch, highest[p])
			}
		}
	}
	if c.found[fencing].Looked == 0 {
		c.limit(fencing, "no partition was ever claimed")
	}
}

// claimEpoch reads the number of a claim: alone, or with its owner.
func claimEpoch(text string) (int64, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	var claim struct{ Epoch *int64 }
	if json.Unmarshal([]byte(text), &claim) != nil || claim.Epoch == nil {
		return 0, errors.New("is no claim")
	}
	return *claim.Epoch, nil
}

// checkFailClosed is I9: nothing was kept without a ledger, and nothing at all
// in the time that the caller names.
func (c *check) checkFailClosed() {
	for _, t := range c.tables {
		if !t.contract.Personal() {
			continue
		}
		c.checkVector(t, t.name, t.properties, t.counts.kept)
		for i := range t.snapshots {
			if s := &t.snapshots[i]; s.Summary["lupa.commit-id"] != "" {
				n, err := countsIn(s.Summary)
				if err == nil {
					c.checkVector(t, t.name+" "+commitName(s), s.Summary, n.kept)
				}
			}
		}
	}
	if c.ledger == nil {
		c.limit(failClosed, "there is no ledger to compare the commits with")
	}
	if c.in.Before == nil {
		c.limit(failClosed, "no earlier report was given, so no time without a ledger was looked at")
		return
	}
	for _, old := range c.in.Before.Tables {
		for _, t := range c.tables {
			if t.name != old.Table || !t.contract.Personal() {
				continue
			}
			c.looked(failClosed, 1)
			if t.counts.kept > old.Kept || int64(len(t.rows)) > old.Rows {
				c.violate(failClosed, t.name, "%d rows were kept since the earlier report, none may have been", max(t.counts.kept-old.Kept, int64(len(t.rows))-old.Rows))
			}
		}
	}
}

// checkVector looks at the ledger position of one commit.
func (c *check) checkVector(t *table, place string, properties map[string]string, kept int64) {
	v, err := vectorIn(properties)
	switch {
	case err != nil:
		c.violate(failClosed, place, "its ledger position is none")
		return
	case len(v) == 0 && kept > 0:
		c.violate(failClosed, place, "it keeps %d rows and names no ledger position", kept)
	}
	if len(v) > 0 {
		c.looked(failClosed, 1)
	}
	if c.ledger == nil {
		return
	}
	for _, p := range sortedPlaces(v) {
		e, known := c.ledger.ends[p]
		if !known {
			c.violate(failClosed, place, "it names %s, which is no partition of the ledger", p)
			continue
		}
		if v[p] > e.high {
			c.violate(failClosed, place, "it names %s at %d, the ledger ends at %d", p, v[p], e.high)
		}
		if stuck, ok := c.ledger.stuck[p]; ok && v[p] > stuck {
			c.violate(failClosed, place, "it passes %s, of which nobody can say whom it is about", p.at(stuck))
		}
	}
}

// checkBounds is I10.
func (c *check) checkBounds() {
	caps := &c.in.Caps
	under := func(place, what string, n, limit int64) {
		if limit < 0 {
			return
		}
		c.looked(bounded, 1)
		if n > limit {
			c.violate(bounded, place, "%s: %d, at most %d may be", what, n, limit)
		}
	}
	l, err := c.leftovers()
	if err != nil {
		c.violate(bounded, "the warehouse", "its files cannot be listed")
		return
	}
	under("the warehouse", "data files that no commit names", int64(len(l.files)), int64(caps.Leftovers))
	under("the warehouse", "unfinished files", int64(l.temps), int64(caps.Temps))
	for _, t := range c.tables {
		under(t.name, "snapshots", int64(len(t.snapshots)), int64(caps.Snapshots))
		under(t.name, "bytes of metadata", t.metadataSize, caps.MetadataBytes)
	}
	if caps.LeftoverAge > 0 {
		c.looked(bounded, 1)
		if l.age > caps.LeftoverAge {
			c.violate(bounded, c.relative(l.oldest), "no commit names it and it is %s old, at most %s may be", l.age.Round(time.Second), caps.LeftoverAge)
		}
	}
	if len(l.files) > 0 {
		c.limit(atomicVisibility, "%d data files that no commit names lie beside the tables, left by whoever died or works on them now", len(l.files))
	}
}
