package oracle

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// operatorMove is a position that an operator has moved, against the order of
// commits.
type operatorMove struct {
	number   int
	at       place
	from, to int64
	known    bool // there was a position before
	epoch    int64
	// again says that messages may have been read twice, or that the offsets
	// before and after are those of different logs.
	again bool
}

// readMoves reads what operators have moved, oldest first.
func (t *table) readMoves() error {
	for key, text := range t.properties {
		name, ok := strings.CutPrefix(key, "lupa.moved.")
		if !ok {
			continue
		}
		var m struct {
			Partition string
			From, To  *struct{ Next int64 }
			Epoch     int64
			Found     string
		}
		n, err := strconv.Atoi(name)
		if err != nil || json.Unmarshal([]byte(text), &m) != nil {
			return errors.New("property " + key + " is no move")
		}
		if m.To == nil {
			continue // the position stayed
		}
		move := operatorMove{number: n, to: m.To.Next, epoch: m.Epoch}
		if move.at, err = parsePlace(m.Partition); err != nil {
			return errors.New("property " + key + " is no move")
		}
		if m.From != nil {
			move.from, move.known = m.From.Next, true
		}
		move.again = move.to < move.from || m.Found == "recreated" || m.Found == "other_cluster"
		t.moves = append(t.moves, move)
	}
	slices.SortFunc(t.moves, func(a, b operatorMove) int { return cmp.Compare(a.number, b.number) })
	return nil
}

// covers reports whether a table has taken a message into account: it is before
// the position and no operator has left it out.
func (t *table) covers(p place, offset int64) bool {
	if offset >= t.positions[p] {
		return false
	}
	for _, m := range t.moves {
		if m.at == p && !m.again && offset >= m.from && offset < m.to {
			return false
		}
	}
	return true
}

// again reports whether an operator has made a table read messages of a
// partition again, or another log in its place. Then nothing there can be
// counted.
func (t *table) again(p place) bool {
	return slices.ContainsFunc(t.moves, func(m operatorMove) bool { return m.at == p && m.again })
}

// before reports whether a commit came before an operator made the table read a
// partition again, or another log in its place: the position is no longer about
// its rows. Of a commit whose snapshot is gone that cannot be ruled out.
func (t *table) before(s *snapshot, p place) bool {
	var epoch int64
	if s != nil {
		var err error
		if epoch, err = claimEpoch(s.Summary["lupa.claim-epoch."+p.String()]); err != nil {
			return false
		}
	}
	return slices.ContainsFunc(t.moves, func(m operatorMove) bool { return m.at == p && m.again && m.epoch > epoch })
}

// movesOf gives the moves of one partition.
func (t *table) movesOf(p place) (list []operatorMove) {
	for _, m := range t.moves {
		if m.at == p {
			list = append(list, m)
		}
	}
	return list
}
