package normalize

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"lupa/schemas"
)

func normalizer(t testing.TB, region string) *Normalizer {
	t.Helper()
	n, err := New(region)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEmail(t *testing.T) {
	n := normalizer(t, "")
	for _, c := range []struct{ name, in, want string }{
		{"plain", "jane@example.com", "jane@example.com"},
		{"case", "Jane.Doe@Example.COM", "jane.doe@example.com"},
		{"ASCII space", " \t\r\n\v\fjane@example.com \n", "jane@example.com"},
		{"Unicode space", "\u00a0\u3000jane@example.com\u2003", "jane@example.com"},
		{"dots and tags stay", "j.a.n.e+News@example.com", "j.a.n.e+news@example.com"},
		{"quoted local part", `"Jane@Home"@example.com`, `"jane@home"@example.com`},
		{"IDNA domain", "jane@Bücher.example", "jane@xn--bcher-kva.example"},
		{"IDNA domain, decomposed", "jane@Bu\u0308cher.example", "jane@xn--bcher-kva.example"},
		{"IDNA domain, ASCII form", "jane@XN--bcher-kva.example", "jane@xn--bcher-kva.example"},
		{"ideographic full stop", "jane@bücher。example", "jane@xn--bcher-kva.example"},
		{"sharp s stays", "jane@straße.example", "jane@xn--strae-oqa.example"},
		{"local part composed", "JOSE\u0301@example.com", "jos\u00e9@example.com"},
		{"local part composed already", "josé@example.com", "jos\u00e9@example.com"},
		{"Kelvin sign", "\u212aarl@example.com", "karl@example.com"},
		{"fullwidth @ makes no second domain", "jane@evil\uff20example.com", "jane@evil\uff20example.com"},
		{"refused domain stays", "jane@bü_cher.example", "jane@bü_cher.example"},
		{"no @", "  Jane Doe ", "jane doe"},
		{"no @, not ASCII", "  JÄNE ", "jäne"},
		{"not UTF-8", " J\xff@EXAMPLE.com", "j\xff@example.com"},
		{"only space", " \u2003 ", ""},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(n.Email([]byte(c.in))); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestOtherKindsStayExact(t *testing.T) {
	n := normalizer(t, "FI")
	for _, kind := range []schemas.IdentifierKind{schemas.NoIdentifier, schemas.UserID, schemas.AnonymousID, schemas.DeviceID} {
		const id = " +358 40 123 4567@Ä\x00 "
		if got := string(n.Identifier(kind, []byte(id))); got != id {
			t.Errorf("kind %q: got %q", kind, got)
		}
	}
}

// sharedData finds a file of the test data that stands beside the module.
func sharedData(t *testing.T, name string) *os.File {
	t.Helper()
	dir := os.Getenv("LUPA_SHARED_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "data")
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("shared test data: %v", err)
		}
		t.Skipf("SKIPPED, shared test data is absent: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestEmailOfSyntaxVectors(t *testing.T) {
	f := sharedData(t, "isemail/tests.jsonl")
	n, seen := normalizer(t, ""), 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var vector struct{ File, ID, Address string }
		if err := json.Unmarshal(lines.Bytes(), &vector); err != nil {
			t.Fatal(err)
		}
		seen++
		once := bytes.Clone(n.Email([]byte(vector.Address)))
		if twice := n.Email(once); !bytes.Equal(once, twice) {
			t.Errorf("%s %s: %q became %q", vector.File, vector.ID, once, twice)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if seen < 400 {
		t.Fatalf("only %d vectors", seen)
	}
}

func FuzzIdentifier(f *testing.F) {
	for _, s := range []string{"Jane@Example.com", "jane@bücher。de", "İ@İ.com", "+44 00 20 7183", "020-7183 8750", "?12a", "٠٣٠ ١٢٣", "tel:+1-650-253-0000;ext=5", "+54 11 15 1234 5678", "a@b\uff20c", "0049 30 1234567"} {
		f.Add(s)
	}
	var normalizers []*Normalizer
	for _, region := range []string{"", "FI", "US", "AR", "JP"} {
		normalizers = append(normalizers, normalizer(f, region))
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, n := range normalizers {
			for _, kind := range []schemas.IdentifierKind{schemas.UserID, schemas.Email, schemas.Phone} {
				once := bytes.Clone(n.Identifier(kind, []byte(s)))
				if twice := n.Identifier(kind, bytes.Clone(once)); !bytes.Equal(once, twice) {
					t.Fatalf("%s, region %q: %q became %q", kind, n.region, once, twice)
				}
				if kind == schemas.Phone && len(once) > 0 && once[0] != unparsed && !isE164(string(once)) {
					t.Fatalf("region %q: %q is neither E.164 nor marked", n.region, once)
				}
			}
		}
	})
}

func BenchmarkEmail(b *testing.B) {
	for _, c := range []struct{ name, in string }{
		{"lower", "jane.doe@example.com"}, {"mixed", "Jane.Doe@Example.com"}, {"idna", "jane@bücher.example"},
	} {
		b.Run(c.name, func(b *testing.B) {
			n, in := normalizer(b, ""), []byte(c.in)
			b.ReportAllocs()
			for b.Loop() {
				n.Email(in)
			}
		})
	}
}
