package transforms

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
)

func newTestStripQuery(t testing.TB, allow ...string) *stripQuery {
	t.Helper()
	k, err := newStripQuery(allow)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestStripQuery(t *testing.T) {
	const null = "null"
	k := newTestStripQuery(t, "page", "utm_*")
	for _, c := range []struct{ name, in, want string }{
		{"nothing to strip", "https://example.com/a/b", "https://example.com/a/b"},
		{"no path", "https://example.com", "https://example.com"},
		{"case stays", "HTTPS://Example.COM/A", "HTTPS://Example.COM/A"},
		{"port", "http://example.com:8080/", "http://example.com:8080/"},
		{"IPv6 host", "http://[2001:db8::1]:80/a", "http://[2001:db8::1]:80/a"},
		{"host of another script", "https://bücher.example/ä", "https://bücher.example/ä"},
		{"query", "https://example.com/a?email=jane%40example.com&id=7", "https://example.com/a"},
		{"fragment", "https://example.com/a#access_token=7", "https://example.com/a"},
		{"query in the fragment", "https://example.com/a#b?page=1", "https://example.com/a"},
		{"user info", "https://jane:secret@example.com/a", "https://example.com/a"},
		{"two @ in user info", "https://jane@home:x@example.com/a", "https://example.com/a"},
		{"empty user info", "https://@example.com/a", "https://example.com/a"},
		{"allowed parameters stay in order", "https://example.com/?b=1&utm_source=x&c=2&page=3&utm_medium=y", "https://example.com/?utm_source=x&page=3&utm_medium=y"},
		{"allowed without a value", "/a?page", "/a?page"},
		{"the bare beginning", "/a?utm_=1&utm=2", "/a?utm_=1"},
		{"names are exact", "/a?Page=1&pages=2&xutm_source=3&pag%65=4", "/a"},
		{"semicolons separate", "/a?page=1;email=jane", "/a?page=1"},
		{"HTML ampersand", "/a?x=1&amp;utm_source=n", "/a?utm_source=n"},
		{"@ in an allowed value", "/a?page=jane@example.com&utm_source=x", "/a?utm_source=x"},
		{"encoded @ in an allowed value", "/a?page=jane%40example.com", "/a"},
		{"@ in an allowed name", "/a?utm_jane@example.com=1", "/a"},
		{"twice encoded @", "/a?page=jane%2540example.com", "/a"},
		{"many times encoded @", "/a?page=jane%2525252525252525252540example.com", "/a"},
		{"encoded percent that hides no @", "/a?page=100%25", "/a?page=100%25"},
		{"old escape", "/a?page=jane%u0040example.com&utm_a=%uFF20", "/a"},
		{"wide @", "/a?page=jane\uff20example.com&utm_a=%EF%BC%A0&utm_b=%ef%b9%ab", "/a"},
		{"space in an allowed value", "/a?page=Jane Doe&utm_source=x", "/a?utm_source=x"},
		{"space in the query", "https://example.com/a?q=Jane Doe", "https://example.com/a"},
		{"question mark in the query", "/a?page=1?email=jane", "/a?page=1?email=jane"},
		{"empty query", "/a?", "/a"},
		{"empty parameters", "/a?&&=1&;page=1&", "/a?page=1"},
		{"@ in the path", "https://example.com/u/jane@example.com/edit", "https://example.com/u/-/edit"},
		{"encoded @ in the path", "https://example.com/u/jane%40example.com", "https://example.com/u/-"},
		{"handle in the path", "https://example.com/@jane/", "https://example.com/-/"},
		{"wide @ in the path", "/u/jane%ef%bc%a0example.com", "/u/-"},
		{"path parameter", "/a;jsessionid=7f/b;c", "/a/b"},
		{"segment of parameters", "/;jsessionid=7f/b", "/-/b"},
		{"empty segments", "https://example.com//a//", "https://example.com//a//"},
		{"dots", "/a/../b/.", "/a/../b/."},
		{"spaces around", " https://example.com/a \n", "https://example.com/a"},
		{"colon behind the first segment", "/a:b/c:d", "/a:b/c:d"},
		{"relative path", "a/b?c=d", "a/b"},
		{"relative query", "?utm_source=x&email=jane", "?utm_source=x"},
		{"relative fragment", "#jane", ""},
		{"empty", "", ""},
		{"scheme-relative", "//jane@example.com/a?b", "//example.com/a"},
		{"app", "myapp://product/7?user=jane", "myapp://product/7"},
		{"app without a host", "myapp:///product", "myapp:///product"},
		{"app with user info only", "myapp://jane@/product", "myapp:///product"},
		{"Android app", "android-app://com.example.shop/https/example.com", "android-app://com.example.shop/https/example.com"},

		{"mailto", "mailto:jane@example.com", null},
		{"mailto with slashes", "mailto://jane.doe", null},
		{"data", "data:text/plain,jane", null},
		{"data with slashes", "DATA://text/plain,jane", null},
		{"javascript", "JavaScript:alert(1)", null},
		{"javascript with slashes", "javascript://%0aalert(1)", null},
		{"javascript with a tab", "java\tscript://a", null},
		{"tel", "tel:+358401234567", null},
		{"file", "file:///home/jane/a.txt", null},
		{"blob", "blob:https://example.com/7", null},
		{"no slashes", "https:example.com/a", null},
		{"one slash", "https:/example.com/a", null},
		{"no host", "https:///a", null},
		{"no host but user info", "https://jane@/a", null},
		{"no host but a port", "https://:80/a", null},
		{"host and port without a scheme", "example.com:80/a", null},
		{"address and port without a scheme", "203.0.113.77:80/a", null},
		{"user info without a scheme", "jane:secret@example.com/a", null},
		{"backslash", `https://example.com\@evil.example/a`, null},
		{"backslashes for slashes", `https:\\jane@example.com\a`, null},
		{"space in the host", "https://jane doe/a", null},
		{"space in the path", "Jane Doe", null},
		{"line break in the path", "https://example.com/a\nb", null},
		{"zero byte", "https://example.com/\x00", null},
		{"encoded host", "https://jane%40example.com/a", null},
		{"wide @ in the host", "https://jane\uff20example.com/a", null},
		{"port that is none", "https://example.com:jane/a", null},
		{"two ports", "https://example.com:80:81/a", null},
		{"bracket without end", "https://[2001:db8::1/a", null},
		{"zone", "https://[fe80::1%25eth0]/a", null},
		{"text behind brackets", "https://[::1]jane/a", null},
		{"not UTF-8 in the host", "https://ex\xffample.com/", null},
		{"angle brackets", "<https://example.com/a>", null},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := k.append([]byte("before:"), []byte(c.in))
			if !ok {
				got = append(got, null...)
			}
			if string(got) != "before:"+c.want {
				t.Errorf("got %q, want %q", got, "before:"+c.want)
			}
		})
	}
}

