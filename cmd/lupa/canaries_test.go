package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A canary is a raw value of the input that points at a person. It must not be
// found in anything that a job leaves behind. Nothing prints its value: it is
// named by the place where it stands in the input.
type canary struct {
	value string
	class canaryClass
	place string
	// whole asks for a match that no letter or digit adjoins: short values
	// stand in longer words by chance.
	whole bool
}

type canaryClass string

const (
	emailCanary canaryClass = "e-mail address"
	phoneCanary canaryClass = "phone number"
	ipCanary    canaryClass = "IP address"
	nameCanary  canaryClass = "name"
	idCanary    canaryClass = "identifier"
	placeCanary canaryClass = "postal address"
	// textCanary is any longer text, whatever it is: what no contract lists
	// must not leave either.
	textCanary canaryClass = "text"
)

// A text counts from textLeast bytes, and is looked for by its first textMost.
const (
	textLeast = 12
	textMost  = 64
)

// canaryKeys are the keys whose values are canaries, in lower-case letters and
// digits alone.
var canaryKeys = map[canaryClass][]string{
	emailCanary: {"email", "emailaddress", "emailid", "useremail", "mail", "recipient", "homeemail", "workemail"},
	phoneCanary: {"phone", "phonenumber", "mobile", "mobilenumber", "mobilephone", "msisdn", "fax", "cell", "homephone", "workphone", "tel"},
	ipCanary:    {"ip", "requestip", "ipaddress", "remoteaddr", "clientip", "fakeip", "ipoverride", "xforwardedfor", "xrealip"},
	nameCanary: {"firstname", "lastname", "middlename", "surname", "familyname", "givenname", "fullname", "username",
		"displayname", "displaylogin", "nickname", "login"},
	idCanary: {"userid", "anonymousid", "previousid", "advertisingid", "adtrackingid", "idfa", "idfv", "adid", "gaid", "aaid",
		"androidid", "deviceid", "devicetoken", "vendorid", "uniqueid", "clientid", "externalid", "customerid", "profileid",
		"contactid", "subscriberid", "distinctid", "visitorid", "fbp", "fbc", "imei", "macaddress", "ssn", "gravatarid"},
	placeCanary: {"street", "streetaddress", "address1", "address2", "addressline1", "addressline2"},
}

// personKeys hold objects about a person. A name, id or token right in them is
// a canary.
var personKeys = []string{
	"traits", "user", "author", "committer", "actor", "owner", "sender", "customer", "contact", "person", "profile",
	"member", "assignee", "mergedby", "device",
}

// canaries collects the canaries of an input.
type canaries struct {
	list []canary
	seen map[string]int // 1 + index in list, or 0 for what is not looked for
	// short counts the values that are too short to be looked for.
	short int
}

// collect adds the canaries of one message.
func (c *canaries) collect(t *testing.T, place string, message []byte) {
	t.Helper()
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	if err := c.document(place, message); err != nil {
		t.Fatalf("%s: %v", place, err)
	}
}

func (c *canaries) document(place string, text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return c.walk(dec, place, nil)
}

// walk reads one value by its tokens, so that no repetition of a key is lost.
func (c *canaries) walk(dec *json.Decoder, place string, path []string) error {
	token, err := dec.Token()
	if err != nil {
		return fmt.Errorf("is not JSON")
	}
	switch v := token.(type) {
	case string:
		c.text(place, path, v)
	case json.Number:
		c.keyed(place, path, v.String())
	case json.Delim:
		for dec.More() {
			step := path
			if v == '{' {
				name, err := dec.Token()
				if err != nil {
					return fmt.Errorf("is not JSON")
				}
				c.found(place, path, name.(string))
				step = append(path[:len(path):len(path)], name.(string))
			}
			if err := c.walk(dec, place, step); err != nil {
				return err
			}
		}
		if _, err := dec.Token(); err != nil {
			return fmt.Errorf("is not JSON")
		}
	}
	return nil
}

