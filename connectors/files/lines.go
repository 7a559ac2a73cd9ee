package files

import (
	"bytes"
	"context"
	"io"

	"lupa/pipeline"
	"lupa/schemas"
)

const (
	maxMessages = 4096
	bufferSize  = 1 << 20
	// spare is kept free behind what is read at once, to find out whether
	// anything follows while the lines before it stay where they are.
	spare = 4 << 10
)

// splitter cuts a stream into lines, in a buffer that the lines stay in until
// the next call.
type splitter struct {
	r          io.Reader
	limit      int // longest line
	buf        []byte
	start, end int // what is read and not handed over
	eof        bool
	first      bool  // the beginning of the stream has not been seen
	line       int64 // number of the line that begins at start
	unended    bool  // the last line had no end
	over       bool  // start is inside a line over the limit
}

// lines are what one call cuts off.
type lines struct {
	arena   []byte
	values  []schemas.Span
	offsets []int64
	large   []int32
}

func (s *splitter) reset(r io.Reader, limit int) {
	if n := max(bufferSize, limit+2) + spare + pipeline.ArenaSlack; cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	*s = splitter{r: r, limit: limit, buf: s.buf[:cap(s.buf)], first: true}
}

// fill reads until the buffer is full up to room bytes before its end, or the
// stream ends.
func (s *splitter) fill(room int) error {
	for top := len(s.buf) - pipeline.ArenaSlack - room; s.end < top && !s.eof; {
		n, err := s.r.Read(s.buf[s.end:top])
		s.end += n
		if err == io.EOF {
			s.eof = true
		} else if err != nil {
			return err
		}
	}
	if s.first && (s.end-s.start >= 3 || s.eof) {
		s.first = false
		if bytes.HasPrefix(s.buf[s.start:s.end], []byte("\xef\xbb\xbf")) {
			s.start += 3
		}
	}
	return nil
}

// compact moves what is left to the front and reads on.
func (s *splitter) compact() error {
	copy(s.buf, s.buf[s.start:s.end])
	s.start, s.end = 0, s.end-s.start
	return s.fill(spare)
}

// finished reports whether every line was cut off.
func (s *splitter) finished() bool { return s.eof && s.start == s.end && !s.over }

// next cuts off lines, as many as the buffer holds up to maxMessages that are
// not empty, and none only inside a line over the limit or at the end. When it
// has cut off the last one it knows: finished tells.
func (s *splitter) next(l *lines) error {
	l.arena, l.values, l.offsets, l.large = nil, l.values[:0], l.offsets[:0], l.large[:0]
	if !s.eof && s.end-s.start < bufferSize/4 {
		if err := s.compact(); err != nil {
			return err
		}
	}
	begin, from := s.start, s.line
	for len(l.values) < maxMessages && !s.finished() {
		p := s.buf[s.start:s.end]
		if n := bytes.IndexByte(p, '\n'); n >= 0 {
			s.cut(l, begin, n, 1)
			continue
		}
		if s.eof {
			s.cut(l, begin, len(p), 0)
			s.unended = true
			break
		}
		if s.line > from {
			break
		}
		if s.over || len(p) > s.limit+1 {
			// Too long whatever follows, so nothing of it need be kept.
			s.over, s.start = true, s.end
			return s.compact()
		}
		if err := s.compact(); err != nil {
			return err
		}
		begin = s.start
	}
	if s.start == s.end && !s.eof {
		if err := s.fill(0); err != nil {
			return err
		}
	}
	l.arena = s.buf[begin : s.end+pipeline.ArenaSlack]
	return nil
}

// cut takes n bytes for a line, and steps over them and the end of the line.
func (s *splitter) cut(l *lines, begin, n, end int) {
	p := s.buf[s.start : s.start+n]
	if n > 0 && p[n-1] == '\r' {
		p = p[:n-1]
	}
	switch {
	case s.over || len(p) > s.limit:
		l.large = append(l.large, int32(len(l.values)))
		l.values = append(l.values, schemas.Span{})
		l.offsets = append(l.offsets, s.line)
	case len(p) > 0:
		l.values = append(l.values, schemas.Span{Off: uint32(s.start - begin), Len: uint32(len(p))})
		l.offsets = append(l.offsets, s.line)
	}
	s.start += n + end
	s.line++
	s.over = false
}

// skip passes over n lines and reports whether there were so many. It may take
// minutes, and so gives up when ctx ends.
func (s *splitter) skip(ctx context.Context, n int64) (bool, error) {
	for s.line < n {
		p := s.buf[s.start:s.end]
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			s.start += i + 1
			s.line++
			continue
		}
		if s.eof {
			if len(p) > 0 {
				s.start = s.end
				s.line++
			}
			return s.line == n, nil
		}
		s.start = s.end
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if err := s.compact(); err != nil {
			return false, err
		}
	}
	return true, nil
}
