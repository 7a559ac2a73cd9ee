package consent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lupa/pipeline"
	"lupa/pipeline/consent/shelf"
	"lupa/schemas"
)

// anchored is what the tests' snapshots are of.
func anchored() Anchor {
	p := pipeline.Partition{Topic: "consent", ID: 1}
	return Anchor{
		Ledger: pipeline.Vector{p: 7, {Topic: "consent"}: 0}, Topics: map[string]string{"consent": "id"},
		Marks: map[pipeline.Partition]string{p: "mark"}, Cluster: "here", Keys: "k1", KeyEpoch: 3, Words: "w1",
	}
}

// written gives the snapshot of a view.
func written(t testing.TB, v *View) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := v.WriteSnapshot(t.Context(), &b, anchored()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func load(t testing.TB, b []byte, opts Options) *View {
	t.Helper()
	v, at, err := LoadSnapshot(t.Context(), bytes.NewReader(b), hashed{}, clocked(opts), anchored())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(anchored(), at); diff != "" {
		t.Errorf("it is of something else (-want +got):\n%s", diff)
	}
	return v
}

// contents are all that a view has, in a form that can be compared.
type contents struct {
	Lines   map[schemas.Token]string
	Linked  map[schemas.Token]string
	Terms   []schemas.Terms
	Stats   Stats
	Reviews []Review
	Fault   string
}

func contentsOf(v *View) contents {
	s := &v.store
	c := contents{map[schemas.Token]string{}, map[schemas.Token]string{}, v.glossary.terms, v.Stats(), v.Reviews(1 << 20), v.Fault()}
	for token, value := range s.shelf.All() {
		c.Lines[*token] = fmt.Sprintf("%x", value)
		id, _ := splitIdentity(value)
		if id.vertex == none {
			continue
		}
		var members []string
		for member := range s.graph.closure(id.vertex) {
			members = append(members, fmt.Sprintf("%x", *s.graph.name(member)))
		}
		var sharing []string
		for member := range s.graph.sharing(id.vertex) {
			sharing = append(sharing, fmt.Sprintf("%x", *s.graph.name(member)))
		}
		slices.Sort(members)
		slices.Sort(sharing)
		c.Linked[*token] = fmt.Sprint(members, sharing, s.graph.shared(id.vertex), s.graph.broken(id.vertex), s.graph.capped(id.vertex))
	}
	return c
}

// anything draws what may be said.
func anything(rt *rapid.T) say {
	who := rapid.Custom(func(rt *rapid.T) schemas.Subject {
		name := fmt.Sprint(rapid.IntRange(0, 12).Draw(rt, "who"))
		return rapid.SampledFrom([]schemas.Subject{user(name), anon(name), mail(name)}).Draw(rt, "kind")
	})
	at := rapid.Int64Range(1, 9).Draw(rt, "time")
	s := rapid.SampledFrom([]say{
		grant(email, at), grant(stats, at), claim(prof, at), withdraw(email, at), refuse(stats, at), every(object(email, at)), erase(at),
		{schemas.Record{Verb: schemas.Restrict, Time: at, Version: at}}, {schemas.Record{Verb: schemas.Born, Time: at, Version: at, Until: 5e14}},
		linked(user("x"), user("x")).v(at), unlinked(user("x"), user("x"), at), sharedBy(user("x"), user("x"), at),
	}).Draw(rt, "what")
	s.Terms = rapid.SampledFrom([]schemas.Terms{{}, {Method: "form", Notice: "v1"}, {Regions: "EU"}, {Country: "FI"}}).Draw(rt, "terms")
	s.Principal = who.Draw(rt, "principal")
	if s.Verb == schemas.Link || s.Verb == schemas.Unlink {
		// Of few, so that something is said again of the same ones.
		s.Principal, s.Other = user(fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "one"))), anon(fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "other")))
	}
	return s
}

