package kafka

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"lupa/pipeline"
)

// Nothing but an offset of every partition passes for their ends.
func TestOffsetsPassWholeOrNotAtAll(t *testing.T) {
	p0, p1 := pipeline.Partition{Topic: "x"}, pipeline.Partition{Topic: "x", ID: 1}
	for _, test := range []struct {
		name string
		list []listoffsets.ResponsePartition
		ok   bool
	}{
		{"both", []listoffsets.ResponsePartition{{Partition: 0, Offset: 3}, {Partition: 1, Offset: 0}}, true},
		{"an error beside an offset", []listoffsets.ResponsePartition{{Partition: 0, Offset: 3}, {Partition: 1, ErrorCode: 78, Offset: 5}}, false},
		{"an error without one", []listoffsets.ResponsePartition{{Partition: 0, Offset: 3}, {Partition: 1, ErrorCode: 78, Offset: -1}}, false},
		{"no error and no offset", []listoffsets.ResponsePartition{{Partition: 0, Offset: 3}, {Partition: 1, Offset: -1}}, false},
		{"one left out", []listoffsets.ResponsePartition{{Partition: 0, Offset: 3}}, false},
		{"twice", []listoffsets.ResponsePartition{{Partition: 0, Offset: 3}, {Partition: 0, Offset: 2}, {Partition: 1}}, false},
		{"nothing", nil, false},
		{"another partition", []listoffsets.ResponsePartition{{Partition: 0, Offset: 3}, {Partition: 2, Offset: 3}}, false},
	} {
		res := &listoffsets.Response{Topics: []listoffsets.ResponseTopic{{Topic: "x", Partitions: test.list}}}
		got, err := checkOffsets(res, []pipeline.Partition{p0, p1})
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
		want := map[pipeline.Partition]int64{p0: 3, p1: 0}
		if !test.ok {
			want = nil
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
	}
}
