package pipelinetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"lupa/pipeline"
)

// OpenSource makes a source that was not opened yet, over one partition that
// holds the messages at offsets 0, 1, 2… A bounded source ends after them.
type OpenSource func(t *testing.T, messages []string) (pipeline.Source, pipeline.Partition)

// RunSourceSuite checks what every source promises.
func RunSourceSuite(t *testing.T, open OpenSource) {
	var messages []string
	for i := range 300 {
		messages = append(messages, fmt.Sprintf(`{"n":%d,"s":"%s"}`, i, strings.Repeat("x", i%97)))
	}

	t.Run("every message, in order, with its offset", func(t *testing.T) {
		src, p := open(t, messages)
		if at := readAll(t, src, p, nil, messages, 0); at.Next != int64(len(messages)) {
			t.Errorf("stands at %d after the last message, want %d", at.Next, len(messages))
		}
	})

	t.Run("from any position", func(t *testing.T) {
		for _, next := range []int64{1, 150, 299, 300} {
			src, p := open(t, messages)
			from := markAt(t, src, p, next)
			again, p := open(t, messages)
			readAll(t, again, p, pipeline.Positions{p: from}, messages, int(next))
		}
	})

	t.Run("a position past the end is refused", func(t *testing.T) {
		src, p := open(t, messages)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		mark := readAll(t, src, p, nil, messages, 0)
		mark.Next += 5
		again, p := open(t, messages)
		err := again.Open(ctx, pipeline.Positions{p: mark})
		for err == nil && ctx.Err() == nil {
			var c *pipeline.Chunk
			if c, err = again.Next(ctx); c != nil {
				t.Fatal("messages came from past the end")
			}
		}
		if err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil {
			t.Errorf("error %v, want one that names the partition", err)
		}
		if closeErr := again.Close(); closeErr != nil {
			t.Error(closeErr)
		}
	})
}

// markAt gives a mark with the source's own anchor, set back to next.
func markAt(t *testing.T, src pipeline.Source, p pipeline.Partition, next int64) pipeline.Mark {
	t.Helper()
	ctx := context.Background()
	if err := src.Open(ctx, nil); err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for {
		c, err := src.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if c != nil && c.Partition == p && c.Next.Next > 0 {
			mark := c.Next
			if mark.Next > next {
				mark.Next = next
			}
			if mark.Next == next {
				return mark
			}
		}
	}
}

// readAll reads to the end and checks each message from offset first on.
func readAll(t *testing.T, src pipeline.Source, p pipeline.Partition, from pipeline.Positions, messages []string, first int) pipeline.Mark {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := src.Open(ctx, from); err != nil {
		t.Fatal(err)
	}
	at := from[p]
	i, idle := first, 0
	for i < len(messages) || idle < 1 {
		c, err := src.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			idle++
			continue
		}
		if c.Partition != p {
			t.Fatalf("partition %s, want %s", c.Partition, p)
		}
		if len(c.Offsets) != len(c.Values) || len(c.Times) != len(c.Values) {
			t.Fatalf("%d values, %d offsets, %d times", len(c.Values), len(c.Offsets), len(c.Times))
		}
		for k, v := range c.Values {
			if i == len(messages) {
				t.Fatal("more messages than there are")
			}
			if got := string(c.Arena[v.Off : v.Off+v.Len]); got != messages[i] || c.Offsets[k] != int64(i) {
				t.Fatalf("message %d differs, or its offset %d does", i, c.Offsets[k])
			}
			if len(c.Arena) < int(v.Off+v.Len)+pipeline.ArenaSlack {
				t.Fatalf("%d bytes behind message %d, want %d", len(c.Arena)-int(v.Off+v.Len), i, pipeline.ArenaSlack)
			}
			i++
		}
		if c.Next.Next < int64(i) {
			t.Fatalf("the position after message %d is %d", i-1, c.Next.Next)
		}
		at = c.Next
	}
	if i != len(messages) {
		t.Fatalf("%d messages, want %d", i, len(messages))
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	return at
}
