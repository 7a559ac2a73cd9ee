package consent

import (
	"errors"
	"fmt"
	"slices"

	"lupa/schemas"
)

// action is what a statement does to a timeline.
type action uint8

const (
	ignore action = iota // a purpose that no contract can name
	mark                 // a marker, which is about nobody
	add
	addEvery // what takes back something under such a purpose: everything, then
	link
	linkShared
	unlink
	bury
	buryNone // a tombstone that changes nothing
	deny
	denyLink
	declared // nothing but that the token is several people's
)

// change is one statement of a ledger message, read.
type change struct {
	action action
	gap    bool // messages before it are gone
	entry  Entry
	token  schemas.Token
	other  schemas.Token
	offset int64 // of the message, or noOffset
	// Which of the two are several people's by their kind.
	tokenShared, otherShared bool
}

// errNobody stops a reader: whom the message concerns cannot be said, so no
// decision about anybody could be trusted.
var errNobody = errors.New("principal cannot be read")

// read appends the changes that one message makes.
func (v *View) read(m *schemas.LedgerMessages, i int) error {
	v.statements = v.reader.Read(m, i, v.statements[:0])
	offset, gap := v.reviews.follow(m, i)
	for j := range v.statements {
		c, err := v.changeOf(&v.statements[j])
		if err != nil {
			return err
		}
		v.kinds(&c, &v.statements[j].Record)
		c.offset, c.gap = offset, gap
		v.changes = append(v.changes, c)
	}
	clear(v.statements) // which may hold raw identifiers
	return nil
}

// changeOf makes a change of one statement.
func (v *View) changeOf(s *schemas.Statement) (change, error) {
	switch s.Kind {
	case schemas.Marked:
		return change{action: mark}, nil
	case schemas.Deleted:
		return v.tombstone(&s.Record)
	case schemas.Said:
		c, err := v.resolve(&s.Record)
		if err == nil {
			return c, nil
		}
		s.Fault = err
	}
	c, err := v.unreadable(&s.Record)
	if err != nil {
		if s.Fault != nil && s.Fault != err {
			err = fmt.Errorf("%w; %w", err, s.Fault)
		}
		return c, err
	}
	why := "the value cannot be read"
	if s.Fault != nil {
		why = s.Fault.Error()
	}
	v.fault.CompareAndSwap(nil, &why)
	return c, nil
}

// tombstone makes a change of a key without a value.
func (v *View) tombstone(r *schemas.Record) (change, error) {
	token, err := v.token(r.Token, r.Principal)
	c := change{action: bury, token: token}
	k, known := scoped(r, v.rules.vocabulary, v.glossary)
	c.entry.Purpose, c.entry.Fields = k.scope, k.fields
	switch r.Verb {
	case schemas.Erase, schemas.Link, schemas.Unlink, schemas.Restrict, schemas.Lift, schemas.Born:
		// No tombstone undoes what makes others stricter.
		c.action = buryNone
	default:
		if !known {
			c.action = buryNone
		}
	}
	return c, err
}

// unreadable makes a change of a value that is not understood: it denies what it
// is about.
func (v *View) unreadable(r *schemas.Record) (c change, err error) {
	if c.token, err = v.token(r.Token, r.Principal); err != nil {
		return change{}, err
	}
	c.action = deny
	switch r.Verb {
	case schemas.Link, schemas.Unlink:
		c.action = denyLink
		if c.other, err = v.token(r.OtherToken, r.Other); err != nil {
			return change{}, fmt.Errorf("link: %w", err)
		}
	case schemas.Erase:
		c.entry.Purpose = brokenErasure
	default:
		// Where nothing says what it is about it may have been a withdrawal.
		k, _ := scoped(r, v.rules.vocabulary, v.glossary)
		c.entry.Purpose, c.entry.Fields = k.scope, k.fields
	}
	return c, nil
}

// resolve makes a change of one record.
func (v *View) resolve(r *schemas.Record) (c change, err error) {
	if c.token, err = v.token(r.Token, r.Principal); err != nil {
		return change{}, err
	}
	switch r.Verb {
	case schemas.Link, schemas.Unlink:
		switch c.action = link; {
		case r.Verb == schemas.Unlink:
			c.action = unlink
		case r.Shared:
			c.action = linkShared
		}
		c.entry.Version = r.Version
		if c.other, err = v.token(r.OtherToken, r.Other); err != nil {
			return change{}, fmt.Errorf("link: %w", err)
		}
		return c, nil
	}
	k, known := scoped(r, v.rules.vocabulary, v.glossary)
	c.action, c.entry = add, entry(r, k, v.glossary)
	switch {
	case known:
	case r.Verb == schemas.Retain:
		return v.unreadable(r)
	case r.Verb == schemas.Grant, r.Verb == schemas.GuardianGrant, r.Verb == schemas.NoVerb,
		r.Verb == schemas.Refuse && !r.Purpose.IsGroup():
		c.action = ignore
	default:
		c.action = addEvery
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

// kinds notes which identifiers of a record are of a kind that is declared to be
// shared. Of a token nobody knows the kind.
func (v *View) kinds(c *change, r *schemas.Record) {
	c.tokenShared = r.Token.IsZero() && slices.Contains(v.shared, r.Principal.Kind)
	c.otherShared = r.OtherToken.IsZero() && slices.Contains(v.shared, r.Other.Kind)
}

// declare says of the identifiers that a change makes known which are shared by
// their kind.
func (v *View) declare(c *change) {
	switch c.action {
	case ignore, mark, bury, buryNone:
		return
	case link, linkShared, unlink, denyLink:
		if c.otherShared {
			v.declareToken(c, &c.other)
		}
	}
	if c.tokenShared {
		v.declareToken(c, &c.token)
	}
}

func (v *View) declareToken(c *change, token *schemas.Token) {
	if v.store.declare(token) && v.reviews.wants(c) {
		v.reviews.add(token, c.offset, schemas.NoRecord, false)
	}
}
