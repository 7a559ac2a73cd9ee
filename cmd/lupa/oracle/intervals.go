package oracle

import (
	"encoding/json"
	"strconv"
	"strings"
)

// I1 and I2: what a table's commits cover follows one on the other, without a
// gap and without an overlap, from the beginning to its position.

// interval is what one commit covers of a partition.
type interval struct {
	from, to int64
	commit   *snapshot
}

// intervals reads what the commits cover that still have a snapshot, oldest
// first.
func (t *table) intervals() (map[place][]interval, error) {
	all := map[place][]interval{}
	for i := range t.snapshots {
		s := &t.snapshots[i]
		for key, text := range s.Summary {
			name, ok := strings.CutPrefix(key, "lupa.move.")
			if !ok {
				continue
			}
			p, err := parsePlace(name)
			var move struct {
				From *int64
				To   struct{ Next *int64 }
			}
			if err != nil || json.Unmarshal([]byte(text), &move) != nil || move.From == nil || move.To.Next == nil {
				return nil, errNoInterval
			}
			all[p] = append(all[p], interval{*move.From, *move.To.Next, s})
		}
	}
	return all, nil
}

// complete reports whether every commit of the table has its snapshot: none
// was without rows, and none has expired.
func (t *table) complete() bool {
	commits, err := strconv.Atoi(t.properties["lupa.commits"])
	n := 0
	for i := range t.snapshots {
		if t.snapshots[i].Summary["lupa.commit-id"] != "" {
			n++
		}
	}
	return err == nil && commits == n
}

func (c *check) checkIntervals() {
	for _, t := range c.tables {
		intervals, err := t.intervals()
		if err != nil {
			c.violate(noLoss, t.name, "%v", err)
			continue
		}
		if !t.complete() {
			c.limit(noLoss, "commits without rows, and those whose snapshot has expired, no longer say what they covered; gaps there are found by counting alone")
		}
		if len(t.moves) > 0 {
			c.limit(noLoss, "operators have moved positions; what was left out or read again there is taken as it is")
		}
		for _, p := range sortedPlaces(intervals) {
			c.checkPartition(t, p, intervals[p])
		}
		c.checkPositions(t)
		c.checkWithin(t, intervals)
	}
}

// checkPartition follows the commits of one partition.
func (c *check) checkPartition(t *table, p place, list []interval) {
	complete := t.complete()
	moves := t.movesOf(p)
	at := list[0].from
	if first, ok := c.judge.first[p]; ok && complete && at > first && len(moves) == 0 {
		c.violate(noLoss, t.name+" "+p.String(), "its first commit begins at %d, the first message is at %d", at, first)
	}
	for _, i := range list {
		c.looked(noLoss, 1)
		c.looked(noDuplicates, 1)
		place := t.name + " " + p.String() + " " + commitName(i.commit)
		epoch, err := claimEpoch(i.commit.Summary["lupa.claim-epoch."+p.String()])
		for err == nil && len(moves) > 0 && epoch >= moves[0].epoch {
			c.follow(place, &at, moves[0], complete)
			moves = moves[1:]
		}
		switch {
		case i.to < i.from:
			c.violate(noLoss, place, "it goes back from %d to %d", i.from, i.to)
		case i.from < at:
			c.violate(noDuplicates, place, "it covers %d to %d, and %d was reached before", i.from, i.to, at)
		case i.from > at && complete:
			c.violate(noLoss, place, "it begins at %d, the one before it ended at %d", i.from, at)
		}
		at = max(at, i.to)
	}
	for _, m := range moves {
		c.follow(t.name+" "+p.String(), &at, m, complete)
	}
	switch next, ok := t.positions[p]; {
	case !ok:
		c.violate(noLoss, t.name+" "+p.String(), "it was read and has no position")
	case next < at:
		c.violate(noLoss, t.name+" "+p.String(), "its position is %d, its commits have reached %d", next, at)
	case next > at && complete:
		c.violate(noLoss, t.name+" "+p.String(), "its position is %d, its commits end at %d", next, at)
	}
}

// follow goes on from where an operator has moved a position to.
func (c *check) follow(place string, at *int64, m operatorMove, complete bool) {
	if m.known && complete && m.from != *at {
		c.violate(noLoss, place, "an operator moved it from %d, its commits had reached %d", m.from, *at)
	}
	*at = m.to
}

// checkPositions compares the positions with the topics.
func (c *check) checkPositions(t *table) {
	for _, p := range sortedPlaces(t.positions) {
		e, ok := c.ends[p]
		if !ok {
			c.limit(noLoss, "positions of partitions that are not among the events were not compared with them")
			continue
		}
		c.looked(noLoss, 1)
		if next := t.positions[p]; next > e.high {
			c.violate(noLoss, t.name+" "+p.String(), "its position is %d, the partition ends at %d", next, e.high)
		} else if next < e.start {
			c.violate(noLoss, t.name+" "+p.String(), "its position is %d, what is left of the partition begins at %d", next, e.start)
		}
	}
}

// checkWithin makes sure that every row lies where its commit says that it has
// read, and before the position.
func (c *check) checkWithin(t *table, intervals map[place][]interval) {
	for i := range t.rows {
		r := &t.rows[i]
		c.looked(noLoss, 1)
		f := &t.files[r.file]
		s := t.snapshot(f.snapshot)
		if next, ok := t.positions[r.at]; (!ok || r.offset >= next) && !t.before(s, r.at) {
			c.violate(noLoss, c.relative(t.files[r.file].path), "table %s has %s and its position is %d: it would be read again", t.name, r.place(), next)
			continue
		}
		if s == nil || s.Summary["lupa.commit-id"] == "" {
			continue
		}
		inside := false
		for _, v := range intervals[r.at] {
			inside = inside || v.commit.ID == s.ID && r.offset >= v.from && r.offset < v.to
		}
		if !inside {
			c.violate(noLoss, c.relative(f.path), "table %s has %s, which its commit does not cover", t.name, r.place())
		}
	}
}
