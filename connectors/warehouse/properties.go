package warehouse

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go"

	"lupa/pipeline"
	"lupa/schemas"
)

// The names under which a table's metadata holds what a commit says. They are
// a stored format: FORMAT.md.
const (
	propContract = "lupa.contract"
	propCommitID = "lupa.commit-id"
	propCommits  = "lupa.commits"
	propPolicy   = "lupa.policy"
	propKeyEpoch = "lupa.key-epoch"
	propHashes   = "lupa.files.sha256"
	propMoved    = "lupa.moved"

	positionPrefix   = "lupa.position."
	claimPrefix      = "lupa.claim."
	movePrefix       = "lupa.move."
	movedPrefix      = "lupa.moved."
	claimEpochPrefix = "lupa.claim-epoch."
	ledgerPrefix     = "lupa.ledger."
	reviewedPrefix   = "lupa.reviewed."
	countsPrefix     = "lupa.counts."
	reasonPrefix     = "lupa.counts.reason."
)

// storedMark is a position as a table property holds it.
type storedMark struct {
	Next   int64  `json:"next"`
	Anchor string `json:"anchor,omitempty"`
}

// storedMove is a covered interval as a snapshot summary holds it.
type storedMove struct {
	From int64      `json:"from"`
	To   storedMark `json:"to"`
}

func encode(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}

// readPositions takes the positions out of a table's properties. One that
// cannot be read stops everything: going on from the beginning would write
// every row twice.
func readPositions(props iceberg.Properties) (pipeline.Positions, error) {
	positions := pipeline.Positions{}
	for key, text := range props {
		name, ok := strings.CutPrefix(key, positionPrefix)
		if !ok {
			continue
		}
		p, err := parsePartition(name)
		if err != nil {
			return nil, fmt.Errorf("property %s: %w", key, err)
		}
		var m storedMark
		if err := json.Unmarshal([]byte(text), &m); err != nil || m.Next < 0 {
			return nil, fmt.Errorf("property %s is no position", key)
		}
		positions[p] = pipeline.Mark{Next: m.Next, Anchor: m.Anchor}
	}
	return positions, nil
}

// parsePartition reads topic/partition; a topic may have slashes.
func parsePartition(name string) (pipeline.Partition, error) {
	slash := strings.LastIndexByte(name, '/')
	if slash < 0 {
		return pipeline.Partition{}, fmt.Errorf("no partition in the name")
	}
	id, err := strconv.ParseInt(name[slash+1:], 10, 32)
	if err != nil || id < 0 || strconv.FormatInt(id, 10) != name[slash+1:] {
		return pipeline.Partition{}, fmt.Errorf("no partition number at the end of the name")
	}
	return pipeline.Partition{Topic: name[:slash], ID: int32(id)}, nil
}

// readCounts takes the cumulative counts out of a table's properties.
func readCounts(props iceberg.Properties) (pipeline.Counts, error) {
	var n pipeline.Counts
	for name, count := range countFields(&n) {
		text, ok := props[countsPrefix+name]
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v < 0 {
			return n, fmt.Errorf("property %s%s is no count", countsPrefix, name)
		}
		*count = v
	}
	for r := range n.Reasons {
		text, ok := props[reasonPrefix+schemas.Reason(r).String()]
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v < 0 {
			return n, fmt.Errorf("property %s%s is no count", reasonPrefix, schemas.Reason(r))
		}
		n.Reasons[r] = v
	}
	return n, nil
}

func countFields(n *pipeline.Counts) map[string]*int64 {
	return map[string]*int64{
		"read": &n.Read, "kept": &n.Kept, "masked": &n.Masked, "dropped": &n.Dropped, "rejected": &n.Rejected,
	}
}

func putCounts(props iceberg.Properties, n pipeline.Counts) {
	for name, count := range countFields(&n) {
		props[countsPrefix+name] = strconv.FormatInt(*count, 10)
	}
	for r, count := range n.Reasons {
		if count != 0 {
			props[reasonPrefix+schemas.Reason(r).String()] = strconv.FormatInt(count, 10)
		}
	}
}

// commitProperties are the table's properties after the commit: what stays
// true until the next one. first says that the table had no rows before.
func (s *Sink) commitProperties(base iceberg.Properties, c *pipeline.Commit, id string, first bool) (iceberg.Properties, error) {
	total, err := readCounts(base)
	if err != nil {
		return nil, err
	}
	total.Add(&c.Counts)
	props := iceberg.Properties{propCommits: strconv.Itoa(base.GetInt(propCommits, 0) + 1)}
	putCounts(props, total)
	s.putDecision(props, c, id)
	if first {
		// The first rows were decided up to here: nothing said before is late.
		for p, next := range c.Ledger {
			props[reviewedPrefix+p.String()] = strconv.FormatInt(next, 10)
		}
	}
	for p, m := range c.Moves {
		if props[positionPrefix+p.String()], err = encode(storedMark(m.To)); err != nil {
			return nil, err
		}
	}
	return props, nil
}

// summaryProperties go into the snapshot: what this one commit did.
func (s *Sink) summaryProperties(c *pipeline.Commit, id string) (iceberg.Properties, error) {
	props := iceberg.Properties{}
	putCounts(props, c.Counts)
	s.putDecision(props, c, id)
	putClaims(props, c)
	for p, m := range c.Moves {
		text, err := encode(storedMove{m.From, storedMark(m.To)})
		if err != nil {
			return nil, err
		}
		props[movePrefix+p.String()] = text
	}
	hashes := make(map[string]string, len(c.Files))
	for i := range c.Files {
		hashes[fileName(c.Files[i].Path)] = hex.EncodeToString(c.Files[i].SHA256[:])
	}
	text, err := encode(hashes)
	props[propHashes] = text
	return props, err
}

// putDecision says under what the rows were decided.
func (s *Sink) putDecision(props iceberg.Properties, c *pipeline.Commit, id string) {
	props[propCommitID] = id
	props[propPolicy] = s.policy
	props[propKeyEpoch] = strconv.Itoa(s.keyEpoch)
	for p, next := range c.Ledger {
		props[ledgerPrefix+p.String()] = strconv.FormatInt(next, 10)
	}
}