// text adds what a string is and what it holds.
func (c *canaries) text(place string, path []string, s string) {
	c.keyed(place, path, s)
	c.found(place, path, s)
	if len(s) >= textLeast {
		c.add(place, path, s[:min(len(s), textMost)], textCanary)
	}
	if strings.Contains(s, "%") {
		if plain, err := url.QueryUnescape(s); err == nil {
			c.found(place, path, plain)
		}
	}
	// What is packed into a string is not out of reach of the search.
	if inner := unpacked(s); inner != nil {
		_ = c.document(place+" "+pathText(path), inner)
	}
}

// unpacked gives the JSON text that is the string, or is packed into it by
// base64 and gzip.
func unpacked(s string) []byte {
	if s != "" && (s[0] == '{' || s[0] == '[') && json.Valid([]byte(s)) {
		return []byte(s)
	}
	if !strings.HasPrefix(s, "H4sI") { // gzip in base64
		return nil
	}
	packed, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil
	}
	inner, err := io.ReadAll(r)
	if err != nil || !json.Valid(inner) {
		return nil
	}
	return inner
}

// keyed adds the value if its key says that it is a canary.
func (c *canaries) keyed(place string, path []string, value string) {
	if len(path) == 0 {
		return
	}
	key, parent := bareKey(path[len(path)-1]), ""
	if len(path) > 1 {
		parent = bareKey(path[len(path)-2])
	}
	for class, keys := range canaryKeys {
		if slices.Contains(keys, key) {
			c.add(place, path, value, class)
		}
	}
	if !slices.Contains(personKeys, parent) {
		return
	}
	switch key {
	case "name":
		c.add(place, path, value, nameCanary)
	case "id", "token":
		c.add(place, path, value, idCanary)
	}
}

func bareKey(key string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, key)
}

var (
	emailText = regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+`)
	phoneText = regexp.MustCompile(`\+[1-9]\d(?:[ ().-]{0,2}\d){6,13}\b|\(?\b\d{3}\)?[ .-]\d{3}[ .-]\d{4}\b`)
	ipv4Text  = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}\b`)
	ipv6Text  = regexp.MustCompile(`[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}`)
)

// found adds what looks like an address or a number anywhere in a string.
func (c *canaries) found(place string, path []string, s string) {
	for _, m := range emailText.FindAllString(s, -1) {
		c.add(place, path, m, emailCanary)
	}
	for _, m := range phoneText.FindAllString(s, -1) {
		c.add(place, path, m, phoneCanary)
	}
	for _, m := range append(ipv4Text.FindAllString(s, -1), ipv6Text.FindAllString(s, -1)...) {
		if _, err := netip.ParseAddr(m); err == nil {
			c.add(place, path, m, ipCanary)
		}
	}
}

// add takes a value that is long enough to be told from chance. Short numbers
// and hexadecimal words stand in sizes, times, hashes and tokens too.
func (c *canaries) add(place string, path []string, value string, class canaryClass) {
	value = strings.TrimSpace(value)
	if i, ok := c.seen[value]; ok {
		if i > 0 && c.list[i-1].class == textCanary {
			c.list[i-1].class = class // it is more than a text
		}
		return
	}
	c.seen[value] = 0
	least := 5
	switch {
	case strings.Trim(value, "0123456789.-+") == "" && class != ipCanary:
		least = 7
	case strings.Trim(value, "0123456789abcdefABCDEF-") == "":
		least = 8
	}
	if len(value) < least || strings.Trim(value, value[:1]) == "" || own(value) {
		c.short++
		return
	}
	c.list = append(c.list, canary{
		value: value, class: class, place: place + " " + pathText(path),
		whole: len(value) < textLeast || class == ipCanary,
	})
	c.seen[value] = len(c.list)
}

// keyName is a key that is the name of a field, and no value.
var keyName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$ -]{0,39}$`)

// pathText writes a path for messages.
func pathText(path []string) string {
	steps := make([]string, len(path))
	for i, step := range path {
		if steps[i] = step; !keyName.MatchString(step) {
			steps[i] = "*"
		}
	}
	return strings.Join(steps, ".")
}

// own reports whether the value is an address of the machine itself, which is
// nobody's.
func own(value string) bool {
	a, err := netip.ParseAddr(value)
	return err == nil && (a.IsLoopback() || a.IsUnspecified())
}
