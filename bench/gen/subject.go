package gen

import (
	"math"
	"strconv"
)

// maxSubjects keeps phone numbers of different subjects different.
const maxSubjects = 10_000_000

// Choice is what a subject has told the ledger.
type Choice uint8

// The choices, each with its outcome for the subject's events.
const (
	Granted    Choice = iota // kept
	GrantedNow               // granted in the middle of the events' days: half are older
	Unproven                 // granted without evidence
	Refused
	Withdrawn
	Objected
	Erased
	Silent // no record

	numChoices
)

// choiceShares are the shares of the subjects.
var choiceShares = [numChoices]float64{
	Granted: 0.77, GrantedNow: 0.02, Unproven: 0.03, Refused: 0.04,
	Withdrawn: 0.05, Objected: 0.02, Erased: 0.02, Silent: 0.05,
}

const anonymousShare = 0.10

// Subject is one synthetic person.
type Subject struct {
	Rank      int // 0 is seen most often
	Choice    Choice
	Anonymous bool   // has no user id, e-mail or phone
	seed      uint64 // of all that is drawn for the person
}

// NewSubject is the subject of a rank. The shares hold among the few who are
// seen most often as among all, since the ranks are dealt round by irrational
// steps and not drawn.
func NewSubject(seed uint64, rank int) Subject {
	s := Subject{Rank: rank, seed: mix(seed ^ mix(uint64(rank)+1))}
	_, at := math.Modf(0.5 + float64(rank)*math.Phi)
	for at >= choiceShares[s.Choice] && s.Choice < numChoices-1 {
		at -= choiceShares[s.Choice]
		s.Choice++
	}
	_, at = math.Modf(0.3 + float64(rank)*math.Sqrt2)
	s.Anonymous = at < anonymousShare
	return s
}

// mix is the finalizer of splitmix64, a bijection.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// pick takes one of a list by the subject's own dice.
func (s *Subject) pick(list []string, salt uint64) string {
	return list[mix(s.seed+salt)%uint64(len(list))]
}

// AppendUserID appends the user id.
func (s *Subject) AppendUserID(b []byte) []byte {
	return appendHex(append(b, "usr_"...), s.seed)
}

// AppendAnonymousID appends the anonymous id, a version 4 UUID.
func (s *Subject) AppendAnonymousID(b []byte) []byte {
	return appendUUID(b, mix(s.seed+1), mix(s.seed+2))
}

// AppendEmail appends the e-mail address.
func (s *Subject) AppendEmail(b []byte) []byte {
	b = append(b, s.pick(givenNames, 3)...)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(s.Rank), 36)
	b = append(b, '@')
	return append(b, s.pick(mailHosts, 4)...)
}

// AppendPhone appends the phone number in international form.
func (s *Subject) AppendPhone(b []byte) []byte {
	const digits = 7
	b = append(b, "+35840"...)
	start := len(b)
	b = strconv.AppendInt(b, maxSubjects+int64(s.Rank), 10)
	return append(b[:start], b[len(b)-digits:]...)
}

// appendIP appends the address the subject is mostly seen from: IPv6 for one
// in eight.
func (s *Subject) appendIP(b []byte) []byte {
	x := mix(s.seed + 5)
	if x&7 == 0 {
		b = append(b, "2001:db8"...)
		for shift := 8; shift < 56; shift += 16 {
			b = strconv.AppendUint(append(b, ':'), x>>shift&0xffff, 16)
		}
		return append(b, "::1"...)
	}
	b = append(b, "10"...)
	for shift := 8; shift < 32; shift += 8 {
		b = strconv.AppendUint(append(b, '.'), x>>shift&0xff, 10)
	}
	return b
}

const hexDigits = "0123456789abcdef"

func appendHex(b []byte, x uint64) []byte {
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[x>>shift&15])
	}
	return b
}

// appendUUID appends 128 bits as a version 4 UUID.
func appendUUID(b []byte, high, low uint64) []byte {
	high = high&^0xf000 | 0x4000
	low = low&^(3<<62) | 1<<63
	start := len(b)
	b = appendHex(b, high)
	b = appendHex(b, low)
	digits := [32]byte(b[start:])
	b = b[:start]
	for i, end := range [...]int{8, 12, 16, 20, 32} {
		if i > 0 {
			b = append(b, '-')
		}
		b = append(b, digits[[...]int{0, 8, 12, 16, 20}[i]:end]...)
	}
	return b
}
