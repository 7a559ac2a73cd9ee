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

// NewPartition makes a partition that holds the messages at offsets 0, 1, 2…
// and gives what makes sources over it that were not opened yet. A bounded
// source ends after the messages.
type NewPartition func(t *testing.T, messages []string) (source func() pipeline.Source, p pipeline.Partition)

// RunSourceSuite checks what every source promises.
func RunSourceSuite(t *testing.T, newPartition NewPartition) {
	// More than any source hands over at once.
	var messages []string
	for i := range 10_000 {
		messages = append(messages, fmt.Sprintf(`{"n":%d,"s":"%s"}`, i, strings.Repeat("x", i%97)))
	}

	t.Run("every message, in order, with its offset", func(t *testing.T) {
		source, p := newPartition(t, messages)
		marks := readAll(t, source(), p, nil, messages, 0)
		if at := marks[len(marks)-1]; at.Next != int64(len(messages)) {
			t.Errorf("stands at %d after the last message, want %d", at.Next, len(messages))
		}
	})

	t.Run("from each position that it gave", func(t *testing.T) {
		source, p := newPartition(t, messages)
		marks := readAll(t, source(), p, nil, messages, 0)
		if len(marks) < 3 {
			t.Fatalf("all messages came in %d chunks", len(marks))
		}
		for i := 0; i < len(marks); i += max(1, len(marks)/10) {
			readAll(t, source(), p, pipeline.Positions{p: marks[i]}, messages, int(marks[i].Next))
		}
		last := marks[len(marks)-1]
		readAll(t, source(), p, pipeline.Positions{p: last}, messages, int(last.Next))
	})

	t.Run("a position past the end is refused", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		source, p := newPartition(t, messages)
		marks := readAll(t, source(), p, nil, messages, 0)
		source, p = newPartition(t, messages[:len(messages)/2]) // what is left of it
		src := source()
		err := src.Open(ctx, pipeline.Positions{p: marks[len(marks)-1]})
		for err == nil && ctx.Err() == nil {
			var c *pipeline.Chunk
			if c, err = src.Next(ctx); c != nil {
				t.Fatal("messages came from past the end")
			}
		}
		if err == nil || errors.Is(err, io.EOF) || ctx.Err() != nil || !strings.Contains(err.Error(), p.Topic) {
			t.Errorf("error %v, want one that names the partition", err)
		}
		if closeErr := src.Close(); closeErr != nil {
			t.Error(closeErr)
		}
	})
}

// readAll reads to the end, checks each message from offset first on and gives
// the position after each chunk.
func readAll(t *testing.T, src pipeline.Source, p pipeline.Partition, from pipeline.Positions, messages []string, first int) (marks []pipeline.Mark) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := src.Open(ctx, from); err != nil {
		t.Fatal(err)
	}
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
		marks = append(marks, c.Next)
	}
	if i != len(messages) {
		t.Fatalf("%d messages, want %d", i, len(messages))
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	return marks
}
