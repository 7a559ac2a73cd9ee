package schemas

import "fmt"

// RecordReader reads the records of a ledger under one vocabulary. One
// goroutine uses it. What it gives never points into what it read.
type RecordReader struct {
	vocabulary *Vocabulary
	// terms are texts that stood in records before, so that each is kept once. Of
	// a reader that has no map they are not.
	terms map[string]string
	// recent is what each member was last.
	recent []string
	// regions are the same for lists of regions, by their JSON.
	regions map[string]string
}

// maxTerms bounds what a reader remembers. Real ledgers have some dozens.
const maxTerms = 4096

// NewRecordReader makes a reader.
func NewRecordReader(v *Vocabulary) *RecordReader {
	return &RecordReader{vocabulary: v, terms: map[string]string{}, recent: make([]string, numMembers), regions: map[string]string{}}
}

// Read appends what message i of m says to dst: one statement. A message of which
// nobody can say whom it concerns is Unreadable and has no principal.
func (p *RecordReader) Read(m *LedgerMessages, i int, dst []Statement) []Statement {
	key, value := m.Keys[i], m.Values[i]
	if IsMarker(key) || len(key) == 0 && IsMarker(value) {
		return append(dst, Statement{Kind: Marked})
	}
	if value == nil {
		r, err := p.ParseKey(key)
		if err != nil {
			return append(dst, Statement{Kind: Unreadable, Fault: fmt.Errorf("tombstone: %w", err)})
		}
		return append(dst, Statement{Kind: Deleted, Record: r})
	}
	r, whole, err := p.parse(value)
	if err == nil {
		return append(dst, Statement{Kind: Said, Record: r})
	}
	return append(dst, p.unreadable(key, r, whole, err))
}

// unreadable says what a value that is not understood is about: what its key
// names, or else what could be read of it.
func (p *RecordReader) unreadable(key []byte, partial Record, whole bool, fault error) Statement {
	r, err := p.ParseKey(key)
	nobody := partial.Principal.IsZero() && partial.Token.IsZero()
	switch {
	case err != nil && nobody:
		return Statement{Kind: Unreadable, Fault: fmt.Errorf("%w; key: %w", fault, err)}
	case !nobody && (err != nil || r.unnamed()):
		r = partial
	case whole && r.Verb == NoVerb:
		r.Purpose, r.Every = NoPurpose, true
	}
	if r.unnamed() {
		// It may have been a withdrawal, and nobody can say of what.
		r.Every = true
	}
	return Statement{Kind: Unreadable, Record: r, Fault: fault}
}

// unnamed reports whether what a key or a value says is about a purpose that
// is not known.
func (r *Record) unnamed() bool {
	return r.Verb == NoVerb && r.Purpose == NoPurpose && !r.Every
}
