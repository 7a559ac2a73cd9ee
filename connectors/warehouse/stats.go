package warehouse

import "sync/atomic"

// Stats count what a sink has done since it was opened.
type Stats struct {
	// Commits took effect.
	Commits int64
	// Refused commits began elsewhere than their table stood, or were made
	// under a claim that another had taken over.
	Refused int64
	// UnknownOutcomes are commits and claims whose answer was lost, so that the
	// table had to be asked.
	UnknownOutcomes int64
	// Amended rows were taken out or narrowed before their commit.
	Amended int64
	// Claims are partitions that were claimed, in all tables at once.
	Claims int64
}

type counters struct {
	commits, refused, unknown, amended, claims atomic.Int64
}

// Stats gives the counts as they are now.
func (s *Sink) Stats() Stats {
	return Stats{
		Commits: s.count.commits.Load(), Refused: s.count.refused.Load(), UnknownOutcomes: s.count.unknown.Load(),
		Amended: s.count.amended.Load(), Claims: s.count.claims.Load(),
	}
}
