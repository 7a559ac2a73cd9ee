package consent

import (
	"cmp"
	"slices"

	"lupa/pipeline"
	"lupa/schemas"
)

// Review is an identifier whose rows have to be looked at again, because the
// ledger said something later than they were written that may take them away.
type Review struct {
	Token schemas.Token
	// Partition and Offset are the earliest position of what was said, or one
	// before it.
	Partition pipeline.Partition
	Offset    int64
	// Why is the most restrictive of what was said: NoRecord of what could not be
	// read or is gone, ConsentGiven of a grant that permits less than another.
	Why schemas.Reason
	// Linked says that it is about whom the identifier is linked with too.
	Linked bool
}

// reviews are those that wait. They are no more than what the ledger says behind
// the position of the last review, so they need no store of their own: who reads
// that part of the ledger again has them again.
type reviews struct {
	reviewed func(topic string, partition int32) int64
	pending  map[schemas.Token]*review
	last     map[pipeline.Partition]int64 // the offset that was read last

	at    pipeline.Partition // of the messages at hand
	after int64              // the position of the last review there
}

// review is one of them.
type review struct {
	Review
	last []position // the latest position in each partition
}

type position struct {
	partition pipeline.Partition
	offset    int64
}

// noOffset is that of a record that came without a position.
const noOffset = int64(-1)

func newReviews(reviewed func(string, int32) int64) reviews {
	return reviews{reviewed: reviewed, pending: map[schemas.Token]*review{}, last: map[pipeline.Partition]int64{}}
}

// open begins with messages of a partition.
func (r *reviews) open(m *schemas.LedgerMessages) {
	r.at = pipeline.Partition{Topic: m.Topic, ID: m.Partition}
	if r.reviewed != nil && m.Offsets != nil {
		r.after = r.reviewed(m.Topic, m.Partition)
	}
}

// follow gives the offset of a message, and whether messages before it are gone
// that were there once.
func (r *reviews) follow(m *schemas.LedgerMessages, i int) (offset int64, gap bool) {
	if m.Offsets == nil || r.reviewed == nil {
		return noOffset, false
	}
	offset = m.Offsets[i]
	last, known := r.last[r.at]
	if !known {
		last = -1
	}
	r.last[r.at] = max(last, offset)
	return offset, offset > last+1
}

// wants reports whether a change comes after the last review.
func (r *reviews) wants(c *change) bool {
	return r.reviewed != nil && c.offset != noOffset && c.offset >= r.after
}

// reviewIf asks for a review of the identifier that a change is about, if that
// comes after the last one.
func (v *View) reviewIf(c *change, needed bool, why schemas.Reason) {
	if needed && v.reviews.wants(c) {
		v.reviews.add(c.token, c.offset, why, false)
	}
}

func (r *reviews) add(token schemas.Token, offset int64, why schemas.Reason, linked bool) {
	p := r.pending[token]
	if p == nil {
		p = &review{Review: Review{Token: token, Partition: r.at, Offset: offset}}
		r.pending[token] = p
	}
	p.Why, p.Linked = max(p.Why, why), p.Linked || linked
	if i := slices.IndexFunc(p.last, func(o position) bool { return o.partition == r.at }); i >= 0 {
		p.last[i].offset = offset
	} else {
		p.last = append(p.last, position{r.at, offset})
	}
}

// Reviews gives reviews that wait, at most limit of them, by their position.
func (v *View) Reviews(limit int) []Review {
	v.mu.RLock()
	all := make([]Review, 0, len(v.reviews.pending))
	for _, p := range v.reviews.pending {
		all = append(all, p.Review)
	}
	v.mu.RUnlock()
	slices.SortFunc(all, func(a, b Review) int {
		return cmp.Or(cmp.Compare(a.Partition.Topic, b.Partition.Topic), cmp.Compare(a.Partition.ID, b.Partition.ID),
			cmp.Compare(a.Offset, b.Offset), slices.Compare(a.Token[:], b.Token[:]))
	})
	return all[:min(len(all), max(limit, 0))]
}

// ReviewCount is how many reviews wait.
func (v *View) ReviewCount() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.reviews.pending)
}

// Reviewed says that the tables were reviewed up to a ledger position. What was
// said behind it waits on.
func (v *View) Reviewed(to pipeline.Vector) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for token, p := range v.reviews.pending {
		p.last = slices.DeleteFunc(p.last, func(o position) bool { return o.offset < to[o.partition] })
		if len(p.last) == 0 {
			delete(v.reviews.pending, token)
			continue
		}
		if next := to[p.Partition]; p.Offset < next {
			// What was said first of the rest is not kept. It is not before that.
			p.Partition = p.last[0].partition
			p.Offset = to[p.Partition]
		}
	}
}

// permitted reports whether a proven grant is or was known, of the subject or of
// its guardian.
func (t Timeline) permitted() bool {
	for i := range t {
		if e := &t[i]; e.Says == schemas.ConsentGiven && e.Purpose != restriction {
			return true
		}
	}
	return false
}

// bound reports whether a duty is known that a new one may cut short.
func (t Timeline) bound(k key) bool {
	from, to := t.find(k)
	return from < to
}

// takes reports whether a record that was added may take away from rows that
// were written before. A proven grant above all others of its key, that never
// ends and allows the destination, does not.
func (e *Entry) takes(result outcome, born, barred bool) bool {
	switch {
	case e.Purpose == restriction && e.Says == schemas.ConsentGiven:
		return false
	case e.Purpose == retention:
		return false
	case e.Says == schemas.ConsentGiven:
		return result != added || e.Until != 0 || barred || born
	}
	return true
}
