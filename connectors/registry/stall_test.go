package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestStall: as long as there is no answer to go by the caller waits, the
// reason is told once, and nothing is taken for unknown.
func TestStall(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		forbidden    bool
		broken       http.HandlerFunc
	}{
		{name: "an error", reason: "HTTP 500", broken: status(500)},
		{name: "starting up", reason: "HTTP 503", broken: status(503)},
		{name: "too many requests", reason: "HTTP 429", broken: status(429)},
		{name: "nothing", reason: "HTTP 204", broken: status(204)},
		{name: "no registry at that path", reason: "HTTP 404, error 0", broken: status(404)},
		{name: "another kind of missing", reason: "HTTP 404, error 404", broken: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			io.WriteString(w, `{"error_code":404,"message":"HTTP 404 Not Found"}`)
		}},
		{name: "the code for unknown in another status", reason: "HTTP 500, error 40403", broken: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			io.WriteString(w, `{"error_code":40403}`)
		}},
		{name: "not logged in", reason: "HTTP 401", forbidden: true, broken: status(401)},
		{name: "not allowed", reason: "HTTP 403", forbidden: true, broken: status(403)},
		{name: "a page", reason: "HTTP 200 without a schema", broken: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>jane@example.test</html>") }},
		{name: "an empty object", reason: "HTTP 200 without a schema", broken: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }},
		{name: "half an answer", reason: "HTTP 200 without a schema", broken: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"schema":"o`) }},
		{name: "too long an answer", reason: "more than 4194304 bytes", broken: func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"schema":"`+strings.Repeat("x", mostBytes)+`"}`)
		}},
		{name: "a cut connection", reason: "EOF", broken: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{name: "no HTTP", reason: "no HTTP", broken: raw("jane@example.test\r\n\r\n")},
		{name: "a header that is none", reason: "no HTTP", broken: raw("HTTP/1.1 200 OK\r\njane@example.test\r\n\r\n")},
		{name: "sent to no address", reason: "no HTTP", broken: raw("HTTP/1.1 302 Found\r\nLocation: http://jane@example.test:x/%zz\r\nContent-Length: 0\r\n\r\n")},
		{name: "no answer in time", reason: "deadline exceeded", broken: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{name: "sent elsewhere", reason: "another server", broken: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:1/schemas/ids/1", http.StatusFound)
		}},
		{name: "sent in circles", reason: "on and on", broken: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.RequestURI, http.StatusFound)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f, s := serve(t, map[string]string{"/schemas/ids/1": `{"schema":"one"}`})
			f.set(tc.broken)
			var log syncBuffer
			c := open(t, Options{URLs: []string{s.URL}, Timeout: 200 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil))})
			got := make(chan error, 1)
			go func() {
				_, err := c.ByID(context.Background(), 1)
				got <- err
			}()
			for c.Stats().Failures < 2 {
				select {
				case err := <-got:
					t.Fatalf("it did not wait: %v", err)
				case <-time.After(time.Millisecond):
				}
			}
			if n := c.Stats(); n.Stalls != 1 || n.StalledSince.IsZero() || n.Unknown != 0 || !c.Stalled() {
				t.Errorf("stats %+v of a caller that waits", n)
			}
			f.set(nil)
			if err := <-got; err != nil {
				t.Errorf("after it was put right: %v", err)
			}
			if n := c.Stats(); n.Stalls != 1 || !n.StalledSince.IsZero() || c.Stalled() {
				t.Errorf("stats %+v after the stall", n)
			}
			text := log.String()
			level := "level=WARN"
			if tc.forbidden {
				level = "level=ERROR"
			}
			if strings.Count(text, "\n") != 2 || !strings.Contains(text, level) || !strings.Contains(text, tc.reason) ||
				!strings.Contains(text, "schema registry answers again") {
				t.Errorf("log, want one line at %s with %q and one of the end:\n%s", level, tc.reason, text)
			}
			if tc.forbidden && !strings.Contains(text, "refuses the credentials") {
				t.Errorf("the log does not say that the credentials are refused:\n%s", text)
			}
			if strings.Contains(text, "jane") {
				t.Error("the log repeats what the server sent")
			}
		})
	}
}

// syncBuffer is a buffer for many.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestGivenUp: the end of the caller's time is no answer, and says why it waited.
func TestGivenUp(t *testing.T) {
	f, s := serve(t, nil)
	f.set(status(503))
	c := open(t, Options{URLs: []string{s.URL}})
	errEnough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := c.ByID(ctx, 1)
		got <- err
	}()
	await(t, func() bool { return c.Stats().Stalls > 0 })
	cancel(errEnough)
	err := <-got
	if !errors.Is(err, errEnough) || errors.Is(err, ErrUnknownSchema) || !strings.Contains(err.Error(), "HTTP 503") {
		t.Errorf("error %v, want the caller's reason and the registry's", err)
	}
	if n := c.Stats(); !n.StalledSince.IsZero() {
		t.Errorf("stats %+v while nobody waits", n)
	}
}

// TestOneRequest: many who want the same at once make one request, and one of
// them who leaves does not take it from the others.
func TestOneRequest(t *testing.T) {
	f, s := serve(t, map[string]string{"/schemas/ids/1": `{"schema":"one"}`})
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	f.set(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		io.WriteString(w, `{"schema":"one"}`)
	})
	c := open(t, Options{URLs: []string{s.URL}})
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := c.ByID(ctx, 1)
		left <- err
	}()
	<-arrived
	var wg sync.WaitGroup
	var entered atomic.Int32
	for range 20 {
		wg.Go(func() {
			entered.Add(1)
			if s, err := c.ByID(t.Context(), 1); err != nil || s.Text != "one" {
				t.Errorf("schema %+v, error %v", s, err)
			}
		})
	}
	await(t, func() bool { return entered.Load() == 20 })
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v of who left", err)
	}
	close(release)
	wg.Wait()
	if n := len(f.requests()); n != 1 {
		t.Errorf("%d requests for one schema", n)
	}
}

// TestClose ends who waits for an answer and who waits to ask again.
func TestClose(t *testing.T) {
	for _, tc := range []struct {
		name   string
		broken http.HandlerFunc
	}{
		{"waiting for an answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"waiting to ask again", status(500)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, s := serve(t, nil)
			f.set(tc.broken)
			c := open(t, Options{URLs: []string{s.URL}, Timeout: time.Hour})
			got := make(chan error, 1)
			go func() {
				_, err := c.ByID(t.Context(), 1)
				got <- err
			}()
			await(t, func() bool { return len(f.requests()) > 0 })
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-got; !errors.Is(err, errClosed) {
				t.Errorf("error %v, want errClosed", err)
			}
			if _, err := c.ByID(t.Context(), 1); !errors.Is(err, errClosed) {
				t.Errorf("error %v after Close", err)
			}
		})
	}
}

// raw answers with bytes that net/http would not send.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if h, ok := w.(http.Hijacker); ok {
			conn, _, err := h.Hijack()
			if err == nil {
				io.WriteString(conn, answer)
				conn.Close()
			}
		}
	}
}
