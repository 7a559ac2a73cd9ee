package consent

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// linkSaid is one thing that is said of a pair.
type linkSaid struct {
	a, b    int32
	version int64
	kind    linkKind
}

type linkKind uint8

const (
	saysLink linkKind = iota
	saysShared
	saysUnlink
	saysUnreadable
	declares // a is shared
)

func (s linkSaid) to(g *graph) outcome {
	switch s.kind {
	case saysLink, saysShared:
		return g.link(s.a, s.b, s.version, s.kind == saysShared)
	case saysUnlink:
		return g.unlink(s.a, s.b, s.version)
	case saysUnreadable:
		g.unreadable(s.a, s.b)
	case declares:
		g.declare(s.a)
	}
	return added
}

// linkModel is a list of what was said, read from the top for every question.
type linkModel struct {
	most int
	said []linkSaid
}

// standing is what counts of a pair.
type standing struct{ linked, broken, firstShared, secondShared bool }

func (m *linkModel) of(a, b int32) (s standing) {
	highest, known := int64(0), false
	var stand []linkSaid
	unread := false
	for _, x := range m.said {
		if x.kind == declares || min(x.a, x.b) != min(a, b) || max(x.a, x.b) != max(a, b) || a == b {
			continue
		}
		if x.kind == saysUnreadable {
			unread = true
			continue
		}
		if !known || x.version > highest {
			highest, known, unread, stand = x.version, true, false, nil
		}
		if x.version == highest {
			stand = append(stand, x)
		}
	}
	s.broken = unread
	for _, x := range stand {
		s.linked = s.linked || x.kind != saysUnlink
		s.firstShared = s.firstShared || x.kind == saysShared && x.b == a
		s.secondShared = s.secondShared || x.kind == saysShared && x.b == b
		s.broken = s.broken || x.kind != stand[0].kind || x.kind == saysShared && x.b != stand[0].b
	}
	return s
}

// seen is all that can be known of an identifier.
type seen struct {
	Closure        []int32 // nil when it is capped
	Capped         bool
	Shared, Broken bool
	Sharing        []int32
}

func (m *linkModel) see(vertices int32) []seen {
	all := make([]seen, vertices)
	pairs := map[[2]int32]standing{}
	for _, x := range m.said {
		if x.kind == declares {
			all[x.a].Shared = true
			continue
		}
		for _, p := range [...][2]int32{{x.a, x.b}, {x.b, x.a}} {
			if _, ok := pairs[p]; !ok {
				pairs[p] = m.of(p[0], p[1])
			}
			s := pairs[p]
			all[p[0]].Broken = all[p[0]].Broken || s.broken
			all[p[0]].Shared = all[p[0]].Shared || s.linked && s.firstShared
		}
	}
	for v := range all {
		s := &all[v]
		s.Closure = []int32{int32(v)}
		for i := 0; i < len(s.Closure); i++ {
			for p, stands := range pairs {
				if p[0] != s.Closure[i] || !stands.linked {
					continue
				}
				passes := !all[p[0]].Shared && !all[p[1]].Shared
				if passes && !slices.Contains(s.Closure, p[1]) {
					s.Closure = append(s.Closure, p[1])
				}
				if i == 0 && !passes {
					s.Sharing = append(s.Sharing, p[1])
				}
			}
		}
		slices.Sort(s.Closure)
		slices.Sort(s.Sharing)
		if len(s.Closure) > m.most {
			s.Closure, s.Capped = nil, true
		}
	}
	return all
}

// see asks a graph what the model is asked.
func (g *graph) see(t interface{ Fatalf(string, ...any) }) []seen {
	all := make([]seen, g.vertices.count)
	closures, outgrown := map[int32]bool{}, 0
	for v := range all {
		at := int32(v)
		s := seen{Capped: g.capped(at), Shared: g.shared(at), Broken: g.broken(at)}
		s.Sharing = slices.Sorted(g.sharing(at))
		closure := slices.Collect(g.closure(at))
		if closure[0] != at || s.Capped && len(closure) != 1 {
			t.Fatalf("closure of %d, capped %t: %v", at, s.Capped, closure)
		}
		slices.Sort(closure)
		if s.Capped {
			outgrown++
		} else {
			s.Closure = closure
			closures[closure[0]] = true
		}
		all[v] = s
	}
	if g.closures != len(closures) || g.outgrown != outgrown {
		t.Fatalf("%d closures and %d identifiers beyond, counted as %d and %d", len(closures), outgrown, g.closures, g.outgrown)
	}
	return all
}

