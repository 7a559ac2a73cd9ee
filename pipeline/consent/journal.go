package consent

import "lupa/schemas"

// journal remembers whose records changed last: one token a change, in the order
// of the changes. Its memory is bounded; what is too long ago is overwritten.
type journal struct {
	pages [][]schemas.Token // made when they are first needed
	limit uint64            // how many changes are remembered
	count uint64            // how many there were
}

func newJournal(limit int) journal {
	return journal{pages: make([][]schemas.Token, (limit+pageSize-1)/pageSize), limit: uint64(limit)}
}

// note adds a change of a token's records, or of whom it is linked with.
func (j *journal) note(token *schemas.Token) {
	at := j.count % j.limit
	page := &j.pages[at/pageSize]
	if *page == nil {
		*page = make([]schemas.Token, min(pageSize, j.limit-at/pageSize*pageSize))
	}
	(*page)[at%pageSize] = *token
	j.count++
}

// since gives the changes after the first from, as many as follow each other in
// memory but at most so many: none if there are none. known is false when they are
// no longer remembered. They are valid until the next change.
func (j *journal) since(from uint64, most int) (changes []schemas.Token, known bool) {
	n := j.count - from
	if n == 0 || n > j.limit {
		return nil, n == 0
	}
	at := from % j.limit
	part := j.pages[at/pageSize][at%pageSize:]
	return part[:min(uint64(len(part)), n, uint64(most))], true
}
