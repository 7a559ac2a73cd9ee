package schemas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in a contract file.
type Problem struct {
	File    string
	Line    int // 0 is the file as a whole
	Message string
}

// String gives file:line: message.
func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
}

// ContractError is everything that is wrong with contract files, so that all
// of it can be mended at once.
type ContractError struct {
	Problems []Problem
}

// Error gives one line for each problem.
func (e *ContractError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func sortProblems(list []Problem) {
	slices.SortStableFunc(list, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

// allowed says which names may stand in a place; of a long list it names the
// ones that are nearest to what was written.
func allowed(wrong string, names []string) string {
	const few = 12
	if len(names) <= few {
		return "allowed: " + strings.Join(names, ", ")
	}
	return "nearest: " + strings.Join(nearest(wrong, names, 5), ", ")
}

// nearest gives the n names with the fewest edits from wrong, nearest first.
func nearest(wrong string, names []string, n int) []string {
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(edits(wrong, a), edits(wrong, b)) })
	return names[:min(n, len(names))]
}

// edits is the Levenshtein distance in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// knownCategory gives the members of the family that an unknown category would
// belong to, or the nearest names when it begins like none.
func knownCategory(wrong string) string {
	names := CategoryNames()
	for family := wrong; ; {
		cut := strings.LastIndexByte(family, '.')
		if cut < 0 {
			return allowed(wrong, names)
		}
		family = family[:cut]
		if family == "user" || !Category(family).Known() {
			continue
		}
		within := slices.DeleteFunc(names, func(name string) bool { return !Category(name).within(Category(family)) })
		return "nearest: " + nearest(wrong, within, 1)[0] + "; in the family: " + strings.Join(within, ", ")
	}
}
