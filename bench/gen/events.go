package gen

import (
	"io"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"time"
)

// FirstDay is the first of the days on which the events happen.
var FirstDay = time.Date(2026, time.November, 20, 0, 0, 0, 0, time.UTC)

// Days is on how many days the events happen.
const Days = 3

const dayMillis = 24 * 60 * 60 * 1000

// zipfExponent says how much more often the first subjects are seen.
const zipfExponent = 1.1

// Kind is the type of an event.
type Kind uint8

// The kinds, in the order of their shares.
const (
	Track Kind = iota
	Page
	Identify
	Screen
	Group
	Alias

	numKinds
)

// kindShares are percent of the events of known subjects; an anonymous one
// views pages instead of being identified, grouped and aliased.
var kindShares = [numKinds]int{Track: 55, Page: 30, Identify: 7, Screen: 5, Group: 2, Alias: 1}

// Stream makes the events of one file (or partition), one after the other.
// One goroutine uses it.
type Stream struct {
	seed    uint64
	dice    *rand.PCG
	zipf    *rand.Zipf
	dates   [Days + 1]string
	first   int // number of the stream's first event
	next    int
	end     int
	all     int
	Subject Subject // of the last event
	Kind    Kind    // of the last event
}

// NewStream makes the stream of the given file of o.Files.
func NewStream(o Options, file int) *Stream {
	dice := rand.NewPCG(o.Seed, uint64(file))
	s := &Stream{
		seed: o.Seed, dice: dice, all: o.Events,
		zipf:  rand.NewZipf(rand.New(dice), zipfExponent, 1, uint64(o.Subjects-1)),
		first: o.Events * file / o.Files,
		end:   o.Events * (file + 1) / o.Files,
	}
	s.next = s.first
	for i := range s.dates {
		s.dates[i] = FirstDay.AddDate(0, 0, i).Format(time.DateOnly)
	}
	return s
}

// Append appends the next event, without a line end; io.EOF is the end of the
// stream and the only error.
func (s *Stream) Append(b []byte) ([]byte, error) {
	if s.next >= s.end {
		return b, io.EOF
	}
	at := int64(float64(s.next) / float64(s.all) * (Days * dayMillis))
	s.next++
	s.Subject = NewSubject(s.seed, int(s.zipf.Uint64()))
	s.Kind = s.kind()
	switch s.Kind {
	case Track:
		b = s.track(b, at)
	case Page, Screen:
		b = s.view(b, at)
	case Identify:
		b = s.identify(b, at)
	case Group:
		b = s.group(b, at)
	case Alias:
		b = s.alias(b, at)
	}
	return append(b, '}'), nil
}

// n is a number below k.
func (s *Stream) n(k int) int {
	high, _ := bits.Mul64(s.dice.Uint64(), uint64(k))
	return int(high)
}

// oneIn is true once in k times.
func (s *Stream) oneIn(k int) bool { return s.n(k) == 0 }

func (s *Stream) word(list []string) string { return list[s.n(len(list))] }

func (s *Stream) kind() Kind {
	at := s.n(100)
	for k, share := range kindShares {
		if at < share {
			if kind := Kind(k); !s.Subject.Anonymous || kind == Track || kind == Screen {
				return kind
			}
			break
		}
		at -= share
	}
	return Page
}

// head is what every event begins with: who, when, and the sender's context,
// whose object is left open.
func (s *Stream) head(b []byte, kind string, at int64) []byte {
	b = append(append(append(b, `{"type":"`...), kind...), `","messageId":"`...)
	b = appendUUID(b, s.dice.Uint64(), s.dice.Uint64())
	if s.Subject.Anonymous || !s.oneIn(8) {
		b = s.Subject.AppendAnonymousID(append(b, `","anonymousId":"`...))
	}
	if !s.Subject.Anonymous {
		b = s.Subject.AppendUserID(append(b, `","userId":"`...))
	}
	delay := int64(20 + s.n(900))
	if s.oneIn(50) {
		delay = int64(s.n(600_000)) // was offline
	}
	at -= min(at, delay)
	b = s.appendTime(append(b, `","timestamp":"`...), at)
	if s.oneIn(2) {
		b = s.appendTime(append(b, `","sentAt":"`...), at+delay/2)
	}
	b = s.appendTime(append(b, `","receivedAt":"`...), at+delay)
	b = s.Subject.appendIP(append(b, `","context":{"ip":"`...))
	locale := mix(s.Subject.seed+6) % uint64(len(locales))
	b = append(append(b, `","locale":"`...), locales[locale]...)
	b = append(append(b, `","library":`...), s.word(libraries)...)
	if s.oneIn(3) {
		b = append(append(b, `,"timezone":"`...), timezones[locale]...)
		b = append(b, '"')
	}
	if !s.Subject.Anonymous && s.oneIn(3) {
		b = s.Subject.AppendEmail(append(b, `,"traits":{"email":"`...))
		if s.oneIn(2) {
			b = s.Subject.AppendPhone(append(b, `","phone":"`...))
		}
		b = append(b, `"}`...)
	}
	return b
}

