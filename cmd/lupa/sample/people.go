package sample

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A person is one made-up subject. The names are put together from lists and
// the addresses lie in ranges that are reserved for documentation.
type person struct {
	index     int
	userID    string
	anonymous []string // the identifiers of one or two browsers
	device    string
	email     string
	phone     string
	first     string
	last      string
	country   country
	city      string
	ip        string
	agent     string
	birthday  string
	story     *story
}

type country struct {
	code, locale, zone, dial string
	cities                   []string
	first, last              []string
}

func countries() []country {
	return []country{
		{"FI", "fi-FI", "Europe/Helsinki", "+35845",
			[]string{"Helsinki", "Jyväskylä", "Hämeenlinna", "Äänekoski", "Turku"},
			[]string{"Aino", "Väinö", "Päivi", "Jyrki", "Säde", "Yrjö", "Mirja", "Onni"},
			[]string{"Mäkinen", "Hämäläinen", "Koskelo", "Järvelä", "Törmänen", "Lehtonen"}},
		{"SE", "sv-SE", "Europe/Stockholm", "+4670",
			[]string{"Göteborg", "Malmö", "Umeå", "Örebro"},
			[]string{"Åsa", "Björn", "Göran", "Malin", "Sören"},
			[]string{"Sjöberg", "Lindström", "Åkesson", "Öhman"}},
		{"DE", "de-DE", "Europe/Berlin", "+49151",
			[]string{"München", "Köln", "Düsseldorf", "Leipzig"},
			[]string{"Jürgen", "Käthe", "Anneliese", "Günther"},
			[]string{"Müller", "Groß", "Schäfer", "Köhler"}},
		{"FR", "fr-FR", "Europe/Paris", "+336",
			[]string{"Besançon", "Nîmes", "Saint-Étienne", "Lyon"},
			[]string{"Zoé", "François", "Hélène", "Noël"},
			[]string{"Lefèvre", "D'Aubigné", "Benoît", "Garçon"}},
		{"PL", "pl-PL", "Europe/Warsaw", "+4850",
			[]string{"Łódź", "Kraków", "Gdańsk", "Wrocław"},
			[]string{"Małgorzata", "Paweł", "Łucja", "Stanisław"},
			[]string{"Wójcik", "Żak", "Dąbrowski", "Kaźmierczak"}},
		{"EE", "et-EE", "Europe/Tallinn", "+3725",
			[]string{"Tallinn", "Pärnu", "Võru"},
			[]string{"Õnne", "Jüri", "Tõnu"},
			[]string{"Tamm", "Mägi", "Põld"}},
	}
}

func agents() []string {
	return []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 14_4) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
		"Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
		"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36",
	}
}

func newPerson(r *rand.Rand, index int, all []country) *person {
	c := all[index%len(all)]
	if r.IntN(3) > 0 {
		c = all[0] // most of them are Finnish
	}
	p := &person{
		index: index, country: c,
		first: pick(r, c.first), last: pick(r, c.last), city: pick(r, c.cities),
		device:   strings.ToUpper(uuid(r)),
		agent:    pick(r, agents()),
		birthday: fmt.Sprintf("%d-%02d-%02d", 1950+r.IntN(55), 1+r.IntN(12), 1+r.IntN(28)),
	}
	// The index makes every identifier one person's own.
	p.email = fmt.Sprintf("%s.%s%d@%s", ascii(p.first), ascii(p.last), index, pick(r, []string{
		"posti.example", "mail.example", "företag.example", "example.org",
	}))
	p.userID = fmt.Sprintf("user-%05d", index)
	if index%10 == 7 {
		p.userID = p.email // user ids that are e-mail addresses are common
	}
	if index%10 == 3 {
		p.userID = fmt.Sprint(7700000000 + index)
	}
	p.phone = fmt.Sprintf("%s%0*d", c.dial, 12-len(c.dial), 1000000+index)
	if r.IntN(3) == 0 {
		p.ip = fmt.Sprintf("2001:db8:%x:%x::%x", r.IntN(0x10000), r.IntN(0x10000), 1+r.IntN(0xfffe))
	} else {
		p.ip = fmt.Sprintf("%s.%d", pick(r, []string{"192.0.2", "198.51.100", "203.0.113"}), 1+r.IntN(254))
	}
	for range 1 + r.IntN(2) {
		p.anonymous = append(p.anonymous, uuid(r))
	}
	return p
}

// numericID reports whether the user id is one of those that are numbers.
func (p *person) numericID() bool { return p.userID[0] == '7' }

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// uuid is a version 4 UUID from the sample's own random source.
func uuid(r *rand.Rand) string {
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}

// ascii is a name as people write it into an address.
func ascii(name string) string {
	return strings.NewReplacer("ä", "a", "ö", "o", "å", "a", "õ", "o", "ü", "u", "ß", "ss", "é", "e", "è", "e",
		"ç", "c", "î", "i", "ë", "e", "ł", "l", "ó", "o", "ż", "z", "ź", "z", "ą", "a", "'", "").Replace(strings.ToLower(name))
}
