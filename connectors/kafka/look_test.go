package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"

	"lupa/pipeline"
)

// look asks what there is of partition 0 of the topic x.
func look(t *testing.T, c *Cluster) *Logs {
	t.Helper()
	l, err := c.Logs(bounded(t), []pipeline.Partition{{Topic: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// Every position that an operator may choose is one that a source begins at,
// with what follows there and nothing else, and that it refuses in a topic of
// the same name that is made anew.
func TestMarksAreWhatOpenChecks(t *testing.T) {
	k := fake(t, kfake.ClusterID("first"))
	topic(t, k, "x", 1, "delete")
	p := producer(t, k)
	for batch := range 5 {
		put(t, p, "x", 0, words(4, fmt.Sprint(batch))...)
	}
	if err := k.DeleteRecords("x", 0, 6); err != nil {
		t.Fatal(err)
	}
	c, x := connect(t, k), pipeline.Partition{Topic: "x"}
	l := look(t, c)
	if start, end := l.Of(x); start != 6 || end != 20 || l.Cluster() != "first" {
		t.Fatalf("offsets %d to %d of %s", start, end, l.Cluster())
	}
	marks := map[int64]pipeline.Mark{}
	for next := int64(6); next <= 20; next++ {
		m, err := l.Mark(bounded(t), x, next)
		if err != nil {
			t.Fatal(err)
		}
		if ClusterOf(m) != "first" || strings.Contains(m.Anchor, "batch:") != (next > 6) || m.Next != next {
			t.Errorf("mark %+v at %d", m, next)
		}
		if err := l.Check(bounded(t), x, m); err != nil {
			t.Errorf("offset %d: %v", next, err)
		}
		marks[next] = m
		if next == 20 || next%3 != 0 {
			continue
		}
		e := open(t, c, pipeline.Positions{x: m}, "x")
		got := collect(t, e, map[int32]int64{0: 20})[0]
		var want []message
		for at := next; at < 20; at++ {
			want = append(want, message{at, fmt.Sprintf("%d-%d", at/4, at%4)})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("from %d: %s", next, diff)
		}
		e.Close()
	}
	for _, next := range []int64{-1, 5, 21} {
		if m, err := l.Mark(bounded(t), x, next); err == nil || !strings.Contains(err.Error(), "is not in 6 to 20") {
			t.Errorf("offset %d has the mark %+v, error %v", next, m, err)
		}
	}

	if err := k.DeleteTopic("x"); err != nil {
		t.Fatal(err)
	}
	topic(t, k, "x", 1, "delete")
	p = producer(t, k)
	for batch := range 4 {
		put(t, p, "x", 0, words(4, fmt.Sprint("new", batch))...)
	}
	l = look(t, connect(t, k))
	for next, m := range marks {
		err := l.Check(bounded(t), x, m)
		var gone *PositionError
		if next == 6 { // nothing that was before it was there to name
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.As(err, &gone) || gone.Cause() != "recreated" || gone.Next != next {
			t.Errorf("offset %d: %v", next, err)
		}
	}
}

// The causes that an operator is told.
func TestCausesOfPositions(t *testing.T) {
	k := fake(t, kfake.ClusterID("first"))
	topic(t, k, "x", 1, "delete")
	topic(t, k, "compacted", 1, "compact")
	p := producer(t, k)
	put(t, p, "x", 0, words(10, "v")...)
	if err := k.DeleteRecords("x", 0, 4); err != nil {
		t.Fatal(err)
	}
	l := look(t, connect(t, k))
	for _, test := range []struct {
		mark pipeline.Mark
		want string
	}{
		{pipeline.Mark{Next: 4}, ""},
		{pipeline.Mark{Next: 10}, ""},
		{pipeline.Mark{Next: 3}, "deleted"},
		{pipeline.Mark{Next: 3, Anchor: "cluster:first batch:0:00000000"}, "deleted"},
		{pipeline.Mark{Next: 11}, "recreated"},
		{pipeline.Mark{Next: 8, Anchor: "batch:0:00000000"}, "recreated"},
		{pipeline.Mark{Next: 8, Anchor: "nonsense"}, "recreated"},
		{pipeline.Mark{Next: 8, Anchor: "cluster:other batch:0:00000000"}, "other_cluster"},
	} {
		cause := ""
		err := l.Check(bounded(t), pipeline.Partition{Topic: "x"}, test.mark)
		if gone := (*PositionError)(nil); errors.As(err, &gone) {
			cause = gone.Cause()
		} else if err != nil {
			t.Error(err)
		}
		if cause != test.want {
			t.Errorf("%+v: %q, want %q (%v)", test.mark, cause, test.want, err)
		}
	}

	c := pipeline.Partition{Topic: "compacted"}
	put(t, p, "compacted", 0, words(5, "v")...)
	l, err := connect(t, k).Logs(bounded(t), []pipeline.Partition{c})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if m, err := l.Mark(bounded(t), c, 3); err != nil || m != (pipeline.Mark{Next: 3, Anchor: "cluster:first"}) {
		t.Errorf("mark %+v, error %v", m, err)
	}
}

func TestLogsOfNothing(t *testing.T) {
	k := fake(t)
	topic(t, k, "x", 1, "delete")
	c := connect(t, k, func(o *Options) { o.StartTimeout = time.Second })
	for _, parts := range [][]pipeline.Partition{nil, {{Topic: "nowhere"}}, {{Topic: "x", ID: 1}}} {
		if l, err := c.Logs(context.Background(), parts); err == nil {
			l.Close()
			t.Errorf("there are logs of %v", parts)
		}
	}
	if err := look(t, c).Check(bounded(t), pipeline.Partition{Topic: "x"}, pipeline.Mark{}); err != nil {
		t.Error(err)
	}
}