func newGraph(most int, vertices int32) *graph {
	g := &graph{maxLinked: most}
	for v := range vertices {
		g.add(numbered(uint64(v)))
	}
	return g
}

// again makes a graph of the pairs of another.
func again(g *graph, declared []linkSaid) *graph {
	other := newGraph(g.maxLinked, int32(g.vertices.count))
	for _, s := range declared {
		s.to(other)
	}
	for p := range g.pairings() {
		other.restore(p)
	}
	other.settle(nil)
	return other
}

const manyKinds = 9

func drawLinks(t *rapid.T, vertices int32, readable bool) (said []linkSaid) {
	vertex := rapid.Int32Range(0, vertices-1)
	kinds := []linkKind{saysLink, saysLink, saysLink, saysLink, saysUnlink, saysUnlink, saysShared, saysUnreadable, declares}
	if readable {
		kinds = kinds[:manyKinds-2]
	}
	declared := map[int32]bool{}
	for range rapid.IntRange(0, 30).Draw(t, "links") {
		s := linkSaid{vertex.Draw(t, "a"), vertex.Draw(t, "b"), rapid.Int64Range(-1, 5).Draw(t, "version"), rapid.SampledFrom(kinds).Draw(t, "kind")}
		if s.kind == declares {
			if declared[s.a] || rapid.IntRange(0, 2).Draw(t, "rarely") > 0 {
				continue
			}
			declared[s.a] = true
		}
		said = append(said, s)
	}
	return said
}

// TestGraphIsTheModel says links in batches, and after each of them the graph
// knows what the model does, names whoever it has something new of, and nobody
// else but ends of what was said.
func TestGraphIsTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		vertices := rapid.Int32Range(2, 12).Draw(rt, "identifiers")
		most := rapid.IntRange(2, 6).Draw(rt, "most")
		g, m := newGraph(most, vertices), &linkModel{most: most}
		g.round = rapid.SampledFrom([]uint32{0, 1<<31 - 3}).Draw(rt, "round")
		before := g.see(rt)
		var declared []linkSaid
		for range rapid.IntRange(1, 5).Draw(rt, "batches") {
			said := drawLinks(rt, vertices, false)
			ends := map[int32]bool{}
			for _, s := range said {
				if s.kind == declares {
					if slices.ContainsFunc(declared, func(d linkSaid) bool { return d.a == s.a }) {
						continue
					}
					declared = append(declared, s)
				}
				s.to(g)
				m.said = append(m.said, s)
				ends[s.a], ends[s.b] = true, true
			}
			changed := g.settle(nil)
			now := g.see(rt)
			if diff := cmp.Diff(m.see(vertices), now); diff != "" {
				rt.Fatalf("%v\n(-model +graph):\n%s", m.said, diff)
			}
			if !slices.IsSorted(changed) || len(slices.Compact(slices.Clone(changed))) != len(changed) {
				rt.Fatalf("changed are %v", changed)
			}
			for v := range vertices {
				// Of one that is not shared, whom it shares concerns its own rows in nothing.
				was, is := before[v], now[v]
				if !was.Shared && !is.Shared {
					was.Sharing, is.Sharing = nil, nil
				}
				if other := cmp.Diff(was, is) != ""; other && !slices.Contains(changed, v) || !other && slices.Contains(changed, v) && !ends[v] {
					rt.Fatalf("%d was %+v, is %+v, changed are %v", v, was, is, changed)
				}
			}
			before = now
		}
		if diff := cmp.Diff(before, again(g, declared).see(rt)); diff != "" {
			rt.Fatalf("made again from its pairs (-graph +again):\n%s", diff)
		}
	})
}

