package schemas

import (
	"slices"
	"testing"
)

func TestPathString(t *testing.T) {
	for text, want := range map[string]Path{
		"type":                     {"type"},
		"context.page.url":         {"context", "page", "url"},
		`a."b.c".d`:                {"a", "b.c", "d"},
		`"a b"."\"\\"`:             {"a b", `"\`},
		"$identify_id.@type.x-y_z": {"$identify_id", "@type", "x-y_z"},
		`"ä|ö"`:                    {"ä|ö"},
	} {
		got, err := ParsePath(text)
		if err != nil || !slices.Equal(got, want) || got.String() != text {
			t.Errorf("%s: got %q written %s, error %v; want %q", text, got, got, err, want)
		}
	}
}

// FuzzParsePath: a path that parses is read back the same from what String
// writes.
func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{"a", "a.b | c", `a."b.c".d`, `"\"\\"|x`, "a..b", "|", `"`, " a . b "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		paths, err := parsePaths(text)
		if err != nil {
			return
		}
		for _, p := range paths {
			if slices.Contains(p, "") || len(p) == 0 {
				t.Fatalf("%q has an empty step", p)
			}
			again, err := ParsePath(p.String())
			if err != nil || !slices.Equal(p, again) {
				t.Fatalf("%q was read back as %q, error %v", p, again, err)
			}
		}
	})
}