// TestSnapshot: what is loaded is what there was, in all that a view can be asked
// and in what becomes of all that is said after it. What is said while the snapshot
// is written is not in it.
func TestSnapshot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		opts := Options{MaxLinked: rapid.IntRange(2, 5).Draw(rt, "most"), SharedKinds: []schemas.IdentifierKind{schemas.AnonymousID},
			Reviewed: func(string, int32) int64 { return 0 }}
		draw := rapid.SliceOfN(rapid.Custom(anything), 0, 60)
		before, meanwhile, after := draw.Draw(rt, "before"), draw.Draw(rt, "meanwhile"), draw.Draw(rt, "after")
		v := newView(t, opts)
		var m messages
		m.say(before...)
		m.add("user_id:1|analytics", []byte("{"))
		offsets := make([]int64, len(m.keys))
		for i := range offsets {
			offsets[i] = int64(i)
		}
		if _, err := v.ApplyMessages(&schemas.LedgerMessages{Topic: "consent", Offsets: offsets, Keys: m.keys, Values: m.values}); err != nil {
			rt.Fatal(err)
		}
		want := contentsOf(v)
		s, err := v.Freeze(anchored())
		if err != nil {
			rt.Fatal(err)
		}
		if _, err := v.Freeze(anchored()); !errors.Is(err, shelf.ErrFrozen) {
			rt.Fatalf("a second snapshot at once: %v", err)
		}
		apply(t, v, meanwhile...)
		path := filepath.Join(t.TempDir(), "ledger.snapshot")
		size, err := s.Write(t.Context(), path)
		if err != nil {
			rt.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil || size != int64(len(b)) {
			rt.Fatalf("%d bytes written, %d read: %v", size, len(b), err)
		}
		loaded := load(t, b, opts)
		if diff := cmp.Diff(want, contentsOf(loaded)); diff != "" {
			rt.Fatalf("it has something else (-want +got):\n%s", diff)
		}
		apply(t, loaded, meanwhile...)
		apply(t, v, after...)
		apply(t, loaded, after...)
		if diff := cmp.Diff(contentsOf(v), contentsOf(loaded)); diff != "" {
			rt.Fatalf("it becomes something else (-want +got):\n%s", diff)
		}
	})
}

// someView has something of everything that a snapshot has a section for.
func someView(t testing.TB) *View {
	v := newView(t, Options{Reviewed: func(string, int32) int64 { return 0 }})
	var m messages
	m.say(of(user("a"), grant(email, 1)), of(user("b"), withdraw(email, 2)), of(user("a"), withdraw(email, 2)),
		linked(user("a"), mail("secret@example.org")), sharedBy(user("a"), anon("d"), 1))
	if _, err := v.ApplyMessages(&schemas.LedgerMessages{Topic: "consent", Offsets: []int64{0, 1, 2, 3, 4}, Keys: m.keys, Values: m.values}); err != nil {
		t.Fatal(err)
	}
	if v.ReviewCount() == 0 {
		t.Fatal("no review waits")
	}
	return v
}

func TestSnapshotHasNoRawIdentifier(t *testing.T) {
	if b := written(t, someView(t)); bytes.Contains(b, []byte("secret")) || bytes.Contains(b, []byte("@")) && bytes.Contains(b, []byte("example")) {
		t.Error("an identifier can be read in a snapshot")
	}
}

// TestDamagedSnapshot: one byte that is another, or missing, or too many, makes it
// no snapshot.
func TestDamagedSnapshot(t *testing.T) {
	whole := written(t, someView(t))
	try := func(what string, b []byte) {
		v, _, err := LoadSnapshot(t.Context(), bytes.NewReader(b), hashed{}, clocked(Options{}), anchored())
		if err == nil || v != nil {
			t.Errorf("%s: loaded", what)
		}
	}
	for i := range whole {
		if i%13 != 0 && i > 100 {
			continue // the shards are alike
		}
		b := slices.Clone(whole)
		b[i] ^= 0x10
		try(fmt.Sprint("byte ", i), b)
		try(fmt.Sprint("cut at ", i), whole[:i])
	}
	try("cut at the last byte", whole[:len(whole)-1])
	try("longer", append(slices.Clone(whole), 0))
	try("twice", append(slices.Clone(whole), whole...))
}

