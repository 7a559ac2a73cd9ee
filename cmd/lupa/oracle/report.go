package oracle

import (
	"fmt"
	"slices"
)

// Status is what was found of an invariant.
type Status string

// The statuses.
const (
	Holds      Status = "holds"
	Violated   Status = "violated"
	NotChecked Status = "not checked"
)

// Report is the result of Check.
type Report struct {
	Invariants []Invariant `json:"invariants"`
	Tables     []Table     `json:"tables"`
}

// Invariant is what was found of one of I1 to I12.
type Invariant struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Why says why it was not checked, or not all of it.
	Why []string `json:"why,omitempty"`
	// Looked counts the things that were looked at.
	Looked int64  `json:"looked_at"`
	Things string `json:"things"`
	// Violations are the first ones; More counts those that are not listed.
	Violations []Violation `json:"violations,omitempty"`
	More       int64       `json:"more_violations,omitempty"`
}

// Violation is a place where an invariant does not hold.
type Violation struct {
	Place   string `json:"place"`
	Problem string `json:"problem"`
}

// Table is a table as it stands.
type Table struct {
	Table    string `json:"table"`
	Kept     int64  `json:"kept"`
	Masked   int64  `json:"masked"`
	Dropped  int64  `json:"dropped"`
	Rejected int64  `json:"rejected"`
	Rows     int64  `json:"rows"`
	Files    int    `json:"files"`
	// Lag is how many offsets the table is behind the ends of its partitions.
	Lag int64 `json:"lag"`
}

// Holds reports whether no invariant is violated.
func (r *Report) Holds() bool { return len(r.Violated()) == 0 }

// Violated lists the ids of the invariants that do not hold.
func (r *Report) Violated() []string {
	var ids []string
	for i := range r.Invariants {
		if r.Invariants[i].Status == Violated {
			ids = append(ids, r.Invariants[i].ID)
		}
	}
	return ids
}

// invariant numbers an invariant.
type invariant int

const (
	noLoss invariant = iota
	noDuplicates
	accounting
	consented
	noRawValue
	erasedGone
	fencing
	atomicVisibility
	failClosed
	bounded
	progress
	stablePseudonyms
	numInvariants
)

// names are what each invariant is called and what it looks at.
var names = [numInvariants][2]string{
	noLoss:           {"no loss", "intervals, positions and rows"},
	noDuplicates:     {"no duplicates", "rows and intervals"},
	accounting:       {"every message accounted for", "messages"},
	consented:        {"kept only with consent", "rows and decisions"},
	noRawValue:       {"no raw personal value", "raw values searched for"},
	erasedGone:       {"no row of an erased subject", "rows"},
	fencing:          {"older claims never commit", "claims"},
	atomicVisibility: {"readable is committed and whole", "files"},
	failClosed:       {"nothing kept without the ledger", "commits"},
	bounded:          {"nothing piles up", "numbers with a cap"},
	progress:         {"caught up", "positions"},
	stablePseudonyms: {"one person, one token, in one domain", "tokens"},
}

// maxViolations is how many violations of an invariant are listed.
const maxViolations = 100

// book collects what is found.
type book struct{ found [numInvariants]Invariant }

func (b *book) looked(i invariant, n int64) { b.found[i].Looked += n }

// violate notes a place where i does not hold. The problem never holds a value
// of a row or a message.
func (b *book) violate(i invariant, place, problem string, args ...any) {
	f := &b.found[i]
	if len(f.Violations) == maxViolations {
		f.More++
		return
	}
	f.Violations = append(f.Violations, Violation{place, fmt.Sprintf(problem, args...)})
}

// limit says what of i was not looked at, and why.
func (b *book) limit(i invariant, why string, args ...any) {
	text := fmt.Sprintf(why, args...)
	if f := &b.found[i]; !slices.Contains(f.Why, text) {
		f.Why = append(f.Why, text)
	}
}

func (c *check) report() *Report {
	r := &Report{}
	for i := range numInvariants {
		f := c.found[i]
		f.ID, f.Name, f.Things = fmt.Sprintf("I%d", i+1), names[i][0], names[i][1]
		switch {
		case len(f.Violations) > 0:
			f.Status = Violated
		case f.Looked == 0:
			f.Status = NotChecked
			if len(f.Why) == 0 {
				f.Why = []string{"there was nothing to look at"}
			}
		default:
			f.Status = Holds
		}
		r.Invariants = append(r.Invariants, f)
	}
	for _, t := range c.tables {
		n := &t.counts
		r.Tables = append(r.Tables, Table{
			Table: t.name, Kept: n.kept, Masked: n.masked, Dropped: n.dropped, Rejected: n.rejected,
			Rows: int64(len(t.rows)), Files: len(t.files), Lag: c.lag(t),
		})
	}
	return r
}
