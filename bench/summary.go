package bench

import (
	"encoding/json"
	"fmt"
)

// summary is what `lupa backfill --json` says of a run, as far as it is
// measured here.
type summary struct {
	Read     int64 `json:"read"`
	Kept     int64 `json:"kept"`
	Masked   int64 `json:"masked"`
	Dropped  int64 `json:"dropped"`
	Rejected int64 `json:"rejected"`
}

func parseSummary(out []byte) (summary, error) {
	var s summary
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("summary of the run: %w", err)
	}
	return s, nil
}

// check says where the counts do not add up to the events that went in.
func (s summary) check(events int) error {
	if s.Read != int64(events) || s.Kept+s.Masked+s.Dropped+s.Rejected != s.Read {
		return fmt.Errorf("of %d events the run read %d and says kept %d, masked %d, dropped %d, rejected %d",
			events, s.Read, s.Kept, s.Masked, s.Dropped, s.Rejected)
	}
	return nil
}
