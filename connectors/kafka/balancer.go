package kafka

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	kafkago "github.com/segmentio/kafka-go"

	"lupa/pipeline"
)

// sticky deals partitions out to the members of a group: as evenly as can be
// over all topics together, and so that as few as can be change hands. Members
// say, in what they send when they join, which partitions they had and how
// many they know of, so a leader whose own metadata are older leaves none out.
type sticky struct {
	// counts gives how many partitions each topic has; it may give nothing.
	counts func() map[string]int

	mu         sync.Mutex
	owned      []pipeline.Partition
	generation int32
}

var _ kafkago.GroupBalancer = (*sticky)(nil)

// membership is what a member says of itself.
type membership struct {
	Version    int              `json:"v"`
	Generation int32            `json:"generation"`
	Owned      map[string][]int `json:"owned,omitempty"`
	Counts     map[string]int   `json:"counts,omitempty"`
}

const (
	membershipVersion = 1
	maxPartitions     = 1 << 20 // of a topic, that is believed
)

// own notes what this member was given last.
func (s *sticky) own(parts []pipeline.Partition, generation int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owned, s.generation = slices.Clone(parts), generation
}

// ProtocolName is what all members must agree on.
func (s *sticky) ProtocolName() string { return "lupa-sticky" }

// UserData is sent with each request to join.
func (s *sticky) UserData() ([]byte, error) {
	m := membership{Version: membershipVersion, Counts: s.counts()}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.Generation = s.generation
	for _, p := range s.owned {
		if m.Owned == nil {
			m.Owned = make(map[string][]int)
		}
		m.Owned[p.Topic] = append(m.Owned[p.Topic], int(p.ID))
	}
	return json.Marshal(m)
}

// parseMembership gives nothing for what is not one: such a member owns and
// knows nothing.
func parseMembership(data []byte) membership {
	var m membership
	d := json.NewDecoder(bytes.NewReader(data))
	if d.Decode(&m) != nil || d.More() || m.Version != membershipVersion {
		return membership{}
	}
	return m
}

// player is a member of the group, as the leader sees it.
type player struct {
	id     string
	topics map[string]bool
	said   membership
	parts  []pipeline.Partition // ascending
}

// AssignGroups deals all partitions out, the same way whoever leads.
func (s *sticky) AssignGroups(members []kafkago.GroupMember, partitions []kafkago.Partition) kafkago.GroupMemberAssignments {
	counts := make(map[string]int)
	for _, p := range partitions {
		counts[p.Topic] = max(counts[p.Topic], p.ID+1)
	}
	var players []*player
	for _, m := range members {
		p := &player{id: m.ID, topics: make(map[string]bool), said: parseMembership(m.UserData)}
		for _, t := range m.Topics {
			p.topics[t] = true
		}
		for t, n := range p.said.Counts {
			if p.topics[t] && n > counts[t] && n <= maxPartitions {
				counts[t] = n
			}
		}
		players = append(players, p)
	}
	deal(players, counts)
	result := make(kafkago.GroupMemberAssignments, len(players))
	for _, p := range players {
		given := make(map[string][]int)
		for _, part := range p.parts {
			given[part.Topic] = append(given[part.Topic], int(part.ID))
		}
		result[p.id] = given
	}
	return result
}

// deal gives every partition to one of those who want its topic: to the one
// that had it, else to whom has the fewest. Then partitions move from whom has
// most to whom has fewest, until nobody has two more than another.
func deal(players []*player, counts map[string]int) {
	slices.SortFunc(players, func(a, b *player) int { return cmp.Compare(a.id, b.id) })
	owners := owners(players, counts)
	var free []pipeline.Partition
	for _, t := range slices.Sorted(maps.Keys(counts)) {
		for id := range counts[t] {
			part := pipeline.Partition{Topic: t, ID: int32(id)}
			if o := owners[part]; o != nil {
				o.parts = append(o.parts, part)
			} else {
				free = append(free, part)
			}
		}
	}
	for _, part := range free {
		var least *player
		for _, p := range players {
			if p.topics[part.Topic] && (least == nil || len(p.parts) < len(least.parts)) {
				least = p
			}
		}
		if least != nil {
			least.parts = append(least.parts, part)
		}
	}
	for level(players) {
	}
	for _, p := range players {
		slices.SortFunc(p.parts, byTopic)
	}
}

// owners tells who had each partition. Of several who say so, the one of the
// latest generation had it last.
func owners(players []*player, counts map[string]int) map[pipeline.Partition]*player {
	list := make(map[pipeline.Partition]*player)
	for _, p := range players {
		for t, ids := range p.said.Owned {
			for _, id := range ids {
				if !p.topics[t] || id < 0 || id >= counts[t] {
					continue
				}
				part := pipeline.Partition{Topic: t, ID: int32(id)}
				if o := list[part]; o == nil || p.said.Generation > o.said.Generation {
					list[part] = p
				}
			}
		}
	}
	return list
}

// level moves one partition and reports whether that was needed. Among equals
// the first gives and the first takes; what was dealt last goes first.
func level(players []*player) bool {
	var from, to *player
	at := -1
	for _, a := range players {
		for _, b := range players {
			gap := len(a.parts) - len(b.parts)
			if gap < 2 || from != nil && gap <= len(from.parts)-len(to.parts) {
				continue
			}
			for i := len(a.parts) - 1; i >= 0; i-- {
				if b.topics[a.parts[i].Topic] {
					from, to, at = a, b, i
					break
				}
			}
		}
	}
	if from == nil {
		return false
	}
	to.parts = append(to.parts, from.parts[at])
	from.parts = slices.Delete(from.parts, at, at+1)
	return true
}