// TestGraphOrderOfDelivery: the same records in another order, other batches, and
// some of them again, are the same graph.
func TestGraphOrderOfDelivery(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		vertices := rapid.Int32Range(2, 12).Draw(rt, "identifiers")
		said := drawLinks(rt, vertices, true)
		most := rapid.IntRange(2, 6).Draw(rt, "most")
		first, second := newGraph(most, vertices), newGraph(most, vertices)
		for _, s := range said {
			s.to(first)
		}
		first.settle(nil)
		if len(said) > 0 {
			twice := append(slices.Clone(said), rapid.SliceOfN(rapid.SampledFrom(said), 0, 5).Draw(rt, "again")...)
			for _, s := range rapid.Permutation(twice).Draw(rt, "shuffled") {
				s.to(second)
				if rapid.Bool().Draw(rt, "settle") {
					second.settle(nil)
				}
			}
			second.settle(nil)
		}
		if diff := cmp.Diff(first.see(rt), second.see(rt)); diff != "" {
			rt.Fatalf("%v (-in order +shuffled):\n%s", said, diff)
		}
		if len(said) > 0 {
			for p := range first.pairings() {
				_, id := second.find([2]int32{p.a, p.b})
				e := second.edges.at(id)
				if e.version != p.version || e.says != p.says {
					rt.Fatalf("a pair says %d %d and shuffled %d %d", p.version, p.says, e.version, e.says)
				}
			}
		}
	})
}

func chainOf(vertices ...int32) (said []linkSaid) {
	for i := range len(vertices) - 1 {
		said = append(said, linkSaid{vertices[i], vertices[i+1], 1, saysLink})
	}
	return said
}

