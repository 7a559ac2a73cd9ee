package bench

import (
	"encoding/json"
	"fmt"
)

// summary is what `lupa backfill --json` says of a run, as far as it is
// measured or checked here.
type summary struct {
	Run    counts `json:"run"`
	Ledger struct {
		Records    int64 `json:"records"`
		Unreadable int64 `json:"unreadable"`
	} `json:"ledger"`
}

type counts struct {
	Read     int64 `json:"read"`
	Kept     int64 `json:"kept"`
	Masked   int64 `json:"masked"`
	Dropped  int64 `json:"dropped"`
	Rejected int64 `json:"rejected"`
}

func parseSummary(out []byte) (summary, error) {
	var s summary
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("result of the run: %w", err)
	}
	return s, nil
}

// check says where the result does not fit what went in: every event counted
// once, every ledger record understood.
func (s *summary) check(events int) error {
	c := s.Run
	if c.Read != int64(events) || c.Kept+c.Masked+c.Dropped+c.Rejected != c.Read {
		return fmt.Errorf("of %d events the run read %d and says kept %d, masked %d, dropped %d, rejected %d",
			events, c.Read, c.Kept, c.Masked, c.Dropped, c.Rejected)
	}
	if s.Ledger.Records == 0 || s.Ledger.Unreadable > 0 {
		return fmt.Errorf("of the ledger's records %d were read and %d not understood", s.Ledger.Records, s.Ledger.Unreadable)
	}
	return nil
}
