package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"lupa/pipeline"
	"lupa/schemas"
)

// Source is one worker's view of a set.
type Source struct {
	set    *Set
	from   pipeline.Positions
	held   []pipeline.Positions // of every table
	opened bool
	dec    decoders
	split  splitter
	lines  lines
	times  []int64 // none of them known
	chunk  pipeline.Chunk
	file   file
	in     *input // nil between files
	anchor anchor
}

var _ interface {
	pipeline.Source
	pipeline.Prover
} = (*Source)(nil)

// Prove gives positions that are to be checked besides those to begin at.
func (s *Source) Prove(held []pipeline.Positions) { s.held = held }

// Open takes the positions; each file's is checked when the file is opened.
func (s *Source) Open(_ context.Context, from pipeline.Positions) error {
	if s.opened {
		return errors.New("files: opened before")
	}
	s.opened, s.from = true, from
	s.times = slices.Repeat([]int64{pipeline.NoTime}, maxMessages)
	return nil
}

// Next gives the next lines of the file that the worker has, or of the next
// one in the queue.
func (s *Source) Next(ctx context.Context) (*pipeline.Chunk, error) {
	if !s.opened {
		return nil, errors.New("files: not open")
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s.in == nil {
			f, ok := s.set.take()
			if !ok {
				return nil, io.EOF
			}
			s.file = f
			if err := s.begin(ctx); err != nil {
				return nil, fmt.Errorf("files: %s: %w", f.name, err)
			}
			continue
		}
		ok, err := s.read()
		if err != nil {
			return nil, fmt.Errorf("files: %s: %w", s.file.name, err)
		}
		if ok {
			return &s.chunk, nil
		}
	}
}

// begin opens the file and goes to where reading it is to go on. A file that
// was read to its end is passed over.
func (s *Source) begin(ctx context.Context) error {
	in, err := s.dec.open(s.file.name, &s.set.read)
	if err != nil {
		return err
	}
	next, finished, err := s.check(in)
	if err != nil || finished {
		in.f.Close()
		if finished {
			s.set.read.Add(in.size)
		}
		return err
	}
	s.in = in
	s.split.reset(in.body, s.set.limit)
	ok, err := s.split.skip(ctx, next)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return in.fault(err)
	}
	if !ok {
		return refuse("has %d lines, %d were read before", s.split.line, next)
	}
	return nil
}

// check compares the file with the mark of an earlier run and those of Prove,
// and makes the anchor of this one.
func (s *Source) check(in *input) (next int64, finished bool, err error) {
	p := pipeline.Partition{Topic: s.file.name}
	mark, ok := s.from[p]
	if ok {
		if finished, err = checkMark(in, mark); err != nil {
			return 0, false, err
		}
		next = mark.Next
	}
	for _, held := range s.held {
		if other, ok := held[p]; ok && other != mark {
			if _, err := checkMark(in, other); err != nil {
				return 0, false, err
			}
		}
	}
	if finished {
		return 0, true, nil
	}
	s.anchor = anchor{size: in.size, state: part}
	s.anchor.head, err = headHash(in.f, in.size)
	return next, false, err
}

func checkMark(in *input, mark pipeline.Mark) (finished bool, err error) {
	a, ok := parseAnchor(mark.Anchor)
	if !ok {
		return false, refuse("the anchor of its position is not one of a file")
	}
	if mark.Next < 0 {
		return false, refuse("its position is %d", mark.Next)
	}
	return a.check(in.f, in.size)
}

// read makes the next chunk, unless there is nothing to tell.
func (s *Source) read() (bool, error) {
	from := s.split.line
	if err := s.split.next(&s.lines); err != nil {
		return false, s.in.fault(err)
	}
	ended := s.split.finished()
	if ended {
		if err := s.in.unchanged(); err != nil {
			return false, err
		}
		s.anchor.state = done
		if s.split.unended {
			s.anchor.state = tail
		}
		err := s.in.f.Close()
		s.in = nil
		if err != nil {
			return false, err
		}
	}
	if s.split.line == from {
		return false, nil
	}
	s.chunk = pipeline.Chunk{
		Partition: pipeline.Partition{Topic: s.file.name},
		Messages: schemas.Messages{
			Arena: s.lines.arena, Values: s.lines.values, Times: s.times[:len(s.lines.values)],
		},
		TooLarge: s.lines.large,
		Offsets:  s.lines.offsets,
		Next:     pipeline.Mark{Next: s.split.line, Anchor: s.anchor.String()},
	}
	return true, nil
}

// Close lets go of the file that is open.
func (s *Source) Close() error {
	s.dec.close()
	if s.in == nil {
		return nil
	}
	err := s.in.f.Close()
	s.in = nil
	return err
}