func TestGraph(t *testing.T) {
	link := func(a, b int32, version int64) linkSaid { return linkSaid{a, b, version, saysLink} }
	shared := func(a, b int32, version int64) linkSaid { return linkSaid{a, b, version, saysShared} }
	unlink := func(a, b int32, version int64) linkSaid { return linkSaid{a, b, version, saysUnlink} }
	all := func(said ...[]linkSaid) []linkSaid { return slices.Concat(said...) }
	ring := append(chainOf(0, 1, 2, 3), link(3, 0, 1))
	for _, c := range []struct {
		name    string
		most    int
		before  []linkSaid
		then    []linkSaid
		of      int32
		want    seen
		changed []int32 // by then
	}{
		{name: "nothing", want: seen{Closure: []int32{0}}},
		{name: "an identifier and itself are no pair", then: []linkSaid{link(0, 0, 1), unlink(0, 0, 2), {0, 0, 0, saysUnreadable}}, want: seen{Closure: []int32{0}}},
		{name: "links add up", then: chainOf(0, 1, 2), want: seen{Closure: []int32{0, 1, 2}}, changed: []int32{0, 1, 2}},
		{name: "a cycle is one closure", then: ring, want: seen{Closure: []int32{0, 1, 2, 3}}, changed: []int32{0, 1, 2, 3}},
		{name: "a link inside of a closure changes nothing", before: chainOf(0, 1, 2), then: []linkSaid{link(0, 2, 1)}, want: seen{Closure: []int32{0, 1, 2}}},
		{name: "an unlink in a cycle changes nothing", before: ring, then: []linkSaid{unlink(1, 2, 2)}, want: seen{Closure: []int32{0, 1, 2, 3}}},
		{name: "a second one parts it", before: append(ring, unlink(1, 2, 2)), then: []linkSaid{unlink(3, 0, 2)},
			want: seen{Closure: []int32{0, 1}}, changed: []int32{0, 1, 2, 3}},
		{name: "two closures merge", before: all(chainOf(0, 1, 2), chainOf(3, 4, 5)), then: []linkSaid{link(2, 3, 1)},
			want: seen{Closure: []int32{0, 1, 2, 3, 4, 5}}, changed: []int32{0, 1, 2, 3, 4, 5}},
		{name: "an unlink in the middle", before: chainOf(0, 1, 2, 3, 4, 5), then: []linkSaid{unlink(3, 2, 2)},
			want: seen{Closure: []int32{0, 1, 2}}, changed: []int32{0, 1, 2, 3, 4, 5}},
		{name: "an unlink at the end", before: chainOf(0, 1, 2), then: []linkSaid{unlink(1, 2, 2)}, of: 2,
			want: seen{Closure: []int32{2}}, changed: []int32{0, 1, 2}},
		{name: "linked again", before: all(chainOf(0, 1, 2), []linkSaid{unlink(1, 2, 2)}), then: []linkSaid{link(2, 1, 3)},
			want: seen{Closure: []int32{0, 1, 2}}, changed: []int32{0, 1, 2}},
		{name: "unlinked and linked again at once changes nothing", before: chainOf(0, 1, 2), then: []linkSaid{unlink(1, 2, 2), link(1, 2, 3)},
			want: seen{Closure: []int32{0, 1, 2}}},
		{name: "a link of a lower version comes late", before: []linkSaid{unlink(0, 1, 5)}, then: []linkSaid{link(0, 1, 4)}, want: seen{Closure: []int32{0}}},
		{name: "an unlink of a lower version comes late", before: []linkSaid{link(0, 1, 5)}, then: []linkSaid{unlink(1, 0, 4)}, want: seen{Closure: []int32{0, 1}}},
		{name: "a link and an unlink of one version", before: []linkSaid{link(0, 1, 5)}, then: []linkSaid{unlink(1, 0, 5)},
			want: seen{Closure: []int32{0, 1}, Broken: true}, changed: []int32{0, 1}},
		{name: "they count until a higher version", before: []linkSaid{unlink(0, 1, 5), link(0, 1, 5)}, then: []linkSaid{unlink(1, 0, 6)},
			want: seen{Closure: []int32{0}}, changed: []int32{0, 1}},
		{name: "a link that cannot be read", before: []linkSaid{link(0, 1, 5)}, then: []linkSaid{{1, 0, 0, saysUnreadable}},
			want: seen{Closure: []int32{0, 1}, Broken: true}, changed: []int32{0, 1}},
		{name: "it is broken under the version that it has", before: []linkSaid{link(0, 1, 5), {1, 0, 0, saysUnreadable}}, then: []linkSaid{link(0, 1, 5)},
			want: seen{Closure: []int32{0, 1}, Broken: true}},
		{name: "and no longer with a higher one", before: []linkSaid{link(0, 1, 5), {1, 0, 0, saysUnreadable}}, then: []linkSaid{link(0, 1, 6)},
			want: seen{Closure: []int32{0, 1}}, changed: []int32{0, 1}},
		{name: "of a pair that has none, with any", before: []linkSaid{{1, 0, 0, saysUnreadable}}, then: []linkSaid{unlink(0, 1, -9)},
			want: seen{Closure: []int32{0}}, changed: []int32{0, 1}},
		{name: "two broken pairs of one identifier", before: []linkSaid{{1, 0, 0, saysUnreadable}, {0, 2, 0, saysUnreadable}}, then: []linkSaid{unlink(0, 1, 1)},
			want: seen{Closure: []int32{0}, Broken: true}, changed: []int32{0, 1}},
		{name: "nothing passes through a shared end", then: []linkSaid{shared(0, 5, 1), link(1, 5, 1), link(5, 2, 1)}, of: 5,
			want: seen{Closure: []int32{5}, Shared: true, Sharing: []int32{0, 1, 2}}, changed: []int32{5}},
		{name: "a shared end parts who was linked by it", before: []linkSaid{link(0, 5, 1), link(1, 5, 1)}, then: []linkSaid{shared(1, 5, 2)},
			want: seen{Closure: []int32{0}, Sharing: []int32{5}}, changed: []int32{0, 1, 5}},
		{name: "an end that is shared no longer joins them", before: []linkSaid{link(0, 5, 1), shared(1, 5, 2)}, then: []linkSaid{link(1, 5, 3)},
			want: seen{Closure: []int32{0, 1, 5}}, changed: []int32{0, 1, 5}},
		{name: "nor is one that is unlinked", before: []linkSaid{link(0, 5, 1), link(5, 2, 1), shared(1, 5, 2)}, then: []linkSaid{unlink(1, 5, 3)},
			want: seen{Closure: []int32{0, 2, 5}}, changed: []int32{0, 2, 5}},
		{name: "shared by two, and still by one", before: []linkSaid{shared(0, 5, 1), shared(1, 5, 1)}, then: []linkSaid{unlink(1, 5, 3)}, of: 5,
			want: seen{Closure: []int32{5}, Shared: true, Sharing: []int32{0}}, changed: []int32{5}},
		{name: "shared in one of two records of one version", before: []linkSaid{link(0, 5, 1)}, then: []linkSaid{shared(0, 5, 1)}, of: 5,
			want: seen{Closure: []int32{5}, Shared: true, Broken: true, Sharing: []int32{0}}, changed: []int32{0, 5}},
		{name: "declared", before: []linkSaid{link(0, 5, 1), link(1, 5, 1)}, then: []linkSaid{{a: 5, kind: declares}}, of: 5,
			want: seen{Closure: []int32{5}, Shared: true, Sharing: []int32{0, 1}}, changed: []int32{0, 1, 5}},
		{name: "the cap", most: 3, before: chainOf(0, 1, 2), then: chainOf(2, 3), want: seen{Capped: true}, changed: []int32{0, 1, 2, 3}},
		{name: "what is linked with a capped closure", most: 3, before: all(chainOf(0, 1, 2, 3, 4), chainOf(5, 6)), then: chainOf(6, 2), of: 5,
			want: seen{Capped: true}, changed: []int32{5, 6}},
		{name: "two capped closures", most: 2, before: all(chainOf(0, 1, 2), chainOf(3, 4, 5)), then: chainOf(2, 3), want: seen{Capped: true}},
		{name: "an unlink below the cap", most: 3, before: chainOf(0, 1, 2, 3), then: []linkSaid{unlink(1, 2, 2)},
			want: seen{Closure: []int32{0, 1}}, changed: []int32{0, 1, 2, 3}},
		{name: "an unlink of which one side is below the cap", most: 3, before: chainOf(0, 1, 2, 3, 4, 5), then: []linkSaid{unlink(1, 2, 2)},
			want: seen{Closure: []int32{0, 1}}, changed: []int32{0, 1}},
		{name: "an unlink that leaves both sides beyond", most: 2, before: chainOf(0, 1, 2, 3, 4, 5), then: []linkSaid{unlink(2, 3, 2)}, want: seen{Capped: true}},
		{name: "a shared hub of more than the cap is no closure", most: 2, before: []linkSaid{link(0, 5, 1), link(1, 5, 1), link(2, 5, 1)}, then: []linkSaid{shared(3, 5, 1)},
			want: seen{Closure: []int32{0}, Sharing: []int32{5}}, changed: []int32{0, 1, 2, 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.most == 0 {
				c.most = 6
			}
			g := newGraph(c.most, 7)
			for _, s := range c.before {
				s.to(g)
			}
			g.settle(nil)
			for _, s := range c.then {
				s.to(g)
			}
			changed := g.settle(nil)
			if diff := cmp.Diff(c.want, g.see(t)[c.of]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.changed, changed); diff != "" {
				t.Errorf("changed (-want +got):\n%s", diff)
			}
			if left := g.settle([]int32{9}); !slices.Equal(left, []int32{9}) {
				t.Errorf("once more: %v", left)
			}
		})
	}
}

