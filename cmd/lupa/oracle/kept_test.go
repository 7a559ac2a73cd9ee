package oracle

import (
	"slices"
	"testing"

	"lupa/schemas"
)

// TestKeptRows judges one kept row under ledgers that were cut by their
// compaction, or that moved on between the commit's position and the commit.
func TestKeptRows(t *testing.T) {
	contracts := defaults(t)
	who := schemas.NewSubject(schemas.UserID, "7")
	grant := schemas.Record{Verb: schemas.Grant, Principal: who, Purpose: schemas.Analytics, Time: 1, Version: 1, Proven: true}
	withdrawal := schemas.Record{Verb: schemas.Withdraw, Principal: who, Purpose: schemas.Analytics, Time: 5, Version: 2}
	all := schemas.Record{Verb: schemas.Withdraw, Principal: who, Every: true, Time: 5, Version: 1}
	erasure := schemas.Record{Verb: schemas.Erase, Principal: who, Every: true, Time: 5, Version: 1}
	const seen, commit = 10, 20 // the ledger's position and the commit's time
	for _, c := range []struct {
		name     string
		records  map[int64]schemas.Record // by offset, which is when the broker got it
		holes    bool
		unknown  bool // the commit's snapshot has expired
		violated []string
		unsure   int64
		later    int64
	}{
		{"permitted", map[int64]schemas.Record{1: grant}, false, false, nil, 0, 0},
		{"withdrawn after the commit", map[int64]schemas.Record{1: grant, 25: withdrawal}, false, false, nil, 0, 0},
		{"withdrawn before", map[int64]schemas.Record{1: grant, 9: withdrawal}, false, false, []string{"I4"}, 0, 0},
		{"withdrawn for all before", map[int64]schemas.Record{1: grant, 9: all}, false, false, []string{"I4"}, 0, 0},
		{"erased before", map[int64]schemas.Record{1: grant, 9: erasure}, false, false, []string{"I6"}, 0, 0},
		{"never granted", nil, false, false, []string{"I4"}, 0, 0},
		{"granted on the way to the commit", map[int64]schemas.Record{15: grant}, false, false, nil, 0, 1},
		{"granted after the commit", map[int64]schemas.Record{25: grant}, false, false, []string{"I4"}, 0, 0},
		{"grant compacted away by a later withdrawal", map[int64]schemas.Record{25: withdrawal}, true, false, nil, 1, 0},
		{"the same without compaction", map[int64]schemas.Record{25: withdrawal}, false, false, []string{"I4"}, 0, 0},
		{"withdrawn before, in a ledger with holes", map[int64]schemas.Record{9: withdrawal}, true, false, []string{"I4"}, 0, 0},
		{"withdrawn for all before, grant renewed and compacted", map[int64]schemas.Record{9: all, 25: grant}, true, false, nil, 1, 0},
		{"erased before, in a ledger with holes", map[int64]schemas.Record{9: erasure, 25: grant}, true, false, []string{"I6"}, 0, 0},
		{"permitted once, commit expired", map[int64]schemas.Record{1: grant, 9: withdrawal}, false, true, nil, 0, 1},
		{"never permitted, commit expired", map[int64]schemas.Record{9: withdrawal}, false, true, []string{"I4"}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newJudged(t, contracts)
			p, l := place0, j.emptyLedger(100)
			l.holes[p] = c.holes
			for offset := range int64(100) {
				if r, ok := c.records[offset]; ok {
					m := &message{offset: offset, time: offset, key: schemas.AppendRecordKey(nil, r), value: schemas.AppendRecord(nil, r)}
					if err := l.add(j.check.keys, p, m); err != nil {
						t.Fatal(err)
					}
				}
			}
			j.check.ledger, j.check.judge = l, &judge{}
			tracks := j.check.tables[slices.IndexFunc(j.check.tables, func(t *table) bool { return t.name == "tracks" })]
			tracks.files = []dataFile{{path: "f", cut: newCut(map[place]int64{p: seen}), known: true, until: commit}}
			if c.unknown {
				tracks.files[0].cut, tracks.files[0].known, tracks.files[0].until = newCut(map[place]int64{}), false, ever
			}
			r := &row{reason: "consent_given", purposes: schemas.Purposes(schemas.Analytics), filled: make([]bool, len(tracks.contract.Fields))}
			id, _ := j.check.keys.ident(principal{kind: who.Kind, raw: who.Reveal()})
			j.check.judgeKept(&rowCase{event: event{tracks.contract, []ident{id}, int64(3), noTime}, table: tracks, row: r, from: beginning})
			if got := j.check.report().Violated(); !slices.Equal(got, c.violated) {
				t.Errorf("violated %v, want %v", got, c.violated)
			}
			if g := j.check.judge; g.unsure != c.unsure || g.later != c.later {
				t.Errorf("unsure %d and later %d, want %d and %d", g.unsure, g.later, c.unsure, c.later)
			}
		})
	}
}