// browser closes the context of an event that was seen in a browser.
func (s *Stream) browser(b []byte) []byte {
	if s.oneIn(3) {
		b = append(append(b, `,"userAgent":"`...), s.Subject.pick(agents, 7)...)
		b = append(b, '"')
	}
	b = s.appendPage(append(b, `,"page":{`...))
	b = append(b, '}')
	if s.oneIn(4) {
		b = append(append(b, `,"campaign":{"name":"`...), s.word(campaigns)...)
		b = append(append(b, `","source":"`...), s.word(sources)...)
		b = append(append(b, `","medium":"`...), s.word(media)...)
		b = append(b, `"}`...)
	}
	return append(b, '}')
}

// appendPage appends the members of a page object. One URL in three carries a
// query, and a query may hold what must not be kept.
func (s *Stream) appendPage(b []byte) []byte {
	product := s.n(20_000)
	b = strconv.AppendInt(append(b, `"path":"/tuote/`...), int64(product), 10)
	b = strconv.AppendInt(append(b, `","url":"https://shop.example.com/tuote/`...), int64(product), 10)
	if s.oneIn(3) {
		b = append(append(b, "?utm_source="...), s.word(sources)...)
		b = append(append(b, "&utm_campaign="...), s.word(campaigns)...)
		if s.oneIn(2) {
			b = appendHex(append(b, "&gclid="...), s.dice.Uint64())
		}
		if !s.Subject.Anonymous && s.oneIn(8) {
			b = s.Subject.AppendEmail(append(b, "&email="...))
		}
	}
	b = append(append(b, `","title":"`...), s.word(titles)...)
	if b = append(b, `","referrer":`...); s.oneIn(3) {
		return append(append(append(b, '"'), s.word(referrers)...), '"')
	}
	return append(b, "null"...)
}

func (s *Stream) track(b []byte, at int64) []byte {
	if b = s.head(b, "track", at); s.oneIn(2) {
		b = append(b, '}') // sent by a server, which saw no page
	} else {
		b = s.browser(b)
	}
	event := s.n(len(eventNames))
	b = append(append(b, `,"event":"`...), eventNames[event]...)
	b = append(b, `","properties":{`...)
	switch eventNames[event] {
	case "Order Completed":
		cents := 500 + s.n(40_000)
		b = appendHex(append(b, `"order_id":"`...), s.dice.Uint64())
		b = appendCents(append(b, `","revenue":`...), cents)
		b = appendCents(append(b, `,"value":`...), cents*4/5)
		b = append(append(b, `,"currency":"`...), s.word(currencies)...)
		b = strconv.AppendInt(append(b, `","items":`...), int64(1+s.n(9)), 10)
	case "Products Searched":
		b = append(append(b, `"query":"`...), s.word(searches)...)
		b = strconv.AppendInt(append(b, `","results":`...), int64(s.n(400)), 10)
	case "Email Opened", "Email Link Clicked":
		b = strconv.AppendInt(append(b, `"email_id":"`...), int64(s.n(5000)), 10)
		b = append(append(b, `","campaign_name":"`...), s.word(campaigns)...)
		b = append(b, '"')
	default:
		b = strconv.AppendInt(append(b, `"product_id":"`...), int64(s.n(20_000)), 10)
		b = append(append(b, `","name":"`...), s.word(products)...)
		b = append(append(b, `","category":"`...), s.word(categories)...)
		b = appendCents(append(b, `","price":`...), 100+s.n(20_000))
		b = strconv.AppendInt(append(b, `,"quantity":`...), int64(1+s.n(3)), 10)
		if s.oneIn(2) {
			b = append(b, `,"coupon":null`...)
		}
		b = strconv.AppendBool(append(b, `,"in_stock":`...), !s.oneIn(10))
	}
	return append(b, '}')
}

