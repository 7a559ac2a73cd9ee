package sample

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"lupa/pipeline"
	"lupa/schemas"
)

// object is a JSON object; its keys are written in order.
type object = map[string]any

// A writer makes the events of one person.
type writer struct {
	person *person
	r      *rand.Rand
	events []event
}

// shown says which identifiers an event carries.
type shown uint8

const (
	visitor shown = iota // the anonymous id alone
	server               // the user id alone
	both
)

// live makes about a dozen events, in a few sittings within the window.
func (w *writer) live() error {
	count := 9 + w.r.IntN(7)
	var at time.Duration
	for i := range count {
		if i%4 == 0 {
			at = time.Duration(w.r.Int64N(int64(Window - time.Hour)))
		}
		at += time.Duration(3000+w.r.IntN(90_000)) * time.Millisecond
		at = aside(at)
		if err := w.one(at); err != nil {
			return err
		}
	}
	return nil
}

// aside keeps a quarter of an hour between events and what people tell the
// ledger within the window.
func aside(at time.Duration) time.Duration {
	for _, cut := range []time.Duration{early, soon, midway, late} {
		if d := at - cut; d > -15*time.Minute && d < 15*time.Minute {
			return at + 30*time.Minute
		}
	}
	return at.Truncate(time.Millisecond)
}

// one makes an event of a random kind.
func (w *writer) one(at time.Duration) error {
	switch n := w.r.IntN(100); {
	case n < 46:
		return w.track(at)
	case n < 72:
		return w.page(at)
	case n < 84:
		return w.identify(at)
	case n < 92:
		return w.screen(at)
	case n < 96:
		return w.group(at)
	}
	return w.alias(at)
}

// add stamps an event, gives it its identifiers and writes it down with the
// outcome that the person's story gives.
func (w *writer) add(at time.Duration, table string, who shown, e object) error {
	w.stamp(at, e)
	p := w.person
	if p.story.chosen != nil {
		e["context"].(object)["consent"] = object{"categoryPreferences": p.story.chosen}
	}
	key := p.userID
	if who != server {
		key = p.anonymous[w.r.IntN(len(p.anonymous))]
		e["anonymousId"] = key
	}
	if who != visitor {
		e["userId"] = p.userID
		if p.numericID() && w.r.IntN(2) == 0 {
			e["userId"] = json.Number(p.userID)
		}
	}
	value, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("%s event: %w", table, err)
	}
	if w.r.IntN(10) == 0 {
		value = escaped(value)
	}
	o := p.story.at(at, who == visitor)
	out := Outcome{Table: table, Reason: o.analytics, Granted: o.granted(), Person: p.index, Story: p.story.name}
	if table == "identifies" {
		out.Reason = o.email
	}
	out.Verdict = verdict(table, out.Reason)
	arrived := at + time.Duration(200+w.r.IntN(4000))*time.Millisecond
	if w.r.IntN(50) == 0 {
		arrived += time.Duration(w.r.IntN(7200)) * time.Second // an app that was offline
	}
	w.events = append(w.events, event{arrived, Message{Key: []byte(key), Value: value}, out})
	return nil
}

// verdict is what the embedded contract of a table does for a reason.
func verdict(table string, r schemas.Reason) pipeline.Verdict {
	switch {
	case r == schemas.ConsentGiven:
		return pipeline.KeepRow
	case r == schemas.Erased:
		return pipeline.DropRow
	case r == schemas.Retained:
		return pipeline.MaskRow
	}
	switch table {
	case "tracks", "pages", "screens":
		return pipeline.MaskRow
	}
	return pipeline.DropRow
}

func (w *writer) stamp(at time.Duration, e object) {
	t := Base().Add(at)
	e["messageId"] = uuid(w.r)
	e["originalTimestamp"] = stamp(t)
	e["sentAt"] = stamp(t.Add(900 * time.Millisecond))
	if w.r.IntN(5) > 0 {
		e["timestamp"] = stamp(t)
		e["receivedAt"] = stamp(t.Add(1100 * time.Millisecond))
	}
	if w.r.IntN(10) == 0 {
		e["originalTimestamp"] = t.In(time.FixedZone("", 2*3600)).Format("2006-01-02T15:04:05.000-07:00")
	}
	e["integrations"] = object{"All": true}
}

func stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }

// web is the context of a browser.
func (w *writer) web(path string) object {
	p := w.person
	query := url.Values{"utm_source": {"newsletter"}, "utm_campaign": {"spring"}, "email": {p.email}, "token": {p.token()}}
	return object{
		"ip": p.ip, "userAgent": p.agent, "locale": p.country.locale, "timezone": p.country.zone,
		"library": object{"name": "analytics.js", "version": "4.1.0"},
		"campaign": object{
			"source": "newsletter", "medium": "email", "name": "spring",
			"term": "garden", "content": pick(w.r, []string{"banner-a", "banner-b"}),
		},
		"page": object{
			"path": path, "title": "Kauppa", "search": "?" + query.Encode(),
			"url":      "https://kauppa.example" + path + "?" + query.Encode() + "#" + p.token(),
			"referrer": "https://haku.example/etsi?q=" + url.QueryEscape(p.first+" "+p.last),
		},
	}
}

// app is the context of a phone.
func (w *writer) app() object {
	p := w.person
	return object{
		"ip": p.ip, "locale": p.country.locale, "timezone": p.country.zone,
		"app": object{"name": "Kauppa", "version": "7.2.1", "build": "721"},
		"os":  object{"name": pick(w.r, []string{"iOS", "Android"}), "version": "17"},
		"device": object{
			"id": p.device, "advertisingId": p.device, "type": "phone",
			"name": p.first + " " + p.last, "token": p.token(),
		},
		"library": object{"name": "analytics-kotlin", "version": "1.19"},
	}
}

