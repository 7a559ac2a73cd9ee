package transforms

import (
	"net/netip"
	"strings"
	"testing"
)

func TestTruncateIP(t *testing.T) {
	const null = "null"
	for _, c := range []struct{ name, in, want string }{
		{"IPv4", "203.0.113.77", "203.0.113.0"},
		{"IPv4, cut already", "203.0.113.0", "203.0.113.0"},
		{"IPv4, highest", "255.255.255.255", "255.255.255.0"},
		{"IPv4, zeros", "0.0.0.0", "0.0.0.0"},
		{"IPv6", "2001:db8:1:2:3:4:5:6", "2001:db8:1::"},
		{"IPv6, third group zero", "2001:db8::1", "2001:db8::"},
		{"IPv6, upper case and leading zeros", "2001:0DB8:00AB:0:0:0:0:1", "2001:db8:ab::"},
		{"IPv6, one zero group stays beside the longer run", "2001:0:1:1::", "2001:0:1::"},
		{"IPv6, all", "::", "::"},
		{"IPv6, loopback", "::1", "::"},
		{"IPv6, link local with a zone", "fe80::1%eth0", "fe80::"},
		{"IPv6, zone that is a name", "fe80::1%jane@example.com", "fe80::"},
		{"mapped", "::ffff:203.0.113.77", "203.0.113.0"},
		{"mapped, hexadecimal", "::ffff:cb00:714d", "203.0.113.0"},
		{"mapped, upper case", "::FFFF:203.0.113.77", "203.0.113.0"},
		{"mapped with a zone", "::ffff:203.0.113.77%eth0", "203.0.113.0"},
		{"6to4 holds an IPv4 address", "2002:cb00:714d:1::1", "2002:cb00:7100::"},
		{"IPv4-compatible", "::203.0.113.77", "::"},
		{"translated", "64:ff9b::203.0.113.77", "64:ff9b::"},
		{"Teredo holds one at its end", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:4136::"},

		{"empty", "", null},
		{"a name", "localhost", null},
		{"list", "203.0.113.77, 198.51.100.1", null},
		{"space", " 203.0.113.77", null},
		{"port", "203.0.113.77:80", null},
		{"brackets", "[2001:db8::1]", null},
		{"brackets and port", "[2001:db8::1]:443", null},
		{"prefix", "203.0.113.77/32", null},
		{"leading zero", "203.0.113.077", null},
		{"octal zero", "00.0.0.0", null},
		{"too large", "203.0.113.256", null},
		{"three numbers", "203.0.113", null},
		{"five numbers", "203.0.113.77.1", null},
		{"no first number", ".0.113.77", null},
		{"no last number", "203.0.113.", null},
		{"one number", "3405803853", null},
		{"hexadecimal IPv4", "0xcb.0.0x71.0x4d", null},
		{"too long", "203.0.113.777", null},
		{"IPv6, nine groups", "1:2:3:4:5:6:7:8:9", null},
		{"IPv6, two gaps", "1::2::3", null},
		{"IPv6, five digits", "12345::", null},
		{"fullwidth digits", "２０３.0.113.77", null},
		{"zero byte", "203.0.113.77\x00", null},
		{"endless zone", "fe80::1%" + strings.Repeat("a", 200), null},
		{"address of a person", "jane@example.com", null},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := appendNetwork([]byte("before:"), []byte(c.in))
			if !ok {
				got = append(got, null...)
			}
			if string(got) != "before:"+c.want {
				t.Errorf("got %q, want %q", got, "before:"+c.want)
			}
		})
	}
}

// FuzzTruncateIP holds the kernel against net/netip: it takes what that takes,
// and what comes out is a network address that stays as it is.
func FuzzTruncateIP(f *testing.F) {
	for _, s := range []string{"203.0.113.77", "2001:db8::1", "::ffff:1.2.3.4", "2002:cb00:714d::", "fe80::1%eth0", "1.2.3", "01.2.3.4", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, ok := appendNetwork(nil, in)
		ip, err := netip.ParseAddr(string(in))
		if ok != (err == nil && len(in) <= longestIP) {
			t.Fatalf("%q: taken %v, by net/netip %v", in, ok, err)
		}
		if !ok {
			return
		}
		got, err := netip.ParseAddr(string(out))
		if err != nil || got.String() != string(out) || got.Zone() != "" {
			t.Fatalf("%q became %q", in, out)
		}
		ip = ip.Unmap().WithZone("")
		want := ip.As16()
		cut := 6
		switch {
		case ip.Is4():
			cut = 15
		case want[0] == 0x20 && want[1] == 0x02:
			cut = 5
		}
		clear(want[cut:])
		if got.As16() != want || got.Is4() != ip.Is4() {
			t.Fatalf("%q became %q", in, out)
		}
		if again, ok := appendNetwork(nil, out); !ok || string(again) != string(out) {
			t.Fatalf("%q became %q", out, again)
		}
	})
}