// view is a page in a browser or a screen in an app.
func (s *Stream) view(b []byte, at int64) []byte {
	if s.Kind == Page {
		b = s.browser(s.head(b, "page", at))
		b = append(append(b, `,"name":"`...), s.word(pageNames)...)
		b = append(append(b, `","category":"`...), s.word(categories)...)
		b = append(append(b, `","properties":{"title":"`...), s.word(titles)...)
		b = strconv.AppendInt(append(b, `","depth":`...), int64(s.n(100)), 10)
		return append(b, '}')
	}
	b = s.head(b, "screen", at)
	b = append(append(b, `,"os":`...), s.word(systems)...)
	b = appendUUID(append(b, `,"device":{"id":"`...), mix(s.Subject.seed+8), mix(s.Subject.seed+9))
	b = append(append(b, `",`...), s.Subject.pick(devices, 10)...)
	b = append(b, `},"app":{"name":"Kauppa","version":"7.4.1","build":"7041"},"network":{"wifi":`...)
	b = append(strconv.AppendBool(b, s.oneIn(2)), `}}`...)
	b = append(append(b, `,"name":"`...), s.word(screenNames)...)
	b = append(b, `","properties":{"dark_mode":`...)
	return append(strconv.AppendBool(b, s.oneIn(2)), '}')
}

func (s *Stream) identify(b []byte, at int64) []byte {
	b = s.browser(s.head(b, "identify", at))
	b = s.Subject.AppendEmail(append(b, `,"traits":{"email":"`...))
	if b = append(b, `","phone":`...); s.oneIn(3) {
		b = append(b, "null"...)
	} else {
		b = append(s.Subject.AppendPhone(append(b, '"')), '"')
	}
	b = append(append(b, `,"name":"`...), s.Subject.pick(fullNames, 11)...)
	b = strconv.AppendInt(append(b, `","age":`...), int64(18+mix(s.Subject.seed+12)%60), 10)
	b = append(append(b, `,"plan":"`...), s.Subject.pick(plans, 13)...)
	b = append(append(b, `","address":{"country":"`...), s.Subject.pick(countries, 14)...)
	b = append(append(b, `","city":"`...), s.Subject.pick(cities, 15)...)
	return append(b, `"}}`...)
}

func (s *Stream) group(b []byte, at int64) []byte {
	b = s.browser(s.head(b, "group", at))
	company := s.n(2000)
	b = strconv.AppendInt(append(b, `,"groupId":"grp_`...), int64(company), 10)
	b = strconv.AppendInt(append(b, `","traits":{"name":"Yritys `...), int64(company), 10)
	b = append(append(b, ` Oy","industry":"`...), industries[company%len(industries)]...)
	b = strconv.AppendInt(append(b, `","employees":`...), int64(1+company*7%900), 10)
	b = append(append(b, `,"plan":"`...), plans[company%len(plans)]...)
	return append(b, `"}`...)
}

func (s *Stream) alias(b []byte, at int64) []byte {
	b = append(s.head(b, "alias", at), '}')
	b = s.Subject.AppendAnonymousID(append(b, `,"previousId":"`...))
	return append(b, '"')
}

// appendTime appends a time of milliseconds since the first day began.
func (s *Stream) appendTime(b []byte, ms int64) []byte {
	b = append(b, s.dates[ms/dayMillis]...)
	ms %= dayMillis
	two := func(b []byte, before byte, v int64) []byte {
		return append(b, before, byte('0'+v/10), byte('0'+v%10))
	}
	b = two(b, 'T', ms/3_600_000)
	b = two(b, ':', ms/60_000%60)
	b = two(b, ':', ms/1000%60)
	b = append(b, '.', byte('0'+ms/100%10))
	return append(b, byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

func appendCents(b []byte, cents int) []byte {
	b = strconv.AppendInt(b, int64(cents/100), 10)
	return append(b, '.', byte('0'+cents/10%10), byte('0'+cents%10))
}
