package consent

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lupa/schemas"
)

// message writes a record as the ledger has it.
func (s say) message() (key, value []byte) {
	return schemas.AppendRecordKey(nil, s.Record), schemas.AppendRecord(nil, s.Record)
}

// messages are keys and values; nil values are tombstones.
type messages struct{ keys, values [][]byte }

func (m *messages) say(said ...say) {
	for _, s := range said {
		key, value := s.message()
		m.add(string(key), value)
	}
}

func (m *messages) add(key string, value []byte) {
	m.keys, m.values = append(m.keys, []byte(key)), append(m.values, value)
}

func TestNewView(t *testing.T) {
	if _, err := NewView(hashed{}, clocked(Options{Journal: -1})); err == nil || !strings.Contains(err.Error(), "Journal") {
		t.Errorf("Journal -1: error %v does not name it", err)
	}
	if _, err := NewView(hashed{}, Options{}); err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("no clock: error %v", err)
	}
	if _, err := NewView(nil, clocked(Options{})); err == nil {
		t.Error("a view without tokens was made")
	}
	for _, n := range []int{-1, 1} {
		if _, err := NewView(hashed{}, clocked(Options{MaxLinked: n})); err == nil || !strings.Contains(err.Error(), "MaxLinked") {
			t.Errorf("MaxLinked %d: error %v does not name it", n, err)
		}
	}
}

