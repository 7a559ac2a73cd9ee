package warehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"lupa/pipeline"
)

// ErrClaim is a commit whose partition another sink, or another run of this
// one, has claimed since.
var ErrClaim = errors.New("the partition is claimed otherwise")

// storedClaim is a claim as a table property holds it. The zero value is that
// of a partition that nobody has claimed.
type storedClaim struct {
	Epoch int64  `json:"epoch"`
	Owner string `json:"owner"`
}

// readClaims takes the claims out of a table's properties. One that cannot be
// read stops everything: nobody could tell whose partition it is.
func readClaims(props iceberg.Properties) (map[pipeline.Partition]storedClaim, error) {
	claims := map[pipeline.Partition]storedClaim{}
	for key, text := range props {
		name, ok := strings.CutPrefix(key, claimPrefix)
		if !ok {
			continue
		}
		p, err := parsePartition(name)
		if err != nil {
			return nil, fmt.Errorf("property %s: %w", key, err)
		}
		var c storedClaim
		if err := json.Unmarshal([]byte(text), &c); err != nil || c.Epoch < 1 || c.Owner == "" {
			return nil, fmt.Errorf("property %s is no claim", key)
		}
		claims[p] = c
	}
	return claims, nil
}

// Claim takes partitions over in every table, one table after the other, and
// gives the claims and the positions as they stand under them. Whoever claimed
// a partition before can commit it no more, this sink's own earlier runs
// included. After an error some tables may be claimed and others not; claiming
// again puts that right.
func (s *Sink) Claim(ctx context.Context, partitions []pipeline.Partition) ([]pipeline.Claims, []pipeline.Positions, error) {
	for _, p := range partitions {
		if err := checkPartition(p); err != nil {
			return nil, nil, fmt.Errorf("claim: %w", err)
		}
	}
	ctx = withDisk(ctx, s.disk)
	claims := make([]pipeline.Claims, len(s.tables))
	positions := make([]pipeline.Positions, len(s.tables))
	for i, t := range s.tables {
		c := &claimChange{sink: s, partitions: partitions}
		claimed, err := s.claim(ctx, t, c)
		if err == nil {
			positions[i], err = readPositions(claimed.Properties())
		}
		if err != nil {
			return nil, nil, fmt.Errorf("claim in table %s: %w", t.name, err)
		}
		claims[i] = c.claims
	}
	if len(s.tables) > 0 {
		s.count.claims.Add(int64(len(claims[0])))
	}
	return claims, positions, nil
}

func (s *Sink) claim(ctx context.Context, t *table, c *claimChange) (*icetable.Table, error) {
	release, err := t.lock.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if len(c.partitions) == 0 {
		c.claims = pipeline.Claims{}
		return s.catalog.LoadTable(ctx, t.ident)
	}
	return s.change(ctx, t, c)
}

// checkPartition refuses a name that would not be found again as it is.
func checkPartition(p pipeline.Partition) error {
	if !utf8.ValidString(p.Topic) || p.ID < 0 {
		return fmt.Errorf("partition %q: its name is not UTF-8, or its number below 0", p)
	}
	return nil
}

// claimChange is the change that claims partitions of a table.
type claimChange struct {
	sink       *Sink
	partitions []pipeline.Partition
	claims     pipeline.Claims // as the last build made them
}

// build raises the numbers. They rise with every claim, so that a run that is
// thought dead is fenced also when its own process claims again.
func (c *claimChange) build(_ context.Context, base *icetable.Table, txn *icetable.Transaction) error {
	stored, err := readClaims(base.Properties())
	if err != nil {
		return err
	}
	c.claims = make(pipeline.Claims, len(c.partitions))
	props := make(iceberg.Properties, len(c.partitions))
	for _, p := range c.partitions {
		c.claims[p] = stored[p].Epoch + 1
		if props[claimPrefix+p.String()], err = encode(storedClaim{c.claims[p], c.sink.owner}); err != nil {
			return err
		}
	}
	return txn.SetProperties(props)
}

// landed looks for every claim. One that somebody took over since counts as
// not landed, and is made again: a number too many harms nobody.
func (c *claimChange) landed(now *icetable.Table) bool {
	stored, err := readClaims(now.Properties())
	if err != nil {
		return false
	}
	for p, epoch := range c.claims {
		if stored[p] != (storedClaim{epoch, c.sink.owner}) {
			return false
		}
	}
	return true
}

// checkClaims refuses a commit of partitions that are not this sink's under
// the commit's numbers. A partition that nobody ever claimed has the number 0.
func (s *Sink) checkClaims(props iceberg.Properties, c *pipeline.Commit) error {
	stored, err := readClaims(props)
	if err != nil {
		return err
	}
	for p := range c.Moves {
		have := stored[p]
		if have.Epoch != c.Claims[p] {
			return fmt.Errorf("%w: %w: partition %s under %d, the commit has %d",
				pipeline.ErrRefused, ErrClaim, p, have.Epoch, c.Claims[p])
		}
		if have.Epoch != 0 && have.Owner != s.owner {
			return fmt.Errorf("%w: %w: partition %s under %d by another sink", pipeline.ErrRefused, ErrClaim, p, have.Epoch)
		}
	}
	return nil
}

// putClaims says under which claims a commit was made.
func putClaims(props iceberg.Properties, c *pipeline.Commit) {
	for p := range c.Moves {
		if epoch := c.Claims[p]; epoch != 0 {
			props[claimEpochPrefix+p.String()] = strconv.FormatInt(epoch, 10)
		}
	}
}
