package kafka

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	kafkago "github.com/segmentio/kafka-go"
	"pgregory.net/rapid"

	"lupa/pipeline"
)

// crowd is the members of a group and what they own.
type crowd struct {
	counts map[string]int
	topics []string
	owns   map[string]map[string][]int
	epoch  int32
}

func (c *crowd) members() []kafkago.GroupMember {
	var list []kafkago.GroupMember
	for id, owned := range c.owns {
		data, err := json.Marshal(membership{Version: membershipVersion, Generation: c.epoch, Owned: owned, Counts: c.counts})
		if err != nil {
			panic(err)
		}
		list = append(list, kafkago.GroupMember{ID: id, Topics: c.topics, UserData: data})
	}
	return list
}

func (c *crowd) partitions() []kafkago.Partition {
	var list []kafkago.Partition
	for t, n := range c.counts {
		for id := range n {
			list = append(list, kafkago.Partition{Topic: t, ID: id})
		}
	}
	return list
}

// holders inverts an assignment, and gives an error for a partition that is
// there twice.
func holders(a kafkago.GroupMemberAssignments) (map[pipeline.Partition]string, error) {
	held := make(map[pipeline.Partition]string)
	for id, topics := range a {
		for t, list := range topics {
			for _, n := range list {
				p := pipeline.Partition{Topic: t, ID: int32(n)}
				if other, ok := held[p]; ok {
					return nil, fmt.Errorf("%s is %s's and %s's", p, id, other)
				}
				held[p] = id
			}
		}
	}
	return held, nil
}

// keepable is how many partitions can stay where they are when all members end
// up with as many, but for one.
func keepable(owned map[string]int, total int) int {
	var loads []int
	for _, n := range owned {
		loads = append(loads, n)
	}
	slices.Sort(loads)
	slices.Reverse(loads)
	keep := 0
	for i, n := range loads {
		quota := total / len(loads)
		if i < total%len(loads) {
			quota++
		}
		keep += min(n, quota)
	}
	return keep
}

// Members come and go. Each time every partition is somebody's, nobody has two
// more than another, and as many stay where they are as can.
func TestStickyIsEvenAndMovesLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &crowd{counts: map[string]int{}, owns: map[string]map[string][]int{}}
		for i := range rapid.IntRange(1, 3).Draw(t, "topics") {
			name := fmt.Sprint("t", i)
			c.topics = append(c.topics, name)
			c.counts[name] = rapid.IntRange(1, 9).Draw(t, name)
		}
		names, before := 0, map[pipeline.Partition]string{}
		for range rapid.IntRange(1, 8).Draw(t, "rounds") {
			switch what := rapid.IntRange(0, 4).Draw(t, "what"); {
			case what == 0 && len(c.owns) > 1:
				gone := rapid.SampledFrom(slices.Sorted(maps.Keys(c.owns))).Draw(t, "gone")
				delete(c.owns, gone)
			case what == 1 && len(c.owns) > 0:
				c.counts[rapid.SampledFrom(c.topics).Draw(t, "grows")]++
			default:
				c.owns[fmt.Sprint("m", names)] = nil
				names++
			}
			s := &sticky{}
			members := c.members()
			got := s.AssignGroups(members, c.partitions())
			again := s.AssignGroups(rapid.Permutation(members).Draw(t, "order"), rapid.Permutation(c.partitions()).Draw(t, "parts"))
			if d := cmp.Diff(got, again); d != "" {
				t.Fatalf("another order gives another assignment: %s", d)
			}
			held, err := holders(got)
			if err != nil {
				t.Fatal(err)
			}
			if len(held) != len(c.partitions()) {
				t.Fatalf("%d of %d partitions are assigned", len(held), len(c.partitions()))
			}
			loads, owned := map[string]int{}, map[string]int{}
			for id := range c.owns {
				loads[id], owned[id] = 0, 0
			}
			for _, id := range held {
				loads[id]++
			}
			if least, most := span(loads); most-least > 1 {
				t.Fatalf("loads of %d to %d", least, most)
			}
			kept := 0
			for p, id := range before {
				if _, lives := c.owns[id]; lives {
					owned[id]++
					if held[p] == id {
						kept++
					}
				}
			}
			if want := keepable(owned, len(held)); kept != want {
				t.Fatalf("%d partitions stay, %d could", kept, want)
			}
			before = held
			c.epoch++
			for id := range c.owns {
				c.owns[id] = got[id]
			}
		}
	})
}