// backend is the context of a server that knows the person.
func (w *writer) backend() object {
	p := w.person
	return object{
		"library": object{"name": "analytics-go", "version": "3.3.0"},
		"traits":  object{"email": w.spelledEmail(), "firstName": p.first, "lastName": p.last, "address": object{"country": p.country.code}},
	}
}

// spelledEmail is the address as people type it.
func (w *writer) spelledEmail() string {
	switch w.r.IntN(6) {
	case 0:
		return strings.ToUpper(w.person.email)
	case 1:
		return " " + w.person.email
	}
	return w.person.email
}

func (w *writer) track(at time.Duration) error {
	switch n := w.r.IntN(10); {
	case n < 3: // the campaign tool knows people by their address
		name := pick(w.r, []string{"Email Delivered", "Email Opened", "Email Link Clicked", "Unsubscribed"})
		return w.add(at, "tracks", server, object{
			"type": "track", "event": name, "context": w.backend(),
			"properties": object{
				"email_id": uuid(w.r), "campaign_id": 42, "campaign_name": "spring",
				"email_subject": "Hei " + w.person.first + " " + w.person.last + "!",
			},
		})
	case n < 5:
		return w.add(at, "tracks", both, object{
			"type": "track", "event": "Order Completed", "context": w.web("/kassa"),
			"properties": object{
				"order_id": uuid(w.r), "revenue": float64(w.r.IntN(20000)) / 100, "currency": "EUR",
				"products": []object{{"sku": "K-1", "name": "Lapio", "price": 12.5, "quantity": 1 + w.r.IntN(3)}},
				"note":     pick(w.r, freeText()),
			},
		})
	case n < 6:
		return w.add(at, "tracks", both, object{
			"type": "track", "event": "Support Message Sent", "context": w.app(),
			"properties": object{
				"message": pick(w.r, freeText()) + ", " + w.person.first + " " + w.person.last + ", " + w.person.phone,
				"value":   "0.5", "category": "support",
			},
		})
	}
	who := both
	if w.r.IntN(3) == 0 {
		who = visitor
	}
	return w.add(at, "tracks", who, object{
		"type": pick(w.r, []string{"track", "track", "Track"}), "event": pick(w.r, []string{"Product Viewed", "Product Added", "Coupon Entered"}),
		"context": w.web("/tuotteet/" + fmt.Sprint(w.r.IntN(500))), "properties": object{"sku": "K-2", "value": w.r.IntN(90), "currency": "EUR"},
	})
}

func (w *writer) page(at time.Duration) error {
	who := both
	if w.r.IntN(5) < 2 {
		who = visitor
	}
	return w.add(at, "pages", who, object{
		"type": "page", "name": pick(w.r, []string{"Etusivu", "Tuotteet", "Kassa", "Omat tiedot"}), "category": "kauppa",
		"context":    w.web(pick(w.r, []string{"/", "/tuotteet", "/kassa", "/omat-tiedot"})),
		"properties": object{"search": "q=" + w.person.email, "keywords": []string{"puutarha", "työkalut"}},
	})
}

func (w *writer) screen(at time.Duration) error {
	return w.add(at, "screens", both, object{
		"type": "screen", "name": pick(w.r, []string{"Home", "Cart", "Profile"}), "context": w.app(),
		"properties": object{"greeting": "Hei " + w.person.first + " " + w.person.last},
	})
}

func (w *writer) identify(at time.Duration) error {
	p := w.person
	return w.add(at, "identifies", both, object{
		"type": "identify", "context": w.web("/omat-tiedot"),
		"traits": object{
			"email": w.spelledEmail(), "phone": p.spelledPhone(w.r),
			"name": p.first + " " + p.last, "firstName": p.first, "lastName": p.last,
			"birthday": p.birthday, "plan": pick(w.r, []string{"free", "plus"}),
			"industry": "gardening", "title": pick(w.r, []string{"puutarhuri", "opettaja", "ingénieure"}),
			"address":     object{"street": fmt.Sprintf("Rantatie %d", 1+p.index), "city": p.city, "postalCode": "00100", "country": p.country.code},
			"description": pick(w.r, freeText()),
		},
	})
}

func (w *writer) group(at time.Duration) error {
	return w.add(at, "groups", both, object{
		"type": "group", "groupId": fmt.Sprintf("yritys-%d", w.person.index%40), "context": w.web("/yritys"),
		"traits": object{
			"name": "Puutarha Oy", "industry": "gardening", "employees": 12, "plan": "business",
			"email": w.person.email, "phone": w.person.phone, "address": object{"street": "Satamakatu 1", "country": "FI"},
		},
	})
}

func (w *writer) alias(at time.Duration) error {
	return w.add(at, "aliases", server, object{
		"type": "alias", "previousId": w.person.anonymous[0],
		"context": object{"library": object{"name": "analytics-go", "version": "3.3.0"}},
	})
}

// escaped spells every character beyond ASCII as senders do that do not trust
// their transport.
func escaped(value []byte) []byte {
	var b bytes.Buffer
	for len(value) > 0 {
		r, size := utf8.DecodeRune(value)
		switch hi, lo := utf16.EncodeRune(r); {
		case r < utf8.RuneSelf:
			b.WriteByte(value[0])
		case hi != utf8.RuneError:
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		value = value[size:]
	}
	return b.Bytes()
}
