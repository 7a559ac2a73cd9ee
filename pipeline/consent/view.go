package consent

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/schemas"
)

// Tokens makes the ledger's own tokens of raw identifiers: the key domain that
// no table shares. A view calls it from one goroutine at a time, and so does a
// stage; where several share one, it must stand that.
type Tokens interface {
	// Token gives the token of one identifier, zero if value is empty or is
	// nothing that the kind can be. It does not keep value.
	Token(kind schemas.IdentifierKind, value []byte) schemas.Token
	// Current gives the token that Token makes today of an identifier whose
	// token was once token, zero if it cannot be one of these tokens.
	Current(token schemas.Token) schemas.Token
	// Tokens sets dst[i] to the token of values[i], zero where that is null,
	// empty, or nothing that the kind can be.
	Tokens(kind schemas.IdentifierKind, values *array.BinaryView, dst []schemas.Token)
}

// Options sets up a View.
type Options struct {
	// MaxLinked is how many identifiers one subject may have before its rows
	// are denied; 0 is 64.
	MaxLinked int
	// Journal is how many changes are remembered for Recheck, 4 bytes each; 0
	// is 1 Mi. After more of them every row is decided again.
	Journal int
}

// View is the ledger in memory, without a raw identifier in it. All methods
// may be called at once.
type View struct {
	tokens Tokens

	applying sync.Mutex // held by the one that writes, around mu
	changes  []change
	changed  []schemas.Token // of the changes
	found    []int32         // their nodes, as far as there are any
	nodes    []*node
	name     []byte         // the identifier at hand
	seen     schemas.Reason // keeps the loads of touch alive

	mu    sync.RWMutex
	store store
	stats Stats

	cappedRows atomic.Int64
	fault      atomic.Pointer[string]
}

// Stats are counts of a view since it was made.
type Stats struct {
	Identifiers int64 // tokens that the ledger names
	Subjects    int64 // identifiers, with linked ones counted once
	Capped      int64 // subjects with more identifiers than MaxLinked

	Records         int64 // records applied, links among them
	Links           int64 // link records
	Tombstones      int64
	Markers         int64 // messages about nobody
	Unreadable      int64 // values that could not be read and denied their key
	Duplicates      int64 // records that said nothing new
	Late            int64 // records that came after a higher version
	Buried          int64 // records that came after their tombstone
	Ties            int64 // records of one version that differ: somebody writes the ledger wrongly
	UnknownPurposes int64 // records for a purpose that no contract can name

	CappedRows int64 // rows denied because their subject is capped
}

// NewView makes an empty view.
func NewView(tokens Tokens, opts Options) (*View, error) {
	if tokens == nil {
		return nil, errors.New("consent: a view needs tokens")
	}
	if opts.MaxLinked == 0 {
		opts.MaxLinked = 64
	}
	if opts.MaxLinked < 2 {
		return nil, fmt.Errorf("consent: MaxLinked is %d, must be at least 2", opts.MaxLinked)
	}
	if opts.Journal == 0 {
		opts.Journal = 1 << 20
	}
	if opts.Journal < 0 {
		return nil, fmt.Errorf("consent: Journal is %d, must not be below 0", opts.Journal)
	}
	return &View{tokens: tokens, store: store{maxLinked: opts.MaxLinked, journal: newJournal(opts.Journal)}}, nil
}

// Fault says why the first value that could not be read could not, or nothing
// if all could. It names a member of the record and what is allowed there,
// never what stands there.
func (v *View) Fault() string {
	if why := v.fault.Load(); why != nil {
		return *why
	}
	return ""
}

// Stats gives the counts.
func (v *View) Stats() Stats {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := v.stats
	s.Identifiers = int64(v.store.nodes.count)
	s.Subjects = s.Identifiers - int64(v.store.joined)
	s.Capped = int64(v.store.capped)
	s.CappedRows = v.cappedRows.Load()
	return s
}

// action is what a ledger message does to a timeline.
type action uint8

const (
	ignore action = iota // a purpose that no contract can name
	mark                 // a marker, which is about nobody
	add
	addEvery // what takes back something under such a purpose: everything, then
	link
	bury
	buryNone // a tombstone that changes nothing
	deny
	denyLink
)

