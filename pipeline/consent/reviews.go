package consent

import (
	"cmp"
	"fmt"
	"math"
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
	reviewed   func(topic string, partition int32) int64
	pending    map[schemas.Token]review
	further    map[schemas.Token][]position // of those that need them, which are few
	partitions []reviewedPartition
	numbers    map[pipeline.Partition]uint16

	at    uint16 // the partition of the messages at hand
	after int64  // the position of the last review there
}

// review is one of them: what was said first and last in one partition. It is
// small, because a ledger that was not reviewed for long has many of them.
type review struct {
	first     int64
	behind    uint32 // how far behind it the last is
	partition uint16
	why       schemas.Reason
	marks     reviewMarks
}

// reviewMarks say what else there is to a review.
type reviewMarks uint8

const (
	isLinkedToo reviewMarks = 1 << iota
	hasFurther              // there are further positions
)

// position is the last of what was said in a partition.
type position struct {
	partition uint16
	offset    int64
}

// reviewedPartition is what reviews know of a partition.
type reviewedPartition struct {
	pipeline.Partition
	next  int64 // behind the offset that was read last
	since int64 // from where on what is late was looked for
}

// noOffset is that of a record that came without a position.
const noOffset = int64(-1)

func newReviews(reviewed func(string, int32) int64) reviews {
	return reviews{reviewed: reviewed, pending: map[schemas.Token]review{}, further: map[schemas.Token][]position{},
		numbers: map[pipeline.Partition]uint16{}}
}

// openReviews begins with messages of a partition.
func (v *View) openReviews(m *schemas.LedgerMessages) (err error) {
	if m.Offsets == nil {
		return nil
	}
	r, p := &v.reviews, pipeline.Partition{Topic: m.Topic, ID: m.Partition}
	at, known := r.numbers[p]
	if !known {
		v.mu.Lock()
		at, err = r.number(p)
		v.mu.Unlock()
	}
	if r.at = at; err == nil && r.reviewed != nil {
		r.after = r.reviewed(m.Topic, m.Partition)
	}
	return err
}

// number gives the number of a partition.
func (r *reviews) number(p pipeline.Partition) (uint16, error) {
	if n, ok := r.numbers[p]; ok {
		return n, nil
	}
	if len(r.partitions) > math.MaxUint16 {
		return 0, fmt.Errorf("consent: the ledger has more than %d partitions", len(r.partitions))
	}
	n := uint16(len(r.partitions))
	r.numbers[p] = n
	r.partitions = append(r.partitions, reviewedPartition{Partition: p})
	return n, nil
}

// follow gives the offset of a message, and whether messages before it are gone
// that were there once.
func (r *reviews) follow(m *schemas.LedgerMessages, i int) (offset int64, gap bool) {
	if m.Offsets == nil {
		return noOffset, false
	}
	offset = m.Offsets[i]
	p := &r.partitions[r.at]
	gap = offset > p.next || m.Compacted
	p.next = max(p.next, offset+1)
	if r.reviewed == nil || offset < r.after {
		p.since = max(p.since, offset+1)
	}
	return offset, gap
}

// wants reports whether a change comes after the last review.
func (r *reviews) wants(c *change) bool {
	return r.reviewed != nil && c.offset != noOffset && c.offset >= r.after
}

// reviewIf asks for a review of the identifier that a change is about, if that
// comes after the last one.
func (v *View) reviewIf(c *change, needed bool, why schemas.Reason) {
	if needed && v.reviews.wants(c) {
		v.reviews.add(&c.token, c.offset, why, false)
	}
}

// add adds what was said in the partition at hand.
func (r *reviews) add(token *schemas.Token, offset int64, why schemas.Reason, linked bool) {
	p, waits := r.pending[*token]
	if !waits {
		p = review{first: offset, partition: r.at}
	}
	p.why = max(p.why, why)
	if linked {
		p.marks |= isLinkedToo
	}
	first, last := min(p.first, offset), max(p.first+int64(p.behind), offset)
	if p.partition == r.at && last-first <= math.MaxUint32 {
		p.first, p.behind = first, uint32(last-first)
	} else {
		p.marks |= hasFurther
		r.addFurther(token, position{r.at, offset})
	}
	r.pending[*token] = p
}

