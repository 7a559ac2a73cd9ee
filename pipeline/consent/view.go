package consent

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow/array"

	"lupa/pipeline/consent/shelf"
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
	// SharedKinds are kinds of identifiers that are several people's, such as
	// devices. Of one that the ledger has as a token only the kind is known when a
	// stage first meets it.
	SharedKinds []schemas.IdentifierKind
	// Journal is how many changes are remembered for Recheck, 16 bytes each; 0
	// is 1 Mi. After more of them every row is decided again.
	Journal int
	// Vocabulary says what groups of purposes are; nil is the default one.
	Vocabulary *schemas.Vocabulary
	// Reader reads the messages; nil reads the project's own JSON.
	Reader Reader
	// Ages is the law on children; nil is 16 everywhere.
	Ages Ages
	// Allows says whether the destination lies in the regions that a record
	// allows, as Terms has them; nil allows only records without any. It is
	// called by one at a time.
	Allows func(regions string) bool
	// Now gives the time, microseconds since 1970 UTC, and is asked by many at
	// once. It must be there. What it gives never goes back here.
	Now func() int64
	// Narrow takes away from decided batches what the events themselves do not
	// permit; nil takes nothing.
	Narrow Narrower
	// Reviewed gives the next offset of a ledger partition up to which the tables
	// have been reviewed for late changes; nil asks for no reviews.
	Reviewed func(topic string, partition int32) int64
}

// Reader reads ledger messages. A view calls it from one goroutine at a time.
type Reader interface {
	// Read appends what message i says. Nothing that cannot be read is left out:
	// it is a statement that denies whom it is about, and who that is cannot be
	// said it is about nobody, which stops the view.
	Read(m *schemas.LedgerMessages, i int, dst []schemas.Statement) []schemas.Statement
}

// View is the ledger in memory, without a raw identifier in it. All methods
// may be called at once.
type View struct {
	tokens Tokens
	reader Reader
	clock  func() int64
	narrow Narrower
	shared []schemas.IdentifierKind // kinds

	learning   sync.Mutex // held by the stage that has links made a part of the ledger
	applying   sync.Mutex // held by the one that writes, around mu
	statements []schemas.Statement
	glossary   *glossary
	changes    []change
	changed    []schemas.Token // of the changes
	found      []shelf.Ref
	name       []byte // the identifier at hand

	mu      sync.RWMutex
	rules   rules
	store   store
	stats   Stats
	reviews reviews

	latest     atomic.Int64 // the time that Now gave last
	cappedRows atomic.Int64
	fault      atomic.Pointer[string]
}

// Stats are counts of a view since it was made.
type Stats struct {
	Identifiers int64 // tokens that the ledger names
	Subjects    int64 // identifiers, with those of one subject counted once if they are no more than MaxLinked
	Capped      int64 // identifiers of subjects that have more

	Records         int64 // records applied, links among them
	Links           int64 // link and unlink records
	Erasures        int64
	Restrictions    int64 // records that restrict, or lift that
	Births          int64
	Duties          int64 // records of duties to retain
	Guardians       int64 // records of guardians
	Expiries        int64 // records that say that a grant has run out
	Unproven        int64 // grants without evidence, as those of imported lists
	Pending         int64 // grants that are not confirmed
	Tombstones      int64
	Markers         int64 // messages about nobody
	Unreadable      int64 // values that could not be read and denied their key
	Duplicates      int64 // records that said nothing new
	Late            int64 // records that came after a higher version
	Buried          int64 // records that came after their tombstone
	Ties            int64 // records of one version that differ: somebody writes the ledger wrongly
	UnknownPurposes int64 // records for a purpose that no contract can name

	Reviews    int64 // identifiers whose rows have to be looked at again
	CappedRows int64 // rows denied because their subject is capped
}

// NewView makes an empty view.
func NewView(tokens Tokens, opts Options) (*View, error) {
	if tokens == nil {
		return nil, errors.New("consent: a view needs tokens")
	}
	if opts.Now == nil {
		return nil, errors.New("consent: a view needs a clock")
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
	if opts.Vocabulary == nil {
		opts.Vocabulary = schemas.DefaultVocabulary()
	}
	if opts.Reader == nil {
		opts.Reader = schemas.NewRecordReader(opts.Vocabulary)
	}
	if opts.Ages == nil {
		opts.Ages = wholeYears(schemas.StrictestAge)
	}
	v := &View{
		tokens: tokens, reader: opts.Reader, clock: opts.Now, narrow: opts.Narrow, shared: slices.Clone(opts.SharedKinds),
		glossary: newGlossary(opts.Allows),
		rules:    rules{ages: opts.Ages, vocabulary: opts.Vocabulary},
		store:    store{shelf: shelf.New(), graph: graph{maxLinked: opts.MaxLinked}, journal: newJournal(opts.Journal)},
		reviews:  newReviews(opts.Reviewed),
	}
	v.rules.learn(v.glossary)
	v.latest.Store(beginning)
	return v, nil
}

// now gives the time, which never goes back.
func (v *View) now() int64 {
	at := v.clock()
	for {
		last := v.latest.Load()
		if at <= last {
			return last
		}
		if v.latest.CompareAndSwap(last, at) {
			return at
		}
	}
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
	s.Identifiers = int64(v.store.shelf.Len())
	g := &v.store.graph
	s.Capped = int64(g.outgrown)
	s.Subjects = s.Identifiers - int64(g.vertices.count-g.closures-g.outgrown)
	s.Reviews = int64(len(v.reviews.pending))
	s.CappedRows = v.cappedRows.Load()
	return s
}
