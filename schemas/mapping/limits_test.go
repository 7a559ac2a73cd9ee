package mapping

import (
	"fmt"
	"strings"
	"testing"

	"lupa/schemas"
)

// TestLimits: a row that says more than can be kept is a fault about nobody, and
// nothing of it is said.
func TestLimits(t *testing.T) {
	const text = `
mapping: 1
principals: [{each: 'who[]', kind: user_id, path: '@'}]
time: change
version: change
links: false
records: [{each: 'what[]', verb: {path: '@', if_true: grant, if_false: withdraw}, purpose: [analytics, profiling]}]
envelope: debezium`
	row := func(people, said int) string {
		who := make([]string, people)
		for i := range who {
			who[i] = fmt.Sprintf(`"%d"`, i)
		}
		return `{"who":[` + strings.Join(who, ",") + `],"what":[true` + strings.Repeat(",true", said-1) + `]}`
	}
	for _, c := range []struct {
		people, said int
		fault        error
	}{{maxPeople, 64, nil}, {maxPeople + 1, 1, errManyPeople}, {20_000, 10_000, errManyPeople}, {maxPeople, 100_000, errManyStatements}} {
		for _, change := range []string{`{"op":"c","ts_ms":1,"after":%s}`, `{"op":"d","ts_ms":1,"before":%s}`, `{"op":"u","ts_ms":1,"before":%[1]s,"after":%[1]s}`} {
			r := NewReader(parse(t, text))
			got := r.Row(fmt.Appendf(nil, change, row(c.people, c.said)), nil)
			if c.fault == nil {
				for i := range got {
					if got[i].Kind == schemas.Unreadable {
						t.Fatalf("%d people and %d things: %v", c.people, c.said, got[i].Fault)
					}
				}
				continue
			}
			stops := false
			for i := range got {
				stops = stops || got[i].Kind == schemas.Unreadable && got[i].Record.Principal.IsZero()
			}
			if !stops || len(got) > 2*maxStatements {
				t.Errorf("%s of %d people and %d things: %d statements", change[:9], c.people, c.said, len(got))
			}
		}
	}
}
