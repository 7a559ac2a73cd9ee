package transforms

import (
	"bytes"
	"strings"
	"testing"
)

func newTestEmailDomain(t testing.TB) *emailDomain {
	t.Helper()
	k, err := newEmailDomain()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestEmailDomain(t *testing.T) {
	const null = "null"
	k := newTestEmailDomain(t)
	for _, c := range []struct{ name, in, want string }{
		{"plain", "jane@example.com", "example.com"},
		{"case and space", "  Jane.Doe@Mail.EXAMPLE.com\n", "mail.example.com"},
		{"IDNA", "jane@Bücher.example", "xn--bcher-kva.example"},
		{"two @", `"jane@home"@example.com`, "example.com"},
		{"hyphens and digits", "jane@3-com.1st-example.co1", "3-com.1st-example.co1"},
		{"longest label", "jane@" + strings.Repeat("a", 63) + ".com", strings.Repeat("a", 63) + ".com"},

		{"empty", "", null},
		{"no @", "jane.example.com", null},
		{"nothing before", "@jane.doe", null},
		{"nothing behind", "jane@", null},
		{"one label", "jane@localhost", null},
		{"address literal", "jane@[203.0.113.77]", null},
		{"IPv6 literal", "jane@[IPv6:2001:db8::1]", null},
		{"IPv4", "jane@203.0.113.77", null},
		{"phone number", "jane@040.123.4567", null},
		{"empty label", "jane@example..com", null},
		{"dot at the end", "jane@example.com.", null},
		{"dot at the beginning", "jane@.example.com", null},
		{"hyphen begins a label", "jane@-example.com", null},
		{"hyphen ends a label", "jane@example-.com", null},
		{"hyphen at the end", "jane@example.com-", null},
		{"underscore", "jane@exa_mple.com", null},
		{"angle brackets", "Jane Doe <jane@example.com>", null},
		{"comment", "jane@example.com (Jane Doe)", null},
		{"list", "jane@example.com;john@example.com jane", null},
		{"percent", "jane@doe%40example.com", null},
		{"refused by IDNA", "jane@bü_cher.example", null},
		{"other scripts of @", "jane@doe\uff20example.com", null},
		{"long label", "jane@" + strings.Repeat("a", 64) + ".com", null},
		{"long name", "jane@" + strings.Repeat("abc.", 63) + "comm", null},
		{"not UTF-8", "jane@ex\xffample.com", null},
		{"zero byte", "jane@example.com\x00", null},
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

func FuzzEmailDomain(f *testing.F) {
	for _, s := range []string{"jane@example.com", "jane@bücher.example", "@a.b", "a@1.2.3.4", "a@b@c.d", "a@-.b"} {
		f.Add(s)
	}
	k := newTestEmailDomain(f)
	f.Fuzz(func(t *testing.T, in string) {
		out, ok := k.append(nil, []byte(in))
		if !ok {
			if len(out) > 0 {
				t.Fatalf("%q left %q", in, out)
			}
			return
		}
		if !strings.Contains(string(out), ".") || strings.Trim(string(out), "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			t.Fatalf("%q became %q", in, out)
		}
		if again, ok := k.append(nil, append([]byte("x@"), out...)); !ok || !bytes.Equal(again, out) {
			t.Fatalf("%q became %q", out, again)
		}
	})
}
