package warehouse

import (
	"context"
	"fmt"
	"strconv"
	"strings"

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
		for key, text := range loaded.Properties() {
			name, ok := strings.CutPrefix(key, ledgerPrefix)
			if !ok {
				continue
			}
			p, err := parsePartition(name)
			if err != nil {
				return nil, fmt.Errorf("table %s: property %s: %w", t.name, key, err)
			}
			next, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("table %s: property %s is no position", t.name, key)
			}
			all[p] = max(all[p], next)
		}
	}
	return all, nil
}