// TestApplyMessages reads every verb from its message.
func TestApplyMessages(t *testing.T) {
	token := hashed{}.Token(schemas.UserID, []byte("tokened"))
	token[6], token[8] = 0x8f, 0x8f
	var m messages
	m.say(
		of(user("kept"), grant(email, 1)),
		of(user("withdrawn"), grant(email, 1)), of(user("withdrawn"), withdraw(email, 2)),
		of(user("refused"), refuse(email, 1)),
		of(user("objected"), every(object(email, 1))),
		of(user("unproven"), claim(email, 1)),
		of(user("erased"), grant(email, 1)), of(user("erased"), erase(9)),
		of(user("emptied"), grant(email, 1)),
		of(mail("b@example.org"), refuse(email, 1)), linked(user("linked"), mail("b@example.org")),
	)
	m.add("user_id:emptied|direct_marketing_email", nil)
	m.add("user_id:nothing|newsletter", []byte(`{"schema_version":"https://w3id.org/dpv/schema/dpv-27560#record","pii_principal_id":"user_id:nothing","purpose":"newsletter","event_state":"ConsentGiven","sequence":1}`))
	m.add("", schemas.AppendRecord(nil, schemas.Record{Verb: schemas.Refuse, Token: token, Purpose: email, Time: 1, Version: 1}))
	v := newView(t, Options{})
	if n, err := v.Apply(m.keys, m.values); err != nil || n != len(m.keys) {
		t.Fatalf("applied %d of %d: %v", n, len(m.keys), err)
	}
	for name, want := range map[string]schemas.Reason{
		"kept": schemas.ConsentGiven, "withdrawn": schemas.Withdrawn, "refused": schemas.Refused, "objected": schemas.Objected,
		"unproven": schemas.Unproven, "erased": schemas.Erased, "emptied": schemas.NoRecord, "linked": schemas.Refused,
		"nothing": schemas.NoRecord, "unheard": schemas.NoRecord,
	} {
		if got := decideRows(t, v, contract(), row{time: 5, user: name})[0].Reason; got != want {
			t.Errorf("%s: reason %s, want %s", name, got, want)
		}
	}
	if c := v.store.card(&token); !c.known || c.line[0].Says != schemas.Refused {
		t.Error("a record with a token does not stand under it")
	}
	want := Stats{Identifiers: 10, Subjects: 9, Records: 13, Links: 1, Erasures: 1, Unproven: 1, Tombstones: 1, UnknownPurposes: 1}
	if diff := cmp.Diff(want, v.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestApplyUnreadable(t *testing.T) {
	const broken = `{"schema_version":"https://w3id.org/dpv/schema/dpv-27560#record","pii_principal_id":"user_id:a"`
	someone := func(v *View) { apply(t, v, of(user("a"), grant(email, 1)), of(user("b"), grant(email, 1))) }
	for _, c := range []struct {
		name       string
		key, value string
		then       []say
		want       map[string]schemas.Reason // of a and b
	}{
		{"a purpose", "user_id:a|direct_marketing_email", "{", nil, map[string]schemas.Reason{"a": schemas.NoRecord, "b": schemas.ConsentGiven}},
		{"an empty value is no tombstone", "user_id:a|analytics", "", nil, map[string]schemas.Reason{"a": schemas.ConsentGiven}},
		{"another purpose", "user_id:a|analytics", "{", nil, map[string]schemas.Reason{"a": schemas.ConsentGiven}},
		{"an unknown purpose", "user_id:a|newsletter", "{", nil, map[string]schemas.Reason{"a": schemas.NoRecord, "b": schemas.ConsentGiven}},
		{"every purpose", "user_id:a|*", "{", nil, map[string]schemas.Reason{"a": schemas.NoRecord, "b": schemas.ConsentGiven}},
		{"a purpose, lifted", "user_id:a|direct_marketing_email", "{", []say{of(user("a"), grant(email, 2))},
			map[string]schemas.Reason{"a": schemas.ConsentGiven}},
		{"an erasure denies every purpose", "user_id:a|erase", "{", nil, map[string]schemas.Reason{"a": schemas.NoRecord, "b": schemas.ConsentGiven}},
		{"an erasure is not lifted by a grant", "user_id:a|erase", "{", []say{of(user("a"), grant(email, 4))},
			map[string]schemas.Reason{"a": schemas.NoRecord}},
		{"an erasure is lifted by one that can be read", "user_id:a|erase", "{", []say{of(user("a"), erase(2)), of(user("a"), grant(email, 4))},
			map[string]schemas.Reason{"a": schemas.ConsentGiven}},
		{"a link denies both ends", "user_id:a|link:user_id:b", "{", nil, map[string]schemas.Reason{"a": schemas.NoRecord, "b": schemas.NoRecord}},
		{"a link is lifted by one that can be read", "user_id:a|link:user_id:b", "{", []say{linked(user("b"), user("a"))},
			map[string]schemas.Reason{"a": schemas.ConsentGiven, "b": schemas.ConsentGiven}},
		{"a link is not lifted by another link", "user_id:a|link:user_id:b", "{", []say{linked(user("a"), user("c"))},
			map[string]schemas.Reason{"a": schemas.NoRecord, "b": schemas.NoRecord}},
		{"without a key, what could be read is denied", "", broken + `,"purpose":"direct_marketing_email","event_state":"?"}`, nil,
			map[string]schemas.Reason{"a": schemas.NoRecord, "b": schemas.ConsentGiven}},
		{"without a key, another purpose is denied", "", broken + `,"purpose":"analytics","event_state":"?"}`, nil,
			map[string]schemas.Reason{"a": schemas.ConsentGiven}},
		{"without a key, an unknown purpose denies all", "", broken + `,"purpose":"newsletter","event_state":"?"}`, nil,
			map[string]schemas.Reason{"a": schemas.NoRecord, "b": schemas.ConsentGiven}},
		{"under an unknown purpose, what could be read is denied", "user_id:a|newsletter", broken + `,"purpose":"*","event_state":"?"}`, nil,
			map[string]schemas.Reason{"a": schemas.NoRecord, "b": schemas.ConsentGiven}},
		{"without a key or a purpose, everything is denied", "", broken + `,"event_state":"?"}`, nil,
			map[string]schemas.Reason{"a": schemas.NoRecord, "b": schemas.ConsentGiven}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newView(t, Options{})
			someone(v)
			if n, err := v.Apply([][]byte{[]byte(c.key)}, [][]byte{[]byte(c.value)}); n != 1 || err != nil {
				t.Fatalf("applied %d: %v", n, err)
			}
			apply(t, v, c.then...)
			for name, want := range c.want {
				if got := decideRows(t, v, contract(), row{time: 5, user: name})[0].Reason; got != want {
					t.Errorf("%s: reason %s, want %s", name, got, want)
				}
			}
			if n := v.Stats().Unreadable; n != 1 {
				t.Errorf("%d unreadable, want 1", n)
			}
			if v.Fault() == "" {
				t.Error("nothing says why")
			}
		})
	}
}

func TestFaultNamesTheMemberOfTheFirst(t *testing.T) {
	v := newView(t, Options{})
	if why := v.Fault(); why != "" {
		t.Errorf("a view that has read nothing says %q", why)
	}
	const record = `{"schema_version":"https://w3id.org/dpv/schema/dpv-27560#record","pii_principal_id":"email:tove@example.org","purpose":"analytics","event_state":%s,"sequence":%s}`
	for _, value := range []string{fmt.Sprintf(record, `"ConsentOfTove"`, "1"), fmt.Sprintf(record, `"ConsentGiven"`, `"soon"`)} {
		if _, err := v.Apply([][]byte{nil}, [][]byte{[]byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	if why := v.Fault(); !strings.HasPrefix(why, "event_state:") || strings.Contains(strings.ToLower(why), "tove") {
		t.Errorf("the view says %q, want the member event_state and no value", why)
	}
}

func TestTombstonesOfErasuresAndLinks(t *testing.T) {
	v := newView(t, Options{})
	apply(t, v, of(user("a"), erase(9)), of(user("b"), grant(email, 1)), of(user("c"), refuse(email, 1)), linked(user("b"), user("c")))
	var m messages
	m.add("user_id:a|erase", nil)
	m.add("user_id:b|link:user_id:c", nil)
	m.add("user_id:z|analytics", nil)
	m.add("user_id:b|newsletter", nil)
	if n, err := v.Apply(m.keys, m.values); n != 4 || err != nil {
		t.Fatalf("applied %d: %v", n, err)
	}
	got := decideRows(t, v, contract(), row{time: 5, user: "a"}, row{time: 5, user: "b"})
	if got[0].Reason != schemas.Erased || got[1].Reason != schemas.Refused {
		t.Errorf("reasons %s and %s, want erased and refused", got[0].Reason, got[1].Reason)
	}
	if s := v.Stats(); s.Tombstones != 4 || s.Identifiers != 3 {
		t.Errorf("%d tombstones, %d identifiers; want 4 and 3", s.Tombstones, s.Identifiers)
	}
}

// TestApplyErrors: the reader stops at a message that concerns nobody it can
// name, and knows which one it was. What came before is in the view.
func TestApplyErrors(t *testing.T) {
	const secret = "s3cret"
	_, good := of(user("a"), grant(email, 1)).message()
	for _, c := range []struct {
		name  string
		key   string
		value []byte
	}{
		{"a tombstone without a key", "", nil},
		{"a tombstone with a broken key", secret, nil},
		{"a tombstone of an identifier that is nobody", "user_id:nobody|analytics", nil},
		{"an unreadable value without a key", "", []byte(`{"` + secret)},
		{"an unreadable value with a broken key", secret + "|analytics", []byte(secret)},
		{"an unreadable value of an identifier that is nobody", "user_id:nobody|analytics", []byte(secret)},
		{"a record of an identifier that is nobody", "user_id:nobody|analytics", []byte(strings.ReplaceAll(string(good), "user_id:a", "user_id:nobody"))},
		{"an unreadable link with nobody", "user_id:" + secret + "|link:user_id:nobody", []byte("{")},
	} {
		for _, at := range []int{0, 1, perLock, perLock + 1} {
			t.Run(fmt.Sprintf("%s at %d", c.name, at), func(t *testing.T) {
				v := newView(t, Options{})
				var m messages
				for i := range at {
					m.say(of(user(fmt.Sprint("u", i)), grant(email, 1)))
				}
				m.add(c.key, c.value)
				m.say(of(user("after"), grant(email, 1)))
				n, err := v.Apply(m.keys, m.values)
				if n != at || err == nil {
					t.Fatalf("applied %d with error %v, want %d and an error", n, err, at)
				}
				if text := err.Error(); strings.Contains(text, secret) || strings.Contains(text, "nobody") ||
					!strings.Contains(text, fmt.Sprintf("message %d ", at)) {
					t.Errorf("error %q must name message %d and show no value", text, at)
				}
				if s := v.Stats(); s.Records != int64(at) || s.Identifiers != int64(at) {
					t.Errorf("%d records of %d identifiers in the view, want %d", s.Records, s.Identifiers, at)
				}
			})
		}
	}
	v := newView(t, Options{})
	if n, err := v.Apply(make([][]byte, 2), make([][]byte, 1)); n != 0 || err == nil {
		t.Errorf("applied %d of uneven slices: %v", n, err)
	}
	for name, r := range map[string]schemas.Record{
		"nobody":             grant(email, 1).Record,
		"a link with nobody": {Verb: schemas.Link, Principal: user("a")},
	} {
		if n, err := v.ApplyRecords([]schemas.Record{of(user("a"), grant(email, 1)).Record, r}); n != 1 || err == nil {
			t.Errorf("%s: applied %d: %v", name, n, err)
		}
	}
}

// TestMarkers: a message about nobody is counted and changes nothing, whatever
// is broken in it, and the reader goes on.
func TestMarkers(t *testing.T) {
	const marker = `{"marker":"heart.beat-1_A"}`
	_, record := of(user("a"), withdraw(email, 9)).message()
	var m messages
	m.say(of(user("a"), grant(email, 1)))
	for _, value := range [][]byte{[]byte(marker), nil, {}, []byte("{"), []byte(`{"marker":"another"}`), record} {
		m.add(marker, value)
	}
	m.add("", []byte(marker))
	m.keys, m.values = append(m.keys, nil), append(m.values, []byte(marker))
	v := newView(t, Options{})
	before := v.store.journal.count
	if n, err := v.Apply(m.keys, m.values); n != len(m.keys) || err != nil {
		t.Fatalf("applied %d of %d: %v", n, len(m.keys), err)
	}
	want := Stats{Identifiers: 1, Subjects: 1, Records: 1, Markers: 8}
	if diff := cmp.Diff(want, v.Stats()); diff != "" || v.Fault() != "" || v.store.journal.count != before+1 {
		t.Errorf("fault %q, %d changes, stats (-want +got):\n%s", v.Fault(), v.store.journal.count-before, diff)
	}
	if d := decideRows(t, v, contract(), row{time: 5, user: "a"}); d[0].Reason != schemas.ConsentGiven {
		t.Errorf("a marker made it %s", d[0].Reason)
	}
	// What only looks like one is a message as any other.
	var others messages
	others.add("user_id:a|direct_marketing_email", []byte(marker))
	others.add("user_id:a|analytics", []byte(`{"marker":"a","sequence":1}`))
	if _, err := v.Apply(others.keys, others.values); err != nil {
		t.Fatal(err)
	}
	if s := v.Stats(); s.Markers != 8 || s.Unreadable != 2 {
		t.Errorf("%d markers and %d unreadable, want 8 and 2", s.Markers, s.Unreadable)
	}
	for _, key := range []string{`{"marker":"a"}x`, `{"marker":"a\"}`} {
		if n, err := v.Apply([][]byte{[]byte(key)}, [][]byte{nil}); n != 0 || err == nil {
			t.Errorf("%s: a tombstone of nobody was applied", key)
		}
	}
}

// TestStatsWhileApplying: counts and fault can be asked for at any time, and
// whoever sees that something could not be read is told why.
func TestStatsWhileApplying(t *testing.T) {
	v := newView(t, Options{})
	var asking sync.WaitGroup
	stop := make(chan struct{})
	asking.Go(func() {
		for seen := int64(0); ; {
			n := v.Stats().Unreadable
			if n < seen || n > 0 && v.Fault() == "" {
				t.Errorf("%d unreadable after %d, because %q", n, seen, v.Fault())
				return
			}
			seen = n
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for i := range 500 {
		var m messages
		m.add(fmt.Sprintf("user_id:u%d|analytics", i), []byte("{"))
		m.say(of(user(fmt.Sprint("u", i)), grant(email, 1)))
		if _, err := v.Apply(m.keys, m.values); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	asking.Wait()
	if n := v.Stats().Unreadable; n != 500 {
		t.Errorf("%d unreadable, want 500", n)
	}
}

// A ledger of tokens outlives the keys that made them.
func TestTokensOfAnotherEpoch(t *testing.T) {
	token := hashed{}.Token(schemas.UserID, []byte("a"))
	token[0] = earlier
	v := newView(t, Options{})
	apply(t, v, of(user("a"), grant(email, 1)), say{schemas.Record{Verb: schemas.Withdraw, Token: token, Purpose: email, Time: 2, Version: 2}})
	if d := decideRows(t, v, contract(), row{time: 5, user: "a"}); d[0].Reason != schemas.Withdrawn {
		t.Errorf("withdrawn under the token of an earlier epoch: %s", d[0].Reason)
	}
	if n := v.Stats().Identifiers; n != 1 {
		t.Errorf("one identifier counts as %d", n)
	}
	token[0] = 3
	if n, err := v.ApplyRecords(records(say{schemas.Record{Verb: schemas.Withdraw, Token: token, Purpose: email, Time: 2, Version: 2}})); n != 0 || err == nil {
		t.Errorf("applied %d records of an epoch that is not known: %v", n, err)
	}
}

func TestUnknownPurposes(t *testing.T) {
	given := []say{of(user("a"), grant(email, 2)), of(user("b"), grant(email, 2))}
	for _, c := range []struct {
		name string
		say  say
		then []say
		want schemas.Reason // of a
	}{
		{"a grant says nothing", grant(schemas.NoPurpose, 3), nil, schemas.ConsentGiven},
		{"a refusal says nothing", refuse(schemas.NoPurpose, 3), nil, schemas.ConsentGiven},
		{"a withdrawal is of everything", withdraw(schemas.NoPurpose, 3), nil, schemas.Withdrawn},
		{"an objection is to everything", object(schemas.NoPurpose, 3), nil, schemas.Objected},
		{"a purpose beyond the list is not known either", withdraw(schemas.Purpose(60), 3), nil, schemas.Withdrawn},
		{"what was given later holds", withdraw(schemas.NoPurpose, 3), []say{of(user("a"), grant(email, 4).v(3))}, schemas.ConsentGiven},
		{"what was given before does not", withdraw(schemas.NoPurpose, 3), []say{of(user("a"), grant(email, 2).v(9))}, schemas.Withdrawn},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newView(t, Options{})
			apply(t, v, append(given, append([]say{of(user("a"), c.say)}, c.then...)...)...)
			d := decideRows(t, v, contract(), row{time: 5, user: "a"}, row{time: 5, user: "b"})
			if d[0].Reason != c.want || d[1].Reason != schemas.ConsentGiven {
				t.Errorf("reason %s, want %s; of another subject %s", d[0].Reason, c.want, d[1].Reason)
			}
			if n := v.Stats().UnknownPurposes; n != 1 {
				t.Errorf("%d unknown purposes are counted", n)
			}
		})
	}
}

func TestStats(t *testing.T) {
	v := newView(t, Options{MaxLinked: 2})
	a, b, c, d := user("a"), user("b"), user("c"), user("d")
	apply(t, v,
		of(a, grant(email, 2)), of(a, grant(email, 2)), // a duplicate
		of(a, withdraw(email, 3).v(2)), // a tie
		of(a, grant(email, 1)),         // late
		linked(a, b), linked(b, a), linked(b, c),
		of(d, grant(schemas.NoPurpose, 1)),
		of(d, grant(email, 1)),
	)
	var m messages
	m.add("user_id:d|direct_marketing_email", nil)
	m.say(of(d, grant(email, 1))) // buried
	m.add("user_id:d|direct_marketing_email", []byte("{"))
	if _, err := v.Apply(m.keys, m.values); err != nil {
		t.Fatal(err)
	}
	decideRows(t, v, contract(), row{time: 5, user: "a", contact: "c"}, row{time: 5, user: "d"})
	want := Stats{
		Identifiers: 4, Subjects: 4, Capped: 3, Records: 10, Links: 3, Tombstones: 1, Unreadable: 1,
		Duplicates: 2, Late: 1, Buried: 1, Ties: 1, UnknownPurposes: 1, CappedRows: 1,
	}
	if diff := cmp.Diff(want, v.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestLinks(t *testing.T) {
	chain := func(n int) (said []say) {
		for i := range n - 1 {
			said = append(said, linked(user(fmt.Sprint(i)), user(fmt.Sprint(i+1))))
		}
		return said
	}
	for _, c := range []struct {
		name string
		said []say
		row  row
		want schemas.Reason
	}{
		{"a grant holds for what is linked", append(chain(2), of(user("0"), grant(email, 1))), row{time: 5, user: "1"}, schemas.ConsentGiven},
		{"a withdrawal holds for what is linked", append(chain(2), of(user("0"), grant(email, 1)), of(user("1"), withdraw(email, 1))), row{time: 5, user: "0"}, schemas.Withdrawn},
		{"links add up", append(chain(4), of(user("0"), grant(email, 1))), row{time: 5, user: "3"}, schemas.ConsentGiven},
		{"an erasure holds for what is linked", append(chain(4), of(user("3"), erase(9))), row{time: 5, user: "0"}, schemas.Erased},
		{"a subject of the most identifiers is decided", append(chain(4), of(user("0"), grant(email, 1))), row{time: 5, user: "0"}, schemas.ConsentGiven},
		{"a subject of more is denied", append(chain(5), of(user("0"), grant(email, 1))), row{time: 5, user: "0"}, schemas.NoRecord},
		{"two of the most, linked, are denied", append(append(chain(4), of(user("0"), grant(email, 1)), linked(anon("0"), anon("1"))), linked(anon("1"), user("2"))),
			row{time: 5, user: "0"}, schemas.NoRecord},
		{"a capped subject denies what else the row names", append(chain(5), of(mail("m"), grant(email, 1))), row{time: 5, user: "0", contact: "m"}, schemas.NoRecord},
		{"what a capped subject is not linked with is decided", append(chain(5), of(anon("x"), grant(email, 1))), row{time: 5, anon: "x"}, schemas.ConsentGiven},
		{"an erasure of another in a capped subject", append([]say{of(user("4"), erase(9))}, chain(5)...), row{time: 5, user: "0"}, schemas.NoRecord},
		{"an erasure of itself in a capped subject", append(chain(9), of(user("8"), erase(9))), row{time: 5, user: "8"}, schemas.Erased},
		{"a capped subject after its erasure", append(chain(9), of(user("0"), erase(4)), of(user("0"), grant(email, 5))), row{time: 5, user: "0"}, schemas.NoRecord},
		{"an erasure that came before the subject was capped and is its own again", append(chain(5), of(user("4"), erase(9)), unlinked(user("0"), user("1"), 1)), row{time: 5, user: "1"}, schemas.Erased},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newView(t, Options{MaxLinked: 4})
			apply(t, v, c.said...)
			if got := decideRows(t, v, contract(), c.row)[0].Reason; got != c.want {
				t.Errorf("reason %s, want %s", got, c.want)
			}
		})
	}
}
