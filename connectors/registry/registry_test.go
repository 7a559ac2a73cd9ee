package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fake is a registry of fixed answers: path with query to body. A body that
// begins with a number is an error: "404 40403".
type fake struct {
	mu      sync.Mutex
	answers map[string]string
	asked   []string
	// broken, if set, answers instead.
	broken http.HandlerFunc
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.RequestURI)
	answer, ok := f.answers[r.RequestURI]
	broken := f.broken
	f.mu.Unlock()
	if broken != nil {
		broken(w, r)
		return
	}
	if !ok {
		answer = "404 40403"
	}
	var status, code int
	if n, _ := fmt.Sscanf(answer, "%d %d", &status, &code); n > 0 {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error_code":%d,"message":"no such thing"}`, code)
		return
	}
	io.WriteString(w, answer)
}

func (f *fake) set(broken http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = broken
}

func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func serve(t testing.TB, answers map[string]string) (*fake, *httptest.Server) {
	t.Helper()
	f := &fake{answers: answers}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, s
}

func open(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

var guid = [16]byte{0: 0x0a, 15: 0xff}

// TestSchemas: what the registry says, in the form that decoders want it.
func TestSchemas(t *testing.T) {
	ref := func(name, subject string, version int) string {
		return fmt.Sprintf(`{"name":%q,"subject":%q,"version":%d}`, name, subject, version)
	}
	many := func(from, to int) string {
		var list []string
		for i := from; i < to; i++ {
			list = append(list, ref(fmt.Sprint("r", i), fmt.Sprint("s", i), 1))
		}
		return strings.Join(list, ",")
	}
	answers := map[string]string{
		"/schemas/ids/1": `{"schema":"\"string\""}`,
		"/schemas/ids/2": `{"schemaType":"JSON","schema":"{}","guid":"x","metadata":{"a":1},"references":[]}`,
		"/schemas/ids/3": `{"schemaType":"AVRO","schema":"top","references":[` + ref("left", "a b/c", 1) + "," + ref("right", "right", 7) + `]}`,
		"/subjects/a%20b%2Fc/versions/1?deleted=true": `{"schema":"left text","references":[` + ref("deep", "deep", 2) + `]}`,
		"/subjects/right/versions/7?deleted=true":     `{"schema":"right text","references":[` + ref("deep", "deep", 2) + `]}`,
		"/subjects/deep/versions/2?deleted=true":      `{"schema":"deep text"}`,
		"/schemas/guids/0a000000-0000-0000-0000-0000000000ff": `{"schemaType":"PROTOBUF","schema":"syntax","references":[` +
			ref("deep.proto", "deep", 2) + `]}`,
		"/schemas/ids/-2147483648":                `{"schema":"lowest"}`,
		"/schemas/ids/4":                          `{"schemaType":"XML","schema":"<a/>"}`,
		"/schemas/ids/5":                          `{"schema":"s","references":[` + ref("x", "gone", 1) + `]}`,
		"/subjects/gone/versions/1?deleted=true":  "404 40401",
		"/schemas/ids/6":                          `{"schema":"s","references":[` + ref("x", "deep", 3) + `]}`,
		"/subjects/deep/versions/3?deleted=true":  "404 40402",
		"/schemas/ids/7":                          `{"schema":"s","references":[` + ref("x", "deep", -1) + `]}`,
		"/schemas/ids/8":                          `{"schema":"s","references":[` + ref("x", "deep", 2) + "," + ref("x", "right", 7) + `]}`,
		"/schemas/ids/9":                          `{"schemaType":"JSON","schema":"s","references":[` + ref("x", "deep", 2) + "," + ref("x", "other", 1) + `]}`,
		"/subjects/other/versions/1?deleted=true": `{"schema":"other text"}`,
		"/schemas/ids/10":                         `{"schema":"s","references":[` + ref("x", "deep", 2) + "," + ref("x", "same", 1) + `]}`,
		"/subjects/same/versions/1?deleted=true":  `{"schema":"deep text"}`,
		"/schemas/ids/11":                         `{"schema":"s","references":[` + ref("x", "round", 1) + `]}`,
		"/subjects/round/versions/1?deleted=true": `{"schema":"round","references":[` + ref("x", "round", 1) + `]}`,
		"/schemas/ids/12":                         `{"schema":"s","references":[` + many(0, mostReferences) + `]}`,
		"/schemas/ids/13":                         `{"schema":"s","references":[` + many(0, mostReferences+1) + `]}`,
	}
	var all []Reference
	for i := range mostReferences + 1 {
		answers[fmt.Sprintf("/subjects/s%d/versions/1?deleted=true", i)] = fmt.Sprintf(`{"schema":"t%d"}`, i)
		if i < mostReferences {
			all = append(all, Reference{fmt.Sprint("r", i), fmt.Sprint("t", i)})
		}
	}
	_, s := serve(t, answers)
	c := open(t, Options{URLs: []string{s.URL}})
	for _, tc := range []struct {
		name string
		ask  func(ctx context.Context) (Schema, error)
		want *Schema // nil: unknown
	}{
		{"no type is Avro", byID(c, 1), &Schema{Type: Avro, Text: `"string"`}},
		{"JSON Schema", byID(c, 2), &Schema{Type: JSONSchema, Text: "{}"}},
		{"references, each once and after its own", byID(c, 3), &Schema{Avro, "top",
			[]Reference{{"deep", "deep text"}, {"left", "left text"}, {"right", "right text"}}}},
		{"by GUID", func(ctx context.Context) (Schema, error) { return c.ByGUID(ctx, guid) },
			&Schema{Protobuf, "syntax", []Reference{{"deep.proto", "deep text"}}}},
		{"another GUID", func(ctx context.Context) (Schema, error) { return c.ByGUID(ctx, [16]byte{1}) }, nil},
		{"the lowest id", byID(c, -1<<31), &Schema{Type: Avro, Text: "lowest"}},
		{"unknown", byID(c, 99), nil},
		{"another language", byID(c, 4), nil},
		{"a subject that is gone", byID(c, 5), nil},
		{"a version that is gone", byID(c, 6), nil},
		{"whatever version is the last", byID(c, 7), nil},
		{"one name for two", byID(c, 8), nil},
		{"one name for two in JSON Schema", byID(c, 9), &Schema{JSONSchema, "s", []Reference{{"x", "deep text"}, {"x", "other text"}}}},
		{"one name for the same twice", byID(c, 10), &Schema{Avro, "s", []Reference{{"x", "deep text"}}}},
		{"a circle", byID(c, 11), &Schema{Avro, "s", []Reference{{"x", "round"}}}},
		{"as many references as may be", byID(c, 12), &Schema{Avro, "s", all}},
		{"one more", byID(c, 13), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.ask(t.Context())
			if tc.want == nil {
				if !errors.Is(err, ErrUnknownSchema) {
					t.Errorf("error %v, want ErrUnknownSchema", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(*tc.want, got); diff != "" {
				t.Errorf("schema (-want +got):\n%s", diff)
			}
		})
	}
	if n := c.Stats(); n.Failures != 0 || n.Stalls != 0 {
		t.Errorf("stats %+v of a registry that always answered", n)
	}
}

// await returns once something has happened.
func await(t testing.TB, happened func() bool) {
	t.Helper()
	for !happened() {
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the test has ended")
		}
	}
}

func byID(c *Client, id int32) func(context.Context) (Schema, error) {
	return func(ctx context.Context) (Schema, error) { return c.ByID(ctx, id) }
}

// TestCache: a schema is asked for once, an unknown id again after a while.
func TestCache(t *testing.T) {
	ctx := t.Context()
	f, s := serve(t, map[string]string{"/schemas/ids/1": `{"schema":"one"}`})
	c := open(t, Options{URLs: []string{s.URL}})
	var mu sync.Mutex
	now := time.Unix(0, 0)
	c.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	ask := func(id int32, known bool, requests int) {
		t.Helper()
		_, err := c.ByID(ctx, id)
		if known != (err == nil) || !known && !errors.Is(err, ErrUnknownSchema) {
			t.Errorf("id %d: error %v, known should be %t", id, err, known)
		}
		if n := len(f.requests()); n != requests {
			t.Errorf("id %d: %d requests so far, want %d", id, n, requests)
		}
	}
	ask(1, true, 1)
	pass(1000 * time.Hour)
	ask(1, true, 1)
	ask(2, false, 2)
	pass(unknownFor - 1)
	ask(2, false, 2)
	pass(1)
	ask(2, false, 3)
	f.mu.Lock()
	f.answers["/schemas/ids/2"] = `{"schema":"two"}`
	f.mu.Unlock()
	ask(2, false, 3)
	pass(unknownFor)
	ask(2, true, 4)
	f.set(status(http.StatusInternalServerError))
	ask(1, true, 4)
	ask(2, true, 4)
	if n := c.Stats(); n.Unknown != 2 || n.Schemas != 2 || n.Bytes != 6 {
		t.Errorf("stats %+v, want 2 answers that an id is unknown, 2 schemas and 6 bytes", n)
	}
}

func TestCacheBounds(t *testing.T) {
	c := newCache(10)
	for i, text := range []string{"aaaa", "bbbb", "cccc", "a text that is too long", "d"} {
		c.keep(key{id: int32(i)}, Schema{Text: text})
		c.keep(key{id: int32(i)}, Schema{Text: text})
		var bytes int64
		for _, s := range c.found {
			bytes += s.size()
		}
		if c.bytes != bytes || len(c.order) != len(c.found) || c.bytes > c.limit && len(c.found) > 1 {
			t.Errorf("after %q: %d bytes noted, %d held, in %d of %d", text, c.bytes, bytes, len(c.found), len(c.order))
		}
		if _, ok := c.found[key{id: int32(i)}]; !ok {
			t.Errorf("the newest, %q, is not kept", text)
		}
	}
	now := time.Unix(0, 0)
	for i := range int32(3 * mostUnknown) {
		c.miss(key{id: i}, now)
		if len(c.unknown) > mostUnknown {
			t.Fatalf("%d unknown ids are remembered", len(c.unknown))
		}
	}
}

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
			if n := c.Stats(); n.Stalls != 1 || n.StalledSince.IsZero() || n.Unknown != 0 {
				t.Errorf("stats %+v of a caller that waits", n)
			}
			f.set(nil)
			if err := <-got; err != nil {
				t.Errorf("after it was put right: %v", err)
			}
			if n := c.Stats(); n.Stalls != 1 || !n.StalledSince.IsZero() {
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

// TestServers: they are asked in turn, beginning with the one that answered
// last, and one that has not heard of an id does not speak for the others.
func TestServers(t *testing.T) {
	ctx := t.Context()
	down := httptest.NewServer(nil)
	down.Close()
	old, oldServer := serve(t, map[string]string{"/old/schemas/ids/1": `{"schema":"one"}`})
	young, youngServer := serve(t, map[string]string{"/schemas/ids/1": `{"schema":"one"}`, "/schemas/ids/2": `{"schema":"two"}`})
	c := open(t, Options{URLs: []string{down.URL, oldServer.URL + "/old/", youngServer.URL}})
	if s, err := c.ByID(ctx, 1); err != nil || s.Text != "one" {
		t.Errorf("schema %+v, error %v", s, err)
	}
	if n := c.Stats().Failures; n != 1 {
		t.Errorf("%d failures, want that of the server that is down", n)
	}
	if s, err := c.ByID(ctx, 2); err != nil || s.Text != "two" {
		t.Errorf("schema %+v, error %v: only one server knows it", s, err)
	}
	if n := c.Stats().Failures; n != 1 {
		t.Errorf("%d failures, the server that is down was asked first again", n)
	}
	if _, err := c.ByID(ctx, 3); !errors.Is(err, ErrUnknownSchema) {
		t.Errorf("error %v of an id that none has that can be asked", err)
	}
	want := [][]string{
		{"/old/schemas/ids/1", "/old/schemas/ids/2", "/old/schemas/ids/3"},
		{"/schemas/ids/2", "/schemas/ids/3"},
	}
	if diff := cmp.Diff(want, [][]string{old.requests(), young.requests()}); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if n := c.Stats().Stalls; n != 0 {
		t.Errorf("%d stalls", n)
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

// FuzzAnswer: whatever a server sends, it is a schema with a text, or a
// failure, or unknown with a code that says so.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"schema":"x","schemaType":"AVRO","references":[{"name":"n","subject":"s","version":1}]}`))
	f.Add(404, []byte(`{"error_code":40403}`))
	f.Add(404, []byte(`{"error_code":404}`))
	f.Add(500, []byte(`{"error_code":40403}`))
	f.Add(200, []byte(`[1]`))
	c, err := New(Options{URLs: []string{"http://registry.example.test"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		if code < 200 || code > 599 || code >= 300 && code < 400 {
			return
		}
		c.http.Transport = answering{code, body}
		a, err := c.fetch(t.Context(), &c.servers[0], "/schemas/ids/1", noSchema)
		var failed *failure
		switch {
		case err == nil:
			if a.Schema == "" || code != 200 {
				t.Errorf("HTTP %d became a schema of %d bytes", code, len(a.Schema))
			}
		case errors.Is(err, ErrUnknownSchema):
			if code != 404 || !bytes.Contains(body, []byte("40403")) {
				t.Errorf("HTTP %d became unknown", code)
			}
		case !errors.As(err, &failed) || failed.trouble == none:
			t.Errorf("error %v is neither a failure nor unknown", err)
		}
	})
}

type answering struct {
	code int
	body []byte
}

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.code, Body: io.NopCloser(bytes.NewReader(a.body)), Request: r}, nil
}