func span(loads map[string]int) (least, most int) {
	least = 1 << 30
	for _, n := range loads {
		least, most = min(least, n), max(most, n)
	}
	return least, most
}

// What members say of themselves may be anything, and they may want different
// topics.
func TestStickyBelievesLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topics := []string{"a", "b", "c"}
		var parts []kafkago.Partition
		counts := map[string]int{}
		for _, name := range topics {
			counts[name] = rapid.IntRange(0, 6).Draw(t, name)
			for id := range counts[name] {
				parts = append(parts, kafkago.Partition{Topic: name, ID: id})
			}
		}
		var members []kafkago.GroupMember
		wanted := map[string]bool{}
		wants := map[string][]string{}
		for i := range rapid.IntRange(1, 5).Draw(t, "members") {
			m := kafkago.GroupMember{ID: fmt.Sprint("m", i), Topics: rapid.SliceOfDistinct(rapid.SampledFrom(topics), rapid.ID).Draw(t, "wants")}
			switch rapid.IntRange(0, 2).Draw(t, "says") {
			case 0:
				m.UserData = rapid.SliceOf(rapid.Byte()).Draw(t, "garbage")
			case 1: // a lie of the right form
				said := membership{Version: membershipVersion, Generation: rapid.Int32().Draw(t, "generation"), Owned: map[string][]int{}}
				for _, name := range append(topics, "none") {
					said.Owned[name] = rapid.SliceOfN(rapid.IntRange(-3, 9), 0, 9).Draw(t, "owned")
				}
				m.UserData, _ = json.Marshal(said)
			}
			for _, name := range m.Topics {
				wanted[name] = true
			}
			wants[m.ID] = m.Topics
			members = append(members, m)
		}
		got := (&sticky{}).AssignGroups(members, parts)
		held, err := holders(got)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			id, ok := held[pipeline.Partition{Topic: p.Topic, ID: int32(p.ID)}]
			if ok != wanted[p.Topic] {
				t.Fatalf("%s/%d is assigned: %v, wanted: %v", p.Topic, p.ID, ok, wanted[p.Topic])
			}
			if ok && !slices.Contains(wants[id], p.Topic) {
				t.Fatalf("%s got %s/%d, which it does not want", id, p.Topic, p.ID)
			}
		}
		for p := range held {
			if int(p.ID) >= counts[p.Topic] {
				t.Fatalf("%s is assigned, which is not there", p)
			}
		}
		if len(got) != len(members) {
			t.Fatalf("%d of %d members have an assignment", len(got), len(members))
		}
	})
}

// A leader whose broker has not heard of new partitions deals out those that
// another member knows of.
func TestStickyDealsOutWhatAnyMemberKnows(t *testing.T) {
	data, err := json.Marshal(membership{Version: membershipVersion, Counts: map[string]int{"a": 3, "b": 9}})
	if err != nil {
		t.Fatal(err)
	}
	members := []kafkago.GroupMember{{ID: "m", Topics: []string{"a"}, UserData: data}}
	got := (&sticky{}).AssignGroups(members, []kafkago.Partition{{Topic: "a", ID: 0}})
	want := kafkago.GroupMemberAssignments{"m": {"a": {0, 1, 2}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Of two that both say they have a partition, the one that was given it last
// keeps it: the other was away.
func TestStickyBelievesTheLatest(t *testing.T) {
	member := func(id string, generation int32) kafkago.GroupMember {
		data, err := json.Marshal(membership{Version: membershipVersion, Generation: generation, Owned: map[string][]int{"a": {0, 1}}})
		if err != nil {
			t.Fatal(err)
		}
		return kafkago.GroupMember{ID: id, Topics: []string{"a"}, UserData: data}
	}
	parts := []kafkago.Partition{{Topic: "a", ID: 0}, {Topic: "a", ID: 1}, {Topic: "a", ID: 2}, {Topic: "a", ID: 3}}
	for _, latest := range []string{"x", "y"} {
		got := (&sticky{}).AssignGroups([]kafkago.GroupMember{
			member("x", map[bool]int32{true: 7, false: 3}[latest == "x"]), member("y", map[bool]int32{true: 7, false: 3}[latest == "y"]),
		}, parts)
		if d := cmp.Diff([]int{0, 1}, got[latest]["a"]); d != "" {
			t.Errorf("%s was given them last: %s", latest, d)
		}
	}
}