func TestGraphOutcomes(t *testing.T) {
	g := newGraph(4, 3)
	for i, c := range []struct {
		said linkSaid
		want outcome
	}{
		{linkSaid{0, 1, 5, saysLink}, added},
		{linkSaid{1, 0, 5, saysLink}, duplicate},
		{linkSaid{1, 0, 4, saysUnlink}, late},
		{linkSaid{0, 1, 5, saysUnlink}, tie},
		{linkSaid{0, 1, 5, saysUnlink}, duplicate},
		{linkSaid{0, 1, 5, saysShared}, tie},
		{linkSaid{1, 0, 6, saysUnlink}, added},
		{linkSaid{1, 1, 6, saysLink}, duplicate},
	} {
		if got := c.said.to(g); got != c.want {
			t.Errorf("%d: outcome %d, want %d", i, got, c.want)
		}
	}
	if *g.name(2) != numbered(2) || *g.name(1) != numbered(1) {
		t.Error("a name is another's")
	}
}

// TestGraphIsNotQuadratic counts the steps of searches while very many are linked
// and unlinked, in big batches and one by one.
func TestGraphIsNotQuadratic(t *testing.T) {
	const many, most = 100_000, 64
	r := rand.New(rand.NewPCG(1, 2))
	hub := func(i int32) (int32, int32) { return 0, i + 1 }
	chain := func(i int32) (int32, int32) { return i, i + 1 }
	tree := func(i int32) (int32, int32) { return i / 2, i + 1 }
	for name, pair := range map[string]func(int32) (int32, int32){"a hub": hub, "a chain": chain, "a tree": tree} {
		for _, size := range []int{1, perLock} {
			t.Run(fmt.Sprint(name, " in batches of ", size), func(t *testing.T) {
				g := newGraph(most, many+1)
				changes := 0
				for _, kind := range []linkKind{saysLink, saysUnlink, saysLink} {
					order := r.Perm(many)
					for part := range slices.Chunk(order, size) {
						for _, i := range part {
							a, b := pair(int32(i))
							linkSaid{a, b, int64(g.round) + 1, kind}.to(g)
						}
						changes += len(g.settle(nil))
					}
					outgrown, closures := many+1, 0
					if kind == saysUnlink {
						outgrown, closures = 0, many+1
					}
					if g.outgrown != outgrown || g.closures != closures {
						t.Fatalf("%d identifiers beyond the cap and %d closures, want %d and %d", g.outgrown, g.closures, outgrown, closures)
					}
				}
				// A search finds at most the cap, and a change names at most both sides.
				if limit := 2 * most * 3 * many; changes > limit || int(g.round) > limit {
					t.Errorf("%d changes in %d searches", changes, g.round)
				}
			})
		}
	}
}

