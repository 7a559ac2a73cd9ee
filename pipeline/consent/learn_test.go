package consent

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

// linking is the contract with links: of the browser and the user, and of the
// user and what may be an e-mail address.
func linking() *schemas.Contract {
	c := contract()
	c.Links = [][2]int{{anonColumn, userColumn}, {userColumn, contactColumn}}
	c.Fields[contactColumn].Identifiers = []schemas.IdentifierKind{schemas.Email}
	return c
}

// recorder is a linker that remembers what it was given.
type recorder struct {
	view *View
	said []schemas.Record
}

func (r *recorder) Link(_ context.Context, records []schemas.Record) error {
	r.said = append(r.said, records...)
	_, err := r.view.ApplyRecords(records)
	return err
}

// learnt is a record in the words of the tests: both ends, version, and whether
// the second is shared.
type learnt struct {
	A, B    string
	Version int64
	Shared  bool
}

func (r *recorder) take(t *testing.T) (all []learnt) {
	names := map[schemas.Token]string{}
	for _, kind := range []schemas.IdentifierKind{schemas.UserID, schemas.AnonymousID, schemas.Email} {
		for _, name := range []string{"a", "b", "c", "x", "y"} {
			names[hashed{}.Token(kind, []byte(name))] = kind.String() + " " + name
		}
	}
	for _, s := range r.said {
		if s.Verb != schemas.Link || s.Time == 0 || !s.Principal.IsZero() || !s.Other.IsZero() {
			t.Errorf("learned something else than a link of tokens: verb %d", s.Verb)
		}
		all = append(all, learnt{names[s.Token], names[s.OtherToken], s.Version, s.Shared})
	}
	r.said = nil
	slices.SortFunc(all, func(a, b learnt) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return all
}

func TestLearn(t *testing.T) {
	xa, xb, xc := row{time: 5, anon: "x", user: "a"}, row{time: 5, anon: "x", user: "b"}, row{time: 5, anon: "x", user: "c"}
	plain := func(user string) learnt { return learnt{"user_id " + user, "anonymous_id x", 0, false} }
	shared := func(user string, version int64) learnt {
		return learnt{"user_id " + user, "anonymous_id x", version, true}
	}
	for _, c := range []struct {
		name    string
		kinds   []schemas.IdentifierKind
		before  []say
		batches [][]row
		want    [][]learnt
		left    map[schemas.Reason][]row // what is decided of rows in the end
	}{
		{name: "a row with one identifier", batches: [][]row{{{time: 5, user: "a"}, {time: 5, anon: "x"}, {time: 5}}}, want: [][]learnt{nil}},
		{name: "a pair is learned once", batches: [][]row{{xa, xa}, {xa}}, want: [][]learnt{{plain("a")}, nil}},
		{name: "a later row follows a withdrawal", before: []say{of(user("a"), grant(email, 1)), of(user("a"), withdraw(email, 2)), of(anon("x"), grant(email, 1))},
			batches: [][]row{{xa}}, want: [][]learnt{{plain("a")}}, left: map[schemas.Reason][]row{schemas.Withdrawn: {{time: 5, anon: "x"}}}},
		{name: "so does a row of the same batch", before: []say{of(user("a"), refuse(email, 2)), of(anon("x"), grant(email, 1))},
			batches: [][]row{{{time: 5, anon: "x"}, xa}}, want: [][]learnt{{plain("a")}}, left: map[schemas.Reason][]row{schemas.Refused: {{time: 5, anon: "x"}}}},
		{name: "all pairs of a row", batches: [][]row{{{time: 5, anon: "x", user: "a", contact: "y"}}},
			want: [][]learnt{{plain("a"), {"user_id a", "email y", 0, false}}}},
		{name: "what the ledger links", before: []say{linked(anon("x"), mail("y")), linked(mail("y"), user("a"))}, batches: [][]row{{xa}}, want: [][]learnt{nil}},
		{name: "an unlink stands", before: []say{unlinked(user("a"), anon("x"), 1)}, batches: [][]row{{xa}, {xa}}, want: [][]learnt{nil, nil}},
		{name: "and so does one of version 0", before: []say{unlinked(user("a"), anon("x"), 0)}, batches: [][]row{{xa}}, want: [][]learnt{nil}},
		{name: "an unlink of what was learned", before: []say{linked(user("a"), anon("x")), unlinked(user("a"), anon("x"), 1)}, batches: [][]row{{xa}}, want: [][]learnt{nil}},
		{name: "a second user shares it", before: []say{of(user("a"), erase(9)), of(user("b"), grant(email, 1)), of(anon("x"), grant(email, 1))},
			batches: [][]row{{xa}, {xb}, {xa, xb}}, want: [][]learnt{{plain("a")}, {shared("a", 1), shared("b", 0)}, nil},
			left: map[schemas.Reason][]row{schemas.Erased: {xa}, schemas.ConsentGiven: {xb, {time: 5, anon: "x"}}}},
		{name: "in one batch too", batches: [][]row{{xa, xb, xa}}, want: [][]learnt{{shared("a", 0), shared("b", 0)}}},
		{name: "and a third, whose denials count", before: []say{of(user("c"), refuse(email, 1)), of(anon("x"), grant(email, 1))},
			batches: [][]row{{xa}, {xb}, {xc}}, want: [][]learnt{{plain("a")}, {shared("a", 1), shared("b", 0)}, {shared("c", 0)}},
			left: map[schemas.Reason][]row{schemas.Refused: {{time: 5, anon: "x"}}}},
		{name: "three in one batch", batches: [][]row{{xa}, {xb, xc}}, want: [][]learnt{{plain("a")}, {shared("a", 1), shared("b", 0), shared("c", 0)}}},
		{name: "two users who are one person", before: []say{linked(user("a"), user("b"))}, batches: [][]row{{xa, xb}, {xb}},
			want: [][]learnt{{plain("a"), plain("b")}, nil}},
		{name: "a second user where the ledger says the first", before: []say{linked(user("a"), anon("x")).v(7)}, batches: [][]row{{xb}}, want: [][]learnt{{shared("b", 0)}}},
		{name: "an address that the row names too is nobody else", before: []say{linked(mail("y"), anon("x")).v(7)},
			batches: [][]row{{{time: 5, anon: "x", user: "a", contact: "y"}}}, want: [][]learnt{{plain("a"), {"user_id a", "email y", 0, false}}}},
		{name: "a user id that is several people's", before: []say{sharedBy(user("c"), user("a"), 1)}, batches: [][]row{{xa}}, want: [][]learnt{{{"anonymous_id x", "user_id a", 0, true}}}},
		{name: "shared by its kind", kinds: []schemas.IdentifierKind{schemas.AnonymousID}, batches: [][]row{{xa}, {xb}}, want: [][]learnt{{shared("a", 0)}, {shared("b", 0)}}},
		{name: "a pair that cannot be read stays so", batches: [][]row{{xa}}, want: [][]learnt{nil},
			before: []say{{schemas.Record{Verb: schemas.NoVerb}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newView(t, Options{SharedKinds: c.kinds})
			if len(c.before) == 1 && c.before[0].Verb == schemas.NoVerb {
				if _, err := v.Apply([][]byte{[]byte("user_id:a|link:anonymous_id:x")}, [][]byte{[]byte("{")}); err != nil {
					t.Fatal(err)
				}
			} else {
				apply(t, v, c.before...)
			}
			linker := &recorder{view: v}
			stage := NewStage(v, hashed{})
			stage.Learn(linker)
			k := linking()
			for i, rows := range c.batches {
				b := batch(memory.DefaultAllocator, k, rows...)
				err := stage.Apply(t.Context(), b)
				b.Raw.Release()
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want[i], linker.take(t)); diff != "" {
					t.Errorf("batch %d (-want +got):\n%s", i, diff)
				}
			}
			for reason, rows := range c.left {
				for _, d := range decideRows(t, v, k, rows...) {
					if d.Reason != reason {
						t.Errorf("a row is decided as %s, want %s", d.Reason, reason)
					}
				}
			}
		})
	}
}

// linkFunc is a linker that is a function.
type linkFunc func([]schemas.Record) error

func (f linkFunc) Link(_ context.Context, records []schemas.Record) error { return f(records) }

// TestLearnFailsClosed: nothing is decided before the view has what was learned.
func TestLearnFailsClosed(t *testing.T) {
	broken := errors.New("no broker")
	for name, link := range map[string]linkFunc{
		"what is not durable":            func([]schemas.Record) error { return broken },
		"what the view does not know of": func([]schemas.Record) error { return nil },
	} {
		v := newView(t, Options{})
		stage := NewStage(v, hashed{})
		stage.Learn(link)
		b := batch(memory.DefaultAllocator, linking(), row{time: 5, anon: "x", user: "a"})
		err := stage.Apply(t.Context(), b)
		b.Raw.Release()
		if err == nil || len(b.Verdicts) != 0 {
			t.Errorf("%s: error %v, %d verdicts", name, err, len(b.Verdicts))
		}
	}
}

// TestLearnBesides: several stages that see a device with several users at once
// never make those one person.
func TestLearnBesides(t *testing.T) {
	v := newView(t, Options{})
	var busy atomic.Int32
	linker := linkFunc(func(records []schemas.Record) error {
		if busy.Add(1) != 1 {
			t.Error("two link at once")
		}
		defer busy.Add(-1)
		runtime.Gosched()
		_, err := v.ApplyRecords(records)
		return err
	})
	var stages sync.WaitGroup
	for i := range 4 {
		stages.Go(func() {
			stage := NewStage(v, hashed{})
			stage.Learn(linker)
			for n := range 30 {
				b := batch(memory.DefaultAllocator, linking(), row{time: 5, anon: fmt.Sprint("x", n), user: fmt.Sprint("u", i)})
				if err := stage.Apply(t.Context(), b); err != nil {
					t.Error(err)
				}
				b.Raw.Release()
			}
		})
	}
	stages.Wait()
	for i := range 4 {
		if _, linked := v.Known(hashed{}.Token(schemas.UserID, fmt.Append(nil, "u", i))); linked != 1 {
			t.Errorf("a user is one of %d", linked)
		}
	}
}
