package warehouse

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"

	"lupa/pipeline"
)

// LedgerPositions gives, of each ledger partition, the highest position under
// which the last commit of a table was decided.
func (s *Sink) LedgerPositions(ctx context.Context) (pipeline.Vector, error) {
	ctx = withDisk(ctx, s.disk)
	all := pipeline.Vector{}
	for _, t := range s.tables {
		loaded, err := s.catalog.LoadTable(ctx, t.ident)
		if err != nil {
			return nil, fmt.Errorf("ledger positions of table %s: %w", t.name, err)
		}
		at, err := readVector(loaded.Properties(), ledgerPrefix)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.name, err)
		}
		for p, next := range at {
			all[p] = max(all[p], next)
		}
	}
	return all, nil
}

// readVector takes the positions with a prefix out of a table's properties.
func readVector(props iceberg.Properties, prefix string) (pipeline.Vector, error) {
	v := pipeline.Vector{}
	for key, text := range props {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		p, err := parsePartition(name)
		if err != nil {
			return nil, fmt.Errorf("property %s: %w", key, err)
		}
		next, err := strconv.ParseInt(text, 10, 64)
		if err != nil || next < 0 {
			return nil, fmt.Errorf("property %s is no position", key)
		}
		v[p] = next
	}
	return v, nil
}

// reviewed is up to where in the ledger the rows of the tables have been looked
// at for what was said after they were written.
type reviewed struct {
	mu     sync.RWMutex
	tables map[int]pipeline.Vector // those about people that have rows
}

// note takes over what a table says. One that cannot be read has not been
// reviewed at all.
func (r *reviewed) note(t *table, loaded *icetable.Table) error {
	if !t.personal || loaded.CurrentSnapshot() == nil {
		return nil
	}
	v, err := readVector(loaded.Properties(), reviewedPrefix)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tables == nil {
		r.tables = map[int]pipeline.Vector{}
	}
	r.tables[t.index] = v
	return err
}

// ReviewedTo gives the position of a ledger partition up to which the rows of
// every table have been looked at: what was said from there on may concern rows
// that are written. It is the highest int64 while there are none. It knows of other
// processes' commits what Open and the last own commit found.
func (s *Sink) ReviewedTo(topic string, partition int32) int64 {
	p := pipeline.Partition{Topic: topic, ID: partition}
	s.reviewed.mu.RLock()
	defer s.reviewed.mu.RUnlock()
	to := int64(math.MaxInt64)
	for _, v := range s.reviewed.tables {
		to = min(to, v[p])
	}
	return to
}
