package consent

// journal remembers whose records changed last: one node a change, in the order
// of the changes. Its memory is bounded; what is too long ago is overwritten.
type journal struct {
	pages [][]int32 // made when they are first needed
	limit uint64    // how many changes are remembered
	count uint64    // how many there were
}

func newJournal(limit int) journal {
	return journal{pages: make([][]int32, (limit+pageSize-1)/pageSize), limit: uint64(limit)}
}

// note adds a change of a node's records, or of whom it is linked with.
func (j *journal) note(id int32) {
	at := j.count % j.limit
	page := &j.pages[at/pageSize]
	if *page == nil {
		*page = make([]int32, min(pageSize, j.limit-at/pageSize*pageSize))
	}
	(*page)[at%pageSize] = id
	j.count++
}

// since gives the changes after the first from. known is false when they are
// more than most, or no longer remembered.
func (j *journal) since(from uint64, most int) (changes []int32, known bool) {
	n := j.count - from
	if n > j.limit || n > uint64(most) {
		return nil, false
	}
	changes = make([]int32, 0, n)
	for from < j.count {
		at := from % j.limit
		part := j.pages[at/pageSize][at%pageSize:]
		part = part[:min(uint64(len(part)), j.count-from)]
		changes = append(changes, part...)
		from += uint64(len(part))
	}
	return changes, true
}
