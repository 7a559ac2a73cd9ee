package files

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bits reads a few bytes at a time.
type bits struct {
	r    *bytes.Reader
	rand *rand.Rand
	most int
}

func (b bits) Read(p []byte) (int, error) {
	return b.r.Read(p[:min(len(p), 1+b.rand.Intn(b.most))])
}

// plainLines is what the splitter gives, said simply.
func plainLines(text []byte, limit int) []line {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var list []line
	for i, p := range bytes.Split(text, []byte("\n")) {
		p = bytes.TrimSuffix(p, []byte("\r"))
		if len(p) > limit {
			list = append(list, line{int64(i), "", true})
		} else if len(p) > 0 {
			list = append(list, line{int64(i), string(p), false})
		}
	}
	return list
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n\xef\xbb\xbfc"), int64(1), uint16(2), uint8(3))
	f.Add([]byte("\xef\xbb\xbf\n"+strings.Repeat("x", 300)+"\r\ny"), int64(2), uint16(1), uint8(255))
	f.Add([]byte("\n\n\n\r"), int64(3), uint16(100), uint8(0))
	buf := make([]byte, 2*bufferSize)
	f.Fuzz(func(t *testing.T, text []byte, seed int64, most uint16, limit uint8) {
		var s splitter
		s.buf = buf // one for all, to be quick
		s.reset(bits{bytes.NewReader(text), rand.New(rand.NewSource(seed)), int(most) + 1}, int(limit)+1)
		// Cut small, so that short texts meet its end.
		s.buf = s.buf[:int(limit)+1+2+spare+64+int(most)%50]
		var got []line
		var l lines
		last := int64(0)
		for rounds := 0; !s.finished(); rounds++ {
			if rounds > 2*len(text)+10 {
				t.Fatal("no end")
			}
			if err := s.next(&l); err != nil {
				t.Fatal(err)
			}
			large := make(map[int32]bool)
			for _, i := range l.large {
				large[i] = true
			}
			for i, v := range l.values {
				got = append(got, line{l.offsets[i], string(l.arena[v.Off : v.Off+v.Len]), large[int32(i)]})
			}
			if s.line == last && !s.over && !s.finished() {
				t.Fatal("nothing was cut off, and more follows")
			}
			if s.line != last && s.start == s.end && !s.eof {
				t.Fatal("the end of the stream was not looked for")
			}
			last = s.line
		}
		if d := cmp.Diff(plainLines(text, int(limit)+1), got); d != "" {
			t.Fatal(d)
		}
		body := bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		total := int64(bytes.Count(body, []byte("\n")))
		if n := len(body); n > 0 && body[n-1] != '\n' {
			total++
		}
		if s.line != total {
			t.Fatalf("%d lines, want %d", s.line, total)
		}
		// Passing over lines comes to the same place.
		for n := int64(0); n <= total+1 && n < 20; n++ {
			k := splitter{buf: buf}
			k.reset(bytes.NewReader(text), int(limit)+1)
			ok, err := k.skip(t.Context(), n)
			if err != nil || ok != (n <= total) || ok && k.line != n {
				t.Fatalf("skip %d of %d: %v, %v, at %d", n, total, ok, err, k.line)
			}
		}
	})
}

func FuzzAnchor(f *testing.F) {
	f.Add("0:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:done")
	f.Add("-1::open")
	f.Fuzz(func(t *testing.T, s string) {
		if a, ok := parseAnchor(s); ok && a.String() != s {
			t.Fatalf("%q becomes %q", s, a)
		}
	})
}

func BenchmarkLines(b *testing.B) {
	text := bytes.Repeat([]byte(strings.Repeat("x", 599)+"\n"), 20000)
	var s splitter
	var l lines
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	r := bytes.NewReader(text)
	for b.Loop() {
		r.Reset(text)
		s.reset(struct{ io.Reader }{r}, 1<<20)
		for !s.finished() {
			if err := s.next(&l); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// endless gives lines for ever, and calls stop at the third read.
type endless struct {
	reads int
	stop  func()
}

func (e *endless) Read(p []byte) (int, error) {
	if e.reads++; e.reads == 3 {
		e.stop()
	}
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

// Going to where reading goes on may be long; a run that is stopped does not
// wait for it.
func TestSkippingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var s splitter
	s.reset(&endless{stop: cancel}, 100)
	if ok, err := s.skip(ctx, math.MaxInt64); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("%t, error %v, want it canceled", ok, err)
	}
}
