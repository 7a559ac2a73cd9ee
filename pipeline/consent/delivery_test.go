package consent

import (
	"bytes"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/text/unicode/norm"

	"lupa/schemas"
)

// interleaved gives every order in which two partitions can be delivered.
func interleaved(a, b []say) [][]say {
	if len(a) == 0 || len(b) == 0 {
		return [][]say{append(append([]say{}, a...), b...)}
	}
	var all [][]say
	for _, rest := range interleaved(a[1:], b) {
		all = append(all, append([]say{a[0]}, rest...))
	}
	for _, rest := range interleaved(a, b[1:]) {
		all = append(all, append([]say{b[0]}, rest...))
	}
	return all
}

// TestKeyOnTwoPartitions: who writes one key to two partitions gives up the
// order of its records. In whatever order they come the highest version stands,
// and of the same version the most restrictive record, which is counted.
func TestKeyOnTwoPartitions(t *testing.T) {
	u := func(s say, version int64) say { return of(user("u"), s.v(version)) }
	for _, c := range []struct {
		name     string
		one, two []say
		want     schemas.Reason
		ties     int64
	}{
		{"the higher version withdraws", []say{u(grant(email, 1), 1), u(withdraw(email, 3), 3)}, []say{u(grant(email, 2), 2)}, schemas.Withdrawn, 0},
		{"the higher version grants", []say{u(grant(email, 1), 1), u(withdraw(email, 2), 2)}, []say{u(grant(email, 3), 3)}, schemas.ConsentGiven, 0},
		{"versions fall on both", []say{u(refuse(email, 4), 4), u(grant(email, 1), 1)}, []say{u(grant(email, 3), 3), u(grant(email, 2), 2)}, schemas.Refused, 0},
		{"the version decides and not the time", []say{u(grant(email, 4), 1)}, []say{u(withdraw(email, 1), 2)}, schemas.Withdrawn, 0},
		{"a grant and a withdrawal of one version", []say{u(grant(email, 1), 7)}, []say{u(withdraw(email, 1), 7)}, schemas.Withdrawn, 1},
		{"an objection and a withdrawal of one version", []say{u(grant(email, 1), 1), u(withdraw(email, 2), 7)}, []say{u(object(email, 2), 7)}, schemas.Objected, 1},
		{"two grants of one version, one of them unproven", []say{u(grant(email, 1), 7)}, []say{u(claim(email, 1), 7)}, schemas.Unproven, 1},
		{"the same record on both", []say{u(grant(email, 1), 7)}, []say{u(grant(email, 1), 7)}, schemas.ConsentGiven, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, order := range interleaved(c.one, c.two) {
				v := newView(t, Options{})
				var m messages
				m.say(order...)
				if n, err := v.Apply(m.keys, m.values); n != len(order) || err != nil {
					t.Fatalf("applied %d: %v", n, err)
				}
				got := decideRows(t, v, contract(), row{time: 5, user: "u"})[0].Reason
				if got != c.want || v.Stats().Ties != c.ties {
					t.Errorf("%s and %d ties, want %s and %d", got, v.Stats().Ties, c.want, c.ties)
				}
			}
		})
	}
}

// TestTombstoneThenGrant: what a tombstone emptied does not come back, and a
// grant of a higher version counts.
func TestTombstoneThenGrant(t *testing.T) {
	for _, c := range []struct {
		version int64
		want    schemas.Reason
	}{{1, schemas.NoRecord}, {2, schemas.NoRecord}, {3, schemas.ConsentGiven}} {
		var m messages
		m.say(of(user("u"), grant(email, 1).v(2)))
		m.add("user_id:u|direct_marketing_email", nil)
		m.say(of(user("u"), grant(email, 1).v(c.version)))
		v := newView(t, Options{})
		if _, err := v.Apply(m.keys, m.values); err != nil {
			t.Fatal(err)
		}
		if got := decideRows(t, v, contract(), row{time: 5, user: "u"})[0].Reason; got != c.want {
			t.Errorf("version %d: %s, want %s", c.version, got, c.want)
		}
	}
}

// TestGrantAgain: a grant that comes again and again is one.
func TestGrantAgain(t *testing.T) {
	v := newView(t, Options{})
	for range 3 {
		apply(t, v, of(user("u"), grant(email, 1)))
	}
	if s := v.Stats(); s.Records != 3 || s.Duplicates != 2 || s.Ties != 0 || v.store.journal.count != 1 {
		t.Errorf("%+v and %d changes", s, v.store.journal.count)
	}
	apply(t, v, of(user("u"), withdraw(email, 2)), of(user("u"), grant(email, 1)))
	if got := decideRows(t, v, contract(), row{time: 5, user: "u"})[0].Reason; got != schemas.Withdrawn {
		t.Errorf("a grant that came again after the withdrawal: %s", got)
	}
}

// folded makes tokens of e-mail addresses in one form, as the real ones are.
type folded struct{ hashed }

func (f folded) Token(kind schemas.IdentifierKind, value []byte) schemas.Token {
	if kind == schemas.Email {
		value = norm.NFC.Bytes(bytes.ToLower(bytes.TrimSpace(value)))
	}
	return f.hashed.Token(kind, value)
}

func (f folded) Tokens(kind schemas.IdentifierKind, values *array.BinaryView, dst []schemas.Token) {
	for i := range dst {
		if values.IsValid(i) {
			dst[i] = f.Token(kind, values.Value(i))
		}
	}
}

// TestSpellings: a key has as many spellings as its identifier, and %XX besides.
// All of them are one subject, in records, tombstones, values that cannot be
// read and rows; identifiers of kinds that have one spelling stay apart.
func TestSpellings(t *testing.T) {
	spellings := []string{"jos\u00e9|x@example.org", "JOSE\u0301|X@Example.ORG", " Jos\u00c9|x@example.org "}
	for _, granted := range spellings {
		for _, other := range spellings {
			for _, c := range []struct {
				name string
				then func() (key, value []byte)
				want schemas.Reason
			}{
				{"a withdrawal", of(mail(other), withdraw(email, 2)).message, schemas.Withdrawn},
				{"a tombstone", func() (key, value []byte) { key, _ = of(mail(other), grant(email, 1)).message(); return key, nil }, schemas.NoRecord},
				{"an unreadable value", func() (key, value []byte) {
					key, _ = of(mail(other), grant(email, 1)).message()
					return key, []byte("{")
				}, schemas.NoRecord},
			} {
				v, err := NewView(folded{}, clocked(Options{}))
				if err != nil {
					t.Fatal(err)
				}
				var m messages
				m.say(of(mail(granted), grant(email, 1)), of(user("jose"), grant(email, 1)), of(user("JOSE"), refuse(email, 1)))
				key, value := c.then()
				m.add(string(key), value)
				if _, err := v.Apply(m.keys, m.values); err != nil {
					t.Fatal(err)
				}
				b := batch(memory.DefaultAllocator, contract(), row{time: 5, contact: spellings[0]}, row{time: 5, contact: spellings[1]},
					row{time: 5, user: "jose"}, row{time: 5, user: "JOSE"})
				if err := NewStage(v, folded{}).Apply(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				b.Raw.Release()
				want := [...]schemas.Reason{c.want, c.want, schemas.ConsentGiven, schemas.Refused}
				if got := [4]schemas.Reason(b.Reasons); got != want || v.Stats().Identifiers != 3 {
					t.Errorf("%s: reasons %v, want %v; %d identifiers", c.name, got, want, v.Stats().Identifiers)
				}
			}
		}
	}
}
