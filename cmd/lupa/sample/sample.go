// Package sample makes up the data of the demo and of end-to-end tests: three
// days of marketing events of 2,000 people, the consent ledger about them, and
// for every event what must become of it.
//
//	s, err := sample.New(1)
//	for i, m := range s.Events() { // s.Expect()[i] is its outcome
//
// The same seed gives the same bytes on every machine: nothing here reads a
// clock, and all times are counted from Base. The outcomes follow from the
// stories that the people are given, not from the code that decides in
// earnest, so that each is a check of the other. They hold for the embedded
// contracts, DefaultRegion and the limits MaxMessageBytes and MaxDepth.
//
// Nobody in it exists. Addresses lie in ranges and under names that are
// reserved for documentation; phone numbers are put together from a counter.
package sample

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"lupa/pipeline"
	"lupa/schemas"
)

// Window is how long the events go on from Base.
const Window = 72 * time.Hour

// The settings that the outcomes hold for. MaxMessageBytes is lower than the
// default of the configuration, so that brokers take the messages that are too
// large for it.
const (
	MaxMessageBytes = 64 << 10
	MaxDepth        = 64
	DefaultRegion   = "FI"
)

// What the duty to retain keeps of those who are erased, and under which law.
const (
	RetainedField = "user_id"
	RetainedBasis = "eu-gdpr:A6-1-c"
)

// Nobody is the Person of an outcome that is about no one.
const Nobody = -1

// Base is when the events begin.
func Base() time.Time { return time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC) }

// Message is a key and a value, as they stand in a topic. A nil Value in the
// ledger is a tombstone.
type Message struct{ Key, Value []byte }

// Outcome is what must become of one event.
type Outcome struct {
	// Table is the table that the event is for; empty if no contract takes it.
	Table string
	// Reason is why it ends as it does. If Reason.Rejects(), it is no row of
	// Table but a row of the rejects table. In a file of lines an EmptyMessage
	// is an empty line, which is no message.
	Reason  schemas.Reason
	Verdict pipeline.Verdict
	// Granted are the purposes that are permitted. Of a row that is kept,
	// fields that need another one are null.
	Granted schemas.PurposeSet
	// Person numbers the subject, or is Nobody. Tokens of one kind of
	// identifier in the rows of one person are equal.
	Person int
	// Story is the name of what the person told the ledger, for messages.
	Story string
	// NeedsTime marks a rejected event that has no time in it: where the
	// transport gives it one, it is a row of Table instead, NoRecord.
	NeedsTime bool
}

// Sample is one made-up world.
type Sample struct {
	events  []Message
	ledger  []Message
	expect  []Outcome
	secrets []string
}

// Events are the events in the order in which they arrived. The caller must
// not change them.
func (s *Sample) Events() []Message { return s.events }

// Ledger is the consent ledger in its order.
func (s *Sample) Ledger() []Message { return s.ledger }

// Expect is the outcome of each event, indexed like Events.
func (s *Sample) Expect() []Outcome { return s.expect }

// Secrets are the raw values, identifiers and words that must not be found in
// anything that is written, in the spellings that the events use.
func (s *Sample) Secrets() []string { return s.secrets }

// SecretsIn gives the secrets that stand somewhere in data, in the order of
// Secrets. It takes one pass over data, however many secrets there are.
func (s *Sample) SecretsIn(data []byte) []string {
	byHead := map[[secretHead]byte][]int{}
	for i, secret := range s.secrets {
		head := [secretHead]byte([]byte(secret))
		byHead[head] = append(byHead[head], i)
	}
	found := map[int]bool{}
	for at := 0; at+secretHead <= len(data); at++ {
		for _, i := range byHead[[secretHead]byte(data[at:])] {
			if bytes.HasPrefix(data[at:], []byte(s.secrets[i])) {
				found[i] = true
			}
		}
	}
	var list []string
	for i, secret := range s.secrets {
		if found[i] {
			list = append(list, secret)
		}
	}
	return list
}

// secretHead is how many bytes every secret has at least.
const secretHead = 8

// event is one event on its way into the sample.
type event struct {
	arrived time.Duration
	message Message
	outcome Outcome
}

// New makes the sample of a seed.
func New(seed uint64) (*Sample, error) {
	r := rand.New(rand.NewPCG(seed, 0))
	s := &Sample{}
	var events []event
	var ledger []said
	all := countries()
	for index, story := range cast(r) {
		p := newPerson(rand.New(rand.NewPCG(seed, uint64(2*index+1))), index, all)
		p.story = story
		s.secrets = append(s.secrets, p.secrets()...)

		t := newTeller(p)
		story.tell(t)
		ledger = append(ledger, t.records...)

		w := &writer{person: p, r: rand.New(rand.NewPCG(seed, uint64(2*index+2)))}
		if err := w.live(); err != nil {
			return nil, err
		}
		events = append(events, w.events...)
	}
	events = append(events, brokenEvents(r)...)

	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.arrived, b.arrived) })
	for _, e := range events {
		s.events = append(s.events, e.message)
		s.expect = append(s.expect, e.outcome)
	}
	s.ledger = inOrder(ledger)
	s.secrets = append(s.secrets, freeText()...)
	return s, nil
}

// cast gives every person a story, in random order.
func cast(r *rand.Rand) []*story {
	var list []*story
	for _, s := range stories() {
		for range s.people {
			list = append(list, s)
		}
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// secrets are what must not be found of one person.
func (p *person) secrets() []string {
	list := []string{
		p.userID, p.email, strings.ToUpper(p.email), strings.ReplaceAll(p.email, "@", "%40"),
		p.phone, p.phone[1:], p.device, p.ip, p.first + " " + p.last, p.token(),
	}
	return append(list, p.anonymous...)
}

// token is the password of a link that the person was sent.
func (p *person) token() string {
	return fmt.Sprintf("tok_%016x", uint64(p.index+1)*0x9e3779b97f4a7c15)
}

// freeText is what people wrote into forms.
func freeText() []string {
	return []string{
		"Soittakaa minulle illalla", "ring mig på kvällen", "bitte nicht mehr anrufen", "mon médecin m'a dit", "proszę o telefon 😀",
	}
}