// change is one ledger message, read.
type change struct {
	action action
	entry  Entry
	token  schemas.Token
	other  schemas.Token
}

// perLock is how many changes are made before stages get their turn.
const perLock = 1024

// errNobody stops a reader: whom the message concerns cannot be said, so no
// decision about anybody could be trusted.
var errNobody = errors.New("principal cannot be read")

// Apply takes a batch of ledger messages in the order of their offsets; a nil
// value is a tombstone, a key may be nil where the value says it all. Markers are
// counted, and nothing else. It gives how many were applied: all of them, or
// those before the message that err is about. Stages see each message whole or not at all, and every message of the
// batch once Apply has returned.
func (v *View) Apply(keys, values [][]byte) (n int, err error) {
	if len(keys) != len(values) {
		return 0, fmt.Errorf("consent: %d keys for %d values", len(keys), len(values))
	}
	return v.applyAll(len(values), func(i int) (change, error) { return v.read(keys[i], values[i]) })
}

// ApplyRecords takes records as Apply takes messages.
func (v *View) ApplyRecords(records []schemas.Record) (n int, err error) {
	return v.applyAll(len(records), func(i int) (change, error) { return v.resolve(&records[i]) })
}

// applyAll reads n messages outside of the lock and makes the changes under it.
func (v *View) applyAll(n int, read func(int) (change, error)) (int, error) {
	v.applying.Lock()
	defer v.applying.Unlock()
	for done := 0; done < n; {
		v.changes, v.changed = v.changes[:0], v.changed[:0]
		var err error
		for i := done; i < min(n, done+perLock); i++ {
			var c change
			if c, err = read(i); err != nil {
				break
			}
			v.changes, v.changed = append(v.changes, c), append(v.changed, c.token)
		}
		v.commit()
		done += len(v.changes)
		if err != nil {
			return done, fmt.Errorf("consent: ledger message %d of the batch: %w", done, err)
		}
	}
	return n, nil
}

// read makes a change of one message.
func (v *View) read(key, value []byte) (change, error) {
	if schemas.IsMarker(key) || len(key) == 0 && schemas.IsMarker(value) {
		return change{action: mark}, nil
	}
	if value == nil {
		r, err := schemas.ParseRecordKey(key)
		if err != nil {
			return change{}, fmt.Errorf("tombstone: %w", err)
		}
		return v.tombstone(&r)
	}
	r, err := schemas.ParseRecord(value)
	if err == nil {
		var c change
		if c, err = v.resolve(&r); err == nil {
			return c, nil
		}
	}
	why := err.Error()
	v.fault.CompareAndSwap(nil, &why)
	return v.unreadable(key, &r)
}

// tombstone makes a change of a key without a value.
func (v *View) tombstone(key *schemas.Record) (change, error) {
	token, err := v.token(key.Token, key.Principal)
	c := change{action: bury, token: token, entry: Entry{Purpose: key.Purpose}}
	if key.Verb != schemas.NoVerb || unnamed(key) {
		// No tombstone undoes an erasure or a link.
		c.action = buryNone
	}
	return c, err
}

// unreadable makes a change of a value that is not understood: it denies what
// its key names, or else what could be read of it.
func (v *View) unreadable(key []byte, partial *schemas.Record) (c change, err error) {
	r, err := schemas.ParseRecordKey(key)
	nobody := partial.Principal.IsZero() && partial.Token.IsZero()
	if err != nil && nobody {
		return change{}, fmt.Errorf("%w; key: %w", errNobody, err)
	}
	if !nobody && (err != nil || unnamed(&r)) {
		r = *partial
	}
	if c.token, err = v.token(r.Token, r.Principal); err != nil {
		return change{}, err
	}
	c.action = deny
	switch c.entry.Purpose = r.Purpose; {
	case r.Verb == schemas.Link:
		c.action = denyLink
		if c.other, err = v.token(r.OtherToken, r.Other); err != nil {
			return change{}, fmt.Errorf("link: %w", err)
		}
	case r.Verb == schemas.Erase:
		c.entry.Purpose = brokenErasure
	case unnamed(&r):
		// It may have been a withdrawal.
		c.entry.Purpose = everyPurpose
	}
	return c, nil
}