func (r *reviews) addFurther(token *schemas.Token, at position) {
	further := r.further[*token]
	if i := slices.IndexFunc(further, func(o position) bool { return o.partition == at.partition }); i >= 0 {
		further[i].offset = max(further[i].offset, at.offset)
		return
	}
	r.further[*token] = append(further, at)
}

// Reviews gives reviews that wait, at most limit of them, by their position.
func (v *View) Reviews(limit int) []Review {
	v.mu.RLock()
	all := make([]Review, 0, len(v.reviews.pending))
	for token, p := range v.reviews.pending {
		all = append(all, Review{
			Token: token, Partition: v.reviews.partitions[p.partition].Partition, Offset: p.first,
			Why: p.why, Linked: p.marks&isLinkedToo != 0,
		})
	}
	v.mu.RUnlock()
	slices.SortFunc(all, func(a, b Review) int {
		return cmp.Or(cmpPartition(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset), slices.Compare(a.Token[:], b.Token[:]))
	})
	return all[:min(len(all), max(limit, 0))]
}

// ReviewCount is how many reviews wait.
func (v *View) ReviewCount() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.reviews.pending)
}

// LateSince gives the next offset of a ledger partition from which on the view
// knows all that asks for a review. What was before it had been reviewed when it
// was read.
func (v *View) LateSince(topic string, partition int32) int64 {
	v.applying.Lock()
	defer v.applying.Unlock()
	n, known := v.reviews.numbers[pipeline.Partition{Topic: topic, ID: partition}]
	if !known {
		return 0
	}
	return v.reviews.partitions[n].since
}

// Reviewed says that the tables were reviewed up to a ledger position. What was
// said behind it waits on.
func (v *View) Reviewed(to pipeline.Vector) {
	v.applying.Lock()
	defer v.applying.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	r := &v.reviews
	next := make([]int64, len(r.partitions))
	for i := range r.partitions {
		p := &r.partitions[i]
		next[i] = to[p.Partition]
		p.since = max(p.since, min(next[i], p.next))
	}
	for token, p := range r.pending {
		switch left := r.prune(&token, p, next); {
		case left == nil:
			delete(r.pending, token)
		case *left != p:
			r.pending[token] = *left
		}
	}
}

// prune gives what is left of a review when the partitions were reviewed up to
// next, or nil.
func (r *reviews) prune(token *schemas.Token, p review, next []int64) *review {
	last := position{p.partition, p.first + int64(p.behind)}
	if p.marks&hasFurther != 0 {
		further := slices.DeleteFunc(r.further[*token], func(o position) bool { return o.offset < next[o.partition] })
		if last.offset < next[p.partition] && len(further) > 0 {
			// What was said first of the rest is not kept. It is not before that.
			last, further = further[0], further[1:]
			p.partition, p.first, p.behind = last.partition, next[last.partition], math.MaxUint32
		}
		if len(further) > 0 {
			r.further[*token] = further
		} else {
			delete(r.further, *token)
			p.marks &^= hasFurther
		}
	}
	if last.offset < next[p.partition] {
		return nil
	}
	p.first = max(p.first, next[p.partition])
	if behind := last.offset - p.first; behind <= math.MaxUint32 {
		p.behind = uint32(behind)
	} else {
		p.behind, p.marks = math.MaxUint32, p.marks|hasFurther
		r.addFurther(token, last)
	}
	return &p
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

// takes reports whether a record that was added may take away from rows that
// were written before: whatever denies does, be there a grant or not, for a row may
// name somebody else who has one. Of grants those do that may permit less than what
// was granted before. A proven grant above all others of its key, that never
// ends and allows the destination, does not; nor does the first grant of all, which
// takes nothing back.
func (e *Entry) takes(result outcome, granted, born, barred bool) bool {
	switch {
	case e.Purpose == restriction && e.Says == schemas.ConsentGiven:
		return false
	case e.Says == schemas.ConsentGiven:
		return granted && (result != added || e.Until != 0 || barred || born)
	case e.grants():
		return granted
	}
	return true
}
