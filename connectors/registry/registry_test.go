package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
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

// TestCheck asks every server, each once, and takes an answer for one whether
// it has the schema or not.
func TestCheck(t *testing.T) {
	with, one := serve(t, map[string]string{"/schemas/ids/1": `{"schema":"\"string\""}`})
	without, two := serve(t, nil)
	c := open(t, Options{URLs: []string{one.URL, two.URL + "/at/a/path"}})
	if err := c.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if got := append(with.requests(), without.requests()...); !slices.Equal(got, []string{"/schemas/ids/1", "/at/a/path/schemas/ids/1"}) {
		t.Errorf("asked for %v", got)
	}
	without.set(status(http.StatusUnauthorized))
	if err := c.Check(t.Context()); err == nil || !strings.Contains(err.Error(), two.URL+" refuses the credentials: HTTP 401") || strings.Contains(err.Error(), one.URL) {
		t.Errorf("with one that refuses: %v", err)
	}
	two.Close()
	if err := c.Check(t.Context()); err == nil || !strings.Contains(err.Error(), two.URL+" cannot be reached") {
		t.Errorf("with one that is away: %v", err)
	}
	if n := c.Stats().Stalls; n != 0 {
		t.Errorf("it waited %d times", n)
	}
}
