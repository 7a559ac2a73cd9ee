package sample

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"lupa/schemas"
)

// fault is one way in which a message can be bad.
type fault struct {
	count   int
	table   string // whose contract it breaks; empty if none takes it
	reason  schemas.Reason
	needs   bool // Outcome.NeedsTime
	message func(r *rand.Rand, at string) []byte
}

// faults are all of them. at is a time in the usual form.
func faults() []fault {
	return []fault{
		{12, "", schemas.Malformed, false, func(r *rand.Rand, at string) []byte {
			whole := stray(r, at, `"type":"track","event":"Order Completed"`)
			return whole[:len(whole)/2]
		}},
		{10, "", schemas.Malformed, false, func(r *rand.Rand, at string) []byte {
			// Latin-1 where UTF-8 is due.
			return stray(r, at, `"type":"track","event":"Lis`+"\xe4"+`tty koriin"`)
		}},
		{6, "", schemas.Malformed, false, func(*rand.Rand, string) []byte {
			return []byte("type=track&event=Order+Completed")
		}},
		{12, "", schemas.EmptyMessage, false, func(*rand.Rand, string) []byte { return nil }},
		{10, "", schemas.Unrouted, false, func(r *rand.Rand, at string) []byte {
			return stray(r, at, `"type":"heartbeat"`)
		}},
		{6, "", schemas.Unrouted, false, func(r *rand.Rand, at string) []byte {
			return fmt.Appendf(nil, "[%s]", stray(r, at, `"type":"track"`))
		}},
		{10, "tracks", schemas.WrongType, false, func(r *rand.Rand, _ string) []byte {
			return stray(r, "eilen", `"type":"track","event":"Product Viewed"`)
		}},
		{10, "identifies", schemas.WrongType, false, func(r *rand.Rand, at string) []byte {
			return stray(r, at, `"type":"identify","traits":{"email":{"home":"`+strayEmail(r)+`"}}`)
		}},
		{10, "", schemas.TooDeep, false, func(r *rand.Rand, at string) []byte {
			deep := strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth)
			return stray(r, at, `"type":"track","event":"Deep","properties":`+deep)
		}},
		{2, "", schemas.TooLarge, false, func(r *rand.Rand, at string) []byte {
			return stray(r, at, `"type":"track","event":"Large","properties":{"blob":"`+strings.Repeat("x", MaxMessageBytes)+`"}`)
		}},
		{10, "pages", schemas.IdentityConflict, false, func(r *rand.Rand, at string) []byte {
			return stray(r, at, fmt.Sprintf(`"type":"page","name":"Kassa","userId":"stray-other-%d"`, r.IntN(1e6)))
		}},
		{10, "identifies", schemas.IdentityConflict, false, func(r *rand.Rand, at string) []byte {
			return stray(r, at, `"type":"identify","traits":{"email":"a.`+strayEmail(r)+`"},"context":{"traits":{"email":"b.`+strayEmail(r)+`"}}`)
		}},
		{12, "tracks", schemas.MissingField, true, func(r *rand.Rand, at string) []byte {
			timed := stray(r, at, `"type":"track","event":"Product Added"`)
			return bytes.Replace(timed, []byte(`"timestamp":"`+at+`",`), nil, 1)
		}},
	}
}

// stray is an event with the members, of somebody whom nobody knows.
func stray(r *rand.Rand, at, members string) []byte {
	return fmt.Appendf(nil, `{"messageId":"%s","timestamp":"%s","userId":"stray-%06d",%s}`, uuid(r), at, r.IntN(1e6), members)
}

func strayEmail(r *rand.Rand) string { return fmt.Sprintf("stray.%06d@posti.example", r.IntN(1e6)) }

// brokenEvents are the bad messages, spread over the window.
func brokenEvents(r *rand.Rand) []event {
	var list []event
	for _, f := range faults() {
		for range f.count {
			at := time.Duration(r.Int64N(int64(Window))).Truncate(time.Millisecond)
			list = append(list, event{at, Message{Key: fmt.Appendf(nil, "stray-%06d", r.IntN(1e6)), Value: f.message(r, stamp(Base().Add(at)))}, Outcome{
				Table: f.table, Reason: f.reason, Person: Nobody, Story: "bad message", NeedsTime: f.needs,
			}})
		}
	}
	return list
}
