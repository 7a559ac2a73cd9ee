package transforms

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// stripQuery leaves the scheme, host, port and path of a URL, and the query
// parameters that are allowed. User info, fragment, path parameters (;name=value)
// and all other query parameters go. A path segment that holds an @, however
// it is encoded, becomes a hyphen, and an allowed parameter that does goes too.
//
// A value is null unless it is a URL that names a place: one with a scheme, a
// host and a path, or a relative one. So are mailto:, data:, javascript: and
// file: URLs, and text with spaces.
type stripQuery struct {
	allow   []allowed
	decoded []byte
	out     text
}

// allowed is a query parameter that stays, or the beginning of its name.
type allowed struct {
	name   string
	prefix bool
}

// newStripQuery takes the names of allowed parameters. A name that ends with *
// allows every parameter that begins with what stands before.
func newStripQuery(allow []string) (*stripQuery, error) {
	k := &stripQuery{}
	for _, pattern := range allow {
		name, prefix := strings.CutSuffix(pattern, "*")
		if pattern == "" || strings.ContainsAny(name, "*&;=?#%+") || !plainURL([]byte(name)) {
			return nil, fmt.Errorf("allowed parameter %q: want the name of a query parameter, or its beginning and one *", pattern)
		}
		k.allow = append(k.allow, allowed{name, prefix})
	}
	return k, nil
}

func (k *stripQuery) build(in arrow.Array, rows, _ []int32) (arrow.Array, error) {
	values, present := in.(*array.BinaryView), presenceOf(in)
	k.out.reset(len(rows))
	for _, row := range rows {
		there := present.at(row)
		if there {
			k.out.data, there = k.append(k.out.data, values.Value(int(row)))
		}
		k.out.end(there)
	}
	return k.out.column()
}

// append appends what stays of the URL, or gives false.
func (k *stripQuery) append(dst, url []byte) ([]byte, bool) {
	url, _, _ = bytes.Cut(bytes.TrimSpace(url), []byte{'#'})
	place, query, _ := bytes.Cut(url, []byte{'?'})
	if !plainURL(place) {
		return dst, false
	}
	out := dst
	scheme, rest, ok := cutScheme(place)
	if !ok {
		return dst, false
	}
	out = append(out, scheme...)
	if bytes.HasPrefix(rest, []byte("//")) {
		authority := rest[2:]
		path := []byte(nil)
		if slash := bytes.IndexByte(authority, '/'); slash >= 0 {
			authority, path = authority[:slash], authority[slash:]
		}
		host := authority[bytes.LastIndexByte(authority, '@')+1:]
		if !hostAndPort(host) || len(host) == 0 && !mayLackHost(scheme) {
			return dst, false
		}
		out = append(append(out, "//"...), host...)
		rest = path
	}
	return k.appendQuery(k.appendPath(out, rest), query), true
}

// cutScheme cuts the scheme with its colon off a URL without query. It is
// empty for relative URLs. URLs that name no place, or are ambiguous, are not
// ok.
func cutScheme(url []byte) (scheme, rest []byte, ok bool) {
	first := url
	if slash := bytes.IndexByte(url, '/'); slash >= 0 {
		first = url[:slash]
	}
	colon := bytes.IndexByte(first, ':')
	if colon < 0 {
		return nil, url, true
	}
	scheme, rest = url[:colon], url[colon+1:]
	return url[:colon+1], rest, bytes.HasPrefix(rest, []byte("//")) && schemeOfPlace(scheme)
}

// noPlace are schemes whose URLs are content, code, a person or a file, even
// where they are written with two slashes.
var noPlace = [...]string{
	"about", "blob", "content", "data", "file", "filesystem", "jar", "javascript",
	"mailto", "sip", "sips", "sms", "tel", "urn", "vbscript", "view-source",
}

func schemeOfPlace(scheme []byte) bool {
	for i, c := range scheme {
		letter := c|0x20-'a' < 26
		if !letter && (i == 0 || c-'0' > 9 && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	for _, s := range noPlace {
		if equalFold(scheme, s) {
			return false
		}
	}
	return len(scheme) > 0
}

// mayLackHost reports whether a URL with the scheme (and its colon) may have an
// empty host, as those of apps do.
func mayLackHost(scheme []byte) bool {
	return len(scheme) > 0 && !equalFold(scheme, "http:") && !equalFold(scheme, "https:")
}

// equalFold compares a with the lower-case ASCII text b.
func equalFold(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c-'A' < 26 {
			c += 'a' - 'A'
		}
		if c != b[i] {
			return false
		}
	}
	return true
}