// unnamed reports whether a key is about a purpose that no contract can name.
func unnamed(r *schemas.Record) bool {
	return r.Verb == schemas.NoVerb && r.Purpose == schemas.NoPurpose && !r.Every
}

// resolve makes a change of one record.
func (v *View) resolve(r *schemas.Record) (change, error) {
	token, err := v.token(r.Token, r.Principal)
	if err != nil {
		return change{}, err
	}
	c := change{action: add, entry: entry(r), token: token}
	switch {
	case r.Verb == schemas.Link:
		c.action = link
		if c.other, err = v.token(r.OtherToken, r.Other); err != nil {
			return change{}, fmt.Errorf("link: %w", err)
		}
	case r.Verb == schemas.Erase || r.Every:
	case !schemas.AllPurposes.Has(r.Purpose):
		c.action = ignore
		if r.Verb == schemas.Withdraw || r.Verb == schemas.Object {
			c.action, c.entry.Purpose = addEvery, everyPurpose
		}
	}
	return c, nil
}

// token gives the token of a principal.
func (v *View) token(token schemas.Token, raw schemas.Subject) (schemas.Token, error) {
	switch {
	case !token.IsZero():
		// Under the token of an earlier key epoch no row would find it.
		token = v.tokens.Current(token)
	case !raw.IsZero():
		// Revealed to make the key under which the view knows the subject.
		v.name = append(v.name[:0], raw.Reveal()...)
		token = v.tokens.Token(raw.Kind, v.name)
		clear(v.name)
	}
	if token.IsZero() {
		return token, errNobody
	}
	return token, nil
}

// commit makes the changes that were read. Stages are kept waiting for as
// little as possible: what can be looked up, loaded or made before is.
func (v *View) commit() {
	v.found, v.nodes = resize(v.found, len(v.changed)), resize(v.nodes, len(v.changed))
	v.store.index.find(&v.store.nodes, v.changed, v.found, v.nodes)
	v.seen |= v.store.touch(v.nodes)
	index := v.store.index.withRoom(&v.store.nodes, 2*len(v.changes))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.store.index = index
	for i := range v.changes {
		v.change(&v.changes[i], v.found[i])
	}
}

// change makes one change. id is the node of its token, missing if there was
// none before the changes that are made with it.
func (v *View) change(c *change, id int32) {
	s, stats := &v.store, &v.stats
	switch c.action {
	case ignore:
		stats.Records++
		stats.UnknownPurposes++
	case mark:
		stats.Markers++
	case link:
		stats.Records++
		stats.Links++
		a, b := s.node(&c.token), s.node(&c.other)
		s.liftLink(a, b)
		s.link(a, b)
	case buryNone:
		stats.Tombstones++
	case bury:
		stats.Tombstones++
		if id = s.index.lookup(&s.nodes, &c.token); id != missing {
			n := s.nodes.at(id)
			s.close(n, s.open(n).clear(c.entry.Purpose))
			s.journal.note(id)
		}
	case deny:
		stats.Unreadable++
		id = s.node(&c.token)
		n := s.nodes.at(id)
		s.close(n, s.open(n).deny(c.entry.Purpose))
		s.journal.note(id)
	case denyLink:
		stats.Unreadable++
		s.denyLink(s.node(&c.token), s.node(&c.other))
	case add, addEvery:
		stats.Records++
		if c.action == addEvery {
			stats.UnknownPurposes++
		}
		if id == missing {
			id = s.node(&c.token)
		}
		v.add(id, c.entry)
	}
}

func (v *View) add(id int32, e Entry) {
	n := v.store.nodes.at(id)
	t, result := v.store.open(n).add(e)
	v.store.close(n, t)
	switch result {
	case duplicate:
		v.stats.Duplicates++
	case late:
		v.stats.Late++
	case tie:
		v.stats.Ties++
	case buried:
		v.stats.Buried++
	}
	if e.Says == schemas.Erased {
		v.store.erased(n)
	}
	if result != duplicate {
		v.store.journal.note(id)
	}
}