func TestStripQueryWithoutAllowedParameters(t *testing.T) {
	got, ok := newTestStripQuery(t).append(nil, []byte("https://example.com/a?utm_source=x"))
	if !ok || string(got) != "https://example.com/a" {
		t.Errorf("got %q, %v", got, ok)
	}
}

func TestAllowedParametersAreChecked(t *testing.T) {
	for _, pattern := range []string{"", "a*b", "**", "a&b", "a=b", "a;b", "a b", "a#", "?a", "a%20", "a+b"} {
		if _, err := newStripQuery([]string{"page", pattern}); err == nil {
			t.Errorf("%q was accepted", pattern)
		}
	}
	got, ok := newTestStripQuery(t, "*").append(nil, []byte("/?a=1&b=c@d"))
	if !ok || string(got) != "/?a=1" {
		t.Errorf("got %q, %v", got, ok)
	}
}

// FuzzStripQuery: no @ in any form comes out, no parameter that is not
// allowed, no user info and no fragment; what came out stays as it is; and
// where net/url reads both, scheme and host are the same.
func FuzzStripQuery(f *testing.F) {
	for _, s := range []string{
		"https://jane:x@example.com:80/a;b/jane%40c?utm_source=x&page=jane@d#e", "//a@b/c", "/;/a", "myapp:///x",
		"javascript:alert(1)", "a:b", `http://a\@b`, "/?page=%2540", "http://[::1%25a]/", "?;&=", "/%u0040/%EF%BC%A0",
	} {
		f.Add(s)
	}
	k := newTestStripQuery(f, "page", "utm_*")
	f.Fuzz(func(t *testing.T, in string) {
		out, ok := k.append(nil, []byte(in))
		if !ok {
			if len(out) > 0 {
				t.Fatalf("%q left %q", in, out)
			}
			return
		}
		if len(out) > len(in) {
			t.Fatalf("%q grew to %q", in, out)
		}
		out = bytes.Clone(out)
		text := strings.ToLower(string(out))
		for _, at := range []string{"@", "%40", "%2540", "\uff20", "\ufe6b", "%ef%bc%a0", "%u0040", "#", "\\", " ", "\n"} {
			if strings.Contains(text, at) {
				t.Fatalf("%q became %q, which holds %q", in, out, at)
			}
		}
		if _, query, found := bytes.Cut(out, []byte("?")); found {
			for parameter := range strings.FieldsFuncSeq(string(query), func(r rune) bool { return r == '&' || r == ';' }) {
				if name, _, _ := strings.Cut(parameter, "="); name != "page" && !strings.HasPrefix(name, "utm_") {
					t.Fatalf("%q became %q", in, out)
				}
			}
		}
		if again, ok := k.append(nil, out); !ok || !bytes.Equal(again, out) {
			t.Fatalf("%q became %q", out, again)
		}
		before, err := url.Parse(strings.TrimSpace(in))
		after, err2 := url.Parse(string(out))
		if err == nil && err2 == nil {
			if before.Scheme != after.Scheme || before.Host != after.Host || after.User != nil || after.Fragment != "" {
				t.Fatalf("%q became %q", in, out)
			}
		}
	})
}
