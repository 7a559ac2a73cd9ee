package decode

import (
	"os"
	"strings"
	"testing"

	"lupa/schemas"
)

// walkObject goes over an object and lists its keys and the text of its values.
func walkObject(text string, maxDepth int) (keys, values []string, reason schemas.Reason) {
	a, d := withSlackBehind([]byte(text))
	p := skipSpace(a, 0, d.end)
	if p >= d.end || a[p] != '{' {
		return nil, nil, schemas.Malformed
	}
	var o object
	o.open(a, p, d.end, 0, maxDepth)
	for {
		m, more, reason := o.next()
		if reason != schemas.NoReason {
			return nil, nil, reason
		}
		if !more {
			return keys, values, malformedUnless(skipSpace(a, o.p, d.end) == d.end)
		}
		keys = append(keys, string(m.key))
		values = append(values, string(a[m.value:m.end]))
	}
}

func TestObject(t *testing.T) {
	for _, c := range []struct {
		text   string
		want   string
		reason schemas.Reason
	}{
		{`{}`, ``, schemas.NoReason},
		{` { "a" : 1 , "b":[ {"c":[]} , null ],"\u0063":"\"}" } `, `a=1|b=[ {"c":[]} , null ]|c="\"}"`, schemas.NoReason},
		{`{"a":1,}`, ``, schemas.Malformed},
		{`{,"a":1}`, ``, schemas.Malformed},
		{`{"a":1 "b":2}`, ``, schemas.Malformed},
		{`{"a" 1}`, ``, schemas.Malformed},
		{`{"a":}`, ``, schemas.Malformed},
		{`{"a":[1}`, ``, schemas.Malformed},
		{`{"a":[1,]}`, ``, schemas.Malformed},
		{`{"a":{"b":1,}}`, ``, schemas.Malformed},
		{`{"a":{"b"}}`, ``, schemas.Malformed},
		{`{"a":tru}`, ``, schemas.Malformed},
		{`{"a":"` + "\xff" + `"}`, ``, schemas.Malformed},
		{`{"a":1}x`, ``, schemas.Malformed},
		{`{"a":1`, ``, schemas.Malformed},
		{`{"a":{"b":{"c":{}}}}`, `a={"b":{"c":{}}}`, schemas.NoReason},
		{`{"a":{"b":{"c":[[]]}}}`, ``, schemas.TooDeep},
	} {
		keys, values, reason := walkObject(c.text, 4)
		var list []string
		for i := range keys {
			list = append(list, keys[i]+"="+values[i])
		}
		if got := strings.Join(list, "|"); got != c.want && reason == schemas.NoReason || reason != c.reason {
			t.Errorf("%s: got %s %q", c.text, got, reason)
		}
	}
}

// TestObjectSuite takes what the walker takes, and nothing else.
func TestObjectSuite(t *testing.T) {
	dir := shared(t, "json-test-suite", "test_parsing")
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 300 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	d := newJSON(t, []*schemas.Contract{contract(nil, keep("x", schemas.Text, "x"))}, Options{})
	for _, f := range files {
		b, err := os.ReadFile(dir + "/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		inside := `{"other":` + string(b) + `}`
		_, _, got := walkObject(inside, 64)
		if want := blame(decodeAll(t, d, [][]byte{[]byte(inside)}, nil)); got != want {
			t.Errorf("%s: got %q, want %q", f.Name(), got, want)
		}
	}
}

// FuzzObject compares the two ways of going over an object.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":{"c":[1,"\u00e9"]}}`, `{"a":[[[[[[]]]]]]}`, `{"a":"😀\ud83d\ude00"}`, `{"a":01}`} {
		f.Add(s)
	}
	d := newJSON(f, []*schemas.Contract{contract(nil, keep("x", schemas.Text, "x"))}, Options{MaxDepth: 6})
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" || strings.TrimLeft(text, " \t\r\n") == "" || strings.TrimLeft(text, " \t\r\n")[0] != '{' || len(text) > 1<<16 {
			return
		}
		_, _, got := walkObject(text, 6)
		if want := blame(decodeAll(t, d, [][]byte{[]byte(text)}, nil)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