// TestForeignSnapshot: the error says what it is that differs.
func TestForeignSnapshot(t *testing.T) {
	whole := written(t, someView(t))
	for want, change := range map[string]func(*Anchor){
		"cluster":         func(a *Anchor) { a.Cluster = "there" },
		"key fingerprint": func(a *Anchor) { a.Keys = "k2" },
		"key epoch":       func(a *Anchor) { a.KeyEpoch++ },
		"vocabulary":      func(a *Anchor) { a.Words = "w2" },
	} {
		a := anchored()
		change(&a)
		if _, _, err := LoadSnapshot(t.Context(), bytes.NewReader(whole), hashed{}, clocked(Options{}), a); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name the %s", err, want)
		}
	}
	newer := slices.Clone(whole)
	newer[len(snapshotMagic)]++
	for want, b := range map[string][]byte{"format 2": newer, "no snapshot": []byte("something else"), "cut off": whole[:5]} {
		if _, _, err := LoadSnapshot(t.Context(), bytes.NewReader(b), hashed{}, clocked(Options{}), anchored()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

// TestSnapshotSectionsMustFit: sections that are whole and yet wrong are refused.
func TestSnapshotSectionsMustFit(t *testing.T) {
	whole := written(t, someView(t))
	type one struct {
		kind    section
		payload []byte
	}
	var all []one
	r, err := newSectionReader(bytes.NewReader(whole))
	for err == nil {
		var s one
		if s.kind, s.payload, err = r.next(); err == nil && s.kind == endSection {
			break
		}
		all = append(all, s)
	}
	if err != nil {
		t.Fatal(err)
	}
	at := func(kind section) int { return slices.IndexFunc(all, func(s one) bool { return s.kind == kind }) }
	replaced := func(kind section, how func([]byte) []byte) []one {
		changed := slices.Clone(all)
		changed[at(kind)].payload = how(slices.Clone(changed[at(kind)].payload))
		return changed
	}
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	for name, sections := range map[string][]one{
		"a shard is missing":       slices.Delete(slices.Clone(all), at(shardSection), at(shardSection)+1),
		"a shard is there twice":   slices.Insert(slices.Clone(all), at(shardSection), all[at(shardSection)]),
		"a shard is another":       replaced(shardSection, func(b []byte) []byte { b[0]++; return b }),
		"a shard is cut":           replaced(shardSection, cut),
		"a shard has no count":     replaced(shardSection, func(b []byte) []byte { return b[:3] }),
		"the terms are missing":    slices.Delete(slices.Clone(all), at(termSection), at(termSection)+1),
		"the terms are others":     replaced(termSection, func([]byte) []byte { return []byte("[]") }),
		"the members are missing":  slices.Delete(slices.Clone(all), at(memberSection), at(memberSection)+1),
		"a member is cut":          replaced(memberSection, cut),
		"a member is another":      replaced(memberSection, func(b []byte) []byte { b[3]++; return b }),
		"the pairs are missing":    slices.Delete(slices.Clone(all), at(pairSection), at(pairSection)+1),
		"a pair is cut":            replaced(pairSection, cut),
		"a pair is of nobody":      replaced(pairSection, func(b []byte) []byte { b[4] = 200; return b }),
		"a pair is there twice":    replaced(pairSection, func(b []byte) []byte { copy(b[pairBytes:], b[:pairBytes]); return b }),
		"the reviews are none":     replaced(reviewSection, func([]byte) []byte { return []byte(`{"Pending":"AAAA"}`) }),
		"the reviews come first":   slices.Insert(slices.Clone(all), 1, all[at(reviewSection)]),
		"what it is of comes last": append(slices.Clone(all[1:]), all[0]),
	} {
		var b bytes.Buffer
		w := newSectionWriter(&b)
		for _, s := range sections {
			w.write(s.kind, s.payload)
		}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := LoadSnapshot(t.Context(), &b, hashed{}, clocked(Options{}), anchored()); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

// TestSnapshotFile: only a whole one takes its name, for its owner's eyes only, and
// nothing else stays.
func TestSnapshotFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.snapshot")
	names := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	v := someView(t)
	freeze := func() *Snapshot {
		t.Helper()
		s, err := v.Freeze(anchored())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := freeze().Write(stopped, path); !errors.Is(err, context.Canceled) || names() != nil {
		t.Errorf("stopped: %v, and there are %v", err, names())
	}
	if _, err := freeze().Write(t.Context(), filepath.Join(dir, "none", "ledger.snapshot")); err == nil {
		t.Error("written into a folder that is not there")
	}
	freeze().Discard()
	for range 2 {
		if _, err := freeze().Write(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 || !slices.Equal(names(), []string{"ledger.snapshot"}) {
			t.Errorf("mode %v, %v: %v", info.Mode(), names(), err)
		}
		apply(t, v, of(user("c"), grant(email, 1)))
	}
}

// TestSnapshotWhileDeciding: stages, the ledger and snapshots go on at once, and
// each snapshot is of one moment: everybody in it has as many records as the
// first.
func TestSnapshotWhileDeciding(t *testing.T) {
	const subjects, rounds = perLock, 10
	v := newView(t, Options{})
	var working sync.WaitGroup
	stop := make(chan struct{})
	working.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				decideRows(t, v, contract(), row{time: 5, user: fmt.Sprint(i % subjects)}, row{time: 5, user: "0", anon: "0"})
			}
		}
	})
	working.Go(func() {
		defer close(stop)
		for range rounds {
			var b bytes.Buffer
			if err := v.WriteSnapshot(t.Context(), &b, anchored()); err != nil {
				t.Error(err)
				return
			}
			loaded := load(t, b.Bytes(), Options{})
			seen := map[int]bool{}
			for _, value := range loaded.store.shelf.All() {
				_, rest := splitIdentity(value)
				line, ok := readTimeline(rest, nil)
				if !ok {
					t.Error("a timeline cannot be read")
				}
				seen[len(line)] = true
			}
			if len(seen) > 1 {
				t.Errorf("identifiers have %v records", seen)
			}
			loaded.store.shelf.Close()
		}
	})
	for version := int64(1); ; version++ {
		select {
		case <-stop:
			working.Wait()
			return
		default:
		}
		var said []say
		for i := range subjects {
			said = append(said, of(user(fmt.Sprint(i)), grant(email, version)))
		}
		// All in one: a batch is applied under one lock if it is no longer than that.
		apply(t, v, said...)
	}
}