// TestGraphStaysSmall: what an identifier and a pair take.
func TestGraphStaysSmall(t *testing.T) {
	const vertices, pairs = 50_000, 100_000
	g := newGraph(64, vertices)
	r := rand.New(rand.NewPCG(1, 2))
	want := map[[2]int32]bool{}
	for len(want) < pairs {
		a, b := r.Int32N(vertices), r.Int32N(vertices)
		if a != b {
			g.link(a, b, 1, false)
			want[[2]int32{min(a, b), max(a, b)}] = true
		}
		if len(want)%perLock == 0 {
			g.settle(nil)
		}
	}
	g.settle(nil)
	got := map[[2]int32]bool{}
	for p := range g.pairings() {
		got[[2]int32{p.a, p.b}] = true
	}
	if !maps.Equal(want, got) {
		t.Errorf("%d pairs, want %d", len(got), len(want))
	}
	if bytes := 40*len(g.edges.pages)*pageSize + 4*len(g.index); bytes > 52*pairs+40*pageSize {
		t.Errorf("%d pairs take %d bytes", pairs, bytes)
	}
	if g.said != nil && cap(g.said) > pageSize {
		t.Error("the list of what was said keeps its memory")
	}
}

// BenchmarkGraph links and unlinks subjects of three identifiers each.
func BenchmarkGraph(b *testing.B) {
	const subjects = 100_000
	g := newGraph(64, 3*subjects)
	version := int64(0)
	for b.Loop() {
		version++
		for i := range int32(subjects) {
			g.link(3*i, 3*i+1, version, false)
			g.link(3*i+1, 3*i+2, version, false)
			if version%2 == 0 {
				g.unlink(3*i, 3*i+1, version+1)
			}
			if i%500 == 0 {
				g.settle(nil)
			}
		}
		g.settle(nil)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(2*subjects), "ns/link")
}
